import * as tf from '@tensorflow/tfjs-core'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { forbidFallback } from '../__fixtures__/native-only'
import { account } from '../account'
import '../index'
import { deviation, kernel, sample, type Sample } from '../testing/index'

forbidFallback()

const shapes = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 })
const seeds = fc.nat(1000)

type Dtype = 'float32' | 'int32' | 'bool'

function of(dtype: Dtype, shape: number[], seed: number): Sample {
  if (dtype === 'float32') return sample(shape, seed)
  const { values } = sample(shape, seed, dtype === 'bool' ? 2 : 9)
  return { values: dtype === 'bool' ? values : values.map((value) => value - 4), shape, dtype }
}

describe('reductions', () => {
  it('agree with the cpu backend over any axes, for every dtype', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('Sum', 'Mean', 'Prod', 'Max', 'Min', 'All', 'Any'),
        fc.constantFrom<Dtype>('float32', 'int32', 'bool'),
        shapes,
        fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
        fc.boolean(),
        seeds,
        async (name, dtype, shape, picked, keepDims, seed) => {
          const axis = shape.flatMap((_, i) => (picked[i] ? [i - (seed % 2 === 0 ? shape.length : 0)] : []))
          const attrs = name === 'Max' ? { reductionIndices: axis, keepDims } : { axis, keepDims }
          const used = ['All', 'Any'].includes(name) ? 'bool' : dtype
          const reduce = kernel(name, ['x'], attrs)
          // Terms of a sum may cancel: its error is relative to the sum of their sizes, which stands beside it.
          const beside = ([x]: tf.Tensor[]): tf.Tensor[] => [tf.stack([...reduce([x]), ...reduce([tf.abs(x)])])]
          const fn = ['Sum', 'Mean'].includes(name) && used === 'float32' ? beside : reduce
          expect(await deviation(fn, [of(used, shape, seed)])).toBeLessThan(2e-6)
        },
      ),
      { numRuns: 80, examples: [['Sum', 'float32', [3, 3], [true, true, false, false], false, 998]] },
    )
  })

  it.each([
    [[33, 300], [0]],
    [
      [2, 5, 256],
      [0, 1],
    ],
    [[4, 3, 10, 40], [0]],
    [[1, 999], [0]],
  ])('of wide rows %j over leading axes %j agree, and cost no multiply-adds', async (shape, axis) => {
    for (const keepDims of [true, false]) {
      const both = ([x]: tf.Tensor[]): tf.Tensor[] => [tf.sum(x, axis, keepDims), tf.mean(x, axis, keepDims)]
      expect(await deviation(both, [sample(shape, 7)])).toBeLessThan(2e-6)
      expect(await deviation(both, [sample(shape, 8)], 'float64')).toBeLessThan(2e-6)
      await tf.setBackend('onnx')
      expect(account((x) => both([x]), [{ shape, dtype: 'float32' }]).multiplyAdds).toBe(0)
    }
  })

  it('ArgMax and ArgMin take the first of equal values and pass over NaN', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom('ArgMax', 'ArgMin'), shapes, fc.nat(3), seeds, async (name, shape, axis, seed) => {
        const x = sample(shape, seed, 4)
        x.values = x.values.map((value) => (value === 3 ? NaN : value))
        expect(await deviation(kernel(name, ['x'], { axis: axis % shape.length }), [x])).toBe(0)
      }),
      { numRuns: 40 },
    )
  })

  it.each([1, 7, 16, 33, 100])('Max and Min of %i values hand NaN on wherever it stands', async (size) => {
    await tf.setBackend('onnx')
    for (const at of new Set([0, size >> 1, size - 1])) {
      const rows = tf.tensor2d(
        Array.from({ length: 2 * size }, (_, i) => (i === at ? NaN : i)),
        [2, size],
      )
      expect([...tf.max(rows, 1).dataSync()]).toEqual([NaN, 2 * size - 1])
      expect([...tf.min(rows, 1).dataSync()]).toEqual([NaN, size])
      expect(tf.max(rows, 0).dataSync()[at]).toBeNaN()
    }
  })

  it('Softmax and cumulative sums and products agree', async () => {
    await fc.assert(
      fc.asyncProperty(
        shapes,
        fc.nat(3),
        fc.boolean(),
        fc.boolean(),
        fc.constantFrom<Dtype>('float32', 'int32'),
        seeds,
        async (shape, a, exclusive, reverse, dtype, seed) => {
          const axis = a % shape.length
          expect(await deviation(kernel('Softmax', ['logits'], { dim: -1 }), [sample(shape, seed)])).toBeLessThan(2e-6)
          for (const name of ['Cumsum', 'Cumprod']) {
            expect(await deviation(kernel(name, ['x'], { axis, exclusive, reverse }), [of(dtype, shape, seed)])).toBeLessThan(3e-6)
          }
        },
      ),
      { numRuns: 30 },
    )
  })
})

describe('in double precision', () => {
  it('sums keep 1e-14', async () => {
    const x = sample([5, 40], 3)
    const fn = ([t]: tf.Tensor[]): tf.Tensor[] => [
      tf.sub(tf.sum(t, 1), tf.sum(t, 1)),
      tf.logSumExp(t, 1),
      tf.cumsum(t, 1),
      tf.cumprod(t, 1),
      tf.argMax(t, 1),
    ]
    expect(await deviation(fn, [x], 'float64')).toBeLessThan(1e-6)
  })
})
