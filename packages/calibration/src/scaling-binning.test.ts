import { sigmoid } from '@bpf/core/numerics'
import { describe, expect, it } from 'vitest'
import { confidences, hits, labels, rows } from '../test/binary'
import { fitScalingBinning } from './scaling-binning'

const order = confidences.map((_, i) => i).sort((a, b) => confidences[a] - confidences[b])
const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

describe('scaling-binning', () => {
  it('outputs as many values as bins, ascending with the confidence', async () => {
    const q = (await fitScalingBinning(rows, labels, { bins: 8 })).confidence(rows)
    expect(new Set(q).size).toBe(8)
    for (let i = 1; i < order.length; i++) expect(q[order[i]]).toBeGreaterThanOrEqual(q[order[i - 1]])
    expect(mean(Array.from(q))).toBeCloseTo(mean(hits), 5)
  })

  it("gives each bin the mean of Platt's sigmoid, which is where the likelihood has its maximum", async () => {
    const bins = 8
    const fitted = await fitScalingBinning(rows, labels, { bins })
    const { maps } = fitted.save().parameters as unknown as { maps: { platt: Float64Array }[] }
    const [slope, intercept] = maps[0].platt
    const x = confidences.map((c) => Math.log(c / (1 - c)))
    const s = x.map((value) => sigmoid(slope * value + intercept))
    expect(mean(s.map((value, i) => value - hits[i]))).toBeCloseTo(0, 6)
    expect(mean(s.map((value, i) => (value - hits[i]) * x[i]))).toBeCloseTo(0, 6)
    const q = fitted.confidence(rows)
    const size = rows.length / bins
    for (let b = 0; b < bins; b++) {
      const members = order.slice(b * size, (b + 1) * size)
      for (const i of members) expect(q[i]).toBeCloseTo(mean(members.map((j) => s[j])), 9)
    }
  })

  it('refuses fewer than one bin and an unknown mode', async () => {
    await expect(fitScalingBinning(rows, labels, { bins: 0 })).rejects.toThrow(/bins: expected an integer of at least 1, got 0/)
    await expect(fitScalingBinning(rows, labels, { mode: 'other' as 'topLabel' })).rejects.toThrow(/mode: expected 'topLabel'/)
  })
})
