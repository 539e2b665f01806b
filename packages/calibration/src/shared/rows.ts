import { DataError, ShapeError } from '@bpf/core'
import { readMatrix } from '@bpf/core/data'
import { logSoftmaxRows as logSoftmaxOf, softmaxRows as softmaxOf } from '@bpf/core/numerics'
import * as tf from '@tensorflow/tfjs-core'

/**
 * Logits or probabilities, one row per example and one column per class: a tensor [n, K], nested rows, or row-major
 * values as a typed array (then the number of classes comes from elsewhere: an option, or the fitted calibrator).
 */
export type Rows = tf.Tensor | readonly (readonly number[])[] | Float32Array | Float64Array

/** Receives warnings: what was odd about the data, and what was done about it. */
export type OnWarning = (message: string) => void

/** Row-major values, without a copy where the input holds floats already. */
export interface RowData {
  readonly rows: number
  readonly classes: number
  readonly data: Float32Array | Float64Array
}

/** A logit of minus infinity is replaced by this: exp of it is 0 in double precision, but it can be multiplied by 0. */
export const logitFloor = -1e4

/** Values in one block of rows: half a megabyte of doubles stays in the second-level cache. */
const blockValues = 65536

/**
 * Reads logits of any accepted form. Minus infinity passes here and is clipped by {@link readBlock}.
 *
 * @param classes - number of columns, needed for typed arrays
 * @param onWarning - told once when minus infinities are there
 * @throws ShapeError for ragged rows, fewer than two classes or other than `classes`; DataError for NaN and plus infinity
 */
export function openLogits(input: Rows, name: string, classes: number | undefined, onWarning: OnWarning): RowData {
  const matrix = readMatrix(input, name, { columns: columnsToExpect(input, name, classes), infinite: true })
  if (matrix.cols < 2 && !(matrix.rows === 0 && classes === undefined)) {
    throw new ShapeError(`${name}: expected at least 2 columns (classes), got ${matrix.cols}`)
  }
  const { data } = matrix
  let clipped = 0
  for (let i = 0; i < data.length; i++) {
    if (data[i] - data[i] === 0) continue
    if (data[i] > 0) {
      throw new DataError(
        `${name}: infinity at row ${Math.floor(i / matrix.cols)}, column ${i % matrix.cols}; expected finite logits. Remove or repair that row`,
      )
    }
    clipped++
  }
  if (clipped > 0) onWarning(`${name}: ${clipped} of ${data.length} values are minus infinity; they count as ${logitFloor}`)
  return { rows: matrix.rows, classes: matrix.cols, data }
}

/** Without rows there are no columns to count, and nothing to check. */
function columnsToExpect(input: Rows, name: string, classes: number | undefined): number | undefined {
  if (ArrayBuffer.isView(input) && classes === undefined) {
    throw new ShapeError(
      `${name}: a typed array of ${input.length} values has no shape; give the option classes, nested rows, or a tensor [n, K]`,
    )
  }
  return classes
}

/**
 * Reads probabilities of any accepted form.
 *
 * @throws DataError for values outside [0, 1] and rows that don't sum to 1 within 1e-3
 */
export function openProbabilities(input: Rows, name: string, classes: number | undefined): RowData {
  const matrix = readMatrix(input, name, { columns: columnsToExpect(input, name, classes) })
  if (matrix.cols < 2 && matrix.rows > 0) throw new ShapeError(`${name}: expected at least 2 columns (classes), got ${matrix.cols}`)
  const { data, cols } = matrix
  for (let row = 0, i = 0; row < matrix.rows; row++) {
    let sum = 0
    for (let k = 0; k < cols; k++, i++) {
      const value = data[i]
      if (value < 0 || value > 1 + 1e-6) {
        throw new DataError(`${name}: ${value} at row ${row}, column ${k} is not a probability; for logits say input: 'logits'`)
      }
      sum += value
    }
    if (Math.abs(sum - 1) > 1e-3) {
      throw new DataError(
        `${name}: row ${row} sums to ${sum}, expected 1 within 1e-3; normalise the rows, or for logits say input: 'logits'`,
      )
    }
  }
  return { rows: matrix.rows, classes: cols, data }
}

/** Rows that {@link forEachBlock} hands out at a time. */
export function blockRows(classes: number): number {
  return Math.max(1, Math.floor(blockValues / classes))
}

/** Copies `count` rows from row `start` on into `block`, in double precision, minus infinity clipped. */
export function readBlock(source: RowData, start: number, count: number, block: Float64Array): void {
  const { data, classes } = source
  const end = (start + count) * classes
  for (let i = start * classes, j = 0; i < end; i++, j++) {
    const value = data[i]
    block[j] = value < logitFloor ? logitFloor : value
  }
}

/**
 * Calls `visit` with one block of rows after the other, copied to double precision: the block may be overwritten.
 *
 * @param visit - gets the block (only the first `count` rows are filled), the index of its first row, and `count`
 */
export function forEachBlock(source: RowData, visit: (block: Float64Array, start: number, count: number) => void): void {
  const step = blockRows(source.classes)
  const block = new Float64Array(Math.min(step, source.rows) * source.classes)
  for (let start = 0; start < source.rows; start += step) {
    const count = Math.min(step, source.rows - start)
    readBlock(source, start, count, block)
    visit(block, start, count)
  }
}

/** Changes logits to probabilities, in place: rows of `K` values. */
export type BlockTransform = (block: Float64Array, rows: number) => void

/** Softmax of each row, in place. */
export function softmaxRows(block: Float64Array, rows: number, classes: number): void {
  block.set(softmaxOf(block.subarray(0, rows * classes), classes))
}

/** Logarithm of the softmax of each row, in place: z − logsumexp z. */
export function logSoftmaxRows(block: Float64Array, rows: number, classes: number): void {
  block.set(logSoftmaxOf(block.subarray(0, rows * classes), classes))
}

/** Values of columns that are gathered in one pass over the rows: 32 MB of doubles. */
const columnBudget = 2 ** 22

/** Visits the columns of the transformed rows one after the other; only some of them are held at a time. */
export function forEachColumn(source: RowData, transform: BlockTransform, visit: (column: Float64Array, k: number) => void): void {
  const { rows, classes } = source
  const together = Math.max(1, Math.min(classes, Math.floor(columnBudget / Math.max(1, rows))))
  for (let first = 0; first < classes; first += together) {
    const count = Math.min(together, classes - first)
    const columns = new Float64Array(count * rows)
    forEachBlock(source, (block, start, blockCount) => {
      transform(block, blockCount)
      for (let row = 0; row < blockCount; row++) {
        for (let k = 0; k < count; k++) columns[k * rows + start + row] = block[row * classes + first + k]
      }
    })
    for (let k = 0; k < count; k++) visit(columns.subarray(k * rows, (k + 1) * rows), first + k)
  }
}

/** Index of the first largest value of a row. */
export function argMaxOfRow(values: ArrayLike<number>, start: number, classes: number): number {
  let best = 0
  for (let k = 1; k < classes; k++) if (values[start + k] > values[start + best]) best = k
  return best
}

/**
 * Applies a transform block by block and returns the result in the form of the input: tensor for tensor, nested rows
 * for nested rows, a typed array of the same class for a typed array. Only one block is held in double precision.
 */
export function mapRows(input: Rows, source: RowData, transform: BlockTransform): Rows {
  const { rows, classes } = source
  if (Array.isArray(input)) {
    const nested: number[][] = []
    forEachBlock(source, (block, _start, count) => {
      transform(block, count)
      for (let row = 0; row < count; row++) nested.push(Array.from(block.subarray(row * classes, (row + 1) * classes)))
    })
    return nested
  }
  const output = input instanceof Float64Array ? new Float64Array(rows * classes) : new Float32Array(rows * classes)
  forEachBlock(source, (block, start, count) => {
    transform(block, count)
    output.set(block.subarray(0, count * classes), start * classes)
  })
  return input instanceof tf.Tensor ? tf.tensor2d(output as Float32Array, [rows, classes]) : output
}
