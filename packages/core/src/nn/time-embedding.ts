import * as tf from '@tensorflow/tfjs-core'
import { OptionError } from '../errors'
import { normal } from '../random/index'
import { checkRank, type Empty, type Layer } from './layer'

/** Options of {@link sinusoidalEmbedding}. */
export type SinusoidalOptions = {
  /** Longest period over 2π. Default 10000. */
  maxPeriod?: number
  /** Multiplies the times first; 1000 for times in [0, 1]. Default 1. */
  scale?: number
}

/**
 * [sin(t·ω₀), …, sin(t·ω_{h−1}), cos(t·ω₀), …, cos(t·ω_{h−1})] with ω_i = maxPeriod^(−i/h), h = size/2.
 *
 * @param times - [n], float32 or int32
 * @param size - even
 * @returns [n, size]
 * @throws OptionError unless `size` is a positive even integer
 * @see Vaswani et al., 2017, arXiv:1706.03762; Ho et al., "Denoising diffusion probabilistic models", 2020, arXiv:2006.11239
 */
export function sinusoidalEmbedding(
  times: tf.Tensor,
  size: number,
  { maxPeriod = 10_000, scale = 1 }: SinusoidalOptions = {},
): tf.Tensor2D {
  if (!Number.isInteger(size) || size < 2 || size % 2 !== 0) {
    throw new OptionError(`sinusoidalEmbedding: size must be a positive even integer, got ${size}`)
  }
  const half = size / 2
  return tf.tidy(() => {
    const frequencies = tf.tensor2d(
      Float32Array.from({ length: half }, (_, i) => scale * maxPeriod ** (-i / half)),
      [1, half],
    )
    const angles = tf.mul(tf.reshape(tf.cast(times, 'float32'), [-1, 1]), frequencies)
    return tf.concat2d([tf.sin(angles) as tf.Tensor2D, tf.cos(angles) as tf.Tensor2D], 1)
  })
}

/** State of {@link fourierFeatures}: fixed frequencies. */
export type FourierState = { frequencies: tf.Tensor }

/**
 * Random Fourier features [cos(2π·x·B), sin(2π·x·B)] with B drawn once from N(0, stddev²) and never trained.
 *
 * @param size - even; length of the output
 * @returns a layer from [n, d] to [n, size]; `state` frequencies [d, size/2]
 * @see Tancik et al., "Fourier features let networks learn high frequency functions", 2020, arXiv:2006.10739
 */
export function fourierFeatures(size: number, { stddev = 1 }: { stddev?: number } = {}): Layer<Empty, FourierState> {
  if (!Number.isInteger(size) || size < 2 || size % 2 !== 0) {
    throw new OptionError(`fourierFeatures: size must be a positive even integer, got ${size}`)
  }
  return {
    init: (key, inputShape) => {
      checkRank('fourierFeatures', inputShape, 1, 'd')
      return { params: {}, state: { frequencies: normal(key, [inputShape[0], size / 2], { stddev }) }, outputShape: [size] }
    },
    apply: (_, { frequencies }, x) => {
      const angles = tf.mul(tf.matMul(x as tf.Tensor2D, frequencies as tf.Tensor2D), 2 * Math.PI)
      return { y: tf.concat([tf.cos(angles), tf.sin(angles)], 1), state: { frequencies: frequencies.clone() } }
    },
  }
}
