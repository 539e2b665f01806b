import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { padRagged, padToSizeClass, sizeClass } from './padding'
import { fitStandardiser } from './standardise'

describe('sizeClass', () => {
  it('is the smallest of {1, 1.25, 1.5, 1.75}·2^k that is large enough', () => {
    const classes = [...Array(20).keys()]
      .flatMap((k) => [1, 1.25, 1.5, 1.75].map((m) => m * 2 ** k))
      .filter(Number.isInteger)
      .sort((a, b) => a - b)
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 900_000 }), (n) => {
        expect(sizeClass(n)).toBe(classes.find((size) => size >= n))
      }),
    )
    expect(() => sizeClass(0)).toThrow(/positive integer, got 0/)
  })
})

describe('padToSizeClass and padRagged', () => {
  it('mask what is real', () => {
    const nodes = { data: Float32Array.from({ length: 18 }, (_, i) => i + 1), shape: [9, 2] }
    const { values, mask } = padToSizeClass(nodes, -1)
    expect(values.shape).toEqual([10, 2])
    expect([...values.data.slice(16)]).toEqual([17, 18, -1, -1])
    expect([mask.dtype, ...mask.data]).toEqual(['bool', 1, 1, 1, 1, 1, 1, 1, 1, 1, 0])
  })

  it('stack sequences of different lengths', () => {
    const { values, mask } = padRagged([
      { data: new Int32Array([1, 2, 3]), shape: [3] },
      { data: new Int32Array([4]), shape: [1] },
    ])
    expect([values.shape, [...values.data], [...mask.data]]).toEqual([
      [2, 3],
      [1, 2, 3, 4, 0, 0],
      [1, 1, 1, 1, 0, 0],
    ])
    expect(() => padRagged([])).toThrow(/at least one/)
    const vectors = [
      { data: new Int32Array(2), shape: [1, 2] },
      { data: new Int32Array(3), shape: [1, 3] },
    ]
    expect(() => padRagged(vectors)).toThrow(/array 1 has shape \[1, 3\], expected \[length, 2\]/)
  })
})

describe('fitStandardiser', () => {
  it('gives mean 0 and deviation 1 on the training data, also far from 0, and leaves constants finite', () => {
    const data = Float64Array.from({ length: 300 }, (_, i) => (i % 3 === 2 ? 5 : 1e6 + Math.sin(i) * (i % 3 ? 3 : 1)))
    const standardiser = fitStandardiser({ data, shape: [100, 3] })
    const { data: values } = standardiser.apply({ data, shape: [100, 3] })
    for (const feature of [0, 1]) {
      const column = [...values].filter((_, i) => i % 3 === feature)
      const mean = column.reduce((sum, x) => sum + x, 0) / 100
      expect(mean).toBeCloseTo(0, 5)
      expect(column.reduce((sum, x) => sum + (x - mean) ** 2, 0) / 100).toBeCloseTo(1, 5)
    }
    expect(values[2]).toBe(0)
    expect(() => standardiser.apply({ data, shape: [150, 2] })).toThrow(/fitted on 3 features/)
    expect(() => fitStandardiser({ data: new Float64Array(0), shape: [0, 3] })).toThrow(/at least one row/)
  })
})
