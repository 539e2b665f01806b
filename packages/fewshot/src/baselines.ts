import { DataError, ShapeError } from '@bpf/core'
import { bestColumns, checkFeatures, checkLabels, classMeans, squaredDistances, type FeatureMatrix } from './shared/matrix'

function prototypesOf(support: FeatureMatrix, supportLabels: ArrayLike<number>, query: FeatureMatrix): { C: Float64Array; K: number } {
  checkFeatures('support', support)
  checkFeatures('query', query)
  if (support.shape[1] !== query.shape[1]) {
    throw new ShapeError(`query: expected ${support.shape[1]} columns like the support, got ${query.shape[1]}`)
  }
  const K = checkLabels('supportLabels', supportLabels, support.shape[0])
  return { C: classMeans(support, supportLabels, K), K }
}

/**
 * Nearest class mean, SimpleShot's classifier: argmin_k ‖q − c_k‖ with c_k the mean of the support of class k.
 *
 * @param support - [S, D], normalised as wanted
 * @param supportLabels - [S] in 0..K−1
 * @param query - [Q, D]
 * @returns labels [Q]
 * @throws ShapeError, DataError on bad input
 */
export function nearestMean(support: FeatureMatrix, supportLabels: ArrayLike<number>, query: FeatureMatrix): Int32Array {
  const { C, K } = prototypesOf(support, supportLabels, query)
  return bestColumns(squaredDistances(query, C), K, 1)
}

/**
 * Class of the largest cosine between a query and the mean of the supports' directions.
 *
 * @param support - [S, D]
 * @param supportLabels - [S] in 0..K−1
 * @param query - [Q, D]
 * @returns labels [Q]
 * @throws ShapeError, DataError on bad input, also when a class mean is zero
 */
export function cosineClassifier(support: FeatureMatrix, supportLabels: ArrayLike<number>, query: FeatureMatrix): Int32Array {
  const [rows, D] = support.shape
  const data = Float64Array.from(support.data)
  for (let i = 0; i < rows; i++) scaleRow(data, i, D, 'support row')
  const { C, K } = prototypesOf({ data, shape: support.shape }, supportLabels, query)
  for (let k = 0; k < K; k++) scaleRow(C, k, D, 'mean of class')
  const scores = new Float64Array(query.shape[0] * K)
  for (let i = 0; i < query.shape[0]; i++) {
    for (let k = 0; k < K; k++) for (let d = 0; d < D; d++) scores[i * K + k] += query.data[i * D + d] * C[k * D + d]
  }
  return bestColumns(scores, K, -1)
}

function scaleRow(data: Float64Array, row: number, D: number, name: string): void {
  const values = data.subarray(row * D, (row + 1) * D)
  const norm = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0))
  if (norm === 0) throw new DataError(`cosineClassifier: ${name} ${row} is zero, which has no direction`)
  for (let d = 0; d < D; d++) values[d] /= norm
}
