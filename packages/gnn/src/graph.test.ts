import { key } from '@bpf/core/random'
import { describe, expect, it } from 'vitest'
import {
  adjacencyArrays,
  barabasiAlbert,
  classFeatures,
  createGraph,
  degreeCorrectedBlockModel,
  degrees,
  denseFeatures,
  isSymmetric,
  randomGraph,
  rowNormalise,
  sampleNonEdges,
  selectEdges,
  splitEdges,
  splitNodes,
  stochasticBlockModel,
  withoutSelfLoops,
  withSelfLoops,
} from './index'

const path = createGraph({ nodes: 4, src: [0, 1, 2], dst: [1, 2, 3], undirected: true })

describe('createGraph', () => {
  it('sorts entries by destination, doubles undirected edges, keeps self-loops single', () => {
    const graph = createGraph({ nodes: 3, src: [2, 1, 1], dst: [0, 1, 0], weight: [5, 6, 7], undirected: true })
    expect([...graph.dst]).toEqual([0, 0, 1, 1, 2])
    expect([...graph.src]).toEqual([1, 2, 0, 1, 0])
    expect([...(graph.weight ?? [])]).toEqual([7, 5, 7, 6, 5])
    expect([...degrees(graph)]).toEqual([2, 2, 1])
    expect(isSymmetric(graph)).toBe(true)
    expect(isSymmetric(createGraph({ nodes: 2, src: [0], dst: [1] }))).toBe(false)
  })

  it.each([
    [{ nodes: 3, src: [0, 1], dst: [1, 3] }, 'edge 1 has the destination 3, but nodes are numbered 0 to 2'],
    [{ nodes: 3, src: [-1], dst: [1] }, 'edge 0 has the source -1'],
    [{ nodes: 3, src: [0.5], dst: [1] }, 'edge 0 has the source 0.5'],
    [{ nodes: 3, src: [0, 0], dst: [1, 1] }, '0 → 1 stands twice'],
    [{ nodes: 3, src: [0], dst: [1, 2] }, 'src has 1 entries, dst 2'],
    [{ nodes: 2, src: [0], dst: [1], weight: [NaN] }, 'edge 0 has the weight NaN'],
    [
      {
        nodes: 2,
        src: [0],
        dst: [1],
        features: [
          [1, 2],
          [3, NaN],
        ],
      },
      'feature 1 of node 1 is NaN',
    ],
    [{ nodes: 2, src: [0], dst: [1], features: [[1, 2], [3]] }, 'node 1 has 1 features, node 0 2'],
    [{ nodes: 2, src: [0], dst: [1], labels: [0, 2], classes: 2 }, 'node 1 has label 2; expected 0 to 1'],
    [{ nodes: 2, src: [0], dst: [1], masks: { train: [0], validation: [], test: [0] } }, 'node 0 stands in more than one mask'],
    [{ nodes: 3, src: [0], dst: [1], masks: { train: [], validation: [], test: [1] } }, 'masks.train is empty'],
    [{ nodes: 3, src: [0], dst: [1], masks: { train: [5], validation: [], test: [1] } }, 'masks.train[0] is 5'],
  ])('names what is wrong: %#', (options, message) => {
    expect(() => createGraph(options)).toThrow(message)
  })

  it('removes duplicates on request', () => {
    expect(createGraph({ nodes: 2, src: [0, 0], dst: [1, 1], duplicates: 'remove' }).src).toHaveLength(1)
  })
})

describe('self-loops, features, selections', () => {
  it('adds each missing self-loop once and takes all away', () => {
    const looped = createGraph({ nodes: 2, src: [0, 0], dst: [0, 1] })
    expect([...withSelfLoops(looped).src]).toEqual([0, 0, 1])
    expect(withoutSelfLoops(withSelfLoops(looped)).src).toHaveLength(1)
    expect(selectEdges(path, (e) => e > 0).src).toHaveLength(5)
  })

  it('adds self-loops to 300,000 entries', () => {
    const large = randomGraph(key(11), { nodes: 30_000, edges: 300_000 })
    const looped = withSelfLoops(large)
    expect(looped.src.filter((from, e) => from === looped.dst[e])).toHaveLength(30_000)
    expect(adjacencyArrays(large, { selfLoops: true }).row).toHaveLength(looped.src.length)
  })

  it('reads sparse features as dense ones; rows sum to 1 after normalisation', () => {
    const sparse = {
      kind: 'sparse' as const,
      columns: 3,
      starts: Int32Array.of(0, 2, 2),
      column: Int32Array.of(0, 2),
      values: Float32Array.of(1, 3),
    }
    const graph = createGraph({ nodes: 2, src: [0], dst: [1], features: sparse })
    expect([...denseFeatures(graph).values]).toEqual([1, 0, 3, 0, 0, 0])
    expect([...denseFeatures(rowNormalise(graph)).values]).toEqual([0.25, 0, 0.75, 0, 0, 0])
  })
})

describe('adjacencyArrays', () => {
  it('normalises as GCN and as the mean', () => {
    const symmetric = adjacencyArrays(path, { normalisation: 'symmetric', selfLoops: true })
    const entry = (i: number, j: number): number => symmetric.value[symmetric.row.findIndex((r, e) => r === i && symmetric.column[e] === j)]
    expect(entry(0, 0)).toBeCloseTo(1 / 2, 6)
    expect(entry(0, 1)).toBeCloseTo(1 / Math.sqrt(6), 6)
    expect(entry(1, 2)).toBeCloseTo(1 / 3, 6)
    const mean = adjacencyArrays(path, { normalisation: 'mean' })
    const sums = new Float64Array(4)
    mean.row.forEach((i, e) => (sums[i] += mean.value[e]))
    sums.forEach((sum) => expect(sum).toBeCloseTo(1, 6))
  })
})

describe('generators', () => {
  it('a block model links within classes as often as asked', () => {
    const graph = stochasticBlockModel(key(1), { nodes: 600, classes: 4, within: 0.03, between: 0.006 })
    const labels = graph.labels as Int32Array
    let within = 0
    graph.src.forEach((from, e) => (within += labels[from] === labels[graph.dst[e]] ? 1 : 0))
    const [pairsWithin, pairsBetween] = [600 * 149, 600 * 450]
    expect(within / pairsWithin).toBeCloseTo(0.03, 2)
    expect((graph.src.length - within) / pairsBetween).toBeCloseTo(0.006, 2)
    expect(isSymmetric(graph)).toBe(true)
    expect(stochasticBlockModel(key(1), { nodes: 600, classes: 4, within: 0.03, between: 0.006 })).toEqual(graph)
  })

  it('a degree-corrected model has the mean degree and a heavy tail', () => {
    const graph = degreeCorrectedBlockModel(key(2), { nodes: 1000, classes: 5, meanDegree: 8, mix: 0.25 })
    const all = degrees(graph)
    expect(graph.src.length / 1000).toBeGreaterThan(7)
    expect(graph.src.length / 1000).toBeLessThan(8.8)
    expect(Math.max(...all)).toBeGreaterThan(40)
  })

  it('preferential attachment gives links · (n − links) edges, all connected to earlier nodes', () => {
    const graph = barabasiAlbert(key(3), { nodes: 200, links: 3 })
    expect(graph.src).toHaveLength(2 * 3 * 197)
    expect(Math.min(...degrees(graph))).toBeGreaterThan(0)
  })

  it('class features scatter about the class means', () => {
    const labels = Int32Array.from({ length: 2000 }, (_, i) => i % 2)
    const { data } = classFeatures(key(4), labels, { columns: 1, classes: 2, spread: 5 })
    const mean = (c: number): number => labels.reduce((sum, y, i) => sum + (y === c ? data[i] : 0), 0) / 1000
    const variance = labels.reduce((sum, y, i) => sum + (data[i] - mean(y)) ** 2, 0) / 2000
    expect(variance).toBeCloseTo(1, 0)
  })

  it('refuse impossible sizes', () => {
    expect(() => barabasiAlbert(key(0), { nodes: 3, links: 3 })).toThrow('nodes must be an integer of at least 4')
    expect(() => stochasticBlockModel(key(0), { nodes: 3, classes: 2, within: 2, between: 0 })).toThrow('within must be a probability')
  })
})

describe('splits', () => {
  it('share out all nodes', () => {
    const { masks } = splitNodes(key(5), randomGraph(key(6), { nodes: 100, edges: 300 }), { train: 0.1, validation: 0.2 })
    const count = (mask?: Uint8Array): number => mask?.reduce((sum, v) => sum + v, 0) ?? 0
    expect([count(masks?.train), count(masks?.validation), count(masks?.test)]).toEqual([10, 20, 70])
  })

  it('may leave out validation or test, and refuse shares that do not fit', () => {
    const graph = randomGraph(key(6), { nodes: 100, edges: 300 })
    const counts = (train: number, validation: number) => {
      const { masks } = splitNodes(key(5), graph, { train, validation })
      return [masks?.train, masks?.validation, masks?.test].map((mask) => mask?.reduce((sum, v) => sum + v, 0))
    }
    expect(counts(0.3, 0)).toEqual([30, 0, 70])
    expect(counts(0.7, 0.3)).toEqual([70, 30, 0])
    expect(counts(1, 0)).toEqual([100, 0, 0])
    expect(() => counts(0, 0.5)).toThrow('splitNodes: expected shares train > 0')
    const { validation, test } = splitEdges(key(8), graph, { train: 0.8, validation: 0 })
    expect(validation.label).toHaveLength(0)
    expect(test.label.length).toBeGreaterThan(0)
    expect(() => splitEdges(key(8), graph, { train: 0.8, validation: 0.3 })).toThrow('splitEdges: expected shares')
  })

  it('of edges keep the message graph free of held-out edges; non-edges are no edges', () => {
    const graph = stochasticBlockModel(key(7), { nodes: 120, classes: 3, within: 0.2, between: 0.02 })
    const parts = splitEdges(key(8), graph, { train: 0.64, validation: 0.16 })
    const has = new Set(Array.from(graph.src, (from, e) => `${from} ${graph.dst[e]}`))
    const kept = new Set(Array.from(parts.graph.src, (from, e) => `${from} ${parts.graph.dst[e]}`))
    for (const part of [parts.train, parts.validation, parts.test]) {
      part.label.forEach((label, i) => expect(has.has(`${part.src[i]} ${part.dst[i]}`)).toBe(label === 1))
    }
    parts.test.label.forEach((_, i) => expect(kept.has(`${parts.test.src[i]} ${parts.test.dst[i]}`)).toBe(false))
    expect(isSymmetric(parts.graph)).toBe(true)
    const clique = createGraph({ nodes: 3, src: [0, 0, 1], dst: [1, 2, 2], undirected: true })
    expect(() => sampleNonEdges(key(9), clique, 1)).toThrow('too dense')
  })
})
