import { random } from '@bpf/core'
import { createGraph, randomGraph, splitNodes, type Graph, type GraphStep } from '@bpf/gnn'
import * as tf from '@tensorflow/tfjs-core'
import { uniform } from './training'

/** Sizes of {@link labelledGraph}; `validation` is a share of the nodes. */
export interface LabelledGraphSizes {
  nodes: number
  edges: number
  columns: number
  classes: number
  validation: number
}

/** A random graph with random features, a tenth of its nodes with labels to train on. */
export function labelledGraph({ nodes, edges, columns, classes, validation }: LabelledGraphSizes): Graph {
  const { data } = uniform(random.key(1), [nodes, columns], 1)
  const labels = Int32Array.from({ length: nodes }, (_, i) => i % classes)
  const graph = createGraph({
    ...randomGraph(random.key(0), { nodes, edges }),
    labels,
    features: { data: data as Float32Array, shape: [nodes, columns] },
  })
  return splitNodes(random.key(2), graph, { train: 0.1, validation })
}

/** The batch of a method that trains on one graph. */
export const counter = (): GraphStep => ({ index: tf.tensor1d([0], 'int32') })
