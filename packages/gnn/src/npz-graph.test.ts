import { describe, expect, it } from 'vitest'
import { isSymmetric, parseGraphNpz } from './index'
import { storedNpz } from './__fixtures__/stored-npz'

const citation = {
  adj_data: { descr: '<f4', shape: [4], data: Float32Array.of(1, 1, 1, 1) },
  adj_indices: { descr: '<i4', shape: [4], data: Int32Array.of(0, 1, 2, 1) },
  adj_indptr: { descr: '<i4', shape: [4], data: Int32Array.of(0, 2, 3, 4) },
  adj_shape: { descr: '<i4', shape: [2], data: Int32Array.of(3, 3) },
  attr_data: { descr: '<f4', shape: [3], data: Float32Array.of(2, 1, 5) },
  attr_indices: { descr: '<i4', shape: [3], data: Int32Array.of(0, 3, 1) },
  attr_indptr: { descr: '<i4', shape: [4], data: Int32Array.of(0, 2, 3, 3) },
  attr_shape: { descr: '<i4', shape: [2], data: Int32Array.of(3, 4) },
  labels: { descr: '<i4', shape: [3], data: Int32Array.of(0, 1, 1) },
}

describe('parseGraphNpz', () => {
  it('reads CSR parts: both directions, no self-loops, features present or not', () => {
    const graph = parseGraphNpz(storedNpz(citation))
    expect([...graph.src]).toEqual([1, 0, 2, 1])
    expect(isSymmetric(graph)).toBe(true)
    expect([...(graph.labels ?? [])]).toEqual([0, 1, 1])
    expect(graph.features).toMatchObject({ kind: 'sparse', columns: 4 })
    expect([...(graph.features?.values ?? [])]).toEqual([1, 1, 1])
  })

  it('reads edges, features and target', () => {
    const graph = parseGraphNpz(
      storedNpz({
        edges: { descr: '<i4', shape: [2, 2], data: Int32Array.of(0, 1, 1, 0) },
        features: { descr: '<f4', shape: [2, 1], data: Float32Array.of(0.5, -2) },
        target: { descr: '<i4', shape: [2], data: Int32Array.of(1, 0) },
      }),
    )
    expect([...graph.src]).toEqual([1, 0])
    expect([...(graph.features?.values ?? [])]).toEqual([0.5, -2])
  })

  it('names what is missing, what does not fit, and edges to nodes that are not there', () => {
    const { labels, ...unlabelled } = citation
    expect(() => parseGraphNpz(storedNpz(unlabelled), 'a.npz')).toThrow("a.npz: no array 'labels'; it has adj_data")
    expect(() => parseGraphNpz(storedNpz({ ...citation, adj_data: { ...labels, shape: [3] } }))).toThrow("CSR matrix 'adj' don't fit")
    const far = { ...citation.adj_indices, data: Int32Array.of(0, 1, 2, 9) }
    expect(() => parseGraphNpz(storedNpz({ ...citation, adj_indices: far }))).toThrow('has the destination 9')
    const nan = { ...citation.attr_data, data: Float32Array.of(2, NaN, 5) }
    expect(() => parseGraphNpz(storedNpz({ ...citation, attr_data: nan }))).toThrow('feature 3 of node 0 is NaN')
  })
})
