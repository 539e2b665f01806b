import * as tf from '@tensorflow/tfjs-core'
import { OptionError } from '../errors'
import { zerosLike, type Tree } from '../tree'
import { checkRange, checkRate, increment, mapElements, descentAt, tidy, zeroCount, type LearningRate, type Optimizer } from './optimizer'

/** State of {@link sgd}. Without momentum `momentum` is an empty list. */
export type SgdState = { count: tf.Scalar; momentum: Tree }

/** Options of {@link sgd}. */
export type SgdOptions = {
  learningRate: LearningRate
  /** μ in [0, 1). Default 0. */
  momentum?: number
  /** Look ahead along the momentum. Default false. */
  nesterov?: boolean
  /** λ ≥ 0, added to the gradient as λ·p (coupled decay, also called L2). Default 0. */
  weightDecay?: number
}

/**
 * Stochastic gradient descent as in PyTorch.
 *
 * g ← g + λ·p;  b ← μ·b + g;  update = −η·b, with Nesterov −η·(g + μ·b). The rate η multiplies outside of the buffer b,
 * so a schedule acts at once on all of it.
 *
 * @throws OptionError for a value out of range, or Nesterov without momentum
 * @see Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013
 */
export function sgd({ learningRate, momentum = 0, nesterov = false, weightDecay = 0 }: SgdOptions): Optimizer<SgdState> {
  checkRate('sgd', learningRate)
  checkRange('sgd', 'momentum', momentum, 0, 1)
  checkRange('sgd', 'weightDecay', weightDecay, 0, Infinity)
  if (nesterov && momentum === 0) throw new OptionError('sgd: nesterov needs momentum above 0')

  return {
    init: (params) => ({ count: zeroCount(), momentum: momentum > 0 ? zerosLike(params) : [] }),
    update: <P extends Tree>(grads: P, state: SgdState, params: P) =>
      tidy(() => {
        const step = descentAt(learningRate, state.count)
        const decayed = (g: tf.Tensor, p: tf.Tensor) => (weightDecay > 0 ? tf.add(g, tf.mul(p, weightDecay)) : g)
        const count = increment(state.count)
        if (momentum === 0) {
          const [updates] = mapElements(1, ([p, g]) => [tf.mul(decayed(g, p), step)], params, grads)
          return { updates: updates as P, state: { count, momentum: [] } }
        }
        const [updates, buffers] = mapElements(
          2,
          ([p, gradient, b]) => {
            const g = decayed(gradient, p)
            const buffer = tf.add(tf.mul(b, momentum), g)
            return [tf.mul(nesterov ? tf.add(g, tf.mul(buffer, momentum)) : buffer, step), buffer]
          },
          params,
          grads,
          state.momentum,
        )
        return { updates: updates as P, state: { count, momentum: buffers } }
      }),
  }
}
