import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { forbidFallback } from '../__fixtures__/native-only'
import '../index'
import './image'
import { deviation, kernel, sample, type Sample } from '../testing/index'

forbidFallback()

const tolerance = 1e-5
const runs = { numRuns: 25, seed: 2 }
const length = fc.integer({ min: 1, max: 7 })
const seeds = fc.integer({ min: 0, max: 1000 })

describe('resizing', () => {
  const resizes = fc.record({
    lengths: fc.tuple(length, length),
    size: fc.tuple(length, length),
    mode: fc.constantFrom('plain', 'align', 'half'),
    seed: seeds,
  })

  it.each(['ResizeBilinear', 'ResizeNearestNeighbor'])('%s equals cpu', async (name) => {
    await fc.assert(
      fc.asyncProperty(resizes, async ({ lengths, size, mode, seed }) => {
        const attrs = { alignCorners: mode === 'align', halfPixelCenters: mode === 'half', size }
        const error = await deviation(
          kernel(name, ['images'], attrs),
          [sample([2, ...lengths, 3], seed)],
          seed % 3 === 0 ? 'float64' : 'float32',
        )
        expect(error).toBeLessThan(tolerance)
      }),
      runs,
    )
  })

  // One square image: the cpu kernels of the gradients swap height and width (bilinear) and mix up batches (nearest).
  it.each(['ResizeBilinearGrad', 'ResizeNearestNeighborGrad'])('%s equals cpu', async (name) => {
    await fc.assert(
      fc.asyncProperty(resizes, async ({ lengths, size, mode, seed }) => {
        // The cpu kernel never ends for a single row with aligned corners.
        fc.pre(mode !== 'align' || lengths[0] > 1)
        const shape = [1, lengths[0], lengths[0], 3]
        const attrs = { alignCorners: mode === 'align' }
        const error = await deviation(kernel(name, ['images', 'dy'], attrs), [sample(shape, seed), sample([1, ...size, 3], seed + 1)])
        expect(error).toBeLessThan(tolerance)
      }),
      runs,
    )
  })
})

describe('crops and turns', () => {
  it.each(['bilinear', 'nearest'])('CropAndResize %s equals cpu, inside and outside the image', async (method) => {
    await fc.assert(
      fc.asyncProperty(
        fc.tuple(length, length),
        fc.tuple(length, length),
        fc.array(
          fc.array(
            fc.integer({ min: -8, max: 24 }).map((n) => n / 16 + 1 / 64),
            { minLength: 4, maxLength: 4 },
          ),
          { minLength: 1, maxLength: 4 },
        ),
        seeds,
        async (lengths, cropSize, corners, seed) => {
          const boxes: Sample = { values: corners.flat(), shape: [corners.length, 4] }
          const boxInd: Sample = { values: corners.map((_, i) => (i === 3 ? 5 : (seed + i) % 2)), shape: [corners.length], dtype: 'int32' }
          const attrs = { cropSize, method, extrapolationValue: 0.25 }
          const error = await deviation(kernel('CropAndResize', ['image', 'boxes', 'boxInd'], attrs), [
            sample([2, ...lengths, 2], seed),
            boxes,
            boxInd,
          ])
          expect(error).toBeLessThan(tolerance)
        },
      ),
      runs,
    )
  })

  it('FlipLeftRight equals cpu', async () => {
    expect(await deviation(kernel('FlipLeftRight', ['image'], {}), [sample([2, 3, 4, 3], 1)])).toBe(0)
    expect(await deviation(kernel('FlipLeftRight', ['image'], {}), [sample([2, 3, 1, 3], 1)])).toBe(0)
  })

  it('RotateWithOffset equals cpu', async () => {
    await fc.assert(
      fc.asyncProperty(
        length,
        length,
        fc.double({ min: -4, max: 4, noNaN: true }),
        fc.boolean(),
        seeds,
        async (height, width, radians, isColour, seed) => {
          const attrs = { radians, fillValue: isColour ? [1, 2, 3] : 0.5, center: seed % 2 === 0 ? 0.5 : [0.25, 0.75] }
          expect(await deviation(kernel('RotateWithOffset', ['image'], attrs), [sample([2, height, width, 4], seed)])).toBeLessThan(
            tolerance,
          )
        },
      ),
      runs,
    )
  })

  it('Transform equals cpu in all modes', async () => {
    // One image: for more the cpu kernel fills in the first only.
    const modes = fc.record({
      interpolation: fc.constantFrom('nearest', 'bilinear'),
      fillMode: fc.constantFrom('reflect', 'wrap', 'nearest', 'constant'),
      outputShape: fc.option(fc.tuple(length, length)),
    })
    await fc.assert(
      fc.asyncProperty(length, length, modes, seeds, async (height, width, mode, seed) => {
        const raw = sample([1, 8], seed + 1).values
        // Coefficients on a grid of 1/64 with an odd offset keep coordinates off the borders where rounding would decide.
        const transforms: Sample = { values: raw.map((v, i) => (i > 5 ? 0 : (Math.round(v * 96) + 0.37) / 64)), shape: [1, 8] }
        const attrs = { ...mode, fillValue: 0.5 }
        const error = await deviation(kernel('Transform', ['image', 'transforms'], attrs), [
          sample([1, height, width, 2], seed),
          transforms,
        ])
        expect(error).toBeLessThan(3 * tolerance)
      }),
      { numRuns: 60, seed: 4 },
    )
  })
})

describe('rearrangements', () => {
  it('MirrorPad equals cpu', async () => {
    for (const mode of ['reflect', 'symmetric']) {
      const attrs = {
        mode,
        paddings: [
          [0, 0],
          [2, 1],
          [0, 3],
          [1, 1],
        ],
      }
      expect(await deviation(kernel('MirrorPad', ['x'], attrs), [sample([2, 3, 4, 2], 1)])).toBe(0)
    }
  })

  it('SpaceToBatchND, BatchToSpaceND and DepthToSpace equal cpu', async () => {
    const spread = kernel('SpaceToBatchND', ['x'], {
      blockShape: [2, 3],
      paddings: [
        [1, 0],
        [0, 2],
      ],
    })
    expect(await deviation(spread, [sample([2, 5, 4, 3], 1)])).toBe(0)
    const gathered = kernel('BatchToSpaceND', ['x'], {
      blockShape: [2, 3],
      crops: [
        [1, 0],
        [0, 2],
      ],
    })
    expect(await deviation(gathered, [sample([12, 3, 2, 3], 1)])).toBe(0)
    expect(await deviation(kernel('DepthToSpace', ['x'], { blockSize: 2, dataFormat: 'NHWC' }), [sample([2, 3, 2, 8], 1)])).toBe(0)
  })
})
