import { describe, expect, it } from 'vitest'
import { synthetic } from '../test/synthetic'
import { calibrationMetrics } from './calibration-metrics'
import { fitSpline } from './spline-calibration'

const { truth, labels, classes } = synthetic(27, 4000, 4)
const sharp = truth.map((z) => 2.5 * z)

describe('spline calibration', () => {
  it('lowers the KS error of over-confident logits to less than a fifth', async () => {
    const fitted = await fitSpline(sharp, labels, { classes })
    const before = calibrationMetrics(sharp, labels, { classes, input: 'logits', metrics: ['KSerror'] }).KSerror
    const after = calibrationMetrics(fitted.apply(sharp), labels, { classes, metrics: ['KSerror'] }).KSerror
    expect(before).toBeGreaterThan(0.1)
    expect(after).toBeLessThan(0.2 * before)
  })

  it('with further ranks recalibrates each, and rows stay distributions', async () => {
    for (const ranks of [2, classes]) {
      const fitted = await fitSpline(sharp, labels, { classes, ranks })
      const q = fitted.apply(sharp)
      for (let at = 0; at < q.length; at += classes) {
        const row = q.subarray(at, at + classes)
        expect(row.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 9)
        expect(Math.min(...row)).toBeGreaterThanOrEqual(0)
      }
    }
  })

  it('refuses fewer rows than knots and fewer knots than a cubic needs', async () => {
    await expect(
      fitSpline(
        [
          [1, 0],
          [0, 1],
        ],
        [0, 1],
      ),
    ).rejects.toThrow(/6 knots needs at least as many rows, got 2/)
    await expect(fitSpline(sharp, labels, { classes, knots: 3 })).rejects.toThrow(/at least 4, got 3/)
  })
})
