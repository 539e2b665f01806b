import { describe, expect, it } from 'vitest'
import { synthetic } from '../test/synthetic'
import { fitBayesianBinning } from './bayesian-binning'
import { fitHistogramBinning } from './histogram-binning'
import { fitScalingBinning } from './scaling-binning'

const { rows, labels, classes } = synthetic(25, 1200, 3)
const confidences = rows.map((row) => 1 / row.reduce((sum, z) => sum + Math.exp(z - Math.max(...row)), 0))
const hits: number[] = rows.map((row, i) => (row.indexOf(Math.max(...row)) === labels[i] ? 1 : 0))

describe('histogram binning', () => {
  it('gives each filled bin its mean outcome and an empty one its centre', async () => {
    const fitted = await fitHistogramBinning(rows, labels, { bins: 10 })
    const q = fitted.confidence(rows)
    for (let b = 0; b < 10; b++) {
      const members = confidences.map((_, i) => i).filter((i) => confidences[i] > b / 10 && confidences[i] <= (b + 1) / 10)
      const mean = members.reduce((sum, i) => sum + hits[i], 0) / members.length
      for (const i of members) expect(q[i]).toBeCloseTo(mean, 12)
    }
    // A top probability of three classes is above 1/3, so the first bins are empty.
    const { maps } = fitted.save().parameters as unknown as { maps: { values: Float64Array }[] }
    expect(maps[0].values[0]).toBeCloseTo(0.05, 12)
  })

  it('with equal mass has bins of equal size', async () => {
    const q = (await fitHistogramBinning(rows, labels, { bins: 6, binning: 'equalMass' })).confidence(rows)
    const sizes = [...new Set(q)].map((value) => q.filter((other) => other === value).length)
    for (const size of sizes) expect(size % 200).toBe(0)
  })

  it('one against the rest gives normalised rows', async () => {
    for (const row of (await fitHistogramBinning(rows, labels, { mode: 'oneVsRest' })).apply(rows)) {
      expect(row).toHaveLength(classes)
      expect(row.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 12)
    }
  })

  it('refuses fewer than one bin', async () => {
    await expect(fitHistogramBinning(rows, labels, { bins: 0 })).rejects.toThrow(/bins: expected an integer of at least 1, got 0/)
  })
})

describe('Bayesian binning', () => {
  it('with a single number of bins is Beta-smoothed equal-mass binning', async () => {
    const B = 4
    const q = (await fitBayesianBinning(rows, labels, { binCounts: [B] })).confidence(rows)
    const order = confidences.map((_, i) => i).sort((a, b) => confidences[a] - confidences[b])
    const size = rows.length / B
    const edge = (b: number): number => (b === 0 ? 0 : b === B ? 1 : (confidences[order[b * size - 1]] + confidences[order[b * size]]) / 2)
    for (let b = 0; b < B; b++) {
      const members = order.slice(b * size, (b + 1) * size)
      const alpha = (2 * (edge(b) + edge(b + 1))) / 2 / B
      const expected = (members.reduce((sum, i) => sum + hits[i], 0) + alpha) / (size + 2 / B)
      for (const i of members) expect(q[i]).toBeCloseTo(expected, 12)
    }
  })

  it('averages binnings by their marginal likelihood', async () => {
    const both = await fitBayesianBinning(rows, labels, { binCounts: [2, 7] })
    const [two, seven] = [
      await fitBayesianBinning(rows, labels, { binCounts: [2] }),
      await fitBayesianBinning(rows, labels, { binCounts: [7] }),
    ]
    const [a, b] = both.logScores[0]
    expect([a, b]).toEqual([two.logScores[0][0], seven.logScores[0][0]])
    const share = 1 / (1 + Math.exp(b - a))
    const [q, q2, q7] = [both, two, seven].map((fitted) => fitted.confidence(rows))
    q.forEach((value, i) => expect(value).toBeCloseTo(share * q2[i] + (1 - share) * q7[i], 10))
  })

  it('refuses more bins than examples', async () => {
    await expect(fitBayesianBinning(rows, labels, { binCounts: [5000] })).rejects.toThrow(/at least as many examples, got 1200/)
  })
})

describe('scaling-binning', () => {
  it('outputs as many values as bins: means of the sigmoid, ascending with the confidence', async () => {
    const q = (await fitScalingBinning(rows, labels, { bins: 8 })).confidence(rows)
    expect(new Set(q).size).toBe(8)
    const order = confidences.map((_, i) => i).sort((a, b) => confidences[a] - confidences[b])
    for (let i = 1; i < order.length; i++) expect(q[order[i]]).toBeGreaterThanOrEqual(q[order[i - 1]])
    const mean = q.reduce((sum, value) => sum + value, 0) / q.length
    expect(mean).toBeCloseTo(hits.reduce((sum, h) => sum + h, 0) / hits.length, 5)
  })
})
