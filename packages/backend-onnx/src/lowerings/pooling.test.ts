import * as tf from '@tensorflow/tfjs-core'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { forbidFallback } from '../__fixtures__/native-only'
import '../index'
import './pooling'
import { deviation, kernel, sample } from '../testing/index'

forbidFallback()

const tolerance = 1e-5

function geometries(spatial: 2 | 3) {
  const each = <T>(one: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(one, { minLength: spatial, maxLength: spatial })
  return fc.record({
    batch: fc.integer({ min: 1, max: 2 }),
    lengths: each(fc.integer({ min: 4, max: 7 })),
    channels: fc.integer({ min: 1, max: 3 }),
    filterSize: spatial === 2 ? each(fc.integer({ min: 1, max: 3 })) : fc.integer({ min: 1, max: 3 }).map((n) => [n, n, n]),
    strides: each(fc.integer({ min: 1, max: 3 })),
    isDisjoint: fc.boolean(),
    pad: fc.constantFrom(
      'same',
      'valid',
      ...(spatial === 2
        ? ([
            [
              [0, 0],
              [0, 1],
              [1, 0],
              [0, 0],
            ],
          ] as const)
        : []),
    ),
    // Few levels, so that most windows have ties.
    levels: fc.constantFrom(undefined, 2, 4),
    seed: fc.integer({ min: 0, max: 1000 }),
  })
}

const runs = { numRuns: 30, seed: 5 }

describe.each([
  { suffix: '', spatial: 2 as const },
  { suffix: '3D', spatial: 3 as const },
])('pools over $spatial axes', ({ suffix, spatial }) => {
  const attributes = (filterSize: number[], strides: number[], isDisjoint: boolean, pad: unknown) => ({
    filterSize,
    strides: isDisjoint ? filterSize : strides,
    pad,
    dimRoundingMode: 'floor',
    ...(spatial === 3 ? { dataFormat: 'NDHWC' } : {}),
  })
  const outShape = (shape: number[], attrs: ReturnType<typeof attributes>): number[] =>
    spatial === 2
      ? tf.backend_util.computePool2DInfo(
          shape as never,
          attrs.filterSize as never,
          attrs.strides as never,
          1,
          attrs.pad as 'same',
          'floor',
        ).outShape
      : tf.backend_util.computePool3DInfo(
          shape as never,
          attrs.filterSize as never,
          attrs.strides as never,
          1,
          attrs.pad as 'same',
          'floor',
        ).outShape

  it.each(['MaxPool', 'AvgPool'])('%s and its gradient equal cpu, exactly the same entries at ties', async (pool) => {
    await fc.assert(
      fc.asyncProperty(geometries(spatial), async ({ batch, lengths, channels, filterSize, strides, isDisjoint, pad, levels, seed }) => {
        const shape = [batch, ...lengths, channels]
        const attrs = attributes(filterSize, strides, isDisjoint, pad)
        const out = outShape(shape, attrs)
        fc.pre(out.every((n) => n > 0) && (typeof pad === 'string' || filterSize.every((n) => n > 1)))
        const x = sample(shape, seed, levels)
        for (const precision of seed % 4 === 0 ? (['float32', 'float64'] as const) : (['float32'] as const)) {
          expect(await deviation(kernel(`${pool}${suffix}`, ['x'], attrs), [x], precision)).toBeLessThan(tolerance)
          const [names, inputs] =
            pool === 'MaxPool'
              ? [
                  ['dy', 'input', 'output'],
                  [sample(out, seed + 1), x, sample(out, seed + 2)],
                ]
              : [
                  ['dy', 'input'],
                  [sample(out, seed + 1), x],
                ]
          expect(await deviation(kernel(`${pool}${suffix}Grad`, names, attrs), inputs, precision)).toBeLessThan(tolerance)
        }
      }),
      runs,
    )
  })
})

describe('the gradient of 2×2 maxima side by side', () => {
  it.each([
    [[2, 6, 8, 3], 'valid'],
    [[1, 7, 5, 2], 'valid'],
    [[2, 3, 9, 1], 'valid'],
    [[3, 4, 4, 2], 'same'],
  ])('goes to the first entry at ties, of %j with %s edges', async (shape, pad) => {
    const attrs = { filterSize: [2, 2], strides: [2, 2], pad }
    const out = [shape[0], Math.floor(shape[1] / 2), Math.floor(shape[2] / 2), shape[3]]
    for (const levels of [2, 3, undefined]) {
      const inputs = [sample(out, 1), sample(shape, 2, levels), sample(out, 3)]
      expect(await deviation(kernel('MaxPoolGrad', ['dy', 'input', 'output'], attrs), inputs)).toBe(0)
    }
  })
})

describe('a pool of ReLUs', () => {
  it.each([
    [2, 2],
    [3, 2],
    [3, 3],
  ])('of size %i and stride %i has the gradients of both, at ties too', async (size, stride) => {
    const gradient = kernel('MaxPoolGrad', ['dy', 'input', 'output'], { filterSize: size, strides: stride, pad: 'same' })
    for (const levels of [undefined, 3]) {
      // Windows whose entries are all negative, all zero, and mixed.
      const { values, shape } = sample([2, 6, 8, 2], 4, levels)
      const z = { values: values.map((value) => (levels === undefined ? value - 0.4 : value - 1)), shape }
      const dy = sample([2, Math.ceil(6 / stride), Math.ceil(8 / stride), 2], 5)
      const fn = (isUpTo: 'z' | 'both') => {
        return ([x, slope]: tf.Tensor[]): tf.Tensor[] => {
          const y = tf.relu(x)
          const pooled = tf.maxPool(y as tf.Tensor4D, size, stride, 'same')
          const [dx] = gradient([slope, y, pooled])
          const through = tf.mul(dx, tf.cast(tf.greater(x, 0), 'float32'))
          // An entry at zero has its share of the gradient up to the ReLU's output.
          return isUpTo === 'z' ? [pooled, through] : [pooled, through, dx]
        }
      }
      for (const which of ['z', 'both'] as const) expect(await deviation(fn(which), [z, dy])).toBe(0)
    }
  })
})

describe('MaxPoolWithArgmax', () => {
  it('gives the position of the first maximum', async () => {
    await fc.assert(
      fc.asyncProperty(
        geometries(2),
        fc.boolean(),
        async ({ batch, lengths, channels, filterSize, strides, pad, levels, seed }, includeBatchInIndex) => {
          fc.pre(typeof pad === 'string' && (pad === 'same' || lengths.every((n, i) => n >= filterSize[i])))
          const attrs = { filterSize, strides, pad, includeBatchInIndex }
          const x = sample([batch, ...lengths, channels], seed, levels)
          expect(await deviation(kernel('MaxPoolWithArgmax', ['x'], attrs), [x])).toBe(0)
        },
      ),
      runs,
    )
  })
})
