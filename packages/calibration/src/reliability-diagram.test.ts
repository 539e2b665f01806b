import { describe, expect, it } from 'vitest'
import { synthetic } from '../test/synthetic'
import { calibrationMetrics } from './calibration-metrics'
import { reliabilityDiagram } from './reliability-diagram'

const { rows, labels } = synthetic(61, 240, 3)

describe('reliabilityDiagram', () => {
  it('has the bins of the ECE', () => {
    const diagram = reliabilityDiagram(rows, labels, { input: 'logits', bins: 10 })
    const metrics = calibrationMetrics(rows, labels, { input: 'logits', bins: 10, metrics: ['ECE_ew', 'accuracy'] })
    expect(diagram.error).toBeCloseTo(metrics.ECE_ew, 12)
    expect(diagram.accuracy).toBeCloseTo(metrics.accuracy, 12)
    expect(diagram.bins.reduce((sum, bin) => sum + bin.count, 0)).toBe(240)
    expect(diagram.bins[0]).toEqual({ lower: 0, upper: 0.1, count: 0, confidence: null, accuracy: null, gap: null, interval: null })
  })

  it('has the means of bins (lo, hi] written out by hand', () => {
    const predictions = [
      [0.6, 0.4],
      [0.5, 0.5],
      [0.2, 0.8],
      [0.1, 0.9],
    ]
    const { bins, confidence, accuracy } = reliabilityDiagram(predictions, [0, 1, 1, 0], { bins: 2 })
    expect(confidence).toBeCloseTo((0.6 + 0.5 + 0.8 + 0.9) / 4, 12)
    expect(accuracy).toBe(0.5)
    // 0.5 is in (0, 0.5]; its first class is the top one and is wrong.
    expect(bins[0]).toMatchObject({ count: 1, confidence: 0.5, accuracy: 0, gap: -0.5 })
    expect(bins[1].count).toBe(3)
    expect(bins[1].confidence).toBeCloseTo(2.3 / 3, 12)
    expect(bins[1].gap).toBeCloseTo(2 / 3 - 2.3 / 3, 12)
    // Wilson, 2 of 3: 0.2077 … 0.9385.
    expect(bins[1].interval?.[0]).toBeCloseTo(0.2077, 4)
    expect(bins[1].interval?.[1]).toBeCloseTo(0.9385, 4)
  })

  it('of one class, with equal mass, has bins of equal size and intervals around the accuracy', () => {
    const { bins } = reliabilityDiagram(rows, labels, { input: 'logits', bins: 8, binning: 'equalMass', classIndex: 1 })
    for (const { count, accuracy, interval } of bins) {
      expect(count).toBe(30)
      expect(interval?.[0]).toBeLessThanOrEqual(accuracy as number)
      expect(interval?.[1]).toBeGreaterThanOrEqual(accuracy as number)
    }
  })

  it('refuses fewer than one bin and a class that is not there', () => {
    expect(() => reliabilityDiagram(rows, labels, { input: 'logits', bins: 0 })).toThrow(/bins: expected an integer of at least 1, got 0/)
    expect(() => reliabilityDiagram(rows, labels, { input: 'logits', classIndex: 3 })).toThrow(/classIndex: expected 0 to 2, got 3/)
  })
})
