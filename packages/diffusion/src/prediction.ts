/**
 * What a network may predict, and the exact linear maps between them (Lai et al. 2025, arXiv 2510.21890; v-prediction: Salimans
 * and Ho 2022, arXiv 2202.00512). Each is a combination A x0 + B ε, and so is x_t = α x0 + σ ε; two of them give both.
 */
import { OptionError, ShapeError } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'
import type { Coefficients } from './process'
import { numbers, perSample, tensors, type Maths } from './shared/maths'

/**
 * Noise ε, clean data x0, score −ε/σ, v = α ε − σ x0 (of v-prediction), or velocity u = α' x0 + σ' ε (of flow matching and
 * the probability-flow ODE). `v` and `velocity` are different things.
 */
export type Prediction = 'eps' | 'x0' | 'score' | 'v' | 'velocity'

export const predictions: readonly Prediction[] = ['eps', 'x0', 'score', 'v', 'velocity']

/** @throws OptionError for a name that is none of {@link predictions} */
export function checkPrediction(where: string, kind: Prediction): void {
  if (!predictions.includes(kind)) {
    throw new OptionError(`${where}: unknown prediction '${String(kind)}'; expected one of ${predictions.join(', ')}`)
  }
}

/** kind = A x0 + B ε. */
function parts<T>(m: Maths<T>, kind: Prediction, { alpha, sigma, dalpha, dsigma }: Coefficients<T>): [T, T] {
  const zero = m.mul(sigma, 0)
  const one = m.add(zero, 1)
  switch (kind) {
    case 'eps':
      return [zero, one]
    case 'x0':
      return [one, zero]
    case 'score':
      return [zero, m.div(m.mul(one, -1), sigma)]
    case 'v':
      return [m.mul(sigma, -1), alpha]
    case 'velocity':
      return [dalpha, dsigma]
  }
}

/** to = x·(…) + from·(…): from = C x0 + D ε and x = α x0 + σ ε are solved for x0 and ε. */
function combination<T>(m: Maths<T>, from: Prediction, to: Prediction, at: Coefficients<T>): { x: T; output: T } {
  const { alpha, sigma } = at
  const [A, B] = parts(m, to, at)
  const [C, D] = parts(m, from, at)
  const minus = (a: T, b: T): T => m.sub(a, b)
  const determinant = minus(m.mul(alpha, D), m.mul(sigma, C))
  return {
    x: m.div(minus(m.mul(A, D), m.mul(B, C)), determinant),
    output: m.div(minus(m.mul(B, alpha), m.mul(A, sigma)), determinant),
  }
}

/**
 * The numbers with which one prediction becomes another at a time: to = x · xₜ + output · from.
 *
 * @param at - α, σ and derivatives at that time
 * @throws OptionError where the conversion does not exist (x0 from ε where α = 0, ε from x0 where σ = 0) or a name is unknown
 */
export function conversion(from: Prediction, to: Prediction, at: Coefficients): { x: number; output: number } {
  checkPrediction('conversion', from)
  checkPrediction('conversion', to)
  if (from === to) return { x: 0, output: 1 }
  const result = combination(numbers, from, to, at)
  if (Number.isFinite(result.x) && Number.isFinite(result.output)) return { x: result.x + 0, output: result.output }
  if (at.alpha === 0) {
    throw new OptionError(`conversion: cannot recover ${to} from ${from} where alpha=0; use v or x0 prediction, or start at a smaller time`)
  }
  throw new OptionError(
    `conversion: cannot recover ${to} from ${from} where alpha=${at.alpha} and sigma=${at.sigma}; let sampling end at a larger time`,
  )
}

/**
 * One prediction as another, per sample.
 *
 * @param output - the prediction `from` at `x`, [n, ...dims]
 * @param x - x_t, [n, ...dims]
 * @param at - α, σ and derivatives of each sample, [n] (or [1])
 * @returns the prediction `to`, [n, ...dims]
 * @throws ShapeError when output and x differ in shape
 */
export function convertPrediction(
  output: tf.Tensor,
  from: Prediction,
  to: Prediction,
  x: tf.Tensor,
  at: Coefficients<tf.Tensor>,
): tf.Tensor {
  checkPrediction('convertPrediction', from)
  checkPrediction('convertPrediction', to)
  checkOutput('convertPrediction', output, x)
  if (from === to) return tf.clone(output)
  const weights = combination(tensors, from, to, at)
  return tf.add(tf.mul(x, perSample(weights.x, x)), tf.mul(output, perSample(weights.output, x)))
}

/** @throws ShapeError unless a prediction has the shape of its input */
export function checkOutput(where: string, output: tf.Tensor, x: tf.Tensor): void {
  if (output.shape.length === x.shape.length && output.shape.every((size, i) => size === x.shape[i])) return
  const last = x.shape.length - 1
  const learnsVariance = output.shape[last] === 2 * x.shape[last]
  const remedy = learnsVariance ? '; twice the channels look like a learned variance: pass on the first half only' : ''
  throw new ShapeError(
    `${where}: the prediction must have the shape of x, [${x.shape.join(', ')}], got [${output.shape.join(', ')}]${remedy}`,
  )
}

/**
 * The training target of a prediction: A x0 + B ε per sample.
 *
 * @param x0 - [n, ...dims]
 * @param epsilon - as x0
 * @param at - coefficients of each sample, [n]
 */
export function predictionTarget(kind: Prediction, x0: tf.Tensor, epsilon: tf.Tensor, at: Coefficients<tf.Tensor>): tf.Tensor {
  checkPrediction('predictionTarget', kind)
  if (kind === 'x0') return tf.clone(x0)
  if (kind === 'eps') return tf.clone(epsilon)
  const [A, B] = parts(tensors, kind, at)
  return tf.add(tf.mul(x0, perSample(A, x0)), tf.mul(epsilon, perSample(B, x0)))
}
