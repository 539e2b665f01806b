/**
 * Naeini, Cooper, Hauskrecht: "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015 (BBQ).
 *
 * Equal-mass binnings with several numbers of bins are averaged by their marginal likelihood under Beta priors.
 */
import { OptionError } from '@bpf/core'
import type { LabelsInput } from '@bpf/core/data'
import { lgamma } from '@bpf/core/numerics'
import { positiveInteger, type CalibratorState, type FitCalibratorOptions } from './shared/calibrator'
import { equalMassBins } from './shared/equal-mass'
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
import { lowerBound, stableOrder } from './shared/sort'

/** Options of {@link fitBayesianBinning}. */
export interface BayesianBinningOptions extends FitCalibratorOptions {
  /** Default 'topLabel'. */
  mode?: BinaryMode
  /** Numbers of bins B to average over. Default: all from N^{1/3}/10 to 10 N^{1/3}, at least 1 and at most N/2. */
  binCounts?: readonly number[]
  /** Equivalent sample size N' of the Beta priors. Default 2. */
  priorStrength?: number
}

/** Calibrator averaged over binnings. */
export interface BayesianBinningCalibrator extends ScalarMapsCalibrator {
  /** ln of the marginal likelihood of each binning, for each map in the order of `binCounts`. */
  readonly logScores: readonly Float64Array[]
}

/** One binning: inner edges, estimates (m + α)/(n + N'/B), and its log marginal likelihood. */
interface Binning {
  edges: Float64Array
  values: Float64Array
  logScore: number
}

/**
 * log score = Σ_b [lnΓ(N'/B) − lnΓ(n_b + N'/B) + lnΓ(m_b + α_b) − lnΓ(α_b) + lnΓ(n_b − m_b + β_b) − lnΓ(β_b)],
 * α_b = N' q_b / B, β_b = N' (1 − q_b) / B, q_b the middle of the bin.
 */
function fitBinning(p: Float64Array, o: Uint8Array, order: Int32Array, bins: number, strength: number): Binning {
  const { edges, counts, hits } = equalMassBins(p, o, bins, order)
  const share = strength / bins
  const values = new Float64Array(bins)
  let logScore = 0
  for (let b = 0; b < bins; b++) {
    // The prior's mean lies strictly inside (0, 1): bins of zero width at 0 or 1 have no defined likelihood otherwise.
    const middle = Math.min(1 - 1e-12, Math.max(1e-12, (edges[b] + edges[b + 1]) / 2))
    const alpha = share * middle
    const beta = share * (1 - middle)
    logScore +=
      lgamma(share) -
      lgamma(counts[b] + share) +
      lgamma(hits[b] + alpha) -
      lgamma(alpha) +
      lgamma(counts[b] - hits[b] + beta) -
      lgamma(beta)
    values[b] = (hits[b] + alpha) / (counts[b] + share)
  }
  return { edges: edges.slice(1, -1), values, logScore }
}

/** The weighted mean of step functions, itself one over the union of their edges. */
function average(binnings: readonly Binning[]): { edges: Float64Array; values: Float64Array } {
  const best = Math.max(...binnings.map((binning) => binning.logScore))
  const weights = binnings.map((binning) => Math.exp(binning.logScore - best))
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  const kept = binnings.map((binning, i) => ({ ...binning, weight: weights[i] / total })).filter(({ weight }) => weight > 1e-17)
  const edges = Float64Array.from(new Set(kept.flatMap((binning) => [...binning.edges]))).sort()
  const values = new Float64Array(edges.length + 1)
  for (const binning of kept) {
    for (let b = 0; b <= edges.length; b++) {
      // The value in (edges[b − 1], edges[b]] is the value at its upper end.
      const bin = b < edges.length ? lowerBound(binning.edges, edges[b]) : binning.values.length - 1
      values[b] += binning.weight * binning.values[bin]
    }
  }
  return { edges, values }
}

function defaultBinCounts(n: number): number[] {
  const root = Math.cbrt(n)
  const from = Math.max(1, Math.floor(root / 10))
  const to = Math.max(from, Math.min(Math.ceil(10 * root), Math.floor(n / 2)))
  return Array.from({ length: to - from + 1 }, (_, i) => from + i)
}

function method(binCounts: readonly number[] | undefined, strength: number): ScalarMethod {
  return {
    kind: 'bayesianBinning',
    fit(p, o) {
      const order = stableOrder(p)
      const binnings = (binCounts ?? defaultBinCounts(p.length)).map((bins) => fitBinning(p, o, order, bins, strength))
      return { ...average(binnings), logScores: Float64Array.from(binnings, (binning) => binning.logScore) }
    },
    map(fitted) {
      const { edges, values } = vectors(fitted, 'bayesianBinning', ['edges', 'values'])
      return stepMap(edges, values)
    },
  }
}

/**
 * Fits Bayesian binning into quantiles.
 *
 * @param logits - [N, K] of held-out examples
 * @param labels - [N] class indices
 * @returns the calibrator, with the log score of each binning; arg max may change
 * @throws ShapeError, DataError for malformed input; OptionError for bin counts outside 1 … N
 */
export async function fitBayesianBinning(
  logits: Rows,
  labels: LabelsInput,
  options: BayesianBinningOptions = {},
): Promise<BayesianBinningCalibrator> {
  const { binCounts, priorStrength = 2 } = options
  if (binCounts?.length === 0) throw new OptionError('binCounts: expected at least one number of bins')
  const examples = 'shape' in labels ? labels.shape[0] : labels.length
  for (const bins of binCounts ?? []) {
    positiveInteger(bins, 'binCounts')
    if (bins > examples) throw new OptionError(`binCounts: ${bins} bins need at least as many examples, got ${examples}`)
  }
  if (!(priorStrength > 0)) throw new OptionError(`priorStrength: expected a positive number, got ${priorStrength}`)
  return withScores(await fitScalarMaps(method(binCounts, priorStrength), logits, labels, options))
}

function withScores(calibrator: ScalarMapsCalibrator): BayesianBinningCalibrator {
  const maps = calibrator.save().parameters.maps as readonly { logScores: Float64Array }[]
  return { ...calibrator, logScores: maps.map((map) => Float64Array.from(map.logScores)) }
}

/** A saved Bayesian binning. @throws DataError */
export function loadBayesianBinning(state: CalibratorState): BayesianBinningCalibrator {
  return withScores(loadScalarMaps(method(undefined, 2), state))
}
