import * as tf from '@tensorflow/tfjs-core'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { forbidFallback } from '../__fixtures__/native-only'
import { trace } from '../index'
import { deviation, kernel, sample, type Sample } from '../testing/index'

forbidFallback()

const shapes = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 })
const seeds = fc.nat(1000)

type Dtype = 'float32' | 'int32' | 'bool'
const dtypes = fc.constantFrom<Dtype>('float32', 'int32', 'bool')

function of(dtype: Dtype, shape: number[], seed: number): Sample {
  return dtype === 'float32' ? sample(shape, seed) : { ...sample(shape, seed, dtype === 'bool' ? 2 : 9), dtype }
}

/** A kernel of a list of tensors. */
function listKernel(name: string, attrs: object): (inputs: tf.Tensor[]) => tf.Tensor[] {
  return (inputs) => [tf.engine().runKernel(name, inputs as unknown as tf.NamedTensorMap, attrs as tf.NamedAttrMap) as tf.Tensor]
}

describe('rearrangements agree exactly with the cpu backend', () => {
  it('transposes, reversals, tilings', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, dtypes, seeds, async (shape, dtype, seed) => {
        const x = of(dtype, shape, seed)
        const perm = shape.map((_, i) => i).sort((a, b) => ((a * 7 + seed) % 5) - ((b * 7 + seed) % 5) || a - b)
        expect(await deviation(kernel('Transpose', ['x'], { perm }), [x])).toBe(0)
        expect(await deviation(kernel('Reverse', ['x'], { dims: perm.slice(0, 1 + (seed % shape.length)) }), [x])).toBe(0)
        expect(await deviation(kernel('Tile', ['x'], { reps: shape.map((_, i) => 1 + ((seed + i) % 3)) }), [x])).toBe(0)
      }),
      { numRuns: 25 },
    )
  })

  it('slices, strided ones with masks, padding', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, dtypes, seeds, async (shape, dtype, seed) => {
        const x = of(dtype, shape, seed)
        const begin = shape.map((size, i) => (seed + i) % size)
        const size = shape.map((extent, i) => (i % 2 === 0 ? -1 : 1 + ((seed * 3 + i) % (extent - begin[i]))))
        expect(await deviation(kernel('Slice', ['x'], { begin, size }), [x])).toBe(0)
        const strides = shape.map((_, i) => [1, 2, -1, -2][(seed + i) % 4])
        const attrs = {
          begin: begin.map((at, i) => (strides[i] < 0 ? shape[i] - 1 : at)),
          end: strides.map((step, i) => (step < 0 ? -shape[i] - 1 : shape[i])),
          strides,
          beginMask: seed % 4,
          endMask: (seed >> 2) % 4,
          ellipsisMask: 0,
          newAxisMask: 0,
          // The cpu kernel fails where an axis is both shrunk and strided.
          shrinkAxisMask: strides.every((step) => step === 1) ? 1 : 0,
        }
        expect(await deviation(kernel('StridedSlice', ['x'], attrs), [x])).toBe(0)
        const paddings = shape.map((_, i) => [(seed + i) % 3, (seed * 5 + i) % 2])
        expect(await deviation(kernel('PadV2', ['x'], { paddings, constantValue: dtype === 'bool' ? 1 : 3 }), [x])).toBe(0)
      }),
      { numRuns: 40 },
    )
  })

  it('joining and parting', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, fc.nat(3), dtypes, seeds, async (shape, a, dtype, seed) => {
        const axis = a % shape.length
        const longer = shape.map((size, i) => (i === axis ? size + 2 : size))
        const [x, y] = [of(dtype, shape, seed), of(dtype, longer, seed + 1)]
        expect(await deviation(listKernel('Concat', { axis }), [x, y, x])).toBe(0)
        expect(await deviation(listKernel('Pack', { axis: axis - shape.length - 1 }), [x, of(dtype, shape, seed + 2)])).toBe(0)
        expect(await deviation(kernel('Unpack', ['value'], { axis }), [y])).toBe(0)
        expect(await deviation(kernel('SplitV', ['x'], { axis, numOrSizeSplits: [shape[axis], -1] }), [y])).toBe(0)
        expect(await deviation(listKernel('AddN', {}), [of('int32', shape, seed), of('int32', shape, seed + 1)])).toBe(0)
      }),
      { numRuns: 25 },
    )
  })

  it('complex tensors are joined part by part', async () => {
    const fn = ([a, b, c, d]: tf.Tensor[]): tf.Tensor[] => {
      const joined = tf.concat([tf.complex(a, b), tf.complex(c, d)], 0)
      return [tf.real(joined), tf.imag(joined), tf.imag(tf.reshape(tf.stack([joined, joined]), [-1]))]
    }
    expect(
      await deviation(
        fn,
        [1, 2, 3, 4].map((seed) => sample([2, 3], seed)),
      ),
    ).toBe(0)
  })
})

describe('captured tensors that share their data', () => {
  it('keep their own shape and dtype', async () => {
    await tf.setBackend('onnx')
    const flat = tf.tensor1d([1, 2, 3], 'int32')
    const column = tf.reshape(flat, [3, 1])
    const floats = tf.cast(flat, 'float32')
    const traced = trace(
      (x) => [tf.add(x, flat), tf.add(x, column), tf.mul(tf.cast(x, 'float32'), floats)],
      [{ shape: [3], dtype: 'int32' }],
    )
    const [a, b, c] = traced.run([tf.tensor1d([10, 20, 30], 'int32')])
    expect([...a.dataSync()]).toEqual([11, 22, 33])
    expect([...b.dataSync()]).toEqual([11, 21, 31, 12, 22, 32, 13, 23, 33])
    expect(c.dtype).toBe('float32')
    expect([...c.dataSync()]).toEqual([10, 40, 90])
    traced.dispose()
  })

  it('also complex ones', async () => {
    await tf.setBackend('onnx')
    const z = tf.complex([1, 2], [3, 4])
    const column = tf.reshape(z, [2, 1])
    expect(tf.real(tf.add(z, z)).arraySync()).toEqual([2, 4])
    expect(tf.imag(tf.add(column, column)).arraySync()).toEqual([[6], [8]])
  })
})

describe('mistakes are told as the cpu backend tells them', () => {
  it('in shapes', async () => {
    await tf.setBackend('onnx')
    const x = tf.ones([2, 3])
    const run = (name: string, inputs: object, attrs: object) => () =>
      tf.engine().runKernel(name, inputs as tf.NamedTensorMap, attrs as tf.NamedAttrMap)
    expect(run('Slice', { x }, { begin: [0, 2], size: [2, 2] })).toThrow('begin[1] + size[1] (4) would overflow input.shape[1] (3)')
    expect(run('Concat', [x, tf.ones([2, 2])], { axis: 0 })).toThrow('Error in concat')
    expect(run('Pack', [x, tf.ones([2, 2])], { axis: 0 })).toThrow('matching shapes')
    expect(run('BatchMatMul', { a: x, b: x }, { transposeA: false, transposeB: false })).toThrow('inner shapes (3) and (2)')
  })
})
