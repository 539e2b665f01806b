/**
 * Ziko, Boudiaf, Dolz, Granger and Ben Ayed, "Transductive Few-Shot Learning: Clustering is All You Need?" (2021), arXiv 2106.09516:
 * K-means, K-modes and their Laplacian-regularised forms SLK-Means, SLK-MS and SLK-BO by a bound optimiser over assignments.
 */
import { OptionError, ShapeError } from '@bpf/core'
import { fold, uniformArray, type Key } from '@bpf/core/random'
import { bestColumns, checkFeatures, checkTask, classMeans, squaredDistances, type FeatureMatrix, type Products } from '../shared/matrix'
import { estimateSigma, knnAffinity, type Affinity } from './affinity'
import { boundOptimise, multiply } from './bound-optimiser'
import { kernelMedoids, meanShift } from './prototypes'

export { denseAffinity, estimateSigma, knnAffinity, type Affinity, type AffinityOptions } from './affinity'
export { boundEnergy, boundOptimise, type BoundOptions } from './bound-optimiser'
export { clusterEpisodes, stackEpisodes, type EpisodeBatch, type EpisodeClusterOptions, type EpisodeClustering } from './episode-batch'
export { meanShift } from './prototypes'

/** `kmeans` and `kmodes` are without the Laplacian; `slk-means`, `slk-ms` (mean shift) and `slk-bo` (modes among the points) with it. */
export type ClusterMode = 'kmeans' | 'kmodes' | 'slk-means' | 'slk-ms' | 'slk-bo'

const modes: readonly ClusterMode[] = ['kmeans', 'kmodes', 'slk-means', 'slk-ms', 'slk-bo']

/** Options of both entry points. */
export interface ClusterOptions {
  mode?: ClusterMode
  /** Weight of the Laplacian, in units of neighbours: not comparable between modes. Default 0.7. */
  lambda?: number
  /** Neighbours with the point itself. Default 3 for episodes, 5 for clustering. */
  knn?: number
  /** (W + Wᵀ)/2. Default false. */
  symmetrize?: boolean
  /** c of W + c·I. Default 0. */
  psdShift?: number
  /** A prebuilt affinity of all points, supports first, instead of the nearest neighbours'. */
  affinity?: Affinity
  /** Float32 on the backend, or double precision on the host. Default by size: the backend from N·D·K = 2e7, for neighbours N²·D = 2e8. */
  products?: Products
  /** Bandwidth of the K-modes variants, instead of the estimate. */
  sigma?: number
  /** 5 in the reference code. */
  sigmaDivisor?: number
  innerIterations?: number
  innerTolerance?: number
  outerIterations?: number
  outerTolerance?: number
  /** Means weighted by the relaxed assignments from the second round on (slk-means). Default false. */
  softMeans?: boolean
}

/** What is clustered and how it began. */
export interface Clustering {
  /** Cluster of every query (or point). */
  labels: Int32Array
  /** Relaxed (slk-…) or one-hot assignments [N, K] of all points, supports first. */
  assignments: Float64Array
  /** [K, D] */
  prototypes: Float64Array
  /** Energy after each round, with the whole lambda. */
  energies: number[]
  iterations: number
  /** Bandwidth, when the mode has one. */
  sigma?: number
  /** Rows that are the modes (slk-bo). */
  modeIndices?: Int32Array
}

/** A task: a few labelled rows and the queries that are labelled jointly. */
export interface TransductiveInput {
  /** [S, D] */
  support: FeatureMatrix
  /** [S] in 0..K−1, every class present */
  supportLabels: ArrayLike<number>
  /** [Q, D] */
  query: FeatureMatrix
}

/**
 * Labels all queries of a task jointly by clustering supports and queries.
 *
 * @param input - features (normalise them with `normaliseFeatures` before) and support labels
 * @param options - mode (default slk-means), lambda, …; `supervision` `init` (the labels seed the start only, as the published numbers)
 *   or `clamp`; `shift` (default true) moves the queries by the difference of the means first
 * @returns labels [Q], assignments [S + Q, K], prototypes [K, D]; never NaN: a round that empties a cluster is undone
 * @throws ShapeError, OptionError, DataError on bad input
 */
export function transductiveCluster(
  { support, supportLabels, query }: TransductiveInput,
  options: ClusterOptions & { supervision?: 'init' | 'clamp'; shift?: boolean } = {},
): Clustering & { shift: Float64Array } {
  const K = checkTask({ support, supportLabels, query })
  const [S, D] = support.shape
  const shift = options.shift === false ? new Float64Array(D) : meanShiftOf(support, query)
  const X = joined(support, query, shift)
  const prototypes = classMeans(support, supportLabels, K)
  const labels = bestColumns(squaredDistances(X, prototypes), K, 1)
  for (let i = 0; i < S; i++) labels[i] = supportLabels[i]
  const result = cluster(X, prototypes, labels, options.supervision ?? 'init', supportLabels, { knn: 3, ...options })
  return { ...result, labels: result.labels.slice(S), shift }
}

/**
 * Moves queries by mean(support) − mean(query), as every transductive call does first.
 *
 * @param support - [S, D]
 * @param query - [Q, D]
 * @returns shifted queries [Q, D]
 */
export function shiftQueries(support: FeatureMatrix, query: FeatureMatrix): FeatureMatrix {
  const shift = meanShiftOf(support, query)
  return { data: Float64Array.from(query.data, (value, at) => value + shift[at % shift.length]), shape: query.shape }
}

function meanShiftOf(support: FeatureMatrix, query: FeatureMatrix): Float64Array {
  const target = classMeans(support, new Int32Array(support.shape[0]), 1)
  const source = classMeans(query, new Int32Array(query.shape[0]), 1)
  return target.map((value, d) => value - source[d])
}

function joined(support: FeatureMatrix, query: FeatureMatrix, shift: Float64Array): FeatureMatrix {
  const data = new Float64Array(support.data.length + query.data.length)
  data.set(support.data)
  for (let at = 0; at < query.data.length; at++) data[support.data.length + at] = query.data[at] + shift[at % shift.length]
  return { data, shape: [support.shape[0] + query.shape[0], support.shape[1]] }
}

/**
 * Clusters points without labels by the same optimiser.
 *
 * @param X - [N, D]
 * @param options - K; `init` [K, D], or `key` for k-means++ seeds; otherwise as `transductiveCluster` (knn 5, 100 inner updates,
 *   outer tolerance 1e-5)
 * @returns labels [N], assignments [N, K], prototypes [K, D]
 * @throws ShapeError, OptionError, DataError on bad input
 */
export function slkCluster(
  X: FeatureMatrix,
  options: ClusterOptions & { K: number } & ({ init: FeatureMatrix; key?: undefined } | { key: Key; init?: undefined }),
): Clustering {
  checkFeatures('X', X)
  const { K, init } = options
  const [N, D] = X.shape
  if (!Number.isInteger(K) || K < 1 || K > N) throw new OptionError(`K should be an integer from 1 to the ${N} points, got ${K}`)
  if (init) {
    checkFeatures('init', init)
    if (init.shape[0] !== K || init.shape[1] !== D) throw new ShapeError(`init: expected [${K}, ${D}], got [${init.shape.join(', ')}]`)
  }
  const products = options.products ?? productsFor(X, K)
  const seeds = init ? Float64Array.from(init.data) : plusPlus(X, K, options.key as Key, products)
  const labels = bestColumns(squaredDistances(X, seeds, products), K, 1)
  if (new Set(labels).size < K) {
    throw new OptionError(`init: a seed is nearest to no point, ${new Set(labels).size} of ${K} clusters begin with points; choose others`)
  }
  return cluster(X, seeds, labels, 'init', [], { knn: 5, innerIterations: 100, outerTolerance: 1e-5, ...options })
}

function productsFor({ shape: [N, D] }: FeatureMatrix, K: number): Products {
  return N * D * K > 2e7 ? 'native' : 'float64'
}

/** k-means++ seeds [K, D]: each drawn with probability proportional to its squared distance to the nearest seed so far. */
function plusPlus(X: FeatureMatrix, K: number, key: Key, products: Products): Float64Array {
  const [N, D] = X.shape
  const draws = uniformArray(fold(key, 0), K)
  const seeds = new Float64Array(K * D)
  const least = new Float64Array(N).fill(Infinity)
  for (let k = 0; k < K; k++) {
    let left = k === 0 ? draws[0] * N : draws[k] * least.reduce((a, b) => a + b, 0)
    let chosen = 0
    for (let i = 0; i < N; i++) {
      const weight = k === 0 ? 1 : least[i]
      if (weight === 0) continue
      chosen = i
      left -= weight
      if (left < 0) break
    }
    const seed = Float64Array.from(X.data.subarray(chosen * D, (chosen + 1) * D))
    seeds.set(seed, k * D)
    squaredDistances(X, seed, products).forEach((distance, i) => (least[i] = Math.min(least[i], distance)))
  }
  return seeds
}

/** @internal */
export function checkOptions({ mode, lambda, sigma, affinity, psdShift, ...rest }: ClusterOptions, N: number): void {
  if (mode !== undefined && !modes.includes(mode)) throw new OptionError(`mode should be one of ${modes.join(', ')}, got ${String(mode)}`)
  if (lambda !== undefined && !(lambda >= 0 && lambda < Infinity)) throw new OptionError(`lambda should be at least 0, got ${lambda}`)
  if (sigma !== undefined && !(sigma > 0)) throw new OptionError(`sigma should be above 0, got ${sigma}`)
  if (psdShift !== undefined && !(psdShift >= 0)) throw new OptionError(`psdShift should be at least 0, got ${psdShift}`)
  for (const name of ['innerIterations', 'outerIterations'] as const) {
    const value = rest[name]
    if (value !== undefined && (!Number.isInteger(value) || value < 1))
      throw new OptionError(`${name} should be an integer of at least 1, got ${value}`)
  }
  if (affinity && (affinity.size !== N || affinity.starts.length !== N + 1 || affinity.columns.length !== affinity.weights.length)) {
    throw new ShapeError(`affinity: expected ${N} × ${N} for the ${N} points, got ${affinity.size}; supports come first, then queries`)
  }
}

/** The outer loop (card section 5). */
function cluster(
  X: FeatureMatrix,
  initial: Float64Array,
  initialLabels: Int32Array,
  supervision: 'init' | 'clamp',
  supportLabels: ArrayLike<number>,
  options: ClusterOptions & { knn: number },
): Clustering {
  const [N, D] = X.shape
  checkOptions(options, N)
  if (supervision !== 'init' && supervision !== 'clamp') {
    throw new OptionError(`supervision should be init or clamp, got ${String(supervision)}`)
  }
  const { mode = 'slk-means', lambda = 0.7, sigmaDivisor = 5, innerIterations = 600, innerTolerance = 1e-7 } = options
  const { outerIterations = 100, outerTolerance = 1e-4, softMeans = false } = options
  const K = initial.length / D
  const products = options.products ?? productsFor(X, K)
  const affinity = options.affinity ?? knnAffinity(X, options)
  const kernel = mode === 'kmodes' || mode === 'slk-ms' || mode === 'slk-bo'
  const sigma = kernel ? (options.sigma ?? estimateSigma(X, affinity, sigmaDivisor)) : undefined
  const bound = mode.startsWith('slk') && lambda > 0
  let labels = initialLabels
  let prototypes = initial
  let modeIndices: Int32Array | undefined
  let assignments = oneHot(labels, K)
  const energies: number[] = []
  for (let round = 0; round < outerIterations; round++) {
    let nextModes: Int32Array | undefined
    let next: Float64Array
    if (mode === 'slk-bo') {
      nextModes = round === 0 ? kernelMedoids(X, labels, K, sigma as number, products) : bestRows(assignments, K)
      next = rowsAt(X, nextModes)
    } else if (kernel) next = meanShift(X, labels, prototypes, sigma as number)
    else next = softMeans && round > 0 ? weightedMeans(X, assignments, K) : classMeans(X, labels, K)
    const costs = squaredDistances(X, next, products)
    if (sigma !== undefined) for (let at = 0; at < costs.length; at++) costs[at] = -Math.exp(-costs[at] / (2 * sigma * sigma))
    let Y: Float64Array
    let nextLabels: Int32Array
    if (bound) {
      const inner = {
        costs,
        affinity,
        lambda,
        labelled: supportLabels,
        supervision,
        iterations: innerIterations,
        tolerance: innerTolerance,
      }
      Y = boundOptimise(inner).assignments
      nextLabels = bestColumns(Y, K, -1)
    } else {
      nextLabels = bestColumns(costs, K, 1)
      if (supervision === 'clamp') for (let i = 0; i < supportLabels.length; i++) nextLabels[i] = supportLabels[i]
      Y = oneHot(nextLabels, K)
    }
    if (new Set(nextLabels).size < K) break
    ;[labels, prototypes, modeIndices, assignments] = [nextLabels, next, nextModes, Y]
    const message = multiply(affinity, Y, K)
    let energy = 0
    for (let at = 0; at < Y.length; at++) energy += Y[at] * (costs[at] - lambda * message[at])
    energies.push(energy)
    if (round > 1 && Math.abs(energy - energies[round - 1]) <= outerTolerance * Math.abs(energies[round - 1])) break
  }
  return {
    labels,
    assignments,
    prototypes,
    energies,
    iterations: energies.length,
    ...(sigma !== undefined && { sigma }),
    ...(modeIndices && { modeIndices }),
  }
}

function oneHot(labels: Int32Array, K: number): Float64Array {
  const out = new Float64Array(labels.length * K)
  labels.forEach((label, i) => (out[i * K + label] = 1))
  return out
}

/** Of each column the row of the largest value. */
function bestRows(Y: Float64Array, K: number): Int32Array {
  const out = new Int32Array(K)
  for (let at = 0; at < Y.length; at++) if (Y[at] > Y[out[at % K] * K + (at % K)]) out[at % K] = Math.floor(at / K)
  return out
}

function rowsAt({ data, shape: [, D] }: FeatureMatrix, rows: Int32Array): Float64Array {
  const out = new Float64Array(rows.length * D)
  rows.forEach((row, k) => out.set(data.subarray(row * D, (row + 1) * D), k * D))
  return out
}

function weightedMeans({ data, shape: [N, D] }: FeatureMatrix, Y: Float64Array, K: number): Float64Array {
  const out = new Float64Array(K * D)
  const totals = new Float64Array(K)
  for (let i = 0; i < N; i++) {
    for (let k = 0; k < K; k++) {
      totals[k] += Y[i * K + k]
      for (let d = 0; d < D; d++) out[k * D + d] += Y[i * K + k] * data[i * D + d]
    }
  }
  return out.map((value, at) => value / totals[Math.floor(at / D)])
}
