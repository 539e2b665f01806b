import { activationBytes, fit, isBpfError, random, softmaxCrossEntropy, stopGradient, tree, useBackend, valueAndGrad } from '@bpf/core'
import { batch, fromArrays } from '@bpf/core/data'
import { dense, flatten, globalAvgPool, maxPool, sequential, type Layer } from '@bpf/core/nn'
import { applyUpdates, sgd } from '@bpf/core/optim'
import { learnerContract } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  augLocal,
  augLocalSchedule,
  auxiliaryPlan,
  cifarResnetLayers,
  dglAuxiliary,
  imagenetResnetLayers,
  infoProAuxiliary,
  localLearning,
  poolingAuxiliary,
  predSimAuxiliary,
  residualLayers,
  similarityLoss,
  vggLayers,
  type LocalLearner,
  type LocalLearningState,
} from './aug-local'
import { backpropagation } from './backpropagation'
import { fitClassifier } from './classifier'
import { blockChain, classifierObjective, moduleSizes, type ModulePart } from './shared/block-chain'

beforeAll(() => useBackend('onnx'))

const image = [8, 8, 1]
const classes = 3
const widths = [4, 4, 8, 8]
const rate = 0.05

/** Noise with a bright column that says the class. */
function images(count: number, seed = 1): { x: Float32Array; y: Int32Array } {
  const y = Int32Array.from({ length: count }, (_, i) => i % classes)
  const x = random.normalArray(random.key(seed), count * 64, { stddev: 0.5 }).map((value, i) => {
    return value + (i % 8 === 2 * y[Math.floor(i / 64)] + 1 ? 1.5 : 0)
  })
  return { x, y }
}

function batchOf(count: number, seed?: number): { x: tf.Tensor; y: tf.Tensor } {
  const { x, y } = images(count, seed)
  return { x: tf.tensor(x, [count, ...image]), y: tf.tensor1d(y, 'int32') }
}

const plainSgd = sgd({ learningRate: rate })
const layerwise = (extra: Partial<Parameters<typeof augLocal>[0]> = {}) =>
  augLocal({ layers: residualLayers(widths), classes, dMax: 2, optimizer: plainSgd, ...extra })
const start = (method: LocalLearner, seed = 0): LocalLearningState => method.init(random.key(seed), batchOf(2), undefined).tensors
const bits = (value: tf.Tensor): number[] => Array.from(value.dataSync())
const allBits = (value: Parameters<typeof tree.leaves>[0]): number[][] => tree.leaves(value).map(bits)

/** Largest difference relative to the largest value of the second. */
function gap(a: Parameters<typeof tree.leaves>[0], b: Parameters<typeof tree.leaves>[0]): number {
  const [left, right] = [allBits(a).flat(), allBits(b).flat()]
  expect(left).toHaveLength(right.length)
  const scale = Math.max(...right.map(Math.abs))
  return Math.max(...left.map((value, i) => Math.abs(value - right[i]))) / scale
}

describe('the auxiliary plan', () => {
  const resnet32 = cifarResnetLayers().map(({ width }) => width)
  const resnet110 = cifarResnetLayers({ depth: 110 }).map(({ width }) => width)

  it('1: the last index is L − 1, indices increase in (l, L − 1], count = min(d_l, L − 1 − l), d_0 = d', () => {
    for (const w of [resnet32, resnet110]) {
      for (const dMax of [1, 2, 3, 5, 9]) {
        for (const pyramidCoeff of [0, 0.5, 1]) {
          const rows = auxiliaryPlan(w, { dMax, pyramidCoeff })
          expect(rows).toHaveLength(w.length - 1)
          expect(rows[0].depth).toBe(dMax)
          rows.forEach(({ depth, indices, outChannels }, l) => {
            expect(indices[indices.length - 1]).toBe(w.length - 1)
            expect(indices).toHaveLength(Math.min(depth, w.length - 1 - l))
            indices.forEach((index, i) => expect(index).toBeGreaterThan(i === 0 ? l : indices[i - 1]))
            expect(outChannels).toEqual(indices.map((index) => w[index]))
          })
        }
      }
    }
  })

  it('2: the helper shrinks the image by w_{L−1}/w_l unless a stride is dropped', () => {
    for (const w of [resnet32, resnet110]) {
      for (const dMax of [2, 5, 9]) {
        auxiliaryPlan(w, { dMax }).forEach(({ strides }, l) => {
          const doublings = Math.log2(w[w.length - 1] / w[l])
          const shrinks = strides.reduce((product, stride) => product * stride, 1)
          // One block can take one stride of 2: with fewer blocks than doublings one is dropped.
          expect(shrinks).toBe(2 ** Math.min(doublings, strides.length))
        })
      }
    }
    expect(auxiliaryPlan([4, 16, 16], { dMax: 1 })[0]).toEqual({ depth: 1, indices: [2], strides: [2], outChannels: [16] })
    expect(auxiliaryPlan([4, 16, 16], { dMax: 2 })[0].strides).toEqual([2, 2])
  })

  it('6: pyramidCoeff 0 keeps the depth at d, 1 lets it fall to 1', () => {
    for (const w of [resnet32, resnet110]) {
      expect(auxiliaryPlan(w, { dMax: 9, pyramidCoeff: 0 }).every(({ depth }) => depth === 9)).toBe(true)
      expect(auxiliaryPlan(w, { dMax: 9, pyramidCoeff: 1 })[w.length - 2].depth).toBe(1)
    }
  })

  it('selects the layers that follow, or repeats the layer itself', () => {
    const options = { dMax: 3, pyramidCoeff: 0 }
    const next = auxiliaryPlan(resnet32, { ...options, selection: 'sequential' })
    expect(next[0].indices).toEqual([1, 2, 3])
    expect(next[5]).toMatchObject({ indices: [6, 7, 8], strides: [2, 1, 1] })
    expect(next[13].indices).toEqual([14, 15])
    const again = auxiliaryPlan(resnet32, { ...options, selection: 'repetitive' })
    expect(again[4]).toEqual({ depth: 3, indices: [4, 4, 4], strides: [1, 1, 1], outChannels: [16, 16, 16] })
    expect(auxiliaryPlan([8, 16], { dMax: 4 })).toEqual([{ depth: 4, indices: [1], strides: [2], outChannels: [16] }])
  })

  it('refuses widths that do not double and options out of range', () => {
    for (const bad of [
      [16, 24],
      [16, 8],
      [16, 48],
      [0, 16],
      [1.5, 3],
    ]) {
      expect(() => auxiliaryPlan(bad)).toThrow(/auxiliary plan needs widths that double/)
    }
    expect(() => auxiliaryPlan([16])).toThrow(/at least 2 layers, got 1/)
    for (const dMax of [0, 1.5, -1]) expect(() => auxiliaryPlan([8, 8], { dMax })).toThrow(/dMax must be an integer of at least 1/)
    for (const pyramidCoeff of [-0.1, 1.1, NaN]) expect(() => auxiliaryPlan([8, 8], { pyramidCoeff })).toThrow(/pyramidCoeff must be in/)
    expect(() => auxiliaryPlan([8, 8], { selection: 'random' as 'uniform' })).toThrow(/selection must be one of.*'random'/)
  })
})

describe('the learning rate', () => {
  it('10: is 0.01 in epoch 1, base(11) in epoch 11, 0 in the last', () => {
    const schedule = augLocalSchedule({ learningRate: 0.8, epochs: 400, stepsPerEpoch: 49 })
    expect(schedule(0)).toBeCloseTo(0.01, 15)
    expect(schedule(48)).toBe(schedule(0))
    expect(schedule(49)).not.toBe(schedule(0))
    expect(schedule(10 * 49)).toBeCloseTo(0.4 * (1 + Math.cos((Math.PI * 11) / 400)), 14)
    expect(schedule(399 * 49)).toBe(0)
    expect(schedule(500 * 49)).toBe(0)
    expect(() => augLocalSchedule({ learningRate: 0.8, epochs: 0 })).toThrow(/epochs must be a positive integer, got 0/)
  })
})

describe('local updates', () => {
  it('3: no loss depends on a later module, and no update on another module’s helper', () => {
    const method = layerwise()
    const { modules } = start(method)
    const data = batchOf(8)
    const run = (changed: LocalLearningState['modules']) => method.step({ modules: changed }, data, random.key(1))
    const reference = run(modules)
    const shifted = (m: number, part: keyof ModulePart) =>
      modules.map((module, i) => {
        const params = { ...module.params, [part]: tree.map((leaf) => tf.add(tf.mul(leaf, 1.5), 0.25), module.params[part]) }
        return i === m ? { ...module, params } : module
      })
    const lossOf = (result: typeof reference, m: number) => bits(result.metrics[m === 3 ? 'loss' : `loss/${m}`])
    for (let m = 0; m < 4; m++) {
      const layers = run(shifted(m, 'layers'))
      const helper = run(shifted(m, 'helper'))
      for (let other = 0; other < 4; other++) {
        if (other < m) {
          expect(lossOf(layers, other)).toEqual(lossOf(reference, other))
          expect(allBits(layers.tensors.modules[other])).toEqual(allBits(reference.tensors.modules[other]))
        }
        if (other !== m) {
          expect(lossOf(helper, other)).toEqual(lossOf(reference, other))
          expect(allBits(helper.tensors.modules[other])).toEqual(allBits(reference.tensors.modules[other]))
        }
      }
      expect(lossOf(layers, m)).not.toEqual(lossOf(reference, m))
      expect(lossOf(helper, m)).not.toEqual(lossOf(reference, m))
    }
  })

  it('4: with d ≥ L and the layers’ weights in the first helper, layer 0 gets the gradient of backpropagation', () => {
    const local = layerwise({ dMax: 4, pyramidCoeff: 0 })
    const whole = layerwise({ modules: 1 })
    const { modules } = start(local)
    const [{ params: all, state: allState }] = start(whole).modules
    expect(allBits(modules.map(({ params }) => params.layers))).toEqual(allBits(all.layers))
    const classifier = all.helper as tf.Tensor[]
    const [first, ...rest] = modules
    const copied = { ...first, params: { ...first.params, helper: [...all.layers.slice(1), ...classifier] } }
    expect(tree.signature(copied.params.helper)).toBe(tree.signature(first.params.helper))
    expect(allState.layers).toHaveLength(4)
    const data = batchOf(16)
    const next = local.step({ modules: [copied, ...rest] }, data, random.key(1)).tensors.modules[0].params.layers
    const expected = whole.step(start(whole), data, random.key(1)).tensors.modules[0].params.layers.slice(0, 1)
    const gradient = (after: typeof next) => tree.map((a, b) => tf.div(tf.sub(b, a), rate), after, all.layers.slice(0, 1))
    expect(gap(gradient(next), gradient(expected))).toBeLessThan(1e-5)
  })

  it('5: one layer, or all in one module, is backpropagation bit for bit', () => {
    for (const sizes of [[4], widths]) {
      const local = augLocal({ layers: residualLayers(sizes), classes, modules: 1, optimizer: plainSgd })
      const bp = backpropagation({ network: local.network, classes, optimizer: plainSgd })
      let mine = start(local)
      let theirs = bp.init(random.key(0), batchOf(2), undefined).tensors
      for (let i = 0; i < 3; i++) {
        const data = batchOf(8, i)
        const [a, b] = [local.step(mine, data, random.key(i)), bp.step(theirs, data, random.key(i))]
        expect(bits(a.metrics.loss)).toEqual(bits(b.metrics.loss))
        mine = a.tensors
        theirs = b.tensors
      }
      const { params, state } = local.primary(mine)
      expect(allBits(params)).toEqual(allBits(theirs.params))
      expect(allBits(state)).toEqual(allBits(theirs.network))
      const { x } = batchOf(8)
      expect(bits(local.predict(mine, x))).toEqual(bits(bp.predict(theirs, x)))
    }
  })

  it('7: updating each module at once gives what one step over all parameters gives', () => {
    const layers = residualLayers([2, 4, 4]).map(({ build, width, stride = 1 }) => build(width, stride))
    const helper = (): Layer => sequential([globalAvgPool(), dense(classes)]) as Layer
    const chain = blockChain(
      'test',
      layers.map((layer, first) => ({ first, layers: [layer], objective: classifierObjective(helper()) })),
      plainSgd,
    )
    const states = chain.init(random.key(0), image)
    const data = batchOf(16)
    const options = { training: true }
    const joint = valueAndGrad((params: ModulePart[]) => {
      let h = data.x
      const losses = params.map((own, m) => {
        const y = layers[m].apply(own.layers[0], states[m].state.layers[0], h, options).y
        h = stopGradient(y)
        return tf.mean(softmaxCrossEntropy(data.y, helper().apply(own.helper, states[m].state.helper, y, options).y))
      })
      return tf.addN(losses)
    })
    const params = states.map((module) => module.params)
    const { grads } = joint(params)
    const expected = applyUpdates(params, plainSgd.update(grads, plainSgd.init(params), params).updates)
    const { modules } = chain.step(states, data, random.key(1))
    expect(gap(modules.map((module) => module.params) as never, expected)).toBeLessThan(1e-6)
  })

  it('moves running statistics once in a step', () => {
    const method = layerwise()
    const { modules } = start(method)
    const { x, y } = batchOf(8)
    const [{ params, state }] = method.step({ modules }, { x, y }, random.key(1)).tensors.modules
    expect(params.layers).toHaveLength(1)
    const [kernel] = tree.leaves(modules[0].params.layers[0])
    const convolved = tf.conv2d(x as tf.Tensor4D, kernel as tf.Tensor4D, 1, 1)
    const { mean, variance } = tf.moments(convolved, [0, 1, 2])
    const [runningMean, runningVariance] = tree.leaves(state.layers[0])
    const count = convolved.size / 4
    expect(gap(runningMean, tf.mul(mean, 0.1))).toBeLessThan(1e-5)
    expect(gap(runningVariance, tf.add(0.9, tf.mul(variance, (0.1 * count) / (count - 1))))).toBeLessThan(1e-5)
  })
})

describe('memory', () => {
  const bytes = (method: LocalLearner): number => {
    const tensors = start(method)
    const zeros = (n: number) => ({ x: tf.zeros([n, ...image]), y: tf.zeros([n], 'int32') })
    return activationBytes(
      (state: LocalLearningState, data: ReturnType<typeof zeros>) => method.step(state, data, random.key(0)),
      (n): [LocalLearningState, ReturnType<typeof zeros>] => [tensors, zeros(n)],
      [64, 128],
    )
  }

  it('8: with 16 layers less than 65 % of backpropagation’s activations are alive at a time', () => {
    const layers = cifarResnetLayers({ depth: 32, width: 4 })
    const optimizer = plainSgd
    const [local, whole] = [augLocal({ layers, classes, optimizer }), augLocal({ layers, classes, modules: 1, optimizer })].map(bytes)
    expect(local).toBeLessThan(0.65 * whole)
  })

  it('four times the layers need less than 10 % more, while backpropagation’s grow with them', () => {
    const deep = (count: number, modules?: number) =>
      bytes(augLocal({ layers: residualLayers(Array<number>(count).fill(4)), classes, dMax: 1, modules, optimizer: plainSgd }))
    expect(deep(16)).toBeLessThan(1.1 * deep(4))
    expect(deep(16, 1)).toBeGreaterThan(3 * deep(4, 1))
  })
})

describe('the trained network', () => {
  it('9: has exactly the parameters of the network without helpers', () => {
    const method = layerwise()
    const { params, state } = method.primary(start(method))
    const plain = method.network.init(random.key(5), image)
    expect(tree.signature(params)).toBe(tree.signature(plain.params))
    expect(tree.signature(state)).toBe(tree.signature(plain.state))
    expect(tree.size(params)).toBe(tree.size(plain.params))
  })

  it('learns with every objective, has exits, and leaves no tensor behind', async () => {
    const { x, y } = images(96)
    const X = { data: x, shape: [96, ...image] }
    const layers = residualLayers([4, 4, 8])
    const optimizer = sgd({ learningRate: 0.05, momentum: 0.9, nesterov: true })
    const methods = [
      augLocal({ layers, classes, optimizer, selection: 'repetitive' }),
      augLocal({ layers, classes, optimizer, modules: [2, 1], dMax: 1 }),
      ...[poolingAuxiliary(), dglAuxiliary(), predSimAuxiliary(), infoProAuxiliary({ mean: 0.4, stddev: 0.15 })].map((auxiliary) =>
        localLearning({ layers, classes, auxiliary, optimizer }),
      ),
    ]
    for (const method of methods) {
      const before = tf.memory().numTensors
      const model = await fitClassifier(method, X, y, { epochs: 15, batchSize: 16, stepsPerCall: 1 })
      expect(await model.score(X, y)).toBeGreaterThan(0.9)
      const exits = tf.tidy(() => method.exits(model.state.tensors, tf.tensor(x, [96, ...image])).map(bits))
      const last = await model.predictProba(X)
      expect(exits[exits.length - 1].every((p, i) => Math.abs(p - last[i]) < 1e-5)).toBe(true)
      expect(exits).toHaveLength(model.state.tensors.modules.length)
      exits.forEach((exit) => expect(exit[0] + exit[1] + exit[2]).toBeCloseTo(1, 5))
      model.dispose()
      expect(tf.memory().numTensors).toBe(before)
    }
  })

  it('is made of the paper’s networks', () => {
    expect(cifarResnetLayers()).toHaveLength(16)
    expect(cifarResnetLayers({ depth: 110 })).toHaveLength(55)
    expect(imagenetResnetLayers()).toHaveLength(17)
    expect(imagenetResnetLayers({ depth: 101 })).toHaveLength(34)
    expect(vggLayers()).toHaveLength(10)
    // Weights and biases of torchvision's networks, the norms' included: 21,284,672 + 42,500,160 without their classifiers.
    const size = (layers: ReturnType<typeof vggLayers>): number =>
      layers.reduce(
        ({ shape, total }, { build, width, stride = 1 }) => {
          const { params, state, outputShape } = build(width, stride).init(random.key(0), shape)
          const count = tree.size(params)
          tree.dispose(params, state)
          return { shape: outputShape, total: total + count }
        },
        { shape: [224, 224, 3] as readonly number[], total: 0 },
      ).total
    expect(size(imagenetResnetLayers())).toBe(21_284_672)
    expect(size(imagenetResnetLayers({ depth: 50 }))).toBe(23_508_032)
    expect(size(vggLayers())).toBe(9_404_992 + 5_888)
    const head = sequential([maxPool(2), flatten(), dense(classes)]) as Layer
    const method = augLocal({ layers: vggLayers({ width: 2, depth: 11 }), classes, head, dMax: 1 })
    const { tensors } = method.init(random.key(0), { x: tf.zeros([2, 32, 32, 3]), y: tf.zeros([2], 'int32') }, undefined)
    expect(method.predict(tensors, tf.zeros([2, 32, 32, 3])).shape).toEqual([2, classes])
  })
})

describe('rival objectives', () => {
  it('PredSim compares cosines of deviations with those of classes', () => {
    // Deviations over space: example 0 has them in channels 0 and 1, example 1 in channels 2 and 3.
    const features = tf.tensor4d(
      [
        [1, -1, 0, 0],
        [-1, 1, 0, 0],
        [1, -1, 0, 0],
        [-1, 1, 0, 0],
        [0, 0, 2, 2],
        [0, 0, -2, -2],
        [0, 0, 2, 2],
        [0, 0, -2, -2],
      ].flat(),
      [2, 2, 2, 4],
    )
    // Centred rows (1, 1, −1, −1)/2 and its negative: cosine −1. Classes of two examples: −1 apart, 1 equal (two classes).
    expect(similarityLoss(features, tf.tensor1d([0, 1], 'int32'), 2).dataSync()[0]).toBeCloseTo(0, 5)
    expect(similarityLoss(features, tf.tensor1d([1, 1], 'int32'), 2).dataSync()[0]).toBeCloseTo(2, 5)
  })

  it('weighs InfoPro’s terms on a line from the first to the last hidden module', () => {
    const layers = residualLayers([4, 4, 4, 4])
    const lossesFor = (reconstruction: number, crossEntropy: number) => {
      const end = { reconstruction, crossEntropy }
      const at = (first: typeof end, last: typeof end) => {
        const method = localLearning({ layers, classes, auxiliary: infoProAuxiliary({ mean: 0.5, stddev: [0.1], first, last }) })
        const { metrics } = method.step(start(method), batchOf(8), random.key(1))
        return [0, 1, 2].map((m) => bits(metrics[`loss/${m}`])[0])
      }
      const none = { reconstruction: 0, crossEntropy: 0 }
      return { fromFirst: at(end, none), toLast: at(none, end), both: at(end, end) }
    }
    for (const weights of [
      [1, 0],
      [0, 1],
    ] as const) {
      const { fromFirst, toLast, both } = lossesFor(weights[0], weights[1])
      expect(both.every((loss) => loss > 0)).toBe(true)
      ;[1, 0.5, 0].forEach((share, m) => {
        expect(fromFirst[m]).toBeCloseTo(share * both[m], 5)
        expect(toLast[m]).toBeCloseTo((1 - share) * both[m], 5)
      })
    }
  })
})

describe('bad input', () => {
  const failure = (run: () => unknown): string => {
    try {
      run()
    } catch (error) {
      expect(isBpfError(error)).toBe(true)
      return (error as Error).message
    }
    throw new Error('nothing was thrown')
  }
  const layers = residualLayers(widths)

  it('is refused with what was expected and what came', async () => {
    expect(failure(() => augLocal({ layers: layers.slice(0, 1), classes }))).toContain(
      'needs at least 2 layers to train them locally, got 1',
    )
    expect(failure(() => augLocal({ layers: residualLayers([4, 12]), classes }))).toContain('needs widths that double')
    expect(failure(() => augLocal({ layers, classes, dMax: 0 }))).toContain('dMax must be')
    expect(failure(() => augLocal({ layers, classes: 1 }))).toContain('at least 2, got 1')
    expect(failure(() => augLocal({ layers, classes, modules: 5 }))).toContain('from 1 to 4, the number of layers, got 5')
    expect(failure(() => augLocal({ layers, classes, modules: [2, 1] }))).toContain('add up to the 4 layers, got [2, 1]')
    expect(failure(() => predSimAuxiliary({ similarity: 2 }))).toContain('similarity must be in [0, 1], got 2')
    expect(failure(() => residualLayers([4, 0.5]))).toContain('positive integers, got 0.5')
    expect(failure(() => residualLayers([]))).toContain('at least one entry')
    expect(failure(() => cifarResnetLayers({ depth: 30 }))).toContain('got 30')
    expect(failure(() => vggLayers({ depth: 12 as 11 }))).toContain('got 12')
    expect(failure(() => imagenetResnetLayers({ depth: 20 as 18 }))).toContain('got 20')
    const method = layerwise()
    expect(failure(() => method.step(start(method), batchOf(1), random.key(0)))).toContain('at least 2 examples in a training batch, got 1')
    const { x } = batchOf(4)
    expect(failure(() => method.step(start(method), { x, y: batchOf(2).y }, random.key(0)))).toContain('x has 4 examples, y 2')
    const { x: data, y } = images(8)
    const wrong = batch(fromArrays({ x: { data, shape: [8, ...image] }, y: y.with(5, 7) }), 4)
    await expect(fit(method, wrong, { steps: 1 })).rejects.toThrow(/y is 7 at example 5; labels must be integers in \[0, 3\)/)
  })

  it('splits layers into modules as evenly as it goes', () => {
    expect(moduleSizes('test', 7, 3)).toEqual([3, 2, 2])
    expect(moduleSizes('test', 4, [1, 3])).toEqual([1, 3])
  })
})

describe('contracts', () => {
  const { x, y } = images(24)
  const dataset = () => batch(fromArrays({ x: { data: x, shape: [24, ...image] }, y }), 6)
  const layers = residualLayers([2, 4])
  // The decay keeps the momentum comparable of parameters whose gradient is little more than rounding (scales before a norm). A
  // bias before a norm has no gradient at all, so InfoPro goes without momentum.
  const optimizer = () => sgd({ learningRate: 0.02, momentum: 0.9, nesterov: true, weightDecay: 0.01 })
  const methods = {
    augLocal: () => augLocal({ layers, classes, optimizer: optimizer() }),
    'plain local': () => localLearning({ layers, classes, auxiliary: poolingAuxiliary(), optimizer: optimizer() }),
    DGL: () => localLearning({ layers, classes, auxiliary: dglAuxiliary(), optimizer: optimizer() }),
    PredSim: () => localLearning({ layers, classes, auxiliary: predSimAuxiliary(), optimizer: optimizer() }),
    InfoPro: () => localLearning({ layers, classes, auxiliary: infoProAuxiliary({ mean: 0.4, stddev: 0.15 }), optimizer: plainSgd }),
  }
  // Channels one more, so that no layer takes it.
  const wrongShape = (item: { x: tf.Tensor; y: tf.Tensor }) => ({ x: tf.tile(item.x, [1, 1, 1, 2]), y: item.y.clone() })
  for (const [name, learner] of Object.entries(methods)) {
    describe(name, () => {
      for (const check of learnerContract({ learner, dataset, wrongShape })) it(check.name, check.run)
    })
  }
})
