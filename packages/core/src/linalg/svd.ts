import { DataError, OptionError, ShapeError } from '../errors'
import { applyReflector, makeReflector } from './householder'
import { checkFinite, copyRightHandSide, gram, likeRightHandSide, matmul, transpose, type Matrix, type RightHandSide } from './matrix'
import { qr, qrTriangle } from './qr'
import { rotationQueue, type RotationQueue } from './rotations'
import { symmetricEigenvalues, takeColumns } from './symmetric-eigen'

/** A = U diag(s) Vᵀ. */
export interface Svd {
  /** [m, k] with k = min(m, n), orthonormal columns. */
  readonly u: Matrix
  /** [k], descending, not negative. */
  readonly s: Float64Array
  /** [k, n], orthonormal rows (numpy's `vh`). */
  readonly vt: Matrix
}

interface Bidiagonal {
  diagonal: Float64Array
  /** [n]; entry i stands right of diagonal i, the last is 0. */
  superDiagonal: Float64Array
  /** Row k holds the left reflector k from entry k on, for [n, m] columns; and the right reflectors likewise. */
  left: Float64Array
  leftTau: Float64Array
  right: Float64Array
  rightTau: Float64Array
}

/** Householder reduction of a square row-major array, in place, to upper bidiagonal form. */
function bidiagonalise(a: Float64Array, n: number): Bidiagonal {
  const diagonal = new Float64Array(n)
  const superDiagonal = new Float64Array(n)
  const left = new Float64Array(n * n)
  const right = new Float64Array(n * n)
  const leftTau = new Float64Array(n)
  const rightTau = new Float64Array(n)
  const product = new Float64Array(n)
  for (let k = 0; k < n; k++) {
    const u = left.subarray(k * n, (k + 1) * n)
    for (let i = k; i < n; i++) u[i] = a[i * n + k]
    const onLeft = makeReflector(u, k, n, k)
    diagonal[k] = onLeft.beta
    leftTau[k] = onLeft.tau
    if (k === n - 1) break
    product.fill(0, k + 1)
    for (let i = k; i < n; i++) {
      const ui = u[i]
      for (let j = k + 1, p = i * n + j; j < n; j++, p++) product[j] += ui * a[p]
    }
    const v = right.subarray(k * n, (k + 1) * n)
    for (let j = k + 1; j < n; j++) v[j] = a[k * n + j] - onLeft.tau * product[j]
    const onRight = makeReflector(v, k + 1, n, k + 1)
    superDiagonal[k] = onRight.beta
    rightTau[k] = onRight.tau
    // Both reflections of a row in one pass.
    for (let i = k + 1; i < n; i++) {
      const factor = onLeft.tau * u[i]
      const row = i * n
      let dot = 0
      for (let j = k + 1; j < n; j++) {
        const x = a[row + j] - factor * product[j]
        a[row + j] = x
        dot += x * v[j]
      }
      dot *= onRight.tau
      for (let j = k + 1; j < n; j++) a[row + j] -= dot * v[j]
    }
  }
  return { diagonal, superDiagonal, left, leftTau, right, rightTau }
}

/** The product H(0) H(1) … of reflectors kept in rows, where row k starts at entry k + shift. */
function formProduct(reflectors: Float64Array, tau: Float64Array, n: number, shift: number): Matrix {
  const q = new Float64Array(n * n)
  for (let j = 0; j < n; j++) q[j * n + j] = 1
  for (let k = n - 1 - shift; k >= 0; k--) {
    const start = k + shift
    applyReflector(reflectors, k * n + start, n - start, tau[k], q, n, start, start, n)
  }
  return transpose({ rows: n, cols: n, data: q })
}

function rotation(f: number, g: number): { c: number; s: number; r: number } {
  const squares = f * f + g * g
  // Math.hypot is slower and a little less accurate; it serves where the squares underflow (the matrix is scaled to 1).
  const r = squares > 1e-280 ? Math.sqrt(squares) : Math.hypot(f, g)
  return r === 0 ? { c: 1, s: 0, r: 0 } : { c: f / r, s: g / r, r }
}

/**
 * Singular values of an upper bidiagonal matrix in place of `d` (unsorted, may be negative) by the implicit-shift QR
 * of Golub and Kahan, in the arrangement of LINPACK's dsvdc.
 */
function bidiagonalQr(d: Float64Array, e: Float64Array, left: RotationQueue | undefined, right: RotationQueue | undefined): void {
  let p = d.length
  let budget = 60 * p
  while (p > 1) {
    let k = p - 2
    while (k >= 0 && Math.abs(e[k]) > Number.EPSILON * (Math.abs(d[k]) + Math.abs(d[k + 1])) + 1e-200) k--
    if (k >= 0) e[k] = 0
    if (k === p - 2) {
      p--
      continue
    }
    if (budget-- === 0) throw new DataError(`svd: no convergence for singular value ${p - 1} of ${d.length}; rescale the matrix`)
    const start = k + 1
    let zero = p - 1
    while (zero >= start && Math.abs(d[zero]) > negligible(e, zero, start, p)) zero--
    if (zero < start) qrStep(d, e, start, p, left, right)
    else if (zero === p - 1) deflateLast(d, e, start, p, right)
    else deflateInside(d, e, zero, p, left)
  }
}

function negligible(e: Float64Array, i: number, start: number, p: number): number {
  return Number.EPSILON * ((i < p - 1 ? Math.abs(e[i]) : 0) + (i > start ? Math.abs(e[i - 1]) : 0)) * 0.5 + 1e-200
}

/** d[p − 1] is zero: rotate e[p − 2] out of the last column. */
function deflateLast(d: Float64Array, e: Float64Array, start: number, p: number, right: RotationQueue | undefined): void {
  d[p - 1] = 0
  let f = e[p - 2]
  e[p - 2] = 0
  for (let j = p - 2; j >= start; j--) {
    const { c, s, r } = rotation(d[j], f)
    d[j] = r
    if (j > start) {
      f = -s * e[j - 1]
      e[j - 1] *= c
    }
    right?.push(j, p - 1, c, s)
  }
}

/** d[k] is zero inside the block: rotate e[k] out of its row, which splits the block. */
function deflateInside(d: Float64Array, e: Float64Array, k: number, p: number, left: RotationQueue | undefined): void {
  d[k] = 0
  let f = e[k]
  e[k] = 0
  for (let j = k + 1; j < p; j++) {
    const { c, s, r } = rotation(d[j], f)
    d[j] = r
    f = -s * e[j]
    e[j] *= c
    left?.push(j, k, c, s)
  }
}

function qrStep(
  d: Float64Array,
  e: Float64Array,
  start: number,
  p: number,
  left: RotationQueue | undefined,
  right: RotationQueue | undefined,
): void {
  const scale = Math.max(Math.abs(d[p - 1]), Math.abs(d[p - 2]), Math.abs(e[p - 2]), Math.abs(d[start]), Math.abs(e[start]))
  const last = d[p - 1] / scale
  const before = d[p - 2] / scale
  const coupling = e[p - 2] / scale
  const first = d[start] / scale
  const b = ((before + last) * (before - last) + coupling * coupling) / 2
  const c2 = last * coupling * (last * coupling)
  const root = Math.sqrt(b * b + c2)
  const shift = b === 0 && c2 === 0 ? 0 : c2 / (b + (b < 0 ? -root : root))
  let f = (first + last) * (first - last) + shift
  let g = first * (e[start] / scale)
  for (let j = start; j < p - 1; j++) {
    const onRight = rotation(f, g)
    if (j > start) e[j - 1] = onRight.r
    f = onRight.c * d[j] + onRight.s * e[j]
    e[j] = onRight.c * e[j] - onRight.s * d[j]
    g = onRight.s * d[j + 1]
    d[j + 1] *= onRight.c
    right?.push(j, j + 1, onRight.c, onRight.s)
    const onLeft = rotation(f, g)
    d[j] = onLeft.r
    f = onLeft.c * e[j] + onLeft.s * d[j + 1]
    d[j + 1] = onLeft.c * d[j + 1] - onLeft.s * e[j]
    g = onLeft.s * e[j + 1]
    e[j + 1] *= onLeft.c
    left?.push(j, j + 1, onLeft.c, onLeft.s)
  }
  e[p - 2] = f
}

/** Largest absolute value; the SVD works on A divided by it, so that no square overflows or vanishes. */
function magnitude(a: Matrix): number {
  let largest = 0
  for (const value of a.data) largest = Math.max(largest, Math.abs(value))
  return largest || 1
}

function squareSvd(a: Matrix): Svd {
  const n = a.cols
  const scale = magnitude(a)
  const { diagonal, superDiagonal, left, leftTau, right, rightTau } = bidiagonalise(
    a.data.map((value) => value / scale),
    n,
  )
  const u = formProduct(left, leftTau, n, 0)
  const v = formProduct(right, rightTau, n, 1)
  const onLeft = rotationQueue(u.data, n, n)
  const onRight = rotationQueue(v.data, n, n)
  bidiagonalQr(diagonal, superDiagonal, onLeft, onRight)
  onLeft.flush()
  onRight.flush()
  const order = Array.from(diagonal.keys()).sort((i, j) => Math.abs(diagonal[j]) - Math.abs(diagonal[i]))
  const vt = transpose(takeColumns(v, order))
  order.forEach((from, row) => {
    if (diagonal[from] < 0) for (let j = 0; j < n; j++) vt.data[row * n + j] *= -1
  })
  return { u: takeColumns(u, order), s: Float64Array.from(order, (i) => Math.abs(diagonal[i]) * scale), vt }
}

/**
 * Thin singular value decomposition A = U diag(s) Vᵀ.
 *
 * QR first, then Golub–Kahan on the triangle. Our own and not ml-matrix's, which takes eight times as long on
 * 300 × 1500.
 *
 * @param a - [m, n]
 * @returns u [m, k], s [k] descending, vt [k, n], with k = min(m, n)
 * @throws DataError for values that are not finite
 */
export function svd(a: Matrix): Svd {
  checkFinite(a, 'svd')
  if (a.rows === a.cols) return squareSvd(a)
  if (a.rows < a.cols) {
    const { u, s, vt } = svd(transpose(a))
    return { u: transpose(vt), s, vt: transpose(u) }
  }
  const { q, r } = qr(a)
  const inner = squareSvd(r)
  return { u: matmul(q, inner.u), s: inner.s, vt: inner.vt }
}

/** Singular values alone, [min(m, n)] descending; see {@link svd}. */
export function singularValues(a: Matrix): Float64Array {
  checkFinite(a, 'singularValues')
  const tall = a.rows >= a.cols ? a : transpose(a)
  const square = tall.rows === tall.cols ? tall : qrTriangle(tall)
  const scale = magnitude(square)
  const { diagonal, superDiagonal } = bidiagonalise(
    square.data.map((value) => value / scale),
    square.cols,
  )
  bidiagonalQr(diagonal, superDiagonal, undefined, undefined)
  return diagonal
    .map((value) => Math.abs(value) * scale)
    .sort()
    .reverse()
}

/** Largest singular value of A, ‖A‖₂, from the smaller Gram matrix (squaring costs the largest value no accuracy). */
export function spectralNorm(a: Matrix): number {
  checkFinite(a, 'spectralNorm')
  if (a.data.length === 0) return 0
  const scale = magnitude(a)
  const scaled: Matrix = { rows: a.rows, cols: a.cols, data: a.data.map((value) => value / scale) }
  const values = symmetricEigenvalues(gram(scaled, a.rows >= a.cols ? 'columns' : 'rows'))
  return scale * Math.sqrt(Math.max(0, values[values.length - 1]))
}

/** σmax / σmin; Infinity for a singular matrix. */
export function conditionNumber(a: Matrix): number {
  const s = singularValues(a)
  return s.length === 0 ? 1 : s[0] / s[s.length - 1]
}

/** What {@link leastSquares} returns. */
export interface LeastSquares<B extends RightHandSide> {
  /** [n] or [n, k] */
  readonly solution: B
  /** Number of singular values above the cut. */
  readonly rank: number
  readonly singularValues: Float64Array
}

/**
 * Least squares of minimum norm: of all x that minimise ‖A x − b‖ the shortest, by the SVD. Any shape, any rank.
 *
 * @param a - [m, n]
 * @param b - [m] or [m, k]
 * @param options - singular values up to `rcond` times the largest count as zero; default max(m, n) · 2⁻⁵²
 * @returns solution [n] or [n, k], rank, singular values
 * @throws ShapeError for sizes that don't match, DataError for values that are not finite
 */
export function leastSquares<B extends RightHandSide>(a: Matrix, b: B, options: { rcond?: number } = {}): LeastSquares<B> {
  const { rcond = Math.max(a.rows, a.cols) * Number.EPSILON } = options
  if (!(rcond >= 0 && rcond < 1)) throw new OptionError(`leastSquares: rcond must be in [0, 1), got ${rcond}`)
  if (a.data.length === 0) throw new ShapeError(`leastSquares: the matrix is empty: [${a.rows}, ${a.cols}]`)
  const { data, count } = copyRightHandSide(b, a.rows, 'leastSquares')
  const { u, s, vt } = svd(a)
  const rank = s.filter((value) => value > rcond * s[0]).length
  const coefficients = matmul(u, { rows: a.rows, cols: count, data }, { transposeA: true })
  for (let i = 0; i < s.length; i++) {
    for (let c = 0; c < count; c++) coefficients.data[i * count + c] = i < rank ? coefficients.data[i * count + c] / s[i] : 0
  }
  const solution = matmul(vt, coefficients, { transposeA: true })
  return { solution: likeRightHandSide(b, solution.data, a.cols), rank, singularValues: s }
}
