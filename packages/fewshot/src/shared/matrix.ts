import { DataError, ShapeError } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'

/** Features, one row per example: row-major `data` of shape [rows, columns]. */
export interface FeatureMatrix {
  data: Float32Array | Float64Array
  shape: readonly [number, number]
}

/** Checks the shape and that all is finite. */
export function checkFeatures(name: string, { data, shape }: FeatureMatrix): void {
  if (shape.length !== 2 || shape[0] < 1 || shape[1] < 1 || data.length !== shape[0] * shape[1]) {
    throw new ShapeError(`${name}: expected rows × columns values, got shape [${shape.join(', ')}] with ${data.length} values`)
  }
  const bad = data.findIndex((value) => !Number.isFinite(value))
  if (bad >= 0) throw new DataError(`${name}: row ${Math.floor(bad / shape[1])} holds ${data[bad]}; features must be finite`)
}

/** Checks labels in 0..K−1 with every class present. @returns K */
export function checkLabels(name: string, labels: ArrayLike<number>, rows: number): number {
  if (labels.length !== rows) throw new ShapeError(`${name}: expected ${rows} labels, one per row, got ${labels.length}`)
  let top = -1
  for (let i = 0; i < rows; i++) {
    if (!Number.isInteger(labels[i]) || labels[i] < 0) {
      throw new DataError(`${name}: label ${labels[i]} of row ${i} is not an integer from 0 to K - 1`)
    }
    top = Math.max(top, labels[i])
  }
  const seen = new Set(Array.from(labels))
  for (let k = 0; k <= top; k++) {
    if (!seen.has(k)) throw new DataError(`${name}: class ${k} has no support example; number the classes 0 to K - 1`)
  }
  return top + 1
}

/** Checks the features and labels of a task. @returns K */
export function checkTask(task: { support: FeatureMatrix; supportLabels: ArrayLike<number>; query: FeatureMatrix }): number {
  checkFeatures('support', task.support)
  checkFeatures('query', task.query)
  if (task.query.shape[1] !== task.support.shape[1]) {
    throw new ShapeError(`query: expected ${task.support.shape[1]} columns like the support, got ${task.query.shape[1]}`)
  }
  return checkLabels('supportLabels', task.supportLabels, task.support.shape[0])
}

/**
 * Some rows of features.
 *
 * @param features - [n, D]
 * @param rows - [m], from 0 to n − 1
 * @returns [m, D], a copy in the same precision
 */
export function selectRows({ data, shape: [, D] }: FeatureMatrix, rows: ArrayLike<number>): FeatureMatrix {
  const out = data instanceof Float32Array ? new Float32Array(rows.length * D) : new Float64Array(rows.length * D)
  for (let i = 0; i < rows.length; i++) out.set(data.subarray(rows[i] * D, (rows[i] + 1) * D), i * D)
  return { data: out, shape: [rows.length, D] }
}

/** Where products of features are taken: float32 on the backend, or in double precision on the host. */
export type Products = 'native' | 'float64'

/** Squared distances [rows, K] of rows of `x` to the K rows of `centres`. */
export function squaredDistances(x: FeatureMatrix, centres: Float64Array, products: Products = 'float64'): Float64Array {
  const [rows, D] = x.shape
  const K = centres.length / D
  if (products === 'native') return nativeDistances(x, centres, K)
  const out = new Float64Array(rows * K)
  for (let i = 0; i < rows; i++) {
    for (let k = 0; k < K; k++) {
      let sum = 0
      for (let d = 0; d < D; d++) {
        const difference = x.data[i * D + d] - centres[k * D + d]
        sum += difference * difference
      }
      out[i * K + k] = sum
    }
  }
  return out
}

function nativeDistances({ data, shape: [rows, D] }: FeatureMatrix, centres: Float64Array, K: number): Float64Array {
  const distances = tf.tidy(() => {
    const x = tf.tensor2d(data instanceof Float32Array ? data : new Float32Array(data), [rows, D])
    const c = tf.tensor2d(new Float32Array(centres), [K, D])
    const own = tf.sum(tf.square(x), 1, true)
    const theirs = tf.reshape(tf.sum(tf.square(c), 1), [1, K])
    // ‖x‖² + ‖c‖² − 2 x·c can come out below zero by rounding.
    return tf.relu(tf.sub(tf.add(own, theirs), tf.mul(2, tf.matMul(x, c, false, true))))
  })
  const values = new Float64Array(distances.dataSync())
  distances.dispose()
  return values
}

/** Means [K, D] of the rows of each class; NaN where a class is empty. */
export function classMeans(x: FeatureMatrix, labels: ArrayLike<number>, K: number): Float64Array {
  const [rows, D] = x.shape
  const sums = new Float64Array(K * D)
  const counts = new Float64Array(K)
  for (let i = 0; i < rows; i++) {
    counts[labels[i]]++
    for (let d = 0; d < D; d++) sums[labels[i] * D + d] += x.data[i * D + d]
  }
  return sums.map((sum, at) => sum / counts[Math.floor(at / D)])
}

/** Column of the smallest (`sign` 1) or largest (`sign` −1) value of each row; ties go to the lowest column. */
export function bestColumns(values: Float64Array, K: number, sign: 1 | -1): Int32Array {
  const out = new Int32Array(values.length / K)
  for (let i = 0; i < out.length; i++) {
    for (let k = 1; k < K; k++) if (sign * values[i * K + k] < sign * values[i * K + out[i]]) out[i] = k
  }
  return out
}
