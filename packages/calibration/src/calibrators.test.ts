import { isBpfError, useBackend } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { synthetic } from '../test/synthetic'
import {
  fitBayesianBinning,
  fitBeta,
  fitDirichlet,
  fitEnsembleTemperature,
  fitHCalibration,
  fitHistogramBinning,
  fitIsotonic,
  fitMatrixScaling,
  fitOrderPreserving,
  fitScalingBinning,
  fitSpline,
  fitTemperature,
  fitVectorScaling,
  loadCalibrator,
  type Calibrator,
  type FitCalibratorOptions,
  type Rows,
} from './index'

beforeAll(() => useBackend())

const { truth, rows, labels, classes } = synthetic(61, 240, 3)
type Fit = (logits: Rows, labels: Int32Array | number[], options?: FitCalibratorOptions) => Promise<Calibrator>
const methods: Record<string, Fit> = {
  temperature: fitTemperature,
  vector: fitVectorScaling,
  matrix: (z, y, o) => fitMatrixScaling(z, y, { ...o, odir: { lambda: 0.1, mu: 0.1 } }),
  dirichlet: fitDirichlet,
  ets: fitEnsembleTemperature,
  isotonic: fitIsotonic,
  irova: (z, y, o) => fitIsotonic(z, y, { ...o, variant: 'oneVsRest' }),
  isotonicTop: (z, y, o) => fitIsotonic(z, y, { ...o, variant: 'topLabel' }),
  histogram: fitHistogramBinning,
  histogramRest: (z, y, o) => fitHistogramBinning(z, y, { ...o, mode: 'oneVsRest', binning: 'equalMass' }),
  bbq: fitBayesianBinning,
  beta: fitBeta,
  spline: fitSpline,
  scalingBinning: fitScalingBinning,
  orderPreserving: (z, y, o) => fitOrderPreserving(z, y, { ...o, hidden: [4], epochs: 2 }),
  hCalibration: (z, y, o) => fitHCalibration(z, y, { ...o, maps: [{ type: 'pwlinear', segments: 10 }], epochs: 2 }),
}

/** The error a promise is rejected with, checked to be one of ours. */
async function refusal(promise: Promise<unknown>, kind: 'DataError' | 'OptionError' | 'ShapeError'): Promise<string> {
  const error = await promise.then(
    () => new Error('accepted'),
    (reason: unknown) => reason,
  )
  expect(isBpfError(error, kind), String(error)).toBe(true)
  return (error as Error).message
}

for (const [name, fit] of Object.entries(methods)) {
  describe(name, () => {
    it('answers tensors with tensors, rows with rows, typed arrays with the same class; rows sum to 1', async () => {
      const fitted = await fit(rows, labels)
      const nested = fitted.apply(rows)
      const wide = fitted.apply(truth)
      const single = fitted.apply(Float32Array.from(truth))
      expect(wide).toBeInstanceOf(Float64Array)
      expect(single).toBeInstanceOf(Float32Array)
      expect(nested.flat()).toEqual(Array.from(wide))
      for (const row of nested) expect(row.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 9)
      const x = tf.tensor2d(rows)
      const y = fitted.apply(x)
      expect(y.shape).toEqual([240, 3])
      expect(await y.data()).toEqual(single)
      tf.dispose([x, y])
    })

    it('fits tensors, rows and typed arrays alike', async () => {
      const a = (await fit(rows, labels)).apply(truth)
      const b = (await fit(truth, Array.from(labels), { classes })).apply(truth)
      expect(b).toEqual(a)
      const x = tf.tensor2d(rows)
      const c = (await fit(x, labels)).apply(truth)
      x.dispose()
      // Steps of binning methods may move by a rounding of float32.
      const differing = a.filter((value, i) => Math.abs(value - c[i]) > 1e-3).length
      expect(differing).toBeLessThan(0.02 * a.length)
    })

    it('is the same after saving, through JSON', async () => {
      const fitted = await fit(rows, labels)
      const json = JSON.stringify(fitted.save(), (_, value: unknown) => (value instanceof Float64Array ? Array.from(value) : value))
      expect(loadCalibrator(fitted.save()).apply(rows)).toEqual(fitted.apply(rows))
      expect(loadCalibrator(JSON.parse(json)).apply(rows)).toEqual(fitted.apply(rows))
    })

    it('refuses bad input with a named error and its place', async () => {
      const bad = rows.map((row) => [...row])
      bad[7][2] = NaN
      expect(await refusal(fit(bad, labels), 'DataError')).toMatch(/logits: NaN at row 7, column 2/)
      bad[7][2] = Infinity
      expect(await refusal(fit(bad, labels), 'DataError')).toMatch(/row 7, column 2/)
      expect(await refusal(fit(rows, Array.from(labels).with(3, 12)), 'DataError')).toMatch(
        /label 12 at index 3 is out of range; expected 0 to 2/,
      )
      expect(await refusal(fit(rows, Array.from(labels).with(3, -1)), 'DataError')).toMatch(/index 3/)
      expect(await refusal(fit(rows, Array.from(labels).with(3, 0.5)), 'DataError')).toMatch(/index 3/)
      expect(await refusal(fit(rows, labels.slice(1)), 'ShapeError')).toMatch(/labels/)
      expect(await refusal(fit(truth, labels), 'ShapeError')).toMatch(/classes/)
      expect(await refusal(fit([[1], [2]], [0, 0]), 'ShapeError')).toMatch(/at least 2 columns/)
      expect(await refusal(fit([], []), 'DataError')).toMatch(/no rows/)
      expect(await refusal(fit([[1, 2], [3]], [0, 0]), 'ShapeError')).toMatch(/row 1/)
    })

    it('refuses another number of classes in apply, and NaN', async () => {
      const fitted = await fit(rows, labels)
      expect(
        await refusal(
          Promise.resolve().then(() => fitted.apply([[1, 2]])),
          'ShapeError',
        ),
      ).toMatch(/fitted on 3 classes, got 2/)
      expect(
        await refusal(
          Promise.resolve().then(() => fitted.apply(Float64Array.of(1, 2, 3, 4))),
          'ShapeError',
        ),
      ).toMatch(/4 values/)
      expect(
        await refusal(
          Promise.resolve().then(() => fitted.apply([[1, NaN, 2]])),
          'DataError',
        ),
      ).toMatch(/row 0, column 1/)
    })

    it('clips minus infinity and warns; warns of an absent class', async () => {
      const clipped = rows.map((row) => [...row])
      const at = labels.findIndex((y) => y !== 2)
      clipped[at][2] = -Infinity
      const heard: string[] = []
      const fitted = await fit(clipped, labels, { onWarning: (message) => heard.push(message) })
      expect(fitted.warnings.join()).toMatch(/1 of 720 values are minus infinity; they count as -10000/)
      expect(heard).toEqual(fitted.warnings)
      for (const p of fitted.apply([[1, 0, -Infinity]])[0]) expect(Number.isFinite(p)).toBe(true)
      const two = await fit(
        rows,
        Array.from(labels, (y) => Math.min(y, 1)),
      )
      expect(two.warnings.join()).toMatch(/class 2 does not occur/)
    })
  })
}
