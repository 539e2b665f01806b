import { gram, matmul, symmetricEigen, type Matrix } from '@bpf/core/linalg'
import { findRoot } from '@bpf/core/solve'
import { shrinkBlocks } from './admm'
import { checkPositive } from './checks'
import { sigmoid, type ConvexReluLoss } from './losses'
import { patternProducts } from './products'
import {
  checkedProgram,
  dualNorm,
  programValues,
  sampleWeights,
  shrinkInto,
  type Ball,
  type RobustProgramOptions,
  type RobustSolver,
} from './robust'

/** Options of {@link robustConvexAdmm}. */
export interface RobustAdmmOptions extends RobustProgramOptions {
  /** ρ > 0. Default 0.4. */
  rho?: number
}

/** Copies of u that each take one term, with their multipliers: v the group norms, (t, s) the robust cones, Z the loss. */
export interface RobustProgramState {
  u: Float64Array
  v: Float64Array
  t: Float64Array
  s: Float64Array
  Z: Float64Array
  lambda: Float64Array
  tau: Float64Array
  nu: Float64Array
  mu: Float64Array
}

/** A root of an increasing function in [low, high], or the end where it has none. */
function rootWithin(f: (x: number) => number, low: number, high: number): number {
  if (f(low) >= 0) return low
  if (f(high) <= 0) return high
  return findRoot(f, low, high, { tolerance: 1e-15 * Math.max(high, 1e-3) }).x
}

/** argmin_Z c · worst loss(Z) + ½‖Z − Z_0‖², into `out`; Z_0 is row k of `point`. */
function worstLossProx(
  out: Float64Array,
  point: Float64Array,
  x: Matrix,
  k: number,
  y: number,
  c: number,
  loss: ConvexReluLoss,
  ball: Ball,
): void {
  const d = x.cols
  const row = x.data.subarray(k * d, (k + 1) * d)
  const shifted = new Float64Array(d)
  /** Z after a step θ along −(direction · x) with the norm's share ε θ; gives x·Z and ε‖Z‖. */
  const move = (theta: number, direction: number): { z: number; size: number } => {
    for (let a = 0; a < d; a++) shifted[a] = point[k * d + a] - theta * direction * row[a]
    shrinkInto(out, shifted, 0, d, theta * ball.epsilon, ball)
    let z = 0
    for (let a = 0; a < d; a++) z += row[a] * out[a]
    return { z, size: ball.epsilon * dualNorm(out, 0, ball) }
  }
  if (loss !== 'squared') {
    const lack = (theta: number): number => {
      const { z, size } = move(theta, -y)
      return size - y * z
    }
    // θ/c is the slope of the loss at the solution.
    const theta = loss === 'hinge' ? rootWithin((t) => -1 - lack(t), 0, c) : rootWithin((t) => t - c * sigmoid(lack(t)), 0, c)
    move(theta, -y)
    return
  }
  const start = move(0, 0)
  const sign = start.z >= y ? 1 : -1
  const largest = c * (Math.abs(start.z - y) + start.size)
  const gap = (theta: number): number => {
    const { z, size } = move(theta, sign)
    return theta - c * (sign * (z - y) + size)
  }
  const { z } = move(rootWithin(gap, 0, largest), sign)
  if (sign * (z - y) >= 0) return
  // The error is zero at the solution: its slope is anything from −1 to 1, chosen so that x·Z = y for each θ.
  const slopeFor = (theta: number): number => rootWithin((slope) => y - move(theta, slope).z, -1, 1)
  const theta = rootWithin((t) => t - c * move(t, slopeFor(t)).size, 0, largest)
  move(theta, slopeFor(theta))
}

/** The nearest (s, t) with s_k ≥ ε‖t‖ for all k; s and t are changed in place. */
function projectToCone(s: Float64Array, from: number, n: number, t: Float64Array, block: number, d: number, ball: Ball): void {
  const out = new Float64Array(d)
  const { epsilon } = ball
  let smallest = Infinity
  for (let k = from; k < from + n; k++) smallest = Math.min(smallest, s[k])
  const largest = epsilon * dualNorm(t, block * d, ball)
  if (smallest >= largest) return
  const lift = (q: number): number => {
    let sum = 0
    for (let k = from; k < from + n; k++) if (s[k] < q) sum += q - s[k]
    return sum
  }
  const gap = (q: number): number => {
    shrinkInto(out, t, block * d, d, epsilon * lift(q), ball)
    return q - epsilon * dualNorm(out, 0, ball)
  }
  const q = rootWithin(gap, 0, largest)
  shrinkInto(out, t, block * d, d, epsilon * lift(q), ball)
  t.set(out, block * d)
  for (let k = from; k < from + n; k++) if (s[k] < q) s[k] = q
}

/** Solves 2u + GᵀGu + MᵀMu = r, M u = Z: a Kronecker sum in the eigenvectors of XᵀX and DDᵀ. */
function robustUStep(x: Matrix, patterns: Matrix): (r: Float64Array) => Float64Array {
  const [P, d] = [patterns.rows, x.cols]
  const features = symmetricEigen(gram(x))
  const overlaps = symmetricEigen(gram(patterns, 'rows'))
  const asMatrix = (data: Float64Array): Matrix => ({ rows: P, cols: d, data })
  return (r) => {
    const half = P * d
    const [sum, difference] = [new Float64Array(half), new Float64Array(half)]
    for (let i = 0; i < half; i++) {
      sum[i] = r[i] + r[i + half]
      difference[i] = r[i] - r[i + half]
    }
    // The patterns act on V − W only.
    const sumHat = matmul(asMatrix(sum), features.vectors)
    const differenceHat = matmul(overlaps.vectors, matmul(asMatrix(difference), features.vectors), { transposeA: true })
    for (let i = 0, p = 0; i < P; i++) {
      for (let a = 0; a < d; a++, p++) {
        sumHat.data[p] /= 2 + features.values[a]
        differenceHat.data[p] /= 2 + features.values[a] + 2 * overlaps.values[i]
      }
    }
    const back = matmul(sumHat, features.vectors, { transposeB: true }).data
    const backDifference = matmul(matmul(overlaps.vectors, differenceHat), features.vectors, { transposeB: true }).data
    const u = new Float64Array(2 * half)
    for (let i = 0; i < half; i++) {
      u[i] = 0.5 * (back[i] + backDifference[i])
      u[i + half] = 0.5 * (back[i] - backDifference[i])
    }
    return u
  }
}

/**
 * The robust convex program by ADMM: copies u = v (group norms), (u, Gu) = (t, s) (robust cones) and Mu = Z (worst losses),
 * each with its own proximal map; the u-step is exact. It finds the program's optimum, for any loss and ε ≥ 0.
 *
 * min Σ_k worst loss_k + β Σ_i ‖v_i‖  subject to  (2D_i − I) X v_i ≥ ε‖v_i‖, the same for w_i.
 *
 * @param x - [n, d], with its column of ones if there is to be a bias
 * @param y - [n], ±1 for logistic and hinge
 * @param patterns - D [P, n], of the data and of perturbed data
 * @throws OptionError for β or ρ that are not positive and ε < 0; ShapeError and DataError as {@link robustLosses}
 */
export function robustConvexAdmm(
  x: Matrix,
  y: Float64Array,
  patterns: Matrix,
  options: RobustAdmmOptions,
): RobustSolver<RobustProgramState> {
  const caller = 'robustConvexAdmm'
  const settings = checkedProgram(x, y, patterns, options, caller)
  const { loss, beta, ball } = settings
  const { rho = 0.4 } = options
  checkPositive(rho, 'rho', caller)
  const products = patternProducts(x, patterns)
  const [n, d, P] = [x.rows, x.cols, patterns.rows]
  const D = patterns.data
  const solveSystem = robustUStep(x, patterns)
  const signed = (c: Float64Array): Float64Array => c.map((value, p) => (D[p % D.length] === 1 ? value : -value))
  const difference = (a: Float64Array, b: Float64Array): Float64Array => a.map((value, i) => value - b[i])
  const sum = (a: Float64Array, b: Float64Array): Float64Array => a.map((value, i) => value + b[i])
  return {
    ...programValues<RobustProgramState>(x, y, patterns, settings, ({ v }) => v),
    init: () => {
      const blocks = (): Float64Array => new Float64Array(2 * P * d)
      const cones = (): Float64Array => new Float64Array(2 * P * n)
      const weights = (): Float64Array => new Float64Array(n * d)
      return {
        u: blocks(),
        v: blocks(),
        t: blocks(),
        s: cones(),
        Z: weights(),
        lambda: blocks(),
        tau: blocks(),
        nu: cones(),
        mu: weights(),
      }
    },
    step(old) {
      const r = sum(difference(old.v, old.lambda), difference(old.t, old.tau))
      const cone = products.collect(signed(difference(old.s, old.nu)))
      const loaded = matmul(patterns, { rows: n, cols: d, data: difference(old.Z, old.mu) }).data
      for (let i = 0; i < P * d; i++) {
        r[i] += cone[i] + loaded[i]
        r[i + P * d] += cone[i + P * d] - loaded[i]
      }
      const u = solveSystem(r)
      const v = shrinkBlocks(sum(u, old.lambda), d, beta / rho)
      const projected = signed(products.project(u))
      const [t, s] = [sum(u, old.tau), sum(projected, old.nu)]
      for (let i = 0; i < 2 * P; i++) projectToCone(s, i * n, n, t, i, d, ball)
      const weights = sampleWeights(u, patterns, d)
      const point = sum(weights, old.mu)
      const Z = new Float64Array(n * d)
      for (let k = 0; k < n; k++) worstLossProx(Z.subarray(k * d, (k + 1) * d), point, x, k, y[k], 1 / rho, loss, ball)
      return {
        u,
        v,
        t,
        s,
        Z,
        lambda: sum(old.lambda, difference(u, v)),
        tau: sum(old.tau, difference(u, t)),
        nu: sum(old.nu, difference(projected, s)),
        mu: difference(point, Z),
      }
    },
  }
}
