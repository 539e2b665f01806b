import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { key } from '../random/index'
import { initializers } from './index'

await useBackend()

const shape = [3, 3, 20, 40]
const fanIn = 180
const fanOut = 360

function moments(tensor: tf.Tensor) {
  const values = [...tensor.dataSync()]
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length
  return { mean, variance, largest: Math.max(...values.map(Math.abs)), count: values.length }
}

describe('initializers', () => {
  it('fans count the window and the channels', () => {
    expect(initializers.fansOf(shape)).toEqual({ fanIn, fanOut })
    expect(initializers.fansOf([5, 7])).toEqual({ fanIn: 5, fanOut: 7 })
    expect(initializers.fansOf([4])).toEqual({ fanIn: 4, fanOut: 4 })
  })

  const cases: [string, initializers.Initializer, number, number][] = [
    ['kaimingNormal', initializers.kaimingNormal(), 2 / fanIn, Infinity],
    ['kaimingNormal, fanOut, gain 1', initializers.kaimingNormal({ mode: 'fanOut', gain: 1 }), 1 / fanOut, Infinity],
    ['kaimingUniform', initializers.kaimingUniform(), 2 / fanIn, Math.sqrt(6 / fanIn)],
    ['xavierNormal', initializers.xavierNormal(), 2 / (fanIn + fanOut), Infinity],
    ['xavierUniform', initializers.xavierUniform({ gain: 2 }), 8 / (fanIn + fanOut), 2 * Math.sqrt(6 / (fanIn + fanOut))],
    ['lecunNormal', initializers.lecunNormal, 1 / fanIn, 2 / Math.sqrt(fanIn) / 0.8796],
    ['torchDefault', initializers.torchDefault, 1 / (3 * fanIn), 1 / Math.sqrt(fanIn)],
    ['normal', initializers.normal({ stddev: 0.3 }), 0.09, Infinity],
    ['truncatedNormal', initializers.truncatedNormal({ stddev: 0.1 }), 0.0077374, 0.2],
  ]
  it.each(cases)('%s has its variance and bound', (_, initializer, variance, bound) => {
    const found = moments(initializer(key(5), shape))
    // 7200 draws: the mean within 4 standard errors, the variance within 4·√(2/n), the normal's.
    expect(Math.abs(found.mean)).toBeLessThan(4 * Math.sqrt(variance / found.count))
    expect(Math.abs(found.variance / variance - 1)).toBeLessThan(4 * Math.sqrt(2 / found.count))
    expect(found.largest).toBeLessThanOrEqual(bound * (1 + 1e-6))
  })

  it('a bias takes the fans of its kernel', () => {
    expect(moments(initializers.torchDefault(key(1), [1000], { fanIn: 10_000, fanOut: 1 })).largest).toBeLessThanOrEqual(0.01)
  })

  it.each([
    [[6, 4], true],
    [[4, 6], false],
    [[3, 3, 2, 5], true],
  ])('orthogonal %j', (size, tall) => {
    const matrix = tf.reshape(initializers.orthogonal({ gain: 3 })(key(2), size), [-1, size[size.length - 1]])
    const gram = tf.matMul(matrix as tf.Tensor2D, matrix as tf.Tensor2D, tall, !tall)
    const identity = tf.mul(tf.eye(gram.shape[0]), 9)
    expect(tf.max(tf.abs(tf.sub(gram, identity))).dataSync()[0]).toBeLessThan(5e-6)
  })

  it('orthogonal needs a matrix', () => {
    expect(() => initializers.orthogonal()(key(0), [3])).toThrow(/two axes/)
  })

  it('constants', () => {
    expect([...initializers.constant(2)(key(0), [2]).dataSync(), ...initializers.zeros(key(0), [1]).dataSync()]).toEqual([2, 2, 0])
  })
})
