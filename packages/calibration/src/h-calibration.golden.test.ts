import { grad, useBackend } from '@bpf/core'
import { float32Tolerance, goldenArray, goldenCases, isGoldenArray, mismatch } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import { fitBayesianBinning } from './bayesian-binning'
import { calibrationMetrics, type CalibrationMetric } from './calibration-metrics'
import { piecewiseLinearLogits, temperatureEnsemble } from './calibration-maps'
import { fitEnsembleTemperature } from './ensemble-temperature-scaling'
import { hCalibrationLoss, hCalibrationLossArrays, sortedWindowErrors } from './h-calibration-loss'
import { fitHistogramBinning } from './histogram-binning'
import { fitIsotonic } from './isotonic-regression'
import { orderPreservingLogits } from './order-preserving'
import type { ScalarMapsCalibrator } from './shared/scalar-maps'
import { fitSpline } from './spline-calibration'
import { fitTemperature } from './temperature-scaling'
import { fitVectorScaling } from './vector-scaling'

type Inputs = Record<string, unknown>
type Outputs = Record<string, number | ArrayLike<number>>

/** Metric keys of the golden file that the package calls otherwise. */
const metricNames: Record<string, CalibrationMetric> = { ECE_em_interp: 'ECE_em', KDE_ECE_top: 'KDE_ECE', SKCE_unbiased: 'SKCE' }

const flat = (inputs: Inputs, name: string): Float64Array => Float64Array.from(goldenArray(inputs, name).data)
const labelsOf = (inputs: Inputs): Int32Array => Int32Array.from(goldenArray(inputs, 'labels').data)
const rowsOf = (inputs: Inputs, name: string): number[][] => {
  const { shape, data } = goldenArray(inputs, name)
  return Array.from({ length: shape[0] }, (_, i) => data.slice(i * shape[1], (i + 1) * shape[1]))
}
const number = (inputs: Inputs, name: string, otherwise: number): number => {
  const value = inputs[name]
  return typeof value === 'number' ? value : otherwise
}
const optional = (inputs: Inputs, name: string): Float64Array | undefined => (isGoldenArray(inputs[name]) ? flat(inputs, name) : undefined)

const functions: Record<string, (inputs: Inputs) => Outputs | Promise<Outputs>> = {
  calibrationMetrics(inputs) {
    const all = calibrationMetrics(rowsOf(inputs, 'logits'), labelsOf(inputs), { input: 'logits', bins: number(inputs, 'num_bins', 15) })
    return { ...all, ...Object.fromEntries(Object.entries(metricNames).map(([golden, ours]) => [golden, all[ours]])) }
  },
  hCalibrationLoss(inputs) {
    const probs = flat(inputs, 'probs')
    const y = labelsOf(inputs)
    const options = {
      classes: goldenArray(inputs, 'probs').shape[1],
      window: number(inputs, 'window', 200),
      epsilon: number(inputs, 'epsilon', 1e-20),
      centroids: optional(inputs, 'centroids'),
      scale: 1,
    }
    const cluster = hCalibrationLossArrays(probs, y, options)
    return {
      loss_cluster: cluster.loss,
      loss_unweighted: hCalibrationLossArrays(probs, y, { ...options, weighting: 'unweighted' }).loss,
      per_class_cluster: cluster.perClass,
      loss_all_events_cluster: hCalibrationLossArrays(probs, y, { ...options, leaveOneClassOut: false }).loss,
      grad_probs: cluster.gradient,
      T_all: sortedWindowErrors(probs, y, options).windowMeans,
    }
  },
  orderPreservingMaps(inputs) {
    const logits = rowsOf(inputs, 'logits')
    return {
      pwlinear_logits: piecewiseLinearLogits(logits, flat(inputs, 'pw_slopes')).flat(),
      ensemble_probs: temperatureEnsemble(logits, flat(inputs, 'ens_inv_temp'), flat(inputs, 'ens_weight')).flat(),
      order_preserving_logits: orderPreservingLogits(logits, flat(inputs, 'op_m_raw')).flat(),
    }
  },
  async classicalRecalibrators(inputs) {
    const [logits, test, y] = [rowsOf(inputs, 'logits'), rowsOf(inputs, 'test_logits'), labelsOf(inputs)]
    const nll = (probabilities: number[][]): number => calibrationMetrics(probabilities, y, { metrics: ['NLL'] }).NLL
    const ts = await fitTemperature(logits, y)
    const vs = await fitVectorScaling(logits, y)
    const ets = await fitEnsembleTemperature(logits, y, { temperature: ts.temperature })
    const isoTop = (await fitIsotonic(logits, y, { variant: 'topLabel' })) as ScalarMapsCalibrator
    const isoMulti = await fitIsotonic(logits, y, { variant: 'multiclass', normalize: false })
    const hb = await fitHistogramBinning(logits, y, { bins: number(inputs, 'hb_bins', 10) })
    const bbq = await fitBayesianBinning(logits, y, { binCounts: Array.from(flat(inputs, 'bbq_B')) })
    const spline = await fitSpline(logits, y)
    const confidences = sortedConfidences(logits)
    return {
      ts_T: ts.temperature,
      ts_nll: nll(ts.apply(logits)),
      ts_test_probs: ts.apply(test).flat(),
      vs_nll: nll(vs.apply(logits)),
      vs_test_probs: vs.apply(test).flat(),
      ets_mse_value_given_ts_T: ets.meanSquaredError,
      iso_top_test: isoTop.confidence(test),
      iso_multi_test: isoMulti.apply(test).flat(),
      hb_top_test: hb.confidence(test),
      bbq_log_scores: bbq.logScores[0],
      bbq_top_test: bbq.confidence(test),
      spline_recal_at_sorted_train: spline.recalibrate(confidences),
      sorted_train_conf: confidences,
    }
  },
}

/** Top probabilities of the rows, ascending. */
function sortedConfidences(logits: readonly (readonly number[])[]): number[] {
  return logits.map((row) => 1 / row.reduce((sum, z) => sum + Math.exp(z - Math.max(...row)), 0)).sort((a, b) => a - b)
}

const values = (value: unknown): number[] => (isGoldenArray(value) ? value.data : [value as number])

describe('60-h-calibration golden vectors', () => {
  for (const { fn, name, inputs, outputs, tolerance, optional: optionalOutputs = [], informational = [] } of goldenCases(
    new URL('../test/golden/', import.meta.url),
    '60-h-calibration',
  )) {
    it(`${name}: ${fn} agrees in double precision within the file's tolerance`, async () => {
      const computed = await functions[fn](inputs)
      for (const [key, expected] of Object.entries(outputs)) {
        if (informational.includes(key)) continue
        const actual = computed[key]
        if (actual === undefined && optionalOutputs.includes(key)) continue
        expect(actual, `${key} is computed`).toBeDefined()
        expect(mismatch(typeof actual === 'number' ? [actual] : actual, values(expected), tolerance), key).toBeUndefined()
      }
    })
  }

  for (const { name, inputs, outputs } of goldenCases(new URL('../test/golden/', import.meta.url), '60-h-calibration').filter(
    ({ fn }) => fn === 'hCalibrationLoss',
  )) {
    it(`${name}: loss and gradient on float32 tensors agree within 2e-4 of the largest value`, async () => {
      await useBackend('cpu')
      const { shape } = goldenArray(inputs, 'probs')
      const probs = tf.tensor2d(Float32Array.from(flat(inputs, 'probs')), shape as [number, number])
      const y = tf.tensor1d(labelsOf(inputs), 'int32')
      const options = {
        window: number(inputs, 'window', 200),
        epsilon: number(inputs, 'epsilon', 1e-20),
        centroids: optional(inputs, 'centroids'),
        scale: 1,
      }
      const loss = hCalibrationLoss(probs, y, options)
      const slope = grad((p: tf.Tensor) => hCalibrationLoss(p as tf.Tensor2D, y, options))(probs)
      const expectedLoss = values(outputs.loss_cluster)
      const expectedSlope = values(outputs.grad_probs)
      expect(mismatch(await loss.data(), expectedLoss, float32Tolerance(expectedLoss))).toBeUndefined()
      expect(mismatch(await slope.data(), expectedSlope, float32Tolerance(expectedSlope))).toBeUndefined()
    })
  }
})
