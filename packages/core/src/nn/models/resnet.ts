import * as tf from '@tensorflow/tfjs-core'
import { OptionError } from '../../errors'
import { relu } from '../activations'
import { residual, sequential } from '../compose'
import { conv2d } from '../conv'
import { dense } from '../dense'
import { kaimingNormal } from '../initializers'
import { lambda, type Layer } from '../layer'
import { batchNorm } from '../norm'
import { avgPool, globalAvgPool, maxPool } from '../pool'
import type { SequentialModel } from './mlp'

/** How a block that changes shape carries its input on: a strided 1×1 convolution with batch norm, or subsampling and zero channels. */
export type ShortcutKind = 'projection' | 'pad'

/** Convolution without bias and batch norm; padded on both sides, as in PyTorch. */
function convNorm(channels: number, size: number, stride: number): Layer[] {
  const kernelInit = kaimingNormal({ mode: 'fanOut' })
  return [conv2d(channels, { kernelSize: size, stride, padding: (size - 1) / 2, bias: false, kernelInit }), batchNorm()]
}

function padShortcut(inputs: number, channels: number, stride: number): Layer {
  const before = Math.floor((channels - inputs) / 2)
  const subsample = avgPool(1, { stride })
  return lambda(
    (x, options) => {
      const { y } = subsample.apply({}, {}, x, options)
      return tf.pad(y, [
        [0, 0],
        [0, 0],
        [0, 0],
        [before, channels - inputs - before],
      ])
    },
    ([height, width]) => [Math.ceil(height / stride), Math.ceil(width / stride), channels],
  )
}

/** Two 3×3 convolutions around a shortcut, ReLU after the sum. */
function basicBlock(inputs: number, channels: number, stride: number, kind: ShortcutKind): Layer[] {
  const body = sequential([...convNorm(channels, 3, stride), relu(), ...convNorm(channels, 3, 1)])
  if (inputs === channels && stride === 1) return [residual(body), relu()]
  const shortcut = kind === 'projection' ? sequential(convNorm(channels, 1, stride)) : padShortcut(inputs, channels, stride)
  return [residual(body, { shortcut }), relu()]
}

/** Stages of `blocks[i]` basic blocks of `widths[i]` channels; every stage but the first halves the image. */
function stages(widths: readonly number[], blocks: readonly number[], kind: ShortcutKind): Layer[] {
  return widths.flatMap((channels, stage) =>
    Array.from({ length: blocks[stage] }, (_, block) => {
      const inputs = block === 0 && stage > 0 ? widths[stage - 1] : channels
      return basicBlock(inputs, channels, block === 0 && stage > 0 ? 2 : 1, kind)
    }).flat(),
  )
}

function head(classes: number | undefined): Layer[] {
  return [globalAvgPool(), ...(classes === undefined ? [] : [dense(classes)])]
}

/** Options of {@link resnet18}. */
export type Resnet18Options = {
  /** Number of logits. Default: none, the pooled features [n, 8·width] come out. */
  classes?: number
  /** `imagenet`: 7×7 convolution of stride 2 and max-pooling; `cifar`: one 3×3 convolution. Default 'imagenet'. */
  stem?: 'imagenet' | 'cifar'
  /** Channels of the first stage. Default 64. */
  width?: number
}

/**
 * ResNet-18 as in torchvision.
 *
 * @returns a layer from [n, h, w, c] to logits [n, classes] or features [n, 8·width]
 * @see He et al., "Deep residual learning for image recognition", 2016, arXiv:1512.03385
 */
export function resnet18({ classes, stem = 'imagenet', width = 64 }: Resnet18Options = {}): SequentialModel {
  const entry =
    stem === 'imagenet' ? [...convNorm(width, 7, 2), relu(), maxPool(3, { stride: 2, padding: 1 })] : [...convNorm(width, 3, 1), relu()]
  return sequential([...entry, ...stages([width, 2 * width, 4 * width, 8 * width], [2, 2, 2, 2], 'projection'), ...head(classes)])
}

/** Options of {@link resnetCifar}. */
export type ResnetCifarOptions = {
  /** 6·k + 2: 20, 32, 44, 56, 110. Default 20. */
  depth?: number
  /** Number of logits. Default: none, the pooled features [n, 4·width] come out. */
  classes?: number
  /** Channels of the first stage. Default 16. */
  width?: number
  /** Default 'pad', the paper's choice (option A). */
  shortcut?: ShortcutKind
}

/**
 * The residual network for small images: a 3×3 convolution and three stages of (depth − 2)/6 blocks with width, 2·width and
 * 4·width channels.
 *
 * @returns a layer from [n, h, w, c] to logits [n, classes] or features [n, 4·width]
 * @throws OptionError for another depth
 * @see He et al., 2016, arXiv:1512.03385, section 4.2
 */
export function resnetCifar({ depth = 20, classes, width = 16, shortcut = 'pad' }: ResnetCifarOptions = {}): SequentialModel {
  const blocks = (depth - 2) / 6
  if (!Number.isInteger(blocks) || blocks < 1) throw new OptionError(`resnetCifar: depth must be 6·k + 2 (20, 32, 44, …), got ${depth}`)
  const body = stages([width, 2 * width, 4 * width], [blocks, blocks, blocks], shortcut)
  return sequential([...convNorm(width, 3, 1), relu(), ...body, ...head(classes)])
}
