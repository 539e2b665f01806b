import * as tf from '@tensorflow/tfjs-core'
import { OptionError, ShapeError } from '../../errors'
import { fold, type Key } from '../../random/key'
import { silu as siluLayer } from '../activations'
import { multiHeadAttention, type AttentionParams } from '../attention'
import { dropout as dropoutLayer, embedding, type EmbeddingParams } from '../basic'
import { conv2d } from '../conv'
import { checkCount, dense, type Affine } from '../dense'
import { zeros } from '../initializers'
import type { ApplyOptions, Empty, Layer, ShapeOf } from '../layer'
import { groupNorm, type ScaleOffset } from '../norm'
import { sinusoidalEmbedding } from '../time-embedding'

/** What a U-Net takes. */
export type UNetInput = {
  /** [n, h, w, c] */
  x: tf.Tensor
  /** [n], int32 or float32 */
  time: tf.Tensor
  /** [n], int32 in 0 … classes; `classes` is the null token. Left out, every row has the null token. */
  label?: tf.Tensor
}

type ResidualParams = {
  norm1: ScaleOffset
  conv1: Affine
  time: Affine
  norm2: ScaleOffset
  conv2: Affine
  shortcut: Affine | Empty
}
type SpatialAttentionParams = { norm: ScaleOffset; attention: AttentionParams }
type BlockParams = { residual: ResidualParams; attention: SpatialAttentionParams | Empty }
type LevelParams = { blocks: BlockParams[]; resample: Affine | Empty }

/** Parameters of {@link unet}. */
export type UNetParams = {
  time: { first: Affine; second: Affine }
  label: EmbeddingParams | Empty
  stem: Affine
  down: LevelParams[]
  middle: { first: ResidualParams; attention: SpatialAttentionParams; second: ResidualParams }
  up: LevelParams[]
  output: { norm: ScaleOffset; conv: Affine }
}

/** Options of {@link unet}. */
export type UNetOptions = {
  /** Width of the first level. Default 32. */
  channels?: number
  /** Width of each level as a multiple of `channels`; every level but the last halves the image. Default [1, 2, 2]. */
  multipliers?: readonly number[]
  /** Residual blocks per level on the way down (one more on the way up). Default 1. */
  blocks?: number
  /** Levels (0 is the finest) with self-attention after each block. The middle always has it. Default none. */
  attention?: readonly number[]
  /** Attention heads. Default 1. */
  heads?: number
  /** Groups of the group norms; must divide every width. Default 8. */
  groups?: number
  /** Number of classes of a class-conditional network; a null token is added for guidance without a classifier. Default none. */
  classes?: number
  /** Channels of the output. Default: those of the input. */
  outputs?: number
  /** Dropout rate inside of the residual blocks. Default 0. */
  dropout?: number
  /** Multiplies times before they are embedded; 1000 for times in [0, 1]. Default 1. */
  timeScale?: number
}

/** A U-Net, whole (as a layer) and in parts, so that other things can be put between them. */
export type UNet = Layer<UNetParams, Empty, UNetInput> & {
  /** The label that stands for no class, where the network has classes. */
  nullLabel: number | undefined
  /** Time (and class) embedding, [n, 4·channels]. */
  embed(params: UNetParams, input: Omit<UNetInput, 'x'>): tf.Tensor
  /** From the image to the bottleneck and the skips of all levels. */
  encode(params: UNetParams, x: tf.Tensor, embedding: tf.Tensor, options: ApplyOptions): { bottleneck: tf.Tensor; skips: tf.Tensor[] }
  /** The middle blocks; keeps the shape of the bottleneck. */
  middle(params: UNetParams, bottleneck: tf.Tensor, embedding: tf.Tensor, options: ApplyOptions): tf.Tensor
  /** From the bottleneck and the skips to the output [n, h, w, outputs]. */
  decode(params: UNetParams, bottleneck: tf.Tensor, skips: readonly tf.Tensor[], embedding: tf.Tensor, options: ApplyOptions): tf.Tensor
}

const evaluation: ApplyOptions = { training: false }
const activation = siluLayer()

function silu(x: tf.Tensor): tf.Tensor {
  return activation.apply({}, {}, x, evaluation).y
}

/** The output of a layer without state. */
function run<P extends Affine | ScaleOffset | EmbeddingParams | AttentionParams>(
  layer: Layer<P, Empty>,
  params: P,
  x: tf.Tensor,
): tf.Tensor {
  return layer.apply(params, {}, x, evaluation).y
}

function conv(channels: number, size = 3, stride = 1): Layer<Affine, Empty> {
  return conv2d(channels, { kernelSize: size, stride })
}

/** A convolution that starts at zero, so that a fresh block is the identity and a fresh network predicts zero. */
function zeroConv(channels: number): Layer<Affine, Empty> {
  return conv2d(channels, { kernelSize: 3, kernelInit: zeros, biasInit: zeros })
}

/** Each pixel four times. Made of concatenations, whose gradients are slices of any order. */
function upsample(x: tf.Tensor): tf.Tensor {
  const [batch, height, width, channels] = x.shape as [number, number, number, number]
  const wide = tf.reshape(tf.concat([x, x], 3), [batch, height, 1, 2 * width * channels])
  return tf.reshape(tf.concat([wide, wide], 2), [batch, 2 * height, 2 * width, channels])
}

/** conv(silu(norm(x))) + time, conv(dropout(silu(norm(…)))), plus the input. Layers know their widths from their parameters. */
function residualBlock(channels: number, groups: number, dropout: number) {
  const norm = groupNorm(groups)
  const first = conv(channels)
  const second = zeroConv(channels)
  const time = dense(channels)
  const drop = dropoutLayer(dropout)
  const project = conv(channels, 1)
  return {
    init(key: Key, inputs: number, embeddingSize: number): ResidualParams {
      return {
        norm1: norm.init(fold(key, 0), [inputs]).params,
        conv1: first.init(fold(key, 1), [1, 1, inputs]).params,
        time: time.init(fold(key, 2), [embeddingSize]).params,
        norm2: norm.init(fold(key, 3), [channels]).params,
        conv2: second.init(fold(key, 4), [1, 1, channels]).params,
        shortcut: inputs === channels ? {} : project.init(fold(key, 5), [1, 1, inputs]).params,
      }
    },
    apply(params: ResidualParams, x: tf.Tensor, embedded: tf.Tensor, options: ApplyOptions): tf.Tensor {
      const shift = tf.reshape(run(time, params.time, silu(embedded)), [-1, 1, 1, channels])
      const h = tf.add(run(first, params.conv1, silu(run(norm, params.norm1, x))), shift)
      const dropped = drop.apply({}, {}, silu(run(norm, params.norm2, h)), options).y
      const skip = 'kernel' in params.shortcut ? run(project, params.shortcut as Affine, x) : x
      return tf.add(run(second, params.conv2, dropped), skip)
    },
  }
}

/** Self-attention over all pixels, added to its input. */
function spatialAttention(groups: number, heads: number) {
  const norm = groupNorm(groups)
  const attention = multiHeadAttention({ heads })
  return {
    init(key: Key, channels: number): SpatialAttentionParams {
      return {
        norm: norm.init(fold(key, 0), [channels]).params,
        attention: attention.init(fold(key, 1), [1, channels]).params,
      }
    },
    apply(params: SpatialAttentionParams, x: tf.Tensor): tf.Tensor {
      const [batch, height, width, channels] = x.shape as [number, number, number, number]
      const tokens = tf.reshape(run(norm, params.norm, x), [batch, height * width, channels])
      const attended = attention.apply(params.attention, {}, tokens, evaluation).y
      return tf.add(x, tf.reshape(attended, x.shape))
    },
  }
}

/**
 * A time-conditioned U-Net for diffusion: residual blocks with group norm, SiLU and an added time embedding; strided
 * convolution down, nearest neighbour and convolution up; self-attention in the middle and where asked; optionally a class
 * embedding with a null token. The last convolutions of blocks and network start at zero: a fresh network predicts zero.
 *
 * @returns a layer from {@link UNetInput} to [n, h, w, outputs]; init takes `{ x: [h, w, c], time: [] }`
 * @throws ShapeError unless h and w are divisible by 2^(levels − 1) and `groups` divides all widths
 * @see Ronneberger et al., "U-Net", 2015, arXiv:1505.04597; Ho et al., 2020, arXiv:2006.11239;
 *   Ho & Salimans, "Classifier-free diffusion guidance", 2022, arXiv:2207.12598 (null token)
 *
 * @example
 * ```ts
 * const denoiser = unet({ channels: 16, multipliers: [1, 2], classes: 10 })
 * const { params } = denoiser.init(random.key(0), { x: [16, 16, 1], time: [] })
 * ```
 */
export function unet(options: UNetOptions = {}): UNet {
  const {
    channels = 32,
    multipliers = [1, 2, 2],
    blocks = 1,
    attention = [],
    heads = 1,
    groups = 8,
    classes,
    dropout = 0,
    timeScale = 1,
  } = options
  checkCount('unet', 'channels', channels)
  checkCount('unet', 'blocks', blocks)
  if (multipliers.length === 0) throw new OptionError('unet: multipliers must name at least one level')
  if (channels % 2 !== 0) throw new OptionError(`unet: channels must be even, got ${channels}`)
  const attentionAt = (level: number) => attention.includes(level)
  if (attention.some((level) => !(level in multipliers))) {
    throw new OptionError(`unet: attention names levels 0 to ${multipliers.length - 1}, got [${attention.join(', ')}]`)
  }

  const widths = multipliers.map((multiple) => multiple * channels)
  const last = widths.length - 1
  const embeddingSize = 4 * channels
  const widen = dense(embeddingSize)
  const labels = classes === undefined ? undefined : embedding(classes + 1, embeddingSize)
  const stem = conv(channels)
  const residuals = widths.map((width) => residualBlock(width, groups, dropout))
  const downsample = widths.map((width) => conv(width, 3, 2))
  const afterUpsampling = widths.map((width) => conv(width))
  const attend = spatialAttention(groups, heads)
  const outputNorm = groupNorm(groups)

  /** Widths of all skips in the order they are made. */
  const skipWidths = [
    channels,
    ...widths.flatMap((width, level) => [...Array.from({ length: blocks }, () => width), ...(level < last ? [width] : [])]),
  ]

  const initBlock = (key: Key, level: number, inputs: number): BlockParams => ({
    residual: residuals[level].init(fold(key, 0), inputs, embeddingSize),
    attention: attentionAt(level) ? attend.init(fold(key, 1), widths[level]) : {},
  })
  const applyBlock = (params: BlockParams, level: number, x: tf.Tensor, embedded: tf.Tensor, block: ApplyOptions): tf.Tensor => {
    const h = residuals[level].apply(params.residual, x, embedded, block)
    return 'norm' in params.attention ? attend.apply(params.attention as SpatialAttentionParams, h) : h
  }
  /** Options of block `index` of a part, with a key of its own. */
  const nth = ({ key, training }: ApplyOptions, part: number, index: number): ApplyOptions => ({
    key: key === undefined ? undefined : fold(fold(key, part), index),
    training,
  })

  const init = (key: Key, inputShape: ShapeOf<UNetInput>) => {
    const { x } = inputShape
    const multiple = 2 ** last
    if (x.length !== 3 || x[0] % multiple !== 0 || x[1] % multiple !== 0) {
      throw new ShapeError(`unet: expected x of shape [h, w, channels] with h and w divisible by ${multiple}, got [${x.join(', ')}]`)
    }
    const outputs = options.outputs ?? x[2]
    const down = widths.map((width, level): LevelParams => {
      const levelKey = fold(fold(key, 3), level)
      const inputs = level === 0 ? channels : widths[level - 1]
      return {
        blocks: Array.from({ length: blocks }, (_, i) => initBlock(fold(levelKey, i), level, i === 0 ? inputs : width)),
        resample: level < last ? downsample[level].init(fold(levelKey, blocks), [2, 2, width]).params : {},
      }
    })
    const skips = [...skipWidths]
    let current = widths[last]
    const up = [...widths.keys()].reverse().map((level): LevelParams => {
      const levelKey = fold(fold(key, 5), level)
      const levelBlocks = Array.from({ length: blocks + 1 }, (_, i) => {
        const block = initBlock(fold(levelKey, i), level, current + (skips.pop() as number))
        current = widths[level]
        return block
      })
      return {
        blocks: levelBlocks,
        resample: level > 0 ? afterUpsampling[level].init(fold(levelKey, blocks + 1), [1, 1, current]).params : {},
      }
    })
    const params: UNetParams = {
      time: { first: widen.init(fold(key, 0), [channels]).params, second: widen.init(fold(key, 1), [embeddingSize]).params },
      label: labels === undefined ? {} : labels.init(fold(key, 6), []).params,
      stem: stem.init(fold(key, 2), [...x]).params,
      down,
      middle: {
        first: residuals[last].init(fold(fold(key, 4), 0), widths[last], embeddingSize),
        attention: attend.init(fold(fold(key, 4), 1), widths[last]),
        second: residuals[last].init(fold(fold(key, 4), 2), widths[last], embeddingSize),
      },
      up,
      output: {
        norm: outputNorm.init(fold(key, 7), [channels]).params,
        conv: zeroConv(outputs).init(fold(key, 8), [1, 1, current]).params,
      },
    }
    return { params, state: {}, outputShape: [x[0], x[1], outputs] }
  }

  const embed: UNet['embed'] = (params, { time, label }) => {
    const features = sinusoidalEmbedding(time, channels, { scale: timeScale })
    const embedded = run(widen, params.time.second, silu(run(widen, params.time.first, features)))
    if (labels === undefined) {
      if (label !== undefined) throw new OptionError('unet: got labels, but the network has no classes; pass `classes` when you make it')
      return embedded
    }
    const ids = label ?? tf.fill([time.size], classes as number, 'int32')
    return tf.add(embedded, run(labels, params.label as EmbeddingParams, ids))
  }

  const encode: UNet['encode'] = (params, x, embedded, apply) => {
    let h = run(stem, params.stem, x)
    const skips = [h]
    params.down.forEach(({ blocks: levelBlocks, resample }, level) => {
      levelBlocks.forEach((block, i) => {
        h = applyBlock(block, level, h, embedded, nth(apply, 0, level * blocks + i))
        skips.push(h)
      })
      if ('kernel' in resample) {
        h = run(downsample[level], resample as Affine, h)
        skips.push(h)
      }
    })
    return { bottleneck: h, skips }
  }

  const middle: UNet['middle'] = (params, bottleneck, embedded, apply) => {
    const first = residuals[last].apply(params.middle.first, bottleneck, embedded, nth(apply, 1, 0))
    const attended = attend.apply(params.middle.attention, first)
    return residuals[last].apply(params.middle.second, attended, embedded, nth(apply, 1, 1))
  }

  const decode: UNet['decode'] = (params, bottleneck, skips, embedded, apply) => {
    const left = [...skips]
    if (left.length !== skipWidths.length)
      throw new ShapeError(`unet: decode needs the ${skipWidths.length} skips of encode, got ${left.length}`)
    let h = bottleneck
    params.up.forEach(({ blocks: levelBlocks, resample }, i) => {
      const level = last - i
      levelBlocks.forEach((block, j) => {
        h = applyBlock(block, level, tf.concat([h, left.pop() as tf.Tensor], 3), embedded, nth(apply, 2, i * (blocks + 1) + j))
      })
      if ('kernel' in resample) h = run(afterUpsampling[level], resample as Affine, upsample(h))
    })
    const outputs = params.output.conv.bias.size
    return run(zeroConv(outputs), params.output.conv, silu(run(outputNorm, params.output.norm, h)))
  }

  return {
    nullLabel: classes,
    init,
    embed,
    encode,
    middle,
    decode,
    apply: (params, _, { x, time, label }, apply) => {
      const embedded = embed(params, { time, label })
      const { bottleneck, skips } = encode(params, x, embedded, apply)
      return { y: decode(params, middle(params, bottleneck, embedded, apply), skips, embedded, apply), state: {} }
    },
  }
}
