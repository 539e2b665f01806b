/**
 * Huang, Cao, Xia, Chen, Wang, Zhang: "h-Calibration: Rethinking Classifier Recalibration with Probabilistic
 * Error-Bounded Objective", IEEE TPAMI 2025, arXiv 2506.17968.
 *
 * An event (n, k) has a predicted probability p and occurred (o = 1) or not. Predictions are calibrated within ε when,
 * over every group of events of nearly equal p, the mean of p − o is at most ε in size. The loss sorts all events by p,
 * averages p − o in sliding windows, and penalises what exceeds ε.
 *
 * The reference code (WenjianHuang93/h-Calibration) sorts anew for each class left out and clusters with faiss from random
 * centroids. Here all events are sorted once and each class is left out by a compaction of that order; windows and their
 * adjoint are prefix sums in double precision; k-means starts from evenly spaced centroids, so the loss is deterministic.
 */
import { OptionError, ShapeError } from '@bpf/core'
import { bitsArray, fold, key as makeKey, permutationArray, type Key } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { positiveInteger } from './shared/calibrator'
import { equalWidthBounds, kMeansBounds, nearestBounds } from './shared/k-means-line'
import { stableOrder } from './shared/sort'

/** How window errors are averaged: within clusters of p, over all events alike, or within bins of p of equal width. */
export type HCalibrationWeighting = 'cluster' | 'unweighted' | 'equalWidth'

/** Options of the h-calibration loss. */
export interface HCalibrationLossOptions {
  /** Window length M, even: each window has M + 1 events. Default 200. */
  window?: number
  /** Tolerance ε: smaller window errors cost nothing. Default 1e-20. */
  epsilon?: number
  /** Default 'cluster', which the paper uses. */
  weighting?: HCalibrationWeighting
  /** Number of clusters or bins. Default 15. */
  clusters?: number
  /** Fixed centroids in place of k-means (with weighting 'cluster'). */
  centroids?: ArrayLike<number>
  /** Factor of the loss. Default 1e5, so that Adam's 1e-8 in the denominator does not matter. */
  scale?: number
  /**
   * One term for each class c over the rows of the other classes (`IsIter` in the reference). Over all rows, p − o sums to
   * zero in each row whatever the prediction; leaving a class out makes event sets where it need not. Default true.
   */
  leaveOneClassOut?: boolean
  /** Leave out only so many classes, drawn by `key`, instead of each in turn: for many classes. Default: all. */
  classSubset?: number
  /** Probability with which each term of each window is left out, drawn by `key` (O(N K M), so slower). Default 0. */
  dropout?: number
  /** Randomness of `classSubset` and `dropout`. Default key(0). */
  key?: Key
}

/** What {@link hCalibrationLossArrays} returns. */
export interface HCalibrationLossResult {
  loss: number
  /** [N·K] derivative of the loss with respect to each probability. */
  gradient: Float64Array
  /** Loss without `scale` for each class left out, in the order of {@link leftOut}. */
  perClass: Float64Array
  /** The classes left out; [-1] when all rows were used. */
  leftOut: Int32Array
}

interface Settings extends Required<Omit<HCalibrationLossOptions, 'centroids' | 'classSubset'>> {
  centroids: Float64Array | undefined
  classSubset: number | undefined
}

/** Defaults and checks. @throws OptionError */
function settingsOf(options: HCalibrationLossOptions): Settings {
  const { window = 200, epsilon = 1e-20, weighting = 'cluster', clusters = 15, scale = 1e5, leaveOneClassOut = true, dropout = 0 } = options
  if (!Number.isInteger(window) || window < 2 || window % 2 !== 0) {
    throw new OptionError(`window must be even and at least 2, got ${window}`)
  }
  if (!(epsilon >= 0)) throw new OptionError(`epsilon: expected a number of at least 0, got ${epsilon}`)
  if (!['cluster', 'unweighted', 'equalWidth'].includes(weighting)) {
    throw new OptionError(`weighting: expected 'cluster', 'unweighted' or 'equalWidth', got '${weighting}'`)
  }
  positiveInteger(clusters, 'clusters')
  if (!(dropout >= 0 && dropout < 1)) throw new OptionError(`dropout: expected a number from 0 to below 1, got ${dropout}`)
  if (!Number.isFinite(scale)) throw new OptionError(`scale: expected a finite number, got ${scale}`)
  if (options.classSubset !== undefined) positiveInteger(options.classSubset, 'classSubset')
  const centroids = options.centroids === undefined ? undefined : Float64Array.from(options.centroids).sort()
  if (centroids?.length === 0) throw new OptionError('centroids: expected at least one')
  return {
    window,
    epsilon,
    weighting,
    clusters,
    scale,
    leaveOneClassOut,
    dropout,
    centroids,
    classSubset: options.classSubset,
    key: options.key ?? makeKey(0),
  }
}

/** All events of a batch in ascending order of p, ties in the order of the batch. */
interface SortedEvents {
  count: number
  /** Index into the flattened probabilities. */
  order: Int32Array
  p: Float64Array
  /** p − o */
  error: Float64Array
  /** The label of the row that the event belongs to. */
  label: Int32Array
}

function sortEvents(probs: Float64Array | Float32Array, labels: Int32Array, classes: number): SortedEvents {
  const count = probs.length
  const order = stableOrder(probs)
  const p = new Float64Array(count)
  const error = new Float64Array(count)
  const label = new Int32Array(count)
  for (let i = 0; i < count; i++) {
    const event = order[i]
    const row = Math.floor(event / classes)
    label[i] = labels[row]
    p[i] = probs[event]
    error[i] = p[i] - (event - row * classes === label[i] ? 1 : 0)
  }
  return { count, order, p, error, label }
}

/** Sums from 0: `prefix[i]` is the sum of the first i values. */
function prefixSums(values: Float64Array, count: number, prefix: Float64Array): void {
  let sum = 0
  for (let i = 0; i < count; i++) {
    prefix[i] = sum
    sum += values[i]
  }
  prefix[count] = sum
}

/**
 * T_i = 1/(M + 1) Σ_{|j − i| ≤ M/2} d_j, terms beyond the ends 0, by prefix sums.
 *
 * @param d - [n]
 * @param window - M, even
 * @returns [n]
 */
export function windowMeans(d: Float64Array, window: number): Float64Array {
  const n = d.length
  const prefix = new Float64Array(n + 1)
  prefixSums(d, n, prefix)
  const half = window / 2
  return Float64Array.from(d, (_, i) => (prefix[Math.min(n, i + half + 1)] - prefix[Math.max(0, i - half)]) / (window + 1))
}

/**
 * The signed window errors T of all events, in ascending order of p: what the loss penalises, for looking at.
 *
 * @param probs - [N·K] row-major probabilities
 * @param labels - [N]
 * @returns `p` [N·K] ascending and `windowMeans` [N·K]
 */
export function sortedWindowErrors(
  probs: Float64Array | Float32Array,
  labels: Int32Array,
  options: { classes: number; window?: number },
): { p: Float64Array; windowMeans: Float64Array } {
  const { classes, window = 200 } = options
  settingsOf({ window })
  checkArrays(probs, labels, classes, window)
  const events = sortEvents(probs, labels, classes)
  return { p: events.p, windowMeans: windowMeans(events.error, window) }
}

/** Arrays that every pass over a set of events needs, allocated once. */
interface Workspace {
  p: Float64Array
  error: Float64Array
  order: Int32Array
  prefix: Float64Array
  weight: Float64Array
}

/** Fills `weight` with each event's share in the loss, constant within its cluster. */
function eventWeights(work: Workspace, count: number, settings: Settings): void {
  if (settings.weighting === 'unweighted') {
    work.weight.fill(1 / count, 0, count)
    return
  }
  let bounds: Int32Array
  if (settings.weighting === 'equalWidth') bounds = equalWidthBounds(work.p, count, settings.clusters)
  else if (settings.centroids !== undefined) bounds = nearestBounds(work.p, count, settings.centroids)
  else {
    prefixSums(work.p, count, work.prefix)
    bounds = kMeansBounds(work.p, count, work.prefix, settings.clusters)
  }
  const clusters = bounds.length - 1
  for (let b = 0; b < clusters; b++) {
    work.weight.fill(1 / (clusters * (bounds[b + 1] - bounds[b] + 1e-5)), bounds[b], bounds[b + 1])
  }
}

/**
 * Loss of one set of sorted events, and its gradient added to `gradient`. d_j enters T_i for |i − j| ≤ M/2, so the
 * gradient is a window sum of the signs, weighted: prefix sums again.
 */
function addWindowLoss(work: Workspace, count: number, settings: Settings, factor: number, gradient: Float64Array): number {
  if (count === 0) return 0
  eventWeights(work, count, settings)
  const { error, order, prefix, weight } = work
  const { window, epsilon } = settings
  const half = window / 2
  prefixSums(error, count, prefix)
  if (Number.isNaN(prefix[count])) return NaN
  let loss = 0
  // `weight` turns into the derivative by T_i, in place.
  for (let i = 0; i < count; i++) {
    const mean = (prefix[Math.min(count, i + half + 1)] - prefix[Math.max(0, i - half)]) / (window + 1)
    const excess = Math.abs(mean) - epsilon
    if (excess > 0) {
      loss += weight[i] * excess
      if (mean < 0) weight[i] = -weight[i]
    } else {
      weight[i] = 0
    }
  }
  prefixSums(weight, count, prefix)
  const share = factor / (window + 1)
  for (let j = 0; j < count; j++) {
    gradient[order[j]] += share * (prefix[Math.min(count, j + half + 1)] - prefix[Math.max(0, j - half)])
  }
  return loss
}

/** {@link addWindowLoss} where each term of each window is left out with probability `dropout`; the rest is scaled up. */
function addDropoutLoss(work: Workspace, count: number, settings: Settings, factor: number, gradient: Float64Array, key: Key): number {
  if (count === 0) return 0
  eventWeights(work, count, settings)
  const { error, order, weight } = work
  const { window, epsilon, dropout } = settings
  const half = window / 2
  const share = 1 / ((window + 1) * (1 - dropout))
  const threshold = dropout * 2 ** 32
  const kept = new Int32Array(window + 1)
  let loss = 0
  for (let i = 0; i < count; i++) {
    const bits = bitsArray(fold(key, i), window + 1)
    let keptCount = 0
    let sum = 0
    for (let j = Math.max(0, i - half); j <= Math.min(count - 1, i + half); j++) {
      if (bits[j - i + half] < threshold) continue
      kept[keptCount++] = j
      sum += error[j]
    }
    const mean = sum * share
    const excess = Math.abs(mean) - epsilon
    if (excess <= 0) continue
    loss += weight[i] * excess
    const slope = factor * weight[i] * share * Math.sign(mean)
    for (let t = 0; t < keptCount; t++) gradient[order[kept[t]]] += slope
  }
  return loss
}

function checkArrays(probs: ArrayLike<number>, labels: ArrayLike<number>, classes: number, window: number): void {
  if (probs.length !== labels.length * classes) {
    throw new ShapeError(`probs: expected ${labels.length} rows of ${classes} classes, got ${probs.length} values`)
  }
  if (probs.length < window + 1) {
    throw new OptionError(
      `window: ${probs.length} events (rows × classes) do not fill one window of ${window} + 1; use a window of at most ${Math.max(2, 2 * Math.floor((probs.length - 1) / 2))} or more rows`,
    )
  }
}

/** The classes left out in turn, or [-1] for one pass over all rows. */
function classesLeftOut(classes: number, settings: Settings): Int32Array {
  if (!settings.leaveOneClassOut) return Int32Array.of(-1)
  const count = settings.classSubset ?? classes
  return count >= classes
    ? Int32Array.from({ length: classes }, (_, c) => c)
    : permutationArray(fold(settings.key, 0), classes).slice(0, count).sort()
}

/**
 * The h-calibration loss and its gradient, in double precision on arrays: O(N K · K) after one sort of N K events.
 *
 * For each class c: of the rows with another label, all events sorted by p; d = p − o; T = window means of d;
 * e = max(0, |T| − ε); loss_c = mean over clusters of the mean e in the cluster. Loss = scale · mean_c loss_c. The order,
 * the windows and the clusters count as constants in the gradient.
 *
 * @param probs - [N·K] row-major probabilities, not checked
 * @param labels - [N] in 0 … K − 1, not checked
 * @throws OptionError for options out of range, ShapeError when the lengths don't fit
 * @see arXiv 2506.17968
 */
export function hCalibrationLossArrays(
  probs: Float64Array | Float32Array,
  labels: Int32Array,
  options: HCalibrationLossOptions & { classes: number },
): HCalibrationLossResult {
  const settings = settingsOf(options)
  const { classes } = options
  checkArrays(probs, labels, classes, settings.window)
  const events = sortEvents(probs, labels, classes)
  const leftOut = classesLeftOut(classes, settings)
  const gradient = new Float64Array(probs.length)
  const perClass = new Float64Array(leftOut.length)
  const factor = settings.scale / leftOut.length
  const work: Workspace = {
    p: new Float64Array(events.count),
    error: new Float64Array(events.count),
    order: new Int32Array(events.count),
    prefix: new Float64Array(events.count + 1),
    weight: new Float64Array(events.count),
  }
  leftOut.forEach((c, term) => {
    const count = compact(events, c, work)
    perClass[term] =
      settings.dropout === 0
        ? addWindowLoss(work, count, settings, factor, gradient)
        : addDropoutLoss(work, count, settings, factor, gradient, fold(settings.key, term + 1))
  })
  return { loss: factor * perClass.reduce((sum, value) => sum + value, 0), gradient, perClass, leftOut }
}

/** Copies the events of all rows but those of class `c`, in order. @returns how many they are */
function compact(events: SortedEvents, c: number, work: Workspace): number {
  let count = 0
  for (let i = 0; i < events.count; i++) {
    if (events.label[i] === c) continue
    work.p[count] = events.p[i]
    work.error[count] = events.error[i]
    work.order[count] = events.order[i]
    count++
  }
  return count
}

/**
 * The h-calibration loss as a differentiable operation. It reads its values (sorting happens on the host), so it runs
 * eagerly; the arithmetic is {@link hCalibrationLossArrays}.
 *
 * @param probs - [N, K] calibrated probabilities; the loss is differentiable in them, once
 * @param labels - int32 [N]
 * @returns scalar
 * @see arXiv 2506.17968
 */
export function hCalibrationLoss(probs: tf.Tensor2D, labels: tf.Tensor1D, options: HCalibrationLossOptions = {}): tf.Scalar {
  const classes = probs.shape[1]
  const loss = tf.customGrad((p, save) => {
    const result = hCalibrationLossArrays((p as tf.Tensor2D).dataSync() as Float32Array, Int32Array.from(labels.dataSync()), {
      ...options,
      classes,
    })
    const slope = tf.tensor2d(Float32Array.from(result.gradient), [labels.shape[0], classes])
    ;(save as tf.GradSaveFunc)([slope])
    return {
      value: tf.scalar(result.loss),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => tf.mul(dy, saved[0]),
    }
  })
  return loss(probs) as tf.Scalar
}
