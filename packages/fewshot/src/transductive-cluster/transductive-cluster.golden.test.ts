import { goldenArray, goldenCases, isGoldenArray, mismatch, type GoldenCase, type Tolerance } from '@bpf/core/testing'
import { describe, expect, it } from 'vitest'
import { nearestMean } from '../baselines'
import { classMeans, squaredDistances, type FeatureMatrix } from '../shared/matrix'
import { boundEnergy, boundOptimise, estimateSigma, knnAffinity, shiftQueries, transductiveCluster, type ClusterMode } from './index'

type Inputs = GoldenCase['inputs']
type Outputs = Record<string, ArrayLike<number>>

const names: Record<string, ClusterMode> = { kmeans: 'kmeans', kmodes: 'kmodes', slk_means: 'slk-means', slk_ms: 'slk-ms' }

function matrix(inputs: Inputs, name: string): FeatureMatrix {
  const { data, shape } = goldenArray(inputs, name)
  return { data: Float64Array.from(data), shape: [shape[0], shape[1]] }
}

const functions: Record<string, (inputs: Inputs) => Outputs> = {
  clusterEpisode(inputs) {
    const [support, query] = [matrix(inputs, 'support'), matrix(inputs, 'query')]
    const { ways, shot, knn, lambda } = inputs as Record<string, number>
    const supportLabels = Int32Array.from({ length: support.shape[0] }, (_, r) => Math.floor(r / shot))
    const shifted = shiftQueries(support, query)
    const N = support.shape[0] + query.shape[0]
    const X: FeatureMatrix = { data: Float64Array.from([...support.data, ...shifted.data]), shape: [N, support.shape[1]] }
    const affinity = knnAffinity(X, { knn })
    const dense = new Float64Array(N * N)
    affinity.columns.forEach((j, e) => (dense[Math.floor(e / (knn - 1)) * N + j] = affinity.weights[e]))
    const costs = squaredDistances(X, classMeans(support, supportLabels, ways))
    const options = { costs, affinity, lambda, labelled: supportLabels }
    const final = boundOptimise(options).assignments
    const out: Outputs = {
      affinity: dense,
      sigma: [estimateSigma(X, affinity)],
      bound_Y_iter1: boundOptimise({ ...options, iterations: 1 }).assignments,
      bound_Y_final: final,
      bound_energy_final: [boundEnergy(final, costs, affinity, lambda)],
      induct_labels: nearestMean(support, supportLabels, shifted),
    }
    for (const [name, mode] of Object.entries(names)) {
      const result = transductiveCluster({ support, supportLabels, query }, { mode, knn, lambda })
      out.eta = result.shift
      out[`${name}_labels`] = result.labels
      out[`${name}_prototypes`] = result.prototypes
    }
    return out
  },
}

describe('golden cases of 02-transductive-clustering', () => {
  for (const { name, fn, inputs, outputs, tolerance } of goldenCases(
    new URL('../../test/golden/', import.meta.url),
    '02-transductive-clustering',
  )) {
    it(`${fn}: ${name}`, () => {
      const actual = functions[fn](inputs)
      for (const [key, value] of Object.entries(outputs)) {
        const expected = isGoldenArray(value) ? value.data : [value as number]
        const allowed: Tolerance = key.endsWith('labels') || key === 'affinity' ? { abs: 0.25, rel: 0 } : (tolerance as Tolerance)
        expect(mismatch(actual[key], expected as ArrayLike<number>, allowed), key).toBeUndefined()
      }
    })
  }
})
