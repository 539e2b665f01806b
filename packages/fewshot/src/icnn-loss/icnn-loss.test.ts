import { compile, float64Tensor, grad, softmaxCrossEntropy, useBackend } from '@bpf/core'
import { key, normalArray, permutationArray } from '@bpf/core/random'
import { goldenArray, goldenCases } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import { embeddingIcnnScore, episodeLoss, icnnLoss, icnnScore, protoTripletLoss, tripletLoss } from './index'

await useBackend('onnx')

const value = (tensor: tf.Tensor): number => tensor.dataSync()[0]
const matrix = (data: ArrayLike<number>, columns: number): tf.Tensor2D =>
  tf.tensor2d(Float32Array.from(data), [data.length / columns, columns])

/** Rows of `ways` classes about random centres, grouped by class. */
function clusters(seed: number, { ways, each, D, spread }: { ways: number; each: number; D: number; spread: number }) {
  const centres = normalArray(key(seed), ways * D, { stddev: 3 })
  const noise = normalArray(key(seed + 1), ways * each * D, { stddev: spread })
  const data = Array.from(noise, (z, at) => z + centres[Math.floor(at / (each * D)) * D + (at % D)])
  return { data, x: matrix(data, D), labels: Int32Array.from({ length: ways * each }, (_, i) => Math.floor(i / each)), D, centres }
}
const episode = { ways: 4, each: 6, D: 5, spread: 1 }
const shuffled = (labels: Int32Array, seed: number): Int32Array =>
  Int32Array.from(permutationArray(key(seed), labels.length), (i) => labels[i])

describe('the ICNN score', () => {
  it('of clusters without width, far apart, is 1 but for the epsilon, and the loss 0', () => {
    const { x, labels } = clusters(1, { ...episode, spread: 0 })
    expect(value(icnnScore(x, labels))).toBeGreaterThan(0.998)
    expect(value(icnnScore(x, labels))).toBeLessThanOrEqual(1)
    expect(value(icnnLoss(x, labels))).toBeLessThan(2e-3)
  })

  it('of shuffled labels is about a half for two classes, and the loss larger than that of the true ones for any', () => {
    const seeds = Array.from({ length: 8 }, (_, i) => i)
    const two = clusters(2, { ways: 2, each: 10, D: 5, spread: 0.5 })
    const scores = seeds.map((seed) => value(icnnScore(two.x, shuffled(two.labels, seed))))
    const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length
    expect(mean).toBeGreaterThan(0.4)
    expect(mean).toBeLessThan(0.6)
    for (const ways of [2, 3, 5]) {
      const { x, labels } = clusters(2, { ...episode, ways, spread: 0.5 })
      for (const seed of seeds) expect(value(icnnLoss(x, shuffled(labels, seed)))).toBeGreaterThan(value(icnnLoss(x, labels)))
    }
  })

  it('does not change with scale, and to 1e-9 not with rotation and translation', async () => {
    const { x, data, labels, D } = clusters(3, episode)
    expect(Math.abs(value(icnnScore(tf.mul(x, 7), labels)) - value(icnnScore(x, labels)))).toBeLessThan(1e-4)
    const [c, s] = [Math.cos(0.7), Math.sin(0.7)]
    const moved = data.map((_, at) => {
      const [row, column] = [Math.floor(at / D) * D, at % D]
      const [a, b] = [data[row], data[row + 1]]
      return 1 + (column === 0 ? c * a - s * b : column === 1 ? s * a + c * b : data[at])
    })
    const score = compile((points: tf.Tensor) => icnnScore(points, labels), { precision: 'float64' })
    const of = async (values: number[]): Promise<number> =>
      (await score(float64Tensor(Float64Array.from(values), [labels.length, D])).data())[0]
    expect(Math.abs((await of(moved)) - (await of(data)))).toBeLessThan(1e-9)
  })

  it('does not change with the order of rows nor with the names of classes', () => {
    const { x, labels } = clusters(4, episode)
    const score = value(icnnScore(x, labels))
    const order = permutationArray(key(9), labels.length)
    const permuted = tf.gather(x, tf.tensor1d(order, 'int32'))
    expect(
      value(
        icnnScore(
          permuted,
          Int32Array.from(order, (i) => labels[i]),
        ),
      ),
    ).toBeCloseTo(score, 5)
    expect(
      value(
        icnnScore(
          x,
          labels.map((label) => [2, 0, 3, 1][label]),
        ),
      ),
    ).toBeCloseTo(score, 6)
  })

  const towardsMeans = (x: tf.Tensor, labels: ArrayLike<number>): tf.Tensor => {
    const member = tf.oneHot(tf.tensor1d(Int32Array.from(labels), 'int32'), new Set(Array.from(labels)).size)
    const means = tf.div(tf.matMul(member, x, true), tf.reshape(tf.sum(member, 0), [-1, 1]))
    return tf.add(tf.mul(x, 0.9), tf.mul(tf.matMul(member, means), 0.1))
  }

  const separated = goldenCases(new URL('../../test/golden/', import.meta.url), '25-susana-distancia').filter(
    ({ outputs }) => (outputs.icnn_score_full as number) > 0.9,
  )
  it.each(separated.map(({ name, inputs }) => [name, inputs] as const))(
    'does not fall when points are drawn to their class mean: %s',
    (_, inputs) => {
      const [support, query] = ['support', 'query'].map((name) => goldenArray(inputs, name))
      const x = matrix([...support.data, ...query.data], support.shape[1])
      const labels = ['support_labels', 'query_labels'].flatMap((name) => [...goldenArray(inputs, name).data])
      expect(value(icnnScore(towardsMeans(x, labels), labels))).toBeGreaterThanOrEqual(value(icnnScore(x, labels)))
    },
  )

  it('does not fall either in other clusters', () => {
    for (const seed of [5, 15, 25]) {
      const { x, labels } = clusters(seed, { ...episode, spread: 0.6 })
      expect(value(icnnScore(towardsMeans(x, labels), labels))).toBeGreaterThanOrEqual(value(icnnScore(x, labels)) - 1e-6)
    }
  })

  it('gives the same by tiles as all at once', () => {
    const { x, labels } = clusters(6, { ways: 10, each: 300, D: 8, spread: 1 })
    // 3000² · 8 values are past the limit; zeros in front make no difference to distances, only to the way.
    const wide = tf.pad(x, [
      [0, 0],
      [0, 2],
    ])
    expect(value(icnnScore(wide, labels, { ipc: 'class' }))).toBeCloseTo(value(icnnScore(x, labels, { ipc: 64 })), 4)
  })

  it.each(['onnx', 'cpu'] as const)(
    'has the gradient of finite differences on %s, also where rows have no neighbour of another class',
    async (backend) => {
      await useBackend(backend)
      const { x, labels, data, D } = clusters(7, { ways: 3, each: 6, D: 3, spread: 4 })
      const far = data.map((z, at) => (at < 6 * D ? z + 100 : z))
      for (const points of [x, matrix(far, D)]) {
        const loss = (at: tf.Tensor): tf.Tensor => icnnLoss(at, labels)
        const slopes = grad(loss)(points).dataSync()
        expect(slopes.every(Number.isFinite)).toBe(true)
      }
      await useBackend('onnx')
      const run = compile((at: tf.Tensor) => ({ loss: icnnLoss(at, labels), slope: grad((y: tf.Tensor) => icnnLoss(y, labels))(at) }), {
        precision: 'float64',
      })
      for (const values of [data, far]) {
        const at = (change: number, i: number): tf.Tensor =>
          float64Tensor(
            Float64Array.from(values, (z, k) => (k === i ? z + change : z)),
            [values.length / D, D],
          )
        const { slope } = run(at(0, 0))
        const exact = await slope.data()
        const largest = Math.max(...Array.from(exact, Math.abs))
        for (let i = 0; i < values.length; i += 7) {
          const [up, down] = [run(at(1e-5, i)).loss, run(at(-1e-5, i)).loss]
          const estimate = ((await up.data())[0] - (await down.data())[0]) / 2e-5
          expect(Math.abs(exact[i] - estimate)).toBeLessThan(1e-4 * largest)
        }
      }
    },
  )

  it('drops the first neighbour also of another set, as the code, unless told not to', () => {
    const { x, labels, D } = clusters(8, episode)
    const target = matrix(clusters(8, { ...episode, each: 5 }).data, D)
    const targetLabels = Int32Array.from({ length: 20 }, (_, i) => Math.floor(i / 5))
    const always = value(icnnScore(x, labels, { target, targetLabels }))
    const auto = value(icnnScore(x, labels, { target, targetLabels, dropSelf: 'auto' }))
    expect(always).not.toBeCloseTo(auto, 4)
    expect(value(icnnScore(x, labels, { dropSelf: 'auto' }))).toBe(value(icnnScore(x, labels)))
  })
})

describe('Proto-Triplet', () => {
  const at = (own: number, other: number): number =>
    value(
      protoTripletLoss(
        tf.tensor2d([[0, 0]]),
        [0],
        tf.tensor2d([
          [own, 0],
          [0, other],
          [0, -9],
        ]),
        [0, 1, 2],
      ),
    )

  it('is 0 with the own prototype at 1 and the nearest other at 3, and a half with both at 2', () => {
    expect(at(1, 3)).toBe(0)
    expect(at(2, 2)).toBeCloseTo(0.5, 5)
  })

  it('looks at the nearest wrong prototype only', () => {
    const loss = (second: number): number =>
      value(
        protoTripletLoss(
          tf.tensor2d([[0, 0]]),
          [0],
          tf.tensor2d([
            [2, 0],
            [0, 2],
            [0, -second],
          ]),
          [0, 1, 2],
        ),
      )
    expect(loss(3)).toBe(loss(30))
  })

  it('pulls a query from the wrong prototype to its own', () => {
    const prototypes = tf.tensor2d([
      [2, 0],
      [0, 2],
    ])
    const slope = grad((q: tf.Tensor) => protoTripletLoss(q, [0], prototypes, [0, 1]))(tf.tensor2d([[0.5, 0.25]])).dataSync()
    const [own, other] = [
      [-1.5, 0.25],
      [0.5, -1.75],
    ].map((d) => d.map((value) => value / Math.hypot(...d)))
    expect(slope[0]).toBeCloseTo(own[0] - other[0], 4)
    expect(slope[1]).toBeCloseTo(own[1] - other[1], 4)
  })
})

describe('the classic triplet loss', () => {
  it('is 0 for classes farther apart than wide by the margin, and the margin where all is one point', () => {
    const { x, labels } = clusters(9, { ...episode, spread: 0.01 })
    expect(value(tripletLoss(x, labels, key(0)))).toBe(0)
    expect(value(tripletLoss(tf.zeros([4, 2]), [0, 0, 1, 1], key(0)))).toBeCloseTo(0.5, 5)
  })

  it('is 0, also in its gradient, where labels that cannot be read are of one class', () => {
    const { x, labels } = clusters(9, episode)
    const run = compile((points: tf.Tensor, classes: tf.Tensor) => ({
      loss: tripletLoss(points, classes, key(0)),
      slope: grad((at: tf.Tensor) => tripletLoss(at, classes, key(0)))(points),
    }))
    const { loss, slope } = run(x, tf.zeros([labels.length], 'int32'))
    expect(value(loss)).toBe(0)
    expect(slope.dataSync().every((entry) => entry === 0)).toBe(true)
  })
})

describe('episodeLoss', () => {
  const { x, D } = clusters(10, { ways: 4, each: 8, D: 5, spread: 1 })
  const grouped = tf.reshape(x, [4, 8, D])
  const support = tf.reshape(tf.slice(grouped, [0, 0, 0], [4, 3, D]), [12, D])
  const query = tf.reshape(tf.slice(grouped, [0, 3, 0], [4, 5, D]), [20, D])
  const points = { support, query, ways: 4, shots: 3 }

  it("with ['cross'] is the cross-entropy of prototypical networks, and with two losses their mean", () => {
    const prototypes = tf.mean(tf.reshape(support, [4, 3, D]), 1)
    const difference = tf.sub(tf.expandDims(query, 1), tf.expandDims(prototypes, 0))
    const logits = tf.neg(tf.sum(tf.square(difference), 2))
    const labels = tf.tensor1d(
      Array.from({ length: 20 }, (_, i) => Math.floor(i / 5)),
      'int32',
    )
    const cross = value(tf.mean(softmaxCrossEntropy(labels, logits)))
    expect(value(episodeLoss(points, { losses: ['cross'] }).loss)).toBeCloseTo(cross, 5)
    const { loss, parts } = episodeLoss(points, { losses: ['cross', 'prototriplet'] })
    expect(value(loss)).toBeCloseTo((cross + value(parts.prototriplet as tf.Tensor)) / 2, 5)
  })

  it('finds neighbours of queries among the prototypes where asked', () => {
    const of = (queryProtos: boolean): number => value(episodeLoss(points, { losses: ['queryicnn'], queryProtos }).loss)
    expect(of(true)).not.toBeCloseTo(of(false), 4)
  })

  it.each([
    [{ losses: [] }, {}, /losses must be among cross, suppicnn, queryicnn, fullicnn, prototriplet/],
    [{ losses: ['icnn' as never] }, {}, /losses must be among .*, got 'icnn'/],
    [{ losses: ['triplet' as const] }, {}, /triplet draws its positives, so it needs a key/],
    [{ losses: ['cross' as const] }, { ways: 1 }, /ways must be at least 2 classes/],
    [{ losses: ['cross' as const] }, { shots: 4 }, /expected support \[4 · 4, D\]/],
    [{ losses: ['suppicnn' as const] }, { shots: 1, support: tf.slice(support, [0, 0], [4, D]) }, /suppicnn needs 2 supports/],
    [{ losses: ['cross' as const] }, { query: tf.slice(query, [0, 0], [19, D]) }, /expected query/],
    [{ losses: ['cross' as const] }, { query: tf.mul(query, NaN) }, /row 0 of query holds NaN/],
  ])('refuses %j with %#', (options, change, message) => {
    expect(() => episodeLoss({ ...points, ...change }, options)).toThrow(message)
  })
})

describe('bad input', () => {
  const { x, labels } = clusters(11, episode)
  it.each([
    ['labels of another length', () => icnnScore(x, labels.slice(1)), /expected 24 labels/],
    [
      'one class',
      () =>
        icnnScore(
          x,
          labels.map(() => 0),
        ),
      /at least 2 classes/,
    ],
    ['k below 1', () => icnnScore(x, labels, { k: 0 }), /k must be an integer of at least 1/],
    ['as many neighbours as targets', () => icnnScore(x, labels, { ipc: 24 }), /one less than the 24 targets/],
    ['features that are not finite', () => icnnLoss(tf.mul(x, Infinity), labels), /features must be finite/],
    [
      'a query without prototype',
      () => protoTripletLoss(x, labels, tf.ones([2, 5]), [0, 1]),
      /query 12 is of class 2, which has no prototype/,
    ],
    [
      'one prototype',
      () =>
        protoTripletLoss(
          x,
          labels.map(() => 0),
          tf.ones([1, 5]),
          [0],
        ),
      /at least 2 classes/,
    ],
    [
      'a negative margin',
      () => protoTripletLoss(x, labels, tf.ones([4, 5]), [0, 1, 2, 3], { margin: -1 }),
      /margin must be a finite number/,
    ],
    ['targets without labels', () => icnnScore(x, labels, { target: x }), /go together/],
    [
      'triplets of one class',
      () =>
        tripletLoss(
          x,
          labels.map(() => 0),
          key(0),
        ),
      /at least 2 classes/,
    ],
  ])('%s is refused', (_, run, message) => expect(run).toThrow(message))
})

describe('the published score of an embedding', () => {
  it('is near 1 for tight clusters, lower for shuffled labels, and has its terms', () => {
    const { data, labels, D } = clusters(12, { ...episode, spread: 0.3 })
    const features = { data: Float32Array.from(data), shape: [labels.length, D] as const }
    const good = embeddingIcnnScore(features, labels)
    const bad = embeddingIcnnScore(features, shuffled(labels, 1))
    expect(good.gamma).toBeCloseTo(1, 6)
    expect(good.score).toBeGreaterThan(bad.score)
    expect(good.score).toBeCloseTo((good.lambda + good.omega + good.gamma) / 3, 6)
    expect(embeddingIcnnScore(features, labels, { omega: false }).score).toBeCloseTo((good.lambda + good.gamma) / 2, 6)
    expect(() => embeddingIcnnScore(features, labels, { k: 0 })).toThrow(/k must be an integer/)
    expect(() => embeddingIcnnScore(features, labels.slice(1))).toThrow(/expected 24 labels/)
  })

  it('is what its formulas say, in plain arithmetic', () => {
    const { data, labels, D } = clusters(14, { ...episode, spread: 2 })
    const [N, k] = [labels.length, 5]
    const variance = (values: number[]): number => {
      const mean = values.reduce((sum, x) => sum + x, 0) / values.length
      return values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (values.length - 1)
    }
    const rows = Array.from(labels, (label, i) => {
      const distance = (j: number): number => {
        let squared = 1e-6
        for (let d = 0; d < D; d++) squared += (data[i * D + d] - data[j * D + d]) ** 2
        return Math.sqrt(squared)
      }
      const near = Array.from(labels.keys(), (j) => ({ distance: distance(j), isOwn: labels[j] === label }))
      return near.sort((a, b) => a.distance - b.distance).slice(1, k + 1)
    })
    const entries = rows.map((near) => {
      const [low, high] = [near[0].distance, near[k - 1].distance]
      return near.map(({ distance, isOwn }) => ({ isOwn, n: (distance - low) / (high - low + 1e-6) }))
    })
    const lambdas = entries.map((row) => row.reduce((sum, { isOwn, n }) => sum + (isOwn ? 1 - n : n), 0))
    const mean = (values: number[]): number => values.reduce((sum, x) => sum + x, 0) / values.length
    const lambda = mean(lambdas.map((x) => Math.sqrt(x / (Math.max(...lambdas) + 1e-6))))
    const flat = entries.flat()
    const omega = Math.sqrt(
      1 - variance(flat.map(({ isOwn, n }) => (isOwn ? n : 0))) - variance(flat.map(({ isOwn, n }) => (isOwn ? 0 : n))),
    )
    const gamma = mean(rows.map((near) => Math.sqrt(near.filter(({ isOwn }) => isOwn).length / k)))
    const score = embeddingIcnnScore({ data: Float32Array.from(data), shape: [N, D] }, labels)
    expect(score.lambda).toBeCloseTo(lambda, 5)
    expect(score.omega).toBeCloseTo(omega, 5)
    expect(score.gamma).toBeCloseTo(gamma, 5)
  })

  it('rates 10,000 rows in tiles', () => {
    const { data, labels, D } = clusters(13, { ways: 10, each: 1000, D: 16, spread: 1 })
    const { score } = embeddingIcnnScore({ data: Float32Array.from(data), shape: [10_000, D] }, labels)
    expect(score).toBeGreaterThan(0.7)
    expect(score).toBeLessThanOrEqual(1)
  })
})
