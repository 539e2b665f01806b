import { key, permutationArray } from '@bpf/core/random'
import { describe, expect, it } from 'vitest'
import { evaluateEpisodes, meanInterval, sampleEpisode, splitClasses } from './episodes'

const labels = Int32Array.from({ length: 120 }, (_, i) => (i * 7) % 6)

describe('episodes', () => {
  it('draws different rows of different classes, grouped, the same for the same key', () => {
    const size = { ways: 4, shots: 3, queries: 5 }
    const episode = sampleEpisode(key(1), labels, size)
    expect(sampleEpisode(key(1), labels, size)).toEqual(episode)
    expect(sampleEpisode(key(2), labels, size)).not.toEqual(episode)
    expect(new Set(episode.classes).size).toBe(4)
    expect(new Set([...episode.support, ...episode.query]).size).toBe(32)
    episode.support.forEach((row, r) => expect(labels[row]).toBe(episode.classes[Math.floor(r / 3)]))
    episode.query.forEach((row, r) => expect(labels[row]).toBe(episode.classes[episode.queryLabels[r]]))
  })

  it('says when the data is too small', () => {
    expect(() => sampleEpisode(key(1), labels, { ways: 7, shots: 1, queries: 1 })).toThrow(/7 classes with 2 rows each/)
    expect(() => sampleEpisode(key(1), labels, { ways: 0, shots: 1, queries: 1 })).toThrow(/ways should be/)
    expect(() => splitClasses(key(1), labels, [4, 3])).toThrow(/7 classes were asked for, the data has 6/)
  })

  it('splits classes without overlap', () => {
    const [base, novel] = splitClasses(key(1), labels, [4, 2])
    expect([...base.classes, ...novel.classes].sort()).toEqual([0, 1, 2, 3, 4, 5])
    expect(base.rows.length + novel.rows.length).toBe(120)
    novel.rows.forEach((row) => expect(novel.classes).toContain(labels[row]))
  })

  it('gives the mean accuracy and its interval', () => {
    const size = { ways: 5, shots: 1, queries: 4, episodes: 200 }
    expect(evaluateEpisodes(key(3), labels, size, ({ queryLabels }) => queryLabels)).toMatchObject({ mean: 1, interval: 0 })
    const chance = evaluateEpisodes(key(3), labels, size, ({ queryLabels }, drawn) =>
      Int32Array.from(permutationArray(drawn, queryLabels.length), (at) => queryLabels[at]),
    )
    expect(Math.abs(chance.mean - 0.2)).toBeLessThan(2 * chance.interval)
    const { mean, interval } = meanInterval([1, 2, 3, 4])
    expect([mean, interval]).toEqual([2.5, 1.96 * Math.sqrt(5 / 3 / 4)])
  })
})
