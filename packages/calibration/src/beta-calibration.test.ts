import { fold, key, uniformArray } from '@bpf/core/random'
import { expect, it } from 'vitest'
import { fitBeta } from './beta-calibration'

/** Two-class logits whose class-1 probability is p, and labels drawn with logit q = a ln p − b ln(1 − p) + c. */
function data(a: number, b: number, c: number, n = 20_000): { logits: number[][]; labels: number[] } {
  const p = uniformArray(fold(key(3), 0), n, { low: 0.01, high: 0.99 })
  const u = uniformArray(fold(key(3), 1), n)
  const logits = Array.from(p, (value) => [0, Math.log(value / (1 - value))])
  const labels = Array.from(p, (value, i) => (u[i] < 1 / (1 + Math.exp(-(a * Math.log(value) - b * Math.log(1 - value) + c))) ? 1 : 0))
  return { logits, labels }
}

it('finds the parameters of a Beta map', async () => {
  const { logits, labels } = data(2, 0.5, 0.3)
  const { maps } = (await fitBeta(logits, labels)).save().parameters as unknown as { maps: { abc: Float64Array }[] }
  const [a, b, c] = maps[1].abc
  expect(Math.abs(a - 2)).toBeLessThan(0.1)
  expect(Math.abs(b - 0.5)).toBeLessThan(0.1)
  expect(Math.abs(c - 0.3)).toBeLessThan(0.15)
})

it('holds a and b at 0 or above', async () => {
  const { logits, labels } = data(-1, 1, 0, 4000)
  const { maps } = (await fitBeta(logits, labels)).save().parameters as unknown as { maps: { abc: Float64Array }[] }
  for (const { abc } of maps) expect(Math.min(abc[0], abc[1])).toBeGreaterThanOrEqual(0)
})
