import { OptionError, ShapeError, softmaxCrossEntropy } from '@bpf/core'
import { pairwiseSquaredDistances } from '@bpf/core/ops'
import type { Key } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { groupedLabels } from '../shared/embeddings'
import { icnnLoss, type IcnnOptions } from './icnn-score'
import { protoTripletLoss, tripletLoss, type TripletOptions } from './triplet'

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

/** Embeddings of an episode, grouped by class: row r of the supports is of class ⌊r / shot⌋. */
export interface EpisodeEmbeddings {
  /** [way · shot, D] */
  support: tf.Tensor
  /** [way · queries, D] */
  query: tf.Tensor
  way: number
  shot: number
}

/** @throws OptionError for an empty list, or a name there is not */
export function checkLosses(where: string, losses: readonly EpisodeLossName[]): void {
  const bad = losses.find((name) => !names.includes(name))
  if (losses.length === 0 || bad !== undefined) {
    throw new OptionError(`${where}: losses must be among ${names.join(', ')}, got ${bad === undefined ? 'none' : `'${String(bad)}'`}`)
  }
}

/** Class means [way, D] of rows grouped by class. */
export function prototypesOf(support: tf.Tensor, way: number): tf.Tensor {
  return tf.mean(tf.reshape(support, [way, -1, support.shape[1] as number]), 1)
}

/** Logits of prototypical networks: −‖q − prototype‖² [Q, way]. */
export function prototypeLogits(query: tf.Tensor, prototypes: tf.Tensor): tf.Tensor {
  return tf.neg(pairwiseSquaredDistances(query, prototypes))
}

/**
 * Loss of an episode: the mean of its parts.
 *
 * @param episode - embeddings of supports and queries from one forward pass, and how they are grouped
 * @param options - which parts; margin 0.5; k, of the ICNN parts, 4, or what a class has beside the point itself when that is less
 * @returns the loss and each part, scalars, differentiable
 * @throws ShapeError when the rows are not way · shot supports and as many queries of each class; OptionError for parts that do
 *   not exist, or that the episode is too small for (`suppicnn` with one shot)
 */
export function episodeLoss(
  { support, query, way, shot }: EpisodeEmbeddings,
  options: EpisodeLossOptions,
): { loss: tf.Scalar; parts: Partial<Record<EpisodeLossName, tf.Scalar>> } {
  const { losses, margin, dropSelf, queryProtos = false, key } = options
  const where = 'episodeLoss'
  checkLosses(where, losses)
  const queries = (query.shape[0] ?? 0) / way
  if (!(Number.isInteger(way) && way >= 2)) throw new OptionError(`${where}: way must be at least 2 classes, got ${way}`)
  if (support.rank !== 2 || support.shape[0] !== way * shot) {
    throw new ShapeError(`${where}: expected support [${way} · ${shot}, D], got [${support.shape.join(', ')}]`)
  }
  if (query.rank !== 2 || !Number.isInteger(queries) || queries < 1 || query.shape[1] !== support.shape[1]) {
    throw new ShapeError(`${where}: expected query [${way} · queries, ${support.shape[1]}], got [${query.shape.join(', ')}]`)
  }
  if (shot === 1 && losses.includes('suppicnn')) {
    throw new OptionError(`${where}: suppicnn needs 2 supports of a class or more: with one, no neighbour is of the same class`)
  }
  const k = options.k ?? Math.min(4, shot + queries - 1)
  const supportLabels = groupedLabels(way, shot)
  const queryLabels = groupedLabels(way, queries)
  const classes = groupedLabels(way, 1)
  return tf.tidy(() => {
    const prototypes = prototypesOf(support, way)
    const all = tf.concat([support, query], 0)
    const allLabels = Int32Array.from([...supportLabels, ...queryLabels])
    const target = queryProtos ? { target: prototypes, targetLabels: classes } : { target: support, targetLabels: supportLabels }
    const compute: Record<EpisodeLossName, () => tf.Scalar> = {
      cross: () => tf.mean(softmaxCrossEntropy(tf.tensor1d(queryLabels, 'int32'), prototypeLogits(query, prototypes))),
      suppicnn: () => icnnLoss(support, supportLabels, { k }),
      queryicnn: () => icnnLoss(query, queryLabels, { k, dropSelf, ...target }),
      fullicnn: () => icnnLoss(all, allLabels, { k, ipc: shot + queries }),
      prototriplet: () => protoTripletLoss(query, queryLabels, prototypes, classes, { margin }),
      triplet: () => {
        if (key === undefined) throw new OptionError(`${where}: triplet draws its positives, so it needs a key`)
        return tripletLoss(all, allLabels, key, { margin })
      },
    }
    const parts = Object.fromEntries(losses.map((name) => [name, compute[name]()])) as Partial<Record<EpisodeLossName, tf.Scalar>>
    return { loss: tf.mean(tf.stack(Object.values(parts))), parts }
  })
}
