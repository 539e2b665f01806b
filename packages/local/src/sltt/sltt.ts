/**
 * Q. Meng, M. Xiao, S. Yan, Y. Wang, Z. Lin, Z.-Q. Luo, "Towards Memory- and Time-Efficient Backpropagation for Training Spiking
 * Neural Networks", ICCV 2023, arXiv 2302.14311. Spiking networks are recurrent in time; the part of their gradient that
 * flows through time is small, and SLTT leaves it out: each time step has an ordinary backward pass in space, with the
 * potentials of the step before as constants. Memory does not grow with the number of steps; with SLTT-K, which goes
 * backward at K random steps only, time hardly does.
 */
import { logSoftmax, OptionError, ShapeError, tree, type Key, type Tree } from '@bpf/core'
import { identity, type Layer } from '@bpf/core/nn'
import { applyUpdates, sgd, type Optimizer } from '@bpf/core/optim'
import { fold, uniform } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { checkClasses, checkExamples, classificationSums, type ClassifierLearner } from '../shared/labelled'
import { resetPotentials, spikeRates } from '../shared/lif'
import {
  frameAt,
  gradientsInSpace,
  gradientsThroughTime,
  spikingForward,
  stepInSpace,
  type SpikingGradients,
  type SpikingParts,
  type SpikingStep,
  type SpikingTask,
} from './gradients'

/** Options of {@link sltt}. */
export interface SlttOptions {
  /** From the input of a step to logits [n, C]: layers of `@bpf/core/nn` with {@link lif} between them. */
  network: Layer
  /**
   * Static input only: what comes before the first spikes (a dense layer and batch norm). It runs once, and its output is the
   * input of every step. Default: nothing, x itself.
   */
  encoder?: Layer
  /** Number of classes C ≥ 2. */
  classes: number
  /** Time steps T. Default 6. */
  steps?: number
  /** `sltt` (default), `slttk` at K random steps of each minibatch, or `bptt`, backpropagation through time: the baseline. */
  mode?: 'sltt' | 'slttk' | 'bptt'
  /** K of `slttk`. Default 2. */
  trainedSteps?: number
  /**
   * Images [n, …] shown at every step (default), or frames [n, T, …]. Must be said where it could be either: x of rank 3 or
   * more whose second axis is T long.
   */
  input?: 'static' | 'frames'
  /** λ_m, weight of the squared error in the loss of a step. Default 0.05. */
  mseWeight?: number
  /** Target of the squared error: a constant for every logit (default 1), or the one-hot label. */
  mseTarget?: number | 'onehot'
  /** Default SGD with rate 0.1 and momentum 0.9. */
  optimizer?: Optimizer
}

/** Parameters and states of the encoder and the network, and of the optimizer. */
export type SlttState = { params: SpikingParts; states: SpikingParts; optimizer: Tree }

/** A spiking classifier. */
export type SpikingClassifier = ClassifierLearner<SlttState> & {
  /** Logits o[t] of every step [T, n, C]. */
  stepLogits(tensors: SlttState, x: tf.Tensor): tf.Tensor
  /** Mean spikes of each unit and step in every lif layer, by its path in the network's state. */
  firingRates(tensors: SlttState, x: tf.Tensor): Record<string, tf.Tensor>
  /** Loss and gradients of a minibatch, as a step would take them. */
  gradients(tensors: SlttState, batch: { x: tf.Tensor; y: tf.Tensor }, key?: Key): SpikingGradients
}

function readOptions({
  network,
  encoder,
  classes,
  steps = 6,
  mode = 'sltt',
  trainedSteps = Math.min(2, steps),
  input,
  mseWeight = 0.05,
  mseTarget = 1,
  optimizer = sgd({ learningRate: 0.1, momentum: 0.9 }),
}: SlttOptions) {
  checkClasses('sltt', classes)
  if (!Number.isInteger(steps) || steps < 1) throw new OptionError(`sltt: steps must be an integer of at least 1, got ${steps}`)
  if (!['sltt', 'slttk', 'bptt'].includes(mode)) throw new OptionError(`sltt: unknown mode '${String(mode)}'; expected sltt, slttk or bptt`)
  if (!Number.isInteger(trainedSteps) || trainedSteps < 1 || trainedSteps > steps) {
    throw new OptionError(`sltt: trainedSteps must be an integer in [1, ${steps}], got ${trainedSteps}`)
  }
  if (input !== undefined && input !== 'static' && input !== 'frames') {
    throw new OptionError(`sltt: input must be 'static' or 'frames', got '${String(input)}'`)
  }
  if (input === 'frames' && encoder !== undefined) {
    throw new OptionError(`sltt: encoder runs once, for input 'static'; with frames put its layers at the front of network`)
  }
  if (!(mseWeight >= 0 && mseWeight <= 1)) throw new OptionError(`sltt: mseWeight must be in [0, 1], got ${mseWeight}`)
  if (mseTarget !== 'onehot' && !Number.isFinite(mseTarget)) {
    throw new OptionError(`sltt: mseTarget must be a number or 'onehot', got ${String(mseTarget)}`)
  }
  const loss =
    mseTarget === 'onehot'
      ? { lambda: mseWeight, mean: 1, target: 'onehot' as const }
      : { lambda: mseWeight, mean: mseTarget, target: 'constant' as const }
  const task: SpikingTask = { encoder: encoder ?? (identity() as Layer), network, steps, loss, input: input ?? 'static' }
  return { task, isInputSaid: input !== undefined, classes, mode, trainedSteps, optimizer }
}

/** K of T steps drawn without replacement: 1 where a step trains [T]. */
function drawSteps(key: Key, steps: number, count: number): tf.Tensor {
  // TensorFlow.js has no one-hot rows of one column.
  if (count === steps) return tf.ones([steps])
  const { indices } = tf.topk(uniform(key, [steps]) as tf.Tensor1D, count)
  return tf.sum(tf.oneHot(indices as tf.Tensor1D, steps), 0)
}

/** State leaves as they are kept between batches: potentials have no samples. */
function rested(states: SpikingParts): SpikingParts {
  return { encoder: states.encoder, network: resetPotentials(states.network, 1) }
}

/**
 * A spiking classifier trained by SLTT, SLTT-K or backpropagation through time. The class is that of the largest Σ_t o[t].
 *
 * @returns a classifier for `fit` or {@link fitClassifier}
 * @throws OptionError for an option out of range; ShapeError for frames of another number of steps
 *
 * @example
 * ```ts
 * import { fitClassifier, lif, sltt } from '@bpf/local'
 * import { batchNorm, dense, sequential } from '@bpf/core/nn'
 *
 * const method = sltt({
 *   encoder: sequential([dense(16), batchNorm()]),
 *   network: sequential([lif(), dense(2)]),
 *   classes: 2,
 * })
 * const model = await fitClassifier(method, [[0, 1], [1, 0], [0, 0.8], [0.9, 0]], [0, 1, 0, 1], { epochs: 50, batchSize: 4 })
 * console.log(await model.predict([[0, 1]]))
 * model.dispose()
 * ```
 */
export function sltt(options: SlttOptions): SpikingClassifier {
  const { task, isInputSaid, classes, mode, trainedSteps, optimizer } = readOptions(options)

  function checkInput(x: tf.Tensor): void {
    if (!isInputSaid && x.rank > 2 && x.shape[1] === task.steps) {
      const shape = x.shape.slice(1).join(', ')
      throw new OptionError(
        `sltt: x [n, ${shape}] may be an image or T=${task.steps} frames; say which: input: 'static' or input: 'frames'`,
      )
    }
    if (task.input === 'static') return
    if (x.shape[1] !== task.steps) throw new ShapeError(`sltt: expected T=${task.steps} time steps, got ${String(x.shape[1])}`)
  }

  function gradientsBy<Result extends SpikingStep>(
    inSpace: (...args: Parameters<typeof stepInSpace>) => Result,
    { params, states }: SlttState,
    { x, y }: { x: tf.Tensor; y: tf.Tensor },
    key: Key | undefined,
  ): Result | SpikingGradients {
    checkInput(x)
    const running = { training: true, key: key && fold(key, 0) }
    if (mode === 'bptt') return gradientsThroughTime(task, params, states, x, y, running)
    if (mode === 'sltt') return inSpace(task, params, states, x, y, running)
    if (key === undefined) throw new OptionError('sltt: slttk draws the steps that train, so gradients needs a key')
    return inSpace(task, params, states, x, y, running, drawSteps(fold(key, 1), task.steps, trainedSteps))
  }

  function forward({ params, states }: SlttState, x: tf.Tensor) {
    checkInput(x)
    return spikingForward(task, params, states, x, { training: false })
  }
  const summed = (tensors: SlttState, x: tf.Tensor): tf.Tensor => tf.sum(forward(tensors, x).logits, 0)

  return {
    classes,
    prepare: (data, _, checks) => checkExamples('sltt', data, classes, checks),
    init(key, sample) {
      const shape = sample.x.shape.slice(task.input === 'frames' ? 2 : 1)
      checkInput(sample.x)
      const encoder = task.encoder.init(fold(key, 0), shape)
      const network = task.network.init(fold(key, 1), encoder.outputShape)
      if (network.outputShape.length !== 1 || network.outputShape[0] !== classes) {
        throw new ShapeError(`sltt: the network's output is [${network.outputShape.join(', ')}], expected [${classes}] logits`)
      }
      const params = { encoder: encoder.params, network: network.params }
      return {
        tensors: { params, states: { encoder: encoder.state, network: network.state }, optimizer: optimizer.init(params) },
        host: null,
      }
    },
    step(tensors, batch, key) {
      return tree.tidy(() => {
        const { loss, grads, states } = gradientsBy(stepInSpace, tensors, batch, key)
        const { updates, state } = optimizer.update(grads, tensors.optimizer, tensors.params)
        return {
          tensors: { params: applyUpdates(tensors.params, updates), states: rested(states), optimizer: state },
          // With SLTT-K the mean of the steps that train stands for that of all, so that it can be compared.
          metrics: { loss: mode === 'slttk' ? tf.mul(loss, task.steps / trainedSteps) : loss },
        }
      })
    },
    evaluate: (tensors, { x, y }, weight) => tree.tidy(() => classificationSums(logSoftmax(summed(tensors, x)), y, weight)),
    predict: (tensors, inputs) => tf.tidy(() => tf.softmax(summed(tensors, inputs as tf.Tensor))),
    stepLogits: (tensors, x) => tf.tidy(() => forward(tensors, x).logits),
    firingRates(tensors, x) {
      return tree.tidy(() => {
        const { params, states } = tensors
        checkInput(x)
        const current = task.input === 'static' ? task.encoder.apply(params.encoder, states.encoder, x, { training: false }).y : undefined
        let network: Tree = resetPotentials(states.network, x.shape[0])
        let sums: Record<string, tf.Tensor> = {}
        for (let t = 0; t < task.steps; t++) {
          const input = current ?? frameAt(x, tf.scalar(t, 'int32'))
          network = task.network.apply(params.network, network, input, { training: false }).state
          const rates = spikeRates(network)
          sums = Object.fromEntries(Object.entries(rates).map(([path, rate]) => [path, t === 0 ? rate : tf.add(sums[path], rate)]))
        }
        return tree.map((sum) => tf.div(sum, task.steps), sums)
      })
    },
    gradients: (tensors, batch, key) => tree.tidy(() => gradientsBy(gradientsInSpace, tensors, batch, key)),
  }
}
