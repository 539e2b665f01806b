import { compile, useBackend } from '@bpf/core'
import { key, randint, uniform } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { halvingPool } from './halving-pool'

beforeAll(() => useBackend('onnx'))

const pool = (x: tf.Tensor, training = true) => halvingPool().apply({}, {}, x, { training }).y as tf.Tensor4D
const native = (x: tf.Tensor) => tf.maxPool(x as tf.Tensor4D, 2, 2, 'valid')

describe('halvingPool', () => {
  it.each([
    ['even sizes', [3, 4, 6, 2]],
    ['odd sizes', [2, 5, 7, 3]],
  ] as const)('is maxPool(2), with its gradient, ties included: %s', (_, shape) => {
    // Few different values: most windows have ties.
    const x = tf.cast(randint(key(1), shape, { low: -1, high: 2 }), 'float32')
    expect(halvingPool().init(key(0), shape.slice(1)).outputShape).toEqual(native(x).shape.slice(1))
    const weights = uniform(key(2), native(x).shape)
    const slope = (fn: (x: tf.Tensor) => tf.Tensor4D) => (input: tf.Tensor) =>
      tf.grad((at: tf.Tensor) => tf.sum(tf.mul(fn(at), weights)))(input)
    for (const training of [true, false]) expect(pool(x, training).dataSync()).toEqual(native(x).dataSync())
    const expected = slope(native)(x).dataSync()
    expect(slope(pool)(x).dataSync()).toEqual(expected)
    expect(compile(slope(pool))(x).dataSync()).toEqual(expected)
  })
})
