import { DataError, isBpfError, OptionError, random, type Key } from '@bpf/core'
import { lbfgs } from '@bpf/core/solve'
import { compilesDoubles } from '../shared/doubles'
import { compiledObjective } from './compiled-objective'

/** Activation of the hidden units. */
export type UnitActivation = 'logistic' | 'tanh' | 'relu'

/** How a network is fitted. */
export type UnitSolver = 'lbfgs' | 'adam' | 'sgd'

export const unitActivations: readonly UnitActivation[] = ['logistic', 'tanh', 'relu']
export const unitSolvers: readonly UnitSolver[] = ['lbfgs', 'adam', 'sgd']

/** Sizes of a network with one hidden layer. */
export interface NetworkSizes {
  /** d */
  features: number
  /** J */
  units: number
  /** K' */
  outputs: number
}

/** A network with one hidden layer, row-major: W1 [d, J], b1 [J], W2 [J, K'], b2 [K']. */
export interface NetworkWeights {
  W1: Float64Array
  b1: Float64Array
  W2: Float64Array
  b2: Float64Array
}

/** Training data in double precision: x [n, d], target [n, K']. */
export interface NetworkData {
  x: Float64Array | Float32Array
  target: Float64Array
}

/** What the objective of a network depends on. */
export type NetworkObjectiveOptions = Omit<FitNetworkOptions, 'solver' | 'maxIterations' | 'learningRate'>

/** Value and gradient at some weights. */
export interface Evaluation {
  value: number
  gradient: Float64Array
}

/** An objective over chosen rows, which a backend may hold until `dispose`. */
export interface NetworkObjective {
  evaluate(w: Float64Array): Evaluation
  dispose(): void
}

/** Options of {@link fitNetwork}. */
export interface FitNetworkOptions extends NetworkSizes {
  activation: UnitActivation
  solver: UnitSolver
  /** Iterations of L-BFGS, epochs of the others. */
  maxIterations: number
  /** L2 penalty α/2 ‖W‖² / n of the weights, not the biases. */
  alpha: number
  /** Step size of `adam` and `sgd`. */
  learningRate: number
  /** `squared`: ½ Σ_k (o_k − target_k)²; `softmax`: the cross-entropy of softmax(o). Both are means over rows. */
  loss: 'squared' | 'softmax'
}

/** All weights in one vector: W1 transposed [J, d], so that a unit's weights lie together, then b1, W2, b2. */
function pack({ W1, b1, W2, b2 }: NetworkWeights, { features: d, units: J }: NetworkSizes): Float64Array {
  const flat = new Float64Array(W1.length + b1.length + W2.length + b2.length)
  for (let i = 0; i < d; i++) for (let j = 0; j < J; j++) flat[j * d + i] = W1[i * J + j]
  flat.set(b1, d * J)
  flat.set(W2, d * J + J)
  flat.set(b2, d * J + J + W2.length)
  return flat
}

function unpack(flat: Float64Array, { features: d, units: J, outputs: K }: NetworkSizes): NetworkWeights {
  const W1 = new Float64Array(d * J)
  for (let i = 0; i < d; i++) for (let j = 0; j < J; j++) W1[i * J + j] = flat[j * d + i]
  const at = d * J + J
  return { W1, b1: flat.slice(d * J, at), W2: flat.slice(at, at + J * K), b2: flat.slice(at + J * K) }
}

function activate(z: number, activation: UnitActivation): number {
  if (activation === 'logistic') return 1 / (1 + Math.exp(-z))
  return activation === 'tanh' ? Math.tanh(z) : Math.max(z, 0)
}

/** Derivative of the activation, from its value. */
function slope(value: number, activation: UnitActivation): number {
  if (activation === 'logistic') return value * (1 - value)
  if (activation === 'tanh') return 1 - value * value
  return value > 0 ? 1 : 0
}

/** The hot loops read one kind of array only. */
const doubles = (x: Float64Array | Float32Array): Float64Array => (x instanceof Float64Array ? x : Float64Array.from(x))

/** hidden[j] = W1_j · x for the units j and j + 1 (where there is one): x is read once, and four sums overlap. */
function dotPair(x: Float64Array, at: number, w: Float64Array, d: number, j: number, hidden: Float64Array): void {
  const first = j * d
  const second = j + 1 < hidden.length ? first + d : first
  let [a, b, c, e] = [0, 0, 0, 0]
  let i = 0
  for (; i + 1 < d; i += 2) {
    const [even, odd] = [x[at + i], x[at + i + 1]]
    a += even * w[first + i]
    b += odd * w[first + i + 1]
    c += even * w[second + i]
    e += odd * w[second + i + 1]
  }
  if (i < d) {
    a += x[at + i] * w[first + i]
    c += x[at + i] * w[second + i]
  }
  hidden[j] = a + b
  if (j + 1 < hidden.length) hidden[j + 1] = c + e
}

/** hidden[j] and output[k] of one row. */
function forwardRow(
  x: Float64Array,
  row: number,
  w: Float64Array,
  { features: d, units: J, outputs: K }: NetworkSizes,
  activation: UnitActivation,
  hidden: Float64Array,
  output: Float64Array,
): void {
  const [b1, W2, b2] = [d * J, d * J + J, d * J + J + J * K]
  for (let j = 0; j < J; j += 2) dotPair(x, row * d, w, d, j, hidden)
  for (let j = 0; j < J; j++) hidden[j] = activate(hidden[j] + w[b1 + j], activation)
  for (let k = 0; k < K; k++) output[k] = w[b2 + k]
  for (let j = 0; j < J; j++) for (let k = 0; k < K; k++) output[k] += hidden[j] * w[W2 + j * K + k]
}

/** Adds back[j] · x to the gradient of the units j and j + 1. */
function spreadPair(x: Float64Array, at: number, back: Float64Array, gradient: Float64Array, d: number, j: number): void {
  const first = j * d
  const one = back[j]
  if (j + 1 === back.length) {
    for (let i = 0; i < d; i++) gradient[first + i] += one * x[at + i]
    return
  }
  const second = first + d
  const other = back[j + 1]
  for (let i = 0; i < d; i++) {
    const value = x[at + i]
    gradient[first + i] += one * value
    gradient[second + i] += other * value
  }
}

/** Turns the outputs of a row into its errors (∂ loss / ∂ output) and returns the row's loss. */
function rowError(output: Float64Array, target: Float64Array, at: number, loss: FitNetworkOptions['loss']): number {
  let value = 0
  if (loss === 'squared') {
    for (let k = 0; k < output.length; k++) {
      output[k] -= target[at + k]
      value += 0.5 * output[k] * output[k]
    }
    return value
  }
  let [max, sum] = [-Infinity, 0]
  for (let k = 0; k < output.length; k++) max = Math.max(max, output[k])
  for (let k = 0; k < output.length; k++) {
    value -= target[at + k] * (output[k] - max)
    sum += output[k] = Math.exp(output[k] - max)
  }
  for (let k = 0; k < output.length; k++) output[k] = output[k] / sum - target[at + k]
  return value + Math.log(sum)
}

/** Value and gradient of the data's part of the objective over some rows, not divided by their number, in one pass on the host. */
function hostObjective(
  x: Float64Array,
  target: Float64Array,
  options: NetworkObjectiveOptions,
): (w: Float64Array, rows: Int32Array) => Evaluation {
  const { features: d, units: J, outputs: K, activation } = options
  const [b1, W2, b2] = [d * J, d * J + J, d * J + J + J * K]
  const [hidden, back, output] = [new Float64Array(J), new Float64Array(J), new Float64Array(K)]
  return (w, rows) => {
    const gradient = new Float64Array(w.length)
    let value = 0
    for (const row of rows) {
      forwardRow(x, row, w, options, activation, hidden, output)
      value += rowError(output, target, row * K, options.loss)
      for (let k = 0; k < K; k++) gradient[b2 + k] += output[k]
      for (let j = 0; j < J; j++) {
        let error = 0
        for (let k = 0; k < K; k++) {
          error += output[k] * w[W2 + j * K + k]
          gradient[W2 + j * K + k] += output[k] * hidden[j]
        }
        back[j] = error * slope(hidden[j], activation)
        gradient[b1 + j] += back[j]
      }
      for (let j = 0; j < J; j += 2) spreadPair(x, row * d, back, gradient, d, j)
    }
    return { value, gradient }
  }
}

/** From this many products of the forward pass on a native call is cheaper than a loop on the host. */
const nativeWork = 40_000

function gatherRows(values: Float64Array, columns: number, rows: Int32Array): Float64Array {
  const out = new Float64Array(rows.length * columns)
  rows.forEach((row, i) => out.set(values.subarray(row * columns, (row + 1) * columns), i * columns))
  return out
}

/**
 * The objective of a network with its gradient: mean over rows of ½ Σ_k (o_k − target_k)² (or the cross-entropy) +
 * α/2 ‖W‖² / rows. scikit-learn averages its loss over outputs and not its gradient; a line search needs the two to belong
 * together. Few rows and units are computed in one pass on the host, more in one call of a backend with double precision.
 *
 * @param data - x [n, d] and target [n, K'], row-major
 * @param options - sizes, activation, α, loss
 * @returns for chosen rows, a function of all weights in one vector (W1 transposed [J, d], b1 [J], W2 [J, K'], b2 [K'])
 */
export function networkObjective(
  { x: inputs, target }: NetworkData,
  options: NetworkObjectiveOptions,
): (rows: Int32Array) => NetworkObjective {
  const { features: d, units: J, outputs: K, alpha } = options
  const [b1, W2, b2] = [d * J, d * J + J, d * J + J + J * K]
  const x = doubles(inputs)
  const onHost = hostObjective(x, target, options)
  const native = compilesDoubles()
  return (rows) => {
    const data =
      native && rows.length * (d * J + J * K) >= nativeWork
        ? compiledObjective(gatherRows(x, d, rows), gatherRows(target, K, rows), options)
        : { evaluate: (w: Float64Array) => onHost(w, rows), dispose: () => undefined }
    return {
      evaluate(w) {
        const { value: sum, gradient } = data.evaluate(w)
        let value = sum
        for (let i = 0; i < gradient.length; i++) {
          if (i < b1 || (i >= W2 && i < b2)) {
            value += 0.5 * alpha * w[i] * w[i]
            gradient[i] += alpha * w[i]
          }
          gradient[i] /= rows.length
        }
        return { value: value / rows.length, gradient }
      },
      dispose: () => data.dispose(),
    }
  }
}

/** Glorot's bound: √(2 / (fan in + fan out)) for logistic units, √(6 / …) otherwise. */
export function glorotBound(fanIn: number, fanOut: number, activation: UnitActivation): number {
  return Math.sqrt((activation === 'logistic' ? 2 : 6) / (fanIn + fanOut))
}

/** Fresh weights, biases with the bound of their layer's weights. */
export function initialNetwork(key: Key, { features: d, units: J, outputs: K }: NetworkSizes, activation: UnitActivation): NetworkWeights {
  const keys = random.split(key, 4)
  const draw = (i: number, n: number, bound: number): Float64Array =>
    Float64Array.from(random.uniformArray(keys[i], n, { low: -bound, high: bound }))
  const [first, second] = [glorotBound(d, J, activation), glorotBound(J, K, activation)]
  return { W1: draw(0, d * J, first), b1: draw(1, J, first), W2: draw(2, J * K, second), b2: draw(3, K, second) }
}

type RowObjective = (rows: Int32Array) => NetworkObjective

/** One evaluation over some rows. */
function evaluateOnce(objective: RowObjective, w: Float64Array, rows: Int32Array): Evaluation {
  const over = objective(rows)
  try {
    return over.evaluate(w)
  } finally {
    over.dispose()
  }
}

/** Adam (β 0.9, 0.999, ε 1e-8) or SGD with Nesterov momentum 0.9, in batches of min(200, n) rows, as in scikit-learn. */
function stochastic(objective: RowObjective, w: Float64Array, rows: Int32Array, options: FitNetworkOptions, key: Key): void {
  const size = Math.min(200, rows.length)
  const [first, second] = [new Float64Array(w.length), new Float64Array(w.length)]
  const { learningRate } = options
  let step = 0
  for (let epoch = 0; epoch < options.maxIterations; epoch++) {
    const order = random.permutationArray(random.fold(key, epoch), rows.length).map((i) => rows[i])
    for (let at = 0; at < order.length; at += size) {
      const { gradient } = evaluateOnce(objective, w, order.subarray(at, at + size))
      step++
      const rate = (learningRate * Math.sqrt(1 - 0.999 ** step)) / (1 - 0.9 ** step)
      for (let i = 0; i < w.length; i++) {
        if (options.solver === 'adam') {
          first[i] = 0.9 * first[i] + 0.1 * gradient[i]
          second[i] = 0.999 * second[i] + 0.001 * gradient[i] * gradient[i]
          w[i] -= (rate * first[i]) / (Math.sqrt(second[i]) + 1e-8)
        } else {
          first[i] = 0.9 * first[i] - learningRate * gradient[i]
          w[i] += 0.9 * first[i] - learningRate * gradient[i]
        }
      }
    }
  }
}

/** L-BFGS. On a kink of ReLU units it can be stuck, where the gradient is no slope any more: the best point then stands. */
function minimise(
  evaluate: (w: Float64Array) => Evaluation,
  w: Float64Array,
  { activation, maxIterations }: FitNetworkOptions,
): { x: Float64Array; value: number } {
  let best = { x: w, value: Infinity }
  const watched = (x: Float64Array) => {
    const result = evaluate(x)
    if (result.value < best.value) best = { x: x.slice(), value: result.value }
    return result
  }
  try {
    return lbfgs(activation === 'relu' ? watched : evaluate, w, { maxIterations, gradientTolerance: 0 })
  } catch (error) {
    if (activation === 'relu' && isBpfError(error, 'OptionError') && best.value < Infinity) return best
    throw error
  }
}

/**
 * Fits a network with one hidden layer, in double precision, from given weights.
 *
 * @param rows - the rows to fit on; all by default
 * @returns the weights, and the objective on these rows
 * @throws DataError when the objective is not finite
 */
export function fitNetwork(
  data: NetworkData,
  start: NetworkWeights,
  options: FitNetworkOptions,
  key: Key,
  rows: Int32Array = Int32Array.from({ length: data.x.length / options.features }, (_, i) => i),
): { weights: NetworkWeights; value: number } {
  const objective = networkObjective(data, options)
  const w = pack(start, options)
  if (options.solver === 'lbfgs') {
    const over = objective(rows)
    try {
      const { x, value } = minimise((v) => over.evaluate(v), w, options)
      return { weights: unpack(x, options), value }
    } finally {
      over.dispose()
    }
  }
  stochastic(objective, w, rows, options, key)
  const { value } = evaluateOnce(objective, w, rows)
  if (!Number.isFinite(value)) throw new DataError(`network: the loss became ${value}; check the inputs for NaN or lower learningRate`)
  return { weights: unpack(w, options), value }
}

/** Outputs [n, K'] of a network at x [n, d]. */
export function networkOutputs(
  x: Float64Array | Float32Array,
  weights: NetworkWeights,
  sizes: NetworkSizes,
  activation: UnitActivation,
): Float64Array {
  const inputs = doubles(x)
  const n = x.length / sizes.features
  const w = pack(weights, sizes)
  const out = new Float64Array(n * sizes.outputs)
  const hidden = new Float64Array(sizes.units)
  for (let row = 0; row < n; row++) {
    forwardRow(inputs, row, w, sizes, activation, hidden, out.subarray(row * sizes.outputs, (row + 1) * sizes.outputs))
  }
  return out
}

/** Refuses a name that is not in the list. */
export function checkChoice<T extends string>(value: T, choices: readonly T[], name: string): void {
  if (!choices.includes(value)) throw new OptionError(`${name} must be one of ${choices.join(', ')}, got '${String(value)}'`)
}
