import * as tf from '@tensorflow/tfjs-core'

/**
 * x log y, with 0 log y = 0 for every y, in value and in gradients: entropies and likelihoods of probabilities that
 * may be 0, where TensorFlow.js's own product gives NaN.
 *
 * @param x - float32; broadcasts with y
 * @param y - float32
 * @returns the broadcast shape
 */
export function xlogy(x: tf.Tensor, y: tf.Tensor): tf.Tensor {
  // log sees 1 where x is 0, so that neither its value nor its slope is infinite there.
  return tf.tidy(() => {
    const matters = tf.notEqual(tf.add(x, tf.zerosLike(y)), 0)
    const level = tf.add(y, tf.zerosLike(x))
    return tf.mul(x, tf.log(tf.where(matters, level, tf.onesLike(level))))
  })
}
