import { compile, useBackend } from '@bpf/core'
import { fold, key, normalArray, permutationArray, uniformArray } from '@bpf/core/random'
import { describe, expect, it } from 'vitest'
import { bestColumns, classMeans, squaredDistances, type FeatureMatrix } from '../shared/matrix'
import { multiply } from './bound-optimiser'
import {
  clusterEpisodes,
  stackEpisodes,
  boundEnergy,
  boundOptimise,
  denseAffinity,
  knnAffinity,
  meanShift,
  slkCluster,
  transductiveCluster,
  type Affinity,
  type ClusterMode,
  type EpisodeBatch,
} from './index'

const modes: ClusterMode[] = ['kmeans', 'kmodes', 'slk-means', 'slk-ms', 'slk-bo']

/** K classes around random means; each class has its first `shots` rows as supports. */
function task(seed: number, { K = 4, D = 6, shots = 1, queries = 8, distance = 1 } = {}) {
  const means = normalArray(fold(key(seed), 0), K * D)
  const noise = normalArray(fold(key(seed), 1), K * (shots + queries) * D)
  let at = 0
  const rows = (count: number): FeatureMatrix => {
    const data = new Float64Array(K * count * D)
    for (let i = 0; i < data.length; i++) data[i] = distance * means[Math.floor(i / (count * D)) * D + (i % D)] + noise[at++]
    return { data, shape: [K * count, D] }
  }
  const labels = (count: number) => Int32Array.from({ length: K * count }, (_, r) => Math.floor(r / count))
  return { support: rows(shots), supportLabels: labels(shots), query: rows(queries), queryLabels: labels(queries), K, D }
}

const none = (size: number): Affinity => ({
  size,
  starts: new Int32Array(size + 1),
  columns: new Int32Array(0),
  weights: new Float64Array(0),
})
const random = (seed: number, rows: number, D: number): FeatureMatrix => ({
  data: Float64Array.from(normalArray(key(seed), rows * D)),
  shape: [rows, D],
})

describe('bound optimiser', () => {
  it('takes one update as softmax(-a + lambda W Y0)', () => {
    const [N, K, lambda] = [9, 3, 0.6]
    const X = random(1, N, 4)
    const affinity = knnAffinity(X, { knn: 3 })
    const costs = squaredDistances(X, X.data.slice(0, 12) as Float64Array)
    const softmax = (scores: Float64Array) => {
      const e = scores.map(Math.exp)
      return e.map((value, at) => value / e.slice(at - (at % K), at - (at % K) + K).reduce((a, b) => a + b))
    }
    const start = softmax(costs.map((cost) => -cost))
    start.set([1, 0, 0, 0, 1, 0])
    const expected = softmax(multiply(affinity, start, K).map((m, at) => lambda * m - costs[at]))
    const { assignments } = boundOptimise({ costs, affinity, lambda, labelled: [0, 1], iterations: 1 })
    assignments.forEach((value, at) => expect(Math.abs(value - expected[at])).toBeLessThan(1e-12))
  })

  it('never raises the half-lambda energy for a symmetric positive semidefinite affinity', () => {
    for (let seed = 0; seed < 40; seed++) {
      const [N, K] = [30, 2 + (seed % 4)]
      const X = random(seed, N, 3)
      const raw = knnAffinity(X, { knn: 4, symmetrize: true })
      let largest = 0
      for (let i = 0; i < N; i++)
        largest = Math.max(
          largest,
          raw.weights.slice(raw.starts[i], raw.starts[i + 1]).reduce((a, b) => a + b, 0),
        )
      const affinity = knnAffinity(X, { knn: 4, symmetrize: true, psdShift: largest })
      const costs = Float64Array.from(uniformArray(fold(key(seed), 1), N * K), (value) => 3 * value)
      const lambda = 0.1 + 0.2 * (seed % 8)
      let before = Infinity
      for (let iterations = 1; iterations < 40; iterations++) {
        const { assignments } = boundOptimise({ costs, affinity, lambda, iterations, tolerance: -1 })
        const energy = boundEnergy(assignments, costs, affinity, lambda / 2)
        expect(energy).toBeLessThanOrEqual(before + 1e-10 * Math.abs(before === Infinity ? 0 : before))
        before = energy
      }
    }
  })

  it('shifts the half-lambda energy of one-hot assignments by -lambda c N / 2 when c I is added', () => {
    const [N, K, c, lambda] = [12, 3, 2.5, 0.7]
    const X = random(3, N, 3)
    const Y = new Float64Array(N * K)
    for (let i = 0; i < N; i++) Y[i * K + (i % K)] = 1
    const energy = (psdShift: number) =>
      boundEnergy(Y, new Float64Array(N * K), knnAffinity(X, { knn: 3, symmetrize: true, psdShift }), lambda / 2)
    expect(energy(c) - energy(0)).toBeCloseTo((-lambda * c * N) / 2, 10)
  })

  it('never raises the objective from round to round without the Laplacian', () => {
    for (let seed = 0; seed < 40; seed++) {
      const { support, supportLabels, query } = task(seed, { K: 2 + (seed % 4), shots: 1 + (seed % 2), distance: 0.5 + (seed % 3) })
      for (const mode of ['kmeans', 'kmodes'] as const) {
        const { energies } = transductiveCluster({ support, supportLabels, query }, { mode, lambda: 0, outerTolerance: 0 })
        energies.forEach((energy, round) => {
          // Mean shift stops a little before its fixed point.
          if (round > 0) expect(energy, mode).toBeLessThanOrEqual(energies[round - 1] + 1e-6 * Math.abs(energies[round - 1]))
        })
      }
    }
  })

  it('gives positive rows that sum to 1, and one-hot supports when clamped', () => {
    const { support, supportLabels, query, K } = task(5)
    for (const supervision of ['init', 'clamp'] as const) {
      const { assignments } = transductiveCluster({ support, supportLabels, query }, { supervision })
      for (let i = 0; i < assignments.length / K; i++) {
        const row = assignments.slice(i * K, (i + 1) * K)
        expect(row.reduce((a, b) => a + b)).toBeCloseTo(1, 12)
        if (supervision === 'init') expect(Math.min(...row)).toBeGreaterThan(0)
        else if (i < support.shape[0]) expect(row.indexOf(1)).toBe(supportLabels[i])
      }
    }
  })
})

describe('clustering of episodes', () => {
  it("equals Lloyd's K-means when lambda is 0", () => {
    for (let seed = 0; seed < 20; seed++) {
      const { support, supportLabels, query, K, D } = task(seed)
      const [S, N] = [support.shape[0], support.shape[0] + query.shape[0]]
      const ours = transductiveCluster(
        { support, supportLabels, query },
        { mode: 'slk-means', lambda: 1e-300, outerTolerance: 0, shift: false },
      )
      const X: FeatureMatrix = { data: Float64Array.from([...support.data, ...query.data]), shape: [N, D] }
      let labels = bestColumns(squaredDistances(X, classMeans(support, supportLabels, K)), K, 1)
      labels.set(supportLabels)
      for (let round = 0; round < 100; round++) {
        const next = bestColumns(squaredDistances(X, classMeans(X, labels, K)), K, 1)
        if (new Set(next).size < K) break
        labels = next
      }
      expect(ours.labels).toEqual(labels.slice(S))
    }
  })

  it('takes an empty affinity like lambda = 0, whatever lambda is', () => {
    const { support, supportLabels, query } = task(2)
    const affinity = none(support.shape[0] + query.shape[0])
    const run = (mode: ClusterMode, lambda: number) =>
      transductiveCluster({ support, supportLabels, query }, { mode, lambda, affinity, sigma: 1, outerTolerance: 0 }).labels
    for (const mode of ['slk-means', 'slk-ms'] as const) expect(run(mode, 5)).toEqual(run(mode, 0))
  })

  it('permutes with queries and classes, and does not see a rotation', () => {
    const { support, supportLabels, query, K, D } = task(7, { distance: 1.5 })
    const Q = query.shape[0]
    const order = permutationArray(key(1), Q)
    const permuted = Float64Array.from({ length: Q * D }, (_, at) => query.data[order[Math.floor(at / D)] * D + (at % D)])
    const turn = ({ data, shape }: FeatureMatrix): FeatureMatrix => ({
      shape,
      data: Float64Array.from(data, (value, at) => {
        const d = at % D
        if (d > 1) return value
        const [a, b] = [data[at - d], data[at - d + 1]]
        return d === 0 ? 0.6 * a - 0.8 * b : 0.8 * a + 0.6 * b
      }),
    })
    for (const mode of ['kmeans', 'kmodes', 'slk-means', 'slk-ms'] as const) {
      const { labels } = transductiveCluster({ support, supportLabels, query }, { mode })
      const shuffled = transductiveCluster({ support, supportLabels, query: { data: permuted, shape: query.shape } }, { mode }).labels
      expect(Array.from(shuffled)).toEqual(Array.from(order, (from) => labels[from]))
      const renamed = transductiveCluster({ support, supportLabels: supportLabels.map((k) => K - 1 - k), query }, { mode }).labels
      expect(renamed).toEqual(labels.map((k) => K - 1 - k))
      expect(transductiveCluster({ support: turn(support), supportLabels, query: turn(query) }, { mode }).labels).toEqual(labels)
    }
  })

  it('undoes a round that empties a class, without NaN', () => {
    const { support, supportLabels, query, K, D } = task(3, { distance: 0.1 })
    const N = support.shape[0] + query.shape[0]
    const affinity = denseAffinity(new Float64Array(N * N).fill(1), N)
    const result = transductiveCluster({ support, supportLabels, query }, { lambda: 50, affinity })
    expect(result.iterations).toBe(0)
    expect(result.prototypes).toEqual(classMeans(support, supportLabels, K))
    expect([...result.prototypes, ...result.assignments].every(Number.isFinite)).toBe(true)
    expect(result.prototypes.length).toBe(K * D)
  })

  it('labels clusters 20 deviations apart without an error from one support each', () => {
    const { support, supportLabels, query, queryLabels } = task(4, { distance: 20 })
    for (const mode of modes) {
      for (const supervision of ['init', 'clamp'] as const) {
        expect(transductiveCluster({ support, supportLabels, query }, { mode, supervision }).labels, mode).toEqual(queryLabels)
      }
    }
  })

  it('shifts modes to the means as the bandwidth grows, and keeps the point of a cluster of one', () => {
    const X = random(2, 20, 3)
    const labels = Int32Array.from({ length: 20 }, (_, i) => (i === 0 ? 0 : 1))
    const found = meanShift(X, labels, new Float64Array(6).fill(0.3), 1e6)
    classMeans(X, labels, 2).forEach((value, at) => expect(found[at]).toBeCloseTo(value, 9))
    expect(Array.from(meanShift(X, labels, new Float64Array(6).fill(0.3), 0.01).slice(0, 3))).toEqual(Array.from(X.data.slice(0, 3)))
  })

  it('rejects bad input with what to do', () => {
    const { support, supportLabels, query, D } = task(1)
    const input = { support, supportLabels, query }
    const narrow: FeatureMatrix = { data: query.data.slice(0, 10), shape: [2, 5] }
    expect(() => transductiveCluster({ ...input, query: narrow })).toThrow(/query: expected 6 columns/)
    expect(() => transductiveCluster({ ...input, supportLabels: [0, 1, 2, 4] })).toThrow('class 3 has no support example')
    expect(() => transductiveCluster({ ...input, supportLabels: [0, 1, 2, -1] })).toThrow(/label -1 of row 3/)
    expect(() => transductiveCluster({ ...input, supportLabels: [0, 1, 2] })).toThrow(/expected 4 labels/)
    expect(() => transductiveCluster(input, { lambda: -1 })).toThrow(/lambda should be at least 0/)
    for (const knn of [1, 100, 2.5]) expect(() => transductiveCluster(input, { knn })).toThrow(/knn should be an integer from 2/)
    const broken = { data: query.data.slice().fill(NaN, 6, 7), shape: query.shape }
    expect(() => transductiveCluster({ ...input, query: broken })).toThrow(/query: row 1 holds NaN/)
    expect(() => slkCluster(query, { K: 1000, key: key(0) })).toThrow(/K should be an integer from 1 to the 32 points/)
    expect(() => transductiveCluster(input, { mode: 'median' as ClusterMode })).toThrow(/mode should be one of kmeans/)
    expect(() => transductiveCluster(input, { affinity: none(3) })).toThrow(/affinity: expected 36 × 36/)
    expect(() => denseAffinity([1, 2, 3], 2)).toThrow(/expected 2 × 2/)
    expect(() => transductiveCluster(input, { mode: 'kmodes', sigma: 0 })).toThrow(/sigma should be above 0/)
    const same = (rows: number): FeatureMatrix => ({ data: new Float64Array(rows * D).fill(1), shape: [rows, D] })
    expect(() => transductiveCluster({ support: same(4), supportLabels, query: same(8) }, { mode: 'slk-ms' })).toThrow(
      'bandwidth is zero: duplicate points; pass sigma',
    )
  })
})

describe('nearest neighbours', () => {
  it('leaves a point itself out, also among duplicates, with ties by index', () => {
    const { columns } = knnAffinity({ data: new Float64Array(8).fill(2), shape: [4, 2] }, { knn: 3 })
    expect(Array.from(columns)).toEqual([1, 2, 0, 2, 0, 1, 0, 1])
  })

  it('finds the same in tiles on the backend', async () => {
    await useBackend('onnx')
    const X = random(8, 1500, 5)
    const exact = knnAffinity(X, { knn: 4, products: 'float64' }).columns
    const tiled = knnAffinity(X, { knn: 4, products: 'native' }).columns
    expect(exact.filter((j, at) => j !== tiled[at]).length).toBeLessThan(5)
  })
})

describe('clustering without labels', () => {
  it('finds separated clusters in every mode, from given centres and k-means++', () => {
    const { support, query, queryLabels, K } = task(9, { distance: 15, queries: 20 })
    for (const mode of modes) {
      const found = slkCluster(query, { K, mode, init: support })
      expect(found.labels, mode).toEqual(queryLabels)
      if (mode === 'slk-bo') expect(Array.from(found.modeIndices as Int32Array, (row) => queryLabels[row])).toEqual([0, 1, 2, 3])
    }
    const { labels } = slkCluster(query, { K, key: key(3) })
    expect(new Set(Array.from(labels, (label, i) => `${label} ${queryLabels[i]}`)).size).toBe(K)
  })

  it('holds no matrix of all pairs for 20,000 points', async () => {
    await useBackend('onnx')
    const X = { data: normalArray(key(4), 20_000 * 8), shape: [20_000, 8] as const }
    const before = process.memoryUsage()
    const affinity = knnAffinity(X, { knn: 5 })
    const costs = squaredDistances(X, Float64Array.from(X.data.subarray(0, 160)))
    const { assignments } = boundOptimise({ costs, affinity, lambda: 0.7, iterations: 5 })
    const after = process.memoryUsage()
    expect(assignments.length).toBe(20_000 * 20)
    expect(after.rss - before.rss).toBeLessThan(500e6)
  })
})

describe('many episodes at once', () => {
  it('gives each episode what it gets alone, in every mode', async () => {
    await useBackend('onnx')
    const tasks = [11, 12, 13, 14, 15].map((seed) => task(seed, { distance: 1.5, shots: 2 }))
    const { batch, ways } = stackEpisodes(tasks)
    for (const mode of modes) {
      const options = { mode, lambda: 0.4, supervision: mode === 'slk-means' ? ('clamp' as const) : ('init' as const) }
      const together = compile((episodes: EpisodeBatch) => clusterEpisodes(episodes, { ways, ...options }))(batch)
      const [labels, iterations, sigma] = [together.labels.arraySync(), together.iterations.arraySync(), together.sigma.arraySync()]
      tasks.forEach((one, e) => {
        const alone = transductiveCluster(one, options)
        expect((labels as number[][])[e], mode).toEqual(Array.from(alone.labels))
        expect((iterations as number[])[e], mode).toBe(alone.iterations)
        expect((sigma as number[])[e], mode).toBeCloseTo(alone.sigma ?? 0, 4)
      })
    }
  })

  it('names the task that is not like the first, and options that make no sense', () => {
    const one = task(1)
    expect(() => stackEpisodes([])).toThrow(/at least one task/)
    expect(() => stackEpisodes([one, task(2, { queries: 9 })])).toThrow(/task 1: expected support \[4, 6\] and query \[32, 6\]/)
    expect(() => stackEpisodes([one, { ...one, supportLabels: [0, 1, 2, 2] }])).toThrow(/task 1: expected 4 classes/)
    const { batch, ways } = stackEpisodes([one])
    expect(() => clusterEpisodes(batch, { ways, knn: 1 })).toThrow(/knn should be an integer from 2/)
    expect(() => clusterEpisodes(batch, { ways: 9 })).toThrow(/ways should be an integer from 1 to the 4 supports/)
    expect(() => clusterEpisodes(batch, { ways, lambda: -1 })).toThrow(/lambda should be at least 0/)
  })
})
