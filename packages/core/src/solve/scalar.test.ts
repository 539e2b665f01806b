import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { findRoot, minimizeBounded } from './scalar'

describe('minimizeBounded', () => {
  it('finds the minimum of smooth and of kinked functions', () => {
    expect(minimizeBounded((x) => (x - 2) ** 2, 0, 5).x).toBeCloseTo(2, 7)
    expect(minimizeBounded((x) => Math.abs(x - 0.3), -1, 5).x).toBeCloseTo(0.3, 7)
    expect(minimizeBounded((x) => x - Math.log(x), 1e-3, 100).x).toBeCloseTo(1, 6)
  })

  it('approaches a minimum at a bound', () => {
    const { x, converged } = minimizeBounded((value) => value, 1, 2)
    expect(converged).toBe(true)
    expect(x).toBeCloseTo(1, 7)
  })

  it('finds the vertex of any parabola in the interval', () => {
    fc.assert(
      fc.property(fc.double({ min: -10, max: 10, noNaN: true }), fc.double({ min: 0.01, max: 100, noNaN: true }), (vertex, steepness) => {
        const { x } = minimizeBounded((value) => steepness * (value - vertex) ** 2, -11, 11)
        return Math.abs(x - vertex) < 1e-6
      }),
    )
  })

  it('reports the limit and refuses bad bounds', () => {
    expect(minimizeBounded((x) => (x - 2) ** 4, 0, 5, { maxIterations: 2 }).converged).toBe(false)
    expect(() => minimizeBounded((x) => x, 2, 1)).toThrow('lower < upper, got 2 and 1')
    expect(() => minimizeBounded(() => NaN, 0, 1)).toThrow('the function is NaN at')
  })
})

describe('findRoot', () => {
  it('finds roots to rounding', () => {
    expect(Math.abs(findRoot((x) => x * x - 2, 0, 2).x - Math.SQRT2)).toBeLessThan(1e-12)
    expect(Math.abs(findRoot((x) => Math.cos(x) - x, 0, 1).x - 0.7390851332151607)).toBeLessThan(1e-12)
    expect(findRoot((x) => x, 0, 1).x).toBe(0)
    // A flat multiple root.
    expect(Math.abs(findRoot((x) => (x - 1) ** 3, -3, 4).x - 1)).toBeLessThan(1e-4)
  })

  it('works for any monotone bracket', () => {
    fc.assert(
      fc.property(fc.double({ min: -50, max: 50, noNaN: true }), (root) => {
        const { x, converged } = findRoot((value) => Math.expm1((value - root) / 20), -60, 60)
        return converged && Math.abs(x - root) < 1e-10
      }),
    )
  })

  it('refuses equal signs', () => {
    expect(() => findRoot((x) => x * x + 1, -1, 1)).toThrow('same sign at both bounds (2 at -1, 2 at 1)')
    expect(() => findRoot(() => NaN, -1, 1)).toThrow('NaN at -1')
  })
})
