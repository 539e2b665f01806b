import { OptionError, ShapeError, softmaxCrossEntropy } from '@bpf/core'
import { pairwiseSquaredDistances } from '@bpf/core/ops'
import type { Key } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { checkEmbeddings, groupedLabels } from '../shared/embeddings'
import { lossOf, type IcnnOptions } from './icnn-score'
import { protoTripletOf, tripletOf, type TripletOptions } from './triplet'

/**
 * Part of an episode's loss: `cross` the cross-entropy of prototypical networks, `suppicnn`, `queryicnn` and `fullicnn` the ICNN
 * loss of the supports, of the queries against the supports, and of both together, `prototriplet` Proto-Triplet; `triplet`, the
 * baseline, the classic triplet loss of both.
 */
export type EpisodeLossName = 'cross' | 'suppicnn' | 'queryicnn' | 'fullicnn' | 'prototriplet' | 'triplet'

const names: readonly EpisodeLossName[] = ['cross', 'suppicnn', 'queryicnn', 'fullicnn', 'prototriplet', 'triplet']

/** Options of {@link episodeLoss}. */
export interface EpisodeLossOptions extends TripletOptions, Pick<IcnnOptions, 'k' | 'dropSelf'> {
  /** The loss is the mean of these parts. */
  losses: readonly EpisodeLossName[]
  /** `queryicnn` finds the queries' neighbours among the prototypes, not the supports. Default false. */
  queryProtos?: boolean
  /** Draws the positives of `triplet`, which needs it. */
  key?: Key
}

/** Embeddings of an episode, grouped by class: row r of the supports is of class ⌊r / shots⌋. */
export interface EpisodeEmbeddings {
  /** [ways · shots, D] */
  support: tf.Tensor
  /** [ways · queries, D] */
  query: tf.Tensor
  ways: number
  shots: number
}

/** @throws OptionError for an empty list, or a name there is not */
export function checkLosses(where: string, losses: readonly EpisodeLossName[]): void {
  const bad = losses.find((name) => !names.includes(name))
  if (losses.length === 0 || bad !== undefined) {
    throw new OptionError(`${where}: losses must be among ${names.join(', ')}, got ${bad === undefined ? 'none' : `'${String(bad)}'`}`)
  }
}

/** Class means [ways, D] of rows grouped by class. */
export function prototypesOf(support: tf.Tensor, ways: number): tf.Tensor {
  return tf.mean(tf.reshape(support, [ways, -1, support.shape[1] as number]), 1)
}

/** Logits of prototypical networks: −‖q − prototype‖² [Q, ways]. */
export function prototypeLogits(query: tf.Tensor, prototypes: tf.Tensor): tf.Tensor {
  return tf.neg(pairwiseSquaredDistances(query, prototypes))
}

/**
 * Loss of an episode: the mean of its parts.
 *
 * @param episode - embeddings of supports and queries from one forward pass, and how they are grouped
 * @param options - which parts; margin 0.5; k, of the ICNN parts, 4, or what a class has beside the point itself when that is less
 * @returns the loss and each part, scalars, differentiable
 * @throws ShapeError when the rows are not ways · shots supports and as many queries of each class; OptionError for parts that do
 *   not exist, or that the episode is too small for (`suppicnn` with one shot)
 */
export function episodeLoss(episode: EpisodeEmbeddings, options: EpisodeLossOptions): EpisodeLoss {
  checkEmbeddings('episodeLoss', 'support', episode.support)
  checkEmbeddings('episodeLoss', 'query', episode.query)
  return trustedEpisodeLoss(episode, options)
}

/** The loss of an episode and each part, scalars. */
export interface EpisodeLoss {
  loss: tf.Scalar
  parts: Partial<Record<EpisodeLossName, tf.Scalar>>
}

/** {@link episodeLoss}, which a training step calls without reading values. */
export function trustedEpisodeLoss({ support, query, ways, shots }: EpisodeEmbeddings, options: EpisodeLossOptions): EpisodeLoss {
  const { losses, margin, dropSelf, queryProtos = false, key } = options
  const where = 'episodeLoss'
  checkLosses(where, losses)
  const queries = (query.shape[0] ?? 0) / ways
  if (!(Number.isInteger(ways) && ways >= 2)) throw new OptionError(`${where}: ways must be at least 2 classes, got ${ways}`)
  if (support.rank !== 2 || support.shape[0] !== ways * shots) {
    throw new ShapeError(`${where}: expected support [${ways} · ${shots}, D], got [${support.shape.join(', ')}]`)
  }
  if (query.rank !== 2 || !Number.isInteger(queries) || queries < 1 || query.shape[1] !== support.shape[1]) {
    throw new ShapeError(`${where}: expected query [${ways} · queries, ${support.shape[1]}], got [${query.shape.join(', ')}]`)
  }
  if (shots === 1 && losses.includes('suppicnn')) {
    throw new OptionError(`${where}: suppicnn needs 2 supports of a class or more: with one, no neighbour is of the same class`)
  }
  const k = options.k ?? Math.min(4, shots + queries - 1)
  const supportLabels = groupedLabels(ways, shots)
  const queryLabels = groupedLabels(ways, queries)
  const classes = groupedLabels(ways, 1)
  return tf.tidy(() => {
    const prototypes = prototypesOf(support, ways)
    const all = tf.concat([support, query], 0)
    const allLabels = Int32Array.from([...supportLabels, ...queryLabels])
    const target = queryProtos ? { target: prototypes, targetLabels: classes } : { target: support, targetLabels: supportLabels }
    const compute: Record<EpisodeLossName, () => tf.Scalar> = {
      cross: () => tf.mean(softmaxCrossEntropy(tf.tensor1d(queryLabels, 'int32'), prototypeLogits(query, prototypes))),
      suppicnn: () => lossOf(support, supportLabels, { k }, true),
      queryicnn: () => lossOf(query, queryLabels, { k, dropSelf, ...target }, true),
      fullicnn: () => lossOf(all, allLabels, { k, ipc: shots + queries }, true),
      prototriplet: () => protoTripletOf(query, queryLabels, prototypes, classes, { margin }, true),
      triplet: () => {
        if (key === undefined) throw new OptionError(`${where}: triplet draws its positives, so it needs a key`)
        return tripletOf(all, allLabels, key, { margin }, true)
      },
    }
    const parts = Object.fromEntries(losses.map((name) => [name, compute[name]()])) as Partial<Record<EpisodeLossName, tf.Scalar>>
    return { loss: tf.mean(tf.stack(Object.values(parts))) as tf.Scalar, parts }
  })
}
