import { DataError, ShapeError } from '../errors'
import { copyRightHandSide, likeRightHandSide, type RightHandSide } from './matrix'

/**
 * Solves a tridiagonal system in O(n) by Gaussian elimination with partial pivoting (a row swap fills one more
 * diagonal), so it is stable for matrices that are not diagonally dominant too.
 *
 * @param lower - [n − 1], below the diagonal
 * @param diagonal - [n]
 * @param upper - [n − 1], above the diagonal
 * @param b - [n] or [n, k]
 * @returns x, in the form of b
 * @throws ShapeError for sizes that don't match, DataError when the matrix is singular
 */
export function tridiagonalSolve<B extends RightHandSide>(lower: Float64Array, diagonal: Float64Array, upper: Float64Array, b: B): B {
  const n = diagonal.length
  if (n === 0 || lower.length !== n - 1 || upper.length !== n - 1) {
    throw new ShapeError(
      `tridiagonalSolve: a diagonal of ${n} values needs ${Math.max(0, n - 1)} below and above, got ${lower.length} and ${upper.length}`,
    )
  }
  const { data: x, count } = copyRightHandSide(b, n, 'tridiagonalSolve')
  const d = diagonal.slice()
  const u = Float64Array.from({ length: n }, (_, i) => (i < n - 1 ? upper[i] : 0))
  const u2 = new Float64Array(n)
  for (let i = 0; i + 1 < n; i++) {
    let below = lower[i]
    if (Math.abs(below) > Math.abs(d[i])) {
      ;[d[i], below] = [below, d[i]]
      ;[u[i], d[i + 1]] = [d[i + 1], u[i]]
      ;[u2[i], u[i + 1]] = [u[i + 1], 0]
      for (let c = 0; c < count; c++) [x[i * count + c], x[(i + 1) * count + c]] = [x[(i + 1) * count + c], x[i * count + c]]
    }
    if (d[i] === 0) continue
    const factor = below / d[i]
    d[i + 1] -= factor * u[i]
    u[i + 1] -= factor * u2[i]
    for (let c = 0; c < count; c++) x[(i + 1) * count + c] -= factor * x[i * count + c]
  }
  for (let i = n - 1; i >= 0; i--) {
    if (!(Math.abs(d[i]) > 0)) throw new DataError(`tridiagonalSolve: the matrix is singular or not finite: pivot ${i} of ${n} is ${d[i]}`)
    for (let c = 0; c < count; c++) {
      let value = x[i * count + c]
      if (i + 1 < n) value -= u[i] * x[(i + 1) * count + c]
      if (i + 2 < n) value -= u2[i] * x[(i + 2) * count + c]
      x[i * count + c] = value / d[i]
    }
  }
  return likeRightHandSide(b, x, n)
}
