/** Graphs with virtual nodes for classes, graphs side by side, and labels as features. */
import { DataError, OptionError } from '@bpf/core'
import { withEntries, type Graph } from '../graph'
import { joined } from '../shared/joined'

/** Which way edges to virtual nodes go. */
export type VirtualDirection = 'both' | 'to-virtual'

/**
 * Edges that link nodes to the virtual node of their class; class c's is node n + c. First all edges to virtual nodes, then,
 * for 'both', all edges from them.
 *
 * @param nodes - n
 * @param linked - nodes to link
 * @param classOf - class of each of `linked`
 * @returns src, dst, and `type` for relational layers: 1 + c to virtual node c, 1 + C + c from it (0 is left for real edges)
 * @throws DataError for a node or class out of range
 */
export function virtualNodeEdges(
  nodes: number,
  classes: number,
  linked: ArrayLike<number>,
  classOf: ArrayLike<number>,
  direction: VirtualDirection = 'both',
): { src: Int32Array; dst: Int32Array; type: Int32Array } {
  const count = linked.length
  const copies = direction === 'both' ? 2 : 1
  const [src, dst, type] = [new Int32Array(copies * count), new Int32Array(copies * count), new Int32Array(copies * count)]
  for (let i = 0; i < count; i++) {
    const [node, label] = [linked[i], classOf[i]]
    if (!Number.isInteger(node) || node < 0 || node >= nodes) {
      throw new DataError(`virtualNodeEdges: linked[${i}] is ${node}; nodes are numbered 0 to ${nodes - 1}`)
    }
    if (!Number.isInteger(label) || label < 0 || label >= classes) {
      throw new DataError(`virtualNodeEdges: node ${node} has class ${label}; expected 0 to ${classes - 1}`)
    }
    src[i] = node
    dst[i] = nodes + label
    type[i] = 1 + label
    if (direction === 'both') {
      src[count + i] = nodes + label
      dst[count + i] = node
      type[count + i] = 1 + classes + label
    }
  }
  return { src, dst, type }
}

/** The structure of a graph with a virtual node for each class, linked as {@link virtualNodeEdges} says; n + C nodes. */
export function withVirtualNodes(
  { nodes, src, dst, weight }: Graph,
  classes: number,
  linked: ArrayLike<number>,
  classOf: ArrayLike<number>,
  direction: VirtualDirection = 'both',
): Graph {
  if (direction !== 'both' && direction !== 'to-virtual') {
    throw new OptionError(`withVirtualNodes: direction must be 'both' or 'to-virtual', got '${String(direction)}'`)
  }
  const added = virtualNodeEdges(nodes, classes, linked, classOf, direction)
  const weights = weight === undefined ? undefined : new Float32Array(weight.length + added.src.length).fill(1)
  if (weight !== undefined) weights?.set(weight)
  return withEntries({ nodes: nodes + classes, src, dst }, joined(src, added.src), joined(dst, added.dst), weights)
}

/** Graphs side by side as one, without edges between them: node i of graph g is node g·n + i. All have n nodes. */
export function sideBySide(graphs: readonly Graph[]): Graph {
  const [{ nodes, weight }] = graphs
  const entries = graphs.reduce((sum, graph) => sum + graph.src.length, 0)
  const [src, dst] = [new Int32Array(entries), new Int32Array(entries)]
  const weights = weight === undefined ? undefined : new Float32Array(entries)
  let at = 0
  graphs.forEach((graph, g) => {
    for (let e = 0; e < graph.src.length; e++, at++) {
      src[at] = g * nodes + graph.src[e]
      dst[at] = g * nodes + graph.dst[e]
      if (weights !== undefined) weights[at] = graph.weight?.[e] ?? 1
    }
  })
  return { nodes: nodes * graphs.length, src, dst, ...(weights !== undefined && { weight: weights }) }
}

/** Label rows [n, C]: one-hot at `known` nodes, 1/C at the others. */
export function labelRows(nodes: number, classes: number, known: ArrayLike<number>, classOf: ArrayLike<number>): Float32Array {
  const rows = new Float32Array(nodes * classes).fill(1 / classes)
  for (let i = 0; i < known.length; i++) {
    rows.fill(0, known[i] * classes, (known[i] + 1) * classes)
    rows[known[i] * classes + classOf[i]] = 1
  }
  return rows
}

/** Rows a [n, p] and b [n, q] next to each other, [n, p + q]. */
export function joinColumns(a: Float32Array, b: Float32Array, rows: number): Float32Array {
  const [p, q] = [a.length / rows, b.length / rows]
  const out = new Float32Array(a.length + b.length)
  for (let i = 0; i < rows; i++) {
    out.set(a.subarray(i * p, (i + 1) * p), i * (p + q))
    out.set(b.subarray(i * q, (i + 1) * q), i * (p + q) + p)
  }
  return out
}

/** The arrays one after the other. */
export function stackRows(arrays: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(arrays.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const array of arrays) {
    out.set(array, at)
    at += array.length
  }
  return out
}
