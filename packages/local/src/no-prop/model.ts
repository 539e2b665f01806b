/** What the variants of NoProp share: class embeddings, block outputs, readouts, and prediction from runs of a chain. */
import { logSoftmax, OptionError, ShapeError, tree, type Key, type Tree } from '@bpf/core'
import { fold, key as keyOf, normal, split } from '@bpf/core/random'
import { initializers } from '@bpf/core/nn'
import * as tf from '@tensorflow/tfjs-core'
import { checkClasses, checkExamples, classificationSums, type ClassifierLearner, type LabelledBatch } from '../shared/labelled'
import { stackBlocks, type Bank, type NoPropBlock, noPropDenseBlock } from './block'
import { classPrototypes, learnedEmbedding } from './embedding'
import { affineLogits, expectedEmbedding, radialLogits, type Readout } from './objective'

/** Options of all variants. */
export interface NoPropCommonOptions {
  /** Number of classes C ≥ 2. */
  classes: number
  /** The network û(z, x[, t]). Default {@link noPropDenseBlock} with its default widths. */
  block?: NoPropBlock
  /**
   * Class embeddings W: `onehot`, fixed (default); `learned` from orthogonal rows of length `embeddingSize`; `prototype`, learned
   * from one input for each class, d = size of an input.
   */
  embedding?: 'onehot' | 'learned' | 'prototype'
  /** d of a learned embedding. Default 20. */
  embeddingSize?: number
  /** What reads the class off z_T: `affine`, trained (default), or `radial`, softmax of −‖z − u_y‖²/(2σ²). */
  readout?: 'affine' | 'radial'
  /** σ of the radial readout. Default 0.1, the noise of z_T at the default schedule's end. */
  readoutSigma?: number
  /** Runs of the chain whose class probabilities `predict` averages. Default 1. */
  samples?: number
  /** Told of a learned embedding with fewer dimensions than classes. */
  onWarning?: (message: string) => void
}

/** Trained tensors of a NoProp classifier. */
export type NoPropState = {
  /** Blocks that are trained as one. */
  blocks: readonly Bank[]
  /** W [C, d] */
  embedding: tf.Tensor
  /** The affine readout g; empty for the radial one. */
  readout: readonly Readout[]
  /** The learned noise schedule of CT; empty else. */
  schedule: Tree
  optimizer: Tree
}

/** Class prototypes found before training; undefined for other embeddings. */
export type NoPropAux = { values: Float32Array; size: number } | undefined

/** A NoProp classifier. */
export type NoPropClassifier = ClassifierLearner<NoPropState, NoPropAux> & {
  /**
   * The chain from noise to label: z_0..z_T [T + 1, n, d] of inputs x [n, …] (steps + 1 times for CT and FM).
   *
   * @param key - of z_0 and the noise; default seed 0
   */
  trajectory(tensors: NoPropState, x: tf.Tensor, key?: Key): tf.Tensor
}

/** One run of the chain: z_T [n, d], and z_0..z_T where the path is kept. */
export type ChainRun = (key: Key, keepPath: boolean) => { end: tf.Tensor; path: tf.Tensor | undefined }

/** @throws OptionError unless `value` is an integer of at least 1 */
export function checkPositive(where: string, name: string, value: number): void {
  if (!Number.isInteger(value) || value < 1) throw new OptionError(`${where}: ${name} must be an integer of at least 1, got ${value}`)
}

/** @throws OptionError unless `value` is a finite number above 0 */
export function checkAbove(where: string, name: string, value: number): void {
  if (!(value > 0 && value < Infinity)) throw new OptionError(`${where}: ${name} must be a finite number above 0, got ${value}`)
}

/** Everything about classes, embeddings and readouts, from checked options. */
export interface NoPropModel {
  readonly classes: number
  readonly block: NoPropBlock
  readonly samples: number
  readonly trainsEmbedding: boolean
  readonly prepare: NonNullable<ClassifierLearner<NoPropState, NoPropAux>['prepare']>
  /** First tensors; `count` blocks in banks of `atOnce`. `outputs` is what a block should put out. */
  init(
    key: Key,
    sample: LabelledBatch,
    aux: NoPropAux,
    blocks: { count: number; atOnce: number; time: boolean; outputs: 'classes' | 'embedding' },
  ): Omit<NoPropState, 'schedule' | 'optimizer'>
  /** u_y of one-hot labels [n, C]. */
  embed(labels: tf.Tensor, W: tf.Tensor): tf.Tensor
  /** û from a block's output: softmax(logits)·W, or the output itself where it is a vector. */
  predictedEmbedding(output: tf.Tensor, W: tf.Tensor): tf.Tensor
  /** Logits [n, C] of z [n, d]. */
  logits(z: tf.Tensor, W: tf.Tensor, readout: readonly Readout[]): tf.Tensor
}

/** @throws OptionError for an option out of range */
export function noPropModel(options: NoPropCommonOptions): NoPropModel {
  const {
    classes,
    block = noPropDenseBlock(),
    embedding = 'onehot',
    embeddingSize = 20,
    readout = 'affine',
    readoutSigma = 0.1,
    samples = 1,
    onWarning,
  } = options
  checkClasses('noProp', classes)
  checkPositive('noProp', 'embeddingSize', embeddingSize)
  checkPositive('noProp', 'samples', samples)
  checkAbove('noProp', 'readoutSigma', readoutSigma)

  function initialEmbedding(key: Key, aux: NoPropAux): tf.Tensor {
    if (embedding === 'onehot') return tf.eye(classes)
    if (embedding === 'learned') return learnedEmbedding(key, classes, embeddingSize, onWarning)
    if (aux === undefined) throw new OptionError("noProp: embedding 'prototype' needs what prepare found; train with fit or fitClassifier")
    return tf.tensor2d(aux.values, [classes, aux.size])
  }

  return {
    classes,
    block,
    samples,
    trainsEmbedding: embedding !== 'onehot',
    async prepare(data, _, { signal }) {
      await checkExamples('noProp', data, classes, { signal })
      return embedding === 'prototype' ? classPrototypes(data, classes, { signal }) : undefined
    },
    init(key, sample, aux, { count, atOnce, time, outputs }) {
      const [embeddingKey, readoutKey, blocksKey] = split(key, 3)
      const W = initialEmbedding(embeddingKey, aux)
      const d = W.shape[1] ?? 1
      const shapes = { x: sample.x.shape.slice(1), embedding: d, outputs: outputs === 'classes' ? classes : d, time }
      const made = Array.from({ length: count }, (_, t) => {
        const { params, state, outputs: length } = block.init(fold(blocksKey, t), shapes)
        checkOutput(length, classes, d, outputs)
        return { params, state }
      })
      const [kernelKey, biasKey] = split(readoutKey, 2)
      const fans = { fanIn: d, fanOut: classes }
      const affine = {
        kernel: initializers.torchDefault(kernelKey, [d, classes], fans),
        bias: initializers.torchDefault(biasKey, [classes], fans),
      }
      return {
        blocks: Array.from({ length: Math.ceil(count / atOnce) }, (_, i) => stackBlocks(made.slice(i * atOnce, (i + 1) * atOnce))),
        embedding: W,
        readout: readout === 'affine' ? [affine] : [],
      }
    },
    embed: (labels, W) => (embedding === 'onehot' ? labels : tf.matMul(labels, W)),
    predictedEmbedding(output, W) {
      if (output.shape[output.rank - 1] !== classes) return output
      return embedding === 'onehot' ? tf.softmax(output) : expectedEmbedding(output, W)
    },
    logits: (z, W, [affine]) => (affine === undefined ? radialLogits(z, W, readoutSigma) : affineLogits(z, affine)),
  }
}

function checkOutput(length: number, classes: number, d: number, wanted: 'classes' | 'embedding'): void {
  if (length === d || (wanted === 'classes' && length === classes)) return
  const expected = wanted === 'classes' ? `${classes} (classes, logits) or ${d} (embedding)` : `${d} (embedding)`
  throw new ShapeError(`noProp: a block must put out ${expected} values per example, got ${length}`)
}

/** Evaluation, prediction and trajectory from a chain. `chain` may encode x, its run must not. */
export function chainPredictions(
  model: NoPropModel,
  chain: (tensors: NoPropState, x: tf.Tensor) => ChainRun,
): Pick<NoPropClassifier, 'classes' | 'prepare' | 'evaluate' | 'predict' | 'trajectory'> {
  const { classes, samples } = model

  function logProbabilities(tensors: NoPropState, x: tf.Tensor, key: Key): tf.Tensor {
    const run = chain(tensors, x)
    const logits = (k: Key) => model.logits(run(k, false).end, tensors.embedding, tensors.readout)
    if (samples === 1) return logSoftmax(logits(key))
    const sum = tf.addN(Array.from({ length: samples }, (_, i) => tf.softmax(logits(fold(key, i)))))
    return tf.log(tf.maximum(tf.div(sum, samples), 1e-30))
  }

  return {
    classes,
    prepare: model.prepare,
    evaluate: (tensors, { x, y }, weight, key) => tree.tidy(() => classificationSums(logProbabilities(tensors, x, key), y, weight)),
    predict: (tensors, inputs, key = keyOf(0)) => tf.tidy(() => tf.exp(logProbabilities(tensors, inputs as tf.Tensor, key))),
    trajectory: (tensors, x, key = keyOf(0)) => tf.tidy(() => chain(tensors, x)(key, true).path as tf.Tensor),
  }
}

/** z_0 ~ N(0, I) [n, d]. */
export function startingNoise(key: Key, x: tf.Tensor, W: tf.Tensor): tf.Tensor {
  return normal(key, [x.shape[0], W.shape[1] ?? 1])
}
