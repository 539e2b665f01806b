import { deviation, sample } from '@bpf/backend-onnx/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { useBackend } from '../backend'

const tolerance = 1e-5

// The cpu backend is what compiled gradients are compared with.
beforeAll(async () => {
  await useBackend('cpu')
  await useBackend('onnx')
})

describe('gradients of convolutional nets', () => {
  /** Convolution, batch norm of the batch, ReLU and max-pooling, then a strided or depthwise convolution and average-pooling. */
  const net = (isDepthwise: boolean, dilation: number) => (inputs: tf.Tensor[]) => {
    const loss = (x: tf.Tensor, first: tf.Tensor, bias: tf.Tensor, scale: tf.Tensor, second: tf.Tensor): tf.Tensor => {
      const z = tf.conv2d(x as tf.Tensor4D, first as tf.Tensor4D, 1, 'same', 'NHWC', dilation)
      const centred = tf.sub(z, tf.mean(z, [0, 1, 2]))
      const gain = tf.mul(tf.rsqrt(tf.add(tf.mean(tf.square(centred), [0, 1, 2]), 1e-3)), scale)
      const normal = tf.add(tf.mul(centred, gain), bias)
      const pooled = tf.maxPool(tf.relu(normal) as tf.Tensor4D, 2, 2, 'valid')
      const convolved = isDepthwise
        ? tf.depthwiseConv2d(pooled, tf.reshape(second, [3, 3, 3, 4]) as tf.Tensor4D, 1, 'same')
        : tf.conv2d(pooled, second as tf.Tensor4D, 2, 'same')
      const last = tf.avgPool(convolved as tf.Tensor4D, 2, 1, 'same')
      return tf.sum(tf.mul(last, tf.sin(tf.reshape(tf.range(0, last.size), last.shape))))
    }
    const { value, grads } = tf.valueAndGrads(loss as (...args: tf.Tensor[]) => tf.Scalar)(inputs)
    return [value, ...grads]
  }

  it.each([
    [false, 1],
    [false, 2],
    [true, 1],
  ])('equal cpu (depthwise: %s, dilation %i)', async (isDepthwise, dilation) => {
    const inputs = [sample([3, 9, 8, 2], 1), sample([3, 3, 2, 3], 2), sample([3], 3), sample([3], 4), sample([3, 3, 3, 4], 5)]
    expect(await deviation(net(isDepthwise, dilation), inputs)).toBeLessThan(tolerance)
    expect(await deviation(net(isDepthwise, dilation), inputs, 'float64')).toBeLessThan(tolerance)
  })
})
