import fc from 'fast-check'
import { expect, it } from 'vitest'
import { forbidFallback } from '../__fixtures__/native-only'
import '../index'
import './normalisation'
import { deviation, kernel, sample } from '../testing/index'

forbidFallback()

const tolerance = 1e-5

it('FusedBatchNorm equals cpu, with and without scale and offset', async () => {
  const x = sample([2, 3, 4, 5], 1)
  const [mean, scale, offset] = [sample([5], 2), sample([5], 3), sample([5], 4)]
  const variance = { ...sample([5], 5), values: [0.1, 0.5, 1, 2, 3] }
  const attrs = { varianceEpsilon: 1e-3 }
  expect(await deviation(kernel('FusedBatchNorm', ['x', 'mean', 'variance'], attrs), [x, mean, variance])).toBeLessThan(tolerance)
  const names = ['x', 'mean', 'variance', 'scale', 'offset']
  for (const precision of ['float32', 'float64'] as const) {
    expect(await deviation(kernel('FusedBatchNorm', names, attrs), [x, mean, variance, scale, offset], precision)).toBeLessThan(tolerance)
  }
})

it('LRN and LRNGrad equal cpu', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        channels: fc.integer({ min: 1, max: 8 }),
        depthRadius: fc.integer({ min: 1, max: 5 }),
        bias: fc.double({ min: 0.5, max: 2, noNaN: true }),
        alpha: fc.double({ min: 0, max: 1, noNaN: true }),
        beta: fc.constantFrom(0.5, 0.75, 1),
        seed: fc.integer({ min: 0, max: 100 }),
      }),
      async ({ channels, seed, ...attrs }) => {
        const shape = [2, 3, 2, channels]
        const [x, y, dy] = [sample(shape, seed), sample(shape, seed + 1), sample(shape, seed + 2)]
        expect(await deviation(kernel('LRN', ['x'], attrs), [x])).toBeLessThan(tolerance)
        expect(await deviation(kernel('LRNGrad', ['x', 'y', 'dy'], attrs), [x, y, dy])).toBeLessThan(tolerance)
      },
    ),
    { numRuns: 15, seed: 1 },
  )
})
