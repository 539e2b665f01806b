/** The student's loss, and the projection of weights onto a sparse set. */
import { logSoftmax, OptionError, tree, type Tree } from '@bpf/core'
import { topKMask } from '@bpf/core/ops'
import * as tf from '@tensorflow/tfjs-core'
import { maskedCrossEntropy } from '../node-classifier'

/**
 * Cross-entropy of the training nodes, and λ/n Σ_i KL(softmax(teacher_i) ‖ softmax(logits_i)) over all nodes.
 *
 * @param logits - of the student [n, C], teacher - constant [n, C]
 * @returns scalars `ce`, `kl` (before λ) and `loss`
 */
export function distillationLoss(
  logits: tf.Tensor,
  teacher: tf.Tensor,
  labels: Int32Array,
  nodes: Int32Array,
  lambda: number,
): { ce: tf.Tensor; kl: tf.Tensor; loss: tf.Tensor } {
  const ce = maskedCrossEntropy(logits, labels, nodes)
  const [from, to] = [logSoftmax(teacher), logSoftmax(logits)]
  const kl = tf.div(tf.sum(tf.mul(tf.exp(from), tf.sub(from, to))), logits.shape[0])
  return { ce, kl, loss: tf.add(ce, tf.mul(kl, lambda)) }
}

/**
 * The nearest parameters with at least h = ⌈p·|θ|⌉ zeros: the h smallest magnitudes of all leaves together become 0, ties by
 * place. Traceable.
 *
 * @param sparsity - p in [0, 1]
 * @throws OptionError for p outside [0, 1]
 */
export function projectL0<P extends Tree>(params: P, sparsity: number): P {
  if (!(sparsity >= 0 && sparsity <= 1)) throw new OptionError(`projectL0: sparsity must be in [0, 1], got ${sparsity}`)
  const zeros = Math.ceil(sparsity * tree.size(params))
  if (zeros === 0) return tree.clone(params)
  return tree.tidy(() => {
    const { vector, unpack } = tree.pack(params)
    return unpack(tf.mul(vector, tf.sub(1, topKMask(tf.abs(vector), zeros, { smallest: true }))) as tf.Tensor1D)
  })
}
