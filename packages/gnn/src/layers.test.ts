import { account, activationBytes, compile, grad, useBackend, valueAndGrad } from '@bpf/core'
import { sizeClass } from '@bpf/core/data'
import { key, normal, normalArray } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  attention,
  createGraph,
  gat,
  gatherColumns,
  gcn,
  gin,
  padEntries,
  randomGraph,
  sage,
  sparseArrays,
  sparseMatMul,
  sparseTensors,
  sumByRow,
  type GraphLayer,
  type SparseArrays,
  type SparseMatrix,
} from './index'

beforeAll(() => useBackend('onnx'))

const dense = ({ row, column, value }: SparseArrays, rows: number, columns: number): tf.Tensor => {
  const out = new Float32Array(rows * columns)
  row.forEach((i, e) => (out[i * columns + column[e]] += value[e]))
  return tf.tensor2d(out, [rows, columns])
}
const worst = (a: tf.Tensor, b: tf.Tensor): number => tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]

describe('sparseMatMul', () => {
  it('equals the dense product, with repeated and missing rows, eager and compiled, forward and backward', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 7 }),
        fc.integer({ min: 0, max: 30 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer(),
        (n, entries, d, seed) => {
          tf.tidy(() => {
            const ends = (k: number): Int32Array => Int32Array.from({ length: entries }, (_, e) => Math.abs((seed % 1000) * 31 + e * k) % n)
            const values = Float32Array.from({ length: entries }, (_, e) => Math.sin(e + seed))
            const arrays = sparseArrays(n, ends(7), ends(3), values)
            const [matrix, full] = [sparseTensors(arrays), dense(arrays, n, n)]
            const x = normal(key(seed & 1023), [n, d])
            const weights = normal(key(5), [n, d])
            const loss = (product: (x: tf.Tensor) => tf.Tensor) => (input: tf.Tensor) => tf.sum(tf.mul(tf.square(product(input)), weights))
            const sparse = loss((input) => sparseMatMul(matrix, input))
            const reference = valueAndGrad(loss((input) => tf.matMul(full as tf.Tensor2D, input as tf.Tensor2D)))(x)
            const [eager, compiled] = [valueAndGrad(sparse)(x), compile((input: tf.Tensor) => valueAndGrad(sparse)(input))(x)]
            for (const { value, grads } of [eager, compiled]) {
              expect(worst(value, reference.value)).toBeLessThan(1e-4)
              expect(worst(grads, reference.grads)).toBeLessThan(1e-4)
            }
          })
        },
      ),
      { numRuns: 25 },
    )
  })

  it('differentiates in the values, and twice in x', () => {
    tf.tidy(() => {
      const arrays = sparseArrays(3, Int32Array.of(0, 0, 2, 1), Int32Array.of(1, 2, 2, 0), Float32Array.of(1, 2, 3, 4))
      const matrix = sparseTensors(arrays)
      const x = normal(key(0), [3, 2])
      const inValues = (value: tf.Tensor) => tf.sum(tf.square(sparseMatMul({ ...matrix, value }, x)))
      const step = 1e-2
      const gradient = grad(inValues)(matrix.value).dataSync()
      arrays.value.forEach((_, e) => {
        const shifted = (h: number) => inValues(tf.tensor1d(arrays.value.map((v, i) => (i === e ? v + h : v)))).dataSync()[0]
        expect(gradient[e]).toBeCloseTo((shifted(step) - shifted(-step)) / (2 * step), 2)
      })
      const full = dense(arrays, 3, 3)
      const twice = (product: (x: tf.Tensor) => tf.Tensor) =>
        grad((p: tf.Tensor) => tf.sum(tf.square(grad((q: tf.Tensor) => tf.sum(tf.pow(product(q), 3)))(p))))(x)
      expect(
        worst(
          twice((q) => sparseMatMul(matrix, q)),
          twice((q) => tf.matMul(full as tf.Tensor2D, q as tf.Tensor2D)),
        ),
      ).toBeLessThan(0.05)
    })
  })

  it('loses no update where one destination repeats 100,000 times', async () => {
    const n = 100_000
    const column = Int32Array.from({ length: n }, (_, e) => e % 50)
    const matrix = sparseTensors(sparseArrays(50, new Int32Array(n).fill(3), column))
    const x = tf.ones([50, 64])
    const run = compile((input: tf.Tensor) => sparseMatMul(matrix, input))
    for (let repeat = 0; repeat < 5; repeat++) {
      const y = run(x)
      const values = await y.data()
      expect(new Set(values.subarray(3 * 64, 4 * 64))).toEqual(new Set([n]))
      y.dispose()
    }
  })

  it('sums entries by row, and gathers with the same gradient as tf.gather', () => {
    tf.tidy(() => {
      const matrix = sparseTensors(sparseArrays(4, Int32Array.of(3, 0, 3), Int32Array.of(1, 1, 2)))
      expect([...sumByRow(matrix, tf.tensor2d([[1], [2], [3]]), 4).dataSync()]).toEqual([1, 0, 0, 5])
      const x = normal(key(1), [4, 2])
      const viaGather = grad((p: tf.Tensor) => tf.sum(tf.square(tf.gather(p, matrix.column as tf.Tensor1D))))(x)
      expect(worst(grad((p: tf.Tensor) => tf.sum(tf.square(gatherColumns(matrix, p))))(x), viaGather)).toBeLessThan(1e-6)
    })
  })

  it('of many edges runs in parts: the same sums, and no more memory than the result twice', async () => {
    const [nodes, edges, d] = [3000, 120_000, 64]
    const { src, dst } = randomGraph(key(3), { nodes, edges })
    const weight = normalArray(key(4), src.length)
    const matrix = sparseTensors(sparseArrays(nodes, dst, src, weight))
    const x = normal(key(5), [nodes, d])
    const product = (h: tf.Tensor) => sparseMatMul(matrix, h)
    const [compiled, eager] = [compile(product)(x), product(x)]
    expect(worst(compiled, eager)).toBeLessThan(1e-4)
    expect(account(product, x).peakBytes).toBeLessThan(0.5 * src.length * d * 4)
  })

  it('of weights by degree, which weighs rows and not entries, is the same compiled', () => {
    const { row, column, value } = gcn(1).adjacency(randomGraph(key(3), { nodes: 3000, edges: 30_000 }))
    const x = normal(key(5), [3000, 64])
    for (const weights of [value, value.map((w, e) => w * (1 + (e % 2) / 100))]) {
      const matrix = sparseTensors(sparseArrays(3000, row, column, weights))
      const product = (h: tf.Tensor) => sparseMatMul(matrix, h)
      expect(worst(compile(product)(x), product(x))).toBeLessThan(2e-6)
    }
  })

  it('memory grows with the edges, not with the square of the nodes', () => {
    const bytes = (nodes: number): number => {
      const matrix = sparseTensors(sparseArrays(nodes, ...ends(nodes)))
      return activationBytes(
        (x: tf.Tensor) => sparseMatMul(matrix, x),
        (d): [tf.Tensor] => [tf.zeros([nodes, d])],
        [64, 128],
      )
    }
    const ends = (nodes: number): [Int32Array, Int32Array] => {
      const { src, dst } = randomGraph(key(2), { nodes, edges: 4 * nodes })
      return [dst, src]
    }
    expect(bytes(4000) / bytes(1000)).toBeLessThan(4.2)
  })
})

const graph = createGraph({ nodes: 5, src: [0, 1, 2, 0], dst: [1, 2, 0, 3], undirected: true })
const layers: [string, GraphLayer][] = [
  ['gcn', gcn(8) as GraphLayer],
  ['sage', sage(8) as GraphLayer],
  ['gat', gat(8) as GraphLayer],
  ['gin', gin(8) as GraphLayer],
]

describe.each(layers)('%s', (_, layer) => {
  it('is equivariant to a renumbering of the nodes', () => {
    tf.tidy(() => {
      const order = [3, 0, 4, 1, 2]
      const place = (i: number): number => order.indexOf(i)
      const renumbered = createGraph({ nodes: 5, src: graph.src.map(place), dst: graph.dst.map(place) })
      const { params } = layer.init(key(0), 6)
      const x = normal(key(1), [5, 6])
      const y = layer.apply(params, sparseTensors(layer.adjacency(graph)), x)
      const moved = layer.apply(params, sparseTensors(layer.adjacency(renumbered)), tf.gather(x, order))
      expect(y.shape).toEqual([5, 8])
      expect(worst(moved, tf.gather(y, order))).toBeLessThan(1e-5)
    })
  })

  it('gives the same compiled, and gradients for every parameter', () => {
    tf.tidy(() => {
      const { params } = layer.init(key(0), 12)
      const adjacency = sparseTensors(layer.adjacency(graph))
      const x = normal(key(1), [5, 12])
      const loss = valueAndGrad((p: typeof params) => tf.mean(tf.square(layer.apply(p, adjacency, x))))
      const [eager, compiled] = [loss(params), compile(loss)(params)]
      for (const [name, gradient] of Object.entries(eager.grads as Record<string, tf.Tensor>)) {
        expect(worst(gradient, (compiled.grads as Record<string, tf.Tensor>)[name])).toBeLessThan(1e-5)
      }
    })
  })

  it('compiles once for graphs of a size class, whose padding changes nothing', () => {
    tf.tidy(() => {
      const { params } = layer.init(key(0), 6)
      let traces = 0
      const compiled = compile((p: typeof params, adjacency: SparseMatrix, x: tf.Tensor) => {
        traces++
        return layer.apply(p, adjacency, x)
      })
      for (const [nodes, edges] of [
        [50, 300],
        [53, 305],
        [56, 310],
      ]) {
        const other = randomGraph(key(nodes), { nodes, edges })
        const arrays = layer.adjacency(other)
        const [size, x] = [sizeClass(nodes), normal(key(edges), [nodes, 6])]
        const padded = tf.pad(x as tf.Tensor2D, [
          [0, size - nodes],
          [0, 0],
        ])
        const y = tf.slice(compiled(params, sparseTensors(padEntries(arrays, size)), padded), [0, 0], [nodes, 8])
        expect(worst(y, layer.apply(params, sparseTensors(arrays), x))).toBeLessThan(1e-5)
      }
      expect(traces).toBe(1)
    })
  })

  it('names a wrong width', () => {
    const { params } = layer.init(key(0), 6)
    expect(() => layer.apply(params, sparseTensors(layer.adjacency(graph)), tf.zeros([5, 7]))).toThrow('expected x [n, 6], got [5, 7]')
  })
})

describe('attention', () => {
  it('sums to 1 over the neighbours of each node, for logits of any size', () => {
    tf.tidy(() => {
      const adjacency = sparseTensors(gat(4).adjacency(graph))
      for (const scale of [1, 1e4]) {
        const [source, destination] = [tf.mul(normal(key(2), [5, 4]), 1), tf.mul(normal(key(3), [5, 4]), scale)]
        const sums = sumByRow(adjacency, attention(adjacency, source, destination, 0.2), 5)
        expect(worst(sums, tf.onesLike(sums))).toBeLessThan(1e-5)
      }
    })
  })

  it('multiplies logits by values of entries where asked, whatever their sign', () => {
    tf.tidy(() => {
      const adjacency = sparseTensors(gat(4).adjacency(graph))
      const [source, destination] = [normal(key(2), [5, 1]), normal(key(3), [5, 1])]
      const given = (value: tf.Tensor, weighted: boolean) => attention({ ...adjacency, value }, source, destination, 0.2, { weighted })
      expect(worst(given(adjacency.value, true), given(adjacency.value, false))).toBeLessThan(1e-6)
      const values = normalArray(key(4), adjacency.value.size)
      const [row, column, from, to] = [adjacency.row, adjacency.column, source, destination].map((t) => t.dataSync())
      const logits = Array.from(values, (v, e) => v * ((x) => (x > 0 ? x : 0.2 * x))(from[column[e]] + to[row[e]]))
      const sums = [0, 1, 2, 3, 4].map((i) => logits.reduce((sum, l, e) => sum + (row[e] === i ? Math.exp(l) : 0), 0))
      const got = given(tf.tensor1d(values), true).dataSync()
      logits.forEach((l, e) => expect(got[e]).toBeCloseTo(Math.exp(l) / sums[row[e]], 5))
    })
  })

  it('needs a width that the heads divide', () => {
    expect(() => gat(10)).toThrow("the width 10 can't be divided by 4 heads")
  })
})
