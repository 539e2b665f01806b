import { ShapeError } from '@bpf/core'
import { matmul, type Matrix } from '@bpf/core/linalg'
import { blockNorm } from './checks'
import { outputLoss, type ConvexReluLoss } from './losses'

/** f(x) = Σ_j α_j relu(u_jᵀ x): hidden weights U [m, d], output weights alpha [m]. */
export interface ReluNetwork {
  U: Matrix
  alpha: Float64Array
}

const smallestNorm = 1e-6

/**
 * The network of a convex solution: a block v ≠ 0 becomes u = v/√‖v‖ with α = √‖v‖, a block w ≠ 0 becomes u = w/√‖w‖
 * with α = −√‖w‖, so that (β/2)(‖u‖² + α²) = β‖v‖.
 *
 * @param V - [P, d]
 * @param W - [P, d]
 * @returns one unit for each block with a norm above 1e-6, those of V first
 * @throws ShapeError when V and W differ in their columns
 */
export function recoverReluNetwork(V: Matrix, W: Matrix): ReluNetwork {
  const d = V.cols
  if (W.cols !== d) throw new ShapeError(`recoverReluNetwork: V has ${d} columns, W ${W.cols}; expected the same`)
  const kept = [V, W].flatMap((blocks, which) =>
    Array.from({ length: blocks.rows }, (_, i) => ({ blocks, i, norm: blockNorm(blocks.data, i * d, d), sign: which === 0 ? 1 : -1 })),
  )
  const units = kept.filter(({ norm }) => norm > smallestNorm)
  const U = new Float64Array(units.length * d)
  units.forEach(({ blocks, i, norm }, j) =>
    U.set(
      blocks.data.subarray(i * d, (i + 1) * d).map((value) => value / Math.sqrt(norm)),
      j * d,
    ),
  )
  return { U: { rows: units.length, cols: d, data: U }, alpha: Float64Array.from(units, ({ norm, sign }) => sign * Math.sqrt(norm)) }
}

/** The network of stacked blocks (V above W) [2P, d]. */
export function networkOfBlocks(blocks: Float64Array, d: number): ReluNetwork {
  const half = blocks.length / 2
  const part = (from: number): Matrix => ({ rows: half / d, cols: d, data: blocks.slice(from, from + half) })
  return recoverReluNetwork(part(0), part(half))
}

/** relu(X Uᵀ) α [n]. @throws ShapeError when X has other columns than U */
export function reluNetworkOutputs({ U, alpha }: ReluNetwork, x: Matrix): Float64Array {
  if (U.cols !== x.cols) throw new ShapeError(`reluNetworkOutputs: the network takes ${U.cols} columns, X has ${x.cols}`)
  const m = alpha.length
  const out = new Float64Array(x.rows)
  if (m === 0) return out
  const { data } = matmul(x, U, { transposeB: true })
  for (let k = 0, p = 0; k < x.rows; k++) {
    let sum = 0
    for (let j = 0; j < m; j++, p++) if (data[p] > 0) sum += alpha[j] * data[p]
    out[k] = sum
  }
  return out
}

/** (β/2) Σ_j (‖u_j‖² + α_j²). */
function weightDecay({ U, alpha }: ReluNetwork, beta: number): number {
  return 0.5 * beta * (blockNorm(U.data, 0, U.data.length) ** 2 + blockNorm(alpha, 0, alpha.length) ** 2)
}

/**
 * The objective of training: ℓ(f(X), y) + (β/2) Σ_j (‖u_j‖² + α_j²), ℓ summed over rows.
 *
 * @param x - [n, d]
 * @param y - [n], ±1 for logistic and hinge
 */
export function reluNetworkObjective(
  network: ReluNetwork,
  x: Matrix,
  y: Float64Array,
  { beta, loss = 'squared' }: { beta: number; loss?: ConvexReluLoss },
): number {
  return outputLoss(loss).value(reluNetworkOutputs(network, x), y) + weightDecay(network, beta)
}
