import { describe, expect, it } from 'vitest'
import { gemm64 } from './dense'

/** Values in (−1, 1) that repeat. */
function values(count: number, seed: number): Float64Array {
  return Float64Array.from({ length: count }, (_, i) => Math.sin(1 + i * (seed + 0.7)))
}

function transposed(x: Float64Array, rows: number, cols: number): Float64Array {
  return Float64Array.from({ length: rows * cols }, (_, i) => x[(i % rows) * cols + Math.floor(i / rows)])
}

function plainProduct(a: Float64Array, b: Float64Array, m: number, k: number, n: number): Float64Array {
  const c = new Float64Array(m * n)
  for (let i = 0; i < m; i++) for (let p = 0; p < k; p++) for (let j = 0; j < n; j++) c[i * n + j] += a[i * k + p] * b[p * n + j]
  return c
}

function largestError(actual: Float64Array, expected: Float64Array): number {
  expect(actual.length).toBe(expected.length)
  return expected.reduce((worst, value, i) => Math.max(worst, Math.abs(value - actual[i])), 0)
}

describe('gemm64', () => {
  // The last one is large enough for all threads.
  const shapes = [
    [1, 1, 1],
    [3, 5, 2],
    [1, 64, 33],
    [65, 1, 17],
    [130, 200, 170],
  ]
  for (const [m, k, n] of shapes) {
    it(`gives the product of [${m}, ${k}] and [${k}, ${n}] in every layout`, () => {
      const a = values(m * k, 1)
      const b = values(k * n, 2)
      const expected = plainProduct(a, b, m, k, n)
      const aT = transposed(a, m, k)
      const bT = transposed(b, k, n)
      const tolerance = 1e-15 * k
      expect(largestError(gemm64(a, [m, k], b, [k, n]), expected)).toBeLessThan(tolerance)
      expect(largestError(gemm64(aT, [k, m], b, [k, n], { transposeA: true }), expected)).toBeLessThan(tolerance)
      expect(largestError(gemm64(a, [m, k], bT, [n, k], { transposeB: true }), expected)).toBeLessThan(tolerance)
      expect(largestError(gemm64(aT, [k, m], bT, [n, k], { transposeA: true, transposeB: true }), expected)).toBeLessThan(tolerance)
    })
  }

  it('takes views into larger arrays', () => {
    const whole = values(100, 3)
    const a = whole.subarray(7, 7 + 12)
    const b = whole.subarray(31, 31 + 20)
    expect(largestError(gemm64(a, [3, 4], b, [4, 5]), plainProduct(a.slice(), b.slice(), 3, 4, 5))).toBeLessThan(1e-14)
  })

  it('gives zeros where the inner size is 0', () => {
    expect(gemm64(new Float64Array(0), [2, 0], new Float64Array(0), [0, 3])).toEqual(new Float64Array(6))
  })

  it('gives the same bits again, and keeps results of earlier calls', () => {
    const a = values(200 * 200, 4)
    const first = gemm64(a, [200, 200], a, [200, 200])
    const copy = first.slice()
    for (let i = 0; i < 5; i++) expect(gemm64(a, [200, 200], a, [200, 200])).toEqual(copy)
    gemm64(copy, [200, 200], a, [200, 200])
    expect(first).toEqual(copy)
  })

  it('refuses sizes that do not fit', () => {
    expect(() => gemm64(new Float64Array(6), [2, 3], new Float64Array(6), [2, 3])).toThrow("gemm64: sizes don't fit")
    expect(() => gemm64(new Float64Array(5), [2, 3], new Float64Array(6), [3, 2])).toThrow('with 5 values')
  })
})
