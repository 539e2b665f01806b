/**
 * Zhang, Kailkhura, Han: "Mix-n-Match: Ensemble and Compositional Methods for Uncertainty Calibration in Deep Learning",
 * ICML 2020, arXiv 2003.07329: ensemble temperature scaling (ETS).
 *
 * w₁ softmax(z/T) + w₂ softmax(z) + w₃/K with w on the simplex. T minimises the mean squared error, then w does; in w the error
 * is a quadratic on a triangle, solved exactly by an active set (the reference runs SLSQP).
 */
import { OptionError } from '@bpf/core'
import type { LabelsInput } from '@bpf/core/data'
import { minimizeBounded, simplexQuadratic } from '@bpf/core/solve'
import {
  breathe,
  makeCalibrator,
  openFitData,
  savedNumber,
  savedVector,
  type Calibrator,
  type CalibratorState,
  type FitCalibratorOptions,
  type FitData,
} from './shared/calibrator'
import { forEachBlock, softmaxRows, type Rows } from './shared/rows'

/** Options of {@link fitEnsembleTemperature}. */
export interface EnsembleTemperatureOptions extends FitCalibratorOptions {
  /** A given T, so that only the weights are fitted. */
  temperature?: number
}

/** Mixture of a tempered softmax, the softmax itself and the uniform distribution. */
export interface EnsembleTemperatureCalibrator extends Calibrator {
  readonly temperature: number
  /** w₁, w₂, w₃: at least 0, sum 1. */
  readonly weights: Float64Array
  /** Mean squared error Σ_{n,k} (p − e)² / (N K) on the calibration data. */
  readonly meanSquaredError: number
}

/** Moments of the residuals of tempered, plain and uniform predictions: r_a·r_b averaged over all entries, [3·3]. */
function residualMoments(data: FitData, temperature: number): Float64Array {
  const { classes, labels, rows } = data
  const moments = new Float64Array(9)
  const r = new Float64Array(3)
  forEachBlock(data, (block, start, count) => {
    const tempered = block.slice(0, count * classes)
    for (let i = 0; i < tempered.length; i++) tempered[i] /= temperature
    softmaxRows(tempered, count, classes)
    softmaxRows(block, count, classes)
    for (let row = 0, i = 0; row < count; row++) {
      for (let k = 0; k < classes; k++, i++) {
        const e = k === labels[start + row] ? 1 : 0
        r[0] = tempered[i] - e
        r[1] = block[i] - e
        r[2] = 1 / classes - e
        for (let a = 0; a < 3; a++) for (let b = 0; b < 3; b++) moments[a * 3 + b] += r[a] * r[b]
      }
    }
  })
  return moments.map((moment) => moment / (rows * classes))
}

function quadratic(moments: Float64Array, w: ArrayLike<number>): number {
  let value = 0
  for (let a = 0; a < 3; a++) for (let b = 0; b < 3; b++) value += w[a] * w[b] * moments[a * 3 + b]
  return value
}

/** T of least squared error. It need not be convex: a coarse grid on log T finds the valley, Brent's method its bottom. */
function leastSquaresTemperature(data: FitData, signal: AbortSignal | undefined): number {
  const errorAt = (logT: number): number => {
    signal?.throwIfAborted()
    return residualMoments(data, Math.exp(logT))[0]
  }
  const step = Math.log(100) / 12
  const grid = Array.from({ length: 17 }, (_, i) => Math.log(0.05) + i * step)
  const errors = grid.map(errorAt)
  const best = errors.indexOf(Math.min(...errors))
  return Math.exp(minimizeBounded(errorAt, grid[Math.max(0, best - 1)], grid[Math.min(grid.length - 1, best + 1)], { tolerance: 1e-9 }).x)
}

/**
 * Fits ensemble temperature scaling.
 *
 * @param logits - [N, K] of held-out examples
 * @param labels - [N] class indices
 * @returns the calibrator with `temperature`, `weights` and `meanSquaredError`; the arg max of a row never changes
 * @throws ShapeError, DataError for malformed input, OptionError for a temperature that is not positive
 * @see arXiv 2003.07329
 */
export async function fitEnsembleTemperature(
  logits: Rows,
  labels: LabelsInput,
  options: EnsembleTemperatureOptions = {},
): Promise<EnsembleTemperatureCalibrator> {
  if (options.temperature !== undefined && !(options.temperature > 0)) {
    throw new OptionError(`temperature: expected a positive number, got ${options.temperature}`)
  }
  const data = openFitData(logits, labels, options)
  await breathe(options.signal)
  const temperature = options.temperature ?? leastSquaresTemperature(data, options.signal)
  const moments = residualMoments(data, temperature)
  // As the weights sum to 1, the residual of the mixture is the mixture of the residuals: the error is wᵀ M w.
  const weights = simplexQuadratic({ rows: 3, cols: 3, data: moments.map((moment) => 2 * moment) }, new Float64Array(3))
  return makeEnsemble(data.classes, temperature, weights, quadratic(moments, weights), data.warnings)
}

function makeEnsemble(
  classes: number,
  temperature: number,
  weights: Float64Array,
  meanSquaredError: number,
  warnings: readonly string[],
): EnsembleTemperatureCalibrator {
  const transform = (block: Float64Array, rows: number): void => {
    const tempered = block.slice(0, rows * classes)
    for (let i = 0; i < tempered.length; i++) tempered[i] /= temperature
    softmaxRows(tempered, rows, classes)
    softmaxRows(block, rows, classes)
    for (let i = 0; i < tempered.length; i++) block[i] = weights[0] * tempered[i] + weights[1] * block[i] + weights[2] / classes
  }
  const parameters = { temperature, weights, meanSquaredError }
  const calibrator = makeCalibrator({ kind: 'ensembleTemperature', classes, parameters, transform, warnings })
  return { ...calibrator, temperature, weights, meanSquaredError }
}

/** A saved ensemble temperature scaling. @throws DataError */
export function loadEnsembleTemperature(state: CalibratorState): EnsembleTemperatureCalibrator {
  return makeEnsemble(
    state.classes,
    savedNumber(state, 'temperature'),
    savedVector(state, 'weights', 3),
    savedNumber(state, 'meanSquaredError'),
    [],
  )
}
