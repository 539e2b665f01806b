import * as tf from '@tensorflow/tfjs-core'
import { composed, define, output, runKernel, sizes, sumTo } from './define'

type ResponseNormalisation = { depthRadius: number; bias: number; alpha: number; beta: number }

/** Σ over the channels at most `radius` away, as a product with a banded matrix; symmetric, so its own transpose. */
function neighbourSum(x: tf.Tensor, radius: number): tf.Tensor {
  const channels = sizes(x)[x.rank - 1]
  const band = Float32Array.from({ length: channels * channels }, (_, at) =>
    Math.abs(Math.floor(at / channels) - (at % channels)) <= radius ? 1 : 0,
  )
  const sums = tf.matMul(tf.reshape(x, [x.size / channels, channels]), tf.tensor2d(band, [channels, channels]))
  return tf.reshape(sums, x.shape)
}

/** With n = bias + α Σ x² and y = x n^{-β}: dx = dy n^{-β} - 2αβ x Σ (dy y / n). */
function responseGradient(x: tf.Tensor, y: tf.Tensor, dy: tf.Tensor, { depthRadius, bias, alpha, beta }: ResponseNormalisation): tf.Tensor {
  const norm = tf.add(tf.mul(neighbourSum(tf.square(x), depthRadius), alpha), bias)
  const others = neighbourSum(tf.div(tf.mul(dy, y), norm), depthRadius)
  return tf.sub(tf.mul(dy, tf.pow(norm, -beta)), tf.mul(tf.mul(x, others), 2 * alpha * beta))
}

export const normalisationGradients: tf.GradConfig[] = [
  // y = (x - mean) · scale / √(variance + ε) + offset
  define<{ varianceEpsilon: number }>({
    kernel: 'FusedBatchNorm',
    save: ['x', 'mean', 'variance', 'scale', 'offset'],
    gradients: (dy, [x, mean, variance, scale, offset], { varianceEpsilon }) => {
      const inverse = tf.rsqrt(tf.add(variance, varianceEpsilon))
      const gain = tf.mul(scale, inverse)
      const centred = tf.sub(x, mean)
      return {
        x: () => tf.mul(dy, gain),
        mean: () => tf.neg(tf.mul(sumTo(dy, mean.shape), gain)),
        variance: () => tf.mul(sumTo(tf.mul(dy, centred), variance.shape), tf.mul(tf.mul(gain, tf.square(inverse)), -0.5)),
        scale: () => tf.mul(sumTo(tf.mul(dy, centred), scale.shape), inverse),
        offset: () => sumTo(dy, offset.shape),
      }
    },
  }),
  define<ResponseNormalisation>({
    kernel: 'LRN',
    save: ['x'],
    saveOutput: true,
    gradients: (dy, [x, y], attributes) => {
      const { depthRadius, bias, alpha, beta } = attributes
      const normalised = (): tf.Tensor => tf.localResponseNormalization(x as tf.Tensor4D, depthRadius, bias, alpha, beta)
      return { x: () => runKernel('LRNGrad', { x, y: output(y, normalised), dy }, attributes) }
    },
  }),
  composed<ResponseNormalisation>('LRNGrad', ['x', 'y', 'dy'], [], ([x, y, dy], attributes) => responseGradient(x, y, dy, attributes)),
]
