/** Which nodes and edges train, validate and test. */
import { DataError, OptionError, type Key } from '@bpf/core'
import { splitIndices } from '@bpf/core/data'
import { fold, uniformArray } from '@bpf/core/random'
import { selectEdges, type Graph } from './graph'
import { joined } from './shared/joined'

/** Shares of nodes or edges. What is left over tests. */
export interface NodeSplitOptions {
  train: number
  validation: number
}

/** Indices to train, validate and test; a share of 0 has none. */
function drawParts(name: string, count: number, { train, validation }: NodeSplitOptions, key: Key): Int32Array[] {
  if (!(train > 0 && validation >= 0 && train + validation <= 1)) {
    throw new OptionError(`${name}: expected shares train > 0 and validation ≥ 0 of at most 1 together, got ${train} and ${validation}`)
  }
  const rest = 1 - train - validation
  // What rounding leaves of 1 − 0.7 − 0.3 is no share.
  const shares = [train, validation, rest > 1e-9 ? rest : 0]
  const drawn = splitIndices(
    count,
    shares.filter((share) => share > 0),
    key,
  )
  let next = 0
  return shares.map((share) => (share > 0 ? drawn[next++] : new Int32Array(0)))
}

/** The graph with masks from a random split of its nodes. @throws OptionError for shares that don't fit, or of less than a node */
export function splitNodes(key: Key, graph: Graph, shares: NodeSplitOptions): Graph {
  const parts = drawParts('splitNodes', graph.nodes, shares, key)
  const mask = (indices: Int32Array): Uint8Array => {
    const out = new Uint8Array(graph.nodes)
    for (const i of indices) out[i] = 1
    return out
  }
  return { ...graph, masks: { train: mask(parts[0]), validation: mask(parts[1]), test: mask(parts[2]) } }
}

/** Pairs of nodes with 1 for an edge and 0 for none. */
export interface LabelledPairs {
  src: Int32Array
  dst: Int32Array
  label: Int32Array
}

/**
 * Pairs u ≠ v that are no edge in either direction, drawn uniformly, no pair twice.
 *
 * @throws DataError when the graph is too dense to find that many
 */
export function sampleNonEdges(key: Key, { nodes, src, dst }: Graph, count: number): { src: Int32Array; dst: Int32Array } {
  const taken = new Set<number>()
  src.forEach((from, e) => taken.add(Math.min(from, dst[e]) * nodes + Math.max(from, dst[e])))
  const out = { src: new Int32Array(count), dst: new Int32Array(count) }
  let found = 0
  for (let round = 0; found < count; round++) {
    if (round > 100) {
      throw new DataError(`sampleNonEdges: found ${found} of ${count} pairs without an edge; the graph of ${nodes} nodes is too dense`)
    }
    const u = uniformArray(fold(key, round), 2 * count)
    for (let i = 0; i < count && found < count; i++) {
      const [a, b] = [Math.floor(u[2 * i] * nodes), Math.floor(u[2 * i + 1] * nodes)]
      const pair = Math.min(a, b) * nodes + Math.max(a, b)
      if (a === b || taken.has(pair)) continue
      taken.add(pair)
      out.src[found] = a
      out.dst[found++] = b
    }
  }
  return out
}

/**
 * Splits the edges of an undirected graph for link prediction: the graph keeps the training edges, and each part has as
 * many pairs without an edge as with one.
 *
 * @param shares - of edges that train and validate; the rest tests
 * @throws OptionError for shares that don't fit, or of less than an edge; DataError for a graph of fewer than 3 edges, or
 *   one too dense for as many pairs without an edge
 */
export function splitEdges(
  key: Key,
  graph: Graph,
  shares: NodeSplitOptions,
): { graph: Graph; train: LabelledPairs; validation: LabelledPairs; test: LabelledPairs } {
  const { src, dst } = graph
  const pairs = Int32Array.from({ length: src.length }, (_, e) => e).filter((e) => src[e] < dst[e])
  if (pairs.length < 3) throw new DataError(`splitEdges: the graph has ${pairs.length} undirected edges; at least 3 are needed`)
  const parts = drawParts('splitEdges', pairs.length, shares, fold(key, 0))
  const negatives = sampleNonEdges(fold(key, 1), graph, pairs.length)
  let used = 0
  const labelled = (part: Int32Array): LabelledPairs => {
    const edges = part.map((i) => pairs[i])
    const from = used
    used += part.length
    return {
      src: joined(
        edges.map((e) => src[e]),
        negatives.src.subarray(from, used),
      ),
      dst: joined(
        edges.map((e) => dst[e]),
        negatives.dst.subarray(from, used),
      ),
      label: Int32Array.from({ length: 2 * part.length }, (_, i) => (i < part.length ? 1 : 0)),
    }
  }
  const [trainPairs, validationPairs, testPairs] = parts.map(labelled)
  const kept = new Set(Array.from(parts[0], (i) => src[pairs[i]] * graph.nodes + dst[pairs[i]]))
  const isKept = (e: number): boolean => kept.has(Math.min(src[e], dst[e]) * graph.nodes + Math.max(src[e], dst[e]))
  return { graph: selectEdges(graph, isKept), train: trainPairs, validation: validationPairs, test: testPairs }
}
