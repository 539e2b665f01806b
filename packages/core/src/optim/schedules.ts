import * as tf from '@tensorflow/tfjs-core'
import { OptionError } from '../errors'

/**
 * A number that depends on the step (0 for the first): of a JavaScript number, for plots and host code, or of an int32
 * or float32 scalar tensor, inside traced steps. Both come from one definition, see {@link schedule}.
 */
export type Schedule = {
  (step: number): number
  (step: tf.Tensor): tf.Scalar
}

/** Arithmetic that a schedule is written in; `T` is a number or a scalar tensor. */
export type ScheduleMath<T> = {
  of(value: number): T
  add(a: T | number, b: T | number): T
  sub(a: T | number, b: T | number): T
  mul(a: T | number, b: T | number): T
  div(a: T | number, b: T | number): T
  min(a: T | number, b: T | number): T
  max(a: T | number, b: T | number): T
  pow(a: T, exponent: T | number): T
  cos(a: T): T
  floor(a: T): T
  /** `yes` where `a ≥ b`, else `no`. Both sides are evaluated. */
  selectAtLeast(a: T, b: number, yes: T | number, no: T | number): T
  /** Another schedule at a step. */
  at(other: Schedule, step: T): T
}

const numberMath: ScheduleMath<number> = {
  of: (value) => value,
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  min: Math.min,
  max: Math.max,
  pow: Math.pow,
  cos: Math.cos,
  floor: Math.floor,
  selectAtLeast: (a, b, yes, no) => (a >= b ? yes : no),
  at: (other, step) => other(step),
}

const tensorMath: ScheduleMath<tf.Tensor> = {
  of: (value) => tf.scalar(value),
  add: (a, b) => tf.add(a, b),
  sub: (a, b) => tf.sub(a, b),
  mul: (a, b) => tf.mul(a, b),
  div: (a, b) => tf.div(a, b),
  min: (a, b) => tf.minimum(a, b),
  max: (a, b) => tf.maximum(a, b),
  pow: (a, b) => tf.pow(a, typeof b === 'number' ? tf.scalar(b) : b),
  cos: (a) => tf.cos(a),
  floor: (a) => tf.floor(a),
  selectAtLeast: (a, b, yes, no) => tf.where(tf.greaterEqual(a, b), asTensor(yes), asTensor(no)),
  at: (other, step) => other(step),
}

function asTensor(value: tf.Tensor | number): tf.Tensor {
  return typeof value === 'number' ? tf.scalar(value) : value
}

/**
 * A schedule from one definition that serves numbers and tensors.
 *
 * @param define - computes the value at `step` with the arithmetic of `math`
 *
 * @example
 * ```ts
 * const inverseSquareRoot = schedule((step, math) => math.pow(math.add(step, 1), -0.5))
 * ```
 */
export function schedule(define: <T>(step: T, math: ScheduleMath<T>) => T): Schedule {
  function evaluate(step: number): number
  function evaluate(step: tf.Tensor): tf.Scalar
  function evaluate(step: number | tf.Tensor): number | tf.Scalar {
    if (typeof step === 'number') return define(step, numberMath)
    return tf.tidy(() => define<tf.Tensor>(tf.cast(step, 'float32'), tensorMath) as tf.Scalar)
  }
  return evaluate
}

function checkSteps(where: string, name: string, value: number, minimum = 1): void {
  if (!Number.isInteger(value) || value < minimum)
    throw new OptionError(`${where}: ${name} must be an integer of at least ${minimum}, got ${value}`)
}

function toSchedule(value: number | Schedule): Schedule {
  return typeof value === 'number' ? constant(value) : value
}

/** The same value at every step. */
export function constant(value: number): Schedule {
  return schedule((_, math) => math.of(value))
}

/**
 * `base` times the product of the factors of all milestones reached: factor `i` applies from step `steps[i]` on.
 *
 * @param options.steps - increasing steps
 * @param options.factor - one factor for all (default 0.1), or one per milestone
 */
export function milestones(base: number | Schedule, options: { steps: readonly number[]; factor?: number | readonly number[] }): Schedule {
  const { steps, factor = 0.1 } = options
  const factors = typeof factor === 'number' ? steps.map(() => factor) : factor
  if (factors.length !== steps.length)
    throw new OptionError(`milestones: expected ${steps.length} factors, one per step, got ${factors.length}`)
  steps.forEach((step, i) => {
    if (!(step > (steps[i - 1] ?? -1))) throw new OptionError(`milestones: steps must increase from 0, got [${steps.join(', ')}]`)
  })
  const inner = toSchedule(base)
  return schedule((step, math) => {
    let scale = 1
    let total = math.of(1)
    steps.forEach((milestone, i) => {
      scale *= factors[i]
      total = math.selectAtLeast(step, milestone, math.of(scale), total)
    })
    return math.mul(math.at(inner, step), total)
  })
}

/** `base · factor^floor(step / every)`: PyTorch's StepLR. */
export function stepDecay(base: number, options: { every: number; factor?: number }): Schedule {
  const { every, factor = 0.1 } = options
  checkSteps('stepDecay', 'every', every)
  return schedule((step, math) => math.mul(base, math.pow(math.of(factor), math.floor(math.div(step, every)))))
}

/**
 * Half a cosine from `from` at step 0 to `to` (default 0) at step `steps`, then constant.
 *
 * @see Loshchilov & Hutter, "SGDR: Stochastic gradient descent with warm restarts", 2017, arXiv:1608.03983
 */
export function cosine(options: { from: number; to?: number; steps: number }): Schedule {
  const { from, to = 0, steps } = options
  checkSteps('cosine', 'steps', steps)
  return schedule((step, math) => {
    const angle = math.mul(math.min(math.div(step, steps), 1), Math.PI)
    return math.add(to, math.mul((from - to) / 2, math.add(math.cos(angle), 1)))
  })
}

/** `to + (from − to)·(1 − step/steps)^power` up to `steps`, then `to`. `power` defaults to 1, `to` to 0. */
export function polynomial(options: { from: number; to?: number; steps: number; power?: number }): Schedule {
  const { from, to = 0, steps, power = 1 } = options
  checkSteps('polynomial', 'steps', steps)
  return schedule((step, math) => {
    const left = math.max(math.sub(1, math.div(step, steps)), 0)
    return math.add(to, math.mul(from - to, power === 1 ? left : math.pow(left, power)))
  })
}

/** `first` for the first `steps` steps, then `second`, which counts its own steps from 0. */
export function switchAt(steps: number, first: number | Schedule, second: number | Schedule): Schedule {
  checkSteps('switchAt', 'steps', steps, 0)
  const before = toSchedule(first)
  const after = toSchedule(second)
  return schedule((step, math) =>
    math.selectAtLeast(step, steps, math.at(after, math.max(math.sub(step, steps), 0)), math.at(before, step)),
  )
}

/**
 * A line from `from` (default 0) at step 0 to the first value of `after` at step `steps`, then `after`,
 * which counts its own steps from 0.
 *
 * @example
 * ```ts
 * const rate = warmUp(500, cosine({ from: 1e-3, steps: 9_500 }))
 * ```
 */
export function warmUp(steps: number, after: number | Schedule, options: { from?: number } = {}): Schedule {
  checkSteps('warmUp', 'steps', steps, 0)
  const { from = 0 } = options
  if (steps === 0) return toSchedule(after)
  const peak = typeof after === 'number' ? after : after(0)
  return switchAt(steps, polynomial({ from, to: peak, steps }), after)
}

/**
 * `base` times a factor that is 1 until `steps` steps before `total`, and falls on a line to `to` (default 0) at `total`.
 */
export function linearCoolDown(base: number | Schedule, options: { total: number; steps: number; to?: number }): Schedule {
  const { total, steps, to = 0 } = options
  checkSteps('linearCoolDown', 'total', total)
  checkSteps('linearCoolDown', 'steps', steps)
  if (steps > total) throw new OptionError(`linearCoolDown: steps (${steps}) must not exceed total (${total})`)
  const inner = toSchedule(base)
  return schedule((step, math) => {
    const left = math.max(math.min(math.div(math.sub(total, step), steps), 1), 0)
    return math.mul(math.at(inner, step), math.add(to, math.mul(1 - to, left)))
  })
}
