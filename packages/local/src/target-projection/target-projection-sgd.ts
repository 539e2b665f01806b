/** Target projection SGD of a feed-forward classifier: dense and convolutional layers, all at once or one after the other. */
import { logSoftmax, OptionError, softmaxCrossEntropy, tree, type Key, type Learner, type Tree } from '@bpf/core'
import type { ArrayLeaf, LabelsInput } from '@bpf/core/data'
import * as tf from '@tensorflow/tfjs-core'
import { fitCascade, stagedCascade, type Cascade, type CascadeClassifier, type CascadeFitOptions } from '../shared/cascade'
import {
  checkClasses,
  checkExamples,
  classificationSums,
  type ClassifierLearner,
  type LabelledBatch,
  type StagedClassifier,
} from '../shared/labelled'
import { targetNetwork, type LocalGradients, type TargetLayerState, type TargetNetwork, type TargetProjectionState } from './network'
import { warnIfUnstable } from './stability'

/** Options of {@link targetProjectionSgd}. */
export interface TargetProjectionSgdOptions extends TargetNetwork {
  /** Number of classes C ≥ 2. */
  classes: number
  /** All layers on the same batch (default), or one after the other, each on what the finished ones put out. */
  mode?: 'simultaneous' | 'sequential'
  /** Sequential: passes over the data for each layer. Default 8. */
  epochsPerLayer?: number
}

/** A classifier, and what its layers find out about a batch. */
export type TargetProjectionClassifier = ClassifierLearner<TargetProjectionState> & {
  /** Output, local loss and gradients of every layer, the last one's included; nothing is updated. */
  gradients(tensors: TargetProjectionState, batch: LabelledBatch): LocalGradients[]
}

const where = 'targetProjectionSgd'

/** Targets are rows of Pᵀ: no product with one-hot labels. */
export function projectLabels(projection: tf.Tensor, y: tf.Tensor): tf.Tensor {
  return tf.gather(projection, tf.cast(y, 'int32'))
}

function networkOf(options: TargetProjectionSgdOptions) {
  const { classes, mode = 'simultaneous', epochsPerLayer = 8 } = options
  checkClasses(where, classes)
  if (mode !== 'simultaneous' && mode !== 'sequential') {
    throw new OptionError(`${where}: mode must be simultaneous or sequential, got '${String(mode)}'`)
  }
  if (!Number.isInteger(epochsPerLayer) || epochsPerLayer < 1) {
    throw new OptionError(`${where}: epochsPerLayer must be a positive integer, got ${epochsPerLayer}`)
  }
  return targetNetwork(
    { where, outputs: classes, project: projectLabels, loss: (y, logits) => tf.mean(softmaxCrossEntropy(y, logits)) },
    options,
  )
}

type Network = ReturnType<typeof networkOf>

function simultaneous(network: Network, options: TargetProjectionSgdOptions): TargetProjectionClassifier {
  const { classes } = options
  const { scores } = network
  return {
    classes,
    async prepare(data, _, running) {
      await checkExamples(where, data, classes, running)
      await warnIfUnstable(where, data, network.inputs, network.specs[0]?.activation, options)
    },
    init(key, { x }) {
      network.checkSample(x)
      return { tensors: network.init(key, x), host: null }
    },
    step: (tensors, { x, y }, key) => network.step(tensors, x, y, key),
    evaluate: (tensors, { x, y }, weight) => tree.tidy(() => classificationSums(logSoftmax(scores(tensors, x)), y, weight)),
    predict: (tensors, inputs) => tf.tidy(() => tf.softmax(scores(tensors, inputs as tf.Tensor))),
    gradients: (tensors, { x, y }) => network.gradients(tensors, x, y),
  }
}

type Output = TargetProjectionState['output']

/** One part of the network as a learner of its own, from where it stands. */
function partLearner<Part extends Tree>(
  initial: Part,
  train: (part: Part, batch: LabelledBatch, key: Key) => { next: Part; loss: tf.Tensor | undefined },
): Learner<Tree, LabelledBatch, unknown> {
  return {
    init: () => ({ tensors: tree.clone(initial), host: null }),
    step: (part, batch, key) =>
      tree.tidy(() => {
        const { next, loss } = train(part as Part, batch, key)
        return { tensors: next as Tree, metrics: (loss === undefined ? {} : { loss }) as Record<string, tf.Tensor> }
      }),
  }
}

/** One stage for each layer, the last one included. */
function sequential(network: Network, { classes, epochsPerLayer = 8 }: TargetProjectionSgdOptions): Cascade<TargetProjectionState> {
  const { specs } = network
  return {
    where,
    classes,
    stages: [...specs.map((_, i) => `layer ${i + 1}`), 'output layer'],
    init(key, { x }) {
      network.checkSample(x)
      return network.init(key, x)
    },
    advance: (k, { layers }, x) => (k === 0 ? network.inputs(x) : network.forward(specs[k - 1], layers[k - 1], x)),
    stage(k, state) {
      if (k === specs.length) {
        return {
          learner: partLearner(state.output, (output, { x, y }) => network.trainOutput(output, x, y)),
          epochs: epochsPerLayer,
          finish: (output) => ({ ...state, output: output as Output }),
        }
      }
      return {
        learner: partLearner(state.layers[k], (layer, { x, y }, key) => network.trainLayer(k, layer, x, y, key)),
        epochs: epochsPerLayer,
        finish: (layer) => ({ ...state, layers: state.layers.map((old, i) => (i === k ? (layer as TargetLayerState) : old)) }),
      }
    },
    predict: (tensors, x) => tf.softmax(network.scores(tensors, x)),
  }
}

/**
 * A classifier whose layers each learn a target of their own, a fixed random projection t_i = P_i y of the one-hot label:
 *
 *   a_i = σ_i(W_i a_{i−1} + b_i),  e_i = ∂J(a_i, t_i)/∂a_i ⊙ σ_i′(z_i),  W_i ← W_i − η e_iᵀ a_{i−1}/n,  b_i ← b_i − η mean(e_i),
 *
 * and the last layer by cross-entropy. Only forward passes; a layer's output is let go once the next layer has it. With
 * `localLoss: 'linear'` it is direct random target projection (Frenkel et al., 2021), with `learningRate: 0` a network of
 * which only the last layer is trained.
 *
 * @returns a learner with the metrics `loss` (cross-entropy) and `layer1` … (local losses); in mode 'sequential' a staged
 *   method, which {@link fitTargetProjection} trains faster
 * @throws OptionError for options out of range, or targets that the activation cannot reach; ShapeError for inputs that do not fit
 * @see Lomnitz, Zhang, Piacentino, Zhang, 2022, arXiv 2208.08503
 *
 * @example
 * ```ts
 * const method = targetProjectionSgd({ layers: [targetDense(64), targetDense(64)], classes: 10 })
 * const model = await fitClassifier(method, X, y, { epochs: 10, batchSize: 64 })
 * ```
 */
export function targetProjectionSgd(options: TargetProjectionSgdOptions & { mode?: 'simultaneous' }): TargetProjectionClassifier
export function targetProjectionSgd(options: TargetProjectionSgdOptions & { mode: 'sequential' }): StagedClassifier<TargetProjectionState>
export function targetProjectionSgd(
  options: TargetProjectionSgdOptions,
): TargetProjectionClassifier | StagedClassifier<TargetProjectionState> {
  const network = networkOf(options)
  return options.mode === 'sequential' ? stagedCascade(sequential(network, options)) : simultaneous(network, options)
}

/**
 * Layer by layer on arrays: the output of finished layers is computed once per layer, not once per step.
 *
 * @param X - inputs [n, ...inputShape]
 * @param y - class indices [n]
 * @returns a classifier, and what each stage did
 * @throws DataError for labels out of range or values that are not finite
 */
export async function fitTargetProjection(
  options: Omit<TargetProjectionSgdOptions, 'mode'>,
  X: ArrayLeaf,
  y: LabelsInput,
  fitting: CascadeFitOptions = {},
): Promise<CascadeClassifier<TargetProjectionState>> {
  return fitCascade(sequential(networkOf(options), options), X, y, fitting)
}

/**
 * Values of activity that a step keeps for each example, input and logits counted: of target projection the widest layer's
 * input and output, max_i(d_{i−1} + d_i), of backpropagation all, Σ_i d_i.
 *
 * @param widths - d_0 … d_L
 * @throws OptionError for fewer than two
 */
export function retainedFloats(widths: readonly number[]): { targetProjection: number; backpropagation: number } {
  if (widths.length < 2 || widths.some((width) => !(width > 0))) {
    throw new OptionError(`retainedFloats: widths must be at least two positive numbers, got [${widths.join(', ')}]`)
  }
  return {
    targetProjection: Math.max(...widths.slice(1).map((width, i) => widths[i] + width)),
    backpropagation: widths.reduce((sum, width) => sum + width, 0),
  }
}
