import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { linearAssignment } from './index'

/** Least cost over all ways to give each row its own column. */
function cheapest(costs: readonly (readonly number[])[], used: readonly number[] = []): number {
  const row = used.length
  if (row === costs.length) return 0
  const rest = costs[row].map((cost, j) => (used.includes(j) ? Infinity : cost + cheapest(costs, [...used, j])))
  return Math.min(...rest)
}

describe('linearAssignment', () => {
  it('finds the least cost there is, with a column of its own for each row', () => {
    const matrices = fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 0, max: 2 })).chain(([rows, more]) =>
      fc.array(fc.array(fc.integer({ min: -9, max: 9 }), { minLength: rows + more, maxLength: rows + more }), {
        minLength: rows,
        maxLength: rows,
      }),
    )
    fc.assert(
      fc.property(matrices, (costs) => {
        const { columns, cost } = linearAssignment(costs)
        expect(new Set(columns).size).toBe(costs.length)
        expect(cost).toBe(cheapest(costs))
      }),
    )
  })

  it('solves 1,000 rows', () => {
    const n = 1000
    const shift = 371
    const data = Float64Array.from({ length: n * n }, (_, at) => ((at % n) - Math.floor(at / n) - shift + 2 * n) % n)
    const { columns, cost } = linearAssignment({ rows: n, cols: n, data })
    expect(cost).toBe(0)
    expect(Array.from(columns.slice(0, 3))).toEqual([shift, shift + 1, shift + 2])
  })

  it('names what is wrong', () => {
    expect(() => linearAssignment([[1], [2]])).toThrow(/at most as many rows as columns, got \[2, 1\]; transpose it/)
    expect(() => linearAssignment([[1, Infinity]])).toThrow(/Infinity at row 0, column 1/)
  })
})
