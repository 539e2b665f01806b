import * as tf from '@tensorflow/tfjs-core'
import { DataError, OptionError, ShapeError } from '../errors'

/** Any numeric typed array but the 64-bit integers. */
export type NumericArray =
  Float64Array | Float32Array | Int32Array | Uint32Array | Int16Array | Uint16Array | Int8Array | Uint8Array | Uint8ClampedArray

/** Row-major values with their size: what {@link readMatrix} returns, and a `Matrix` of `@bpf/core/linalg`. */
export interface MatrixData {
  readonly rows: number
  readonly cols: number
  readonly data: Float64Array | Float32Array
}

/**
 * What stands for a matrix of n rows: a tensor [n, d], nested rows, a `{ rows, cols, data }` record, or row-major
 * values with their `shape`. A flat array alone serves where the number of columns is known.
 */
export type MatrixInput =
  | tf.Tensor
  | readonly (readonly number[] | NumericArray)[]
  | { readonly rows: number; readonly cols: number; readonly data: NumericArray }
  | { readonly data: NumericArray | readonly number[]; readonly shape: readonly number[] }
  | NumericArray
  | readonly number[]

/** What stands for a vector: a tensor [n] or [n, 1], or numbers. */
export type VectorInput = tf.Tensor | NumericArray | readonly number[]

/** What stands for class labels: a tensor [n] or [n, 1], or numbers. */
export type LabelsInput = tf.Tensor | NumericArray | readonly number[] | readonly boolean[]

/** Options of {@link readMatrix}. */
export interface ReadMatrixOptions {
  /** Number of columns expected; with it a flat array is read as rows of so many values. */
  columns?: number
  /** Number of rows expected. */
  rows?: number
  /** Let plus and minus infinity pass (scores that are only ranked). NaN never passes. Default false. */
  infinite?: boolean
}

function isNumericArray(value: unknown): value is NumericArray {
  return (
    ArrayBuffer.isView(value) && !(value instanceof DataView) && !(value instanceof BigInt64Array) && !(value instanceof BigUint64Array)
  )
}

function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (typeof value === 'object') return `an object of class ${value.constructor?.name ?? 'unknown'}`
  return `the ${typeof value} ${String(value)}`
}

function toFloat(values: ArrayLike<number>): Float64Array | Float32Array {
  return values instanceof Float64Array || values instanceof Float32Array ? values : Float64Array.from(values)
}

function readTensor(tensor: tf.Tensor, name: string): NumericArray {
  if (tensor.isDisposed) throw new DataError(`${name}: the tensor was disposed; pass it before dispose(), or a clone`)
  if (tensor.dtype === 'string' || tensor.dtype === 'complex64') {
    throw new DataError(`${name}: expected a real numeric tensor, got dtype ${tensor.dtype}`)
  }
  return tensor.dataSync() as NumericArray
}

function fromRows(rows: readonly (ArrayLike<number> | unknown)[], name: string, columns: number | undefined): MatrixData {
  const first = rows[0] as ArrayLike<number> | undefined
  const cols = columns ?? first?.length ?? 0
  const data = new Float64Array(rows.length * cols)
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i]
    if (!Array.isArray(row) && !isNumericArray(row))
      throw new ShapeError(`${name}: row ${i} should be an array of numbers, got ${describe(row)}`)
    if (row.length !== cols)
      throw new ShapeError(`${name}: row ${i} has ${row.length} values, expected ${cols}; all rows need the same length`)
    for (let j = 0; j < cols; j++) {
      const value: unknown = row[j]
      if (typeof value !== 'number') throw new DataError(`${name}: row ${i}, column ${j} should be a number, got ${describe(value)}`)
      data[i * cols + j] = value
    }
  }
  return { rows: rows.length, cols, data }
}

function fromFlat(values: ArrayLike<number>, name: string, columns: number | undefined): MatrixData {
  if (columns === undefined) {
    throw new ShapeError(
      `${name}: a flat array of ${values.length} values has no shape; pass { data, shape: [rows, columns] } or nested rows`,
    )
  }
  if (values.length % columns !== 0) {
    throw new ShapeError(`${name}: ${values.length} values do not fill rows of ${columns} columns; pass a multiple of ${columns} values`)
  }
  return { rows: values.length / columns, cols: columns, data: toFloat(values) }
}

function fromShape(values: ArrayLike<number>, shape: readonly number[], name: string, columns: number | undefined): MatrixData {
  if (shape.length === 1 && columns !== undefined) return fromFlat(values, name, columns)
  if (shape.length !== 2) throw new ShapeError(`${name}: expected shape [rows, columns], got [${shape.join(', ')}]`)
  const [rows, cols] = shape
  if (rows * cols !== values.length)
    throw new ShapeError(`${name}: shape [${rows}, ${cols}] needs ${rows * cols} values, got ${values.length}`)
  return { rows, cols, data: toFloat(values) }
}

function toMatrix(input: MatrixInput, name: string, columns: number | undefined): MatrixData {
  if (input instanceof tf.Tensor) return fromShape(readTensor(input, name), input.shape, name, columns)
  if (isNumericArray(input)) return fromFlat(input, name, columns)
  if (Array.isArray(input)) {
    const nested = input.length === 0 || typeof input[0] !== 'number'
    return nested ? fromRows(input, name, columns) : fromFlat(numbers(input, name), name, columns)
  }
  if (typeof input === 'object' && input !== null && 'data' in input) {
    if ('shape' in input) return fromShape(input.data, input.shape, name, columns)
    if ('rows' in input) return fromShape(input.data, [input.rows, input.cols], name, columns)
  }
  throw new DataError(`${name}: expected a tensor, nested rows, or { data, shape }, got ${describe(input)}`)
}

function numbers(values: readonly unknown[], name: string): Float64Array {
  const data = new Float64Array(values.length)
  for (let i = 0; i < values.length; i++) {
    const value = values[i]
    if (typeof value !== 'number') throw new DataError(`${name}: index ${i} should be a number, got ${describe(value)}`)
    data[i] = value
  }
  return data
}

/** Index of the first value that may not be there, or -1. x − x is 0 for finite x and NaN otherwise. */
function firstBad(data: Float64Array | Float32Array, infinite: boolean): number {
  for (let i = 0; i < data.length; i++) {
    const value = data[i]
    if (infinite ? value !== value : value - value !== 0) return i
  }
  return -1
}

/**
 * Reads a matrix of any accepted form as row-major floats, without a copy where the input holds floats already
 * (so don't write into the result). Checks shape and values.
 *
 * @param name - names the argument in errors
 * @returns `rows`, `cols`, `data`: Float32Array from float32 input, Float64Array otherwise
 * @throws ShapeError for ragged rows, a missing shape, or other rows or columns than expected
 * @throws DataError for NaN (and infinite values unless allowed) with row and column, and for what is no number
 */
export function readMatrix(input: MatrixInput, name: string, options: ReadMatrixOptions = {}): MatrixData {
  const { columns, rows, infinite = false } = options
  if (columns !== undefined && (!Number.isInteger(columns) || columns < 1)) {
    throw new OptionError(`${name}: columns must be a positive integer, got ${columns}`)
  }
  const matrix = toMatrix(input, name, columns)
  if (columns !== undefined && matrix.cols !== columns) throw new ShapeError(`${name}: expected ${columns} columns, got ${matrix.cols}`)
  if (rows !== undefined && matrix.rows !== rows) throw new ShapeError(`${name}: expected ${rows} rows, got ${matrix.rows}`)
  const bad = firstBad(matrix.data, infinite)
  if (bad >= 0) {
    const where = `row ${Math.floor(bad / matrix.cols)}, column ${bad % matrix.cols}`
    throw new DataError(
      `${name}: ${matrix.data[bad]} at ${where}; expected ${infinite ? 'no NaN' : 'finite values'}. Remove or repair that row`,
    )
  }
  return matrix
}

function flatValues(input: VectorInput | LabelsInput, name: string): ArrayLike<number> {
  if (input instanceof tf.Tensor) {
    const { shape } = input
    if (shape.length !== 1 && !(shape.length === 2 && shape[1] === 1)) {
      throw new ShapeError(`${name}: expected a tensor of shape [n], got [${shape.join(', ')}]`)
    }
    return readTensor(input, name)
  }
  if (isNumericArray(input)) return input
  if (!Array.isArray(input)) throw new DataError(`${name}: expected a tensor [n] or an array of numbers, got ${describe(input)}`)
  return numbers(
    input.map((value: unknown) => (typeof value === 'boolean' ? Number(value) : value)),
    name,
  )
}

function checkLength(length: number, expected: number | undefined, name: string): void {
  if (expected !== undefined && length !== expected) throw new ShapeError(`${name}: expected ${expected} values, got ${length}`)
}

/**
 * Reads a vector of any accepted form as floats, without a copy where the input holds floats already.
 *
 * @param options - `length` expected; `infinite` lets infinities pass
 * @returns [n] floats
 * @throws ShapeError for another rank or length, DataError for NaN (and infinite values unless allowed) with the index
 */
export function readVector(
  input: VectorInput,
  name: string,
  options: { length?: number; infinite?: boolean } = {},
): Float64Array | Float32Array {
  const { length, infinite = false } = options
  const data = toFloat(flatValues(input, name))
  checkLength(data.length, length, name)
  const bad = firstBad(data, infinite)
  if (bad >= 0) throw new DataError(`${name}: ${data[bad]} at index ${bad}; expected ${infinite ? 'no NaN' : 'finite values'}`)
  return data
}

/**
 * Reads class labels: integers from 0.
 *
 * @param options - `classes`: labels must be below it; `length` expected
 * @returns [n] labels; the input itself where it is an Int32Array, so don't write into it
 * @throws ShapeError for another rank or length, DataError with the index for a label that is no integer or out of range
 */
export function readLabels(input: LabelsInput, name: string, options: { classes?: number; length?: number } = {}): Int32Array {
  const { classes, length } = options
  const values = flatValues(input, name)
  checkLength(values.length, length, name)
  const limit = classes ?? 2 ** 31
  const labels = values instanceof Int32Array ? values : new Int32Array(values.length)
  for (let i = 0; i < values.length; i++) {
    const value = values[i]
    if (!Number.isInteger(value))
      throw new DataError(`${name}: label ${value} at index ${i} is not an integer; expected class indices from 0`)
    if (value < 0 || value >= limit) {
      const range = classes === undefined ? 'a class index from 0' : `0 to ${classes - 1} for ${classes} classes`
      throw new DataError(`${name}: label ${value} at index ${i} is out of range; expected ${range}`)
    }
    labels[i] = value
  }
  return labels
}
