import * as tf from '@tensorflow/tfjs-core'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { forbidFallback } from '../__fixtures__/native-only'
import { onnxBackend, trace } from '../index'
import { deviation, kernel, type Sample } from '../testing/index'

forbidFallback()

type Dtype = 'float32' | 'int32' | 'bool'

const arithmetic = ['Add', 'Sub', 'Multiply', 'Maximum', 'Minimum', 'Mod', 'FloorDiv', 'RealDiv', 'SquaredDifference', 'Atan2']
const comparisons = ['Equal', 'NotEqual', 'Less', 'LessEqual', 'Greater', 'GreaterEqual']

function samples(shape: number[], dtype: Dtype): fc.Arbitrary<Sample> {
  const size = tf.util.sizeFromShape(shape)
  const value = {
    // Never 0, so that no quotient is infinite and hides errors of the others.
    float32: fc.integer({ min: -40, max: 40 }).map((n) => (2 * n + 1) / 16),
    int32: fc.integer({ min: -12, max: 12 }),
    bool: fc.integer({ min: 0, max: 1 }),
  }[dtype]
  return fc.array(value, { minLength: size, maxLength: size }).map((values) => ({ values, shape, dtype }))
}

/** Two shapes that broadcast. */
const shapePairs = fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 4 }).chain((full) =>
  fc
    .tuple(fc.array(fc.boolean(), { minLength: full.length, maxLength: full.length }), fc.nat(full.length), fc.boolean())
    .map(([ones, dropped, swap]): [number[], number[]] => {
      const other = full.map((size, i) => (ones[i] ? 1 : size)).slice(dropped)
      return swap ? [other, full] : [full, other]
    }),
)

function pairsOf(dtypes: readonly Dtype[]): fc.Arbitrary<[Sample, Sample]> {
  return fc.tuple(shapePairs, fc.constantFrom(...dtypes)).chain(([[a, b], dtype]) => fc.tuple(samples(a, dtype), samples(b, dtype)))
}

describe('kernels of two tensors', () => {
  it('arithmetic agrees with the cpu backend', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...arithmetic), pairsOf(['float32', 'int32']), async (name, [a, b]) => {
        expect(await deviation(kernel(name, ['a', 'b'], {}), [a, b])).toBeLessThan(2e-6)
      }),
      { numRuns: 120 },
    )
  })

  it('powers of positive numbers agree, and of integers', async () => {
    await fc.assert(
      fc.asyncProperty(pairsOf(['float32', 'int32']), async ([a, b]) => {
        const base = a.dtype === 'float32' ? { ...a, values: a.values.map(Math.abs) } : a
        const small = a.dtype === 'float32' ? b : { ...b, values: b.values.map((n) => n % 5) }
        expect(await deviation(kernel('Pow', ['a', 'b'], {}), [base, small])).toBeLessThan(3e-6)
      }),
      { numRuns: 40 },
    )
  })

  it('comparisons agree for every dtype', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...comparisons), pairsOf(['float32', 'int32', 'bool']), async (name, [a, b]) => {
        expect(await deviation(kernel(name, ['a', 'b'], {}), [a, b])).toBe(0)
      }),
      { numRuns: 60 },
    )
  })

  it('logic and bits agree', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom('LogicalAnd', 'LogicalOr'), pairsOf(['bool']), async (name, [a, b]) => {
        expect(await deviation(kernel(name, ['a', 'b'], {}), [a, b])).toBe(0)
      }),
      { numRuns: 20 },
    )
    await fc.assert(
      fc.asyncProperty(pairsOf(['int32']), async ([a, b]) => {
        expect(await deviation(kernel('BitwiseAnd', ['a', 'b'], {}), [a, b])).toBe(0)
      }),
      { numRuns: 20 },
    )
  })

  it('Prelu agrees', async () => {
    await fc.assert(
      fc.asyncProperty(pairsOf(['float32']), async ([x, alpha]) => {
        expect(await deviation(kernel('Prelu', ['x', 'alpha'], {}), [x, alpha])).toBeLessThan(1e-6)
      }),
      { numRuns: 20 },
    )
  })

  it.each(['Mod', 'FloorDiv', 'RealDiv', 'Pow'])('%s of integers survives 0 and −2³¹', async (name) => {
    const [low, high] = [-(2 ** 31), 2 ** 31 - 1]
    const a = { values: [5, 0, -7, low, low, high, 3], shape: [7], dtype: 'int32' as const }
    const b = { values: [0, 0, 0, name === 'Pow' ? 0 : 1, name === 'Mod' ? -1 : 2, 1, -2], shape: [7], dtype: 'int32' as const }
    if (name === 'Pow') b.values = [0, 0, 1, 0, 1, 1, -2]
    expect(await deviation(kernel(name, ['a', 'b'], {}), [a, b])).toBe(0)
  })

  it.each(['Maximum', 'Minimum', 'Mod', 'RealDiv', 'Pow', 'SquaredDifference', 'Less', 'Equal', 'NotEqual', 'GreaterEqual'])(
    '%s treats NaN, infinities and zeros as the cpu backend does',
    async (name) => {
      const special = [NaN, Infinity, -Infinity, 0, -0, 1, -1, 2.5]
      // 1 to an infinite or undefined power is 1 in C, as in TensorFlow, but NaN in JavaScript.
      const pairs = special
        .flatMap((x) => special.map((y) => [x, y]))
        .filter(([x, y]) => name !== 'Pow' || Math.abs(x) !== 1 || Number.isFinite(y))
      const [a, b] = [pairs.map(([x]) => x), pairs.map(([, y]) => y)]
      const read = async (backend: string): Promise<number[]> => {
        await tf.setBackend(backend)
        return [...kernel(name, ['a', 'b'], {})([tf.tensor1d(a), tf.tensor1d(b)])[0].dataSync()].map((value) => value + 0)
      }
      expect(await read('onnx')).toEqual(await read('cpu'))
    },
  )
})

describe('complex numbers', () => {
  it.each(['Add', 'Sub', 'Multiply'])('%s agrees, eager and compiled', async (name) => {
    const parts: Sample[] = [1, 2, 3, 4].map((seed) => ({ values: [seed, -seed / 2, 0.25 * seed], shape: [3] }))
    const apply = ([a, b, c, d]: tf.Tensor[]): tf.Tensor[] => {
      const [result] = kernel(name, ['a', 'b'], {})([tf.complex(a, b), tf.complex(c, d)])
      return [tf.real(result), tf.imag(result), tf.abs(result)]
    }
    expect(await deviation(apply, parts)).toBeLessThan(1e-6)
  })

  it('keep the modulus of very large and small parts', async () => {
    await tf.setBackend('onnx')
    const modulus = tf.abs(tf.complex([3e30, 3e-30], [4e30, 4e-30])).dataSync()
    expect(modulus[0] / 5e30).toBeCloseTo(1, 6)
    expect(modulus[1] / 5e-30).toBeCloseTo(1, 6)
  })
})

describe('choices and casts', () => {
  it('a vector chooses rows', async () => {
    await tf.setBackend('onnx')
    const [rows] = kernel(
      'Select',
      ['condition', 't', 'e'],
      {},
    )([tf.tensor1d([1, 0], 'bool'), tf.tensor2d([1, 2, 3, 4], [2, 2]), tf.tensor2d([5, 6, 7, 8], [2, 2])])
    expect([...rows.dataSync()]).toEqual([1, 2, 7, 8])
  })

  it('Select agrees element by element', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc
          .constantFrom<[number[], number[]]>(
            [[3], [3]],
            [
              [2, 3],
              [2, 3],
            ],
            [
              [1, 2, 2],
              [1, 2, 2],
            ],
          )
          .chain(([condition, shape]) =>
            fc
              .constantFrom<Dtype>('float32', 'int32', 'bool')
              .chain((dtype) => fc.tuple(samples(condition, 'bool'), samples(shape, dtype), samples(shape, dtype))),
          ),
        async (inputs) => {
          expect(await deviation(kernel('Select', ['condition', 't', 'e'], {}), inputs)).toBe(0)
        },
      ),
      { numRuns: 25 },
    )
  })

  it('every cast agrees', async () => {
    for (const from of ['float32', 'int32', 'bool'] as const) {
      for (const to of ['float32', 'int32', 'bool'] as const) {
        const values = from === 'bool' ? [0, 1, 1] : [0, -3.7, 2.2]
        const x = { values: from === 'int32' ? values.map(Math.trunc) : values, shape: [3], dtype: from }
        expect(await deviation(kernel('Cast', ['x'], { dtype: to }), [x]), `${from} to ${to}`).toBe(0)
      }
    }
  })

  it('takes values that a cast left in an array of another type', async () => {
    await tf.setBackend('onnx')
    const x = tf.cast(tf.tensor1d([1, 2, 3], 'int32'), 'float32')
    expect([...tf.add(x, tf.scalar(0.5)).dataSync()]).toEqual([1.5, 2.5, 3.5])
    const traced = trace((y) => [tf.add(x, y)], [{ shape: [], dtype: 'float32' }])
    expect([...traced.run([tf.scalar(0.25)])[0].dataSync()]).toEqual([1.25, 2.25, 3.25])
    traced.dispose()
  })
})

describe('the eager cache', () => {
  it('tells infinite attributes apart', async () => {
    await tf.setBackend('onnx')
    const x = tf.tensor1d([1, 2])
    const padded = (value: number): number[] => [...tf.pad(x, [[1, 0]], value).dataSync()]
    expect(padded(Infinity)).toEqual([Infinity, 1, 2])
    expect(padded(-Infinity)).toEqual([-Infinity, 1, 2])
    expect(padded(NaN)).toEqual([NaN, 1, 2])
  })

  it('counts native runs and leaves no tensors behind', async () => {
    await tf.setBackend('onnx')
    const before = onnxBackend().counts.native.Multiply ?? 0
    const { numTensors } = tf.memory()
    tf.tidy(() => tf.mul(tf.tensor1d([1, 2]), tf.tensor1d([3, 4])).dataSync())
    expect(onnxBackend().counts.native.Multiply).toBe(before + 1)
    expect(tf.memory().numTensors).toBe(numTensors)
  })
})
