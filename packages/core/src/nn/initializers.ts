import * as tf from '@tensorflow/tfjs-core'
import { OptionError } from '../errors'
import { normal as drawNormal, normalArray, truncatedNormal as drawTruncated, uniform } from '../random/index'
import type { Key } from '../random/key'
import type { NormalOptions, TruncatedNormalOptions } from '../random/options'

/** How many inputs feed one output of a kernel, and how many outputs one input feeds. */
export type Fans = { fanIn: number; fanOut: number }

/**
 * Draws a parameter of a given shape.
 *
 * @param fans - of the kernel that the parameter belongs to (a bias gets its kernel's); default {@link fansOf} the shape
 */
export type Initializer = (key: Key, shape: readonly number[], fans?: Fans) => tf.Tensor

/**
 * Fans of a kernel `[...window, in, out]`: fanIn = window size · in, fanOut = window size · out. For grouped convolution `in`
 * is the inputs per group. A transposed convolution's kernel is `[h, w, out, in]`, so its fanIn counts the outputs: as in
 * PyTorch. A vector's fans are both its length.
 */
export function fansOf(shape: readonly number[]): Fans {
  if (shape.length < 2) return { fanIn: shape[0] ?? 1, fanOut: shape[0] ?? 1 }
  const window = shape.slice(0, -2).reduce((product, size) => product * size, 1)
  return { fanIn: window * shape[shape.length - 2], fanOut: window * shape[shape.length - 1] }
}

/** All zeros. */
export const zeros: Initializer = (_, shape) => tf.zeros([...shape])

/** All ones. */
export const ones: Initializer = (_, shape) => tf.ones([...shape])

/** One value everywhere. */
export function constant(value: number): Initializer {
  return (_, shape) => tf.fill([...shape], value)
}

/** N(mean, stddev²). */
export function normal(options: NormalOptions): Initializer {
  return (key, shape) => drawNormal(key, shape, options)
}

/** N(mean, stddev²) restricted to two standard deviations around the mean, or to the given bounds. */
export function truncatedNormal(options: TruncatedNormalOptions): Initializer {
  return (key, shape) => drawTruncated(key, shape, options)
}

function symmetric(key: Key, shape: readonly number[], bound: number): tf.Tensor {
  return uniform(key, shape, { low: -bound, high: bound })
}

/**
 * PyTorch's default for linear and convolutional layers, kernels and biases: uniform on ±1/√fanIn.
 */
export const torchDefault: Initializer = (key, shape, fans = fansOf(shape)) => symmetric(key, shape, 1 / Math.sqrt(fans.fanIn))

/** Options of the Kaiming initializers. */
export type KaimingOptions = {
  /** Keep the variance of activations (`fanIn`, default) or of gradients (`fanOut`). */
  mode?: 'fanIn' | 'fanOut'
  /** Gain of the nonlinearity; √2 (default) for ReLU, 1 for linear. */
  gain?: number
}

/**
 * N(0, gain²/fan).
 *
 * @see He et al., "Delving deep into rectifiers", 2015, arXiv:1502.01852
 */
export function kaimingNormal({ mode = 'fanIn', gain = Math.SQRT2 }: KaimingOptions = {}): Initializer {
  return (key, shape, fans = fansOf(shape)) => drawNormal(key, shape, { stddev: gain / Math.sqrt(fans[mode]) })
}

/** Uniform on ±gain·√(3/fan), the variance of {@link kaimingNormal}. */
export function kaimingUniform({ mode = 'fanIn', gain = Math.SQRT2 }: KaimingOptions = {}): Initializer {
  return (key, shape, fans = fansOf(shape)) => symmetric(key, shape, gain * Math.sqrt(3 / fans[mode]))
}

/**
 * N(0, gain²·2/(fanIn + fanOut)).
 *
 * @see Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010
 */
export function xavierNormal({ gain = 1 }: { gain?: number } = {}): Initializer {
  return (key, shape, fans = fansOf(shape)) => drawNormal(key, shape, { stddev: gain * Math.sqrt(2 / (fans.fanIn + fans.fanOut)) })
}

/** Uniform on ±gain·√(6/(fanIn + fanOut)), the variance of {@link xavierNormal}. */
export function xavierUniform({ gain = 1 }: { gain?: number } = {}): Initializer {
  return (key, shape, fans = fansOf(shape)) => symmetric(key, shape, gain * Math.sqrt(6 / (fans.fanIn + fans.fanOut)))
}

/** Standard deviation of a standard normal restricted to [−2, 2]. */
const truncatedStd = 0.8796256610342398

/**
 * Truncated normal of variance 1/fanIn (the truncation at two standard deviations is corrected for, as in Keras and JAX).
 *
 * @see LeCun et al., "Efficient backprop", 1998
 */
export const lecunNormal: Initializer = (key, shape, fans = fansOf(shape)) =>
  drawTruncated(key, shape, { stddev: 1 / (truncatedStd * Math.sqrt(fans.fanIn)) })

/** A Haar-distributed matrix with orthonormal columns from a normal one, [rows, columns] row-major with rows ≥ columns. */
function orthonormalColumns(values: Float64Array, rows: number, columns: number): void {
  // Gram–Schmidt on columns stored one after the other; the second pass removes what rounding left of the first.
  for (let j = 0; j < columns; j++) {
    const column = values.subarray(j * rows, (j + 1) * rows)
    for (let pass = 0; pass < 2; pass++) {
      for (let i = 0; i < j; i++) {
        const other = values.subarray(i * rows, (i + 1) * rows)
        let dot = 0
        for (let k = 0; k < rows; k++) dot += column[k] * other[k]
        for (let k = 0; k < rows; k++) column[k] -= dot * other[k]
      }
    }
    let square = 0
    for (let k = 0; k < rows; k++) square += column[k] ** 2
    const scale = 1 / Math.sqrt(square)
    for (let k = 0; k < rows; k++) column[k] *= scale
  }
}

/**
 * A matrix [all but the last axis, last axis] with orthonormal columns (or rows, if there are fewer of them), times `gain`,
 * drawn uniformly. It is computed on the host in float64, so it needs a key that isn't traced.
 *
 * @throws OptionError for a shape of fewer than two axes
 * @see Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks", 2014, arXiv:1312.6120
 */
export function orthogonal({ gain = 1 }: { gain?: number } = {}): Initializer {
  return (key, shape) => {
    if (shape.length < 2) throw new OptionError(`orthogonal: needs a shape of at least two axes, got [${shape.join(', ')}]`)
    const columns = shape[shape.length - 1]
    const rows = shape.slice(0, -1).reduce((product, size) => product * size, 1)
    const [long, short] = rows >= columns ? [rows, columns] : [columns, rows]
    const vectors = Float64Array.from(normalArray(key, short * long))
    orthonormalColumns(vectors, long, short)
    return tf.tidy(() => {
      const matrix = tf.tensor2d(
        Float32Array.from(vectors, (value) => value * gain),
        [short, long],
      )
      return tf.reshape(rows >= columns ? tf.transpose(matrix) : matrix, [...shape])
    })
  }
}
