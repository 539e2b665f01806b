/** Readers of graphs in NumPy archives, as the usual benchmark sets are published. */
import { DataError } from '@bpf/core'
import { parseNpz, type HostArray } from '@bpf/core/data'
import { createGraph, type Features, type Graph } from './graph'

/** An array of the archive, or an error that names it. */
function needed(arrays: Map<string, HostArray>, name: string, file: string): HostArray {
  const array = arrays.get(name)
  if (array === undefined) throw new DataError(`${file}: no array '${name}'; it has ${[...arrays.keys()].join(', ')}`)
  return array
}

const integers = ({ data }: HostArray): Int32Array => Int32Array.from(data as ArrayLike<number>)

/** A CSR matrix in the arrays `name`_indptr, _indices, _data and _shape. */
function readCsr(arrays: Map<string, HostArray>, name: string, file: string) {
  const [starts, column, shape] = ['indptr', 'indices', 'shape'].map((part) => integers(needed(arrays, `${name}_${part}`, file)))
  const values = Float32Array.from(needed(arrays, `${name}_data`, file).data as ArrayLike<number>)
  if (shape.length !== 2 || starts.length !== shape[0] + 1 || column.length !== values.length || starts[shape[0]] !== column.length) {
    throw new DataError(`${file}: the parts of the CSR matrix '${name}' don't fit together`)
  }
  return { rows: shape[0], columns: shape[1], starts, column, values }
}

/**
 * Reads a graph of an NPZ archive. Two layouts: CSR matrices `adj_*` and `attr_*` with `labels` (CitationFull, Amazon), whose
 * features count as present or not; or `edges` [m, 2], `features` [n, columns] and `target` [n] (MUSAE).
 *
 * @param file - its name, for errors
 * @returns an undirected graph without self-loops, with features and labels, without masks
 * @throws DataError with the array that is missing or doesn't fit; as `createGraph`
 */
export function parseGraphNpz(bytes: Uint8Array, file = 'NPZ file'): Graph {
  const arrays = parseNpz(bytes, file)
  if (arrays.has('edges')) {
    const edges = needed(arrays, 'edges', file)
    const [labels, x] = [integers(needed(arrays, 'target', file)), needed(arrays, 'features', file)]
    if (edges.shape.length !== 2 || edges.shape[1] !== 2) {
      throw new DataError(`${file}: 'edges' has shape [${edges.shape.join(', ')}], expected [edges, 2]`)
    }
    const ends = integers(edges)
    const at = (end: number): Int32Array => Int32Array.from({ length: edges.shape[0] }, (_, e) => ends[2 * e + end])
    return undirected(labels, at(0), at(1), { data: x.data as ArrayLike<number>, shape: x.shape })
  }
  const [adjacency, attributes] = [readCsr(arrays, 'adj', file), readCsr(arrays, 'attr', file)]
  const src = new Int32Array(adjacency.column.length)
  for (let i = 0; i < adjacency.rows; i++) src.fill(i, adjacency.starts[i], adjacency.starts[i + 1])
  const { columns, starts, column, values } = attributes
  const features: Features = { kind: 'sparse', columns, starts, column, values: values.map((value) => (value > 0 ? 1 : value)) }
  return undirected(integers(needed(arrays, 'labels', file)), src, adjacency.column, features)
}

function undirected(labels: Int32Array, src: Int32Array, dst: Int32Array, features: Parameters<typeof createGraph>[0]['features']): Graph {
  const proper = Int32Array.from(src.keys()).filter((e) => src[e] !== dst[e])
  return createGraph({
    nodes: labels.length,
    src: proper.map((e) => src[e]),
    dst: proper.map((e) => dst[e]),
    undirected: true,
    duplicates: 'remove',
    features,
    labels,
  })
}
