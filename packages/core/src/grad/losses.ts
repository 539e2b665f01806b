import * as tf from '@tensorflow/tfjs-core'
import { OptionError, ShapeError } from '../errors'
import { define, isNested, output } from './define'

/** One operation where the backend has it. */
function computeLogSoftmax(logits: tf.Tensor): tf.Tensor {
  if (logits.rank > 0 && logits.dtype === 'float32' && tf.getKernel('LogSoftmax', tf.getBackend()) !== undefined) {
    return tf.engine().runKernel('LogSoftmax', { logits }) as tf.Tensor
  }
  const shifted = tf.sub(logits, tf.max(logits, -1, true))
  return tf.sub(shifted, tf.log(tf.sum(tf.exp(shifted), -1, true)))
}

const logSoftmaxOperation = tf.customGrad((...args: unknown[]) => {
  const [logits, save] = args as [tf.Tensor, tf.GradSaveFunc]
  const value = computeLogSoftmax(logits)
  save([logits, value])
  return {
    value,
    gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
      const probabilities = tf.exp(output(saved[1], () => logSoftmax(saved[0])))
      return tf.sub(dy, tf.mul(tf.sum(dy, -1, true), probabilities))
    },
  }
})

/**
 * log softmax over the last axis, differentiable to any order (tf.logSoftmax only once).
 *
 * @param logits - [..., classes], float
 * @returns same shape: x - log Σ exp(x)
 */
export function logSoftmax(logits: tf.Tensor): tf.Tensor {
  return logSoftmaxOperation(logits)
}

/**
 * log σ(x), without overflow at either end, differentiable to any order.
 *
 * @param x - any shape, float
 * @returns same shape
 */
export function logSigmoid(x: tf.Tensor): tf.Tensor {
  return tf.tidy(() => tf.neg(tf.softplus(tf.neg(x))))
}

/** Options of {@link softmaxCrossEntropy}. */
export interface SoftmaxCrossEntropyOptions {
  /** Share of the target spread evenly over all classes, in [0, 1). */
  labelSmoothing?: number
}

/**
 * Cross-entropy -Σ_c p_c log softmax(logits)_c of each example, differentiable to any order in the logits and the
 * labels (tf.losses.softmaxCrossEntropy only once, and not rightly in the labels).
 *
 * @param labels - class indices [...batch] int32, or distributions over the classes [...batch, classes] float
 * @param logits - [...batch, classes], float
 * @returns one loss per example, [...batch]; take tf.mean of it to train
 * @throws ShapeError when labels and logits don't fit
 * @throws OptionError when labelSmoothing is outside [0, 1)
 */
export function softmaxCrossEntropy(
  labels: tf.Tensor,
  logits: tf.Tensor,
  { labelSmoothing = 0 }: SoftmaxCrossEntropyOptions = {},
): tf.Tensor {
  if (!(labelSmoothing >= 0 && labelSmoothing < 1)) {
    throw new OptionError(`softmaxCrossEntropy: labelSmoothing must be in [0, 1), got ${labelSmoothing}`)
  }
  const classes = logits.shape[logits.rank - 1] ?? 0
  const isIndices = labels.dtype === 'int32' && labels.rank === logits.rank - 1
  const expected = isIndices ? logits.shape.slice(0, -1) : logits.shape
  if (!tf.util.arraysEqual(labels.shape, expected)) {
    throw new ShapeError(
      `softmaxCrossEntropy: for logits [${logits.shape.join(', ')}] the labels must be int32 indices [${logits.shape.slice(0, -1).join(', ')}] or distributions of the logits' shape, got ${labels.dtype} [${labels.shape.join(', ')}]`,
    )
  }
  return tf.tidy(() => {
    const targets = isIndices ? tf.cast(tf.oneHot(labels, classes), 'float32') : tf.cast(labels, 'float32')
    const smooth = labelSmoothing === 0 ? targets : tf.add(tf.mul(targets, 1 - labelSmoothing), labelSmoothing / classes)
    return tf.neg(tf.sum(tf.mul(smooth, logSoftmax(logits)), -1))
  })
}

/**
 * Cross-entropy of independent yes-or-no labels, softplus(x) - x z for each entry, differentiable to any order
 * (tf.losses.sigmoidCrossEntropy is not at logits of exactly zero).
 *
 * @param labels - z in [0, 1], the shape of the logits
 * @param logits - x, any shape, float
 * @returns one loss per entry, the shape of the logits; take tf.mean of it to train
 * @throws ShapeError when the shapes differ
 */
export function sigmoidCrossEntropy(labels: tf.Tensor, logits: tf.Tensor): tf.Tensor {
  if (!tf.util.arraysEqual(labels.shape, logits.shape)) {
    throw new ShapeError(
      `sigmoidCrossEntropy: labels must have the logits' shape [${logits.shape.join(', ')}], got [${labels.shape.join(', ')}]`,
    )
  }
  return tf.tidy(() => tf.sub(tf.softplus(logits), tf.mul(logits, tf.cast(labels, 'float32'))))
}

function refuseNested(operation: string, replacement: string): void {
  if (!isNested()) return
  throw new OptionError(`grad: TensorFlow.js's ${operation} can be differentiated once, not twice; use ${replacement} of '@bpf/core/grad'`)
}

/**
 * Operations of TensorFlow.js with a gradient of their own, registered under the name of their scope. Their second
 * derivative would come out wrong without a word, since what they save is cut off from their input.
 */
export const lossGradients: tf.GradConfig[] = [
  define({
    kernel: 'logSoftmax__op',
    gradients: (dy, [value]) => {
      refuseNested('tf.logSoftmax', 'logSoftmax')
      return { 0: () => tf.sub(dy, tf.mul(tf.sum(dy, -1, true), tf.exp(value))) }
    },
  }),
  define({
    kernel: 'softmaxCrossEntropy__op',
    gradients: (dy, [labels, logProbabilities]) => {
      refuseNested('tf.losses.softmaxCrossEntropy', 'softmaxCrossEntropy')
      const each = tf.expandDims(dy, -1)
      return {
        0: () => tf.neg(tf.mul(each, logProbabilities)),
        1: () => tf.mul(each, tf.sub(tf.exp(logProbabilities), tf.cast(labels, 'float32'))),
      }
    },
  }),
]
