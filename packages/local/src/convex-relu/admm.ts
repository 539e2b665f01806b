/**
 * Algorithms 1 and 2: ADMM for the convex program
 *
 *   min ℓ(Fu, y) + β Σ_i ‖v_i‖ + I(s ≥ 0)  subject to  u = v, Gu = s.
 *
 * For the squared loss the u-step is a linear system (Algorithm 1). For other smooth losses it is found by randomised block
 * coordinate descent (Algorithm 2), or, as for the hinge loss, made linear again by one more copy z = Fu whose step is the
 * proximal map of ℓ. The system (I + c FᵀF + GᵀG) has one d × d block A = I + XᵀX on its diagonal and a part of rank n, so
 * it costs one d × d and one n × n factor (Woodbury).
 */
import type { Matrix } from '@bpf/core/linalg'
import { blockNorm, checkData, checkPatterns, checkPositive } from './checks'
import { checkLabels, outputLoss, type ConvexReluLoss, type OutputLoss } from './losses'
import { networkOfBlocks, type ReluNetwork } from './network'
import { patternProducts, type PatternProducts } from './products'
import { woodburyParts, woodburyUStep, type UStep } from './woodbury'

/** Iterates: u, v, λ [2P, d] (v-blocks above w-blocks), s and ν [2P, n], flattened; z and μ [n] where z = Fu is split off. */
export interface ConvexReluState {
  u: Float64Array
  v: Float64Array
  s: Float64Array
  lambda: Float64Array
  nu: Float64Array
  z?: Float64Array
  mu?: Float64Array
}

/** Options of {@link convexReluAdmm}. */
export interface ConvexReluAdmmOptions {
  /** Default `squared`. */
  loss?: ConvexReluLoss
  /** β > 0, weight of the group norms. */
  beta: number
  /** Penalty ρ > 0. Default 0.4; σ_max(X)² β is a guide to its scale. */
  rho?: number
  /** Dual step γ_a > 0, at most 1.6 ρ. Default ρ. */
  gamma?: number
}

/** A solver of the convex program, as pure steps over states. */
export interface ConvexReluSolver {
  /** All zeros. */
  init(): ConvexReluState
  step(state: ConvexReluState, iteration?: number): ConvexReluState
  /** ℓ(Fv) + β Σ ‖v_i‖, a value of the program up to violations of Gv ≥ 0. */
  objective(state: ConvexReluState): number
  /** Fv [n] */
  fitted(state: ConvexReluState): Float64Array
  /** ‖(u − v, Gu − s, Fu − z)‖: how far the copies are apart. */
  primalResidual(state: ConvexReluState): number
  /** A value that the program's optimum is not below, from the multipliers, by duality. */
  lowerBound(state: ConvexReluState): number
  /** The network recovered from v. */
  network(state: ConvexReluState): ReluNetwork
}

/** Checked options of a program. */
interface ProgramSettings {
  beta: number
  rho: number
  gamma: number
  loss: OutputLoss
  kind: ConvexReluLoss
}

function readSettings({ loss = 'squared', beta, rho = 0.4, gamma = rho }: ConvexReluAdmmOptions, caller: string): ProgramSettings {
  checkPositive(beta, 'beta', caller)
  checkPositive(rho, 'rho', caller)
  checkPositive(gamma, 'gamma', caller)
  return { beta, rho, gamma, loss: outputLoss(loss), kind: loss }
}

/** v_i ← max(0, 1 − t/‖v_i‖) v_i for every d-block, in place. */
export function shrinkBlocks(v: Float64Array, d: number, t: number): Float64Array {
  for (let i = 0; i < v.length; i += d) {
    const norm = blockNorm(v, i, d)
    const scale = norm > t ? 1 - t / norm : 0
    for (let a = i; a < i + d; a++) v[a] *= scale
  }
  return v
}

/** What follows every u-step: v, s (and z), and the multipliers. */
function afterUStep(products: PatternProducts, y: Float64Array, settings: ProgramSettings, u: Float64Array, old: ConvexReluState) {
  const { rho, gamma, beta, loss } = settings
  const rate = gamma / rho
  const v = new Float64Array(u.length)
  const lambda = new Float64Array(u.length)
  for (let i = 0; i < v.length; i++) v[i] = u[i] + old.lambda[i]
  shrinkBlocks(v, products.x.cols, beta / rho)
  for (let i = 0; i < v.length; i++) lambda[i] = old.lambda[i] + rate * (u[i] - v[i])
  const projected = products.project(u)
  const s = new Float64Array(projected.length)
  const nu = new Float64Array(projected.length)
  liftCones(projected, products.sign, old.nu, rate, s, nu)
  const next: ConvexReluState = { u, v, s, lambda, nu }
  if (old.z === undefined || old.mu === undefined) return next
  const { mu } = old
  const outputs = products.outputsOf(projected)
  const z = outputs.map((value, k) => loss.prox(value + mu[k], y[k], 1 / rho))
  return { ...next, z, mu: mu.map((value, k) => value + rate * (outputs[k] - z[k])) }
}

/** s ← max(0, Gu + ν), ν ← ν + rate (Gu − s). Without branches: half of them would be mispredicted. */
function liftCones(projected: Float64Array, sign: Float64Array, old: Float64Array, rate: number, s: Float64Array, nu: Float64Array): void {
  const half = sign.length
  for (let side = 0; side <= half; side += half) {
    for (let q = 0, p = side; q < half; q++, p++) {
      const g = sign[q] * projected[p]
      const lifted = g + old[p]
      const positive = 0.5 * (lifted + Math.abs(lifted))
      s[p] = positive
      nu[p] = old[p] + rate * (g - positive)
    }
  }
}

/** v − λ + Gᵀ(s − ν) + Fᵀ weight */
function rightHandSide(products: PatternProducts, { v, lambda, s, nu }: ConvexReluState, weight: Float64Array): Float64Array {
  const { patterns, sign } = products
  const { data: D, rows: P, cols: n } = patterns
  const half = P * n
  const c = new Float64Array(2 * half)
  for (let i = 0, p = 0; i < P; i++) {
    for (let k = 0; k < n; k++, p++) {
      const pull = D[p] * weight[k]
      c[p] = sign[p] * (s[p] - nu[p]) + pull
      c[p + half] = sign[p] * (s[p + half] - nu[p + half]) - pull
    }
  }
  const r = products.collect(c)
  for (let i = 0; i < r.length; i++) r[i] += v[i] - lambda[i]
  return r
}

/** What all solvers of the program have in common. `split` adds the copy z = Fu. */
export function programSolver(
  products: PatternProducts,
  y: Float64Array,
  settings: ProgramSettings,
  split: boolean,
  uStep: (state: ConvexReluState, iteration: number) => Float64Array,
): ConvexReluSolver {
  const { x, patterns } = products
  const [n, d, blocks] = [x.rows, x.cols, 2 * patterns.rows]
  const { loss, beta } = settings
  const fitted = ({ v }: ConvexReluState): Float64Array => products.outputs(v)
  return {
    init: () => ({
      u: new Float64Array(blocks * d),
      v: new Float64Array(blocks * d),
      s: new Float64Array(blocks * n),
      lambda: new Float64Array(blocks * d),
      nu: new Float64Array(blocks * n),
      ...(split && { z: new Float64Array(n), mu: new Float64Array(n) }),
    }),
    step: (state, iteration = 0) => afterUStep(products, y, settings, uStep(state, iteration), state),
    fitted,
    objective(state) {
      let norms = 0
      for (let i = 0; i < blocks; i++) norms += blockNorm(state.v, i * d, d)
      return loss.value(fitted(state), y) + beta * norms
    },
    primalResidual({ u, v, s, z }) {
      const projected = products.project(u)
      const D = patterns.data
      let sum = 0
      for (let i = 0; i < u.length; i++) sum += (u[i] - v[i]) ** 2
      for (let p = 0; p < s.length; p++) sum += ((D[p % D.length] === 1 ? projected[p] : -projected[p]) - s[p]) ** 2
      if (z !== undefined) products.outputsOf(projected).forEach((value, k) => (sum += (value - z[k]) ** 2))
      return Math.sqrt(sum)
    },
    lowerBound: (state) => lowerBound(products, y, settings, state, fitted(state)),
    network: ({ v }) => networkOfBlocks(v, d),
  }
}

/**
 * −ℓ*(p) for a p with ‖F_iᵀp − G_iᵀπ_i‖ ≤ β for all blocks and π ≥ 0: any such p bounds the optimum from below, as
 * ℓ(Fu) ≥ ⟨p, Fu⟩ − ℓ*(p) and ⟨π_i, G_i u_i⟩ ≥ 0. Here p = ∇ℓ(Fv) and π = −ρν, both shortened until they fit.
 */
function lowerBound(
  products: PatternProducts,
  y: Float64Array,
  settings: ProgramSettings,
  state: ConvexReluState,
  fitted: Float64Array,
): number {
  const { loss, beta, rho } = settings
  const { patterns, x } = products
  const D = patterns.data
  const [n, d, half] = [x.rows, x.cols, D.length]
  // At a kink the multiplier of z = Fu is the right subgradient.
  const p = state.mu?.map((value) => rho * value) ?? loss.gradient(fitted, y)
  if (settings.kind !== 'squared') for (let k = 0; k < n; k++) p[k] = -y[k] * Math.min(1, Math.max(0, -y[k] * p[k]))
  const c = state.nu.map((value, q) => {
    const active = D[q % half] === 1
    const pi = Math.max(0, -rho * value)
    return (active ? (q < half ? p[q % n] : -p[q % n]) : 0) - (active ? pi : -pi)
  })
  const gaps = products.collect(c)
  let largest = 0
  for (let i = 0; i < gaps.length; i += d) largest = Math.max(largest, blockNorm(gaps, i, d))
  const scale = largest > beta ? beta / largest : 1
  return -loss.conjugate(
    p.map((value) => scale * value),
    y,
  )
}

/**
 * ADMM with an exact u-step (Algorithm 1), one step of which is
 *
 *   u ← (I + FᵀF/ρ + GᵀG)⁻¹ [Fᵀy/ρ + v − λ + Gᵀ(s − ν)],
 *   v_i ← max(0, 1 − (β/ρ)/‖u_i + λ_i‖)(u_i + λ_i),  s ← max(0, Gu + ν),
 *   λ ← λ + (γ_a/ρ)(u − v),  ν ← ν + (γ_a/ρ)(Gu − s).
 *
 * For logistic and hinge a copy z = Fu takes the loss: z ← prox_{ℓ/ρ}(Fu + μ), μ ← μ + (γ_a/ρ)(Fu − z), and FᵀF/ρ, Fᵀy/ρ in
 * the u-step become FᵀF, Fᵀ(z − μ).
 *
 * @param x - [n, d], with its column of ones if there is to be a bias
 * @param y - [n], ±1 for logistic and hinge
 * @param patterns - D [P, n] of 0 and 1
 * @returns pure steps over states
 * @throws OptionError for β, ρ or γ_a that are not positive
 * @throws ShapeError when y or D do not fit X; DataError for NaN, labels other than ±1, entries of D other than 0 and 1
 */
export function convexReluAdmm(x: Matrix, y: Float64Array, patterns: Matrix, options: ConvexReluAdmmOptions): ConvexReluSolver {
  checkedAdmm(x, y, patterns, options, 'convexReluAdmm')
  const products = patternProducts(x, patterns)
  return admmOnSystem(products, woodburyUStep(products, woodburyParts(products, uStepWeight(options))), y, options)
}

/** c of the u-step's system for a loss. */
export const uStepWeight = ({ loss = 'squared', rho = 0.4 }: ConvexReluAdmmOptions): number => (loss === 'squared' ? 1 / rho : 1)

/** As {@link convexReluAdmm}, with a system that is factored already and arguments that are checked. */
export function admmOnSystem(
  products: PatternProducts,
  solveSystem: UStep,
  y: Float64Array,
  options: ConvexReluAdmmOptions,
): ConvexReluSolver {
  const settings = readSettings(options, 'convexReluAdmm')
  const split = settings.kind !== 'squared'
  const constant = y.map((value) => value / settings.rho)
  return programSolver(products, y, settings, split, (state) => {
    const { z, mu } = state
    const weight = z === undefined || mu === undefined ? constant : z.map((value, k) => value - mu[k])
    return solveSystem(rightHandSide(products, state, weight))
  })
}

/** The checked options of a program, and its data checked. */
export function checkedAdmm(x: Matrix, y: Float64Array, patterns: Matrix, options: ConvexReluAdmmOptions, caller: string): ProgramSettings {
  const settings = readSettings(options, caller)
  checkData(x, y, caller)
  checkPatterns(x, patterns, caller)
  checkLabels(y, settings.kind, caller)
  return settings
}
