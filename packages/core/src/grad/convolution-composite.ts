import * as tf from '@tensorflow/tfjs-core'
import { sizes } from './define'
import { spread } from './shape'

type Attributes = {
  strides: number | number[]
  pad: 'valid' | 'same' | number | tf.backend_util.ExplicitPadding
  dimRoundingMode?: 'floor' | 'round' | 'ceil'
}
type Shape4D = [number, number, number, number]
type ConvolutionInfo = ReturnType<typeof tf.backend_util.computeConv2DInfo>

function infoOf(
  inputShape: number[],
  filterShape: number[],
  { strides, pad, dimRoundingMode }: Attributes,
  depthwise: boolean,
): ConvolutionInfo {
  return tf.backend_util.computeConv2DInfo(
    inputShape as Shape4D,
    filterShape as Shape4D,
    strides as [number, number],
    1,
    pad,
    dimRoundingMode,
    depthwise,
  )
}

function padded(x: tf.Tensor, { padInfo }: ConvolutionInfo): tf.Tensor {
  return tf.pad(x, [
    [0, 0],
    [padInfo.top, padInfo.bottom],
    [padInfo.left, padInfo.right],
    [0, 0],
  ])
}

/** Conv2DBackpropFilter as a convolution: x with its channels as batch, dy as the filter, spaced out by the stride. */
export function filterGradient(x: tf.Tensor, dy: tf.Tensor, filterShape: number[], attributes: Attributes): tf.Tensor {
  const info = infoOf(x.shape, filterShape, attributes, false)
  const byChannel = tf.transpose(padded(x, info), [3, 1, 2, 0]) as tf.Tensor4D
  const taps = tf.transpose(dy, [1, 2, 0, 3]) as tf.Tensor4D
  const spacing: [number, number] = [info.strideHeight, info.strideWidth]
  const correlation = tf.conv2d(byChannel, taps, 1, 'valid', 'NHWC', spacing)
  const [height, width, inputs, outputs] = filterShape
  return tf.transpose(tf.slice(correlation, [0, 0, 0, 0], [inputs, height, width, outputs]), [1, 2, 0, 3])
}

/** DepthwiseConv2dNativeBackpropFilter as a depthwise convolution over all pairs of example and channel. */
export function depthwiseFilterGradient(x: tf.Tensor, dy: tf.Tensor, filterShape: number[], attributes: Attributes): tf.Tensor {
  const info = infoOf(x.shape, filterShape, attributes, true)
  const { batchSize, outHeight, outWidth, strideHeight, strideWidth } = info
  const [height, width, channels, multiplier] = filterShape
  const input = padded(x, info)
  const [, inputHeight, inputWidth] = sizes(input)
  const pairs = tf.reshape(tf.transpose(input, [1, 2, 0, 3]), [1, inputHeight, inputWidth, batchSize * channels]) as tf.Tensor4D
  const taps = tf.reshape(tf.transpose(dy, [1, 2, 0, 3]), [outHeight, outWidth, batchSize * channels, multiplier]) as tf.Tensor4D
  const correlation = tf.depthwiseConv2d(pairs, taps, 1, 'valid', 'NHWC', [strideHeight, strideWidth])
  const needed = tf.slice(correlation, [0, 0, 0, 0], [1, height, width, batchSize * channels * multiplier])
  return tf.reshape(tf.sum(tf.reshape(needed, [height * width, batchSize, channels * multiplier]), 1), filterShape)
}

/** DepthwiseConv2dNativeBackpropInput as a depthwise convolution of dy, spaced out by the stride, with the turned filter. */
export function depthwiseInputGradient(dy: tf.Tensor, filter: tf.Tensor, inputShape: number[], attributes: Attributes): tf.Tensor {
  const { padInfo, strideHeight, strideWidth, outHeight, outWidth } = infoOf(inputShape, filter.shape, attributes, true)
  const [batch, height, width, channels] = inputShape
  const [rows, columns, , multiplier] = sizes(filter)
  const spaced = [(outHeight - 1) * strideHeight + 1, (outWidth - 1) * strideWidth + 1]
  const whole = [batch, spaced[0] + 2 * (rows - 1), spaced[1] + 2 * (columns - 1), channels * multiplier]
  const surrounded = spread(dy, whole, [0, rows - 1, columns - 1, 0], [1, strideHeight, strideWidth, 1]) as tf.Tensor4D
  const turned = tf.reshape(tf.reverse(filter, [0, 1]), [rows, columns, channels * multiplier, 1]) as tf.Tensor4D
  const each = tf.depthwiseConv2d(surrounded, turned, 1, 'valid')
  const [, reachedHeight, reachedWidth] = each.shape
  const summed = tf.sum(tf.reshape(each, [batch, reachedHeight, reachedWidth, channels, multiplier]), 4)
  // The last rows and columns of the padded input may meet no window.
  const missing = [height + padInfo.top + padInfo.bottom - reachedHeight, width + padInfo.left + padInfo.right - reachedWidth]
  const full = tf.pad(summed, [
    [0, 0],
    [0, missing[0]],
    [0, missing[1]],
    [0, 0],
  ])
  return tf.slice(full, [0, padInfo.top, padInfo.left, 0], inputShape)
}
