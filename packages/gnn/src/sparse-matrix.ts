/** Sparse times dense without an n × n matrix: a gather and a sorted scatter forward, the same on the transposed entries backward. */
import { customGradient, ShapeError } from '@bpf/core'
import { sizeClass } from '@bpf/core/data'
import * as tf from '@tensorflow/tfjs-core'
import { sortedOrder, withSelfLoops, type Graph } from './graph'
import { joined } from './shared/joined'

/**
 * A sparse matrix by entries, sorted by row: row, column [E] int32, value [E] float32, and `transpose` [E] int32, the
 * order that sorts the entries by column.
 */
export type SparseMatrix = { row: tf.Tensor; column: tf.Tensor; value: tf.Tensor; transpose: tf.Tensor }

/** {@link SparseMatrix} on the host. */
export type SparseArrays = { row: Int32Array; column: Int32Array; value: Float32Array; transpose: Int32Array }

/** The entries of a matrix [rows, columns], sorted by row. */
export function sparseArrays(
  size: number,
  row: Int32Array,
  column: Int32Array,
  value: Float32Array = new Float32Array(row.length).fill(1),
): SparseArrays {
  const order = sortedOrder(size, column, row)
  const sorted = { row: order.map((e) => row[e]), column: order.map((e) => column[e]), value: Float32Array.from(order, (e) => value[e]) }
  return { ...sorted, transpose: sortedOrder(size, sorted.row, sorted.column) }
}

/**
 * The entries of a square matrix, with zeros added at the end up to a size class of `@bpf/core/data`. A function compiled with
 * matrices as arguments then compiles once for all graphs of a class (nodes padded by zero rows of features likewise).
 *
 * @param size - rows and columns, those that pad included
 */
export function padEntries({ row, column, value, transpose }: SparseArrays, size: number): SparseArrays {
  const added = sizeClass(Math.max(1, row.length)) - row.length
  const corner = new Int32Array(added).fill(size - 1)
  return {
    row: joined(row, corner),
    column: joined(column, corner),
    value: Float32Array.from({ length: row.length + added }, (_, e) => (e < row.length ? value[e] : 0)),
    transpose: joined(
      transpose,
      corner.map((_, e) => row.length + e),
    ),
  }
}

/** The tensors of a matrix. Inside a compiled function they are constants. */
export function sparseTensors({ row, column, value, transpose }: SparseArrays): SparseMatrix {
  return {
    row: tf.tensor1d(row, 'int32'),
    column: tf.tensor1d(column, 'int32'),
    value: tf.tensor1d(value, 'float32'),
    transpose: tf.tensor1d(transpose, 'int32'),
  }
}

/** How entries of a graph weigh in sums over neighbours; see {@link adjacencyArrays}. */
export type Normalisation = 'none' | 'symmetric' | 'mean'

/**
 * The matrix A with A[dst, src] the weight of src → dst, so that A·x sums over the neighbours that point to a node.
 *
 * @param options - `normalisation`: 'symmetric' gives D^(−1/2) A D^(−1/2) (GCN, with `selfLoops`), 'mean' D^(−1) A
 *   (rows of nodes without neighbours stay 0), D the row sums of A; `selfLoops` adds one at each node first
 */
export function adjacencyArrays(
  graph: Graph,
  { normalisation = 'none', selfLoops = false }: { normalisation?: Normalisation; selfLoops?: boolean } = {},
): SparseArrays {
  const { nodes, src: column, dst: row, weight } = selfLoops ? withSelfLoops(graph) : graph
  const value = weight?.slice() ?? new Float32Array(row.length).fill(1)
  if (normalisation !== 'none') {
    const sums = new Float64Array(nodes)
    row.forEach((i, e) => (sums[i] += value[e]))
    const inverse = sums.map((sum) => (sum > 0 ? (normalisation === 'mean' ? 1 / sum : 1 / Math.sqrt(sum)) : 0))
    row.forEach((i, e) => (value[e] *= normalisation === 'mean' ? inverse[i] : inverse[i] * inverse[column[e]]))
  }
  return sparseArrays(nodes, row, column, value)
}

/** y[i] = Σ of values[e] over entries e with index[e] = i; `index` sorted where that is possible, for speed. */
function scatterRows(index: tf.Tensor, values: tf.Tensor, rows: number): tf.Tensor {
  return tf.scatterND(tf.reshape(index, [-1, 1]), values, [rows, ...values.shape.slice(1)])
}

const weighted = (value: tf.Tensor, rows: tf.Tensor): tf.Tensor => tf.mul(tf.reshape(value, [-1, 1]), rows)

/**
 * S·x for a sparse S [rows, n]: y[i] = Σ_e value_e x[column_e] over the entries of row i. Differentiable in x and in the
 * values, to any order; nothing of size rows × n is made.
 *
 * @param matrix - S
 * @param x - [n, d]
 * @param rows - number of rows of S. Default n: a square matrix
 * @returns [rows, d]
 * @throws ShapeError unless x has rank 2
 */
export function sparseMatMul(matrix: SparseMatrix, x: tf.Tensor, rows: number = x.shape[0]): tf.Tensor {
  if (x.rank !== 2) throw new ShapeError(`sparseMatMul: expected x [n, d], got [${x.shape.join(', ')}]`)
  const product = customGradient(
    ({ row, column, value, x: input }: SparseMatrix & { x: tf.Tensor }) =>
      scatterRows(row, weighted(value, tf.gather(input, column as tf.Tensor1D)), rows),
    ({ row, column, value, transpose, x: input }, dy) => {
      const byColumn: SparseMatrix = {
        row: tf.gather(column, transpose as tf.Tensor1D),
        column: tf.gather(row, transpose as tf.Tensor1D),
        value: tf.gather(value, transpose as tf.Tensor1D),
        // Sorted back by row: the inverse order.
        transpose: invert(transpose),
      }
      return {
        row,
        column,
        transpose,
        value: tf.sum(tf.mul(tf.gather(dy, row as tf.Tensor1D), tf.gather(input, column as tf.Tensor1D)), 1),
        x: sparseMatMul(byColumn, dy, input.shape[0]),
      }
    },
  )
  return tf.tidy(() => product({ ...matrix, x }))
}

function invert(order: tf.Tensor): tf.Tensor {
  const positions = tf.range(0, order.shape[0], 1, 'int32')
  return tf.scatterND(tf.reshape(order, [-1, 1]), positions, [order.shape[0]])
}

/**
 * Sums of the values at entries [E, ...] by row: y[i] = Σ_e values[e] over the entries of row i. Differentiable.
 *
 * @returns [rows, ...]
 */
export function sumByRow(matrix: SparseMatrix, values: tf.Tensor, rows: number): tf.Tensor {
  return tf.tidy(() =>
    customGradient(
      ({ row, values: input }: { row: tf.Tensor; values: tf.Tensor }) => scatterRows(row, input, rows),
      ({ row }, dy) => ({ row, values: tf.gather(dy, row as tf.Tensor1D) }),
    )({ row: matrix.row, values }),
  )
}

/** Rows of x at the source (column) of every entry [E, d]; the gradient adds up in the order of columns. */
export function gatherColumns(matrix: SparseMatrix, x: tf.Tensor): tf.Tensor {
  return tf.tidy(() =>
    customGradient(
      ({ column, x: input }: { column: tf.Tensor; transpose: tf.Tensor; x: tf.Tensor }) => tf.gather(input, column as tf.Tensor1D),
      ({ column, transpose, x: input }, dy) => ({
        column,
        transpose,
        x: scatterRows(tf.gather(column, transpose as tf.Tensor1D), tf.gather(dy, transpose as tf.Tensor1D), input.shape[0]),
      }),
    )({ column: matrix.column, transpose: matrix.transpose, x }),
  )
}

/** Rows of x at the destination (row) of every entry [E, d]. */
export function gatherRows(matrix: SparseMatrix, x: tf.Tensor): tf.Tensor {
  return tf.tidy(() =>
    customGradient(
      ({ row, x: input }: { row: tf.Tensor; x: tf.Tensor }) => tf.gather(input, row as tf.Tensor1D),
      ({ row, x: input }, dy) => ({ row, x: scatterRows(row, dy, input.shape[0]) }),
    )({ row: matrix.row, x }),
  )
}
