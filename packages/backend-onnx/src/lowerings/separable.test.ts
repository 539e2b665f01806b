import { describe, expect, it } from 'vitest'
import { separateWeights } from './separable'

// Four destinations, the third without entries; entries of destination 3 touch no others.
const destinations = [0, 0, 1, 3]
const rows = [0, 1, 1, 2]

describe('separateWeights', () => {
  it('finds factors of products, whatever their sign, part by part', () => {
    const [a, b] = [
      [0.5, -2, 7, 3],
      [1.5, 0.25, -1],
    ]
    const weights = destinations.map((i, e) => a[i] * b[rows[e]])
    const factors = separateWeights(weights, destinations, rows, [4, 3])
    weights.forEach((weight, e) => expect((factors?.a[destinations[e]] ?? NaN) * (factors?.b[rows[e]] ?? NaN)).toBeCloseTo(weight, 6))
  })

  it('of weights that are rounded products of square roots of degrees, on a graph of 20,000 entries', () => {
    const [n, entries] = [2000, 20_000]
    const from = Array.from({ length: entries }, (_, e) => (e * 7919 + 13 * Math.floor(e / 10)) % n)
    const to = Array.from({ length: entries }, (_, e) => Math.floor(e / 10))
    const root = (i: number): number => 1 / Math.sqrt(1 + ((i * 31) % 23))
    const weights = Float32Array.from(to, (i, e) => root(i) * root(from[e]))
    expect(separateWeights(weights, to, from, [n, n])).toBeDefined()
  })

  it('finds none where a weight differs, is 0 or not finite', () => {
    const cycle: [number[], number[]] = [
      [0, 0, 1, 1],
      [0, 1, 0, 1],
    ]
    expect(separateWeights([1, 2, 3, 6], ...cycle, [2, 2])).toBeDefined()
    for (const last of [6.001, 0, NaN, Infinity]) expect(separateWeights([1, 2, 3, last], ...cycle, [2, 2])).toBeUndefined()
  })
})
