import { normalArray, key } from '@bpf/core/random'
import { boostingLoss } from '@bpf/local'
import { describe, expect, it } from 'vitest'
import { fitBoostedTrees } from './boosted-trees'

const rows = 200
const x = normalArray(key(0), rows * 2)
const at = (row: number, column: number): number => x[row * 2 + column]
const values = Float64Array.from({ length: rows }, (_, row) => (at(row, 0) > 0.3 ? 2 : -1) + (at(row, 1) > 0 ? 0.5 : 0))

describe('fitBoostedTrees', () => {
  it('with one tree of full step is the mean of each cell', () => {
    const predict = fitBoostedTrees(x, 2, values, { loss: boostingLoss('squared'), steps: 1, depth: 2, learningRate: 1 })
    predict(x).forEach((value, row) => expect(value).toBeCloseTo(values[row], 12))
  })

  it('approaches the values by the learning rate, step by step', () => {
    const error = (steps: number): number =>
      fitBoostedTrees(x, 2, values, { loss: boostingLoss('squared'), steps, depth: 2 })(x).reduce(
        (sum, value, row) => sum + (value - values[row]) ** 2,
        0,
      )
    expect(error(20) / error(10)).toBeCloseTo(0.9 ** 20, 8)
  })

  it('stays at the constant where no split helps', () => {
    const y = Float64Array.from(values, (value) => (value > 0 ? 1 : -1))
    const loss = boostingLoss('logExponential')
    const predict = fitBoostedTrees(new Float64Array(rows), 1, y, { loss, steps: 3 })
    expect(predict([0])[0]).toBeCloseTo(loss.initial(y)[0], 10)
  })

  it('takes the Newton step in each leaf', () => {
    const y = Float64Array.of(1, 1, 1, -1, -1, -1, 1)
    const loss = boostingLoss('logExponential')
    const start = loss.initial(y)[0]
    const predict = fitBoostedTrees([0, 0, 0, 1, 1, 1, 1], 1, y, { loss, steps: 1, depth: 1, learningRate: 1 })
    const p = 1 / (1 + Math.exp(-2 * start))
    // Of L = ln(1 + exp(−2yF)): slope 2 Σ (y₀₁ − p), curvature 4 Σ p (1 − p).
    expect(predict([0])[0] - start).toBeCloseTo((2 * 3 * (1 - p)) / (4 * 3 * p * (1 - p)), 10)
    expect(predict([1])[0] - start).toBeCloseTo((2 * (1 - 4 * p)) / (4 * 4 * p * (1 - p)), 10)
  })

  it('separates classes', () => {
    const labels = Array.from(values, (value) => (value < 0 ? 0 : value < 2.2 ? 1 : 2))
    const y = Float64Array.from(labels.flatMap((label) => [0, 1, 2].map((k) => (k === label ? 1 : 0))))
    const raw = fitBoostedTrees(x, 2, y, { loss: boostingLoss('crossEntropy', 3), steps: 20 })(x)
    labels.forEach((label, row) => {
      const scores = raw.subarray(3 * row, 3 * row + 3)
      expect(scores.indexOf(Math.max(...scores))).toBe(label)
    })
  })
})
