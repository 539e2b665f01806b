import { compile, float64Tensor, grad, useBackend } from '@bpf/core'
import {
  float32Tolerance,
  goldenArray,
  goldenCases,
  isGoldenArray,
  mismatch,
  type GoldenArray,
  type GoldenCase,
  type Tolerance,
} from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import { fitBayesianBinning } from './bayesian-binning'
import { calibrationMetrics, type CalibrationMetric } from './calibration-metrics'
import { mapTensors, piecewiseLinearLogits, temperatureEnsemble } from './calibration-maps'
import { fitEnsembleTemperature } from './ensemble-temperature-scaling'
import { hCalibrationLoss, hCalibrationLossArrays, sortedWindowErrors } from './h-calibration-loss'
import { fitHistogramBinning } from './histogram-binning'
import { fitIsotonic } from './isotonic-regression'
import { orderPreserving, orderPreservingLogits, type OrderPreservingState } from './order-preserving'
import type { Rows } from './shared/rows'
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
/** How a golden matrix is handed to a function: as nested rows, in double precision, or as a float32 tensor. */
type ReadRows = (inputs: Inputs, name: string) => Rows
const nestedRows: ReadRows = (inputs, name) => {
  const { shape, data } = goldenArray(inputs, name)
  return Array.from({ length: shape[0] }, (_, i) => data.slice(i * shape[1], (i + 1) * shape[1]))
}
const tensorRows: ReadRows = (inputs, name) => {
  const { shape, data } = goldenArray(inputs, name)
  return tf.tensor2d(Float32Array.from(data), shape as [number, number])
}
/** Row-major values of what a function answered, in the form it was asked. */
const flatRows = (rows: Rows): Float32Array | Float64Array => {
  if (rows instanceof tf.Tensor) return Float32Array.from(rows.dataSync())
  return ArrayBuffer.isView(rows) ? (rows as Float32Array | Float64Array) : Float64Array.from(rows.flat())
}
const number = (inputs: Inputs, name: string, otherwise: number): number => {
  const value = inputs[name]
  return typeof value === 'number' ? value : otherwise
}
const optional = (inputs: Inputs, name: string): Float64Array | undefined => (isGoldenArray(inputs[name]) ? flat(inputs, name) : undefined)

const functions: Record<string, (inputs: Inputs, read: ReadRows) => Outputs | Promise<Outputs>> = {
  calibrationMetrics(inputs, read) {
    const all = calibrationMetrics(read(inputs, 'logits'), labelsOf(inputs), { input: 'logits', bins: number(inputs, 'num_bins', 15) })
    return { ...all, ...Object.fromEntries(Object.entries(metricNames).map(([golden, ours]) => [golden, all[ours]])) }
  },
  hCalibrationLoss(inputs, read) {
    const probs = flatRows(read(inputs, 'probs'))
    const y = labelsOf(inputs)
    const options = { ...lossOptions(inputs), classes: goldenArray(inputs, 'probs').shape[1] }
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
  orderPreservingMaps(inputs, read) {
    const logits = read(inputs, 'logits')
    return {
      pwlinear_logits: flatRows(piecewiseLinearLogits(logits, flat(inputs, 'pw_slopes'))),
      ensemble_probs: flatRows(temperatureEnsemble(logits, flat(inputs, 'ens_inv_temp'), flat(inputs, 'ens_weight'))),
      order_preserving_logits: flatRows(orderPreservingLogits(logits, flat(inputs, 'op_m_raw'))),
    }
  },
  async classicalRecalibrators(inputs, read) {
    const [logits, test, y] = [read(inputs, 'logits'), read(inputs, 'test_logits'), labelsOf(inputs)]
    const nll = (probabilities: Rows): number => calibrationMetrics(probabilities, y, { metrics: ['NLL'] }).NLL
    const ts = await fitTemperature(logits, y)
    const vs = await fitVectorScaling(logits, y)
    const ets = await fitEnsembleTemperature(logits, y, { temperature: ts.temperature })
    const isoTop = (await fitIsotonic(logits, y, { variant: 'topLabel' })) as ScalarMapsCalibrator
    const isoMulti = await fitIsotonic(logits, y, { variant: 'multiclass', normalize: false })
    const hb = await fitHistogramBinning(logits, y, { bins: number(inputs, 'hb_bins', 10) })
    const bbq = await fitBayesianBinning(logits, y, { binCounts: Array.from(flat(inputs, 'bbq_B')) })
    const spline = await fitSpline(logits, y)
    const confidences = sortedConfidences(nestedRows(inputs, 'logits') as number[][])
    return {
      ts_T: ts.temperature,
      ts_nll: nll(ts.apply(logits)),
      ts_test_probs: flatRows(ts.apply(test)),
      vs_nll: nll(vs.apply(logits)),
      vs_test_probs: flatRows(vs.apply(test)),
      ets_mse_value_given_ts_T: ets.meanSquaredError,
      iso_top_test: isoTop.confidence(test),
      iso_multi_test: flatRows(isoMulti.apply(test)),
      hb_top_test: hb.confidence(test),
      bbq_log_scores: bbq.logScores[0],
      bbq_top_test: bbq.confidence(test),
      spline_recal_at_sorted_train: spline.recalibrate(confidences),
      sorted_train_conf: confidences,
    }
  },
}

function lossOptions(inputs: Inputs) {
  return {
    window: number(inputs, 'window', 200),
    epsilon: number(inputs, 'epsilon', 1e-20),
    centroids: optional(inputs, 'centroids'),
    scale: 1,
  }
}

/** Top probabilities of the rows, ascending. */
function sortedConfidences(logits: readonly (readonly number[])[]): number[] {
  return logits.map((row) => 1 / row.reduce((sum, z) => sum + Math.exp(z - Math.max(...row)), 0)).sort((a, b) => a - b)
}

const values = (value: unknown): number[] => (isGoldenArray(value) ? value.data : [value as number])

/** Softmax of golden logits: what the maps answer on tensors. */
function softmax({ shape, data }: GoldenArray): number[] {
  return Array.from({ length: shape[0] }, (_, i) => data.slice(i * shape[1], (i + 1) * shape[1])).flatMap((row) => {
    const exps = row.map((z) => Math.exp(z - Math.max(...row)))
    const sum = exps.reduce((total, e) => total + e, 0)
    return exps.map((e) => e / sum)
  })
}

/** The maps as tensor operations, which training and prediction run compiled: probabilities of each. */
function mapsOnTensors(inputs: { [name: string]: tf.Tensor }): { [output: string]: tf.Tensor } {
  const { logits, pw_slopes, ens_inv_temp, ens_weight, op_m_raw } = inputs
  const [, classes] = logits.shape as [number, number]
  const z = tf.sub(logits, tf.logSumExp(logits, 1, true)) as tf.Tensor2D
  const standard = tf.zeros([2])
  // A layer without weights answers its bias, whatever the logits.
  const layers = [{ kernel: tf.zeros([classes, classes]), bias: op_m_raw }]
  const learner = orderPreserving({ classes })
  return {
    pwlinear_logits: mapTensors({ type: 'pwlinear', segments: pw_slopes.size }, { slopes: pw_slopes }, z, standard),
    ensemble_probs: mapTensors({ type: 'linear', members: ens_weight.size }, { a: ens_inv_temp, w: ens_weight }, z, standard),
    order_preserving_logits: learner.predict?.({ layers } as OrderPreservingState, logits) as tf.Tensor,
  }
}

const cases = goldenCases(new URL('../test/golden/', import.meta.url), '60-h-calibration')
const of = (fn: string): GoldenCase[] => cases.filter((one) => one.fn === fn)

describe('60-h-calibration golden vectors', () => {
  // Also the one test there is where BPF_GOLDEN_DIR holds nothing for this paper.
  it('are of functions that the package has', () => {
    expect(cases.map(({ fn }) => fn).filter((fn) => !Object.hasOwn(functions, fn))).toEqual([])
  })

  for (const { fn, name, inputs, outputs, tolerance, optional: optionalOutputs = [], informational = [] } of cases) {
    const agree = async (read: ReadRows, toleranceOf: (expected: number[]) => Tolerance): Promise<void> => {
      const computed = await functions[fn](inputs, read)
      for (const [key, expected] of Object.entries(outputs)) {
        if (informational.includes(key)) continue
        const actual = computed[key]
        if (actual === undefined && optionalOutputs.includes(key)) continue
        expect(actual, `${key} is computed`).toBeDefined()
        expect(
          mismatch(typeof actual === 'number' ? [actual] : actual, values(expected), toleranceOf(values(expected))),
          key,
        ).toBeUndefined()
      }
    }

    it(`${name}: ${fn} agrees in double precision within the file's tolerance`, () => agree(nestedRows, () => tolerance))

    it.each(['cpu', 'onnx'] as const)(
      `${name}: ${fn} of float32 tensors agrees on %s within 2e-4 of the largest value`,
      async (backend) => {
        await useBackend(backend)
        await agree(tensorRows, float32Tolerance)
      },
    )
  }

  for (const { name, inputs, outputs } of of('hCalibrationLoss')) {
    it.each(['cpu', 'onnx'] as const)(`${name}: the loss as an operation, and its gradient, agree in float32 on %s`, async (backend) => {
      await useBackend(backend)
      const probs = tensorRows(inputs, 'probs') as tf.Tensor2D
      const y = tf.tensor1d(labelsOf(inputs), 'int32')
      const loss = (p: tf.Tensor): tf.Scalar => hCalibrationLoss(p as tf.Tensor2D, y, lossOptions(inputs))
      const both = compile((p: tf.Tensor) => ({ loss: loss(p), slope: grad(loss)(p) }), { traceable: false })(probs)
      const [expectedLoss, expectedSlope] = [values(outputs.loss_cluster), values(outputs.grad_probs)]
      expect(mismatch(await both.loss.data(), expectedLoss, float32Tolerance(expectedLoss))).toBeUndefined()
      expect(mismatch(await both.slope.data(), expectedSlope, float32Tolerance(expectedSlope))).toBeUndefined()
    })
  }

  for (const { name, inputs, outputs, tolerance } of of('orderPreservingMaps')) {
    const names = ['logits', 'pw_slopes', 'ens_inv_temp', 'ens_weight', 'op_m_raw']
    const expected = (key: string): number[] =>
      key.endsWith('logits') ? softmax(goldenArray(outputs, key)) : goldenArray(outputs, key).data
    const tensors = (make: (array: GoldenArray) => tf.Tensor): { [name: string]: tf.Tensor } =>
      Object.fromEntries(names.map((key) => [key, make(goldenArray(inputs, key))]))
    const agree = async (computed: { [output: string]: tf.Tensor }, toleranceOf: (values: number[]) => Tolerance): Promise<void> => {
      for (const [key, tensor] of Object.entries(computed)) {
        expect(mismatch(await tensor.data(), expected(key), toleranceOf(expected(key))), key).toBeUndefined()
      }
    }
    const single = ({ shape, data }: GoldenArray): tf.Tensor => tf.tensor(Float32Array.from(data), shape)

    it(`${name}: the maps as operations agree in float32, eager and compiled`, async () => {
      await useBackend('cpu')
      await agree(mapsOnTensors(tensors(single)), float32Tolerance)
      await useBackend('onnx')
      await agree(mapsOnTensors(tensors(single)), float32Tolerance)
      await agree(compile(mapsOnTensors)(tensors(single)), float32Tolerance)
    })

    it(`${name}: the maps compiled in double precision agree within the file's tolerance`, async () => {
      await useBackend('onnx')
      const double = tensors(({ shape, data }) => float64Tensor(Float64Array.from(data), shape))
      await agree(compile(mapsOnTensors, { precision: 'float64' })(double), () => tolerance)
    })
  }
})
