import { DataError, OptionError, ShapeError } from '../errors'
import { checkSymmetric, type Matrix } from '../linalg/matrix'
import { solve } from '../linalg/lu'
import type { ValueAndGradient } from './lbfgs'

/**
 * The point of the simplex {x ≥ 0, Σx = total} nearest to v, by sorting.
 *
 * @param v - [n], finite
 * @see Duchi et al. 2008, "Efficient projections onto the l1-ball for learning in high dimensions"
 */
export function projectSimplex(v: Float64Array, total = 1): Float64Array {
  if (!(total > 0 && total < Infinity)) throw new OptionError(`projectSimplex: total must be positive and finite, got ${total}`)
  if (v.length === 0) throw new ShapeError('projectSimplex: v is empty')
  const bad = v.findIndex((value) => !Number.isFinite(value))
  if (bad >= 0) throw new DataError(`projectSimplex: v is ${v[bad]} at index ${bad}; expected finite values`)
  const descending = v.slice().sort().reverse()
  let sum = 0
  let threshold = 0
  for (let k = 0; k < descending.length; k++) {
    sum += descending[k]
    const candidate = (sum - total) / (k + 1)
    if (descending[k] > candidate) threshold = candidate
  }
  return v.map((value) => Math.max(0, value - threshold))
}

/** What {@link minimizeOnSimplex} returns. */
export interface SimplexResult {
  /** [n], not negative, sum 1. */
  x: Float64Array
  value: number
  /** Largest change of x by a projected gradient step of length 1: 0 at the minimum of a convex function. */
  optimality: number
  iterations: number
  converged: boolean
}

/** Options of {@link minimizeOnSimplex}. */
export interface SimplexOptions {
  /** Stop when `optimality` is at most this. Default 1e-9. */
  tolerance?: number
  /** Default 1000. */
  maxIterations?: number
}

/**
 * Minimises a smooth function over the probability simplex by the spectral projected gradient method: Barzilai–Borwein
 * steps with a line search against the largest of the last ten values.
 *
 * @param valueAndGradient - defined on the simplex
 * @param x0 - start [n]; it is projected first
 * @throws DataError when the function is not finite at the start
 * @see Birgin, Martínez and Raydan 2000, "Nonmonotone spectral projected gradient methods on convex sets"
 */
export function minimizeOnSimplex(valueAndGradient: ValueAndGradient, x0: Float64Array, options: SimplexOptions = {}): SimplexResult {
  const { tolerance = 1e-9, maxIterations = 1000 } = options
  if (!(tolerance > 0)) throw new OptionError(`minimizeOnSimplex: tolerance must be positive, got ${tolerance}`)
  const evaluate = (x: Float64Array): { value: number; gradient: Float64Array } => {
    const { value, gradient } = valueAndGradient(x)
    if (gradient.length !== x.length) throw new ShapeError(`minimizeOnSimplex: x has ${x.length} values, the gradient ${gradient.length}`)
    return { value, gradient: Float64Array.from(gradient) }
  }
  let x = projectSimplex(x0)
  let { value, gradient } = evaluate(x)
  if (!Number.isFinite(value) || gradient.some((entry) => !Number.isFinite(entry))) {
    throw new DataError(`minimizeOnSimplex: value or gradient is not finite at the start (value ${value}); start inside the simplex`)
  }
  let best = { x, value }
  const recent = [value]
  let stepLength = 1
  for (let iteration = 0; ; iteration++) {
    const optimality = projectedStep(x, gradient, 1).reduce((largest, change) => Math.max(largest, Math.abs(change)), 0)
    if (optimality <= tolerance) return { x, value, optimality, iterations: iteration, converged: true }
    const direction = projectedStep(x, gradient, stepLength)
    const slope = direction.reduce((sum, change, i) => sum + change * gradient[i], 0)
    const reference = Math.max(...recent)
    let t = 1
    let next = x
    let found = evaluate(x)
    let accepted = false
    for (let trial = 0; trial < 50 && !accepted; trial++, t /= 2) {
      next = x.map((entry, i) => Math.max(0, entry + t * direction[i]))
      found = evaluate(next)
      accepted = found.value <= reference + 1e-4 * t * slope && found.gradient.every(Number.isFinite)
    }
    if (!accepted || iteration >= maxIterations) return { ...best, optimality, iterations: iteration, converged: false }
    let ss = 0
    let sy = 0
    for (let i = 0; i < x.length; i++) {
      const s = next[i] - x[i]
      ss += s * s
      sy += s * (found.gradient[i] - gradient[i])
    }
    stepLength = sy > 0 ? Math.min(1e10, Math.max(1e-10, ss / sy)) : 1e3
    x = next
    value = found.value
    gradient = found.gradient
    if (value <= best.value) best = { x, value }
    recent.push(value)
    if (recent.length > 10) recent.shift()
  }
}

function projectedStep(x: Float64Array, gradient: Float64Array, length: number): Float64Array {
  const target = projectSimplex(x.map((entry, i) => entry - length * gradient[i]))
  return target.map((entry, i) => entry - x[i])
}

/**
 * Minimises ½ xᵀQx + cᵀx over the probability simplex exactly, by an active-set method: for few variables (weights of
 * an ensemble). Q may be singular: 1e-13 of its largest diagonal entry is added to the diagonal.
 *
 * @param q - [n, n], symmetric positive semi-definite
 * @param c - [n]
 * @returns x [n], not negative, sum 1
 * @throws ShapeError for sizes that don't match, DataError when Q is not symmetric or the method does not end
 */
export function simplexQuadratic(q: Matrix, c: Float64Array): Float64Array {
  checkSymmetric(q, 'simplexQuadratic')
  const n = q.rows
  if (c.length !== n || n === 0) throw new ShapeError(`simplexQuadratic: q is [${n}, ${n}], c has ${c.length} values`)
  let largest = 0
  for (let i = 0; i < n; i++) largest = Math.max(largest, Math.abs(q.data[i * n + i]))
  const ridge = 1e-13 * (largest || 1)
  const gradientAt = (x: Float64Array): Float64Array =>
    c.map((value, i) => value + ridge * x[i] + x.reduce((sum, entry, j) => sum + q.data[i * n + j] * entry, 0))
  // Start at the best corner.
  const cornerValue = (i: number): number => q.data[i * n + i] / 2 + c[i]
  let corner = 0
  for (let i = 1; i < n; i++) if (cornerValue(i) < cornerValue(corner)) corner = i
  const x = new Float64Array(n)
  x[corner] = 1
  const free = new Set([corner])
  const scale = largest + c.reduce((size, value) => Math.max(size, Math.abs(value)), 0) || 1
  for (let iteration = 0; iteration < 50 * (n + 1); iteration++) {
    const index = [...free]
    const target = equalityMinimum(q, c, ridge, index)
    // Walk towards the minimum on the free variables until one of them reaches zero.
    let t = 1
    let blocking = -1
    index.forEach((i, k) => {
      if (target[k] >= 0) return
      const ratio = x[i] / (x[i] - target[k])
      if (ratio < t) {
        t = ratio
        blocking = i
      }
    })
    index.forEach((i, k) => {
      x[i] += t * (target[k] - x[i])
    })
    if (blocking >= 0) {
      x[blocking] = 0
      free.delete(blocking)
      continue
    }
    const gradient = gradientAt(x)
    const multiplier = index.reduce((sum, i) => sum + gradient[i], 0) / index.length
    let entering = -1
    for (let i = 0; i < n; i++) {
      if (!free.has(i) && gradient[i] < multiplier - 1e-12 * scale && (entering < 0 || gradient[i] < gradient[entering])) entering = i
    }
    if (entering < 0) return x
    free.add(entering)
  }
  throw new DataError('simplexQuadratic: the active set did not settle; check that q is positive semi-definite')
}

/** The minimiser over the free variables with sum 1 and no bounds: the KKT system. */
function equalityMinimum(q: Matrix, c: Float64Array, ridge: number, index: readonly number[]): Float64Array {
  const m = index.length
  const size = m + 1
  const system = new Float64Array(size * size)
  const right = new Float64Array(size)
  index.forEach((i, k) => {
    index.forEach((j, l) => {
      system[k * size + l] = q.data[i * q.rows + j] + (k === l ? ridge : 0)
    })
    system[k * size + m] = 1
    system[m * size + k] = 1
    right[k] = -c[i]
  })
  right[m] = 1
  return solve({ rows: size, cols: size, data: system }, right).subarray(0, m)
}
