import * as tf from '@tensorflow/tfjs-core'
import { OptionError } from '../errors'
import { clone, entries, isTensor, map, norm, signature, where, zerosLike, type Tree } from '../tree'
import { checkRange, increment, mapElements, mapLeaves, tidy, zeroCount, type Optimizer } from './optimizer'
import type { Schedule } from './schedules'

/** State of a rule that remembers nothing. */
export type EmptyState = readonly []

/**
 * Rules one after the other: each gets the updates of the one before as its gradients.
 *
 * @example
 * ```ts
 * const optimizer = chain(clipByGlobalNorm(1), adam({ learningRate: 1e-3 }))
 * ```
 */
export function chain(...rules: Optimizer[]): Optimizer<readonly Tree[]> {
  return {
    init: (params) => rules.map((rule) => rule.init(params)),
    update: <P extends Tree>(grads: P, state: readonly Tree[], params: P) =>
      tidy(() => {
        let updates = grads
        const next = rules.map((rule, i) => {
          const result = rule.update(updates, state[i], params)
          updates = result.updates
          return result.state
        })
        return { updates: rules.length === 0 ? clone(grads) : updates, state: next }
      }),
  }
}

/**
 * Scales all gradients together so that their global Euclidean norm is at most `maxNorm`:
 * g ← g·min(1, maxNorm/(‖g‖ + 1e-6)), as PyTorch's clip_grad_norm_.
 *
 * A norm that is not finite cannot be clipped. By default the gradients then turn to NaN, all of them, so that the guard of
 * `fit` sees it and keeps the old state. With `nonFinite: 'zero'` the gradients are zero instead, and training goes on
 * (an optimizer with momentum still moves).
 *
 * @throws OptionError unless `maxNorm` > 0
 * @see Pascanu et al., "On the difficulty of training recurrent neural networks", 2013, arXiv:1211.5063
 */
export function clipByGlobalNorm(maxNorm: number, options: { nonFinite?: 'nan' | 'zero' } = {}): Optimizer<EmptyState> {
  checkRange('clipByGlobalNorm', 'maxNorm', maxNorm, Number.MIN_VALUE, Infinity)
  const { nonFinite = 'nan' } = options
  return {
    init: () => [],
    update: <P extends Tree>(grads: P) =>
      tidy(() => {
        const total = norm(grads)
        const finite = tf.isFinite(total)
        const scale = tf.where(finite, tf.minimum(1, tf.div(maxNorm, tf.add(total, 1e-6))), tf.scalar(NaN))
        const clip = ([g]: tf.Tensor[]) => {
          const clipped = tf.mul(g, scale)
          return [nonFinite === 'zero' ? tf.where(finite, clipped, tf.zerosLike(g)) : clipped]
        }
        return { updates: mapElements(1, clip, grads)[0] as P, state: [] as const }
      }),
  }
}

/**
 * Clips each gradient value to [−limit, limit]. NaN stays NaN.
 *
 * @throws OptionError unless `limit` > 0
 */
export function clipByValue(limit: number): Optimizer<EmptyState> {
  checkRange('clipByValue', 'limit', limit, Number.MIN_VALUE, Infinity)
  return {
    init: () => [],
    update: <P extends Tree>(grads: P) =>
      tidy(() => ({
        updates: mapElements(1, ([g]) => [tf.minimum(tf.maximum(g, -limit), limit)], grads)[0] as P,
        state: [] as const,
      })),
  }
}

/**
 * Adds λ·p to the gradients (coupled decay).
 *
 * @param applies - which leaves decay, by their path in the parameters; default all
 * @throws OptionError for a negative λ
 *
 * @example
 * ```ts
 * const kernelsOnly = addDecayedWeights(5e-4, (path) => path.endsWith('/kernel'))
 * const optimizer = chain(kernelsOnly, sgd({ learningRate: 0.1, momentum: 0.9 }))
 * ```
 */
export function addDecayedWeights(weightDecay: number, applies: (path: string) => boolean = () => true): Optimizer<EmptyState> {
  checkRange('addDecayedWeights', 'weightDecay', weightDecay, 0, Infinity)
  return {
    init: () => [],
    update: <P extends Tree>(grads: P, _: EmptyState, params: P) =>
      tidy(() => {
        const decaying = new Set(entries(params).flatMap(({ path, leaf }) => (applies(path) ? [leaf] : [])))
        const decay = ([p, g]: tf.Tensor[]) => [decaying.has(p) ? tf.add(g, tf.mul(p, weightDecay)) : g.clone()]
        return { updates: mapLeaves(1, decay, params, grads)[0] as P, state: [] as const }
      }),
  }
}

/** Multiplies by a number or by a schedule of the number of steps done. */
export function scaleBySchedule(factor: number | Schedule): Optimizer<{ count: tf.Scalar }> {
  return {
    init: () => ({ count: zeroCount() }),
    update: <P extends Tree>(grads: P, state: { count: tf.Scalar }) =>
      tidy(() => {
        const scale = typeof factor === 'number' ? factor : factor(state.count)
        return { updates: mapElements(1, ([g]) => [tf.mul(g, scale)], grads)[0] as P, state: { count: increment(state.count) } }
      }),
  }
}

/** State of {@link accumulate}. */
export type AccumulateState = { count: tf.Scalar; mean: Tree; inner: Tree }

/**
 * Collects gradients over `every` steps and lets `optimizer` see their mean; in between the updates are zero.
 * `optimizer` counts only its own steps.
 *
 * @throws OptionError unless `every` is a positive integer
 */
export function accumulate(optimizer: Optimizer, every: number): Optimizer<AccumulateState> {
  if (!Number.isInteger(every) || every < 1) throw new OptionError(`accumulate: every must be a positive integer, got ${every}`)
  return {
    init: (params) => ({ count: zeroCount(), mean: zerosLike(params), inner: optimizer.init(params) }),
    update: <P extends Tree>(grads: P, state: AccumulateState, params: P) =>
      tidy(() => {
        const [mean] = mapElements(1, ([sum, g]) => [tf.add(sum, tf.mul(g, 1 / every))], state.mean, grads)
        const due = tf.equal(state.count, tf.scalar(every - 1, 'int32')) as tf.Scalar
        const next = optimizer.update(mean as P, state.inner, params)
        const zero = zerosLike(mean)
        return {
          updates: where(due, next.updates, zero as P),
          state: {
            count: tf.where(due, tf.scalar(0, 'int32'), increment(state.count)) as tf.Scalar,
            mean: where(due, zero, mean),
            inner: where(due, next.state, state.inner),
          },
        }
      }),
  }
}

/** State of {@link masked}. Replace `mask` (a tree like the parameters, 1 = trained) to change the mask during training. */
export type MaskedState = { mask: Tree; inner: Tree }

/**
 * Trains only where a mask is 1: gradients, updates and every part of the optimizer's state that is shaped like the
 * parameters (momentum, running squares) are multiplied by it, so a weight that is let free again starts without a memory.
 * Masked weights don't move at all, not by weight decay either.
 *
 * @param mask - a tree like the parameters, float32 with values 0 and 1; copied into the state by `init`
 */
export function masked(optimizer: Optimizer, mask: Tree): Optimizer<MaskedState> {
  const multiply = <T extends Tree>(tree: T, by: Tree): T => mapElements(1, ([x, m]) => [tf.mul(x, m)], tree, by)[0] as T
  return {
    init: (params) => ({ mask: clone(mask), inner: optimizer.init(params) }),
    update: <P extends Tree>(grads: P, state: MaskedState, params: P) =>
      tidy(() => {
        const next = optimizer.update(multiply(grads, state.mask), state.inner, params)
        const like = signature(params)
        const maskSlots = (part: Tree): Tree => {
          if (signature(part) === like) return multiply(part, state.mask)
          if (isTensor(part)) return part
          if (Array.isArray(part)) return part.map(maskSlots)
          return Object.fromEntries(Object.entries(part).map(([name, child]) => [name, maskSlots(child)]))
        }
        return {
          updates: multiply(next.updates, state.mask),
          state: { mask: map((leaf) => leaf.clone(), state.mask), inner: maskSlots(next.state) },
        }
      }),
  }
}
