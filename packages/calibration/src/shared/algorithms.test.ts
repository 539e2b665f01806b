import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { kMeansBounds } from './k-means-line'
import { fitLogistic } from './logistic'
import { isotonicKnots, poolAdjacentViolators } from './pav'
import { stableOrder } from './sort'

const numbers = (min: number, max: number): fc.Arbitrary<number[]> =>
  fc.array(fc.double({ min, max, noNaN: true }), { minLength: 1, maxLength: 60 })

describe('stableOrder', () => {
  it('sorts any doubles and keeps the order of equal ones', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.constantFrom(0, -0, 0.5, 1))), (values) => {
        const expected = values.map((_, i) => i).sort((a, b) => values[a] - values[b] || a - b)
        expect(Array.from(stableOrder(Float64Array.from(values)))).toEqual(expected)
      }),
    )
  })
})

describe('pool-adjacent-violators', () => {
  const expand = (values: number[], weights: number[]): number[] => {
    const { end, value } = poolAdjacentViolators(values, weights)
    return values.map((_, i) => value[end.findIndex((e) => e > i)])
  }

  it('gives an ascending sequence, keeps the mean, and leaves an ascending one as it is', () => {
    fc.assert(
      fc.property(numbers(-5, 5), (values) => {
        const weights = values.map((_, i) => 1 + (i % 3))
        const fitted = expand(values, weights)
        for (let i = 1; i < fitted.length; i++) expect(fitted[i]).toBeGreaterThanOrEqual(fitted[i - 1])
        const total = (list: number[]): number => list.reduce((sum, value, i) => sum + weights[i] * value, 0)
        expect(Math.abs(total(fitted) - total(values))).toBeLessThan(1e-9)
        expand(fitted, weights).forEach((value, i) => expect(Math.abs(value - fitted[i])).toBeLessThan(1e-12))
      }),
    )
  })

  it('equals the minimax formula max_{a ≤ i} min_{b ≥ i} mean(a … b)', () => {
    const values = [3, 1, 2, 5, 4, 4.5, 0, 7]
    const mean = (a: number, b: number): number => values.slice(a, b + 1).reduce((sum, value) => sum + value, 0) / (b - a + 1)
    const minimax = values.map((_, i) => {
      const lows = Array.from({ length: i + 1 }, (_, a) => Math.min(...Array.from({ length: values.length - i }, (_, j) => mean(a, i + j))))
      return Math.max(...lows)
    })
    expand(
      values,
      values.map(() => 1),
    ).forEach((value, i) => expect(value).toBeCloseTo(minimax[i], 12))
  })

  it('pools equal predictions before it starts', () => {
    const { x, y } = isotonicKnots(Float64Array.of(0.1, 0.5, 0.5, 0.9), [0, 1, 0, 1])
    expect(Array.from(x)).toEqual([0.1, 0.5, 0.9])
    expect(Array.from(y)).toEqual([0, 0.5, 1])
  })
})

describe('k-means on a line', () => {
  it('separates clear groups and keeps empty clusters', () => {
    const sorted = Float64Array.of(0, 0.01, 0.02, 0.5, 0.51, 1)
    const prefix = Float64Array.from([0, ...sorted.map((_, i) => sorted.slice(0, i + 1).reduce((sum, value) => sum + value, 0))])
    expect(Array.from(kMeansBounds(sorted, 6, prefix, 3))).toEqual([0, 3, 5, 6])
    expect(kMeansBounds(sorted, 6, prefix, 10)).toHaveLength(11)
    expect(Array.from(kMeansBounds(Float64Array.of(0.3, 0.3), 2, Float64Array.of(0, 0.3, 0.6), 2))).toEqual([0, 2, 2])
  })
})

describe('logistic regression', () => {
  it('has zero gradient at its optimum and stays finite on separable data', () => {
    const x = Float64Array.from({ length: 200 }, (_, i) => Math.sin(i * 12.9898) * 3)
    const o = Uint8Array.from(x, (value, i) => (value + 2 * Math.sin(i * 78.233) > 0 ? 1 : 0))
    const { weights, intercept } = fitLogistic([x], o)
    const residual = (f: (i: number) => number): number =>
      x.reduce((sum, value, i) => sum + (1 / (1 + Math.exp(-weights[0] * value - intercept)) - o[i]) * f(i), 0)
    expect(Math.abs(residual(() => 1))).toBeLessThan(1e-5)
    expect(Math.abs(residual((i) => x[i]))).toBeLessThan(1e-5)
    const separable = fitLogistic(
      [x],
      Uint8Array.from(x, (value) => (value > 0 ? 1 : 0)),
    )
    expect(Number.isFinite(separable.weights[0])).toBe(true)
  })
})
