import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { useBackend } from './backend'
import { elementwise, withSmallJoined } from './elementwise'
import { key, normal } from './random/index'

beforeAll(async () => void (await useBackend('cpu')))

const shapes = [[3, 4], [], [70, 70], [2], [0], [5]]
const draw = (seed: number): tf.Tensor[] => shapes.map((shape, i) => normal(key(10 * seed + i), shape))

describe('elementwise', () => {
  it('gives the same as tensor by tensor, whatever their sizes', () => {
    const positions = draw(1).map((a, i) => [a, draw(2)[i]])
    const fn = ([a, b]: tf.Tensor[]): tf.Tensor[] => [tf.add(tf.mul(a, 0.9), b), tf.div(a, tf.add(tf.square(b), 1))]
    const together = elementwise(fn, positions)
    positions.forEach((tensors, i) => {
      const alone = fn(tensors)
      together[i].forEach((tensor, k) => {
        expect(tensor.shape).toEqual(shapes[i])
        expect(tensor.dataSync()).toEqual(alone[k].dataSync())
      })
    })
  })

  it('calls the function once for all that is small, and leaves integers and unequal shapes alone', () => {
    let calls = 0
    const fn = ([a, b]: tf.Tensor[]): tf.Tensor[] => (calls++, [tf.add(a, b)])
    elementwise(
      fn,
      shapes.map((shape) => [tf.ones(shape), tf.ones(shape)]),
    )
    // One of 4,900 values, one of none, the others together.
    expect(calls).toBe(3)
    const [integer, wide] = elementwise(fn, [
      [tf.scalar(1, 'int32'), tf.scalar(2, 'int32')],
      [tf.ones([2, 3]), tf.ones([3])],
    ])
    expect(integer[0].dtype).toBe('int32')
    expect(wide[0].shape).toEqual([2, 3])
  })
})

describe('withSmallJoined', () => {
  it('keeps every value', () => {
    const tensors = draw(3)
    const sorted = (list: tf.Tensor[]): number[] => list.flatMap((tensor) => [...tensor.dataSync()]).sort((a, b) => a - b)
    expect(withSmallJoined(tensors)).toHaveLength(3)
    expect(sorted(withSmallJoined(tensors))).toEqual(sorted(tensors))
  })
})
