/**
 * Zadrozny, Elkan: "Obtaining calibrated probability estimates from decision trees and naive Bayesian classifiers", ICML 2001.
 *
 * Each bin of predictions is given the mean outcome of its calibration examples.
 */
import { OptionError } from '@bpf/core'
import type { LabelsInput } from '@bpf/core/data'
import { equalMassBins } from './shared/equal-mass'
import { positiveInteger, type CalibratorState, type FitCalibratorOptions } from './shared/calibrator'
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
import { lowerBound } from './shared/sort'

/** Options of {@link fitHistogramBinning}. */
export interface HistogramBinningOptions extends FitCalibratorOptions {
  /** Default 'topLabel'. */
  mode?: BinaryMode
  /** Number of bins. Default 15. */
  bins?: number
  /** Bins (lo, hi] of equal width, where an empty one gets its centre; or of equal numbers of examples. Default 'equalWidth'. */
  binning?: 'equalWidth' | 'equalMass'
}

function method(bins: number, binning: 'equalWidth' | 'equalMass'): ScalarMethod {
  return {
    kind: 'histogramBinning',
    fit: (p, o) => (binning === 'equalWidth' ? fitEqualWidth(p, o, bins) : fitEqualMass(p, o, bins)),
    map(fitted) {
      const { edges, values } = vectors(fitted, 'histogramBinning', ['edges', 'values'])
      return stepMap(edges, values)
    },
  }
}

function fitEqualWidth(p: Float64Array, o: Uint8Array, bins: number): { edges: Float64Array; values: Float64Array } {
  const edges = Float64Array.from({ length: bins - 1 }, (_, b) => (b + 1) / bins)
  const hits = new Float64Array(bins)
  const counts = new Float64Array(bins)
  for (let i = 0; i < p.length; i++) {
    const bin = lowerBound(edges, p[i])
    counts[bin]++
    hits[bin] += o[i]
  }
  return { edges, values: hits.map((hit, b) => (counts[b] === 0 ? (b + 0.5) / bins : hit / counts[b])) }
}

function fitEqualMass(p: Float64Array, o: Uint8Array, bins: number): { edges: Float64Array; values: Float64Array } {
  const { edges, hits, counts } = equalMassBins(p, o, Math.min(bins, p.length))
  return { edges: edges.slice(1, -1), values: hits.map((hit, b) => hit / counts[b]) }
}

/**
 * Fits histogram binning.
 *
 * @param logits - [N, K] of held-out examples
 * @param labels - [N] class indices
 * @returns the calibrator; arg max may change, and probabilities of 0 appear: clip at 1e-12 before a logarithm
 * @throws ShapeError, DataError for malformed input, OptionError for bins below 1
 */
export async function fitHistogramBinning(
  logits: Rows,
  labels: LabelsInput,
  options: HistogramBinningOptions = {},
): Promise<ScalarMapsCalibrator> {
  const { bins = 15, binning = 'equalWidth' } = options
  positiveInteger(bins, 'bins')
  if (binning !== 'equalWidth' && binning !== 'equalMass') {
    throw new OptionError(`binning: expected 'equalWidth' or 'equalMass', got '${String(binning)}'`)
  }
  return fitScalarMaps(method(bins, binning), logits, labels, options)
}

/** A saved histogram binning. @throws DataError */
export function loadHistogramBinning(state: CalibratorState): ScalarMapsCalibrator {
  return loadScalarMaps(method(1, 'equalWidth'), state)
}
