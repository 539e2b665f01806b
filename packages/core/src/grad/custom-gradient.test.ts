import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { customGradient, grad, hvp, stopGradient, straightThrough } from './index'

beforeAll(() => useBackend())

describe('stopGradient', () => {
  it('makes constants of what depends on the parameters', async () => {
    // d/dx [x · stop(x²)] = x²
    const gradient = grad((x: tf.Tensor) => tf.sum(tf.mul(x, stopGradient(tf.square(x)))))(tf.tensor1d([2, -3]))
    expect(Array.from(await gradient.data())).toEqual([4, 9])
  })

  it('gives zeros where every path is cut, and copies that outlive the original', async () => {
    const x = tf.tensor1d([1, 2])
    const copy = stopGradient({ x })
    x.dispose()
    expect(Array.from(await copy.x.data())).toEqual([1, 2])
    const gradient = grad((t: tf.Tensor) => tf.sum(stopGradient(t)))(copy.x)
    expect(Array.from(await gradient.data())).toEqual([0, 0])
  })
})

describe('straightThrough', () => {
  it('rounds forwards and is the identity backwards', async () => {
    const rounded = straightThrough(tf.round)
    const x = tf.tensor1d([0.2, 1.7])
    expect(Array.from(await rounded(x).data())).toEqual([0, 2])
    const gradient = grad((t: tf.Tensor) => tf.sum(tf.square(rounded(t))))(x)
    expect(Array.from(await gradient.data())).toEqual([0, 4])
  })
})

describe('customGradient', () => {
  it('uses the given gradient for each leaf of a tree, and zeros for integers', async () => {
    const scaled = customGradient(
      ({ a, b }: { a: tf.Tensor; b: tf.Tensor; count: tf.Tensor }) => tf.mul(a, b),
      ({ a, b, count }, dy) => ({ a: tf.mul(dy, 10), b: tf.mul(dy, a), count: tf.add(count, tf.cast(b, 'int32')) }),
    )
    const { a, b, count } = grad((p: { a: tf.Tensor; b: tf.Tensor; count: tf.Tensor }) => tf.sum(scaled(p)))({
      a: tf.tensor1d([1, 2]),
      b: tf.tensor1d([3, 4]),
      count: tf.tensor1d([7, 8], 'int32'),
    })
    expect(Array.from(await a.data())).toEqual([10, 10])
    expect(Array.from(await b.data())).toEqual([1, 2])
    expect(Array.from(await count.data())).toEqual([0, 0])
  })

  it('is differentiated again through the given gradient', async () => {
    // A cube written by hand: value x³, gradient 3x² dy, second derivative 6x.
    const cube = customGradient(
      (x: tf.Tensor) => tf.pow(x, 3),
      (x, dy) => tf.mul(dy, tf.mul(3, tf.square(x))),
    )
    const product = hvp((x: tf.Tensor) => tf.sum(cube(tf.mul(x, 1))), tf.tensor1d([2, -1]), tf.tensor1d([1, 10]))
    expect(Array.from(await product.data())).toEqual([12, -60])
  })

  it('names the leaf whose gradient has the wrong shape', () => {
    const wrong = customGradient(tf.square as (x: tf.Tensor) => tf.Tensor, () => tf.scalar(1) as tf.Tensor)
    expect(() => grad((x: tf.Tensor) => tf.sum(wrong(x)))(tf.tensor1d([1, 2]))).toThrow(/leaf 0 must have its shape \[2\], got \[\]/)
  })
})
