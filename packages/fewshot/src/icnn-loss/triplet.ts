import { DataError, OptionError, ShapeError } from '@bpf/core'
import { uniform, type Key } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { checkEmbeddings, pairwiseDistances, readLabels, type Labels } from '../shared/embeddings'

/** Options of the triplet losses. */
export interface TripletOptions {
  /** How much farther the negative has to be. Default 0.5. */
  margin?: number
}

function checkMargin(where: string, margin: number): void {
  if (!(margin >= 0 && margin < Infinity)) throw new OptionError(`${where}: margin must be a finite number of at least 0, got ${margin}`)
}

/** Smallest value of each row that a mask keeps; infinity without any. */
const smallestOf = (values: tf.Tensor, mask: tf.Tensor): tf.Tensor => tf.min(tf.where(mask, values, Infinity), 1)

/**
 * Proto-Triplet: mean over queries of max(0, d(q, own prototype) − d(q, nearest other prototype) + margin), with
 * d(a, b) = √(‖a − b‖² + 1e-6).
 *
 * @param queries - [Q, D], float
 * @param queryLabels - [Q]
 * @param prototypes - [C, D], one for each of C ≥ 2 classes
 * @param prototypeLabels - [C]
 * @returns a scalar, differentiable in queries and prototypes
 * @throws ShapeError for shapes that don't fit; DataError for a query without a prototype, two prototypes of a class, features
 *   that are not finite; OptionError for fewer than two prototypes or a margin below 0
 */
export function protoTripletLoss(
  queries: tf.Tensor,
  queryLabels: Labels,
  prototypes: tf.Tensor,
  prototypeLabels: Labels,
  options: TripletOptions = {},
): tf.Scalar {
  return protoTripletOf(queries, queryLabels, prototypes, prototypeLabels, options)
}

/** {@link protoTripletLoss}, which a training step calls without reading values. */
export function protoTripletOf(
  queries: tf.Tensor,
  queryLabels: Labels,
  prototypes: tf.Tensor,
  prototypeLabels: Labels,
  { margin = 0.5 }: TripletOptions,
  isTrusted = false,
): tf.Scalar {
  const where = 'protoTripletLoss'
  checkMargin(where, margin)
  checkEmbeddings(where, 'queries', queries, isTrusted)
  checkEmbeddings(where, 'prototypes', prototypes, isTrusted)
  if (queries.shape[1] !== prototypes.shape[1]) {
    throw new ShapeError(`${where}: expected prototypes with ${queries.shape[1]} columns like the queries, got ${prototypes.shape[1]}`)
  }
  const C = prototypes.shape[0]
  if (C < 2) throw new OptionError(`${where}: needs prototypes of at least 2 classes, got ${C}: there is no other one to be farther from`)
  return tf.tidy(() => {
    const of = readLabels(where, 'queryLabels', queryLabels, queries.shape[0])
    const to = readLabels(where, 'prototypeLabels', prototypeLabels, C)
    if (of.host && to.host) checkPrototypes(where, of.host, to.host)
    const distances = pairwiseDistances(queries, prototypes)
    const own = tf.equal(tf.expandDims(of.tensor, 1), tf.expandDims(to.tensor, 0))
    const positive = tf.sum(tf.mul(distances, tf.cast(own, 'float32')), 1)
    const negative = smallestOf(distances, tf.logicalNot(own))
    return tf.mean(hinge(positive, negative, margin))
  })
}

/** max(0, positive − negative + margin); NaN stays NaN, which not every backend's ReLU grants. */
function hinge(positive: tf.Tensor, negative: tf.Tensor, margin: number): tf.Tensor {
  const excess = tf.add(tf.sub(positive, negative), margin)
  return tf.where(tf.lessEqual(excess, 0), tf.zerosLike(excess), excess)
}

function checkPrototypes(where: string, queryLabels: ArrayLike<number>, prototypeLabels: ArrayLike<number>): void {
  const classes = new Set(Array.from(prototypeLabels))
  if (classes.size < prototypeLabels.length) throw new DataError(`${where}: prototypeLabels names a class twice`)
  for (let i = 0; i < queryLabels.length; i++) {
    if (!classes.has(queryLabels[i])) throw new DataError(`${where}: query ${i} is of class ${queryLabels[i]}, which has no prototype`)
  }
}

/**
 * The classic triplet loss on a batch of embeddings: every row is an anchor, with a random other row of its class and the
 * nearest row of another class: mean of max(0, d(a, p) − d(a, n) + margin).
 *
 * @param embeddings - [N, D], float
 * @param labels - [N], two rows or more of each class, two classes or more; an anchor without a partner counts 0
 * @param key - draws the positives
 * @returns a scalar, differentiable
 * @throws ShapeError for shapes that don't fit; DataError for features that are not finite; OptionError for fewer than two
 *   classes, a batch without a positive pair, or a margin below 0
 * @see Schroff et al., "FaceNet", 2015, arXiv:1503.03832
 */
export function tripletLoss(embeddings: tf.Tensor, labels: Labels, key: Key, options: TripletOptions = {}): tf.Scalar {
  return tripletOf(embeddings, labels, key, options)
}

/** {@link tripletLoss}, which a training step calls without reading values. */
export function tripletOf(embeddings: tf.Tensor, labels: Labels, key: Key, { margin = 0.5 }: TripletOptions, isTrusted = false): tf.Scalar {
  const where = 'tripletLoss'
  checkMargin(where, margin)
  checkEmbeddings(where, 'embeddings', embeddings, isTrusted)
  const N = embeddings.shape[0]
  return tf.tidy(() => {
    const { tensor: y, host } = readLabels(where, 'labels', labels, N)
    const classes = host && new Set(Array.from(host)).size
    if (classes !== undefined && (classes < 2 || classes === N)) {
      throw new OptionError(`${where}: needs at least 2 classes and 2 rows of one of them, got ${classes} classes in ${N} rows`)
    }
    const distances = pairwiseDistances(embeddings, embeddings)
    const same = tf.equal(tf.expandDims(y, 1), tf.expandDims(y, 0))
    const partner = tf.logicalAnd(same, tf.logicalNot(tf.cast(tf.eye(N), 'bool')))
    const chosen = tf.argMax(tf.where(partner, uniform(key, [N, N]), -1), 1)
    const positive = tf.sum(tf.mul(distances, tf.oneHot(chosen as tf.Tensor1D, N)), 1)
    const losses = hinge(positive, smallestOf(distances, tf.logicalNot(same)), margin)
    return tf.mean(tf.mul(losses, tf.cast(tf.any(partner, 1), 'float32')))
  })
}
