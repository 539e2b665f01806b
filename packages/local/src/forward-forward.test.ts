import { activationBytes, compile, float64Tensor, isBpfError, stopGradient, tree, useBackend, valueAndGrad } from '@bpf/core'
import { batch, fromArrays } from '@bpf/core/data'
import { adamw } from '@bpf/core/optim'
import { key, normalArray, uniform, uniformArray } from '@bpf/core/random'
import { learnerContract } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { fitClassifier } from './classifier'
import { forwardForward, forwardForwardCoolDown } from './forward-forward'
import { candidateGoodness, forwardForwardActivity, forwardForwardGradients, initForwardForward } from './forward-forward/layers'
import { embedLabels, embedNeutral, negativeLabels } from './shared/label-embedding'

beforeAll(() => useBackend('onnx'))

const classes = 3
const inputs = 11
const optimizer = () => adamw({ learningRate: 0.01, weightDecay: 1e-3 })
const method = () => forwardForward({ hidden: [12, 8], classes, optimizer: optimizer(), headOptimizer: optimizer() })

/** Clouds around a direction for each class; the first three values are left for the label. */
const rows = 96
const y = Int32Array.from({ length: rows }, (_, i) => i % classes)
const noise = normalArray(key(3), rows * inputs, { stddev: 0.15 })
const X = {
  data: noise.map((value, i) => Math.abs(value) + ((i % inputs) % classes === y[Math.floor(i / inputs)] ? 0.8 : 0)),
  shape: [rows, inputs],
}

const objective = { threshold: 'width', reluGrad: 'full', peerFactor: 0, peerMomentum: 0.9 } as const
const params = (hidden: readonly number[] = [9, 7, 5]) => initForwardForward(key(5), inputs, classes, hidden)
const example = () => {
  const labels = tf.tensor1d([0, 2, 1, 1], 'int32')
  return { x: uniform(key(6), [4, inputs]), y: labels, negative: negativeLabels(labels, classes, key(7)) }
}
const largest = (t: tf.Tensor): number => tf.max(tf.abs(t)).dataSync()[0]

describe('forwardForward keeps the contract', () => {
  const dataset = () => batch(fromArrays({ x: X, y }), 16)
  for (const check of learnerContract({ learner: method, dataset })) it(check.name, check.run)
})

describe('forwardForward', () => {
  it("has for W_l the gradient of layer l's loss alone", () => {
    const all = params()
    const { x, y: labels, negative } = example()
    const embedded = tf.concat([embedLabels(x, labels, classes), embedLabels(x, negative, classes)])
    const written = tf.concat([tf.ones([4]), tf.zeros([4])])
    const { grads, losses } = forwardForwardGradients(all, [], { x, y: labels, negative }, objective, false)
    for (const k of all.layers.keys()) {
      const lossOfLayer = (at: typeof all): tf.Tensor => {
        const before = k === 0 ? undefined : stopGradient(forwardForwardActivity(at, embedded).normalised[k - 1])
        const input = before ?? tf.div(embedded, tf.sqrt(tf.mean(tf.square(embedded), 1, true)))
        const kernel = k === 0 ? tf.concat([at.label, at.layers[0].kernel]) : at.layers[k].kernel
        const h = tf.relu(tf.add(tf.matMul(input as tf.Tensor2D, kernel as tf.Tensor2D), at.layers[k].bias))
        const logit = tf.sub(tf.sum(tf.square(h), 1), at.layers[k].bias.size)
        return tf.mean(tf.sub(tf.softplus(logit), tf.mul(logit, written)))
      }
      const { value, grads: own } = valueAndGrad(lossOfLayer)(all)
      expect(Math.abs(value.dataSync()[0] - losses[k].dataSync()[0])).toBeLessThan(1e-4)
      for (const l of all.layers.keys()) {
        const difference = l === k ? largest(tf.sub(own.layers[l].kernel, grads.layers[l].kernel)) : largest(own.layers[l].kernel)
        expect(difference).toBeLessThan(l === k ? 1e-4 : Number.MIN_VALUE)
      }
      expect(k === 0 ? largest(tf.sub(own.label, grads.label)) : largest(own.label)).toBeLessThan(k === 0 ? 1e-4 : Number.MIN_VALUE)
    }
  })

  it('does not change when inputs with their labels are scaled', () => {
    const { x, y: labels } = example()
    const embedded = embedLabels(x, labels, classes)
    const [once, scaled] = [forwardForwardActivity(params(), embedded), forwardForwardActivity(params(), tf.mul(embedded, 37))]
    expect(largest(tf.sub(once.squares, scaled.squares))).toBeLessThan(1e-4)
    for (const [l, z] of once.normalised.entries()) expect(largest(tf.sub(z, scaled.normalised[l]))).toBeLessThan(1e-4)
  })

  it('draws every wrong label equally often and never the true one', () => {
    const [draws, count] = [10_000, 5]
    const labels = tf.fill([draws], 2, 'int32')
    const seen = new Float64Array(count)
    for (const label of negativeLabels(labels, count, key(8)).dataSync()) seen[label]++
    expect(seen[2]).toBe(0)
    const expected = draws / (count - 1)
    const chiSquare = [0, 1, 3, 4].reduce((sum, c) => sum + (seen[c] - expected) ** 2 / expected, 0)
    // The 99.9 % point of χ² with 3 degrees of freedom.
    expect(chiSquare).toBeLessThan(16.27)
  })

  it.each(['width', 2] as const)(
    'of one layer with the standard ReLU and threshold %s has the gradient of finite differences',
    async (threshold) => {
      const start = params([6])
      const { x, y: labels, negative } = example()
      const doubles = (leaf: tf.Tensor) => float64Tensor(Float64Array.from(leaf.dataSync()), leaf.shape)
      const settings = { ...objective, threshold, reluGrad: 'standard', peerFactor: 0.5 } as const
      const run = compile(
        (at: typeof start, peer: tf.Tensor, images: tf.Tensor) => {
          const { losses, peerLoss, grads } = forwardForwardGradients(at, [peer], { x: images, y: labels, negative }, settings, false)
          return { loss: tf.add(losses[0], tf.mul(peerLoss, 0.5)), grads }
        },
        { precision: 'float64' },
      )
      const [peer, images] = [doubles(tf.fill([6], 0.5)), doubles(x)]
      const lossAt = async (at: typeof start) => (await run(at, peer, images).loss.data())[0]
      const base = tree.map(doubles, start)
      const { grads } = run(base, peer, images)
      for (const [path, index] of [
        ['/label', 4],
        ['/layers/0/kernel', 10],
        ['/layers/0/kernel', 29],
        ['/layers/0/bias', 3],
      ] as const) {
        const moved = (by: number) => {
          let at = 0
          return tree.map((leaf) => {
            const values = Float64Array.from(leaf.dataSync())
            if (tree.entries(base)[at++].path === path) values[index] += by
            return float64Tensor(values, leaf.shape)
          }, base)
        }
        const slope = ((await lossAt(moved(1e-5))) - (await lossAt(moved(-1e-5)))) / 2e-5
        const gradient = tree.entries(grads).find((entry) => entry.path === path)?.leaf
        expect((await gradient?.data())?.[index]).toBeCloseTo(slope, 7)
      }
    },
  )

  it('tells candidates apart as it does written out one by one', () => {
    const { x } = example()
    const goodness = candidateGoodness(params(), x, 'width')
    for (let c = 0; c < classes; c++) {
      const { squares } = forwardForwardActivity(params(), embedLabels(x, tf.fill([4], c, 'int32'), classes))
      expect(largest(tf.sub(tf.squeeze(tf.slice(goodness, [0, c, 0], [-1, 1, -1]), [1]), squares))).toBeLessThan(1e-4)
    }
    const mean = candidateGoodness(params(), x, 2)
    expect(largest(tf.sub(mean, tf.div(goodness, [9, 7, 5])))).toBeLessThan(1e-5)
  })

  it('feels the derivative of the ReLU in the peer term only', () => {
    const all = params()
    const peers = all.layers.map(({ bias }) => tf.fill(bias.shape, 0.5))
    const kernels = (peerFactor: number, reluGrad: 'full' | 'standard') =>
      forwardForwardGradients(all, peerFactor > 0 ? peers : [], example(), { ...objective, peerFactor, reluGrad }, false).grads.layers[1]
        .kernel
    expect(largest(tf.sub(kernels(0, 'full'), kernels(0, 'standard')))).toBe(0)
    expect(largest(tf.sub(kernels(0.03, 'full'), kernels(0.03, 'standard')))).toBeGreaterThan(1e-6)
  })

  it('learns separated clouds, by goodness and by its read-out', async () => {
    const learner = method()
    const model = await fitClassifier(learner, X, y, { epochs: 60, batchSize: 32, seed: 1 })
    expect(await model.score(X, y)).toBeGreaterThan(0.95)
    const byHead = tf.argMax(learner.predictWithHead(model.state.tensors, tf.tensor2d(X.data, [rows, inputs])), 1).dataSync()
    expect(byHead.filter((label, i) => label === y[i]).length / rows).toBeGreaterThan(0.8)
    expect(learner.goodness(model.state.tensors, tf.zeros([5, inputs])).shape).toEqual([5, classes, 2])
    expect(Object.keys(model.history[0].metrics).sort()).toEqual(['head', 'layer1', 'layer2', 'loss'])
    model.dispose()
  })

  it('cools down as in the study', () => {
    const rate = forwardForwardCoolDown({ learningRate: 0.5, epochs: 5, stepsPerEpoch: 10 })
    const expected = [0.5, 0.5, 2 * 0.5 * (3 / 5), 2 * 0.5 * (2 / 5), 2 * 0.5 * (1 / 5), 1e-9]
    expect(expected.map((_, e) => rate(10 * e + 9))).toEqual(expected.map((value) => expect.closeTo(value, 9) as number))
    expect(rate(tf.scalar(45, 'int32')).dataSync()[0]).toBeCloseTo(0.2, 6)
    expect(() => forwardForwardCoolDown({ learningRate: 1, epochs: 0, stepsPerEpoch: 1 })).toThrow(
      'epochs must be a positive integer, got 0',
    )
  })

  it('keeps the activations of one layer at a time', async () => {
    await useBackend('onnx')
    const bytes = (layers: number): number => {
      const learner = forwardForward({ hidden: Array<number>(layers).fill(64), classes: 10, peerFactor: 0 })
      const of = (n: number) => ({ x: tf.zeros([n, 64]), y: tf.zeros([n], 'int32') })
      const { tensors } = learner.init(key(0), of(1))
      return activationBytes(learner.step, (n): Parameters<typeof learner.step> => [tensors, of(n), key(1)])
    }
    expect(bytes(12) / bytes(3)).toBeLessThan(1.1)
  })

  it('writes labels in place of values, and 0.1 for none', () => {
    const x = tf.fill([2, 5], 7)
    expect([...embedLabels(x, tf.tensor1d([1, 0], 'int32'), 3).dataSync()]).toEqual([0, 1, 0, 7, 7, 1, 0, 0, 7, 7])
    expect(tf.slice(embedNeutral(x, 3), 0, 1).dataSync()[2]).toBeCloseTo(0.1)
    expect(() => embedNeutral(x, 6)).toThrow("can't embed 6 labels in 5 inputs")
  })

  it('names what is wrong with options and inputs', async () => {
    const kind = async (promise: Promise<unknown>, name: 'ShapeError' | 'DataError') => {
      const error: unknown = await promise.then(
        () => undefined,
        (reason: unknown) => reason,
      )
      expect(isBpfError(error, name)).toBe(true)
      return (error as Error).message
    }
    expect(() => forwardForward({ classes: 1 })).toThrow('at least 2, got 1')
    expect(() => forwardForward({ classes: 3, hidden: [] })).toThrow('hidden must be positive integers')
    expect(() => forwardForward({ classes: 3, threshold: -1 })).toThrow("threshold must be 'width' or a positive number, got -1")
    expect(() => forwardForward({ classes: 3, peerFactor: NaN })).toThrow('peerFactor must be at least 0')
    expect(() => forwardForward({ classes: 3, peerMomentum: 1 })).toThrow('peerMomentum must be in [0, 1), got 1')
    const eight = { data: uniformArray(key(1), 80), shape: [10, 8] }
    const labels = Int32Array.from({ length: 10 }, (_, i) => i)
    const plain = forwardForward({ classes: 10, hidden: [4] })
    expect(await kind(fitClassifier(plain, eight, labels, { epochs: 1, batchSize: 5 }), 'ShapeError')).toContain(
      "can't embed 10 labels in 8 inputs",
    )
    const images = { data: uniformArray(key(1), 160), shape: [10, 4, 4, 1] }
    expect(await kind(fitClassifier(plain, images, labels, { epochs: 1, batchSize: 5 }), 'ShapeError')).toContain(
      'give flatten: true for images',
    )
    expect(await kind(fitClassifier(plain, images, labels.fill(11), { epochs: 1, batchSize: 5 }), 'DataError')).toContain(
      'label 11 at index 0',
    )
    expect(() => plain.predictWithHead({} as never, tf.zeros([1, 8]))).toThrow('predictWithHead needs headOptimizer')
    const flat = forwardForward({ classes: 10, hidden: [4], flatten: true })
    ;(await fitClassifier(flat, images, labels.fill(3), { epochs: 1, batchSize: 5 })).dispose()
  })

  it('warns of rows that hold nothing but a label', async () => {
    const warnings: string[] = []
    const listen = (warning: Error) => void warnings.push(warning.message)
    process.on('warning', listen)
    const blank = { data: X.data.map((value, i) => (i < inputs ? 0 : value)), shape: X.shape }
    ;(await fitClassifier(method(), blank, y, { epochs: 1, batchSize: 32 })).dispose()
    await new Promise((resolve) => setTimeout(resolve, 0))
    process.off('warning', listen)
    expect(warnings.join()).toContain('1 rows are zero behind their first 3 values')
  })
})
