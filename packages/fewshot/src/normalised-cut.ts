/**
 * Normalised cuts as a few-shot baseline: Shi and Malik, "Normalized Cuts and Image Segmentation" (2000), with the rounding of
 * Yu and Shi, "Multiclass Spectral Clustering" (2003). The reference code of paper 02 takes clusters for classes as they come;
 * here each cluster gets the class of its own whose supports lie nearest.
 */
import { OptionError } from '@bpf/core'
import { matmul, svd, symmetricEigen, type Matrix } from '@bpf/core/linalg'
import { linearAssignment } from '@bpf/core/solve'
import { bestColumns, checkFeatures, checkTask, classMeans, squaredDistances, type FeatureMatrix } from './shared/matrix'
import { shiftQueries, type TransductiveInput } from './transductive-cluster'

/** Options of {@link normalisedCut} and {@link normalisedCutLabels}. */
export interface NormalisedCutOptions {
  /** γ of the affinities exp(−γ ‖x_i − x_j‖²). Default 1. */
  gamma?: number
}

/**
 * Clusters points by the K leading eigenvectors of D^−½ W D^−½, rounded to one-hot rows by the nearest rotation.
 *
 * @param X - [N, D]; the N × N affinity is held, so N is at most 2,000
 * @param options - K, and gamma
 * @returns clusters [N] in 0..K−1; with duplicates or K too large some may be empty
 * @throws ShapeError, OptionError, DataError on bad input
 */
export function normalisedCut(X: FeatureMatrix, { K, gamma = 1 }: NormalisedCutOptions & { K: number }): Int32Array {
  checkFeatures('X', X)
  const [N, D] = X.shape
  if (!Number.isInteger(K) || K < 1 || K > N) throw new OptionError(`K should be an integer from 1 to the ${N} points, got ${K}`)
  if (N > 2000) throw new OptionError(`normalisedCut: ${N} points need an affinity of ${N} × ${N}; use slkCluster above 2,000`)
  if (!(gamma > 0 && gamma < Infinity)) throw new OptionError(`gamma should be above 0, got ${gamma}`)
  const W = squaredDistances(X, Float64Array.from(X.data.subarray(0, N * D))).map((distance) => Math.exp(-gamma * distance))
  const scale = new Float64Array(N)
  W.forEach((weight, at) => (scale[Math.floor(at / N)] += weight))
  for (let i = 0; i < N; i++) scale[i] = 1 / Math.sqrt(scale[i])
  const normalised = W.map((weight, at) => weight * scale[Math.floor(at / N)] * scale[at % N])
  // Symmetric to the last bit, as the solver asks for.
  for (let i = 0; i < N; i++) for (let j = 0; j < i; j++) normalised[i * N + j] = normalised[j * N + i]
  const { vectors } = symmetricEigen({ rows: N, cols: N, data: normalised })
  const leading = new Float64Array(N * K)
  for (let i = 0; i < N; i++) for (let k = 0; k < K; k++) leading[i * K + k] = vectors.data[i * N + N - 1 - k] * scale[i]
  return roundRows({ rows: N, cols: K, data: unit(leading, K) })
}

/**
 * Labels queries by normalised cuts of supports and queries.
 *
 * @param input - normalised features and support labels
 * @param options - gamma; `shift` (default true) moves the queries by the difference of the means first
 * @returns labels [Q]: of the clusters matched to classes so that the sum of squared distances of their means is least
 * @throws ShapeError, OptionError, DataError on bad input
 */
export function normalisedCutLabels(
  input: TransductiveInput,
  { gamma = 1, shift = true }: NormalisedCutOptions & { shift?: boolean } = {},
): Int32Array {
  const K = checkTask(input)
  const { support, supportLabels } = input
  const query = shift ? shiftQueries(support, input.query) : input.query
  const [S, D] = support.shape
  const X: FeatureMatrix = { data: Float64Array.from([...support.data, ...query.data]), shape: [S + query.shape[0], D] }
  const clusters = normalisedCut(X, { K, gamma })
  const classes: FeatureMatrix = { data: classMeans(support, supportLabels, K), shape: [K, D] }
  // An empty cluster labels nothing: any class will do.
  const costs = squaredDistances(classes, classMeans(X, clusters, K)).map((cost) => (Number.isNaN(cost) ? 1e9 : cost))
  const { columns } = linearAssignment({ rows: K, cols: K, data: costs })
  const classOf = new Int32Array(K)
  columns.forEach((cluster, k) => (classOf[cluster] = k))
  return clusters.slice(S).map((cluster) => classOf[cluster])
}

function unit(data: Float64Array, K: number): Float64Array {
  const out = data.slice()
  for (let start = 0; start < out.length; start += K) {
    const row = out.subarray(start, start + K)
    const norm = Math.hypot(...row) || 1
    for (let k = 0; k < K; k++) row[k] /= norm
  }
  return out
}

/** One-hot rows nearest to a rotation of the rows: rotation and rows by turns. */
function roundRows(rows: Matrix): Int32Array {
  const K = rows.cols
  let rotation: Matrix = { rows: K, cols: K, data: firstRotation(rows) }
  let labels: Int32Array = new Int32Array(rows.rows)
  for (let round = 0, before = -Infinity; round < 100; round++) {
    labels = bestColumns(Float64Array.from(matmul(rows, rotation).data), K, -1)
    const hot = new Float64Array(rows.rows * K)
    labels.forEach((label, i) => (hot[i * K + label] = 1))
    const { u, s, vt } = svd(matmul({ rows: rows.rows, cols: K, data: hot }, rows, { transposeA: true }))
    const fit = s.reduce((sum, value) => sum + value, 0)
    if (fit - before <= 1e-12 * Math.abs(fit)) break
    before = fit
    rotation = matmul(vt, u, { transposeA: true, transposeB: true })
  }
  return labels
}

/** Columns [K, K]: the first row of the data, then always the row least along those chosen. */
function firstRotation({ rows: N, cols: K, data }: Matrix): Float64Array {
  const out = new Float64Array(K * K)
  const along = new Float64Array(N)
  let chosen = 0
  for (let k = 0; k < K; k++) {
    for (let d = 0; d < K; d++) out[d * K + k] = data[chosen * K + d]
    for (let i = 0; i < N; i++) {
      let dot = 0
      for (let d = 0; d < K; d++) dot += data[i * K + d] * out[d * K + k]
      along[i] += Math.abs(dot)
    }
    chosen = along.reduce((best, value, i) => (value < along[best] ? i : best), 0)
  }
  return out
}
