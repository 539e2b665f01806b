import { account, useBackend } from '@bpf/core'
import { adam } from '@bpf/core/optim'
import { key, normalArray } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  createGraph,
  gcn,
  randomGraph,
  singleForward,
  sparseArrays,
  sparseMatMul,
  sparseTensors,
  splitNodes,
  wholeGraph,
  type Graph,
  type GraphStep,
  type SparseMatrix,
} from './index'

beforeAll(() => useBackend('onnx'))

const sizes = [10_000, 100_000, 1_000_000]
const width = 64
const graphs = new Map(sizes.map((edges) => [edges, randomGraph(key(edges), { nodes: edges / 10, edges })]))
const graphOf = (edges: number): Graph => graphs.get(edges) as Graph

function matrixOf(edges: number): SparseMatrix {
  const { src, dst, nodes } = graphOf(edges)
  return sparseTensors(sparseArrays(nodes, dst, src))
}

/** The largest of some numbers over the smallest. */
const spread = (values: readonly number[]): number => Math.max(...values) / Math.min(...values)

describe('on random graphs of 10⁴, 10⁵, 10⁶ edges', () => {
  it('the memory of a sparse product for each edge does not grow', () => {
    const peaks = sizes.map((edges) => {
      const matrix = matrixOf(edges)
      const x = tf.zeros([edges / 10, width])
      const { peakBytes } = account((h: tf.Tensor) => sparseMatMul(matrix, h), x)
      tf.dispose([matrix, x])
      return peakBytes / edges
    })
    // Small products run in one part, and hold all gathered rows at once.
    expect(peaks[1]).toBeLessThanOrEqual(peaks[0])
    expect(peaks[2]).toBeLessThanOrEqual(1.1 * peaks[1])
  })

  it('nor does that of a step of one ForwardGNN layer', async () => {
    const peaks: number[] = []
    for (const edges of sizes) {
      const { nodes, src, dst } = graphOf(edges)
      const labels = Int32Array.from({ length: nodes }, (_, i) => i % 10)
      const features = { data: normalArray(key(2), nodes * width), shape: [nodes, width] }
      const graph = splitNodes(key(3), createGraph({ nodes, src, dst, labels, features }), { train: 0.1, validation: 0.1 })
      const everyStep = (columns: number) => {
        const { ahead: _, ...layer } = gcn(columns)
        return layer
      }
      const method = singleForward({ graph, widths: [width], layer: everyStep, optimizer: adam({ learningRate: 1e-3 }), epochs: 1 })
      const index: GraphStep = { index: tf.zeros([1], 'int32') }
      const { learner } = await method.stage(0, method.init(key(4), index), { dataset: wholeGraph(), key: key(0) })
      const { tensors } = learner.init(key(4), index, undefined)
      peaks.push(account((given: typeof tensors) => learner.step(given, index, key(0)), tensors).peakBytes / edges)
    }
    expect(spread(peaks.slice(1))).toBeLessThan(1.2)
    expect(peaks[2]).toBeLessThanOrEqual(1.1 * peaks[0])
  })
})
