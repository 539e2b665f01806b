import { compile, random, tree } from '@bpf/core'
import { randomGraph, sparseArrays, sparseMatMul, sparseTensors } from '@bpf/gnn'
import type * as tf from '@tensorflow/tfjs-core'
import { tensorOf, uniform } from './training'
import type { Workload } from './workload'

const width = 64

/** A sparse matrix of so many entries, a tenth as many nodes, times [n, 64]; compared is one value after the other. */
function sparseProduct(edges: number, repeat: number): Workload {
  const nodes = edges / 10
  return {
    name: `sparse-product-${edges}`,
    description: `sparse product, ${edges} random edges between ${nodes} nodes, ${width} columns`,
    peers: ['torch'],
    settings: { nodes },
    bound: 1,
    repeat,
    inputs() {
      const { src, dst } = randomGraph(random.key(0), { nodes, edges })
      const shape = [src.length]
      return { row: { data: dst, shape }, column: { data: src, shape }, x: uniform(random.key(1), [nodes, width], 1) }
    },
    prepare({ row, column, x }) {
      const matrix = sparseTensors(sparseArrays(nodes, row.data as Int32Array, column.data as Int32Array))
      const input = tensorOf(x)
      const product = compile((h: tf.Tensor) => sparseMatMul(matrix, h), { name: 'sparse-product' })
      let next = 0
      return Promise.resolve({
        async step() {
          const y = product(input)
          const values = await y.data()
          y.dispose()
          return values[(next++ % nodes) * width]
        },
        dispose: () => tree.dispose(input, matrix),
      })
    },
  }
}

export const sparseProducts: readonly Workload[] = [sparseProduct(10_000, 50), sparseProduct(100_000, 10), sparseProduct(1_000_000, 1)]
