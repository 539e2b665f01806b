import * as tf from '@tensorflow/tfjs-core'
import type { Tree } from '../tree'
import { checkAdam, initAdam, moments, type AdamOptions, type AdamState } from './adam'
import { biasCorrections, increment, mapLeaves, descentAt, tidy, type Optimizer } from './optimizer'

/**
 * LAMB: Adam whose step is rescaled, leaf by leaf, to the length of the weights.
 *
 * r = m̂/(√v̂ + ε) + λ·p;  update = −η·(‖p‖/‖r‖)·r, where the ratio is 1 if either norm is 0.
 *
 * @param options - as for Adam; ε defaults to 1e-6, λ (decoupled) to 0
 * @throws OptionError for a value out of range
 * @see You et al., "Large batch optimization for deep learning: training BERT in 76 minutes", 2020, arXiv:1904.00962
 */
export function lamb({ learningRate, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-6, weightDecay = 0 }: AdamOptions): Optimizer<AdamState> {
  checkAdam('lamb', { learningRate, beta1, beta2, epsilon, weightDecay })
  return {
    init: initAdam,
    update: <P extends Tree>(grads: P, state: AdamState, params: P) =>
      tidy(() => {
        const step = descentAt(learningRate, state.count)
        const count = increment(state.count)
        const [meanCorrection, squareCorrection] = biasCorrections([beta1, beta2], count)
        const root = tf.sqrt(squareCorrection)
        const correction = tf.div(root, meanCorrection)
        const epsilonHat = tf.mul(root, epsilon)
        const [updates, mean, square] = mapLeaves(
          3,
          ([p, g, m, v]) => {
            const next = moments(g, m, v, beta1, beta2)
            const adaptive = tf.mul(tf.div(next.mean, tf.add(tf.sqrt(next.square), epsilonHat)), correction)
            const r = weightDecay > 0 ? tf.add(adaptive, tf.mul(p, weightDecay)) : adaptive
            const weightNorm = tf.sqrt(tf.sum(tf.square(p)))
            const stepNorm = tf.sqrt(tf.sum(tf.square(r)))
            const defined = tf.logicalAnd(tf.greater(weightNorm, 0), tf.greater(stepNorm, 0))
            const ratio = tf.where(defined, tf.div(weightNorm, stepNorm), tf.scalar(1))
            return [tf.mul(r, tf.mul(ratio, step)), next.mean, next.square]
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
