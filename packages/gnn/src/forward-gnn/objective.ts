/** Local losses of paper 01: cross-entropy against virtual nodes, goodness, and their link prediction counterparts. */
import { sigmoidCrossEntropy, softmaxCrossEntropy } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'

/** norm(x)_i = x_i / (‖x_i‖ + 1e-8): a layer's input, so that the length of the previous layer's output can't leak. */
export function normaliseRows(x: tf.Tensor): tf.Tensor {
  return tf.tidy(() => tf.div(x, tf.add(tf.sqrt(tf.sum(tf.square(x), 1, true)), 1e-8)))
}

/**
 * Logits of nodes against virtual nodes, z_i · z_{n+c} / τ.
 *
 * @param nodes - [m, d]
 * @param virtual - [C, d]
 * @returns [m, C]
 */
export function virtualLogits(nodes: tf.Tensor, virtual: tf.Tensor, temperature: number): tf.Tensor {
  return tf.tidy(() => tf.div(tf.matMul(nodes as tf.Tensor2D, virtual as tf.Tensor2D, false, true), temperature))
}

/** Mean cross-entropy of {@link virtualLogits} of nodes [m, d] with labels [m]: the loss of a single-forward layer. */
export function virtualNodeLoss(nodes: tf.Tensor, virtual: tf.Tensor, labels: Int32Array, temperature: number): tf.Tensor {
  return tf.tidy(() => tf.mean(softmaxCrossEntropy(tf.tensor1d(labels, 'int32'), virtualLogits(nodes, virtual, temperature))))
}

/** Goodness Σ_d z² of rows, [m]. */
export function goodness(z: tf.Tensor): tf.Tensor {
  return tf.tidy(() => tf.sum(tf.square(z), -1))
}

/**
 * Loss of a forward-forward layer: mean softplus(θ − G⁺) + mean softplus(G⁻ − θ).
 *
 * @param positive - goodness of rows with right labels
 * @param negative - of rows with wrong ones
 */
export function goodnessLoss(
  positive: tf.Tensor,
  negative: tf.Tensor,
  theta: number,
): { loss: tf.Tensor; positive: tf.Tensor; negative: tf.Tensor } {
  const right = tf.mean(tf.softplus(tf.sub(theta, positive)))
  const wrong = tf.mean(tf.softplus(tf.sub(negative, theta)))
  return { loss: tf.add(right, wrong), positive: right, negative: wrong }
}

/** How a layer judges a pair of nodes: the logit z_u·z_v (single forward), or the goodness of z_u ∘ z_v (forward-forward). */
export type LinkObjective = 'single-forward' | 'forward-forward'

/**
 * Logit of pairs being an edge, from the two ends' outputs [m, d]: Σ_d u v, or Σ_d (u v)² − θ.
 *
 * @returns [m]
 */
export function linkLogits(objective: LinkObjective, from: tf.Tensor, to: tf.Tensor, theta: number): tf.Tensor {
  return tf.tidy(() => {
    const both = tf.mul(from, to)
    return objective === 'single-forward' ? tf.sum(both, 1) : tf.sub(goodness(both), theta)
  })
}

/**
 * Loss of pairs, `positives` edges first: the mean binary cross-entropy over all (single forward), or the means over
 * edges and over non-edges added (forward-forward).
 */
export function linkLoss(objective: LinkObjective, logits: tf.Tensor, labels: Int32Array): tf.Tensor {
  return tf.tidy(() => {
    const target = tf.tensor1d(Float32Array.from(labels))
    const each = sigmoidCrossEntropy(target, logits)
    if (objective === 'single-forward') return tf.mean(each)
    const positives = labels.reduce((sum, label) => sum + label, 0)
    const weight = Float32Array.from(labels, (label) => (label === 1 ? 1 / positives : 1 / (labels.length - positives)))
    return tf.sum(tf.mul(each, tf.tensor1d(weight)))
  })
}
