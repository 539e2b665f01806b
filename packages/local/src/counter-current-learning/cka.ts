/** Kornblith et al., "Similarity of neural network representations revisited", 2019, arXiv 1905.00414. */
import { ShapeError } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'

const flat = (x: tf.Tensor): tf.Tensor2D => tf.reshape(x, [x.shape[0], -1]) as tf.Tensor2D
const centred = (x: tf.Tensor2D): tf.Tensor2D => tf.sub(x, tf.mean(x, 0, true))

/** ‖XᵀY‖²_F by the smaller of the two products. */
function alignment(x: tf.Tensor2D, y: tf.Tensor2D): tf.Tensor {
  const [n, p] = x.shape
  if (p * y.shape[1] <= n * n) return tf.sum(tf.square(tf.matMul(x, y, true)))
  return tf.sum(tf.mul(tf.matMul(x, x, false, true), tf.matMul(y, y, false, true)))
}

/**
 * Linear centred kernel alignment ‖XᵀY‖²_F/(‖XᵀX‖_F·‖YᵀY‖_F) of two representations of the same examples, columns centred.
 *
 * @param x - [n, ...]
 * @param y - [n, ...], other sizes allowed
 * @returns a scalar in [0, 1], 1 for representations that are the same up to rotation and scale
 * @throws ShapeError when the rows differ in number
 */
export function linearCka(x: tf.Tensor, y: tf.Tensor): tf.Scalar {
  if (x.shape[0] !== y.shape[0]) throw new ShapeError(`linearCka: x has ${x.shape[0]} rows, y ${y.shape[0]}; expected the same examples`)
  return tf.tidy(() => {
    const [a, b] = [centred(flat(x)), centred(flat(y))]
    return tf.div(alignment(a, b), tf.sqrt(tf.mul(alignment(a, a), alignment(b, b)))) as tf.Scalar
  })
}
