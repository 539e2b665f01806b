/** One pass of counter-current learning: signals of all classes down, then layer by layer up, each layer learning before the next. */
import type { Tree } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'
import { oneHot, type LabelledBatch } from '../shared/labelled'
import { scoped, type MirrorLayer } from './mirror'
import { pairLoss, unsolvedRows, type PairLoss, type PairLossOptions } from './pair-loss'

/** What belongs to the layers l = 1 … L of both networks, in the order of l: kernels F_l, and B_l from c_l to c_{l−1}. */
export type BothNetworks = { forward: readonly Tree[]; feedback: readonly Tree[] }

/** The local losses with their choices. */
export interface LocalStepOptions extends PairLossOptions {
  /** Leaves out rows that are solved already. */
  filterTarget: boolean
}

/** Gradients of both networks, the losses ℓ_0 … ℓ_{L−1} of the pairs and the cross-entropy ℓ_L. */
export type CounterCurrentGradients = { grads: BothNetworks; pairLosses: tf.Tensor[]; crossEntropy: tf.Tensor }

/** Activations a_0 … a_L of a batch. */
export function forwardActivations(layers: readonly MirrorLayer[], forward: readonly Tree[], x: tf.Tensor): tf.Tensor[] {
  const activations = [x]
  layers.forEach((layer, l) => activations.push(layer.forward.apply(forward[l], activations[l])))
  return activations
}

/** The logits a_L alone: activations are freed on the way. */
export function forwardLogits(layers: readonly MirrorLayer[], forward: readonly Tree[], x: tf.Tensor): tf.Tensor {
  return layers.reduce((a, layer, l) => {
    const next = layer.forward.apply(forward[l], a)
    if (a !== x) a.dispose()
    return next
  }, x)
}

/** Signals c_0 … c_L of all classes, [C, ...]. They cost what C examples cost, whatever the batch. */
export function feedbackSignals(layers: readonly MirrorLayer[], feedback: readonly Tree[]): tf.Tensor[] {
  const classes = layers[layers.length - 1].outputShape[0]
  let signal: tf.Tensor = tf.eye(classes)
  const signals = [signal]
  for (let l = layers.length - 1; l >= 0; l--) {
    signal = layers[l].feedback.apply(feedback[l], signal)
    signals.unshift(signal)
  }
  return signals
}

const rows = (x: tf.Tensor): tf.Tensor => (x.rank === 2 ? x : tf.reshape(x, [x.shape[0], -1]))

/**
 * Gradients of Σ_l ℓ_l with a stop at every layer's input. Pair l gives F_l and B_{l+1} theirs and nothing to the others, so
 * both are known as soon as a_l is, and a_{l−1} is not needed any more.
 */
export function localGradients(
  layers: readonly MirrorLayer[],
  { forward, feedback }: BothNetworks,
  { x, y }: LabelledBatch,
  options: LocalStepOptions,
): CounterCurrentGradients {
  const last = layers.length - 1
  const targets = oneHot(y, layers[last].outputShape[0])
  const signals = feedbackSignals(layers, feedback)
  const mask = options.filterTarget ? scoped(() => unsolvedRows(forwardLogits(layers, forward, x), targets)) : undefined
  const compare = (a: tf.Tensor, l: number): PairLoss => pairLoss(rows(a), rows(signals[l]), targets, options, mask)
  const feedbackGradient = (slope: tf.Tensor, l: number): Tree =>
    layers[l].feedback.learn(feedback[l], signals[l + 1], (c) => ({ slope: tf.reshape(slope, c.shape), aux: [] }), signals[l]).gradient

  const bottom = scoped(() => {
    const { loss, slopeB } = compare(x, 0)
    return { loss, gradient: feedbackGradient(slopeB, 0) }
  })
  const [pairLosses, feedbackGrads, forwardGrads] = [[bottom.loss], [bottom.gradient], [] as Tree[]]
  let a = x
  for (let l = 0; l < last; l++) {
    const learnt = scoped(() => {
      const {
        y: next,
        gradient,
        aux,
      } = layers[l].forward.learn(forward[l], a, (value) => {
        const { loss, slopeA, slopeB } = compare(value, l + 1)
        return { slope: tf.reshape(slopeA, value.shape), aux: { loss, slopeB } }
      })
      return { next, gradient, loss: aux.loss, feedback: feedbackGradient(aux.slopeB, l + 1) }
    })
    if (a !== x) a.dispose()
    a = learnt.next
    forwardGrads.push(learnt.gradient)
    feedbackGrads.push(learnt.feedback)
    pairLosses.push(learnt.loss)
  }
  const top = scoped(() => {
    const { gradient, aux } = layers[last].forward.learn(forward[last], a, (logits) => crossEntropySlope(logits, targets))
    return { gradient, loss: aux }
  })
  if (a !== x) a.dispose()
  return { grads: { forward: [...forwardGrads, top.gradient], feedback: feedbackGrads }, pairLosses, crossEntropy: top.loss }
}

/** Mean cross-entropy of softmax(logits) and one-hot targets as `aux`, and its gradient in the logits. */
export function crossEntropySlope(logits: tf.Tensor, targets: tf.Tensor): { slope: tf.Tensor; aux: tf.Tensor } {
  const shifted = tf.sub(logits, tf.max(logits, 1, true))
  const exps = tf.exp(shifted)
  const sums = tf.sum(exps, 1, true)
  const rowsOfLosses = tf.sub(tf.log(sums), tf.sum(tf.mul(shifted, targets), 1, true))
  return { slope: tf.div(tf.sub(tf.div(exps, sums), targets), logits.shape[0]), aux: tf.mean(rowsOfLosses) }
}
