import { customGradient } from '@bpf/core'
import { lambda, type Empty, type Layer } from '@bpf/core/nn'
import * as tf from '@tensorflow/tfjs-core'

/** The four corners of every 2 × 2 window of x [n, 2h, 2w, c], row by row, each [n, h, 1, w, 1, c]. */
function corners(x: tf.Tensor): tf.Tensor[] {
  const [n, height, width, channels] = x.shape as [number, number, number, number]
  const windows = tf.reshape(x, [n, height / 2, 2, width / 2, 2, channels])
  return [0, 1, 2, 3].map((corner) => tf.slice(windows, [0, 0, corner >> 1, 0, corner & 1, 0], [n, height / 2, 1, width / 2, 1, channels]))
}

const largest = ([a, b, c, d]: readonly tf.Tensor[]): tf.Tensor => tf.maximum(tf.maximum(a, b), tf.maximum(c, d))

const poolEven = customGradient(
  (x: tf.Tensor) =>
    tf.tidy(() => {
      const [n, height, width, channels] = x.shape as [number, number, number, number]
      return tf.reshape(largest(corners(x)), [n, height / 2, width / 2, channels])
    }),
  (x, dy) => {
    const all = corners(x)
    const top = largest(all)
    const slope = tf.reshape(dy, top.shape)
    // What earlier corners have not taken: of equal ones the first gets the gradient.
    let left = slope
    const [a, b, c, d] = all.map((corner, i) => {
      if (i === 3) return left
      const taken = tf.where(tf.equal(corner, top), left, tf.zerosLike(left))
      left = tf.sub(left, taken)
      return taken
    })
    return tf.reshape(tf.concat([tf.concat([a, b], 4), tf.concat([c, d], 4)], 2), x.shape)
  },
)

/**
 * Maximum over windows of 2 × 2, a last odd row and column left out: `maxPool(2)`, whose gradient takes three times as long
 * on the engine, since it must serve any window.
 */
export function halvingPool(): Layer<Empty, Empty> {
  return lambda(
    (x, { training }) => {
      if (!training) return tf.maxPool(x as tf.Tensor4D, 2, 2, 'valid')
      const [n, height, width, channels] = x.shape as [number, number, number, number]
      const even = [n, height - (height % 2), width - (width % 2), channels]
      return poolEven(tf.util.arraysEqual(even, x.shape) ? x : tf.slice(x, [0, 0, 0, 0], even))
    },
    ([height, width, channels]) => [Math.floor(height / 2), Math.floor(width / 2), channels],
  )
}
