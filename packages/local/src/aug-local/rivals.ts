/**
 * The local objectives that the paper compares with, in the form of its code (networks/auxiliary_nets.py, losses.py):
 * pooling and a dense layer; DGL (Belilovsky et al. 2020, arXiv:1901.08164); PredSim (Nøkland and Eidnes 2019,
 * arXiv:1901.06656); InfoPro (Wang et al. 2021, arXiv:2101.10832).
 */
import { OptionError, ShapeError, sigmoidCrossEntropy, type Tree } from '@bpf/core'
import {
  batchNorm,
  conv2d,
  dense,
  flatten,
  globalAvgPool,
  initializers,
  lambda,
  relu,
  sequential,
  type Layer,
  type Shape,
} from '@bpf/core/nn'
import { fold } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { classifierObjective, type LocalObjective } from '../shared/block-chain'
import { oneHot, type LabelledBatch } from '../shared/labelled'
import type { Auxiliary } from './local-learning'

/** A layer whose parts depend on the shape of its input. */
function fromShape(make: (shape: Shape) => Layer): Layer {
  return {
    init: (key, shape) => make(shape).init(key, shape),
    apply: (params, state, x, options) => make(x.shape.slice(1)).apply(params, state, x, options),
  }
}

/** @throws ShapeError unless features are images */
function imageShape(where: string, shape: Shape): [number, number, number] {
  if (shape.length !== 3) throw new ShapeError(`${where}: expected features [h, w, channels], got [${shape.join(', ')}]`)
  return [shape[0], shape[1], shape[2]]
}

/** Convolution without bias, weights N(0, 2/(k·k·outputs)). */
const conv = (channels: number, kernelSize: number, stride = 1): Layer =>
  conv2d(channels, { kernelSize, stride, padding: (kernelSize - 1) / 2, bias: false, kernelInit }) as Layer
const kernelInit = initializers.kaimingNormal({ mode: 'fanOut' })

/** Global average pooling and a dense layer: local learning at its plainest ("0c1f" in the paper's code). */
export function poolingAuxiliary(): Auxiliary {
  return ({ classes }) => classifierObjective(sequential([globalAvgPool(), dense(classes)]) as Layer)
}

/** Averages as PyTorch's AdaptiveAvgPool2d does: output i is the mean of inputs ⌊i·s/o⌋ to ⌈(i + 1)·s/o⌉, which may overlap. */
function averaging(from: number, to: number): tf.Tensor3D {
  const values = new Float32Array(to * from)
  for (let i = 0; i < to; i++) {
    const [start, end] = [Math.floor((i * from) / to), Math.ceil(((i + 1) * from) / to)]
    values.fill(1 / (end - start), i * from + start, i * from + end)
  }
  return tf.tensor3d(values, [1, to, from])
}

/** @returns a layer from [n, h, w, c] to [n, height, width, c] */
function adaptiveAvgPool(height: number, width: number): Layer {
  return lambda(
    (x) => {
      const [n, h, w, c] = x.shape
      const rows = tf.matMul(averaging(h, height), tf.reshape(x, [n, h, w * c]))
      const columns = tf.matMul(averaging(w, width), tf.reshape(rows, [n * height, w, c]))
      return tf.reshape(columns, [n, height, width, c])
    },
    (shape) => [height, width, shape[2]],
  ) as Layer
}

/**
 * DGL: the features averaged to a quarter of the size, three 1×1 convolutions with batch norm and ReLU, averaged to at most
 * 2×2, and a perceptron of two hidden layers with batch norm and ReLU.
 *
 * @see Belilovsky et al., "Decoupled greedy learning of CNNs", 2020, arXiv:1901.08164
 */
export function dglAuxiliary(): Auxiliary {
  const head = (shape: Shape, classes: number): Layer => {
    const [h, w, c] = imageShape('dglAuxiliary', shape)
    const [height, width] = [Math.ceil(h / 4), Math.ceil(w / 4)]
    const [top, side] = [Math.min(height, 2), Math.min(width, 2)]
    const units = top * side * c
    const pointwise = [conv(c, 1), batchNorm(), relu()] as Layer[]
    const hidden = [dense(units, { bias: false }), batchNorm(), relu()] as Layer[]
    return sequential([
      adaptiveAvgPool(height, width),
      ...pointwise,
      ...pointwise,
      ...pointwise,
      adaptiveAvgPool(top, side),
      flatten() as Layer,
      ...hidden,
      ...hidden,
      dense(classes) as Layer,
    ]) as Layer
  }
  return ({ classes }) => classifierObjective(fromShape((shape) => head(shape, classes)))
}

/** Cosines between the centred rows of x [n, d]. */
function cosines(x: tf.Tensor): tf.Tensor {
  const centred = tf.sub(x, tf.mean(x, 1, true))
  const length = tf.sqrt(tf.add(tf.sum(tf.square(centred), 1, true), 1e-16))
  const unit = tf.div(centred, tf.add(length, 1e-8))
  return tf.clipByValue(tf.matMul(unit, unit, false, true), -1, 1)
}

/** The deviation of each channel over space (of n − 1 values), or all values where there is no space or no more than 3 channels. */
function spread(x: tf.Tensor): tf.Tensor {
  const [n, h, w, c] = x.shape
  if (c <= 3 || h <= 1) return tf.reshape(x, [n, h * w * c])
  const centred = tf.sub(x, tf.mean(x, [1, 2], true))
  // The derivative of the root is infinite at a constant channel.
  return tf.sqrt(tf.add(tf.div(tf.sum(tf.square(centred), [1, 2]), h * w - 1), 1e-12))
}

/**
 * Similarity-matching loss: mean squared difference between the cosines of examples by their features and by their classes.
 *
 * @param features - [n, h, w, c]
 * @param labels - class indices [n]
 * @returns scalar
 */
export function similarityLoss(features: tf.Tensor, labels: tf.Tensor, classes: number): tf.Tensor {
  return tf.mean(tf.square(tf.sub(cosines(spread(features)), cosines(oneHot(labels, classes)))))
}

/** Average pooling until at most `limit` values are left, halving height and width in turn; then one dense layer. */
function pooledLinear(shape: Shape, limit: number, classes: number): Layer {
  const [h, w, c] = imageShape('predSimAuxiliary', shape)
  const window: [number, number] = [1, 1]
  const values = (): number => Math.ceil(h / window[0]) * Math.ceil(w / window[1]) * c
  for (let axis = 0; values() > limit && window[0] < h; axis = 1 - axis) window[axis] *= 2
  const pooled = lambda(
    (x) => (window[0] * window[1] === 1 ? x.clone() : tf.avgPool(x as tf.Tensor4D, window, window, 'same')),
    () => [Math.ceil(h / window[0]), Math.ceil(w / window[1]), c],
  )
  return sequential([pooled, flatten(), dense(classes)]) as Layer
}

/**
 * PredSim: λ times the {@link similarityLoss} of a 3×3 convolution of the features, plus (1 − λ) times the cross-entropy of a
 * pooled linear classifier.
 *
 * @param options.similarity - λ in [0, 1]. Default 0.99.
 * @param options.features - most inputs of the linear classifier. Default 1024.
 * @throws OptionError for λ out of range
 * @see Nøkland & Eidnes, "Training neural networks with local error signals", 2019, arXiv:1901.06656
 */
export function predSimAuxiliary(options: { similarity?: number; features?: number } = {}): Auxiliary {
  const { similarity = 0.99, features: limit = 1024 } = options
  if (!(similarity >= 0 && similarity <= 1)) throw new OptionError(`predSimAuxiliary: similarity must be in [0, 1], got ${similarity}`)
  const transform = fromShape((shape) => conv(imageShape('predSimAuxiliary', shape)[2], 3))
  return ({ classes }) =>
    weighted({
      main: { layer: transform, weight: similarity, loss: (y, batch) => similarityLoss(y, batch.y, classes) },
      classifier: { layer: fromShape((shape) => pooledLinear(shape, limit, classes)), weight: 1 - similarity },
    })
}

/** Weights of InfoPro's two terms at one end of the network. */
export interface InfoProWeights {
  reconstruction: number
  crossEntropy: number
}

/** Options of {@link infoProAuxiliary}. */
export interface InfoProOptions {
  /**
   * What inputs were standardised with, (pixel − mean)/stddev, one number or one for each channel: pixels, clipped to
   * [0, 1], are rebuilt. Default 0 and 1.
   */
  mean?: number | readonly number[]
  stddev?: number | readonly number[]
  /** At the first module. Default 5 and 0.05. */
  first?: InfoProWeights
  /** At the last module but one; on a line between. Default 0.2 and 0.5. */
  last?: InfoProWeights
}

/** Features enlarged to the image, two 3×3 convolutions around batch norm and ReLU: logits of pixels. */
function decoder([height, width, channels]: Shape): Layer {
  const enlarge = lambda(
    (x) => (x.shape[1] === height && x.shape[2] === width ? x.clone() : tf.image.resizeBilinear(x as tf.Tensor4D, [height, width], true)),
    (shape) => [height, width, shape[2]],
  )
  const convolution = (outputs: number) => conv2d(outputs, { kernelSize: 3, kernelInit })
  return sequential([enlarge, convolution(12), batchNorm(), relu(), convolution(channels)]) as Layer
}

/**
 * InfoPro: features must still tell the image (binary cross-entropy of a decoder's pixels) as well as the class
 * (cross-entropy of a small convolutional classifier), the first more in early modules, the second in late ones.
 *
 * @see Wang et al., "Revisiting locally supervised learning: an alternative to end-to-end training", 2021, arXiv:2101.10832
 */
export function infoProAuxiliary(options: InfoProOptions = {}): Auxiliary {
  const { mean = 0, stddev = 1 } = options
  const { first = { reconstruction: 5, crossEntropy: 0.05 }, last = { reconstruction: 0.2, crossEntropy: 0.5 } } = options
  const perChannel = (value: number | readonly number[]) => (typeof value === 'number' ? value : tf.tensor1d([...value]))
  const pixels = (x: tf.Tensor): tf.Tensor => tf.clipByValue(tf.add(tf.mul(x, perChannel(stddev)), perChannel(mean)), 0, 1)
  return ({ layers, index, module, modules, classes }) => {
    const ratio = modules > 2 ? module / (modules - 2) : 0
    const between = (name: keyof InfoProWeights): number => first[name] * (1 - ratio) + last[name] * ratio
    const isLastStage = layers[index].width === layers[layers.length - 1].width
    const classifier = fromShape((shape) => {
      const c = imageShape('infoProAuxiliary', shape)[2]
      const features = isLastStage ? conv(c, 3) : conv(2 * c, 3, 2)
      return sequential([features, batchNorm(), relu(), globalAvgPool(), dense(128), relu(), dense(classes)]) as Layer
    })
    const rebuilt = (logits: tf.Tensor, { x }: LabelledBatch): tf.Tensor => tf.mean(sigmoidCrossEntropy(pixels(x), logits))
    return weighted({
      main: { layer: decoder, weight: between('reconstruction'), loss: rebuilt },
      classifier: { layer: classifier, weight: between('crossEntropy') },
    })
  }
}

/** A helper of two parts on the same features: one with a loss of its own, and a classifier. */
interface TwoParts {
  /** `layer` may depend on the shape of the network's input. */
  main: {
    layer: Layer | ((inputShape: Shape) => Layer)
    weight: number
    loss(outputs: tf.Tensor, batch: LabelledBatch): tf.Tensor
  }
  classifier: { layer: Layer; weight: number }
}

type Parts = { main: Tree; classifier: Tree }

/** The weighted sum of both parts' losses. */
function weighted({ main, classifier }: TwoParts): LocalObjective {
  const objective = classifierObjective(classifier.layer)
  const layerFor = (inputShape: Shape): Layer => (typeof main.layer === 'function' ? main.layer(inputShape) : main.layer)
  return {
    init(key, featureShape, inputShape) {
      const first = layerFor(inputShape).init(fold(key, 0), featureShape)
      const second = classifier.layer.init(fold(key, 1), featureShape)
      return {
        params: { main: first.params, classifier: second.params },
        state: { main: first.state, classifier: second.state },
      }
    },
    loss(params, state, features, batch, options) {
      const [own, before] = [params as Parts, state as Parts]
      const first = layerFor(batch.x.shape.slice(1)).apply(own.main, before.main, features, options)
      const second = objective.loss(own.classifier, before.classifier, features, batch, options)
      const loss = tf.add(tf.mul(main.loss(first.y, batch), main.weight), tf.mul(second.loss, classifier.weight))
      return { loss, state: { main: first.state, classifier: second.state } }
    },
    logits: (params, state, features) => objective.logits((params as Parts).classifier, (state as Parts).classifier, features),
  }
}
