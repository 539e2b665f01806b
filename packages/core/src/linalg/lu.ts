import { DataError } from '../errors'
import { gemm } from './gemm'
import { checkSquare, copyRightHandSide, identity, likeRightHandSide, type Matrix, type RightHandSide } from './matrix'
import { solveTriangleInPlace } from './triangular'

/** P A = L U with partial pivoting. */
export interface LuFactors {
  /** L below the diagonal (its own diagonal is ones), U on and above it. */
  readonly factors: Matrix
  /** Row i of P A is row `permutation[i]` of A. */
  readonly permutation: Int32Array
  /** Determinant of P, 1 or −1. */
  readonly sign: 1 | -1
}

/** Columns that are eliminated one by one. */
const panel = 32

function swapRows(a: Float64Array, n: number, i: number, j: number): void {
  for (let p = i * n, q = j * n, c = 0; c < n; c++, p++, q++) {
    const value = a[p]
    a[p] = a[q]
    a[q] = value
  }
}

/** x[from, to) −= Σ factors[k] columns[k][from, to) over k < count, where column k starts at k · stride; four columns a pass. */
function subtractColumns(
  columns: Float64Array,
  stride: number,
  count: number,
  factors: Float64Array,
  x: number,
  from: number,
  to: number,
): void {
  let k = 0
  for (; k + 4 <= count; k += 4) {
    const [f0, f1, f2, f3] = [factors[k], factors[k + 1], factors[k + 2], factors[k + 3]]
    const p0 = k * stride
    const p1 = p0 + stride
    const p2 = p1 + stride
    const p3 = p2 + stride
    for (let i = from; i < to; i++) {
      columns[x + i] -= f0 * columns[p0 + i] + f1 * columns[p1 + i] + (f2 * columns[p2 + i] + f3 * columns[p3 + i])
    }
  }
  for (; k < count; k++) {
    const factor = factors[k]
    for (let i = from, p = k * stride + from; i < to; i++, p++) columns[x + i] -= factor * columns[p]
  }
}

/** Eliminates the columns start to end of rows start to n, pivoting whole rows. @returns number of swaps */
function factorPanel(a: Float64Array, n: number, start: number, end: number, permutation: Int32Array): number {
  // Column by column in an array of its own: rows of a large matrix lie so far apart that they evict each other from cache.
  const height = n - start
  const width = end - start
  const columns = new Float64Array(height * width)
  for (let i = 0, p = start * n + start; i < height; i++, p += n) for (let j = 0; j < width; j++) columns[j * height + i] = a[p + j]
  const factors = new Float64Array(width)
  let swaps = 0
  for (let j = 0; j < width; j++) {
    const column = j * height
    // Entries of U first, then the rest of the column, given all columns to the left.
    for (let i = 0; i < j; i++) {
      let value = columns[column + i]
      for (let k = 0, p = i; k < i; k++, p += height) value -= columns[p] * factors[k]
      factors[i] = columns[column + i] = value
    }
    subtractColumns(columns, height, j, factors, column, j, height)
    let best = j
    let largest = Math.abs(columns[column + j])
    for (let i = j + 1; i < height; i++) {
      const size = Math.abs(columns[column + i])
      if (size > largest) {
        best = i
        largest = size
      }
    }
    if (best !== j) {
      swapRows(a, n, start + best, start + j)
      for (let c = 0, p = 0; c < width; c++, p += height) {
        const value = columns[p + best]
        columns[p + best] = columns[p + j]
        columns[p + j] = value
      }
      const index = permutation[start + best]
      permutation[start + best] = permutation[start + j]
      permutation[start + j] = index
      swaps++
    }
    const pivot = columns[column + j]
    if (pivot === 0) continue
    for (let i = j + 1; i < height; i++) columns[column + i] /= pivot
  }
  for (let i = 0, p = start * n + start; i < height; i++, p += n) for (let j = 0; j < width; j++) a[p + j] = columns[j * height + i]
  return swaps
}

/**
 * Factors the columns start to end of rows start to n by halves (Toledo 1997), so that nearly all work is large products.
 *
 * @returns number of swaps
 */
function factorColumns(a: Float64Array, n: number, start: number, end: number, permutation: Int32Array): number {
  const width = end - start
  if (width <= panel) return factorPanel(a, n, start, end, permutation)
  const middle = start + panel * Math.ceil(width / (2 * panel))
  const swaps = factorColumns(a, n, start, middle, permutation)
  // U12 = L11⁻¹ A12, then A22 −= L21 U12.
  const half = middle - start
  const rest = end - middle
  const triangle = new Float64Array(half * half)
  const upper = new Float64Array(half * rest)
  for (let i = 0, p = start * n; i < half; i++, p += n) {
    triangle.set(a.subarray(p + start, p + middle), i * half)
    upper.set(a.subarray(p + middle, p + end), i * rest)
  }
  solveTriangleInPlace(triangle, half, upper, rest, true, true)
  for (let i = 0, p = start * n; i < half; i++, p += n) a.set(upper.subarray(i * rest, (i + 1) * rest), p + middle)
  gemm(-1, a, middle * n + start, n, upper, 0, rest, 1, a, middle * n + middle, n, n - middle, rest, half)
  return swaps + factorColumns(a, n, middle, end, permutation)
}

/**
 * LU factors with partial pivoting. A singular matrix factors too, with a zero on U's diagonal.
 *
 * @param a - [n, n]
 * @throws ShapeError when not square, DataError for values that are not finite
 */
export function lu(a: Matrix): LuFactors {
  checkSquare(a, 'lu')
  const n = a.rows
  const data = a.data.slice()
  const permutation = Int32Array.from({ length: n }, (_, i) => i)
  const swaps = factorColumns(data, n, 0, n, permutation)
  return { factors: { rows: n, cols: n, data }, permutation, sign: swaps % 2 === 0 ? 1 : -1 }
}

/**
 * Solves A x = b given the LU factors of A.
 *
 * @throws DataError when a pivot is zero, naming it
 */
export function luSolve<B extends RightHandSide>(factors: LuFactors, b: B): B {
  const { factors: f, permutation } = factors
  const n = f.rows
  const { data: right, count } = copyRightHandSide(b, n, 'solve')
  for (let i = 0; i < n; i++) {
    if (f.data[i * n + i] === 0) {
      throw new DataError(
        `solve: the matrix is singular: pivot ${i} of ${n} is 0. Use leastSquares for the solution of least norm, or ridge`,
      )
    }
  }
  const x = new Float64Array(n * count)
  for (let i = 0; i < n; i++) x.set(right.subarray(permutation[i] * count, (permutation[i] + 1) * count), i * count)
  solveTriangleInPlace(f.data, n, x, count, true, true)
  solveTriangleInPlace(f.data, n, x, count, false, false)
  return likeRightHandSide(b, x, n)
}

/**
 * Solves A x = b for a square A by LU with partial pivoting.
 *
 * @param a - [n, n]
 * @param b - [n] or [n, k]
 * @returns x, in the form of b
 * @throws ShapeError for sizes that don't match, DataError when A is singular or not finite
 */
export function solve<B extends RightHandSide>(a: Matrix, b: B): B {
  return luSolve(lu(a), b)
}

/** A⁻¹. Prefer {@link solve} where only A⁻¹b is needed. @throws DataError when A is singular */
export function inverse(a: Matrix): Matrix {
  return luSolve(lu(a), identity(a.rows))
}

/**
 * Determinant as sign and logarithm, which neither overflows nor vanishes: det A = sign · exp(logAbsDet).
 *
 * @returns sign 0 and logAbsDet −Infinity for a singular matrix
 */
export function logDet(a: Matrix): { sign: -1 | 0 | 1; logAbsDet: number } {
  const { factors, sign } = lu(a)
  let negative = sign < 0
  let logAbsDet = 0
  for (let i = 0; i < factors.rows; i++) {
    const pivot = factors.data[i * factors.cols + i]
    if (pivot === 0) return { sign: 0, logAbsDet: -Infinity }
    negative = negative !== pivot < 0
    logAbsDet += Math.log(Math.abs(pivot))
  }
  return { sign: negative ? -1 : 1, logAbsDet }
}

/** Determinant; see {@link logDet} where it could overflow. */
export function det(a: Matrix): number {
  const { factors, sign } = lu(a)
  let product: number = sign
  for (let i = 0; i < factors.rows; i++) product *= factors.data[i * factors.cols + i]
  return product
}
