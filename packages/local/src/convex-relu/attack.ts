import { matmul, type Matrix } from '@bpf/core/linalg'
import { blockNorm, checkCount, checkPositive } from './checks'
import type { ConvexReluLoss } from './losses'
import { reluNetworkOutputs, type ReluNetwork } from './network'
import { readBall, type RobustPerturbation } from './robust'

/** Options of {@link attackReluNetwork}. */
export interface ReluAttackOptions extends RobustPerturbation {
  /** Steps of projected gradient ascent. Default 40; 1 with `stepSize` ε is the fast gradient sign method (FGSM). */
  steps?: number
  /** Default max(ε / 10, min(ε, 2.5 ε / steps)): ε for one step, ε / 10 from 25 on. */
  stepSize?: number
}

/** The direction that raises the loss fastest, up to a positive factor: c [n] with loss′ ∝ c · ∂f/∂x. */
function lossDirections(network: ReluNetwork, x: Matrix, y: Float64Array, loss: ConvexReluLoss): Float64Array {
  // A hinge loss is flat beyond the margin; its margin isn't, and attacks it better.
  if (loss !== 'squared') return y.map((label) => -label)
  return reluNetworkOutputs(network, x).map((f, k) => Math.sign(f - y[k]) || 1)
}

/** ∂f/∂x of every row, [n, d]. */
function inputGradients({ U, alpha }: ReluNetwork, x: Matrix): Float64Array {
  const m = alpha.length
  if (m === 0) return new Float64Array(x.data.length)
  const slopes = matmul(x, U, { transposeB: true })
  for (let k = 0, p = 0; k < x.rows; k++) for (let j = 0; j < m; j++, p++) slopes.data[p] = slopes.data[p] > 0 ? alpha[j] : 0
  return matmul(slopes, U).data
}

/**
 * Inputs that raise a network's loss: projected gradient ascent (PGD) from the clean rows,
 * x ← clip(x + η sign(∂ℓ/∂x)) for the l∞ ball, x ← project(x + η ∂ℓ/∂x / ‖∂ℓ/∂x‖) for the l2 ball.
 *
 * For several networks (one against the rest) y holds class indices, and the margin to the best other class is lowered.
 *
 * @param networks - one network, or one for each class
 * @param x - [n, d]
 * @param y - [n]: targets, ±1, or class indices
 * @param loss - what the network was trained with
 * @param options - ball, columns that move, steps
 * @returns moved inputs [n, d]
 * @throws OptionError for ε < 0 or counts and sizes that are not positive
 */
export function attackReluNetwork(
  networks: readonly ReluNetwork[],
  x: Matrix,
  y: Float64Array,
  loss: ConvexReluLoss,
  options: ReluAttackOptions,
): Matrix {
  const caller = 'attackReluNetwork'
  const { steps = 40 } = options
  checkCount(steps, 'steps', caller)
  const ball = readBall(options, x.cols, caller)
  const { epsilon, norm, columns } = ball
  if (epsilon === 0) return { ...x, data: x.data.slice() }
  const { stepSize = Math.max(epsilon / 10, Math.min(epsilon, (2.5 * epsilon) / steps)) } = options
  checkPositive(stepSize, 'stepSize', caller)
  const d = x.cols
  const moved: Matrix = { ...x, data: x.data.slice() }
  for (let step = 0; step < steps; step++) {
    const ascent = networks.length === 1 ? oneOutput(networks[0], moved, y, loss) : oneAgainstRest(networks, moved, y)
    for (let k = 0; k < x.rows; k++) {
      const at = k * d
      if (norm === 'linf') {
        for (let a = at; a < at + columns; a++) {
          const delta = moved.data[a] + stepSize * Math.sign(ascent[a]) - x.data[a]
          moved.data[a] = x.data[a] + Math.max(-epsilon, Math.min(epsilon, delta))
        }
        continue
      }
      const length = blockNorm(ascent, at, columns)
      if (length === 0) continue
      const delta = new Float64Array(columns)
      for (let a = 0; a < columns; a++) delta[a] = moved.data[at + a] - x.data[at + a] + (stepSize * ascent[at + a]) / length
      const radius = blockNorm(delta, 0, columns)
      const scale = radius > epsilon ? epsilon / radius : 1
      for (let a = 0; a < columns; a++) moved.data[at + a] = x.data[at + a] + scale * delta[a]
    }
  }
  return moved
}

function oneOutput(network: ReluNetwork, x: Matrix, y: Float64Array, loss: ConvexReluLoss): Float64Array {
  const directions = lossDirections(network, x, y, loss)
  const gradients = inputGradients(network, x)
  for (let k = 0, p = 0; k < x.rows; k++) for (let a = 0; a < x.cols; a++, p++) gradients[p] *= directions[k]
  return gradients
}

/** Gradient of f_rival − f_y, the rival being the best other class. */
function oneAgainstRest(networks: readonly ReluNetwork[], x: Matrix, y: Float64Array): Float64Array {
  const outputs = networks.map((network) => reluNetworkOutputs(network, x))
  const gradients = networks.map((network) => inputGradients(network, x))
  const out = new Float64Array(x.data.length)
  for (let k = 0; k < x.rows; k++) {
    let rival = -1
    for (let c = 0; c < networks.length; c++) if (c !== y[k] && (rival < 0 || outputs[c][k] > outputs[rival][k])) rival = c
    for (let p = k * x.cols; p < (k + 1) * x.cols; p++) out[p] = gradients[rival][p] - gradients[y[k]][p]
  }
  return out
}
