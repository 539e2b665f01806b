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

const block = 48

function swapRows(a: Float64Array, n: number, i: number, j: number): void {
  for (let p = i * n, q = j * n, c = 0; c < n; c++, p++, q++) {
    const value = a[p]
    a[p] = a[q]
    a[q] = value
  }
}

/** Eliminates the columns start to end of rows start to n, pivoting whole rows. @returns number of swaps */
function factorPanel(a: Float64Array, n: number, start: number, end: number, permutation: Int32Array): number {
  let swaps = 0
  for (let j = start; j < end; j++) {
    let best = j
    for (let i = j + 1; i < n; i++) if (Math.abs(a[i * n + j]) > Math.abs(a[best * n + j])) best = i
    if (best !== j) {
      swapRows(a, n, best, j)
      const index = permutation[best]
      permutation[best] = permutation[j]
      permutation[j] = index
      swaps++
    }
    const pivot = a[j * n + j]
    if (pivot === 0) continue
    for (let i = j + 1; i < n; i++) {
      const factor = a[i * n + j] / pivot
      a[i * n + j] = factor
      if (factor === 0) continue
      for (let c = j + 1, p = i * n + c, q = j * n + c; c < end; c++, p++, q++) a[p] -= factor * a[q]
    }
  }
  return swaps
}

/**
 * LU factors with partial pivoting, right-looking by blocks. A singular matrix factors too, with a zero on U's diagonal.
 *
 * @param a - [n, n]
 * @throws ShapeError when not square, DataError for values that are not finite
 */
export function lu(a: Matrix): LuFactors {
  checkSquare(a, 'lu')
  const n = a.rows
  const data = a.data.slice()
  const permutation = Int32Array.from({ length: n }, (_, i) => i)
  let swaps = 0
  for (let start = 0; start < n; start += block) {
    const end = Math.min(n, start + block)
    swaps += factorPanel(data, n, start, end, permutation)
    const rest = n - end
    if (rest === 0) continue
    // U12 = L11⁻¹ A12, then A22 −= L21 U12.
    for (let i = start + 1; i < end; i++) {
      for (let k = start; k < i; k++) {
        const factor = data[i * n + k]
        for (let c = 0, p = i * n + end, q = k * n + end; c < rest; c++, p++, q++) data[p] -= factor * data[q]
      }
    }
    gemm(-1, data, end * n + start, n, data, start * n + end, n, 1, data, end * n + end, n, rest, rest, end - start)
  }
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
