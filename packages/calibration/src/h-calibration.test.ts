import { isBpfError, useBackend } from '@bpf/core'
import { batch, fromArrays, shuffle } from '@bpf/core/data'
import { learnerContract } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { synthetic } from '../test/synthetic'
import { calibrationMetrics } from './calibration-metrics'
import { fitHCalibration, hCalibration, type HCalibrationBatch } from './h-calibration'
import { loadCalibrator } from './load-calibrator'
import type { Dataset } from '@bpf/core'

beforeAll(() => useBackend())

const { truth, rows, labels, classes } = synthetic(41, 600, 4)
const sharp = Float32Array.from(truth, (z) => 2.5 * z)

describe('the h-calibration learner', () => {
  const data = synthetic(42, 80, 3)
  const dataset = (): Dataset<HCalibrationBatch> =>
    batch(
      shuffle(
        fromArrays({ x: { data: Float32Array.from(data.truth), shape: [80, 3] }, y: { data: data.labels, shape: [80], dtype: 'int32' } }),
      ),
      20,
    ) as unknown as Dataset<HCalibrationBatch>
  for (const map of [
    { type: 'pwlinear', segments: 10 },
    { type: 'linear', members: 4 },
    { type: 'nonlinear', hidden: 2 },
  ] as const) {
    for (const check of learnerContract({ learner: () => hCalibration({ classes: 3, map, window: 10 }), dataset })) {
      it(`${map.type}: ${check.name}`, check.run)
    }
  }
})

describe('fitHCalibration', () => {
  it('recalibrates over-confident logits without changing a ranking', async () => {
    const fitted = await fitHCalibration(sharp, labels, {
      classes,
      maps: [{ type: 'pwlinear', segments: 1 }],
      epochs: 80,
      learningRate: 0.05,
    })
    const ece = (probabilities: Float32Array): number => calibrationMetrics(probabilities, labels, { classes, metrics: ['ECE_ew'] }).ECE_ew
    const before = calibrationMetrics(sharp, labels, { classes, input: 'logits', metrics: ['ECE_ew'] }).ECE_ew
    const probabilities = fitted.apply(sharp)
    expect(ece(probabilities)).toBeLessThan(0.35 * before)
    for (let at = 0; at < sharp.length; at += classes) {
      for (let a = at; a < at + classes; a++)
        for (let b = at; b < at + classes; b++) if (sharp[a] > sharp[b]) expect(probabilities[a]).toBeGreaterThanOrEqual(probabilities[b])
    }
    expect(loadCalibrator(fitted.save()).apply(sharp)).toEqual(probabilities)
  })

  it('chooses the map and the epoch by the training metric asked for', async () => {
    const fitted = await fitHCalibration(sharp, labels, {
      classes,
      maps: [{ type: 'temperature' }, { type: 'linear', members: 16 }],
      epochs: 15,
      learningRate: 0.05,
      selector: 'NLL',
    })
    const best = fitted.candidates.map((candidate) => candidate.best.NLL?.value ?? Infinity)
    expect(fitted.map).toEqual(fitted.candidates[best.indexOf(Math.min(...best))].map)
    const nll = calibrationMetrics(fitted.apply(sharp), labels, { classes, metrics: ['NLL'] }).NLL
    expect(nll).toBeCloseTo(Math.min(...best), 5)
    const byEce = calibrationMetrics(fitted.select('ECE_ew').apply(sharp), labels, { classes, metrics: ['ECE_ew'] }).ECE_ew
    expect(byEce).toBeCloseTo(Math.min(...fitted.candidates.map((candidate) => candidate.best.ECE_ew?.value ?? Infinity)), 5)
  })

  it('gives the same result for the same seed, and leaves no tensor behind', async () => {
    const options = { maps: [{ type: 'linear', members: 8 }], epochs: 3, seed: 5 } as const
    const a = await fitHCalibration(rows, labels, options)
    const before = tf.memory().numTensors
    const b = await fitHCalibration(rows, labels, options)
    expect(tf.memory().numTensors).toBe(before)
    expect(a.parameters).toEqual(b.parameters)
    expect((await fitHCalibration(rows, labels, { ...options, seed: 6 })).parameters).not.toEqual(a.parameters)
  })

  it('halves the learning rate on a plateau and stops early', async () => {
    const fitted = await fitHCalibration(rows, labels, {
      maps: [{ type: 'temperature' }],
      epochs: 500,
      stopPatience: 5,
      plateauPatience: 2,
      learningRate: 1e-6,
    })
    expect(fitted.candidates[0].epochs).toBeLessThan(100)
  })

  it('trains by the negative log-likelihood as well: one temperature then equals temperature scaling', async () => {
    const { fitTemperature } = await import('./temperature-scaling')
    const { temperature } = await fitTemperature(sharp, labels, { classes })
    const fitted = await fitHCalibration(sharp, labels, {
      classes,
      maps: [{ type: 'temperature' }],
      objective: 'nll',
      epochs: 150,
      learningRate: 0.02,
      selector: 'NLL',
    })
    expect(1 / Math.abs(fitted.parameters[0])).toBeCloseTo(temperature, 2)
  })

  it("keeps the last epoch's parameters with selector 'last'", async () => {
    const options = { maps: [{ type: 'pwlinear', segments: 10 }], selector: 'last', plateauFactor: 1, seed: 3 } as const
    const short = await fitHCalibration(rows, labels, { ...options, epochs: 3 })
    const long = await fitHCalibration(rows, labels, { ...options, epochs: 6 })
    expect(short.candidates[0].best.last?.epoch).toBe(2)
    expect(long.candidates[0].best.last?.epoch).toBe(5)
    expect(long.parameters).not.toEqual(short.parameters)
    expect(long.candidates[0].losses.slice(0, 3)).toEqual(short.candidates[0].losses)
  })

  it('draws rows where a step would have too many events, and says so', async () => {
    const fitted = await fitHCalibration(rows, labels, { maps: [{ type: 'temperature' }], epochs: 2, maxEvents: 1000 })
    expect(fitted.warnings.join()).toMatch(/maxEvents: a step of 600 rows × 4 classes has more than 1000 events; 250 rows are drawn/)
  })

  it('reports progress and stops on a signal', async () => {
    const seen: number[] = []
    await fitHCalibration(rows, labels, { maps: [{ type: 'temperature' }], epochs: 4, onProgress: ({ done }) => seen.push(done) })
    expect(seen).toEqual([1, 2, 3, 4, 4])
    const controller = new AbortController()
    const running = fitHCalibration(rows, labels, {
      maps: [{ type: 'temperature' }],
      epochs: 1000,
      signal: controller.signal,
      onProgress: () => controller.abort(new Error('enough')),
    })
    await expect(running).rejects.toThrow('enough')
  })

  it('shrinks the window for few events with a warning, and refuses too few', async () => {
    const few = await fitHCalibration(rows.slice(0, 30), labels.slice(0, 30), { maps: [{ type: 'temperature' }], epochs: 1, bins: 5 })
    expect(few.warnings.join()).toMatch(/windows of 6 \+ 1 in place of 201/)
    const refusal = await fitHCalibration(rows.slice(0, 5), labels.slice(0, 5)).catch((error: unknown) => error)
    expect(isBpfError(refusal, 'DataError')).toBe(true)
    const window = await fitHCalibration(rows.slice(0, 30), labels.slice(0, 30), { window: 200 }).catch((error: unknown) => error)
    expect(isBpfError(window, 'OptionError')).toBe(true)
    await expect(fitHCalibration(rows, labels, { window: 21 })).rejects.toThrow(/window must be even/)
  })
})
