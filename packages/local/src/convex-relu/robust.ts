/**
 * Convex adversarial training: every row x_k may be moved by δ_k, ‖δ_k‖ ≤ ε. Where the patterns hold on the whole ball the
 * model is linear in x_k with weights Z_k = Σ_i d_ik (v_i − w_i), so its worst output is x_kᵀZ_k ∓ ε‖Z_k‖ in the dual norm;
 * the cones (2D_i − I) X v_i ≥ ε‖v_i‖ make the patterns hold. A column of ones is not moved and stays out of the norms.
 */
import { OptionError, ShapeError } from '@bpf/core'
import { matmul, type Matrix } from '@bpf/core/linalg'
import { blockNorm, checkData, checkPatterns, checkPerturbation, checkPositive, type InputPerturbation } from './checks'
import { checkLabels, softplus, type ConvexReluLoss } from './losses'
import { networkOfBlocks, type ReluNetwork } from './network'
import { patternProducts } from './products'

/** A perturbation and the number of leading columns of X it can move (default: all). */
export interface RobustPerturbation extends InputPerturbation {
  columns?: number
}

export type Ball = Required<RobustPerturbation>

export function readBall(perturbation: RobustPerturbation, d: number, caller: string): Ball {
  checkPerturbation(perturbation, caller)
  const { epsilon, norm = 'linf', columns = d } = perturbation
  if (!(Number.isInteger(columns) && columns >= 0 && columns <= d)) {
    throw new OptionError(`${caller}: columns must be an integer from 0 to ${d}, got ${columns}`)
  }
  return { epsilon, norm, columns }
}

/** ‖·‖ dual to the ball, over the columns that move, of the values from `start` on. */
export function dualNorm(values: Float64Array, start: number, { norm, columns }: Ball): number {
  if (norm === 'l2') return blockNorm(values, start, columns)
  let sum = 0
  for (let a = start; a < start + columns; a++) sum += Math.abs(values[a])
  return sum
}

/** argmin_t ½‖t − values‖² + size · dual norm of t, into `out`. */
export function shrinkInto(out: Float64Array, values: Float64Array, start: number, d: number, size: number, { norm, columns }: Ball): void {
  if (norm === 'l2') {
    const length = blockNorm(values, start, columns)
    const scale = length > size ? 1 - size / length : 0
    for (let a = 0; a < columns; a++) out[a] = scale * values[start + a]
  } else {
    for (let a = 0; a < columns; a++) {
      const value = values[start + a]
      out[a] = value > size ? value - size : value < -size ? value + size : 0
    }
  }
  for (let a = columns; a < d; a++) out[a] = values[start + a]
}

/** Z [n, d] = Dᵀ (V − W) from stacked blocks. */
export function sampleWeights(blocks: Float64Array, patterns: Matrix, d: number): Float64Array {
  const half = patterns.rows * d
  const difference = new Float64Array(half)
  for (let i = 0; i < half; i++) difference[i] = blocks[i] - blocks[i + half]
  return matmul(patterns, { rows: patterns.rows, cols: d, data: difference }, { transposeA: true }).data
}

/** x_kᵀZ_k [n] and ‖Z_k‖ [n]. */
export function linearParts(x: Matrix, Z: Float64Array, ball: Ball): { z: Float64Array; penalty: Float64Array } {
  const { rows: n, cols: d } = x
  const z = new Float64Array(n)
  for (let k = 0, p = 0; k < n; k++) for (let a = 0; a < d; a++, p++) z[k] += x.data[p] * Z[p]
  return { z, penalty: Float64Array.from({ length: n }, (_, k) => dualNorm(Z, k * d, ball)) }
}

/** The worst loss of one row: y ±1 (hinge, logistic) or a target (squared). */
function worstLoss(loss: ConvexReluLoss, z: number, penalty: number, y: number, epsilon: number): number {
  if (loss === 'squared') return 0.5 * (Math.abs(z - y) + epsilon * penalty) ** 2
  const lack = epsilon * penalty - y * z
  return loss === 'hinge' ? Math.max(0, 1 + lack) : softplus(lack)
}

/** Σ_k of the worst losses of stacked blocks. */
function robustLoss(x: Matrix, y: Float64Array, patterns: Matrix, blocks: Float64Array, loss: ConvexReluLoss, ball: Ball): number {
  const { z, penalty } = linearParts(x, sampleWeights(blocks, patterns, x.cols), ball)
  return z.reduce((sum, value, k) => sum + worstLoss(loss, value, penalty[k], y[k], ball.epsilon), 0)
}

/** What {@link robustLosses} gives; losses are of each row. */
export interface RobustLosses {
  /** x_kᵀ Z_k [n] */
  z: Float64Array
  /** ‖Z_k‖ in the dual norm [n] */
  penalty: Float64Array
  /** max(0, 1 − y z + ε penalty) [n] */
  hinge: Float64Array
  /** log(1 + exp(−y z + ε penalty)) [n] */
  logistic: Float64Array
  /** ½ (|z − target| + ε penalty)² [n] */
  squared: Float64Array
  /** (2D_i − I) X v_i − ε‖v_i‖ [P, n]: the robust cones hold where it is ≥ 0. */
  constraintV: Float64Array
  /** The same for W. */
  constraintW: Float64Array
}

/**
 * Worst-case losses of the convex model on every row, and how its robust cones are kept.
 *
 * @param x - [n, d]
 * @param y - labels ±1 [n]
 * @param targets - targets of the squared loss [n]
 * @param patterns - D [P, n]
 * @param V - [P, d]
 * @param W - [P, d]
 * @param perturbation - ε, norm, and the columns that move
 * @throws OptionError for ε < 0; ShapeError for sizes that do not fit; DataError for labels other than ±1
 */
export function robustLosses(
  x: Matrix,
  y: Float64Array,
  targets: Float64Array,
  patterns: Matrix,
  V: Matrix,
  W: Matrix,
  perturbation: RobustPerturbation,
): RobustLosses {
  const caller = 'robustLosses'
  const ball = readBall(perturbation, x.cols, caller)
  checkData(x, y, caller)
  checkData(x, targets, caller)
  checkPatterns(x, patterns, caller)
  checkLabels(y, 'hinge', caller)
  for (const [name, blocks] of Object.entries({ V, W })) {
    if (blocks.rows !== patterns.rows || blocks.cols !== x.cols) {
      throw new ShapeError(`${caller}: ${name} should be [${patterns.rows}, ${x.cols}], got [${blocks.rows}, ${blocks.cols}]`)
    }
  }
  const stacked = new Float64Array(2 * V.data.length)
  stacked.set(V.data)
  stacked.set(W.data, V.data.length)
  const { z, penalty } = linearParts(x, sampleWeights(stacked, patterns, x.cols), ball)
  const worst = (loss: ConvexReluLoss, wanted: Float64Array): Float64Array =>
    z.map((value, k) => worstLoss(loss, value, penalty[k], wanted[k], ball.epsilon))
  const margins = coneMargins(x, patterns, stacked, ball)
  return {
    z,
    penalty,
    hinge: worst('hinge', y),
    logistic: worst('logistic', y),
    squared: worst('squared', targets),
    constraintV: margins.slice(0, patterns.data.length),
    constraintW: margins.slice(patterns.data.length),
  }
}

/** (2D_i − I) X u_i − ε‖u_i‖ for stacked blocks [2P, n]. */
function coneMargins(x: Matrix, patterns: Matrix, blocks: Float64Array, ball: Ball): Float64Array {
  const { rows: n, cols: d } = x
  const projected = patternProducts(x, patterns).project(blocks)
  const D = patterns.data
  for (let i = 0, p = 0; p < projected.length; i++) {
    const size = ball.epsilon * dualNorm(blocks, i * d, ball)
    for (let k = 0; k < n; k++, p++) projected[p] = (D[p % D.length] === 1 ? projected[p] : -projected[p]) - size
  }
  return projected
}

/** Options of both solvers of the robust program. */
export interface RobustProgramOptions {
  /** Default `hinge`. */
  loss?: ConvexReluLoss
  /** β > 0, against the loss summed over rows. */
  beta: number
  perturbation: RobustPerturbation
}

/** A solver of the robust program as pure steps. */
export interface RobustSolver<State> {
  init(): State
  step(state: State): State
  /** Σ_k worst loss + β Σ ‖v_i‖: an upper bound of the network's adversarial objective where the robust cones hold. */
  objective(state: State): number
  /** The largest violation of a robust cone; 0 where all hold. */
  violation(state: State): number
  network(state: State): ReluNetwork
}

/** The checked options of a robust program. */
export function checkedProgram(x: Matrix, y: Float64Array, patterns: Matrix, options: RobustProgramOptions, caller: string) {
  const { loss = 'hinge', beta } = options
  checkPositive(beta, 'beta', caller)
  checkData(x, y, caller)
  checkPatterns(x, patterns, caller)
  checkLabels(y, loss, caller)
  return { loss, beta, ball: readBall(options.perturbation, x.cols, caller) }
}

/** Objective, violation and network of stacked blocks. */
export function programValues<State>(
  x: Matrix,
  y: Float64Array,
  patterns: Matrix,
  { loss, beta, ball }: { loss: ConvexReluLoss; beta: number; ball: Ball },
  blocksOf: (state: State) => Float64Array,
): Pick<RobustSolver<State>, 'objective' | 'violation' | 'network'> {
  const d = x.cols
  return {
    objective(state) {
      const blocks = blocksOf(state)
      let norms = 0
      for (let i = 0; i < blocks.length; i += d) norms += blockNorm(blocks, i, d)
      return robustLoss(x, y, patterns, blocks, loss, ball) + beta * norms
    },
    violation: (state) => coneMargins(x, patterns, blocksOf(state), ball).reduce((worst, margin) => Math.max(worst, -margin), 0),
    network: (state) => networkOfBlocks(blocksOf(state), d),
  }
}
