import { fit, useBackend } from '@bpf/core'
import { batchNorm, dense, relu, sequential, type Layer } from '@bpf/core/nn'
import { key, normalArray } from '@bpf/core/random'
import { learnerContract } from '@bpf/core/testing'
import type { Tree } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import { nearestMean } from './baselines'
import { episodeDataset, prototypicalNetwork, type PrototypicalOptions } from './prototypical-network'

await useBackend('onnx')

const classes = 6
const each = 20
const D = 8
const labels = Int32Array.from({ length: classes * each }, (_, i) => Math.floor(i / each))
const centres = normalArray(key(1), classes * D)
const noise = normalArray(key(2), classes * each * D, { stddev: 0.8 })
const rows = { data: noise.map((value, at) => value + centres[Math.floor(at / (each * D)) * D + (at % D)]), shape: [classes * each, D] }
const sizes = { ways: 3, shots: 2, queries: 3 }
/** Without biases: batch norm and distances leave them no gradient but rounding, of which Adam makes whole steps. */
const backbone = (): Layer<Tree, Tree> =>
  sequential([dense(16, { bias: false }), batchNorm(), relu(), dense(4, { bias: false })]) as unknown as Layer<Tree, Tree>
const make = (options: Partial<PrototypicalOptions> = {}) => prototypicalNetwork({ backbone: backbone(), ...sizes, ...options })
const dataset = () => episodeDataset(rows, labels, { ...sizes, episodes: 5 })

describe.each([
  ['cross alone', ['cross']],
  ['all losses', ['cross', 'suppicnn', 'queryicnn', 'fullicnn', 'prototriplet', 'triplet']],
] as const)('prototypicalNetwork with %s', (_, losses) => {
  for (const check of learnerContract({ learner: () => make({ losses }), dataset, refusesNaN: false })) it(check.name, check.run)
})

describe('prototypicalNetwork', () => {
  it('learns: accuracy rises over episodes, and predict is the nearest mean of embeddings', async () => {
    const learner = make({ losses: ['cross', 'fullicnn'] })
    const { state, history } = await fit(learner, episodeDataset(rows, labels, { ...sizes, episodes: 40 }), {
      epochs: 3,
      validation: dataset(),
      key: key(3),
    })
    expect(history[2].metrics.accuracy).toBeGreaterThan(history[0].metrics.accuracy)
    expect(history[2].metrics['val/accuracy']).toBeGreaterThan(0.6)
    expect(Object.keys(history[0].metrics)).toEqual(expect.arrayContaining(['loss', 'cross', 'fullicnn']))
    // Two supports of three classes, then all of theirs as queries.
    const supports = [0, 1, each, each + 1, 2 * each, 2 * each + 1]
    const chosen = [...supports, ...Array.from({ length: 3 * each }, (_, i) => i)]
    const x = tf.tensor2d(
      chosen.flatMap((row) => [...rows.data.subarray(row * D, (row + 1) * D)]),
      [chosen.length, D],
    )
    const embedded = learner.embed(state.tensors, x).dataSync() as Float32Array
    const part = (from: number, to: number) => ({ data: embedded.slice(4 * from, 4 * to), shape: [to - from, 4] as const })
    const predicted = Array.from(learner.predict(state.tensors, x).dataSync())
    expect(predicted).toEqual(Array.from(nearestMean(part(0, 6), [0, 0, 1, 1, 2, 2], part(6, chosen.length))))
  })

  it.each([
    [{ ways: 1 }, /ways must be an integer of at least 2/],
    [{ shots: 0 }, /shots must be an integer of at least 1/],
    [{ losses: [] }, /losses must be among cross, suppicnn, queryicnn, fullicnn, prototriplet/],
    [{ losses: ['icnn' as never] }, /losses must be among cross/],
  ])('refuses %j', (options, message) => expect(() => make(options)).toThrow(message))

  it('refuses episodes of another size and backbones that give no vectors', () => {
    const learner = make()
    const { tensors } = learner.init(key(0), { x: tf.zeros([15, D]) }, undefined)
    expect(() => learner.step(tensors, { x: tf.zeros([14, D]) }, key(0))).toThrow(/3 · \(2 \+ 3\) = 15 examples, got 14/)
    expect(() => learner.predict(tensors, tf.zeros([6, D]))).toThrow(/3 · 2 supports and then queries/)
    const flat = prototypicalNetwork({ ...sizes, backbone: sequential([dense(3)]) as unknown as Layer<Tree, Tree> })
    const state = flat.init(key(0), { x: tf.zeros([15, 2, 2]) }, undefined)
    expect(() => flat.step(state.tensors, { x: tf.zeros([15, 2, 2]) }, key(0))).toThrow(/embeddings \[n, D\]/)
  })
})

describe('episodeDataset', () => {
  it('draws the same episodes for the same key, others for another, and can skip', async () => {
    const read = async (seed: number, skip = 0): Promise<number[][]> => {
      const all: number[][] = []
      for await (const { x } of dataset().batches({ key: key(seed), skip })) all.push(Array.from(x.dataSync()))
      return all
    }
    const first = await read(1)
    expect(first).toHaveLength(5)
    expect(await read(1)).toEqual(first)
    expect(await read(1, 3)).toEqual(first.slice(3))
    expect(await read(2)).not.toEqual(first)
  })

  it('divides bytes', async () => {
    const bytes = episodeDataset({ data: new Uint8Array(classes * each * 2).fill(51), shape: [classes * each, 2], divisor: 255 }, labels, {
      ...sizes,
      episodes: 1,
    })
    for await (const { x } of bytes.batches({ key: key(0) })) {
      expect(x.shape).toEqual([15, 2])
      expect(x.dataSync()[0]).toBeCloseTo(0.2, 6)
    }
  })

  it('refuses data that do not fit', () => {
    expect(() => episodeDataset(rows, labels.slice(1), { ...sizes, episodes: 1 })).toThrow(/expected 120 labels/)
    expect(() => episodeDataset(rows, labels, { ...sizes, episodes: 0 })).toThrow(/episodes must be at least 1/)
    expect(() => episodeDataset(rows, labels, { ...sizes, ways: 7, episodes: 1 })).toThrow(/7 classes/)
    const broken = { ...rows, data: rows.data.map((value, i) => (i === 17 ? NaN : value)) }
    expect(() => episodeDataset(broken, labels, { ...sizes, episodes: 1 })).toThrow(/example 2 holds NaN/)
  })
})
