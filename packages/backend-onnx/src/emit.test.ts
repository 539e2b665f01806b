import * as tf from '@tensorflow/tfjs-core'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { forbidFallback } from './__fixtures__/native-only'
import './index'
import { createGraph } from './graph'
import { binary, concat, reduce, reshape, scalar, slice, split, transpose } from './emit'
import { deviation, sample } from './testing/index'

forbidFallback()

const shape = [2, 3, 4, 5]
const permutations = [
  [0, 3, 1, 2],
  [0, 2, 3, 1],
  [3, 2, 1, 0],
  [1, 0, 2, 3],
]

/** Programs of elementwise work, transposes, broadcasts and reductions over a few tensors. */
const steps = fc.array(
  fc.record({
    kind: fc.constantFrom('transpose', 'scale', 'vector', 'broadcast', 'mix', 'relu', 'centre', 'spread', 'mask', 'norm', 'negate'),
    pick: fc.integer({ min: 0, max: 3 }),
  }),
  { minLength: 2, maxLength: 9 },
)

type Steps = typeof steps extends fc.Arbitrary<infer T> ? T : never

function program(given: Steps): (inputs: tf.Tensor[]) => tf.Tensor[] {
  return ([start, vector, other]) => {
    const seen: tf.Tensor[] = [start]
    for (const { kind, pick } of given) {
      const x = seen[seen.length - 1]
      const last = x.shape[3] as number
      const row = tf.slice(vector, [0], [last])
      const like = tf.reshape(other, x.shape)
      const next = {
        transpose: () => tf.transpose(x, permutations[pick]),
        scale: () => tf.mul(tf.mul(x, row), [0.5, 2, -1.5, 3][pick]),
        vector: () => tf.add(x, row),
        broadcast: () => tf.mul(x, tf.broadcastTo(tf.reshape(row, [1, 1, 1, last]), x.shape)),
        mix: () => tf.sub(tf.mul(x, 3), seen.find((value) => tf.util.arraysEqual(value.shape, x.shape)) ?? like),
        relu: () => tf.relu(x),
        // Half the mean, so that what is left is not all rounding.
        centre: () => tf.sub(x, tf.mul(tf.mean(x, [[0], [1, 2], [0, 1, 2], [3]][pick], true), 0.5)),
        spread: () => tf.mul(tf.add(like, 1), tf.broadcastTo(tf.mean(x, [pick], true), x.shape)),
        mask: () => tf.where(tf.greater(x, row), x, tf.zerosLike(x)),
        norm: () => tf.mul(x, tf.sum(tf.neg(tf.add(x, 1)), pick < 2 ? [0, 1, 2] : [1, 2], pick % 2 === 0 || pick === 3)),
        negate: () => tf.neg(tf.tanh(x)),
      }[kind]()
      seen.push(next as tf.Tensor)
    }
    const result = seen[seen.length - 1]
    return [result, tf.sum(tf.add(result, 1), [0, 2])]
  }
}

describe('rewritings', () => {
  it('of transposes, broadcasts and factors change no result', async () => {
    await fc.assert(
      fc.asyncProperty(steps, fc.integer({ min: 0, max: 1000 }), async (given, seed) => {
        const inputs = [sample(shape, seed), sample([5], seed + 1), sample(shape, seed + 2)]
        const fits = (fn: ReturnType<typeof program>): boolean => {
          try {
            tf.tidy(() => fn(inputs.map(({ values, shape: size }) => tf.tensor(values, size))))
            return true
          } catch {
            return false
          }
        }
        await tf.setBackend('cpu')
        fc.pre(fits(program(given)))
        expect(await deviation(program(given), inputs)).toBeLessThan(1e-5)
      }),
      { numRuns: 60, seed: 9 },
    )
  })

  it('leave no transpose between channels-last work and a convolution', () => {
    const g = createGraph()
    const conv = g.op(
      'Conv',
      [g.input({ shape: [2, 3, 4, 4], type: 'float32' }), g.input({ shape: [5, 3, 1, 1], type: 'float32' })],
      [2, 5, 4, 4],
      'float32',
    )
    const bias = g.input({ shape: [5], type: 'float32' })
    const y = binary(g, 'Max', binary(g, 'Add', transpose(g, conv, [0, 2, 3, 1]), bias), scalar(g, 0, 'float32'))
    const centred = binary(g, 'Sub', y, reduce(g, 'ReduceMean', y, [0, 1, 2], false))
    const next = transpose(g, centred, [0, 3, 1, 2])
    expect(next.shape).toEqual([2, 5, 4, 4])
    expect(g.build('g', [next]).nodes.filter(({ op }) => op === 'Transpose')).toEqual([])
  })

  it('scale and shift the channels after a convolution in one pass', async () => {
    const fn = ([x, filter, scale, offset]: tf.Tensor[]): tf.Tensor[] => [
      tf.add(tf.mul(tf.conv2d(x as tf.Tensor4D, filter as tf.Tensor4D, 1, 'same'), scale), offset),
    ]
    const inputs = [sample([2, 5, 6, 3], 1), sample([3, 3, 3, 4], 2), sample([4], 3), sample([4], 4)]
    expect(await deviation(fn, inputs)).toBeLessThan(1e-5)
    const g = createGraph()
    const conv = g.op('Relu', [g.input({ shape: [2, 4, 5, 6], type: 'float32' })], [2, 4, 5, 6], 'float32')
    const vector = g.input({ shape: [4], type: 'float32' })
    const y = binary(g, 'Add', binary(g, 'Mul', transpose(g, conv, [0, 2, 3, 1]), vector), vector)
    expect(g.build('g', [transpose(g, y, [0, 3, 1, 2])]).nodes.map(({ op }) => op)).toContain('BatchNormalization')
  })

  it('multiply constants first and broadcast last', () => {
    const g = createGraph()
    const x = g.input({ shape: [8, 9], type: 'float32' })
    const row = g.input({ shape: [9], type: 'float32' })
    const wide = g.op('Expand', [row, g.constant(BigInt64Array.from([8n, 9n]), [2], 'int64')], [8, 9], 'float32')
    const y = binary(g, 'Mul', binary(g, 'Mul', x, scalar(g, 2, 'float32')), wide)
    const ops = g.build('g', [y]).nodes.map(({ op }) => op)
    expect(ops).toEqual(['Mul', 'Mul'])
  })

  it('join the neighbouring pieces of a value by not cutting it', () => {
    const g = createGraph()
    const x = g.input({ shape: [12], type: 'float32' })
    const pieces = split(g, x, 0, [2, 4, 1, 5])
    const flat = pieces.map((piece, i) => (i === 1 ? reshape(g, reshape(g, piece, [2, 2]), [4]) : piece))
    expect(concat(g, flat, 0)).toBe(x)
    const ops = (values: typeof pieces): string[] => g.build('g', [concat(g, values, 0)]).nodes.map(({ op }) => op)
    expect(ops([pieces[1], pieces[2]])).toEqual(['Slice'])
    expect(ops([pieces[2], pieces[1]])).toEqual(['Split', 'Concat'])
    expect(ops([slice(g, x, [0], [3], [2]), slice(g, x, [0], [5], [7])])).toEqual(['Slice'])
  })

  it('reduce the last axes first where others lie between', async () => {
    const fn = ([x]: tf.Tensor[]): tf.Tensor[] => [
      tf.sum(x, [0, 2, 3]),
      tf.mean(x, [0, 2, 3], true),
      tf.max(x, [0, 2, 3]),
      tf.prod(x, [0, 2, 3]),
    ]
    expect(await deviation(fn, [sample([3, 4, 5, 6], 1)])).toBeLessThan(1e-6)
    const g = createGraph()
    const x = g.input({ shape: [3, 4, 5, 6], type: 'float32' })
    expect(g.build('g', [reduce(g, 'ReduceSum', x, [0, 2, 3], false)]).nodes).toHaveLength(2)
  })
})
