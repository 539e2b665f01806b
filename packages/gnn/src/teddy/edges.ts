/** Which edges matter, by degrees alone, and which to remove. */
import { DataError, OptionError, ShapeError } from '@bpf/core'
import { degrees, isSymmetric, selectEdges, type Graph } from '../graph'

/** Scores of a graph's nodes and entries; see {@link edgeScores}. */
export interface EdgeScores {
  /** d_i [n] */
  degree: Int32Array
  /** g(i) [n]: mean of d_k^(−1/2) over the neighbours k of i */
  node: Float64Array
  /** T [E], one for each entry of the graph, in its order: ĝ(src)·ĝ(dst) with ĝ = g/d */
  edge: Float64Array
}

/**
 * Degree-based scores: T(i, j) = ĝ(i) ĝ(j), ĝ(i) = g(i)/d_i, g(i) = (1/d_i) Σ_{k ∈ N(i)} d_k^(−1/2). Edges between nodes of
 * low degree in surroundings of low degree score high. Isolated nodes have g = 0. Takes time linear in the edges.
 *
 * @see TEDDY, arXiv 2402.01261, section 4.1
 */
export function edgeScores(graph: Pick<Graph, 'nodes' | 'src' | 'dst'>): EdgeScores {
  const { nodes, src, dst } = graph
  const degree = degrees(graph)
  const node = new Float64Array(nodes)
  for (let e = 0; e < src.length; e++) if (degree[src[e]] > 0) node[dst[e]] += 1 / Math.sqrt(degree[src[e]])
  for (let i = 0; i < nodes; i++) node[i] = degree[i] > 0 ? node[i] / degree[i] : 0
  const scaled = node.map((g, i) => (degree[i] > 0 ? g / degree[i] : 0))
  return { degree, node, edge: Float64Array.from(src, (from, e) => scaled[from] * scaled[dst[e]]) }
}

/** Options of {@link pruneEdges}. */
export interface PruneOptions {
  /**
   * Ranks directed entries one by one, self-loops counted and kept by the largest score, as the paper's code does. Default
   * false: undirected pairs are ranked once, ties by (i, j), so that the graph stays symmetric; self-loops stay uncounted.
   */
  directed?: boolean
}

/**
 * Removes the share p of edges with the lowest scores, all at once.
 *
 * @param score - one for each entry of the graph [E]
 * @param sparsity - p in [0, 1)
 * @returns 1 for each entry that stays, and how many entries (directed) or pairs went
 * @throws OptionError for p outside [0, 1); ShapeError when scores don't fit; DataError for a graph without edges, or one
 *   that isn't symmetric unless `directed`
 */
export function edgesToKeep(
  graph: Graph,
  score: ArrayLike<number>,
  sparsity: number,
  { directed = false }: PruneOptions = {},
): { keep: Uint8Array; removed: number } {
  const { src, dst } = graph
  if (!(sparsity >= 0 && sparsity < 1)) throw new OptionError(`pruneEdges: sparsity must be in [0, 1), got ${sparsity}`)
  if (score.length !== src.length) throw new ShapeError(`pruneEdges: ${score.length} scores for ${src.length} entries`)
  if (src.length === 0) throw new DataError('pruneEdges: the graph has no edges')
  if (!directed && !isSymmetric(graph)) {
    throw new DataError('pruneEdges: the graph is not symmetric; make it undirected, or set directed: true')
  }
  const largest = Array.from(score).reduce((most, value) => Math.max(most, value), -Infinity)
  const ranked = Int32Array.from({ length: src.length }, (_, e) => e).filter((e) => directed || src[e] < dst[e])
  const value = (e: number): number => (src[e] === dst[e] ? largest : score[e])
  const byPlace = (a: number, b: number): number => (directed ? a - b : src[a] - src[b] || dst[a] - dst[b])
  const order = ranked.slice().sort((a, b) => value(a) - value(b) || byPlace(a, b))
  const removed = Math.floor(sparsity * order.length)
  const keep = new Uint8Array(src.length).fill(1)
  const gone = new Set<number>()
  for (const e of order.subarray(0, removed)) {
    keep[e] = 0
    gone.add(src[e] * graph.nodes + dst[e])
  }
  if (!directed) src.forEach((from, e) => (keep[e] = gone.has(Math.min(from, dst[e]) * graph.nodes + Math.max(from, dst[e])) ? 0 : 1))
  return { keep, removed }
}

/** The graph without the share `sparsity` of edges that score lowest; see {@link edgesToKeep}. */
export function pruneEdges(graph: Graph, score: ArrayLike<number>, sparsity: number, options: PruneOptions = {}): Graph {
  const { keep } = edgesToKeep(graph, score, sparsity, options)
  return selectEdges(graph, (e) => keep[e] === 1)
}
