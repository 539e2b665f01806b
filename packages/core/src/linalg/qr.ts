import { gemm } from './gemm'
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

/** Reflectors that are applied together to the panel they belong to. */
const inner = 32

/** Reflectors that are applied together to all other columns: the more, the fewer passes over them, but the longer the panel. */
function outerBlock(count: number): number {
  return count < 512 ? 64 : 128
}

function reduce(a: Matrix): Reduced {
  const { rows: m, cols: n } = a
  const columns = transpose(a).data
  const k = Math.min(m, n)
  const tau = new Float64Array(k)
  const diagonal = new Float64Array(k)
  const reduced = { columns, tau, diagonal }
  const outer = outerBlock(k)
  for (let start = 0; start < k; start += outer) {
    const end = Math.min(k, start + outer)
    for (let first = start; first < end; first += inner) reducePanel(reduced, m, first, Math.min(end, first + inner), end)
    if (end < n) applyBlock(compactForm(reduced, m, start, end), columns, m, start, end, n, 'reversed')
  }
  return reduced
}

/** Reduces the columns [start, end) and applies their reflectors to those before `panelEnd`. */
function reducePanel(reduced: Reduced, m: number, start: number, end: number, panelEnd: number): void {
  const { columns, tau, diagonal } = reduced
  for (let j = start; j < end; j++) {
    const reflector = makeReflector(columns, j * m + j, (j + 1) * m, j * m + j)
    tau[j] = reflector.tau
    diagonal[j] = reflector.beta
    applyReflector(columns, j * m + j, m - j, reflector.tau, columns, m, j, j + 1, end)
  }
  if (end < panelEnd) applyBlock(compactForm(reduced, m, start, end), columns, m, start, end, panelEnd, 'reversed')
}

/** The product H(start) … H(end − 1) as I − Vᵀ T V (Schreiber and Van Loan 1989). */
interface CompactForm {
  /** [count, m − start], one reflector a row. */
  v: Float64Array
  /** [count, count], upper triangular. */
  t: Float64Array
  count: number
}

function compactForm({ columns, tau }: Reduced, m: number, start: number, end: number): CompactForm {
  const count = end - start
  const length = m - start
  const v = new Float64Array(count * length)
  // Left of the reflectors lies R.
  for (let i = 0; i < count; i++) v.set(columns.subarray((start + i) * m + start + i, (start + i + 1) * m), i * length + i)
  const products = new Float64Array(count * count)
  gemm(1, v, 0, length, v, 0, 1, length, products, 0, count, count, count, length)
  const t = new Float64Array(count * count)
  for (let j = 0; j < count; j++) {
    t[j * count + j] = tau[start + j]
    for (let i = 0; i < j; i++) {
      let sum = 0
      for (let l = i; l < j; l++) sum += t[i * count + l] * products[l * count + j]
      t[i * count + j] = -tau[start + j] * sum
    }
  }
  return { v, t, count }
}

/**
 * Applies H(start) … H(end − 1), or the same in reversed order (its transpose), to the vectors in the rows `firstRow` to
 * `endRow` of `c`, from entry `from` on: C ← C − (C Vᵀ) Tᵀ V, or with T for Tᵀ.
 */
function applyBlock(
  { v, t, count }: CompactForm,
  c: Float64Array,
  cRow: number,
  from: number,
  firstRow: number,
  endRow: number,
  order: 'forward' | 'reversed',
): void {
  const rows = endRow - firstRow
  const length = cRow - from
  const first = firstRow * cRow + from
  const coefficients = new Float64Array(rows * count)
  gemm(1, c, first, cRow, v, 0, 1, length, coefficients, 0, count, rows, count, length)
  const scaled = new Float64Array(rows * count)
  const [tRow, tCol] = order === 'forward' ? [1, count] : [count, 1]
  gemm(1, coefficients, 0, count, t, 0, tRow, tCol, scaled, 0, count, rows, count, count)
  gemm(-1, scaled, 0, count, v, 0, length, 1, c, first, cRow, rows, length, count)
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
  const { diagonal } = reduced
  const k = diagonal.length
  const q = new Float64Array(k * m)
  for (let j = 0; j < k; j++) q[j * m + j] = Math.sign(diagonal[j] || 1)
  const outer = outerBlock(k)
  // Column c of Q meets the reflectors c, c − 1, …, 0.
  for (let start = outer * Math.floor((k - 1) / outer); start >= 0; start -= outer) {
    applyBlock(compactForm(reduced, m, start, Math.min(k, start + outer)), q, m, start, start, k, 'forward')
  }
  return { q: transpose({ rows: k, cols: m, data: q }), r: formR(reduced, m, n) }
}

/** R of {@link qr} alone: at less than half the cost, and all that a Gram matrix AᵀA = RᵀR knows, without squaring. */
export function qrTriangle(a: Matrix): Matrix {
  checkFinite(a, 'qrTriangle')
  return formR(reduce(a), a.rows, a.cols)
}
