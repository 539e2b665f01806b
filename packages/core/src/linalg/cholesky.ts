import { DataError, OptionError, ShapeError } from '../errors'
import { gemm, isNative, nativeProduct } from './gemm'
import {
  add,
  checkFinite,
  checkSymmetric,
  copyRightHandSide,
  gram,
  likeRightHandSide,
  matmul,
  transpose,
  zeros,
  type Matrix,
  type RightHandSide,
} from './matrix'
import { invertBlock, solveTriangleInPlace, solveVectorInPlace } from './triangular'

const block = 64

/**
 * Factors the lower triangle of an n × n array in place and clears the upper one: A = L Lᵀ.
 *
 * @returns the index of the first pivot that is not positive, with its value, or undefined
 */
export function choleskyInPlace(a: Float64Array, n: number): { index: number; pivot: number } | undefined {
  for (let start = 0; start < n; start += block) {
    const end = Math.min(n, start + block)
    const width = end - start
    // Left-looking by block columns: A[start:, start:end] −= L[start:, :start] L[start:end, :start]ᵀ.
    if (start > 0) gemm(-1, a, start * n, n, a, start * n, 1, n, a, start * n + start, n, n - start, width, start)
    const failure = factorRows(a, n, start, end, end)
    if (failure !== undefined) return failure
    solvePanel(a, n, start, end)
  }
  for (let i = 0; i < n; i++) a.fill(0, i * n + i + 1, (i + 1) * n)
  return undefined
}

/** Columns [start, end) of the factor for the rows [start, endRow), earlier columns being subtracted already. */
function factorRows(a: Float64Array, n: number, start: number, end: number, endRow: number): { index: number; pivot: number } | undefined {
  for (let j = start; j < end; j++) {
    let sum = a[j * n + j]
    for (let k = start; k < j; k++) sum -= a[j * n + k] * a[j * n + k]
    if (!(sum > 0)) return { index: j, pivot: sum }
    const pivot = Math.sqrt(sum)
    a[j * n + j] = pivot
    substituteRows(a, n, start, j, j + 1, endRow)
  }
  return undefined
}

/** Column j of the rows [from, to), given the columns [start, j) and the pivot. */
function substituteRows(a: Float64Array, n: number, start: number, j: number, from: number, to: number): void {
  const pivot = a[j * n + j]
  for (let i = from; i < to; i++) {
    let value = a[i * n + j]
    for (let k = start, p = i * n + start, q = j * n + start; k < j; k++, p++, q++) value -= a[p] * a[q]
    a[i * n + j] = value / pivot
  }
}

/** The rows below a factored diagonal block: A[end:, block] ← A[end:, block] L[block, block]⁻ᵀ. */
function solvePanel(a: Float64Array, n: number, start: number, end: number): void {
  const width = end - start
  const rows = n - end
  const inverse = isNative(rows, width, width) ? invertBlock(a, n, start, end, true, false) : undefined
  if (inverse === undefined) {
    for (let j = start; j < end; j++) substituteRows(a, n, start, j, end, n)
    return
  }
  const panel = new Float64Array(rows * width)
  for (let i = 0; i < rows; i++) panel.set(a.subarray((end + i) * n + start, (end + i) * n + end), i * width)
  const shape: [number, number] = [rows, width]
  const solved = nativeProduct({ data: panel, shape, transposed: false }, { data: inverse, shape: [width, width], transposed: true })
  for (let i = 0; i < rows && solved !== undefined; i++) a.set(solved.subarray(i * width, (i + 1) * width), (end + i) * n + start)
}

/**
 * Cholesky factor of a symmetric positive definite matrix: A = L Lᵀ.
 *
 * @param a - [n, n]
 * @param options - `jitter` is added to the diagonal first (default 0)
 * @returns L [n, n], lower triangular with a positive diagonal
 * @throws ShapeError when not square; DataError when not symmetric, not finite, or not positive definite (naming the pivot)
 */
export function cholesky(a: Matrix, options: { jitter?: number } = {}): Matrix {
  const { jitter = 0 } = options
  if (!(jitter >= 0)) throw new OptionError(`cholesky: jitter must be at least 0, got ${jitter}`)
  checkSymmetric(a, 'cholesky')
  const n = a.rows
  const data = a.data.slice()
  let trace = 0
  for (let i = 0; i < n; i++) {
    trace += Math.abs(data[i * n + i])
    data[i * n + i] += jitter
  }
  const failure = choleskyInPlace(data, n)
  if (failure !== undefined) {
    throw new DataError(
      `cholesky: the matrix is not positive definite: pivot ${failure.index} of ${n} is ${failure.pivot}. ` +
        `Add jitter to the diagonal (for this matrix ${((trace / n) * 1e-10 || 1e-10).toExponential(0)} or more), or use symmetricEigen`,
    )
  }
  return { rows: n, cols: n, data }
}

/**
 * Solves A x = b given the Cholesky factor of A.
 *
 * @param l - L [n, n] of {@link cholesky}
 * @param b - [n] or [n, k]
 * @returns x, in the form of b
 */
export function choleskySolve<B extends RightHandSide>(l: Matrix, b: B): B {
  const n = l.rows
  if (l.cols !== n) throw new ShapeError(`choleskySolve: expected a square factor, got [${l.rows}, ${l.cols}]`)
  const { data, count } = copyRightHandSide(b, n, 'choleskySolve')
  solveTriangleInPlace(l.data, n, data, count, true, false)
  if (count === 1) solveVectorInPlace(l.data, n, data, { lower: true, transposed: true, unitDiagonal: false })
  else solveTriangleInPlace(transpose(l).data, n, data, count, false, false)
  return likeRightHandSide(b, data, n)
}

/** log det A = 2 Σ log Lᵢᵢ given the Cholesky factor L of A. */
export function choleskyLogDet(l: Matrix): number {
  let sum = 0
  for (let i = 0; i < l.rows; i++) sum += Math.log(l.data[i * l.cols + i])
  return 2 * sum
}

/**
 * Solves (D + U C Uᵀ) x = b for a diagonal D and a thin U by the Woodbury identity, in O(n k²):
 * x = D⁻¹b − D⁻¹U (C⁻¹ + Uᵀ D⁻¹ U)⁻¹ Uᵀ D⁻¹ b. With Q = Lc from C = Lc Lcᵀ and W = U Lc the middle matrix is
 * I + Wᵀ D⁻¹ W, which is well conditioned whenever D is, even for a nearly singular C.
 *
 * @param diagonal - D [n], positive
 * @param u - U [n, k]
 * @param b - [n] or [n, m]
 * @param c - C [k, k], symmetric positive definite; default the identity
 * @returns `solution`, in the form of b, and `logDet` of D + U C Uᵀ
 * @throws DataError when D has a value that is not positive, or C is not positive definite
 */
export function woodburySolve<B extends RightHandSide>(
  diagonal: Float64Array,
  u: Matrix,
  b: B,
  c?: Matrix,
): { solution: B; logDet: number } {
  const n = diagonal.length
  if (u.rows !== n) throw new ShapeError(`woodburySolve: diagonal has ${n} values, u has ${u.rows} rows`)
  if (c !== undefined && c.rows !== u.cols) throw new ShapeError(`woodburySolve: u has ${u.cols} columns, c is [${c.rows}, ${c.cols}]`)
  checkFinite(u, 'woodburySolve: u')
  const bad = diagonal.findIndex((value) => !(value > 0 && value < Infinity))
  if (bad >= 0) throw new DataError(`woodburySolve: diagonal must be positive and finite, got ${diagonal[bad]} at index ${bad}`)
  const { data: right, count } = copyRightHandSide(b, n, 'woodburySolve')
  const w = c === undefined ? u : matmul(u, cholesky(c))
  const k = w.cols
  // Rows scaled by D^{-1/2} make the middle matrix I + VᵀV symmetric to the last bit.
  const v = zeros(n, k)
  let logDet = 0
  for (let i = 0; i < n; i++) {
    const scale = 1 / Math.sqrt(diagonal[i])
    logDet += Math.log(diagonal[i])
    for (let j = 0; j < k; j++) v.data[i * k + j] = w.data[i * k + j] * scale
    for (let j = 0; j < count; j++) right[i * count + j] *= scale
  }
  const middle = gram(v)
  for (let j = 0; j < k; j++) middle.data[j * k + j] += 1
  const l = cholesky(middle)
  const scaled: Matrix = { rows: n, cols: count, data: right }
  const correction = matmul(v, choleskySolve(l, matmul(v, scaled, { transposeA: true })))
  const solution = add(scaled, correction, 1, -1).data
  for (let i = 0; i < n; i++) {
    const scale = 1 / Math.sqrt(diagonal[i])
    for (let j = 0; j < count; j++) solution[i * count + j] *= scale
  }
  return { solution: likeRightHandSide(b, solution, n), logDet: logDet + choleskyLogDet(l) }
}

/**
 * Ridge regression: the minimiser of ‖A x − b‖² + λ‖x‖², through whichever Gram matrix is smaller
 * ((AᵀA + λI)⁻¹Aᵀb = Aᵀ(AAᵀ + λI)⁻¹b).
 *
 * @param a - [n, d]
 * @param b - [n] or [n, k]
 * @param lambda - positive
 * @returns x [d] or [d, k]
 * @throws OptionError when lambda is not positive; DataError when λ is too small against A's rounding
 */
export function ridge<B extends RightHandSide>(a: Matrix, b: B, lambda: number): B {
  if (!(lambda > 0 && lambda < Infinity)) {
    throw new OptionError(`ridge: lambda must be positive and finite, got ${lambda}; for lambda 0 use leastSquares`)
  }
  checkFinite(a, 'ridge')
  const { data, count } = copyRightHandSide(b, a.rows, 'ridge')
  const right: Matrix = { rows: a.rows, cols: count, data }
  const tall = a.rows >= a.cols
  const small = gram(a, tall ? 'columns' : 'rows')
  for (let i = 0; i < small.rows; i++) small.data[i * small.rows + i] += lambda
  const l = cholesky(small)
  const x = tall ? choleskySolve(l, matmul(a, right, { transposeA: true })) : matmul(a, choleskySolve(l, right), { transposeA: true })
  return likeRightHandSide(b, x.data, a.cols)
}
