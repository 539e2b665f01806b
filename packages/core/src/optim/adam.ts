import * as tf from '@tensorflow/tfjs-core'
import { zerosLike, type Tree } from '../tree'
import {
  biasCorrections,
  checkRange,
  checkRate,
  increment,
  mapElements,
  descentAt,
  tidy,
  zeroCount,
  type LearningRate,
  type Optimizer,
} from './optimizer'

/** State of {@link adam}, {@link adamw} and `lamb`: steps done, and running means of g and g². */
export type AdamState = { count: tf.Scalar; mean: Tree; square: Tree }

/** Options of {@link adam}. */
export type AdamOptions = {
  learningRate: LearningRate
  /** β₁ in [0, 1). Default 0.9. */
  beta1?: number
  /** β₂ in [0, 1). Default 0.999. */
  beta2?: number
  /** ε > 0, added to √v̂. Default 1e-8. */
  epsilon?: number
  /** λ ≥ 0. In `adam` it is added to the gradient as λ·p (coupled); in `adamw` it shrinks p by η·λ·p. */
  weightDecay?: number
}

/** The new running means m ← β₁·m + (1−β₁)·g and v ← β₂·v + (1−β₂)·g². */
export function moments(g: tf.Tensor, m: tf.Tensor, v: tf.Tensor, beta1: number, beta2: number): { mean: tf.Tensor; square: tf.Tensor } {
  return {
    mean: tf.add(tf.mul(m, beta1), tf.mul(g, 1 - beta1)),
    square: tf.add(tf.mul(v, beta2), tf.mul(tf.square(g), 1 - beta2)),
  }
}

/** @throws OptionError for β or ε out of range */
export function checkAdam(where: string, options: Required<AdamOptions>): void {
  checkRate(where, options.learningRate)
  checkRange(where, 'beta1', options.beta1, 0, 1)
  checkRange(where, 'beta2', options.beta2, 0, 1)
  checkRange(where, 'epsilon', options.epsilon, Number.MIN_VALUE, Infinity)
  checkRange(where, 'weightDecay', options.weightDecay, 0, Infinity)
}

/** The state before the first step. */
export function initAdam(params: Tree): AdamState {
  return { count: zeroCount(), mean: zerosLike(params), square: zerosLike(params) }
}

function adamWith(where: string, options: Required<AdamOptions>, coupled: boolean): Optimizer<AdamState> {
  checkAdam(where, options)
  const { learningRate, beta1, beta2, epsilon, weightDecay } = options
  return {
    init: initAdam,
    update: <P extends Tree>(grads: P, state: AdamState, params: P) =>
      tidy(() => {
        const descent = descentAt(learningRate, state.count)
        const count = increment(state.count)
        // m̂/(√v̂ + ε) with m̂ = m/c₁ and v̂ = v/c₂ is (√c₂/c₁)·m/(√v + ε·√c₂): the corrections stay scalars.
        const [correction, squareCorrection] = biasCorrections([beta1, beta2], count)
        const root = tf.sqrt(squareCorrection)
        const step = tf.mul(tf.div(root, correction), descent)
        const epsilonHat = tf.mul(root, epsilon)
        const decay = weightDecay > 0 && !coupled ? tf.mul(descent, weightDecay) : undefined
        const [updates, mean, square] = mapElements(
          3,
          ([p, gradient, m, v]) => {
            const g = weightDecay > 0 && coupled ? tf.add(gradient, tf.mul(p, weightDecay)) : gradient
            const next = moments(g, m, v, beta1, beta2)
            const update = tf.mul(tf.div(next.mean, tf.add(tf.sqrt(next.square), epsilonHat)), step)
            return [decay === undefined ? update : tf.add(update, tf.mul(p, decay)), next.mean, next.square]
          },
          params,
          grads,
          state.mean,
          state.square,
        )
        return { updates: updates as P, state: { count, mean, square } }
      }),
  }
}

/**
 * Adam as in PyTorch: m ← β₁·m + (1−β₁)·g, v ← β₂·v + (1−β₂)·g², update = −η·m̂/(√v̂ + ε), where m̂ = m/(1−β₁ᵗ) and
 * v̂ = v/(1−β₂ᵗ). `weightDecay` is coupled: g ← g + λ·p before everything else.
 *
 * @throws OptionError for a value out of range
 * @see Kingma & Ba, "Adam: a method for stochastic optimization", 2015, arXiv:1412.6980
 */
export function adam({ learningRate, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0 }: AdamOptions): Optimizer<AdamState> {
  return adamWith('adam', { learningRate, beta1, beta2, epsilon, weightDecay }, true)
}

/**
 * Adam with decoupled weight decay as in PyTorch: update = −η·(m̂/(√v̂ + ε) + λ·p). λ defaults to 0.01.
 *
 * @throws OptionError for a value out of range
 * @see Loshchilov & Hutter, "Decoupled weight decay regularization", 2019, arXiv:1711.05101
 */
export function adamw({ learningRate, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0.01 }: AdamOptions): Optimizer<AdamState> {
  return adamWith('adamw', { learningRate, beta1, beta2, epsilon, weightDecay }, false)
}
