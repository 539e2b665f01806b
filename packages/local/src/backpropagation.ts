/**
 * Backpropagation through the whole network: the baseline every method of this package is measured against, on the same
 * architecture and with the same means.
 */
import { logSoftmax, softmaxCrossEntropy, tree, valueAndGradWithAux, type Tree } from '@bpf/core'
import type { Layer } from '@bpf/core/nn'
import { adam, applyUpdates, type Optimizer } from '@bpf/core/optim'
import { fold } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { checkClasses, checkExamples, classificationSums, type ClassifierLearner } from './shared/labelled'

/** Options of {@link backpropagation}. */
export interface BackpropagationOptions {
  /** From inputs [n, ...inputShape] to logits [n, classes]. */
  network: Layer
  /** Number of classes C ≥ 2. */
  classes: number
  /** Default Adam with rate 1e-3. */
  optimizer?: Optimizer
}

/** Parameters and state of the network, and of the optimizer. */
export type BackpropagationState = { params: Tree; network: Tree; optimizer: Tree }

/**
 * A network trained end to end: loss = mean cross-entropy of softmax(network(x)) and y.
 *
 * @returns a classifier for `fit` or {@link fitClassifier}
 * @throws OptionError for fewer than two classes
 */
export function backpropagation({
  network,
  classes,
  optimizer = adam({ learningRate: 1e-3 }),
}: BackpropagationOptions): ClassifierLearner<BackpropagationState> {
  checkClasses('backpropagation', classes)
  const logits = ({ params, network: state }: BackpropagationState, x: tf.Tensor) => network.apply(params, state, x, { training: false }).y
  return {
    classes,
    prepare: (data, _, options) => checkExamples('backpropagation', data, classes, options),
    init(key, sample) {
      const { params, state } = network.init(key, sample.x.shape.slice(1))
      return { tensors: { params, network: state, optimizer: optimizer.init(params) }, host: null }
    },
    step(tensors, { x, y }, key) {
      return tree.tidy(() => {
        const { value, grads, aux } = valueAndGradWithAux((params: Tree) => {
          const { y: scores, state } = network.apply(params, tensors.network, x, { training: true, key: fold(key, 0) })
          return { loss: tf.mean(softmaxCrossEntropy(y, scores)), aux: state }
        })(tensors.params)
        const { updates, state } = optimizer.update(grads, tensors.optimizer, tensors.params)
        return { tensors: { params: applyUpdates(tensors.params, updates), network: aux, optimizer: state }, metrics: { loss: value } }
      })
    },
    evaluate: (tensors, { x, y }, weight) => tree.tidy(() => classificationSums(logSoftmax(logits(tensors, x)), y, weight)),
    predict: (tensors, inputs) => tf.tidy(() => tf.softmax(logits(tensors, inputs as tf.Tensor))),
  }
}
