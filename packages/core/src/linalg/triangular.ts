import { DataError, ShapeError } from '../errors'
import { gemm } from './gemm'
import { copyRightHandSide, likeRightHandSide, transpose, type Matrix, type RightHandSide } from './matrix'

/** Options of {@link triangularSolve}. */
export interface TriangularOptions {
  /** The lower triangle holds the matrix, otherwise the upper one; the other is not read. Default true. */
  lower?: boolean
  /** Solve with the transpose of that triangle. Default false. */
  transpose?: boolean
  /** Take the diagonal as ones. Default false. */
  unitDiagonal?: boolean
}

const block = 64

/** Solves T X = B in place for the rows of one triangle; x [n, count] row-major. */
export function solveTriangleInPlace(
  t: Float64Array,
  n: number,
  x: Float64Array,
  count: number,
  lower: boolean,
  unitDiagonal: boolean,
): void {
  const blocks = Math.ceil(n / block)
  for (let step = 0; step < blocks; step++) {
    const start = (lower ? step : blocks - 1 - step) * block
    const end = Math.min(n, start + block)
    // Everything solved so far is subtracted by one product, then the block itself row by row.
    if (lower && start > 0) gemm(-1, t, start * n, n, x, 0, count, 1, x, start * count, count, end - start, count, start)
    if (!lower && end < n) gemm(-1, t, start * n + end, n, x, end * count, count, 1, x, start * count, count, end - start, count, n - end)
    for (let step2 = start; step2 < end; step2++) {
      const i = lower ? step2 : end - 1 - (step2 - start)
      const from = lower ? start : i + 1
      const to = lower ? i : end
      for (let k = from; k < to; k++) {
        const factor = t[i * n + k]
        if (factor === 0) continue
        for (let c = 0, p = i * count, q = k * count; c < count; c++, p++, q++) x[p] -= factor * x[q]
      }
      if (unitDiagonal) continue
      const pivot = t[i * n + i]
      for (let c = 0, p = i * count; c < count; c++, p++) x[p] /= pivot
    }
  }
}

/**
 * Solves T x = b (or Tᵀ x = b) for a triangular T by substitution.
 *
 * @param t - [n, n]
 * @param b - [n], or [n, k] for k right-hand sides
 * @returns x, in the form of b
 * @throws ShapeError for sizes that don't match, DataError for a zero on the diagonal
 */
export function triangularSolve<B extends RightHandSide>(t: Matrix, b: B, options: TriangularOptions = {}): B {
  const { lower = true, transpose: transposed = false, unitDiagonal = false } = options
  const n = t.rows
  if (t.cols !== n) throw new ShapeError(`triangularSolve: expected a square matrix, got [${t.rows}, ${t.cols}]`)
  const { data, count } = copyRightHandSide(b, n, 'triangularSolve')
  for (let i = 0; i < n && !unitDiagonal; i++) {
    if (t.data[i * n + i] === 0) {
      throw new DataError(`triangularSolve: the diagonal is zero at index ${i}, so the matrix is singular; use leastSquares instead`)
    }
  }
  const source = transposed ? transpose(t) : t
  solveTriangleInPlace(source.data, n, data, count, transposed ? !lower : lower, unitDiagonal)
  return likeRightHandSide(b, data, n)
}
