/**
 * The order-preserving calibration maps of h-calibration (Huang et al. 2025, arXiv 2506.17968): the same increasing function is
 * applied to all logits of a row (or mixtures of softmaxes of them), so the ranking of classes never changes.
 *
 * All maps see z − logsumexp z. The reference interpolates its piecewise linear map from the output at the left knot instead
 * of the knot, which leaves jumps; here it is continuous. The reference's unused batch norm and scale are left out.
 */
import { DataError, OptionError, type Json } from '@bpf/core'
import { clenshawCurtis } from '@bpf/core/numerics'
import { fold, uniformArray, type Key } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { makeCalibrator, positiveInteger, savedVector, type Calibrator, type CalibratorState } from './shared/calibrator'
import { forEachBlock, logSoftmaxRows, mapRows, openLogits, softmaxRows, type BlockTransform, type RowData, type Rows } from './shared/rows'
import { stableOrder } from './shared/sort'

/**
 * Which map:
 * - temperature: softmax(|a| z)
 * - linear: Σ_j ω_j softmax(|a_j| z) of `members` J temperatures, ω_j = |w_j| / Σ |w|
 * - pwlinear: softmax of an increasing function of `segments` S equal pieces on [−100, 0]
 * - nonlinear: softmax of ∫₀ᵗ (ELU(net(u)) + 1) du of the standardised logit t, net 1 → H → H → 1 with ReLU
 */
export type CalibrationMap =
  | { readonly type: 'temperature' }
  | { readonly type: 'linear'; readonly members: number }
  | { readonly type: 'pwlinear'; readonly segments: number }
  | { readonly type: 'nonlinear'; readonly hidden: number }

/** The candidates of the paper: 12 maps. */
export const paperCalibrationMaps: readonly CalibrationMap[] = [
  ...[16, 32, 64, 128].map((members) => ({ type: 'linear', members }) as const),
  ...[1, 10, 100, 500].map((segments) => ({ type: 'pwlinear', segments }) as const),
  ...[2, 10, 20, 50].map((hidden) => ({ type: 'nonlinear', hidden }) as const),
]

/** Parameters of a map as tensors. */
export type MapParameters = { readonly [name: string]: tf.Tensor }

/** Mean and standard deviation of z − logsumexp z over the calibration data (used by the nonlinear map). */
export interface Standardisation {
  readonly mean: number
  readonly std: number
}

/** Where the pieces of the piecewise linear map end: beyond, the last slope goes on. */
const pieceRange = 100
/** Steps of the Clenshaw–Curtis rule of the nonlinear map. */
const quadratureSteps = 50
/** Largest number of values of one intermediate tensor: larger batches are cut, and recomputed for the gradient. */
const chunkValues = 2 ** 22

/** Mean and standard deviation (n − 1) of z − logsumexp z over all entries. */
export function standardisation(source: RowData): Standardisation {
  let count = 0
  let mean = 0
  let square = 0
  forEachBlock(source, (block, _start, blockRows) => {
    logSoftmaxRows(block, blockRows, source.classes)
    for (let i = 0; i < blockRows * source.classes; i++) {
      count++
      const difference = block[i] - mean
      mean += difference / count
      square += difference * (block[i] - mean)
    }
  })
  const std = count > 1 ? Math.sqrt(square / (count - 1)) : 0
  return { mean, std: std > 0 ? std : 1 }
}

/** Checks a map's size. @throws OptionError */
export function checkMap(map: CalibrationMap): CalibrationMap {
  if (map.type === 'linear') positiveInteger(map.members, 'map.members')
  else if (map.type === 'pwlinear') positiveInteger(map.segments, 'map.segments')
  else if (map.type === 'nonlinear') positiveInteger(map.hidden, 'map.hidden')
  else if ((map as { type: unknown }).type !== 'temperature') {
    throw new OptionError(`map: expected type temperature, linear, pwlinear or nonlinear, got '${String((map as { type: unknown }).type)}'`)
  }
  return map
}

/** Short name of a map: `pwlinear-100`. */
export function mapName(map: CalibrationMap): string {
  if (map.type === 'linear') return `linear-${map.members}`
  if (map.type === 'pwlinear') return `pwlinear-${map.segments}`
  return map.type === 'nonlinear' ? `nonlinear-${map.hidden}` : 'temperature'
}

/** Shapes of a map's parameters, in the order in which they lie in one vector. */
function shapesOf(map: CalibrationMap): Record<string, number[]> {
  if (map.type === 'temperature') return { a: [1] }
  if (map.type === 'linear') return { a: [map.members], w: [map.members] }
  if (map.type === 'pwlinear') return { slopes: [map.segments] }
  const h = map.hidden
  return { b1: [h], b2: [h], b3: [1], w1: [1, h], w2: [h, h], w3: [h, 1] }
}

const product = (shape: readonly number[]): number => shape.reduce((size, axis) => size * axis, 1)

/** Start values of a map: the identity for temperature and pwlinear, PyTorch's linear-layer draw for the others. */
export function initMap(map: CalibrationMap, key: Key): MapParameters {
  const parameters: Record<string, tf.Tensor> = {}
  Object.entries(shapesOf(map)).forEach(([name, shape], i) => {
    if (map.type === 'temperature' || map.type === 'pwlinear') {
      parameters[name] = tf.ones(shape)
      return
    }
    const fanIn = map.type === 'linear' ? map.members : name === 'w1' || name === 'b1' ? 1 : map.hidden
    const bound = 1 / Math.sqrt(fanIn)
    parameters[name] = tf.tensor(uniformArray(fold(key, i), product(shape), { low: -bound, high: bound }), shape)
  })
  return parameters
}

/** All parameters in one vector, in the order of {@link shapesOf}. */
export function mapVector(map: CalibrationMap, parameters: MapParameters): Float64Array {
  const named = Object.keys(shapesOf(map)).map((name) => parameters[name].dataSync())
  const vector = new Float64Array(named.reduce((size, part) => size + part.length, 0))
  let offset = 0
  for (const part of named) {
    vector.set(part, offset)
    offset += part.length
  }
  return vector
}

/** Tensors of a map's shapes from one vector: the inverse of {@link mapVector}. */
export function mapTree(map: CalibrationMap, vector: Float64Array): MapParameters {
  const named = parts(map, vector)
  return Object.fromEntries(Object.entries(shapesOf(map)).map(([name, shape]) => [name, tf.tensor(Float32Array.from(named[name]), shape)]))
}

function linearTensors({ a, w }: MapParameters, z: tf.Tensor): tf.Tensor {
  const members = a.shape[0] as number
  const scaled = tf.mul(tf.expandDims(z, 1), tf.reshape(tf.abs(a), [1, members, 1]))
  const size = tf.abs(w)
  const weights = tf.div(size, tf.sum(size))
  return tf.sum(tf.mul(tf.softmax(scaled), tf.reshape(weights, [1, members, 1])), 1)
}

function piecewiseTensors({ slopes }: MapParameters, z: tf.Tensor): tf.Tensor {
  const segments = slopes.shape[0] as number
  const width = pieceRange / segments
  const x = tf.relu(tf.neg(tf.reshape(z, [z.size])))
  const piece = tf.minimum(tf.floor(tf.div(x, width)), segments - 1)
  const index = tf.cast(piece, 'int32') as tf.Tensor1D
  const size = tf.abs(slopes)
  const before = tf.mul(tf.cumsum(size, 0, true), width)
  const g = tf.add(tf.gather(before, index), tf.mul(tf.gather(size, index), tf.sub(x, tf.mul(piece, width))))
  return tf.softmax(tf.reshape(tf.neg(g), z.shape))
}

function integralTensors({ b1, b2, b3, w1, w2, w3 }: MapParameters, z: tf.Tensor): tf.Tensor {
  const { nodes, weights } = clenshawCurtis(quadratureSteps)
  const t = tf.reshape(z, [z.size, 1])
  const half = tf.tensor2d(
    Float32Array.from(nodes, (node) => (1 + node) / 2),
    [1, nodes.length],
  )
  const u = tf.reshape(tf.mul(t, half), [z.size * nodes.length, 1])
  const first = tf.relu(tf.add(tf.matMul(u as tf.Tensor2D, w1 as tf.Tensor2D), b1))
  const second = tf.relu(tf.add(tf.matMul(first as tf.Tensor2D, w2 as tf.Tensor2D), b2))
  const out = tf.add(tf.matMul(second as tf.Tensor2D, w3 as tf.Tensor2D), b3)
  const rate = tf.reshape(tf.add(tf.elu(out), 1), [z.size, nodes.length])
  const mean = tf.matMul(
    rate as tf.Tensor2D,
    tf.tensor2d(
      Float32Array.from(weights, (weight) => weight / 2),
      [nodes.length, 1],
    ),
  )
  return tf.reshape(tf.mul(t, mean), z.shape)
}

function rowsTensors(map: CalibrationMap, parameters: MapParameters, z: tf.Tensor2D, standard: tf.Tensor): tf.Tensor2D {
  if (map.type === 'temperature') return tf.softmax(tf.mul(tf.abs(parameters.a), z)) as tf.Tensor2D
  if (map.type === 'pwlinear') return piecewiseTensors(parameters, z) as tf.Tensor2D
  if (map.type === 'linear') return linearTensors(parameters, z) as tf.Tensor2D
  const t = tf.div(tf.sub(z, tf.gather(standard, 0)), tf.gather(standard, 1))
  return tf.softmax(integralTensors(parameters, t)) as tf.Tensor2D
}

/** Rows whose intermediate tensors stay within the bound. */
function chunkRows(map: CalibrationMap, classes: number): number {
  const perEntry = map.type === 'linear' ? map.members : map.type === 'nonlinear' ? (quadratureSteps + 1) * map.hidden : 1
  return Math.max(1, Math.floor(chunkValues / (classes * perEntry)))
}

function chunks(rows: number, size: number): { start: number; count: number }[] {
  return Array.from({ length: Math.ceil(rows / size) }, (_, i) => ({ start: i * size, count: Math.min(size, rows - i * size) }))
}

function sliceRows(x: tf.Tensor2D, { start, count }: { start: number; count: number }): tf.Tensor2D {
  return tf.slice(x, [start, 0], [count, x.shape[1]])
}

/**
 * Probabilities of a map on tensors. Large inputs go through in chunks of rows.
 *
 * @param z - [n, K] normalised logits, z − logsumexp z
 * @param standard - [2] mean and standard deviation, for the nonlinear map
 * @returns [n, K]
 */
export function mapTensors(map: CalibrationMap, parameters: MapParameters, z: tf.Tensor2D, standard: tf.Tensor): tf.Tensor2D {
  const [rows, classes] = z.shape
  const size = chunkRows(map, classes)
  if (rows <= size) return rowsTensors(map, parameters, z, standard)
  return tf.tidy(() =>
    tf.concat(chunks(rows, size).map((chunk) => tf.tidy(() => rowsTensors(map, parameters, sliceRows(z, chunk), standard)))),
  )
}

/** Named parts of a parameter vector. */
function parts(map: CalibrationMap, vector: Float64Array): Record<string, Float64Array> {
  let offset = 0
  return Object.fromEntries(
    Object.entries(shapesOf(map)).map(([name, shape]) => {
      const size = product(shape)
      offset += size
      return [name, vector.slice(offset - size, offset)]
    }),
  )
}

/** g(x) of the piecewise linear map at x = −z. */
function piecewiseFunction(slopes: Float64Array): (z: number) => number {
  const segments = slopes.length
  const width = pieceRange / segments
  const before = new Float64Array(segments)
  for (let k = 1; k < segments; k++) before[k] = before[k - 1] + Math.abs(slopes[k - 1]) * width
  return (z) => {
    const x = Math.max(0, -z)
    const k = Math.min(Math.floor(x / width), segments - 1)
    return -(before[k] + Math.abs(slopes[k]) * (x - k * width))
  }
}

/** The increasing scalar function of the nonlinear map, and its gradient in the parameters. */
export interface ScalarNet {
  /** h(t) = ∫₀ᵗ (ELU(net(u)) + 1) du */
  integral(t: number): number
  /** Adds weight · ∂h(t)/∂parameters to `gradient`. */
  addGradient(t: number, weight: number): void
  /** In the order of the parameter vector. */
  readonly gradient: Float64Array
}

/** The net of a parameter vector: b1 [H], b2 [H], b3, w1 [H], w2 [H·H] (in, out), w3 [H]. */
export function scalarNet(vector: Float64Array, hidden: number): ScalarNet {
  const { nodes, weights } = clenshawCurtis(quadratureSteps)
  const H = hidden
  const [b1, b2, b3, w1, w2, w3] = [0, H, 2 * H, 2 * H + 1, 3 * H + 1, 3 * H + 1 + H * H]
  const p = vector
  const gradient = new Float64Array(vector.length)
  const first = new Float64Array(H)
  const second = new Float64Array(H)
  const net = (u: number): number => {
    for (let j = 0; j < H; j++) second[j] = p[b2 + j]
    for (let i = 0; i < H; i++) {
      const value = u * p[w1 + i] + p[b1 + i]
      first[i] = value > 0 ? value : 0
      if (value > 0) for (let j = 0, w = w2 + i * H; j < H; j++, w++) second[j] += value * p[w]
    }
    let out = p[b3]
    for (let j = 0; j < H; j++) if (second[j] > 0) out += second[j] * p[w3 + j]
    return out
  }
  const backward = (u: number, slope: number): void => {
    gradient[b3] += slope
    for (let j = 0; j < H; j++) {
      if (second[j] <= 0) second[j] = 0
      else {
        gradient[w3 + j] += slope * second[j]
        second[j] = slope * p[w3 + j]
        gradient[b2 + j] += second[j]
      }
    }
    for (let i = 0; i < H; i++) {
      if (first[i] <= 0) continue
      let inner = 0
      for (let j = 0, w = w2 + i * H; j < H; j++, w++) {
        inner += second[j] * p[w]
        gradient[w] += second[j] * first[i]
      }
      gradient[b1 + i] += inner
      gradient[w1 + i] += inner * u
    }
  }
  return {
    integral(t) {
      let sum = 0
      for (let i = 0; i < nodes.length; i++) {
        const out = net((t * (1 + nodes[i])) / 2)
        sum += weights[i] * (out > 0 ? out + 1 : Math.exp(out))
      }
      return (t / 2) * sum
    },
    addGradient(t, weight) {
      for (let i = 0; i < nodes.length; i++) {
        const u = (t * (1 + nodes[i])) / 2
        const out = net(u)
        backward(u, ((weight * t) / 2) * weights[i] * (out > 0 ? 1 : Math.exp(out)))
      }
    },
    gradient,
  }
}

/** The map's probabilities, in place, from a block of normalised logits. */
function ensembleTransform({ a, w }: Record<string, Float64Array>, classes: number): BlockTransform {
  const total = w.reduce((sum, weight) => sum + Math.abs(weight), 0)
  return (block, rows) => {
    const z = block.slice(0, rows * classes)
    const member = new Float64Array(z.length)
    block.fill(0)
    for (let j = 0; j < a.length; j++) {
      const size = Math.abs(a[j])
      for (let i = 0; i < z.length; i++) member[i] = size * z[i]
      softmaxRows(member, rows, classes)
      const share = Math.abs(w[j]) / total
      for (let i = 0; i < z.length; i++) block[i] += share * member[i]
    }
  }
}

/** Derivative by the logits of a softmax from that by its probabilities, in place of the latter. */
function softmaxSlope(probs: Float64Array, slope: Float64Array, classes: number): void {
  for (let at = 0; at < probs.length; at += classes) {
    let mean = 0
    for (let i = at; i < at + classes; i++) mean += probs[i] * slope[i]
    for (let i = at; i < at + classes; i++) slope[i] = probs[i] * (slope[i] - mean)
  }
}

/** Derivative by the slopes of the piecewise linear map: each event counts whole pieces below it and a part of its own. */
function piecewiseSlope(slopes: Float64Array, z: Float64Array, slope: Float64Array): Float64Array {
  const segments = slopes.length
  const width = pieceRange / segments
  const partial = new Float64Array(segments)
  const above = new Float64Array(segments)
  for (let i = 0; i < z.length; i++) {
    const x = Math.max(0, -z[i])
    const k = Math.min(Math.floor(x / width), segments - 1)
    partial[k] -= slope[i] * (x - k * width)
    above[k] -= slope[i]
  }
  const gradient = new Float64Array(segments)
  let whole = 0
  for (let k = segments - 1; k >= 0; k--) {
    gradient[k] = Math.sign(slopes[k]) * (partial[k] + width * whole)
    whole += above[k]
  }
  return gradient
}

/** Derivative by a and w of the mixture of temperatures; members are computed once more. */
function ensembleSlope(a: Float64Array, w: Float64Array, z: Float64Array, slope: Float64Array, classes: number): Float64Array {
  const members = a.length
  const total = w.reduce((sum, weight) => sum + Math.abs(weight), 0)
  const gradient = new Float64Array(2 * members)
  const share = new Float64Array(members)
  for (let j = 0; j < members; j++) {
    const member = z.map((value) => Math.abs(a[j]) * value)
    softmaxRows(member, member.length / classes, classes)
    const inner = slope.slice()
    for (let i = 0; i < member.length; i++) share[j] += slope[i] * member[i]
    softmaxSlope(member, inner, classes)
    let byTemperature = 0
    for (let i = 0; i < member.length; i++) byTemperature += inner[i] * z[i]
    gradient[j] = (byTemperature * Math.sign(a[j]) * Math.abs(w[j])) / total
  }
  const mean = share.reduce((sum, value, j) => sum + (value * Math.abs(w[j])) / total, 0)
  for (let j = 0; j < members; j++) gradient[members + j] = (Math.sign(w[j]) * (share[j] - mean)) / total
  return gradient
}

/**
 * A map's probabilities and how to pull a derivative by them back to the parameters, on arrays in double precision: what
 * training needs (its loss sorts on the host anyway), many times faster than the same through tensor operations.
 *
 * @param z - [n·K] normalised logits
 */
export function mapPullback(
  map: CalibrationMap,
  vector: Float64Array,
  standard: Standardisation,
  z: Float64Array,
  classes: number,
): { probs: Float64Array; pullback(slope: Float64Array): Float64Array } {
  const rows = z.length / classes
  const named = parts(map, vector)
  const probs = z.slice()
  if (map.type === 'linear') {
    ensembleTransform(named, classes)(probs, rows)
    return { probs, pullback: (slope) => ensembleSlope(named.a, named.w, z, slope, classes) }
  }
  const net = map.type === 'nonlinear' ? scalarNet(vector, map.hidden) : undefined
  const standardised = (value: number): number => (value - standard.mean) / standard.std
  const scalar = net !== undefined ? (value: number) => net.integral(standardised(value)) : scalarFunction(map, named)
  for (let i = 0; i < probs.length; i++) probs[i] = scalar(z[i])
  softmaxRows(probs, rows, classes)
  return {
    probs,
    pullback(slope) {
      const inner = slope.slice()
      softmaxSlope(probs, inner, classes)
      if (map.type === 'pwlinear') return piecewiseSlope(named.slopes, z, inner)
      if (net === undefined) return Float64Array.of(Math.sign(named.a[0]) * inner.reduce((sum, value, i) => sum + value * z[i], 0))
      for (let i = 0; i < z.length; i++) net.addGradient(standardised(z[i]), inner[i])
      return net.gradient
    },
  }
}

function scalarFunction(map: CalibrationMap, named: Record<string, Float64Array>): (z: number) => number {
  if (map.type === 'pwlinear') return piecewiseFunction(named.slopes)
  const size = Math.abs(named.a[0])
  return (z) => size * z
}

/** The block transform of a map with given parameters: logits to probabilities, in double precision. */
export function mapTransform(map: CalibrationMap, vector: Float64Array, standard: Standardisation, classes: number): BlockTransform {
  if (map.type === 'nonlinear') {
    const { integral } = scalarNet(vector, map.hidden)
    return integralTransform((z) => integral((z - standard.mean) / standard.std), classes)
  }
  const named = parts(map, vector)
  if (map.type === 'linear') {
    const mix = ensembleTransform(named, classes)
    return (block, rows) => {
      logSoftmaxRows(block, rows, classes)
      mix(block, rows)
    }
  }
  const scalar = scalarFunction(map, named)
  return (block, rows) => {
    logSoftmaxRows(block, rows, classes)
    for (let i = 0; i < rows * classes; i++) block[i] = scalar(block[i])
    softmaxRows(block, rows, classes)
  }
}

/**
 * The nonlinear map. Its integral is increasing, the 51-point rule for it need not be where the integrand has a sharp kink, so
 * within a row the running maximum in order of z is taken: no two classes change their order.
 */
function integralTransform(scalar: (z: number) => number, classes: number): BlockTransform {
  return (block, rows) => {
    logSoftmaxRows(block, rows, classes)
    for (let at = 0; at < rows * classes; at += classes) {
      const z = block.subarray(at, at + classes)
      const order = stableOrder(z)
      let reached = -Infinity
      for (const k of order) {
        reached = Math.max(reached, scalar(z[k]))
        z[k] = reached
      }
    }
    softmaxRows(block, rows, classes)
  }
}

/** A calibrator that applies one of the maps. */
export interface MapCalibrator extends Calibrator {
  readonly map: CalibrationMap
  /** All parameters of the map in one vector. */
  readonly parameters: Float64Array
}

/** A calibrator of a map with given parameters. */
export function makeMapCalibrator(
  classes: number,
  map: CalibrationMap,
  parameters: Float64Array,
  standard: Standardisation,
  warnings: readonly string[],
): MapCalibrator {
  const transform = mapTransform(map, parameters, standard, classes)
  const saved = { map: map as unknown as Json, parameters, mean: standard.mean, std: standard.std }
  return { ...makeCalibrator({ kind: 'calibrationMap', classes, parameters: saved, transform, warnings }), map, parameters }
}

/** A saved calibration map. @throws DataError */
export function loadMapCalibrator(state: CalibratorState): MapCalibrator {
  const { map, mean, std } = state.parameters
  if (typeof map !== 'object' || map === null || typeof mean !== 'number' || typeof std !== 'number') {
    throw new DataError("calibrator state 'calibrationMap': parameters should have map, mean and std")
  }
  const checked = checkMap(map as unknown as CalibrationMap)
  const size = Object.values(shapesOf(checked)).reduce((sum, shape) => sum + product(shape), 0)
  return makeMapCalibrator(state.classes, checked, savedVector(state, 'parameters', size), { mean, std }, [])
}

/**
 * The continuous piecewise linear map with given slopes, on S equal pieces of −(z − logsumexp z) in [0, 100].
 *
 * @param logits - [n, K]
 * @param slopes - [S]; their absolute values count
 * @returns mapped logits [n, K], in the form of the input; their softmax are the probabilities
 * @throws ShapeError, DataError for malformed logits, OptionError without slopes
 */
export function piecewiseLinearLogits<T extends Rows>(logits: T, slopes: ArrayLike<number>, options: { classes?: number } = {}): T {
  if (slopes.length === 0) throw new OptionError('slopes: expected at least one')
  const source = openLogits(logits, 'logits', options.classes, () => undefined)
  const scalar = piecewiseFunction(Float64Array.from(slopes))
  return mapRows(logits, source, (block, rows) => {
    logSoftmaxRows(block, rows, source.classes)
    for (let i = 0; i < rows * source.classes; i++) block[i] = scalar(block[i])
  }) as T
}

/**
 * Mixture of tempered softmaxes with given parameters: Σ_j |w_j|/Σ|w| softmax(|a_j| z).
 *
 * @param logits - [n, K]
 * @param inverseTemperatures - a [J]
 * @param weights - w [J]
 * @returns probabilities [n, K], in the form of the input
 * @throws ShapeError, DataError for malformed logits; OptionError for lengths that differ
 */
export function temperatureEnsemble<T extends Rows>(
  logits: T,
  inverseTemperatures: ArrayLike<number>,
  weights: ArrayLike<number>,
  options: { classes?: number } = {},
): T {
  if (inverseTemperatures.length === 0 || inverseTemperatures.length !== weights.length) {
    throw new OptionError(`weights: expected one for each of ${inverseTemperatures.length} inverse temperatures, got ${weights.length}`)
  }
  const source = openLogits(logits, 'logits', options.classes, () => undefined)
  const mix = ensembleTransform({ a: Float64Array.from(inverseTemperatures), w: Float64Array.from(weights) }, source.classes)
  return mapRows(logits, source, (block, rows) => {
    logSoftmaxRows(block, rows, source.classes)
    mix(block, rows)
  }) as T
}
