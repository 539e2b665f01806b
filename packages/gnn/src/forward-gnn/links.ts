/** Link prediction: layers that judge pairs of nodes, layer by layer, with top-down signals, or by backpropagation. */
import { DataError, OptionError, ShapeError, tree, valueAndGrad, type Learner, type Staged, type Tree } from '@bpf/core'
import { adam, applyUpdates } from '@bpf/core/optim'
import { fold } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { nodeInput, type NodeInput } from '../layers'
import type { GraphStep } from '../node-classifier'
import { sparseTensors } from '../sparse-matrix'
import type { LabelledPairs } from '../splits'
import {
  featureRows,
  forwardLayers,
  initLayers,
  layerwise,
  rowsOf,
  stackOf,
  type ForwardGnnOptions,
  type LayerwiseOptions,
  type LayerwiseState,
  type Scheme,
  type View,
} from './layerwise'
import { linkLogits, linkLoss, type LinkObjective } from './objective'
import { taughtSweep, topDownLayers, type TopDownState } from './top-down'

/** Pairs to learn from and, where there are some, to keep the best weights by; `splitEdges` makes them. */
export interface LinkPairs {
  train: LabelledPairs
  validation?: LabelledPairs
}

/** Pairs whose scores are asked for. */
export type Pairs = Pick<LabelledPairs, 'src' | 'dst'>

/** A trained state scores pairs in (0, 1), [m]. */
export interface LinkScores<State extends Tree> {
  scores(tensors: State, pairs: Pairs): tf.Tensor
}

function checkPairs(where: string, name: string, nodes: number, { src, dst, label }: LabelledPairs): void {
  if (src.length !== dst.length || src.length !== label.length) {
    throw new ShapeError(`${where}: ${name} has ${src.length} sources, ${dst.length} destinations and ${label.length} labels`)
  }
  for (let e = 0; e < src.length; e++) {
    for (const node of [src[e], dst[e]]) {
      if (!(Number.isInteger(node) && node >= 0 && node < nodes)) {
        throw new DataError(`${where}: pair ${e} of ${name} has node ${node}; nodes are numbered 0 to ${nodes - 1}`)
      }
    }
    if (label[e] !== 0 && label[e] !== 1) throw new DataError(`${where}: pair ${e} of ${name} has label ${label[e]}; expected 0 or 1`)
  }
  const positives = label.reduce((sum, value) => sum + value, 0)
  if (positives === 0 || positives === label.length) {
    throw new DataError(`${where}: ${name} has ${positives} edges among ${label.length} pairs; both kinds are needed`)
  }
}

function checkedPairs(where: string, nodes: number, { train, validation }: LinkPairs): void {
  checkPairs(where, 'train', nodes, train)
  if (validation !== undefined) checkPairs(where, 'validation', nodes, validation)
}

/** Logits of pairs from outputs of all nodes. */
const logitsAt = (objective: LinkObjective, z: tf.Tensor, { src, dst }: Pairs, theta: number): tf.Tensor =>
  linkLogits(objective, rowsOf(z, src), rowsOf(z, dst), theta)

/** Area under the ROC curve: the share of (edge, non-edge) pairs in the right order, ties half. */
function rankShare(scores: tf.Tensor, label: Int32Array): tf.Tensor {
  const at = (value: number): Int32Array => Int32Array.from(label.keys()).filter((e) => label[e] === value)
  const gap = tf.sub(tf.expandDims(rowsOf(scores, at(1)), 1), tf.expandDims(rowsOf(scores, at(0)), 0))
  return tf.mean(tf.mul(tf.add(tf.sign(gap), 1), 0.5))
}

function checkObjective(where: string, objective: LinkObjective, theta: number): void {
  if (objective !== 'single-forward' && objective !== 'forward-forward') {
    throw new OptionError(`${where}: objective must be 'single-forward' or 'forward-forward', got '${String(objective)}'`)
  }
  if (!Number.isFinite(theta)) throw new OptionError(`${where}: theta must be finite, got ${theta}`)
}

/** What the local methods for links take beside the network. */
export interface LinkOptions {
  pairs: LinkPairs
  /** Default 'single-forward'. */
  objective?: LinkObjective
  /** θ of 'forward-forward'. Default 2. */
  theta?: number
}

/**
 * Link prediction layer by layer: each layer alone learns which pairs are edges, from z_u ∘ z_v. The score of a pair is the
 * mean of its layers' probabilities.
 *
 * @returns a method for `fitStages(method, wholeGraph(2))`; its metric `auroc` is that of the validation pairs
 * @throws OptionError, ShapeError, DataError for a graph without features, options out of range, pairs that don't fit
 */
export function localLinks(options: LayerwiseOptions & LinkOptions): Staged<LayerwiseState, GraphStep> &
  LinkScores<LayerwiseState> & {
    /** Each layer's outputs [n, width]. */
    embeddings(tensors: LayerwiseState): tf.Tensor[]
  } {
  const { graph, pairs, objective = 'single-forward', theta = 2, ...rest } = options
  const stack = stackOf('localLinks', { graph, ...rest })
  const { values, columns } = featureRows('localLinks', graph)
  checkObjective('localLinks', objective, theta)
  checkedPairs('localLinks', graph.nodes, pairs)
  const { train, validation } = pairs
  const view: View = {
    graph,
    input: () => tf.tensor2d(values, [graph.nodes, columns]),
    rows: Int32Array.from({ length: graph.nodes }, (_, i) => i),
  }
  const scheme: Scheme = {
    columns,
    draw: () => ({}),
    train: () => Promise.resolve(view),
    loss: (z) => ({ loss: linkLoss(objective, logitsAt(objective, z, train, theta), train.label) }),
    metric: 'auroc',
    ...(validation !== undefined && {
      validation: {
        view,
        scores: (z) => tf.sigmoid(logitsAt(objective, z, validation, theta)),
        metrics: (scores) => ({ auroc: rankShare(scores, validation.label) }),
      },
    }),
  }
  return {
    ...layerwise('localLinks', stack, scheme, rest),
    embeddings: ({ layers, drawn }) => tree.tidy(() => forwardLayers(stack, layers, view, drawn).outputs),
    scores: ({ layers, drawn }, asked) =>
      tf.tidy(() => {
        const { outputs } = forwardLayers(stack, layers, view, drawn)
        return tf.div(tf.addN(outputs.map((z) => tf.sigmoid(logitsAt(objective, z, asked, theta)))), outputs.length)
      }),
  }
}

/** Sums for `evaluate` from scores of the validation pairs. */
function linkSums(scores: tf.Tensor, label: Int32Array, weight: tf.Tensor): { sums: Record<string, tf.Tensor>; count: tf.Tensor } {
  const count = tf.sum(weight)
  return { sums: { auroc: tf.mul(rankShare(scores, label), count) }, count }
}

/** Options of {@link topDownLinks}. */
export interface TopDownLinksOptions extends ForwardGnnOptions, LinkOptions {
  /** Odd layers first, then even ones with new states. Default true. */
  alternating?: boolean
  /** Steps of inference, and how many of the first are left out of the mean. Default 10 and 2. */
  inferenceSteps?: number
  skippedSteps?: number
}

/**
 * Link prediction with top-down signals into the input, as {@link topDownToInput} without labels: the last layer gets
 * nothing from above. Default optimizer here: Adam with rate 1e-3 without weight decay.
 *
 * @returns a learner for `fit(learner, wholeGraph(2), …)`; its metric `auroc` is that of the validation pairs
 * @throws as {@link localLinks}
 */
export function topDownLinks(options: TopDownLinksOptions): Learner<TopDownState, GraphStep> & LinkScores<TopDownState> {
  const { graph, pairs, objective = 'single-forward', theta = 2, optimizer = adam({ learningRate: 1e-3 }) } = options
  const stack = stackOf('topDownLinks', { ...options, optimizer })
  const { values, columns } = featureRows('topDownLinks', graph)
  checkObjective('topDownLinks', objective, theta)
  checkedPairs('topDownLinks', graph.nodes, pairs)
  const { train, validation } = pairs
  const layers = topDownLayers('topDownLinks', stack, graph, undefined, 0, options)
  const bottom = (): tf.Tensor => tf.tensor2d(values, [graph.nodes, columns])
  const { inferenceSteps = 10, skippedSteps = 2 } = options
  const scoresOf = (params: readonly Tree[], asked: Pairs): tf.Tensor =>
    tf.div(
      layers.infer(params, bottom(), (z) => tf.sigmoid(logitsAt(objective, z, asked, theta))),
      stack.widths.length * (inferenceSteps - skippedSteps),
    )
  return {
    init: (key) => ({
      tensors: tree.tidy(() => {
        const params = initLayers(stack, fold(key, 0), layers.columns(columns))
        return {
          layers: params,
          optimizers: params.map((p) => stack.optimizer.init(p)),
          states: layers.bottomUp(params, bottom()),
          drawn: {},
        }
      }),
      host: null,
    }),
    step: (state) =>
      tree.tidy(() =>
        taughtSweep(stack, layers, bottom(), state, (z) => linkLoss(objective, logitsAt(objective, z, train, theta), train.label)),
      ),
    ...(validation !== undefined && {
      evaluate: ({ layers: params }: TopDownState, _: GraphStep, weight: tf.Tensor) =>
        tree.tidy(() => linkSums(scoresOf(params, validation), validation.label, weight)),
    }),
    scores: ({ layers: params }, asked) => tf.tidy(() => scoresOf(params, asked)),
  }
}

/** Parameters of all layers, and of their one optimizer. */
export type LinkPredictorState = { layers: readonly Tree[]; optimizer: Tree }

/**
 * The baseline: backpropagation through all layers from the binary cross-entropy of z_u · z_v; ReLU between layers.
 *
 * @returns a learner for `fit(learner, wholeGraph(2), …)`; its metric `auroc` is that of the validation pairs
 * @throws as {@link localLinks}
 */
export function linkPredictor(
  options: ForwardGnnOptions & Pick<LinkOptions, 'pairs'>,
): Learner<LinkPredictorState, GraphStep> & LinkScores<LinkPredictorState> {
  const { graph, pairs } = options
  const stack = stackOf('linkPredictor', options)
  const { columns } = featureRows('linkPredictor', graph)
  checkedPairs('linkPredictor', graph.nodes, pairs)
  const { train, validation } = pairs
  const entries = stack.layers.map((layer) => layer.adjacency(graph))
  const logits = (layers: readonly Tree[], asked: Pairs): tf.Tensor => {
    let h: NodeInput = nodeInput(graph)
    stack.layers.forEach((layer, l) => {
      const z = layer.apply(layers[l], sparseTensors(entries[l]), h)
      h = l + 1 < stack.layers.length ? tf.relu(z) : z
    })
    return logitsAt('single-forward', h as unknown as tf.Tensor, asked, 0)
  }
  return {
    init: (key) => ({
      tensors: tree.tidy(() => {
        const layers = initLayers(stack, key, [columns, ...stack.widths.slice(0, -1)])
        return { layers, optimizer: stack.optimizer.init(layers) }
      }),
      host: null,
    }),
    step: ({ layers, optimizer }) =>
      tree.tidy(() => {
        const lossOf = (params: readonly Tree[]): tf.Tensor => linkLoss('single-forward', logits(params, train), train.label)
        const { value, grads } = valueAndGrad(lossOf)(layers)
        const { updates, state } = stack.optimizer.update(grads, optimizer, layers)
        return { tensors: { layers: applyUpdates(layers, updates), optimizer: state }, metrics: { loss: value } }
      }),
    ...(validation !== undefined && {
      evaluate: ({ layers }: LinkPredictorState, _: GraphStep, weight: tf.Tensor) =>
        tree.tidy(() => linkSums(tf.sigmoid(logits(layers, validation)), validation.label, weight)),
    }),
    scores: ({ layers }, asked) => tf.tidy(() => tf.sigmoid(logits(layers, asked))),
  }
}
