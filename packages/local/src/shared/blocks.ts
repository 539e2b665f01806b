/**
 * Blocks of block-wise networks, and the lists of them that make the usual residual and VGG networks. Widths and strides
 * only: how many channels come in is known from the input's shape, so the same factory builds a block of the network and a
 * block of a helper that copies its architecture.
 *
 * He et al., "Deep residual learning for image recognition", 2016, arXiv:1512.03385; Simonyan & Zisserman, "Very deep
 * convolutional networks", 2015, arXiv:1409.1556.
 */
import { OptionError } from '@bpf/core'
import { batchNorm, conv2d, initializers, maxPool, relu, sequential, type Layer } from '@bpf/core/nn'
import { fold } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'

/** Builds a block of `width` channels (before expansion) that shrinks the image by `stride`. */
export type BlockFactory = (width: number, stride: number) => Layer

/** One layer of a chain that may be trained on its own: a convolution with norm and activation, a residual block, a dense layer. */
export interface LocalLayer {
  build: BlockFactory
  /** Channels, as the factory counts them. */
  width: number
  /** Default 1. */
  stride?: number
}

/** Convolution without bias (weights N(0, 2/(k·k·outputs))) and batch norm; padded on both sides, as in PyTorch. */
function convNorm(channels: number, size: number, stride: number): Layer[] {
  const kernelInit = initializers.kaimingNormal({ mode: 'fanOut' })
  return [conv2d(channels, { kernelSize: size, stride, padding: (size - 1) / 2, bias: false, kernelInit }), batchNorm()]
}

/** Convolution 3×3, batch norm, ReLU. */
export const convBlock: BlockFactory = (width, stride) => sequential([...convNorm(width, 3, stride), relu()])

/** A layer of VGG with batch norm: max-pooling first where the image shrinks, then convolution 3×3 with bias, batch norm, ReLU. */
export const vggBlock: BlockFactory = (width, stride) => {
  const kernelInit = initializers.kaimingNormal({ mode: 'fanOut' })
  const conv = conv2d(width, { kernelSize: 3, kernelInit, biasInit: initializers.zeros })
  return sequential([...(stride > 1 ? [maxPool(stride)] : []), conv, batchNorm(), relu()])
}

/** ReLU(body(x) + shortcut(x)); the shortcut is x itself, or a strided 1×1 convolution with batch norm where the shape changes. */
function residualUnit(body: Layer, channels: number, stride: number): Layer {
  const projection = sequential(convNorm(channels, 1, stride))
  return {
    init(key, inputShape) {
      const main = body.init(fold(key, 0), inputShape)
      const keepsShape = stride === 1 && inputShape[inputShape.length - 1] === channels
      const side = keepsShape ? { params: [], state: [] } : projection.init(fold(key, 1), inputShape)
      return {
        params: { body: main.params, shortcut: side.params },
        state: { body: main.state, shortcut: side.state },
        outputShape: main.outputShape,
      }
    },
    apply(params, state, x, options) {
      const own = params as { body: tf.Tensor[]; shortcut: tf.Tensor[] }
      const before = state as { body: tf.Tensor[]; shortcut: tf.Tensor[] }
      const main = body.apply(own.body, before.body, x, options)
      if (own.shortcut.length === 0) return { y: tf.relu(tf.add(main.y, x)), state: { body: main.state, shortcut: [] } }
      const side = projection.apply(own.shortcut as never, before.shortcut as never, x, options)
      return { y: tf.relu(tf.add(main.y, side.y)), state: { body: main.state, shortcut: side.state } }
    },
  }
}

/** Two convolutions 3×3 with batch norm around a shortcut. */
export const basicBlock: BlockFactory = (width, stride) =>
  residualUnit(sequential([...convNorm(width, 3, stride), relu(), ...convNorm(width, 3, 1)]) as Layer, width, stride)

/** 1×1, 3×3 and 1×1 convolutions around a shortcut; four times `width` channels come out. */
export const bottleneckBlock: BlockFactory = (width, stride) => {
  const body = [...convNorm(width, 1, 1), relu(), ...convNorm(width, 3, stride), relu(), ...convNorm(4 * width, 1, 1)]
  return residualUnit(sequential(body) as Layer, 4 * width, stride)
}

/**
 * A convolutional stem and residual blocks; the stride is 2 where the width grows.
 *
 * @param widths - of the stem and of each block: at least one
 * @param options.stem - default {@link convBlock}
 * @param options.block - default {@link basicBlock}
 * @throws OptionError unless all widths are positive integers
 */
export function residualLayers(widths: readonly number[], options: { stem?: BlockFactory; block?: BlockFactory } = {}): LocalLayer[] {
  const { stem = convBlock, block = basicBlock } = options
  if (widths.length === 0) throw new OptionError('residualLayers: widths must have at least one entry, that of the stem')
  const bad = widths.find((width) => !Number.isInteger(width) || width < 1)
  if (bad !== undefined) throw new OptionError(`residualLayers: widths must be positive integers, got ${bad}`)
  return widths.map((width, i) => (i === 0 ? { build: stem, width } : { build: block, width, stride: width > widths[i - 1] ? 2 : 1 }))
}

/**
 * The layers of the residual networks for small images: a stem and three stages of (depth − 2)/6 blocks. Depth 32 has 16
 * layers, depth 110 has 55.
 *
 * @param options.depth - 6·k + 2. Default 32.
 * @param options.width - channels of the first stage. Default 16.
 * @throws OptionError for another depth
 */
export function cifarResnetLayers({ depth = 32, width = 16 }: { depth?: number; width?: number } = {}): LocalLayer[] {
  const blocks = (depth - 2) / 6
  if (!Number.isInteger(blocks) || blocks < 1) throw new OptionError(`cifarResnetLayers: depth must be 6·k + 2 (20, 32, …), got ${depth}`)
  return residualLayers([width, ...[1, 2, 4].flatMap((factor) => Array.from({ length: blocks }, () => factor * width))])
}

const imagenetStages = { 18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3], 101: [3, 4, 23, 3] } as const

/**
 * The layers of the residual networks for large images: a 7×7 stem of stride 2 with max-pooling, then four stages. Depth 34
 * has 17 layers, depth 101 (bottlenecks) has 34.
 *
 * @param options.depth - default 34
 * @param options.width - channels of the first stage. Default 64.
 */
export function imagenetResnetLayers({
  depth = 34,
  width = 64,
}: { depth?: keyof typeof imagenetStages; width?: number } = {}): LocalLayer[] {
  const stages = imagenetStages[depth]
  if (stages === undefined) throw new OptionError(`imagenetResnetLayers: depth must be 18, 34, 50 or 101, got ${String(depth)}`)
  const stem: BlockFactory = (channels) => sequential([...convNorm(channels, 7, 2), relu(), maxPool(3, { stride: 2, padding: 1 })])
  const widths = stages.flatMap((count, stage) => Array.from({ length: count }, () => width * 2 ** stage))
  return residualLayers([width, ...widths], { stem, block: depth >= 50 ? bottleneckBlock : basicBlock })
}

const vggStages = { 11: [1, 1, 2, 2, 2], 13: [2, 2, 2, 2, 2], 16: [2, 2, 3, 3, 3], 19: [2, 2, 4, 4, 4] } as const

/**
 * The convolutions of VGG with batch norm, each a layer; depth 13 has 10. The max-pooling before a stage belongs to its first
 * layer, the one after the last stage to the classifier.
 *
 * @param options.depth - default 13
 * @param options.width - channels of the first stage. Default 64.
 */
export function vggLayers({ depth = 13, width = 64 }: { depth?: keyof typeof vggStages; width?: number } = {}): LocalLayer[] {
  const stages = vggStages[depth]
  if (stages === undefined) throw new OptionError(`vggLayers: depth must be 11, 13, 16 or 19, got ${String(depth)}`)
  return stages.flatMap((count, stage) =>
    Array.from({ length: count }, (_, i) => ({
      build: vggBlock,
      width: width * 2 ** Math.min(stage, 3),
      stride: stage > 0 && i === 0 ? 2 : 1,
    })),
  )
}
