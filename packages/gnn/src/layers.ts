/** Message-passing layers, each with the adjacency it wants. */
import { OptionError, ShapeError, stopGradient, type Key, type Tree } from '@bpf/core'
import { dropout, initializers } from '@bpf/core/nn'
import { fold, split } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { denseFeatures, type Graph } from './graph'
import {
  adjacencyArrays,
  gatherColumns,
  gatherRows,
  sparseArrays,
  sparseMatMul,
  sparseTensors,
  sumByRow,
  type SparseArrays,
  type SparseMatrix,
} from './sparse-matrix'

/**
 * A layer on graphs: `adjacency` prepares the entries on the host (once for a graph), `apply` is pure and traceable.
 * x is [n, d]; no activation is applied.
 */
export interface GraphLayer<P extends Tree = Tree> {
  adjacency(graph: Graph): SparseArrays
  init(key: Key, inputs: number): { params: P; outputs: number }
  /** @param key - draws dropout, where the layer has some; none without it */
  apply(params: P, adjacency: SparseMatrix, x: NodeInput, key?: Key): tf.Tensor
  /**
   * For layers that sum over neighbours ahead of the weights: `inputs` is the part of `apply` without parameters [n, k], and
   * `apply` of it does the rest, row by row. Methods whose layers see one input for many steps compute it once.
   */
  readonly ahead?: {
    inputs(adjacency: SparseMatrix, x: tf.Tensor): tf.Tensor
    apply(params: P, inputs: tf.Tensor): tf.Tensor
  }
}

/** Rows of nodes [n, d]: a tensor, or features of which only the entries that are not zero are kept. */
export type NodeInput = tf.Tensor | SparseRows

/** Sparse node features: entries by node, of `columns` columns, for `rows` nodes. */
export interface SparseRows {
  readonly matrix: SparseMatrix
  readonly rows: number
  readonly columns: number
}

const isSparse = (x: NodeInput): x is SparseRows => 'matrix' in x
const rowsOf = (x: NodeInput): number => (isSparse(x) ? x.rows : x.shape[0])

/**
 * The features of a graph for a layer, as constants of the function that is being compiled: sparse ones stay sparse.
 *
 * @throws DataError for a graph without features
 */
export function nodeInput(graph: Graph): NodeInput {
  const { features, nodes } = graph
  if (features?.kind !== 'sparse') {
    const { values, columns } = denseFeatures(graph)
    return tf.tensor2d(values, [nodes, columns])
  }
  const row = new Int32Array(features.values.length)
  for (let i = 0; i < nodes; i++) row.fill(i, features.starts[i], features.starts[i + 1])
  return {
    matrix: sparseTensors(sparseArrays(Math.max(nodes, features.columns), row, features.column, features.values)),
    rows: nodes,
    columns: features.columns,
  }
}

/** x with entries dropped at `rate` and the others scaled up; zeros of sparse features stay out of the draw. */
export function dropInput(x: NodeInput, rate: number, key: Key): NodeInput {
  const drop = (values: tf.Tensor): tf.Tensor => dropout(rate).apply({}, {}, values, { training: true, key }).y
  return isSparse(x) ? { ...x, matrix: { ...x.matrix, value: drop(x.matrix.value) } } : drop(x)
}

/** Options of layers with a bias. */
export interface GraphLayerOptions {
  /** Adds b, from 0. Default true. */
  bias?: boolean
}

const glorot = initializers.xavierUniform()

function checkWidth(where: string, width: number): void {
  if (!Number.isInteger(width) || width < 1) throw new OptionError(`${where}: width must be a positive integer, got ${width}`)
}

function checkInput(where: string, x: NodeInput, inputs: number): void {
  const shape = isSparse(x) ? [x.rows, x.columns] : x.shape
  if (shape.length !== 2 || shape[1] !== inputs) throw new ShapeError(`${where}: expected x [n, ${inputs}], got [${shape.join(', ')}]`)
}

const product = (x: NodeInput, w: tf.Tensor): tf.Tensor =>
  isSparse(x) ? sparseMatMul(x.matrix, w, x.rows) : tf.matMul(x as tf.Tensor2D, w as tf.Tensor2D)

/** A·x·W; the narrower side goes through the edges. */
function propagated(adjacency: SparseMatrix, x: NodeInput, w: tf.Tensor): tf.Tensor {
  const [inputs, width] = w.shape
  return width <= inputs || isSparse(x) ? sparseMatMul(adjacency, product(x, w)) : product(sparseMatMul(adjacency, x), w)
}

const withBias = (x: tf.Tensor, b: tf.Tensor | undefined): tf.Tensor => (b === undefined ? x : tf.add(x, b))

/** W [inputs, width], and b [width] where there is a bias. */
export type LinearParams = { w: tf.Tensor; b?: tf.Tensor }

/**
 * Graph convolution: Â x W + b with Â = D^(−1/2) (A + I) D^(−1/2).
 *
 * @param width - columns of the output
 * @see T. Kipf, M. Welling, "Semi-Supervised Classification with Graph Convolutional Networks", arXiv 1609.02907
 */
export function gcn(width: number, { bias = true }: GraphLayerOptions = {}): GraphLayer<Record<string, tf.Tensor>> {
  checkWidth('gcn', width)
  return {
    adjacency: (graph) => adjacencyArrays(graph, { normalisation: 'symmetric', selfLoops: true }),
    init: (key, inputs) => ({
      params: { w: glorot(key, [inputs, width]), ...(bias && { b: tf.zeros([width]) }) },
      outputs: width,
    }),
    apply(params, adjacency, x) {
      const inputs = params.w.shape[0]
      checkInput('gcn', x, inputs)
      return tf.tidy(() => withBias(propagated(adjacency, x, params.w), params.b))
    },
    ahead: {
      inputs: (adjacency, x) => sparseMatMul(adjacency, x),
      apply: (params, inputs) => tf.tidy(() => withBias(product(inputs, params.w), params.b)),
    },
  }
}

/**
 * GraphSAGE with the mean: W_l · mean of neighbours + b + W_r · x (the mean of no neighbour is 0).
 *
 * @see W. Hamilton, R. Ying, J. Leskovec, "Inductive Representation Learning on Large Graphs", arXiv 1706.02216
 */
export function sage(width: number, { bias = true }: GraphLayerOptions = {}): GraphLayer<Record<string, tf.Tensor>> {
  checkWidth('sage', width)
  return {
    adjacency: (graph) => adjacencyArrays(graph, { normalisation: 'mean' }),
    init(key, inputs) {
      const [left, right] = split(key, 2)
      return {
        params: { left: glorot(left, [inputs, width]), right: glorot(right, [inputs, width]), ...(bias && { b: tf.zeros([width]) }) },
        outputs: width,
      }
    },
    apply(params, adjacency, x) {
      const inputs = params.left.shape[0]
      checkInput('sage', x, inputs)
      return tf.tidy(() => withBias(tf.add(propagated(adjacency, x, params.left), product(x, params.right)), params.b))
    },
    ahead: {
      inputs: (adjacency, x) => tf.tidy(() => tf.concat([sparseMatMul(adjacency, x), x], 1)),
      apply: (params, inputs) => tf.tidy(() => withBias(product(inputs, tf.concat([params.left, params.right], 0)), params.b)),
    },
  }
}

/** Options of {@link gat}. */
export interface GatOptions extends GraphLayerOptions {
  /** Heads, whose outputs stand side by side. Default 4. */
  heads?: number
  /** Slope of the leaky ReLU on attention logits. Default 0.2. */
  slope?: number
  /** Share of attention weights dropped where `apply` gets a key. Default 0. */
  attentionDropout?: number
  /** Multiplies the attention logits by the entries' values, as trained masks on edges do. Default false. */
  weighted?: boolean
}

/**
 * Graph attention: heads of width/heads columns each; e_ij = leakyReLU(a_s·Wx_j + a_d·Wx_i), softmax over the neighbours j
 * of i and i itself; out_i = Σ_j α_ij W x_j + b. Entries of weight 0 take no part.
 *
 * @param width - columns of the output, a multiple of `heads`
 * @throws OptionError when it is not
 * @see P. Veličković et al., "Graph Attention Networks", arXiv 1710.10903
 */
export function gat(
  width: number,
  { heads = 4, slope = 0.2, bias = true, attentionDropout = 0, weighted = false }: GatOptions = {},
): GraphLayer<Record<string, tf.Tensor>> {
  checkWidth('gat', width)
  if (!Number.isInteger(heads) || heads < 1 || width % heads !== 0) {
    throw new OptionError(`gat: the width ${width} can't be divided by ${heads} heads`)
  }
  const perHead = width / heads
  return {
    adjacency: (graph) => adjacencyArrays(graph, { selfLoops: true }),
    init(key, inputs) {
      return {
        params: {
          w: glorot(fold(key, 0), [inputs, width]),
          source: tf.reshape(glorot(fold(key, 1), [heads, perHead]), [1, heads, perHead]),
          destination: tf.reshape(glorot(fold(key, 2), [heads, perHead]), [1, heads, perHead]),
          ...(bias && { b: tf.zeros([width]) }),
        },
        outputs: width,
      }
    },
    apply(params, adjacency, x, key) {
      checkInput('gat', x, params.w.shape[0])
      const n = rowsOf(x)
      return tf.tidy(() => {
        const h = product(x, params.w)
        const byHead = tf.reshape(h, [n, heads, perHead])
        const source = tf.sum(tf.mul(byHead, params.source), 2)
        const destination = tf.sum(tf.mul(byHead, params.destination), 2)
        const whole = attention(adjacency, source, destination, slope, { weighted })
        const drops = key !== undefined && attentionDropout > 0
        const alpha = drops ? dropout(attentionDropout).apply({}, {}, whole, { training: true, key }).y : whole
        const messages = tf.mul(tf.reshape(gatherColumns(adjacency, h), [-1, heads, perHead]), tf.expandDims(alpha, 2))
        return withBias(sumByRow(adjacency, tf.reshape(messages, [-1, width]), n), params.b)
      })
    },
  }
}

/**
 * Softmax of leakyReLU(source_j + destination_i) over the entries j of each row i.
 *
 * @param source - [n, heads], destination - [n, heads]
 * @param options - `weighted`: each logit is multiplied by its entry's value. Default false
 * @returns [E, heads]; entries of value 0 get 0
 */
export function attention(
  adjacency: SparseMatrix,
  source: tf.Tensor,
  destination: tf.Tensor,
  slope: number,
  { weighted = false }: Pick<GatOptions, 'weighted'> = {},
): tf.Tensor {
  const leaky = (values: tf.Tensor): tf.Tensor => tf.leakyRelu(values, slope)
  return tf.tidy(() => {
    const value = tf.expandDims(adjacency.value, 1)
    const plain = leaky(tf.add(gatherColumns(adjacency, source), gatherRows(adjacency, destination)))
    const logits = weighted ? tf.mul(value, plain) : plain
    // No logit of row i exceeds leaky(max_j source_j + destination_i), so that nothing overflows; it cancels in the quotient.
    const highest = leaky(tf.add(tf.max(source, 0, true), destination))
    const lowest = leaky(tf.add(tf.min(source, 0, true), destination))
    const bound = stopGradient(weighted ? tf.mul(tf.max(tf.abs(value)), tf.maximum(tf.abs(highest), tf.abs(lowest))) : highest)
    const present = tf.cast(tf.notEqual(value, 0), 'float32')
    const weights = tf.mul(tf.exp(tf.sub(logits, gatherRows(adjacency, bound))), present)
    const sums = tf.maximum(sumByRow(adjacency, weights, source.shape[0]), 1e-30)
    return tf.div(weights, gatherRows(adjacency, sums))
  })
}

/**
 * Graph isomorphism layer: W ((1 + ε) x + Σ neighbours) + b with a learned ε, from 0.
 *
 * @see K. Xu et al., "How Powerful are Graph Neural Networks?", arXiv 1810.00826
 */
export function gin(width: number, { bias = true }: GraphLayerOptions = {}): GraphLayer<Record<string, tf.Tensor>> {
  checkWidth('gin', width)
  const uniform = initializers.torchDefault
  return {
    adjacency: (graph) => adjacencyArrays(graph),
    init: (key, inputs) => ({
      params: { w: uniform(key, [inputs, width]), epsilon: tf.scalar(0), ...(bias && { b: tf.zeros([width]) }) },
      outputs: width,
    }),
    apply(params, adjacency, x) {
      const inputs = params.w.shape[0]
      checkInput('gin', x, inputs)
      return tf.tidy(() => {
        const own = tf.add(params.epsilon, 1)
        const mix = (h: tf.Tensor): tf.Tensor => tf.add(tf.mul(own, h), sparseMatMul(adjacency, h))
        return withBias(width <= inputs || isSparse(x) ? mix(product(x, params.w)) : product(mix(x), params.w), params.b)
      })
    },
  }
}
