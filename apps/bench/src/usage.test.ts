import { describe, expect, it } from 'vitest'
import { closest, duration, wholeNumber } from './usage'

describe('closest', () => {
  it.each([
    ['rnu', ['run', 'report'], 'run'],
    ['embeded', ['quick', 'embedded', 'full'], 'embedded'],
    ['h-calibraiton', ['h-calibration'], 'h-calibration'],
    ['FULL', ['quick', 'full'], 'full'],
    ['xyz', ['run', 'report'], undefined],
    ['quick', ['full'], undefined],
  ])('%s among %j is %s', (typed, candidates, expected) => {
    expect(closest(typed, candidates)).toBe(expected)
  })
})

it('reads durations in seconds, minutes and hours', () => {
  expect([duration('x', '90'), duration('x', '90s'), duration('x', '1.5m'), duration('x', '2h')]).toEqual([90, 90, 90, 7200])
  expect(() => duration('x', '-3s')).toThrow(/expected a duration/)
})

it('refuses numbers that are not whole', () => {
  expect(wholeNumber('x', '12')).toBe(12)
  for (const typed of ['1.5', '0', '-1', '1e3', '']) expect(() => wholeNumber('x', typed)).toThrow(/expected a whole number/)
})
