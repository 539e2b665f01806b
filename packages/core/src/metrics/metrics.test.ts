import { readFileSync } from 'node:fs'
import * as tf from '@tensorflow/tfjs-core'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { matrix, toRows } from '../linalg/index'
import {
  accuracy,
  auroc,
  averagePrecision,
  brierScore,
  confusionMatrix,
  frechetDistance,
  lineFit,
  mmd,
  negativeLogLikelihood,
  predictedLabels,
  r2,
  rmse,
  topKAccuracy,
} from './index'

beforeAll(async () => {
  await useBackend()
})

type Golden = Record<'logits' | 'targets' | 'predictions' | 'x' | 'y' | 'confusion', number[][]> &
  Record<'labels' | 'scores' | 'binary', number[]> &
  Record<
    | 'accuracy'
    | 'top2'
    | 'nll'
    | 'brier'
    | 'auroc'
    | 'averagePrecision'
    | 'rmse'
    | 'r2'
    | 'mmdUnbiased'
    | 'mmdBiased'
    | 'mmdMedian'
    | 'frechet'
    | 'slope'
    | 'intercept'
    | 'lineR2',
    number
  >

const golden = JSON.parse(readFileSync(new URL('../../test/golden/metrics.json', import.meta.url), 'utf8')) as Golden

/** Deterministic values in (−1, 1). */
const noise = (i: number): number => 2 * Math.abs((Math.sin((i + 1) * 12.9898) * 43758.5453) % 1) - 1

function softmax(row: number[]): number[] {
  const total = row.reduce((sum, value) => sum + Math.exp(value), 0)
  return row.map((value) => Math.exp(value) / total)
}

describe('classification metrics', () => {
  it('agree with scikit-learn', () => {
    const { logits, labels } = golden
    expect(accuracy(logits, labels)).toBe(golden.accuracy)
    expect(topKAccuracy(logits, labels, 2)).toBe(golden.top2)
    expect(negativeLogLikelihood({ logits }, labels)).toBeCloseTo(golden.nll, 13)
    expect(negativeLogLikelihood({ probabilities: logits.map(softmax) }, labels)).toBeCloseTo(golden.nll, 13)
    expect(brierScore({ logits }, labels)).toBeCloseTo(golden.brier, 13)
    expect(brierScore({ probabilities: logits.map(softmax) }, labels)).toBeCloseTo(golden.brier, 13)
    expect(toRows(confusionMatrix(predictedLabels(logits), labels, { classes: 4 }))).toEqual(golden.confusion)
  })

  it('take tensors and typed arrays', () => {
    const logits = tf.tensor2d(golden.logits)
    const labels = tf.tensor1d(golden.labels, 'int32')
    expect(accuracy(logits, labels)).toBe(golden.accuracy)
    expect(accuracy({ data: Float32Array.from(golden.logits.flat()), shape: [40, 4] }, Uint8Array.from(golden.labels))).toBe(
      golden.accuracy,
    )
    expect(negativeLogLikelihood({ logits }, labels)).toBeCloseTo(golden.nll, 6)
  })

  it('have their closed forms', () => {
    expect(
      accuracy(
        [
          [0, 0],
          [0, 0],
        ],
        [0, 1],
      ),
    ).toBe(0.5)
    expect(topKAccuracy([[1, 1, 1]], [2], 2)).toBe(0)
    expect(topKAccuracy([[1, 1, 1]], [2], 3)).toBe(1)
    expect(negativeLogLikelihood({ logits: [[1000, 1000]] }, [0])).toBeCloseTo(Math.LN2, 14)
    expect(negativeLogLikelihood({ logits: [[0, -Infinity]] }, [0])).toBe(0)
    expect(negativeLogLikelihood({ probabilities: [[1, 0]] }, [1])).toBe(Infinity)
    expect(brierScore({ probabilities: [[0, 1]] }, [0])).toBe(2)
    expect(toRows(confusionMatrix([0, 1, 1], [0, 0, 1]))).toEqual([
      [1, 1],
      [0, 1],
    ])
  })

  it('name what is wrong', () => {
    expect(() => accuracy([[1, 2]], [2])).toThrow('labels: label 2 at index 0 is out of range; expected 0 to 1 for 2 classes')
    expect(() => accuracy([[1, NaN]], [0])).toThrow('scores: NaN at row 0, column 1')
    expect(() => accuracy([[1, 2]], [0, 1])).toThrow('labels: expected 1 values, got 2')
    expect(() => accuracy([], [])).toThrow('there are no rows')
    expect(() => topKAccuracy([[1, 2]], [0], 3)).toThrow('k must be an integer from 1 to 2')
    expect(() => negativeLogLikelihood({ probabilities: [[0.9, 0.9]] }, [0])).toThrow('row 0 sums to 1.8')
    expect(() => brierScore({ probabilities: [[-1, 2]] }, [0])).toThrow('-1 at row 0, column 0')
    expect(() => brierScore({ logits: [[Infinity, 2]] }, [0])).toThrow('the largest value of row 0 is Infinity')
    expect(() => confusionMatrix([0, 3], [0, 1], { classes: 2 })).toThrow('predictions: label 3 at index 1')
  })
})

describe('ranking metrics', () => {
  it('agree with scikit-learn, ties included', () => {
    expect(auroc(golden.scores, golden.binary)).toBeCloseTo(golden.auroc, 14)
    expect(averagePrecision(golden.scores, golden.binary)).toBeCloseTo(golden.averagePrecision, 14)
  })

  it('auroc counts pairs', () => {
    const sample = fc.array(fc.tuple(fc.integer({ min: 0, max: 5 }), fc.boolean()), { minLength: 2, maxLength: 30 })
    fc.assert(
      fc.property(sample, (pairs) => {
        const positive = pairs.filter(([, label]) => label).map(([score]) => score)
        const negative = pairs.filter(([, label]) => !label).map(([score]) => score)
        if (positive.length === 0 || negative.length === 0) return true
        const wins = positive
          .flatMap((p) => negative.map((q) => (p > q ? 1 : p === q ? 0.5 : 0)))
          .reduce((sum: number, win) => sum + win, 0)
        const value = auroc(
          pairs.map(([score]) => score),
          pairs.map(([, label]) => label),
        )
        return Math.abs(value - wins / (positive.length * negative.length)) < 1e-12
      }),
    )
    expect(auroc([-Infinity, Infinity], [0, 1])).toBe(1)
    expect(auroc([-0, 0], [1, 0])).toBe(0.5)
    expect(averagePrecision([1, 1, 1, 1], [1, 0, 0, 0])).toBe(0.25)
    expect(averagePrecision([1, 2], [1, 1])).toBe(1)
  })

  it('name what is wrong', () => {
    expect(() => auroc([1, 2], [1, 1])).toThrow('got 2 positives and 0 negatives')
    expect(() => auroc([1, NaN], [0, 1])).toThrow('scores: NaN at index 1')
    expect(() => auroc([1, 2], [0, 2])).toThrow('label 2 at index 1')
    expect(() => averagePrecision([1, 2], [0, 0])).toThrow('got 0 positives')
  })

  it('rank a million scores', () => {
    const n = 1_000_000
    const scores = Float64Array.from({ length: n }, (_, i) => noise(i))
    const labels = Int32Array.from(scores, (score, i) => (score + noise(i + n) > 0 ? 1 : 0))
    // P(label 1 | score s) = (1 + s) / 2: the area is 5/6.
    expect(auroc(scores, labels)).toBeCloseTo(5 / 6, 2)
  })
})

describe('regression metrics', () => {
  it('agree with scikit-learn and numpy', () => {
    expect(rmse(golden.predictions, golden.targets)).toBeCloseTo(golden.rmse, 14)
    expect(r2(golden.predictions, golden.targets)).toBeCloseTo(golden.r2, 13)
    const fit = lineFit(
      golden.x.map((row) => row[0]),
      golden.x.map((row) => row[1]),
    )
    expect(fit.slope).toBeCloseTo(golden.slope, 13)
    expect(fit.intercept).toBeCloseTo(golden.intercept, 13)
    expect(fit.r2).toBeCloseTo(golden.lineR2, 13)
  })

  it('take vectors of every kind', () => {
    expect(rmse([1, 2], Float32Array.of(2, 3))).toBe(1)
    expect(rmse(tf.tensor1d([1, 2]), [1, 4])).toBeCloseTo(Math.SQRT2, 14)
    expect(r2([1, 2, 3], [1, 2, 3])).toBe(1)
    expect(r2([2, 2, 2], [1, 2, 3])).toBe(0)
    expect(lineFit([0, 1, 2], [1, 3, 5])).toEqual({ slope: 2, intercept: 1, r2: 1 })
  })

  it('name what is wrong', () => {
    expect(() => rmse([1], [1, 2])).toThrow('predictions [1, 1] and targets [2, 1] should have one shape')
    expect(() => r2([1, 2], [0.1, 0.1])).toThrow('constant')
    expect(() => lineFit([1, 1], [1, 2])).toThrow('all x are equal')
    expect(() => lineFit([1], [1])).toThrow('at least 2 points')
    expect(() => rmse([], [])).toThrow('no values')
  })
})

describe('distances of distributions', () => {
  it('agree with scikit-learn and scipy', () => {
    const { x, y } = golden
    expect(mmd(x, y, { bandwidth: 1.3 })).toBeCloseTo(golden.mmdUnbiased, 13)
    expect(mmd(x, y, { bandwidth: 1.3, unbiased: false })).toBeCloseTo(golden.mmdBiased, 13)
    expect(mmd(x, y)).toBeCloseTo(golden.mmdMedian, 13)
    expect(frechetDistance(x, y)).toBeCloseTo(golden.frechet, 12)
    expect(frechetDistance(tf.tensor2d(x), tf.tensor2d(y))).toBeCloseTo(golden.frechet, 5)
  })

  it('mmd is the same across blocks, and zero of a sample against itself', () => {
    const sample = (n: number, seed: number) =>
      matrix({ data: Float64Array.from({ length: 2 * n }, (_, i) => noise(i + seed)), shape: [n, 2] })
    const x = sample(1100, 0)
    const y = sample(1030, 5000)
    let sum = 0
    const kernel = (a: Float64Array, i: number, b: Float64Array, j: number): number =>
      Math.exp(-((a[2 * i] - b[2 * j]) ** 2 + (a[2 * i + 1] - b[2 * j + 1]) ** 2) / 2)
    for (let i = 0; i < 1100; i++) for (let j = 0; j < 1100; j++) if (i !== j) sum += kernel(x.data, i, x.data, j) / (1100 * 1099)
    for (let i = 0; i < 1030; i++) for (let j = 0; j < 1030; j++) if (i !== j) sum += kernel(y.data, i, y.data, j) / (1030 * 1029)
    for (let i = 0; i < 1100; i++) for (let j = 0; j < 1030; j++) sum -= (2 * kernel(x.data, i, y.data, j)) / (1100 * 1030)
    expect(mmd(x, y, { bandwidth: 1 })).toBeCloseTo(sum, 12)
    expect(mmd(golden.x, golden.x, { unbiased: false })).toBeCloseTo(0, 14)
  })

  it('frechetDistance has its closed form for commuting covariances, and takes mean and covariance', () => {
    // Σ (√a − √b)² for diagonal covariances, plus the squared distance of the means.
    const a = {
      mean: [0, 1],
      covariance: [
        [4, 0],
        [0, 9],
      ],
    }
    const b = {
      mean: [3, 1],
      covariance: [
        [1, 0],
        [0, 0],
      ],
    }
    expect(frechetDistance(a, b)).toBeCloseTo(9 + 1 + 9, 12)
    expect(frechetDistance(a, a)).toBeCloseTo(0, 12)
    // Fewer rows than features: singular covariances need no jitter.
    const few = golden.x.slice(0, 2)
    expect(frechetDistance(few, few)).toBeCloseTo(0, 12)
    expect(frechetDistance(golden.x, golden.x)).toBeLessThan(1e-12)
  })

  it('name what is wrong', () => {
    expect(() => mmd([[1, 2]], [[1]])).toThrow('at least 2 rows')
    expect(() =>
      mmd(
        [
          [1, 2],
          [1, 2],
        ],
        [[1], [2]],
      ),
    ).toThrow('x has 2 columns, y has 1')
    expect(() => mmd([[1], [1]], [[1], [1]])).toThrow('the median distance is 0')
    expect(() => mmd([[1], [2]], [[1], [3]], { bandwidth: 0 })).toThrow('bandwidth must be positive')
    expect(() =>
      frechetDistance(
        [
          [1, 2],
          [NaN, 1],
        ],
        golden.x,
      ),
    ).toThrow('a: NaN at row 1, column 0')
    expect(() =>
      frechetDistance(
        [
          [1, 2],
          [2, 1],
        ],
        golden.x,
      ),
    ).toThrow('a has 2 features, b has 3')
    const indefinite = {
      mean: [0, 0],
      covariance: [
        [1, 0],
        [0, -1],
      ],
    }
    expect(() => frechetDistance(indefinite, indefinite)).toThrow('a.covariance: the matrix is not positive semi-definite')
  })
})
