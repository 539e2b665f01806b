import { OptionError, requireBackend, ShapeError, tree, whileLoop } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'
import { checkFeatures, checkLabels } from '../shared/matrix'
import { checkOptions, type ClusterOptions, type TransductiveInput } from './index'

/** Episodes of one size: support [E, S, D], supportLabels [E, S] (int32, 0..ways−1, each there), query [E, Q, D]. */
export type EpisodeBatch = { support: tf.Tensor; supportLabels: tf.Tensor; query: tf.Tensor }

/** What {@link clusterEpisodes} finds; N = S + Q, supports first. */
export type EpisodeClustering = {
  /** [E, Q], int32 */
  labels: tf.Tensor
  /** [E, N, K] */
  assignments: tf.Tensor
  /** [E, K, D] */
  prototypes: tf.Tensor
  /** Rounds of each episode [E], int32. */
  iterations: tf.Tensor
  /** mean(support) − mean(query) [E, D], or zeros. */
  shift: tf.Tensor
  /** Bandwidths [E]; 0 for modes without one. */
  sigma: tf.Tensor
}

/** Options of {@link clusterEpisodes}. */
export type EpisodeClusterOptions = Pick<
  ClusterOptions,
  | 'mode'
  | 'lambda'
  | 'knn'
  | 'sigma'
  | 'sigmaDivisor'
  | 'innerIterations'
  | 'innerTolerance'
  | 'outerIterations'
  | 'outerTolerance'
  | 'softMeans'
> & {
  /** Classes K of every episode. */
  ways: number
  supervision?: 'init' | 'clamp'
  shift?: boolean
}

/**
 * Episodes of the same size as tensors.
 *
 * @param tasks - at least one; all with the same numbers of supports, queries and columns
 * @returns the batch (the caller owns it) and the number of classes
 * @throws BackendError when no backend was chosen yet; ShapeError, DataError naming the task that is not like the first, or has bad features or labels
 */
export function stackEpisodes(tasks: readonly TransductiveInput[]): { batch: EpisodeBatch; ways: number } {
  requireBackend()
  if (tasks.length === 0) throw new ShapeError('stackEpisodes: expected at least one task, got none')
  const [S, D] = tasks[0].support.shape
  const Q = tasks[0].query.shape[0]
  const [support, query] = [new Float32Array(tasks.length * S * D), new Float32Array(tasks.length * Q * D)]
  const supportLabels = new Int32Array(tasks.length * S)
  let ways = 0
  tasks.forEach((task, e) => {
    checkFeatures(`task ${e}: support`, task.support)
    checkFeatures(`task ${e}: query`, task.query)
    const shapes = [...task.support.shape, ...task.query.shape]
    if (String(shapes) !== String([S, D, Q, D])) {
      throw new ShapeError(`task ${e}: expected support [${S}, ${D}] and query [${Q}, ${D}] like the first, got ${shapes.join(', ')}`)
    }
    const K = checkLabels(`task ${e}: supportLabels`, task.supportLabels, S)
    if (e > 0 && K !== ways) throw new ShapeError(`task ${e}: expected ${ways} classes like the first, got ${K}`)
    ways = K
    support.set(task.support.data, e * S * D)
    query.set(task.query.data, e * Q * D)
    supportLabels.set(Array.from(task.supportLabels), e * S)
  })
  const E = tasks.length
  return {
    batch: {
      support: tf.tensor3d(support, [E, S, D]),
      supportLabels: tf.tensor2d(supportLabels, [E, S], 'int32'),
      query: tf.tensor3d(query, [E, Q, D]),
    },
    ways,
  }
}

/** ‖x − c‖² [E, N, K] of rows centred on the same point; below zero by rounding never. */
export function distancesOf(x: tf.Tensor, c: tf.Tensor): tf.Tensor {
  const own = tf.sum(tf.square(x), 2, true)
  const theirs = tf.transpose(tf.sum(tf.square(c), 2, true), [0, 2, 1])
  return tf.relu(tf.sub(tf.add(own, theirs), tf.mul(2, tf.matMul(x as tf.Tensor3D, c as tf.Tensor3D, false, true))))
}

/** A squared distance that no pair has. */
const far = 1e30

/** The knn − 1 nearest other points of each: their rows in [E·N] (int32 [E·N·(knn − 1)]) and the sum of squared distances [E]. */
export function neighboursOf(distances: tf.Tensor, knn: number): { rows: tf.Tensor; sums: tf.Tensor } {
  const [E, N] = distances.shape
  const self = tf.mul(tf.eye(N), far)
  const { values, indices } = tf.topk(tf.neg(tf.add(distances, self)), knn - 1)
  const starts = tf.tensor3d(
    Int32Array.from({ length: E }, (_, e) => e * N),
    [E, 1, 1],
    'int32',
  )
  return { rows: tf.reshape(tf.add(indices, starts), [E * N * (knn - 1)]), sums: tf.neg(tf.sum(values, [1, 2])) }
}

/** W Y [E, N, K] by the edges only. */
function messages(rows: tf.Tensor, Y: tf.Tensor): tf.Tensor {
  const [E, N, K] = Y.shape
  const gathered = tf.gather(tf.reshape(Y, [E * N, K]), rows as tf.Tensor1D)
  return tf.reshape(tf.sum(tf.reshape(gathered, [E * N, rows.size / (E * N), K]), 1), [E, N, K])
}

/** Per episode a or b, by a bool mask [E]. */
function choose(mask: tf.Tensor, a: tf.Tensor, b: tf.Tensor): tf.Tensor {
  return tf.where(tf.broadcastTo(tf.reshape(mask, [a.shape[0], ...a.shape.slice(1).map(() => 1)]), a.shape), a, b)
}

/** One-hot rows of the largest entries; ties go to the lowest column. */
function largestOf(scores: tf.Tensor): tf.Tensor {
  return tf.cast(tf.oneHot(tf.argMax(scores, -1), scores.shape[scores.rank - 1]), 'float32')
}

/** What the inner optimiser needs beside the costs. */
export interface EpisodeBound {
  rows: tf.Tensor
  lambda: number
  /** One-hot support labels, zeros for queries [E, N, K], and 1 for supports [1, N, 1]. */
  given: tf.Tensor
  isSupport: tf.Tensor
  supervision: 'init' | 'clamp'
  iterations: number
  tolerance: number
}

/** The bound optimiser of all episodes at once; each stops by itself. `active` [E]: episodes to compute. */
export function boundEpisodes(costs: tf.Tensor, active: tf.Tensor, options: EpisodeBound): { Y: tf.Tensor; energy: tf.Tensor } {
  const { rows, lambda, given, isSupport, supervision, iterations, tolerance } = options
  const clamp = (Y: tf.Tensor): tf.Tensor => tf.add(tf.mul(Y, tf.sub(1, isSupport)), given)
  const start = clamp(tf.softmax(tf.neg(costs)))
  const result = whileLoop(
    ({ active, step }: BoundCarry) => tf.logicalAnd(tf.any(active), tf.less(step, iterations)),
    ({ Y, message, energy, active, step }: BoundCarry): BoundCarry => {
      const relaxed = tf.softmax(tf.sub(tf.mul(lambda, message), costs))
      const next = supervision === 'clamp' ? clamp(relaxed) : relaxed
      const nextMessage = messages(rows, next)
      const terms = tf.add(tf.log(tf.maximum(next, 1e-20)), tf.sub(costs, tf.mul(lambda, nextMessage)))
      const nextEnergy = tf.sum(tf.mul(next, terms), [1, 2])
      const settled = tf.logicalAnd(
        tf.greater(step, 1),
        tf.lessEqual(tf.abs(tf.sub(nextEnergy, energy)), tf.mul(tolerance, tf.abs(energy))),
      )
      return {
        Y: choose(active, next, Y),
        message: choose(active, nextMessage, message),
        energy: choose(active, nextEnergy, energy),
        active: tf.logicalAnd(active, tf.logicalNot(settled)),
        step: tf.add(step, tf.scalar(1, 'int32')),
      }
    },
    { Y: start, message: messages(rows, start), energy: tf.zeros([costs.shape[0]]), active, step: tf.scalar(0, 'int32') },
  )
  return { Y: result.Y, energy: result.energy }
}

type BoundCarry = { Y: tf.Tensor; message: tf.Tensor; energy: tf.Tensor; active: tf.Tensor; step: tf.Tensor }

/** Mean-shift modes [E, K, D] of all clusters at once; `hot` [E, N, K] says which points are whose. */
function shiftModes(X: tf.Tensor, centre: tf.Tensor, hot: tf.Tensor, start: tf.Tensor, twoSigma2: tf.Tensor, active: tf.Tensor): tf.Tensor {
  const centred = tf.sub(X, centre)
  type Carry = { c: tf.Tensor; active: tf.Tensor }
  const moving = tf.logicalAnd(tf.reshape(active, [X.shape[0], 1]), tf.ones([X.shape[0], hot.shape[2] as number], 'bool'))
  return whileLoop(
    ({ active }: Carry) => tf.any(active),
    ({ c, active }: Carry): Carry => {
      const distances = tf.add(distancesOf(centred, tf.sub(c, centre)), tf.mul(far, tf.sub(1, hot)))
      // Weights are relative: far from all points none of them is lost to underflow.
      const g = tf.mul(hot, tf.exp(tf.div(tf.sub(tf.min(distances, 1, true), distances), twoSigma2)))
      const sums = tf.matMul(g as tf.Tensor3D, X as tf.Tensor3D, true, false)
      const next = tf.div(sums, tf.maximum(tf.transpose(tf.sum(g, 1, true), [0, 2, 1]), 1e-30))
      const change = tf.max(tf.abs(tf.sub(next, c)), 2)
      const moves = tf.greaterEqual(change, tf.mul(1e-5, tf.max(tf.abs(c), 2)))
      const mask = tf.broadcastTo(tf.expandDims(active, 2), c.shape)
      return { c: tf.where(mask, next, c), active: tf.logicalAnd(active, moves) }
    },
    { c: start, active: moving },
    { maxSteps: 1000 },
  ).c
}

/**
 * {@link transductiveCluster} for many episodes at once, as tensors: a pure function that `compile` turns into one native call.
 * Each episode stops by itself, so it gets what it would get alone, up to rounding.
 *
 * @param batch - support [E, S, D], supportLabels [E, S], query [E, Q, D]; see {@link stackEpisodes}
 * @param options - `ways`, and as `transductiveCluster`, on the affinity of the nearest neighbours
 * @returns labels [E, Q], assignments [E, N, K], prototypes [E, K, D]
 * @throws OptionError, ShapeError on bad options and shapes; values can't be checked here
 *
 * @example
 * ```ts
 * import { compile, random, useBackend } from '@bpf/core'
 * import { clusterEpisodes, stackEpisodes, type EpisodeBatch } from '@bpf/fewshot'
 *
 * await useBackend()
 * const rows = (seed: number, n: number) => ({ data: random.normalArray(random.key(seed), n * 8), shape: [n, 8] as const })
 * const tasks = [1, 2, 3].map((seed) => ({ support: rows(seed, 4), supportLabels: [0, 1, 2, 3], query: rows(seed + 10, 20) }))
 * const { batch, ways } = stackEpisodes(tasks)
 * const cluster = compile((episodes: EpisodeBatch) => clusterEpisodes(episodes, { ways, mode: 'slk-ms', lambda: 0.3 }))
 * console.log(await cluster(batch).labels.data())
 * ```
 */
export function clusterEpisodes({ support, supportLabels, query }: EpisodeBatch, options: EpisodeClusterOptions): EpisodeClustering {
  const [E, S, D] = support.shape
  const Q = query.shape[1] as number
  const { ways: K, mode = 'slk-means', lambda = 0.7, knn = 3, sigmaDivisor = 5, supervision = 'init' } = options
  const { innerIterations = 600, innerTolerance = 1e-7, outerIterations = 100, outerTolerance = 1e-4, softMeans = false } = options
  if (support.rank !== 3 || query.rank !== 3 || query.shape[0] !== E || query.shape[2] !== D) {
    throw new ShapeError(`clusterEpisodes: expected support [E, S, D] and query [E, Q, D], got [${support.shape}] and [${query.shape}]`)
  }
  if (supportLabels.rank !== 2 || supportLabels.shape[0] !== E || supportLabels.shape[1] !== S) {
    throw new ShapeError(`clusterEpisodes: expected supportLabels [${E}, ${S}], got [${supportLabels.shape}]`)
  }
  const N = S + Q
  checkOptions(options, N)
  if (!Number.isInteger(K) || K < 1 || K > S) throw new OptionError(`ways should be an integer from 1 to the ${S} supports, got ${K}`)
  if (!Number.isInteger(knn) || knn < 2 || knn > N) {
    throw new OptionError(`knn should be an integer from 2 (the point itself counts) to ${N} points, got ${knn}`)
  }
  return tree.tidy(() => {
    const shift = options.shift === false ? tf.zeros([E, 1, D]) : tf.sub(tf.mean(support, 1, true), tf.mean(query, 1, true))
    const X = tf.concat([support, tf.add(query, shift)], 1)
    const centre = tf.mean(X, 1, true)
    const centred = tf.sub(X, centre)
    const pairs = distancesOf(centred, centred)
    const { rows, sums } = neighboursOf(pairs, knn)
    const kernel = mode === 'kmodes' || mode === 'slk-ms' || mode === 'slk-bo'
    const sigma2 = options.sigma !== undefined ? tf.fill([E], options.sigma ** 2) : tf.div(sums, sigmaDivisor * N)
    // Duplicate points only have no bandwidth; a tiny one keeps kernels 0 or 1.
    const twoSigma2 = tf.reshape(tf.maximum(tf.mul(2, sigma2), 1e-30), [E, 1, 1])

    const supportHot = tf.cast(tf.oneHot(tf.cast(supportLabels, 'int32'), K), 'float32')
    const given = tf.concat([supportHot, tf.zeros([E, Q, K])], 1)
    const isSupport = tf.reshape(tf.concat([tf.ones([S]), tf.zeros([Q])], 0), [1, N, 1])
    const clamp = (hot: tf.Tensor): tf.Tensor => tf.add(tf.mul(hot, tf.sub(1, isSupport)), given)
    const meansOf = (weights: tf.Tensor, points: tf.Tensor): tf.Tensor => {
      const totals = tf.transpose(tf.sum(weights, 1, true), [0, 2, 1])
      return tf.div(tf.matMul(weights as tf.Tensor3D, points as tf.Tensor3D, true, false), tf.maximum(totals, 1e-30))
    }
    const costsOf = (C: tf.Tensor): tf.Tensor => {
      const distances = distancesOf(centred, tf.sub(C, centre))
      return kernel ? tf.neg(tf.exp(tf.neg(tf.div(distances, twoSigma2)))) : distances
    }
    const firstMeans = meansOf(supportHot, support)
    const firstHot = clamp(largestOf(tf.neg(distancesOf(centred, tf.sub(firstMeans, centre)))))
    const bound = mode.startsWith('slk') && lambda > 0

    const prototypesOf = ({ hot, Y, C, active, round }: OuterCarry): tf.Tensor => {
      if (mode === 'slk-bo') {
        const kernels = tf.mul(tf.exp(tf.neg(tf.div(pairs, twoSigma2))), tf.sub(1, tf.eye(N)))
        const density = tf.matMul(kernels as tf.Tensor3D, hot as tf.Tensor3D)
        const medoids = tf.sub(density, tf.mul(far, tf.sub(1, hot)))
        const scores = tf.where(tf.broadcastTo(tf.equal(round, 0), Y.shape), medoids, Y)
        const picked = tf.cast(tf.oneHot(tf.argMax(scores, 1), N), 'float32')
        return tf.matMul(picked as tf.Tensor3D, X as tf.Tensor3D)
      }
      if (kernel) return shiftModes(X, centre, hot, C, twoSigma2, active)
      if (!softMeans) return meansOf(hot, X)
      return meansOf(tf.where(tf.broadcastTo(tf.equal(round, 0), Y.shape), hot, Y), X)
    }
    const result = whileLoop(
      ({ active }: OuterCarry) => tf.any(active),
      (carry: OuterCarry): OuterCarry => {
        const { hot, Y, C, energy, active, round, iterations } = carry
        const next = prototypesOf(carry)
        const costs = costsOf(next)
        let nextY: tf.Tensor
        let nextHot: tf.Tensor
        if (bound) {
          const inner = { rows, lambda, given, isSupport, supervision, iterations: innerIterations, tolerance: innerTolerance }
          nextY = boundEpisodes(costs, active, inner).Y
          nextHot = largestOf(nextY)
        } else {
          nextHot = largestOf(tf.neg(costs))
          if (supervision === 'clamp') nextHot = clamp(nextHot)
          nextY = nextHot
        }
        const full = tf.greater(tf.min(tf.sum(nextHot, 1), 1), 0)
        const accepted = tf.logicalAnd(active, full)
        const nextEnergy = tf.sum(tf.mul(nextY, tf.sub(costs, tf.mul(lambda, messages(rows, nextY)))), [1, 2])
        const settled = tf.logicalAnd(
          tf.greater(round, 1),
          tf.lessEqual(tf.abs(tf.sub(nextEnergy, energy)), tf.mul(outerTolerance, tf.abs(energy))),
        )
        return {
          hot: choose(accepted, nextHot, hot),
          Y: choose(accepted, nextY, Y),
          C: choose(accepted, next, C),
          energy: choose(accepted, nextEnergy, energy),
          active: tf.logicalAnd(accepted, tf.logicalNot(settled)),
          round: tf.add(round, tf.scalar(1, 'int32')),
          iterations: tf.add(iterations, tf.cast(accepted, 'int32')),
        }
      },
      {
        hot: firstHot,
        Y: firstHot,
        C: firstMeans,
        energy: tf.zeros([E]),
        active: tf.ones([E], 'bool'),
        round: tf.scalar(0, 'int32'),
        iterations: tf.zeros([E], 'int32'),
      },
      { maxSteps: outerIterations },
    )
    return {
      labels: tf.argMax(tf.slice(result.hot, [0, S, 0], [E, Q, K]), 2),
      assignments: result.Y,
      prototypes: result.C,
      iterations: result.iterations,
      shift: tf.reshape(shift, [E, D]),
      sigma: kernel ? tf.sqrt(sigma2) : tf.zeros([E]),
    }
  })
}

type OuterCarry = {
  hot: tf.Tensor
  Y: tf.Tensor
  C: tf.Tensor
  energy: tf.Tensor
  active: tf.Tensor
  round: tf.Tensor
  iterations: tf.Tensor
}
