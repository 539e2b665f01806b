import { compile, random, tree } from '@bpf/core'
import { gcn, sparseStudent, type Graph } from '@bpf/gnn'
import { counter, labelledGraph } from './labelled-graph'
import { uniform } from './training'
import type { InputArray, Workload } from './workload'

const [nodes, edges, columns, hidden, classes] = [2000, 20_000, 64, 64, 5]
const [weightSparsity, lambda] = [0.5, 1]
const modelKey = random.key(4)

const labelled = (): Graph => labelledGraph({ nodes, edges, columns, classes, validation: 0.2 })

const teacher = () => uniform(random.key(3), [nodes, classes], 1)
// Without dropout, so that both sides compute the same.
const studentOf = (graph: Graph) =>
  sparseStudent({ graph, hidden, dropout: 0, weightSparsity, lambda, teacher: teacher().data as Float32Array })

/** A step of TEDDY's training: loss with distillation, Adam with weight decay, projection onto half of the weights, evaluation. */
export const teddyStep: Workload = {
  name: 'teddy-step',
  description: `TEDDY, a step of a GCN ${columns} → ${hidden} → ${classes} on ${edges} random edges between ${nodes} nodes: distillation, Adam, projection, evaluation`,
  peers: ['torch'],
  settings: { nodes, learningRate: 0.01, weightDecay: 5e-4, weightSparsity, lambda },
  bound: 1,
  repeat: 20,
  inputs(): Record<string, InputArray> {
    const graph = labelled()
    const { labels, masks, features } = graph as Required<Graph>
    const at = (mask: Uint8Array): Int32Array => Int32Array.from(mask.keys()).filter((i) => mask[i] === 1)
    const vector = (data: Int32Array | Float32Array): InputArray => ({ data, shape: [data.length] })
    const { row, column, value } = gcn(hidden).adjacency(graph)
    const sample = counter()
    const { tensors } = studentOf(graph).init(modelKey, sample)
    const [w1, w2] = tree
      .leaves(tensors.params)
      .map((leaf): InputArray => ({ data: leaf.dataSync().slice() as Float32Array, shape: leaf.shape }))
    tree.dispose(tensors, sample)
    return {
      ...Object.fromEntries(Object.entries({ row, column, value, labels }).map(([name, data]) => [name, vector(data)])),
      train: vector(at(masks.train)),
      validation: vector(at(masks.validation)),
      test: vector(at(masks.test)),
      x: { data: features.values, shape: [nodes, columns] },
      teacher: teacher(),
      w1,
      w2,
    }
  },
  prepare() {
    const student = studentOf(labelled())
    const sample = counter()
    let { tensors } = student.init(modelKey, sample)
    const compiled = compile(student.step, { donate: [0], name: 'teddyStep' })
    return Promise.resolve({
      async step() {
        const next = compiled(tensors, sample, modelKey)
        tensors = next.tensors
        const [loss] = await next.metrics.loss.data()
        tree.dispose(next.metrics)
        return loss
      },
      dispose: () => tree.dispose(tensors, sample),
    })
  },
}
