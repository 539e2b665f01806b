import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { gram, matrix, matvec, type Matrix } from '../linalg/index'
import { minimizeOnSimplex, projectSimplex, simplexQuadratic } from './simplex'

const vectors = (n: number) => fc.array(fc.double({ min: -5, max: 5, noNaN: true }), { minLength: n, maxLength: n })
const sum = (x: Float64Array): number => x.reduce((total, value) => total + value, 0)

describe('projectSimplex', () => {
  it('projects known points', () => {
    expect([...projectSimplex(Float64Array.of(0.2, 0.8))]).toEqual([0.2, 0.8])
    expect([...projectSimplex(Float64Array.of(3, 0, 0))]).toEqual([1, 0, 0])
    expect([...projectSimplex(Float64Array.of(1, 1), 4)]).toEqual([2, 2])
    expect(() => projectSimplex(Float64Array.of(NaN))).toThrow('v is NaN at index 0')
  })

  it('meets the condition of a projection: (v − p)·(q − p) ≤ 0 for every corner q', () => {
    fc.assert(
      fc.property(vectors(6), (values) => {
        const v = Float64Array.from(values)
        const p = projectSimplex(v)
        const inner = v.map((value, i) => value - p[i])
        const atP = inner.reduce((total, value, i) => total + value * p[i], 0)
        return Math.abs(sum(p) - 1) < 1e-12 && p.every((value) => value >= 0) && inner.every((value) => value - atP < 1e-10)
      }),
    )
  })
})

/** The minimum is where no corner lies below along the gradient. */
function gap(q: Matrix, c: Float64Array, x: Float64Array): number {
  const gradient = matvec(q, x).map((value, i) => value + c[i])
  const along = gradient.reduce((total, value, i) => total + value * x[i], 0)
  return along - Math.min(...gradient)
}

describe('simplexQuadratic', () => {
  it('solves known problems', () => {
    const q = matrix([
      [2, 0],
      [0, 2],
    ])
    const even = simplexQuadratic(q, new Float64Array(2))
    expect(even[0]).toBeCloseTo(0.5, 12)
    // ½·2(x² + y²) − 3x: the corner x = 1.
    expect([...simplexQuadratic(q, Float64Array.of(-3, 0))]).toEqual([1, 0])
    expect([
      ...simplexQuadratic(
        matrix([
          [0, 0],
          [0, 0],
        ]),
        Float64Array.of(1, 0),
      ),
    ]).toEqual([0, 1])
  })

  it('leaves no duality gap, for singular matrices too, and agrees with the projected gradient', () => {
    fc.assert(
      fc.property(vectors(12), vectors(4), (entries, linear) => {
        const q = gram(matrix({ data: entries, shape: [3, 4] }))
        const c = Float64Array.from(linear)
        const x = simplexQuadratic(q, c)
        const descent = minimizeOnSimplex(
          (y) => {
            const qy = matvec(q, y)
            return {
              value: y.reduce((total, value, i) => total + value * (qy[i] / 2 + c[i]), 0),
              gradient: qy.map((value, i) => value + c[i]),
            }
          },
          new Float64Array(4).fill(0.25),
          { maxIterations: 5000, tolerance: 1e-7 },
        )
        return Math.abs(sum(x) - 1) < 1e-10 && x.every((value) => value >= 0) && gap(q, c, x) < 1e-8 && gap(q, c, descent.x) < 1e-5
      }),
    )
  })

  it('refuses what does not fit', () => {
    expect(() =>
      simplexQuadratic(
        matrix([
          [1, 2],
          [0, 1],
        ]),
        new Float64Array(2),
      ),
    ).toThrow('not symmetric')
    expect(() => simplexQuadratic(matrix([[1]]), new Float64Array(2))).toThrow('c has 2 values')
  })
})

describe('minimizeOnSimplex', () => {
  it('recovers the mixture weights of maximum likelihood', () => {
    // Counts 6, 3, 1: −Σ n log x is least at x = n / Σn.
    const counts = [6, 3, 1]
    const result = minimizeOnSimplex(
      (x) => ({
        value: -counts.reduce((total, count, i) => total + count * Math.log(x[i]), 0),
        gradient: counts.map((count, i) => -count / x[i]),
      }),
      new Float64Array(3).fill(1 / 3),
    )
    expect(result.converged).toBe(true)
    result.x.forEach((value, i) => expect(value).toBeCloseTo(counts[i] / 10, 7))
  })

  it('refuses a start where the function is not finite', () => {
    expect(() => minimizeOnSimplex(() => ({ value: NaN, gradient: [0, 0] }), Float64Array.of(1, 0))).toThrow('not finite at the start')
  })
})
