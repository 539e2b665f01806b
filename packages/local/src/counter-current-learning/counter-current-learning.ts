/**
 * Kao and Hariharan, "Counter-Current Learning: A Biologically Plausible Dual Network Approach for Deep Learning", 2024,
 * arXiv 2409.19841.
 *
 * A forward network maps inputs to logits, a feedback network of mirrored sizes and its own weights maps labels back to
 * inputs. At every layer a local loss pulls activations and signals together, and trains one layer of each network:
 *   a_0 = x, a_l = φ(F_l·sg(a_{l−1})), a_L linear;   c_L = one-hot, c_{l−1} = φ(B_l·sg(c_l)), c_0 linear;
 *   loss = Σ_{l=0}^{L−1} ℓ_l(a_l, c_l) + cross-entropy(a_L, y), with sg the stop of gradients.
 * The feedback network runs on the C one-hot vectors once a step, not on each example. As in the reference code: no biases
 * (but in strided convolutions), and the pair (x, c_0) has its loss, which trains B_1.
 */
import { logSoftmax, OptionError, ShapeError, tree, type Key, type Tree } from '@bpf/core'
import { initializers, type Empty, type Initializer, type Layer, type Shape } from '@bpf/core/nn'
import { applyUpdates } from '@bpf/core/optim'
import { fold } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { checkClasses, checkExamples, classificationSums, type ClassifierLearner, type LabelledBatch } from '../shared/labelled'
import { activationRule, type MirrorActivation } from './activation'
import {
  feedbackSignals,
  forwardActivations,
  forwardLogits,
  localGradients,
  type CounterCurrentGradients,
  type BothNetworks,
} from './local-step'
import { checkInputs, checkSizes, mirrorLayers, type MirrorLayer } from './mirror'
import { checkLocalLoss, checkWeights, type LocalLoss } from './pair-loss'
import { counterCurrentOptimizer, settledUpdate, type CounterCurrentUpdate } from './updates'

/**
 * Options of {@link counterCurrentLearning}. Defaults in brackets are those of networks with convolutions. The update's: rate 1,
 * momentum 0 [0.8], decay 0 [1e-6], clip 1 [0.3], centralised [yes], warm-up none [100 steps]; the reference anneals the rate
 * of convolutional networks by `epochCosine({ from: 1, to: 1e-3, … })`.
 */
export interface CounterCurrentLearningOptions extends CounterCurrentUpdate {
  /** Number of classes C ≥ 2. */
  classes: number
  /** Widths of dense hidden layers. Default five times 256 [none]. */
  hidden?: readonly number[]
  /** Channels of convolutions 3×3 in front, each with φ and halving the image. Default none: rows [n, d]. */
  channels?: readonly number[]
  /** Halve by max-pooling after φ (default), or by the convolution's stride; strided ones have biases, at first zero. */
  downsampling?: 'pool' | 'stride'
  /** φ. Default 'elu'. */
  activation?: MirrorActivation
  /** Default 'product' ['normalised']. */
  localLoss?: LocalLoss
  /** λ_C. Default 0.5 [1]. */
  lambdaC?: number
  /** λ_s of 'normalised'. Default 0.5. */
  lambdaS?: number
  /**
   * Leave rows out of the local losses whose class has a probability above 0.9. That must be known before the first loss: a
   * compiled step then keeps the activations of all layers, an eager one goes forward twice. Default false. */
  filterTarget?: boolean
  /** Draws the kernels of both networks. Default PyTorch's, uniform on ±1/√fanIn. */
  kernelInit?: Initializer
  /** Where the feedback network is updated otherwise than the forward network. */
  feedback?: CounterCurrentUpdate
}

/** Parameters of both networks and the states of their two optimizers. */
export type CounterCurrentState = { params: BothNetworks; optimizers: BothNetworks }

/** A classifier with what lies between its layers. Besides `loss` its metrics are `crossEntropy` and `pair0` … `pair{L−1}`. */
export interface CounterCurrentLearner extends ClassifierLearner<CounterCurrentState> {
  /** The forward network alone, for a baseline of the same architecture. */
  readonly network: Layer<readonly Tree[], Empty>
  /**
   * @param x - [n, ...inputShape]
   * @returns activations a_0 = x, a_1, …, a_L (logits)
   */
  activations(tensors: CounterCurrentState, x: tf.Tensor): tf.Tensor[]
  /**
   * @param inputShape - of one example
   * @returns signals c_0, …, c_L = I of all classes, [C, ...]
   */
  signals(tensors: CounterCurrentState, inputShape: Shape): tf.Tensor[]
  /** Gradients that a step would hand to the two optimizers, in the structure of `tensors.params`, and the losses before it. */
  gradients(tensors: CounterCurrentState, batch: LabelledBatch): CounterCurrentGradients
}

const where = 'counterCurrentLearning'

/** The reference code's settings of dense networks, and of those with convolutions. */
const dense = {
  localLoss: 'product',
  lambdaC: 0.5,
  update: { learningRate: 1, momentum: 0, weightDecay: 0, clip: 1, centralise: false, warmUpSteps: 0 },
} as const
const convolutional = {
  localLoss: 'normalised',
  lambdaC: 1,
  update: { learningRate: 1, momentum: 0.8, weightDecay: 1e-6, clip: 0.3, centralise: true, warmUpSteps: 100 },
} as const

/**
 * Counter-current learning of a classifier: dense layers, or convolutions with dense layers behind.
 *
 * @returns a classifier for `fit` or `fitClassifier`: x [n, d] or [n, h, w, c] float, y [n] int
 * @throws OptionError for sizes, losses or activations there are not; ShapeError for images that can't be halved so often,
 *   for inputs of another size than the first layer's, for a batch of zero rows
 *
 * @example
 * ```ts
 * import { counterCurrentLearning, fitClassifier } from '@bpf/local'
 *
 * const X = [[0, 0], [0, 1], [1, 0], [1, 1]]
 * const y = [0, 0, 1, 1]
 * const method = counterCurrentLearning({ classes: 2, hidden: [16, 16], learningRate: 0.1 })
 * const model = await fitClassifier(method, X, y, { epochs: 50, batchSize: 4 })
 * console.log(await model.predict(X))
 * model.dispose()
 * ```
 */
export function counterCurrentLearning(options: CounterCurrentLearningOptions): CounterCurrentLearner {
  const { classes, channels = [], activation = 'elu', lambdaS = 0.5, filterTarget = false, downsampling = 'pool' } = options
  const defaults = channels.length > 0 ? convolutional : dense
  const { hidden = channels.length > 0 ? [] : [256, 256, 256, 256, 256], kernelInit = initializers.torchDefault } = options
  const { localLoss = defaults.localLoss, lambdaC = defaults.lambdaC } = options
  checkClasses(where, classes)
  checkSizes(where, 'hidden', hidden)
  checkSizes(where, 'channels', channels)
  checkLocalLoss(where, localLoss)
  checkWeights(where, { lambdaC, lambdaS })
  if (!['pool', 'stride'].includes(downsampling)) {
    throw new OptionError(`${where}: downsampling must be 'pool' or 'stride', got '${String(downsampling)}'`)
  }
  const rule = activationRule(where, activation)
  const update = settledUpdate(options, defaults.update)
  const optimizers = {
    forward: counterCurrentOptimizer(where, update),
    feedback: counterCurrentOptimizer(where, settledUpdate(options.feedback ?? {}, update)),
  }
  const stepOptions = { localLoss, lambdaC, lambdaS, filterTarget }
  const build = (inputShape: Shape): MirrorLayer[] =>
    mirrorLayers(where, inputShape, { channels, hidden, classes, downsampling }, rule, kernelInit)
  const layersFor = (forward: readonly Tree[], x: tf.Tensor): MirrorLayer[] => {
    const layers = build(x.shape.slice(1))
    checkInputs(where, layers, forward)
    return layers
  }
  const logitsOf = (forward: readonly Tree[], x: tf.Tensor): tf.Tensor => forwardLogits(layersFor(forward, x), forward, x)
  const initForward = (layers: readonly MirrorLayer[], key: Key): Tree[] => layers.map(({ forward }, l) => forward.init(fold(key, l)))
  const gradients = ({ params }: CounterCurrentState, batch: LabelledBatch): CounterCurrentGradients => {
    const { x, y } = batch
    if (x.shape[0] === 0) throw new ShapeError(`${where}: the batch has zero rows; expected at least one example`)
    if (y.shape[0] !== x.shape[0]) throw new ShapeError(`${where}: x has ${x.shape[0]} examples, y ${y.shape[0]}`)
    return localGradients(layersFor(params.forward, x), params, batch, stepOptions)
  }

  return {
    classes,
    network: {
      init(key, inputShape) {
        return { params: initForward(build(inputShape), key), state: {}, outputShape: [classes] }
      },
      apply: (params, _, x) => ({ y: logitsOf(params, x), state: {} }),
    },
    prepare: (data, _, given) => checkExamples(where, data, classes, given),
    init(key, sample) {
      const layers = build(sample.x.shape.slice(1))
      const params = {
        forward: initForward(layers, fold(key, 0)),
        feedback: layers.map(({ feedback }, l) => feedback.init(fold(fold(key, 1), l))),
      }
      const states = { forward: optimizers.forward.init(params.forward), feedback: optimizers.feedback.init(params.feedback) }
      return { tensors: { params, optimizers: states }, host: null }
    },
    step(tensors, batch) {
      return tree.tidy(() => {
        const { params } = tensors
        const { grads, pairLosses, crossEntropy } = gradients(tensors, batch)
        const forward = optimizers.forward.update(grads.forward, tensors.optimizers.forward, params.forward)
        const feedback = optimizers.feedback.update(grads.feedback, tensors.optimizers.feedback, params.feedback)
        const next = {
          params: applyUpdates<BothNetworks>(params, { forward: forward.updates, feedback: feedback.updates }),
          optimizers: { forward: forward.state, feedback: feedback.state },
        }
        const pairs = Object.fromEntries(pairLosses.map((loss, l) => [`pair${l}`, loss]))
        return { tensors: next, metrics: { loss: tf.addN([...pairLosses, crossEntropy]), crossEntropy, ...pairs } }
      })
    },
    evaluate: ({ params }, { x, y }, weight) => tree.tidy(() => classificationSums(logSoftmax(logitsOf(params.forward, x)), y, weight)),
    predict: ({ params }, inputs) => tf.tidy(() => tf.softmax(logitsOf(params.forward, inputs as tf.Tensor))),
    activations: ({ params }, x) => tree.tidy(() => forwardActivations(layersFor(params.forward, x), params.forward, tf.clone(x))),
    signals: ({ params }, inputShape) => tree.tidy(() => feedbackSignals(build(inputShape), params.feedback)),
    gradients: (tensors, batch) => tree.tidy(() => gradients(tensors, batch)),
  }
}
