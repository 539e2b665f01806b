import { compile, float64Tensor, tree, useBackend, valueAndGrad } from '@bpf/core'
import { float32Tolerance, goldenArray, goldenCases, isGoldenArray, mismatch, type GoldenCase, type Tolerance } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { createGraph, distillationLoss, edgeScores, edgesToKeep, projectL0, type Graph } from './index'

beforeAll(() => useBackend('onnx'))

type Inputs = GoldenCase['inputs']
type Host = Record<string, ArrayLike<number>>

const flat = (inputs: Inputs, name: string): number[] => [...goldenArray(inputs, name).data]

/** The case's entries as a graph, and the place of each of its entries among the sorted ones. */
function graphOf(inputs: Inputs, nodes: number): { graph: Graph; place: number[] } {
  const [dst, src] = [flat(inputs, 'row'), flat(inputs, 'col')]
  const graph = createGraph({ nodes, src, dst })
  const places = new Map(Array.from(graph.src, (from, e) => [`${from} ${graph.dst[e]}`, e]))
  return { graph, place: src.map((from, e) => places.get(`${from} ${dst[e]}`) as number) }
}

/** Functions on the host, in double precision. */
const hostFunctions: Record<string, (inputs: Inputs) => Host> = {
  edgeScore(inputs) {
    const { graph, place } = graphOf(inputs, inputs.n as number)
    const { degree, node, edge } = edgeScores(graph)
    return { degree, node_g: node, edge_score: place.map((e) => edge[e]) }
  },
  pruneEdges(inputs) {
    const nodes = Math.max(...flat(inputs, 'row'), ...flat(inputs, 'col')) + 1
    // Ties go by the place in the case's list, which is not sorted: its order is that of the graph's entries here.
    const [row, column, score] = [flat(inputs, 'row'), flat(inputs, 'col'), flat(inputs, 'score')]
    const graph: Graph = { nodes, src: Int32Array.from(column), dst: Int32Array.from(row) }
    const { keep, removed } = edgesToKeep(graph, score, inputs.p as number, { directed: true })
    return { keep, n_removed: [removed] }
  },
}

type Tensors = Record<string, tf.Tensor>

/** Functions of tensors. */
const tensorFunctions: Record<string, (inputs: Inputs) => (tensors: Tensors) => Tensors> = {
  l0Projection: (inputs) => (weights) => {
    const projected = projectL0(weights, inputs.p as number)
    const zeros = Object.values(projected).map((leaf) => tf.sum(tf.cast(tf.equal(leaf, 0), 'float32')))
    return { ...projected, n_zeroed: tf.addN(zeros) }
  },
  trainingLoss:
    (inputs) =>
    ({ student_logits: student, teacher_logits: teacher }) => {
      const [y, nodes] = [Int32Array.from(flat(inputs, 'y')), Int32Array.from(flat(inputs, 'train_idx'))]
      const parts = (logits: tf.Tensor) => distillationLoss(logits, teacher, y, nodes, inputs.lambda as number)
      const { grads } = valueAndGrad((logits: tf.Tensor) => parts(logits).loss)(student)
      return { ...parts(student), dlogits: grads }
    },
}

const cases = goldenCases(new URL('../test/golden/', import.meta.url), '28-teddy')
const expectedOf = (value: unknown): number[] => (isGoldenArray(value) ? value.data : [value as number])

describe('28-teddy golden vectors', () => {
  for (const { fn, name, inputs, outputs, tolerance_float64: fine, tolerance } of cases) {
    if (Object.hasOwn(hostFunctions, fn)) {
      it(`${name}: ${fn} agrees in double precision`, () => {
        const computed = hostFunctions[fn](inputs)
        for (const [key, value] of Object.entries(outputs)) {
          expect(mismatch(computed[key], expectedOf(value), fine ?? tolerance), key).toBeUndefined()
        }
      })
      continue
    }
    const names = Object.keys(inputs).filter((key) => /^W\d+$|_logits$/.test(key))
    const tensors = (make: (data: number[], shape: number[]) => tf.Tensor): Tensors =>
      Object.fromEntries(names.map((key) => [key, make(flat(inputs, key), goldenArray(inputs, key).shape)]))
    const agree = async (computed: Tensors, toleranceOf: (expected: number[]) => Tolerance) => {
      for (const [key, value] of Object.entries(outputs)) {
        expect(mismatch(await computed[key].data(), expectedOf(value), toleranceOf(expectedOf(value))), key).toBeUndefined()
      }
      tree.dispose(computed)
    }
    it(`${name}: ${fn} agrees in double precision within the file's tolerance`, async () => {
      const double = tensors((data, shape) => float64Tensor(Float64Array.from(data), shape))
      await agree(compile(tensorFunctions[fn](inputs), { precision: 'float64' })(double), () => fine ?? tolerance)
    })
    it(`${name}: ${fn} agrees in float32, eager and compiled`, async () => {
      const single = tensors((data, shape) => tf.tensor(data, shape))
      await agree(tensorFunctions[fn](inputs)(single), float32Tolerance)
      await agree(compile(tensorFunctions[fn](inputs))(single), float32Tolerance)
    })
  }
})
