import fc from 'fast-check'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { grad } from '../grad/index'
import { key, normal, normalArray } from '../random/index'
import {
  argsort,
  maskedLogSumExp,
  pairwiseSquaredDistances,
  searchsorted,
  segmentMean,
  segmentSum,
  sort,
  takeAlongLastAxis,
  takeRows,
  topKMask,
  xlogy,
} from './index'
import { topkArgsort } from './sort'

beforeAll(() => useBackend('cpu'))

/** A fixed nonlinear scalar of a tensor, so that gradients of all its entries differ. */
function probe(y: tf.Tensor): tf.Tensor {
  return tf.tidy(() => tf.sum(tf.mul(tf.sin(y), normal(key(99), y.shape))))
}

async function values(x: tf.Tensor): Promise<number[]> {
  return [...(await x.data())]
}

/** Largest difference of the gradient from central differences; both sides are float32, steps 2⁻⁷. */
async function gradientError(fn: (x: tf.Tensor) => tf.Tensor, x: tf.Tensor): Promise<number> {
  const analytic = await values(grad((input: tf.Tensor) => fn(input))(x))
  const start = await x.data()
  const step = 2 ** -7
  const at = (i: number, delta: number): number => {
    const moved = Float32Array.from(start)
    moved[i] += delta
    return fn(tf.tensor(moved, x.shape)).dataSync()[0]
  }
  // Richardson extrapolation of two central differences.
  const difference = (i: number, h: number): number => (at(i, h) - at(i, -h)) / (2 * h)
  return Math.max(...analytic.map((g, i) => Math.abs(g - (4 * difference(i, step) - difference(i, 2 * step)) / 3)))
}

/** First and second order of fn, each against differences of the order below. */
async function expectTwoGradients(fn: (x: tf.Tensor) => tf.Tensor, x: tf.Tensor): Promise<void> {
  expect(await gradientError((input) => probe(fn(input)), x)).toBeLessThan(1e-3)
  const slope = (input: tf.Tensor): tf.Tensor => probe(grad((inner: tf.Tensor) => probe(fn(inner)))(input))
  expect(await gradientError(slope, x)).toBeLessThan(2e-3)
}

describe('sort and argsort', () => {
  it('order rows stably, ascending and descending', async () => {
    const x = tf.tensor2d([
      [3, 1, 2, 1, 3],
      [0, -0, 0, -5, Infinity],
    ])
    expect(await values(argsort(x))).toEqual([1, 3, 2, 0, 4, 3, 0, 1, 2, 4])
    expect(await values(argsort(x, { descending: true }))).toEqual([0, 4, 2, 1, 3, 4, 0, 1, 2, 3])
    expect(await values(sort(x, { descending: true }))).toEqual([3, 3, 2, 1, 1, Infinity, 0, -0, 0, -5])
    const integers = tf.tensor1d([5, -(2 ** 31), 2 ** 31 - 1, 0, -1, 5], 'int32')
    expect(await values(argsort(integers))).toEqual([1, 4, 3, 0, 5, 2])
    expect(await values(argsort(integers, { descending: true }))).toEqual([2, 0, 5, 3, 4, 1])
    expect(await values(topkArgsort(integers, false))).toEqual([1, 4, 3, 0, 5, 2])
    expect(await values(topkArgsort(integers, true))).toEqual([2, 0, 5, 3, 4, 1])
    expect(sort(integers).dtype).toBe('int32')
  })

  it('agrees with a stable reference for any rows, and TopK with it', async () => {
    const value = fc.oneof(fc.integer({ min: -3, max: 3 }), fc.float({ noNaN: true }))
    await fc.assert(
      fc.asyncProperty(fc.array(value, { minLength: 1, maxLength: 150 }), fc.boolean(), async (list, descending) => {
        const row = Float32Array.from(list)
        const expected = [...row.keys()].sort((a, b) => (row[a] === row[b] ? a - b : row[a] < row[b] !== descending ? -1 : 1))
        const x = tf.stack([tf.tensor1d(row), tf.tensor1d(row)])
        expect(await values(argsort(x, { descending }))).toEqual([...expected, ...expected])
        expect(await values(topkArgsort(x, descending))).toEqual([...expected, ...expected])
        expect(await values(sort(x, { descending }))).toEqual([...expected, ...expected].map((i) => row[i]))
      }),
      { numRuns: 60 },
    )
  })

  it('the gradient returns to where each value came from, ties included', async () => {
    const g = grad((x: tf.Tensor) => tf.sum(tf.mul(sort(x), tf.tensor1d([1, 2, 3, 4]))))(tf.tensor1d([5, 1, 5, 1]))
    expect(await values(g)).toEqual([3, 1, 4, 2])
    await expectTwoGradients(
      (x) => sort(x),
      tf.tensor2d([
        [0.3, -1, 2, 0.9],
        [1, 2, 0, -0.7],
      ]),
    )
    await expectTwoGradients((x) => sort(x, { descending: true }), tf.tensor1d([0.3, -1, 2, 0.9]))
  })

  it('handles empty and single rows', async () => {
    expect(argsort(tf.zeros([2, 0])).shape).toEqual([2, 0])
    expect(sort(tf.zeros([0, 3])).shape).toEqual([0, 3])
    expect(await values(sort(tf.tensor2d([[7], [6]])))).toEqual([7, 6])
  })
})

describe('topKMask', () => {
  it('marks exactly k, the lowest indices among equals', async () => {
    const x = tf.tensor2d([
      [1, 2, 2, 2],
      [0, 0, 0, 0],
    ])
    expect(await values(topKMask(x, 2))).toEqual([0, 1, 1, 0, 1, 1, 0, 0])
    expect(await values(topKMask(x, 2, { smallest: true }))).toEqual([1, 1, 0, 0, 1, 1, 0, 0])
    expect(await values(topKMask(x, 0))).toEqual(Array(8).fill(0))
    expect(await values(topKMask(x, 4))).toEqual(Array(8).fill(1))
  })
})

describe('searchsorted', () => {
  it('counts entries below, or not above', async () => {
    const sorted = tf.tensor1d([1, 2, 2, 3])
    const queries = tf.tensor2d([
      [0, 1, 2],
      [2.5, 3, 9],
    ])
    expect(await values(searchsorted(sorted, queries))).toEqual([0, 0, 1, 3, 3, 4])
    expect(await values(searchsorted(sorted, queries, { side: 'right' }))).toEqual([0, 1, 3, 3, 4, 4])
    expect(await values(searchsorted(tf.zeros([0]), queries))).toEqual(Array(6).fill(0))
  })

  it('agrees with counting, row by row', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 8 }),
        fc.nat(),
        fc.boolean(),
        async (n, m, seed, right) => {
          const round = (x: tf.Tensor): tf.Tensor => tf.round(tf.mul(x, 2))
          const sorted = sort(round(normal(key(seed), [3, n])))
          const queries = round(normal(key(seed + 1), [3, m]))
          const [a, b] = [tf.expandDims(sorted, 1), tf.expandDims(queries, 2)]
          const expected = tf.sum(tf.cast(right ? tf.lessEqual(a, b) : tf.less(a, b), 'int32'), 2)
          expect(await values(searchsorted(sorted, queries, { side: right ? 'right' : 'left' }))).toEqual(await values(expected))
        },
      ),
      { numRuns: 40 },
    )
  })
})

describe('rows and segments', () => {
  let x: tf.Tensor
  beforeAll(() => {
    x = tf.tensor2d([
      [1, 2],
      [3, 4],
      [5, 6],
    ])
  })

  it('takeRows repeats and reorders, from numbers or a tensor', async () => {
    expect(await values(takeRows(x, [2, 0, 2]))).toEqual([5, 6, 1, 2, 5, 6])
    expect(await values(takeRows(x, tf.tensor1d([1], 'int32')))).toEqual([3, 4])
    expect(takeRows(x, []).shape).toEqual([0, 2])
  })

  it('takeAlongLastAxis picks within rows', async () => {
    const indices = tf.tensor2d([[1], [0], [1]], [3, 1], 'int32')
    expect(await values(takeAlongLastAxis(x, indices))).toEqual([2, 3, 6])
  })

  it('segmentSum and segmentMean add up rows in any order, zeros for an empty segment', async () => {
    expect(await values(segmentSum(x, [2, 0, 2], 4))).toEqual([3, 4, 0, 0, 6, 8, 0, 0])
    expect(await values(segmentMean(x, Int32Array.of(2, 0, 2), 4))).toEqual([3, 4, 0, 0, 3, 4, 0, 0])
    expect(await values(segmentSum(tf.tensor1d([1, 2, 3], 'int32'), [0, 0, 1], 2))).toEqual([3, 3])
    expect(await values(segmentMean(tf.tensor1d([1, 2]), [0, 0], 1))).toEqual([1.5])
    expect(await values(segmentSum(tf.zeros([0, 2]), [], 2))).toEqual([0, 0, 0, 0])
  })

  it('segmentSum agrees with tf.unsortedSegmentSum', async () => {
    const rows = normal(key(1), [50, 3, 2])
    const ids = tf.tensor1d(
      normalArray(key(2), 50).map((z) => Math.min(6, Math.floor(Math.abs(z) * 3))),
      'int32',
    )
    const expected = await values(tf.unsortedSegmentSum(rows, ids, 7))
    ;(await values(segmentSum(rows, ids, 7))).forEach((value, i) => expect(value).toBeCloseTo(expected[i], 5))
  })

  it('all have first and second gradients', async () => {
    const rows = normal(key(3), [4, 2])
    await expectTwoGradients((input) => takeRows(input, [2, 0, 2]), rows)
    await expectTwoGradients((input) => segmentSum(input, [1, 0, 1, 2], 3), rows)
    await expectTwoGradients((input) => segmentMean(input, [1, 0, 1, 2], 4), rows)
    await expectTwoGradients(
      (input) =>
        takeAlongLastAxis(
          input,
          tf.tensor2d(
            [
              [1, 1, 0],
              [0, 0, 0],
              [1, 0, 1],
              [1, 1, 1],
            ],
            [4, 3],
            'int32',
          ),
        ),
      rows,
    )
  })
})

describe('maskedLogSumExp', () => {
  it('ignores masked entries, is -Infinity where nothing is left, and does not overflow', async () => {
    const x = tf.tensor2d([
      [1000, 1000, 5000],
      [1, 2, 3],
      [-Infinity, -Infinity, 7],
    ])
    const mask = tf.tensor2d([
      [1, 1, 0],
      [0, 0, 0],
      [1, 1, 0],
    ])
    const result = await values(maskedLogSumExp(x, mask))
    expect(result[0]).toBeCloseTo(1000 + Math.LN2, 3)
    expect(result.slice(1)).toEqual([-Infinity, -Infinity])
    expect(maskedLogSumExp(x, tf.tensor1d([true, true, false], 'bool'), { keepDims: true }).shape).toEqual([3, 1])
    expect(await values(maskedLogSumExp(tf.tensor1d([Infinity, 1])))).toEqual([Infinity])
    expect(await values(maskedLogSumExp(tf.tensor1d([NaN, 1])))).toEqual([NaN])
  })

  it('sums over any axis like tf.logSumExp', async () => {
    const x = normal(key(4), [3, 4, 2])
    for (const axis of [0, 1, 2, -1, -3]) {
      const expected = await values(tf.logSumExp(x, axis))
      ;(await values(maskedLogSumExp(x, undefined, { axis }))).forEach((value, i) => expect(value).toBeCloseTo(expected[i], 5))
    }
  })

  it('has gradients, zero and finite where everything is masked or huge behind the mask', async () => {
    const mask = tf.tensor2d([
      [1, 0, 1, 1],
      [0, 1, 1, 0],
    ])
    await expectTwoGradients((x) => maskedLogSumExp(x, mask), normal(key(5), [2, 4]))
    const finite = (x: tf.Tensor): tf.Tensor => {
      const value = maskedLogSumExp(
        x,
        tf.tensor2d([
          [0, 0],
          [1, 0],
        ]),
      )
      return tf.sum(tf.where(tf.less(tf.abs(value), Infinity), value, tf.zerosLike(value)))
    }
    const x = tf.tensor2d([
      [1, 2],
      [3, 1e30],
    ])
    expect(await values(grad((input: tf.Tensor) => finite(input))(x))).toEqual([0, 0, 1, 0])
    const second = grad((input: tf.Tensor) => tf.sum(grad((inner: tf.Tensor) => finite(inner))(input)))(x)
    expect(await values(second)).toEqual([0, 0, 0, 0])
  })
})

describe('xlogy', () => {
  it('is 0 at x = 0, with gradients 0, and x log y elsewhere', async () => {
    const x = tf.tensor1d([0, 0, 0, 2])
    const y = tf.tensor1d([0, -1, 3, Math.E])
    const result = await values(xlogy(x, y))
    expect(result.slice(0, 3)).toEqual([0, 0, 0])
    expect(result[3]).toBeCloseTo(2, 6)
    expect(await values(xlogy(tf.tensor2d([[0], [1]]), tf.tensor1d([0, 1])))).toEqual([0, 0, -Infinity, 0])
    const entropy = (p: tf.Tensor): tf.Tensor => tf.neg(tf.sum(xlogy(p, p)))
    expect(await values(grad((p: tf.Tensor) => entropy(p))(tf.tensor1d([0, 1])))).toEqual([0, -1])
    await expectTwoGradients((input) => xlogy(input, tf.add(tf.square(input), 0.5)), tf.tensor1d([0.5, -1, 2]))
  })
})

describe('pairwiseSquaredDistances', () => {
  it('is exact for equal rows and does not cancel far from the origin', async () => {
    const x = tf.tensor2d([
      [1e4, 1e4],
      [1e4 + 1, 1e4],
      [1e4, 1e4],
    ])
    expect(await values(pairwiseSquaredDistances(x))).toEqual([0, 1, 0, 1, 0, 1, 0, 1, 0])
  })

  it('does not depend on what stands around a pair', async () => {
    const x = normal(key(6), [40, 7]) as tf.Tensor2D
    const all = (await pairwiseSquaredDistances(x).array()) as number[][]
    const one = (await pairwiseSquaredDistances(tf.slice(x, [13, 0], [1, 7]), x).array()) as number[][]
    expect(one[0]).toEqual(all[13])
    all.forEach((row, i) => row.forEach((value, j) => expect(value).toBe(all[j][i])))
  })

  it('works in blocks of rows', async () => {
    const x = normal(key(7), [3000, 2])
    const y = normal(key(8), [1000, 2])
    const blocked = await pairwiseSquaredDistances(x, y).data()
    const last = await pairwiseSquaredDistances(tf.slice(x, [2999, 0], [1, 2]), y).data()
    expect(blocked.slice(2_999_000)).toEqual(last)
    expect(pairwiseSquaredDistances(tf.zeros([0, 2]), y).shape).toEqual([0, 1000])
  })

  it('has first and second gradients for both sides', async () => {
    const a = normal(key(9), [3, 2])
    const b = normal(key(10), [4, 2])
    await expectTwoGradients((x) => pairwiseSquaredDistances(x, b), a)
    await expectTwoGradients((y) => pairwiseSquaredDistances(a, y), b)
    await expectTwoGradients((x) => pairwiseSquaredDistances(x), a)
  })
})

it('all leave nothing behind but their results', () => {
  const x = normal(key(11), [4, 3])
  const mask = tf.ones([4, 3])
  const ids = [0, 1, 1, 0]
  const before = tf.memory().numTensors
  const results = [
    argsort(x),
    sort(x),
    topKMask(x, 2),
    searchsorted(x, x),
    segmentSum(x, ids, 2),
    segmentMean(x, ids, 2),
    takeRows(x, ids),
    maskedLogSumExp(x, mask),
    pairwiseSquaredDistances(x),
  ]
  expect(tf.memory().numTensors - before).toBe(results.length)
  const gradient = grad((input: tf.Tensor) => tf.sum(tf.mul(sort(input), sort(input))))(x)
  expect(tf.memory().numTensors - before).toBe(results.length + 1)
  gradient.dispose()
})

describe('errors say what was expected', () => {
  const matrix = (): tf.Tensor => tf.zeros([2, 3])
  it.each([
    [() => sort(tf.scalar(1)), 'sort: expected a tensor [..., n], got a scalar'],
    [() => argsort(tf.zeros([2], 'bool')), 'argsort: expected a float32 or int32 tensor, got bool'],
    [() => topKMask(matrix(), 4), 'topKMask: expected an integer k from 0 to 3'],
    [() => takeRows(matrix(), [0, 2]), 'takeRows: index 2 at position 1 is not an integer from 0 to 1'],
    [() => takeRows(matrix(), tf.zeros([2])), 'takeRows: expected int32 indices of shape [n], got float32 [2]'],
    [
      () => takeAlongLastAxis(matrix(), tf.zeros([3, 1], 'int32')),
      'takeAlongLastAxis: expected x [..., n] and indices [..., m], got [2, 3] and [3, 1]',
    ],
    [() => segmentSum(matrix(), [0, 0, 0], 2), 'segmentSum: expected one segment id per row of x [2, 3], got 3'],
    [() => segmentMean(matrix(), [0, 2], 2), 'segmentMean: index 2 at position 1'],
    [() => segmentSum(matrix(), [0, 0], -1), 'segmentSum: expected a non-negative integer number of segments'],
    [() => searchsorted(matrix(), tf.zeros([3, 1])), 'searchsorted: expected sorted [n], or sorted [..., n]'],
    [() => maskedLogSumExp(matrix(), undefined, { axis: 2 }), 'maskedLogSumExp: axis 2 is not one of the 2 axes'],
    [
      () => pairwiseSquaredDistances(matrix(), tf.zeros([2, 2])),
      'pairwiseSquaredDistances: expected x [n, d] and y [m, d], got [2, 3] and [2, 2]',
    ],
  ])('%s', (call, message) => {
    expect(call).toThrow(message)
  })
})
