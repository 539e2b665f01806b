/**
 * The convolutional autoencoder of Kao and Hariharan 2024, arXiv 2409.19841: the forward network encodes an image and decodes
 * it, the feedback network goes from the target image through mirrored layers back to the input. As in the reference code
 * every convolution but the last of each network has batch norm (scale 1, offset 0, not trained) and φ behind it, and both
 * networks' last kernels start at zero.
 */
import {
  DataError,
  OptionError,
  ShapeError,
  stopGradient,
  tree,
  valueAndGradWithAux,
  type Dataset,
  type Key,
  type Learner,
  type Tree,
} from '@bpf/core'
import { batchNorm, conv2d, initializers, lambda, sequential, type Initializer, type Layer, type Shape } from '@bpf/core/nn'
import { applyUpdates } from '@bpf/core/optim'
import { fold } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { activationRule, type ActivationRule, type MirrorActivation } from './activation'
import type { BothNetworks } from './local-step'
import { checkEven, checkSizes, upsample } from './mirror'
import { checkWeights } from './pair-loss'
import { counterCurrentOptimizer, settledUpdate, type CounterCurrentUpdate } from './updates'

/** Images x and what is to be made of them y, both [n, h, w, c] float: y = x, or a clean, rotated, shifted x. */
export type ImagePair = { x: tf.Tensor; y: tf.Tensor }

/** Options of {@link counterCurrentAutoencoder}; the update's defaults are rate 0.01, momentum 0.9, decay 1e-4, clip 0.2, centralised. */
export interface CounterCurrentAutoencoderOptions extends CounterCurrentUpdate {
  /** Channels of the encoder's convolutions, each of stride 2; the decoder mirrors them. Default 128, 256, 1024, 2048. */
  channels?: readonly number[]
  /** φ. Default 'relu'. */
  activation?: MirrorActivation
  /** λ_C, weight of the squared difference. Default 1. */
  lambdaC?: number
  /** λ_D, weight of the squared difference of normalised maps. Default 1. */
  lambdaD?: number
  /** Where the feedback network is updated otherwise than the forward network. */
  feedback?: CounterCurrentUpdate
}

/** Parameters, running statistics and optimizer states of both networks. */
export type CounterCurrentAutoencoderState = {
  params: BothNetworks
  statistics: BothNetworks
  optimizers: BothNetworks
}

/** A learner with its parts. Besides `loss` its metrics are `pair0` … `pair{L}`; `predict` reconstructs. */
export interface CounterCurrentAutoencoder extends Omit<Learner<CounterCurrentAutoencoderState, ImagePair>, 'predict'> {
  /** The forward network alone, for a baseline of the same architecture. */
  readonly network: Layer<readonly Tree[], readonly Tree[]>
  /** @returns images [n, h, w, c] */
  predict(tensors: CounterCurrentAutoencoderState, inputs: Tree): tf.Tensor
  /** @returns the encoder's last activations [n, h/2^k, w/2^k, channels] */
  encode(tensors: CounterCurrentAutoencoderState, x: tf.Tensor): tf.Tensor
  /** Activations a_0 = x … a_L and signals c_0 … c_L = y of a batch, with its own statistics. */
  pairs(tensors: CounterCurrentAutoencoderState, batch: ImagePair): { activations: tf.Tensor[]; signals: tf.Tensor[] }
}

const where = 'counterCurrentAutoencoder'

/** Orthogonal along (inputs · window) or (outputs · window), whichever is of the fewer channels, as the reference turns it. */
const orthogonalKernel =
  (gain: number): Initializer =>
  (key, [height, width, inputs, outputs]) => {
    if (gain === 0) return tf.zeros([height, width, inputs, outputs])
    const draw = initializers.orthogonal({ gain })
    if (outputs >= inputs) return draw(key, [height, width, inputs, outputs])
    return tf.tidy(() => tf.transpose(draw(key, [height, width, outputs, inputs]), [0, 1, 3, 2]))
  }

const up = lambda(upsample, ([height, width, channels]) => [2 * height, 2 * width, channels])

/** One layer of each network. */
interface Mirrored {
  forward: Layer
  feedback: Layer
}

function layersOf(imageChannels: number, channels: readonly number[], rule: ActivationRule): Mirrored[] {
  const phi = lambda((x) => rule.apply(x))
  /** A convolution that halves or doubles the image; `plain` without what follows. */
  const block = (outputs: number, halves: boolean, gain: number, plain: boolean, biasInit: Initializer): Layer => {
    // Before batch norm a bias changes nothing: it is left out.
    const options = { kernelSize: 3, padding: 1, kernelInit: orthogonalKernel(gain), bias: plain, biasInit }
    const conv = conv2d(outputs, { ...options, stride: halves ? 2 : 1 })
    const rest = plain ? [] : [batchNorm({ affine: 'none' }), phi]
    return sequential([...(halves ? [] : [up]), conv, ...rest]) as unknown as Layer
  }
  const { zeros, torchDefault } = initializers
  const widths = [imageChannels, ...channels]
  const encoder = channels.map((count, k) => ({
    forward: block(count, true, 1, false, zeros),
    feedback: block(widths[k], false, k === 0 ? 0 : 1e-3, k === 0, torchDefault),
  }))
  const decoder = channels.map((count, k) => ({
    forward: block(widths[k], false, k === 0 ? 0 : 1e-3, k === 0, zeros),
    feedback: block(count, true, 1, false, torchDefault),
  }))
  return [...encoder, ...decoder.reverse()]
}

/** Maps of each example and channel without their mean, of length 1. */
function normaliseMaps(maps: tf.Tensor): tf.Tensor {
  const centred = tf.sub(maps, tf.mean(maps, [1, 2], true))
  const squares = tf.sum(tf.square(centred), [1, 2], true)
  // At a constant map the root has no slope: nothing goes back through its length.
  const norms = tf.sqrt(tf.maximum(squares, 1e-30))
  return tf.div(centred, tf.add(norms, 1e-8))
}

const meanSquare = (a: tf.Tensor, b: tf.Tensor): tf.Tensor => tf.mean(tf.square(tf.sub(a, b)))

/** Images without NaN, x and y of one shape that can be halved. */
async function checkImages(data: Dataset<ImagePair>, signal?: AbortSignal): Promise<void> {
  let row = 0
  for await (const { batch, weight } of data.weightedBatches({ signal })) {
    const count = batch.x.shape[0]
    for (const name of ['x', 'y'] as const) {
      const values = await batch[name].data<'float32'>()
      const bad = values.findIndex((value) => !Number.isFinite(value))
      if (bad >= 0) {
        const example = row + Math.floor((bad * count) / values.length)
        throw new DataError(`${where}: ${name} is ${values[bad]} in example ${example}; expected finite values`)
      }
    }
    tf.dispose([batch.x, batch.y, weight])
    row += count
  }
}

/**
 * Counter-current learning of a convolutional autoencoder. With H the height of a map and â a map without its mean and of
 * length 1, the inner pairs have the loss λ_C·H·mse(a, c) + λ_D·H·mse(â, ĉ), the first (x, c_0) and the last (a_L, y)
 * λ_C·H·mse. Pair l trains the forward layer that ends in a_l and the feedback layer that ends in c_l.
 *
 * @returns a learner of {@link ImagePair} batches; evaluation gives `loss`, the mean squared error of a pixel
 * @throws OptionError for channels out of range; ShapeError for images that can't be halved so often, or x and y of
 *   different shapes
 */
export function counterCurrentAutoencoder(options: CounterCurrentAutoencoderOptions = {}): CounterCurrentAutoencoder {
  const { channels = [128, 256, 1024, 2048], activation = 'relu', lambdaC = 1, lambdaD = 1, feedback = {} } = options
  checkSizes(where, 'channels', channels)
  if (channels.length === 0) throw new OptionError(`${where}: channels must have at least one entry`)
  checkWeights(where, { lambdaC, lambdaD })
  const rule = activationRule(where, activation)
  const update = settledUpdate(options, {
    learningRate: 0.01,
    momentum: 0.9,
    weightDecay: 1e-4,
    clip: 0.2,
    centralise: true,
    warmUpSteps: 0,
  })
  const optimizers = {
    forward: counterCurrentOptimizer(where, update),
    feedback: counterCurrentOptimizer(where, settledUpdate(feedback, update)),
  }

  function checkPair(x: tf.Tensor, y: tf.Tensor): void {
    if (x.shape[0] === 0) throw new ShapeError(`${where}: the batch has zero rows; expected at least one image`)
    if (!tf.util.arraysEqual(x.shape, y.shape)) {
      throw new ShapeError(`${where}: x has shape [${x.shape.join(', ')}], y [${y.shape.join(', ')}]; expected images of one shape`)
    }
  }

  function build(imageShape: Shape): Mirrored[] {
    if (imageShape.length !== 3)
      throw new ShapeError(`${where}: expected images [n, h, w, c], got x of shape [n, ${imageShape.join(', ')}]`)
    channels.forEach((_, k) =>
      checkEven(
        where,
        imageShape.slice(0, 2).map((size) => size / 2 ** k),
        k,
      ),
    )
    return layersOf(imageShape[2], channels, rule)
  }

  function initForward(layers: readonly Mirrored[], key: Key, imageShape: Shape) {
    let shape = imageShape
    return layers.map(({ forward }, l) => {
      const part = forward.init(fold(key, l), shape)
      const inputShape = shape
      shape = part.outputShape
      return { ...part, inputShape }
    })
  }

  /** Activations up, or signals down, each layer from what is held fixed of the one before. */
  function run(layers: readonly Layer[], params: readonly Tree[], states: readonly Tree[], x: tf.Tensor, training: boolean) {
    const values = [x]
    const next = layers.map((layer, l) => {
      const { y, state } = layer.apply(params[l], states[l], stopGradient(values[l]), { training })
      values.push(y)
      return state
    })
    return { values, states: next }
  }
  const forwardLayers = (layers: readonly Mirrored[]): Layer[] => layers.map(({ forward }) => forward)
  const feedbackLayers = (layers: readonly Mirrored[]): Layer[] => layers.map(({ feedback: layer }) => layer).reverse()
  const reversed = <T>(list: readonly T[]): T[] => [...list].reverse()

  /** Both networks on a batch; the feedback network's lists are in the order of layers, not of its run. */
  function runBoth({ params, statistics }: { params: BothNetworks; statistics: BothNetworks }, { x, y }: ImagePair) {
    const layers = build(x.shape.slice(1))
    const above = run(forwardLayers(layers), params.forward, statistics.forward, x, true)
    const below = run(feedbackLayers(layers), reversed(params.feedback), reversed(statistics.feedback), y, true)
    return {
      activations: above.values,
      signals: reversed(below.values),
      statistics: { forward: above.states, feedback: reversed(below.states) },
    }
  }

  function pairLosses(activations: readonly tf.Tensor[], signals: readonly tf.Tensor[]): tf.Tensor[] {
    return activations.map((a, l) => {
      const c = signals[l]
      const height = a.shape[1] as number
      const difference = tf.mul(meanSquare(a, c), lambdaC * height)
      if (l === 0 || l === activations.length - 1) return difference
      return tf.add(difference, tf.mul(meanSquare(normaliseMaps(a), normaliseMaps(c)), lambdaD * height))
    })
  }

  const evaluated = ({ params, statistics }: CounterCurrentAutoencoderState, x: tf.Tensor): tf.Tensor[] =>
    run(forwardLayers(build(x.shape.slice(1))), params.forward, statistics.forward, x, false).values

  return {
    network: {
      init(key, imageShape) {
        const parts = initForward(build(imageShape), key, imageShape)
        return { params: parts.map(({ params }) => params), state: parts.map(({ state }) => state), outputShape: imageShape }
      },
      apply(params, states, x, { training }) {
        let y = x
        const next = forwardLayers(build(x.shape.slice(1))).map((layer, l) => {
          const result = layer.apply(params[l], states[l], y, { training })
          y = result.y
          return result.state
        })
        return { y, state: next }
      },
    },
    prepare: (data, _, { signal }) => checkImages(data, signal),
    init(key, { x, y }) {
      checkPair(x, y)
      const imageShape = x.shape.slice(1)
      const layers = build(imageShape)
      const parts = initForward(layers, fold(key, 0), imageShape)
      const mirrored = layers.map(({ feedback: layer }, l) => layer.init(fold(fold(key, 1), l), parts[l].outputShape))
      const params = { forward: parts.map((part) => part.params), feedback: mirrored.map((part) => part.params) }
      const states = { forward: optimizers.forward.init(params.forward), feedback: optimizers.feedback.init(params.feedback) }
      const statistics = { forward: parts.map(({ state }) => state), feedback: mirrored.map(({ state }) => state) }
      return { tensors: { params, statistics, optimizers: states }, host: null }
    },
    step({ params, statistics, optimizers: states }, batch) {
      checkPair(batch.x, batch.y)
      return tree.tidy(() => {
        const { value, grads, aux } = valueAndGradWithAux((at: BothNetworks) => {
          const both = runBoth({ params: at, statistics }, batch)
          const losses = pairLosses(both.activations, both.signals)
          return { loss: tf.addN(losses), aux: { losses, statistics: both.statistics } }
        })(params)
        const forward = optimizers.forward.update(grads.forward, states.forward, params.forward)
        const mirrored = optimizers.feedback.update(grads.feedback, states.feedback, params.feedback)
        const next = {
          params: applyUpdates<BothNetworks>(params, { forward: forward.updates, feedback: mirrored.updates }),
          statistics: aux.statistics,
          optimizers: { forward: forward.state, feedback: mirrored.state },
        }
        return { tensors: next, metrics: { loss: value, ...Object.fromEntries(aux.losses.map((loss, l) => [`pair${l}`, loss])) } }
      })
    },
    evaluate(tensors, { x, y }, weight) {
      return tree.tidy(() => {
        const values = evaluated(tensors, x)
        const errors = tf.mean(tf.square(tf.sub(values[values.length - 1], y)), [1, 2, 3])
        return { sums: { loss: tf.sum(tf.mul(errors, weight)) }, count: tf.sum(weight) }
      })
    },
    predict: (tensors, inputs) =>
      tf.tidy(() => {
        const values = evaluated(tensors, inputs as tf.Tensor)
        return values[values.length - 1]
      }),
    encode: (tensors, x) => tf.tidy(() => evaluated(tensors, x)[channels.length]),
    pairs: (tensors, batch) =>
      tree.tidy(() => {
        const { activations, signals } = runBoth(tensors, { x: tf.clone(batch.x), y: tf.clone(batch.y) })
        return { activations, signals }
      }),
  }
}
