import { trace } from '@bpf/backend-onnx'
import { deviation, sample, type Sample } from '@bpf/backend-onnx/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { float64Tensor } from '../compile'

beforeAll(async () => {
  await useBackend('cpu')
  await useBackend('onnx')
})

type Fn = (...inputs: tf.Tensor[]) => tf.Tensor

const positive = (shape: number[], seed: number): Sample => {
  const { values } = sample(shape, seed)
  return { values: values.map((value) => Math.abs(value) * 0.8 + 0.1), shape }
}

const matrix = [3, 4]
const ids = tf.tensor1d([2, 0, 2], 'int32')
const places = tf.tensor2d([0, 3, 3], [3, 1], 'int32')

/** Functions of float tensors and what to call them with. */
const cases: [string, Fn, Sample[]][] = [
  ...(
    [
      'acos',
      'asin',
      'asinh',
      'atan',
      'atanh',
      'cos',
      'cosh',
      'elu',
      'erf',
      'exp',
      'expm1',
      'log',
      'log1p',
      'neg',
      'reciprocal',
      'relu',
      'rsqrt',
      'selu',
      'sigmoid',
      'sin',
      'sinh',
      'softplus',
      'sqrt',
      'square',
      'tan',
      'tanh',
      'abs',
    ] as const
  ).map((name): [string, Fn, Sample[]] => [name, (x) => tf[name](x), [positive(matrix, 1)]]),
  ['acosh', (x) => tf.acosh(tf.add(x, 1.5)), [positive(matrix, 1)]],
  ['leakyRelu', (x) => tf.leakyRelu(x, 0.2), [sample(matrix, 2)]],
  ['prelu', (x, a) => tf.prelu(x, a), [sample(matrix, 2), sample([4], 3)]],
  ['clipByValue', (x) => tf.clipByValue(x, -0.5, 0.5), [sample(matrix, 4)]],
  ['add', (a, b) => tf.add(a, b), [sample(matrix, 1), sample([4], 2)]],
  ['sub', (a, b) => tf.sub(a, b), [sample(matrix, 1), sample([3, 1], 2)]],
  ['mul', (a, b) => tf.mul(a, b), [sample(matrix, 1), sample([1, 4], 2)]],
  ['div', (a, b) => tf.div(a, b), [sample(matrix, 1), positive([4], 2)]],
  ['pow', (a, b) => tf.pow(a, b), [positive(matrix, 1), sample([4], 2)]],
  ['maximum', (a, b) => tf.maximum(a, b), [sample(matrix, 1), sample(matrix, 2)]],
  ['minimum', (a, b) => tf.minimum(a, b), [sample(matrix, 1), sample(matrix, 2)]],
  ['atan2', (a, b) => tf.atan2(a, b), [sample(matrix, 1), sample(matrix, 2)]],
  ['mod', (a, b) => tf.mod(a, b), [positive(matrix, 1), positive(matrix, 2)]],
  ['where', (a, b) => tf.where(tf.greater(a, b), a, b), [sample(matrix, 1), sample(matrix, 2)]],
  ['matMul', (a, b) => tf.matMul(a as tf.Tensor2D, b as tf.Tensor2D, true, false), [sample([4, 3], 1), sample([4, 2], 2)]],
  ['batched matMul', (a, b) => tf.matMul(a, b, false, true), [sample([2, 3, 4], 1), sample([2, 5, 4], 2)]],
  ['einsum', (a, b) => tf.einsum('bij,bjk->bik', a, b), [sample([2, 3, 4], 1), sample([2, 4, 2], 2)]],
  ['sum', (x) => tf.sum(x, 1), [sample(matrix, 1)]],
  ['mean', (x) => tf.mean(x, 0), [sample(matrix, 1)]],
  ['prod', (x) => tf.prod(x, 1), [positive(matrix, 1)]],
  ['max', (x) => tf.max(x, 1), [sample(matrix, 1)]],
  ['min', (x) => tf.min(x, 0), [sample(matrix, 1)]],
  ['softmax', (x) => tf.softmax(x), [sample(matrix, 1)]],
  ['logSoftmax', (x) => tf.logSoftmax(x), [sample(matrix, 1)]],
  ['logSumExp', (x) => tf.logSumExp(x, 1), [sample(matrix, 1)]],
  ['cumsum', (x) => tf.cumsum(x, 1, true, true), [sample(matrix, 1)]],
  ['cumprod', (x) => tf.cumprod(x, 1), [positive(matrix, 1)]],
  ['reshape and transpose', (x) => tf.transpose(tf.reshape(x, [2, 6])), [sample(matrix, 1)]],
  ['slice', (x) => tf.slice(x, [1, 1], [2, 2]), [sample(matrix, 1)]],
  ['stridedSlice', (x) => tf.stridedSlice(x, [0, 3], [3, 0], [2, -1]), [sample(matrix, 1)]],
  [
    'pad',
    (x) =>
      tf.pad(x, [
        [1, 0],
        [0, 2],
      ]),
    [sample(matrix, 1)],
  ],
  ['tile', (x) => tf.tile(x, [2, 3]), [sample(matrix, 1)]],
  ['concat', (a, b) => tf.concat([a, b], 1), [sample(matrix, 1), sample([3, 2], 2)]],
  ['stack', (a, b) => tf.stack([a, b], 1), [sample(matrix, 1), sample(matrix, 2)]],
  ['unstack', (x) => tf.unstack(x, 1)[2], [sample(matrix, 1)]],
  ['split', (x) => tf.split(x, 2, 1)[1], [sample(matrix, 1)]],
  ['reverse', (x) => tf.reverse(x, 1), [sample(matrix, 1)]],
  ['gather', (x) => tf.gather(x, ids), [sample(matrix, 1)]],
  ['gatherND', (x) => tf.gatherND(x, tf.tensor2d([0, 1, 2, 2, 0, 1], [3, 2], 'int32')), [sample(matrix, 1)]],
  ['scatterND', (x) => tf.scatterND(places, x, [5, 4]), [sample(matrix, 1)]],
  ['unsortedSegmentSum', (x) => tf.unsortedSegmentSum(x, ids, 3), [sample(matrix, 1)]],
  ['topk', (x) => tf.topk(x, 2).values, [sample(matrix, 1)]],
  ['fft', (a, b) => tf.abs(tf.fft(tf.complex(a, b))), [sample([2, 6], 1), sample([2, 6], 2)]],
  ['rfft', (x) => tf.abs(tf.spectral.rfft(x)), [sample([2, 8], 1)]],
]

describe('gradients, eager and compiled, agree with the cpu backend', () => {
  it.each(cases)('of %s', async (_, fn, samples) => {
    // Weighted, so that the gradient of the result is not constant.
    const gradients = (inputs: tf.Tensor[]): tf.Tensor[] =>
      tf.grads((...x: tf.Tensor[]) => {
        const y = fn(...x)
        return tf.sum(tf.mul(y, tf.sin(tf.reshape(tf.range(0, y.size), y.shape))))
      })(inputs)
    expect(await deviation(gradients, samples)).toBeLessThan(1e-5)
  })

  it('second ones compile too', async () => {
    const second = (inputs: tf.Tensor[]): tf.Tensor[] => [
      tf.grad((x) => tf.sum(tf.square(tf.grad((y) => tf.sum(tf.mul(tf.tanh(y), tf.sigmoid(y))))(x))))(inputs[0]),
    ]
    expect(await deviation(second, [sample(matrix, 7)])).toBeLessThan(1e-5)
  })
})

describe('compiled gradients in double precision', () => {
  it.each(cases.filter(([name]) => !['topk'].includes(name)))('of %s agree with central differences', async (_, fn, samples) => {
    await tf.setBackend('onnx')
    const specs = samples.map(({ shape }) => ({ shape, dtype: 'float32' as const }))
    const loss = (...x: tf.Tensor[]): tf.Tensor => {
      const y = fn(...x)
      return tf.sum(tf.mul(y, tf.sin(tf.reshape(tf.range(0, y.size), y.shape))))
    }
    const value = trace((...x) => [loss(...x)], specs, { precision: 'float64' })
    const gradient = trace((...x) => tf.grads(loss as (...x: tf.Tensor[]) => tf.Scalar)(x), specs, { precision: 'float64' })
    const arrays = samples.map(({ values }) => Float64Array.from(values))
    const tensors = (): tf.Tensor[] => arrays.map((array, i) => float64Tensor(array.slice(), samples[i].shape))
    const at = (): number => value.run(tensors())[0].dataSync()[0]
    const gradients = gradient.run(tensors()).map((tensor) => [...tensor.dataSync()])
    const step = 1e-5
    for (const [i, array] of arrays.entries()) {
      const k = (7 * i + 5) % array.length
      const middle = array[k]
      array[k] = middle + step
      const above = at()
      array[k] = middle - step
      const below = at()
      array[k] = middle
      const numeric = (above - below) / (2 * step)
      expect(Math.abs(gradients[i][k] - numeric)).toBeLessThan(1e-7 * Math.max(1, Math.abs(numeric)))
    }
    value.dispose()
    gradient.dispose()
  })
})
