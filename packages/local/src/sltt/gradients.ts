/** Gradients of spiking networks: through time, step by step in space, and in space at some steps only. */
import { cond, scan, softmaxCrossEntropy, tree, valueAndGradWithAux, vjp, type Key, type Tree } from '@bpf/core'
import type { Layer } from '@bpf/core/nn'
import * as tf from '@tensorflow/tfjs-core'
import { oneHot } from '../shared/labelled'
import { resetPotentials } from '../shared/lif'

/** What is trained: parameters or states of the encoder and of the spiking network. */
export type SpikingParts = { encoder: Tree; network: Tree }

/** ℓ = (1 − λ_m)·cross-entropy + λ_m·MSE against a constant or the one-hot label, at one step. */
export interface StepLoss {
  lambda: number
  mean: number
  target: 'constant' | 'onehot'
}

/** What a gradient is taken of. */
export interface SpikingTask {
  /** From static x to the input of every step; not used for frames. */
  encoder: Layer
  /** From the input of a step to logits [n, C]; its `lif` layers carry potentials from step to step. */
  network: Layer
  /** T */
  steps: number
  loss: StepLoss
  /** x [n, …], shown at every step, or frames x [n, T, …]. */
  input: 'static' | 'frames'
}

/** What a training step needs of a minibatch. */
export type SpikingStep = {
  /** Σ_t ℓ(o[t], y)/T over the steps that train. */
  loss: tf.Tensor
  /** Its gradients. */
  grads: SpikingParts
  /** States after the last step. */
  states: SpikingParts
}

/** Loss, gradients and states of a minibatch, and what every step put out. */
export type SpikingGradients = SpikingStep & {
  /** o[t] [T, n, C] */
  logits: tf.Tensor
  /** ℓ(o[t], y)/T of every step [T], trained or not. */
  lossPerStep: tf.Tensor
}

/** Dropout keeps its mask over the steps of a sample, so every step gets the same key. */
export type StepOptions = { training: boolean; key?: Key }

/** ℓ(o, y), the mean over the batch. */
export function stepLoss(logits: tf.Tensor, y: tf.Tensor, { lambda, mean, target }: StepLoss): tf.Tensor {
  const entropy = tf.mean(softmaxCrossEntropy(tf.cast(y, 'int32'), logits))
  if (lambda === 0) return entropy
  const wanted = target === 'onehot' ? oneHot(y, logits.shape[1] ?? 1) : tf.scalar(mean)
  return tf.add(tf.mul(entropy, 1 - lambda), tf.mul(tf.mean(tf.square(tf.sub(logits, wanted))), lambda))
}

/** What is a step's own: its index, and whether it trains. */
type StepInput = { t: tf.Tensor; trains?: tf.Tensor }

const indices = (steps: number): tf.Tensor => tf.range(0, steps, 1, 'int32')
const batchOf = (x: tf.Tensor): number => x.shape[0] ?? 0

/** The frame of step t from x [n, T, …]. Taken where it is used: a copy with the time first would grow with T. */
export function frameAt(x: tf.Tensor, t: tf.Tensor): tf.Tensor {
  return tf.squeeze(tf.gather(x, tf.reshape(t, [1]) as tf.Tensor1D, 1), [1])
}

/** The input of every step, and the encoder's new state. */
function encode(task: SpikingTask, params: Tree, states: SpikingParts, x: tf.Tensor, options: StepOptions) {
  if (task.input === 'frames') return { y: tf.scalar(0), state: tree.clone(states.encoder) }
  return task.encoder.apply(params, states.encoder, x, options)
}

/**
 * All steps forward.
 *
 * @returns logits o[t] [T, n, C] and the states after the last step
 */
export function spikingForward(
  task: SpikingTask,
  params: SpikingParts,
  states: SpikingParts,
  x: tf.Tensor,
  options: StepOptions,
): { logits: tf.Tensor; states: SpikingParts } {
  const { y: current, state } = encode(task, params.encoder, states, x, options)
  const { carry, ys } = scan(
    (network: Tree, { t }: { t: tf.Tensor }) => {
      const step = task.network.apply(params.network, network, task.input === 'frames' ? frameAt(x, t) : current, options)
      return { carry: step.state, y: step.y }
    },
    resetPotentials(states.network, batchOf(x)),
    { t: indices(task.steps) },
  )
  return { logits: ys, states: { encoder: state, network: carry } }
}

/**
 * Backpropagation through time: one backward pass over all steps, with the activations of all of them in memory. The steps
 * are written out: a differentiated `scan` would keep potentials only and compute every step a second time.
 */
export function gradientsThroughTime(
  task: SpikingTask,
  params: SpikingParts,
  states: SpikingParts,
  x: tf.Tensor,
  y: tf.Tensor,
  options: StepOptions,
): SpikingGradients {
  const { value, grads, aux } = valueAndGradWithAux((at: SpikingParts) => {
    const { y: current, state } = encode(task, at.encoder, states, x, options)
    let network = resetPotentials(states.network, batchOf(x))
    const logits: tf.Tensor[] = []
    for (let t = 0; t < task.steps; t++) {
      const input = task.input === 'frames' ? frameAt(x, tf.scalar(t, 'int32')) : current
      const step = task.network.apply(at.network, network, input, options)
      network = step.state
      logits.push(step.y)
    }
    const perStep = tf.stack(logits.map((step) => tf.div(stepLoss(step, y, task.loss), task.steps)))
    return { loss: tf.sum(perStep), aux: { states: { encoder: state, network }, logits: tf.stack(logits), perStep } }
  })(params)
  return { loss: value, grads, states: aux.states, logits: aux.logits, lossPerStep: aux.perStep }
}

/** What goes from step to step: potentials, sums of gradients in the parameters and in the output of an encoder that learns, loss. */
type Carry = { network: Tree; grads: Tree; slope: tf.Tensor; loss: tf.Tensor }

/** What is kept of each step, where it is asked for. */
type Records = { logits?: tf.Tensor; loss?: tf.Tensor }

/** All steps in space. Without records, steps that do not train compute neither logits nor loss, and nothing is kept by step. */
function inSpace(
  task: SpikingTask,
  params: SpikingParts,
  states: SpikingParts,
  x: tf.Tensor,
  y: tf.Tensor,
  options: StepOptions,
  trains: tf.Tensor | undefined,
  records: boolean,
): SpikingStep & { ys: Records } {
  // Only an encoder that learns needs the gradient in what it puts out.
  const encoderLearns = task.input === 'static' && tree.leaves(params.encoder).length > 0
  const encoded = encode(task, params.encoder, states, x, options)
  const current = encoded.y
  const lossOf = (logits: tf.Tensor): tf.Tensor => tf.div(stepLoss(logits, y, task.loss), task.steps)

  type Step = { carry: Carry; y: Records }
  const train = (before: Carry, input: tf.Tensor): Step => {
    const { value, grads, aux } = valueAndGradWithAux((at: { network: Tree; input?: tf.Tensor }) => {
      const { y: logits, state } = task.network.apply(at.network, before.network, at.input ?? input, options)
      return { loss: lossOf(logits), aux: { logits, state } }
    })({ network: params.network, ...(encoderLearns && { input }) })
    const carry = {
      network: aux.state,
      grads: tree.map((sum, g) => tf.add(sum, g), before.grads, grads.network),
      slope: grads.input === undefined ? before.slope.clone() : tf.add(before.slope, grads.input),
      loss: tf.add(before.loss, value),
    }
    return { carry, y: records ? { logits: aux.logits, loss: value } : {} }
  }
  const pass = (before: Carry, input: tf.Tensor): Step => {
    const { y: logits, state } = task.network.apply(params.network, before.network, input, options)
    const carry = { network: state, grads: tree.clone(before.grads), slope: before.slope.clone(), loss: before.loss.clone() }
    return { carry, y: records ? { logits, loss: lossOf(logits) } : {} }
  }

  const first: Carry = {
    network: resetPotentials(states.network, batchOf(x)),
    grads: tree.zerosLike(params.network),
    slope: encoderLearns ? tf.zerosLike(current) : tf.scalar(0),
    loss: tf.scalar(0),
  }
  const inputs: StepInput = { t: indices(task.steps), ...(trains !== undefined && { trains }) }
  const { carry, ys } = scan(
    (before: Carry, { t, trains: isTrained }: StepInput) => {
      const input = task.input === 'frames' ? frameAt(x, t) : current
      if (isTrained === undefined) return train(before, input)
      return cond(
        tf.greater(isTrained, 0),
        () => train(before, input),
        () => pass(before, input),
      )
    },
    first,
    inputs as Tree as StepInput & Tree,
  )
  const encoder = encoderLearns
    ? vjp((p: Tree) => task.encoder.apply(p, states.encoder, x, options).y, params.encoder).pullback(carry.slope)
    : tree.zerosLike(params.encoder)
  return {
    loss: carry.loss,
    grads: { encoder, network: carry.grads },
    states: { encoder: encoded.state, network: carry.network },
    ys,
  }
}

/**
 * SLTT: at every step the gradient in space alone, with the potentials of the step before as constants. A step's activations
 * are free before the next one begins.
 *
 * @param trains - 1 where a step trains, else 0 [T] (SLTT-K); all train without it
 */
export function stepInSpace(
  task: SpikingTask,
  params: SpikingParts,
  states: SpikingParts,
  x: tf.Tensor,
  y: tf.Tensor,
  options: StepOptions,
  trains?: tf.Tensor,
): SpikingStep {
  const { loss, grads, states: after } = inSpace(task, params, states, x, y, options, trains, false)
  return { loss, grads, states: after }
}

/** {@link stepInSpace} with the logits and the loss of every step. */
export function gradientsInSpace(
  task: SpikingTask,
  params: SpikingParts,
  states: SpikingParts,
  x: tf.Tensor,
  y: tf.Tensor,
  options: StepOptions,
  trains?: tf.Tensor,
): SpikingGradients {
  const { ys, ...step } = inSpace(task, params, states, x, y, options, trains, true)
  const { logits, loss } = ys as Required<Records>
  return { ...step, logits, lossPerStep: loss }
}
