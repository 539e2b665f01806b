/**
 * S. Emami, G. Martínez-Muñoz, "Sequential Training of Neural Networks with Gradient Boosting", IEEE Access 11 (2023),
 * arXiv 1909.12098. A network with one hidden layer is an additive model of its units; it is fitted J units at a time:
 * a tiny regression network learns the pseudo-residuals of the loss, a Newton step scales it, and all are merged into one
 * network, whose last units can be switched off.
 *
 * As in the reference (GAA-UAM/GBNN), the Newton step and the update use all rows although each small network may see a
 * subsample. Unlike it, the subsample is drawn by the key, so that runs repeat, and the loss and the gradient of a small
 * network with several outputs belong together (scikit-learn's don't).
 */
import {
  DataError,
  fitStages,
  OptionError,
  random,
  ShapeError,
  type Dataset,
  type Json,
  type Key,
  type LearnerState,
  type Staged,
} from '@bpf/core'
import { batch, fromArrays, readMatrix, readVector, type MatrixInput, type VectorInput } from '@bpf/core/data'
import * as tf from '@tensorflow/tfjs-core'
import { boostingLoss, type BoostingLoss } from './losses'
import { addScaled, boostedNetworkModel, constantRows, type GradientBoostedNetwork } from './model'
import { networkOutputs, type NetworkWeights } from './small-network'
import {
  checkFeatures,
  doubles,
  fitStepState,
  initialStepState,
  networkTensors,
  readStepOptions,
  readWeights,
  type StepNetworkOptions,
  type StepNetworkState,
} from './step-network'

/** Options of {@link gradientBoostedNetwork}. */
export interface GradientBoostedNetworkOptions extends Omit<StepNetworkOptions, 'units'> {
  /** Number of classes K ≥ 2; 0 (the default) for regression. */
  classes?: number
  /** Hidden units in all; T = ⌊totalUnits / J⌋ steps. Default 200. */
  totalUnits?: number
  /** J, units fitted in one step. Default 1. */
  unitsPerStep?: number
  /** Shrinkage η > 0 of each step. Default 1. */
  eta?: number
  /** Fraction of rows in (0, 1] each small network is fitted on, drawn without replacement. Default 0.5. */
  subsample?: number
}

/** Options of {@link fitGradientBoostedNetwork}. */
export interface FitGradientBoostedNetworkOptions extends Omit<GradientBoostedNetworkOptions, 'classes'> {
  task: 'regression' | 'classification'
  /** Root of all randomness. Default the key of seed 0. */
  key?: Key
  signal?: AbortSignal
}

/** x [n, d]; y [n]: targets, or class indices 0 … K − 1. */
export type BoostedBatch = { x: tf.Tensor; y: tf.Tensor }

/** All step networks side by side, unscaled: W1 [d, T·J], b1 [T·J], W2 [T·J, K'], b2 [T, K'], ρ [T] (0 for steps to come), F_0 [K']. */
export type BoostedState = { W1: tf.Tensor; b1: tf.Tensor; W2: tf.Tensor; b2: tf.Tensor; rho: tf.Tensor; f0: tf.Tensor }

/** What stays in double precision between stages. */
type BoostedHost = {
  /** Steps done. */
  fitted: number
  /** Nothing is left to fit: further steps add nothing. */
  exhausted: boolean
  f0: Float64Array
  rho: Float64Array
  /** F on all training rows [n, K']; empty before the first stage. */
  raw: Float64Array
  /** Mean loss after 0 … fitted steps. */
  losses: Float64Array
}

/** The whole training set: x [n, d] row-major, y encoded for the loss. */
interface TrainingData {
  x: Float64Array
  y: Float64Array
  rows: number
}

interface Settings {
  step: Required<StepNetworkOptions>
  steps: number
  classes: number
  eta: number
  subsample: number
  loss: BoostingLoss
}

function readSettings(options: GradientBoostedNetworkOptions): Settings {
  const { classes = 0, totalUnits = 200, unitsPerStep = 1, eta = 1, subsample = 0.5, ...rest } = options
  const step = readStepOptions({ ...rest, units: unitsPerStep })
  if (!Number.isInteger(classes) || classes < 0 || classes === 1) {
    throw new OptionError(`gradientBoostedNetwork: need at least two classes (or 0 for regression), got ${classes}`)
  }
  if (!Number.isInteger(totalUnits) || totalUnits < unitsPerStep) {
    throw new OptionError(`totalUnits must be at least unitsPerStep, got totalUnits ${totalUnits} and unitsPerStep ${unitsPerStep}`)
  }
  if (!(eta > 0 && Number.isFinite(eta))) throw new OptionError(`eta must be a positive number, got ${eta}`)
  if (!(subsample > 0 && subsample <= 1)) throw new OptionError(`subsample must be in (0, 1], got ${subsample}`)
  const loss =
    classes === 0 ? boostingLoss('squared') : classes === 2 ? boostingLoss('logExponential') : boostingLoss('crossEntropy', classes)
  return { step, steps: Math.floor(totalUnits / unitsPerStep), classes, eta, subsample, loss }
}

/** y as the loss wants it: as it is, ±1, or one-hot. */
function encode(y: Float64Array, classes: number): Float64Array {
  if (classes === 0) return y
  const bad = y.findIndex((k) => !(Number.isInteger(k) && k >= 0 && k < classes))
  if (bad >= 0) throw new DataError(`y: ${y[bad]} at index ${bad}; expected a class index from 0 to ${classes - 1}`)
  if (new Set(y).size < 2) throw new DataError(`y: need at least two classes, got only class ${y[0]}`)
  if (classes === 2) return y.map((k) => 2 * k - 1)
  const oneHot = new Float64Array(y.length * classes)
  y.forEach((k, i) => (oneHot[i * classes + k] = 1))
  return oneHot
}

function checkFinite(values: Float64Array, name: string): void {
  const bad = values.findIndex((value) => !Number.isFinite(value))
  if (bad >= 0) throw new DataError(`${name}: ${values[bad]} at position ${bad}; expected finite values`)
}

/** Reads every row of a dataset once, in order. */
async function readAll(dataset: Dataset<BoostedBatch>, classes: number): Promise<TrainingData> {
  const parts: { x: Float64Array; y: Float64Array }[] = []
  for await (const { batch: rows, weight } of dataset.weightedBatches()) {
    const count = doubles(weight).reduce((sum, value) => sum + value, 0)
    const d = rows.x.shape[1] ?? 1
    parts.push({ x: doubles(rows.x).subarray(0, count * d), y: doubles(rows.y).subarray(0, count) })
    tf.dispose([rows.x, rows.y, weight])
  }
  const join = (arrays: Float64Array[]): Float64Array => {
    const whole = new Float64Array(arrays.reduce((length, array) => length + array.length, 0))
    let at = 0
    for (const array of arrays) {
      whole.set(array, at)
      at += array.length
    }
    return whole
  }
  const [x, y] = [join(parts.map((part) => part.x)), join(parts.map((part) => part.y))]
  checkFinite(x, 'x')
  checkFinite(y, 'y')
  return { x, y: encode(y, classes), rows: y.length }
}

const mean = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0) / values.length

/** The host part at the start of a stage: F_0 on all rows before the first. */
function startHost(host: Json, data: TrainingData, loss: BoostingLoss): BoostedHost {
  const before = host as unknown as BoostedHost
  if (before.raw.length > 0) {
    if (before.raw.length !== data.rows * loss.outputs) {
      throw new ShapeError(
        `gradientBoostedNetwork: the run began with ${before.raw.length / loss.outputs} rows, this dataset has ${data.rows}`,
      )
    }
    return before
  }
  const f0 = loss.initial(data.y)
  const raw = constantRows(f0, data.rows)
  return { ...before, f0, raw, losses: Float64Array.of(mean(loss.rowLosses(data.y, raw))) }
}

/** The rows one small network is fitted on. */
function drawRows(key: Key, n: number, subsample: number): Int32Array {
  const count = Math.floor(subsample * n)
  if (count < 1) throw new OptionError(`subsample: ${subsample} of ${n} rows leaves no row; choose at least ${1 / n}`)
  if (count === n) return Int32Array.from({ length: n }, (_, i) => i)
  return random.permutationArray(key, n).slice(0, count)
}

/** ρ_t, F and the mean loss after step t, on all rows. */
function advance(host: BoostedHost, data: TrainingData, residuals: Float64Array, h: Float64Array, { loss, eta }: Settings): BoostedHost {
  const rho = eta * loss.newtonStep(data.y, residuals, h)
  const raw = host.raw.slice()
  addScaled(raw, rho, h)
  return {
    ...host,
    fitted: host.fitted + 1,
    exhausted: rho === 0,
    rho: Float64Array.of(...host.rho, rho),
    raw,
    losses: Float64Array.of(...host.losses, mean(loss.rowLosses(data.y, raw))),
  }
}

/** The state with block t filled in. */
function withBlock(tensors: BoostedState, t: number, weights: NetworkWeights, host: BoostedHost, J: number): BoostedState {
  const filled = (name: keyof BoostedState, fill: (values: Float32Array) => void): tf.Tensor => {
    const values = Float32Array.from(tensors[name].dataSync())
    fill(values)
    return tf.tensor(values, tensors[name].shape, 'float32')
  }
  const [d, total] = tensors.W1.shape as [number, number]
  return {
    W1: filled('W1', (values) => {
      for (let i = 0; i < d; i++) values.set(weights.W1.subarray(i * J, (i + 1) * J), i * total + t * J)
    }),
    b1: filled('b1', (values) => values.set(weights.b1, t * J)),
    W2: filled('W2', (values) => values.set(weights.W2, t * weights.W2.length)),
    b2: filled('b2', (values) => values.set(weights.b2, t * weights.b2.length)),
    rho: filled('rho', (values) => values.set(host.rho)),
    f0: filled('f0', (values) => values.set(host.f0)),
  }
}

/** The weights of block t of a state. */
function blockOf({ W1, b1, W2, b2 }: NetworkWeights, t: number, d: number, J: number, K: number): NetworkWeights {
  const total = b1.length
  const first = new Float64Array(d * J)
  for (let i = 0; i < d; i++) first.set(W1.subarray(i * total + t * J, i * total + (t + 1) * J), i * J)
  return { W1: first, b1: b1.slice(t * J, (t + 1) * J), W2: W2.slice(t * J * K, (t + 1) * J * K), b2: b2.slice(t * K, (t + 1) * K) }
}

/**
 * Gradient boosting of small networks as a staged method, one stage for each step t:
 *
 *   r = −∂L/∂F,  net_t = argmin ½ mean over S of ‖net(x) − r‖²,  ρ_t = η Σ r h / Σ h² ∂²L/∂F² with h = net_t(X),
 *   F ← F + ρ_t h.
 *
 * L is the squared error (`classes` 0), the log-exponential loss (2) or the cross-entropy (3 and more). The dataset is read
 * whole, once; a stage is one step of `fit`. Weights are kept in float32, everything else in double precision.
 *
 * @param options - number of classes, units, shrinkage, subsample, and how each small network is fitted
 * @returns a method for `fitStages` over batches x [n, d], y [n]; it predicts values [n], or probabilities [n, K]
 * @throws OptionError for options out of range; DataError for NaN or a single class in the data
 * @see Emami, Martínez-Muñoz 2023, arXiv 1909.12098
 */
export function gradientBoostedNetwork(options: GradientBoostedNetworkOptions = {}): Staged<BoostedState, BoostedBatch> {
  const settings = readSettings(options)
  const { step, steps, classes, subsample, loss } = settings
  const [J, K] = [step.units, loss.outputs]
  const read = new WeakMap<Dataset<BoostedBatch>, Promise<TrainingData>>()
  const readOnce = (dataset: Dataset<BoostedBatch>): Promise<TrainingData> => {
    const known = read.get(dataset) ?? readAll(dataset, classes)
    read.set(dataset, known)
    return known
  }
  return {
    stageCount: steps,
    init(_key, { x }) {
      const host: BoostedHost = {
        fitted: 0,
        exhausted: false,
        f0: new Float64Array(K),
        rho: new Float64Array(0),
        raw: new Float64Array(0),
        losses: new Float64Array(0),
      }
      const shapes = { W1: [x.shape[1] ?? 1, steps * J], b1: [steps * J], W2: [steps * J, K], b2: [steps, K], rho: [steps], f0: [K] }
      const zeros = (name: keyof typeof shapes): tf.Tensor => tf.zeros(shapes[name])
      return {
        tensors: { W1: zeros('W1'), b1: zeros('b1'), W2: zeros('W2'), b2: zeros('b2'), rho: zeros('rho'), f0: zeros('f0') },
        host: host as unknown as Json,
      }
    },
    async stage(t, state, { dataset, key }) {
      const data = await readOnce(dataset)
      const features = state.tensors.W1.shape[0]
      const host = startHost(state.host, data, loss)
      const residuals = loss.residuals(data.y, host.raw)
      const nothingLeft = host.exhausted || residuals.reduce((sum, r) => sum + r * r, 0) < 1e-12
      const rows = drawRows(key, data.rows, subsample)
      const fitting = { ...step, features, outputs: K, loss: 'squared' } as const
      return {
        learner: {
          traceable: false,
          init: (initKey) => ({ tensors: initialStepState(initKey, features, K, step), host: null }),
          step(tensors, { x }, stepKey) {
            checkFeatures(x, features)
            return fitStepState(tensors as StepNetworkState, { x: data.x, target: residuals }, fitting, stepKey, rows)
          },
        },
        options: { steps: nothingLeft ? 0 : 1 },
        finish(inner) {
          if (nothingLeft) {
            const done = { ...host, exhausted: true } as unknown as Json
            const { W1, b1, W2, b2, rho } = state.tensors
            const f0 = tf.tensor1d(Float32Array.from(host.f0))
            return { tensors: { W1: W1.clone(), b1: b1.clone(), W2: W2.clone(), b2: b2.clone(), rho: rho.clone(), f0 }, host: done }
          }
          const weights = readWeights(inner.tensors as StepNetworkState)
          const h = networkOutputs(data.x, weights, fitting, step.activation)
          const next = advance(host, data, residuals, h, settings)
          return { tensors: withBlock(state.tensors, t, weights, next, J), host: next as unknown as Json }
        },
      }
    },
    predict(tensors, inputs) {
      const { W1, b1, W2, b2, rho, f0 } = tensors
      const scale = tf.reshape(tf.tile(tf.reshape(rho, [steps, 1]), [1, J]), [steps * J, 1])
      const merged = { W1, b1, W2: tf.mul(W2, scale), b2: tf.add(f0, tf.sum(tf.mul(tf.reshape(rho, [steps, 1]), b2), 0)) }
      const raw = networkTensors(inputs as tf.Tensor, merged, step.activation)
      if (classes === 0) return tf.reshape(raw, [-1])
      return classes === 2 ? tf.sigmoid(tf.mul(raw, tf.tensor2d([[-2, 2]]))) : tf.softmax(raw)
    },
  }
}

/**
 * The ensemble in a state that `fitStages` gave, in double precision.
 *
 * @param state - of {@link gradientBoostedNetwork} with the same options, fitted whole or in part
 * @param labels - label values of the classes; 0 … K − 1 without it
 */
export function boostedNetworkFromState(
  state: LearnerState<BoostedState>,
  options: GradientBoostedNetworkOptions,
  labels?: readonly number[],
): GradientBoostedNetwork {
  const { step, classes, loss } = readSettings(options)
  const { f0, rho, losses } = state.host as unknown as BoostedHost
  const all = readWeights(state.tensors)
  const features = state.tensors.W1.shape[0]
  return boostedNetworkModel({
    features,
    units: step.units,
    outputs: loss.outputs,
    loss: loss.kind,
    activation: step.activation,
    classes: classes === 0 ? undefined : (labels ?? Array.from({ length: classes }, (_, k) => k)),
    f0,
    rho,
    networks: Array.from(rho, (_, t) => blockOf(all, t, features, step.units, loss.outputs)),
    losses,
  })
}

/** Sorted distinct labels, and each row's index among them. */
function indexLabels(y: ArrayLike<number>): { labels: number[]; indices: Float32Array } {
  const labels = [...new Set(Array.from(y))].sort((a, b) => a - b)
  if (labels.length < 2) throw new DataError(`y: need at least two classes, got ${labels.length === 1 ? `only ${labels[0]}` : 'no rows'}`)
  const indexOf = new Map(labels.map((label, k) => [label, k]))
  return { labels, indices: Float32Array.from(y, (label) => indexOf.get(label) ?? 0) }
}

/**
 * Fits a boosted network to arrays: {@link gradientBoostedNetwork} through `fitStages`.
 *
 * @param X - inputs [n, d], standardised by the caller; kept in float32
 * @param y - targets [n] (float32), or labels [n]: any two or more distinct numbers
 * @param options - the task, and the options of the method
 * @returns the ensemble: predict, predictProba, stagedPredict, truncate, toNetwork
 * @throws ShapeError when X and y differ in length; DataError for NaN, infinities, or a single class
 * @throws OptionError for options out of range
 *
 * @example
 * ```ts
 * import { fitGradientBoostedNetwork } from '@bpf/local'
 *
 * const model = await fitGradientBoostedNetwork([[0], [1], [2], [3]], [0, 1, 4, 9], { task: 'regression', totalUnits: 4, subsample: 1 })
 * console.log(model.predict([[1.5]]), model.truncate(2).predict([[1.5]]), model.toNetwork().units)
 * ```
 */
export async function fitGradientBoostedNetwork(
  X: MatrixInput,
  y: VectorInput,
  options: FitGradientBoostedNetworkOptions,
): Promise<GradientBoostedNetwork> {
  const { task, key = random.key(0), signal, ...rest } = options
  if (task !== 'regression' && task !== 'classification') {
    throw new OptionError(`fitGradientBoostedNetwork: task must be 'regression' or 'classification', got '${String(task)}'`)
  }
  const { data, rows, cols } = readMatrix(X, 'X')
  const target = readVector(y, 'y')
  if (target.length !== rows)
    throw new ShapeError(`fitGradientBoostedNetwork: X has ${rows} rows, y ${target.length}; give one target a row`)
  if (rows === 0 || cols === 0) throw new DataError(`fitGradientBoostedNetwork: X is empty: [${rows}, ${cols}]`)
  const known = task === 'classification' ? indexLabels(target) : undefined
  const method = { ...rest, classes: known?.labels.length ?? 0 }
  const staged = gradientBoostedNetwork(method)
  const arrays = { x: { data: Float32Array.from(data), shape: [rows, cols] }, y: known?.indices ?? Float32Array.from(target) }
  const dataset = batch(fromArrays(arrays), rows)
  const fitted = await fitStages(staged, dataset, { key, signal })
  const model = boostedNetworkFromState(fitted.state, method, known?.labels)
  tf.dispose(fitted.state.tensors)
  signal?.throwIfAborted()
  return model
}
