import { DataError } from '../errors'
import { applyReflector, makeReflector } from './householder'
import { checkSymmetric, gram, transpose, type Matrix } from './matrix'
import { rotationQueue, type RotationQueue } from './rotations'

/** A = V diag(values) Vᵀ. */
export interface SymmetricEigen {
  /** [n], ascending. */
  readonly values: Float64Array
  /** [n, n]; column j belongs to values[j]; orthonormal. */
  readonly vectors: Matrix
}

interface Tridiagonal {
  /** [n] */
  diagonal: Float64Array
  /** [n]; entry i couples i and i + 1, the last is 0. */
  offDiagonal: Float64Array
  /** Factors of the reflectors: row i of the reduced array holds v of length i, and tau[i]. */
  tau: Float64Array
}

/**
 * Householder reduction of the lower triangle to tridiagonal form, in place, last row first (EISPACK tred2's order).
 * The rank-two update of one step and the product A v of the next are made in one pass over the triangle, because
 * memory traffic, not arithmetic, bounds this step.
 */
function tridiagonalise(a: Float64Array, n: number): Tridiagonal {
  const diagonal = new Float64Array(n)
  const offDiagonal = new Float64Array(n)
  const tau = new Float64Array(n)
  let v = new Float64Array(n)
  let w = new Float64Array(n)
  let previousV = new Float64Array(n)
  let previousW = new Float64Array(n)
  for (let i = n - 1; i >= 0; i--) {
    const row = i * n
    for (let c = 0; c <= i; c++) a[row + c] -= previousV[i] * previousW[c] + previousW[i] * previousV[c]
    diagonal[i] = a[row + i]
    if (i === 0) break
    const reflector = makeReflector(a, row, row + i, row + i - 1)
    offDiagonal[i - 1] = reflector.beta
    tau[i] = reflector.tau
    v.set(a.subarray(row, row + i))
    updateAndMultiply(a, n, i, previousV, previousW, v, w)
    let product = 0
    for (let c = 0; c < i; c++) product += w[c] * v[c]
    const half = (reflector.tau * reflector.tau * product) / 2
    for (let c = 0; c < i; c++) w[c] = reflector.tau * w[c] - half * v[c]
    ;[v, previousV] = [previousV, v]
    ;[w, previousW] = [previousW, w]
  }
  return { diagonal, offDiagonal, tau }
}

/** A −= p qᵀ + q pᵀ and product = A v over the lower triangle of the first m rows, two rows at a time. */
function updateAndMultiply(
  a: Float64Array,
  n: number,
  m: number,
  p: Float64Array,
  q: Float64Array,
  v: Float64Array,
  product: Float64Array,
): void {
  product.fill(0, 0, m)
  let r = 0
  for (; r + 2 <= m; r += 2) {
    const row0 = r * n
    const row1 = row0 + n
    const p0 = p[r]
    const p1 = p[r + 1]
    const q0 = q[r]
    const q1 = q[r + 1]
    const v0 = v[r]
    const v1 = v[r + 1]
    let sum0 = 0
    let sum1 = 0
    for (let c = 0; c < r; c++) {
      const pc = p[c]
      const qc = q[c]
      const vc = v[c]
      const x = a[row0 + c] - (p0 * qc + q0 * pc)
      const y = a[row1 + c] - (p1 * qc + q1 * pc)
      a[row0 + c] = x
      a[row1 + c] = y
      sum0 += x * vc
      sum1 += y * vc
      product[c] += x * v0 + y * v1
    }
    const d0 = a[row0 + r] - 2 * p0 * q0
    const below = a[row1 + r] - (p1 * q0 + q1 * p0)
    const d1 = a[row1 + r + 1] - 2 * p1 * q1
    a[row0 + r] = d0
    a[row1 + r] = below
    a[row1 + r + 1] = d1
    product[r] += sum0 + d0 * v0 + below * v1
    product[r + 1] += sum1 + below * v0 + d1 * v1
  }
  if (r === m) return
  let sum = 0
  for (let c = 0; c < r; c++) {
    const x = a[r * n + c] - (p[r] * q[c] + q[r] * p[c])
    a[r * n + c] = x
    sum += x * v[c]
    product[c] += x * v[r]
  }
  const d = a[r * n + r] - 2 * p[r] * q[r]
  a[r * n + r] = d
  product[r] += sum + d * v[r]
}

/** The orthogonal matrix of the reduction, transposed: row c is column c of Q = H(n−1) … H(1). */
function formTransposedQ(a: Float64Array, n: number, tau: Float64Array): Float64Array {
  const q = new Float64Array(n * n)
  for (let c = 0; c < n; c++) q[c * n + c] = 1
  // H(i) acts on the first i coordinates, so column c meets H(c + 1) first.
  for (let c = 0; c < n; c += 4) {
    const end = Math.min(n, c + 4)
    for (let i = c + 1; i < n; i++) applyReflector(a, i * n, i, tau[i], q, n, 0, c, Math.min(end, i))
  }
  return q
}

/**
 * Eigenvalues of a symmetric tridiagonal matrix, in place in `d` (unsorted), by implicit QL with Wilkinson's shift.
 */
function tridiagonalQl(d: Float64Array, e: Float64Array, rotations: RotationQueue | undefined): void {
  const n = d.length
  let budget = 60 * n
  for (let l = 0; l < n; l++) {
    for (;;) {
      let m = l
      // The matrix is scaled to 1: 1e-200 is nothing, but rotations by subnormal numbers would not be orthogonal.
      while (m < n - 1 && Math.abs(e[m]) > Number.EPSILON * (Math.abs(d[m]) + Math.abs(d[m + 1])) + 1e-200) m++
      if (m === l) break
      if (budget-- === 0) throw new DataError(`symmetricEigen: no convergence for eigenvalue ${l} of ${n}; rescale the matrix`)
      qlStep(d, e, l, m, rotations)
    }
  }
}

function qlStep(d: Float64Array, e: Float64Array, l: number, m: number, rotations: RotationQueue | undefined): void {
  const theta = (d[l + 1] - d[l]) / (2 * e[l])
  const root = Math.abs(theta) > 1e150 ? Math.abs(theta) : Math.sqrt(theta * theta + 1)
  let g = d[m] - d[l] + e[l] / (theta + (theta < 0 ? -root : root))
  let s = 1
  let c = 1
  let p = 0
  for (let i = m - 1; i >= l; i--) {
    const f = s * e[i]
    const b = c * e[i]
    let r = Math.sqrt(f * f + g * g)
    // The squares may have lost digits to underflow.
    if (r < 1e-140) r = Math.hypot(f, g)
    e[i + 1] = r
    if (r === 0) {
      d[i + 1] -= p
      e[m] = 0
      return
    }
    s = f / r
    c = g / r
    g = d[i + 1] - p
    r = (d[i] - g) * s + 2 * c * b
    p = s * r
    d[i + 1] = g + p
    g = c * r - b
    rotations?.push(i, i + 1, c, -s)
  }
  d[l] -= p
  e[l] = g
  e[m] = 0
}

/** A copy of `a` divided by its largest absolute value, so that no square overflows or vanishes. */
function scaledCopy(a: Matrix): { data: Float64Array; scale: number } {
  let scale = 0
  for (const value of a.data) scale = Math.max(scale, Math.abs(value))
  if (scale === 0) return { data: a.data.slice(), scale: 1 }
  return { data: a.data.map((value) => value / scale), scale }
}

/**
 * Eigenvalues of a symmetric matrix, without vectors: O(n³) with a small constant (n = 2000 in a few seconds).
 *
 * @param a - [n, n]
 * @returns [n], ascending
 * @throws ShapeError when not square, DataError when not symmetric or not finite
 */
export function symmetricEigenvalues(a: Matrix): Float64Array {
  checkSymmetric(a, 'symmetricEigenvalues')
  const { data, scale } = scaledCopy(a)
  const { diagonal, offDiagonal } = tridiagonalise(data, a.rows)
  tridiagonalQl(diagonal, offDiagonal, undefined)
  return diagonal.map((value) => value * scale).sort()
}

/**
 * Eigenvalues and orthonormal eigenvectors of a symmetric matrix: A V = V diag(values).
 *
 * Householder tridiagonalisation and implicit QL. Our own and not ml-matrix's: that one walks columns of row arrays
 * and takes ten times as long.
 *
 * @param a - [n, n]; the lower triangle is used
 * @returns `values` [n] ascending, `vectors` [n, n] with eigenvectors as columns
 * @throws ShapeError when not square, DataError when not symmetric or not finite
 */
export function symmetricEigen(a: Matrix): SymmetricEigen {
  checkSymmetric(a, 'symmetricEigen')
  const n = a.rows
  const { data, scale } = scaledCopy(a)
  const { diagonal, offDiagonal, tau } = tridiagonalise(data, n)
  const vectors = transpose({ rows: n, cols: n, data: formTransposedQ(data, n, tau) })
  const rotations = rotationQueue(vectors.data, n, n)
  tridiagonalQl(diagonal, offDiagonal, rotations)
  rotations.flush()
  const order = Array.from(diagonal.keys()).sort((i, j) => diagonal[i] - diagonal[j])
  return { values: Float64Array.from(order, (i) => diagonal[i] * scale), vectors: takeColumns(vectors, order) }
}

/** The columns `order` of `a`, in that order. */
export function takeColumns(a: Matrix, order: readonly number[]): Matrix {
  const { rows, cols, data } = a
  const count = order.length
  const result = new Float64Array(rows * count)
  for (let i = 0; i < rows; i++) for (let j = 0; j < count; j++) result[i * count + j] = data[i * cols + order[j]]
  return { rows, cols: count, data: result }
}

/**
 * F with F Fᵀ = A for a symmetric positive semi-definite A: V diag(√values). Eigenvalues that are negative by
 * rounding count as zero.
 *
 * @throws DataError when A has a clearly negative eigenvalue
 */
export function semidefiniteFactor(a: Matrix, name = 'semidefiniteFactor'): Matrix {
  const { values, vectors } = symmetricEigen(a)
  semidefiniteCheck(values, name)
  const n = values.length
  const roots = values.map((value) => Math.sqrt(Math.max(0, value)))
  const data = vectors.data.slice()
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) data[i * n + j] *= roots[j]
  return { rows: n, cols: n, data }
}

/**
 * The symmetric square root S of a symmetric positive semi-definite matrix: S S = A.
 *
 * @param a - [n, n]
 * @returns [n, n], symmetric positive semi-definite
 * @throws DataError when A has a clearly negative eigenvalue (below −1e-8 of the largest)
 */
export function symmetricSqrt(a: Matrix): Matrix {
  const { values, vectors } = symmetricEigen(a)
  semidefiniteCheck(values, 'symmetricSqrt')
  const n = values.length
  const quarter = values.map((value) => Math.sqrt(Math.sqrt(Math.max(0, value))))
  const data = vectors.data.slice()
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) data[i * n + j] *= quarter[j]
  return gram({ rows: n, cols: n, data }, 'rows')
}

function semidefiniteCheck(values: Float64Array, name: string): void {
  const n = values.length
  if (n === 0) return
  const largest = Math.max(Math.abs(values[0]), Math.abs(values[n - 1]))
  if (values[0] >= -1e-8 * largest) return
  throw new DataError(
    `${name}: the matrix is not positive semi-definite: its smallest eigenvalue is ${values[0]}, the largest ${values[n - 1]}`,
  )
}
