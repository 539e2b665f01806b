/** What the rivals share: a network of dense layers without biases, as counter-current learning has it, and its update by SGD. */
import { logSoftmax, ShapeError, tree, type Key, type Tree } from '@bpf/core'
import { initializers, type Shape } from '@bpf/core/nn'
import { applyUpdates } from '@bpf/core/optim'
import { fold } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { checkClasses, checkExamples, classificationSums, oneHot, type ClassifierLearner, type LabelledBatch } from '../shared/labelled'
import { activationRule, type ActivationRule, type MirrorActivation } from './activation'
import { checkSizes } from './mirror'
import { counterCurrentOptimizer, settledUpdate, type CounterCurrentUpdate } from './updates'

/** Options of the rivals: the network and the update of {@link counterCurrentLearning}, so that only the errors differ. */
export interface DenseClassifierOptions extends CounterCurrentUpdate {
  /** Number of classes C ≥ 2. */
  classes: number
  /** Widths of the hidden layers. */
  hidden: readonly number[]
  /** φ. Default 'elu'. */
  activation?: MirrorActivation
}

/** Kernels W_l [d_{l−1}, d_l] of the network, other parameters of the method, and the optimizers' states. */
export type DenseClassifierState = {
  kernels: readonly tf.Tensor[]
  extra: readonly tf.Tensor[]
  optimizers: { kernels: Tree; extra: Tree }
}

/** What a rule finds for a batch: gradients of what it trains (from layer `first` on), and its losses. */
export interface RuleGradients {
  kernels: tf.Tensor[]
  extra: tf.Tensor[]
  metrics: Record<string, tf.Tensor>
}

/** A way to train the layers. */
export interface DenseRule {
  /** Draws parameters beside the kernels, for sizes d_0 … d_L. */
  extra?(key: Key, sizes: readonly number[]): tf.Tensor[]
  /** Whether `extra` is trained; else it is fixed. */
  trainsExtra?: boolean
  /** Only the last layer is trained. */
  lastOnly?: boolean
  /** `activations` are a_0 … a_L, `targets` one-hot [n, C]. */
  gradients(
    kernels: readonly tf.Tensor[],
    extra: readonly tf.Tensor[],
    activations: readonly tf.Tensor[],
    targets: tf.Tensor,
    rule: ActivationRule,
    key: Key,
  ): RuleGradients
}

export const times = (a: tf.Tensor, b: tf.Tensor, transposeA = false, transposeB = false): tf.Tensor =>
  tf.matMul(a as tf.Tensor2D, b as tf.Tensor2D, transposeA, transposeB)

/** A dense classifier trained by a rule. */
export function denseClassifier(where: string, options: DenseClassifierOptions, train: DenseRule): ClassifierLearner<DenseClassifierState> {
  const { classes, hidden, activation = 'elu' } = options
  checkClasses(where, classes)
  checkSizes(where, 'hidden', hidden)
  const rule = activationRule(where, activation)
  const plain = { learningRate: 1, momentum: 0, weightDecay: 0, clip: 1, centralise: false, warmUpSteps: 0 }
  const optimizer = counterCurrentOptimizer(where, settledUpdate(options, plain))
  const trained = (kernels: readonly tf.Tensor[]): readonly tf.Tensor[] => (train.lastOnly ? kernels.slice(-1) : kernels)
  const sizesOf = ([inputs]: Shape): number[] => [inputs, ...hidden, classes]

  function forward(kernels: readonly tf.Tensor[], x: tf.Tensor): tf.Tensor[] {
    if (x.rank !== 2 || x.shape[1] !== kernels[0].shape[0]) {
      throw new ShapeError(`${where}: expected x of shape [n, ${kernels[0].shape[0]}], got [${x.shape.join(', ')}]`)
    }
    const activations = [x]
    kernels.forEach((kernel, l) => {
      const z = times(activations[l], kernel)
      activations.push(l === hidden.length ? z : rule.apply(z))
    })
    return activations
  }
  const logits = (kernels: readonly tf.Tensor[], x: tf.Tensor): tf.Tensor => forward(kernels, x)[hidden.length + 1]

  return {
    classes,
    prepare: (data, _, given) => checkExamples(where, data, classes, given),
    init(key, sample) {
      const sizes = sizesOf(sample.x.shape.slice(1))
      const kernels = sizes.slice(1).map((units, l) => initializers.torchDefault(fold(key, l), [sizes[l], units]))
      const extra = train.extra?.(fold(key, sizes.length), sizes) ?? []
      const states = { kernels: optimizer.init(trained(kernels)), extra: train.trainsExtra ? optimizer.init(extra) : [] }
      return { tensors: { kernels, extra, optimizers: states }, host: null }
    },
    step({ kernels, extra, optimizers }, { x, y }: LabelledBatch, key) {
      return tree.tidy(() => {
        const grads = train.gradients(kernels, extra, forward(kernels, x), oneHot(y, classes), rule, key)
        const own = optimizer.update(grads.kernels as readonly tf.Tensor[], optimizers.kernels as readonly Tree[], trained(kernels))
        const updated = applyUpdates(trained(kernels), own.updates)
        const fixed = kernels.slice(0, kernels.length - updated.length).map((kernel) => tf.clone(kernel))
        const others = train.trainsExtra
          ? optimizer.update(grads.extra as readonly tf.Tensor[], optimizers.extra as readonly Tree[], extra)
          : undefined
        const next = {
          kernels: [...fixed, ...updated],
          extra: others === undefined ? tree.clone(extra) : applyUpdates(extra, others.updates),
          optimizers: { kernels: own.state as Tree, extra: others === undefined ? [] : (others.state as Tree) },
        }
        return { tensors: next, metrics: grads.metrics }
      })
    },
    evaluate: ({ kernels }, { x, y }, weight) => tree.tidy(() => classificationSums(logSoftmax(logits(kernels, x)), y, weight)),
    predict: ({ kernels }, inputs) => tf.tidy(() => tf.softmax(logits(kernels, inputs as tf.Tensor))),
  }
}
