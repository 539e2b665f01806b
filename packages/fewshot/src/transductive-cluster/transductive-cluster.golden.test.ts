import { compile, float64Tensor, useBackend } from '@bpf/core'
import { float32Tolerance, goldenArray, goldenCases, isGoldenArray, mismatch, type GoldenCase, type Tolerance } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { nearestMean } from '../baselines'
import { classMeans, squaredDistances, type FeatureMatrix } from '../shared/matrix'
import { boundEpisodes, clusterEpisodes, distancesOf, neighboursOf, type EpisodeBatch } from './episode-batch'
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

type Tensors = { [name: string]: tf.Tensor }

/** The same outputs of the batch form, for one episode in a batch of two. */
function inBatch(inputs: Inputs): (batch: EpisodeBatch) => Tensors {
  const { ways, knn, lambda } = inputs as Record<string, number>
  return ({ support, supportLabels, query }) => {
    const [E, S, D] = support.shape
    const Q = query.shape[1] as number
    const N = S + Q
    const first = (tensor: tf.Tensor): tf.Tensor => tf.squeeze(tf.slice(tensor, 0, 1), [0])
    const eta = tf.sub(tf.mean(support, 1, true), tf.mean(query, 1, true))
    const X = tf.concat([support, tf.add(query, eta)], 1)
    const hot = tf.cast(tf.oneHot(supportLabels, ways), 'float32')
    const means = tf.div(tf.matMul(hot, support, true, false), tf.expandDims(tf.sum(hot, 1), 2))
    const { rows } = neighboursOf(distancesOf(X, X), knn)
    const costs = distancesOf(X, means)
    const options = {
      rows,
      lambda,
      given: tf.concat([hot, tf.zeros([E, Q, ways])], 1),
      isSupport: tf.reshape(tf.concat([tf.ones([S]), tf.zeros([Q])], 0), [1, N, 1]),
      supervision: 'init' as const,
      tolerance: 1e-7,
    }
    const all = tf.ones([E], 'bool')
    const final = boundEpisodes(costs, all, { ...options, iterations: 600 })
    const out: Tensors = {
      eta: first(tf.reshape(eta, [E, D])),
      affinity: tf.sum(tf.oneHot(tf.reshape(tf.slice(rows, 0, N * (knn - 1)), [N, knn - 1]), N), 1),
      bound_Y_iter1: first(boundEpisodes(costs, all, { ...options, iterations: 1 }).Y),
      bound_Y_final: first(final.Y),
      bound_energy_final: first(final.energy),
      induct_labels: first(tf.argMin(tf.slice(costs, [0, S, 0], [E, Q, ways]), 2)),
    }
    for (const [name, mode] of Object.entries(names)) {
      const result = clusterEpisodes({ support, supportLabels, query }, { ways, mode, knn, lambda })
      out[`${name}_labels`] = first(result.labels)
      out[`${name}_prototypes`] = first(result.prototypes)
      if (mode === 'kmodes') out.sigma = first(result.sigma)
    }
    return out
  }
}

function episodes(inputs: Inputs, make: (values: number[], shape: number[]) => tf.Tensor): EpisodeBatch {
  // The second episode is the first one's numbers backwards: another one of the same shapes.
  const twice = (name: string): tf.Tensor => {
    const { data, shape } = goldenArray(inputs, name)
    return make([...data, ...[...data].reverse()], [2, ...shape])
  }
  const { ways, shot } = inputs as Record<string, number>
  const labels = Int32Array.from({ length: 2 * ways * shot }, (_, r) => Math.floor((r % (ways * shot)) / shot))
  return { support: twice('support'), supportLabels: tf.tensor2d(labels, [2, ways * shot], 'int32'), query: twice('query') }
}

describe('golden cases of 02-transductive-clustering', () => {
  beforeAll(() => useBackend('onnx'))

  for (const { name, fn, inputs, outputs, tolerance } of goldenCases(
    new URL('../../test/golden/', import.meta.url),
    '02-transductive-clustering',
  )) {
    const agree = async (computed: Tensors, toleranceOf: (expected: number[]) => Tolerance): Promise<void> => {
      for (const [key, value] of Object.entries(outputs)) {
        const expected = isGoldenArray(value) ? value.data : [value as number]
        const exact = key.endsWith('labels') || key === 'affinity'
        expect(computed[key], `${key} is computed`).toBeDefined()
        const actual = Array.from(await computed[key].data())
        expect(mismatch(actual, expected, exact ? { abs: 0.25, rel: 0 } : toleranceOf(expected)), key).toBeUndefined()
      }
    }

    it(`${fn}: ${name} on the host in double precision`, () => {
      const actual = functions[fn](inputs)
      for (const [key, value] of Object.entries(outputs)) {
        const expected = isGoldenArray(value) ? value.data : [value as number]
        const allowed: Tolerance = key.endsWith('labels') || key === 'affinity' ? { abs: 0.25, rel: 0 } : (tolerance as Tolerance)
        expect(mismatch(actual[key], expected as ArrayLike<number>, allowed), key).toBeUndefined()
      }
    })

    it(`${fn}: ${name} as a batch in double precision, compiled`, async () => {
      const batch = episodes(inputs, (values, shape) => float64Tensor(Float64Array.from(values), shape))
      await agree(compile(inBatch(inputs), { precision: 'float64' })(batch), () => tolerance as Tolerance)
    })

    it(`${fn}: ${name} as a batch in float32, eager and compiled, within 2e-4 of the largest value`, async () => {
      const batch = episodes(inputs, (values, shape) => tf.tensor(Float32Array.from(values), shape))
      await agree(inBatch(inputs)(batch), float32Tolerance)
      await agree(compile(inBatch(inputs))(batch), float32Tolerance)
    })
  }
})
