/**
 * Metrics of the top label's confidence c against whether it was right, h. Each has its own convention for bin edges,
 * as the code it was published with; the names say which.
 */
import { erf, roundHalfToEven } from '@bpf/core/numerics'
import { upperBound } from '../shared/sort'

/** Confidences and hits in ascending order of confidence, with prefix sums from 0. */
export interface SortedConfidence {
  readonly c: Float64Array
  readonly h: Float64Array
  readonly prefixC: Float64Array
  readonly prefixH: Float64Array
}

/** Prefix sums from 0: one entry more than `values`. */
export function prefixSum(values: Float64Array): Float64Array {
  const prefix = new Float64Array(values.length + 1)
  for (let i = 0; i < values.length; i++) prefix[i + 1] = prefix[i] + values[i]
  return prefix
}

/** Bin of `p` among equal-width bins (b/B, (b+1)/B], or -1 for p = 0: computed edges decide, not the product. */
export function equalWidthBin(p: number, bins: number): number {
  if (p <= 0) return -1
  let bin = Math.min(bins - 1, Math.max(0, Math.ceil(p * bins) - 1))
  while (bin > 0 && p <= bin / bins) bin--
  while (bin < bins - 1 && p > (bin + 1) / bins) bin++
  return bin
}

/** Sums over bins: number of members, of predicted probabilities, of occurrences. */
export interface BinSums {
  readonly count: Float64Array
  readonly predicted: Float64Array
  readonly occurred: Float64Array
}

/** Sums over equal-width bins (lo, hi]. @param zeroInFirst - whether p = 0 belongs to the first bin or to none */
export function equalWidthSums(p: Float64Array, o: ArrayLike<number>, bins: number, zeroInFirst: boolean): BinSums {
  const sums = { count: new Float64Array(bins), predicted: new Float64Array(bins), occurred: new Float64Array(bins) }
  for (let i = 0; i < p.length; i++) {
    let bin = equalWidthBin(p[i], bins)
    if (bin < 0) {
      if (!zeroInFirst) continue
      bin = 0
    }
    sums.count[bin]++
    sums.predicted[bin] += p[i]
    sums.occurred[bin] += o[i]
  }
  return sums
}

/** Σ_b n_b/N |gap_b|, over the bins from `offset` on. */
export function weightedGap(sums: BinSums, total: number, offset = 0, bins = sums.count.length): number {
  let error = 0
  for (let b = offset; b < offset + bins; b++) error += Math.abs(sums.predicted[b] - sums.occurred[b])
  return error / total
}

/** (Σ_b n_b/N gap_b²)^{1/2}, over the bins from `offset` on. */
export function rootSquareGap(sums: BinSums, total: number, offset = 0, bins = sums.count.length): number {
  let error = 0
  for (let b = offset; b < offset + bins; b++) {
    if (sums.count[b] > 0) error += (sums.predicted[b] - sums.occurred[b]) ** 2 / sums.count[b]
  }
  return Math.sqrt(error / total)
}

/** Mean |gap| over the bins that have members. */
export function meanGap(sums: BinSums): number {
  let error = 0
  let filled = 0
  for (let b = 0; b < sums.count.length; b++) {
    if (sums.count[b] === 0) continue
    error += Math.abs(sums.predicted[b] - sums.occurred[b]) / sums.count[b]
    filled++
  }
  return filled === 0 ? 0 : error / filled
}

/** Sums over ranges of the sorted confidences; `bounds` [B + 1]. */
function rangeSums({ prefixC, prefixH }: SortedConfidence, bounds: ArrayLike<number>): BinSums {
  const bins = bounds.length - 1
  const sums = { count: new Float64Array(bins), predicted: new Float64Array(bins), occurred: new Float64Array(bins) }
  for (let b = 0; b < bins; b++) {
    sums.count[b] = bounds[b + 1] - bounds[b]
    sums.predicted[b] = prefixC[bounds[b + 1]] - prefixC[bounds[b]]
    sums.occurred[b] = prefixH[bounds[b + 1]] - prefixH[bounds[b]]
  }
  return sums
}

/**
 * Equal-mass bins whose edges are quantiles of c interpolated on indices 0 … N − 1, intervals (lo, hi]: the smallest
 * confidence is in none.
 */
export function equalMassInterpolatedError(sorted: SortedConfidence, bins: number): number {
  const { c } = sorted
  const n = c.length
  const bounds = new Int32Array(bins + 1)
  for (let b = 0; b <= bins; b++) {
    const position = Math.min((n * b) / bins, n - 1)
    const below = Math.floor(position)
    const edge = below + 1 < n ? c[below] + (position - below) * (c[below + 1] - c[below]) : c[below]
    bounds[b] = upperBound(c, edge)
  }
  return weightedGap(rangeSums(sorted, bounds), n)
}

/** E|X| for X normal with mean μ and standard deviation s. */
function meanAbsoluteNormal(mu: number, s: number): number {
  if (s === 0) return Math.abs(mu)
  return s * Math.sqrt(2 / Math.PI) * Math.exp((-mu * mu) / (2 * s * s)) + mu * erf(mu / (s * Math.SQRT2))
}

/**
 * Debiased L1 error over equal-mass bins (Kumar, Liang, Ma 2019): 2 ECE − (1/B) Σ_b E|N(gap_b, h̄_b(1 − h̄_b)/n_b)|.
 *
 * @returns NaN when a bin would have fewer than two members, where the variance says nothing
 */
export function debiasedError(sorted: SortedConfidence, bins: number): number {
  const n = sorted.c.length
  const bounds = Array.from({ length: bins + 1 }, (_, b) => roundHalfToEven((n * b) / bins))
  const sums = rangeSums(sorted, bounds)
  let expected = 0
  for (let b = 0; b < bins; b++) {
    const count = sums.count[b]
    if (count < 2) return NaN
    const hit = sums.occurred[b] / count
    expected += meanAbsoluteNormal(hit - sums.predicted[b] / count, Math.sqrt((hit * (1 - hit)) / count))
  }
  return 2 * weightedGap(sums, n) - expected / bins
}

/**
 * Equal-mass bins, as many as keep the bins' accuracies in ascending order (Roelofs et al. 2022, "Mitigating bias in
 * calibration error estimation"): B = 2, 3, … up to the last before the first that breaks it.
 *
 * @returns the errors with the L1 and the L2 norm
 */
export function sweepError(sorted: SortedConfidence): { l1: number; l2: number } {
  const n = sorted.c.length
  let best = sweepBounds(n, 1)
  for (let bins = 2; bins < n; bins++) {
    const bounds = sweepBounds(n, bins)
    if (!accuraciesAscend(sorted.prefixH, bounds)) break
    best = bounds
  }
  const sums = rangeSums(sorted, best)
  return { l1: weightedGap(sums, n), l2: rootSquareGap(sums, n) }
}

/** Index i belongs to bin ⌊iB/N⌋. */
function sweepBounds(n: number, bins: number): Int32Array {
  return Int32Array.from({ length: bins + 1 }, (_, b) => Math.ceil((b * n) / bins))
}

function accuraciesAscend(prefixH: Float64Array, bounds: Int32Array): boolean {
  let before = -Infinity
  for (let b = 0; b + 1 < bounds.length; b++) {
    const accuracy = (prefixH[bounds[b + 1]] - prefixH[bounds[b]]) / (bounds[b + 1] - bounds[b])
    if (accuracy < before) return false
    before = accuracy
  }
  return true
}

/** Kolmogorov–Smirnov error (Gupta et al. 2021): the largest |Σ_{j ≤ i} (c − h)_j| / N. */
export function kolmogorovSmirnovError({ prefixC, prefixH }: SortedConfidence): number {
  let largest = 0
  for (let i = 1; i < prefixC.length; i++) largest = Math.max(largest, Math.abs(prefixC[i] - prefixH[i]))
  return largest / (prefixC.length - 1)
}

/**
 * Maximum mean calibration error (Kumar, Sarawagi, Jain 2018) with the kernel e^{−2.5|c − c'|}.
 *
 * On sorted confidences the kernel's sums follow from one neighbour to the next, so the double sum is linear in N.
 */
export function maximumMeanCalibrationError({ c, h }: SortedConfidence): number {
  let total = 0
  let reach = 0
  for (let i = 0; i < c.length; i++) {
    if (i > 0) reach = (reach + h[i - 1] - c[i - 1]) * Math.exp(-2.5 * (c[i] - c[i - 1]))
    const error = h[i] - c[i]
    total += error * (error + 2 * reach)
  }
  return Math.sqrt(Math.max(0, total)) / c.length
}

/** Points of the density grid. */
const gridPoints = 2 ** 14
const gridFrom = -0.6
const gridTo = 1.6

/** Adds the triweight kernel of unit mass and half-width `half` around `centre` to the density on the grid. */
function addTriweight(density: Float64Array, centre: number, half: number): void {
  const step = (gridTo - gridFrom) / (gridPoints - 1)
  const first = Math.max(0, Math.ceil((centre - half - gridFrom) / step))
  const last = Math.min(gridPoints - 1, Math.floor((centre + half - gridFrom) / step))
  const height = 35 / (32 * half)
  for (let g = first; g <= last; g++) {
    const u = (gridFrom + g * step - centre) / half
    const bump = 1 - u * u
    density[g] += height * bump * bump * bump
  }
}

/**
 * Calibration error from kernel densities (Zhang, Kailkhura, Han 2020): ∫ |x − accuracy(x)| f(x) dx, where accuracy(x) is
 * the density of the correct over that of all. Triweight kernel, data mirrored at 0 and 1.
 *
 * @param p - [N] confidence, or with two classes the probability of class 1
 * @param o - [N] whether it occurred
 */
export function kernelDensityError(p: Float64Array, o: ArrayLike<number>): number {
  const n = p.length
  let hits = 0
  let sum = 0
  for (let i = 0; i < n; i++) {
    if (o[i] === 0) continue
    hits++
    sum += p[i]
  }
  if (hits === 0) return p.reduce((total, x) => total + x, 0) / n
  const mean = sum / hits
  let square = 0
  for (let i = 0; i < n; i++) if (o[i] !== 0) square += (p[i] - mean) ** 2
  const bandwidth = Math.sqrt(square / hits) * (2 * n) ** -0.2
  // Half-width is three standard deviations: the triweight's variance is a ninth of its half-width squared.
  const half = Math.max(3 * bandwidth, (gridTo - gridFrom) / gridPoints)
  const all = new Float64Array(gridPoints)
  const correct = new Float64Array(gridPoints)
  for (let i = 0; i < n; i++) {
    const mirrored = p[i] < 0.5 ? -p[i] : 2 - p[i]
    for (const centre of [p[i], mirrored]) {
      addTriweight(all, centre, half)
      if (o[i] !== 0) addTriweight(correct, centre, half)
    }
  }
  // Both densities are doubled after mirroring and divided by their own number of data, so accuracy · (hits/N) cancels them.
  let error = 0
  let mass = 0
  const step = (gridTo - gridFrom) / (gridPoints - 1)
  for (let g = 0; g < gridPoints; g++) {
    const x = gridFrom + g * step
    if (x < 0 || x > 1 || all[g] <= 0) continue
    error += Math.abs(x - Math.min(1, correct[g] / all[g])) * all[g]
    mass += all[g]
  }
  return mass === 0 ? 0 : error / mass
}
