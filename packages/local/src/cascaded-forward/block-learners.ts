/** How the blocks get their weights or statistics before any predictor is trained. */
import { softmaxCrossEntropy, stopGradient, tree, valueAndGradWithAux, type Learner, type Tree } from '@bpf/core'
import { initializers } from '@bpf/core/nn'
import { applyUpdates, type Optimizer } from '@bpf/core/optim'
import { fold, normal } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { oneHot, type LabelledBatch } from '../shared/labelled'
import { copyBlocks, featureRows, type Blocks, type BlockState } from './blocks'

/** State of {@link statisticsLearner}. */
export type StatisticsState = { blocks: readonly BlockState[] }

/** Weights stay; running means and variances of batch norm follow the training set. */
export function statisticsLearner(blocks: Blocks, start: readonly BlockState[]): Learner<StatisticsState, LabelledBatch> {
  return {
    init: () => ({ tensors: { blocks: copyBlocks(start) }, host: null }),
    step: ({ blocks: before }, { x }) =>
      tree.tidy(() => {
        let f = x
        const next = before.map(({ params, state }, i) => {
          const trained = blocks.train(i, params, state, f)
          f = trained.y
          return { params, state: trained.state }
        })
        return { tensors: { blocks: next }, metrics: {} }
      }),
  }
}

type Weights = { blocks: readonly Tree[]; head: { kernel: tf.Tensor; bias: tf.Tensor } }
/** State of {@link feedbackAlignmentLearner}; `feedback` holds B_i [C, dim f_i] of all blocks but the last. */
export type FeedbackAlignmentState = { weights: Weights; states: readonly Tree[]; feedback: readonly tf.Tensor[]; optimizer: Tree }

/**
 * Direct feedback alignment: with the error e = (softmax − onehot)/n of a linear head on the last block, the last block and the
 * head get the true gradient of the cross-entropy, and block i before it the gradient e·B_i at its output, its input constant.
 * B_i is Gaussian with rows of length 1, and fixed.
 */
export function feedbackAlignmentLearner(
  blocks: Blocks,
  start: readonly BlockState[],
  classes: number,
  optimizer: Optimizer,
): Learner<FeedbackAlignmentState, LabelledBatch> {
  const last = blocks.count - 1
  return {
    init(key, sample) {
      const sizes = blocks.shapes(sample.x.shape.slice(1)).map((shape) => shape.reduce((product, n) => product * n, 1))
      const copies = copyBlocks(start)
      const feedback = sizes.slice(0, last).map((size, i) => {
        const rows = normal(fold(key, i), [classes, size])
        return tf.div(rows, tf.norm(rows, 2, 1, true))
      })
      const head = {
        kernel: initializers.torchDefault(fold(key, last), [sizes[last], classes]),
        bias: initializers.torchDefault(fold(key, last + 1), [classes], { fanIn: sizes[last], fanOut: classes }),
      }
      const weights = { blocks: copies.map(({ params }) => params), head }
      return {
        tensors: { weights, states: copies.map(({ state }) => state), feedback, optimizer: optimizer.init(weights) },
        host: null,
      }
    },
    step: (tensors, { x, y }) =>
      tree.tidy(() => {
        const { value, grads, aux } = valueAndGradWithAux(({ blocks: params, head }: Weights) => {
          const outputs: tf.Tensor[] = []
          const states = params.map((block, i) => {
            const { y: f, state } = blocks.train(i, block, tensors.states[i], i === 0 ? x : stopGradient(outputs[i - 1]))
            outputs.push(f)
            return state
          })
          const logits = tf.add(tf.matMul(featureRows(outputs[last]), head.kernel as tf.Tensor2D), head.bias)
          const crossEntropy = tf.mean(softmaxCrossEntropy(y, logits))
          const error = stopGradient(tf.div(tf.sub(tf.softmax(logits), oneHot(y, classes)), y.shape[0])) as tf.Tensor2D
          // The gradient of Σ f ⊙ δ at f is δ.
          const pulls = tensors.feedback.map((b, i) => tf.sum(tf.mul(featureRows(outputs[i]), tf.matMul(error, b as tf.Tensor2D))))
          return { loss: tf.addN([crossEntropy, ...pulls]), aux: { states, crossEntropy } }
        })(tensors.weights)
        tf.dispose(value)
        const { updates, state } = optimizer.update(grads, tensors.optimizer, tensors.weights)
        return {
          tensors: {
            weights: applyUpdates(tensors.weights, updates),
            states: aux.states,
            feedback: tensors.feedback,
            optimizer: state,
          },
          metrics: { loss: aux.crossEntropy },
        }
      }),
  }
}
