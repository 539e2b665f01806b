import * as tf from '@tensorflow/tfjs-core'
import { zerosLike, type Tree } from '../tree'
import { checkRange, checkRate, increment, mapElements, descentAt, tidy, zeroCount, type LearningRate, type Optimizer } from './optimizer'

/** State of {@link rmsprop}. `momentum` and `mean` are empty lists where they are not used. */
export type RmspropState = { count: tf.Scalar; square: Tree; mean: Tree; momentum: Tree }

/** Options of {@link rmsprop}. */
export type RmspropOptions = {
  learningRate: LearningRate
  /** α in [0, 1), the memory of the mean square. Default 0.99. */
  decay?: number
  /** ε > 0, added after the root. Default 1e-8. */
  epsilon?: number
  /** μ in [0, 1). Default 0. */
  momentum?: number
  /** Divide by the standard deviation instead of the root mean square. Default false. */
  centered?: boolean
  /** λ ≥ 0, added to the gradient as λ·p. Default 0. */
  weightDecay?: number
}

/**
 * RMSprop as in PyTorch: v ← α·v + (1−α)·g², b ← μ·b + g/(√v + ε), update = −η·b. Centred, v is reduced by the square
 * of the running mean of g.
 *
 * @throws OptionError for a value out of range
 * @see Tieleman & Hinton, "Lecture 6.5: rmsprop", 2012; Graves, 2013, arXiv:1308.0850 (centred)
 */
export function rmsprop({
  learningRate,
  decay = 0.99,
  epsilon = 1e-8,
  momentum = 0,
  centered = false,
  weightDecay = 0,
}: RmspropOptions): Optimizer<RmspropState> {
  checkRate('rmsprop', learningRate)
  checkRange('rmsprop', 'decay', decay, 0, 1)
  checkRange('rmsprop', 'epsilon', epsilon, Number.MIN_VALUE, Infinity)
  checkRange('rmsprop', 'momentum', momentum, 0, 1)
  checkRange('rmsprop', 'weightDecay', weightDecay, 0, Infinity)

  return {
    init: (params) => ({
      count: zeroCount(),
      square: zerosLike(params),
      mean: centered ? zerosLike(params) : [],
      momentum: momentum > 0 ? zerosLike(params) : [],
    }),
    update: <P extends Tree>(grads: P, state: RmspropState, params: P) =>
      tidy(() => {
        const step = descentAt(learningRate, state.count)
        // Optional slots are left out of the walk, so that a step costs only what it uses.
        const slots = [...(centered ? [state.mean] : []), ...(momentum > 0 ? [state.momentum] : [])]
        const [updates, square, ...rest] = mapElements(
          2 + slots.length,
          ([p, gradient, v, ...optional]) => {
            const g = weightDecay > 0 ? tf.add(gradient, tf.mul(p, weightDecay)) : gradient
            const nextSquare = tf.add(tf.mul(v, decay), tf.mul(tf.square(g), 1 - decay))
            const nextMean = centered ? tf.add(tf.mul(optional[0], decay), tf.mul(g, 1 - decay)) : undefined
            const spread = nextMean === undefined ? nextSquare : tf.sub(nextSquare, tf.square(nextMean))
            const scaled = tf.div(g, tf.add(tf.sqrt(spread), epsilon))
            const buffer = momentum > 0 ? tf.add(tf.mul(optional[optional.length - 1], momentum), scaled) : undefined
            return [
              tf.mul(buffer ?? scaled, step),
              nextSquare,
              ...(nextMean === undefined ? [] : [nextMean]),
              ...(buffer === undefined ? [] : [buffer]),
            ]
          },
          params,
          grads,
          state.square,
          ...slots,
        )
        const next: RmspropState = {
          count: increment(state.count),
          square,
          mean: centered ? rest[0] : [],
          momentum: momentum > 0 ? rest[rest.length - 1] : [],
        }
        return { updates: updates as P, state: next }
      }),
  }
}
