import { DataError, OptionError } from '../errors'

/** Options of the searches on a line. */
export interface ScalarOptions {
  /** Absolute width of the interval at which to stop, on top of rounding. Default 1e-8 (1e-12 for roots). */
  tolerance?: number
  /** Default 200. */
  maxIterations?: number
}

/** The function, with an error naming the place where it is NaN. */
function refusingNaN(caller: string, f: (x: number) => number): (x: number) => number {
  return (x) => {
    const value = f(x)
    if (Number.isNaN(value)) throw new DataError(`${caller}: the function is NaN at ${x}; narrow the bounds`)
    return value
  }
}

function checkInterval(name: string, lower: number, upper: number, tolerance: number): void {
  if (!(Number.isFinite(lower) && Number.isFinite(upper) && lower < upper)) {
    throw new OptionError(`${name}: expected finite bounds with lower < upper, got ${lower} and ${upper}`)
  }
  if (!(tolerance > 0)) throw new OptionError(`${name}: tolerance must be positive, got ${tolerance}`)
}

const golden = (3 - Math.sqrt(5)) / 2

/**
 * Minimises a function of one variable on an interval (Brent: golden section with parabolic steps). Finds the minimum
 * of a unimodal function, otherwise a local one; the bounds themselves are approached, not evaluated.
 *
 * @returns `x`, `value`, `iterations`, `converged`
 * @throws OptionError for bad bounds, DataError where the function is NaN
 * @see Brent 1973, Algorithms for Minimization without Derivatives, chapter 5
 */
export function minimizeBounded(
  f: (x: number) => number,
  lower: number,
  upper: number,
  options: ScalarOptions = {},
): { x: number; value: number; iterations: number; converged: boolean } {
  const { tolerance = 1e-8, maxIterations = 200 } = options
  checkInterval('minimizeBounded', lower, upper, tolerance)
  const evaluate = refusingNaN('minimizeBounded', f)
  let a = lower
  let b = upper
  let x = a + golden * (b - a)
  let w = x
  let v = x
  let fx = evaluate(x)
  let fw = fx
  let fv = fx
  let step = 0
  let before = 0
  for (let iteration = 0; iteration < maxIterations; iteration++) {
    const middle = (a + b) / 2
    // Below √ε the values of a parabola can't be told apart.
    const close = Math.sqrt(Number.EPSILON) * Math.abs(x) * 0.1 + tolerance / 3
    if (Math.abs(x - middle) <= 2 * close - (b - a) / 2) return { x, value: fx, iterations: iteration, converged: true }
    let r = (x - w) * (fx - fv)
    let q = (x - v) * (fx - fw)
    let p = (x - v) * q - (x - w) * r
    q = 2 * (q - r)
    if (q > 0) p = -p
    q = Math.abs(q)
    r = before
    before = step
    const parabolic = Math.abs(before) > 0 && Math.abs(p) < Math.abs((q * r) / 2) && p > q * (a - x) && p < q * (b - x)
    if (parabolic) {
      step = p / q
      const u = x + step
      if (u - a < 2 * close || b - u < 2 * close) step = x < middle ? close : -close
    } else {
      before = x < middle ? b - x : a - x
      step = golden * before
    }
    const u = Math.abs(step) >= close ? x + step : x + (step > 0 ? close : -close)
    const fu = evaluate(u)
    if (fu <= fx) {
      if (u < x) b = x
      else a = x
      ;[v, w, x] = [w, x, u]
      ;[fv, fw, fx] = [fw, fx, fu]
    } else {
      if (u < x) a = u
      else b = u
      if (fu <= fw || w === x) {
        ;[v, w] = [w, u]
        ;[fv, fw] = [fw, fu]
      } else if (fu <= fv || v === x || v === w) {
        v = u
        fv = fu
      }
    }
  }
  return { x, value: fx, iterations: maxIterations, converged: false }
}

/**
 * A root of a continuous function inside a bracket (Brent: bisection, secant and inverse quadratic steps).
 *
 * @param lower - f(lower) and f(upper) differ in sign
 * @returns `x`, `value` = f(x), `iterations`, `converged`
 * @throws OptionError when the signs at the bounds are equal, DataError where the function is NaN
 * @see Brent 1973, chapter 4
 */
export function findRoot(
  f: (x: number) => number,
  lower: number,
  upper: number,
  options: ScalarOptions = {},
): { x: number; value: number; iterations: number; converged: boolean } {
  const { tolerance = 1e-12, maxIterations = 200 } = options
  checkInterval('findRoot', lower, upper, tolerance)
  const evaluate = refusingNaN('findRoot', f)
  let a = lower
  let b = upper
  let fa = evaluate(a)
  let fb = evaluate(b)
  if (fa * fb > 0 || Math.sign(fa) * Math.sign(fb) > 0) {
    throw new OptionError(
      `findRoot: the function has the same sign at both bounds (${fa} at ${lower}, ${fb} at ${upper}); widen the bracket`,
    )
  }
  let c = a
  let fc = fa
  let step = b - a
  let before = step
  for (let iteration = 0; iteration < maxIterations; iteration++) {
    if (Math.sign(fb) === Math.sign(fc)) {
      c = a
      fc = fa
      step = b - a
      before = step
    }
    // b is the best point, c the other end of the bracket.
    if (Math.abs(fc) < Math.abs(fb)) {
      ;[a, b, c] = [b, c, b]
      ;[fa, fb, fc] = [fb, fc, fb]
    }
    const close = 2 * Number.EPSILON * Math.abs(b) + tolerance / 2
    const half = (c - b) / 2
    if (Math.abs(half) <= close || fb === 0) return { x: b, value: fb, iterations: iteration, converged: true }
    if (Math.abs(before) >= close && Math.abs(fa) > Math.abs(fb)) {
      const { p, q } = interpolate(a, b, c, fa, fb, fc)
      if (2 * p < Math.min(3 * half * q - Math.abs(close * q), Math.abs(before * q))) {
        before = step
        step = p / q
      } else {
        step = half
        before = half
      }
    } else {
      step = half
      before = half
    }
    a = b
    fa = fb
    b += Math.abs(step) > close ? step : Math.sign(half) * close
    fb = evaluate(b)
  }
  return { x: b, value: fb, iterations: maxIterations, converged: false }
}

/** Step p / q of the secant (two points) or inverse quadratic (three points) interpolation, with p not negative. */
function interpolate(a: number, b: number, c: number, fa: number, fb: number, fc: number): { p: number; q: number } {
  const s = fb / fa
  let p: number
  let q: number
  if (a === c) {
    p = (c - b) * s
    q = 1 - s
  } else {
    const t = fa / fc
    const r = fb / fc
    p = s * ((c - b) * t * (t - r) - (b - a) * (r - 1))
    q = (t - 1) * (r - 1) * (s - 1)
  }
  return p > 0 ? { p, q: -q } : { p: -p, q }
}
