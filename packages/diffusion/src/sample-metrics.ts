/**
 * Distances between samples and their data, on the host in double precision; Fréchet distance and MMD are in `@bpf/core/metrics`.
 * Energy distance: Székely and Rizzo 2013; sliced Wasserstein: Bonneel et al. 2015; precision and recall: Kynkäänniemi et al.
 * 2019, arXiv 1904.06991.
 */
import { DataError, OptionError, ShapeError, type Key } from '@bpf/core'
import { readMatrix, type MatrixInput } from '@bpf/core/data'
import { normalArray } from '@bpf/core/random'
import { linearAssignment } from '@bpf/core/solve'

/** Rows of a sample. */
interface Points {
  rows: number
  cols: number
  data: ArrayLike<number>
}

function readPair(where: string, x: MatrixInput, y: MatrixInput): [Points, Points] {
  const [a, b] = [readMatrix(x, `${where}: x`), readMatrix(y, `${where}: y`)]
  if (a.cols !== b.cols) throw new ShapeError(`${where}: x has ${a.cols} columns, y has ${b.cols}; both need the same`)
  if (a.rows === 0 || b.rows === 0) throw new DataError(`${where}: both samples need at least one row`)
  return [a, b]
}

function distance(a: Points, i: number, b: Points, j: number): number {
  const d = a.cols
  let sum = 0
  for (let k = 0; k < d; k++) {
    const difference = a.data[i * d + k] - b.data[j * d + k]
    sum += difference * difference
  }
  return Math.sqrt(sum)
}

function meanDistance(a: Points, b: Points): number {
  let sum = 0
  if (a === b) {
    for (let i = 0; i < a.rows; i++) for (let j = 0; j < i; j++) sum += distance(a, i, a, j)
    return (2 * sum) / a.rows ** 2
  }
  for (let i = 0; i < a.rows; i++) for (let j = 0; j < b.rows; j++) sum += distance(a, i, b, j)
  return sum / (a.rows * b.rows)
}

/**
 * Energy distance 2 E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖, all pairs in the means (a V-statistic, at least 0).
 *
 * @param x - [n, d]
 * @param y - [m, d]
 * @throws ShapeError when the columns differ, DataError for NaN or an empty sample
 */
export function energyDistance(x: MatrixInput, y: MatrixInput): number {
  const [a, b] = readPair('energyDistance', x, y)
  return 2 * meanDistance(a, b) - meanDistance(a, a) - meanDistance(b, b)
}

/** Options of {@link slicedWasserstein}. */
export interface SlicedWassersteinOptions {
  key: Key
  /** Random directions. Default 128. */
  projections?: number
}

/**
 * Sliced Wasserstein-2 distance: root mean over random directions of the squared distance of the sorted projections (quantiles
 * are interpolated where the sizes differ).
 *
 * @param x - [n, d]
 * @param y - [m, d]
 * @throws OptionError for projections below 1
 */
export function slicedWasserstein(x: MatrixInput, y: MatrixInput, { key, projections = 128 }: SlicedWassersteinOptions): number {
  const [a, b] = readPair('slicedWasserstein', x, y)
  if (!(Number.isSafeInteger(projections) && projections >= 1)) {
    throw new OptionError(`slicedWasserstein: projections must be a positive integer, got ${projections}`)
  }
  const d = a.cols
  const directions = Float64Array.from(normalArray(key, projections * d))
  const project = (points: Points, direction: Float64Array): Float64Array =>
    Float64Array.from({ length: points.rows }, (_, i) =>
      direction.reduce((sum, value, k) => sum + value * points.data[i * d + k], 0),
    ).sort()
  const count = Math.max(a.rows, b.rows)
  const quantile = (sorted: Float64Array, i: number): number => {
    if (sorted.length === count) return sorted[i]
    const position = Math.min(Math.max(((i + 0.5) / count) * sorted.length - 0.5, 0), sorted.length - 1)
    const low = Math.floor(position)
    return sorted[low] + (position - low) * (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low])
  }
  let total = 0
  for (let p = 0; p < projections; p++) {
    const direction = directions.slice(p * d, (p + 1) * d)
    const norm = Math.hypot(...direction)
    direction.forEach((value, k) => (direction[k] = value / norm))
    const [u, v] = [project(a, direction), project(b, direction)]
    for (let i = 0; i < count; i++) total += (quantile(u, i) - quantile(v, i)) ** 2 / count
  }
  return Math.sqrt(total / projections)
}

/**
 * Precision: the share of samples within the k-nearest-neighbour balls of the data; recall: the share of the data within the balls
 * of the samples.
 *
 * @param samples - [n, d]
 * @param data - [m, d]
 * @param k - neighbour whose distance is a ball's radius. Default 3
 * @throws OptionError unless 1 ≤ k < both numbers of rows
 */
export function precisionRecall(samples: MatrixInput, data: MatrixInput, { k = 3 }: { k?: number } = {}) {
  const [a, b] = readPair('precisionRecall', samples, data)
  if (!(Number.isSafeInteger(k) && k >= 1 && k < Math.min(a.rows, b.rows))) {
    throw new OptionError(`precisionRecall: k must be at least 1 and below ${Math.min(a.rows, b.rows)}, got ${k}`)
  }
  const radii = (points: Points): Float64Array =>
    Float64Array.from({ length: points.rows }, (_, i) => {
      const all = Float64Array.from({ length: points.rows }, (__, j) => distance(points, i, points, j)).sort()
      return all[k]
    })
  const covered = (points: Points, by: Points): number => {
    const radius = radii(by)
    let count = 0
    for (let i = 0; i < points.rows; i++) {
      let isInside = false
      for (let j = 0; j < by.rows && !isInside; j++) isInside = distance(points, i, by, j) <= radius[j]
      if (isInside) count++
    }
    return count / points.rows
  }
  return { precision: covered(a, b), recall: covered(b, a) }
}

/**
 * Exact Wasserstein-2 distance between two samples of the same size, at most 1,000 points, and the pairing that attains it (which
 * is also minibatch optimal transport's).
 *
 * @param x - [n, d]
 * @param y - [n, d]
 * @returns the distance, and for each row of x the row of y
 * @throws ShapeError for different sizes, OptionError for more than 1,000 rows
 */
export function wasserstein2(x: MatrixInput, y: MatrixInput): { distance: number; assignment: Int32Array } {
  const [a, b] = readPair('wasserstein2', x, y)
  const n = a.rows
  if (b.rows !== n) throw new ShapeError(`wasserstein2: both samples need the same number of rows, got ${n} and ${b.rows}`)
  if (n > 1000) throw new OptionError(`wasserstein2: at most 1,000 rows, got ${n}; it takes n³ time`)
  const cost = new Float64Array(n * n)
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) cost[i * n + j] = distance(a, i, b, j) ** 2
  const { columns, cost: total } = linearAssignment({ data: cost, shape: [n, n] })
  return { distance: Math.sqrt(total / n), assignment: columns }
}

/** Options of {@link histogramDistance}. */
export interface HistogramOptions {
  /** Bins along each axis. Default 40. */
  bins?: number
  /** Both axes run over [−range, range]; points outside are left out. */
  range: number
}

/**
 * Two-dimensional histograms of both samples compared: L1 = Σ|p − q| and KL(p ‖ q), with half a count added to each bin for KL.
 *
 * @param x - [n, 2]
 * @param y - [m, 2]
 */
export function histogramDistance(x: MatrixInput, y: MatrixInput, { bins = 40, range }: HistogramOptions): { l1: number; kl: number } {
  const [a, b] = readPair('histogramDistance', x, y)
  if (a.cols !== 2) throw new ShapeError(`histogramDistance: expected points in the plane, [n, 2], got ${a.cols} columns`)
  if (!(range > 0) || !(Number.isSafeInteger(bins) && bins >= 1)) {
    throw new OptionError(`histogramDistance: range must be positive and bins a positive integer, got ${range} and ${bins}`)
  }
  const count = ({ rows, data }: Points): Float64Array => {
    const out = new Float64Array(bins * bins)
    for (let i = 0; i < rows; i++) {
      const [u, v] = [0, 1].map((k) => Math.floor(((data[2 * i + k] + range) / (2 * range)) * bins))
      if (u >= 0 && u < bins && v >= 0 && v < bins) out[u * bins + v]++
    }
    return out
  }
  const [p, q] = [count(a), count(b)]
  const cells = bins * bins
  let [l1, kl] = [0, 0]
  for (let i = 0; i < cells; i++) {
    l1 += Math.abs(p[i] / a.rows - q[i] / b.rows)
    const [u, v] = [(p[i] + 0.5) / (a.rows + cells / 2), (q[i] + 0.5) / (b.rows + cells / 2)]
    kl += u * Math.log(u / v)
  }
  return { l1, kl }
}

/**
 * Straightness of trajectories at equal time steps: mean over samples and steps of ‖(x_0 − x_n) − n (x_i − x_{i+1})‖²; 0 where all
 * are straight and of constant speed.
 *
 * @param states - [steps + 1][n · d], the states in order
 * @param n - number of samples
 */
export function straightness(states: readonly ArrayLike<number>[], n: number): number {
  const steps = states.length - 1
  if (steps < 1) throw new OptionError('straightness: expected at least two states')
  const [first, last] = [states[0], states[steps]]
  let total = 0
  for (let i = 0; i < steps; i++) {
    for (let k = 0; k < first.length; k++) total += (first[k] - last[k] - steps * (states[i][k] - states[i + 1][k])) ** 2
  }
  return total / (steps * n)
}

/** A Gaussian with independent coordinates, for {@link gaussianKl}. */
export interface DiagonalGaussian {
  mean: readonly number[]
  variance: readonly number[]
}

/** KL(p ‖ q) of Gaussians with diagonal covariances, in nats. @throws OptionError unless all variances are positive */
export function gaussianKl(p: DiagonalGaussian, q: DiagonalGaussian): number {
  const d = p.mean.length
  if ([p.variance, q.mean, q.variance].some(({ length }) => length !== d)) {
    throw new ShapeError(`gaussianKl: all means and variances need ${d} values`)
  }
  if ([...p.variance, ...q.variance].some((value) => !(value > 0))) throw new OptionError('gaussianKl: variances must be positive')
  return p.mean.reduce((sum, mean, k) => {
    const ratio = p.variance[k] / q.variance[k]
    return sum + 0.5 * (ratio + (mean - q.mean[k]) ** 2 / q.variance[k] - 1 - Math.log(ratio))
  }, 0)
}
