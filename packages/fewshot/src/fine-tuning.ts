/**
 * Fine-tuning on the supports, the baseline of Chen, Liu, Kira, Wang and Huang, "A Closer Look at Few-shot Classification" (2019),
 * arXiv 1904.04232: a new linear head on features, or on a backbone that may be trained along with it.
 */
import {
  compile,
  ensureBackend,
  fit,
  logSoftmax,
  OptionError,
  ShapeError,
  softmaxCrossEntropy,
  tree,
  valueAndGrad,
  type Learner,
  type Tree,
} from '@bpf/core'
import { batch, fromArrays } from '@bpf/core/data'
import type { Layer } from '@bpf/core/nn'
import { applyUpdates, sgd, type Optimizer } from '@bpf/core/optim'
import * as tf from '@tensorflow/tfjs-core'
import { checkLabels } from './shared/matrix'
import { stackEpisodes, type TransductiveInput } from './transductive-cluster'

/** Images or other inputs x [n, …] and their classes y [n] (int32, 0..ways−1). */
export type SupportBatch = { x: tf.Tensor; y: tf.Tensor }

/** Options of {@link fineTuning}. */
export interface FineTuningOptions {
  /** Maps inputs [n, …] to features [n, D]. */
  backbone: Layer
  /** Parameters and state of the backbone from its training on base classes; they are copied. */
  pretrained: { params: Tree; state: Tree }
  /** New classes. */
  ways: number
  /** Train the head alone, or the backbone too. Default 'head'. */
  train?: 'head' | 'all'
  /** Default SGD with rate 0.01, momentum 0.9, weight decay 1e-3, as the paper has it. */
  optimizer?: Optimizer
}

/** Parameters of the backbone and of the head, state of the backbone (which stays), and of the optimizer. */
export type FineTuningState = { backbone: Tree; head: Head; network: Tree; optimizer: Tree }

type Head = { kernel: tf.Tensor; bias: tf.Tensor }

const defaultOptimizer = (): Optimizer => sgd({ learningRate: 0.01, momentum: 0.9, weightDecay: 1e-3 })

/**
 * A new linear head, from zeros, on a trained backbone: loss = mean cross-entropy of softmax(backbone(x) W + b) and y. The backbone
 * runs as in evaluation, with the batch-norm statistics of the base classes: a handful of supports has none of its own.
 *
 * @returns a learner for `fit`; `predict` gives class probabilities [n, ways]. {@link fineTune} does all of it
 * @throws OptionError for fewer than two classes
 */
export function fineTuning({
  backbone,
  pretrained,
  ways,
  train = 'head',
  optimizer = defaultOptimizer(),
}: FineTuningOptions): Omit<Learner<FineTuningState, SupportBatch>, 'predict'> & { predict(tensors: FineTuningState, x: Tree): tf.Tensor } {
  if (!Number.isInteger(ways) || ways < 2) throw new OptionError(`fineTuning: ways should be an integer of at least 2, got ${ways}`)
  if (train !== 'head' && train !== 'all') throw new OptionError(`fineTuning: train should be head or all, got ${String(train)}`)
  type Trained = { backbone: Tree; head: Head }
  const logitsOf = (trained: Trained, network: Tree, x: tf.Tensor): tf.Tensor => {
    const features = backbone.apply(trained.backbone, network, x, { training: false }).y
    return tf.add(tf.matMul(features as tf.Tensor2D, trained.head.kernel as tf.Tensor2D), trained.head.bias)
  }
  const logits = (tensors: FineTuningState, x: tf.Tensor): tf.Tensor => logitsOf(tensors, tensors.network, x)
  return {
    init(_, sample) {
      const features = tf.tidy(() => backbone.apply(pretrained.params, pretrained.state, sample.x, { training: false }).y.shape)
      if (features.length !== 2) throw new ShapeError(`fineTuning: the backbone should give [n, D], got [${features.join(', ')}]`)
      const head: Head = { kernel: tf.zeros([features[1] as number, ways]), bias: tf.zeros([ways]) }
      const params = tree.clone(pretrained.params)
      const trained: Tree = train === 'all' ? { backbone: params, head } : { head }
      const tensors = { backbone: params, head, network: tree.clone(pretrained.state), optimizer: optimizer.init(trained) }
      return { tensors, host: null }
    },
    step(tensors, { x, y }) {
      return tree.tidy(() => {
        const whole = (params: Tree): Trained => ({ backbone: tensors.backbone, ...(params as object) }) as Trained
        const trained: Tree = train === 'all' ? { backbone: tensors.backbone, head: tensors.head } : { head: tensors.head }
        const loss = (params: Tree): tf.Tensor => tf.mean(softmaxCrossEntropy(y, logitsOf(whole(params), tensors.network, x)))
        const { value, grads } = valueAndGrad(loss)(trained)
        const { updates, state } = optimizer.update(grads, tensors.optimizer, trained)
        const next = whole(applyUpdates(trained, updates))
        return { tensors: { ...next, network: tensors.network, optimizer: state }, metrics: { loss: value } }
      })
    },
    evaluate: (tensors, { x, y }, weight) =>
      tree.tidy(() => {
        const scores = logSoftmax(logits(tensors, x))
        const right = tf.cast(tf.equal(tf.argMax(scores, -1), tf.cast(y, 'int32')), 'float32')
        const loss = tf.neg(tf.sum(tf.mul(tf.sum(tf.mul(scores, tf.oneHot(tf.cast(y, 'int32'), ways)), -1), weight)))
        return { sums: { accuracy: tf.sum(tf.mul(right, weight)), loss }, count: tf.sum(weight) }
      }),
    predict: (tensors, x) => tf.tidy(() => tf.softmax(logits(tensors, x as tf.Tensor))),
  }
}

/** Options of {@link fineTune}. */
export interface FineTuneOptions extends FineTuningOptions {
  /** Steps. Default 100. */
  steps?: number
  /** Supports in one step. Default all. */
  batchSize?: number
  /** Order of the supports. Default 0. */
  seed?: number
  signal?: AbortSignal
}

/**
 * Fine-tunes on the supports of one task and labels its queries.
 *
 * @param support - inputs [S, …]
 * @param supportLabels - [S] in 0..ways−1, every class present
 * @param query - inputs [Q, …]
 * @returns labels [Q]
 * @throws ShapeError, OptionError, DataError on bad input
 */
export async function fineTune(
  { support, supportLabels, query }: { support: tf.Tensor; supportLabels: ArrayLike<number>; query: tf.Tensor },
  { steps = 100, batchSize, seed = 0, signal, ...options }: FineTuneOptions,
): Promise<Int32Array> {
  const ways = checkLabels('supportLabels', supportLabels, support.shape[0])
  if (ways !== options.ways) throw new ShapeError(`fineTune: expected labels of ${options.ways} classes, got ${ways}`)
  const learner = fineTuning(options)
  const examples = fromArrays({ x: support, y: Int32Array.from(Array.from(supportLabels)) })
  const data = batch(examples, batchSize ?? support.shape[0])
  const { state } = await fit(learner, data, { steps, seed, ...(signal !== undefined && { signal }) })
  const labels = tf.tidy(() => tf.argMax(learner.predict(state.tensors, query), -1))
  const values = (await labels.data()) as Int32Array
  tree.dispose(state.tensors)
  labels.dispose()
  return Int32Array.from(values)
}

/** Options of {@link fineTuneHeads}. */
export interface FineTuneHeadsOptions {
  /** Default SGD with rate 0.01, momentum 0.9, weight decay 1e-3. */
  optimizer?: Optimizer
  /** Steps, each over all supports. Default 100. */
  steps?: number
  signal?: AbortSignal
}

/** Heads of E tasks, kernel [E, D, K] and bias [E, 1, K], and the optimizer's state. */
export type HeadsState = { head: Head; optimizer: Tree }

/** Supports of E tasks, the examples along the first axis: x [n, E, D], y [n, E] (int32). */
export type HeadsBatch = { x: tf.Tensor; y: tf.Tensor }

/**
 * A learner of the linear heads of E tasks at once; the loss is the sum of the tasks' own, so that each trains as if alone.
 *
 * @param ways - classes K of every task
 */
export function fineTuningHeads({
  ways,
  optimizer = defaultOptimizer(),
}: {
  ways: number
  optimizer?: Optimizer
}): Omit<Learner<HeadsState, HeadsBatch>, 'predict'> & { predict(tensors: HeadsState, x: Tree): tf.Tensor } {
  if (!Number.isInteger(ways) || ways < 2) throw new OptionError(`fineTuningHeads: ways should be an integer of at least 2, got ${ways}`)
  /** [E, n, K] */
  const logits = ({ kernel, bias }: Head, x: tf.Tensor): tf.Tensor =>
    tf.add(tf.matMul(tf.transpose(x, [1, 0, 2]) as tf.Tensor3D, kernel as tf.Tensor3D), bias)
  const losses = (head: Head, { x, y }: HeadsBatch): tf.Tensor => {
    const scores = tf.reshape(logits(head, x), [x.shape[0] * (x.shape[1] as number), ways])
    const labels = tf.reshape(tf.transpose(y), [y.size])
    return tf.reshape(softmaxCrossEntropy(labels, scores), [x.shape[1] as number, x.shape[0]])
  }
  return {
    init(_, { x }) {
      const [, E, D] = x.shape as [number, number, number]
      const head: Head = { kernel: tf.zeros([E, D, ways]), bias: tf.zeros([E, 1, ways]) }
      return { tensors: { head, optimizer: optimizer.init(head) }, host: null }
    },
    step({ head, optimizer: before }, examples) {
      return tree.tidy(() => {
        const { value, grads } = valueAndGrad((params: Head) => tf.sum(tf.mean(losses(params, examples), 1)))(head)
        const { updates, state } = optimizer.update(grads, before, head)
        return { tensors: { head: applyUpdates(head, updates), optimizer: state }, metrics: { loss: value } }
      })
    },
    evaluate: ({ head }, examples, weight) =>
      tree.tidy(() => ({ sums: { loss: tf.sum(tf.mul(losses(head, examples), weight)) }, count: tf.sum(weight) })),
    predict: ({ head }, x) => tf.tidy(() => tf.softmax(logits(head, x as tf.Tensor))),
  }
}

/**
 * Labels the queries of tasks by a linear head on features, trained on the supports of each; all tasks of a call train at once.
 *
 * @param tasks - of one size: the same numbers of supports, queries, columns and classes
 * @returns labels [Q] of each task
 * @throws ShapeError, DataError on bad input
 *
 * @example
 * ```ts
 * import { fineTuneHeads } from '@bpf/fewshot'
 *
 * const support = { data: Float32Array.of(1, 0, 0, 1), shape: [2, 2] as const }
 * const query = { data: Float32Array.of(2, 1, 1, 3), shape: [2, 2] as const }
 * const [labels] = await fineTuneHeads([{ support, supportLabels: [0, 1], query }])
 * console.log(labels) // Int32Array [ 0, 1 ]
 * ```
 */
export async function fineTuneHeads(
  tasks: readonly TransductiveInput[],
  { optimizer, steps = 100, signal }: FineTuneHeadsOptions = {},
): Promise<Int32Array[]> {
  await ensureBackend()
  const { batch: episodes, ways } = stackEpisodes(tasks)
  const learner = fineTuningHeads({ ways, ...(optimizer !== undefined && { optimizer }) })
  const [x, y, query] = [
    tf.transpose(episodes.support, [1, 0, 2]),
    tf.transpose(episodes.supportLabels),
    tf.transpose(episodes.query, [1, 0, 2]),
  ]
  tree.dispose(episodes)
  const [S, Q] = [x.shape[0], query.shape[0]]
  const { state } = await fit(learner, batch(fromArrays({ x, y }), S), { steps, seed: 0, ...(signal !== undefined && { signal }) })
  const predict = compile((tensors: HeadsState, inputs: tf.Tensor) => tf.argMax(learner.predict(tensors, inputs), -1))
  const labels = predict(state.tensors, query)
  const values = (await labels.data()) as Int32Array
  tf.dispose([x, y, query, labels])
  tree.dispose(state.tensors)
  return tasks.map((_, e) => Int32Array.from(values.subarray(e * Q, (e + 1) * Q)))
}
