/**
 * Algorithm 3, the sampled convex program: hidden weights are drawn on the unit sphere and kept, and the output weights solve
 *
 *   min_α ℓ(Hα, y) + β‖α‖₁,  H = relu(X Uᵀ),
 *
 * a restriction of the convex program: its optimum is never below, and falls as samples are added.
 */
import { random, ShapeError, type Key } from '@bpf/core'
import { cholesky, choleskySolve, gram, matmul, matvec, spectralNorm, type Matrix } from '@bpf/core/linalg'
import { blockNorm, checkCount, checkData, checkPositive } from './checks'
import { checkLabels, outputLoss, type ConvexReluLoss } from './losses'
import type { ReluNetwork } from './network'

/** α [N] with what the method remembers between steps. */
export interface SampledProgramState {
  alpha: Float64Array
  /** ‖α − last α‖; Infinity where the last step says nothing about convergence. */
  change: number
  /** The extrapolated point and momentum of FISTA. */
  ahead?: Float64Array
  t?: number
  /** Copies and multipliers of ADMM: α = a, z = Hα. */
  lambda?: Float64Array
  z?: Float64Array
  mu?: Float64Array
}

/** Options of {@link sampledConvexProgram}. */
export interface SampledProgramOptions {
  /** Default `squared`. */
  loss?: ConvexReluLoss
  /** β > 0 */
  beta: number
  /** Penalty ρ > 0 of the splitting that the hinge loss needs. Default 0.4. */
  rho?: number
}

/** The program with its solver, as pure steps. */
export interface SampledProgram {
  /** relu(X Uᵀ) [n, N] */
  readonly H: Matrix
  /** σ_max(H)² */
  readonly L: number
  /** α ← soft(α − Hᵀ∇ℓ(Hα)/(L_ℓ L), β/(L_ℓ L)); undefined for the hinge loss, which has no gradient. */
  readonly istaStep: ((alpha: Float64Array) => Float64Array) | undefined
  init(): SampledProgramState
  /** FISTA with restart; ADMM for the hinge loss. */
  step(state: SampledProgramState): SampledProgramState
  fitted(alpha: Float64Array): Float64Array
  objective(alpha: Float64Array): number
  /** Balanced: u_i √|α_i| and sign(α_i) √|α_i|, so that β‖α‖₁ is its weight decay; units with α_i = 0 are left out. */
  network(alpha: Float64Array): ReluNetwork
}

/**
 * Hidden weights u = a/‖a‖, a ~ N(0, I): [N, d]. With the same key a smaller sample is the beginning of a larger one.
 *
 * @throws OptionError unless N is a positive integer
 */
export function sampleHiddenWeights(N: number, d: number, key: Key): Matrix {
  checkCount(N, 'samples', 'sampleHiddenWeights')
  // Normal draws of one key depend on their number only in blocks: one block a unit keeps samples nested.
  const data = new Float64Array(N * d)
  for (let i = 0; i < N; i++) data.set(random.normalArray(random.fold(key, i), d), i * d)
  for (let i = 0; i < N; i++) {
    const norm = blockNorm(data, i * d, d) || 1
    for (let a = i * d; a < (i + 1) * d; a++) data[a] /= norm
  }
  return { rows: N, cols: d, data }
}

/** Hᵀ r */
function transposedProduct({ rows, cols, data }: Matrix, r: Float64Array): Float64Array {
  const out = new Float64Array(cols)
  for (let k = 0, p = 0; k < rows; k++) {
    const weight = r[k]
    for (let j = 0; j < cols; j++, p++) out[j] += weight * data[p]
  }
  return out
}

function soft(values: Float64Array, t: number): Float64Array {
  return values.map((value) => (value > t ? value - t : value < -t ? value + t : 0))
}

/** (I + HᵀH)⁻¹ r, by the smaller of the two Gram matrices. */
function regularisedSolve(H: Matrix): (r: Float64Array) => Float64Array {
  const wide = H.cols > H.rows
  const inner = gram(H, wide ? 'rows' : 'columns')
  for (let i = 0; i < inner.rows; i++) inner.data[i * inner.rows + i] += 1
  const factor = cholesky(inner)
  if (!wide) return (r) => choleskySolve(factor, r)
  return (r) => {
    const correction = transposedProduct(H, choleskySolve(factor, matvec(H, r)))
    return r.map((value, j) => value - correction[j])
  }
}

/**
 * The sampled convex program over fixed hidden weights.
 *
 * @param x - [n, d]
 * @param y - [n], ±1 for logistic and hinge
 * @param U - hidden weights [N, d] of norm 1: {@link sampleHiddenWeights}
 * @returns H, and pure steps towards the optimum
 * @throws OptionError for β or ρ that are not positive; ShapeError when U or y do not fit X; DataError for NaN or bad labels
 */
export function sampledConvexProgram(x: Matrix, y: Float64Array, U: Matrix, options: SampledProgramOptions): SampledProgram {
  const caller = 'sampledConvexProgram'
  const { loss: kind = 'squared', beta, rho = 0.4 } = options
  checkPositive(beta, 'beta', caller)
  checkPositive(rho, 'rho', caller)
  checkData(x, y, caller)
  checkLabels(y, kind, caller)
  if (U.cols !== x.cols) throw new ShapeError(`${caller}: U should have ${x.cols} columns as X has, got ${U.cols}`)
  const loss = outputLoss(kind)
  const N = U.rows
  const H = matmul(x, U, { transposeB: true })
  H.data.forEach((value, p) => (H.data[p] = Math.max(0, value)))
  const L = spectralNorm(H) ** 2
  const { smoothness } = loss
  const istaStep = (alpha: Float64Array): Float64Array => {
    const size = (smoothness ?? 1) * L
    if (size === 0) return new Float64Array(N)
    const slope = transposedProduct(H, loss.gradient(matvec(H, alpha), y))
    return soft(
      alpha.map((value, j) => value - slope[j] / size),
      beta / size,
    )
  }
  const zeros = (): Float64Array => new Float64Array(N)
  const common = {
    H,
    L,
    fitted: (alpha: Float64Array) => matvec(H, alpha),
    objective: (alpha: Float64Array) => loss.value(matvec(H, alpha), y) + beta * alpha.reduce((sum, a) => sum + Math.abs(a), 0),
    network: (alpha: Float64Array) => balancedNetwork(U, alpha),
  }
  if (smoothness !== undefined) {
    return {
      ...common,
      istaStep,
      init: () => ({ alpha: zeros(), change: Infinity, ahead: zeros(), t: 1 }),
      step: (state) => fistaStep(istaStep, state),
    }
  }
  const solve = regularisedSolve(H)
  return {
    ...common,
    istaStep: undefined,
    init: () => ({ alpha: zeros(), change: Infinity, lambda: zeros(), z: new Float64Array(y.length), mu: new Float64Array(y.length) }),
    step({ alpha: old, lambda = zeros(), z = new Float64Array(y.length), mu = z }) {
      const back = transposedProduct(
        H,
        z.map((value, k) => value - mu[k]),
      )
      const a = solve(old.map((value, j) => value - lambda[j] + back[j]))
      const alpha = soft(
        a.map((value, j) => value + lambda[j]),
        beta / rho,
      )
      const outputs = matvec(H, a)
      const copy = outputs.map((value, k) => loss.prox(value + mu[k], y[k], 1 / rho))
      let change = 0
      for (let j = 0; j < N; j++) change += (a[j] - alpha[j]) ** 2 + (alpha[j] - old[j]) ** 2
      for (let k = 0; k < y.length; k++) change += (outputs[k] - copy[k]) ** 2
      return {
        alpha,
        change: Math.sqrt(change),
        lambda: lambda.map((value, j) => value + a[j] - alpha[j]),
        z: copy,
        mu: mu.map((value, k) => value + outputs[k] - copy[k]),
      }
    },
  }
}

function fistaStep(ista: (alpha: Float64Array) => Float64Array, { alpha, ahead = alpha, t = 1 }: SampledProgramState): SampledProgramState {
  const next = ista(ahead)
  let [along, length] = [0, 0]
  for (let j = 0; j < next.length; j++) {
    const change = next[j] - alpha[j]
    along += (ahead[j] - next[j]) * change
    length += change * change
  }
  // Momentum that points against the step is dropped, which keeps the rate linear near the optimum.
  if (along > 0) return { alpha: next, ahead: next, t: 1, change: Infinity }
  const following = (1 + Math.sqrt(1 + 4 * t * t)) / 2
  const momentum = (t - 1) / following
  return {
    alpha: next,
    ahead: next.map((value, j) => value + momentum * (value - alpha[j])),
    t: following,
    change: Math.sqrt(length),
  }
}

function balancedNetwork(U: Matrix, alpha: Float64Array): ReluNetwork {
  const kept = Array.from(alpha.keys()).filter((i) => alpha[i] !== 0)
  const d = U.cols
  const data = new Float64Array(kept.length * d)
  kept.forEach((i, j) => {
    const scale = Math.sqrt(Math.abs(alpha[i]))
    for (let a = 0; a < d; a++) data[j * d + a] = scale * U.data[i * d + a]
  })
  return {
    U: { rows: kept.length, cols: d, data },
    alpha: Float64Array.from(kept, (i) => Math.sign(alpha[i]) * Math.sqrt(Math.abs(alpha[i]))),
  }
}
