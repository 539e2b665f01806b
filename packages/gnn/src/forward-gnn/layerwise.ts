/** Layer after layer with local losses: each layer trains alone on inputs that are computed once. */
import { OptionError, ShapeError, tree, valueAndGradWithAux, type Key, type Stage, type Staged, type Tree } from '@bpf/core'
import { adam, addDecayedWeights, applyUpdates, chain, type Optimizer } from '@bpf/core/optim'
import { fold, split } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { denseFeatures, type Graph } from '../graph'
import { gcn, type GraphLayer } from '../layers'
import { wholeGraph, type GraphStep } from '../node-classifier'
import { sparseTensors, type SparseArrays } from '../sparse-matrix'
import { normaliseRows } from './objective'

/** The network of the methods of this paper, and how it is trained. */
export interface ForwardGnnOptions {
  /** With features; for node classification with labels and masks, too. */
  graph: Graph
  /** Columns of each layer's output. Default four layers of 128. */
  widths?: readonly number[]
  /** Makes a layer of a width. Default {@link gcn}; `sage` and `gat` do, too. ReLU follows. */
  layer?: (width: number) => GraphLayer
  /** One for each layer, apart. Default Adam with rate 1e-3 and coupled weight decay 5e-4. */
  optimizer?: Optimizer
}

/** Options of methods that train layer after layer. */
export interface LayerwiseOptions extends ForwardGnnOptions {
  /** Full-batch steps of each layer, rounded up to whole passes of the dataset, after each of which it validates. Default 1000. */
  epochs?: number
  /** Validations without improvement after which a layer stops. Default 100; there are none without validation nodes. */
  patience?: number
}

/** Parameters of all layers, and what was drawn before training: `virtual` features [C, F], `negatives` [K, m] (classes). */
export type LayerwiseState = { layers: readonly Tree[]; drawn: { readonly [name: string]: tf.Tensor } }

/** Layers, each with its optimizer. */
export interface Stack {
  layers: readonly GraphLayer[]
  widths: readonly number[]
  optimizer: Optimizer
}

/** @throws OptionError for no widths, or widths that the layer can't have */
export function stackOf(where: string, { widths = [128, 128, 128, 128], layer = gcn, optimizer }: ForwardGnnOptions): Stack {
  if (widths.length === 0) throw new OptionError(`${where}: widths is empty; give one for each layer`)
  return {
    widths,
    layers: widths.map((width) => layer(width)),
    optimizer: optimizer ?? chain(addDecayedWeights(5e-4), adam({ learningRate: 1e-3 })),
  }
}

/** Parameters of layers whose inputs have so many columns. */
export function initLayers({ layers, widths }: Stack, key: Key, columns: readonly number[]): Tree[] {
  const keys = split(key, layers.length)
  return layers.map((layer, l) => {
    const { params, outputs } = layer.init(keys[l], columns[l])
    if (outputs !== widths[l]) throw new ShapeError(`forward-gnn: layer ${l} is ${outputs} wide, but was asked for ${widths[l]}`)
    return params
  })
}

/** A graph that layers run on; it may be several side by side. */
export interface View {
  graph: Graph
  /** The first layer's input [graph.nodes, F], before normalisation. */
  input(drawn: LayerwiseState['drawn']): tf.Tensor
  /** The next layer's input, from a layer's output. Default: the same. */
  carry?(z: tf.Tensor): tf.Tensor
  /** Rows of outputs that the objective reads. */
  rows: Int32Array
}

/** What makes a layer-wise method: graphs to train and judge on, and what is made of outputs there. */
export interface Scheme {
  /** Columns of the first layer's input. */
  columns: number
  /** Columns that {@link View.carry} adds to outputs. */
  appended?: number
  draw(key: Key): LayerwiseState['drawn']
  train(drawn: LayerwiseState['drawn']): Promise<View>
  /** @param z - outputs at the rows of the training view */
  loss(z: tf.Tensor): { loss: tf.Tensor; metrics?: Record<string, tf.Tensor> }
  /** Nothing where there is nothing to validate with. */
  validation?: { view: View; scores(z: tf.Tensor): tf.Tensor; metrics(scores: tf.Tensor): Record<string, tf.Tensor> }
  /** Metric of the best state; higher is better. */
  metric: string
}

const activated = (layer: GraphLayer, params: Tree, entries: SparseArrays, h: tf.Tensor): tf.Tensor =>
  tf.relu(layer.apply(params, sparseTensors(entries), normaliseRows(h)))

/** Outputs [graph.nodes, width] of the first `depth` layers, and the input of the next one. Pure and traceable. */
export function forwardLayers(
  { layers }: Stack,
  params: readonly Tree[],
  view: View,
  drawn: LayerwiseState['drawn'],
  depth: number = layers.length,
): { outputs: tf.Tensor[]; input: tf.Tensor } {
  const outputs: tf.Tensor[] = []
  let input = view.input(drawn)
  for (let l = 0; l < depth; l++) {
    const z = activated(layers[l], params[l], layers[l].adjacency(view.graph), input)
    outputs.push(z)
    input = view.carry === undefined ? z : view.carry(z)
  }
  return { outputs, input }
}

/** Rows of a tensor. */
export const rowsOf = (x: tf.Tensor, rows: Int32Array): tf.Tensor => tf.gather(x, tf.tensor1d(rows, 'int32'))

/** What one layer needs of a view while it trains: constants of its step. */
interface LayerInput {
  /** Outputs at the view's rows. */
  apply(params: Tree): tf.Tensor
  /** Sum of the scores of the layers before. */
  earlier: Float32Array | undefined
}

/**
 * A layer's input stays the same while the layer trains. Where the sum over neighbours comes before the weights it is taken
 * here, once, and only for the rows that count: a step is then a dense product.
 */
async function layerInput(
  stack: Stack,
  state: LayerwiseState,
  view: View,
  depth: number,
  scores?: (z: tf.Tensor) => tf.Tensor,
): Promise<LayerInput> {
  const layer = stack.layers[depth]
  const { ahead } = layer
  const entries = layer.adjacency(view.graph)
  const computed = tf.tidy((): tf.TensorContainer => {
    const { outputs, input } = forwardLayers(stack, state.layers, view, state.drawn, depth)
    const normalised = normaliseRows(input)
    const ready = ahead === undefined ? normalised : rowsOf(ahead.inputs(sparseTensors(entries), normalised), view.rows)
    const sums = scores && outputs.map((z) => scores(rowsOf(z, view.rows)))
    return { ready, ...(sums !== undefined && sums.length > 0 && { earlier: tf.addN(sums) }) }
  }) as { ready: tf.Tensor; earlier?: tf.Tensor }
  const { shape } = computed.ready
  const values = (await computed.ready.data<'float32'>()).slice()
  const earlier = (await computed.earlier?.data<'float32'>())?.slice()
  tf.dispose(computed)
  const constant = (): tf.Tensor => tf.tensor(values, shape)
  return {
    earlier,
    apply: (params) =>
      ahead === undefined
        ? rowsOf(tf.relu(layer.apply(params, sparseTensors(entries), constant())), view.rows)
        : tf.relu(ahead.apply(params, constant())),
  }
}

/** The staged method of a scheme: one stage for each layer, with the weights of its best validation. */
export function layerwise(
  where: string,
  stack: Stack,
  scheme: Scheme,
  { epochs = 1000, patience = 100 }: Pick<LayerwiseOptions, 'epochs' | 'patience'>,
): Staged<LayerwiseState, GraphStep> {
  if (!Number.isInteger(epochs) || epochs < 1) throw new OptionError(`${where}: epochs must be a positive integer, got ${epochs}`)
  const { optimizer, widths } = stack
  const columns = [scheme.columns, ...widths.slice(0, -1).map((width) => width + (scheme.appended ?? 0))]
  return {
    stageCount: widths.length,
    init: (key) => ({
      tensors: { layers: initLayers(stack, fold(key, 0), columns), drawn: scheme.draw(fold(key, 1)) },
      host: null,
    }),
    async stage(k, { tensors, host }, { dataset }): Promise<Stage<LayerwiseState, GraphStep>> {
      const { validation, metric } = scheme
      const train = await layerInput(stack, tensors, await scheme.train(tensors.drawn), k)
      const judged = validation && (await layerInput(stack, tensors, validation.view, k, validation.scores))
      type Inner = { params: Tree; optimizer: Tree }
      return {
        learner: {
          init() {
            const params = tree.clone(tensors.layers[k])
            return { tensors: { params, optimizer: optimizer.init(params) }, host: null }
          },
          step(current) {
            const { params, optimizer: past } = current as Inner
            return tree.tidy(() => {
              const { value, aux, grads } = valueAndGradWithAux((p: Tree) => {
                const { loss, metrics = {} } = scheme.loss(train.apply(p))
                return { loss, aux: metrics }
              })(params)
              const { updates, state } = optimizer.update(grads, past, params)
              return { tensors: { params: applyUpdates(params, updates), optimizer: state }, metrics: { loss: value, ...aux } }
            })
          },
          ...(validation !== undefined &&
            judged !== undefined && {
              evaluate: (current: Tree, _: GraphStep, weight: tf.Tensor) =>
                tree.tidy(() => {
                  const own = validation.scores(judged.apply((current as Inner).params))
                  const scores = judged.earlier === undefined ? own : tf.add(own, tf.tensor(judged.earlier, own.shape))
                  const count = tf.sum(weight)
                  const sums = Object.entries(validation.metrics(scores)).map(([name, value]) => [name, tf.mul(value, count)])
                  return { sums: Object.fromEntries(sums) as Record<string, tf.Tensor>, count }
                }),
            }),
        },
        options: {
          // Whole passes, so that each ends with a validation.
          epochs: Math.ceil(epochs / (dataset.batchesPerEpoch ?? 1)),
          ...(validation !== undefined && { validation: wholeGraph(), best: { metric, mode: 'max' }, patience }),
        },
        finish: (inner) => ({
          tensors: { ...tensors, layers: tensors.layers.map((layer, l) => (l === k ? (inner.tensors as Inner).params : layer)) },
          host,
        }),
      }
    },
  }
}

/** Features [n, F] as rows. */
export function featureRows(where: string, graph: Graph): { values: Float32Array; columns: number } {
  if (graph.features === undefined) throw new OptionError(`${where}: the graph has no features; give them to createGraph`)
  return denseFeatures(graph)
}
