/** Layers that train side by side on each other's states: top-down signals into a layer's input, or into its loss. */
import { OptionError, tree, valueAndGradWithAux, type Tree } from '@bpf/core'
import { applyUpdates, chain, clipByGlobalNorm } from '@bpf/core/optim'
import { fold } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import type { Graph } from '../graph'
import { labelledGraph, nodesOf, nodeSums, type NodeLearner } from '../node-classifier'
import { joined } from '../shared/joined'
import { sparseTensors } from '../sparse-matrix'
import { labelRows, withVirtualNodes, type VirtualDirection } from './augment'
import { featureRows, initLayers, rowsOf, stackOf, type ForwardGnnOptions, type Stack } from './layerwise'
import { drawVirtual } from './node-methods'
import { normaliseRows, virtualLogits, virtualNodeLoss } from './objective'

/** Parameters and optimizer of each layer, each layer's state s_l [nodes, width], and the `virtual` features where there are some. */
export type TopDownState = {
  layers: readonly Tree[]
  optimizers: readonly Tree[]
  states: readonly tf.Tensor[]
  drawn: { readonly [name: string]: tf.Tensor }
}

/** Options of {@link topDownToInput}. */
export interface TopDownOptions extends ForwardGnnOptions {
  /** τ > 0. Default 1. */
  temperature?: number
  /** Default 'both'. */
  direction?: VirtualDirection
}

/** Options of {@link topDownToInput}. */
export interface TopDownToInputOptions extends TopDownOptions {
  /** Odd layers first, then even ones with the new states of their neighbours. Default true; else all use the old states. */
  alternating?: boolean
  /** Steps of inference, and how many of the first are left out of the sum. Default 10 and 2. */
  inferenceSteps?: number
  skippedSteps?: number
}

/** Layers whose input is the layer below's state next to the layer above's. */
export interface TopDownLayers {
  /** Columns of each layer's input. */
  columns(inputs: number): number[]
  /** States by one pass from below, with zeros for what comes from above. */
  bottomUp(params: readonly Tree[], bottom: tf.Tensor): tf.Tensor[]
  /** One time step: new states, by `update` where layers learn. */
  sweep(
    params: readonly Tree[],
    bottom: tf.Tensor,
    states: readonly tf.Tensor[],
    update?: (l: number, output: (params: Tree) => tf.Tensor) => tf.Tensor,
  ): tf.Tensor[]
  /** Sum over the counted time steps of inference and over layers of `score(state)`. */
  infer(params: readonly Tree[], bottom: tf.Tensor, score: (z: tf.Tensor) => tf.Tensor): tf.Tensor
}

/**
 * @param top - the state above the last layer; none for link prediction
 * @throws OptionError for inference steps that leave nothing
 */
export function topDownLayers(
  where: string,
  { layers, widths }: Stack,
  graph: Graph,
  top: (() => tf.Tensor) | undefined,
  topColumns: number,
  { alternating = true, inferenceSteps = 10, skippedSteps = 2 }: Omit<TopDownToInputOptions, keyof TopDownOptions>,
): TopDownLayers {
  if (!(Number.isInteger(inferenceSteps) && Number.isInteger(skippedSteps) && skippedSteps >= 0 && inferenceSteps > skippedSteps)) {
    throw new OptionError(`${where}: expected inferenceSteps > skippedSteps ≥ 0, got ${inferenceSteps} and ${skippedSteps}`)
  }
  const entries = layers.map((layer) => layer.adjacency(graph))
  const last = layers.length - 1
  const inputOf = (below: tf.Tensor, above: tf.Tensor | undefined): tf.Tensor =>
    above === undefined ? normaliseRows(below) : tf.concat([normaliseRows(below), normaliseRows(above)], 1)
  const run = (l: number, params: Tree, input: tf.Tensor): tf.Tensor => tf.relu(layers[l].apply(params, sparseTensors(entries[l]), input))

  const methods: TopDownLayers = {
    columns: (inputs) => widths.map((_, l) => (l === 0 ? inputs : widths[l - 1]) + (l === last ? topColumns : widths[l + 1])),
    bottomUp(params, bottom) {
      const states: tf.Tensor[] = []
      for (let l = 0; l <= last; l++) {
        const above = l === last ? top?.() : tf.zeros([graph.nodes, widths[l + 1]])
        states.push(run(l, params[l], inputOf(states[l - 1] ?? bottom, above)))
      }
      return states
    },
    sweep(params, bottom, states, update = (l, output) => output(params[l])) {
      const next = [...states]
      const from = alternating ? next : states
      const order = widths.map((_, l) => l)
      // Layers count from 1 in the paper: its odd ones are the even indices here.
      for (const l of [...order.filter((i) => i % 2 === 0), ...order.filter((i) => i % 2 === 1)]) {
        const input = inputOf(l === 0 ? bottom : from[l - 1], l === last ? top?.() : from[l + 1])
        next[l] = update(l, (p) => run(l, p, input))
      }
      return next
    },
    infer(params, bottom, score) {
      let states = methods.bottomUp(params, bottom)
      const sums: tf.Tensor[] = []
      for (let t = 0; t < inferenceSteps; t++) {
        states = methods.sweep(params, bottom, states)
        if (t >= skippedSteps) sums.push(...states.map(score))
      }
      return tf.addN(sums)
    },
  }
  return methods
}

/** What both variants for nodes share: the graph with virtual nodes and what is made of outputs on it. */
function virtualTask(where: string, options: TopDownOptions) {
  const { graph, temperature = 1, direction = 'both' } = options
  const { labels, classes, masks } = labelledGraph(where, graph)
  if (!(temperature > 0 && temperature < Infinity)) throw new OptionError(`${where}: temperature must be positive, got ${temperature}`)
  const { nodes } = graph
  const { values, columns } = featureRows(where, graph)
  const train = nodesOf(masks.train)
  const trainLabels = Int32Array.from(train, (i) => labels[i])
  const parts = (z: tf.Tensor): [tf.Tensor, tf.Tensor] => tf.split(z, [nodes, classes]) as [tf.Tensor, tf.Tensor]
  return {
    nodes,
    classes,
    columns,
    labels,
    masks,
    train,
    trainLabels,
    graph: withVirtualNodes(graph, classes, train, trainLabels, direction),
    input: (virtual: tf.Tensor): tf.Tensor => tf.concat([tf.tensor2d(values, [nodes, columns]), virtual], 0),
    loss(z: tf.Tensor): tf.Tensor {
      const [real, virtual] = parts(z)
      return virtualNodeLoss(rowsOf(real, train), virtual, trainLabels, temperature)
    },
    probabilities: (z: tf.Tensor): tf.Tensor => tf.softmax(virtualLogits(...parts(z), temperature)),
  }
}

/** One optimizer step of a layer on its own loss; the output is that from before the step. */
function layerUpdate(
  { optimizer }: Pick<Stack, 'optimizer'>,
  params: Tree,
  state: Tree,
  output: (params: Tree) => tf.Tensor,
  lossOf: (z: tf.Tensor) => tf.Tensor,
): { params: Tree; optimizer: Tree; loss: tf.Tensor; output: tf.Tensor } {
  const { value, aux, grads } = valueAndGradWithAux((p: Tree) => {
    const z = output(p)
    return { loss: lossOf(z), aux: z }
  })(params)
  const { updates, state: next } = optimizer.update(grads, state, params)
  return { params: applyUpdates(params, updates), optimizer: next, loss: value, output: aux }
}

/** Metrics of a step: the sum of the layers' losses, and each. */
function layerLosses(losses: readonly tf.Tensor[]): Record<string, tf.Tensor> {
  return { loss: tf.addN([...losses]), ...Object.fromEntries(losses.map((loss, l) => [`loss${l}`, loss])) }
}

/**
 * Single forward with top-down signals into the input: layer l sees the normalised states of the layer below and the layer
 * above (the labels, above the last one) and learns as in `singleForward`; all layers learn in each step. Inference lets the states
 * settle and sums class probabilities over layers and time.
 *
 * @returns a learner for `fit(learner, wholeGraph(2), …)`; metrics `accuracy` (validation nodes) and `testAccuracy`
 * @throws OptionError as `singleForward`
 */
export function topDownToInput(options: TopDownToInputOptions): NodeLearner<TopDownState> {
  const task = virtualTask('topDownToInput', options)
  const stack = stackOf('topDownToInput', options)
  const total = task.nodes + task.classes
  const virtualRows = Int32Array.from({ length: task.classes }, (_, c) => c)
  const labelValues = labelRows(
    total,
    task.classes,
    joined(
      task.train,
      virtualRows.map((c) => task.nodes + c),
    ),
    joined(task.trainLabels, virtualRows),
  )
  const labelState = (): tf.Tensor => tf.tensor2d(labelValues, [total, task.classes])
  const layers = topDownLayers('topDownToInput', stack, task.graph, labelState, task.classes, options)
  const infer = ({ layers: params, drawn }: TopDownState): tf.Tensor => layers.infer(params, task.input(drawn.virtual), task.probabilities)
  return {
    classes: task.classes,
    init: (key) => ({
      tensors: tree.tidy(() => {
        const params = initLayers(stack, fold(key, 0), layers.columns(task.columns))
        const virtual = drawVirtual(fold(key, 1), task.classes, task.columns)
        return {
          layers: params,
          optimizers: params.map((p) => stack.optimizer.init(p)),
          states: layers.bottomUp(params, task.input(virtual)),
          drawn: { virtual },
        }
      }),
      host: null,
    }),
    step: ({ layers: params, optimizers, states, drawn }) =>
      tree.tidy(() => taughtSweep(stack, layers, task.input(drawn.virtual), { layers: params, optimizers, states, drawn }, task.loss)),
    evaluate: (state, _, weight) =>
      tree.tidy(() => nodeSums(logOf(tf.div(infer(state), shareOf(stack, options))), task.labels, task.masks, weight)),
    predict: (state) => tf.tidy(() => tf.div(infer(state), shareOf(stack, options))),
  }
}

/** Logarithms of probabilities; those that are 0 in single precision stay finite. */
const logOf = (p: tf.Tensor): tf.Tensor => tf.log(tf.maximum(p, 1e-30))

/** How many probabilities inference sums. */
const shareOf = ({ widths }: Stack, { inferenceSteps = 10, skippedSteps = 2 }: Omit<TopDownToInputOptions, keyof TopDownOptions>): number =>
  widths.length * (inferenceSteps - skippedSteps)

/** One sweep in which every layer takes a step on its loss. */
export function taughtSweep(
  stack: Stack,
  layers: TopDownLayers,
  bottom: tf.Tensor,
  state: TopDownState,
  lossOf: (z: tf.Tensor) => tf.Tensor,
): { tensors: TopDownState; metrics: Record<string, tf.Tensor> } {
  const updated: ReturnType<typeof layerUpdate>[] = []
  const states = layers.sweep(state.layers, bottom, state.states, (l, output) => {
    updated[l] = layerUpdate(stack, state.layers[l], state.optimizers[l], output, lossOf)
    return updated[l].output
  })
  return {
    tensors: {
      layers: updated.map(({ params }) => params),
      optimizers: updated.map(({ optimizer }) => optimizer),
      states,
      drawn: state.drawn,
    },
    metrics: layerLosses(updated.map(({ loss }) => loss)),
  }
}

/** Options of {@link topDownToLoss}. */
export interface TopDownToLossOptions extends TopDownOptions {
  /** Largest global norm of a layer's gradients. Default 1; Infinity leaves them. */
  clip?: number
}

/**
 * Single forward with top-down signals into the loss: layer l's loss reads the mean of its output and the normalised states
 * of all layers above, which are fixed. All layers have one width and learn in each step, from the states of the step before.
 *
 * @returns a learner for `fit(learner, wholeGraph(2), …)`; metrics `accuracy` (validation nodes) and `testAccuracy`
 * @throws OptionError as `singleForward`, and for widths that differ
 */
export function topDownToLoss(options: TopDownToLossOptions): NodeLearner<TopDownState> & {
  /** States from below, s_1 … s_L, normalised. */
  bottomUp(state: TopDownState): tf.Tensor[]
} {
  const { clip = 1 } = options
  const task = virtualTask('topDownToLoss', options)
  const { optimizer, ...shape } = stackOf('topDownToLoss', options)
  if (!(clip > 0)) throw new OptionError(`topDownToLoss: clip must be positive, got ${clip}`)
  const stack: Stack = { ...shape, optimizer: clip === Infinity ? optimizer : chain(clipByGlobalNorm(clip), optimizer) }
  const { widths, layers } = stack
  const odd = widths.find((width) => width !== widths[0])
  if (odd !== undefined) throw new OptionError(`topDownToLoss: all layers must have one width, got ${widths.join(', ')}`)
  const entries = layers.map((layer) => layer.adjacency(task.graph))
  const run = (l: number, params: Tree, input: tf.Tensor): tf.Tensor => tf.relu(layers[l].apply(params, sparseTensors(entries[l]), input))
  /** The chain itself is not normalised; what is stored of it is. */
  const chained = (params: readonly Tree[], virtual: tf.Tensor): tf.Tensor[] => {
    let q = task.input(virtual)
    return layers.map((_, l) => {
      q = run(l, params[l], q)
      return normaliseRows(q)
    })
  }
  const withAbove = (e: tf.Tensor, l: number, states: readonly tf.Tensor[]): tf.Tensor =>
    tf.div(tf.addN([e, ...states.slice(l + 1)]), states.length - l)
  const below = (l: number, states: readonly tf.Tensor[], virtual: tf.Tensor): tf.Tensor =>
    l === 0 ? normaliseRows(task.input(virtual)) : states[l - 1]
  const infer = ({ layers: params, drawn }: TopDownState): tf.Tensor => {
    const states = chained(params, drawn.virtual)
    const all = params.map((p, l) => task.probabilities(withAbove(run(l, p, below(l, states, drawn.virtual)), l, states)))
    return tf.div(tf.addN(all), all.length)
  }
  return {
    classes: task.classes,
    init: (key) => ({
      tensors: tree.tidy(() => {
        const params = initLayers(stack, fold(key, 0), [task.columns, ...widths.slice(0, -1)])
        const virtual = drawVirtual(fold(key, 1), task.classes, task.columns)
        return {
          layers: params,
          optimizers: params.map((p) => stack.optimizer.init(p)),
          states: chained(params, virtual),
          drawn: { virtual },
        }
      }),
      host: null,
    }),
    step: ({ layers: params, optimizers, states, drawn }) =>
      tree.tidy(() => {
        const updated = params.map((own, l) => {
          const input = below(l, states, drawn.virtual)
          const output = (p: Tree): tf.Tensor => run(l, p, input)
          const update = layerUpdate(stack, own, optimizers[l], output, (e) => task.loss(withAbove(e, l, states)))
          return { ...update, state: normaliseRows(update.output) }
        })
        return {
          tensors: {
            layers: updated.map(({ params: p }) => p),
            optimizers: updated.map(({ optimizer: o }) => o),
            states: updated.map(({ state }) => state),
            drawn,
          },
          metrics: layerLosses(updated.map(({ loss }) => loss)),
        }
      }),
    evaluate: (state, _, weight) => tree.tidy(() => nodeSums(logOf(infer(state)), task.labels, task.masks, weight)),
    predict: (state) => tf.tidy(() => infer(state)),
    bottomUp: ({ layers: params, drawn }) => tree.tidy(() => chained(params, drawn.virtual)),
  }
}
