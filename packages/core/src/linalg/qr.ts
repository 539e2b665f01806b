import { applyReflector, makeReflector } from './householder'
import { checkFinite, transpose, type Matrix } from './matrix'

/** A = Q R. */
export interface QrFactors {
  /** [m, k] with k = min(m, n), orthonormal columns. */
  readonly q: Matrix
  /** [k, n], upper triangular with a diagonal that is not negative. */
  readonly r: Matrix
}

interface Reduced {
  /** Aᵀ, its rows reduced: entry j of row j onwards holds the reflector, the entries before it the column of R. */
  columns: Float64Array
  tau: Float64Array
  diagonal: Float64Array
}

function reduce(a: Matrix): Reduced {
  const { rows: m, cols: n } = a
  const columns = transpose(a).data
  const k = Math.min(m, n)
  const tau = new Float64Array(k)
  const diagonal = new Float64Array(k)
  for (let j = 0; j < k; j++) {
    const reflector = makeReflector(columns, j * m + j, (j + 1) * m, j * m + j)
    tau[j] = reflector.tau
    diagonal[j] = reflector.beta
    applyReflector(columns, j * m + j, m - j, reflector.tau, columns, m, j, j + 1, n)
  }
  return { columns, tau, diagonal }
}

function formR({ columns, diagonal }: Reduced, m: number, n: number): Matrix {
  const k = diagonal.length
  const r = new Float64Array(k * n)
  for (let j = 0; j < n; j++) {
    for (let i = 0; i < Math.min(j, k); i++) r[i * n + j] = Math.sign(diagonal[i] || 1) * columns[j * m + i]
    if (j < k) r[j * n + j] = Math.abs(diagonal[j])
  }
  return { rows: k, cols: n, data: r }
}

/**
 * Thin QR by Householder reflections: A = Q R.
 *
 * @param a - [m, n]
 * @returns q [m, k] and r [k, n] with k = min(m, n); R's diagonal is not negative, so for full rank the factors are unique
 * @throws DataError for values that are not finite
 */
export function qr(a: Matrix): QrFactors {
  checkFinite(a, 'qr')
  const { rows: m, cols: n } = a
  const reduced = reduce(a)
  const { columns, tau, diagonal } = reduced
  const k = diagonal.length
  const q = new Float64Array(k * m)
  for (let j = 0; j < k; j++) q[j * m + j] = Math.sign(diagonal[j] || 1)
  // Column c of Q meets the reflectors c, c − 1, …, 0.
  for (let j = k - 1; j >= 0; j--) applyReflector(columns, j * m + j, m - j, tau[j], q, m, j, j, k)
  return { q: transpose({ rows: k, cols: m, data: q }), r: formR(reduced, m, n) }
}

/** R of {@link qr} alone: at less than half the cost, and all that a Gram matrix AᵀA = RᵀR knows, without squaring. */
export function qrTriangle(a: Matrix): Matrix {
  checkFinite(a, 'qrTriangle')
  return formR(reduce(a), a.rows, a.cols)
}
