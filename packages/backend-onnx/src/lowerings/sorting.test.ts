import * as tf from '@tensorflow/tfjs-core'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { forbidFallback } from '../__fixtures__/native-only'
import '../index'
import { deviation, kernel, sample } from '../testing/index'

forbidFallback()

describe('TopK', () => {
  it('agrees with the cpu backend, equal values in the order of their indices', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 40 }),
        fc.nat(39),
        fc.constantFrom('float32', 'int32'),
        fc.nat(1000),
        async (rows, length, k, dtype, seed) => {
          const x = { ...sample([rows, length], seed, 6), dtype: dtype as 'float32' }
          expect(await deviation(kernel('TopK', ['x'], { k: 1 + (k % length), sorted: true }), [x])).toBe(0)
        },
      ),
      { numRuns: 40 },
    )
  })
})

describe('SearchSorted', () => {
  it('agrees on both sides, with repeated elements and values beyond the ends', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 9 }),
        fc.constantFrom('left', 'right'),
        fc.nat(1000),
        async (rows, length, count, side, seed) => {
          const sorted = sample([rows, length], seed, 8)
          sorted.values = Array.from({ length: rows }, (_, row) =>
            sorted.values.slice(row * length, (row + 1) * length).sort((a, b) => a - b),
          ).flat()
          const values = sample([rows, count], seed + 1, 10)
          values.values = values.values.map((value) => value - 1)
          expect(await deviation(kernel('SearchSorted', ['sortedSequence', 'values'], { side }), [sorted, values])).toBe(0)
        },
      ),
      { numRuns: 40 },
    )
  })

  it('finds places in a million elements without comparing each with each', async () => {
    await tf.setBackend('onnx')
    const sorted = tf.range(0, 1_000_000)
    const places = tf.lowerBound(sorted as tf.Tensor1D, tf.tensor1d([-1, 0, 0.5, 499_999.5, 999_999, 1e7]))
    expect([...places.dataSync()]).toEqual([0, 0, 1, 500_000, 999_999, 1_000_000])
  })
})
