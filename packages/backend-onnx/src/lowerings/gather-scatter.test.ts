import * as tf from '@tensorflow/tfjs-core'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { forbidFallback } from '../__fixtures__/native-only'
import { trace } from '../index'
import { deviation, kernel, sample, type Sample } from '../testing/index'

forbidFallback()

function ints(shape: number[], below: number, seed: number): Sample {
  return { ...sample(shape, seed, below), dtype: 'int32' }
}

const shapes = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 })
const seeds = fc.nat(1000)

describe('gathering', () => {
  it('rows along any axis, with any batch dimensions, agree with the cpu backend', async () => {
    await fc.assert(
      fc.asyncProperty(
        shapes,
        fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 2 }),
        fc.nat(3),
        fc.nat(3),
        seeds,
        async (shape, more, a, b, seed) => {
          const axis = a % shape.length
          const batchDims = Math.min(b, axis)
          const indices = ints([...shape.slice(0, batchDims), ...more], shape[axis], seed)
          const apply = kernel('GatherV2', ['x', 'indices'], { axis, batchDims })
          expect(await deviation(apply, [sample(shape, seed + 1), indices])).toBe(0)
        },
      ),
      { numRuns: 40 },
    )
  })

  it('GatherNd agrees', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, fc.integer({ min: 1, max: 4 }), seeds, async (shape, depth, seed) => {
        const used = Math.min(depth, shape.length)
        const below = Math.min(...shape.slice(0, used))
        expect(
          await deviation(kernel('GatherNd', ['params', 'indices'], {}), [sample(shape, seed), ints([2, 3, used], below, seed + 1)]),
        ).toBe(0)
      }),
      { numRuns: 25 },
    )
  })

  it('refuses indices outside, negative ones too, as the cpu backend does', async () => {
    await tf.setBackend('onnx')
    const x = tf.tensor2d([1, 2, 3, 4], [2, 2])
    expect(() => tf.gather(x, tf.tensor1d([2], 'int32'))).toThrow('GatherV2: the index value 2 is not in [0, 1]')
    expect(() => tf.gather(x, tf.tensor1d([-1], 'int32'))).toThrow('GatherV2: the index value -1 is not in [0, 1]')
  })
})

describe('scattering', () => {
  it('ScatterNd adds up, for floats, integers and all depths', async () => {
    await fc.assert(
      fc.asyncProperty(
        shapes,
        fc.integer({ min: 1, max: 4 }),
        fc.constantFrom('float32', 'int32'),
        seeds,
        async (shape, depth, dtype, seed) => {
          const used = Math.min(depth, shape.length)
          const indices = ints([5, used], Math.min(...shape.slice(0, used)), seed)
          const updates = [5, ...shape.slice(used)]
          const values = dtype === 'int32' ? ints(updates, 9, seed + 1) : sample(updates, seed + 1)
          expect(await deviation(kernel('ScatterNd', ['indices', 'updates'], { shape }), [indices, values])).toBeLessThan(1e-6)
        },
      ),
      { numRuns: 30 },
    )
  })

  it('loses no update however often a place repeats', async () => {
    // ONNX Runtime's ScatterND with reduction loses updates on two threads: the graph has to run on one.
    await tf.setBackend('onnx')
    const [count, width, places] = [200_000, 8, 50]
    const indices = tf.tensor2d(
      Int32Array.from({ length: count }, (_, i) => (i * 7919) % places),
      [count, 1],
      'int32',
    )
    const updates = tf.ones([count, width])
    const product = tf.ones([400, 400])
    // The matrix product alone would make this a graph for two threads.
    const traced = trace(
      (i, u, m) => [tf.scatterND(i, u, [places, width]), tf.matMul(m as tf.Tensor2D, m as tf.Tensor2D)],
      [
        { shape: [count, 1], dtype: 'int32' },
        { shape: [count, width], dtype: 'float32' },
        { shape: [400, 400], dtype: 'float32' },
      ],
    )
    expect(traced.facts.threads).toBe(1)
    for (let run = 0; run < 20; run++) {
      const [sums, other] = traced.run([indices, updates, product])
      const eager = tf.scatterND(indices, updates, [places, width])
      for (const tensor of [sums, eager]) expect(new Set(tensor.dataSync())).toEqual(new Set([count / places]))
      tf.dispose([sums, other, eager])
    }
    traced.dispose()
  })

  it('a sum of weighed rows is the same whether or not the weights are products of factors for both ends', async () => {
    await tf.setBackend('onnx')
    const [n, entries, width] = [400, 6000, 16]
    // Some destinations have no entry, and entries of 0 to 19 touch no others: two parts.
    const to = Int32Array.from({ length: entries }, (_, e) => (e < 20 ? 0 : 2 + Math.floor((e * (n - 10)) / entries)))
    const from = Int32Array.from(to, (i, e) => (i === 0 ? 1 : 2 + ((e * 7919 + i) % (n - 2))))
    const factor = (i: number): number => 1 / Math.sqrt(1 + (i % 7))
    const products = Float32Array.from(to, (i, e) => factor(i) * factor(from[e] + 3))
    const broken = products.slice()
    broken[entries - 1] *= 1.001
    const [zero, negative] = [products.map((w, e) => (e % 9 === 0 ? 0 : w)), products.map((w) => -w)]
    const x = tf.tensor2d(sample([n, width], 1).values as number[], [n, width])
    for (const weights of [products, broken, zero, negative]) {
      const sum = (h: tf.Tensor): tf.Tensor => {
        const rows = tf.mul(tf.tensor2d(weights, [entries, 1]), tf.gather(h, tf.tensor1d(from, 'int32')))
        return tf.scatterND(tf.tensor2d(to, [entries, 1], 'int32'), rows, [n, width])
      }
      const traced = trace((h) => [sum(h)], [{ shape: [n, width], dtype: 'float32' }])
      const [compiled] = traced.run([x])
      expect(tf.max(tf.abs(tf.sub(compiled, sum(x)))).dataSync()[0]).toBeLessThan(2e-6)
      traced.dispose()
    }
  })

  it('the last of several writes to a place stays', async () => {
    const places = { values: Array.from({ length: 300 }, (_, i) => i % 3), shape: [300, 1], dtype: 'int32' as const }
    const updates = { values: Array.from({ length: 600 }, (_, i) => i), shape: [300, 2] }
    expect(await deviation(kernel('TensorScatterUpdate', ['tensor', 'indices', 'updates'], {}), [sample([4, 2], 1), places, updates])).toBe(
      0,
    )
  })

  it('SparseToDense fills with its default and takes scalars', async () => {
    const apply = (outputShape: number[]) => kernel('SparseToDense', ['sparseIndices', 'sparseValues', 'defaultValue'], { outputShape })
    const background = { values: [7], shape: [] }
    const places = { values: [0, 1, 2, 0], shape: [2, 2], dtype: 'int32' as const }
    expect(await deviation(apply([3, 4]), [places, sample([2], 3), background])).toBe(0)
    expect(await deviation(apply([5]), [{ values: [3], shape: [], dtype: 'int32' }, { values: [2], shape: [] }, background])).toBe(0)
    expect(await deviation(apply([5]), [{ values: [3, 1], shape: [2], dtype: 'int32' }, { values: [2], shape: [] }, background])).toBe(0)
  })

  it('UnsortedSegmentSum drops ids outside', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 12 }),
        fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 2 }),
        seeds,
        async (rows, rest, seed) => {
          const ids = ints([rows], 7, seed)
          ids.values = ids.values.map((id) => id - 1)
          const apply = kernel('UnsortedSegmentSum', ['x', 'segmentIds'], { numSegments: 4 })
          expect(await deviation(apply, [sample([rows, ...rest], seed + 1), ids])).toBeLessThan(1e-6)
        },
      ),
      { numRuns: 20 },
    )
  })

  it('Bincount and DenseBincount agree, with and without weights', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 9 }),
        fc.boolean(),
        fc.boolean(),
        seeds,
        async (rows, columns, weighted, binaryOutput, seed) => {
          const x = ints([rows, columns], 6, seed)
          const weights = weighted ? sample([rows, columns], seed + 1) : { values: [], shape: [0] }
          expect(await deviation(kernel('DenseBincount', ['x', 'weights'], { size: 4, binaryOutput }), [x, weights])).toBeLessThan(1e-6)
          const flat = { ...x, shape: [rows * columns] }
          const flatWeights = weighted ? { ...weights, shape: [rows * columns] } : weights
          expect(await deviation(kernel('Bincount', ['x', 'weights'], { size: 4 }), [flat, flatWeights])).toBeLessThan(1e-6)
        },
      ),
      { numRuns: 20 },
    )
  })

  it('Bincount refuses negative values', async () => {
    await tf.setBackend('onnx')
    expect(() => tf.bincount(tf.tensor1d([0, -1], 'int32'), tf.tensor1d([]), 3)).toThrow('non-negative')
  })
})

describe('one-hot and diagonal', () => {
  it('OneHot gives the on and off values, indices outside only the off value', async () => {
    for (const dtype of ['float32', 'int32', 'bool'] as const) {
      const attrs = { dtype, depth: 4, onValue: 1, offValue: 0 }
      expect(await deviation(kernel('OneHot', ['indices'], attrs), [{ values: [0, 3, -1, 4, 2, 2], shape: [2, 3], dtype: 'int32' }])).toBe(
        0,
      )
    }
    const attrs = { dtype: 'float32', depth: 3, onValue: 0.9, offValue: 0.05 }
    expect(await deviation(kernel('OneHot', ['indices'], attrs), [{ values: [2, 0], shape: [2], dtype: 'int32' }])).toBe(0)
  })

  it('Diag agrees', async () => {
    for (const shape of [[3], [2, 3]]) expect(await deviation(kernel('Diag', ['x'], {}), [sample(shape, 5)])).toBe(0)
  })
})
