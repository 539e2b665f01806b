/** The local loss of a pair: activations of a batch against the signals of the C classes, with its gradient in closed form. */
import { OptionError } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'

/**
 * How activations and signals are compared: `product` pushes the products of rows to 1 for the own class and 0 for the others,
 * `normalised` their cosines, and rows of either side apart from each other; `mse` compares each row with its class's signal.
 */
export type LocalLoss = 'product' | 'normalised' | 'mse'

/** What {@link pairLoss} needs to know. */
export interface PairLossOptions {
  localLoss: LocalLoss
  /** λ_C, weight of activations against signals. */
  lambdaC: number
  /** λ_s, weight of both self-similarities of `normalised`. */
  lambdaS: number
}

/** A loss (a scalar) and its gradients in the activations [n, d] and in the signals [C, d]. */
export type PairLoss = { loss: tf.Tensor; slopeA: tf.Tensor; slopeB: tf.Tensor }

/** The factor of the reference code's product loss. */
const productScale = 256

/** Keeps x/(‖x‖ + ε) finite. */
const epsilon = 1e-8

/** @throws OptionError for a loss there is not */
export function checkLocalLoss(where: string, localLoss: string): asserts localLoss is LocalLoss {
  if (!['product', 'normalised', 'mse'].includes(localLoss)) {
    throw new OptionError(`${where}: localLoss must be 'product', 'normalised' or 'mse', got '${localLoss}'`)
  }
}

/** @throws OptionError for a negative weight of a loss */
export function checkWeights(where: string, weights: Readonly<Record<string, number>>): void {
  const bad = Object.entries(weights).find(([, weight]) => !(weight >= 0 && weight < Infinity))
  if (bad !== undefined) throw new OptionError(`${where}: ${bad[0]} must be a number of at least 0, got ${bad[1]}`)
}

const times = (a: tf.Tensor, b: tf.Tensor, transposeA = false, transposeB = false): tf.Tensor =>
  tf.matMul(a as tf.Tensor2D, b as tf.Tensor2D, transposeA, transposeB)

/** Rows divided by their norm + ε, and how a gradient in them goes back to the rows. */
function normaliseRows(rows: tf.Tensor): { unit: tf.Tensor; back: (slope: tf.Tensor) => tf.Tensor } {
  const norms = tf.sqrt(tf.sum(tf.square(rows), 1, true))
  const scale = tf.reciprocal(tf.add(norms, epsilon))
  const unit = tf.mul(rows, scale)
  return {
    unit,
    back(slope) {
      // The norm of a zero row has no direction: nothing goes back through it.
      const along = tf.div(tf.sum(tf.mul(slope, unit), 1, true), tf.maximum(norms, 1e-30))
      return tf.sub(tf.mul(slope, scale), tf.mul(unit, along))
    },
  }
}

/** λ·mean((UUᵀ − I)²) for rows U, and its gradient in U. */
function selfSimilarity(unit: tf.Tensor, lambda: number): { loss: tf.Tensor; slope: tf.Tensor } {
  const rows = unit.shape[0]
  const rest = tf.sub(times(unit, unit, false, true), tf.eye(rows))
  return { loss: tf.mul(tf.mean(tf.square(rest)), lambda), slope: tf.mul(times(rest, unit), (4 * lambda) / rows ** 2) }
}

/**
 * ℓ of one pair. With A [n, d], B [C, d], Y one-hot:
 * `product` 256·λ_C/d · mean((A·Bᵀ − Y)²);
 * `normalised` λ_C·mean((Â·B̂ᵀ − Y)²) + λ_s·mean((Â·Âᵀ − I)²) + λ_s·mean((B̂·B̂ᵀ − I)²), rows divided by their norm + 1e-8;
 * `mse` λ_C·mean((A − Y·B)²).
 *
 * @param a - activations [n, d]
 * @param b - signals [C, d]
 * @param targets - one-hot labels [n, C]
 * @param mask - [n, 1], 0 for rows that are left out of A (their Y stays); no gradient goes through it
 */
export function pairLoss(
  a: tf.Tensor,
  b: tf.Tensor,
  targets: tf.Tensor,
  { localLoss, lambdaC, lambdaS }: PairLossOptions,
  mask?: tf.Tensor,
): PairLoss {
  const masked = (rows: tf.Tensor): tf.Tensor => (mask === undefined ? rows : tf.mul(rows, mask))
  const kept = masked(a)
  if (localLoss === 'mse') {
    const rest = tf.sub(kept, times(targets, b))
    const slope = tf.mul(rest, (2 * lambdaC) / a.size)
    return { loss: tf.mul(tf.mean(tf.square(rest)), lambdaC), slopeA: masked(slope), slopeB: tf.neg(times(targets, slope, true)) }
  }
  if (localLoss === 'product') {
    const scale = (productScale * lambdaC) / (a.shape[1] ?? 1)
    const rest = tf.sub(times(kept, b, false, true), targets)
    const slope = tf.mul(rest, (2 * scale) / rest.size)
    return { loss: tf.mul(tf.mean(tf.square(rest)), scale), slopeA: masked(times(slope, b)), slopeB: times(slope, kept, true) }
  }
  const [A, B] = [normaliseRows(kept), normaliseRows(b)]
  const rest = tf.sub(times(A.unit, B.unit, false, true), targets)
  const slope = tf.mul(rest, (2 * lambdaC) / rest.size)
  const [samples, classes] = [selfSimilarity(A.unit, lambdaS), selfSimilarity(B.unit, lambdaS)]
  return {
    loss: tf.addN([tf.mul(tf.mean(tf.square(rest)), lambdaC), samples.loss, classes.loss]),
    slopeA: masked(A.back(tf.add(times(slope, B.unit), samples.slope))),
    slopeB: B.back(tf.add(times(slope, A.unit, true), classes.slope)),
  }
}

/** [n, 1]: 0 for rows whose class has a probability above 0.9, else 1. */
export function unsolvedRows(logits: tf.Tensor, targets: tf.Tensor): tf.Tensor {
  const own = tf.sum(tf.mul(tf.softmax(logits), targets), 1, true)
  return tf.cast(tf.greaterEqual(tf.abs(tf.sub(own, 1)), 0.1), 'float32')
}
