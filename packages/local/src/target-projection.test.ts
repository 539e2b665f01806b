import {
  activationBytes,
  compile,
  float64Tensor,
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
import { avgPool, batchNorm, dense, gruCell, initializers, lstmCell, maxPool, mlp, tanh, type Affine, type Layer } from '@bpf/core/nn'
import { leastSquares, matrix } from '@bpf/core/linalg'
import { key, normalArray } from '@bpf/core/random'
import { learnerContract, stagedContract } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { backpropagation } from './backpropagation'
import { fitClassifier } from './classifier'
import type { LabelledBatch } from './shared/labelled'
import {
  elmanCell,
  fitTargetProjection,
  randomFeedback,
  recurrentTargetProjectionSgd,
  retainedFloats,
  targetConv,
  targetDense,
  targetProjectionRegression,
  targetProjectionSgd,
  type FeedbackRoute,
  type ProjectionKind,
  type TargetLoss,
  type TargetProjectionSgdOptions,
  type TargetProjectionState,
} from './target-projection'
import { drawProjection } from './target-projection/projection'

beforeAll(() => useBackend('onnx'))

const classes = 3
const features = 6
const rows = 64
const losses = ['l2', 'l1', 'huber', 'cosine', 'linear'] as const
const y = Int32Array.from({ length: rows }, (_, i) => i % classes)

/** Three clouds, one for each class. */
function clouds(size = features, spread = 0.5) {
  const centres = normalArray(key(1), classes * size)
  const noise = normalArray(key(2), rows * size, { stddev: spread })
  return { data: noise.map((e, i) => e + centres[y[Math.floor(i / size)] * size + (i % size)]), shape: [rows, size] }
}

const X = clouds()
const sample = (n = 8): LabelledBatch => ({
  x: tf.tensor(X.data.slice(0, n * features), [n, features]),
  y: tf.tensor1d(y.slice(0, n), 'int32'),
})

const method = (options: Partial<TargetProjectionSgdOptions> = {}) =>
  targetProjectionSgd({ layers: [targetDense(16), targetDense(8)], classes, ...options, mode: 'simultaneous' })

const values = (part: Tree): number[] => tree.leaves(part).flatMap((leaf) => Array.from(leaf.dataSync()))
const largest = (list: readonly number[]): number => list.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
const doubles = <T extends Tree>(part: T): T =>
  tree.map((leaf) => (leaf.dtype === 'float32' ? float64Tensor(Float64Array.from(leaf.dataSync()), leaf.shape) : leaf), part)
const scaled = (leaf: tf.Tensor, by: number): tf.Tensor => tf.add(tf.mul(leaf, by), 0.3)

describe('the contract holds for', () => {
  const dataset = () => batch(fromArrays({ x: X, y }), 8)
  const images = () => batch(fromArrays({ x: { data: clouds(64).data, shape: [rows, 8, 8, 1] }, y }), 8)
  const sequences = () => batch(fromArrays({ x: { data: clouds(20).data, shape: [rows, 5, 4] }, y }), 8)
  const conv = () => [targetConv(4, { kernelSize: 3, pool: avgPool(2), channelTarget: true, activation: 'sigmoid' }), targetDense(8)]
  const suites = {
    'dense layers': () => learnerContract({ learner: () => method({ learningRate: 0.02, momentum: 0.9, nesterov: true }), dataset }),
    'the automatic rate': () => learnerContract({ learner: () => method({ localLoss: 'huber' }), dataset }),
    convolutions: () => learnerContract({ learner: () => method({ layers: conv(), learningRate: 1e-3 }), dataset: images }),
    'recurrent layers': () =>
      learnerContract({
        learner: () => recurrentTargetProjectionSgd({ cells: [elmanCell(6), gruCell(5)], classes, readout: 'mean' }),
        dataset: sequences,
      }),
    'a target at the last step': () =>
      learnerContract({
        learner: () => recurrentTargetProjectionSgd({ cells: [lstmCell(6)], classes, target: 'last', learningRate: 0.03 }),
        dataset: sequences,
      }),
    'random feedback': () =>
      learnerContract({ learner: () => randomFeedback({ route: 'feedbackAlignment', hidden: [8, 8], classes }), dataset }),
  }
  for (const [name, checks] of Object.entries(suites)) {
    describe(name, () => {
      for (const check of checks()) it(check.name, check.run)
    })
  }
  describe('regression', () => {
    const learner = () => targetProjectionRegression({ layers: [targetDense(8)], outputs: 2 })
    const targets = { data: X.data.slice(0, 2 * rows), shape: [rows, 2] }
    for (const check of learnerContract({ learner, dataset: () => batch(fromArrays({ x: X, y: targets }), 8) as never }))
      it(check.name, check.run)
  })
  describe('layer after layer', () => {
    const staged = () => targetProjectionSgd({ layers: [targetDense(8)], classes, mode: 'sequential', epochsPerLayer: 2 })
    for (const check of stagedContract({ staged, dataset })) it(check.name, check.run)
  })
})

describe('target projection', () => {
  it('with the linear loss is the update of DRTP, exactly', () => {
    const drtp = method({ localLoss: 'linear', learningRate: 0.1 })
    const data = sample()
    const state = drtp.init(key(3), data, undefined).tensors
    const found = drtp.gradients(state, data)
    let a: tf.Tensor = data.x
    state.layers.forEach(({ params, projection }, i) => {
      const { kernel, bias } = params as Affine
      const above = tf.tanh(tf.add(tf.matMul(a as tf.Tensor2D, kernel as tf.Tensor2D), bias))
      // e = −(P y*) ⊙ σ′(z)/n
      const sent = tf.mul(tf.gather(projection, data.y as tf.Tensor1D), tf.neg(1 / 8))
      const e = tf.mul(sent, tf.sub(1, tf.square(above)))
      const grads = found[i].grads as Affine
      expect(values(grads.kernel)).toEqual(values(tf.matMul(a as tf.Tensor2D, e as tf.Tensor2D, true)))
      expect(values(grads.bias)).toEqual(values(tf.sum(e, 0)))
      a = above
    })
  })

  it('without hidden layers is softmax regression by SGD, bit for bit', () => {
    const own = method({ layers: [], outputLearningRate: 0.1 })
    const data = sample()
    let state: TargetProjectionState = own.init(key(3), data, undefined).tensors
    let params = tree.clone(state.output.params)
    const head = dense(classes)
    const rate = tf.scalar(0.1)
    const regression = compile((at: Affine, { x, y: labels }: LabelledBatch) => {
      const { grads } = valueAndGrad((p: Affine) => tf.mean(softmaxCrossEntropy(labels, head.apply(p, {}, x, { training: true }).y)))(at)
      return tree.map((p, g) => tf.sub(p, tf.mul(g, rate)), at, grads)
    })
    const step = compile((tensors: TargetProjectionState, batched: LabelledBatch) => own.step(tensors, batched, key(0)).tensors)
    for (let i = 0; i < 10; i++) {
      params = regression(params, data)
      state = step(state, data)
    }
    expect(values(state.output.params)).toEqual(values(params))
  })

  it("keeps layers apart: other layers' weights and projections leave a layer's update bit-equal", () => {
    const own = method({ learningRate: 0.02 })
    const data = sample()
    const state = own.init(key(3), data, undefined).tensors
    const update = (tensors: TargetProjectionState, i: number) => values(own.step(tensors, data, key(0)).tensors.layers[i].params)
    const [first, second] = state.layers
    const above = { ...second, params: tree.map((leaf) => scaled(leaf, 2), second.params), projection: tf.neg(second.projection) }
    expect(update({ ...state, layers: [first, above] }, 0)).toEqual(update(state, 0))
    const output = { ...state.output, params: tree.map((leaf) => scaled(leaf, -3), state.output.params) }
    for (const i of [0, 1]) expect(update({ ...state, output }, i)).toEqual(update(state, i))
  })

  it('of a linear layer with squared errors converges to the least-squares solution (1e-4)', () => {
    const own = method({ layers: [targetDense(4, { activation: 'linear' })], learningRate: 0.05 })
    const n = 32
    const data = sample(n)
    let state: TargetProjectionState = own.init(key(3), data, undefined).tensors
    const step = compile((tensors: TargetProjectionState, batched: LabelledBatch) => {
      const next = Array.from({ length: 20 }).reduce<TargetProjectionState>((at) => own.step(at, batched, key(0)).tensors, tensors)
      return next
    })
    for (let i = 0; i < 300; i++) state = step(state, data)
    const inputs = Array.from({ length: n }, (_, i) => [...X.data.slice(i * features, (i + 1) * features), 1])
    const targets = Array.from({ length: n }, (_, i) => values(tf.gather(state.layers[0].projection, [y[i]])))
    const { solution } = leastSquares(matrix(inputs), matrix(targets))
    const { kernel, bias } = state.layers[0].params as Affine
    const found = [...values(kernel), ...values(bias)]
    const expected = Array.from(solution.data)
    expect(largest(found.map((value, i) => value - expected[i]))).toBeLessThan(1e-4)
  })

  it.each(losses)('%s: gradients match finite differences of the local loss (1e-6, float64)', (localLoss) => {
    const own = method({ localLoss, layers: [targetDense(5)] })
    const data = sample()
    const state = own.init(key(3), data, undefined).tensors
    const run = compile(
      (params: Affine, projection: tf.Tensor, output: TargetProjectionState['output'], x: tf.Tensor, labels: tf.Tensor) => {
        const layer = { params, state: {}, projection, optimizer: [] }
        const [{ loss, grads }] = own.gradients({ layers: [layer], output }, { x, y: labels })
        return { loss, grads }
      },
      { precision: 'float64' },
    )
    const [layer] = state.layers
    const at = (params: Affine) => run(params, doubles(layer.projection), doubles(state.output), doubles(data.x), data.y)
    const params = doubles(layer.params as Affine)
    const slopes = values((at(params).grads as Affine).kernel)
    const h = 1e-5
    for (const index of [0, 7, 18, 29]) {
      const [up, down] = [h, -h].map((move) => {
        const moved = Float64Array.from(params.kernel.dataSync())
        moved[index] += move
        return values(at({ ...params, kernel: float64Tensor(moved, params.kernel.shape) }).loss)[0]
      })
      expect(Math.abs((up - down) / (2 * h) - slopes[index])).toBeLessThan(1e-6)
    }
  })

  it('with l1 sends only signs: each entry of the error is −1, 0 or 1 times the slope', () => {
    const own = method({ localLoss: 'l1', layers: [targetDense(5, { activation: 'linear' })] })
    const data = sample(1)
    const state = own.init(key(3), data, undefined).tensors
    const [{ grads }] = own.gradients(state, data)
    // One row and slope 1: the gradient of the bias is the error.
    for (const value of values((grads as Affine).bias)) expect([-1, 0, 1]).toContain(value)
    const tied = { ...state.layers[0], projection: tf.zerosLike(state.layers[0].projection) }
    const still = { ...tied, params: tree.zerosLike(tied.params) }
    expect(values((own.gradients({ ...state, layers: [still] }, data)[0].grads as Affine).bias)).toEqual([0, 0, 0, 0, 0])
  })

  it('takes a loss of the user with its derivative', () => {
    const own: TargetLoss = { value: (a, t) => tf.sum(tf.square(tf.sub(a, t)), 1), derivative: (a, t) => tf.mul(2, tf.sub(a, t)) }
    const data = sample()
    const [a, b] = [method({ localLoss: own }), method({ localLoss: 'l2' })]
    const state = a.init(key(3), data, undefined).tensors
    const [mine, theirs] = [a, b].map((one) => values(one.gradients(state, data).map(({ loss, grads }) => [loss, grads])))
    expect(largest(mine.map((value, i) => value - theirs[i]))).toBeLessThan(1e-6)
  })

  it('of a batch-normalised layer trains its scale and shift, and moves its statistics', () => {
    const affine = dense(5)
    const norm = batchNorm()
    const layer: Layer = {
      init(k, shape) {
        const [first, second] = [affine.init(random.fold(k, 0), shape), norm.init(random.fold(k, 1), [5])]
        return { params: [first.params, second.params] as Tree, state: second.state, outputShape: [5] }
      },
      apply(params, state, x, options) {
        const [own, scales] = params as unknown as [Affine, never]
        const result = norm.apply(scales, state as never, affine.apply(own, {}, x, options).y, options)
        return { y: tf.tanh(result.y), state: result.state }
      },
    }
    const own = method({ layers: [{ layer, activation: 'tanh' }], learningRate: 0.05 })
    const data = sample(16)
    const state = own.init(key(3), data, undefined).tensors
    const next = own.step(state, data, key(0)).tensors
    const before = tree.leaves(state.layers[0].params)
    tree.leaves(next.layers[0].params).forEach((leaf, i) => {
      // The bias before a norm has no effect, hence no gradient beyond rounding.
      if (leaf.shape.length === 1 && i === 0) return
      expect(values(leaf)).not.toEqual(values(before[i]))
    })
    expect(values(next.layers[0].state)).not.toEqual(values(state.layers[0].state))
  })

  it('draws P once: the same key gives the same P and run, classes differ, a step keeps it', () => {
    const own = method({ layers: [targetDense(16)], learningRate: 0.02 })
    const data = sample()
    const runs = [0, 1].map(() => {
      let state: TargetProjectionState = own.init(key(4), data, undefined).tensors
      const first = values(state.layers[0].projection)
      for (let i = 0; i < 3; i++) state = own.step(state, data, random.fold(key(5), i)).tensors
      expect(values(state.layers[0].projection)).toEqual(first)
      return values(state)
    })
    expect(runs[0]).toEqual(runs[1])
    for (const kind of ['sign', 'gaussian', 'uniform', 'orthogonal'] as ProjectionKind[]) {
      const p = drawProjection('test', { kind, scale: 1 }, key(6), [4, 16], 'tanh').arraySync() as number[][]
      expect(new Set(p.map((row) => row.join())).size).toBe(4)
    }
  })

  it('scales P to the activation: signs to {0.1, 0.9} for sigmoid and {0, s} for ReLU, orthogonal columns to s·√d', () => {
    const draw = (kind: ProjectionKind, activation: 'sigmoid' | 'relu' | 'tanh', scale = 0.5) =>
      drawProjection('test', { kind, scale }, key(6), [4, 16], activation)
    for (const value of values(draw('sign', 'sigmoid'))) expect(Math.min(Math.abs(value - 0.1), Math.abs(value - 0.9))).toBeLessThan(1e-6)
    expect(new Set(values(draw('sign', 'relu')))).toEqual(new Set([0, 0.5]))
    expect(Math.min(...values(draw('gaussian', 'relu')))).toBeGreaterThanOrEqual(0)
    expect(largest(values(draw('uniform', 'tanh', 1)))).toBeLessThanOrEqual(Math.sqrt(6 / 16))
    const p = draw('orthogonal', 'tanh')
    const gram = values(tf.matMul(p as tf.Tensor2D, p as tf.Tensor2D, false, true))
    gram.forEach((value, i) => expect(value).toBeCloseTo(i % 5 === 0 ? 0.25 * 16 : 0, 5))
  })

  it('layer after layer and all at once agree on the first layer', async () => {
    const options = { layers: [targetDense(8), targetDense(6)], classes, learningRate: 0.02 }
    const [together, staged] = [targetProjectionSgd(options), targetProjectionSgd({ ...options, mode: 'sequential' })]
    const data = batch(fromArrays({ x: X, y }), 8) as Parameters<typeof staged.stage>[2]['dataset']
    const first = sample()
    let state: TargetProjectionState = together.init(key(3), first, undefined).tensors
    const initial = staged.init(key(3), first)
    const { learner, finish } = await staged.stage(0, initial, { dataset: data, key: key(5) })
    let inner = learner.init(key(6), first, undefined)
    for (let i = 0; i < 5; i++) {
      state = together.step(state, first, key(i)).tensors
      inner = { ...inner, tensors: learner.step(inner.tensors, first, key(i)).tensors }
    }
    expect(values(finish(inner).tensors.layers[0].params)).toEqual(values(state.layers[0].params))
  })

  it('keeps max(d_{i−1} + d_i) floats for each row at any depth, backpropagation Σ d_i', () => {
    expect(retainedFloats([784, 256, 256, 10])).toEqual({ targetProjection: 1040, backpropagation: 1306 })
    expect(retainedFloats([784, 256, 256, 256, 256, 256, 10])).toEqual({ targetProjection: 1040, backpropagation: 2074 })
  })

  it('needs memory for activations that does not grow with depth, unlike backpropagation', () => {
    const width = 64
    const bytes = (learner: { init: unknown; step: unknown }): number => {
      const own = learner as ReturnType<typeof method>
      const batchOf = (n: number): LabelledBatch => ({ x: tf.zeros([n, width]), y: tf.zeros([n], 'int32') })
      const { tensors } = own.init(key(0), batchOf(2), undefined)
      return activationBytes(
        (state: TargetProjectionState, data: LabelledBatch, k: random.Key) => own.step(state, data, k),
        (n): [TargetProjectionState, LabelledBatch, random.Key] => [tensors, batchOf(n), key(0)],
      )
    }
    const local = [3, 6, 12].map((depth) =>
      bytes(method({ layers: Array.from({ length: depth }, () => targetDense(width)), learningRate: 0.01 })),
    )
    const global = [3, 6, 12].map((depth) =>
      bytes(backpropagation({ network: mlp({ hidden: Array<number>(depth).fill(width), outputs: classes, activation: tanh() }), classes })),
    )
    expect(new Set(local).size).toBe(1)
    expect(global[2]).toBeGreaterThan(2 * global[0])
    expect(local[2]).toBeLessThan(0.5 * global[2])
  })
})

describe('a trained model', () => {
  const options = { epochs: 20, batchSize: 16, key: key(8) }

  it('separates clouds, with any loss and layer by layer', async () => {
    for (const localLoss of losses) {
      const model = await fitClassifier(
        method({ localLoss, learningRate: localLoss === 'cosine' ? 0.5 : 0.05, outputLearningRate: 0.1 }),
        X,
        y,
        options,
      )
      expect(await model.score(X, y), localLoss).toBeGreaterThan(0.9)
      model.dispose()
    }
    const before = tf.memory().numTensors
    const greedy = { layers: [targetDense(16), targetDense(8)], classes, epochsPerLayer: 12, outputLearningRate: 0.1 }
    const model = await fitTargetProjection(greedy, X, y, options)
    expect(model.stages.map(({ stage }) => stage)).toEqual(['layer 1', 'layer 2', 'output layer'])
    expect(await model.score(X, y)).toBeGreaterThan(0.9)
    model.dispose()
    expect(tf.memory().numTensors).toBe(before)
  })

  it('sees images through convolutions with pooling, whichever map has the target', async () => {
    const images = { data: clouds(64).data, shape: [rows, 8, 8, 1] }
    for (const lossOn of ['map', 'pooled'] as const) {
      const layers = [targetConv(4, { kernelSize: 3, pool: maxPool(2), lossOn }), targetDense(16)]
      const model = await fitClassifier(method({ layers }), images, y, options)
      expect(model.state.tensors.layers[0].projection.shape).toEqual([classes, lossOn === 'map' ? 256 : 64])
      expect(await model.score(images, y)).toBeGreaterThan(0.9)
      model.dispose()
    }
  })

  it('adapts to a frozen trunk and leaves it alone', async () => {
    const features_ = tf.tensor(normalArray(key(9), features * 12), [features, 12])
    const trunk = (x: tf.Tensor) => tf.tanh(tf.matMul(x as tf.Tensor2D, features_ as tf.Tensor2D))
    const model = await fitClassifier(method({ layers: [targetDense(8)], trunk }), X, y, options)
    expect((model.state.tensors.layers[0].params as Affine).kernel.shape).toEqual([12, 8])
    expect(await model.score(X, y)).toBeGreaterThan(0.9)
    model.dispose()
  })

  it('with learningRate 0 trains the last layer only', () => {
    const frozen = method({ learningRate: 0 })
    const data = sample()
    const state = frozen.init(key(3), data, undefined).tensors
    const next = frozen.step(state, data, key(0))
    expect(values(next.tensors.layers)).toEqual(values(state.layers))
    expect(values(next.tensors.output.params)).not.toEqual(values(state.output.params))
    expect(Object.keys(next.metrics)).toEqual(['loss'])
  })

  it('fits values where values are asked for', () => {
    const own = targetProjectionRegression({ layers: [targetDense(32)], outputs: 1, outputLearningRate: 0.02 })
    const x = tf.tensor(X.data, [rows, features])
    const data = { x, y: tf.mul(tf.tanh(tf.slice(x, [0, 0], [-1, 1])), 0.8) }
    let { tensors } = own.init(key(3), data, undefined)
    const step = compile((state: TargetProjectionState, both: typeof data) => own.step(state, both, key(0)))
    const first = step(tensors, data).metrics.loss.dataSync()[0]
    for (let i = 0; i < 300; i++) tensors = step(tensors, data).tensors
    expect(step(tensors, data).metrics.loss.dataSync()[0]).toBeLessThan(0.1 * first)
  })
})

describe('a recurrent layer', () => {
  const n = 8
  const recurrent = (options = {}) => recurrentTargetProjectionSgd({ cells: [elmanCell(6)], classes, ...options })

  it('over one step is a dense layer', () => {
    const data = sample(n)
    const own = recurrent()
    const flat = method({ layers: [targetDense(6)] })
    const sequences = { x: tf.reshape(data.x, [n, 1, features]), y: data.y }
    const { tensors } = own.init(key(3), sequences, undefined)
    const [cell] = tensors.cells
    const { inputKernel, bias } = cell.params as { inputKernel: tf.Tensor; bias: tf.Tensor }
    const layer = { params: { kernel: inputKernel, bias }, state: {}, projection: cell.projection, optimizer: [] }
    const [dense_] = flat.gradients({ layers: [layer], output: tensors.output }, data)
    const { losses: found, grads } = own.gradients(tensors, sequences)
    const both = grads[0] as { inputKernel: tf.Tensor; bias: tf.Tensor; recurrentKernel: tf.Tensor }
    expect(values(found[0])).toEqual(values(dense_.loss))
    expect(values([both.inputKernel, both.bias])).toEqual(values([(dense_.grads as Affine).kernel, (dense_.grads as Affine).bias]))
    expect(largest(values(both.recurrentKernel))).toBe(0)
  })

  it('without recurrent weights has the mean of T dense gradients', () => {
    const own = recurrent()
    const flat = method({ layers: [targetDense(6)] })
    const x = tf.tensor(X.data.slice(0, n * 2 * 3), [n, 2, 3])
    const { y: labels } = sample(n)
    const { tensors } = own.init(key(3), { x, y: labels }, undefined)
    const [cell] = tensors.cells
    const params = cell.params as { inputKernel: tf.Tensor; bias: tf.Tensor; recurrentKernel: tf.Tensor }
    const still = { ...cell, params: { ...params, recurrentKernel: tf.zerosLike(params.recurrentKernel) } }
    const layer = { params: { kernel: params.inputKernel, bias: params.bias }, state: {}, projection: cell.projection, optimizer: [] }
    const parts = [0, 1].map((t) => {
      const step = tf.squeeze(tf.slice(x, [0, t, 0], [-1, 1, -1]), [1])
      return values((flat.gradients({ layers: [layer], output: tensors.output }, { x: step, y: labels })[0].grads as Affine).kernel)
    })
    const found = values((own.gradients({ ...tensors, cells: [still] }, { x, y: labels }).grads[0] as typeof params).inputKernel)
    expect(largest(found.map((value, i) => value - (parts[0][i] + parts[1][i]) / 2))).toBeLessThan(1e-6)
  })

  // Up to 32 steps are written out, longer sequences are a loop in the graph.
  it.each([5, 40])('of GRU and LSTM cells has the gradients of single steps, summed (%i steps)', (steps) => {
    const cells = [gruCell(5), lstmCell(4)]
    const own = recurrent({ cells })
    const x = tf.tensor(normalArray(key(11), n * steps * 2), [n, steps, 2])
    const data = { x, y: sample(n).y }
    const { tensors } = own.init(key(3), data, undefined)
    const found = compile((state: typeof tensors, both: LabelledBatch) => own.gradients(state, both))(tensors, data)
    const upper = tf.unstack(own.states(tensors, x)[0], 1)
    const inputs = [tf.unstack(x, 1), upper]
    cells.forEach((cell, layer) => {
      const one = cell as unknown as (typeof cells)[0]
      const { params, projection } = tensors.cells[layer]
      const targets = tf.gather(projection, data.y as tf.Tensor1D)
      const { value, grads } = valueAndGrad((at: Tree) => {
        let carry = one.initialCarry(n)
        const parts = inputs[layer].map((input) => {
          const next = one.advance(at as never, stopGradient(carry), one.prepare(at as never, input))
          carry = next.carry
          return tf.mean(tf.sum(tf.square(tf.sub(next.y, targets)), 1))
        })
        return tf.div(tf.addN(parts), steps)
      })(params)
      const [mine, theirs] = [values(found.grads[layer]), values(grads)]
      expect(largest(mine.map((part, i) => part - theirs[i]))).toBeLessThan(1e-5 * largest(theirs))
      expect(values(tf.mean(found.losses[layer]))[0]).toBeCloseTo(values(value)[0], 4)
    })
  })

  it('keeps memory that does not grow with the number of steps', () => {
    const own = recurrent({ cells: [elmanCell(32), elmanCell(32)], learningRate: 0.01 })
    const bytes = (steps: number) => {
      const data = (size: number): LabelledBatch => ({ x: tf.zeros([size, steps, 8]), y: tf.zeros([size], 'int32') })
      const { tensors } = own.init(key(0), data(2), undefined)
      const all = activationBytes(
        (state: typeof tensors, both: LabelledBatch) => own.step(state, both, key(0)),
        (size): [typeof tensors, LabelledBatch] => [tensors, data(size)],
      )
      // The sequence itself, put time first, grows with T.
      return all - 4 * steps * 8
    }
    expect(bytes(40)).toBeLessThanOrEqual(bytes(10))
  })

  it.each(['every', 'last'] as const)('learns sequences with a target at %s step, with all cells', async (target) => {
    const sequences = { data: clouds(20).data, shape: [rows, 5, 4] }
    for (const cell of [elmanCell(16), gruCell(16), lstmCell(16)]) {
      const own = recurrentTargetProjectionSgd({ cells: [cell], classes, target, outputLearningRate: 0.1 })
      const model = await fitClassifier(own, sequences, y, { epochs: 20, batchSize: 16, key: key(8) })
      expect(await model.score(sequences, y)).toBeGreaterThan(0.8)
      model.dispose()
    }
  })
})

describe('random feedback', () => {
  it('of exact errors is backpropagation', () => {
    const network = mlp({ hidden: [7, 5], outputs: classes, activation: tanh(), kernelInit: initializers.xavierUniform() })
    const data = sample()
    const { params, state: none } = network.init(key(3), [features])
    const own = randomFeedback({ route: 'backpropagation', hidden: [7, 5], classes, learningRate: 0.1 })
    const { tensors } = own.init(key(3), data, undefined)
    const layers = params.filter((part) => tree.leaves(part).length > 0) as unknown as Affine[]
    const next = own.step({ ...tensors, layers }, data, key(0)).tensors.layers
    const { grads } = valueAndGrad((at: readonly Tree[]) =>
      tf.mean(softmaxCrossEntropy(data.y, network.apply(at, none, data.x, { training: true }).y)),
    )(params)
    const expected = values(tree.map((p, g) => tf.sub(p, tf.mul(g, 0.1)), params, grads))
    expect(largest(values(next).map((value, i) => value - expected[i]))).toBeLessThan(1e-6)
  })

  it.each(['feedbackAlignment', 'directFeedbackAlignment', 'signDirectFeedbackAlignment'] as FeedbackRoute[])(
    'by %s learns',
    async (route) => {
      const own = randomFeedback({ route, hidden: [16, 16], classes, learningRate: 0.05 })
      const model = await fitClassifier(own, X, y, { epochs: 20, batchSize: 16, key: key(8) })
      expect(await model.score(X, y)).toBeGreaterThan(0.9)
      model.dispose()
    },
  )
})

describe('bad input', () => {
  const failure = async (run: () => unknown): Promise<{ kind: string; message: string }> => {
    try {
      await run()
    } catch (error) {
      const kind = (['ShapeError', 'OptionError', 'DataError'] as const).find((name) => isBpfError(error, name))
      return { kind: kind ?? 'another error', message: (error as Error).message }
    }
    throw new Error('nothing was thrown')
  }
  const option = async (run: () => unknown, ...words: string[]) => {
    const { kind, message } = await failure(run)
    expect(kind).toBe('OptionError')
    for (const word of words) expect(message).toContain(word)
  }

  it('is named: widths, losses, projections, modes', async () => {
    await option(() => targetDense(1), 'at least 2 units', 'got 1')
    await option(() => targetConv(1, { kernelSize: 3 }), 'at least 2 channels')
    await option(() => elmanCell(1), 'at least 2 units')
    await option(() => method({ localLoss: 'l3' as never }), 'localLoss must be one of l2, l1', "got 'l3'")
    await option(() => method({ localLoss: { value: tf.sum } as never }), 'no derivative')
    await option(() => method({ localLoss: (() => 0) as never }), 'no derivative')
    await option(() => method({ projectionScale: 1.5 }), 'tanh targets must lie in [−1, 1]', '1.5')
    await option(() => method({ projection: 'ones' as never }), 'projection must be one of')
    await option(() => targetProjectionSgd({ layers: [], classes, mode: 'both' as never }), 'mode must be')
    await option(() => method({ classes: 1 }), 'at least 2, got 1')
    await option(() => method({ learningRate: 'fast' as never }), "got 'fast'")
    await option(() => targetDense(4, { activation: 'elu' as never }), 'activation must be one of')
    await option(() => randomFeedback({ route: 'none' as never, hidden: [3], classes }), 'route must be one of')
    await option(() => retainedFloats([3]), 'at least two')
  })

  it('is named: targets out of the range of the activation', async () => {
    const own = method({ layers: [targetDense(4, { activation: 'sigmoid' })], projection: (_, shape) => tf.fill([...shape], -1) })
    await option(() => own.init(key(0), sample(), undefined), 'sigmoid targets must lie in (0, 1): got -1')
    const narrow = method({ layers: [targetDense(2)], projection: 'orthogonal' })
    await option(() => narrow.init(key(0), sample(), undefined), 'at least 3 units')
  })

  it('is named: labels, NaN, sequences of length 0', async () => {
    const wrong = y.slice()
    wrong[5] = 3
    expect((await failure(() => fitClassifier(method(), X, wrong, { epochs: 1, batchSize: 16 }))).message).toContain('label 3 at index 5')
    const nan = { ...X, data: X.data.map((value, i) => (i === 7 ? NaN : value)) }
    const { kind, message } = await failure(() => fitClassifier(method(), nan, y, { epochs: 1, batchSize: 16 }))
    expect([kind, message.includes('x is NaN in example 1')]).toEqual(['DataError', true])
    const own = recurrentTargetProjectionSgd({ cells: [elmanCell(4)], classes })
    const empty = { x: tf.zeros([2, 0, 3]), y: tf.zeros([2], 'int32') }
    const shape = await failure(() => own.init(key(0), empty, undefined))
    expect([shape.kind, shape.message.includes('T ≥ 1')]).toEqual(['ShapeError', true])
  })

  it('is warned of: a learning rate beyond the bound, with the bound', async () => {
    const heard: string[] = []
    const onWarning = (message: string) => void heard.push(message)
    const train = (options: Partial<TargetProjectionSgdOptions>) =>
      fitClassifier(method({ onWarning, ...options }), X, y, { steps: 1, batchSize: 16 }).then((model) => model.dispose())
    await train({ learningRate: 1 })
    expect(heard).toHaveLength(1)
    const mean = X.data.reduce((sum, value) => sum + value * value, 0) / rows
    expect(heard[0]).toContain(`above ${Number((1 / mean).toPrecision(3))}, the bound of stability`)
    await train({ learningRate: 0.01 })
    await train({})
    await train({ learningRate: 1, localLoss: 'linear' })
    expect(heard).toHaveLength(1)
  })
})
