import { isBpfError, useBackend } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { softmax, synthetic, toRows } from '../test/synthetic'
import { calibrationMetricNames, calibrationMetrics } from './calibration-metrics'

const { truth, rows, labels, classes } = synthetic(11, 400, 5)
const probs = toRows(softmax(truth, classes), classes)
const sharp = toRows(
  softmax(
    truth.map((z) => 3 * z),
    classes,
  ),
  classes,
)

beforeAll(() => useBackend())

describe('calibrationMetrics', () => {
  it('are all 0 (accuracy 1) for certain and correct predictions', () => {
    const certain = Array.from(labels, (y) => Array.from({ length: classes }, (_, k) => (k === y ? 1 : 0)))
    const metrics = calibrationMetrics(certain, labels)
    for (const [name, value] of Object.entries(metrics)) {
      if (name === 'accuracy') expect(value).toBe(1)
      // A kernel around p = 1 has width, so its density is not a point: the error is the grid's.
      else if (name === 'KDE_ECE') expect(value).toBeLessThan(1e-3)
      // The leave-one-out average of labels with Dirichlet kernels of bandwidth 1 is not the label itself.
      else if (name === 'DKDE_CE') expect(value).toBeGreaterThanOrEqual(0)
      else expect(Math.abs(value), name).toBeLessThan(1e-12)
    }
  })

  it('ECE_ew of the constant prediction of the class frequencies is |largest frequency − accuracy| = 0', () => {
    const frequencies = Array.from({ length: classes }, (_, k) => labels.filter((y) => y === k).length / labels.length)
    const metrics = calibrationMetrics(
      Array.from(labels, () => frequencies),
      labels,
      { metrics: ['ECE_ew', 'accuracy', 'CWECE_a', 'KSerror'] },
    )
    expect(metrics.ECE_ew).toBeCloseTo(0, 12)
    expect(metrics.accuracy).toBeCloseTo(Math.max(...frequencies), 12)
    expect(metrics.CWECE_a).toBeCloseTo(0, 12)
  })

  it('MMCE and the biased SKCE are not negative, and MMCE equals its double sum', () => {
    for (const predictions of [probs, sharp]) {
      const { MMCE, SKCE_biased } = calibrationMetrics(predictions, labels, { metrics: ['MMCE', 'SKCE_biased'] })
      expect(SKCE_biased).toBeGreaterThanOrEqual(0)
      const c = predictions.map((row) => Math.max(...row))
      const r = predictions.map((row, i) => (row.indexOf(c[i]) === labels[i] ? 1 : 0) - c[i])
      let sum = 0
      for (let i = 0; i < c.length; i++) for (let j = 0; j < c.length; j++) sum += r[i] * r[j] * Math.exp(-2.5 * Math.abs(c[i] - c[j]))
      expect(MMCE).toBeCloseTo(Math.sqrt(sum) / c.length, 10)
    }
  })

  it('KS is at most the ECE with one sample in a bin and at least |mean c − accuracy|', () => {
    const { KSerror, accuracy } = calibrationMetrics(sharp, labels, { metrics: ['KSerror', 'accuracy'] })
    const c = sharp.map((row) => Math.max(...row))
    const single = c.reduce((sum, value, i) => sum + Math.abs(value - (sharp[i].indexOf(value) === labels[i] ? 1 : 0)), 0) / c.length
    expect(KSerror).toBeLessThanOrEqual(single)
    expect(KSerror).toBeGreaterThanOrEqual(Math.abs(c.reduce((sum, value) => sum + value, 0) / c.length - accuracy) - 1e-12)
  })

  it('find the calibrated predictions better than sharpened ones', () => {
    const good = calibrationMetrics(probs, labels)
    const bad = calibrationMetrics(sharp, labels)
    for (const name of calibrationMetricNames) {
      // Dirichlet kernels of bandwidth 1 smooth more than the probabilities spread: DKDE_CE measures mostly that here.
      if (name !== 'accuracy' && name !== 'DKDE_CE') expect(good[name], name).toBeLessThan(bad[name])
    }
  })

  it('thresholded metrics count only events above 1/K, by the class', () => {
    const predictions = [
      [0.8, 0.2],
      [0.3, 0.7],
      [0.6, 0.4],
    ]
    // Class 0 keeps .8 (hit) and .6 (miss) in different bins: (.2 + .6)/2. Class 1 keeps .7 (hit): .3. Mean .35.
    expect(calibrationMetrics(predictions, [0, 1, 1], { bins: 10, metrics: ['tCWECE'] }).tCWECE).toBeCloseTo(0.35, 12)
    expect(calibrationMetrics(predictions, [0, 1, 1], { bins: 3, metrics: ['tCWECE_k'] }).tCWECE_k).toBeCloseTo(0.35, 12)
  })

  it('are the same for tensors, nested rows, typed arrays and blocks of any number of rows', async () => {
    const options = { input: 'logits', metrics: ['ECE_ew', 'NLL', 'SKCE', 'DKDE_CE', 'tCWECE_k'] } as const
    const nested = calibrationMetrics(rows, labels, options)
    const flat = calibrationMetrics(truth, Array.from(labels), { ...options, classes })
    expect(flat).toEqual(nested)
    const x = tf.tensor2d(rows)
    const y = tf.tensor1d(labels, 'int32')
    const tensor = calibrationMetrics(x, y, options)
    for (const [name, value] of Object.entries(nested)) expect(tensor[name as 'NLL']).toBeCloseTo(value, 5)
    tf.dispose([x, y])
  })

  it('dECE is undefined with fewer than two points in a bin', () => {
    expect(calibrationMetrics(probs.slice(0, 20), labels.slice(0, 20), { bins: 15, metrics: ['dECE'] }).dECE).toBeNaN()
  })

  it('refuse malformed input with the place', () => {
    const refused = (run: () => unknown, kind: 'DataError' | 'OptionError' | 'ShapeError', pattern: RegExp): void => {
      let caught: unknown
      try {
        run()
      } catch (error) {
        caught = error
      }
      expect(isBpfError(caught, kind), String(caught)).toBe(true)
      expect((caught as Error).message).toMatch(pattern)
    }
    refused(() => calibrationMetrics([[0.5, 0.4]], [0]), 'DataError', /row 0 sums to/)
    refused(() => calibrationMetrics([[3, -2]], [0]), 'DataError', /row 0, column 0 is not a probability/)
    refused(() => calibrationMetrics([[0.5, 0.5]], [2]), 'DataError', /label 2 at index 0/)
    refused(() => calibrationMetrics([[0.5, NaN]], [1]), 'DataError', /row 0, column 1/)
    refused(() => calibrationMetrics([[0.5, 0.5]], [1], { bins: 0 }), 'OptionError', /bins/)
    refused(() => calibrationMetrics([[0.5, 0.5]], [1, 0]), 'ShapeError', /labels/)
    refused(() => calibrationMetrics(Float64Array.of(0.5, 0.5), [1]), 'ShapeError', /classes/)
    refused(() => calibrationMetrics([[0.5, 0.5]], [1], { metrics: ['ECE' as 'NLL'] }), 'OptionError', /unknown metric 'ECE'/)
  })
})
