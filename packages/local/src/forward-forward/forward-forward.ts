/**
 * Forward-Forward: Hinton, "The Forward-Forward Algorithm", 2022, arXiv 2212.13345, in the version of Spyra and Dzwinel,
 * "Beyond Backpropagation", 2025, arXiv 2511.01061 (code Przemyslaw11/BeyondBackpropagation).
 *
 * Each layer learns to be active on images that carry their true label and quiet on images that carry a wrong one; nothing
 * flows back from layer to layer. A class is predicted by trying all labels and taking the one with the most activity.
 */
import { logSoftmax, OptionError, softmaxCrossEntropy, tree, valueAndGrad, warn, type Dataset, type Tree } from '@bpf/core'
import { adamw, applyUpdates, schedule, type Optimizer, type Schedule } from '@bpf/core/optim'
import { fold, type Key } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { checkEmbeddable, embedNeutral, negativeLabels } from '../shared/label-embedding'
import { checkClasses, checkExamples, classificationSums, type ClassifierLearner, type LabelledBatch } from '../shared/labelled'
import { checkWidths, rowsOf } from '../shared/rows'
import {
  candidateGoodness,
  checkRowLength,
  forwardForwardActivity,
  forwardForwardGradients,
  initForwardForward,
  type ForwardForwardParams,
  type ForwardForwardThreshold,
} from './layers'

/** Options of {@link forwardForward}. */
export interface ForwardForwardOptions {
  /** Widths d_1 … d_L of the layers. Default four of 2000, as for MNIST. */
  hidden?: readonly number[]
  /** Number of classes C ≥ 2. */
  classes: number
  /** Default AdamW with rate 5.25e-4 and decay 4.2e-4; give it a {@link forwardForwardCoolDown} as rate. */
  optimizer?: Optimizer
  /** Σ h² against the width (default), or mean h² against a constant θ (Hinton: 2). */
  threshold?: ForwardForwardThreshold
  /**
   * Derivative of the ReLU in the backward pass: 1 everywhere (`full`, default, as in the study) or 0 where it is off. Only
   * peer normalisation makes a difference between them.
   */
  reluGrad?: 'full' | 'standard'
  /** Weight of peer normalisation. Default 0.03; 0 leaves it out. */
  peerFactor?: number
  /** Share of the old running mean in the new one. Default 0.9. */
  peerMomentum?: number
  /** Trains a linear read-out of ẑ_2 … ẑ_L beside, for {@link ForwardForward.predictWithHead}: `adamw({ learningRate: 2.7e-3, weightDecay: 3.6e-3 })`. */
  headOptimizer?: Optimizer
  /** Takes images [n, h, w, c] as rows. Default false. */
  flatten?: boolean
}

/** Layers, running means m_l of peer normalisation (none without it), read-out (empty without it), and optimizer states. */
export type ForwardForwardState = {
  params: ForwardForwardParams
  peers: readonly tf.Tensor[]
  head: Tree
  optimizer: Tree
  headOptimizer: Tree
}

/** What {@link forwardForward} returns: a classifier, and what its layers say. */
export interface ForwardForward extends ClassifierLearner<ForwardForwardState> {
  /** Goodness of each candidate label in each layer [n, C, L]. */
  goodness(tensors: ForwardForwardState, x: tf.Tensor): tf.Tensor
  /** Probabilities [n, C] of the linear read-out, from inputs with a neutral label. @throws OptionError without `headOptimizer` */
  predictWithHead(tensors: ForwardForwardState, x: tf.Tensor): tf.Tensor
}

/**
 * The study's schedule: the full rate in the first half of E epochs; in epoch e > ⌊E/2⌋ (from 1) 2(1 + E − e)/E of it.
 *
 * @returns a learning rate, at least 1e-9
 * @throws OptionError unless epochs and stepsPerEpoch are positive integers
 */
export function forwardForwardCoolDown({
  learningRate,
  epochs,
  stepsPerEpoch,
}: {
  learningRate: number
  epochs: number
  stepsPerEpoch: number
}): Schedule {
  for (const [name, value] of Object.entries({ epochs, stepsPerEpoch })) {
    if (!Number.isInteger(value) || value < 1) {
      throw new OptionError(`forwardForwardCoolDown: ${name} must be a positive integer, got ${value}`)
    }
  }
  return schedule((step, math) => {
    const epoch = math.add(math.floor(math.div(step, stepsPerEpoch)), 1)
    const falling = math.mul(math.sub(1 + epochs, epoch), (2 * learningRate) / epochs)
    return math.max(math.selectAtLeast(epoch, Math.floor(epochs / 2) + 1, falling, learningRate), 1e-9)
  })
}

type Head = { kernel: tf.Tensor }

/**
 * Forward-Forward training: loss_l = BCE of σ(g_l − d_l) on images with true and with wrong labels, all layers at once, no
 * gradient between them. Metrics: `loss` (with the peer term), `layer1` … `layerL`, `head`.
 *
 * Inputs are rows in [0, 1] whose first C values may be overwritten by the label. Probabilities are the softmax of the goodness
 * summed over all layers but the first (of a single layer: of that one).
 *
 * @returns a classifier for `fit` or `fitClassifier`
 * @throws OptionError for options out of range; ShapeError for rows shorter than C, or images without `flatten`
 *
 * @example
 * ```ts
 * const rate = forwardForwardCoolDown({ learningRate: 1e-3, epochs: 20, stepsPerEpoch: 90 })
 * const method = forwardForward({ hidden: [400, 400], classes: 10, optimizer: adamw({ learningRate: rate, weightDecay: 3e-4 }) })
 * ```
 */
export function forwardForward({
  hidden = [2000, 2000, 2000, 2000],
  classes,
  optimizer = adamw({ learningRate: 5.25e-4, weightDecay: 4.2e-4 }),
  threshold = 'width',
  reluGrad = 'full',
  peerFactor = 0.03,
  peerMomentum = 0.9,
  headOptimizer,
  flatten = false,
}: ForwardForwardOptions): ForwardForward {
  const where = 'forwardForward'
  checkClasses(where, classes)
  checkWidths(where, 'hidden', hidden)
  if (threshold !== 'width' && !(threshold > 0 && threshold < Infinity)) {
    throw new OptionError(`${where}: threshold must be 'width' or a positive number, got ${String(threshold)}`)
  }
  if (!(peerFactor >= 0 && peerFactor < Infinity)) throw new OptionError(`${where}: peerFactor must be at least 0, got ${peerFactor}`)
  if (!(peerMomentum >= 0 && peerMomentum < 1)) throw new OptionError(`${where}: peerMomentum must be in [0, 1), got ${peerMomentum}`)
  const objective = { threshold, reluGrad, peerFactor, peerMomentum }

  function inputRows(params: ForwardForwardParams, x: tf.Tensor): tf.Tensor2D {
    const rows = rowsOf(where, x, flatten)
    checkRowLength(rows, params)
    return rows
  }

  const goodness = ({ params }: ForwardForwardState, x: tf.Tensor) => candidateGoodness(params, inputRows(params, x), threshold)

  function scores(tensors: ForwardForwardState, x: tf.Tensor): tf.Tensor {
    const all = goodness(tensors, x)
    return tf.sum(hidden.length === 1 ? all : tf.slice(all, [0, 0, 1], [-1, -1, -1]), 2)
  }

  function trainHead(head: Head, state: Tree, features: tf.Tensor, y: tf.Tensor, rule: Optimizer) {
    const { value, grads } = valueAndGrad(({ kernel }: Head) =>
      tf.mean(softmaxCrossEntropy(y, tf.matMul(features as tf.Tensor2D, kernel as tf.Tensor2D))),
    )(head)
    const next = rule.update(grads, state, head)
    return { head: applyUpdates(head, next.updates), state: next.state, loss: value }
  }

  return {
    classes,
    async prepare(data, _: Key, options) {
      await checkExamples(where, data, classes, options)
      await warnOfEmptyRows(data, classes, options.signal)
    },
    init(key, sample) {
      const x = rowsOf(where, sample.x, flatten)
      checkEmbeddable(where, x.shape[1], classes)
      const params = initForwardForward(key, x.shape[1], classes, hidden)
      const widths = hidden.length === 1 ? hidden[0] : hidden.slice(1).reduce((sum, width) => sum + width, 0)
      const head: Tree = headOptimizer === undefined ? {} : { kernel: tf.zeros([widths, classes]) }
      const tensors = {
        params,
        peers: peerFactor > 0 ? hidden.map((width) => tf.fill([width], 0.5)) : [],
        head,
        optimizer: optimizer.init(params),
        headOptimizer: headOptimizer === undefined ? {} : headOptimizer.init(head),
      }
      return { tensors, host: null }
    },
    step(tensors, { x, y }, key) {
      return tree.tidy(() => {
        const rows = inputRows(tensors.params, x)
        const negative = negativeLabels(y, classes, fold(key, 0))
        const wantFeatures = headOptimizer !== undefined
        const local = forwardForwardGradients(tensors.params, tensors.peers, { x: rows, y, negative }, objective, wantFeatures)
        const { updates, state } = optimizer.update(local.grads, tensors.optimizer, tensors.params)
        const loss = tf.add(tf.addN(local.losses), tf.mul(local.peerLoss, peerFactor))
        const layers = Object.fromEntries(local.losses.map((value, l) => [`layer${l + 1}`, value]))
        const trained = headOptimizer && trainHead(tensors.head as Head, tensors.headOptimizer, local.features, y, headOptimizer)
        return {
          tensors: {
            params: applyUpdates(tensors.params, updates),
            peers: local.peers,
            head: trained?.head ?? {},
            optimizer: state,
            headOptimizer: trained?.state ?? {},
          },
          metrics: { loss, ...layers, ...(trained && { head: trained.loss }) },
        }
      })
    },
    evaluate: (tensors, { x, y }, weight) => tree.tidy(() => classificationSums(logSoftmax(scores(tensors, x)), y, weight)),
    predict: (tensors, inputs) => tf.tidy(() => tf.softmax(scores(tensors, inputs as tf.Tensor))),
    goodness: (tensors, x) => tf.tidy(() => goodness(tensors, x)),
    predictWithHead(tensors, x) {
      if (headOptimizer === undefined) throw new OptionError(`${where}: predictWithHead needs headOptimizer`)
      return tf.tidy(() => {
        const { normalised } = forwardForwardActivity(tensors.params, embedNeutral(inputRows(tensors.params, x), classes))
        const features = tf.concat(hidden.length === 1 ? normalised : normalised.slice(1), 1)
        return tf.softmax(tf.matMul(features as tf.Tensor2D, (tensors.head as Head).kernel as tf.Tensor2D))
      })
    },
  }
}

/** Rows with nothing behind the label tell their label and no more: worth a word, not an error. */
async function warnOfEmptyRows(data: Dataset<LabelledBatch>, classes: number, signal: AbortSignal | undefined): Promise<void> {
  let count = 0
  for await (const { batch, weight } of data.weightedBatches({ signal })) {
    const empty = tf.tidy(() => {
      const rows = tf.reshape(batch.x, [batch.x.shape[0], -1])
      if ((rows.shape[1] ?? 0) <= classes) return tf.scalar(0)
      const size = tf.sum(tf.abs(tf.slice(rows, [0, classes], [-1, -1])), 1)
      return tf.sum(tf.mul(tf.cast(tf.equal(size, 0), 'float32'), weight))
    })
    count += (await empty.data())[0]
    tf.dispose([batch.x, batch.y, weight, empty])
  }
  if (count > 0) warn(`forwardForward: ${count} rows are zero behind their first ${classes} values; they teach the label alone`)
}
