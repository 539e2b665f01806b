import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { key } from '../random/key'
import { fromArrays } from './examples'
import { kFold, kFoldIndices, split, splitIndices } from './splits'

const sorted = (parts: Iterable<number>[]): number[] => parts.flatMap((part) => [...part]).sort((a, b) => a - b)
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i)

describe('splitIndices', () => {
  it('parts hold every index once, each within one of its share', () => {
    fc.assert(
      fc.property(fc.integer({ min: 20, max: 200 }), fc.nat(), (n, seed) => {
        const parts = splitIndices(n, [0.5, 0.3, 0.2], key(seed))
        expect(sorted(parts)).toEqual(upTo(n))
        parts.forEach((part, i) => expect(Math.abs(part.length - n * [0.5, 0.3, 0.2][i])).toBeLessThanOrEqual(1))
        expect(splitIndices(n, [0.5, 0.3, 0.2], key(seed))).toEqual(parts)
      }),
    )
  })

  it('keeps class proportions when stratified', () => {
    const labels = Int32Array.from({ length: 100 }, (_, i) => (i < 80 ? 0 : 1))
    const parts = splitIndices(100, [0.75, 0.25], key(1), { stratify: labels })
    expect(parts.map((part) => part.filter((i) => labels[i] === 1).length)).toEqual([15, 5])
    expect(parts.map((part) => part.length)).toEqual([75, 25])
    // The classes are mixed within a part.
    expect([...parts[0]].findIndex((i) => labels[i] === 1)).toBeLessThan(40)
  })

  it('refuses fractions that do not add up, empty parts and missing labels', () => {
    expect(() => splitIndices(10, [0.5, 0.4], key(1))).toThrow(/add up to 1, got \[0.5, 0.4\]/)
    expect(() => splitIndices(3, [0.99, 0.01], key(1))).toThrow(/part 1 .* would be empty/)
    expect(() => splitIndices(3, [1], key(1), { stratify: [1] })).toThrow(/expected 3, got 1/)
  })
})

describe('kFoldIndices', () => {
  it('tests every index once, trains on the others, in folds of equal size', () => {
    fc.assert(
      fc.property(fc.integer({ min: 5, max: 80 }), fc.integer({ min: 2, max: 5 }), fc.nat(), fc.boolean(), (n, k, seed, stratified) => {
        const labels = Int32Array.from({ length: n }, (_, i) => i % 3)
        const folds = kFoldIndices(n, k, key(seed), stratified ? { stratify: labels } : {})
        expect(sorted(folds.map((fold) => fold.test))).toEqual(upTo(n))
        for (const { train, test } of folds) {
          expect(sorted([train, test])).toEqual(upTo(n))
          expect(Math.abs(test.length - n / k)).toBeLessThan(1)
        }
        if (!stratified) return
        for (const label of [0, 1, 2]) {
          const counts = folds.map(({ test }) => test.filter((i) => labels[i] === label).length)
          expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1)
        }
      }),
    )
    expect(() => kFoldIndices(4, 5, key(1))).toThrow(/k must be an integer from 2 to 4/)
  })
})

describe('split and kFold', () => {
  it('give examples without copying', () => {
    const examples = fromArrays({ x: Float32Array.from({ length: 10 }, (_, i) => i) })
    expect(split(examples, [0.8, 0.2], key(2)).map((part) => part.size)).toEqual([8, 2])
    expect(kFold(examples, 5, key(2)).map(({ train, test }) => [train.size, test.size])).toEqual(Array.from({ length: 5 }, () => [8, 2]))
  })
})
