/**
 * Blocks of NoProp: a path for the input x, which every block sees, a path for the noisy embedding z (and the time, for CT
 * and FM), and a trunk on both. The path of x is apart, so that inference computes it once for all steps.
 */
import { OptionError, ShapeError, tree, type Tree } from '@bpf/core'
import {
  batchNorm,
  conv2d,
  dense,
  dropout,
  flatten,
  initializers,
  maxPool,
  relu,
  residual,
  reshape,
  sequential,
  sinusoidalEmbedding,
  type ApplyOptions,
  type Layer,
  type Shape,
} from '@bpf/core/nn'
import { fold, split, type Key } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'

/** What a block is made for. */
export interface NoPropShapes {
  /** Of an input, without the batch axis. */
  x: Shape
  /** Length d of an embedding. */
  embedding: number
  /** Wanted length of the output: classes C for logits, d for a vector. */
  outputs: number
  /** Whether the block is told the time. */
  time: boolean
}

/** Parameters or state of a block: those of the path of x, and the others. */
export type BlockTree = { encoder: Tree; denoiser: Tree }

/** One block û(z, x) or û(z, x, t); see {@link noPropDenseBlock}, {@link noPropConvBlock}, {@link noPropBlock}. */
export interface NoPropBlock {
  /**
   * Whether several blocks run as one when each leaf of their parameters is stacked along a new first axis: then `encode`
   * gives [blocks, n, …] and `denoise` takes z [blocks, n, d].
   */
  readonly stacks: boolean
  /** @returns parameters and state, and the length of the output's last axis */
  init(key: Key, shapes: NoPropShapes): { params: BlockTree; state: BlockTree; outputs: number }
  /** The path of x [n, …], all that depends on x alone. */
  encode(params: Tree, state: Tree, x: tf.Tensor, options: ApplyOptions): { y: tf.Tensor; state: Tree }
  /** The path of the time, from {@link timeFeatures} [k, 64] to one row for each time. */
  encodeTime(params: Tree, features: tf.Tensor): tf.Tensor
  /** The output from the encoded x, z [n, d], and rows of encoded times: n of them or one for all. */
  denoise(
    params: Tree,
    state: Tree,
    encoded: tf.Tensor,
    z: tf.Tensor,
    time: tf.Tensor | undefined,
    options: ApplyOptions,
  ): { y: tf.Tensor; state: Tree }
}

const timeSize = 64

/** Sinusoidal features of times in [0, 1]: sin and cos of t·1000/10000^(2k/64). @returns [k, 64] */
export function timeFeatures(times: tf.Tensor): tf.Tensor {
  return sinusoidalEmbedding(times, timeSize, { scale: 1000 })
}

const volume = (shape: Shape): number => shape.reduce((product, size) => product * size, 1)

// A bias has an axis for the rows, so that it broadcasts in a stack of blocks too.
type Affine = { kernel: tf.Tensor; bias: tf.Tensor }

const affine = (x: tf.Tensor, { kernel, bias }: Affine): tf.Tensor => tf.add(tf.matMul(x, kernel), bias)
const perceptron = (x: tf.Tensor, layers: readonly Affine[]): tf.Tensor => layers.reduce((h, layer) => tf.relu(affine(h, layer)), x)

/** PyTorch's default initialisation, uniform on ±1/√fanIn. */
function drawn(key: Key, shape: Shape, fanIn: number): tf.Tensor {
  return initializers.torchDefault(key, shape, { fanIn, fanOut: shape[shape.length - 1] })
}

function initAffine(key: Key, inputs: number, outputs: number): Affine {
  const [kernel, bias] = split(key, 2)
  return { kernel: drawn(kernel, [inputs, outputs], inputs), bias: drawn(bias, [1, outputs], inputs) }
}

function initPerceptron(key: Key, inputs: number, widths: readonly number[]): { layers: Affine[]; outputs: number } {
  const sizes = [inputs, ...widths]
  return { layers: widths.map((width, i) => initAffine(fold(key, i), sizes[i], width)), outputs: sizes[sizes.length - 1] }
}

/** Widths of {@link noPropDenseBlock}. */
export interface DenseBlockOptions {
  /** Layers of the path of x, each dense with ReLU. Default [256]. */
  x?: readonly number[]
  /** Layers of the path of z. Default [64]. */
  z?: readonly number[]
  /** Width of the path of the time (CT, FM). Default 64. */
  time?: number
  /** Layers on the concatenated paths, before the dense layer to the output; at least one. Default [256]. */
  trunk?: readonly number[]
}

/** The first layer on concatenated paths, its kernel in parts: what x gives is computed once for all steps. */
type DenseEncoder = { x: readonly Affine[]; join: Affine }
type DenseDenoiser = {
  z: readonly Affine[]
  time: readonly Affine[]
  join: { z: tf.Tensor; time: readonly tf.Tensor[] }
  trunk: readonly Affine[]
  output: Affine
}

/**
 * A block of dense layers: x ‖ z (‖ t) → concatenated → trunk → output. Several such blocks run as one batched computation.
 *
 * @throws OptionError for a width that is not a positive integer, or no trunk
 */
export function noPropDenseBlock({ x = [256], z = [64], time = 64, trunk = [256] }: DenseBlockOptions = {}): NoPropBlock {
  for (const [name, widths] of Object.entries({ x, z, time: [time], trunk })) {
    const bad = widths.find((width) => !Number.isInteger(width) || width < 1)
    if (bad !== undefined) throw new OptionError(`noPropDenseBlock: ${name} must be positive integers, got ${bad}`)
  }
  if (trunk.length === 0) throw new OptionError('noPropDenseBlock: trunk needs at least one layer, got none')
  return {
    stacks: true,
    init(key, shapes) {
      const keys = split(key, 8)
      const xPath = initPerceptron(keys[0], volume(shapes.x), x)
      const zPath = initPerceptron(keys[1], shapes.embedding, z)
      const timePath = shapes.time ? initPerceptron(keys[2], timeSize, [time]) : undefined
      const joined = xPath.outputs + zPath.outputs + (timePath?.outputs ?? 0)
      const join = (k: Key, inputs: number) => drawn(k, [inputs, trunk[0]], joined)
      const rest = initPerceptron(keys[3], trunk[0], trunk.slice(1))
      const encoder: DenseEncoder = { x: xPath.layers, join: { kernel: join(keys[4], xPath.outputs), bias: join(keys[7], 1) } }
      const denoiser: DenseDenoiser = {
        z: zPath.layers,
        time: timePath?.layers ?? [],
        join: {
          z: join(keys[5], zPath.outputs),
          time: timePath === undefined ? [] : [join(keys[6], timePath.outputs)],
        },
        trunk: rest.layers,
        output: initAffine(fold(keys[3], trunk.length), rest.outputs, shapes.outputs),
      }
      return { params: { encoder, denoiser }, state: { encoder: [], denoiser: [] }, outputs: shapes.outputs }
    },
    encode(params, _, x) {
      const { x: layers, join } = params as DenseEncoder
      const rows = tf.reshape(x, [x.shape[0], x.size / x.shape[0]])
      const first = (layers.length > 0 ? layers[0] : join).kernel
      const inputs = first.shape[first.rank - 2]
      if (rows.shape[1] !== inputs) {
        throw new ShapeError(`noPropDenseBlock: expected x of ${inputs} values per example, got shape [${x.shape.join(', ')}]`)
      }
      return { y: affine(perceptron(rows, layers), join), state: [] }
    },
    encodeTime(params, features) {
      const { time: layers, join } = params as DenseDenoiser
      return tf.matMul(perceptron(features, layers), join.time[0])
    },
    denoise(params, _, encoded, z, timeRows) {
      const { z: layers, join, trunk: rest, output } = params as DenseDenoiser
      const fromZ = tf.matMul(perceptron(z, layers), join.z)
      // One row for all examples joins the product as its bias.
      const sum = tf.add(timeRows === undefined ? fromZ : tf.add(fromZ, timeRows), encoded)
      return { y: affine(perceptron(tf.relu(sum), rest), output), state: [] }
    },
  }
}

/** The layers of {@link noPropBlock}. */
export interface LayeredBlockOptions {
  /** From x [n, …] to features [n, ·]. */
  x: Layer
  /** From z [n, d] to features [n, ·]. */
  z: Layer
  /** Width of the path of the time, dense with ReLU (CT, FM). Default 64. */
  time?: number
  /** On the concatenated features. */
  trunk: Layer
  /** `dense` (default) adds a dense layer to the wanted output; with `trunk` the trunk's own output is taken: C logits, or d values (logits where C = d). */
  output?: 'dense' | 'trunk'
}

type LayeredDenoiser = { z: Tree; time: readonly Affine[]; trunk: Tree; output: readonly Affine[] }
type LayeredState = { z: Tree; trunk: Tree }

/**
 * A block of any layers: x ‖ z (‖ t) → concatenated → trunk (→ dense). Batch normalisation uses the batch's statistics when
 * training and running ones at inference, where z is not exactly distributed as in training.
 */
export function noPropBlock({ x: xPath, z: zPath, time: timeWidth = 64, trunk, output = 'dense' }: LayeredBlockOptions): NoPropBlock {
  return {
    stacks: false,
    init(key, shapes) {
      const keys = split(key, 5)
      const [x, z] = [xPath.init(keys[0], shapes.x), zPath.init(keys[1], [shapes.embedding])]
      const time = shapes.time ? initPerceptron(keys[2], timeSize, [timeWidth]) : undefined
      const joined = [...x.outputShape, ...z.outputShape, time?.outputs ?? 0].reduce((sum, size) => sum + size, 0)
      if (x.outputShape.length !== 1 || z.outputShape.length !== 1) {
        throw new ShapeError(
          `noPropBlock: the paths of x and z must end in vectors, got shapes [${x.outputShape.join(', ')}] and [${z.outputShape.join(', ')}]; add flatten()`,
        )
      }
      const body = trunk.init(keys[3], [joined])
      const width = body.outputShape[body.outputShape.length - 1]
      const denoiser: LayeredDenoiser = {
        z: z.params,
        time: time?.layers ?? [],
        trunk: body.params,
        output: output === 'dense' ? [initAffine(keys[4], width, shapes.outputs)] : [],
      }
      return {
        params: { encoder: x.params, denoiser },
        state: { encoder: x.state, denoiser: { z: z.state, trunk: body.state } },
        outputs: output === 'dense' ? shapes.outputs : width,
      }
    },
    encode: (params, state, x, { key, training }) => xPath.apply(params, state, x, { key: key && fold(key, 0), training }),
    encodeTime: (params, features) => perceptron(features, (params as LayeredDenoiser).time),
    denoise(params, state, encoded, z, timeRows, { key, training }) {
      const { z: zParams, trunk: trunkParams, output: last } = params as LayeredDenoiser
      const before = state as LayeredState
      const fromZ = zPath.apply(zParams, before.z, z, { key: key && fold(key, 1), training })
      const times = timeRows === undefined ? [] : [tf.broadcastTo(timeRows, [z.shape[0], timeRows.shape[1] ?? 1])]
      const body = trunk.apply(trunkParams, before.trunk, tf.concat([encoded, fromZ.y, ...times], 1), {
        key: key && fold(key, 2),
        training,
      })
      return { y: last.reduce(affine, body.y), state: { z: fromZ.state, trunk: body.state } }
    },
  }
}

/** Options of {@link noPropConvBlock}. */
export interface ConvBlockOptions {
  /** Rate of dropout after activations of convolutions. Default 0.3. */
  dropout?: number
  /** Shape [h, w, channels] of z where the embedding is a prototype image: z then goes through convolutions as x does. */
  prototype?: Shape
}

const convolutions = (rate: number): Layer[] => [
  conv2d(32, { kernelSize: 3 }),
  relu(),
  maxPool(2),
  dropout(rate),
  conv2d(64, { kernelSize: 3 }),
  relu(),
  dropout(rate),
  conv2d(128, { kernelSize: 3 }),
  relu(),
  maxPool(2),
  dropout(rate),
  flatten(),
  dense(256),
  batchNorm(),
]

const normalised = (width: number): Layer[] => [dense(width), batchNorm(), relu()]

/**
 * The paper's block for images. x: three convolutions (32, 64, 128) with ReLU, pooling and dropout, dense 256, batch norm.
 * z: dense 256 with batch norm and ReLU, then a residual pair of such layers. Both: dense 256 and 128 with batch norm and
 * ReLU, and the output.
 */
export function noPropConvBlock({ dropout: rate = 0.3, prototype }: ConvBlockOptions = {}): NoPropBlock {
  const vector = [...normalised(256), residual(sequential([...normalised(256), dense(256), batchNorm()]))]
  return noPropBlock({
    x: sequential(convolutions(rate)),
    z: sequential(prototype === undefined ? vector : [reshape(prototype), ...convolutions(rate)]),
    trunk: sequential([...normalised(256), ...normalised(128)]),
  })
}

/** Blocks that are trained as one: a single block, or several whose leaves are stacked along a first axis. */
export type Bank = { params: BlockTree; state: BlockTree }

/** Parameters and state of `count` blocks as one bank. */
export function stackBlocks(blocks: readonly Bank[]): Bank {
  return blocks.length === 1 ? blocks[0] : tree.map((...leaves) => tf.stack(leaves), blocks[0], ...blocks.slice(1))
}

/** The trees of the blocks in a stack of `count`. */
export function unstackTree(stacked: Tree, count: number): Tree[] {
  if (count === 1) return [stacked]
  const { leaves, structure } = tree.flatten(stacked)
  const parts = leaves.map((leaf) => tf.unstack(leaf))
  return Array.from({ length: count }, (_, i) =>
    tree.unflatten(
      structure,
      parts.map((part) => part[i]),
    ),
  )
}
