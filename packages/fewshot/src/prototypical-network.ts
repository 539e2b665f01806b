/**
 * Prototypical networks: a backbone trained episode by episode, so that queries lie nearest to the mean of their class's supports
 * (Snell, Swersky and Zemel 2017, arXiv 1703.05175), with any mean of the losses of Mendez-Ruiz et al. 2023, arXiv 2305.09062
 * (paper 25). With `losses: ['cross']`, the default, it is the package's baseline.
 */
import { DataError, OptionError, ShapeError, tree, valueAndGradWithAux, type Dataset, type Key, type Learner, type Tree } from '@bpf/core'
import type { Layer } from '@bpf/core/nn'
import { adam, applyUpdates, type Optimizer } from '@bpf/core/optim'
import { fold, key as makeKey } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { episodeSampler, type EpisodeOptions } from './episodes'
import {
  checkLosses,
  prototypeLogits,
  prototypesOf,
  type EpisodeLossName,
  trustedEpisodeLoss,
  type EpisodeLossOptions,
} from './icnn-loss/episode-loss'
import { groupedLabels } from './shared/embeddings'

/** The examples of an episode, [ways · (shots + queries), …]: all supports, then all queries, each grouped by class. */
export type EpisodeExamples = { x: tf.Tensor }

/** Parameters and layer state of the backbone, and the optimizer's state. */
export type PrototypicalState = { params: Tree; network: Tree; optimizer: Tree }

/** Options of {@link prototypicalNetwork}. */
export interface PrototypicalOptions extends EpisodeOptions, Omit<EpisodeLossOptions, 'losses' | 'key'> {
  /** From [n, …] to embeddings [n, D]. */
  backbone: Layer<Tree, Tree>
  /** The loss is the mean of these parts. Default `['cross']`. */
  losses?: readonly EpisodeLossName[]
  /** Default Adam with rate 1e-3. */
  optimizer?: Optimizer
}

/** A learner of a backbone, and what can be done with a state. */
export interface PrototypicalLearner extends Learner<PrototypicalState, EpisodeExamples> {
  /** Embeddings [n, D] of examples [n, …], as at test time. Traceable. */
  embed(tensors: PrototypicalState, x: tf.Tensor): tf.Tensor
  /**
   * Classes of queries by the nearest prototype, in the episode's numbering. Traceable.
   *
   * @param x - [ways · shots + queries, …]: the supports grouped by class, then any number of queries
   * @returns int32 [queries]
   */
  predict(tensors: PrototypicalState, x: tf.Tensor): tf.Tensor
}

/**
 * A learner over episodes, whose batches come from {@link episodeDataset}: one pass of the backbone over supports and queries
 * together in training mode, so that batch norm's statistics are of both, then the mean of the losses. Evaluation and prediction
 * use the running statistics. `step` reports loss and accuracy on the queries and, of several losses, each.
 *
 * @param options - the backbone, the size of episodes, the losses with their margin and k, and the optimizer
 * @returns the learner, with `embed` and `predict`
 * @throws OptionError for sizes below 1, fewer than 2 ways, or losses that there are not
 *
 * @example
 * ```ts
 * const learner = prototypicalNetwork({ backbone: convNet4(), ways: 5, shots: 5, queries: 5, losses: ['cross', 'fullicnn'] })
 * const { state } = await fit(learner, episodeDataset(images, labels, { ways: 5, shots: 5, queries: 5, episodes: 100 }), { epochs: 5 })
 * ```
 */
export function prototypicalNetwork(options: PrototypicalOptions): PrototypicalLearner {
  const { backbone, ways, shots, queries, losses = ['cross'], optimizer: given, ...rest } = options
  const optimizer: Optimizer = given ?? adam({ learningRate: 1e-3 })
  const where = 'prototypicalNetwork'
  checkLosses(where, losses)
  for (const [name, value] of Object.entries({ ways, shots, queries })) {
    const least = name === 'ways' ? 2 : 1
    if (!Number.isInteger(value) || value < least) {
      throw new OptionError(`${where}: ${name} must be an integer of at least ${least}, got ${value}`)
    }
  }
  const supports = ways * shots
  const rows = ways * (shots + queries)
  const queryLabels = (): tf.Tensor1D => tf.tensor1d(groupedLabels(ways, queries), 'int32')

  const checkBatch = (x: tf.Tensor): void => {
    if (x.shape[0] === rows) return
    throw new ShapeError(`${where}: expected episodes of ${ways} · (${shots} + ${queries}) = ${rows} examples, got ${x.shape[0]}`)
  }
  const checkEmbedding = (y: tf.Tensor): void => {
    if (y.rank !== 2) throw new ShapeError(`${where}: the backbone must give embeddings [n, D], got [${y.shape.join(', ')}]`)
  }
  const split = (y: tf.Tensor): { support: tf.Tensor; query: tf.Tensor } => ({
    support: tf.slice(y, [0, 0], [supports, -1]),
    query: tf.slice(y, [supports, 0], [-1, -1]),
  })
  const embed = ({ params, network }: PrototypicalState, x: tf.Tensor): tf.Tensor => {
    const { y } = backbone.apply(params, network, x, { training: false })
    checkEmbedding(y)
    return y
  }
  /** Logits of the queries, from embeddings of an episode. */
  const logitsOf = (y: tf.Tensor): tf.Tensor => {
    const { support, query } = split(y)
    return prototypeLogits(query, prototypesOf(support, ways))
  }
  const hitsOf = (logits: tf.Tensor): tf.Tensor => tf.cast(tf.equal(tf.argMax(logits, 1), queryLabels()), 'float32')

  return {
    init(key, sample) {
      const { params, state } = backbone.init(key, sample.x.shape.slice(1))
      return { tensors: { params, network: state, optimizer: optimizer.init(params) }, host: null }
    },
    step(tensors, { x }, key) {
      checkBatch(x)
      return tree.tidy(() => {
        const { value, grads, aux } = valueAndGradWithAux((params: Tree) => {
          const { y, state } = backbone.apply(params, tensors.network, x, { training: true, key: fold(key, 0) })
          checkEmbedding(y)
          const { loss, parts } = trustedEpisodeLoss({ ...split(y), ways, shots }, { ...rest, losses, key: fold(key, 1) })
          return { loss, aux: { state, parts: parts as Tree, accuracy: tf.mean(hitsOf(logitsOf(y))) as tf.Tensor } }
        })(tensors.params)
        const { updates, state } = optimizer.update(grads, tensors.optimizer, tensors.params)
        return {
          tensors: { params: applyUpdates(tensors.params, updates), network: aux.state, optimizer: state },
          metrics: { loss: value, accuracy: aux.accuracy, ...(losses.length > 1 ? (aux.parts as Record<string, tf.Tensor>) : {}) },
        }
      })
    },
    evaluate: (tensors, { x }, weight, key) =>
      tree.tidy(() => {
        checkBatch(x)
        const counted = tf.slice(weight, supports)
        const y = embed(tensors, x)
        const { loss } = trustedEpisodeLoss({ ...split(y), ways, shots }, { ...rest, losses, key })
        const count = tf.sum(counted)
        return { sums: { loss: tf.mul(loss, count), accuracy: tf.sum(tf.mul(hitsOf(logitsOf(y)), counted)) }, count }
      }),
    embed: (tensors, x) => tf.tidy(() => embed(tensors, x)),
    predict: (tensors, x: tf.Tensor) =>
      tf.tidy(() => {
        if (x.shape[0] <= supports) {
          throw new ShapeError(`${where}: expected ${ways} · ${shots} supports and then queries, got ${x.shape[0]} examples`)
        }
        return tf.argMax(logitsOf(embed(tensors, x)), 1)
      }),
  }
}

/** Examples in memory, row-major. */
export interface ExampleRows {
  data: Float32Array | Uint8Array
  /** [n, …] */
  shape: readonly number[]
  /** Values are divided by this, such as 255. Default 1. */
  divisor?: number
}

/** Options of {@link episodeDataset}. */
export interface EpisodeDatasetOptions extends EpisodeOptions {
  /** Episodes in one pass. */
  episodes: number
}

/**
 * Episodes as a dataset for `fit`: batch i of a pass is drawn with the pass's key and i.
 *
 * @param rows - examples
 * @param labels - class of each
 * @returns batches of {@link EpisodeExamples}; for validation the same episodes every time
 * @throws ShapeError when data, shape and labels do not fit; OptionError, DataError as `sampleEpisode`
 */
export function episodeDataset(rows: ExampleRows, labels: ArrayLike<number>, options: EpisodeDatasetOptions): Dataset<EpisodeExamples> {
  const { episodes, ...sizes } = options
  const { data, shape, divisor = 1 } = rows
  if (!Number.isInteger(episodes) || episodes < 1) throw new OptionError(`episodeDataset: episodes must be at least 1, got ${episodes}`)
  const [n, ...dims] = shape
  const size = dims.reduce((product, dim) => product * dim, 1)
  if (data.length !== n * size || labels.length !== n) {
    throw new ShapeError(
      `episodeDataset: expected ${n} labels and ${n * size} values for examples [${shape.join(', ')}], got ${labels.length} and ${data.length}`,
    )
  }
  if (data instanceof Float32Array) {
    const bad = data.findIndex((value) => !Number.isFinite(value))
    if (bad >= 0) throw new DataError(`episodeDataset: example ${Math.floor(bad / size)} holds ${data[bad]}; expected finite values`)
  }
  const draw = episodeSampler(labels, sizes)
  const batch = (key: Key): EpisodeExamples => {
    const { support, query } = draw(key)
    const chosen = [...support, ...query]
    const values = new Float32Array(chosen.length * size)
    chosen.forEach((row, i) => values.set(data.subarray(row * size, (row + 1) * size), i * size))
    if (divisor !== 1) for (let i = 0; i < values.length; i++) values[i] /= divisor
    return { x: tf.tensor(values, [chosen.length, ...dims]) }
  }
  const defaultKey = makeKey(0)
  return {
    batchesPerEpoch: episodes,
    async *batches({ key, skip = 0, signal } = {}) {
      for (let i = skip; i < episodes; i++) {
        signal?.throwIfAborted()
        yield await Promise.resolve(batch(fold(key ?? defaultKey, i)))
      }
    },
    async *weightedBatches({ signal } = {}) {
      for (let i = 0; i < episodes; i++) {
        signal?.throwIfAborted()
        const one = batch(fold(defaultKey, i))
        yield await Promise.resolve({ batch: one, weight: tf.ones([one.x.shape[0]]) as tf.Tensor1D })
      }
    },
  }
}
