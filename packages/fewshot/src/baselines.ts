import { DataError } from '@bpf/core'
import { bestColumns, checkFeatures, checkTask, classMeans, squaredDistances, type FeatureMatrix } from './shared/matrix'

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
  const K = checkTask({ support, supportLabels, query })
  return bestColumns(squaredDistances(query, classMeans(support, supportLabels, K)), K, 1)
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
  const K = checkTask({ support, supportLabels, query })
  const directions = prototypesOf(unitRows(support, 'cosineClassifier: support row'), supportLabels, K, 'cosineClassifier')
  return bestColumns(cosineScores(query, directions), K, -1)
}

/** Directions [K, D] of the class means of rows of norm 1. */
export function prototypesOf(unit: FeatureMatrix, labels: ArrayLike<number>, K: number, where: string): Float64Array {
  const means: FeatureMatrix = { data: classMeans(unit, labels, K), shape: [K, unit.shape[1]] }
  return unitRows(means, `${where}: mean of class`).data as Float64Array
}

/** Products [n, K] of rows with directions [K, D]. */
export function cosineScores({ data, shape: [rows, D] }: FeatureMatrix, directions: Float64Array): Float64Array {
  const K = directions.length / D
  const scores = new Float64Array(rows * K)
  for (let i = 0; i < rows; i++) {
    for (let k = 0; k < K; k++) for (let d = 0; d < D; d++) scores[i * K + k] += data[i * D + d] * directions[k * D + d]
  }
  return scores
}

/** Rows of norm 1. @throws DataError naming the first row that is zero */
export function unitRows(x: FeatureMatrix, name: string): FeatureMatrix {
  checkFeatures(name, x)
  const D = x.shape[1]
  const data = Float64Array.from(x.data)
  for (let row = 0; row < x.shape[0]; row++) {
    const values = data.subarray(row * D, (row + 1) * D)
    const norm = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0))
    if (norm === 0) throw new DataError(`${name} ${row} is zero, which has no direction`)
    for (let d = 0; d < D; d++) values[d] /= norm
  }
  return { data, shape: x.shape }
}
