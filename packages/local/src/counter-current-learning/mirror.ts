/**
 * Layers and the feedback layers that mirror them: the same sizes in reverse, weights of their own. No gradient goes to a
 * layer's input, so the gradient of its weights is one product of its input and the slope at its output.
 */
import { OptionError, ShapeError, stopGradient, tree, valueAndGradWithAux, type Key, type Tree } from '@bpf/core'
import { conv2d, initializers, type Initializer, type Shape } from '@bpf/core/nn'
import * as tf from '@tensorflow/tfjs-core'
import type { ActivationRule } from './activation'

/** One direction of a layer. */
export interface LocalMap {
  init(key: Key): Tree
  apply(params: Tree, x: tf.Tensor): tf.Tensor
  /**
   * The value y at x and the gradient of ⟨y, slope(y)⟩ in the parameters, with slope(y) held fixed.
   *
   * @param slope - the slope at y, and what else it finds out
   * @param known - y, where it was computed before
   */
  learn<Aux extends Tree>(
    params: Tree,
    x: tf.Tensor,
    slope: (y: tf.Tensor) => { slope: tf.Tensor; aux: Aux },
    known?: tf.Tensor,
  ): { y: tf.Tensor; gradient: Tree; aux: Aux }
}

/** A layer of the forward network and the one of the feedback network from its output's signals to its input's. */
export interface MirrorLayer {
  forward: LocalMap
  feedback: LocalMap
  /** Shapes of one example. */
  inputShape: Shape
  outputShape: Shape
}

/** The sizes of a network. */
export interface MirrorSizes {
  /** Channels of the convolutions 3×3 that come first, each halving the image. */
  channels: readonly number[]
  /** Widths of the dense layers after them. */
  hidden: readonly number[]
  classes: number
  downsampling: 'pool' | 'stride'
}

const volume = (shape: Shape): number => shape.reduce((product, size) => product * size, 1)

/** Matrix product, then φ; from rows of any shape to rows of `outputShape`. */
function denseMap(inputs: number, outputShape: Shape, rule: ActivationRule | undefined, kernelInit: Initializer): LocalMap {
  const outputs = volume(outputShape)
  const rows = (x: tf.Tensor): tf.Tensor2D => (x.rank === 2 ? (x as tf.Tensor2D) : tf.reshape(x, [x.shape[0], -1]))
  const apply = (params: Tree, x: tf.Tensor): tf.Tensor => {
    const { kernel } = params as { kernel: tf.Tensor2D }
    const z = tf.matMul(rows(x), kernel)
    const y = rule === undefined ? z : rule.apply(z)
    return outputShape.length === 1 ? y : tf.reshape(y, [x.shape[0], ...outputShape])
  }
  return {
    init: (key) => ({ kernel: kernelInit(key, [inputs, outputs]) }),
    apply,
    learn(params, x, slopeOf, known) {
      const y = known ?? apply(params, x)
      const { slope, aux } = slopeOf(y)
      const flat = rows(slope)
      const inner = rule === undefined ? flat : rule.slope(rows(y), flat)
      return { y, gradient: { kernel: tf.matMul(rows(x), inner as tf.Tensor2D, true) }, aux }
    },
  }
}

/** Any map whose gradient is left to automatic differentiation. */
function tapedMap(init: (key: Key) => Tree, apply: (params: Tree, x: tf.Tensor) => tf.Tensor): LocalMap {
  return {
    init,
    apply,
    learn(params, x, slopeOf) {
      const { grads, aux } = valueAndGradWithAux((at: Tree) => {
        const y = apply(at, x)
        const value = stopGradient(y)
        const found = slopeOf(value)
        return { loss: tf.sum(tf.mul(y, found.slope)), aux: { y: value, found: found.aux } }
      })(params)
      return { y: aux.y, gradient: grads, aux: aux.found }
    },
  }
}

/** Each pixel four times. */
export const upsample = (x: tf.Tensor): tf.Tensor =>
  tf.image.resizeNearestNeighbor(x as tf.Tensor4D, [2 * (x.shape[1] as number), 2 * (x.shape[2] as number)])

/** Both directions of a convolution 3×3 that halves the image. */
function convolution(
  inputShape: Shape,
  channels: number,
  forwardRule: ActivationRule,
  feedbackRule: ActivationRule | undefined,
  kernelInit: Initializer,
  downsampling: 'pool' | 'stride',
): MirrorLayer {
  const [height, width, inputs] = inputShape
  const pool = downsampling === 'pool'
  const options = { kernelSize: 3, padding: 1, kernelInit, bias: !pool, biasInit: initializers.zeros }
  const down = conv2d(channels, { ...options, stride: pool ? 1 : 2 })
  const up = conv2d(inputs, options)
  const outputShape = [height / 2, width / 2, channels]
  const run = (layer: typeof down, params: Tree, x: tf.Tensor): tf.Tensor => layer.apply(params as never, {}, x, { training: true }).y
  return {
    inputShape,
    outputShape,
    forward: tapedMap(
      (key) => down.init(key, inputShape).params as Tree,
      (params, x) => {
        const y = forwardRule.apply(run(down, params, x))
        return pool ? tf.maxPool(y as tf.Tensor4D, 2, 2, 'valid') : y
      },
    ),
    feedback: tapedMap(
      (key) => up.init(key, [height, width, channels]).params as Tree,
      (params, c) => {
        const y = run(up, params, upsample(c))
        return feedbackRule === undefined ? y : feedbackRule.apply(y)
      },
    ),
  }
}

/**
 * The layers of a network for inputs of one shape, φ after all of them but the last one of each direction.
 *
 * @param inputShape - of one example: [d] or [h, w, channels]
 * @throws ShapeError when an image can't be halved so often
 */
export function mirrorLayers(
  where: string,
  inputShape: Shape,
  { channels, hidden, classes, downsampling }: MirrorSizes,
  rule: ActivationRule,
  kernelInit: Initializer,
): MirrorLayer[] {
  const layers: MirrorLayer[] = []
  let shape = inputShape
  if (channels.length > 0 && shape.length !== 3) {
    throw new ShapeError(
      `${where}: channels need images [n, h, w, c], got x of shape [n, ${shape.join(', ')}]; leave channels out for rows`,
    )
  }
  for (const count of channels) {
    checkEven(where, shape, layers.length)
    layers.push(convolution(shape, count, rule, layers.length > 0 ? rule : undefined, kernelInit, downsampling))
    shape = layers[layers.length - 1].outputShape
  }
  for (const units of [...hidden, classes]) {
    const last = layers.length === channels.length + hidden.length
    layers.push({
      inputShape: shape,
      outputShape: [units],
      forward: denseMap(volume(shape), [units], last ? undefined : rule, kernelInit),
      feedback: denseMap(units, shape, layers.length > 0 ? rule : undefined, kernelInit),
    })
    shape = [units]
  }
  return layers
}

/** @throws ShapeError unless height and width at layer `layer` are even */
export function checkEven(where: string, [height, width]: Shape, layer: number): void {
  const odd = [height, width].find((size) => size % 2 !== 0)
  if (odd !== undefined) {
    throw new ShapeError(`${where}: spatial size ${odd} at layer ${layer} can't be mirrored: needs to be even; pad or resize the images`)
  }
}

/** @throws ShapeError unless the forward kernels are of these layers */
export function checkInputs(where: string, layers: readonly MirrorLayer[], params: readonly Tree[]): void {
  layers.forEach(({ inputShape }, l) => {
    const { kernel } = params[l] as { kernel: tf.Tensor }
    const takes = kernel.shape[kernel.rank - 2]
    const given = kernel.rank === 2 ? volume(inputShape) : inputShape[2]
    if (takes !== given) {
      const x = layers[0].inputShape.join(', ')
      throw new ShapeError(`${where}: layer ${l + 1} takes ${takes} inputs, but gets ${given} from x of shape [n, ${x}]`)
    }
  })
  const last = (params[layers.length - 1] as { kernel: tf.Tensor }).kernel
  const classes = layers[layers.length - 1].outputShape[0]
  if (last.shape[1] !== classes) {
    throw new ShapeError(`${where}: the last layer has ${last.shape[1]} outputs, but classes is ${classes}; use the options of training`)
  }
}

/** @throws OptionError unless `sizes` are positive integers */
export function checkSizes(where: string, name: string, sizes: readonly number[]): void {
  if (sizes.some((size) => !Number.isInteger(size) || size < 1)) {
    throw new OptionError(`${where}: ${name} must be positive integers, got [${sizes.join(', ')}]`)
  }
}

/** Values of a scope whose other tensors are freed. */
export const scoped = <T>(fn: () => T): T => tree.tidy(fn as () => Tree) as T
