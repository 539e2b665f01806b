/** Martins and Astudillo, "From softmax to sparsemax", 2016, arXiv 1602.02068. */
import { customGradient, ShapeError } from '@bpf/core'
import { sort } from '@bpf/core/ops'
import * as tf from '@tensorflow/tfjs-core'
import { oneHot } from './labelled'

/**
 * The threshold τ of sparsemax: with z sorted descending and k = max{j: 1 + j z_(j) > Σ_{i≤j} z_(i)}, τ = (Σ_{i≤k} z_(i) − 1)/k.
 *
 * @param z - [n, C]
 * @returns [n, 1]
 */
export function sparsemaxThreshold(z: tf.Tensor): tf.Tensor {
  return tf.tidy(() => {
    const sorted = sort(z, { descending: true })
    const ranks = tf.range(1, (z.shape[1] ?? 0) + 1)
    const sums = tf.cumsum(sorted, 1)
    const supported = tf.cast(tf.greater(tf.add(tf.mul(sorted, ranks), 1), sums), 'float32')
    const count = tf.sum(supported, 1, true)
    // The condition holds for the first k ranks and no others.
    return tf.div(tf.sub(tf.sum(tf.mul(sorted, supported), 1, true), 1), count)
  })
}

/**
 * The Euclidean projection of each row onto the probability simplex: max(z − τ, 0).
 *
 * @param z - [n, C]
 * @returns [n, C]; rows sum to 1, with zeros
 * @throws ShapeError for another rank
 */
export function sparsemax(z: tf.Tensor): tf.Tensor {
  if (z.rank !== 2) throw new ShapeError(`sparsemax: expected scores [n, classes], got [${z.shape.join(', ')}]`)
  return tf.tidy(() => tf.relu(tf.sub(z, sparsemaxThreshold(z))))
}

/** A row's score of its label, Σ_j 1[j = y] z_j [n]. */
function labelScore(y: tf.Tensor, z: tf.Tensor): tf.Tensor {
  return tf.sum(tf.mul(oneHot(y, z.shape[1] ?? 0), z), 1)
}

const lossWithGradient = customGradient(
  ({ y, z }: { y: tf.Tensor; z: tf.Tensor }) =>
    tf.tidy(() => {
      const tau = sparsemaxThreshold(z)
      const supported = tf.cast(tf.greater(z, tau), 'float32')
      const squares = tf.sum(tf.mul(supported, tf.sub(tf.square(z), tf.square(tau))), 1)
      return tf.add(tf.sub(tf.mul(squares, 0.5), labelScore(y, z)), 0.5)
    }),
  ({ y, z }, dy) => ({ y, z: tf.mul(tf.expandDims(dy, 1), tf.sub(sparsemax(z), oneHot(y, z.shape[1] ?? 0))) }),
)

/**
 * The loss whose gradient is sparsemax(z) − onehot(y), row by row: −z_y + ½ Σ_{j: p_j>0} (z_j² − τ²) + ½.
 *
 * @param y - class indices [n], int32
 * @param z - [n, C]
 * @returns [n], at least 0
 */
export function sparsemaxLoss(y: tf.Tensor, z: tf.Tensor): tf.Tensor {
  return lossWithGradient({ y, z })
}
