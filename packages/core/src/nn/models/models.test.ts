import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import { useBackend } from '../../backend'
import { compile } from '../../compile'
import { grad, softmaxCrossEntropy, valueAndGradWithAux } from '../../grad/index'
import { adam, applyUpdates, sgd, type AdamState } from '../../optim/index'
import { fold, key, normal } from '../../random/index'
import { dispose, entries, flatten, leaves, map, signature, size, unflatten, type Tree } from '../../tree'
import { torchLayers } from '../__fixtures__/torch'
import * as nn from '../index'

await useBackend()

const evaluation = { training: false }

function parameterCount(model: nn.Layer, inputShape: readonly number[]): number {
  return tf.tidy(() => size(model.init(key(0), inputShape).params))
}

describe('parameter counts are the published ones', () => {
  const cases: [string, nn.Layer, readonly number[], number][] = [
    ['ResNet-18, 1000 classes (torchvision)', nn.resnet18({ classes: 1000 }), [224, 224, 3], 11_689_512],
    ['ResNet-20 with padded shortcuts (0.27 M)', nn.resnetCifar({ depth: 20, classes: 10 }), [32, 32, 3], 269_722],
    ['ResNet-20 with projections', nn.resnetCifar({ depth: 20, classes: 10, shortcut: 'projection' }), [32, 32, 3], 272_474],
    ['ResNet-32 with padded shortcuts (0.46 M)', nn.resnetCifar({ depth: 32, classes: 10 }), [32, 32, 3], 464_154],
    ['VGG-11 with batch norm, features', nn.vgg({ depth: 11 }), [32, 32, 3], 9_225_984],
    ['VGG-16 with batch norm, CIFAR head', nn.vgg({ classes: 10 }), [32, 32, 3], 14_728_266],
    ['Conv-4 (113 k)', nn.convNet4(), [84, 84, 3], 113_088],
  ]
  it.each(cases)('%s', (_, model, inputShape, count) => {
    expect(parameterCount(model, inputShape)).toBe(count)
  })
})

describe('models', () => {
  const cases: [string, nn.Layer, readonly number[], readonly number[]][] = [
    ['resnet18', nn.resnet18({ width: 2, classes: 5 }), [32, 32, 3], [5]],
    ['resnet18 for small images', nn.resnet18({ width: 2, stem: 'cifar' }), [8, 8, 1], [16]],
    ['resnetCifar', nn.resnetCifar({ depth: 8, width: 2, classes: 3 }), [9, 8, 3], [3]],
    ['vgg with hidden layers', nn.vgg({ depth: 11, width: 2, classes: 4, hidden: [6] }), [32, 32, 3], [4]],
    ['convNet4', nn.convNet4({ channels: 2, classes: 5 }), [16, 16, 1], [5]],
    ['convNet4 features', nn.convNet4({ channels: 2, blocks: 2 }), [9, 8, 1], [8]],
    ['mlp', nn.mlp({ hidden: [8, 8], outputs: 3, norm: 'batch', dropout: 0.1 }), [4], [3]],
  ]
  it.each(cases)('%s: shapes, no leak, and a gradient for every parameter', (_, model, inputShape, outputShape) => {
    const { params, state, outputShape: promised } = model.init(key(0), inputShape)
    const x = normal(key(1), [2, ...inputShape])
    const before = tf.memory().numTensors
    tf.tidy(() => {
      const options = { key: key(2), training: true }
      const result = model.apply(params, state, x, options)
      expect(promised).toEqual(outputShape)
      expect(result.y.shape).toEqual([2, ...outputShape])
      expect(signature(result.state)).toBe(signature(state))
      const weights = normal(key(3), result.y.shape)
      const gradients = grad((p: Tree) => tf.sum(tf.mul(model.apply(p, state, x, options).y, weights)))(params)
      for (const { path, leaf } of entries(gradients)) expect(tf.isFinite(tf.sum(leaf)).dataSync()[0], path).toBe(1)
      expect(tf.addN(leaves(gradients).map((leaf) => tf.sum(tf.abs(leaf)))).dataSync()[0]).toBeGreaterThan(0)
    })
    expect(tf.memory().numTensors).toBe(before)
    dispose(params, state, x)
  })

  it('a depth that is no ResNet is named', () => {
    expect(() => nn.resnetCifar({ depth: 21 })).toThrow(/6·k \+ 2/)
    expect(() => nn.convNet4().init(key(0), [8, 8, 1])).toThrow(/maxPool/)
  })
})

describe('unet', () => {
  const model = nn.unet({ channels: 4, multipliers: [1, 2], groups: 2, classes: 3, attention: [1], dropout: 0.1 })
  const { params: fresh } = model.init(key(0), { x: [4, 6, 2], time: [] })
  // The blocks start at zero; move every parameter so that each one counts.
  const params = map((leaf) => tf.add(leaf, normal(key(leaf.size), leaf.shape, { stddev: 0.2 })), fresh)
  const x = normal(key(1), [2, 4, 6, 2])
  const time = tf.tensor1d([3, 70], 'int32')
  const values = (input: nn.UNetInput, p = params) => [...model.apply(p, {}, input, evaluation).y.dataSync()]

  it('starts by predicting zero in the shape of its input', () => {
    const { y } = model.apply(fresh, {}, { x, time }, evaluation)
    expect(y.shape).toEqual([2, 4, 6, 2])
    expect([...y.dataSync()].every((value) => value === 0)).toBe(true)
    expect(model.init(key(0), { x: [4, 4, 2], time: [] }).outputShape).toEqual([4, 4, 2])
  })

  it('depends on time and label, and no label is the null token', () => {
    const base = values({ x, time })
    expect(values({ x, time: tf.tensor1d([4, 70], 'int32') })).not.toEqual(base)
    expect(values({ x, time, label: tf.tensor1d([0, 1], 'int32') })).not.toEqual(base)
    expect(values({ x, time, label: tf.fill([2], model.nullLabel as number, 'int32') as tf.Tensor1D })).toEqual(base)
  })

  it('treats rows of the batch apart', () => {
    const row = (i: number, input: tf.Tensor) => tf.slice(input, [i], [1])
    const both = values({ x, time })
    const second = values({ x: row(1, x), time: row(1, time) })
    second.forEach((value, i) => expect(value).toBeCloseTo(both[48 + i], 5))
  })

  it('is its parts put together', () => {
    const embedded = model.embed(params, { time })
    const { bottleneck, skips } = model.encode(params, x, embedded, evaluation)
    expect(bottleneck.shape).toEqual([2, 2, 3, 8])
    const y = model.decode(params, model.middle(params, bottleneck, embedded, evaluation), skips, embedded, evaluation)
    expect([...y.dataSync()]).toEqual(values({ x, time }))
  })

  it('has the gradient of finite differences, in every parameter', () => {
    tf.tidy(() => {
      const weights = normal(key(5), x.shape)
      const options = { key: key(6), training: true }
      const label = tf.tensor1d([2, 3], 'int32')
      const loss = (p: nn.UNetParams) => tf.sum(tf.mul(model.apply(p, {}, { x, time, label }, options).y, weights))
      const gradients = grad(loss)(params)
      for (const { path, leaf } of entries(gradients)) {
        // A softmax doesn't change when all scores move together, so keys have no use for a bias.
        if (!path.endsWith('/key/bias')) expect(tf.max(tf.abs(leaf)).dataSync()[0], path).toBeGreaterThan(1e-5)
      }
      const direction = map((leaf) => normal(key(leaf.size + 1), leaf.shape), params)
      const epsilon = 1e-3
      const moved = (by: number) => loss(map((p, d) => tf.add(p, tf.mul(d, by * epsilon)), params, direction)).dataSync()[0]
      const numeric = (8 * (moved(1) - moved(-1)) - (moved(2) - moved(-2))) / (12 * epsilon)
      const exact = tf.addN(leaves(map((a, b) => tf.sum(tf.mul(a, b)), gradients, direction))).dataSync()[0]
      expect(Math.abs(numeric / exact - 1)).toBeLessThan(2e-3)
    })
  })

  it('leaks nothing', () => {
    const before = tf.memory().numTensors
    tf.tidy(() => void model.apply(params, {}, { x, time }, { key: key(0), training: true }))
    const again = model.init(key(3), { x: [4, 4, 2], time: [] })
    expect(tf.memory().numTensors - before).toBe(leaves(again.params).length)
    dispose(again.params)
  })

  it('names what does not fit', () => {
    expect(() => model.init(key(0), { x: [5, 4, 2], time: [] })).toThrow(/divisible by 2/)
    expect(() => nn.unet({ multipliers: [1], attention: [1] })).toThrow(/levels 0 to 0/)
    expect(() => nn.unet({ channels: 4, multipliers: [1], groups: 3 }).init(key(0), { x: [4, 4, 1], time: [] })).toThrow(/must divide/)
    const unconditional = nn.unet({ channels: 4, multipliers: [1], groups: 2 })
    const { params: p } = unconditional.init(key(0), { x: [2, 2, 1], time: [] })
    expect(() => unconditional.embed(p, { time, label: time })).toThrow(/no classes/)
  })
})

/** Cross-entropy training steps by hand, the way a user would without `fit`. @returns first and last loss, accuracy */
function train(model: nn.Layer, x: tf.Tensor, labels: readonly number[], steps: number, learningRate: number) {
  const optimizer = adam({ learningRate })
  const targets = tf.tensor1d([...labels], 'int32')
  const lossAndGrad = valueAndGradWithAux((p: Tree, s: Tree) => {
    const { y, state } = model.apply(p, s, x, { key: key(0), training: true })
    return { loss: tf.mean(softmaxCrossEntropy(targets, y)), aux: { state } }
  })
  const step = compile(
    (p: Tree, s: Tree, o: AdamState) => {
      const { value, grads, aux } = lossAndGrad(p, s)
      const { updates, state } = optimizer.update(grads, o, p)
      return { params: applyUpdates(p, updates), state: aux.state, optimizer: state, loss: value }
    },
    { donate: [0, 1, 2] },
  )
  const initial = model.init(fold(key(0), 1), x.shape.slice(1))
  let current: { params: Tree; state: Tree; optimizer: AdamState } = { ...initial, optimizer: optimizer.init(initial.params) }
  const losses: number[] = []
  const before = tf.memory().numTensors
  for (let i = 0; i < steps; i++) {
    const { loss, ...next } = step(current.params, current.state, current.optimizer)
    losses.push(loss.dataSync()[0])
    loss.dispose()
    current = next
  }
  expect(tf.memory().numTensors).toBe(before)
  const predicted = tf.argMax(model.apply(current.params, current.state, x, evaluation).y, -1).dataSync()
  const correct = labels.filter((label, i) => label === predicted[i]).length
  return { first: losses[0], last: losses[steps - 1], accuracy: correct / labels.length }
}

describe('training', () => {
  it('a residual network trains as in PyTorch: batch norm, Nesterov momentum and decay together', () => {
    const golden = torchLayers.resnetTraining
    const tensor = ({ shape, values }: { shape: readonly number[]; values: readonly number[] }) => tf.tensor([...values], [...shape])
    const model = nn.resnetCifar({ depth: 8, width: 2, classes: 3, shortcut: 'projection' })
    const x = tensor(golden.x)
    const labels = tf.tensor1d(golden.labels, 'int32')
    const initial = model.init(key(0), x.shape.slice(1))
    let params = unflatten<readonly Tree[]>(flatten(initial.params).structure, golden.params.map(tensor))
    expect(signature(params)).toBe(signature(initial.params))
    let state: readonly Tree[] = initial.state
    const optimizer = sgd({ learningRate: 0.05, momentum: 0.9, nesterov: true, weightDecay: 1e-2 })
    let optimizerState = optimizer.init(params)
    const lossAndGrad = valueAndGradWithAux((p: readonly Tree[], s: readonly Tree[]) => {
      const result = model.apply(p, s, x, { training: true })
      return { loss: tf.mean(softmaxCrossEntropy(labels, result.y)), aux: result.state }
    })
    for (const loss of golden.losses) {
      const { value, grads, aux } = lossAndGrad(params, state)
      expect(Math.abs(value.dataSync()[0] - loss)).toBeLessThan(2e-6)
      const next = optimizer.update(grads, optimizerState, params)
      params = applyUpdates(params, next.updates)
      optimizerState = next.state
      state = aux
    }
    const logits = model.apply(params, state, x, evaluation).y.dataSync()
    golden.logits.values.forEach((value, i) => expect(Math.abs(logits[i] - value)).toBeLessThan(1e-5))
  })

  it('an mlp learns a checkerboard with adam', () => {
    const points = Array.from({ length: 64 }, (_, i) => [((i % 8) + 0.5) / 4 - 1, (Math.floor(i / 8) + 0.5) / 4 - 1])
    const labels = points.map(([a, b]) => (a * b > 0 ? 1 : 0))
    const { first, last, accuracy } = train(nn.mlp({ hidden: [16, 16], outputs: 2 }), tf.tensor2d(points), labels, 120, 0.02)
    expect(first).toBeGreaterThan(0.5)
    expect(last).toBeLessThan(0.05)
    expect(accuracy).toBe(1)
  })

  it('a small convolutional network with batch norm tells bars apart', () => {
    const images = Array.from({ length: 16 }, (_, i) =>
      Array.from({ length: 64 }, (_, pixel) => Number(i < 8 ? pixel % 8 === i : Math.floor(pixel / 8) === i - 8)),
    )
    const labels = images.map((_, i) => (i < 8 ? 0 : 1))
    const x = tf.reshape(tf.tensor2d(images), [16, 8, 8, 1])
    const { last, accuracy } = train(nn.convNet4({ channels: 4, blocks: 2, classes: 2 }), x, labels, 40, 0.05)
    expect(last).toBeLessThan(0.05)
    expect(accuracy).toBe(1)
  })
})
