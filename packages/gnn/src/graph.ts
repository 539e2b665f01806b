/** Graphs on the host: checked once when they are made, with edges sorted by destination for fast sums over neighbours. */
import { DataError, OptionError, ShapeError } from '@bpf/core'
import { joined } from './shared/joined'

/** Node features [n, columns]: every value, or only those that are not zero (compressed rows). */
export type Features =
  | { readonly kind: 'dense'; readonly columns: number; readonly values: Float32Array }
  | {
      readonly kind: 'sparse'
      readonly columns: number
      /** Row i holds the entries starts[i] to starts[i + 1] − 1. */
      readonly starts: Int32Array
      readonly column: Int32Array
      readonly values: Float32Array
    }

/** Which nodes train, validate and test; 1 where a node belongs. */
export type Masks = { readonly train: Uint8Array; readonly validation: Uint8Array; readonly test: Uint8Array }

/** A graph. Edges are directed entries src → dst, sorted by (dst, src); an undirected edge stands twice, a self-loop once. */
export interface Graph {
  readonly nodes: number
  readonly src: Int32Array
  readonly dst: Int32Array
  /** One weight for each entry; 1 without it. */
  readonly weight?: Float32Array
  readonly features?: Features
  /** Class of each node, 0 … classes − 1. */
  readonly labels?: Int32Array
  readonly classes?: number
  readonly masks?: Masks
}

/** What {@link createGraph} takes. */
export interface GraphOptions {
  /** Number of nodes. */
  nodes: number
  /** Sources and destinations, one pair for each edge. */
  src: ArrayLike<number>
  dst: ArrayLike<number>
  weight?: ArrayLike<number>
  /** Adds the entry dst → src of every edge (self-loops stay single). Default false. */
  undirected?: boolean
  /** What to do with an entry that stands twice: an error, or keep the first. Default 'error'. */
  duplicates?: 'error' | 'remove'
  /** [n, columns], row-major values with their shape, nested rows, or compressed rows. */
  features?: Features | { readonly data: ArrayLike<number>; readonly shape: readonly number[] } | readonly (readonly number[])[]
  labels?: ArrayLike<number>
  /** Number of classes. Default: the largest label + 1. */
  classes?: number
  /** Masks [n], or lists of node indices. */
  masks?: {
    train: ArrayLike<number> | ArrayLike<boolean>
    validation: ArrayLike<number> | ArrayLike<boolean>
    test: ArrayLike<number> | ArrayLike<boolean>
  }
}

function checkNode(value: number, nodes: number, edge: number, end: string): void {
  if (!Number.isInteger(value) || value < 0 || value >= nodes) {
    throw new DataError(`createGraph: edge ${edge} has the ${end} ${value}, but nodes are numbered 0 to ${nodes - 1}`)
  }
}

/** The order that sorts entries by (dst, src), stable. */
export function sortedOrder(nodes: number, src: ArrayLike<number>, dst: ArrayLike<number>): Int32Array {
  const byKey = (keys: ArrayLike<number>, order: Int32Array): Int32Array => {
    const starts = new Int32Array(nodes + 1)
    for (let e = 0; e < order.length; e++) starts[keys[order[e]] + 1]++
    for (let i = 0; i < nodes; i++) starts[i + 1] += starts[i]
    const sorted = new Int32Array(order.length)
    for (let e = 0; e < order.length; e++) sorted[starts[keys[order[e]]]++] = order[e]
    return sorted
  }
  const identity = Int32Array.from({ length: src.length }, (_, e) => e)
  return byKey(dst, byKey(src, identity))
}

function readDense(data: ArrayLike<number>, nodes: number, columns: number): Features {
  const values = data instanceof Float32Array ? data : Float32Array.from(data)
  const bad = values.findIndex((value) => !Number.isFinite(value))
  if (bad >= 0) {
    throw new DataError(
      `createGraph: feature ${bad % columns} of node ${Math.floor(bad / columns)} is ${values[bad]}; expected finite values`,
    )
  }
  if (values.length !== nodes * columns) {
    throw new ShapeError(`createGraph: features hold ${values.length} values, expected [${nodes}, ${columns}]`)
  }
  return { kind: 'dense', columns, values }
}

function readFeatures(features: NonNullable<GraphOptions['features']>, nodes: number): Features {
  if ('data' in features) {
    const [rows, columns] = features.shape
    if (features.shape.length !== 2 || rows !== nodes) {
      throw new ShapeError(`createGraph: features have shape [${features.shape.join(', ')}], expected [${nodes}, columns]`)
    }
    return readDense(features.data, nodes, columns)
  }
  if (!('kind' in features)) {
    const columns = features[0]?.length ?? 0
    const ragged = features.findIndex((row) => row.length !== columns)
    if (features.length !== nodes || ragged >= 0) {
      throw new ShapeError(
        ragged >= 0
          ? `createGraph: node ${ragged} has ${features[ragged].length} features, node 0 ${columns}`
          : `createGraph: features have ${features.length} rows for ${nodes} nodes`,
      )
    }
    return readDense(features.flat(), nodes, columns)
  }
  if (features.kind === 'dense') return readDense(features.values, nodes, features.columns)
  const { starts, column, values, columns } = features
  if (starts.length !== nodes + 1 || column.length !== values.length || starts[nodes] !== values.length) {
    throw new ShapeError(`createGraph: sparse features need ${nodes + 1} row starts that end at the number of entries ${values.length}`)
  }
  for (let i = 0; i < nodes; i++) {
    if (starts[i] > starts[i + 1]) throw new DataError(`createGraph: the row starts of sparse features fall at node ${i}`)
    for (let e = starts[i]; e < starts[i + 1]; e++) {
      if (!Number.isFinite(values[e])) {
        throw new DataError(`createGraph: feature ${column[e]} of node ${i} is ${values[e]}; expected finite values`)
      }
      if (!(column[e] >= 0 && column[e] < columns)) {
        throw new DataError(`createGraph: node ${i} has a feature in column ${column[e]}, but there are ${columns} columns`)
      }
    }
  }
  return features
}

function readLabels(labels: ArrayLike<number>, nodes: number, classes: number | undefined): { labels: Int32Array; classes: number } {
  if (labels.length !== nodes) throw new ShapeError(`createGraph: ${labels.length} labels for ${nodes} nodes; give one each`)
  let largest = -1
  for (let i = 0; i < nodes; i++) {
    const label = labels[i]
    if (!Number.isInteger(label) || label < 0 || (classes !== undefined && label >= classes)) {
      const range = classes === undefined ? 'a class index from 0' : `0 to ${classes - 1} for ${classes} classes`
      throw new DataError(`createGraph: node ${i} has label ${label}; expected ${range}`)
    }
    largest = Math.max(largest, label)
  }
  return { labels: Int32Array.from(labels), classes: classes ?? largest + 1 }
}

function readMask(given: ArrayLike<number> | ArrayLike<boolean>, nodes: number, name: string): Uint8Array {
  const isMask =
    given.length === nodes && (given instanceof Uint8Array || Array.from(given as ArrayLike<number>).every((v) => Number(v) <= 1))
  if (isMask) return Uint8Array.from(given as ArrayLike<number>, (value) => (Number(value) === 0 ? 0 : 1))
  const mask = new Uint8Array(nodes)
  Array.from(given as ArrayLike<number>).forEach((node, i) => {
    if (!Number.isInteger(node) || node < 0 || node >= nodes) {
      throw new DataError(`createGraph: masks.${name}[${i}] is ${node}; nodes are numbered 0 to ${nodes - 1}`)
    }
    mask[node] = 1
  })
  return mask
}

function readMasks(given: NonNullable<GraphOptions['masks']>, nodes: number): Masks {
  const masks = {
    train: readMask(given.train, nodes, 'train'),
    validation: readMask(given.validation, nodes, 'validation'),
    test: readMask(given.test, nodes, 'test'),
  }
  const overlap = masks.train.findIndex((value, i) => value + masks.validation[i] + masks.test[i] > 1)
  if (overlap >= 0) throw new DataError(`createGraph: node ${overlap} stands in more than one mask`)
  if (!masks.train.includes(1)) throw new DataError('createGraph: masks.train is empty; at least one node must train')
  return masks
}

/**
 * Makes a graph: checks every index and value, sorts the edges by destination.
 *
 * @param options - nodes, edges, and what is known of the nodes
 * @returns the graph; it owns its arrays
 * @throws DataError for an edge to a node that isn't there, NaN or infinite features or weights, labels out of range, an
 *   entry that stands twice (unless `duplicates` is 'remove'), overlapping masks; it names the place
 * @throws ShapeError when lengths don't fit together
 *
 * @example
 * ```ts
 * import { createGraph, degrees } from '@bpf/gnn'
 *
 * const triangle = createGraph({ nodes: 4, src: [0, 1, 2], dst: [1, 2, 0], undirected: true })
 * console.log(degrees(triangle)) // 2 2 2 0
 * ```
 */
export function createGraph(options: GraphOptions): Graph {
  const { nodes, undirected = false, duplicates = 'error' } = options
  if (!Number.isInteger(nodes) || nodes < 1) throw new OptionError(`createGraph: nodes must be a positive integer, got ${nodes}`)
  const given = options.src.length
  if (options.dst.length !== given) {
    throw new ShapeError(`createGraph: src has ${given} entries, dst ${options.dst.length}; give one of each for every edge`)
  }
  if (options.weight !== undefined && options.weight.length !== given) {
    throw new ShapeError(`createGraph: ${options.weight.length} weights for ${given} edges`)
  }
  const src: number[] = []
  const dst: number[] = []
  const weight: number[] = []
  for (let e = 0; e < given; e++) {
    const [from, to, value] = [options.src[e], options.dst[e], options.weight?.[e] ?? 1]
    checkNode(from, nodes, e, 'source')
    checkNode(to, nodes, e, 'destination')
    if (!Number.isFinite(value)) throw new DataError(`createGraph: edge ${e} has the weight ${value}; expected a finite number`)
    src.push(from)
    dst.push(to)
    weight.push(value)
    if (undirected && from !== to) {
      src.push(to)
      dst.push(from)
      weight.push(value)
    }
  }
  const order = sortedOrder(nodes, src, dst)
  const kept: number[] = []
  for (const e of order) {
    const last = kept[kept.length - 1]
    if (last === undefined || src[last] !== src[e] || dst[last] !== dst[e]) kept.push(e)
    else if (duplicates === 'error') {
      throw new DataError(`createGraph: the edge ${src[e]} → ${dst[e]} stands twice; remove it, or set duplicates: 'remove'`)
    }
  }
  return {
    nodes,
    src: Int32Array.from(kept, (e) => src[e]),
    dst: Int32Array.from(kept, (e) => dst[e]),
    ...(options.weight !== undefined && { weight: Float32Array.from(kept, (e) => weight[e]) }),
    ...(options.features !== undefined && { features: readFeatures(options.features, nodes) }),
    ...(options.labels !== undefined && readLabels(options.labels, nodes, options.classes)),
    ...(options.masks !== undefined && { masks: readMasks(options.masks, nodes) }),
  }
}

/** Number of entries that end at each node (self-loops count once). */
export function degrees({ nodes, dst }: Pick<Graph, 'nodes' | 'dst'>): Int32Array {
  const counts = new Int32Array(nodes)
  for (let e = 0; e < dst.length; e++) counts[dst[e]]++
  return counts
}

/** Whether every entry src → dst has its mirror, with the same weight. */
export function isSymmetric({ nodes, src, dst, weight }: Graph): boolean {
  const mirror = sortedOrder(nodes, dst, src)
  return src.every((from, e) => {
    const m = mirror[e]
    return dst[m] === from && src[m] === dst[e] && (weight === undefined || weight[m] === weight[e])
  })
}

/** The graph with one self-loop at every node (those there are stay as they are). */
export function withSelfLoops(graph: Graph): Graph {
  const { nodes, src, dst, weight } = graph
  const has = new Uint8Array(nodes)
  src.forEach((from, e) => {
    if (from === dst[e]) has[from] = 1
  })
  const missing = Int32Array.from({ length: nodes }, (_, i) => i).filter((i) => has[i] === 0)
  return withEntries(graph, joined(src, missing), joined(dst, missing), weight && joined(weight, new Float32Array(missing.length).fill(1)))
}

/** The graph without its self-loops. */
export function withoutSelfLoops(graph: Graph): Graph {
  return selectEdges(graph, (e) => graph.src[e] !== graph.dst[e])
}

/** The graph with those of its entries for which `keep` says so; entries keep their order. */
export function selectEdges(graph: Graph, keep: (entry: number) => boolean): Graph {
  const kept = Int32Array.from({ length: graph.src.length }, (_, e) => e).filter(keep)
  const { src, dst, weight, ...rest } = graph
  return {
    ...rest,
    src: kept.map((e) => src[e]),
    dst: kept.map((e) => dst[e]),
    ...(weight !== undefined && { weight: Float32Array.from(kept, (e) => weight[e]) }),
  }
}

/** The nodes of `graph` with other entries, which are sorted here. */
export function withEntries(graph: Graph, src: Int32Array, dst: Int32Array, weight?: Float32Array): Graph {
  const order = sortedOrder(graph.nodes, src, dst)
  const { weight: _, ...rest } = graph
  return {
    ...rest,
    src: order.map((e) => src[e]),
    dst: order.map((e) => dst[e]),
    ...(weight !== undefined && { weight: Float32Array.from(order, (e) => weight[e]) }),
  }
}

/** Node features as rows [n, columns], zeros filled in. @throws DataError for a graph without features */
export function denseFeatures({ nodes, features }: Graph): { values: Float32Array; columns: number } {
  if (features === undefined) throw new DataError('the graph has no node features; give them to createGraph')
  if (features.kind === 'dense') return { values: features.values, columns: features.columns }
  const values = new Float32Array(nodes * features.columns)
  for (let i = 0; i < nodes; i++) {
    for (let e = features.starts[i]; e < features.starts[i + 1]; e++) values[i * features.columns + features.column[e]] = features.values[e]
  }
  return { values, columns: features.columns }
}

/** Divides each row of features by its sum, as is usual for bags of words; rows of zeros stay. */
export function rowNormalise(graph: Graph): Graph {
  const { features, nodes } = graph
  if (features === undefined) throw new DataError('rowNormalise: the graph has no node features')
  const values = features.values.slice()
  for (let i = 0; i < nodes; i++) {
    const [from, to] =
      features.kind === 'dense' ? [i * features.columns, (i + 1) * features.columns] : [features.starts[i], features.starts[i + 1]]
    let sum = 0
    for (let e = from; e < to; e++) sum += values[e]
    if (sum !== 0) for (let e = from; e < to; e++) values[e] /= sum
  }
  return { ...graph, features: { ...features, values } }
}
