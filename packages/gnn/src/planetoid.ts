/** Readers of citation graphs: Planetoid's `ind.NAME.*` files, and plain edge lists. */
import { DataError } from '@bpf/core'
import { createGraph, type Features, type Graph } from './graph'
import { isArray, isObject, readPickle, type PickleArray, type PickleValue } from './shared/pickle'

/** The eight files of a Planetoid set, as bytes. */
export interface PlanetoidFiles {
  x: Uint8Array
  y: Uint8Array
  tx: Uint8Array
  ty: Uint8Array
  allx: Uint8Array
  ally: Uint8Array
  graph: Uint8Array
  /** Text: one node index on each line. */
  testIndex: Uint8Array
}

interface Rows {
  count: number
  columns: number
  /** Columns and values of a row. */
  row(i: number): { column: ArrayLike<number>; values: ArrayLike<number> }
}

function arrayOf(state: Map<PickleValue, PickleValue>, key: string, name: string): PickleArray {
  const value = state.get(key)
  if (!isArray(value)) throw new DataError(`${name}: the matrix has no array '${key}'`)
  return value
}

/** Rows of a scipy CSR matrix or a dense array. */
function rowsOf(value: PickleValue, name: string): Rows {
  if (isArray(value) && value.shape.length === 2) {
    const [count, columns] = value.shape
    const column = Array.from({ length: columns }, (_, j) => j)
    return { count, columns, row: (i) => ({ column, values: value.values.subarray(i * columns, (i + 1) * columns) }) }
  }
  if (!isObject(value) || !(value.state instanceof Map)) throw new DataError(`${name}: expected a matrix (scipy CSR or numpy)`)
  const { state } = value
  const shape = (state.get('_shape') ?? state.get('shape')) as number[] | undefined
  const [indptr, indices, data] = ['indptr', 'indices', 'data'].map((key) => arrayOf(state, key, name).values)
  if (!Array.isArray(shape) || shape.length !== 2 || indptr.length !== shape[0] + 1 || indices.length !== data.length) {
    throw new DataError(`${name}: the parts of the CSR matrix don't fit together`)
  }
  return {
    count: shape[0],
    columns: shape[1],
    row: (i) => ({ column: indices.subarray(indptr[i], indptr[i + 1]), values: data.subarray(indptr[i], indptr[i + 1]) }),
  }
}

/** The class of each one-hot row; −1 for a row of zeros. */
function classesOf(rows: Rows): Int32Array {
  return Int32Array.from({ length: rows.count }, (_, i) => {
    const { column, values } = rows.row(i)
    const at = Array.from(values).findIndex((value) => value !== 0)
    return at < 0 ? -1 : column[at]
  })
}

/**
 * Reads a Planetoid set (Cora, Citeseer, PubMed) with its public split: the first labelled nodes train, the next 500
 * validate, the listed ones test. Pickles are parsed, never executed. Edges are undirected, without duplicates and
 * self-loops; test nodes without a record (Citeseer has some) get features and class 0 and stand in no mask.
 *
 * @param files - contents of `ind.NAME.x`, `.y`, `.tx`, `.ty`, `.allx`, `.ally`, `.graph`, `.test.index`
 * @returns the graph, features sparse and as they are; `rowNormalise` makes rows sum to 1
 * @throws DataError naming the file and the byte for a truncated, damaged or unsafe file, or parts that don't fit together
 */
export function parsePlanetoid(files: PlanetoidFiles): Graph {
  const matrix = (name: keyof PlanetoidFiles): Rows => rowsOf(readPickle(files[name], name), name)
  const [x, tx, allx] = [matrix('x'), matrix('tx'), matrix('allx')]
  const [ty, ally] = [matrix('ty'), matrix('ally')]
  if (tx.columns !== allx.columns || tx.count !== ty.count || allx.count !== ally.count) {
    throw new DataError(
      `planetoid: tx [${tx.count}, ${tx.columns}], ty ${ty.count}, allx [${allx.count}, ${allx.columns}], ally ${ally.count} rows don't fit together`,
    )
  }
  const testIndex = new TextDecoder().decode(files.testIndex).trim().split(/\s+/).map(Number)
  if (testIndex.length !== tx.count || testIndex.some((node) => !Number.isInteger(node) || node < 0)) {
    throw new DataError(`test.index: expected ${tx.count} node indices, one for each row of tx`)
  }
  const adjacency = readPickle(files.graph, 'graph')
  if (!(adjacency instanceof Map)) throw new DataError('graph: expected a dictionary from node to neighbours')
  const nodes = Math.max(allx.count, ...testIndex.map((node) => node + 1))

  const source = new Array<{ rows: Rows; index: number } | undefined>(nodes).fill(undefined)
  for (let i = 0; i < allx.count; i++) source[i] = { rows: allx, index: i }
  testIndex.forEach((node, index) => (source[node] = { rows: tx, index }))
  const [allClasses, testClasses] = [classesOf(ally), classesOf(ty)]
  const classOf = (entry: { rows: Rows; index: number } | undefined): number =>
    entry === undefined ? -1 : (entry.rows === tx ? testClasses : allClasses)[entry.index]
  const labels = Int32Array.from(source, classOf)

  const [src, dst]: [number[], number[]] = [[], []]
  for (const [node, neighbours] of adjacency) {
    for (const neighbour of neighbours as number[]) {
      if (!Number.isInteger(neighbour) || neighbour < 0 || neighbour >= nodes || !((node as number) < nodes)) {
        throw new DataError(`graph: node ${String(node)} is linked to ${neighbour}, but nodes are numbered 0 to ${nodes - 1}`)
      }
      if (neighbour === node) continue
      src.push(node as number)
      dst.push(neighbour)
    }
  }
  const isKnown = (node: number): boolean => labels[node] >= 0
  return createGraph({
    nodes,
    src,
    dst,
    undirected: true,
    duplicates: 'remove',
    features: sparseFeatures(source, allx.columns),
    labels: labels.map((label) => Math.max(label, 0)),
    classes: ally.columns,
    masks: {
      train: Uint8Array.from(labels, (_, i) => (i < x.count ? 1 : 0)),
      validation: Uint8Array.from(labels, (_, i) => (i >= x.count && i < Math.min(x.count + 500, allx.count) ? 1 : 0)),
      test: testMask(nodes, testIndex.filter(isKnown)),
    },
  })
}

function testMask(nodes: number, testIndex: readonly number[]): Uint8Array {
  const mask = new Uint8Array(nodes)
  for (const node of testIndex) mask[node] = 1
  return mask
}

function sparseFeatures(source: readonly ({ rows: Rows; index: number } | undefined)[], columns: number): Features {
  const [column, values]: [number[], number[]] = [[], []]
  const starts = new Int32Array(source.length + 1)
  source.forEach((entry, i) => {
    if (entry !== undefined) {
      const row = entry.rows.row(entry.index)
      Array.from(row.values).forEach((value, e) => {
        if (value === 0) return
        column.push(row.column[e])
        values.push(value)
      })
    }
    starts[i + 1] = values.length
  })
  return { kind: 'sparse', columns, starts, column: Int32Array.from(column), values: Float32Array.from(values) }
}

/**
 * Reads an edge list: two node numbers (and a weight) on each line, separated by blanks, tabs or commas; lines that begin
 * with # or % are comments.
 *
 * @param options - `nodes` (default: the largest number + 1), `undirected` (default true)
 * @throws DataError naming the line that is no edge
 */
export function parseEdgeList(text: string, { nodes, undirected = true }: { nodes?: number; undirected?: boolean } = {}): Graph {
  const [src, dst, weight]: [number[], number[], number[]] = [[], [], []]
  text.split('\n').forEach((line, i) => {
    const words = line.trim().split(/[\s,]+/)
    if (words[0] === '' || /^[#%]/.test(words[0])) return
    const values = words.map(Number)
    if (words.length < 2 || words.length > 3 || values.some((value) => !Number.isFinite(value))) {
      throw new DataError(`line ${i + 1}: '${line.trim()}' is no edge; expected two node numbers and perhaps a weight`)
    }
    src.push(values[0])
    dst.push(values[1])
    if (words.length === 3) weight.push(values[2])
  })
  if (weight.length > 0 && weight.length !== src.length) {
    throw new DataError(`${weight.length} of ${src.length} edges have a weight; give all of them one, or none`)
  }
  const count = nodes ?? [...src, ...dst].reduce((largest, node) => Math.max(largest, node), -1) + 1
  return createGraph({ nodes: count, src, dst, undirected, duplicates: 'remove', ...(weight.length > 0 && { weight }) })
}

/** What is read of a graphology graph. */
export interface GraphologyLike {
  order: number
  nodes(): string[]
  forEachEdge(
    callback: (
      edge: string,
      attributes: Record<string, unknown>,
      source: string,
      target: string,
      s: unknown,
      t: unknown,
      undirected: boolean,
    ) => void,
  ): void
}

/**
 * The graph of a graphology graph; nodes are numbered in its order.
 *
 * @param options - `weight`: the edge attribute that holds the weight
 * @returns the graph, and the key of each node
 * @throws DataError for an edge whose weight is no number
 */
export function fromGraphology(source: GraphologyLike, { weight }: { weight?: string } = {}): { graph: Graph; keys: string[] } {
  const keys = source.nodes()
  const index = new Map(keys.map((key, i) => [key, i]))
  const [src, dst, weights]: [number[], number[], number[]] = [[], [], []]
  source.forEachEdge((edge, attributes, from, to, _s, _t, isUndirected) => {
    const value = weight === undefined ? 1 : attributes[weight]
    if (typeof value !== 'number') throw new DataError(`fromGraphology: edge '${edge}' has no number as its attribute '${String(weight)}'`)
    const [a, b] = [index.get(from) as number, index.get(to) as number]
    const ends =
      isUndirected && a !== b
        ? [
            [a, b],
            [b, a],
          ]
        : [[a, b]]
    for (const [s, d] of ends) {
      src.push(s)
      dst.push(d)
      weights.push(value)
    }
  })
  return { graph: createGraph({ nodes: keys.length, src, dst, ...(weight !== undefined && { weight: weights }) }), keys }
}
