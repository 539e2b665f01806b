import { expect, it } from 'vitest'
import { atLeast, atMost, equals, formatNumber } from './claims'

it('writes numbers so that people can read them', () => {
  expect([0, 12, 0.123456, 1234567.8, 1e-9, -2.5, Number.NaN, Number.POSITIVE_INFINITY].map((x) => formatNumber(x))).toEqual([
    '0',
    '12',
    '0.1235',
    '1235000',
    '1.000e−9',
    '−2.5',
    'not a number',
    '∞',
  ])
})

it('checks bounds, which NaN never meets', () => {
  expect(atMost(1, 1).holds).toBe(true)
  expect(atMost(1.001, 1).holds).toBe(false)
  expect(atLeast(2, 1)).toEqual({ holds: true, measured: { text: '2', value: 2 }, expected: { text: '≥ 1', value: 1 } })
  expect(equals(0, 0, { of: 'rows changed' }).expected.text).toBe('= 0 (rows changed)')
  for (const check of [atMost, atLeast, equals]) expect(check(Number.NaN, 1).holds).toBe(false)
})
