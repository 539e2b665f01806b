/**
 * Guidance as wrappers of a model. Without a classifier: Ho and Salimans 2022, arXiv 2207.12598; with one: Dhariwal and Nichol
 * 2021, arXiv 2105.05233; in an interval of noise levels: Kynkäänniemi et al. 2024, arXiv 2404.07724.
 */
import { grad, OptionError, tree, type Tree } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'
import { asPrediction, checkCondition, type Denoiser } from './denoiser'
import { perSample } from './shared/maths'

function checkScale(where: string, scale: number): void {
  if (!Number.isFinite(scale)) throw new OptionError(`${where}: scale must be finite, got ${scale}`)
}

/** Options of {@link classifierFreeGuidance}. */
export interface ClassifierFreeOptions {
  /** w: 0 unconditional, 1 (default) conditional, more than 1 beyond it. */
  scale?: number
  /** From the condition to the one that stands for none (a null token), or to a negative prompt. Leaves [n, …]. */
  unconditional: (condition: Tree) => Tree
  /** Guide where λ = ln(α/σ) lies in [low, high] only; elsewhere w = 1. */
  interval?: readonly [number, number]
}

/**
 * m_∅ + w (m_c − m_∅) in the model's own parameterisation (all are linear in each other), in one call of twice the rows.
 *
 * @throws OptionError when the scale is not finite, or the guided model is called without a condition
 */
export function classifierFreeGuidance(model: Denoiser, { scale = 1, unconditional, interval }: ClassifierFreeOptions): Denoiser {
  checkScale('classifierFreeGuidance', scale)
  return {
    ...model,
    rowsPerSample: 2 * (model.rowsPerSample ?? 1),
    predict(x, t, condition) {
      if (condition === undefined) throw new OptionError('classifierFreeGuidance: the model needs a condition; pass condition to sample')
      checkCondition('classifierFreeGuidance', x, condition)
      const n = x.shape[0]
      const both = tree.map((a, b) => tf.concat([a, b], 0), unconditional(condition), condition)
      const times = t.size === n && n > 1 ? tf.concat([t, t], 0) : model.sharedTime === true ? t : tf.mul(tf.ones([2 * n]), t)
      const output = model.predict(tf.concat([x, x], 0), times, both)
      const [free, bound] = tf.split(output, 2, 0)
      const difference = tf.sub(bound, free)
      if (interval === undefined) return tf.add(free, tf.mul(difference, scale))
      const { alpha, sigma } = model.process.coefficientTensors(t)
      const lambda = tf.log(tf.div(alpha, sigma))
      const isInside = tf.logicalAnd(tf.greaterEqual(lambda, interval[0]), tf.lessEqual(lambda, interval[1]))
      const w = tf.where(isInside, tf.fill(lambda.shape, scale), tf.onesLike(lambda))
      return tf.add(free, tf.mul(difference, perSample(w, x)))
    },
  }
}

/** Options of {@link classifierGuidance}. */
export interface ClassifierOptions {
  /** ln p(y | x_t) of each sample, [n]; differentiable in x. Gets x, t and the condition. */
  logProbability: (x: tf.Tensor, t: tf.Tensor, condition: Tree | undefined) => tf.Tensor
  /** w. Default 1. */
  scale?: number
  /** Whether the model itself gets the condition too. Default false. */
  conditional?: boolean
}

/**
 * score + w ∇ₓ ln p(y | x_t), that is ε − w σ ∇ₓ ln p(y | x_t).
 *
 * @returns a model of ε
 * @throws OptionError when the scale is not finite
 */
export function classifierGuidance(model: Denoiser, options: ClassifierOptions): Denoiser {
  const { logProbability, scale = 1, conditional = false } = options
  checkScale('classifierGuidance', scale)
  const noise = asPrediction(model, 'eps')
  return {
    ...noise,
    predict(x, t, condition) {
      const slope = grad((at: tf.Tensor) => tf.sum(logProbability(at, t, condition)))(x)
      const { sigma } = model.process.coefficientTensors(t)
      const eps = noise.predict(x, t, conditional ? condition : undefined)
      return tf.sub(eps, tf.mul(slope, perSample(tf.mul(sigma, scale), x)))
    },
  }
}

/** Options of {@link lossGuidance}. */
export interface LossGuidanceOptions {
  /** A scalar per sample of the predicted data, [n]; differentiable: ‖y − A(x̂0)‖, say. */
  loss: (x0: tf.Tensor, condition: Tree | undefined) => tf.Tensor
  /** ζ: the gradient of the loss by x_t, times σ and this, is added to ε. Default 1. */
  scale?: number
}

/**
 * Training-free guidance by a loss of the predicted data, differentiated through the model: ε + ζ σ ∇ₓ loss(x̂0(x_t)). It is
 * classifier guidance with ln p = −loss, as in diffusion posterior sampling (Chung et al. 2023, arXiv 2209.14687).
 *
 * @returns a model of ε
 */
export function lossGuidance(model: Denoiser, { loss, scale = 1 }: LossGuidanceOptions): Denoiser {
  const data = asPrediction(model, 'x0')
  return classifierGuidance(model, {
    scale,
    conditional: true,
    logProbability: (x, t, condition) => tf.neg(loss(data.predict(x, t, condition), condition)),
  })
}
