import { OptionError } from '@bpf/core'
import { takeRows } from '@bpf/core/ops'
import * as tf from '@tensorflow/tfjs-core'
import { readLabels } from '../shared/embeddings'
import { checkFeatures, type FeatureMatrix } from '../shared/matrix'
import { nearestNeighbours } from './nearest'

const epsilon = 1e-6

/** Options of {@link embeddingIcnnScore}. */
export interface EmbeddingIcnnOptions {
  /** Neighbours; 3 where there are not more rows. Default 5. */
  k?: number
  /** Roots of Λ, Ω and Γ: 1/p, 1/q, 1/r. Default 2 each. */
  exponents?: { p?: number; q?: number; r?: number }
  /** (Λ + Ω + Γ)/3, the published score (default), or (Λ + Γ)/2. */
  omega?: boolean
}

/** The score and its terms, each about 0 … 1: distances Λ, variances Ω, purity of neighbourhoods Γ. */
export interface EmbeddingIcnnScore {
  score: number
  lambda: number
  omega: number
  gamma: number
}

/**
 * The inter- and intra-class nearest-neighbour score that rates an embedding, before the loss version simplified it.
 *
 * Distances to the k nearest neighbours are scaled to [0, 1] row by row. λ_i sums them for neighbours of other classes and one
 * minus them for those of the own class; Λ is the mean of (λ_i / max λ)^(1/p), Ω = (1 − the variances of both kinds)^(1/q), and
 * Γ the mean of (share of own neighbours)^(1/r). Neighbours are found on the backend, in tiles where there are many.
 *
 * @param features - [N, D]
 * @param labels - class of each row [N]
 * @throws ShapeError, OptionError, DataError on bad input
 * @see García Ramírez et al., arXiv:2107.06992
 */
export function embeddingIcnnScore(
  features: FeatureMatrix,
  labels: ArrayLike<number>,
  { k = 5, exponents = {}, omega = true }: EmbeddingIcnnOptions = {},
): EmbeddingIcnnScore {
  const where = 'embeddingIcnnScore'
  checkFeatures('features', features)
  const { p = 2, q = 2, r = 2 } = exponents
  for (const [name, value] of Object.entries({ p, q, r })) {
    if (!(value > 0)) throw new OptionError(`${where}: exponent ${name} must be above 0, got ${value}`)
  }
  if (!Number.isInteger(k) || k < 1) throw new OptionError(`${where}: k must be an integer of at least 1, got ${k}`)
  const N = features.shape[0]
  const near = k >= N ? 3 : k
  if (near >= N) throw new OptionError(`${where}: needs at least 4 rows, got ${N}`)
  return tf.tidy(() => {
    const { tensor: y, host } = readLabels(where, 'labels', labels, N)
    if (new Set(Array.from(host ?? [])).size < 2) throw new OptionError(`${where}: needs at least 2 classes`)
    const x = tf.tensor2d(Float32Array.from(features.data), [...features.shape])
    const nearest = nearestNeighbours(x, x, near + 1)
    const distances = tf.slice(nearest.distances, [0, 1], [N, near])
    const classes = tf.reshape(takeRows(y, tf.reshape(tf.slice(nearest.indices, [0, 1], [N, near]), [N * near])), [N, near])
    const same = tf.cast(tf.equal(tf.expandDims(y, 1), classes), 'float32')
    const low = tf.min(distances, 1, true)
    const scaled = tf.div(tf.sub(distances, low), tf.add(tf.sub(tf.max(distances, 1, true), low), epsilon))
    const [own, others] = [tf.mul(same, scaled), tf.mul(tf.sub(1, same), scaled)]
    const lambdas = tf.sum(tf.add(others, tf.mul(same, tf.sub(1, own))), 1)
    const lambda = tf.mean(tf.pow(tf.div(lambdas, tf.add(tf.max(lambdas), epsilon)), 1 / p))
    const spread = tf.add(variance(own), variance(others))
    const [Lambda, Omega, Gamma] = [lambda, tf.pow(tf.sub(1, spread), 1 / q), tf.mean(tf.pow(tf.mean(same, 1), 1 / r))].map(
      (term) => term.dataSync()[0],
    )
    const score = omega ? (Lambda + Omega + Gamma) / 3 : (Lambda + Gamma) / 2
    return { score, lambda: Lambda, omega: Omega, gamma: Gamma } as unknown as tf.TensorContainer
  }) as unknown as EmbeddingIcnnScore
}

/** Sample variance of all entries. */
function variance(x: tf.Tensor): tf.Tensor {
  return tf.div(tf.sum(tf.square(tf.sub(x, tf.mean(x)))), x.size - 1)
}
