import { OptionError, ShapeError } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'
import type { FeatureMatrix, Products } from '../shared/matrix'

/** Sparse affinity [N, N]: row i has weights[starts[i] … starts[i+1]) at columns of the same range. */
export interface Affinity {
  size: number
  starts: Int32Array
  columns: Int32Array
  weights: Float64Array
}

/** Options of {@link knnAffinity}. */
export interface AffinityOptions {
  /** Neighbours, the point itself counted: 3 gives two edges. */
  knn: number
  /** (W + Wᵀ)/2. */
  symmetrize?: boolean
  /** c of W + c·I, which makes W positive semidefinite when it is symmetric and c is at least its row sums. */
  psdShift?: number
  /** Where the products of features are taken: float32 on the backend in tiles, or in double precision on the host. */
  products?: Products
}

const tile = 1024
/** N²·D above which the default is the backend. */
const nativeWork = 2e8

/**
 * Affinity 1 from each point to its knn − 1 nearest other points (card section 1).
 *
 * @param x - [N, D]
 * @param options - neighbours, symmetrisation, shift
 * @returns sparse affinity; never more than a 1024 × 1024 tile of distances is held
 * @throws OptionError unless 2 ≤ knn ≤ N
 */
export function knnAffinity(x: FeatureMatrix, options: AffinityOptions): Affinity {
  const { knn, symmetrize = false, psdShift = 0 } = options
  const [N, D] = x.shape
  if (!Number.isInteger(knn) || knn < 2 || knn > N) {
    throw new OptionError(`knn should be an integer from 2 (the point itself counts) to ${N} points, got ${knn}`)
  }
  const { products = N * N * D > nativeWork ? 'native' : 'float64' } = options
  const neighbours = nearest(x, knn - 1, products)
  const edges: [number, number, number][] = []
  if (!symmetrize && psdShift === 0) {
    const starts = Int32Array.from({ length: N + 1 }, (_, i) => i * (knn - 1))
    return { size: N, starts, columns: neighbours, weights: new Float64Array(neighbours.length).fill(1) }
  }
  neighbours.forEach((j, at) => {
    const i = Math.floor(at / (knn - 1))
    if (symmetrize) edges.push([i, j, 0.5], [j, i, 0.5])
    else edges.push([i, j, 1])
  })
  if (psdShift !== 0) for (let i = 0; i < N; i++) edges.push([i, i, psdShift])
  return fromEdges(N, edges)
}

/**
 * Affinity from a dense row-major matrix.
 *
 * @param data - [N, N] values; zeros are left out
 * @param size - N
 * @throws ShapeError when `data` is not N × N
 */
export function denseAffinity(data: ArrayLike<number>, size: number): Affinity {
  if (data.length !== size * size) throw new ShapeError(`affinity: expected ${size} × ${size} values, got ${data.length}`)
  const edges: [number, number, number][] = []
  for (let at = 0; at < data.length; at++) if (data[at] !== 0) edges.push([Math.floor(at / size), at % size, data[at]])
  return fromEdges(size, edges)
}

/** Rows in order; edges between the same points are added. */
function fromEdges(size: number, edges: readonly [number, number, number][]): Affinity {
  const sorted = edges.slice().sort((a, b) => a[0] - b[0] || a[1] - b[1])
  const columns: number[] = []
  const weights: number[] = []
  const starts = new Int32Array(size + 1)
  sorted.forEach(([i, j, w], at) => {
    if (at > 0 && sorted[at - 1][0] === i && sorted[at - 1][1] === j) weights[weights.length - 1] += w
    else {
      columns.push(j)
      weights.push(w)
    }
    starts[i + 1] = columns.length
  })
  for (let i = 1; i <= size; i++) starts[i] = Math.max(starts[i], starts[i - 1])
  return { size, starts, columns: Int32Array.from(columns), weights: Float64Array.from(weights) }
}

/** Indices [N, count] of the nearest other points, nearest first, ties by index. */
function nearest(x: FeatureMatrix, count: number, products: Products): Int32Array {
  const [N, D] = x.shape
  const best = new Float64Array(N * count).fill(Infinity)
  const index = new Int32Array(N * count)
  // Candidates of a row come in ascending order, so that a strict comparison leaves ties to the lower index.
  const offer = (row: number, candidate: number, distance: number): void => {
    let at = (row + 1) * count - 1
    for (; at > row * count && distance < best[at - 1]; at--) {
      best[at] = best[at - 1]
      index[at] = index[at - 1]
    }
    best[at] = distance
    index[at] = candidate
  }
  if (products === 'float64') {
    for (let i = 0; i < N; i++) {
      for (let j = 0; j < i; j++) {
        let sum = 0
        for (let d = 0; d < D; d++) {
          const difference = x.data[i * D + d] - x.data[j * D + d]
          sum += difference * difference
        }
        if (sum < best[(i + 1) * count - 1]) offer(i, j, sum)
        if (sum < best[(j + 1) * count - 1]) offer(j, i, sum)
      }
    }
    return index
  }
  const half = new Float64Array(N)
  for (let at = 0; at < x.data.length; at++) half[Math.floor(at / D)] += 0.5 * x.data[at] * x.data[at]
  const rows = (start: number) =>
    tf.tensor2d(new Float32Array(x.data.subarray(start * D, Math.min(N, start + tile) * D)), [Math.min(N, start + tile) - start, D])
  for (let a = 0; a < N; a += tile) {
    const left = rows(a)
    // Products are symmetric: each tile serves its rows and its columns.
    for (let b = a; b < N; b += tile) {
      const right = b === a ? left : rows(b)
      const product = tf.matMul(left, right, false, true)
      const values = product.dataSync()
      const width = right.shape[0]
      for (let i = a; i < a + left.shape[0]; i++) {
        const last = (i + 1) * count - 1
        for (let j = a === b ? i + 1 : b; j < b + width; j++) {
          const negative = -values[(i - a) * width + j - b]
          // Half squared distances less half the row's own square: the same order.
          if (negative + half[j] < best[last]) offer(i, j, negative + half[j])
          if (negative + half[i] < best[(j + 1) * count - 1]) offer(j, i, negative + half[i])
        }
      }
      tf.dispose(b === a ? product : [product, right])
    }
    tf.dispose(left)
  }
  return index
}

/**
 * Bandwidth of the K-modes variants (card section 2): sigma² = Σ w_ij ‖x_i − x_j‖² / (divisor · N).
 *
 * @param x - [N, D]
 * @param affinity - over the same points
 * @param divisor - 5 in the reference code, whatever knn is
 * @returns sigma
 * @throws OptionError when it is zero
 */
export function estimateSigma({ data, shape: [N, D] }: FeatureMatrix, affinity: Affinity, divisor = 5): number {
  let sum = 0
  for (let i = 0; i < N; i++) {
    for (let e = affinity.starts[i]; e < affinity.starts[i + 1]; e++) {
      let distance = 0
      for (let d = 0; d < D; d++) distance += (data[i * D + d] - data[affinity.columns[e] * D + d]) ** 2
      sum += affinity.weights[e] * distance
    }
  }
  const sigma = Math.sqrt(sum / (divisor * N))
  if (!(sigma > 0)) throw new OptionError('bandwidth is zero: duplicate points; pass sigma')
  return sigma
}
