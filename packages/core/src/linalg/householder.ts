/**
 * Householder reflectors H = I − tau v vᵀ with v[last or first] = 1, on rows of row-major arrays: a "vector" is always
 * contiguous, so callers keep columns as rows of the transpose.
 */
import { vectorNorm } from './matrix'

const tiny = 1e-280
const enlarge = 2 ** 600

/**
 * Turns x[start..end) into the v of the reflector that maps it onto a multiple of the unit vector at `pivot`
 * (`start` or `end − 1`), with v[pivot] = 1.
 *
 * @returns tau, and beta, the entry at `pivot` after reflection
 */
export function makeReflector(x: Float64Array, start: number, end: number, pivot: number): { tau: number; beta: number } {
  const alpha = x[pivot]
  x[pivot] = 0
  const rest = vectorNorm(x, start, end)
  if (rest === 0) {
    x[pivot] = 1
    return { tau: 0, beta: alpha }
  }
  if (Math.max(rest, Math.abs(alpha)) < tiny) {
    // Near the subnormal numbers too few digits are left; v is the same for a scaled x.
    x[pivot] = alpha
    for (let i = start; i < end; i++) x[i] *= enlarge
    const scaled = makeReflector(x, start, end, pivot)
    return { tau: scaled.tau, beta: scaled.beta / enlarge }
  }
  // The sign is chosen so that alpha − beta does not cancel.
  const beta = -Math.sign(alpha || 1) * Math.hypot(alpha, rest)
  const scale = 1 / (alpha - beta)
  for (let i = start; i < end; i++) x[i] *= scale
  x[pivot] = 1
  return { tau: (beta - alpha) / beta, beta }
}

/**
 * Applies H to the entries [from, from + length) of the rows `firstRow` to `endRow` of `c`; v lies at `vStart`.
 * Four rows at a time: v is read once for four dot products.
 */
export function applyReflector(
  v: Float64Array,
  vStart: number,
  length: number,
  tau: number,
  c: Float64Array,
  cRow: number,
  from: number,
  firstRow: number,
  endRow: number,
): void {
  if (tau === 0) return
  let row = firstRow
  for (; row + 4 <= endRow; row += 4) {
    const r0 = row * cRow + from
    const r1 = r0 + cRow
    const r2 = r1 + cRow
    const r3 = r2 + cRow
    let s0 = 0
    let s1 = 0
    let s2 = 0
    let s3 = 0
    for (let i = 0; i < length; i++) {
      const x = v[vStart + i]
      s0 += x * c[r0 + i]
      s1 += x * c[r1 + i]
      s2 += x * c[r2 + i]
      s3 += x * c[r3 + i]
    }
    s0 *= tau
    s1 *= tau
    s2 *= tau
    s3 *= tau
    for (let i = 0; i < length; i++) {
      const x = v[vStart + i]
      c[r0 + i] -= s0 * x
      c[r1 + i] -= s1 * x
      c[r2 + i] -= s2 * x
      c[r3 + i] -= s3 * x
    }
  }
  for (; row < endRow; row++) {
    const r0 = row * cRow + from
    let sum = 0
    for (let i = 0; i < length; i++) sum += v[vStart + i] * c[r0 + i]
    sum *= tau
    for (let i = 0; i < length; i++) c[r0 + i] -= sum * v[vStart + i]
  }
}
