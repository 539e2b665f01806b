/** Random graphs with known structure. */
import { OptionError, type Key } from '@bpf/core'
import { fold, normalArray, permutationArray, uniformArray } from '@bpf/core/random'
import { createGraph, type Graph } from './graph'

function checkProbability(where: string, name: string, value: number): void {
  if (!(value >= 0 && value <= 1)) throw new OptionError(`${where}: ${name} must be a probability, got ${value}`)
}

function checkCount(where: string, name: string, value: number, least: number): void {
  if (!Number.isInteger(value) || value < least) {
    throw new OptionError(`${where}: ${name} must be an integer of at least ${least}, got ${value}`)
  }
}

/** Labels 0 … classes − 1, as many of each as can be, in random order. */
export function balancedLabels(key: Key, nodes: number, classes: number): Int32Array {
  return permutationArray(key, nodes).map((i) => i % classes)
}

/** Draws each pair i < j once; row by row, so that the memory stays O(n). */
function drawPairs(key: Key, nodes: number, probability: (i: number, j: number) => number): { src: number[]; dst: number[] } {
  const [src, dst]: [number[], number[]] = [[], []]
  for (let i = 0; i < nodes - 1; i++) {
    const u = uniformArray(fold(key, i), nodes - 1 - i)
    for (let j = i + 1; j < nodes; j++) {
      if (u[j - i - 1] < probability(i, j)) {
        src.push(i)
        dst.push(j)
      }
    }
  }
  return { src, dst }
}

/** Options of {@link stochasticBlockModel}. */
export interface StochasticBlockModelOptions {
  nodes: number
  classes: number
  /** Probability of an edge between two nodes of one class. */
  within: number
  /** Probability of an edge between nodes of different classes. */
  between: number
  /** A class for each node [n]. Default: balanced, in random order. */
  labels?: Int32Array
}

/**
 * The stochastic block model: each pair of nodes is linked with a probability that depends on whether they share a class.
 *
 * @returns an undirected graph with labels
 * @throws OptionError for counts or probabilities out of range
 */
export function stochasticBlockModel(key: Key, options: StochasticBlockModelOptions): Graph {
  const { nodes, classes, within, between } = options
  checkCount('stochasticBlockModel', 'nodes', nodes, 1)
  checkCount('stochasticBlockModel', 'classes', classes, 1)
  checkProbability('stochasticBlockModel', 'within', within)
  checkProbability('stochasticBlockModel', 'between', between)
  const labels = options.labels ?? balancedLabels(fold(key, 0), nodes, classes)
  const pairs = drawPairs(fold(key, 1), nodes, (i, j) => (labels[i] === labels[j] ? within : between))
  return createGraph({ nodes, ...pairs, undirected: true, labels, classes })
}

/** Options of {@link degreeCorrectedBlockModel}. */
export interface DegreeCorrectedBlockModelOptions {
  nodes: number
  classes: number
  /** Mean degree that the pair probabilities are scaled to (before those above 1 are cut). */
  meanDegree: number
  /** Weight of edges to other classes, shared among them; 1 − mix is that of the own class. */
  mix: number
  /** Exponent α of the Pareto law of the propensities θ. Default 2. */
  alpha?: number
  /** Largest propensity before division by the mean. Default 30. */
  cap?: number
}

/**
 * A block model with heavy-tailed degrees: P_ij = min(1, c θ_i θ_j b_ij), with θ_i = min((1 − u_i)^(−1/α), cap) over its
 * mean, b = 1 − mix within a class and mix/(classes − 1) across, and c such that the mean degree is as asked.
 *
 * @returns an undirected graph with labels
 * @throws OptionError for options out of range
 */
export function degreeCorrectedBlockModel(key: Key, options: DegreeCorrectedBlockModelOptions): Graph {
  const { nodes, classes, meanDegree, mix, alpha = 2, cap = 30 } = options
  checkCount('degreeCorrectedBlockModel', 'nodes', nodes, 2)
  checkCount('degreeCorrectedBlockModel', 'classes', classes, 2)
  checkProbability('degreeCorrectedBlockModel', 'mix', mix)
  if (!(meanDegree > 0 && alpha > 0 && cap >= 1)) {
    throw new OptionError(`degreeCorrectedBlockModel: expected meanDegree > 0, alpha > 0, cap ≥ 1, got ${meanDegree}, ${alpha}, ${cap}`)
  }
  const labels = balancedLabels(fold(key, 0), nodes, classes)
  const theta = Float64Array.from(uniformArray(fold(key, 1), nodes), (u) => Math.min((1 - u) ** (-1 / alpha), cap))
  const mean = theta.reduce((sum, value) => sum + value, 0) / nodes
  const propensity = theta.map((value) => value / mean)
  const affinity = (i: number, j: number): number =>
    propensity[i] * propensity[j] * (labels[i] === labels[j] ? 1 - mix : mix / (classes - 1))
  // Σ over ordered pairs of one class is (Σθ)² − Σθ², so nothing of size n² is needed.
  const [sums, squares] = [new Float64Array(classes), new Float64Array(classes)]
  propensity.forEach((value, i) => {
    sums[labels[i]] += value
    squares[labels[i]] += value * value
  })
  const total = sums.reduce((sum, value) => sum + value, 0)
  const inside = sums.reduce((sum, value, c) => sum + value * value - squares[c], 0)
  const across = total * total - sums.reduce((sum, value) => sum + value * value, 0)
  const scale = (meanDegree * nodes) / (inside * (1 - mix) + (across * mix) / (classes - 1))
  const pairs = drawPairs(fold(key, 2), nodes, (i, j) => Math.min(1, scale * affinity(i, j)))
  return createGraph({ nodes, ...pairs, undirected: true, labels, classes })
}

/**
 * Features of a contextual block model: class mean + noise, x_i = mean_{y_i} + N(0, 1).
 *
 * @param labels - [n]
 * @param options - `columns`, `spread`: standard deviation of the entries of the class means
 * @returns [n, columns] row-major
 */
export function classFeatures(
  key: Key,
  labels: ArrayLike<number>,
  { columns, classes, spread }: { columns: number; classes: number; spread: number },
): { data: Float32Array; shape: [number, number] } {
  const means = normalArray(fold(key, 0), classes * columns, { stddev: spread })
  const data = normalArray(fold(key, 1), labels.length * columns)
  for (let i = 0; i < data.length; i++) data[i] += means[labels[Math.floor(i / columns)] * columns + (i % columns)]
  return { data, shape: [labels.length, columns] }
}

/**
 * Preferential attachment: each new node links to `links` different earlier nodes, chosen in proportion to their degree.
 *
 * @returns an undirected, connected graph
 * @throws OptionError unless nodes > links ≥ 1
 * @see A.-L. Barabási, R. Albert, "Emergence of scaling in random networks", Science 286 (1999)
 */
export function barabasiAlbert(key: Key, { nodes, links }: { nodes: number; links: number }): Graph {
  checkCount('barabasiAlbert', 'links', links, 1)
  checkCount('barabasiAlbert', 'nodes', nodes, links + 1)
  const [src, dst]: [number[], number[]] = [[], []]
  // Every end of an edge stands once: a uniform draw is a draw by degree.
  const ends: number[] = []
  for (let node = links; node < nodes; node++) {
    const targets = new Set<number>()
    if (node === links) for (let i = 0; i < links; i++) targets.add(i)
    for (let round = 0; targets.size < links; round++) {
      const u = uniformArray(fold(fold(key, node), round), links)
      for (let i = 0; i < links && targets.size < links; i++) targets.add(ends[Math.floor(u[i] * ends.length)])
    }
    for (const target of targets) {
      src.push(node)
      dst.push(target)
      ends.push(node, target)
    }
  }
  return createGraph({ nodes, src, dst, undirected: true })
}

/**
 * Edges drawn uniformly with repetition (for measuring speed): `edges` directed entries between random nodes, duplicates removed.
 *
 * @throws OptionError for counts below 1
 */
export function randomGraph(key: Key, { nodes, edges }: { nodes: number; edges: number }): Graph {
  checkCount('randomGraph', 'nodes', nodes, 1)
  checkCount('randomGraph', 'edges', edges, 1)
  const ends = (k: Key): Int32Array => Int32Array.from(uniformArray(k, edges), (u) => Math.floor(u * nodes))
  return createGraph({ nodes, src: ends(fold(key, 0)), dst: ends(fold(key, 1)), duplicates: 'remove' })
}
