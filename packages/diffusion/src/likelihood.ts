/**
 * The probability-flow ODE to high accuracy, and densities by it: d ln p/dt = −∇·u along the flow (Chen et al. 2018, arXiv
 * 1806.07366; Song et al. 2021, arXiv 2011.13456). Adaptive steps: Dormand and Prince 1980, order 5(4).
 */
import { grad, OptionError, scan, whileLoop, type Key, type Tree } from '@bpf/core'
import { rademacher } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { asPrediction, checkCondition, type Denoiser } from './denoiser'
import { batchTime } from './sampling'
import { sumPerSample } from './shared/maths'

/** Options of {@link solveOde}. */
export interface OdeOptions {
  /** Time of the given state, and the time wanted; either may be the larger. */
  from: number
  to: number
  condition?: Tree
  /** Default 1e-5 both. */
  rtol?: number
  atol?: number
  /** Default 1000 steps, accepted or not. */
  maxSteps?: number
}

/** The state at the wanted time; `evaluations` of the model, and the time reached (another one if maxSteps were not enough). */
export type OdeSolution = { x: tf.Tensor; evaluations: tf.Tensor; t: tf.Tensor }

const nodes = [0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1]
const stages = [
  [],
  [1 / 5],
  [3 / 40, 9 / 40],
  [44 / 45, -56 / 15, 32 / 9],
  [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
  [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
  [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
]
const fourthOrder = [5179 / 57600, 0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40]

/**
 * The probability-flow ODE by the Dormand–Prince method with adaptive steps, the whole batch at once. Inside `compile` it is one
 * native loop.
 *
 * @param x - state at `from`, [n, ...dims]
 * @throws OptionError for tolerances that are not positive, or equal times
 */
export function solveOde(model: Denoiser, x: tf.Tensor, options: OdeOptions): OdeSolution {
  const { from, to, condition, rtol = 1e-5, atol = 1e-5, maxSteps = 1000 } = options
  if (!(rtol > 0 && atol > 0)) throw new OptionError(`solveOde: rtol and atol must be positive, got ${rtol} and ${atol}`)
  if (from === to || !Number.isFinite(from) || !Number.isFinite(to)) {
    throw new OptionError(`solveOde: from and to must be different finite times, got ${from} and ${to}`)
  }
  checkCondition('solveOde', x, condition)
  const span = to - from
  const velocity = asPrediction(model, 'velocity')
  type Carry = { x: tf.Tensor; done: tf.Tensor; h: tf.Tensor; count: tf.Tensor }
  return tf.tidy((() => {
    // Times and steps are shares of the span, so that both directions look alike.
    const slope = (y: tf.Tensor, share: tf.Tensor): tf.Tensor => {
      const t = batchTime(model, tf.add(tf.mul(share, span), from), y.shape[0])
      return tf.mul(velocity.predict(y, t, condition), span)
    }
    const sum = (k: readonly tf.Tensor[], weights: readonly number[]): tf.Tensor =>
      tf.addN(k.flatMap((one, i) => (weights[i] === undefined || weights[i] === 0 ? [] : [tf.mul(one, weights[i])])))
    const body = ({ x: y, done, h, count }: Carry): Carry => {
      const step = tf.minimum(h, tf.sub(1, done))
      const k: tf.Tensor[] = []
      for (const [i, row] of stages.entries()) {
        const at = i === 0 ? y : tf.add(y, tf.mul(sum(k, row), step))
        k.push(slope(at, tf.add(done, tf.mul(step, nodes[i]))))
      }
      const next = tf.add(y, tf.mul(sum(k, stages[6]), step))
      const lower = tf.add(y, tf.mul(sum(k, fourthOrder), step))
      const scale = tf.add(tf.mul(tf.maximum(tf.abs(y), tf.abs(next)), rtol), atol)
      const error = tf.sqrt(tf.mean(tf.square(tf.div(tf.sub(next, lower), scale))))
      const isGood = tf.lessEqual(error, 1)
      const factor = tf.clipByValue(tf.mul(tf.pow(tf.maximum(error, 1e-10), -0.2), 0.9), 0.2, 5)
      return {
        x: tf.where(isGood, next, y),
        done: tf.where(isGood, tf.add(done, step), done),
        h: tf.mul(step, factor),
        count: tf.add(count, stages.length),
      }
    }
    const first: Carry = { x: tf.clone(x), done: tf.scalar(0), h: tf.scalar(0.01), count: tf.scalar(0) }
    // What is left below rounding of the share counts as done.
    const end = whileLoop(({ done }) => tf.less(done, 1 - 1e-6), body, first, { maxSteps })
    return { x: end.x, evaluations: end.count, t: tf.add(tf.mul(end.done, span), from) }
  }) as unknown as () => tf.TensorContainer) as unknown as OdeSolution
}

/** Options of {@link logLikelihood}. */
export interface LikelihoodOptions {
  /** Runge–Kutta steps. Default 100. */
  steps?: number
  /** Time of the data. Default tMin of the process. */
  from?: number
  /** Time of the prior. Default tMax. */
  to?: number
  condition?: Tree
  /** `exact`: one gradient for each dimension. `hutchinson`: vᵀJv with random signs v, unbiased, one gradient. Default exact. */
  divergence?: 'exact' | 'hutchinson'
  /** For `hutchinson`. */
  key?: Key
  /** Random vectors whose estimates are averaged. Default 1. */
  probes?: number
  /** ln p of states at `to`, [n]; default that of N(0, σ²I) which sampling starts from. */
  prior?: (x: tf.Tensor) => tf.Tensor
}

/**
 * ln p of data by the probability-flow ODE: ln N(x_T; 0, σ_T² I) (or the prior's) + ∫ ∇·u dt, by classical Runge–Kutta in t.
 *
 * @param x - data (at time `from`), [n, ...dims]
 * @returns [n], nats
 * @throws OptionError for steps below 1, an unknown divergence, or `hutchinson` without a key
 */
export function logLikelihood(model: Denoiser, x: tf.Tensor, options: LikelihoodOptions = {}): tf.Tensor {
  const { process } = model
  const { steps = 100, from = process.tMin, to = process.tMax, condition, divergence = 'exact', key, probes = 1 } = options
  if (!(Number.isSafeInteger(steps) && steps >= 1)) throw new OptionError(`logLikelihood: steps must be a positive integer, got ${steps}`)
  if (divergence !== 'exact' && divergence !== 'hutchinson') {
    throw new OptionError(`logLikelihood: divergence must be 'exact' or 'hutchinson', got '${String(divergence)}'`)
  }
  if (divergence === 'hutchinson' && key === undefined) throw new OptionError("logLikelihood: divergence 'hutchinson' needs a key")
  checkCondition('logLikelihood', x, condition)
  const velocity = asPrediction(model, 'velocity')
  const [n, ...dims] = x.shape
  const size = x.size / n
  type State = { x: tf.Tensor; change: tf.Tensor }
  return tf.tidy(() => {
    /** Directions v whose vᵀJv are added up. */
    const directions: tf.Tensor[] =
      divergence === 'exact'
        ? Array.from({ length: size }, (_, d) => tf.reshape(tf.oneHot(tf.tensor1d([d], 'int32'), size), [1, ...dims])).map((v) =>
            tf.cast(v, 'float32'),
          )
        : [rademacher(key as Key, [probes * n, ...dims])].flatMap((v) => tf.split(v, probes, 0))
    const share = divergence === 'exact' ? 1 : 1 / probes
    const field = (y: tf.Tensor, time: tf.Tensor): State => {
      const t = batchTime(model, time, n)
      const each = directions.map((v) => {
        const product = grad((at: tf.Tensor) => tf.sum(tf.mul(velocity.predict(at, t, condition), v)))(y)
        return sumPerSample(tf.mul(product, v))
      })
      return { x: velocity.predict(y, t, condition), change: tf.mul(tf.addN(each), share) }
    }
    const h = (to - from) / steps
    const body = (state: State, time: tf.Tensor): { carry: State; y: tf.Tensor[] } => {
      const k1 = field(state.x, time)
      const half = tf.add(time, h / 2)
      const k2 = field(tf.add(state.x, tf.mul(k1.x, h / 2)), half)
      const k3 = field(tf.add(state.x, tf.mul(k2.x, h / 2)), half)
      const k4 = field(tf.add(state.x, tf.mul(k3.x, h)), tf.add(time, h))
      const advance = (at: tf.Tensor, pick: (k: State) => tf.Tensor): tf.Tensor =>
        tf.add(at, tf.mul(tf.addN([pick(k1), tf.mul(pick(k2), 2), tf.mul(pick(k3), 2), pick(k4)]), h / 6))
      return { carry: { x: advance(state.x, (k) => k.x), change: advance(state.change, (k) => k.change) }, y: [] }
    }
    const times = tf.tensor1d(Array.from({ length: steps }, (_, i) => from + i * h))
    const first: State = { x: tf.clone(x), change: tf.zeros([n]) }
    const { carry } = scan<State, tf.Tensor, tf.Tensor[]>(body, first, times)
    if (options.prior !== undefined) return tf.add(options.prior(carry.x), carry.change)
    const variance = process.priorStddev(to) ** 2
    const prior = tf.mul(tf.add(tf.div(sumPerSample(tf.square(carry.x)), variance), size * Math.log(2 * Math.PI * variance)), -0.5)
    return tf.add(prior, carry.change)
  })
}

/** Nats of a sample as bits per dimension, for data of 256 levels scaled to [−1, 1]. */
export function bitsPerDimension(logLikelihoods: tf.Tensor, dimensions: number): tf.Tensor {
  return tf.sub(Math.log2(128), tf.div(logLikelihoods, dimensions * Math.LN2))
}
