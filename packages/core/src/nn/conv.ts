import * as tf from '@tensorflow/tfjs-core'
import { OptionError, ShapeError } from '../errors'
import { addBias, checkCount, initAffine, type Affine, type AffineOptions } from './dense'
import { fansOf } from './initializers'
import { checkInput, checkRank, sizeAt, stateless, type Empty, type Layer, type Shape } from './layer'

/** One number for both axes, or [height, width]. */
export type Pair = number | readonly [number, number]

/**
 * `valid`: no padding. `same`: output size = ⌈input/stride⌉, an odd rest is padded at the end, as in TensorFlow.
 * A number: that many zeros on every side, as in PyTorch.
 */
export type Padding = 'same' | 'valid' | number

/** Options of {@link conv2d}. */
export type Conv2dOptions<Bias extends boolean = boolean> = AffineOptions<Bias> & {
  kernelSize: Pair
  /** Default 1. */
  stride?: Pair
  /** Default 'same'. */
  padding?: Padding
  /** Spacing of the kernel's taps. Default 1. Above 1 only with stride 1. */
  dilation?: Pair
  /** Independent groups of channels; equal to the input channels for depthwise. Default 1. */
  groups?: number
}

export function pairOf(where: string, name: string, value: Pair): [number, number] {
  const pair: [number, number] = typeof value === 'number' ? [value, value] : [value[0], value[1]]
  pair.forEach((size) => checkCount(where, name, size))
  return pair
}

/** Output size of a sliding window along one axis. @throws ShapeError when the window doesn't fit */
export function windowOutput(where: string, input: number, size: number, stride: number, padding: Padding): number {
  const output =
    padding === 'same' ? Math.ceil(input / stride) : Math.floor((input + 2 * (padding === 'valid' ? 0 : padding) - size) / stride) + 1
  if (output < 1)
    throw new ShapeError(
      `${where}: a window of ${size} does not fit an input of ${input} with padding ${padding}; use a larger input or 'same'`,
    )
  return output
}

export function checkPadding(where: string, padding: Padding): void {
  const fits = padding === 'same' || padding === 'valid' || (Number.isInteger(padding) && padding >= 0)
  if (!fits) throw new OptionError(`${where}: padding must be 'same', 'valid' or a non-negative integer, got ${String(padding)}`)
}

function checkStrides(where: string, stride: [number, number], dilation: [number, number]): void {
  if (stride.some((s) => s > 1) && dilation.some((d) => d > 1)) {
    throw new OptionError(`${where}: stride ${stride.join('×')} with dilation ${dilation.join('×')}: one of them must be 1`)
  }
}

function depthwise(x: tf.Tensor, kernel: tf.Tensor, stride: [number, number], padding: Padding, dilation: [number, number]): tf.Tensor {
  return tf.depthwiseConv2d(x as tf.Tensor4D, kernel as tf.Tensor4D, stride, padding, 'NHWC', dilation)
}

function convolve(
  x: tf.Tensor,
  kernel: tf.Tensor,
  groups: number,
  stride: [number, number],
  padding: Padding,
  dilation: [number, number],
): tf.Tensor {
  const plain = (part: tf.Tensor, weights: tf.Tensor) =>
    tf.conv2d(part as tf.Tensor4D, weights as tf.Tensor4D, stride, padding, 'NHWC', dilation) as tf.Tensor
  if (groups === 1) return plain(x, kernel)
  const [height, width, inputsPerGroup, outputs] = kernel.shape
  if (inputsPerGroup === 1) return depthwise(x, tf.reshape(kernel, [height, width, groups, outputs / groups]), stride, padding, dilation)
  const kernels = tf.split(kernel, groups, 3)
  return tf.concat(
    tf.split(x, groups, 3).map((part, i) => plain(part, kernels[i])),
    3,
  )
}

/**
 * 2-D convolution (cross-correlation, as everywhere in this field).
 *
 * @param channels - output channels
 * @returns a layer from [n, h, w, in] to [n, h', w', channels]; kernel [kh, kw, in/groups, channels], bias [channels]
 * @throws OptionError for options out of range, or stride and dilation both above 1; ShapeError when groups don't divide channels
 */
export function conv2d<Bias extends boolean = true>(channels: number, options: Conv2dOptions<Bias>): Layer<Affine<Bias>, Empty> {
  const { padding = 'same', groups = 1 } = options
  checkCount('conv2d', 'channels', channels)
  checkCount('conv2d', 'groups', groups)
  checkPadding('conv2d', padding)
  const size = pairOf('conv2d', 'kernelSize', options.kernelSize)
  const stride = pairOf('conv2d', 'stride', options.stride ?? 1)
  const dilation = pairOf('conv2d', 'dilation', options.dilation ?? 1)
  checkStrides('conv2d', stride, dilation)
  return stateless<Affine<Bias>>(
    (key, inputShape) => {
      checkRank('conv2d', inputShape, 3, 'h, w, channels')
      const [height, width, inputs] = inputShape
      if (inputs % groups !== 0 || channels % groups !== 0) {
        throw new ShapeError(`conv2d: groups (${groups}) must divide the input channels (${inputs}) and the output channels (${channels})`)
      }
      const outputs = [height, width].map((length, i) =>
        windowOutput('conv2d', length, (size[i] - 1) * dilation[i] + 1, stride[i], padding),
      )
      return { params: initAffine(key, [...size, inputs / groups, channels], channels, options), outputShape: [...outputs, channels] }
    },
    (params, x) => {
      checkInput('conv2d', x, 4, sizeAt(params.kernel, 2) * groups, 'n, h, w, channels')
      return addBias(convolve(x, params.kernel, groups, stride, padding, dilation), params as Affine<boolean>)
    },
  )
}

/** Options of {@link depthwiseConv2d}. */
export type DepthwiseConv2dOptions<Bias extends boolean = boolean> = Omit<Conv2dOptions<Bias>, 'groups'> & {
  /** Output channels per input channel. Default 1. */
  multiplier?: number
}

/**
 * A filter of its own for every input channel.
 *
 * @returns a layer from [n, h, w, c] to [n, h', w', c·multiplier]; kernel [kh, kw, c, multiplier], output channel
 *   i·multiplier + j from input channel i. Its fanIn is the window size.
 */
export function depthwiseConv2d<Bias extends boolean = true>(options: DepthwiseConv2dOptions<Bias>): Layer<Affine<Bias>, Empty> {
  const { padding = 'same', multiplier = 1 } = options
  checkCount('depthwiseConv2d', 'multiplier', multiplier)
  checkPadding('depthwiseConv2d', padding)
  const size = pairOf('depthwiseConv2d', 'kernelSize', options.kernelSize)
  const stride = pairOf('depthwiseConv2d', 'stride', options.stride ?? 1)
  const dilation = pairOf('depthwiseConv2d', 'dilation', options.dilation ?? 1)
  checkStrides('depthwiseConv2d', stride, dilation)
  return stateless<Affine<Bias>>(
    (key, inputShape) => {
      checkRank('depthwiseConv2d', inputShape, 3, 'h, w, channels')
      const [height, width, inputs] = inputShape
      const outputs = [height, width].map((length, i) =>
        windowOutput('depthwiseConv2d', length, (size[i] - 1) * dilation[i] + 1, stride[i], padding),
      )
      const channels = inputs * multiplier
      const fans = fansOf([...size, 1, multiplier])
      return { params: initAffine(key, [...size, inputs, multiplier], channels, options, fans), outputShape: [...outputs, channels] }
    },
    (params, x) => {
      checkInput('depthwiseConv2d', x, 4, sizeAt(params.kernel, 2), 'n, h, w, channels')
      return addBias(depthwise(x, params.kernel, stride, padding, dilation), params as Affine<boolean>)
    },
  )
}

/** Options of {@link conv1d}. */
export type Conv1dOptions<Bias extends boolean = boolean> = AffineOptions<Bias> & {
  kernelSize: number
  /** Default 1. */
  stride?: number
  /** As for {@link conv2d}, or `causal`: padded before the first step only, so that no output sees a later input. Default 'same'. */
  padding?: Padding | 'causal'
  /** Spacing of the kernel's taps. Default 1. Above 1 only with stride 1. */
  dilation?: number
  /** Independent groups of channels. Default 1. */
  groups?: number
}

/**
 * 1-D convolution over time.
 *
 * @param channels - output channels
 * @returns a layer from [n, t, in] to [n, t', channels]; kernel [k, in/groups, channels], bias [channels]
 * @throws as {@link conv2d}
 */
export function conv1d<Bias extends boolean = true>(channels: number, options: Conv1dOptions<Bias>): Layer<Affine<Bias>, Empty> {
  const { kernelSize, stride = 1, padding = 'same', dilation = 1, groups = 1 } = options
  checkCount('conv1d', 'channels', channels)
  checkCount('conv1d', 'kernelSize', kernelSize)
  checkCount('conv1d', 'stride', stride)
  checkCount('conv1d', 'dilation', dilation)
  checkCount('conv1d', 'groups', groups)
  const causal = padding === 'causal'
  if (!causal) checkPadding('conv1d', padding)
  checkStrides('conv1d', [stride, stride], [dilation, dilation])
  const span = (kernelSize - 1) * dilation + 1
  // The height axis of one row takes no padding, so a symmetric number of zeros is padded here too.
  const border: [number, number] = causal ? [span - 1, 0] : typeof padding === 'number' ? [padding, padding] : [0, 0]
  return stateless<Affine<Bias>>(
    (key, inputShape) => {
      checkRank('conv1d', inputShape, 2, 't, channels')
      const [length, inputs] = inputShape
      if (inputs % groups !== 0 || channels % groups !== 0) {
        throw new ShapeError(`conv1d: groups (${groups}) must divide the input channels (${inputs}) and the output channels (${channels})`)
      }
      const padded = length + border[0] + border[1]
      const outputs = windowOutput('conv1d', padded, span, stride, padding === 'same' ? 'same' : 'valid')
      return { params: initAffine(key, [kernelSize, inputs / groups, channels], channels, options), outputShape: [outputs, channels] }
    },
    (params, x) => {
      checkInput('conv1d', x, 3, sizeAt(params.kernel, 1) * groups, 'n, t, channels')
      const padded = border[0] + border[1] > 0 ? tf.pad(x, [[0, 0], border, [0, 0]]) : x
      const image = tf.expandDims(padded, 1)
      const kernel = tf.expandDims(params.kernel, 0)
      const y = convolve(image, kernel, groups, [1, stride], padding === 'same' ? 'same' : 'valid', [1, dilation])
      return addBias(tf.squeeze(y, [1]), params as Affine<boolean>)
    },
  )
}

/** Options of {@link conv2dTranspose}. */
export type Conv2dTransposeOptions<Bias extends boolean = boolean> = AffineOptions<Bias> & {
  kernelSize: Pair
  /** Default 1. */
  stride?: Pair
  /** `same`: output = input·stride; `valid`: (input − 1)·stride + kernel; a number p: 2p less than `valid`. Default 'same'. */
  padding?: Padding
  /** Rows and columns added at the end, below the stride. Default 0. */
  outputPadding?: Pair | 0
}

/**
 * Transposed convolution (the adjoint of {@link conv2d} in its input), for upsampling.
 *
 * @param channels - output channels
 * @returns a layer from [n, h, w, in] to [n, h', w', channels]; kernel [kh, kw, channels, in], bias [channels]
 */
export function conv2dTranspose<Bias extends boolean = true>(
  channels: number,
  options: Conv2dTransposeOptions<Bias>,
): Layer<Affine<Bias>, Empty> {
  const { padding = 'same', outputPadding = 0 } = options
  checkCount('conv2dTranspose', 'channels', channels)
  checkPadding('conv2dTranspose', padding)
  const size = pairOf('conv2dTranspose', 'kernelSize', options.kernelSize)
  const stride = pairOf('conv2dTranspose', 'stride', options.stride ?? 1)
  const extra = typeof outputPadding === 'number' ? [outputPadding, outputPadding] : outputPadding
  if (extra.some((e, i) => !Number.isInteger(e) || e < 0 || e >= Math.max(stride[i], 2))) {
    throw new OptionError(`conv2dTranspose: outputPadding must be a non-negative integer below the stride, got ${extra.join('×')}`)
  }
  const spatial = (inputShape: Shape): [number, number] => {
    const [height, width] = [0, 1].map((i) => {
      const base =
        padding === 'same' ? inputShape[i] * stride[i] : (inputShape[i] - 1) * stride[i] + size[i] - 2 * (padding === 'valid' ? 0 : padding)
      if (base + extra[i] < 1) throw new ShapeError(`conv2dTranspose: padding ${padding} leaves nothing of an input of ${inputShape[i]}`)
      return base + extra[i]
    })
    return [height, width]
  }
  return stateless<Affine<Bias>>(
    (key, inputShape) => {
      checkRank('conv2dTranspose', inputShape, 3, 'h, w, channels')
      const params = initAffine(key, [...size, channels, inputShape[2]], channels, options)
      return { params, outputShape: [...spatial(inputShape), channels] }
    },
    (params, x) => {
      checkInput('conv2dTranspose', x, 4, sizeAt(params.kernel, 3), 'n, h, w, channels')
      const outputShape: [number, number, number, number] = [x.shape[0], ...spatial(x.shape.slice(1)), channels]
      const y = tf.conv2dTranspose(x as tf.Tensor4D, params.kernel as tf.Tensor4D, outputShape, stride, padding)
      return addBias(y, params as Affine<boolean>)
    },
  )
}
