import * as tf from '@tensorflow/tfjs-core'
import { OptionError } from '../errors'
import { map, type Tree } from '../tree'

/** Options of {@link emaUpdate}. */
export type EmaOptions = {
  /** Memory δ in [0, 1): average ← δ·average + (1−δ)·params. */
  decay: number
  /**
   * Updates done before this one, a number or an int32 scalar. When given, the memory starts short:
   * δ = min(decay, (1 + step)/(10 + step)).
   */
  step?: number | tf.Scalar
}

/**
 * One step of an exponential moving average of parameters; start it with `tree.clone(params)`. It also serves as the update of
 * a target network, with decay 1 − τ. Leaves that are not float are taken from `params`.
 *
 * @returns the new average; the old one is not disposed
 * @throws OptionError for a decay out of range
 */
export function emaUpdate<P extends Tree>(average: P, params: P, { decay, step }: EmaOptions): P {
  if (!(decay >= 0 && decay < 1)) throw new OptionError(`emaUpdate: decay must be in [0, 1), got ${decay}`)
  return tf.tidy((() => {
    const rate = freshWeight(decay, step)
    return map((a, p) => (a.dtype === 'float32' ? tf.add(a, tf.mul(tf.sub(p, a), rate)) : p.clone()), average, params)
  }) as () => tf.TensorContainer) as P
}

/** 1 − δ. */
function freshWeight(decay: number, step: number | tf.Scalar | undefined): number | tf.Tensor {
  if (step === undefined) return 1 - decay
  // 1 − (1 + step)/(10 + step) = 9/(10 + step)
  if (typeof step === 'number') return Math.max(1 - decay, 9 / (10 + step))
  return tf.maximum(1 - decay, tf.div(9, tf.add(tf.cast(step, 'float32'), 10)))
}
