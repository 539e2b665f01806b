import * as tf from '@tensorflow/tfjs-core'
import { ShapeError } from '../errors'
import { shapeText } from './gather'

/** Most values of a block of differences held at once. */
const blockSize = 2 ** 22

/**
 * Squared Euclidean distances between all rows: D[i, j] = Σ_k (x[i, k] - y[j, k])².
 *
 * Summed from the differences, not from inner products: equal rows are at exactly 0, equal pairs of rows at exactly
 * equal distances within one call, and nothing cancels. Costs n·m·d elementwise work, in blocks of rows.
 * Differentiable to any order.
 *
 * @param x - [n, d], float32
 * @param y - [m, d], float32; default x
 * @returns [n, m]
 * @throws ShapeError when the shapes are not [n, d] and [m, d]
 */
export function pairwiseSquaredDistances(x: tf.Tensor, y: tf.Tensor = x): tf.Tensor2D {
  if (x.rank !== 2 || y.rank !== 2 || x.shape[1] !== y.shape[1]) {
    throw new ShapeError(`pairwiseSquaredDistances: expected x [n, d] and y [m, d], got ${shapeText(x)} and ${shapeText(y)}`)
  }
  const distances = tf.customGrad((left, right, save) => {
    const a = left as tf.Tensor2D
    const b = right as tf.Tensor2D
    const saveTensors = save as tf.GradSaveFunc
    saveTensors([a, b])
    return {
      value: squaredDifferences(a, b),
      gradFunc: (dy: tf.Tensor, [p, q]: tf.Tensor[]) => [pull(dy as tf.Tensor2D, p, q), pull(tf.transpose(dy as tf.Tensor2D), q, p)],
    }
  })
  return tf.tidy(() => distances(x, y) as tf.Tensor2D)
}

/** 2 Σ_j w[i, j] (p[i] - q[j]): the gradient of Σ w D for p. */
function pull(w: tf.Tensor2D, p: tf.Tensor, q: tf.Tensor): tf.Tensor {
  return tf.mul(2, tf.sub(tf.mul(p, tf.sum(w, 1, true)), tf.matMul(w, q as tf.Tensor2D)))
}

function squaredDifferences(x: tf.Tensor2D, y: tf.Tensor2D): tf.Tensor {
  const [n, d] = x.shape
  const m = y.shape[0]
  if (n * m * d === 0) return tf.zeros([n, m])
  const rows = Math.max(1, Math.floor(blockSize / (m * d)))
  const others = tf.expandDims(y, 0)
  const blocks: tf.Tensor[] = []
  for (let start = 0; start < n; start += rows) {
    const count = Math.min(rows, n - start)
    blocks.push(tf.tidy(() => tf.sum(tf.squaredDifference(tf.expandDims(tf.slice(x, [start, 0], [count, d]), 1), others), 2)))
  }
  return tf.concat(blocks, 0)
}
