/** The paper's graph networks: without biases, with dropout where it has it. */
import { OptionError, type Key, type Tree } from '@bpf/core'
import { dropout } from '@bpf/core/nn'
import { fold, split } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import type { Graph } from '../graph'
import { dropInput, gat, gcn, gin, nodeInput, sage, type GraphLayer, type NodeInput } from '../layers'
import { sparseTensors, type SparseMatrix } from '../sparse-matrix'

/** Kinds of {@link graphNetwork}. */
export type GraphNetworkKind = 'gcn' | 'gat' | 'gin' | 'sage'

/** Options of {@link graphNetwork}. */
export interface GraphNetworkOptions {
  classes: number
  /** Default 'gcn'. */
  kind?: GraphNetworkKind
  /** Width of the hidden layer (of each head for GAT). Default 512. */
  hidden?: number
  /** Heads of GAT's first layer. Default 8. */
  heads?: number
  /** Share dropped in training. Default 0.5 (GCN, SAGE: hidden), 0.6 (GAT: input, hidden, attention), 0 (GIN). */
  dropout?: number
}

/** A network on one graph: parameters, and logits of all nodes. */
export interface GraphNetwork {
  init(key: Key, inputs: number): Tree
  /** Entries that the layers want of a graph. */
  adjacency(graph: Graph): ReturnType<GraphLayer['adjacency']>
  /** @param key - draws dropout; none without it */
  apply(params: Tree, adjacency: SparseMatrix, x: NodeInput, key?: Key): tf.Tensor
  /** Columns that go through the edges in each layer. */
  readonly widths: readonly number[]
}

type Params = readonly Record<string, tf.Tensor>[]

const drop = (x: tf.Tensor, rate: number, key: Key | undefined): tf.Tensor =>
  key === undefined || rate === 0 ? x : dropout(rate).apply({}, {}, x, { training: true, key }).y

/**
 * Two layers of one kind.
 *
 * @param weighted - whether the entries' values multiply the logits of GAT; those of ones change nothing
 * @throws OptionError for an unknown kind
 */
export function graphNetwork(
  { classes, kind = 'gcn', hidden = 512, heads = 8, dropout: rate }: GraphNetworkOptions,
  { weighted = false } = {},
): GraphNetwork {
  const plain = { bias: false }
  const networks: Record<GraphNetworkKind, () => { layers: GraphLayer[]; extra?: [number, number]; rate: number }> = {
    gcn: () => ({ layers: [gcn(hidden, plain), gcn(classes, plain)], rate: rate ?? 0.5 }),
    sage: () => ({ layers: [sage(hidden, plain), sage(classes, plain)], rate: rate ?? 0.5 }),
    gat: () => ({
      layers: [
        gat(heads * hidden, { ...plain, heads, attentionDropout: rate ?? 0.6, weighted }),
        gat(classes, { ...plain, heads: 1, weighted }),
      ],
      rate: rate ?? 0.6,
    }),
    gin: () => ({ layers: [gin(hidden, plain), gin(classes, plain)], extra: [hidden, classes], rate: rate ?? 0 }),
  }
  if (!Object.hasOwn(networks, kind)) {
    throw new OptionError(`graphNetwork: unknown kind '${String(kind)}'; expected one of ${Object.keys(networks).join(', ')}`)
  }
  const { layers, extra, rate: share } = networks[kind]()
  const [first, second] = layers
  return {
    widths: [kind === 'gat' ? heads * hidden : hidden, classes],
    adjacency: (graph) => first.adjacency(graph),
    init(key, inputs) {
      const keys = split(key, 3)
      const a = first.init(keys[0], inputs)
      const b = second.init(keys[1], a.outputs)
      // W3 of GIN is drawn as a layer's W is.
      const c = extra === undefined ? [] : [{ w: (gin(extra[1], plain).init(keys[2], extra[0]).params as Record<string, tf.Tensor>).w }]
      return [a.params, b.params, ...c] as Tree
    },
    apply(params, adjacency, x, key) {
      const [p1, p2, p3] = params as unknown as Params
      const at = (i: number): Key | undefined => key && fold(key, i)
      if (kind === 'gin') {
        const h1 = tf.relu(first.apply(p1, adjacency, x))
        const h2 = tf.relu(second.apply(p2, adjacency, h1))
        return tf.div(tf.add(tf.matMul(h1 as tf.Tensor2D, p3.w as tf.Tensor2D), h2), 2)
      }
      const input = kind === 'gat' && key !== undefined && share > 0 ? dropInput(x, share, fold(key, 0)) : x
      const h = first.apply(p1, adjacency, input, at(2))
      const active = kind === 'gat' ? tf.elu(h) : tf.relu(h)
      return second.apply(p2, adjacency, drop(active, share, at(1)))
    },
  }
}

/** Constant inputs of a compiled step: features and entries of a graph. */
export function graphInputs(network: GraphNetwork, graph: Graph): () => { x: NodeInput; adjacency: SparseMatrix } {
  const entries = network.adjacency(graph)
  return () => ({ x: nodeInput(graph), adjacency: sparseTensors(entries) })
}
