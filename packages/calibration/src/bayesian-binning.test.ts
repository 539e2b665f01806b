import { describe, expect, it } from 'vitest'
import { confidences, hits, labels, rows } from '../test/binary'
import { fitBayesianBinning } from './bayesian-binning'

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

  it('scores a single bin by the marginal likelihood of its hits under the Beta prior', async () => {
    // With B = 1, N' = 2 and the middle 1/2 the prior is uniform: ∫ q^m (1 − q)^(n − m) dq = m! (n − m)! / (n + 1)!.
    const { logScores } = await fitBayesianBinning(rows, labels, { binCounts: [1] })
    const n = rows.length
    const m = hits.reduce((sum, hit) => sum + hit, 0)
    const logFactorial = (k: number): number => Array.from({ length: k }, (_, i) => Math.log(i + 1)).reduce((sum, x) => sum + x, 0)
    expect(logScores[0][0]).toBeCloseTo(logFactorial(m) + logFactorial(n - m) - logFactorial(n + 1), 8)
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

  it('refuses more bins than examples, none, and a prior without strength', async () => {
    await expect(fitBayesianBinning(rows, labels, { binCounts: [5000] })).rejects.toThrow(/at least as many examples, got 1200/)
    await expect(fitBayesianBinning(rows, labels, { binCounts: [] })).rejects.toThrow(/binCounts/)
    await expect(fitBayesianBinning(rows, labels, { priorStrength: 0 })).rejects.toThrow(/priorStrength: expected a positive number, got 0/)
  })
})
