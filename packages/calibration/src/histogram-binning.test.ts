import { describe, expect, it } from 'vitest'
import { classes, confidences, hits, labels, rows } from '../test/binary'
import { fitHistogramBinning } from './histogram-binning'

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

  it('one against the rest is the mean outcome of each class bin, normalised', async () => {
    const bins = 5
    const p = rows.map((row) => {
      const exps = row.map((z) => Math.exp(z - Math.max(...row)))
      return exps.map((e) => e / exps.reduce((sum, x) => sum + x, 0))
    })
    const binOf = (x: number): number => Math.max(0, Math.ceil(x * bins) - 1)
    const estimate = (k: number, b: number): number => {
      const members = p.map((_, i) => i).filter((i) => binOf(p[i][k]) === b)
      return members.filter((i) => labels[i] === k).length / members.length
    }
    const table = Array.from({ length: classes }, (_, k) => Array.from({ length: bins }, (_, b) => estimate(k, b)))
    const fitted = (await fitHistogramBinning(rows, labels, { mode: 'oneVsRest', bins })).apply(rows)
    fitted.forEach((row, i) => {
      const expected = p[i].map((x, k) => table[k][binOf(x)])
      const total = expected.reduce((sum, x) => sum + x, 0)
      row.forEach((x, k) => expect(x).toBeCloseTo(expected[k] / total, 12))
    })
  })

  it('refuses fewer than one bin and an unknown binning', async () => {
    await expect(fitHistogramBinning(rows, labels, { bins: 0 })).rejects.toThrow(/bins: expected an integer of at least 1, got 0/)
    await expect(fitHistogramBinning(rows, labels, { binning: 'other' as 'equalMass' })).rejects.toThrow(/binning: expected 'equalWidth'/)
  })
})
