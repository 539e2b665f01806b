/**
 * G. Dellaferrera, G. Kreiman, "Error-driven Input Modulation: Solving the Credit Assignment Problem without a Backward Pass",
 * ICML 2022, arXiv 2201.11665 (PEPITA), on graphs: a baseline of paper 01. A second pass sees the input changed by the first one's
 * error, and layers learn from how far their outputs in the two passes are apart.
 */
import { logSoftmax, OptionError, tree, valueAndGrad, type Tree } from '@bpf/core'
import { applyUpdates } from '@bpf/core/optim'
import { fold, uniformArray } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { labelledGraph, maskedCrossEntropy, nodesOf, nodeSums, type NodeLearner } from '../node-classifier'
import { sparseTensors } from '../sparse-matrix'
import { featureRows, initLayers, stackOf, type ForwardGnnOptions } from './layerwise'

/** Options of {@link pepita}. */
export interface PepitaOptions extends ForwardGnnOptions {
  /** Size of F's entries, relative to √(6 / columns). Default 0.05. */
  projection?: number
}

/** Parameters of all layers, of their optimizer, and the fixed F [classes, columns]. */
export type PepitaState = { layers: readonly Tree[]; optimizer: Tree; projection: tf.Tensor }

/**
 * PEPITA for nodes. First pass: h_l = relu(layer_l(h_{l−1})), class probabilities p = softmax of the last layer, whose error e = p − y
 * stands at training nodes and is 0 elsewhere. Second pass h̃_l from the input x + e F. With a = layer_l(h̃_{l−1}) before the
 * ReLU, hidden layers follow the gradient of (1/m) Σ (h_l − h̃_l) · a and the last one that of (1/m) Σ e · a, with the factors
 * before a constant; m training nodes. For dense layers these are the paper's products of differences and inputs.
 *
 * @param options - `widths`: of the hidden layers; a layer of the number of classes follows
 * @returns a learner for `fit(learner, wholeGraph(2), …)`; metrics `accuracy` (validation nodes) and `testAccuracy`
 * @throws OptionError as `singleForward`
 */
export function pepita(options: PepitaOptions): NodeLearner<PepitaState> {
  const { graph, projection = 0.05 } = options
  const { labels, classes, masks } = labelledGraph('pepita', graph)
  if (!(projection >= 0 && projection < Infinity)) throw new OptionError(`pepita: projection must be at least 0, got ${projection}`)
  const hidden = stackOf('pepita', options)
  const stack = stackOf('pepita', { ...options, widths: [...hidden.widths, classes] })
  const { layers } = stack
  const { values, columns } = featureRows('pepita', graph)
  const entries = layers.map((layer) => layer.adjacency(graph))
  const train = nodesOf(masks.train)
  const input = (): tf.Tensor => tf.tensor2d(values, [graph.nodes, columns])
  const truth = Float32Array.from({ length: graph.nodes * classes }, (_, j) => (labels[Math.floor(j / classes)] === j % classes ? 1 : 0))
  const isTrain = Float32Array.from(masks.train)
  const error = (logits: tf.Tensor): tf.Tensor =>
    tf.mul(tf.sub(tf.softmax(logits), tf.tensor2d(truth, [graph.nodes, classes])), tf.tensor2d(isTrain, [graph.nodes, 1]))

  /** Each layer's outputs before the ReLU. */
  function pass(params: readonly Tree[], x: tf.Tensor): tf.Tensor[] {
    const outputs: tf.Tensor[] = []
    layers.forEach((layer, l) => {
      const h = l === 0 ? x : tf.relu(outputs[l - 1])
      outputs.push(layer.apply(params[l], sparseTensors(entries[l]), h))
    })
    return outputs
  }
  const logits = (params: readonly Tree[]): tf.Tensor => pass(params, input())[layers.length - 1]

  return {
    classes,
    init: (key) => ({
      tensors: tree.tidy(() => {
        const params = initLayers(stack, fold(key, 0), [columns, ...hidden.widths])
        const limit = projection * Math.sqrt(6 / columns)
        const drawn = uniformArray(fold(key, 1), classes * columns, { low: -1, high: 1 })
        return {
          layers: params,
          optimizer: stack.optimizer.init(params),
          projection: tf.mul(tf.tensor2d(drawn, [classes, columns]), limit),
        }
      }),
      host: null,
    }),
    step: ({ layers: params, optimizer, projection: f }) =>
      tree.tidy(() => {
        const x = input()
        const first = pass(params, x)
        const e = error(first[layers.length - 1])
        const changed = tf.add(x, tf.matMul(e as tf.Tensor2D, f as tf.Tensor2D))
        const second = pass(params, changed)
        const grads = layers.map((layer, l) => {
          const isLast = l + 1 === layers.length
          const factor = isLast ? e : tf.sub(tf.relu(first[l]), tf.relu(second[l]))
          const below = l === 0 ? changed : tf.relu(second[l - 1])
          const product = (p: Tree): tf.Tensor =>
            tf.div(tf.sum(tf.mul(factor, layer.apply(p, sparseTensors(entries[l]), below))), train.length)
          return valueAndGrad(product)(params[l]).grads
        })
        const { updates, state } = stack.optimizer.update(grads, optimizer, params)
        return {
          tensors: { layers: applyUpdates(params, updates), optimizer: state, projection: f },
          metrics: { loss: maskedCrossEntropy(first[layers.length - 1], labels, train) },
        }
      }),
    evaluate: ({ layers: params }, _, weight) => tree.tidy(() => nodeSums(logSoftmax(logits(params)), labels, masks, weight)),
    predict: ({ layers: params }) => tf.tidy(() => tf.softmax(logits(params))),
  }
}
