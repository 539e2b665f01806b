/**
 * Guo, Pleiss, Sun, Weinberger: "On Calibration of Modern Neural Networks", ICML 2017, arXiv 1706.04599.
 *
 * softmax(z / T) with the T that minimises the negative log-likelihood. In β = 1/T that is convex, so Newton's method inside a
 * shrinking bracket finds the optimum to rounding in a few passes over the data.
 */
import type { LabelsInput } from '@bpf/core/data'
import {
  breathe,
  makeCalibrator,
  openFitData,
  savedNumber,
  type Calibrator,
  type CalibratorState,
  type FitCalibratorOptions,
  type FitData,
} from './shared/calibrator'
import { forEachBlock, softmaxRows, type Rows } from './shared/rows'

/** Softmax of logits divided by one temperature. */
export interface TemperatureCalibrator extends Calibrator {
  /** T > 0; above 1 the classifier was over-confident. */
  readonly temperature: number
}

/** Temperatures outside are cut: beyond them the probabilities no longer depend on T, and no data says otherwise. */
const temperatureRange = [1e-3, 1e3] as const

/** First and second derivative by β of the mean negative log-likelihood; `errors` counts labels that are not the arg max. */
function likelihoodAt(data: FitData, beta: number): { slope: number; curvature: number; errors: number } {
  const { classes, labels, rows } = data
  let errors = 0
  let slope = 0
  let curvature = 0
  forEachBlock(data, (z, start, count) => {
    for (let row = 0, at = 0; row < count; row++, at += classes) {
      let max = -Infinity
      for (let i = at; i < at + classes; i++) if (z[i] > max) max = z[i]
      let sum = 0
      let first = 0
      let second = 0
      for (let i = at; i < at + classes; i++) {
        const below = z[i] - max
        const weight = Math.exp(beta * below)
        sum += weight
        first += weight * below
        second += weight * below * below
      }
      const mean = first / sum
      const own = z[at + labels[start + row]] - max
      if (own < 0) errors++
      slope += mean - own
      curvature += second / sum - mean * mean
    }
  })
  return { slope: slope / rows, curvature: curvature / rows, errors }
}

/** The T of least negative log-likelihood, within the range of temperatures. */
export async function bestTemperature(data: FitData, signal: AbortSignal | undefined): Promise<number> {
  let low = 1 / temperatureRange[1]
  let high = 1 / temperatureRange[0]
  let beta = 1
  for (let iteration = 0; iteration < 100; iteration++) {
    await breathe(signal)
    const { slope, curvature, errors } = likelihoodAt(data, beta)
    if (errors === 0) {
      beta = high
      break
    }
    if (slope > 0) high = beta
    else low = beta
    const newton = beta - slope / curvature
    const next = newton > low && newton < high ? newton : Math.sqrt(low * high)
    const moved = Math.abs(next - beta)
    beta = next
    if (moved <= 1e-13 * beta || slope === 0) break
  }
  const temperature = 1 / beta
  if (temperature < 1.001 * temperatureRange[0] || temperature > 0.999 * temperatureRange[1]) {
    data.warn(
      `temperature: the likelihood has no optimum inside [${temperatureRange.join(', ')}] (labels that logits predict without error, or worse than chance); stopped at ${temperature.toPrecision(4)}`,
    )
  }
  return temperature
}

/**
 * Fits temperature scaling: min_T −Σ_n log softmax(z_n / T)_{y_n}.
 *
 * @param logits - [N, K] of held-out examples
 * @param labels - [N] class indices
 * @returns the calibrator, with its `temperature`; the arg max of a row never changes
 * @throws ShapeError, DataError for malformed input
 * @see arXiv 1706.04599
 */
export async function fitTemperature(
  logits: Rows,
  labels: LabelsInput,
  options: FitCalibratorOptions = {},
): Promise<TemperatureCalibrator> {
  const data = openFitData(logits, labels, options)
  return makeTemperature(data.classes, await bestTemperature(data, options.signal), data.warnings)
}

function makeTemperature(classes: number, temperature: number, warnings: readonly string[]): TemperatureCalibrator {
  const transform = (block: Float64Array, rows: number): void => {
    for (let i = 0; i < rows * classes; i++) block[i] /= temperature
    softmaxRows(block, rows, classes)
  }
  return { ...makeCalibrator({ kind: 'temperature', classes, parameters: { temperature }, transform, warnings }), temperature }
}

/** A saved temperature calibrator. @throws DataError */
export function loadTemperature(state: CalibratorState): TemperatureCalibrator {
  return makeTemperature(state.classes, savedNumber(state, 'temperature'), [])
}
