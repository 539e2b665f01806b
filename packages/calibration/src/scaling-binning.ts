/**
 * Kumar, Liang, Ma: "Verified Uncertainty Calibration", NeurIPS 2019, arXiv 1909.10155: the scaling-binning calibrator.
 *
 * First a parametric map (one temperature, or Platt's sigmoid for each binary problem) is fitted, then its outputs are sorted into
 * bins of equal mass, and each bin outputs the mean of its fitted values: the calibration error can be measured with few samples.
 */
import { OptionError, type Json } from '@bpf/core'
import type { LabelsInput } from '@bpf/core/data'
import { logit, sigmoid } from '@bpf/core/numerics'
import { positiveInteger, type CalibratorState, type FitCalibratorOptions } from './shared/calibrator'
import { equalMassBins } from './shared/equal-mass'
import { fitLogistic } from './shared/logistic'
import type { Rows } from './shared/rows'
import {
  fitScalarMaps,
  loadScalarMaps,
  stepMap,
  vectors,
  type BinaryMode,
  type ScalarMapsCalibrator,
  type ScalarMethod,
} from './shared/scalar-maps'

/** Options of {@link fitScalingBinning}. */
export interface ScalingBinningOptions extends FitCalibratorOptions {
  /** Default 'topLabel'. */
  mode?: BinaryMode
  /** Number of bins. Default 15. */
  bins?: number
}

/** Probabilities 0 and 1 have no logit; they are moved in by this much. */
const least = 1e-12

function inner(p: number): number {
  return logit(Math.min(1 - least, Math.max(least, p)))
}

function method(bins: number): ScalarMethod {
  return {
    kind: 'scalingBinning',
    fit(p, o): Json {
      const { weights, intercept } = fitLogistic([p.map(inner)], o)
      const fitted = p.map((value) => sigmoid(weights[0] * inner(value) + intercept))
      const { edges, counts, sums } = equalMassBins(fitted, o, Math.min(bins, p.length))
      return { platt: Float64Array.of(weights[0], intercept), edges: edges.slice(1, -1), values: sums.map((sum, b) => sum / counts[b]) }
    },
    map(fitted) {
      const { platt, edges, values } = vectors(fitted, 'scalingBinning', ['platt', 'edges', 'values'])
      const binned = stepMap(edges, values)
      return (p) => binned(sigmoid(platt[0] * inner(p) + platt[1]))
    },
  }
}

/**
 * Fits the scaling-binning calibrator, with Platt's sigmoid of logit p as its parametric map.
 *
 * @param logits - [N, K] of held-out examples
 * @param labels - [N] class indices
 * @returns the calibrator; arg max may change
 * @throws ShapeError, DataError for malformed input, OptionError for bins below 1
 * @see arXiv 1909.10155
 */
export async function fitScalingBinning(
  logits: Rows,
  labels: LabelsInput,
  options: ScalingBinningOptions = {},
): Promise<ScalarMapsCalibrator> {
  const { bins = 15 } = options
  positiveInteger(bins, 'bins')
  if (options.mode !== undefined && options.mode !== 'topLabel' && options.mode !== 'oneVsRest') {
    throw new OptionError(`mode: expected 'topLabel' or 'oneVsRest', got '${String(options.mode)}'`)
  }
  return fitScalarMaps(method(bins), logits, labels, options)
}

/** A saved scaling-binning calibrator. @throws DataError */
export function loadScalingBinning(state: CalibratorState): ScalarMapsCalibrator {
  return loadScalarMaps(method(1), state)
}
