import { activationBytes, fit, fitStages, isBpfError, tree, useBackend, type Learner, type Tree } from '@bpf/core'
import { batch, fromArrays, shuffle } from '@bpf/core/data'
import { dense, mlp, relu, sequential } from '@bpf/core/nn'
import { adam } from '@bpf/core/optim'
import { key, normalArray, uniformArray } from '@bpf/core/random'
import { learnerContract, stagedContract } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { backpropagation } from './backpropagation'
import { fitClassifier, type LabelledBatch } from './classifier'
import { fitMonoForward, monoForward } from './mono-forward'

beforeAll(() => useBackend('onnx'))

const classes = 3
const rows = 96
const inputs = 4
const y = Int32Array.from({ length: rows }, (_, i) => i % classes)
const noise = normalArray(key(3), rows * inputs, { stddev: 0.3 })
const X = { data: noise.map((value, i) => value + Math.cos(2 * (y[Math.floor(i / inputs)] + (i % inputs)))), shape: [rows, inputs] }
const optimizer = () => adam({ learningRate: 0.01 })
const dataset = () => batch(shuffle(fromArrays({ x: X, y })), 16)
const greedy = () => monoForward({ hidden: [8, 6], classes, optimizer: optimizer(), epochsPerLayer: 1 })
const simultaneous = () => monoForward({ hidden: [8, 6], classes, optimizer: optimizer(), schedule: 'simultaneous', inputProjection: true })
const values = (state: Tree): number[] => tree.leaves(state).flatMap((leaf) => [...leaf.dataSync()])

describe('simultaneous monoForward keeps the contract', () => {
  for (const check of learnerContract({ learner: simultaneous, dataset })) it(check.name, check.run)
})

describe('greedy monoForward keeps the contract', () => {
  const few = () => batch(shuffle(fromArrays({ x: X, y })), 24)
  for (const check of stagedContract({ staged: greedy, dataset: few })) it(check.name, check.run)
})

describe('monoForward', () => {
  it('of one layer is backpropagation through it and its projection, bit for bit', async () => {
    const twin = backpropagation({
      network: sequential([dense(8), relu(), dense(classes, { bias: false })]),
      classes,
      optimizer: optimizer(),
    })
    const method = monoForward({ hidden: [8], classes, optimizer: optimizer(), schedule: 'simultaneous' })
    const examples = fromArrays({ x: X, y })
    const sample = examples.rows([0, 1]) as LabelledBatch
    const start = method.init(key(1), sample)
    const [{ kernel, bias, projection }] = start.tensors.layers
    const parts: readonly Tree[] = [{ kernel, bias }, {}, { kernel: projection }]
    const initial = { tensors: { params: parts, network: [{}, {}, {}], optimizer: optimizer().init(parts) }, host: null }
    const run = { epochs: 5, seed: 2 }
    const local = await fit(method, dataset(), { ...run, initialState: start })
    const whole = await fit(twin, dataset(), { ...run, initialState: initial })
    const [layer] = local.state.tensors.layers
    const [first, , last] = whole.state.tensors.params as [Record<string, tf.Tensor>, Tree, Record<string, tf.Tensor>]
    for (const [ours, theirs] of [
      [layer.kernel, first.kernel],
      [layer.bias, first.bias],
      [layer.projection, last.kernel],
    ]) {
      expect(ours.dataSync()).toEqual(theirs.dataSync())
    }
    expect(local.history.map(({ metrics }) => metrics.loss)).toEqual(whole.history.map(({ metrics }) => metrics.loss))
  })

  it('greedily leaves a layer as it is once the next one trains', async () => {
    const states: number[][] = []
    const method = greedy()
    const watched = {
      ...method,
      async stage(...args: Parameters<typeof method.stage>) {
        const stage = await method.stage(...args)
        return {
          ...stage,
          finish(inner: Parameters<typeof stage.finish>[0]) {
            const next = stage.finish(inner)
            states.push(values(next.tensors.layers[0]))
            return next
          },
        }
      },
    }
    const { state } = await fitStages(watched, dataset(), { seed: 4 })
    expect(states[1]).not.toEqual(states[0])
    expect(states[2]).toEqual(states[1])
    expect(values(state.tensors.layers[0])).toEqual(states[1])
  })

  it('has in layer i + 1 at most the loss of layer i + 0.05 on separable data', async () => {
    const model = await fitMonoForward({ hidden: [16, 16, 16], classes, optimizer: optimizer(), epochsPerLayer: 60 }, X, y, {
      batchSize: 16,
      key: key(5),
    })
    const losses = model.stages.slice(1).map(({ history }) => history[history.length - 1].metrics.loss)
    expect(losses).toHaveLength(3)
    expect(losses[1]).toBeLessThanOrEqual(losses[0] + 0.05)
    expect(losses[2]).toBeLessThanOrEqual(losses[1] + 0.05)
    expect(await model.score(X, y)).toBeGreaterThan(0.95)
    model.dispose()
  })

  it('trains on cached activity as it does on examples', async () => {
    const options = { hidden: [8, 6], classes, optimizer: optimizer(), epochsPerLayer: 3 }
    const before = tf.memory().numTensors
    const cached = await fitMonoForward(options, X, y, { batchSize: 16, key: key(6) })
    const staged = await fitStages(monoForward(options), dataset(), { key: key(6) })
    const [a, b] = [values(cached.state.tensors), values(staged.state.tensors)]
    expect(a).toHaveLength(b.length)
    for (const [i, value] of a.entries()) expect(Math.abs(value - b[i])).toBeLessThan(1e-4)
    expect(cached.stages.map(({ stage, epochs, steps }) => [stage, epochs, steps])).toEqual([
      ['input projection', 3, 18],
      ['layer 1', 3, 18],
      ['layer 2', 3, 18],
    ])
    cached.dispose()
    tree.dispose(staged.state.tensors)
    expect(tf.memory().numTensors).toBe(before)
  })

  it('stops a layer when its validation loss no longer falls by minDelta, with the weights of that epoch', async () => {
    const options = {
      hidden: [8],
      classes,
      optimizer: optimizer(),
      epochsPerLayer: 9,
      validation: { x: X, y },
      patience: 2,
      inputProjection: false,
    }
    const stopped = await fitMonoForward({ ...options, minDelta: 10 }, X, y, { batchSize: 16, key: key(6) })
    // The first epoch falls from infinity; the next two don't count.
    expect(stopped.stages[0].epochs).toBe(3)
    const short = await fitMonoForward({ ...options, epochsPerLayer: 3 }, X, y, { batchSize: 16, key: key(6) })
    expect(values(stopped.state.tensors)).toEqual(values(short.state.tensors))
    const whole = await fitMonoForward(options, X, y, { batchSize: 16, key: key(6) })
    expect(whole.stages[0].epochs).toBe(9)
  })

  it('as a staged method keeps the weights of the best validation loss', async () => {
    const steep = adam({ learningRate: 0.3 })
    const options = { hidden: [8], classes, optimizer: steep, epochsPerLayer: 6, validation: { x: X, y }, inputProjection: false }
    const lossOf = async (model: Awaited<ReturnType<typeof fitClassifier>>) => {
      const probabilities = await model.predictProba(X)
      return y.reduce((sum, label, i) => sum - Math.log(probabilities[i * classes + label]), 0) / rows
    }
    const best = await fitClassifier(monoForward({ ...options, patience: 6 }), X, y, { batchSize: 16, key: key(6) })
    const losses = []
    for (let epochs = 1; epochs <= options.epochsPerLayer; epochs++) {
      const model = await fitMonoForward({ ...options, validation: undefined, epochsPerLayer: epochs }, X, y, {
        batchSize: 16,
        key: key(6),
      })
      losses.push(await lossOf(model))
      model.dispose()
    }
    expect(await lossOf(best)).toBeCloseTo(Math.min(...losses), 3)
    best.dispose()
  })

  it('predicts by the last layer or by the sum over layers', async () => {
    const model = await fitClassifier(simultaneous(), X, y, { epochs: 30, batchSize: 16 })
    expect(await model.score(X, y)).toBeGreaterThan(0.95)
    const { tensors } = model.state
    const x = tf.tensor2d(X.data, [rows, inputs])
    const [, first, second] = tf.unstack(simultaneous().layerScores(tensors, x), 1)
    const sums = monoForward({ hidden: [8, 6], classes, schedule: 'simultaneous', prediction: 'sum' })
    const agree = (a: tf.Tensor, b: tf.Tensor) => expect(tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]).toBeLessThan(1e-5)
    agree(simultaneous().predict(tensors, x), tf.softmax(second))
    agree(sums.predict(tensors, x), tf.softmax(tf.add(first, second)))
    model.dispose()
  })

  const width = 64
  const sample = (n: number): LabelledBatch => ({ x: tf.zeros([n, width]), y: tf.zeros([n], 'int32') })
  function bytesOf<State extends Tree>(learner: Pick<Learner<State, LabelledBatch, unknown>, 'init' | 'step'>): number {
    const { tensors } = learner.init(key(0), sample(1), undefined)
    return activationBytes(learner.step, (n): Parameters<typeof learner.step> => [tensors, sample(n), key(1)])
  }

  it('needs the activations of one layer, however many there are, in both schedules; backpropagation needs all', async () => {
    const hidden = (layers: number) => Array<number>(layers).fill(width)
    const together = (layers: number) => bytesOf(monoForward({ hidden: hidden(layers), classes: 10, schedule: 'simultaneous' }))
    const last = async (layers: number) => {
      const method = monoForward({ hidden: hidden(layers), classes: 10, inputProjection: false })
      const state = method.init(key(0), sample(1))
      const stage = await method.stage(layers - 1, state, {
        dataset: batch(fromArrays({ x: tf.zeros([4, width]), y: new Int32Array(4) }), 2),
        key: key(1),
      })
      return bytesOf(stage.learner)
    }
    const whole = (layers: number) => bytesOf(backpropagation({ network: mlp({ hidden: hidden(layers), outputs: 10 }), classes: 10 }))
    expect(together(12) / together(3)).toBeLessThan(1.1)
    expect((await last(12)) / (await last(3))).toBeLessThan(1.1)
    expect(whole(12) / whole(3)).toBeGreaterThan(2)
  })

  it('names what is wrong with options and inputs', async () => {
    const failure = async (promise: Promise<unknown>, name: 'ShapeError' | 'DataError' | 'OptionError') => {
      const error: unknown = await promise.then(
        () => undefined,
        (reason: unknown) => reason,
      )
      expect(isBpfError(error, name)).toBe(true)
      return (error as Error).message
    }
    expect(() => monoForward({ classes: 1 })).toThrow('at least 2, got 1')
    expect(() => monoForward({ classes: 3, hidden: [0] })).toThrow('hidden must be positive integers')
    expect(() => monoForward({ classes: 3, epochsPerLayer: 0 })).toThrow('epochsPerLayer must be a positive integer, got 0')
    expect(() => monoForward({ classes: 3, minDelta: -1 })).toThrow('minDelta must be at least 0, got -1')
    const images = { data: uniformArray(key(1), 160), shape: [10, 4, 4, 1] }
    const labels = new Int32Array(10)
    const options = { classes: 3, hidden: [4], epochsPerLayer: 1 }
    expect(await failure(fitMonoForward(options, images, labels, { batchSize: 5 }), 'ShapeError')).toContain(
      'give flatten: true for images',
    )
    expect(
      await failure(
        fitMonoForward(
          options,
          X,
          y.map(() => 3),
          { batchSize: 5 },
        ),
        'DataError',
      ),
    ).toContain('label 3 at index 0')
    const nan = { ...X, data: X.data.map((value, i) => (i === 9 ? NaN : value)) }
    expect(await failure(fitMonoForward(options, nan, y, { batchSize: 5 }), 'DataError')).toContain('x is NaN in example 2')
    ;(await fitMonoForward({ ...options, flatten: true }, images, labels, { batchSize: 5 })).dispose()
    const signal = AbortSignal.abort()
    await expect(fitMonoForward(options, X, y, { signal })).rejects.toThrow('abort')
  })
})
