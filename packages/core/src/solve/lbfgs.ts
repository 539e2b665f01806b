import { DataError, OptionError, ShapeError } from '../errors'

/** A smooth function with its gradient, in double precision. The gradient array may be reused between calls. */
export type ValueAndGradient = (x: Float64Array) => { value: number; gradient: ArrayLike<number> }

/** Options of {@link lbfgs}. */
export interface LbfgsOptions {
  /** Stop when the largest absolute gradient entry is at most this. Default 1e-8. */
  gradientTolerance?: number
  /** Stop when a step lowers the value by at most this, relative to max(1, |value|). Default 0 (never). */
  valueTolerance?: number
  /** Default 500. */
  maxIterations?: number
  /** Pairs of steps and gradient changes kept. Default 10. */
  memory?: number
}

/** What {@link lbfgs} returns. */
export interface LbfgsResult {
  /** The best point seen. */
  x: Float64Array
  value: number
  /** Largest absolute gradient entry at x. */
  gradientNorm: number
  iterations: number
  /** Calls of the function. */
  evaluations: number
  /** Whether one of the tolerances was met. */
  converged: boolean
  /** `precision`: no step along the descent direction lowers the value any more: rounding stops it. */
  reason: 'gradient' | 'value' | 'max-iterations' | 'precision'
}

/** One point of a line search: step, value, slope along the direction, and where it was. */
interface Trial {
  step: number
  value: number
  slope: number
  x: Float64Array
  gradient: Float64Array
}

const sufficientDecrease = 1e-4
const curvature = 0.9
const maxTrials = 40

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i]
  return sum
}

function largestEntry(a: Float64Array): number {
  let largest = 0
  for (const value of a) largest = Math.max(largest, Math.abs(value))
  return largest
}

/** The minimiser of the cubic through two points with slopes, kept inside the middle 80 % of their interval. */
function cubicStep(a: Trial, b: Trial): number {
  const width = b.step - a.step
  const middle = a.step + width / 2
  if (!Number.isFinite(b.value) || !Number.isFinite(b.slope)) return a.step + width / 10
  const d1 = a.slope + b.slope - (3 * (b.value - a.value)) / width
  const discriminant = d1 * d1 - a.slope * b.slope
  if (!(discriminant >= 0)) return middle
  const d2 = Math.sign(width) * Math.sqrt(discriminant)
  const step = b.step - (width * (b.slope + d2 - d1)) / (b.slope - a.slope + 2 * d2)
  if (!Number.isFinite(step)) return middle
  const [low, high] = width > 0 ? [a.step + 0.1 * width, b.step - 0.1 * width] : [b.step - 0.1 * width, a.step + 0.1 * width]
  return Math.min(high, Math.max(low, step))
}

/**
 * A step that meets the strong Wolfe conditions (Nocedal and Wright, Numerical Optimization, algorithms 3.5 and 3.6).
 * Near the minimum, where the decrease drowns in rounding, Hager and Zhang's approximate condition on slopes stands in.
 *
 * @returns undefined when rounding leaves no better point
 */
function wolfeSearch(origin: Trial, tryStep: (step: number) => Trial, firstStep: number): Trial | undefined {
  const slack = 1e-14 * Math.max(1, Math.abs(origin.value)) * 10
  const decreases = (trial: Trial): boolean =>
    trial.value <= origin.value + sufficientDecrease * trial.step * origin.slope ||
    (trial.value <= origin.value + slack && trial.slope <= (2 * sufficientDecrease - 1) * origin.slope)
  const isFlat = (trial: Trial): boolean => Math.abs(trial.slope) <= -curvature * origin.slope
  let low = origin
  let high: Trial | undefined
  let step = firstStep
  for (let count = 0; count < maxTrials; count++) {
    const trial = tryStep(step)
    const finite = Number.isFinite(trial.value) && Number.isFinite(trial.slope)
    if (!finite || !decreases(trial) || (trial.value >= low.value + slack && low !== origin)) {
      high = trial
    } else {
      if (isFlat(trial)) return trial
      // A slope that points away from the other end makes the old low end the new high end.
      const rising = high === undefined ? trial.slope >= 0 : trial.slope * (high.step - low.step) >= 0
      if (rising) high = low
      low = trial
    }
    if (high === undefined) step = low.step * 4
    else {
      if (Math.abs(high.step - low.step) <= 1e-14 * Math.max(Math.abs(high.step), Math.abs(low.step))) break
      step = cubicStep(low, high)
    }
  }
  return low !== origin && low.value < origin.value ? low : undefined
}

/** Raises an error when the gradient contradicts finite differences along the direction; otherwise rounding is to blame. */
function checkGradient(origin: Trial, direction: Float64Array, evaluate: ValueAndGradient): void {
  const scale = Math.max(1, largestEntry(origin.x)) / Math.max(1e-300, largestEntry(direction))
  const h = 1e-6 * scale
  const valueAt = (t: number): number => evaluate(origin.x.map((value, i) => value + t * direction[i])).value
  const measured = (valueAt(h) - valueAt(-h)) / (2 * h)
  const noise = (1e-13 * Math.max(1, Math.abs(origin.value))) / h
  if (!(Math.abs(measured - origin.slope) > 0.1 * Math.abs(origin.slope) + 100 * noise)) return
  throw new OptionError(
    `lbfgs: the gradient does not belong to the value: along the search direction the value changes by ${measured.toExponential(3)} ` +
      `per unit, the gradient says ${origin.slope.toExponential(3)}. Check the gradient function (its sign, a missing factor, a stale buffer)`,
  )
}

/**
 * Minimises a smooth function by limited-memory BFGS with a strong Wolfe line search.
 *
 * @param valueAndGradient - value and gradient [n] at x [n]; it may return a non-finite value away from the start
 * @param x0 - start [n]; not changed
 * @throws DataError when value or gradient at x0 is not finite; ShapeError when the gradient has another length;
 *   OptionError when the gradient contradicts the value
 * @see Liu and Nocedal 1989, "On the limited memory BFGS method for large scale optimization"
 */
export function lbfgs(valueAndGradient: ValueAndGradient, x0: Float64Array, options: LbfgsOptions = {}): LbfgsResult {
  const { gradientTolerance = 1e-8, valueTolerance = 0, maxIterations = 500, memory = 10 } = options
  if (!(gradientTolerance >= 0)) throw new OptionError(`lbfgs: gradientTolerance must be at least 0, got ${gradientTolerance}`)
  if (!(valueTolerance >= 0)) throw new OptionError(`lbfgs: valueTolerance must be at least 0, got ${valueTolerance}`)
  if (!Number.isInteger(memory) || memory < 1) throw new OptionError(`lbfgs: memory must be a positive integer, got ${memory}`)
  if (!Number.isInteger(maxIterations) || maxIterations < 0)
    throw new OptionError(`lbfgs: maxIterations must be a non-negative integer, got ${maxIterations}`)
  const n = x0.length
  let evaluations = 0
  const evaluate = (x: Float64Array): { value: number; gradient: Float64Array } => {
    evaluations++
    const { value, gradient } = valueAndGradient(x)
    if (gradient.length !== n) throw new ShapeError(`lbfgs: x has ${n} values, the gradient ${gradient.length}`)
    return { value, gradient: Float64Array.from(gradient) }
  }
  const start = evaluate(x0.slice())
  checkStart(x0, start)
  let current: Trial = { step: 0, slope: 0, x: x0.slice(), ...start }
  const pairs: { s: Float64Array; y: Float64Array; rho: number }[] = []
  const finish = (reason: LbfgsResult['reason'], iterations: number): LbfgsResult => ({
    x: current.x,
    value: current.value,
    gradientNorm: largestEntry(current.gradient),
    iterations,
    evaluations,
    converged: reason === 'gradient' || reason === 'value',
    reason,
  })
  for (let iteration = 0; ; iteration++) {
    if (largestEntry(current.gradient) <= gradientTolerance) return finish('gradient', iteration)
    if (iteration >= maxIterations) return finish('max-iterations', iteration)
    const direction = descentDirection(current.gradient, pairs)
    let slope = dot(current.gradient, direction)
    if (!(slope < 0)) {
      pairs.length = 0
      direction.set(current.gradient.map((value) => -value))
      slope = dot(current.gradient, direction)
    }
    const origin: Trial = { ...current, step: 0, slope }
    const tryStep = (step: number): Trial => {
      const x = origin.x.map((value, i) => value + step * direction[i])
      const { value, gradient } = evaluate(x)
      return { step, value, slope: dot(gradient, direction), x, gradient }
    }
    // Without curvature known the first step has length at most 1.
    const next = wolfeSearch(origin, tryStep, pairs.length > 0 ? 1 : Math.min(1, 1 / Math.sqrt(-slope)))
    if (next === undefined) {
      if (pairs.length > 0) {
        pairs.length = 0
        continue
      }
      checkGradient(origin, direction, valueAndGradient)
      return finish('precision', iteration)
    }
    remember(pairs, memory, current, next)
    const decrease = current.value - next.value
    current = next
    if (valueTolerance > 0 && decrease <= valueTolerance * Math.max(1, Math.abs(next.value))) return finish('value', iteration + 1)
  }
}

function checkStart(x0: Float64Array, start: { value: number; gradient: Float64Array }): void {
  const badX = x0.findIndex((value) => !Number.isFinite(value))
  if (badX >= 0) throw new DataError(`lbfgs: x0 is ${x0[badX]} at index ${badX}; start from finite values`)
  if (!Number.isFinite(start.value)) throw new DataError(`lbfgs: the value at x0 is ${start.value}; start where the function is finite`)
  const bad = start.gradient.findIndex((value) => !Number.isFinite(value))
  if (bad >= 0) throw new DataError(`lbfgs: the gradient at x0 is ${start.gradient[bad]} at index ${bad}; start where it is finite`)
}

/** −H g by the two-loop recursion, H scaled by sᵀy / yᵀy of the newest pair. */
function descentDirection(gradient: Float64Array, pairs: readonly { s: Float64Array; y: Float64Array; rho: number }[]): Float64Array {
  const q = gradient.map((value) => -value)
  const alphas: number[] = []
  for (let k = pairs.length - 1; k >= 0; k--) {
    const { s, y, rho } = pairs[k]
    const alpha = rho * dot(s, q)
    alphas[k] = alpha
    for (let i = 0; i < q.length; i++) q[i] -= alpha * y[i]
  }
  if (pairs.length > 0) {
    const { y, rho } = pairs[pairs.length - 1]
    const gamma = 1 / (rho * dot(y, y))
    for (let i = 0; i < q.length; i++) q[i] *= gamma
  }
  for (let k = 0; k < pairs.length; k++) {
    const { s, y, rho } = pairs[k]
    const beta = alphas[k] - rho * dot(y, q)
    for (let i = 0; i < q.length; i++) q[i] += beta * s[i]
  }
  return q
}

function remember(pairs: { s: Float64Array; y: Float64Array; rho: number }[], memory: number, from: Trial, to: Trial): void {
  const s = to.x.map((value, i) => value - from.x[i])
  const y = to.gradient.map((value, i) => value - from.gradient[i])
  const curvatureAlong = dot(s, y)
  // Wolfe steps have sᵀy > 0; what rounding spoils is left out.
  if (!(curvatureAlong > 1e-16 * Math.sqrt(dot(s, s) * dot(y, y)))) return
  pairs.push({ s, y, rho: 1 / curvatureAlong })
  if (pairs.length > memory) pairs.shift()
}
