import { fold, key, normalArray, permutationArray } from '@bpf/core/random'
import { clusteringAccuracy } from '@bpf/core/metrics'
import { describe, expect, it } from 'vitest'
import {
  bdCspn,
  episodeTask,
  laplacianShot,
  nearestMean,
  normalisedCut,
  normalisedCutLabels,
  selectLambda,
  transductiveCluster,
} from './index'
import type { FeatureMatrix } from './index'

const matrix = (data: number[][]): FeatureMatrix => ({ data: Float64Array.from(data.flat()), shape: [data.length, data[0].length] })

/** Points of K classes around random means. */
function points(seed: number, each: number, { K = 4, D = 6, distance = 6 } = {}): { features: FeatureMatrix; labels: Int32Array } {
  const means = normalArray(fold(key(seed), 0), K * D)
  const noise = normalArray(fold(key(seed), 1), K * each * D)
  const labels = Int32Array.from({ length: K * each }, (_, i) => Math.floor(i / each))
  const data = Float64Array.from(noise, (value, at) => value + distance * means[labels[Math.floor(at / D)] * D + (at % D)])
  return { features: { data, shape: [K * each, D] }, labels }
}

/** Rows 0 of each class are the supports. */
function task(seed: number, options: { distance?: number } = {}) {
  const each = 12
  const { features, labels } = points(seed, each, options)
  const rows = Array.from(labels, (_, i) => i)
  const query = Int32Array.from(rows.filter((i) => i % each !== 0))
  const support = Int32Array.from(rows.filter((i) => i % each === 0))
  const supportLabels = support.map((i) => labels[i])
  return { ...episodeTask(features, { support, supportLabels, query }), queryLabels: query.map((i) => labels[i]) }
}

const methods = {
  laplacianShot: (input: ReturnType<typeof task>) => laplacianShot(input).labels,
  bdCspn: (input: ReturnType<typeof task>) => bdCspn(input).labels,
  normalisedCut: (input: ReturnType<typeof task>) => normalisedCutLabels(input, { gamma: 0.02 }),
}

describe('transductive baselines', () => {
  for (const [name, label] of Object.entries(methods)) {
    it(`${name} labels separated classes without an error, and permutes with the queries`, () => {
      const input = task(3, { distance: 8 })
      const labels = label(input)
      expect(labels).toEqual(input.queryLabels)
      const order = permutationArray(key(1), labels.length)
      const { query } = episodeTask(input.query, { support: order, supportLabels: order, query: order })
      expect(Array.from(label({ ...input, query }))).toEqual(Array.from(order, (from) => labels[from]))
    })

    it(`${name} says what is wrong with its input`, () => {
      const input = task(1)
      expect(() => label({ ...input, supportLabels: Int32Array.of(0, 1, 2, 4) })).toThrow('class 3 has no support example')
      expect(() => label({ ...input, query: matrix([[1, 2]]) })).toThrow(/query: expected 6 columns/)
    })
  }

  it('laplacianShot is the nearest mean when lambda is 0, and a neighbour turns a query', () => {
    const input = task(5, { distance: 0.6 })
    expect(laplacianShot(input, { lambda: 0 }).labels).toEqual(nearestMean(input.support, input.supportLabels, input.query))
    // The middle query is a little nearer to class 0, its two neighbours belong to class 1.
    const line = { support: matrix([[0], [1]]), supportLabels: [0, 1], query: matrix([[0.48], [0.6], [0.62]]) }
    expect(Array.from(laplacianShot(line, { lambda: 0, knn: 3 }).labels)).toEqual([0, 1, 1])
    expect(Array.from(laplacianShot(line, { lambda: 0.7, knn: 3 }).labels)).toEqual([1, 1, 1])
  })

  it('bdCspn with no query in the prototypes is the cosine to the class means, of one support that support', () => {
    const input = task(7)
    const { prototypes, labels } = bdCspn(input, { confident: 0, shift: false })
    const norm = (row: number) => Math.hypot(...input.support.data.subarray(row * 6, row * 6 + 6))
    prototypes.forEach((value, at) => expect(value).toBeCloseTo(input.support.data[at] / norm(Math.floor(at / 6)), 12))
    expect(labels.length).toBe(input.query.shape[0])
    expect(() => bdCspn(input, { epsilon: 0 })).toThrow(/epsilon should be above 0/)
    const zero = { ...input, query: { data: new Float64Array(12), shape: [2, 6] as const } }
    expect(() => bdCspn(zero, { shift: false })).toThrow(/query row 0 is zero/)
  })

  it('normalisedCut finds rings that no mean separates', () => {
    const each = 40
    const rings = Array.from({ length: 2 * each }, (_, i) => {
      const [radius, angle] = [i < each ? 1 : 4, (2 * Math.PI * i) / each]
      return [radius * Math.cos(angle), radius * Math.sin(angle)]
    })
    const labels = rings.map((_, i) => Number(i >= each))
    expect(clusteringAccuracy(normalisedCut(matrix(rings), { K: 2, gamma: 4 }), labels)).toBe(1)
    expect(() => normalisedCut(matrix(rings), { K: 81 })).toThrow(/K should be an integer from 1 to the 80 points/)
    expect(() => normalisedCut(matrix(rings), { K: 2, gamma: 0 })).toThrow(/gamma should be above 0/)
  })
})

describe('selectLambda', () => {
  it('takes the weight of the highest accuracy over the same episodes, the first among equals', () => {
    const { features, labels } = points(2, 20, { distance: 0.7 })
    const size = { ways: 4, shots: 1, queries: 8, episodes: 30 }
    const lambdas = [0, 0.2, 0.5]
    const { lambda, accuracies } = selectLambda(
      key(4),
      features,
      labels,
      { ...size, lambdas },
      (input, weight) => transductiveCluster(input, { mode: 'slk-means', lambda: weight }).labels,
    )
    const means = accuracies.map(({ mean }) => mean)
    expect(lambda).toBe(lambdas[means.indexOf(Math.max(...means))])
    const constant = selectLambda(key(4), features, labels, { ...size, lambdas }, (input) =>
      nearestMean(input.support, input.supportLabels, input.query),
    )
    expect(constant.lambda).toBe(0)
    expect(() => selectLambda(key(4), features, labels, { ...size, lambdas: [] }, () => [])).toThrow(/lambdas is empty/)
  })
})
