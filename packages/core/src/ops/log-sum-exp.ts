import * as tf from '@tensorflow/tfjs-core'
import { OptionError } from '../errors'

/** Options of {@link maskedLogSumExp}. */
export interface MaskedLogSumExpOptions {
  /** Axis summed over; negative counts from the end. Default -1. */
  axis?: number
  /** Keeps the summed axis with size 1. Default false. */
  keepDims?: boolean
}

/**
 * log Σ exp(x) over the entries of an axis that a mask keeps. Differentiable to any order, also where every entry is
 * masked or -Infinity (the value is -Infinity there, the gradient 0), where TensorFlow.js's own gives NaN.
 *
 * @param x - [...], float32
 * @param mask - broadcasts to x, bool or 0/1; undefined keeps all
 * @returns x's shape without the axis
 * @throws OptionError when x has no such axis
 */
export function maskedLogSumExp(x: tf.Tensor, mask?: tf.Tensor, { axis = -1, keepDims = false }: MaskedLogSumExpOptions = {}): tf.Tensor {
  const dimension = axis < 0 ? axis + x.rank : axis
  if (!Number.isInteger(dimension) || dimension < 0 || dimension >= x.rank) {
    throw new OptionError(`maskedLogSumExp: axis ${axis} is not one of the ${x.rank} axes of x [${x.shape.join(', ')}]`)
  }
  return tf.tidy(() => {
    const kept = mask === undefined ? tf.ones(x.shape, 'bool') : tf.broadcastTo(tf.cast(mask, 'bool'), x.shape)
    const value = logSumExpKept(x, kept, dimension)
    return keepDims ? value : tf.squeeze(value, [dimension])
  })
}

/** `x` where it is finite, 0 elsewhere. */
function finiteOrZero(x: tf.Tensor): tf.Tensor {
  return tf.where(tf.less(tf.abs(x), Infinity), x, tf.zerosLike(x))
}

function logSumExpKept(x: tf.Tensor, kept: tf.Tensor, axis: number): tf.Tensor {
  const reduce = tf.customGrad((input, save) => {
    const scores = input as tf.Tensor
    const saveTensors = save as tf.GradSaveFunc
    saveTensors([scores, kept])
    const open = tf.where(kept, scores, tf.fill(scores.shape, -Infinity))
    const shift = finiteOrZero(tf.max(open, axis, true))
    return {
      value: tf.add(tf.log(tf.sum(tf.exp(tf.sub(open, shift)), axis, true)), shift),
      // The softmax is taken from x again, not from the saved value, so that it can be differentiated in turn.
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => tf.mul(dy, softmaxKept(saved[0], saved[1], axis)),
    }
  })
  return reduce(x)
}

function softmaxKept(x: tf.Tensor, kept: tf.Tensor, axis: number): tf.Tensor {
  const logSum = finiteOrZero(logSumExpKept(x, kept, axis))
  const level = tf.broadcastTo(logSum, x.shape)
  // Masked entries are put at the level itself: exp stays finite, and so does its gradient.
  return tf.mul(tf.exp(tf.sub(tf.where(kept, x, level), level)), tf.cast(kept, 'float32'))
}
