/** Local losses J(a, t) of a layer's output a and its target t: a sum over units, a mean over the batch. */
import { customGradient, OptionError } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'

/** A loss of the user's own, over rows a, t [n, d]. */
export interface CustomLocalLoss {
  /** J of each row, [n]. */
  value(a: tf.Tensor, t: tf.Tensor): tf.Tensor
  /** ∂J/∂a of each row, [n, d]. */
  derivative(a: tf.Tensor, t: tf.Tensor): tf.Tensor
}

/** `l2` ‖a − t‖²; `l1` Σ|a − t|; `huber` with threshold 1; `cosine` 1 − aᵀt/(‖a‖‖t‖); `linear` −aᵀt, which is DRTP. */
export type TargetLoss = 'l2' | 'l1' | 'huber' | 'cosine' | 'linear' | CustomLocalLoss

/** A loss as the layers use it. */
export interface LossRule {
  value(a: tf.Tensor, t: tf.Tensor): tf.Tensor
  /** scale·∂J/∂a; the scalar goes in early, which saves a pass over the rows. */
  slope(a: tf.Tensor, t: tf.Tensor, scale: tf.Tensor): tf.Tensor
  /** Largest second derivative in a, for the bound on the learning rate; undefined where there is none. */
  curvature?: number
}

/** [n, …] as [n, d]. */
export const rowsOf = (a: tf.Tensor): tf.Tensor => (a.rank === 2 ? a : tf.reshape(a, [a.shape[0], a.size / a.shape[0]]))

const rowSum = (x: tf.Tensor): tf.Tensor => tf.sum(x, 1)
const norm = (x: tf.Tensor): tf.Tensor => tf.sqrt(tf.sum(tf.square(x), 1, true))

function cosineParts(a: tf.Tensor, t: tf.Tensor) {
  const [length, targetLength] = [norm(a), norm(t)]
  const product = tf.mul(length, targetLength)
  // Rows without length have no direction: their cosine and its derivative are 0.
  const inverse = tf.div(tf.cast(tf.greater(product, 0), 'float32'), tf.where(tf.greater(product, 0), product, tf.onesLike(product)))
  return { length, inverse, cosine: tf.mul(tf.sum(tf.mul(a, t), 1, true), inverse) }
}

const rules: Readonly<Record<Exclude<TargetLoss, CustomLocalLoss>, LossRule>> = {
  l2: {
    value: (a, t) => rowSum(tf.square(tf.sub(a, t))),
    slope: (a, t, scale) => tf.mul(tf.sub(a, t), tf.mul(scale, 2)),
    curvature: 2,
  },
  l1: {
    value: (a, t) => rowSum(tf.abs(tf.sub(a, t))),
    slope: (a, t, scale) => tf.mul(tf.sign(tf.sub(a, t)), scale),
  },
  huber: {
    value(a, t) {
      const size = tf.abs(tf.sub(a, t))
      const inner = tf.minimum(size, 1)
      // ½r² up to 1, then r − ½.
      return rowSum(tf.mul(inner, tf.sub(size, tf.mul(inner, 0.5))))
    },
    slope: (a, t, scale) => tf.mul(tf.clipByValue(tf.sub(a, t), -1, 1), scale),
    curvature: 1,
  },
  cosine: {
    value: (a, t) => tf.sub(1, tf.squeeze(cosineParts(a, t).cosine, [1])),
    slope(a, t, scale) {
      const { length, inverse, cosine } = cosineParts(a, t)
      const square = tf.square(length)
      const own = tf.div(cosine, tf.where(tf.greater(square, 0), square, tf.onesLike(square)))
      return tf.mul(tf.sub(tf.mul(a, own), tf.mul(t, inverse)), scale)
    },
  },
  linear: {
    value: (a, t) => tf.neg(rowSum(tf.mul(a, t))),
    slope: (_, t, scale) => tf.mul(t, tf.neg(scale)),
  },
}

/** @throws OptionError for a loss there is not, or one without its derivative */
export function lossRule(where: string, loss: TargetLoss): LossRule {
  if (typeof loss === 'string' && Object.hasOwn(rules, loss)) return rules[loss]
  const names = `one of ${Object.keys(rules).join(', ')}`
  if (typeof loss === 'function' || (typeof loss === 'object' && loss !== null)) {
    const { value, derivative } = loss
    if (typeof derivative !== 'function') {
      throw new OptionError(
        `${where}: localLoss has no derivative; give { value, derivative }, both functions of rows a and t, or ${names}`,
      )
    }
    if (typeof value !== 'function') throw new OptionError(`${where}: localLoss has no value; give { value, derivative }, or ${names}`)
    return { value, slope: (a, t, scale) => tf.mul(derivative(a, t), scale) }
  }
  throw new OptionError(`${where}: localLoss must be ${names} or { value, derivative }, got '${String(loss)}'`)
}

/**
 * The mean over the batch of J(a, t), whose gradient in a is the loss's own.
 *
 * @param a - [n, …], taken as rows
 * @param t - [n, d], or [n, channels] where each channel's target holds at every position
 */
export function meanLocalLoss({ value, slope }: LossRule, a: tf.Tensor, t: tf.Tensor): tf.Tensor {
  const rows = rowsOf(a)
  const targets = (): tf.Tensor => {
    if (t.shape[1] === rows.shape[1]) return t
    const positions = a.shape.slice(1, -1).map(() => 1)
    return rowsOf(tf.broadcastTo(tf.reshape(t, [a.shape[0], ...positions, t.shape[1] as number]), a.shape))
  }
  const mean = customGradient(
    (activity: tf.Tensor) => tf.mean(value(activity, targets())),
    (activity, dy) => slope(activity, targets(), tf.div(dy, activity.shape[0])),
  )
  return mean(rows)
}
