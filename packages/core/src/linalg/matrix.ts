import { DataError, OptionError, ShapeError } from '../errors'
import { readMatrix, type MatrixInput } from '../data/array-input'
import { gemm, isNative, nativeProduct } from './gemm'

/** A float64 matrix: `data[i * cols + j]` is row i, column j. */
export interface Matrix {
  readonly rows: number
  readonly cols: number
  readonly data: Float64Array
}

function checkSize(rows: number, cols: number, name: string): void {
  if (!Number.isInteger(rows) || !Number.isInteger(cols) || rows < 0 || cols < 0) {
    throw new OptionError(`${name}: rows and columns must be non-negative integers, got ${rows} and ${cols}`)
  }
}

/**
 * A matrix from nested rows, a tensor [n, d], or flat values with their shape. Always a copy.
 *
 * @throws ShapeError for ragged rows, DataError for values that are not finite numbers
 */
export function matrix(input: MatrixInput): Matrix {
  const { rows, cols, data } = readMatrix(input, 'matrix')
  return { rows, cols, data: Float64Array.from(data) }
}

/** A rows × cols matrix of zeros. */
export function zeros(rows: number, cols: number): Matrix {
  checkSize(rows, cols, 'zeros')
  return { rows, cols, data: new Float64Array(rows * cols) }
}

/** The n × n identity. */
export function identity(n: number): Matrix {
  const result = zeros(n, n)
  for (let i = 0; i < n; i++) result.data[i * n + i] = 1
  return result
}

/** The square matrix with `values` on its diagonal. */
export function diag(values: ArrayLike<number>): Matrix {
  const n = values.length
  const result = zeros(n, n)
  for (let i = 0; i < n; i++) result.data[i * n + i] = values[i]
  return result
}

/** Rows of a matrix as nested arrays, for printing and tests. */
export function toRows(a: Matrix): number[][] {
  return Array.from({ length: a.rows }, (_, i) => Array.from(a.data.subarray(i * a.cols, (i + 1) * a.cols)))
}

/** Aᵀ. Copied in 16 × 16 blocks, so that reads and writes both stay in cache. */
export function transpose(a: Matrix): Matrix {
  const { rows, cols, data } = a
  const result = new Float64Array(rows * cols)
  const block = 16
  for (let i0 = 0; i0 < rows; i0 += block) {
    const iEnd = Math.min(rows, i0 + block)
    for (let j0 = 0; j0 < cols; j0 += block) {
      const jEnd = Math.min(cols, j0 + block)
      for (let i = i0; i < iEnd; i++) for (let j = j0; j < jEnd; j++) result[j * rows + i] = data[i * cols + j]
    }
  }
  return { rows: cols, cols: rows, data: result }
}

/**
 * A B, or with transposed factors.
 *
 * @param a - [m, k] ([k, m] with `transposeA`)
 * @param b - [k, n] ([n, k] with `transposeB`)
 * @returns [m, n]
 * @throws ShapeError when the inner sizes differ
 */
export function matmul(a: Matrix, b: Matrix, options: { transposeA?: boolean; transposeB?: boolean } = {}): Matrix {
  const { transposeA = false, transposeB = false } = options
  const [m, k] = transposeA ? [a.cols, a.rows] : [a.rows, a.cols]
  const n = transposeB ? b.rows : b.cols
  if ((transposeB ? b.cols : b.rows) !== k) {
    const mark = (transposed: boolean): string => (transposed ? 'ᵀ' : '')
    throw new ShapeError(
      `matmul: inner sizes differ: a${mark(transposeA)} is [${m}, ${k}], b${mark(transposeB)} is ` +
        `[${transposeB ? b.cols : b.rows}, ${n}]`,
    )
  }
  const native = nativeProduct(
    { data: a.data, shape: [a.rows, a.cols], transposed: transposeA },
    { data: b.data, shape: [b.rows, b.cols], transposed: transposeB },
  )
  if (native !== undefined) return { rows: m, cols: n, data: native }
  const left = transposeA ? transpose(a) : a
  const result = zeros(m, n)
  const [bRow, bCol] = transposeB ? [1, b.cols] : [b.cols, 1]
  gemm(1, left.data, 0, k, b.data, 0, bRow, bCol, result.data, 0, n, m, n, k)
  return result
}

/** A x. @param x - [cols] @returns [rows] */
export function matvec(a: Matrix, x: Float64Array): Float64Array {
  const { rows, cols, data } = a
  if (x.length !== cols) throw new ShapeError(`matvec: a has ${cols} columns, x has ${x.length} values`)
  const result = new Float64Array(rows)
  for (let i = 0; i < rows; i++) {
    let sum = 0
    for (let j = 0, p = i * cols; j < cols; j++, p++) sum += data[p] * x[j]
    result[i] = sum
  }
  return result
}

/** Up to this size one native product of both triangles is faster than several of blocks in one. */
const wholeGram = 256

/**
 * Gram matrix Aᵀ A of the columns, or A Aᵀ of the rows; exactly symmetric, at half the cost of a product.
 *
 * @param a - [n, d]
 * @returns [d, d], or [n, n] for `of: 'rows'`
 */
export function gram(a: Matrix, of: 'columns' | 'rows' = 'columns'): Matrix {
  const [size, depth] = of === 'columns' ? [a.cols, a.rows] : [a.rows, a.cols]
  if (size <= wholeGram && isNative(size, size, depth)) {
    const whole = matmul(a, a, of === 'columns' ? { transposeA: true } : { transposeB: true })
    mirrorLower(whole)
    return whole
  }
  const left = of === 'columns' ? transpose(a) : a
  const { rows: n, cols: k, data } = left
  const result = zeros(n, n)
  // Narrow blocks waste less of the upper triangle, wide ones are faster natively.
  const block = Math.max(64, Math.ceil(n / 8))
  for (let j = 0; j < n; j += block) {
    const width = Math.min(block, n - j)
    gemm(1, data, j * k, k, data, j * k, 1, k, result.data, j * n + j, n, n - j, width, k)
  }
  mirrorLower(result)
  return result
}

/** Copies the lower triangle onto the upper one, in place; by blocks, as {@link transpose}. */
function mirrorLower(a: Matrix): void {
  const { rows: n, data } = a
  const block = 16
  for (let i0 = 0; i0 < n; i0 += block) {
    const iEnd = Math.min(n, i0 + block)
    for (let j0 = 0; j0 <= i0; j0 += block) {
      for (let i = i0; i < iEnd; i++) {
        for (let j = j0, end = Math.min(i, j0 + block); j < end; j++) data[j * n + i] = data[i * n + j]
      }
    }
  }
}

/** alpha A + beta B, entry by entry. */
export function add(a: Matrix, b: Matrix, alpha = 1, beta = 1): Matrix {
  if (a.rows !== b.rows || a.cols !== b.cols) {
    throw new ShapeError(`add: shapes differ: a is [${a.rows}, ${a.cols}], b is [${b.rows}, ${b.cols}]`)
  }
  const result = zeros(a.rows, a.cols)
  for (let i = 0; i < result.data.length; i++) result.data[i] = alpha * a.data[i] + beta * b.data[i]
  return result
}

/** Square root of the sum of squares, without overflow. */
export function frobeniusNorm(a: Matrix): number {
  return vectorNorm(a.data)
}

/** Euclidean norm, scaled where squares would overflow or vanish. */
export function vectorNorm(x: ArrayLike<number>, start = 0, end = x.length): number {
  let sum = 0
  for (let i = start; i < end; i++) sum += x[i] * x[i]
  if (sum > 1e-280 && sum < 1e280) return Math.sqrt(sum)
  let largest = 0
  for (let i = start; i < end; i++) largest = Math.max(largest, Math.abs(x[i]))
  if (largest === 0 || !Number.isFinite(largest)) return largest
  sum = 0
  for (let i = start; i < end; i++) sum += (x[i] / largest) ** 2
  return largest * Math.sqrt(sum)
}

/** @throws DataError naming row and column of the first value that is not finite */
export function checkFinite(a: Matrix, name: string): void {
  const { data, cols } = a
  if (data.length !== a.rows * cols) throw new ShapeError(`${name}: [${a.rows}, ${cols}] needs ${a.rows * cols} values, got ${data.length}`)
  for (let i = 0; i < data.length; i++) {
    const value = data[i]
    if (value - value !== 0)
      throw new DataError(`${name}: ${value} at row ${Math.floor(i / cols)}, column ${i % cols}; expected finite values`)
  }
}

/** @throws ShapeError when `a` is not square, DataError when a value is not finite */
export function checkSquare(a: Matrix, name: string): void {
  if (a.rows !== a.cols) throw new ShapeError(`${name}: expected a square matrix, got [${a.rows}, ${a.cols}]`)
  checkFinite(a, name)
}

/** @throws like {@link checkSquare}, and DataError when `a` differs from its transpose by more than rounding */
export function checkSymmetric(a: Matrix, name: string): void {
  checkSquare(a, name)
  const { rows: n, data } = a
  let largest = 0
  for (let i = 0; i < data.length; i++) largest = Math.max(largest, Math.abs(data[i]))
  const tolerance = 1e-8 * largest
  const block = 16
  for (let i0 = 0; i0 < n; i0 += block) {
    const iEnd = Math.min(n, i0 + block)
    for (let j0 = 0; j0 <= i0; j0 += block) {
      for (let i = i0; i < iEnd; i++) {
        for (let j = j0, end = Math.min(i, j0 + block); j < end; j++) {
          if (!(Math.abs(data[i * n + j] - data[j * n + i]) <= tolerance)) throw asymmetric(a, i, j, name)
        }
      }
    }
  }
}

function asymmetric({ cols: n, data }: Matrix, i: number, j: number, name: string): DataError {
  return new DataError(
    `${name}: the matrix is not symmetric: [${i}, ${j}] is ${data[i * n + j]} and [${j}, ${i}] is ${data[j * n + i]}; ` +
      'pass (A + Aᵀ) / 2 if the difference is only noise',
  )
}

/** A right-hand side: one vector, or one per column. */
export type RightHandSide = Float64Array | Matrix

/** A fresh row-major copy of a right-hand side of `n` rows. */
export function copyRightHandSide(b: RightHandSide, n: number, name: string): { data: Float64Array; count: number } {
  const rows = b instanceof Float64Array ? b.length : b.rows
  if (rows !== n) throw new ShapeError(`${name}: the matrix has ${n} rows, the right-hand side has ${rows}`)
  const asMatrix: Matrix = b instanceof Float64Array ? { rows: n, cols: 1, data: b } : b
  checkFinite(asMatrix, `${name}: right-hand side`)
  return { data: asMatrix.data.slice(), count: asMatrix.cols }
}

/** Gives a solution the form of its right-hand side. */
export function likeRightHandSide<B extends RightHandSide>(b: B, data: Float64Array, rows: number): B {
  return (b instanceof Float64Array ? data : { rows, cols: b.cols, data }) as B
}
