import { OptionError, ShapeError } from '@bpf/core'
import { takeRows } from '@bpf/core/ops'
import * as tf from '@tensorflow/tfjs-core'
import { checkEmbeddings, readLabels, type Labels } from '../shared/embeddings'
import { nearestNeighbours } from './nearest'

/** Keeps quotients finite. */
const ratioEpsilon = 1e-7
/** Keeps −ln of the score finite. */
const smallestScore = 1e-7
/** Most neighbours that `ipc: 'class'` retrieves. */
const mostNeighbours = 64

/** Options of {@link icnnScore}. */
export interface IcnnOptions {
  /** Neighbours that count; of fewer than k + 3 targets, all but two. Default 4. */
  k?: number
  /**
   * Neighbours among which the nearest one of another class is sought, k ≤ ipc < number of targets. Default k + 1; `class`: as
   * many as there are targets of a class on average, at most 64.
   */
  ipc?: number | 'class'
  /** Rows [M, D] to find the neighbours in; default the rows scored themselves. With `targetLabels`. */
  target?: tf.Tensor
  targetLabels?: Labels
  /**
   * The nearest neighbour is left out, since it is the point itself: `always`, also where `target` is another set (default, as the
   * authors' code), or `auto`, only where it is the same.
   */
  dropSelf?: 'always' | 'auto'
}

/**
 * The inter- and intra-class nearest-neighbour score of an embedding, as the loss takes it: (Λ + Γ)/2 in [0, 1].
 *
 * Λ = (scl + dcl)/2. scl is 1 minus the mean distance of neighbours of a point's own class, in units of the nearest neighbour
 * of another class; dcl the mean distance of neighbours of other classes, in units of the largest; 1 without any. Γ is the
 * share of neighbours of the own class, a count without gradient. Distances are √(d² + 1e-6). From about N·M·D = 7·10⁷ the
 * neighbours are found in tiles.
 *
 * @param origin - rows that are scored [N, D], float
 * @param labels - class of each [N]
 * @returns a scalar, differentiable
 * @throws ShapeError for shapes that don't fit; OptionError for k or ipc out of range; DataError for fewer than two classes,
 *   labels that are no integers from 0, features that are not finite
 */
export function icnnScore(origin: tf.Tensor, labels: Labels, options: IcnnOptions = {}): tf.Scalar {
  return tf.tidy(() => score('icnnScore', origin, labels, options))
}

/**
 * −ln of {@link icnnScore}, of a score of at least 1e-7.
 *
 * @returns a scalar, at least 0
 */
export function icnnLoss(origin: tf.Tensor, labels: Labels, options: IcnnOptions = {}): tf.Scalar {
  return lossOf(origin, labels, options)
}

/** {@link icnnLoss}, which a training step calls without reading values. */
export function lossOf(origin: tf.Tensor, labels: Labels, options: IcnnOptions, isTrusted = false): tf.Scalar {
  return tf.tidy(() => tf.neg(tf.log(tf.maximum(score('icnnLoss', origin, labels, options, isTrusted), smallestScore)))) as tf.Scalar
}

function score(where: string, origin: tf.Tensor, labels: Labels, options: IcnnOptions, isTrusted = false): tf.Scalar {
  const { target = origin, targetLabels = labels, dropSelf = 'always' } = options
  checkEmbeddings(where, 'features', origin, isTrusted)
  const { tensor: y } = readLabels(where, 'labels', labels, origin.shape[0])
  if ((options.target === undefined) !== (options.targetLabels === undefined)) {
    throw new OptionError(`${where}: target and targetLabels go together; one of them is missing`)
  }
  if (dropSelf !== 'always' && dropSelf !== 'auto') {
    throw new OptionError(`${where}: dropSelf must be 'always' or 'auto', got '${String(dropSelf)}'`)
  }
  if (target !== origin) checkEmbeddings(where, 'target', target, isTrusted)
  if (target.shape[1] !== origin.shape[1]) {
    throw new ShapeError(`${where}: expected target with ${origin.shape[1]} columns like the features, got ${target.shape[1]}`)
  }
  const M = target.shape[0]
  const { tensor: yTarget, host } = readLabels(where, 'targetLabels', targetLabels, M)
  const { k, ipc } = neighbourCounts(where, M, host, options)
  const dropped = dropSelf === 'always' || target === origin ? 1 : 0
  const nearest = nearestNeighbours(origin, target, ipc + dropped)
  const fromSecond = (x: tf.Tensor): tf.Tensor => tf.slice(x, [0, dropped], [-1, ipc])
  const classes = tf.reshape(takeRows(yTarget, tf.reshape(fromSecond(nearest.indices), [-1])), [-1, ipc])
  const same = tf.cast(tf.equal(tf.expandDims(y, 1), classes), 'float32')
  return scoreOf(fromSecond(nearest.distances), same, k, k + 2 < M)
}

/** k and ipc for M targets. */
function neighbourCounts(
  where: string,
  M: number,
  labels: ArrayLike<number> | undefined,
  options: IcnnOptions,
): { k: number; ipc: number } {
  const asked = options.k ?? 4
  if (!Number.isInteger(asked) || asked < 1) throw new OptionError(`${where}: k must be an integer of at least 1, got ${asked}`)
  if (M < 3) throw new OptionError(`${where}: needs at least 3 targets, got ${M}`)
  const classes = labels && new Set(Array.from(labels)).size
  if (classes !== undefined && classes < 2) {
    throw new OptionError(`${where}: needs targets of at least 2 classes, got ${classes}`)
  }
  const k = Math.min(asked, M - 2)
  if (options.ipc === 'class') {
    if (classes === undefined) throw new OptionError(`${where}: ipc 'class' needs labels that can be read; give them as an array`)
    return { k, ipc: Math.max(k, Math.min(Math.floor(M / classes), mostNeighbours, M - 1)) }
  }
  const ipc = options.ipc ?? k + 1
  if (!Number.isInteger(ipc) || ipc < k || ipc >= M) {
    throw new OptionError(`${where}: ipc must be an integer from k = ${k} to ${M - 1}, one less than the ${M} targets, got ${ipc}`)
  }
  return { k, ipc }
}

/**
 * (Λ + Γ)/2 from ascending distances to neighbours [N, ipc] and which of them are of the row's own class.
 *
 * @param counts - whether Γ counts; else it is 1
 */
function scoreOf(distances: tf.Tensor, same: tf.Tensor, k: number, counts: boolean): tf.Scalar {
  const alien = tf.sub(1, same)
  const firstK = (x: tf.Tensor): tf.Tensor => tf.slice(x, [0, 0], [-1, k])
  const [near, own, others] = [distances, same, alien].map(firstK)

  // r_i: the first alien neighbour is the nearest. Rows without one have r = 1 and nd = 0, where infinity would give NaN.
  const first = tf.mul(alien, tf.cast(tf.equal(tf.cumsum(alien, 1, true), 0), 'float32'))
  const found = tf.sum(first, 1, true)
  const r = tf.add(tf.sum(tf.mul(distances, first), 1, true), tf.sub(1, found))
  const ratios = tf.div(tf.mul(near, found), tf.add(r, ratioEpsilon))
  const nd = tf.div(ratios, tf.maximum(1, tf.max(ratios, 1, true)))

  const scl = tf.sub(1, meanOverRows(nd, own))
  const alienDistances = tf.mul(near, others)
  const e = tf.div(alienDistances, tf.add(tf.max(alienDistances), ratioEpsilon))
  const dcl = tf.where(tf.greater(tf.sum(others), 0), meanOverRows(e, others), tf.scalar(1))
  const lambda = tf.div(tf.add(scl, dcl), 2)
  const gamma = counts ? tf.mean(own) : 1
  return tf.div(tf.add(lambda, gamma), 2)
}

/** Mean over the rows that have a marked entry of the mean over their marked entries. */
function meanOverRows(values: tf.Tensor, mask: tf.Tensor): tf.Tensor {
  const count = tf.sum(mask, 1)
  const rowMeans = tf.div(tf.sum(tf.mul(values, mask), 1), tf.add(count, ratioEpsilon))
  const rows = tf.sum(tf.cast(tf.greater(count, 0), 'float32'))
  return tf.div(tf.sum(rowMeans), tf.add(rows, ratioEpsilon))
}
