import { DataError, ShapeError } from '../errors'
import { gemm, isNative, nativeProduct } from './gemm'
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

/** Condition in the maximum norm up to which a block is solved by its inverse: the backward error grows with it. */
const inverseCondition = 1e4

/**
 * The inverse of the diagonal block [start, end) of a triangle, [end − start, end − start], so that many right-hand sides
 * take one product (Du Croz and Higham 1992); undefined where it is too ill-conditioned for that to be accurate.
 */
export function invertBlock(
  t: Float64Array,
  n: number,
  start: number,
  end: number,
  lower: boolean,
  unitDiagonal: boolean,
): Float64Array | undefined {
  const size = end - start
  const inverse = new Float64Array(size * size)
  let norm = 0
  let inverseNorm = 0
  for (let step = 0; step < size; step++) {
    const i = lower ? step : size - 1 - step
    const row = (start + i) * n + start
    const from = lower ? 0 : i + 1
    const to = lower ? i : size
    const pivot = unitDiagonal ? 1 : t[row + i]
    let sum = Math.abs(pivot)
    for (let k = from; k < to; k++) {
      const factor = t[row + k]
      sum += Math.abs(factor)
      const first = lower ? 0 : k
      const last = lower ? k + 1 : size
      for (let j = first, p = i * size + first, q = k * size + first; j < last; j++, p++, q++) inverse[p] -= factor * inverse[q]
    }
    norm = Math.max(norm, sum)
    inverse[i * size + i] = 1
    let inverseSum = 0
    for (let p = i * size; p < (i + 1) * size; p++) {
      inverse[p] /= pivot
      inverseSum += Math.abs(inverse[p])
    }
    inverseNorm = Math.max(inverseNorm, inverseSum)
  }
  return norm * inverseNorm <= inverseCondition ? inverse : undefined
}

/** Substitution for one right-hand side, along the rows of T: of T x = b, or of Tᵀ x = b. */
export function solveVectorInPlace(
  t: Float64Array,
  n: number,
  x: Float64Array,
  { lower, transposed, unitDiagonal }: { lower: boolean; transposed: boolean; unitDiagonal: boolean },
): void {
  const downwards = lower !== transposed
  for (let step = 0; step < n; step++) {
    const i = downwards ? step : n - 1 - step
    const row = i * n
    const [from, to] = lower ? [0, i] : [i + 1, n]
    if (transposed) {
      if (!unitDiagonal) x[i] /= t[row + i]
      const value = x[i]
      for (let k = from; k < to; k++) x[k] -= t[row + k] * value
      continue
    }
    let even = x[i]
    let odd = 0
    let k = from
    for (; k + 1 < to; k += 2) {
      even -= t[row + k] * x[k]
      odd -= t[row + k + 1] * x[k + 1]
    }
    if (k < to) even -= t[row + k] * x[k]
    x[i] = unitDiagonal ? even + odd : (even + odd) / t[row + i]
  }
}

/** Solves T X = B in place for the rows of one triangle; x [n, count] row-major. */
export function solveTriangleInPlace(
  t: Float64Array,
  n: number,
  x: Float64Array,
  count: number,
  lower: boolean,
  unitDiagonal: boolean,
): void {
  if (count === 1) {
    solveVectorInPlace(t, n, x, { lower, transposed: false, unitDiagonal })
    return
  }
  const blocks = Math.ceil(n / block)
  for (let step = 0; step < blocks; step++) {
    const start = (lower ? step : blocks - 1 - step) * block
    const end = Math.min(n, start + block)
    // Everything solved so far is subtracted by one product, then the block itself is solved.
    if (lower && start > 0) gemm(-1, t, start * n, n, x, 0, count, 1, x, start * count, count, end - start, count, start)
    if (!lower && end < n) gemm(-1, t, start * n + end, n, x, end * count, count, 1, x, start * count, count, end - start, count, n - end)
    solveBlock(t, n, x, count, start, end, lower, unitDiagonal)
  }
}

/** Solves with the diagonal block [start, end): by its inverse where that runs natively and is accurate, else row by row. */
function solveBlock(
  t: Float64Array,
  n: number,
  x: Float64Array,
  count: number,
  start: number,
  end: number,
  lower: boolean,
  unitDiagonal: boolean,
): void {
  const size = end - start
  const inverse = isNative(size, count, size) ? invertBlock(t, n, start, end, lower, unitDiagonal) : undefined
  if (inverse !== undefined) {
    const solved = nativeProduct(
      { data: inverse, shape: [size, size], transposed: false },
      { data: x.subarray(start * count, end * count), shape: [size, count], transposed: false },
    )
    if (solved !== undefined) {
      x.set(solved, start * count)
      return
    }
  }
  for (let step = 0; step < size; step++) {
    const i = lower ? start + step : end - 1 - step
    const [from, to] = lower ? [start, i] : [i + 1, end]
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
  if (count === 1) {
    solveVectorInPlace(t.data, n, data, { lower, transposed, unitDiagonal })
    return likeRightHandSide(b, data, n)
  }
  const source = transposed ? transpose(t) : t
  solveTriangleInPlace(source.data, n, data, count, transposed ? !lower : lower, unitDiagonal)
  return likeRightHandSide(b, data, n)
}
