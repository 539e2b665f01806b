/**
 * Rivals on the same network, that send the output's error down through fixed random matrices: feedback alignment (Lillicrap
 * et al., 2016), direct feedback alignment (Nøkland, 2016, arXiv 1609.01596) and its sign version. Direct random target
 * projection is {@link targetProjectionSgd} with `localLoss: 'linear'`.
 */
import { logSoftmax, OptionError, softmaxCrossEntropy, tree, valueAndGradWithAux, type Tree } from '@bpf/core'
import { dense, initializers, type Affine } from '@bpf/core/nn'
import { applyUpdates, sgd, type LearningRate, type Optimizer } from '@bpf/core/optim'
import { fold, normal, split } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { checkClasses, checkExamples, classificationSums, type ClassifierLearner } from '../shared/labelled'
import { checkWidths, rowsOf } from '../shared/rows'

/** How the error reaches hidden layers; `backpropagation` is exact. */
export type FeedbackRoute = 'backpropagation' | 'feedbackAlignment' | 'directFeedbackAlignment' | 'signDirectFeedbackAlignment'

const routes: readonly FeedbackRoute[] = ['backpropagation', 'feedbackAlignment', 'directFeedbackAlignment', 'signDirectFeedbackAlignment']

/** Options of {@link randomFeedback}. */
export interface RandomFeedbackOptions {
  route: FeedbackRoute
  /** Widths of the tanh layers. */
  hidden: readonly number[]
  /** Number of classes C ≥ 2. */
  classes: number
  /** η of all layers. Default 0.02. */
  learningRate?: LearningRate
  /** Standard deviation of the fixed matrices, in units of 1/√(their rows). Default 1. */
  feedbackScale?: number
  /** Takes images [n, h, w, c] as rows. Default false. */
  flatten?: boolean
}

/** Layers, fixed matrices (none for backpropagation), and the optimizer's state. */
export type RandomFeedbackState = { layers: readonly Affine[]; feedback: readonly tf.Tensor[]; optimizer: Tree }

const where = 'randomFeedback'

const times = (a: tf.Tensor, b: tf.Tensor, transposeA = false, transposeB = false): tf.Tensor =>
  tf.matMul(a as tf.Tensor2D, b as tf.Tensor2D, transposeA, transposeB)

/**
 * A perceptron of tanh layers. With e = (softmax(logits) − y)/n, layer i has the error
 * δ_i = σ′(z_i) ⊙ s: s = δ_{i+1}W_{i+1}ᵀ (backpropagation), δ_{i+1}B_i, e·B_i (direct) or sign(e)·B_i/n (sign).
 * It starts from the weights that {@link targetProjectionSgd} with layers of the same widths draws from the same key.
 *
 * @returns a classifier of x [n, d] with the metric `loss`
 * @throws OptionError for a route there is not, or widths below 1
 */
export function randomFeedback(options: RandomFeedbackOptions): ClassifierLearner<RandomFeedbackState> {
  const { route, hidden, classes, learningRate = 0.02, feedbackScale = 1, flatten = false } = options
  checkClasses(where, classes)
  checkWidths(where, 'hidden', hidden)
  if (!routes.includes(route)) throw new OptionError(`${where}: route must be one of ${routes.join(', ')}, got '${String(route)}'`)
  if (!(feedbackScale > 0)) throw new OptionError(`${where}: feedbackScale must be positive, got ${feedbackScale}`)
  const optimizer: Optimizer = sgd({ learningRate })
  const direct = route === 'directFeedbackAlignment' || route === 'signDirectFeedbackAlignment'
  const build = (units: number) => dense(units, { kernelInit: initializers.xavierUniform(), biasInit: initializers.zeros })
  const blocks = [...hidden, classes].map(build)

  const logits = ({ layers }: RandomFeedbackState, x: tf.Tensor): tf.Tensor => activities(layers, rowsOf(where, x, flatten))[layers.length]

  /** a_0 … a_{L−1} and the logits. */
  function activities(layers: readonly Affine[], x: tf.Tensor): tf.Tensor[] {
    const found = [x]
    layers.forEach((layer, i) => {
      const z = blocks[i].apply(layer, {}, found[i], { training: true }).y
      found.push(i < hidden.length ? tf.tanh(z) : z)
    })
    return found
  }

  return {
    classes,
    prepare: (data, _, running) => checkExamples(where, data, classes, running),
    init(key, { x }) {
      const widths = [rowsOf(where, x, flatten).shape[1], ...hidden, classes]
      const layers = blocks.map((block, i) => {
        const own = fold(key, i)
        return block.init(i < hidden.length ? split(own, 2)[0] : own, [widths[i]]).params
      })
      const feedback = hidden.map((units, i) => {
        const rows = direct ? classes : widths[i + 2]
        return normal(split(fold(key, i), 2)[1], [rows, units], { stddev: feedbackScale / Math.sqrt(rows) })
      })
      const fixed = route === 'backpropagation' ? [] : feedback
      return { tensors: { layers, feedback: fixed, optimizer: optimizer.init(layers) }, host: null }
    },
    step({ layers, feedback, optimizer: before }, { x, y }) {
      return tree.tidy(() => {
        const a = activities(layers, rowsOf(where, x, flatten))
        const { value, grads: error } = valueAndGradWithAux((scores: tf.Tensor) => ({
          loss: tf.mean(softmaxCrossEntropy(y, scores)),
          aux: [],
        }))(a[layers.length])
        const sent = route === 'signDirectFeedbackAlignment' ? tf.div(tf.sign(error), x.shape[0]) : error
        let delta = error
        const grads: Affine[] = []
        for (let i = layers.length - 1; i >= 0; i--) {
          if (i < hidden.length) {
            const back = direct
              ? times(sent, feedback[i])
              : route === 'backpropagation'
                ? times(delta, layers[i + 1].kernel, false, true)
                : times(delta, feedback[i])
            delta = tf.mul(back, tf.sub(1, tf.square(a[i + 1])))
          }
          grads.unshift({ kernel: times(a[i], delta, true), bias: tf.sum(delta, 0) })
        }
        const { updates, state } = optimizer.update(grads as readonly Affine[], before, layers)
        const next = { layers: applyUpdates(layers, updates), feedback: tree.clone(feedback), optimizer: state }
        return { tensors: next, metrics: { loss: value } }
      })
    },
    evaluate: (tensors, { x, y }, weight) => tree.tidy(() => classificationSums(logSoftmax(logits(tensors, x)), y, weight)),
    predict: (tensors, inputs) => tf.tidy(() => tf.softmax(logits(tensors, inputs as tf.Tensor))),
  }
}
