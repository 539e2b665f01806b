/** Node classification layer by layer: single forward, and forward-forward with labels as features or as virtual nodes. */
import { OptionError, tree, type Key, type Staged, type Tree } from '@bpf/core'
import { fold, normalArray, uniformArray } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { labelledGraph, nodesOf, type GraphStep } from '../node-classifier'
import { joined } from '../shared/joined'
import { joinColumns, labelRows, sideBySide, stackRows, withVirtualNodes, type VirtualDirection } from './augment'
import {
  featureRows,
  forwardLayers,
  layerwise,
  rowsOf,
  stackOf,
  type LayerwiseOptions,
  type LayerwiseState,
  type Scheme,
  type View,
} from './layerwise'
import { goodness, goodnessLoss, virtualLogits, virtualNodeLoss } from './objective'

/** A method for `fitStages(method, wholeGraph(2))`: each layer validates every two steps. */
export type StagedNodeClassifier = Omit<Staged<LayerwiseState, GraphStep>, 'predict'> & {
  readonly classes: number
  /** Scores [n, classes] of all nodes; the largest is the class. */
  predict(tensors: LayerwiseState, inputs?: Tree, key?: Key): tf.Tensor
  /** Each layer's outputs on the training graph [n, width], or [n + classes, width] with virtual nodes. */
  embeddings(tensors: LayerwiseState): tf.Tensor[]
}

const classesOf = (labels: Int32Array, nodes: Int32Array): Int32Array => Int32Array.from(nodes, (i) => labels[i])

/** Share of rows whose largest score is that of the label. */
export function accuracyOf(scores: tf.Tensor, labels: Int32Array): tf.Tensor {
  return tf.mean(tf.cast(tf.equal(tf.argMax(scores, 1), tf.tensor1d(labels, 'int32')), 'float32'))
}

/** Standard normal features of virtual nodes, frozen. */
export const drawVirtual = (key: Key, classes: number, columns: number): tf.Tensor =>
  tf.tensor2d(normalArray(key, classes * columns), [classes, columns])

/** Options of {@link singleForward}. */
export interface SingleForwardOptions extends LayerwiseOptions {
  /** τ > 0. Default 1. */
  temperature?: number
  /** Default 'both'. */
  direction?: VirtualDirection
  /** Where labels (one-hot at training and virtual nodes, 1/C elsewhere) join the features: nowhere, in the input, in each layer's. */
  appendLabels?: 'none' | 'input' | 'all'
}

/**
 * Single forward: training nodes are linked to virtual nodes of their classes; each layer alone learns z_i · z_{n+c} / τ as
 * logits, in one forward pass, without negatives. Predicts by the layers' mean class probabilities.
 *
 * @throws OptionError for a graph without features, labels or masks, a class without training node, options out of range
 *
 * @example
 * ```ts
 * import { fitStages, random } from '@bpf/core'
 * import { classFeatures, createGraph, singleForward, splitNodes, stochasticBlockModel, wholeGraph } from '@bpf/gnn'
 *
 * const blocks = stochasticBlockModel(random.key(0), { nodes: 300, classes: 3, within: 0.05, between: 0.01 })
 * const features = classFeatures(random.key(1), blocks.labels ?? [], { columns: 16, classes: 3, spread: 0.5 })
 * const graph = splitNodes(random.key(2), createGraph({ ...blocks, features }), { train: 0.1, validation: 0.2 })
 * const method = singleForward({ graph, widths: [32, 32], epochs: 100 })
 * const { state } = await fitStages(method, wholeGraph(2))
 * const probabilities = method.predict(state.tensors) // [300, 3]
 * ```
 */
export function singleForward(options: SingleForwardOptions): StagedNodeClassifier {
  const { graph, temperature = 1, direction = 'both', appendLabels = 'none', ...rest } = options
  const { labels, classes, masks } = labelledGraph('singleForward', graph)
  if (!(temperature > 0 && temperature < Infinity)) {
    throw new OptionError(`singleForward: temperature must be positive, got ${temperature}`)
  }
  if (!['none', 'input', 'all'].includes(appendLabels)) {
    throw new OptionError(`singleForward: appendLabels must be 'none', 'input' or 'all', got '${appendLabels}'`)
  }
  const stack = stackOf('singleForward', { graph, ...rest })
  const { nodes } = graph
  const { values, columns } = featureRows('singleForward', graph)
  const train = nodesOf(masks.train)
  const trainLabels = classesOf(labels, train)
  const virtualRows = Int32Array.from({ length: classes }, (_, c) => nodes + c)
  const known = joined(train, virtualRows)
  const labelValues = labelRows(
    nodes + classes,
    classes,
    known,
    joined(
      trainLabels,
      virtualRows.map((row) => row - nodes),
    ),
  )
  const withLabels = (h: tf.Tensor): tf.Tensor => tf.concat([h, tf.tensor2d(labelValues, [nodes + classes, classes])], 1)
  const augmented = withVirtualNodes(graph, classes, train, trainLabels, direction)
  const view = (real: Int32Array): View => ({
    graph: augmented,
    input({ virtual }) {
      const x = tf.concat([tf.tensor2d(values, [nodes, columns]), virtual], 0)
      return appendLabels === 'none' ? x : withLabels(x)
    },
    ...(appendLabels === 'all' && { carry: withLabels }),
    rows: joined(real, virtualRows),
  })
  const parts = (z: tf.Tensor): [tf.Tensor, tf.Tensor] => tf.split(z, [z.shape[0] - classes, classes]) as [tf.Tensor, tf.Tensor]
  const scores = (z: tf.Tensor): tf.Tensor => tf.softmax(virtualLogits(...parts(z), temperature))
  const validation = nodesOf(masks.validation)
  const scheme: Scheme = {
    columns: columns + (appendLabels === 'none' ? 0 : classes),
    appended: appendLabels === 'all' ? classes : 0,
    draw: (key) => ({ virtual: drawVirtual(key, classes, columns) }),
    train: () => Promise.resolve(view(train)),
    loss: (z) => ({ loss: virtualNodeLoss(...parts(z), trainLabels, temperature) }),
    metric: 'accuracy',
    ...(validation.length > 0 && {
      validation: { view: view(validation), scores, metrics: (s) => ({ accuracy: accuracyOf(s, classesOf(labels, validation)) }) },
    }),
  }
  const everything = view(Int32Array.from({ length: nodes }, (_, i) => i))
  return {
    ...layerwise('singleForward', stack, scheme, rest),
    classes,
    predict: ({ layers, drawn }) =>
      tf.tidy(() => {
        const { outputs } = forwardLayers(stack, layers, everything, drawn)
        return tf.div(tf.addN(outputs.map(scores)), outputs.length)
      }),
    embeddings: ({ layers, drawn }) => tree.tidy(() => forwardLayers(stack, layers, everything, drawn).outputs),
  }
}

/** Options of {@link forwardForwardNodes}. */
export interface ForwardForwardNodesOptions extends LayerwiseOptions {
  /** How a node is told a label: by virtual nodes it is linked to, or by one-hot features. Default 'virtual-nodes'. */
  labels?: 'virtual-nodes' | 'features'
  /** θ. Default 2. */
  theta?: number
  /** K, wrong labels for each training node. Default and at most: classes − 1. */
  negatives?: number
  /** Default 'both'. */
  direction?: VirtualDirection
}

/** For each node a random order of its wrong classes, the first K of it: [K, m]. */
function drawNegatives(key: Key, own: Int32Array, classes: number, count: number): Int32Array {
  const out = new Int32Array(count * own.length)
  const u = uniformArray(key, own.length * classes)
  own.forEach((label, i) => {
    const order = Array.from({ length: classes }, (_, c) => c)
      .filter((c) => c !== label)
      .sort((a, b) => u[i * classes + a] - u[i * classes + b])
    for (let k = 0; k < count; k++) out[k * own.length + i] = order[k]
  })
  return out
}

/** A method of {@link forwardForwardNodes}. */
export type ForwardForwardNodes = StagedNodeClassifier & {
  /** Goodness [1 + K, m] of the m training nodes at one layer: with the right labels, then with each wrong one. */
  goodness(tensors: LayerwiseState, layer: number): Promise<tf.Tensor>
}

/**
 * Forward-forward on graphs: each layer alone makes the goodness Σ z² of training nodes large with right labels and small
 * with wrong ones. A class is tried by telling it to all nodes in question at once; the sum over layers of mean z² − θ is
 * its score. Training and validation nodes are told their own class when others are predicted, and keep it: their rows of
 * `predict` are one-hot.
 *
 * With virtual nodes, all graphs of the next layer get the outputs of the graph with right labels and differ by edges only.
 *
 * @throws OptionError as {@link singleForward}, for θ that is not finite, or `negatives` out of range
 */
export function forwardForwardNodes(options: ForwardForwardNodesOptions): ForwardForwardNodes {
  const { graph, labels: how = 'virtual-nodes', theta = 2, direction = 'both', ...rest } = options
  const { labels, classes, masks } = labelledGraph('forwardForwardNodes', graph)
  const count = options.negatives ?? classes - 1
  if (!Number.isFinite(theta)) throw new OptionError(`forwardForwardNodes: theta must be finite, got ${theta}`)
  if (!Number.isInteger(count) || count < 1 || count > classes - 1) {
    throw new OptionError(`forwardForwardNodes: negatives must be an integer from 1 to ${classes - 1}, got ${count}`)
  }
  if (how !== 'virtual-nodes' && how !== 'features') {
    throw new OptionError(`forwardForwardNodes: labels must be 'virtual-nodes' or 'features', got '${String(how)}'`)
  }
  const stack = stackOf('forwardForwardNodes', { graph, ...rest })
  const { nodes } = graph
  const { values, columns } = featureRows('forwardForwardNodes', graph)
  const isVirtual = how === 'virtual-nodes'
  const total = nodes + (isVirtual ? classes : 0)
  const train = nodesOf(masks.train)
  const validation = nodesOf(masks.validation)
  const trainLabels = classesOf(labels, train)

  /** Graphs side by side in which the nodes are told the classes, one list for each graph; outputs are read at `read`. */
  function told(nodesTold: Int32Array, classLists: readonly Int32Array[], read: Int32Array): View {
    const copies = classLists.length
    const rows = Int32Array.from({ length: copies * read.length }, (_, j) => Math.floor(j / read.length) * total + read[j % read.length])
    if (isVirtual) {
      return {
        graph: sideBySide(classLists.map((list) => withVirtualNodes(graph, classes, nodesTold, list, direction))),
        input: ({ virtual }) => tf.tile(tf.concat([tf.tensor2d(values, [nodes, columns]), virtual], 0), [copies, 1]),
        rows,
      }
    }
    const x = stackRows(classLists.map((list) => joinColumns(values, labelRows(nodes, classes, nodesTold, list), nodes)))
    return {
      graph: sideBySide(classLists.map(() => graph)),
      input: () => tf.tensor2d(x, [copies * nodes, columns + classes]),
      rows,
    }
  }

  /** One graph for each class, which all of `queries` are told; known nodes are told their own. */
  function trial(known: Int32Array, queries: Int32Array, read: Int32Array): View {
    const own = classesOf(labels, known)
    const lists = Array.from({ length: classes }, (_, c) => joined(own, new Int32Array(queries.length).fill(c)))
    return told(joined(known, queries), lists, read)
  }

  async function trainView({ negatives }: LayerwiseState['drawn']): Promise<View> {
    const wrong = await negatives.data<'int32'>()
    const lists = Array.from({ length: count }, (_, k) => wrong.slice(k * train.length, (k + 1) * train.length))
    const view = told(train, [trainLabels, ...lists], train)
    if (!isVirtual) return view
    return { ...view, carry: (z) => tf.tile(tf.slice(z, [0, 0], [total, z.shape[1] ?? 0]), [count + 1, 1]) }
  }

  const scores = (z: tf.Tensor): tf.Tensor =>
    tf.transpose(tf.reshape(tf.sub(tf.mean(tf.square(z), 1), theta), [classes, z.shape[0] / classes]))
  const scheme: Scheme = {
    columns: columns + (isVirtual ? 0 : classes),
    draw: (key) => ({
      ...(isVirtual && { virtual: drawVirtual(fold(key, 0), classes, columns) }),
      negatives: tf.tensor2d(drawNegatives(fold(key, 1), trainLabels, classes, count), [count, train.length], 'int32'),
    }),
    train: trainView,
    loss(z) {
      const [right, wrong] = tf.split(goodness(z), [train.length, count * train.length])
      const { loss, ...metrics } = goodnessLoss(right, wrong, theta)
      return { loss, metrics }
    },
    metric: 'accuracy',
    ...(validation.length > 0 && {
      validation: {
        view: trial(train, validation, validation),
        scores,
        metrics: (s) => ({ accuracy: accuracyOf(s, classesOf(labels, validation)) }),
      },
    }),
  }
  const known = joined(train, validation)
  const others = Int32Array.from({ length: nodes }, (_, i) => i).filter((i) => masks.train[i] + masks.validation[i] === 0)
  const everyone = Int32Array.from({ length: nodes }, (_, i) => i)
  const knownRows = Float32Array.from({ length: nodes * classes }, (_, j) => (labels[Math.floor(j / classes)] === j % classes ? 1 : 0))
  return {
    ...layerwise('forwardForwardNodes', stack, scheme, rest),
    classes,
    predict: ({ layers, drawn }) =>
      tf.tidy(() => {
        const view = trial(known, others, everyone)
        const tried = tf.addN(forwardLayers(stack, layers, view, drawn).outputs.map((z) => scores(rowsOf(z, view.rows))))
        const isKnown = tf.tensor2d(
          Uint8Array.from(everyone, (i) => masks.train[i] + masks.validation[i]),
          [nodes, 1],
          'bool',
        )
        return tf.where(isKnown, tf.tensor2d(knownRows, [nodes, classes]), tried)
      }),
    embeddings({ layers, drawn }) {
      return tree.tidy(() => forwardLayers(stack, layers, told(train, [trainLabels], train), drawn).outputs)
    },
    async goodness({ layers, drawn }, layer) {
      const view = await trainView(drawn)
      return tf.tidy(() => {
        const z = forwardLayers(stack, layers, view, drawn, layer + 1).outputs[layer]
        return tf.reshape(goodness(rowsOf(z, view.rows)), [count + 1, train.length])
      })
    },
  }
}
