/** Backpropagation through a graph network: the baseline of this package's methods, and what most users begin with. */
import { logSoftmax, OptionError, softmaxCrossEntropy, tree, valueAndGrad, type Dataset, type Learner, type Tree } from '@bpf/core'
import { batch, fromArrays } from '@bpf/core/data'
import { adam, addDecayedWeights, applyUpdates, chain, type Optimizer } from '@bpf/core/optim'
import { fold, split, type Key } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import type { Graph, Masks } from './graph'
import { dropInput, gcn, nodeInput, type GraphLayer, type NodeInput } from './layers'
import { sparseTensors } from './sparse-matrix'

/**
 * One step of a method that sees the whole graph each time: the graph belongs to the learner, and a batch only counts.
 * See {@link wholeGraph}.
 */
export type GraphStep = { index: tf.Tensor }

/**
 * The dataset of methods that train on one graph as a whole: an epoch of `steps` full-batch steps.
 *
 * @param steps - steps of an epoch; a validation of `fit` comes after each epoch. Default 1
 */
export function wholeGraph(steps = 1): Dataset<GraphStep> {
  return batch(fromArrays({ index: Int32Array.from({ length: steps }, (_, i) => i) }), 1)
}

/** Options of {@link nodeClassifier}. */
export interface NodeClassifierOptions {
  /** With features, labels and masks. */
  graph: Graph
  /** The layers; ReLU stands between them. Default two GCN layers, 16 wide and the number of classes. */
  layers?: readonly GraphLayer[]
  /** Share of each layer's inputs dropped in training. Default 0.5. */
  dropout?: number
  /** Default Adam with rate 0.01 and L2 weight decay 5e-4 on the first layer, as Kipf and Welling have it. */
  optimizer?: Optimizer
}

/** Parameters of the layers, and of the optimizer. */
export type NodeClassifierState = { params: readonly Tree[]; optimizer: Tree }

/** A learner that trains on one graph and predicts class probabilities of its nodes. */
export type NodeLearner<State extends Tree> = Omit<Learner<State, GraphStep>, 'predict'> & {
  readonly classes: number
  /** Probabilities [n, classes] of all nodes, whatever `inputs` is. */
  predict(tensors: State, inputs: Tree, key?: Key): tf.Tensor
}

/** What a method needs of a graph to classify its nodes. @throws OptionError that says what is missing */
export function labelledGraph(where: string, graph: Graph): { labels: Int32Array; classes: number; masks: Masks } {
  const { labels, classes, masks, features } = graph
  const missing = Object.entries({ features, labels, masks }).find(([, value]) => value === undefined)?.[0]
  if (missing !== undefined || labels === undefined || masks === undefined || classes === undefined) {
    throw new OptionError(`${where}: the graph has no ${missing ?? 'classes'}; give them to createGraph (splitNodes makes masks)`)
  }
  if (classes < 2) throw new OptionError(`${where}: the graph has ${classes} class; at least 2 are needed`)
  for (let k = 0; k < classes; k++) {
    if (!labels.some((label, i) => label === k && masks.train[i] === 1)) {
      throw new OptionError(`${where}: class ${k} has no training node`)
    }
  }
  return { labels, classes, masks }
}

/** Indices of the nodes of a mask. */
export function nodesOf(mask: Uint8Array): Int32Array {
  return Int32Array.from({ length: mask.length }, (_, i) => i).filter((i) => mask[i] === 1)
}

/** Mean cross-entropy of the logits [n, classes] of some nodes. */
export function maskedCrossEntropy(logits: tf.Tensor, labels: Int32Array, nodes: Int32Array): tf.Tensor {
  const chosen = tf.gather(logits, tf.tensor1d(nodes, 'int32'))
  return tf.mean(
    softmaxCrossEntropy(
      tf.tensor1d(
        Int32Array.from(nodes, (i) => labels[i]),
        'int32',
      ),
      chosen,
    ),
  )
}

/** Sums for `evaluate`: accuracy on the validation and on the test nodes, and the loss on the validation nodes. */
export function nodeSums(
  logProbabilities: tf.Tensor,
  labels: Int32Array,
  masks: Masks,
  weight: tf.Tensor,
): { sums: Record<string, tf.Tensor>; count: tf.Tensor } {
  const count = tf.sum(weight)
  const accuracy = (mask: Uint8Array): tf.Tensor => {
    const nodes = nodesOf(mask)
    if (nodes.length === 0) return tf.scalar(0)
    const predicted = tf.argMax(tf.gather(logProbabilities, tf.tensor1d(nodes, 'int32')), -1)
    const right = tf.equal(
      predicted,
      tf.tensor1d(
        Int32Array.from(nodes, (i) => labels[i]),
        'int32',
      ),
    )
    return tf.mul(tf.mean(tf.cast(right, 'float32')), count)
  }
  const validation = nodesOf(masks.validation)
  const loss = validation.length === 0 ? tf.scalar(0) : maskedCrossEntropy(logProbabilities, labels, validation)
  return { sums: { accuracy: accuracy(masks.validation), testAccuracy: accuracy(masks.test), loss: tf.mul(loss, count) }, count }
}

/**
 * Node classification by backpropagation: cross-entropy on the training nodes, the whole graph in each step.
 *
 * @returns a learner for `fit(learner, wholeGraph(), …)`; its metrics `accuracy` (validation nodes) and `testAccuracy`
 * @throws OptionError for a graph without features, labels or masks, or with a class that has no training node
 *
 * @example
 * ```ts
 * import { fit } from '@bpf/core'
 * import { classFeatures, createGraph, nodeClassifier, splitNodes, stochasticBlockModel, wholeGraph } from '@bpf/gnn'
 * import { random } from '@bpf/core'
 *
 * const blocks = stochasticBlockModel(random.key(0), { nodes: 300, classes: 3, within: 0.05, between: 0.01 })
 * const features = classFeatures(random.key(1), blocks.labels!, { columns: 16, classes: 3, spread: 0.5 })
 * const graph = splitNodes(random.key(2), createGraph({ ...blocks, features }), { train: 0.1, validation: 0.2 })
 * const { history } = await fit(nodeClassifier({ graph }), wholeGraph(), { epochs: 100, validation: wholeGraph() })
 * console.log(history.at(-1)?.metrics['val/testAccuracy'])
 * ```
 */
export function nodeClassifier({
  graph,
  layers,
  dropout = 0.5,
  optimizer = chain(
    addDecayedWeights(5e-4, (path) => path.startsWith('/0/')),
    adam({ learningRate: 0.01 }),
  ),
}: NodeClassifierOptions): NodeLearner<NodeClassifierState> {
  const { labels, classes, masks } = labelledGraph('nodeClassifier', graph)
  const stack = layers ?? [gcn(16), gcn(classes)]
  if (stack.length === 0) throw new OptionError('nodeClassifier: layers is empty; give at least one')
  if (!(dropout >= 0 && dropout < 1)) throw new OptionError(`nodeClassifier: dropout must be in [0, 1), got ${dropout}`)
  const adjacencies = stack.map((layer) => layer.adjacency(graph))
  const train = nodesOf(masks.train)

  function logits(params: readonly Tree[], key?: Key): tf.Tensor {
    let h: NodeInput = nodeInput(graph)
    stack.forEach((layer, l) => {
      const x = key === undefined || dropout === 0 ? h : dropInput(h, dropout, fold(key, l))
      const y = layer.apply(params[l], sparseTensors(adjacencies[l]), x)
      h = l + 1 < stack.length ? tf.relu(y) : y
    })
    return h as unknown as tf.Tensor
  }

  return {
    classes,
    init(key) {
      const keys = split(key, stack.length)
      let width = graph.features?.columns ?? 0
      const params = stack.map((layer, l) => {
        const made = layer.init(keys[l], width)
        width = made.outputs
        return made.params
      })
      if (width !== classes) throw new OptionError(`nodeClassifier: the last layer is ${width} wide, but there are ${classes} classes`)
      return { tensors: { params, optimizer: optimizer.init(params) }, host: null }
    },
    step({ params, optimizer: state }, _, key) {
      return tree.tidy(() => {
        const { value, grads } = valueAndGrad((p: readonly Tree[]) => maskedCrossEntropy(logits(p, key), labels, train))(params)
        const { updates, state: next } = optimizer.update(grads, state, params)
        return { tensors: { params: applyUpdates(params, updates), optimizer: next }, metrics: { loss: value } }
      })
    },
    evaluate: ({ params }, _, weight) => tree.tidy(() => nodeSums(logSoftmax(logits(params)), labels, masks, weight)),
    predict: ({ params }) => tf.tidy(() => tf.softmax(logits(params))),
  }
}
