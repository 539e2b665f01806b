import { useBackend } from '@bpf/core'
import { key, normal, randint } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { sparsemax, sparsemaxLoss } from './sparsemax'

beforeAll(() => useBackend('cpu'))

const z = () => normal(key(1), [200, 7], { stddev: 1.5 })
const largest = (t: tf.Tensor): number => tf.max(tf.abs(t)).dataSync()[0]

describe('sparsemax', () => {
  it('is on the simplex, with zeros', () => {
    const p = sparsemax(z())
    expect(largest(tf.sub(tf.sum(p, 1), 1))).toBeLessThan(1e-5)
    expect(tf.min(p).dataSync()[0]).toBe(0)
  })

  it('does not change when all scores are shifted', () => {
    expect(largest(tf.sub(sparsemax(tf.add(z(), 3)), sparsemax(z())))).toBeLessThan(1e-5)
  })

  it('is one-hot where the largest score leads by at least 1', () => {
    const scores = tf.tensor2d([2, 1, 0, -1, 0.5, -3, 4, 2.9, 2.9], [3, 3])
    expect([...sparsemax(scores).dataSync()]).toEqual([1, 0, 0, 0, 1, 0, 1, 0, 0].map((value) => expect.closeTo(value, 6) as number))
  })

  it('shares the mass of ties', () => {
    expect([...sparsemax(tf.tensor2d([1, 1, 1, -9], [1, 4])).dataSync()]).toEqual(
      [1 / 3, 1 / 3, 1 / 3, 0].map((p) => expect.closeTo(p, 6) as number),
    )
  })

  it('has a loss of at least 0, and of 0 just where the label leads by 1', () => {
    const scores = tf.concat([z(), tf.tensor2d([5, 4, 0, 0, 0, 0, 0, 5, 4.1, 0, 0, 0, 0, 0], [2, 7])])
    const y = tf.concat([randint(key(2), [200], { high: 7 }), tf.tensor1d([0, 0], 'int32')])
    const [losses, values, labels] = [sparsemaxLoss(y, scores).dataSync(), scores.arraySync() as number[][], y.dataSync()]
    for (const [i, loss] of losses.entries()) {
      const others = Math.max(...values[i].filter((_, j) => j !== labels[i]))
      if (values[i][labels[i]] >= 1 + others) expect(Math.abs(loss)).toBeLessThan(2e-6)
      else expect(loss).toBeGreaterThan(0)
    }
  })

  it('wants rows of scores', () => {
    expect(() => sparsemax(tf.zeros([3]))).toThrow('expected scores [n, classes], got [3]')
  })
})
