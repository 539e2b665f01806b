import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { clusteringAccuracy, normalizedMutualInformation } from './index'

describe('agreement of clusters and classes', () => {
  it('does not see how clusters are numbered, and is 1 for the classes themselves', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(3), fc.nat(4)), { minLength: 1, maxLength: 30 }), (pairs) => {
        const [clusters, labels] = [pairs.map(([cluster]) => cluster), pairs.map(([, label]) => label)]
        const renamed = clusters.map((cluster) => (cluster + 2) % 4)
        for (const score of [clusteringAccuracy, normalizedMutualInformation]) {
          expect(score(renamed, labels)).toBeCloseTo(score(clusters, labels), 12)
          expect(score(labels, labels)).toBeCloseTo(1, 12)
        }
        expect(normalizedMutualInformation(labels, clusters)).toBeCloseTo(normalizedMutualInformation(clusters, labels), 12)
      }),
    )
  })

  it('gives the known values of scikit-learn', () => {
    const clusters = [0, 0, 0, 1, 1, 2, 2, 2, 1, 0]
    const labels = [1, 1, 0, 0, 0, 2, 2, 1, 0, 1]
    expect(clusteringAccuracy(clusters, labels)).toBeCloseTo(0.8, 12)
    expect(normalizedMutualInformation(clusters, labels)).toBeCloseTo(0.5961618204194685, 12)
  })

  it('leaves a cluster too many without a class', () => {
    expect(clusteringAccuracy([0, 1, 2, 3], [0, 0, 1, 1])).toBe(0.5)
    expect(clusteringAccuracy([0, 0, 0, 0], [0, 1, 2, 2])).toBe(0.5)
    expect(normalizedMutualInformation([0, 0, 0], [0, 1, 2])).toBe(0)
  })

  it('names what is wrong', () => {
    expect(() => clusteringAccuracy([0, 1], [0])).toThrow(/labels/)
    expect(() => normalizedMutualInformation([], [])).toThrow(/there are no rows/)
  })
})
