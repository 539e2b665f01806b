import { describe, expect, it } from 'vitest'
import { normalCdf } from '../numerics/index'
import { bitsArray, fold, gammaArray, gumbelArray, key, normalArray, permutationArray, uniformArray } from './index'

/** Values per second, the best of several runs. */
function rate(count: number, draw: (n: number) => unknown): number {
  let best = Infinity
  for (let run = 0; run < 12; run++) {
    const start = performance.now()
    draw(count)
    best = Math.min(best, (performance.now() - start) / 1000)
  }
  return count / best
}

describe('speed of host draws on one core', () => {
  it('at least 50 million uniform and 15 million normal float32 a second', () => {
    const seed = key(0)
    const count = 1 << 22
    expect(rate(count, (n) => uniformArray(seed, n))).toBeGreaterThan(50e6)
    expect(rate(count, (n) => normalArray(seed, n))).toBeGreaterThan(15e6)
  })

  it('the others within a factor of ten of them', () => {
    const seed = key(0)
    const count = 1 << 20
    expect(rate(count, (n) => gumbelArray(seed, n))).toBeGreaterThan(3e6)
    expect(rate(count, (n) => permutationArray(seed, n))).toBeGreaterThan(3e6)
    expect(rate(count, (n) => gammaArray(seed, n, 2))).toBeGreaterThan(1.5e6)
  })
})

describe('long streams', () => {
  it('pairs of bytes of 64 million words are equally frequent, in a word and across a pair', () => {
    const within = new Float64Array(65536)
    const across = new Float64Array(65536)
    const blocks = 16
    const count = 1 << 22
    for (let block = 0; block < blocks; block++) {
      const words = bitsArray(fold(key(1), block), count)
      for (let i = 0; i < count; i += 2) {
        within[words[i] >>> 16]++
        within[words[i + 1] & 0xffff]++
        across[((words[i] & 0xff) << 8) | (words[i + 1] >>> 24)]++
      }
    }
    const score = (counts: Float64Array, total: number): number =>
      (counts.reduce((sum, c) => sum + (c - total / 65536) ** 2 / (total / 65536), 0) - 65535) / Math.sqrt(2 * 65535)
    expect(Math.abs(score(within, blocks * count))).toBeLessThan(4)
    expect(Math.abs(score(across, (blocks * count) / 2))).toBeLessThan(4)
  })

  it('50 million normals fall into 1000 equally likely cells, in radius and angle', () => {
    const cells = new Float64Array(1000)
    const angles = new Float64Array(1000)
    const edges = Float64Array.from({ length: 8001 }, (_, i) => normalCdf(i / 1000 - 4) * 1000)
    const count = 1 << 22
    const blocks = 12
    for (let block = 0; block < blocks; block++) {
      const z = normalArray(fold(key(2), block), count)
      for (let i = 0; i < count; i += 2) {
        angles[Math.min(999, Math.floor((Math.atan2(z[i], z[i + 1]) / (2 * Math.PI) + 0.5) * 1000))]++
        for (const value of [z[i], z[i + 1]]) {
          // The table settles the cell but near its edges.
          const place = (value + 4) * 1000
          const low = place < 0 || place >= 8000 ? NaN : edges[Math.floor(place)]
          const high = place < 0 || place >= 8000 ? NaN : edges[Math.floor(place) + 1]
          const cell = Math.floor(low) === Math.floor(high) ? Math.floor(low) : Math.floor(normalCdf(value) * 1000)
          cells[Math.min(999, cell)]++
        }
      }
    }
    const score = (counts: Float64Array, total: number): number =>
      (counts.reduce((sum, c) => sum + (c - total / 1000) ** 2 / (total / 1000), 0) - 999) / Math.sqrt(2 * 999)
    expect(Math.abs(score(cells, blocks * count))).toBeLessThan(4)
    expect(Math.abs(score(angles, (blocks * count) / 2))).toBeLessThan(4)
  })
})
