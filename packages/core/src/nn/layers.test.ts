import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { isBpfError } from '../errors'
import { grad, hvp } from '../grad/index'
import { key, normal, permutation } from '../random/index'
import { entries, leaves, map, norm, signature, type Tree } from '../tree'
import { layerCases as cases } from './__fixtures__/layers'
import { torchLayers } from './__fixtures__/torch'
import * as nn from './index'

await useBackend()

type Stored = { shape: readonly number[]; values: readonly number[] }
const tensor = ({ shape, values }: Stored) => tf.tensor([...values], [...shape], 'float32')

function expectClose(actual: tf.Tensor, expected: Stored, tolerance = 2e-6): void {
  expect(actual.shape).toEqual(expected.shape)
  const values = actual.dataSync()
  const worst = expected.values.reduce((most, value, i) => Math.max(most, Math.abs(value - values[i])), 0)
  expect(worst).toBeLessThan(tolerance)
}

const evaluation = { training: false }
const g = torchLayers

describe('convolutions and pooling equal PyTorch', () => {
  const conv2dCases: [keyof typeof g & `conv2d${string}`, nn.Layer<nn.Affine, nn.Empty>][] = [
    ['conv2dStride', nn.conv2d(4, { kernelSize: 3, stride: 2, padding: 1 })],
    ['conv2dGroups', nn.conv2d(6, { kernelSize: 3, groups: 2, padding: 'valid' })],
    ['conv2dDepthwise', nn.conv2d(6, { kernelSize: 3, groups: 3, padding: 1 })],
    ['conv2dDilated', nn.conv2d(2, { kernelSize: 3, dilation: 2, padding: 'valid' })],
    ['conv2dTranspose', nn.conv2dTranspose(2, { kernelSize: 3, stride: 2, padding: 'valid' })],
  ]
  it.each(conv2dCases)('%s', (name, layer) => {
    const { x, kernel, bias, y } = g[name]
    const params = { kernel: tensor(kernel), bias: tensor(bias) }
    const { params: drawn, outputShape } = layer.init(key(0), x.shape.slice(1))
    expect(signature(drawn)).toBe(signature(params))
    expect(outputShape).toEqual(y.shape.slice(1))
    expectClose(layer.apply(params, {}, tensor(x), evaluation).y, y)
  })

  it('depthwiseConv2d', () => {
    const { x, kernel, bias, y } = g.conv2dDepthwise
    const layer = nn.depthwiseConv2d({ kernelSize: 3, multiplier: 2 })
    expectClose(layer.apply({ kernel: tf.reshape(tensor(kernel), [3, 3, 3, 2]), bias: tensor(bias) }, {}, tensor(x), evaluation).y, y)
  })

  it('causal dilated conv1d', () => {
    const { x, kernel, bias, y } = g.conv1dCausal
    const layer = nn.conv1d(2, { kernelSize: 3, dilation: 2, padding: 'causal' })
    expectClose(layer.apply({ kernel: tensor(kernel), bias: tensor(bias) }, {}, tensor(x), evaluation).y, y)
  })

  it('maxPool with padding and avgPool', () => {
    expectClose(nn.maxPool(3, { stride: 2, padding: 1 }).apply({}, {}, tensor(g.maxPool.x), evaluation).y, g.maxPool.y)
    expectClose(nn.avgPool(2).apply({}, {}, tensor(g.avgPool.x), evaluation).y, g.avgPool.y)
  })
})

describe('normalisations equal PyTorch', () => {
  it('batchNorm: outputs, running statistics with the unbiased variance, evaluation', () => {
    const { scale, offset, x, y, mean, variance, evaluated } = g.batchNorm
    const layer = nn.batchNorm({ momentum: 0.2 })
    const params = { scale: tensor(scale), offset: tensor(offset) }
    let { state } = layer.init(key(0), [2, 2, 3])
    x.forEach((batch, i) => {
      const result = layer.apply(params, state, tensor(batch), { training: true })
      expectClose(result.y, y[i], 5e-6)
      state = result.state
    })
    expectClose(state.mean, mean)
    expectClose(state.variance, variance, 5e-6)
    const after = layer.apply(params, state, tensor(x[0]), evaluation)
    expectClose(after.y, evaluated, 5e-6)
    expectClose(after.state.variance, variance, 5e-6)
  })

  it('batchNorm with a frozen map keeps it in the state and out of the parameters', () => {
    const layer = nn.batchNorm({ affine: 'frozen' })
    const { params, state } = layer.init(key(0), [3])
    expect(params).toEqual({})
    const loaded = { ...state, scale: tf.tensor1d([2, 2, 2]), offset: tf.tensor1d([1, 1, 1]) }
    const x = tf.tensor2d([1, 2, 3, 3, 2, 9], [2, 3])
    const { y, state: next } = layer.apply(params, loaded, x, { training: true })
    expectClose(y, { shape: [2, 3], values: [-1, 1, -1, 3, 1, 3] }, 1e-4)
    expect(entries(next).map(({ path }) => path)).toEqual(['/mean', '/offset', '/scale', '/variance'])
    expect([...next.scale.dataSync()]).toEqual([2, 2, 2])
  })

  it('batchNorm does not train on one value per channel', () => {
    const layer = nn.batchNorm()
    const { params, state } = layer.init(key(0), [2])
    expect(() => layer.apply(params, state, tf.zeros([1, 2]), { training: true })).toThrow(/more than one value per channel/)
  })

  it('groupNorm', () => {
    const { x, scale, offset, y } = g.groupNorm
    expectClose(nn.groupNorm(2).apply({ scale: tensor(scale), offset: tensor(offset) }, {}, tensor(x), evaluation).y, y)
  })

  it('layerNorm', () => {
    const { x, scale, offset, y } = g.layerNorm
    expectClose(nn.layerNorm().apply({ scale: tensor(scale), offset: tensor(offset) }, {}, tensor(x), evaluation).y, y)
  })

  it('rmsNorm divides by the root mean square', () => {
    const y = nn.rmsNorm({ epsilon: 0 }).apply({ scale: tf.tensor1d([1, 2]) }, {}, tf.tensor2d([3, 4], [1, 2]), evaluation).y
    const rms = Math.sqrt(12.5)
    expectClose(y, { shape: [1, 2], values: [3 / rms, 8 / rms] })
  })
})

describe('recurrence equals PyTorch', () => {
  const cells: ['gru' | 'lstm', nn.Layer<nn.GatedParams, nn.Empty>, nn.Layer<nn.GatedParams, nn.Empty>][] = [
    ['gru', nn.recurrent(nn.gruCell(2)), nn.recurrent(nn.gruCell(2), { output: 'last', reverse: true })],
    ['lstm', nn.recurrent(nn.lstmCell(2)), nn.recurrent(nn.lstmCell(2), { output: 'last', reverse: true })],
  ]
  it.each(cells)('%s', (name, layer, backwards) => {
    const { x, y, ...stored } = g[name]
    const params = map((leaf) => leaf, {
      inputKernel: tensor(stored.inputKernel),
      inputBias: tensor(stored.inputBias),
      recurrentKernel: tensor(stored.recurrentKernel),
      recurrentBias: tensor(stored.recurrentBias),
    })
    expect(signature(layer.init(key(0), [4, 3]).params)).toBe(signature(params))
    expectClose(layer.apply(params, {}, tensor(x), evaluation).y, y)
    const last = backwards.apply(params, {}, tf.reverse(tensor(x), 1), evaluation).y
    expectClose(last, { shape: [2, 2], values: [...y.values.slice(6, 8), ...y.values.slice(14, 16)] })
  })

  it('unroll goes on from a carry', () => {
    const cell = nn.lstmCell(2)
    const { params } = cell.init(key(1), [3])
    const x = normal(key(2), [2, 4, 3])
    const whole = nn.unroll(cell, params, x)
    const head = nn.unroll(cell, params, tf.slice(x, [0, 0, 0], [2, 1, 3]))
    const rest = nn.unroll(cell, params, tf.slice(x, [0, 1, 0], [2, 3, 3]), head.carry)
    expect([...tf.concat([head.y, rest.y], 1).dataSync()]).toEqual([...whole.y.dataSync()])
    expect([...rest.carry.cell.dataSync()]).toEqual([...whole.carry.cell.dataSync()])
  })
})

describe('multiHeadAttention equals PyTorch', () => {
  const a = g.attention
  const affine = ({ kernel, bias }: { kernel: Stored; bias: Stored }) => ({ kernel: tensor(kernel), bias: tensor(bias) })
  const params = {
    query: affine(a.params.query),
    key: affine(a.params.key),
    value: affine(a.params.value),
    output: affine(a.params.output),
  }
  const query = tensor(a.query)
  const context = tensor(a.context)
  const plain = nn.multiHeadAttention({ heads: 2 })

  it('self', () => expectClose(plain.apply(params, {}, query, evaluation).y, a.self))
  it('causal', () => expectClose(nn.multiHeadAttention({ heads: 2, causal: true }).apply(params, {}, query, evaluation).y, a.causal))
  it('cross', () => expectClose(plain.apply(params, {}, { query, context }, evaluation).y, a.cross))
  it('masked, per key or per pair', () => {
    const mask = tensor(a.attend)
    expectClose(plain.apply(params, {}, { query, context, mask }, evaluation).y, a.masked)
    const pairs = tf.tile(tf.expandDims(tf.cast(mask, 'bool'), 1), [1, 3, 1])
    expectClose(plain.apply(params, {}, { query, context, mask: pairs }, evaluation).y, a.masked)
  })
  it('a mask of another size is named', () => {
    expect(() => plain.apply(params, {}, { query, context, mask: tf.ones([2, 4]) }, evaluation)).toThrow(/expected a mask \[n, 5\]/)
  })
})

describe('small layers', () => {
  it('dense works over the last axis of any rank, and without bias', () => {
    const layer = nn.dense(1, { bias: false })
    const { params } = layer.init(key(0), [2, 2])
    expect(Object.keys(params)).toEqual(['kernel'])
    const y = layer.apply({ kernel: tf.tensor2d([1, 10], [2, 1]) }, {}, tf.tensor3d([1, 2, 3, 4], [1, 2, 2]), evaluation).y
    expectClose(y, { shape: [1, 2, 1], values: [21, 43] })
  })

  it('embedding looks rows up and wants int32', () => {
    const layer = nn.embedding(3, 2)
    const table = tf.tensor2d([0, 1, 2, 3, 4, 5], [3, 2])
    const y = layer.apply({ table }, {}, tf.tensor2d([2, 0], [1, 2], 'int32'), evaluation).y
    expectClose(y, { shape: [1, 2, 2], values: [4, 5, 0, 1] })
    expect(() => layer.apply({ table }, {}, tf.tensor1d([1]), evaluation)).toThrow(/int32/)
  })

  it('dropout keeps the mean, is the identity in evaluation, and needs a key in training', () => {
    const layer = nn.dropout(0.25)
    const x = tf.ones([100, 100])
    const values = [...layer.apply({}, {}, x, { key: key(3), training: true }).y.dataSync()]
    expect(new Set(values)).toEqual(new Set([0, Math.fround(1 / 0.75)]))
    const kept = values.filter((value) => value > 0).length / 1e4
    expect(Math.abs(kept - 0.75)).toBeLessThan(4 * Math.sqrt((0.75 * 0.25) / 1e4))
    expect([...layer.apply({}, {}, x, evaluation).y.dataSync()].every((value) => value === 1)).toBe(true)
    try {
      layer.apply({}, {}, x, { training: true })
      expect.unreachable()
    } catch (error) {
      expect(isBpfError(error, 'OptionError')).toBe(true)
    }
  })

  it('activations follow their formulas', () => {
    const points = [-2, -0.5, 0, 0.5, 2]
    const erf = (x: number) =>
      (2 / Math.sqrt(Math.PI)) *
      Array.from({ length: 40 }, (_, n) => n).reduce((sum, n) => sum + ((-1) ** n * x ** (2 * n + 1)) / (factorial(n) * (2 * n + 1)), 0)
    const factorial = (n: number): number => (n < 2 ? 1 : n * factorial(n - 1))
    const formulas: [nn.Layer<nn.Empty, nn.Empty>, (x: number) => number][] = [
      [nn.relu(), (x) => Math.max(x, 0)],
      [nn.leakyRelu(0.1), (x) => (x > 0 ? x : 0.1 * x)],
      [nn.elu(), (x) => (x > 0 ? x : Math.expm1(x))],
      [nn.gelu(), (x) => 0.5 * x * (1 + erf(x / Math.SQRT2))],
      [nn.silu(), (x) => x / (1 + Math.exp(-x))],
      [nn.softplus(), (x) => Math.log1p(Math.exp(x))],
      [nn.sigmoid(), (x) => 1 / (1 + Math.exp(-x))],
      [nn.tanh(), Math.tanh],
    ]
    for (const [layer, formula] of formulas) {
      expectClose(layer.apply({}, {}, tf.tensor1d(points), evaluation).y, { shape: [5], values: points.map(formula) })
    }
  })

  it('conv2dTranspose takes padding and output padding as PyTorch does', () => {
    const layer = nn.conv2dTranspose(2, { kernelSize: 3, stride: 2, padding: 1, outputPadding: 1 })
    expect(layer.init(key(0), [3, 4, 3]).outputShape).toEqual([6, 8, 2])
    // PyTorch crops `padding` rows on each side of the full result and leaves `outputPadding` more at the end.
    const { x, kernel, bias, y } = g.conv2dTranspose
    const cropped = tf.slice(tensor(y), [0, 1, 1, 0], [1, 6, 8, 2])
    expectClose(layer.apply({ kernel: tensor(kernel), bias: tensor(bias) }, {}, tensor(x), evaluation).y, {
      shape: [1, 6, 8, 2],
      values: [...cropped.dataSync()],
    })
  })

  it('sinusoidalEmbedding holds sines, then cosines', () => {
    const y = nn.sinusoidalEmbedding(tf.tensor1d([0, 3], 'int32'), 4, { maxPeriod: 100 })
    expectClose(y, { shape: [2, 4], values: [0, 0, 1, 1, Math.sin(3), Math.sin(0.3), Math.cos(3), Math.cos(0.3)] })
  })

  it('fourierFeatures keeps its frequencies in the state', () => {
    const layer = nn.fourierFeatures(6, { stddev: 2 })
    const { params, state, outputShape } = layer.init(key(0), [2])
    const x = normal(key(1), [3, 2])
    const { y } = layer.apply(params, state, x, { training: true })
    expect([outputShape, y.shape, state.frequencies.shape]).toEqual([[6], [3, 6], [2, 3]])
    const squares = tf.add(tf.square(tf.slice(y, [0, 0], [3, 3])), tf.square(tf.slice(y, [0, 3], [3, 3])))
    expectClose(squares, { shape: [3, 3], values: Array.from({ length: 9 }, () => 1) })
  })

  it('emaUpdate with warm-up', () => {
    const average = { w: tf.scalar(0), n: tf.scalar(1, 'int32') }
    const params = { w: tf.scalar(1), n: tf.scalar(5, 'int32') }
    const value = (options: nn.EmaOptions) => nn.emaUpdate(average, params, options).w.dataSync()[0]
    expect(value({ decay: 0.99 })).toBeCloseTo(0.01, 6)
    for (const step of [0, 10, 100_000]) {
      const expected = 1 - Math.min(0.99, (1 + step) / (10 + step))
      expect(value({ decay: 0.99, step })).toBeCloseTo(expected, 6)
      expect(value({ decay: 0.99, step: tf.scalar(step, 'int32') })).toBeCloseTo(expected, 6)
    }
    expect(nn.emaUpdate(average, params, { decay: 0.9 }).n.dataSync()[0]).toBe(5)
  })
})

describe('composition', () => {
  it('sequential threads shapes, keys and state, and types its parameters', () => {
    const network = nn.sequential([nn.dense(3), nn.batchNorm(), nn.relu(), nn.dense(2)])
    const { params, state, outputShape } = network.init(key(0), [4])
    expect([params[0].kernel.shape, params[3].bias.shape, state[1].mean.shape, outputShape]).toEqual([[4, 3], [2], [3], [2]])
    const { y, state: next } = network.apply(params, state, normal(key(1), [5, 4]), { training: true })
    expect(y.shape).toEqual([5, 2])
    expect(next[1].mean.dataSync()).not.toEqual(state[1].mean.dataSync())
  })

  it('sequential gives every dropout another mask', () => {
    const network = nn.sequential([nn.dropout(0.5), nn.dropout(0.5)])
    const { y } = network.apply([{}, {}], [{}, {}], tf.ones([1, 1000]), { key: key(0), training: true })
    const kept = [...y.dataSync()].filter((value) => value > 0).length
    expect(Math.abs(kept - 250)).toBeLessThan(60)
  })

  it('residual adds, and says when shapes differ', () => {
    const double = nn.residual(nn.identity())
    const { params, state } = double.init(key(0), [2])
    expectClose(double.apply(params, state, tf.tensor2d([1, 2], [1, 2]), evaluation).y, { shape: [1, 2], values: [2, 4] })
    expect(() => nn.residual(nn.dense(3)).init(key(0), [2])).toThrow(/shortcut/)
  })

  it('parallel concatenates or adds', () => {
    const twice = nn.lambda((x) => tf.mul(x, 2))
    const x = tf.tensor2d([1, 2], [1, 2])
    const joined = (join: 'concat' | 'add') => {
      const layer = nn.parallel([nn.identity(), twice], { join })
      const { params, state, outputShape } = layer.init(key(0), [2])
      const { y } = layer.apply(params, state, x, evaluation)
      expect(y.shape.slice(1)).toEqual(outputShape)
      return [...y.dataSync()]
    }
    expect(joined('concat')).toEqual([1, 2, 2, 4])
    expect(joined('add')).toEqual([3, 6])
    expect(() => nn.parallel([nn.identity(), nn.dense(3)], { join: 'add' }).init(key(0), [2])).toThrow(/can't be joined/)
  })
})

/** Distinct values on ±3, evenly spaced in random order: no maximum or kink is within reach of a finite difference. */
function spread(shape: readonly number[]): tf.Tensor {
  const count = shape.reduce((product, length) => product * length, 1)
  return tf.reshape(tf.sub(tf.mul(tf.add(permutation(key(2), count), 0.5), 6 / count), 3), [...shape])
}

describe('every layer', () => {
  const options = { key: key(9), training: true }

  it.each(cases)('%s: gradients equal finite differences', (_, layer, inputShape) => {
    tf.tidy(() => {
      const { params, state } = layer.init(key(1), inputShape)
      const x = spread([3, ...inputShape])
      const weights = normal(key(3), layer.apply(params, state, x, options).y.shape)
      type Both = { params: Tree; x: tf.Tensor }
      const loss = (both: Both) => tf.sum(tf.mul(layer.apply(both.params, state, both.x, options).y, weights))
      const at: Both = { params, x }
      const gradients = leaves(grad(loss)(at))
      const epsilon = 2e-3
      leaves(at).forEach((leaf, i) => {
        const direction = normal(key(100 + i), leaf.shape)
        const moved = (sign: number) => {
          let index = 0
          const shifted = map((part) => (index++ === i ? tf.add(part, tf.mul(direction, sign * epsilon)) : part), at)
          return loss(shifted).dataSync()[0]
        }
        // Fourth order, so that strongly curved layers need no smaller step than float32 allows.
        const numeric = (8 * (moved(1) - moved(-1)) - (moved(2) - moved(-2))) / (12 * epsilon)
        const exact = tf.sum(tf.mul(gradients[i], direction)).dataSync()[0]
        expect(Math.abs(numeric - exact), `leaf ${i}: ${numeric} against ${exact}`).toBeLessThan(3e-3 * Math.max(1, Math.abs(exact)))
      })
    })
  })

  it.each(cases)('%s: second derivatives equal finite differences of the first', (_, layer, inputShape) => {
    tf.tidy(() => {
      const { params, state } = layer.init(key(1), inputShape)
      const x = spread([3, ...inputShape])
      const weights = normal(key(3), layer.apply(params, state, x, options).y.shape)
      type Both = { params: Tree; x: tf.Tensor }
      // The square makes the Hessian of linear layers more than zero.
      const loss = (both: Both) => tf.sum(tf.mul(tf.square(layer.apply(both.params, state, both.x, options).y), weights))
      const at: Both = { params, x }
      const direction = map((leaf) => normal(key(50 + leaf.size), leaf.shape), at)
      const exact = hvp(loss, at, direction)
      const epsilon = 2e-3
      const moved = (by: number) => grad(loss)(map((p, d) => tf.add(p, tf.mul(d, by * epsilon)), at, direction))
      const numeric = map(
        (a, b, c, d) => tf.div(tf.sub(tf.mul(tf.sub(a, b), 8), tf.sub(c, d)), 12 * epsilon),
        moved(1),
        moved(-1),
        moved(2),
        moved(-2),
      )
      const error = norm(map((a, b) => tf.sub(a, b), exact, numeric)).dataSync()[0]
      expect(error).toBeLessThan(5e-3 * Math.max(1, norm(exact).dataSync()[0]))
    })
  })

  it.each(cases)('%s: outputShape holds, nothing leaks, nothing is aliased, state keeps its structure', (_, layer, inputShape) => {
    const before = tf.memory().numTensors
    const { params, state, outputShape } = layer.init(key(1), inputShape)
    expect(tf.memory().numTensors - before).toBe(leaves(params).length + leaves(state).length)
    const x = spread([3, ...inputShape])
    for (const training of [true, false]) {
      const start = tf.memory().numTensors
      const result = tf.tidy((() => layer.apply(params, state, x, { key: key(4), training })) as () => tf.TensorContainer) as {
        y: tf.Tensor
        state: Tree
      }
      expect(result.y.shape).toEqual([3, ...outputShape])
      expect(signature(result.state)).toBe(signature(state))
      const inputs = new Set([x, ...leaves(params), ...leaves(state)])
      const outputs = [result.y, ...leaves(result.state)]
      expect(outputs.some((leaf) => inputs.has(leaf))).toBe(false)
      expect(tf.memory().numTensors - start).toBe(outputs.length)
      if (!training) leaves(state).forEach((leaf, i) => expect(leaves(result.state)[i].dataSync()).toEqual(leaf.dataSync()))
      outputs.forEach((leaf) => leaf.dispose())
    }
  })
})

describe('options and shapes', () => {
  it('out of range are named', () => {
    const bad: [() => unknown, string, RegExp][] = [
      [() => nn.dense(0), 'OptionError', /dense: units must be a positive integer, got 0/],
      [() => nn.conv2d(2, { kernelSize: 3, stride: 2, dilation: 2 }), 'OptionError', /one of them must be 1/],
      [() => nn.conv2d(3, { kernelSize: 3, groups: 2 }).init(key(0), [4, 4, 2]), 'ShapeError', /groups \(2\) must divide/],
      [() => nn.conv2d(3, { kernelSize: 3 }).init(key(0), [4, 4]), 'ShapeError', /\[h, w, channels\]/],
      [() => nn.conv2d(3, { kernelSize: 5, padding: 'valid' }).init(key(0), [4, 4, 1]), 'ShapeError', /window of 5 does not fit/],
      [() => nn.dropout(1), 'OptionError', /rate/],
      [() => nn.groupNorm(3).init(key(0), [4]), 'ShapeError', /must divide the channels/],
      [() => nn.reshape([5]).init(key(0), [4]), 'ShapeError', /reshape/],
      [() => nn.multiHeadAttention({ heads: 3 }).init(key(0), [2, 4]), 'OptionError', /must divide the width/],
      [
        () => nn.dense(2).apply({ kernel: tf.zeros([3, 2]), bias: tf.zeros([2]) }, {}, tf.zeros([1, 4]), evaluation),
        'ShapeError',
        /dense: expected x/,
      ],
    ]
    for (const [attempt, kind, message] of bad) {
      expect(attempt).toThrow(message)
      try {
        attempt()
      } catch (error) {
        expect((error as Error).name).toBe(kind)
      }
    }
  })
})
