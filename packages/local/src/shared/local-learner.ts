/** A part of a network with class scores of its own, trained by their cross-entropy alone. */
import { logSoftmax, softmaxCrossEntropy, tree, valueAndGrad, type Key, type Learner, type Tree } from '@bpf/core'
import { applyUpdates, type Optimizer } from '@bpf/core/optim'
import * as tf from '@tensorflow/tfjs-core'
import { classificationSums, type LabelledBatch } from './labelled'

/** Parameters of the part, and its optimizer's state. */
export type LocalState = { params: Tree; optimizer: Tree }

/**
 * A learner of `params` for the mean cross-entropy of softmax(scores(params, x)) and y.
 *
 * @param init - draws the parameters; what it takes over from elsewhere is copied
 * @param scores - class scores [n, C] of the part's inputs
 */
export function localLearner<P extends Tree>(
  init: (key: Key, sample: LabelledBatch) => P,
  scores: (params: P, x: tf.Tensor) => tf.Tensor,
  optimizer: Optimizer,
): Learner<LocalState, LabelledBatch> {
  return {
    init(key, sample) {
      const params = init(key, sample)
      return { tensors: { params, optimizer: optimizer.init(params) }, host: null }
    },
    step(tensors, { x, y }) {
      return tree.tidy(() => {
        const params = tensors.params as P
        const { value, grads } = valueAndGrad((at: P) => tf.mean(softmaxCrossEntropy(y, scores(at, x))))(params)
        const { updates, state } = optimizer.update(grads, tensors.optimizer, params)
        return { tensors: { params: applyUpdates(params, updates), optimizer: state }, metrics: { loss: value } }
      })
    },
    evaluate: ({ params }, { x, y }, weight) => tree.tidy(() => classificationSums(logSoftmax(scores(params as P, x)), y, weight)),
  }
}
