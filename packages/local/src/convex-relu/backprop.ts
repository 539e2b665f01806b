/**
 * The baseline of the convex programs: the same objective by back-propagation, from random weights, with plain or
 * adversarial (FGSM, PGD) full-batch training.
 */
import { random, yieldToEventLoop, type Key } from '@bpf/core'
import type { MatrixInput, VectorInput } from '@bpf/core/data'
import { matmul, type Matrix } from '@bpf/core/linalg'
import { adamStep, cosineRate } from './adam'
import { attackReluNetwork, type ReluAttackOptions } from './attack'
import { checkChoice, checkCount, checkPositive } from './checks'
import { outputLoss, type ConvexReluLoss } from './losses'
import { convexReluModel, type ConvexReluNetwork } from './model'
import { reluNetworkObjective, type ReluNetwork } from './network'
import { readProblem, type ConvexReluProblemOptions } from './problem'
import { turnEvery } from './turns'

/** Options of {@link fitBackpropRelu}. */
export interface FitBackpropReluOptions extends ConvexReluProblemOptions {
  /** m, hidden units. Default 100. */
  units?: number
  /** Default `adam` (β₁ = 0.9, β₂ = 0.999); `gd` is plain gradient descent. */
  optimizer?: 'adam' | 'gd'
  /** First step size; it falls to 0 by half a cosine. Default 0.01. */
  learningRate?: number
  /** Default 3000. */
  steps?: number
  /** Train on attacked inputs, made anew each step: `steps: 1` is FGSM, more are PGD. */
  adversarial?: Omit<ReluAttackOptions, 'columns'>
  /** Root of all randomness. Default the key of seed 0. */
  key?: Key
  signal?: AbortSignal
}

/** A network trained by back-propagation, with the objective after each step (of the inputs it saw), for each output. */
export interface BackpropReluNetwork extends ConvexReluNetwork {
  /** ℓ + (β/2) Σ (‖u_j‖² + α_j²) on the training data, summed over outputs. */
  objective: number
  histories: readonly Float64Array[]
}

/** The objective at U, α with its gradients, both flat: U [m, d] and then α [m]. */
function objectiveGradient(x: Matrix, y: Float64Array, weights: Float64Array, m: number, beta: number, kind: ConvexReluLoss) {
  const [n, d] = [x.rows, x.cols]
  const U: Matrix = { rows: m, cols: d, data: weights.subarray(0, m * d) }
  const alpha = weights.subarray(m * d)
  const hidden = matmul(x, U, { transposeB: true }).data
  const outputs = new Float64Array(n)
  for (let k = 0, p = 0; k < n; k++) for (let j = 0; j < m; j++, p++) if (hidden[p] > 0) outputs[k] += alpha[j] * hidden[p]
  const loss = outputLoss(kind)
  const slopes = loss.gradient(outputs, y)
  const gradient = new Float64Array(weights.length)
  let decay = 0
  for (let i = 0; i < weights.length; i++) {
    gradient[i] = beta * weights[i]
    decay += weights[i] * weights[i]
  }
  for (let k = 0, p = 0; k < n; k++) {
    for (let j = 0; j < m; j++, p++) {
      if (hidden[p] > 0) {
        gradient[m * d + j] += slopes[k] * hidden[p]
        hidden[p] = slopes[k] * alpha[j]
      } else hidden[p] = 0
    }
  }
  const byU = matmul({ rows: n, cols: m, data: hidden }, x, { transposeA: true }).data
  for (let i = 0; i < byU.length; i++) gradient[i] += byU[i]
  return { value: loss.value(outputs, y) + 0.5 * beta * decay, gradient }
}

/**
 * Trains a two-layer ReLU network by back-propagation on the objective whose optimum the convex program finds:
 * ℓ(Σ_j α_j relu(X u_j), y) + (β/2) Σ_j (‖u_j‖² + α_j²), full-batch, from u ~ N(0, I/d), α ~ N(0, I/m).
 *
 * @param X - inputs [n, d]
 * @param y - targets [n], ±1, or labels
 * @param options - as {@link fitConvexRelu}, and width, optimiser, attack
 * @throws OptionError, ShapeError and DataError as {@link fitConvexRelu}
 *
 * @example
 * ```ts
 * import { fitBackpropRelu } from '@bpf/local'
 *
 * const model = await fitBackpropRelu([[0], [1], [2], [3]], [0, 1, 0, 1], { beta: 1e-3, units: 20, steps: 500 })
 * console.log(model.objective, model.predict([[1.5]]))
 * ```
 */
export async function fitBackpropRelu(X: MatrixInput, y: VectorInput, options: FitBackpropReluOptions = {}): Promise<BackpropReluNetwork> {
  const caller = 'fitBackpropRelu'
  const problem = readProblem(X, y, options, caller)
  const { units = 100, optimizer = 'adam', learningRate = 0.01, steps = 3000, adversarial, key = random.key(0), signal } = options
  checkCount(units, 'units', caller)
  checkCount(steps, 'steps', caller)
  checkPositive(learningRate, 'learningRate', caller)
  checkChoice(optimizer, ['adam', 'gd'], 'optimizer', caller)
  const { x, targets, loss, beta, scale, features } = problem
  const [m, d] = [units, x.cols]
  const attackWork = adversarial === undefined ? 1 : 1 + (adversarial.steps ?? 40)
  const turn = turnEvery(3 * x.rows * m * d * attackWork)
  const networks: ReluNetwork[] = []
  const histories: Float64Array[] = []
  for (const [k, target] of targets.entries()) {
    const draws = random.normalArray(random.fold(key, k), m * (d + 1))
    const weights = Float64Array.from(draws, (value, i) => value / Math.sqrt(i < m * d ? d : m))
    const [mean, square] = [new Float64Array(weights.length), new Float64Array(weights.length)]
    const history = new Float64Array(steps)
    // The attacked network is a view: it follows the weights.
    const network: ReluNetwork = { U: { rows: m, cols: d, data: weights.subarray(0, m * d) }, alpha: weights.subarray(m * d) }
    for (let step = 0; step < steps; step++) {
      if (step % turn === turn - 1) await yieldToEventLoop()
      signal?.throwIfAborted()
      const seen = adversarial === undefined ? x : attackReluNetwork([network], x, target, loss, { ...adversarial, columns: features })
      const { value, gradient } = objectiveGradient(seen, target, weights, m, beta, loss)
      history[step] = scale * value
      const rate = cosineRate(learningRate, step, steps)
      for (let i = 0; i < gradient.length; i++) gradient[i] *= scale
      if (optimizer === 'adam') adamStep(weights, mean, square, gradient, step + 1, rate)
      else for (let i = 0; i < weights.length; i++) weights[i] -= rate * gradient[i]
    }
    networks.push(network)
    histories.push(history)
  }
  const objective = networks.reduce((sum, network, k) => sum + scale * reluNetworkObjective(network, x, targets[k], { beta, loss }), 0)
  return { ...convexReluModel({ ...problem.parts, networks }), objective, histories }
}
