import * as tf from '@tensorflow/tfjs-core'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { forbidFallback } from '../__fixtures__/native-only'
import { trace } from '../index'
import { float64Tensor } from '../trace'
import { kernel, type Sample } from '../testing/index'

forbidFallback()

const unaryKernels = [
  'Abs',
  'Acos',
  'Acosh',
  'Asin',
  'Asinh',
  'Atan',
  'Atanh',
  'Ceil',
  'Cos',
  'Cosh',
  'Elu',
  'Erf',
  'Exp',
  'Expm1',
  'Floor',
  'IsFinite',
  'IsInf',
  'IsNan',
  'Log',
  'Log1p',
  'Neg',
  'Reciprocal',
  'Relu',
  'Relu6',
  'Round',
  'Rsqrt',
  'Selu',
  'Sigmoid',
  'Sign',
  'Sin',
  'Sinh',
  'Softplus',
  'Sqrt',
  'Square',
  'Tan',
  'Tanh',
  'OnesLike',
  'ZerosLike',
]
const withAttributes: [string, object][] = [
  ...unaryKernels.map((name): [string, object] => [name, {}]),
  ['Step', { alpha: 0.25 }],
  ['LeakyRelu', { alpha: 0.3 }],
  ['ClipByValue', { clipValueMin: -0.7, clipValueMax: 2.5 }],
  ['ClipByValue', { clipValueMin: -Infinity, clipValueMax: 1 }],
  ['ClipByValue', { clipValueMin: -1, clipValueMax: Infinity }],
  ['Cast', { dtype: 'int32' }],
  ['Cast', { dtype: 'bool' }],
  ['Cast', { dtype: 'float32' }],
]

async function results(
  name: string,
  attrs: object,
  { values, shape, dtype }: Sample,
): Promise<{ cpu: number[]; eager: number[]; compiled: number[] }> {
  const apply = kernel(name, ['x'], attrs)
  const read = (tensors: tf.Tensor[]): number[] => tensors.flatMap((tensor) => [...tensor.dataSync()])
  await tf.setBackend('cpu')
  const cpu = read(apply([tf.tensor(values, shape, dtype)]))
  await tf.setBackend('onnx')
  const x = tf.tensor(values, shape, dtype)
  const traced = trace((symbol) => apply([symbol]), [{ shape, dtype: x.dtype as 'float32' }])
  const compiled = read(traced.run([x]))
  traced.dispose()
  return { cpu, eager: read(apply([x])), compiled }
}

function expectClose(got: number[], wanted: number[], inputs: number[]): void {
  for (const [i, value] of wanted.entries()) {
    const close = Object.is(got[i], value) || got[i] === value || Math.abs(got[i] - value) <= 3e-7 + 3e-6 * Math.abs(value)
    expect(close, `of ${inputs[i]}: ${got[i]}, expected ${value}`).toBe(true)
  }
}

describe('kernels of one float', () => {
  const special = [
    NaN,
    Infinity,
    -Infinity,
    0,
    -0,
    1e-20,
    -1e-20,
    1e-7,
    -1e-4,
    0.3,
    -0.7,
    0.5,
    1,
    -1,
    1.5,
    -1.5,
    2.5,
    -2.5,
    17,
    -17,
    88,
    -88,
    2e9,
    3e38,
  ]

  it.each(withAttributes)('%s %o agrees with the cpu backend at special values', async (name, attrs) => {
    const { cpu, eager, compiled } = await results(name, attrs, { values: special, shape: [special.length] })
    expectClose(eager, cpu, special)
    expectClose(compiled, cpu, special)
  })

  it.each(withAttributes)('%s %o agrees at integers and booleans', async (name, attrs) => {
    const values = [-(2 ** 31), -100, -2, -1, 0, 1, 2, 7, 9, 1000, 2 ** 31 - 1]
    // Beyond 32 bits the cpu kernels of these disagree with their own dtype.
    const ints = ['Square', 'Abs', 'Selu'].includes(name) ? values.slice(1, -1) : values
    const int = await results(name, attrs, { values: ints, shape: [ints.length], dtype: 'int32' })
    expectClose(int.eager, int.cpu, ints)
    expectClose(int.compiled, int.cpu, ints)
    if (name === 'Neg') return
    const bool = await results(name, attrs, { values: [0, 1], shape: [2], dtype: 'bool' })
    expectClose(bool.eager, bool.cpu, [0, 1])
  })

  it('agrees at random values', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...withAttributes),
        fc.array(fc.float({ min: -20, max: 20, noNaN: true }), { minLength: 1, maxLength: 12 }),
        async ([name, attrs], values) => {
          const { cpu, eager, compiled } = await results(name, attrs, { values, shape: [1, values.length] })
          expectClose(eager, cpu, values)
          expectClose(compiled, cpu, values)
        },
      ),
      { numRuns: 60 },
    )
  })
})

describe('Sigmoid', () => {
  it('keeps its digits where it is small', async () => {
    await tf.setBackend('onnx')
    const x = [-10, -15, -18, -30, -80]
    const got = kernel('Sigmoid', ['x'], {})([tf.tensor1d(x)])[0].dataSync()
    x.forEach((value, i) => expect(got[i] * (1 + Math.exp(-value))).toBeCloseTo(1, 5))
  })
})

describe('in double precision', () => {
  const erfReference: [number, number][] = [
    [1e-8, 1.1283791670955126e-8],
    [0.3, 0.3286267594591274],
    [0.9, 0.7969082124228322],
    [1, 0.8427007929497149],
    [1.1, 0.8802050695740817],
    [2.5, 0.999593047982555],
    [4, 0.9999999845827421],
    [7, 1],
  ]
  const points = [-30, -5, -1.7, -1, -0.9, -0.3, -1e-3, -1e-9, 1e-12, 1e-5, 0.2, 0.66, 0.7, 0.99, 1, 1.2, 2, 2.5, 10, 40, 1e5, 1e12]
  const exact: Record<string, (x: number) => number> = {
    Acos: Math.acos,
    Acosh: Math.acosh,
    Asin: Math.asin,
    Asinh: Math.asinh,
    Atan: Math.atan,
    Atanh: Math.atanh,
    Cos: Math.cos,
    Cosh: Math.cosh,
    Elu: (x) => (x >= 0 ? x : Math.expm1(x)),
    Exp: Math.exp,
    Expm1: Math.expm1,
    Log: Math.log,
    Log1p: Math.log1p,
    Sin: Math.sin,
    Sinh: Math.sinh,
    Softplus: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
    Sqrt: Math.sqrt,
    Tan: Math.tan,
    Tanh: Math.tanh,
    Sigmoid: (x) => 1 / (1 + Math.exp(-x)),
    Selu: (x) => 1.0507009873554805 * (x >= 0 ? x : 1.6732632423543772 * Math.expm1(x)),
  }

  async function inDouble(name: string, values: number[], attrs: object = {}): Promise<number[]> {
    await tf.setBackend('onnx')
    const shape = [values.length]
    const traced = trace((x) => kernel(name, ['x'], attrs)([x]), [{ shape, dtype: 'float32' }], { precision: 'float64' })
    const [y] = traced.run([float64Tensor(Float64Array.from(values), shape)])
    traced.dispose()
    return [...y.dataSync()]
  }

  it.each(Object.keys(exact))('%s is good to 1e-14', async (name) => {
    const got = await inDouble(name, points)
    for (const [i, x] of points.entries()) {
      const wanted = exact[name](x)
      // Near its zeros the tangent and cosine amplify the rounding of the argument.
      const close = Object.is(got[i], wanted) || Math.abs(got[i] - wanted) <= 1e-14 * Math.max(Math.abs(wanted), 1e-3)
      expect(close, `${name}(${x}) = ${got[i]}, expected ${wanted}`).toBe(true)
    }
  })

  it('erf is good to 1e-14', async () => {
    const got = await inDouble(
      'Erf',
      erfReference.map(([x]) => x),
    )
    erfReference.forEach(([, y], i) => expect(Math.abs(got[i] - y)).toBeLessThan(1e-14 * y))
    const mirrored = await inDouble(
      'Erf',
      erfReference.map(([x]) => -x),
    )
    mirrored.forEach((y, i) => expect(y).toBe(-got[i]))
  })

  it('leaky slopes keep their digits', async () => {
    expect(await inDouble('LeakyRelu', [-1, 2], { alpha: 0.1 })).toEqual([-0.1, 2])
  })
})

describe('Atan2', () => {
  it('has the signs and quadrants of Math.atan2', async () => {
    const special = [0, -0, 1, -1, 2.5, -1e-20, 1e30, Infinity, -Infinity, NaN]
    const pairs = special.flatMap((y) => special.map((x): [number, number] => [y, x]))
    await tf.setBackend('onnx')
    const [angle] = kernel('Atan2', ['a', 'b'], {})([tf.tensor1d(pairs.map(([y]) => y)), tf.tensor1d(pairs.map(([, x]) => x))])
    const got = angle.dataSync()
    pairs.forEach(([y, x], i) => {
      const wanted = Math.fround(Math.atan2(y, x))
      expect(Object.is(got[i], wanted) || Math.abs(got[i] - wanted) <= 3e-7, `atan2(${y}, ${x}) = ${got[i]}, expected ${wanted}`).toBe(true)
    })
  })
})
