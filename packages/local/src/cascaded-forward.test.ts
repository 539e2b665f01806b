import { fitStages, isBpfError, tree, useBackend, vjp, type Tree } from '@bpf/core'
import { batch, fromArrays, shuffle } from '@bpf/core/data'
import { gram, matmul, symmetricEigenvalues, type Matrix } from '@bpf/core/linalg'
import { sgd } from '@bpf/core/optim'
import { key, normalArray, uniformArray } from '@bpf/core/random'
import { stagedContract } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { cascadedForward, fitCascadedForward, type CascadedForwardOptions, type CascadedForwardPredictor } from './cascaded-forward'
import { feedbackAlignmentLearner } from './cascaded-forward/block-learners'
import { convolutionalBlocks, featureRows, kaiming } from './cascaded-forward/blocks'
import { descentStep, leastSquaresPredictor } from './cascaded-forward/predictors'
import type { LabelledBatch } from './classifier'

beforeAll(() => useBackend('onnx'))

const classes = 3
const rows = 60
const y = Int32Array.from({ length: rows }, (_, i) => i % classes)
/** Noise, brighter in a third of the image that tells the class. */
const noise = uniformArray(key(1), rows * 64, { low: 0, high: 0.6 })
const X = { data: noise.map((value, i) => value + (Math.floor((i % 64) / 24) === y[Math.floor(i / 64)] ? 0.6 : 0)), shape: [rows, 8, 8, 1] }
const dataset = () => batch(shuffle(fromArrays({ x: X, y })), 15)
const channels = [4, 6]
const values = (state: Tree): number[] => tree.leaves(state).flatMap((leaf) => [...leaf.dataSync()])
const fitting = { batchSize: 15, key: key(2) }

describe('cascadedForward keeps the contract', () => {
  const methods: Record<string, CascadedForwardOptions> = {
    'random blocks, minibatch predictors': { classes, channels, predictor: { kind: 'minibatch', epochs: 1 } },
    'blocks by DFA, closed form': { classes, channels, blocks: 'dfa', blockEpochs: 1, predictor: { kind: 'leastSquares', lambda: 1e-3 } },
    'random blocks, descent': { classes, channels: [4], predictor: { kind: 'descent', loss: 'sparsemax', iterations: 60 } },
  }
  for (const [name, options] of Object.entries(methods)) {
    for (const check of stagedContract({ staged: () => cascadedForward(options), dataset })) it(`${name}: ${check.name}`, check.run)
  }
})

const features = (n: number, dim: number, spread = 1) => ({
  data: Float64Array.from(normalArray(key(4), n * dim), (value, i) => value * spread ** ((i % dim) / dim)),
  dim,
  y: Int32Array.from({ length: n }, (_, i) => (i * 7) % classes),
})
const targetsOf = ({ y: labels }: { y: Int32Array }): Matrix => ({
  rows: labels.length,
  cols: classes,
  data: Float64Array.from({ length: labels.length * classes }, (_, i) => (labels[Math.floor(i / classes)] === i % classes ? 1 : 0)),
})

describe('the predictors of cascadedForward', () => {
  it.each([
    ['more rows than features', 50, 8, 1],
    ['badly scaled features', 50, 8, 1e-5],
    ['fewer rows than features', 9, 20, 1],
  ] as const)('in closed form leave a residual orthogonal to the features: %s', (_, n, dim, spread) => {
    const set = features(n, dim, spread)
    const f: Matrix = { rows: n, cols: dim, data: set.data }
    const w = leastSquaresPredictor(set, classes, 0)
    const fitted = matmul(f, w)
    const residual = { ...fitted, data: targetsOf(set).data.map((target, i) => target - fitted.data[i]) }
    for (const value of matmul(f, residual, { transposeA: true }).data) expect(Math.abs(value)).toBeLessThan(1e-8)
  })

  it('in closed form have at most the squared error of any iterate of gradient descent', () => {
    const set = features(40, 6)
    const f: Matrix = { rows: 40, cols: 6, data: set.data }
    const error = (w: Matrix): number => matmul(f, w).data.reduce((sum, value, i) => sum + (value - targetsOf(set).data[i]) ** 2, 0)
    const best = error(leastSquaresPredictor(set, classes, 0))
    const iterate: Matrix = { rows: 6, cols: classes, data: new Float64Array(6 * classes).fill(1) }
    for (let k = 0; k < 50; k++) {
      const fitted = matmul(f, iterate)
      const residual = { ...fitted, data: fitted.data.map((value, i) => value - targetsOf(set).data[i]) }
      const gradient = matmul(f, residual, { transposeA: true })
      gradient.data.forEach((slope, i) => (iterate.data[i] -= (0.3 / 40) * slope))
      expect(best).toBeLessThanOrEqual(error(iterate))
    }
  })

  it('in closed form with λ are ridge regression, by rows or by columns', () => {
    const [wide, lambda] = [features(9, 20), 0.1]
    const w = leastSquaresPredictor(wide, classes, lambda)
    const f: Matrix = { rows: 9, cols: 20, data: wide.data }
    const fitted = matmul(f, w)
    const residual = { ...fitted, data: targetsOf(wide).data.map((target, i) => target - fitted.data[i]) }
    const slope = matmul(f, residual, { transposeA: true })
    for (const [i, value] of slope.data.entries()) expect(value).toBeCloseTo(9 * lambda * w.data[i], 8)
    const tall = features(50, 8)
    const normal = gram({ rows: 50, cols: 8, data: tall.data })
    for (let j = 0; j < 8; j++) normal.data[9 * j] += 50 * lambda
    const back = matmul(normal, leastSquaresPredictor(tall, classes, lambda))
    const right = matmul({ rows: 50, cols: 8, data: tall.data }, targetsOf(tall), { transposeA: true })
    for (const [i, value] of right.data.entries()) expect(back.data[i]).toBeCloseTo(value, 7)
  })

  it.each(['crossEntropy', 'sparsemax'] as const)('by descent on %s lose with every step of at most 2/λmax', (loss) => {
    const set = features(40, 6)
    const f = tf.tensor2d(Float32Array.from(set.data), [40, 6])
    const labels = tf.tensor1d(set.y, 'int32')
    const most = Math.max(...symmetricEigenvalues(gram({ rows: 40, cols: 6, data: set.data })))
    // The softmax's curvature is at most FᵀF/(2n), the projection's at most FᵀF/n.
    const step = (loss === 'sparsemax' ? 40 : 80) / most
    let w: tf.Tensor = tf.ones([6, classes])
    let before = Infinity
    for (let k = 0; k < 60; k++) {
      const next = descentStep(w, f, labels, { kind: 'descent', loss, step })
      const value = next.loss.dataSync()[0]
      expect(value).toBeLessThanOrEqual(before + 1e-6)
      before = value
      w = next.w
    }
  })

  it.each<CascadedForwardPredictor>([
    { kind: 'leastSquares', lambda: 1e-3 },
    { kind: 'descent', step: 0.05, iterations: 120 },
    { kind: 'descent', loss: 'sparsemax', step: 0.05, iterations: 120, lambda: 1e-3 },
    { kind: 'adam', iterations: 120 },
    { kind: 'minibatch', learningRate: 0.01, epochs: 40 },
  ])('learn which part is bright: %o', async (predictor) => {
    const before = tf.memory().numTensors
    const model = await fitCascadedForward({ classes, channels, predictor }, X, y, fitting)
    expect(await model.score(X, y)).toBeGreaterThan(0.9)
    const probabilities = await model.predictProba(X)
    for (let row = 0; row < rows; row++) {
      expect(probabilities.subarray(classes * row, classes * (row + 1)).reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 5)
    }
    model.dispose()
    expect(tf.memory().numTensors).toBe(before)
  })
})

describe('cascadedForward', () => {
  it.each<CascadedForwardPredictor>([
    { kind: 'minibatch', epochs: 3 },
    { kind: 'leastSquares', lambda: 1e-3 },
  ])('keeps the predictors of two blocks bit for bit when a third is added: %o', async (predictor) => {
    const [two, three] = [
      await fitCascadedForward({ classes, channels, predictor }, X, y, fitting),
      await fitCascadedForward({ classes, channels: [...channels, 5], predictor }, X, y, fitting),
    ]
    const { predictors, blocks } = three.state.tensors
    expect(values(predictors.slice(0, 2))).toEqual(values(two.state.tensors.predictors))
    expect(values(blocks.slice(0, 2))).toEqual(values(two.state.tensors.blocks))
  })

  it.each(['random', 'dfa'] as const)('trains on cached features as it does on examples: %s blocks', async (blocks) => {
    const options: CascadedForwardOptions = {
      classes,
      channels,
      blocks,
      blockEpochs: 2,
      predictor: { kind: 'minibatch', epochs: 3 },
      statisticsBatchSize: 15,
    }
    const cached = await fitCascadedForward(options, X, y, fitting)
    const staged = await fitStages(cascadedForward(options), dataset(), { key: fitting.key })
    const [a, b] = [values(cached.state.tensors), values(staged.state.tensors)]
    expect(a).toHaveLength(b.length)
    for (const [i, value] of a.entries()) expect(Math.abs(value - b[i])).toBeLessThan(1e-4)
  })

  it('gives blocks before the last the gradient e·B, the last one and the head the true one', () => {
    const blocks = convolutionalBlocks({
      channels,
      epsilon: 1e-5,
      kernelInit: kaiming,
      biasInit: (_, shape) => tf.zeros([...shape]),
      statistics: 'running',
    })
    const start = blocks.init(key(5), [8, 8, 1])
    const learner = feedbackAlignmentLearner(blocks, start, classes, sgd({ learningRate: 1 }))
    const sample: LabelledBatch = { x: tf.tensor4d(X.data.slice(0, 640), [10, 8, 8, 1]), y: tf.tensor1d(y.slice(0, 10), 'int32') }
    const { tensors } = learner.init(key(6), sample, undefined)
    const next = learner.step(tensors, sample, key(7)).tensors
    expect([...tf.norm(tensors.feedback[0], 2, 1).dataSync()]).toEqual([1, 1, 1].map((one) => expect.closeTo(one, 5) as number))
    const run = (i: number, x: tf.Tensor) => (params: Tree) => blocks.train(i, params, start[i].state, x).y
    const f1 = run(0, sample.x)(tensors.weights.blocks[0])
    const f2 = run(1, f1)(tensors.weights.blocks[1])
    const { head } = tensors.weights
    const logits = tf.add(tf.matMul(featureRows(f2), head.kernel as tf.Tensor2D), head.bias)
    const e = tf.div(tf.sub(tf.softmax(logits), tf.oneHot(sample.y as tf.Tensor1D, classes)), 10) as tf.Tensor2D
    const pull = (i: number, x: tf.Tensor, delta: tf.Tensor) =>
      vjp(run(i, x), tensors.weights.blocks[i]).pullback(tf.reshape(delta, i === 0 ? f1.shape : f2.shape))
    const expected = [
      pull(0, sample.x, tf.matMul(e, tensors.feedback[0] as tf.Tensor2D)),
      pull(1, f1, tf.matMul(e, head.kernel as tf.Tensor2D, false, true)),
    ]
    for (const [i, slope] of expected.entries()) {
      const moved = tree.map((before, after) => tf.sub(before, after), tensors.weights.blocks[i], next.weights.blocks[i])
      const [a, b] = [values(moved), values(slope)]
      const scale = Math.max(...b.map(Math.abs))
      for (const [j, value] of a.entries()) expect(Math.abs(value - b[j])).toBeLessThan(1e-4 * Math.max(1, scale))
    }
    const headSlope = tf.matMul(featureRows(f2), e, true)
    expect(tf.max(tf.abs(tf.sub(tf.sub(head.kernel, next.weights.head.kernel), headSlope))).dataSync()[0]).toBeLessThan(1e-4)
  })

  it('normalises new images by the statistics of the training set, or of their own batch', async () => {
    const bright = { ...X, data: X.data.map((value) => 3 * value + 1) }
    const options = { classes, channels, predictor: { kind: 'leastSquares', lambda: 1e-3 } } as const
    const model = await fitCascadedForward(options, X, y, fitting)
    const own = await fitCascadedForward({ ...options, statistics: 'transductive' }, X, y, fitting)
    const half = Math.abs(
      (await model.predictProba(X))[0] - (await model.predictProba({ data: X.data.slice(0, 640), shape: [10, 8, 8, 1] }))[0],
    )
    expect(half).toBeLessThan(1e-5)
    // Brightness scales and shifts all pixels alike: a batch's own statistics hide most of it.
    expect(await own.score(bright, y)).toBeGreaterThan(await model.score(bright, y))
    expect(own.stages[0].steps).toBe(0)
  })

  it('sums probabilities or scores over the blocks', async () => {
    const options = { classes, channels, predictor: { kind: 'minibatch', epochs: 3 } } as const
    const model = await fitCascadedForward(options, X, y, fitting)
    const x = tf.tensor4d(X.data, [rows, 8, 8, 1])
    const [first, second] = tf.unstack(cascadedForward(options).layerScores(model.state.tensors, x), 1)
    const close = (a: tf.Tensor, b: tf.Tensor) => expect(tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]).toBeLessThan(1e-5)
    close(cascadedForward(options).predict(model.state.tensors, x), tf.softmax(tf.add(first, second)))
    const byProbability = cascadedForward({ ...options, aggregate: 'probabilities' }).predict(model.state.tensors, x)
    close(byProbability, tf.div(tf.add(tf.softmax(first), tf.softmax(second)), 2))
  })

  it('ends a minibatch predictor early by its validation loss', async () => {
    const predictor = { kind: 'minibatch', learningRate: 5, epochs: 50, patience: 1 } as const
    const model = await fitCascadedForward({ classes, channels: [4], predictor, validation: { x: X, y } }, X, y, fitting)
    expect(model.stages[1].epochs).toBeLessThan(50)
  })

  it('names what is wrong with options and inputs', async () => {
    const failure = async (promise: Promise<unknown>, name: 'ShapeError' | 'DataError') => {
      const error: unknown = await promise.then(
        () => undefined,
        (reason: unknown) => reason,
      )
      expect(isBpfError(error, name)).toBe(true)
      return (error as Error).message
    }
    expect(() => cascadedForward({ classes: 1 })).toThrow('at least 2, got 1')
    expect(() => cascadedForward({ classes: 3, channels: [] })).toThrow('channels must be positive integers')
    expect(() => cascadedForward({ classes: 3, epsilon: 0 })).toThrow('epsilon must be in (0, 1), got 0')
    expect(() => cascadedForward({ classes: 3, blockEpochs: 0 })).toThrow('blockEpochs must be a positive integer, got 0')
    expect(() => cascadedForward({ classes: 3, predictor: { kind: 'leastSquares', lambda: -1 } })).toThrow(
      'predictor.lambda must be at least 0, got -1',
    )
    expect(() => cascadedForward({ classes: 3, predictor: { kind: 'descent', step: 0 } })).toThrow(
      'predictor.step must be a positive number, got 0',
    )
    expect(() => cascadedForward({ classes: 3, predictor: { kind: 'adam', iterations: 1.5 } })).toThrow(
      'predictor.iterations must be a positive integer',
    )
    const four = { classes, channels: [2, 2, 2, 2] }
    expect(await failure(fitCascadedForward(four, X, y, fitting), 'ShapeError')).toContain(
      'images of 8 × 8 pixels are halved to nothing in block 4',
    )
    const flat = { data: X.data, shape: [rows, 64] }
    expect(await failure(fitCascadedForward({ classes, channels }, flat, y, fitting), 'ShapeError')).toContain('expected images x of shape')
    expect(
      await failure(
        fitCascadedForward(
          { classes, channels },
          X,
          y.map(() => 3),
          fitting,
        ),
        'DataError',
      ),
    ).toContain('label 3 at index 0')
  })
})
