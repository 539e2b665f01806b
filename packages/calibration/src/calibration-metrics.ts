/**
 * The calibration metrics that h-calibration is compared by (Huang et al. 2025, arXiv 2506.17968, and its reference code's
 * utils), computed in double precision from row blocks: a matrix of 50,000 × 2,000 is never copied whole.
 */
import { OptionError } from '@bpf/core'
import { readLabels, type LabelsInput } from '@bpf/core/data'
import { dirichletKernelError, squaredKernelError, type BlockSource } from './metrics/canonical'
import { addClassSums, emptyClassSums, meanOverKept, meanRootSquare, sumOverClasses, thresholdedClusterError } from './metrics/class-wise'
import {
  debiasedError,
  equalMassInterpolatedError,
  equalWidthSums,
  kernelDensityError,
  kolmogorovSmirnovError,
  maximumMeanCalibrationError,
  meanGap,
  prefixSum,
  rootSquareGap,
  sweepError,
  weightedGap,
  type SortedConfidence,
} from './metrics/top-label'
import { positiveInteger } from './shared/calibrator'
import {
  argMaxOfRow,
  forEachBlock,
  logSoftmaxRows,
  openLogits,
  openProbabilities,
  readBlock,
  softmaxRows,
  type OnWarning,
  type RowData,
  type Rows,
} from './shared/rows'
import { gather, stableOrder } from './shared/sort'

/** All metrics by name; what each is stands at {@link calibrationMetrics}. */
export const calibrationMetricNames = [
  'accuracy',
  'NLL',
  'Brier',
  'ECE_ew',
  'ECE_em',
  'ACE',
  'ECE_r2',
  'dECE',
  'ECE_s_r1',
  'ECE_s_r2',
  'CWECE_a',
  'CWECE_s',
  'CWECE_r2',
  'tCWECE',
  'tCWECE_k',
  'KSerror',
  'MMCE',
  'KDE_ECE',
  'SKCE',
  'SKCE_biased',
  'DKDE_CE',
] as const

/** The name of a calibration metric. */
export type CalibrationMetric = (typeof calibrationMetricNames)[number]

/** Options of {@link calibrationMetrics}. */
export interface CalibrationMetricsOptions<Name extends CalibrationMetric = CalibrationMetric> {
  /** Number of bins B. Default 15. */
  bins?: number
  /** What the rows hold. Default 'probabilities'. */
  input?: 'probabilities' | 'logits'
  /** Which metrics to compute. Default: all. SKCE and DKDE_CE compare all pairs of rows; leave them out for large N. */
  metrics?: readonly Name[]
  /** Number of classes, needed for typed arrays. */
  classes?: number
  /** Told when logits of minus infinity were clipped. */
  onWarning?: OnWarning
}

/** Smallest probability in a logarithm, when probabilities are given: binning methods produce zeros. */
const leastProbability = 1e-12

/** Probabilities of rows of either kind, in place. */
function reader(
  input: 'probabilities' | 'logits',
  classes: number,
): { toProbabilities: (block: Float64Array, rows: number) => void; toLogs: (block: Float64Array, rows: number) => void } {
  if (input === 'logits') {
    return {
      toProbabilities: (block, rows) => softmaxRows(block, rows, classes),
      toLogs: (block, rows) => logSoftmaxRows(block, rows, classes),
    }
  }
  return {
    toProbabilities: () => undefined,
    toLogs: (block, rows) => {
      for (let i = 0; i < rows * classes; i++) block[i] = Math.log(Math.max(block[i], leastProbability))
    },
  }
}

/**
 * Calibration metrics of predictions against labels. c is the top label's probability, h whether it was right; bins
 * are B of equal width, (lo, hi], unless said otherwise.
 *
 * - accuracy, NLL (−ln p_y; p at least 1e-12 when probabilities are given), Brier (Σ_k (p − e)²): means over rows
 * - ECE_ew: Σ n_b/N |mean c − mean h|. ECE_em: with interpolated quantiles as edges. ACE: mean over non-empty bins.
 *   ECE_r2: root of the weighted squares. dECE: debiased, equal mass; NaN with fewer than two points in a bin
 * - ECE_s_r1, ECE_s_r2: as many equal-mass bins as keep accuracy monotone
 * - CWECE_a, CWECE_s (B − 1 bins), CWECE_r2: ECE_ew of each class's p_k: mean, sum, mean of roots. tCWECE, tCWECE_k: only
 *   events with p_k > 1/K, equal-width or k-means bins
 * - KSerror: largest cumulative difference. MMCE: kernel e^{−2.5|c − c'|}. KDE_ECE: from kernel densities
 * - SKCE (unbiased, may be negative), SKCE_biased: kernel e^{−‖p − p'‖}; DKDE_CE: Dirichlet kernels, squared. O(N² K)
 *
 * @param predictions - [N, K] probabilities or logits
 * @param labels - [N] class indices
 * @returns a record of the metrics asked for
 * @throws ShapeError, DataError for malformed rows or labels; OptionError for bins below 1 or an unknown metric
 * @see arXiv 2506.17968
 *
 * @example
 * ```ts
 * calibrationMetrics([[0.9, 0.1], [0.2, 0.8]], [0, 1], { bins: 10, metrics: ['ECE_ew', 'NLL'] })
 * ```
 */
export function calibrationMetrics<Name extends CalibrationMetric = CalibrationMetric>(
  predictions: Rows,
  labels: LabelsInput,
  options: CalibrationMetricsOptions<Name> = {},
): Record<Name, number> {
  const { bins = 15, input = 'probabilities', onWarning = () => undefined } = options
  const wanted: readonly CalibrationMetric[] = options.metrics ?? calibrationMetricNames
  positiveInteger(bins, 'bins')
  for (const name of wanted) {
    if (!calibrationMetricNames.includes(name)) {
      throw new OptionError(`metrics: unknown metric '${name}'; known are ${calibrationMetricNames.join(', ')}`)
    }
  }
  const source =
    input === 'logits'
      ? openLogits(predictions, 'predictions', options.classes, onWarning)
      : openProbabilities(predictions, 'predictions', options.classes)
  const y = readLabels(labels, 'labels', { classes: Math.max(1, source.classes), length: source.rows })
  const values = compute(source, y, input, bins, new Set(wanted))
  return Object.fromEntries(wanted.map((name) => [name, values[name] ?? NaN])) as Record<Name, number>
}

type Values = Partial<Record<CalibrationMetric, number>>

function compute(
  source: RowData,
  labels: Int32Array,
  input: 'probabilities' | 'logits',
  bins: number,
  wanted: Set<CalibrationMetric>,
): Values {
  const { rows, classes } = source
  if (rows === 0) return {}
  const { toProbabilities, toLogs } = reader(input, classes)
  const asks = (...names: CalibrationMetric[]): boolean => names.some((name) => wanted.has(name))
  const classWise = asks('CWECE_a', 'CWECE_r2') ? emptyClassSums(classes, bins) : undefined
  const fewer = asks('CWECE_s') ? emptyClassSums(classes, Math.max(1, bins - 1)) : undefined
  const thresholded = asks('tCWECE') ? emptyClassSums(classes, bins) : undefined
  const confidence = new Float64Array(rows)
  const hit = new Uint8Array(rows)
  const second = new Float64Array(classes === 2 ? rows : 0)
  let brier = 0
  let right = 0
  forEachBlock(source, (block, start, count) => {
    toProbabilities(block, count)
    for (let row = 0; row < count; row++) {
      const at = row * classes
      const label = labels[start + row]
      const top = argMaxOfRow(block, at, classes)
      confidence[start + row] = block[at + top]
      if (classes === 2) second[start + row] = block[at + 1]
      if (top === label) {
        hit[start + row] = 1
        right++
      }
      for (let k = 0; k < classes; k++) brier += (block[at + k] - (k === label ? 1 : 0)) ** 2
    }
    if (classWise !== undefined) addClassSums(classWise, block, labels, start, count)
    if (fewer !== undefined) addClassSums(fewer, block, labels, start, count)
    if (thresholded !== undefined) addClassSums(thresholded, block, labels, start, count, 1 / classes)
  })
  const values: Values = { accuracy: right / rows, Brier: brier / rows, ...topLabelMetrics(confidence, hit, bins) }
  if (asks('NLL')) values.NLL = negativeLogLikelihood(source, labels, toLogs)
  if (classWise !== undefined) {
    values.CWECE_a = sumOverClasses(classWise, rows) / classes
    values.CWECE_r2 = meanRootSquare(classWise, rows)
  }
  if (fewer !== undefined) values.CWECE_s = sumOverClasses(fewer, rows)
  if (thresholded !== undefined) values.tCWECE = meanOverKept(thresholded)
  if (asks('tCWECE_k')) values.tCWECE_k = thresholdedClusterError(source, toProbabilities, labels, bins)
  if (asks('KDE_ECE')) values.KDE_ECE = classes === 2 ? kernelDensityError(second, labels) : kernelDensityError(confidence, hit)
  const read = blockSource(source, toProbabilities)
  if (asks('SKCE', 'SKCE_biased')) {
    const { unbiased, biased } = squaredKernelError(read, labels, classes)
    values.SKCE = unbiased
    values.SKCE_biased = biased
  }
  if (asks('DKDE_CE')) values.DKDE_CE = dirichletKernelError(read, blockSource(source, toLogs), labels, classes)
  return values
}

function blockSource(source: RowData, transform: (block: Float64Array, rows: number) => void): BlockSource {
  return (start, count, block) => {
    readBlock(source, start, count, block)
    transform(block, count)
  }
}

/** Metrics that need only confidences: cheap, so they are computed together. */
function topLabelMetrics(confidence: Float64Array, hit: Uint8Array, bins: number): Values {
  const order = stableOrder(confidence)
  const c = gather(confidence, order)
  const h = gather(hit, order)
  const sorted: SortedConfidence = { c, h, prefixC: prefixSum(c), prefixH: prefixSum(h) }
  const equalWidth = equalWidthSums(c, h, bins, false)
  const sweep = sweepError(sorted)
  return {
    ECE_ew: weightedGap(equalWidth, c.length),
    ECE_em: equalMassInterpolatedError(sorted, bins),
    ACE: meanGap(equalWidth),
    ECE_r2: rootSquareGap(equalWidthSums(c, h, bins, true), c.length),
    dECE: debiasedError(sorted, bins),
    ECE_s_r1: sweep.l1,
    ECE_s_r2: sweep.l2,
    KSerror: kolmogorovSmirnovError(sorted),
    MMCE: maximumMeanCalibrationError(sorted),
  }
}

function negativeLogLikelihood(source: RowData, labels: Int32Array, toLogs: (block: Float64Array, rows: number) => void): number {
  let loss = 0
  forEachBlock(source, (block, start, count) => {
    toLogs(block, count)
    for (let row = 0; row < count; row++) loss -= block[row * source.classes + labels[start + row]]
  })
  return loss / source.rows
}
