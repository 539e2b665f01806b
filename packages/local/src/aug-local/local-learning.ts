/**
 * Layer-wise supervised learning with any local objective: the frame that AugLocal and its rivals share.
 */
import { logSoftmax, OptionError, tree, type Tree } from '@bpf/core'
import { dense, globalAvgPool, sequential, type Layer } from '@bpf/core/nn'
import { sgd, type Optimizer } from '@bpf/core/optim'
import { fold } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { blockChain, classifierObjective, moduleSizes, type LocalObjective, type ModuleState } from '../shared/block-chain'
import type { LocalLayer } from '../shared/blocks'
import { checkClasses, checkExamples, classificationSums, type ClassifierLearner } from '../shared/labelled'

/** Where in the network a local objective is wanted. */
export interface AuxiliaryContext {
  /** The layers of the whole network. */
  layers: readonly LocalLayer[]
  /** Index of the layer whose output the objective sees: the last one of its module. */
  index: number
  /** Index of the module, from 0, and how many there are (the last one, trained by the network's own classifier, included). */
  module: number
  modules: number
  classes: number
}

/** Makes the local objective of a module. */
export type Auxiliary = (context: AuxiliaryContext) => LocalObjective

/** Options that all layer-wise methods of this file share. */
export interface LocalNetworkOptions {
  /** The network's layers in order: {@link residualLayers}, {@link cifarResnetLayers}, {@link vggLayers}, or your own. */
  layers: readonly LocalLayer[]
  /** Number of classes C ≥ 2. */
  classes: number
  /** From the last layer's features to logits [n, C]. Default global average pooling and one dense layer. */
  head?: Layer
  /**
   * Number K of modules that are trained in isolation, or their sizes; gradients flow inside a module. Default: each layer
   * is one. With 1 the network is trained end to end, by backpropagation.
   */
  modules?: number | readonly number[]
  /**
   * Updates each module; statistics such as a global norm are the module's own. Default SGD with rate 0.1 (for batches
   * of 128), Nesterov momentum 0.9 and weight decay 1e-4, as in the paper.
   */
  optimizer?: Optimizer
}

/** Options of {@link localLearning}. */
export interface LocalLearningOptions extends LocalNetworkOptions {
  /** The objective of every module but the last: {@link poolingAuxiliary}, {@link dglAuxiliary}, {@link predSimAuxiliary}, {@link infoProAuxiliary}. */
  auxiliary: Auxiliary
}

/** What every module keeps: parameters and running statistics of its layers and its helper, and the optimizer's state. */
export type LocalLearningState = { modules: readonly ModuleState[] }

/** A network trained module by module. `predict` uses its own layers and classifier only, not the helpers. */
export type LocalLearner = ClassifierLearner<LocalLearningState> & {
  /** The network without helpers, as `backpropagation` takes it. */
  readonly network: Layer
  /** Parameters and state of {@link LocalLearner.network}, copied: what is needed after training. */
  primary(tensors: LocalLearningState): { params: Tree; state: Tree }
  /** Class probabilities [n, C] after every module by its helper, the last one by the classifier: early exits. */
  exits(tensors: LocalLearningState, x: tf.Tensor): tf.Tensor[]
}

/** Layers, classifier and objectives of a method. */
export function localLearner(where: string, options: LocalNetworkOptions, auxiliary: Auxiliary): LocalLearner {
  const { layers, classes } = options
  const head = options.head ?? (sequential([globalAvgPool(), dense(classes)]) as Layer)
  const optimizer = options.optimizer ?? sgd({ learningRate: 0.1, momentum: 0.9, nesterov: true, weightDecay: 1e-4 })
  checkClasses(where, classes)
  if (layers.length < 2 && options.modules !== 1) {
    throw new OptionError(`${where}: needs at least 2 layers to train them locally, got ${layers.length}; modules: 1 trains end to end`)
  }
  const sizes = moduleSizes(where, layers.length, options.modules ?? layers.length)
  const built = layers.map(({ build, width, stride = 1 }) => build(width, stride))
  let first = 0
  const modules = sizes.map((size, module) => {
    const start = first
    first += size
    const isLast = module === sizes.length - 1
    const context = { layers, index: first - 1, module, modules: sizes.length, classes }
    return { first: start, layers: built.slice(start, first), objective: isLast ? classifierObjective(head) : auxiliary(context) }
  })
  const chain = blockChain(where, modules, optimizer)
  const last = (tensors: LocalLearningState, x: tf.Tensor): tf.Tensor => chain.logits(tensors.modules, x, 'last')[0]

  return {
    classes,
    network: sequential([...built, head]) as Layer,
    prepare: (data, _, checks) => checkExamples(where, data, classes, checks),
    init: (key, sample) => ({ tensors: { modules: chain.init(key, sample.x.shape.slice(1)) }, host: null }),
    step(tensors, batch, key) {
      return tree.tidy(() => {
        const { modules: next, losses } = chain.step(tensors.modules, batch, fold(key, 0))
        const hidden = losses.slice(0, -1).map((loss, m): [string, tf.Tensor] => [`loss/${m}`, loss])
        return { tensors: { modules: next }, metrics: { loss: losses[losses.length - 1], ...Object.fromEntries(hidden) } }
      })
    },
    evaluate: (tensors, { x, y }, weight) => tree.tidy(() => classificationSums(logSoftmax(last(tensors, x)), y, weight)),
    predict: (tensors, inputs) => tf.tidy(() => tf.softmax(last(tensors, inputs as tf.Tensor))),
    exits: (tensors, x) => tf.tidy(() => chain.logits(tensors.modules, x, 'all').map((scores) => tf.softmax(scores))),
    primary({ modules: states }) {
      const part = (name: 'params' | 'state'): Tree => {
        const own = states.map((module) => module[name])
        return tree.clone([...own.flatMap((module) => module.layers), own[own.length - 1].helper])
      }
      return { params: part('params'), state: part('state') }
    },
  }
}

/**
 * A network trained layer by layer, each layer by a local objective of your choice.
 *
 * @returns a classifier for `fit` or {@link fitClassifier}; metrics `loss` (of the classifier) and `loss/m` of every other module m
 * @throws OptionError for fewer than two layers or classes, or modules that don't make up the network; ShapeError when
 *   training on a batch of one example with batch norm
 */
export function localLearning({ auxiliary, ...options }: LocalLearningOptions): LocalLearner {
  return localLearner('localLearning', options, auxiliary)
}
