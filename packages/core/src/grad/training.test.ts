import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { map, type Tree } from '../tree'
import { valueAndGrad } from './index'

beforeAll(() => useBackend())

/** Loss before and after `steps` steps of gradient descent. */
function train<P extends Tree>(params: P, loss: (params: P) => tf.Tensor, steps = 30, rate = 0.1): { first: number; last: number } {
  const step = valueAndGrad(loss)
  let first = Number.NaN
  let last = Number.NaN
  let current = params
  for (let i = 0; i < steps; i++) {
    const { value, grads } = step(current)
    last = value.dataSync()[0]
    if (i === 0) first = last
    current = map((p, g) => tf.sub(p, tf.mul(g, rate)), current, grads)
  }
  return { first, last }
}

const weights = (...shape: number[]): tf.Tensor => tf.randomNormal(shape, 0, 0.3, 'float32', shape.length * 7 + shape[0])

it('trains a perceptron with a softmax cross-entropy', () => {
  const x = weights(16, 5)
  const labels = tf.oneHot(tf.mod(tf.range(0, 16, 1, 'int32'), tf.scalar(3, 'int32')), 3)
  const { first, last } = train({ w1: weights(5, 16), b1: tf.zeros([16]), w2: weights(16, 3), b2: tf.zeros([3]) }, (p) => {
    const hidden = tf.relu(tf.add(tf.matMul(x, p.w1), p.b1))
    return tf.losses.softmaxCrossEntropy(labels, tf.add(tf.matMul(hidden, p.w2), p.b2))
  })
  expect(last).toBeLessThan(first * 0.9)
})

it('trains a convolution with batch normalisation and pooling', () => {
  const x = weights(4, 8, 8, 2) as tf.Tensor4D
  const { first, last } = train(
    { filter: weights(3, 3, 2, 4), depthwise: weights(3, 3, 4, 1), scale: tf.ones([4]), offset: tf.zeros([4]), w: weights(16, 1) },
    (p) => {
      const features = tf.conv2d(x, p.filter as tf.Tensor4D, 1, 'same')
      const { mean, variance } = tf.moments(features, [0, 1, 2])
      const normal = tf.relu(
        tf.batchNorm(features, mean as tf.Tensor1D, variance as tf.Tensor1D, p.offset as tf.Tensor1D, p.scale as tf.Tensor1D),
      )
      const pooled = tf.maxPool(normal as tf.Tensor4D, 2, 2, 'valid')
      const small = tf.avgPool(tf.depthwiseConv2d(pooled, p.depthwise as tf.Tensor4D, 1, 'same'), 2, 2, 'same')
      return tf.mean(tf.square(tf.sub(tf.matMul(tf.reshape(small, [4, 16]), p.w), 1)))
    },
    30,
    0.01,
  )
  expect(last).toBeLessThan(first * 0.5)
})

it('trains embeddings with attention', () => {
  const tokens = tf.tensor2d([0, 1, 2, 3, 3, 2, 1, 0], [2, 4], 'int32')
  const { first, last } = train({ table: weights(5, 6), q: weights(6, 6), k: weights(6, 6), v: weights(6, 6) }, (p) => {
    const x = tf.gather(p.table, tokens)
    const project = (w: tf.Tensor): tf.Tensor => tf.reshape(tf.matMul(tf.reshape(x, [8, 6]), w), [2, 4, 6])
    const scores = tf.softmax(tf.div(tf.matMul(project(p.q), project(p.k), false, true), Math.sqrt(6)))
    return tf.mean(tf.square(tf.sub(tf.matMul(scores, project(p.v)), 0.5)))
  })
  expect(last).toBeLessThan(first * 0.8)
})

it('trains a gated recurrent unit', () => {
  const x = weights(3, 5, 2)
  const { first, last } = train({ input: weights(2, 12), hidden: weights(4, 12), bias: tf.zeros([12]) }, (p) => {
    let h: tf.Tensor = tf.zeros([3, 4])
    for (const xt of tf.unstack(x, 1)) {
      const [rx, zx, nx] = tf.split(tf.add(tf.matMul(xt, p.input), p.bias), 3, 1)
      const [rh, zh, nh] = tf.split(tf.matMul(h, p.hidden), 3, 1)
      const z = tf.sigmoid(tf.add(zx, zh))
      const n = tf.tanh(tf.add(nx, tf.mul(tf.sigmoid(tf.add(rx, rh)), nh)))
      h = tf.add(tf.mul(z, h), tf.mul(tf.sub(1, z), n))
    }
    return tf.mean(tf.square(tf.sub(h, 0.7)))
  })
  expect(last).toBeLessThan(first * 0.8)
})
