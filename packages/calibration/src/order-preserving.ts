/**
 * Rahimi, Shaban, Cheng, Hartley, Boots: "Intra Order-preserving Functions for Calibration of Multi-Class Neural Networks",
 * NeurIPS 2020, arXiv 2003.06820. Reference code: AmirooR/IntraOrderPreservingCalibration (MIT).
 *
 * The gaps between neighbouring sorted logits are scaled by positive factors that a network computes, so the ranking stays. OP: the
 * network sees the logits; OI (order-invariant): the sorted logits; DIAG: one increasing scalar network for all logits.
 */
import { DataError, fit, OptionError, ShapeError, tree, valueAndGrad, type Learner } from '@bpf/core'
import { batch, fromArrays, shuffle, type LabelsInput } from '@bpf/core/data'
import { softplus } from '@bpf/core/numerics'
import { adam, applyUpdates, type AdamState } from '@bpf/core/optim'
import { fold, key as makeKey, uniformArray, type Key } from '@bpf/core/random'
import { lbfgs } from '@bpf/core/solve'
import * as tf from '@tensorflow/tfjs-core'
import {
  checkMap,
  initMap,
  makeMapCalibrator,
  mapVector,
  scalarNet,
  standardisation,
  type CalibrationMap,
  type MapCalibrator,
  type Standardisation,
} from './calibration-maps'
import {
  breathe,
  makeCalibrator,
  openFitData,
  positiveInteger,
  savedVector,
  savedWord,
  type Calibrator,
  type CalibratorState,
  type FitCalibratorOptions,
  type FitData,
} from './shared/calibrator'
import { forEachBlock, logitFloor, logSoftmaxRows, mapRows, openLogits, softmaxRows, type BlockTransform, type Rows } from './shared/rows'

/** One dense layer: `kernel` [in, out], `bias` [out]. */
type Layer = { kernel: tf.Tensor; bias: tf.Tensor }

/** Options of {@link orderPreserving}. */
export interface OrderPreservingOptions {
  /** Number of classes K. */
  classes: number
  /** 'OI' sees sorted logits, 'OP' the logits as they are. Default 'OI'. */
  variant?: 'OP' | 'OI'
  /** Widths of the hidden ReLU layers. Default [50, 50]. */
  hidden?: readonly number[]
  /** Adam's learning rate. Default 0.005. */
  learningRate?: number
  /** Coupled L2 weight decay. Default 0.0005. */
  weightDecay?: number
}

/** A batch: logits `x` float32 [n, K] and labels `y` int32 [n]. */
export type OrderPreservingBatch = { x: tf.Tensor; y: tf.Tensor }

/** What the learner trains. */
export type OrderPreservingState = { layers: Layer[]; optimizer: AdamState }

/** Layers drawn as PyTorch's linear layers: U(−1/√in, 1/√in). */
function initLayers(widths: readonly number[], key: Key): Layer[] {
  return widths.slice(1).map((width, i) => {
    const bound = 1 / Math.sqrt(widths[i])
    const draw = (index: number, n: number): Float32Array => uniformArray(fold(key, 2 * i + index), n, { low: -bound, high: bound })
    return { kernel: tf.tensor2d(draw(0, widths[i] * width), [widths[i], width]), bias: tf.tensor1d(draw(1, width)) }
  })
}

function forward(layers: readonly Layer[], x: tf.Tensor2D): tf.Tensor2D {
  return layers.reduce((hidden, { kernel, bias }, i) => {
    const out = tf.add(tf.matMul(hidden, kernel as tf.Tensor2D), bias) as tf.Tensor2D
    return i + 1 < layers.length ? tf.relu(out) : out
  }, x)
}

/** Descending logits, and the mapped ones in the same order: Σ of the gaps below times softplus(m), the least is 0. */
function sortedOutput(layers: readonly Layer[], x: tf.Tensor2D, variant: 'OP' | 'OI'): { mapped: tf.Tensor2D; indices: tf.Tensor2D } {
  const [rows, classes] = x.shape
  const { values, indices } = tf.topk(x, classes, true)
  const m = forward(layers, variant === 'OI' ? (values as tf.Tensor2D) : x)
  // m_0 stays 0; m_j belongs to the gap above the j-th smallest logit, so the factors run the other way than the gaps.
  const factors = tf.reverse(tf.softplus(tf.slice(m, [0, 1], [rows, classes - 1])), 1)
  const gaps = tf.sub(tf.slice(values, [0, 0], [rows, classes - 1]), tf.slice(values, [0, 1], [rows, classes - 1]))
  const sums = tf.cumsum(tf.mul(gaps, factors), 1, false, true)
  return {
    mapped: tf.pad(sums, [
      [0, 0],
      [0, 1],
    ]) as tf.Tensor2D,
    indices: indices as tf.Tensor2D,
  }
}

/**
 * Order-preserving networks OP and OI as a learner: negative log-likelihood, Adam with L2.
 *
 * @throws OptionError for options out of range
 * @see arXiv 2003.06820
 */
export function orderPreserving(options: OrderPreservingOptions): Learner<OrderPreservingState, OrderPreservingBatch> {
  const { classes, variant = 'OI', hidden = [50, 50], learningRate = 0.005, weightDecay = 5e-4 } = options
  if (!Number.isInteger(classes) || classes < 2) throw new OptionError(`classes: expected an integer of at least 2, got ${classes}`)
  if (variant !== 'OP' && variant !== 'OI') throw new OptionError(`variant: expected 'OP' or 'OI', got '${String(variant)}'`)
  hidden.forEach((width) => positiveInteger(width, 'hidden'))
  const optimizer = adam({ learningRate, weightDecay })
  return {
    init(key) {
      const layers = initLayers([classes, ...hidden, classes], key)
      return { tensors: { layers, optimizer: optimizer.init(layers) }, host: null }
    },
    step(tensors, { x, y }) {
      if (x.rank !== 2 || x.shape[1] !== classes)
        throw new ShapeError(`batch.x: expected logits [n, ${classes}], got [${x.shape.join(', ')}]`)
      return tree.tidy(() => {
        const { value, grads } = valueAndGrad((layers: Layer[]) => {
          const { mapped, indices } = sortedOutput(layers, tf.maximum(x, logitFloor) as tf.Tensor2D, variant)
          const own = tf.cast(tf.equal(indices, tf.expandDims(y, 1)), 'float32')
          return tf.mean(tf.sub(tf.logSumExp(mapped, 1), tf.sum(tf.mul(mapped, own), 1)))
        })(tensors.layers)
        const { updates, state } = optimizer.update(grads, tensors.optimizer, tensors.layers)
        return { tensors: { layers: applyUpdates(tensors.layers, updates), optimizer: state }, metrics: { loss: value } }
      })
    },
    predict: ({ layers }, x) =>
      tree.tidy(() => {
        const { mapped, indices } = sortedOutput(layers, tf.maximum(x as tf.Tensor, logitFloor) as tf.Tensor2D, variant)
        // Ascending indices: where in the sorted row each class stands.
        const places = tf.topk(tf.neg(tf.cast(indices, 'float32')), classes, true).indices
        return tf.softmax(tf.gather(mapped, places, 1, 1))
      }),
  }
}

/** Ranks of a row, smallest first; ties by index from the end, as a descending stable sort read backwards. */
function ascending(block: Float64Array, at: number, classes: number): Int32Array {
  const order = Int32Array.from({ length: classes }, (_, k) => k)
  return order.sort((a, b) => block[at + a] - block[at + b] || b - a)
}

/** Maps one row in place: the j-th smallest is the sum of the gaps below it times softplus(m_i), i = 1 … j. */
function mapRow(block: Float64Array, at: number, order: Int32Array, raw: ArrayLike<number>): void {
  let below = block[at + order[0]]
  let sum = 0
  block[at + order[0]] = 0
  for (let j = 1; j < order.length; j++) {
    const value = block[at + order[j]]
    sum += softplus(raw[j]) * (value - below)
    below = value
    block[at + order[j]] = sum
  }
}

/**
 * The intra order-preserving map with given factors: sorted, gap j is scaled by softplus(m_j), j = 1 … K − 1 from the smallest
 * logit up; the smallest logit becomes 0.
 *
 * @param logits - [n, K]
 * @param raw - m [K]; m_0 is not used
 * @returns mapped logits [n, K], in the form of the input; their softmax are the probabilities
 * @throws ShapeError, DataError for malformed logits or another number of factors
 * @see arXiv 2003.06820
 */
export function orderPreservingLogits<T extends Rows>(logits: T, raw: ArrayLike<number>): T {
  const classes = raw.length
  const source = openLogits(logits, 'logits', classes, () => undefined)
  return mapRows(logits, source, (block, rows) => {
    for (let row = 0, at = 0; row < rows; row++, at += classes) mapRow(block, at, ascending(block, at, classes), raw)
  }) as T
}

/** Options of {@link fitOrderPreserving}. */
export interface FitOrderPreservingOptions extends FitCalibratorOptions {
  /** Default 'OI'. */
  variant?: 'OP' | 'OI' | 'DIAG'
  /** Widths of the hidden layers. Default [50, 50]; DIAG has two layers of equal width, default [10, 10]. */
  hidden?: readonly number[]
  /** Passes over the data (OP, OI). Default 40. */
  epochs?: number
  /** Rows of one step (OP, OI). Default 256. */
  batchSize?: number
  /** Default 0.005. */
  learningRate?: number
  /** Default 0.0005. */
  weightDecay?: number
  /** L-BFGS iterations at most (DIAG). Default 50. */
  maxIterations?: number
  /** Randomness of start values and order. Alternatively `seed`. Default seed 0. */
  key?: Key
  seed?: number
}

/** A trained order-preserving network. */
export interface OrderPreservingCalibrator extends Calibrator {
  readonly variant: 'OP' | 'OI'
  /** The mapped logits, whose softmax `apply` returns, in the form of the input. */
  applyLogits<T extends Rows>(logits: T): T
}

/** Layers as plain vectors: kernel [in·out] and bias [out], widths from the input to the output. */
interface PlainNet {
  widths: number[]
  kernels: Float64Array[]
  biases: Float64Array[]
}

/**
 * Fits an order-preserving network by the negative log-likelihood.
 *
 * @param logits - [N, K] of held-out examples
 * @param labels - [N] class indices
 * @returns a calibrator that never changes the ranking of a row's classes (DIAG: a map calibrator)
 * @throws ShapeError, DataError for malformed input, OptionError for options out of range
 * @see arXiv 2003.06820
 */
export async function fitOrderPreserving(
  logits: Rows,
  labels: LabelsInput,
  options: FitOrderPreservingOptions = {},
): Promise<OrderPreservingCalibrator | MapCalibrator> {
  const { variant = 'OI', key, seed } = options
  if (variant !== 'OP' && variant !== 'OI' && variant !== 'DIAG')
    throw new OptionError(`variant: expected 'OP', 'OI' or 'DIAG', got '${String(variant)}'`)
  if (key !== undefined && seed !== undefined) throw new OptionError('key, seed: give one of them, not both')
  const data = openFitData(logits, labels, options)
  const root = key ?? makeKey(seed ?? 0)
  return variant === 'DIAG' ? fitDiagonal(data, options, root) : fitNet(data, variant, options, root)
}

function floats(data: FitData): Float32Array {
  return data.data instanceof Float32Array ? data.data : Float32Array.from(data.data)
}

async function fitNet(
  data: FitData,
  variant: 'OP' | 'OI',
  options: FitOrderPreservingOptions,
  key: Key,
): Promise<OrderPreservingCalibrator> {
  const { rows, classes } = data
  const { hidden = [50, 50], epochs = 40, batchSize = 256, learningRate, weightDecay, signal, onProgress } = options
  positiveInteger(epochs, 'epochs')
  const size = Math.min(rows, positiveInteger(batchSize, 'batchSize'))
  const learner = orderPreserving({ classes, variant, hidden, learningRate, weightDecay })
  const examples = fromArrays({
    x: { data: floats(data), shape: [rows, classes] },
    y: { data: data.labels, shape: [rows], dtype: 'int32' },
  })
  const total = epochs * Math.floor(rows / size)
  const reporter = {
    report: (event: { type: string; step?: number }) => event.type === 'step' && onProgress?.({ done: event.step ?? 0, total }),
  }
  const result = await fit(learner, batch(shuffle(examples), size), { epochs, key, signal, reporter: reporter as never })
  const layers = result.state.tensors.layers
  const kernels = await Promise.all(layers.map(async ({ kernel }) => Float64Array.from(await kernel.data())))
  const biases = await Promise.all(layers.map(async ({ bias }) => Float64Array.from(await bias.data())))
  tree.dispose(result.state.tensors)
  signal?.throwIfAborted()
  return makeOrderPreserving(classes, variant, { widths: [classes, ...hidden, classes], kernels, biases }, data.warnings)
}

/** Output of a plain network for one input vector. */
function runNet({ widths, kernels, biases }: PlainNet, input: Float64Array): Float64Array {
  let hidden = input
  kernels.forEach((kernel, layer) => {
    const out = biases[layer].slice()
    const width = widths[layer + 1]
    for (let i = 0; i < widths[layer]; i++) {
      const value = hidden[i]
      if (value !== 0) for (let j = 0, w = i * width; j < width; j++, w++) out[j] += value * kernel[w]
    }
    if (layer + 1 < kernels.length) for (let j = 0; j < width; j++) out[j] = Math.max(0, out[j])
    hidden = out
  })
  return hidden
}

function makeOrderPreserving(classes: number, variant: 'OP' | 'OI', net: PlainNet, warnings: readonly string[]): OrderPreservingCalibrator {
  const toLogits: BlockTransform = (block, rows) => {
    for (let row = 0, at = 0; row < rows; row++, at += classes) {
      const order = ascending(block, at, classes)
      const input = block.slice(at, at + classes)
      if (variant === 'OI') input.forEach((_, i) => (input[i] = block[at + order[classes - 1 - i]]))
      mapRow(block, at, order, runNet(net, input))
    }
  }
  const transform: BlockTransform = (block, rows) => {
    toLogits(block, rows)
    softmaxRows(block, rows, classes)
  }
  const parameters = { variant, widths: Float64Array.from(net.widths), kernels: joined(net.kernels), biases: joined(net.biases) }
  const calibrator = makeCalibrator({ kind: 'orderPreserving', classes, parameters, transform, warnings })
  const applyLogits = <T extends Rows>(logits: T): T => {
    const source = openLogits(logits, 'logits', ArrayBuffer.isView(logits) ? classes : undefined, () => undefined)
    if (source.classes !== classes)
      throw new ShapeError(`logits: the calibrator was fitted on ${classes} classes, got ${source.classes} columns`)
    return mapRows(logits, source, toLogits) as T
  }
  return { ...calibrator, variant, applyLogits }
}

function joined(vectors: readonly Float64Array[]): Float64Array {
  const all = new Float64Array(vectors.reduce((sum, vector) => sum + vector.length, 0))
  let offset = 0
  for (const vector of vectors) {
    all.set(vector, offset)
    offset += vector.length
  }
  return all
}

/** A saved order-preserving network. @throws DataError */
export function loadOrderPreserving(state: CalibratorState): OrderPreservingCalibrator {
  const widths = Array.from(savedVector(state, 'widths'))
  if (
    widths.length < 2 ||
    widths[0] !== state.classes ||
    widths[widths.length - 1] !== state.classes ||
    !widths.every((w) => Number.isInteger(w) && w > 0)
  ) {
    throw new DataError(`calibrator state 'orderPreserving': parameters.widths should run from ${state.classes} to ${state.classes}`)
  }
  const outputs = widths.slice(1)
  const kernels = savedVector(
    state,
    'kernels',
    outputs.reduce((sum, width, i) => sum + width * widths[i], 0),
  )
  const biases = savedVector(
    state,
    'biases',
    outputs.reduce((sum, width) => sum + width, 0),
  )
  let k = 0
  let b = 0
  const net: PlainNet = {
    widths,
    kernels: outputs.map((width, i) => kernels.slice(k, (k += width * widths[i]))),
    biases: outputs.map((width) => biases.slice(b, (b += width))),
  }
  return makeOrderPreserving(state.classes, savedWord(state, 'variant', ['OP', 'OI'] as const), net, [])
}

/** DIAG: the nonlinear map of all logits alike, full-batch L-BFGS on the negative log-likelihood, in double precision. */
async function fitDiagonal(data: FitData, options: FitOrderPreservingOptions, key: Key): Promise<MapCalibrator> {
  const { hidden = [10, 10], maxIterations = 50, signal, onProgress } = options
  if (hidden.length !== 2 || hidden[0] !== hidden[1])
    throw new OptionError(`hidden: DIAG has two layers of equal width, got [${hidden.join(', ')}]`)
  positiveInteger(maxIterations, 'maxIterations')
  const map: CalibrationMap = checkMap({ type: 'nonlinear', hidden: hidden[0] })
  const standard = standardisation(data)
  await breathe(signal)
  const initial = initMap(map, key)
  const start = mapVector(map, initial)
  tree.dispose(initial)
  const objective = diagonalObjective(data, hidden[0], standard)
  let evaluations = 0
  const watched = (vector: Float64Array): { value: number; gradient: Float64Array } => {
    signal?.throwIfAborted()
    onProgress?.({ done: Math.min(++evaluations, maxIterations), total: maxIterations })
    return objective(vector)
  }
  const { x } = lbfgs(watched, start, { maxIterations, gradientTolerance: 1e-6, valueTolerance: 1e-9 })
  return makeMapCalibrator(data.classes, map, x, standard, data.warnings)
}

/**
 * Mean negative log-likelihood of softmax h(t) and its gradient in the parameters of h(t) = ∫₀ᵗ (ELU(net(u)) + 1) du.
 *
 * Each logit needs the net at 51 nodes, forward and backward; on the host that streams through a few registers, where tensors
 * would hold 51 H values for every logit.
 */
export function diagonalObjective(
  data: FitData,
  hidden: number,
  standard: Standardisation,
): (vector: Float64Array) => { value: number; gradient: Float64Array } {
  const { classes, labels, rows } = data
  return (vector) => {
    const net = scalarNet(vector, hidden)
    let loss = 0
    forEachBlock(data, (block, start, count) => {
      logSoftmaxRows(block, count, classes)
      for (let i = 0; i < count * classes; i++) block[i] = (block[i] - standard.mean) / standard.std
      const mapped = Float64Array.from(block.subarray(0, count * classes), net.integral)
      logSoftmaxRows(mapped, count, classes)
      for (let row = 0, i = 0; row < count; row++) {
        for (let k = 0; k < classes; k++, i++) {
          const isLabel = k === labels[start + row]
          if (isLabel) loss -= mapped[i]
          net.addGradient(block[i], (Math.exp(mapped[i]) - (isLabel ? 1 : 0)) / rows)
        }
      }
    })
    return { value: loss / rows, gradient: net.gradient }
  }
}
