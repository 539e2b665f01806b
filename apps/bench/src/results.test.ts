import { mkdtempSync, rmSync, writeFileSync, readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { sampleResults } from './__fixtures__/results'
import { allHold, countClaims, readResults, withReport, writeResults } from './results'
import { seedState } from './state'
import { paperResults } from './summary'

const root = mkdtempSync(join(tmpdir(), 'bpf-results-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

describe('results files', () => {
  it('come back as they were written, and leave no temporary file', async () => {
    const { results } = await sampleResults()
    writeResults(root, results)
    expect(readResults(root)).toEqual(results)
    expect(readdirSync(root)).toEqual(['results.json'])
    expect(readResults(join(root, 'nowhere'))).toBeUndefined()
  })

  it.each(['', '{', '[]', '{"environment":{},"papers":[{}]}'])('damaged like %j raise an error that names the file', (text) => {
    writeFileSync(join(root, 'results.json'), text)
    expect(() => readResults(root)).toThrow(/results.json is not a results file/)
  })

  it('are in the order of papers and presets; a new run takes the place of the old one', async () => {
    const { results } = await sampleResults()
    const [first, second, third] = results.papers
    const papers = withReport(withReport([third, first], second), { ...third, preset: 'quick' })
    expect(papers.map(({ paper, preset }) => `${paper} ${preset}`)).toEqual(['3 quick', '8 quick', '60 quick', '60 embedded'])
    expect(withReport(papers, { ...first, seeds: 9 }).map(({ seeds }) => seeds)).toEqual([9, 0, 5, 5])
    expect(countClaims(results.papers)).toEqual({ held: 3, all: 4 })
    expect([allHold([third]), allHold([first]), allHold([second])]).toEqual([true, false, false])
  })
})

describe('summaries', () => {
  const seeds = [1, 2, 4].map((a, seed) => ({ seed, result: { values: { a, ...(seed === 0 && { only: 5 }) }, series: { s: seed } } }))
  const results = paperResults('quick', seeds)

  it('have mean, sample deviation and range over the seeds that measured', () => {
    expect(results.summary('a')).toMatchObject({ min: 1, max: 4, each: [1, 2, 4] })
    expect(results.mean('a')).toBeCloseTo(7 / 3, 12)
    expect(results.summary('a').spread).toBeCloseTo(Math.sqrt(7 / 3), 12)
    expect(results.summary('only')).toMatchObject({ mean: 5, spread: 0 })
    expect(results.series('s')).toEqual([0, 1, 2])
    expect([results.has('a'), results.has('b')]).toEqual([true, false])
  })

  it('name what was measured when asked for something else', () => {
    expect(() => results.summary('b')).toThrow("no seed measured 'b'; measured were a, only")
  })
})

describe('state of a seed', () => {
  it('keeps values with NaN, infinities and typed arrays, apart for each identity and name', async () => {
    const folder = join(root, 'state')
    const state = seedState(folder, { settings: 1 })
    const value = {
      a: Number.NaN,
      b: [Number.POSITIVE_INFINITY, -0.5],
      c: null,
      logits: Float32Array.of(0.1, Number.NaN, -1e30).subarray(1),
      labels: Int32Array.of(7, -1),
    }
    await state.keep('part a/b', () => Promise.resolve(value))
    expect(await seedState(folder, { settings: 1 }).keep('part a/b', () => Promise.reject(new Error('computed again')))).toEqual(value)
    expect(seedState(folder, { settings: 2 }).stored('part a/b')).toBeUndefined()
    expect(state.stored('part a')).toBeUndefined()
    state.clear()
    expect(state.stored('part a/b')).toBeUndefined()
  })

  it('computes again what was cut short', async () => {
    const folder = join(root, 'cut')
    const state = seedState(folder, 0)
    state.store('x', { a: 1 })
    writeFileSync(join(folder, 'x.json'), '{"fingerpr')
    expect(await state.keep('x', () => Promise.resolve('again'))).toBe('again')
  })
})
