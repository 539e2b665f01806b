import { DataError, OptionError, ShapeError } from '../errors'
import { matvec, type Matrix } from '../linalg/matrix'

/** Options of {@link conjugateGradient}. */
export interface ConjugateGradientOptions {
  /** Stop when ‖b − A x‖ is at most this times ‖b‖. Default 1e-10. */
  tolerance?: number
  /** Default 10 n. */
  maxIterations?: number
  /** Applies an approximate inverse of A, symmetric positive definite. */
  preconditioner?: (r: Float64Array) => Float64Array
  /** Start. Default zeros. */
  x0?: Float64Array
}

/** What {@link conjugateGradient} returns. */
export interface ConjugateGradientResult {
  x: Float64Array
  /** ‖b − A x‖ / ‖b‖, computed anew from x. */
  relativeResidual: number
  iterations: number
  converged: boolean
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i]
  return sum
}

/**
 * Solves A x = b for a symmetric positive definite A by (preconditioned) conjugate gradients.
 *
 * @param a - the matrix [n, n], or a function that applies it
 * @param b - [n]
 * @throws ShapeError for lengths that don't match; DataError when A turns out not to be positive definite
 */
export function conjugateGradient(
  a: Matrix | ((x: Float64Array) => Float64Array),
  b: Float64Array,
  options: ConjugateGradientOptions = {},
): ConjugateGradientResult {
  const n = b.length
  const { tolerance = 1e-10, maxIterations = 10 * n, preconditioner = (r: Float64Array) => r, x0 } = options
  if (!(tolerance > 0)) throw new OptionError(`conjugateGradient: tolerance must be positive, got ${tolerance}`)
  if (x0 !== undefined && x0.length !== n) throw new ShapeError(`conjugateGradient: b has ${n} values, x0 ${x0.length}`)
  const multiply = (x: Float64Array): Float64Array => {
    const product = typeof a === 'function' ? a(x) : matvec(a, x)
    if (product.length !== n) throw new ShapeError(`conjugateGradient: b has ${n} values, A x has ${product.length}`)
    return product
  }
  const x = x0?.slice() ?? new Float64Array(n)
  const residual = (): Float64Array => {
    const product = multiply(x)
    return b.map((value, i) => value - product[i])
  }
  const size = Math.sqrt(dot(b, b))
  if (!Number.isFinite(size)) throw new DataError('conjugateGradient: b has values that are not finite')
  if (size === 0) return { x: new Float64Array(n), relativeResidual: 0, iterations: 0, converged: true }
  let r = x0 === undefined ? b.slice() : residual()
  let z = preconditioner(r)
  let p = z.slice()
  let rz = dot(r, z)
  let iterations = 0
  while (Math.sqrt(dot(r, r)) > tolerance * size && iterations < maxIterations) {
    const ap = multiply(p)
    const curvature = dot(p, ap)
    if (!(curvature > 0)) {
      throw new DataError(
        `conjugateGradient: pᵀAp is ${curvature} at iteration ${iterations}, so A is not positive definite; add a multiple of the identity or use leastSquares`,
      )
    }
    const alpha = rz / curvature
    for (let i = 0; i < n; i++) x[i] += alpha * p[i]
    iterations++
    // The recurrence drifts from the true residual; every 50 steps it is computed anew.
    r = iterations % 50 === 0 ? residual() : r.map((value, i) => value - alpha * ap[i])
    z = preconditioner(r)
    const next = dot(r, z)
    const beta = next / rz
    rz = next
    p = p.map((value, i) => z[i] + beta * value)
  }
  const last = residual()
  const relativeResidual = Math.sqrt(dot(last, last)) / size
  return { x, relativeResidual, iterations, converged: relativeResidual <= 2 * tolerance }
}
