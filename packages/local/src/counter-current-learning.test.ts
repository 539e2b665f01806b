import {
  account,
  activationBytes,
  compile,
  fit,
  float64Tensor,
  grad,
  isBpfError,
  random,
  softmaxCrossEntropy,
  stopGradient,
  tree,
  useBackend,
  valueAndGrad,
  type Tree,
} from '@bpf/core'
import { batch, fromArrays } from '@bpf/core/data'
import { dense, initializers, sequential } from '@bpf/core/nn'
import { chain, clipByGlobalNorm, sgd } from '@bpf/core/optim'
import { key, normalArray } from '@bpf/core/random'
import { learnerContract } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { backpropagation } from './backpropagation'
import {
  centraliseGradients,
  counterCurrentAutoencoder,
  counterCurrentLearning,
  differenceTargetPropagation,
  epochCosine,
  errorFeedback,
  linearCka,
  type CounterCurrentLearner,
  type CounterCurrentLearningOptions,
  type CounterCurrentState,
  type ErrorRoute,
  type LocalLoss,
  type MirrorActivation,
} from './counter-current-learning'
import { pairLoss } from './counter-current-learning/pair-loss'
import { fitClassifier } from './classifier'
import type { ClassifierLearner, LabelledBatch } from './shared/labelled'

beforeAll(() => useBackend('onnx'))

const classes = 4
const features = 12

/** Four clouds around random centres, one class each. */
function clouds(rows: number, seed = 5, stddev = 0.6) {
  const centres = normalArray(key(1), classes * features)
  const noise = normalArray(key(seed), rows * features, { stddev })
  const y = Int32Array.from({ length: rows }, (_, i) => i % classes)
  return {
    X: { data: noise.map((e, i) => e + centres[y[Math.floor(i / features)] * features + (i % features)]), shape: [rows, features] },
    y,
  }
}

function batchOf(rows: number, shape: readonly number[] = [features]): LabelledBatch {
  const size = shape.reduce((product, n) => product * n, 1)
  return {
    x: tf.tensor(normalArray(key(2), rows * size), [rows, ...shape]),
    y: tf.tensor1d(
      Int32Array.from({ length: rows }, (_, i) => (i * 3) % classes),
      'int32',
    ),
  }
}

const start = (method: CounterCurrentLearner, sample: LabelledBatch): CounterCurrentState => method.init(key(3), sample, undefined).tensors

/** The same values as float64 tensors, on the host's side of a compiled function. */
const doubles = <T extends Tree>(values: T): T =>
  tree.map((leaf) => (leaf.dtype === 'float32' ? float64Tensor(Float64Array.from(leaf.dataSync()), leaf.shape) : leaf), values)

type LossOptions = Required<Pick<CounterCurrentLearningOptions, 'activation' | 'localLoss' | 'lambdaC' | 'lambdaS'>>

const activations: Record<MirrorActivation, (x: tf.Tensor) => tf.Tensor> = {
  elu: tf.elu,
  relu: tf.relu,
  tanh: tf.tanh,
  leakyRelu: (x) => tf.leakyRelu(x, 0.01),
  selu: tf.selu,
}

const flat = (x: tf.Tensor): tf.Tensor2D => tf.reshape(x, [x.shape[0], -1])

/** ℓ_0 … ℓ_L of the paper, written down as they stand, with a stop of gradients at each layer's input. */
function lossesByDefinition(
  { forward, feedback }: CounterCurrentState['params'],
  { x, y }: LabelledBatch,
  { activation, localLoss, lambdaC, lambdaS }: LossOptions,
  maps?: { up: (kernel: tf.Tensor, a: tf.Tensor) => tf.Tensor; down: (kernel: tf.Tensor, c: tf.Tensor) => tf.Tensor },
): tf.Tensor[] {
  const phi = activations[activation]
  const last = forward.length - 1
  const kernel = (params: readonly Tree[], l: number) => (params[l] as { kernel: tf.Tensor }).kernel
  const A = [x]
  for (let l = 0; l <= last; l++) {
    const [input, weights] = [stopGradient(A[l]), kernel(forward, l)]
    if (weights.rank === 4) A.push(maps?.up(weights, input) as tf.Tensor)
    else A.push(l < last ? phi(tf.matMul(flat(input), weights)) : tf.matMul(flat(input), weights))
  }
  const B: tf.Tensor[] = [tf.eye(classes)]
  for (let l = last; l >= 0; l--) {
    const [input, weights] = [stopGradient(B[0]), kernel(feedback, l)]
    const z = weights.rank === 4 ? maps?.down(weights, input) : tf.matMul(input, weights)
    B.unshift(tf.reshape(l > 0 ? phi(z as tf.Tensor) : (z as tf.Tensor), [classes, ...A[l].shape.slice(1)]))
  }
  const Y = tf.cast(tf.oneHot(y, classes), 'float32')
  const mse = (a: tf.Tensor, b: tf.Tensor) => tf.mean(tf.square(tf.sub(a, b)))
  const unit = (rows: tf.Tensor2D) => tf.div(rows, tf.add(tf.sqrt(tf.sum(tf.square(rows), 1, true)), 1e-8))
  const gram = (rows: tf.Tensor) => tf.matMul(rows, rows, false, true)
  const pairs = A.slice(0, -1).map((activation_, l) => {
    const [a, b] = [flat(activation_), flat(B[l])]
    if (localLoss === 'mse') return tf.mul(lambdaC, mse(a, tf.matMul(Y, b)))
    if (localLoss === 'product') return tf.mul((256 * lambdaC) / a.shape[1], mse(tf.matMul(a, b, false, true), Y))
    const [ua, ub] = [unit(a), unit(b)]
    return tf.addN([
      tf.mul(lambdaC, mse(tf.matMul(ua, ub, false, true), Y)),
      tf.mul(lambdaS, mse(gram(ua), tf.eye(a.shape[0]))),
      tf.mul(lambdaS, mse(gram(ub), tf.eye(classes))),
    ])
  })
  return [...pairs, tf.mean(softmaxCrossEntropy(Y, A[last + 1]))]
}

const valuesOf = (values: Tree): number[] => tree.leaves(values).flatMap((leaf) => Array.from(leaf.dataSync()))
const largest = (values: readonly number[]): number => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
const difference = (a: Tree, b: Tree): number => {
  const other = valuesOf(b)
  return largest(valuesOf(a).map((value, i) => value - other[i])) / largest(other)
}

describe('gradients', () => {
  const losses: LocalLoss[] = ['product', 'normalised', 'mse']
  const options = (localLoss: LocalLoss, activation: MirrorActivation = 'elu') => ({ activation, localLoss, lambdaC: 0.7, lambdaS: 0.4 })
  const method = (localLoss: LocalLoss, activation?: MirrorActivation) =>
    counterCurrentLearning({ classes, hidden: [9, 7, 6], ...options(localLoss, activation) })

  it.each(losses)('%s: the loss of layer l has gradients in F_l and B_(l+1) and exactly zero in all others', (localLoss) => {
    const data = batchOf(11)
    const { params } = start(method(localLoss), data)
    for (let l = 0; l <= 4; l++) {
      const grads = grad((at: typeof params) => lossesByDefinition(at, data, options(localLoss))[l])(params)
      const zero = (side: readonly Tree[]) => side.map((leaf) => valuesOf(leaf).every((value) => value === 0))
      expect(zero(grads.forward)).toEqual([0, 1, 2, 3].map((k) => k !== l - 1))
      expect(zero(grads.feedback)).toEqual([0, 1, 2, 3].map((k) => k !== l || l === 4))
    }
  })

  it.each(losses)('%s: updating layer by layer has the gradients of the joint loss (1e-10, float64)', (localLoss) => {
    const data = batchOf(11)
    const state = start(method(localLoss), data)
    const run = compile(
      (params: CounterCurrentState['params'], x: tf.Tensor, y: tf.Tensor) => {
        const own = method(localLoss).gradients({ ...state, params }, { x, y })
        const joint = valueAndGrad((at: typeof params) => tf.addN(lossesByDefinition(at, { x, y }, options(localLoss))))(params)
        const top = grad((at: typeof params) => lossesByDefinition(at, { x, y }, options(localLoss))[4])(params)
        return {
          own: own.grads,
          losses: [...own.pairLosses, own.crossEntropy],
          joint: joint.grads,
          total: joint.value,
          top: top.forward[3],
        }
      },
      { precision: 'float64' },
    )
    const result = run(doubles(state.params), doubles(data.x), data.y)
    expect(difference(result.own, result.joint)).toBeLessThan(1e-10)
    expect(difference(result.own.forward[3], result.top)).toBeLessThan(1e-12)
    expect(valuesOf(result.losses).reduce((sum, value) => sum + value, 0)).toBeCloseTo(valuesOf(result.total)[0], 10)
  })

  it.each(Object.keys(activations) as MirrorActivation[])(
    '%s: its slope from its value is that of automatic differentiation',
    (activation) => {
      const data = batchOf(11)
      const state = start(method('product', activation), data)
      const own = method('product', activation).gradients(state, data)
      const joint = grad((at: typeof state.params) => tf.addN(lossesByDefinition(at, data, options('product', activation))))(state.params)
      expect(difference(own.grads, joint)).toBeLessThan(1e-5)
    },
  )

  it('of F_l match finite differences of the loss of layer l alone (1e-6, float64)', () => {
    const data = batchOf(11)
    const state = start(method('product'), data)
    const run = compile(
      (params: CounterCurrentState['params'], x: tf.Tensor, y: tf.Tensor) => {
        const { grads, pairLosses, crossEntropy } = method('product').gradients({ ...state, params }, { x, y })
        return { grads, losses: [...pairLosses, crossEntropy] }
      },
      { precision: 'float64' },
    )
    const params = doubles(state.params)
    const slopes = run(params, doubles(data.x), data.y).grads
    const h = 1e-5
    for (let l = 0; l < 4; l++) {
      for (const at of [0, 5, 17]) {
        const moved = [h, -h].map((step) => {
          const forward = params.forward.map((leaf, k) => {
            const { kernel } = leaf as { kernel: tf.Tensor }
            const values = Float64Array.from(kernel.dataSync())
            if (k === l) values[at] += step
            return { kernel: float64Tensor(values, kernel.shape) }
          })
          return valuesOf(run({ ...params, forward }, doubles(data.x), data.y).losses[l + 1])[0]
        })
        expect(Math.abs((moved[0] - moved[1]) / (2 * h) - valuesOf(slopes.forward[l])[at])).toBeLessThan(1e-6)
      }
    }
  })

  it.each(['pool', 'stride'] as const)('of convolutions (%s) are those of the joint loss', (downsampling) => {
    const data = batchOf(6, [8, 8, 3])
    const settings = { classes, channels: [5, 7], hidden: [6], downsampling, lambdaC: 1, lambdaS: 0.5 }
    const conv = counterCurrentLearning(settings)
    const state = start(conv, data)
    const own = conv.gradients(state, data)
    const plain = (kernel: tf.Tensor, a: tf.Tensor, stride: number) => tf.conv2d(a as tf.Tensor4D, kernel as tf.Tensor4D, stride, 1)
    const maps = {
      up: (kernel: tf.Tensor, a: tf.Tensor) =>
        downsampling === 'stride' ? tf.elu(plain(kernel, a, 2)) : tf.maxPool(tf.elu(plain(kernel, a, 1)) as tf.Tensor4D, 2, 2, 'valid'),
      down(kernel: tf.Tensor, c: tf.Tensor) {
        const [, height, width] = c.shape as number[]
        return plain(kernel, tf.image.resizeNearestNeighbor(c as tf.Tensor4D, [2 * height, 2 * width]), 1)
      },
    }
    const loss = (at: typeof state.params) =>
      tf.addN(lossesByDefinition(at, data, { activation: 'elu', localLoss: 'normalised', lambdaC: 1, lambdaS: 0.5 }, maps))
    const joint = grad(loss)(state.params)
    const kernels = (side: readonly Tree[]) => side.map((leaf) => (leaf as { kernel: tf.Tensor }).kernel)
    for (const side of ['forward', 'feedback'] as const) {
      kernels(own.grads[side]).forEach((kernel, l) => expect(difference(kernel, kernels(joint[side])[l])).toBeLessThan(1e-4))
    }
  })
})

describe('counter-current learning', () => {
  it('without hidden layers is multinomial logistic regression', () => {
    const data = batchOf(16)
    const method = counterCurrentLearning({ classes, hidden: [], learningRate: 0.3, clip: 0.5 })
    const state = start(method, data)
    const regression = backpropagation({
      network: sequential([dense(classes, { bias: false })]),
      classes,
      optimizer: chain(clipByGlobalNorm(0.5), sgd({ learningRate: 0.3 })),
    })
    const twin = regression.init(key(3), data, undefined).tensors
    const ours = method.step(state, data, key(0)).tensors.params.forward
    const theirs = regression.step({ ...twin, params: state.params.forward }, data, key(0)).tensors.params
    expect(difference(ours, theirs)).toBeLessThan(1e-5)
  })

  it('has no weights in common between the networks: other forward weights leave the signals as they are', () => {
    const data = batchOf(8)
    const method = counterCurrentLearning({ classes, hidden: [6, 6] })
    const [state, other] = [start(method, data), method.init(key(9), data, undefined).tensors]
    const shared = new Set(valuesOf(state.params.forward))
    expect(valuesOf(state.params.feedback).some((value) => shared.has(value))).toBe(false)
    const mixed = { ...state, params: { ...state.params, forward: other.params.forward } }
    expect(difference(method.signals(mixed, [features]), method.signals(state, [features]))).toBe(0)
    expect(difference(method.activations(mixed, data.x), method.activations(state, data.x))).toBeGreaterThan(0.1)
  })

  it('normalised: the loss does not depend on the length of a row (1e-7, float64)', () => {
    const [a, b] = [normalArray(key(1), 30), normalArray(key(2), 12)]
    const scaled = (values: Float32Array, by: readonly number[]) => Float64Array.from(values, (value, i) => value * by[Math.floor(i / 3)])
    const run = compile(
      (A: tf.Tensor, B: tf.Tensor, Y: tf.Tensor) => pairLoss(A, B, Y, { localLoss: 'normalised', lambdaC: 1, lambdaS: 0.5 }).loss,
      { precision: 'float64' },
    )
    const Y = doubles(tf.cast(tf.oneHot(tf.tensor1d([0, 1, 2, 3, 0, 1, 2, 3, 0, 1], 'int32'), 4), 'float32'))
    const value = (byA: readonly number[], byB: readonly number[]) =>
      run(float64Tensor(scaled(a, byA), [10, 3]), float64Tensor(scaled(b, byB), [4, 3]), Y).dataSync()[0]
    const ones = Array.from({ length: 10 }, () => 1)
    const base = value(ones, ones)
    expect(Math.abs(value([5, 0.2, 1, 3, 1, 1, 40, 1, 1, 0.7], ones) - base)).toBeLessThan(1e-7)
    expect(Math.abs(value(ones, [0.3, 9, 1, 2]) - base)).toBeLessThan(1e-7)
  })

  it.each(['product', 'normalised', 'mse'] as const)('%s: other names for the classes give the same losses', (localLoss) => {
    const data = batchOf(12)
    const method = counterCurrentLearning({ classes, hidden: [6, 5], localLoss })
    const state = start(method, data)
    const renamed = [2, 0, 3, 1]
    const inverse = tf.tensor1d([1, 3, 0, 2], 'int32')
    const kernel = (leaf: Tree) => (leaf as { kernel: tf.Tensor }).kernel
    const { forward, feedback } = state.params
    const params = {
      forward: [forward[0], forward[1], { kernel: tf.gather(kernel(forward[2]), inverse, 1) }],
      feedback: [feedback[0], feedback[1], { kernel: tf.gather(kernel(feedback[2]), inverse, 0) }],
    }
    const y = tf.tensor1d(
      Array.from(data.y.dataSync(), (label) => renamed[label]),
      'int32',
    )
    const losses = (at: CounterCurrentState, given: LabelledBatch) => {
      const { pairLosses, crossEntropy } = method.gradients(at, given)
      return [...pairLosses, crossEntropy]
    }
    expect(difference(losses({ ...state, params }, { x: data.x, y }), losses(state, data))).toBeLessThan(1e-6)
  })

  it('filters rows whose class is above 0.9: they add their Y² and no gradient', () => {
    const data = batchOf(8)
    const filtering = counterCurrentLearning({ classes, hidden: [6], filterTarget: true, kernelInit: initializers.normal({ stddev: 3 }) })
    const state = start(filtering, data)
    const logits = filtering.activations(state, data.x)[2]
    const own = tf.sum(tf.mul(tf.softmax(logits), tf.oneHot(data.y, classes)), 1).dataSync()
    const solved = Array.from(own, (p) => p > 0.9)
    expect(new Set(solved)).toEqual(new Set([true, false]))
    const [hidden, signals] = [filtering.activations(state, data.x)[1], filtering.signals(state, [features])[1]]
    const kept = tf.mul(hidden, tf.expandDims(tf.tensor1d(solved.map((one) => (one ? 0 : 1))), 1))
    const Y = tf.cast(tf.oneHot(data.y, classes), 'float32')
    const expected = (128 / 6) * tf.mean(tf.square(tf.sub(tf.matMul(kept, signals, false, true), Y))).dataSync()[0]
    expect(filtering.gradients(state, data).pairLosses[1].dataSync()[0] / expected).toBeCloseTo(1, 5)
  })

  it('clips the two networks apart: each step has the length min(norm, clip)', () => {
    const data = batchOf(12)
    const moved = (clip: number, other: number) => {
      const method = counterCurrentLearning({ classes, hidden: [6, 5], clip, feedback: { clip: other } })
      const state = start(method, data)
      const { grads } = method.gradients(state, data)
      const { params } = method.step(state, data, key(0)).tensors
      return (['forward', 'feedback'] as const).map((side) => ({
        norm: tree.norm(grads[side]).dataSync()[0],
        step: tree.norm(tree.map((after, before) => tf.sub(after, before), params[side], state.params[side])).dataSync()[0],
      }))
    }
    const [forward, feedback] = moved(0.25, 0.05)
    expect(forward.norm).toBeGreaterThan(0.25)
    expect(forward.step).toBeCloseTo(0.25, 4)
    expect(feedback.step).toBeCloseTo(0.05, 4)
    const [free, bound] = moved(1e6, 0.05)
    expect(free.step / free.norm).toBeCloseTo(1, 4)
    expect(bound.step).toBeCloseTo(0.05, 4)
  })

  it('centralises gradients: the mean over inputs is 0 (1e-12, float64), once and twice the same, biases as they are', () => {
    const rule = centraliseGradients()
    const run = compile(
      (grads: Tree) => ({
        once: rule.update(grads, [], grads).updates,
        twice: rule.update(rule.update(grads, [], grads).updates, [], grads).updates,
      }),
      {
        precision: 'float64',
      },
    )
    const of = (shape: readonly number[]) =>
      float64Tensor(
        Float64Array.from(
          normalArray(
            key(4),
            shape.reduce((n, m) => n * m, 1),
          ),
        ),
        shape,
      )
    const grads = { dense: of([6, 5]), conv: of([3, 3, 2, 4]), bias: of([4]) }
    const { once, twice } = run(grads) as { once: typeof grads; twice: typeof grads }
    const sums = (values: ArrayLike<number>, columns: number) =>
      Array.from(values).reduce((total, value, i) => ((total[i % columns] += value), total), new Array<number>(columns).fill(0))
    expect(largest(sums(once.dense.dataSync(), 5))).toBeLessThan(1e-12)
    expect(largest(sums(once.conv.dataSync(), 4))).toBeLessThan(1e-12)
    expect(difference(twice, once)).toBeLessThan(1e-12)
    expect(difference(once.bias, grads.bias)).toBe(0)
  })

  it('warms up before the clip and anneals by epochs', () => {
    const data = batchOf(12)
    const step = (extra: object) => {
      const method = counterCurrentLearning({ classes, hidden: [6], clip: Infinity, ...extra })
      const state = start(method, data)
      return tree.map((after, before) => tf.sub(after, before), method.step(state, data, key(0)).tensors.params, state.params)
    }
    expect(
      difference(
        step({ warmUpSteps: 10 }),
        tree.map((leaf) => tf.mul(leaf, 0.1), step({})),
      ),
    ).toBeLessThan(1e-4)
    const rate = epochCosine({ from: 1, to: 0.1, epochs: 4, stepsPerEpoch: 10 })
    expect(largest([0, 9, 20, 40, 99].map((at, i) => rate(at) - [1, 1, 0.55, 0.1, 0.1][i]))).toBeLessThan(1e-12)
    expect(rate(tf.scalar(25, 'int32')).dataSync()[0]).toBeCloseTo(0.55, 6)
  })

  it('keeps the activations of a layer or two, however many there are; backpropagation keeps all', () => {
    const width = 64
    const hidden = (depth: number) => Array.from({ length: depth }, () => width)
    const bytes = <State extends Tree>(method: ClassifierLearner<State>): number => {
      const { tensors } = method.init(key(0), batchOf(4, [width]), undefined)
      return activationBytes(
        (state: State, data: LabelledBatch) => method.step(state, data, key(0)),
        (n): [State, LabelledBatch] => [tensors, batchOf(n, [width])],
      )
    }
    const local = (depth: number) => bytes(counterCurrentLearning({ classes, hidden: hidden(depth) }))
    const exact = (depth: number) => bytes(errorFeedback({ route: 'backpropagation', classes, hidden: hidden(depth) }))
    expect(local(12)).toBe(local(3))
    expect(exact(12)).toBeGreaterThan(2.5 * exact(3))
    expect(exact(12)).toBeGreaterThan(2.5 * local(12))
  })

  it('costs two thirds of the multiply-adds of backpropagation, and the C signals', () => {
    const data = batchOf(512, [64])
    const hidden = [64, 64, 64, 64, 64]
    const method = counterCurrentLearning({ classes, hidden })
    const own = account((state: CounterCurrentState, given: LabelledBatch) => method.step(state, given, key(0)), start(method, data), data)
    const exact = errorFeedback({ route: 'backpropagation', classes, hidden })
    const twin = exact.init(key(0), data, undefined).tensors
    const other = account((state: typeof twin, given: LabelledBatch) => exact.step(state, given, key(0)), twin, data)
    expect(own.multiplyAdds / other.multiplyAdds).toBeLessThan(0.85)
  })

  it('learns clouds', async () => {
    const { X, y } = clouds(256)
    const model = await fitClassifier(counterCurrentLearning({ classes, hidden: [32, 32, 32], learningRate: 0.1 }), X, y, {
      epochs: 20,
      batchSize: 32,
    })
    const test = clouds(256, 8)
    expect(await model.score(test.X, test.y)).toBeGreaterThan(0.9)
    model.dispose()
  })

  it('brings activations and signals of every hidden layer together: their alignment (CKA) grows', async () => {
    // Clouds that overlap: apart as above, they look like their labels in random layers too.
    const { X, y } = clouds(256, 5, 3)
    const method = counterCurrentLearning({ classes, hidden: [32, 32, 32], learningRate: 0.5 })
    const sample = { x: tf.tensor2d(X.data, [256, features]), y: tf.tensor1d(y, 'int32') }
    const similarity = (state: CounterCurrentState) => {
      const signals = method.signals(state, [features])
      return method.activations(state, sample.x).map((a, l) => linearCka(a, tf.gather(signals[l], sample.y)).dataSync()[0])
    }
    const before = similarity(method.init(key(0), sample, undefined).tensors)
    const model = await fitClassifier(method, X, y, { epochs: 20, batchSize: 32 })
    const after = similarity(model.state.tensors)
    for (const l of [1, 2, 3]) expect(after[l]).toBeGreaterThan(before[l])
    model.dispose()
  })

  it('learns images with convolutions', async () => {
    const { y } = clouds(128)
    const noise = normalArray(key(6), 128 * 64, { stddev: 0.3 })
    // Each class has its corner lit.
    const lit = (i: number) => {
      const [row, column] = [Math.floor((i % 64) / 8), i % 8]
      return (row < 4 ? 0 : 1) + (column < 4 ? 0 : 2) === y[Math.floor(i / 64)] ? 1 : 0
    }
    const X = { data: noise.map((value, i) => value + lit(i)), shape: [128, 8, 8, 1] }
    const method = counterCurrentLearning({ classes, channels: [8, 16], learningRate: 0.3, warmUpSteps: 4 })
    const model = await fitClassifier(method, X, y, { epochs: 15, batchSize: 32 })
    expect(await model.score(X, y)).toBeGreaterThan(0.9)
    model.dispose()
  })
})

describe('linearCka', () => {
  const [x, y] = [normalArray(key(21), 60), normalArray(key(22), 40)]
  const value = (a: tf.Tensor, b: tf.Tensor): number => linearCka(a, b).dataSync()[0]

  it('is the normalised product of centred Gram matrices, whichever of rows and columns are more', () => {
    const gram = (values: tf.Tensor) => {
      const centred = tf.sub(values, tf.mean(values, 0, true))
      return tf.matMul(centred, centred, false, true)
    }
    const product = (a: tf.Tensor, b: tf.Tensor): number => tf.sum(tf.mul(gram(a), gram(b))).dataSync()[0]
    for (const rows of [20, 4]) {
      const [a, b] = [tf.tensor(x, [rows, 60 / rows]), tf.tensor(y, [rows, 40 / rows])]
      expect(value(a, b)).toBeCloseTo(product(a, b) / Math.sqrt(product(a, a) * product(b, b)), 5)
    }
  })

  it('is 1 for what differs by rotation, scale and shift only', () => {
    const a = tf.tensor(x, [30, 2])
    const turned = tf.matMul(a, tf.tensor2d([0.6, -0.8, 0.8, 0.6], [2, 2]))
    expect(value(a, tf.add(tf.mul(turned, 3), 7))).toBeCloseTo(1, 5)
  })
})

describe('rivals', () => {
  const routes: ErrorRoute[] = [
    'backpropagation',
    'feedbackAlignment',
    'directFeedbackAlignment',
    'directRandomTargetProjection',
    'lastLayerOnly',
  ]

  it('exact errors are those of automatic differentiation', () => {
    const data = batchOf(16)
    const exact = errorFeedback({ route: 'backpropagation', classes, hidden: [8, 6], clip: 0.7 })
    const { tensors } = exact.init(key(0), data, undefined)
    const loss = (kernels: readonly tf.Tensor[]) =>
      tf.mean(softmaxCrossEntropy(data.y, tf.matMul(tf.elu(tf.matMul(tf.elu(tf.matMul(data.x, kernels[0])), kernels[1])), kernels[2])))
    const rule = clipByGlobalNorm(0.7)
    const expected = tree.map(
      (kernel, g) => tf.sub(kernel, g),
      tensors.kernels,
      rule.update(grad(loss)(tensors.kernels), [], tensors.kernels).updates,
    )
    expect(difference(exact.step(tensors, data, key(0)).tensors.kernels, expected)).toBeLessThan(1e-5)
  })

  it('feedback alignment through the transposed weights is backpropagation', () => {
    const data = batchOf(16)
    const options = { classes, hidden: [8, 6], clip: Infinity }
    const aligned = errorFeedback({ route: 'feedbackAlignment', ...options })
    const { tensors } = aligned.init(key(0), data, undefined)
    const transposed = { ...tensors, extra: tensors.kernels.slice(1).map((kernel) => tf.transpose(kernel)) }
    const exact = errorFeedback({ route: 'backpropagation', ...options })
    const expected = exact.step({ ...tensors, extra: [] }, data, key(0)).tensors.kernels
    expect(difference(aligned.step(transposed, data, key(0)).tensors.kernels, expected)).toBeLessThan(1e-5)
  })

  it('difference target propagation with one hidden layer moves it by targetRate times the exact gradient', () => {
    const data = batchOf(16)
    const options = { classes, hidden: [8], clip: Infinity }
    const targets = differenceTargetPropagation({ ...options, targetRate: 0.4 })
    const { tensors } = targets.init(key(0), data, undefined)
    const moved = tf.sub(targets.step(tensors, data, key(0)).tensors.kernels[0], tensors.kernels[0])
    const exact = errorFeedback({ route: 'backpropagation', ...options }).step(
      { ...tensors, optimizers: { ...tensors.optimizers, extra: [] } },
      data,
      key(0),
    )
    expect(difference(moved, tf.mul(tf.sub(exact.tensors.kernels[0], tensors.kernels[0]), 0.4))).toBeLessThan(1e-4)
  })

  it.each(routes)('%s learns clouds; only exact routes and the fixed layers move what they should', async (route) => {
    const { X, y } = clouds(256)
    const model = await fitClassifier(errorFeedback({ route, classes, hidden: [32, 32], learningRate: 0.1 }), X, y, {
      epochs: 15,
      batchSize: 32,
    })
    expect(await model.score(X, y)).toBeGreaterThan(0.9)
    const first = errorFeedback({ route, classes, hidden: [32, 32] }).init(random.split(key(0), 2)[0], batchOf(4), undefined).tensors
    const still = difference(model.state.tensors.kernels[0], first.kernels[0]) === 0
    if (route === 'lastLayerOnly') expect(model.state.tensors.optimizers.kernels).toHaveLength(2)
    else expect(still).toBe(false)
    model.dispose()
  })

  it('difference target propagation learns clouds, and its inverses learn', async () => {
    const { X, y } = clouds(256)
    const model = await fitClassifier(differenceTargetPropagation({ classes, hidden: [32, 32], learningRate: 0.1 }), X, y, {
      epochs: 15,
      batchSize: 32,
    })
    expect(await model.score(X, y)).toBeGreaterThan(0.9)
    expect(model.history[14].metrics.inverse).toBeLessThan(0.7 * model.history[0].metrics.inverse)
    model.dispose()
  })
})

describe('counterCurrentAutoencoder', () => {
  const images = (rows: number) => {
    const x = tf.tensor4d(normalArray(key(3), rows * 64), [rows, 8, 8, 1])
    return { x, y: tf.clone(x) }
  }
  const method = () => counterCurrentAutoencoder({ channels: [4, 6] })

  it('starts with blank reconstructions, and signals of the shapes of the activations', () => {
    const data = images(5)
    const { tensors } = method().init(key(0), data, undefined)
    const { activations: up, signals } = method().pairs(tensors, data)
    expect(up.map(({ shape }) => shape)).toEqual([
      [5, 8, 8, 1],
      [5, 4, 4, 4],
      [5, 2, 2, 6],
      [5, 4, 4, 4],
      [5, 8, 8, 1],
    ])
    expect(signals.map(({ shape }) => shape)).toEqual(up.map(({ shape }) => shape))
    expect(valuesOf(up[4]).every((value) => value === 0)).toBe(true)
    expect(method().encode(tensors, data.x).shape).toEqual([5, 2, 2, 6])
  })

  it('pair l has gradients in the layers that end in a_l and in c_l, and exactly zero in all others', () => {
    const data = images(5)
    const { tensors } = method().init(key(0), data, undefined)
    // Kernels that start at zero would hide what they let through.
    const params = tree.map((leaf) => tf.add(leaf, 0.1), tensors.params)
    for (let l = 0; l <= 4; l++) {
      const grads = grad((at: typeof params) => {
        const { activations: up, signals } = method().pairs({ ...tensors, params: at }, data)
        return tf.mean(tf.square(tf.sub(up[l], signals[l])))
      })(params)
      const zero = (side: readonly Tree[]) => side.map((leaf) => valuesOf(leaf).every((value) => value === 0))
      expect(zero(grads.forward)).toEqual([0, 1, 2, 3].map((k) => k !== l - 1))
      expect(zero(grads.feedback)).toEqual([0, 1, 2, 3].map((k) => k !== l))
    }
  })

  it('has the losses of the paper', () => {
    const data = images(5)
    const own = counterCurrentAutoencoder({ channels: [4, 6], clip: Infinity, momentum: 0, weightDecay: 0, centralise: false })
    const { tensors } = own.init(key(0), data, undefined)
    const { activations: up, signals } = own.pairs(tensors, data)
    const { metrics } = own.step(tensors, data, key(0))
    const mse = (a: tf.Tensor, b: tf.Tensor) => tf.mean(tf.square(tf.sub(a, b))).dataSync()[0]
    const unit = (maps: tf.Tensor) => {
      const centred = tf.sub(maps, tf.mean(maps, [1, 2], true))
      return tf.div(centred, tf.add(tf.sqrt(tf.sum(tf.square(centred), [1, 2], true)), 1e-8))
    }
    expect(metrics.pair0.dataSync()[0]).toBeCloseTo(8 * mse(up[0], signals[0]), 4)
    expect(metrics.pair4.dataSync()[0]).toBeCloseTo(8 * mse(up[4], signals[4]), 4)
    expect(metrics.pair1.dataSync()[0]).toBeCloseTo(4 * (mse(up[1], signals[1]) + mse(unit(up[1]), unit(signals[1]))), 4)
    // Without λ's there are no losses: nothing moves.
    const idle = counterCurrentAutoencoder({
      channels: [4, 6],
      lambdaC: 0,
      lambdaD: 0,
      momentum: 0,
      weightDecay: 0,
      clip: Infinity,
      centralise: false,
    })
    expect(difference(idle.step(tensors, data, key(0)).tensors.params, tensors.params)).toBe(0)
  })

  it('learns to reconstruct', async () => {
    const rows = 64
    const base = normalArray(key(7), 4 * 64)
    const mix = normalArray(key(8), rows * 4)
    const x = Float32Array.from({ length: rows * 64 }, (_, i) =>
      [0, 1, 2, 3].reduce((sum, k) => sum + mix[Math.floor(i / 64) * 4 + k] * base[k * 64 + (i % 64)], 0),
    )
    const data = { data: x, shape: [rows, 8, 8, 1] }
    const own = counterCurrentAutoencoder({ channels: [16, 32], learningRate: 0.05 })
    const dataset = batch(fromArrays({ x: data, y: data }), 16)
    const result = await fit(own, dataset, { epochs: 30, validation: dataset })
    const losses = result.history.map(({ metrics }) => metrics['val/loss'])
    expect(losses[29]).toBeLessThan(0.6 * losses[0])
    tree.dispose(result.state.tensors)
  })
})

describe('bad input', () => {
  const message = (fn: () => unknown): string => {
    try {
      fn()
    } catch (error) {
      expect(isBpfError(error)).toBe(true)
      return (error as Error).message
    }
    throw new Error('expected an error')
  }

  it('names sizes, losses and activations that there are not', () => {
    expect(message(() => counterCurrentLearning({ classes: 1 }))).toContain('at least 2, got 1')
    expect(message(() => counterCurrentLearning({ classes, hidden: [4, 0] }))).toContain('hidden must be positive integers, got [4, 0]')
    expect(message(() => counterCurrentLearning({ classes, localLoss: 'cosine' as LocalLoss }))).toContain("got 'cosine'")
    expect(message(() => counterCurrentLearning({ classes, activation: 'sine' as MirrorActivation }))).toContain("got 'sine'")
    expect(message(() => counterCurrentLearning({ classes, lambdaC: -1 }))).toContain('lambdaC must be a number of at least 0, got -1')
    expect(message(() => counterCurrentLearning({ classes, downsampling: 'crop' as 'pool' }))).toContain("'pool' or 'stride', got 'crop'")
    expect(message(() => counterCurrentLearning({ classes, warmUpSteps: 0.5 }))).toContain('warmUpSteps must be an integer')
    expect(message(() => epochCosine({ from: 1, epochs: 0, stepsPerEpoch: 3 }))).toContain('epochs and stepsPerEpoch must be positive')
    expect(message(() => counterCurrentLearning({ classes, clip: 0 }))).toContain('clip must be positive')
    expect(message(() => errorFeedback({ classes, hidden: [4], route: 'x' as ErrorRoute }))).toContain("got 'x'")
    expect(message(() => differenceTargetPropagation({ classes, hidden: [4], targetRate: 0 }))).toContain('targetRate')
    expect(message(() => counterCurrentAutoencoder({ channels: [] }))).toContain('at least one')
  })

  it('names inputs and outputs that do not fit the layers', () => {
    const method = counterCurrentLearning({ classes, hidden: [5] })
    const state = start(method, batchOf(4))
    expect(message(() => method.step(state, batchOf(4, [features + 1]), key(0)))).toContain(
      'layer 1 takes 12 inputs, but gets 13 from x of shape [n, 13]',
    )
    const images = counterCurrentLearning({ classes, channels: [3], hidden: [5] })
    const trained = start(images, batchOf(4, [4, 4, 1]))
    expect(message(() => images.predict(trained, batchOf(4, [8, 8, 1]).x))).toContain(
      'layer 2 takes 12 inputs, but gets 48 from x of shape [n, 8, 8, 1]',
    )
    const other = counterCurrentLearning({ classes: 3, hidden: [5] })
    expect(message(() => other.step(state, batchOf(4), key(0)))).toContain('the last layer has 4 outputs, but classes is 3')
    expect(message(() => method.step(state, { x: batchOf(4).x, y: batchOf(3).y }, key(0)))).toContain('x has 4 examples, y 3')
    expect(message(() => method.step(state, { x: tf.zeros([0, features]), y: tf.zeros([0], 'int32') }, key(0)))).toContain('zero rows')
  })

  it('names images that cannot be mirrored', () => {
    const method = counterCurrentLearning({ classes, channels: [4, 4] })
    expect(message(() => start(method, batchOf(2, [6, 6, 1])))).toContain("spatial size 3 at layer 1 can't be mirrored: needs to be even")
    expect(message(() => start(method, batchOf(2)))).toContain('channels need images')
    const images = { x: tf.zeros([2, 6, 6, 1]), y: tf.zeros([2, 6, 6, 1]) }
    expect(message(() => counterCurrentAutoencoder({ channels: [4, 4] }).init(key(0), images, undefined))).toContain(
      'spatial size 3 at layer 1',
    )
    expect(
      message(() => counterCurrentAutoencoder({ channels: [4] }).init(key(0), { ...images, y: tf.zeros([2, 4, 4, 1]) }, undefined)),
    ).toContain('expected images of one shape')
    expect(message(() => linearCka(tf.zeros([3, 2]), tf.zeros([4, 2])))).toContain('x has 3 rows, y 4')
  })

  it('names labels out of range and NaN before training', async () => {
    const { X, y } = clouds(32)
    const method = counterCurrentLearning({ classes, hidden: [5] })
    const failure = async (x: typeof X, labels: Int32Array) =>
      fitClassifier(method, x, labels, { epochs: 1, batchSize: 8 }).then(
        () => '',
        (error: unknown) => (error as Error).message,
      )
    const wrong = y.slice()
    wrong[3] = 4
    expect(await failure(X, wrong)).toContain('label 4 at index 3')
    expect(await failure({ ...X, data: X.data.map((value, i) => (i === 30 ? NaN : value)) }, y)).toContain('x is NaN in example 2')
  })
})

describe('contracts', () => {
  const { X, y } = clouds(40)
  const rows = () => batch(fromArrays({ x: X, y }), 8)
  const labelled = {
    'dense layers': () => counterCurrentLearning({ classes, hidden: [6, 5], learningRate: 0.3 }),
    'error feedback': () => errorFeedback({ route: 'feedbackAlignment', classes, hidden: [6, 5], learningRate: 0.3 }),
    'target propagation': () => differenceTargetPropagation({ classes, hidden: [6, 5], learningRate: 0.3 }),
  }
  describe.each(Object.entries(labelled))('%s', (_, learner) => {
    for (const check of learnerContract<Tree, LabelledBatch, void>({ learner: learner as never, dataset: rows })) it(check.name, check.run)
  })

  const pixels = { data: normalArray(key(12), 40 * 16), shape: [40, 4, 4, 1] }
  describe('convolutions', () => {
    const learner = () => counterCurrentLearning({ classes, channels: [3, 4], filterTarget: true, learningRate: 0.3 })
    const dataset = () => batch(fromArrays({ x: pixels, y }), 8)
    for (const check of learnerContract({ learner, dataset })) it(check.name, check.run)
  })

  describe('autoencoder', () => {
    const learner = () => counterCurrentAutoencoder({ channels: [3, 4] })
    // Maps of four pixels or fewer are close to constant: their normalised form then magnifies rounding.
    const larger = { data: normalArray(key(12), 40 * 64), shape: [40, 8, 8, 1] }
    const dataset = () => batch(fromArrays({ x: larger, y: larger }), 8)
    const wrongShape = (data: { x: tf.Tensor; y: tf.Tensor }) => ({
      x: tf.pad(data.x, [
        [0, 0],
        [0, 0],
        [0, 0],
        [0, 1],
      ]),
      y: data.y.clone(),
    })
    for (const check of learnerContract({ learner, dataset, wrongShape })) it(check.name, check.run)
  })
})
