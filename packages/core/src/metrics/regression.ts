import * as tf from '@tensorflow/tfjs-core'
import { DataError, ShapeError } from '../errors'
import { readMatrix, readVector, type MatrixData, type MatrixInput, type VectorInput } from '../data/array-input'

/** Values to compare: a vector [n] or several outputs [n, d]. */
export type ValuesInput = VectorInput | MatrixInput

/** A vector counts as one column. */
function readValues(input: ValuesInput, name: string): MatrixData {
  const isFlat =
    input instanceof tf.Tensor ? input.rank === 1 : ArrayBuffer.isView(input) || (Array.isArray(input) && typeof input[0] === 'number')
  if (!isFlat) return readMatrix(input as MatrixInput, name)
  const data = readVector(input as VectorInput, name)
  return { rows: data.length, cols: 1, data }
}

function readPair(predictions: ValuesInput, targets: ValuesInput): { predicted: MatrixData; target: MatrixData } {
  const predicted = readValues(predictions, 'predictions')
  const target = readValues(targets, 'targets')
  if (predicted.rows !== target.rows || predicted.cols !== target.cols) {
    throw new ShapeError(
      `predictions [${predicted.rows}, ${predicted.cols}] and targets [${target.rows}, ${target.cols}] should have one shape`,
    )
  }
  if (target.data.length === 0) throw new DataError('targets: there are no values; a mean over none is undefined')
  return { predicted, target }
}

/**
 * Root of the mean squared difference over all entries.
 *
 * @param predictions - [n] or [n, d]
 * @param targets - of the same shape
 * @throws ShapeError when the shapes differ, DataError for values that are not finite
 */
export function rmse(predictions: ValuesInput, targets: ValuesInput): number {
  const { predicted, target } = readPair(predictions, targets)
  let sum = 0
  for (let i = 0; i < target.data.length; i++) sum += (predicted.data[i] - target.data[i]) ** 2
  return Math.sqrt(sum / target.data.length)
}

/**
 * Coefficient of determination 1 − Σ(t − p)² / Σ(t − mean t)², averaged over the columns; negative when the predictions
 * are worse than the mean.
 *
 * @param predictions - [n] or [n, d]
 * @param targets - of the same shape
 * @throws ShapeError when the shapes differ, DataError for values that are not finite or constant targets
 */
export function r2(predictions: ValuesInput, targets: ValuesInput): number {
  const { predicted, target } = readPair(predictions, targets)
  const { rows, cols } = target
  let total = 0
  for (let j = 0; j < cols; j++) {
    let mean = 0
    for (let i = 0; i < rows; i++) mean += target.data[i * cols + j] / rows
    let residual = 0
    let spread = 0
    for (let i = 0; i < rows; i++) {
      residual += (target.data[i * cols + j] - predicted.data[i * cols + j]) ** 2
      spread += (target.data[i * cols + j] - mean) ** 2
    }
    // Values equal up to the rounding of their mean count as constant.
    if (spread <= rows * (4 * Number.EPSILON * mean) ** 2)
      throw new DataError(`r2: the targets of column ${j} are constant, so R² is undefined; use rmse`)
    total += 1 - residual / spread
  }
  return total / cols
}

/** What {@link lineFit} returns. */
export interface LineFit {
  slope: number
  intercept: number
  /** Share of the variance of y that the line explains; 1 when y is constant. */
  r2: number
}

/**
 * The least-squares line y ≈ slope · x + intercept (take logarithms first for a power law).
 *
 * @param x - [n], at least two distinct values
 * @param y - [n]
 * @throws ShapeError when the lengths differ; DataError for values that are not finite, or when x is constant
 */
export function lineFit(x: VectorInput, y: VectorInput): LineFit {
  const xs = readVector(x, 'x')
  const ys = readVector(y, 'y', { length: xs.length })
  const n = xs.length
  if (n < 2) throw new DataError(`lineFit: a line needs at least 2 points, got ${n}`)
  let meanX = 0
  let meanY = 0
  for (let i = 0; i < n; i++) {
    meanX += xs[i] / n
    meanY += ys[i] / n
  }
  let xx = 0
  let xy = 0
  let yy = 0
  for (let i = 0; i < n; i++) {
    const dx = xs[i] - meanX
    const dy = ys[i] - meanY
    xx += dx * dx
    xy += dx * dy
    yy += dy * dy
  }
  if (xx <= n * (4 * Number.EPSILON * meanX) ** 2) throw new DataError('lineFit: all x are equal, so the slope is undefined')
  const slope = xy / xx
  return { slope, intercept: meanY - slope * meanX, r2: yy === 0 ? 1 : (xy * xy) / (xx * yy) }
}
