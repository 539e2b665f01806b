/**
 * The layers of Forward-Forward, and their local gradients.
 *
 *   h_l = ReLU(W_l ẑ_{l−1} + b_l),  ẑ = z / (√(mean_j z_j²) + 1e-8),  g_l = Σ_j h_lj²  (of h_l, not of ẑ_l)
 *   loss_l = mean over the 2n rows of BCE(σ(g_l − d_l), positive or negative)
 *
 * ẑ_0 is the input with the label in its first C values. Inputs that share an image share all others, and their norm, so
 * W_1 is kept in two pieces, one for the label and one for the rest, and the product with the rest is computed once.
 */
import { ShapeError } from '@bpf/core'
import { fold, normal, type Key } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { oneHot } from '../shared/labelled'

/** Guard of the normaliser: rows of zeros stay zeros. */
const epsilon = 1e-8

/** W_lᵀ [in, out] (of the first layer: its rows behind the label) and b_l [out]. */
export type ForwardForwardLayer = { kernel: tf.Tensor; bias: tf.Tensor }
/** `label` [C, width] are the rows of W_1ᵀ that the label meets. */
export type ForwardForwardParams = { label: tf.Tensor; layers: readonly ForwardForwardLayer[] }

/** How a layer's activity is judged: `width` takes g_l = Σ h² against d_l; a number θ takes mean_j h² against θ. */
export type ForwardForwardThreshold = 'width' | number

/** What shapes the local losses. */
export interface ForwardForwardObjective {
  threshold: ForwardForwardThreshold
  reluGrad: 'full' | 'standard'
  peerFactor: number
  peerMomentum: number
}

/** W ~ N(0, 1/d_out), b = 0. */
export function initForwardForward(key: Key, inputs: number, classes: number, hidden: readonly number[]): ForwardForwardParams {
  const draw = (index: number, rows: number, width: number) => normal(fold(key, index), [rows, width], { stddev: 1 / Math.sqrt(width) })
  const first = draw(0, inputs, hidden[0])
  return {
    label: tf.slice(first, [0, 0], [classes, hidden[0]]),
    layers: hidden.map((width, l) => ({
      kernel: l === 0 ? tf.slice(first, [classes, 0], [inputs - classes, width]) : draw(l, hidden[l - 1], width),
      bias: tf.zeros([width]),
    })),
  }
}

/** Σ_j h_j² [rows], as the threshold wants it scaled. */
function goodnessOf(squares: tf.Tensor, width: number, threshold: ForwardForwardThreshold): tf.Tensor {
  return threshold === 'width' ? squares : tf.div(squares, width)
}

/** ẑ from h [rows, d] and Σ_j h_j² [rows, 1]. */
function normalised(h: tf.Tensor, squares: tf.Tensor): tf.Tensor {
  return tf.mul(h, tf.reciprocal(tf.add(tf.sqrt(tf.div(squares, h.shape[1] ?? 1)), epsilon)))
}

/** The part of the input behind the label, divided by the norm that every one-hot label gives, and 1 over that norm [n, 1]. */
function normalisedPixels(x: tf.Tensor, classes: number): { pixels: tf.Tensor; scale: tf.Tensor } {
  const rest = tf.slice(x, [0, classes], [-1, -1])
  const squares = tf.add(tf.sum(tf.square(rest), 1, true), 1)
  const scale = tf.reciprocal(tf.add(tf.sqrt(tf.div(squares, x.shape[1] ?? 1)), epsilon))
  return { pixels: tf.mul(rest, scale), scale }
}

/** @throws ShapeError unless rows are as long as those the parameters were made for */
export function checkRowLength(x: tf.Tensor, { label, layers }: ForwardForwardParams): void {
  const inputs = label.shape[0] + layers[0].kernel.shape[0]
  if (x.shape[1] !== inputs)
    throw new ShapeError(`forwardForward: expected rows of ${inputs} values, got x of shape [${x.shape.join(', ')}]`)
}

/**
 * Activity of all layers on inputs that hold their labels.
 *
 * @param embedded - [n, d], from `embedLabels` or `embedNeutral`
 * @returns ẑ_1 … ẑ_L, each [n, d_l], and Σ_j h_lj² as [n, L]
 */
export function forwardForwardActivity(
  { label, layers }: ForwardForwardParams,
  embedded: tf.Tensor,
): { normalised: tf.Tensor[]; squares: tf.Tensor } {
  let input = normalised(embedded, tf.sum(tf.square(embedded), 1, true))
  const all: { normalised: tf.Tensor; squares: tf.Tensor }[] = []
  for (const [l, { kernel, bias }] of layers.entries()) {
    const whole = l === 0 ? tf.concat([label, kernel]) : kernel
    const h = tf.relu(tf.add(tf.matMul(input as tf.Tensor2D, whole as tf.Tensor2D), bias))
    const squares = tf.sum(tf.square(h), 1, true)
    input = normalised(h, squares)
    all.push({ normalised: input, squares })
  }
  return {
    normalised: all.map((layer) => layer.normalised),
    squares: tf.concat(
      all.map(({ squares }) => squares),
      1,
    ),
  }
}

/**
 * Goodness of every candidate label in every layer, all candidates in one pass.
 *
 * @param x - [n, d] without labels
 * @returns [n, C, L]
 */
export function candidateGoodness({ label, layers }: ForwardForwardParams, x: tf.Tensor, threshold: ForwardForwardThreshold): tf.Tensor {
  const [n, classes, width] = [x.shape[0], label.shape[0], label.shape[1] ?? 0]
  const { pixels, scale } = normalisedPixels(x, classes)
  const shared = tf.add(tf.matMul(pixels as tf.Tensor2D, layers[0].kernel as tf.Tensor2D), layers[0].bias)
  const written = tf.mul(tf.reshape(scale, [n, 1, 1]), label)
  let h = tf.reshape(tf.relu(tf.add(tf.expandDims(shared, 1), written)), [n * classes, width])
  let squares = tf.sum(tf.square(h), 1, true)
  const goodness = [goodnessOf(squares, width, threshold)]
  for (const { kernel, bias } of layers.slice(1)) {
    h = tf.relu(tf.add(tf.matMul(normalised(h, squares) as tf.Tensor2D, kernel as tf.Tensor2D), bias))
    squares = tf.sum(tf.square(h), 1, true)
    goodness.push(goodnessOf(squares, bias.size, threshold))
  }
  return tf.reshape(tf.concat(goodness, 1), [n, classes, layers.length])
}

/** Losses and gradients of one batch. */
export interface ForwardForwardGradients {
  /** Binary cross-entropy of each layer, scalars. */
  losses: tf.Tensor[]
  /** Σ_l mean_j (mean(m_l) − m_lj)², scalar; 0 without peer normalisation. */
  peerLoss: tf.Tensor
  grads: ForwardForwardParams
  /** The next m_l; none without peer normalisation. */
  peers: readonly tf.Tensor[]
  /** ẑ_2 … ẑ_L of the positive rows side by side (of one layer alone: ẑ_1). */
  features: tf.Tensor
}

/**
 * Gradients of Σ_l loss_l + factor · Σ_l mean_j (mean(m_l) − m_lj)², where each layer's input counts as constant.
 *
 * They are written out: d loss_l/d g_l is (σ(g_l − d_l) − t)/2n and d g_l/d h_l is 2 h_l, which is zero wherever the ReLU is.
 * So its derivative (`reluGrad`) matters only to the peer term, which pushes at units that are off as well.
 *
 * @param peers - m_l [d_l] before the step; empty without peer normalisation
 * @param x - [n, d]
 * @param y - true labels [n]; `negative` wrong ones
 * @param wantFeatures - computes `features`, else they are empty
 */
export function forwardForwardGradients(
  { label, layers }: ForwardForwardParams,
  peers: readonly tf.Tensor[],
  { x, y, negative }: { x: tf.Tensor; y: tf.Tensor; negative: tf.Tensor },
  { threshold, reluGrad, peerFactor, peerMomentum }: ForwardForwardObjective,
  wantFeatures: boolean,
): ForwardForwardGradients {
  const [n, classes] = [x.shape[0], label.shape[0]]
  // +1 where activity should be low, −1 where it should be high.
  const sign = tf.concat([tf.fill([n, 1], -1), tf.ones([n, 1])])
  const positive = tf.concat([tf.ones([n, 1]), tf.zeros([n, 1])])
  const losses: tf.Tensor[] = []
  const peerLosses: tf.Tensor[] = []
  const nextPeers: tf.Tensor[] = []
  const features: tf.Tensor[] = []
  const grads: ForwardForwardLayer[] = []

  /** From z = W ẑ + b to the gradient on z, and ẑ of this layer. */
  function layer(l: number, z: tf.Tensor): { slope: tf.Tensor; output: () => tf.Tensor } {
    const width = z.shape[1] ?? 1
    const h = tf.relu(z)
    const squares = tf.sum(tf.square(h), 1, true)
    const bound = threshold === 'width' ? width : threshold
    const margin = tf.mul(tf.sub(goodnessOf(squares, width, threshold), bound), sign)
    losses.push(tf.mean(tf.softplus(margin)))
    const factor = (threshold === 'width' ? 2 : 2 / width) / (2 * n)
    let slope = tf.mul(h, tf.mul(tf.mul(tf.sigmoid(margin), sign), factor))
    if (peers.length > 0) {
      const mean = tf.mean(tf.slice(h, [0, 0], [n, width]), 0)
      const peer = tf.add(tf.mul(peers[l], peerMomentum), tf.mul(mean, 1 - peerMomentum))
      const centred = tf.sub(peer, tf.mean(peer))
      peerLosses.push(tf.mean(tf.square(centred)))
      nextPeers.push(peer)
      const push = tf.mul(positive, tf.mul(centred, (peerFactor * 2 * (1 - peerMomentum)) / (width * n)))
      slope = tf.add(slope, reluGrad === 'full' ? push : tf.mul(push, tf.step(h)))
    }
    if (wantFeatures && (l > 0 || layers.length === 1)) features.push(normalised(tf.slice(h, [0, 0], [n, width]), tf.slice(squares, 0, n)))
    return { slope, output: () => normalised(h, squares) }
  }

  const { pixels, scale } = normalisedPixels(x, classes)
  const width = label.shape[1] ?? 1
  const written = tf.mul(tf.concat([oneHot(y, classes), oneHot(negative, classes)]), tf.concat([scale, scale]))
  const shared = tf.add(tf.matMul(pixels as tf.Tensor2D, layers[0].kernel as tf.Tensor2D), layers[0].bias)
  const ofLabels = tf.reshape(tf.matMul(written as tf.Tensor2D, label as tf.Tensor2D), [2, n, width])
  let current = layer(0, tf.reshape(tf.add(ofLabels, shared), [2 * n, width]))
  const labelGrad = tf.matMul(written as tf.Tensor2D, current.slope as tf.Tensor2D, true)
  const both = tf.add(tf.slice(current.slope, [0, 0], [n, width]), tf.slice(current.slope, [n, 0], [n, width]))
  grads.push({ kernel: tf.matMul(pixels as tf.Tensor2D, both as tf.Tensor2D, true), bias: tf.sum(both, 0) })
  for (const [l, { kernel, bias }] of layers.entries()) {
    if (l === 0) continue
    const input = current.output() as tf.Tensor2D
    current = layer(l, tf.add(tf.matMul(input, kernel as tf.Tensor2D), bias))
    grads.push({ kernel: tf.matMul(input, current.slope as tf.Tensor2D, true), bias: tf.sum(current.slope, 0) })
  }
  return {
    losses,
    peerLoss: peerLosses.length === 0 ? tf.scalar(0) : tf.addN(peerLosses),
    grads: { label: labelGrad, layers: grads },
    peers: nextPeers,
    features: wantFeatures ? tf.concat(features, 1) : tf.zeros([n, 0]),
  }
}
