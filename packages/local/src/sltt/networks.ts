/** The paper's spiking networks. All take images [n, h, w, c] or frames of them. */
import { OptionError, type Key, type Tree } from '@bpf/core'
import {
  avgPool,
  batchNorm,
  conv2d,
  dense,
  dropout,
  flatten,
  globalAvgPool,
  initializers,
  lambda,
  sequential,
  type Layer,
} from '@bpf/core/nn'
import { fold, normal } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { lif, type LifOptions } from '../shared/lif'

/** Options of the paper's networks. */
export interface SpikingNetworkOptions {
  classes: number
  /** Channels of the first stage. Default 64. */
  width?: number
  neurons?: LifOptions
  /** Share of spikes dropped, with one mask for all steps. Default 0. */
  dropout?: number
}

const kernelInit = initializers.kaimingNormal({ mode: 'fanOut' })
const conv = (width: number, kernelSize: number, stride: number, bias: boolean): Layer =>
  conv2d(width, { kernelSize, stride, padding: Math.floor(kernelSize / 2), bias, kernelInit }) as unknown as Layer
const dropped = (rate: number): Layer[] => (rate > 0 ? [dropout(rate) as unknown as Layer] : [])

type BlockTree = { first: Tree; rest: Tree; shortcut: Tree }

/** s = first(x); y = rest(s) + shortcut(s): the shortcut takes the spikes, not what comes before them. */
function preActivationBlock(first: Layer, rest: Layer, shortcut: Layer): Layer {
  const keys = (key: Key | undefined) => (i: number) => key && fold(key, i)
  return {
    init(key, inputShape) {
      const a = first.init(fold(key, 0), inputShape)
      const b = rest.init(fold(key, 1), a.outputShape)
      const c = shortcut.init(fold(key, 2), a.outputShape)
      return {
        params: { first: a.params, rest: b.params, shortcut: c.params },
        state: { first: a.state, rest: b.state, shortcut: c.state },
        outputShape: b.outputShape,
      }
    },
    apply(params, state, x, { key, training }) {
      const [p, s] = [params as BlockTree, state as BlockTree]
      const at = keys(key)
      const a = first.apply(p.first, s.first, x, { key: at(0), training })
      const b = rest.apply(p.rest, s.rest, a.y, { key: at(1), training })
      const c = shortcut.apply(p.shortcut, s.shortcut, a.y, { key: at(2), training })
      return { y: tf.add(b.y, c.y), state: { first: a.state, rest: b.state, shortcut: c.state } }
    },
  }
}

/**
 * Pre-activation ResNet-18 for small images: a convolution, four stages of two blocks BN – LIF – conv – BN – LIF – conv whose
 * shortcut takes the first spikes, BN – LIF, average pooling, a dense readout.
 *
 * @returns from images to logits [n, classes], for the `network` of {@link sltt}
 */
export function spikingResnet18({ classes, width = 64, neurons, dropout: rate = 0 }: SpikingNetworkOptions): Layer {
  const spikes = (): Layer => sequential([batchNorm(), lif(neurons)]) as unknown as Layer
  const blocks = [1, 2, 4, 8].flatMap((factor, stage) =>
    [0, 1].map((block) => {
      const stride = stage > 0 && block === 0 ? 2 : 1
      const channels = factor * width
      const changes = stage > 0 && block === 0
      return preActivationBlock(
        spikes(),
        sequential([conv(channels, 3, stride, true), spikes(), ...dropped(rate), conv(channels, 3, 1, true)]) as unknown as Layer,
        changes ? conv(channels, 1, stride, true) : (sequential([]) as unknown as Layer),
      )
    }),
  )
  return sequential([conv(width, 3, 1, false), ...blocks, spikes(), globalAvgPool(), dense(classes)]) as unknown as Layer
}

/** A mean over windows to a fixed size, as PyTorch's adaptive average pooling: smaller images repeat their pixels. */
function adaptiveAverage(size: number): Layer {
  const bins = (length: number) =>
    Array.from({ length: size }, (_, i) => [Math.floor((i * length) / size), Math.ceil(((i + 1) * length) / size)] as const)
  const pooled = (x: tf.Tensor, axis: 1 | 2): tf.Tensor => {
    const parts = bins(x.shape[axis] ?? 1).map(([from, to]) => {
      const begin = x.shape.map((_, a) => (a === axis ? from : 0))
      const count = x.shape.map((length, a) => (a === axis ? to - from : length))
      return tf.mean(tf.slice(x, begin, count), axis, true)
    })
    return tf.concat(parts, axis)
  }
  return lambda(
    (x) => pooled(pooled(x, 1), 2),
    ([, , channels]) => [size, size, channels],
  ) as unknown as Layer
}

/**
 * VGG-11 for event frames: convolution – BN – LIF – dropout, average pooling between stages, adaptive pooling to 7×7, a dense
 * readout whose weights start from N(0, 0.01).
 */
export function spikingVgg11({ classes, width = 64, neurons, dropout: rate = 0 }: SpikingNetworkOptions): Layer {
  const stages = [[1], [2], [4, 4], [8, 8], [8, 8]]
  const layers = stages.flatMap((factors) => [
    ...factors.flatMap((factor): Layer[] => [
      conv(factor * width, 3, 1, true),
      batchNorm() as unknown as Layer,
      lif(neurons) as unknown as Layer,
      ...dropped(rate),
    ]),
    halved,
  ])
  const readout = dense(classes, { kernelInit: (key, shape) => normal(key, shape, { stddev: 0.01 }) })
  return sequential([...layers, adaptiveAverage(7), flatten(), readout]) as unknown as Layer
}

/** Average pooling 2×2, as long as there are two pixels. */
const halved: Layer = lambda(
  (x) => (Math.min(x.shape[1] ?? 1, x.shape[2] ?? 1) < 2 ? x.clone() : avgPool(2).apply({}, {}, x, { training: true }).y),
  ([h, w, c]) => (Math.min(h, w) < 2 ? [h, w, c] : [Math.floor(h / 2), Math.floor(w / 2), c]),
) as unknown as Layer

type ScaledConv = { kernel: tf.Tensor; gain: tf.Tensor; bias: tf.Tensor }

/** Convolution with W' = gain · (W − mean) / √(var · fanIn + 1e-4), statistics per output channel. */
function standardisedConv(width: number, kernelSize: number, stride: number): Layer {
  const plain = conv2d(width, { kernelSize, stride, padding: Math.floor(kernelSize / 2), kernelInit })
  return {
    init(key, inputShape) {
      const { params, outputShape } = plain.init(key, inputShape)
      const { kernel, bias } = params as { kernel: tf.Tensor; bias: tf.Tensor }
      return { params: { kernel, bias, gain: tf.ones([width]) }, state: {}, outputShape }
    },
    apply(params, _, x, options) {
      const { kernel, gain, bias } = params as ScaledConv
      const fanIn = kernel.size / width
      const mean = tf.mean(kernel, [0, 1, 2])
      const centred = tf.sub(kernel, mean)
      const variance = tf.div(tf.sum(tf.square(centred), [0, 1, 2]), fanIn - 1)
      const scaled = tf.mul(centred, tf.mul(gain, tf.rsqrt(tf.add(tf.mul(variance, fanIn), 1e-4))))
      return { y: plain.apply({ kernel: scaled, bias } as never, {} as never, x, options).y, state: {} }
    },
  }
}

/** Spikes scaled so that their variance is about 1. */
const spikeScale = 2.74

type NormFreeTree = { first: Tree; second: Tree; shortcut: Tree; skipGain: tf.Tensor }

/** y = WS(LIF(WS(LIF(x/β)))) · skipGain · α + identity, skipGain from 0. */
function normFreeBlock(
  width: number,
  stride: number,
  changes: boolean,
  beta: number,
  alpha: number,
  neurons: LifOptions | undefined,
): Layer {
  const neuron = lif(neurons)
  const spikes = (scale: number): Layer => {
    const scaled = (by: number): Layer => lambda((x) => tf.mul(x, by)) as unknown as Layer
    return sequential([scaled(scale), neuron, scaled(spikeScale)]) as unknown as Layer
  }
  const first = spikes(1 / beta)
  const second = sequential([standardisedConv(width, 3, stride), spikes(1), standardisedConv(width, 3, 1)]) as unknown as Layer
  const shortcut = changes ? standardisedConv(width, 1, stride) : (sequential([]) as unknown as Layer)
  return {
    init(key, inputShape) {
      const a = first.init(fold(key, 0), inputShape)
      const b = second.init(fold(key, 1), a.outputShape)
      const c = shortcut.init(fold(key, 2), inputShape)
      return {
        params: { first: a.params, second: b.params, shortcut: c.params, skipGain: tf.scalar(0) },
        state: { first: a.state, second: b.state, shortcut: c.state },
        outputShape: b.outputShape,
      }
    },
    apply(params, state, x, options) {
      const [p, s] = [params as NormFreeTree, state as Omit<NormFreeTree, 'skipGain'>]
      const a = first.apply(p.first, s.first, x, options)
      const b = second.apply(p.second, s.second, a.y, options)
      const c = shortcut.apply(p.shortcut, s.shortcut, changes ? a.y : x, options)
      const y = tf.add(tf.mul(b.y, tf.mul(p.skipGain, alpha)), c.y)
      return { y, state: { first: a.state, second: b.state, shortcut: c.state } }
    },
  }
}

const normFreeStages = { 18: [2, 2, 2, 2], 34: [3, 4, 6, 3] } as const

/**
 * ResNet without normalisation: convolutions with standardised weights, spikes scaled by 2.74, residual branches weighed by
 * α times a gain that starts at 0, inputs divided by their expected deviation β (which grows by α² in each block).
 *
 * @param options.depth - 18 or 34 (default)
 */
export function normFreeSpikingResnet({
  classes,
  width = 64,
  neurons,
  depth = 34,
  alpha = 0.2,
}: Omit<SpikingNetworkOptions, 'dropout'> & { depth?: keyof typeof normFreeStages; alpha?: number }): Layer {
  const stages = normFreeStages[depth]
  if (stages === undefined) throw new OptionError(`normFreeSpikingResnet: depth must be 18 or 34, got ${String(depth)}`)
  let variance = 1
  const blocks = stages.flatMap((count, stage) =>
    Array.from({ length: count }, (_, block) => {
      const changes = block === 0 && stage > 0
      const beta = Math.sqrt(variance)
      // A block that projects starts anew from the normalised spikes.
      variance = (changes ? 1 : variance) + alpha ** 2
      return normFreeBlock(width * 2 ** stage, changes ? 2 : 1, changes, beta, alpha, neurons)
    }),
  )
  const last = sequential([lif(neurons), lambda((x) => tf.mul(x, spikeScale))]) as unknown as Layer
  return sequential([standardisedConv(width, 3, 1), ...blocks, last, globalAvgPool(), dense(classes)]) as unknown as Layer
}
