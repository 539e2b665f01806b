import { isBpfError } from '@bpf/core'
import { key, permutationArray } from '@bpf/core/random'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { softmax, synthetic } from '../test/synthetic'
import { hCalibrationLossArrays, windowMeans } from './h-calibration-loss'

const { truth, labels, classes } = synthetic(1, 300, 4)
const probs = softmax(truth, classes)

/** The loss as the paper writes it: sort anew for every class left out, convolve directly, average in clusters. */
function directLoss(
  p: Float64Array,
  y: Int32Array,
  K: number,
  window: number,
  epsilon: number,
  weighting: 'unweighted' | 'equalWidth',
): number {
  let total = 0
  for (let c = 0; c < K; c++) {
    const events = [...p.keys()].filter((i) => y[Math.floor(i / K)] !== c).sort((a, b) => p[a] - p[b] || a - b)
    const d = events.map((i) => p[i] - (y[Math.floor(i / K)] === i % K ? 1 : 0))
    const e = d.map((_, i) => {
      let sum = 0
      for (let j = i - window / 2; j <= i + window / 2; j++) sum += d[j] ?? 0
      return Math.max(0, Math.abs(sum / (window + 1)) - epsilon)
    })
    if (weighting === 'unweighted') total += e.reduce((s, v) => s + v, 0) / e.length
    else {
      const bins = Array.from({ length: 15 }, () => ({ sum: 0, count: 0 }))
      e.forEach((value, i) => {
        const bin = bins[Math.min(14, Math.floor(p[events[i]] * 15))]
        bin.sum += value
        bin.count++
      })
      total += bins.reduce((s, { sum, count }) => s + sum / (count + 1e-5), 0) / 15
    }
  }
  return total / K
}

describe('h-calibration loss', () => {
  it('equals the direct computation for each class left out', () => {
    for (const weighting of ['unweighted', 'equalWidth'] as const) {
      const { loss } = hCalibrationLossArrays(probs, labels, { classes, window: 20, epsilon: 0.01, weighting, scale: 1 })
      expect(loss).toBeCloseTo(directLoss(probs, labels, classes, 20, 0.01, weighting), 12)
    }
  })

  it('windows by prefix sums equal direct convolution', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: 1, maxLength: 40 }),
        fc.integer({ min: 1, max: 10 }),
        (d, half) => {
          const means = windowMeans(Float64Array.from(d), 2 * half)
          d.forEach((_, i) => {
            const direct = d.slice(Math.max(0, i - half), i + half + 1).reduce((sum, value) => sum + value, 0) / (2 * half + 1)
            expect(Math.abs(means[i] - direct)).toBeLessThan(1e-12)
          })
        },
      ),
    )
  })

  it('is 0 where every outcome equals its probability', () => {
    const certain = Float64Array.from({ length: labels.length * classes }, (_, i) =>
      labels[Math.floor(i / classes)] === i % classes ? 1 : 0,
    )
    const { loss, gradient } = hCalibrationLossArrays(certain, labels, { classes, window: 20 })
    expect(loss).toBe(0)
    expect(gradient.every((value) => value === 0)).toBe(true)
  })

  it('is 0 for a tolerance of 1 or more', () => {
    expect(hCalibrationLossArrays(probs, labels, { classes, window: 20, epsilon: 1 }).loss).toBe(0)
  })

  it('does not depend on the order of rows when no probabilities tie', () => {
    const order = permutationArray(key(3), labels.length)
    const shuffled = Float64Array.from(probs, (_, i) => probs[order[Math.floor(i / classes)] * classes + (i % classes)])
    const options = { classes, window: 20 }
    const a = hCalibrationLossArrays(probs, labels, options).loss
    const b = hCalibrationLossArrays(
      shuffled,
      Int32Array.from(order, (row) => labels[row]),
      options,
    ).loss
    expect(Math.abs(a - b)).toBeLessThan(1e-9 * a)
  })

  for (const settings of [
    {},
    { weighting: 'unweighted' as const },
    { weighting: 'equalWidth' as const },
    { leaveOneClassOut: false },
    { dropout: 0.5 },
    { classSubset: 2 },
  ]) {
    it(`has the gradient of finite differences with ${JSON.stringify(settings)}`, () => {
      const options = { classes, window: 20, scale: 1, epsilon: 1e-3, key: key(5), ...settings }
      const { gradient } = hCalibrationLossArrays(probs, labels, options)
      for (const i of [0, 7, 333, 800, probs.length - 1]) {
        const h = 1e-8
        const at = (x: number): number => hCalibrationLossArrays(probs.with(i, x), labels, options).loss
        const difference = (at(probs[i] + h) - at(probs[i] - h)) / (2 * h)
        expect(Math.abs(difference - gradient[i])).toBeLessThan(1e-6)
      }
    })
  }

  it('of calibrated labels decreases like the root of the window', () => {
    const { truth: t, labels: y, classes: K } = synthetic(2, 4000)
    const p = softmax(t, K)
    const lossAt = (window: number): number => hCalibrationLossArrays(p, y, { classes: K, window, weighting: 'unweighted', scale: 1 }).loss
    const rate = Math.log(lossAt(50) / lossAt(800)) / Math.log(800 / 50)
    expect(rate).toBeGreaterThan(0.4)
    expect(rate).toBeLessThan(0.6)
  })

  it('has its minimum near the true temperature', () => {
    const { truth: t, labels: y, classes: K } = synthetic(4, 20_000)
    const grid = [0.8, 0.9, 0.95, 1, 1.05, 1.1, 1.2]
    const losses = grid.map(
      (T) =>
        hCalibrationLossArrays(
          softmax(
            t.map((z) => z / T),
            K,
          ),
          y,
          { classes: K },
        ).loss,
    )
    expect(Math.abs(grid[losses.indexOf(Math.min(...losses))] - 1)).toBeLessThanOrEqual(0.05 + 1e-12)
  })

  it('draws dropout and class subsets by key', () => {
    const options = { classes, window: 20, dropout: 0.5, classSubset: 2 }
    const a = hCalibrationLossArrays(probs, labels, { ...options, key: key(1) })
    expect(hCalibrationLossArrays(probs, labels, { ...options, key: key(1) }).loss).toBe(a.loss)
    expect(hCalibrationLossArrays(probs, labels, { ...options, key: key(2) }).loss).not.toBe(a.loss)
    expect(a.leftOut).toHaveLength(2)
  })

  it('refuses options that make no sense', () => {
    const refused = (options: object, pattern: RegExp): void => {
      try {
        hCalibrationLossArrays(probs, labels, { classes, window: 20, ...options })
      } catch (error) {
        expect(isBpfError(error, 'OptionError')).toBe(true)
        expect((error as Error).message).toMatch(pattern)
        return
      }
      throw new Error(`accepted ${JSON.stringify(options)}`)
    }
    refused({ window: 21 }, /window must be even/)
    refused({ window: 5000 }, /do not fill one window/)
    refused({ epsilon: -1 }, /epsilon/)
    refused({ clusters: 0 }, /clusters/)
    refused({ dropout: 1 }, /dropout/)
    refused({ weighting: 'density' }, /weighting/)
    expect(() => hCalibrationLossArrays(probs, labels, { classes: 5 })).toThrow(/rows of 5 classes/)
  })
})
