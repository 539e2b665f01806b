import { compile, random, tree, type Key, type Tree } from '@bpf/core'
import { adam } from '@bpf/core/optim'
import { gcn, normaliseRows, singleForward, wholeGraph, withVirtualNodes, type Graph, type GraphLayer, type GraphStep } from '@bpf/gnn'
import * as tf from '@tensorflow/tfjs-core'
import { counter, labelledGraph } from './labelled-graph'
import { tensorOf, uniform } from './training'
import type { InputArray, Workload } from './workload'

const width = 64
const classes = 10
const learningRate = 1e-3
const modelKey = random.key(4)

/** A tenth as many nodes as edges. */
const labelled = (edges: number): Graph => labelledGraph({ nodes: edges / 10, edges, columns: width, classes, validation: 0.1 })

/** GCN whose sum over neighbours is taken in every step, as where a layer's input changes (top-down signals). */
function everyStep(columns: number): GraphLayer {
  const { ahead: _, ...layer } = gcn(columns)
  return layer
}

const methodOf = (graph: Graph) => singleForward({ graph, widths: [width], layer: everyStep, optimizer: adam({ learningRate }), epochs: 1 })

/** A step of one single-forward layer on a random graph: propagation, loss against virtual nodes, gradients, Adam. */
function forwardGnnStep(edges: number, repeat: number): Workload {
  return {
    name: `forward-gnn-step-${edges}`,
    description: `ForwardGNN, a step of one GCN layer ${width} → ${width} on ${edges} random edges between ${edges / 10} nodes and ${classes} virtual nodes`,
    peers: ['torch'],
    settings: { nodes: edges / 10, classes, learningRate },
    bound: 1,
    repeat,
    inputs(): Record<string, InputArray> {
      const graph = labelled(edges)
      const { labels, masks, nodes } = graph as Required<Graph>
      const train = Int32Array.from(masks.train.keys()).filter((i) => masks.train[i] === 1)
      const y = Int32Array.from(train, (i) => labels[i])
      const { row, column, value } = gcn(width).adjacency(withVirtualNodes(graph, classes, train, y))
      const sample = counter()
      const { tensors } = methodOf(graph).init(modelKey, sample)
      const [{ w, b }] = tensors.layers as unknown as Record<string, tf.Tensor>[]
      const x = tf.tidy(() => normaliseRows(tf.concat([tensorOf(uniform(random.key(1), [nodes, width], 1)), tensors.drawn.virtual], 0)))
      const host = (tensor: tf.Tensor): InputArray => ({ data: tensor.dataSync().slice() as Float32Array, shape: tensor.shape })
      const arrays = {
        row: { data: row, shape: [row.length] },
        column: { data: column, shape: [row.length] },
        value: { data: value, shape: [row.length] },
        train: { data: train, shape: [train.length] },
        y: { data: y, shape: [train.length] },
        x: host(x),
        w: host(w),
        b: host(b),
      }
      tree.dispose(tensors, x, sample)
      return arrays
    },
    async prepare() {
      const method = methodOf(labelled(edges))
      const sample = counter()
      const state = method.init(modelKey, sample)
      const { learner } = await method.stage(0, state, { dataset: wholeGraph(), key: modelKey })
      let { tensors } = learner.init(modelKey, sample, undefined)
      tree.dispose(state.tensors)
      const compiled = compile((given: Tree, batch: GraphStep, key: Key) => learner.step(given, batch, key), {
        donate: [0],
        name: 'forwardGnnStep',
      })
      return {
        async step() {
          const next = compiled(tensors, sample, modelKey)
          tensors = next.tensors
          const [loss] = await next.metrics.loss.data()
          tree.dispose(next.metrics)
          return loss
        },
        dispose: () => tree.dispose(tensors, sample),
      }
    },
  }
}

export const forwardGnnSteps: readonly Workload[] = [forwardGnnStep(10_000, 30), forwardGnnStep(100_000, 5), forwardGnnStep(1_000_000, 1)]
