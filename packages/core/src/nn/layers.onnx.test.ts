import * as tf from '@tensorflow/tfjs-core'
import { afterEach, describe, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { compile } from '../compile'
import { grad } from '../grad/index'
import { key, normal, permutation, type Key } from '../random/index'
import { dispose, entries, map, type Tree } from '../tree'
import { layerCases, type LayerCase } from './__fixtures__/layers'
import * as nn from './index'

await useBackend('onnx')

afterEach(() => void delete process.env.BPF_ONNX_FALLBACK)

/** Layers that take no part in the finite differences of layers.test.ts, or are covered there as parts only. */
const more: LayerCase[] = [
  ['identity', nn.identity(), [3]],
  ['lambda', nn.lambda((x) => tf.square(x)), [3]],
  ['tanh', nn.tanh(), [4]],
  ['flatten', nn.flatten(), [2, 3]],
  ['batchNorm, frozen map', nn.batchNorm({ affine: 'frozen' }), [2, 2, 3]],
  ['conv2dTranspose, output padding', nn.conv2dTranspose(2, { kernelSize: 3, stride: 2, padding: 1, outputPadding: 1 }), [3, 4, 2]],
  ['multiHeadAttention, not causal', nn.multiHeadAttention({ heads: 2 }), [3, 4]],
  ['gru, backwards', nn.recurrent(nn.gruCell(3), { output: 'last', reverse: true }), [4, 2]],
  ['dense, wide enough to run natively', nn.dense(64), [48]],
  ['conv2d, wide enough to run natively', nn.conv2d(16, { kernelSize: 3 }), [12, 12, 8]],
  ['attention, wide enough to run natively', nn.multiHeadAttention({ heads: 4, causal: true }), [16, 32]],
  ['convNet4', nn.convNet4({ channels: 4, blocks: 2, classes: 3 }), [8, 8, 3]],
]

/** Distinct values on ±3 in random order, so that no maximum is a tie. */
function spread(shape: readonly number[]): tf.Tensor {
  const count = shape.reduce((product, length) => product * length, 1)
  return tf.reshape(tf.sub(tf.mul(tf.add(permutation(key(2), count), 0.5), 6 / count), 3), [...shape])
}

type At = { params: Tree; x: tf.Tensor }
type Inputs = { at: At; state: Tree; weights: tf.Tensor }

/** Outputs, next state, and gradients of a weighted sum of the outputs by parameters and input. */
function forwardAndBackward(layer: nn.Layer, training: boolean) {
  return ({ at, state, weights }: Inputs, k: Key) => {
    const run = ({ params, x }: At): { y: tf.Tensor; state: Tree } => layer.apply(params, state, x, { key: k, training })
    const { y, state: next } = run(at)
    return { y, next, grads: grad((p: At) => tf.sum(tf.mul(run(p).y, weights)))(at) }
  }
}

function inputsOf(layer: nn.Layer, inputShape: readonly number[], examples: number): Inputs {
  const { params, state, outputShape } = layer.init(key(1), inputShape)
  // Zero biases and unit scales would hide a mistake in their gradients.
  const moved = map(
    (leaf) => (leaf.dtype === 'float32' ? tf.add(leaf, normal(key(70 + leaf.size), leaf.shape, { stddev: 0.1 })) : leaf),
    params,
  )
  return { at: { params: moved, x: spread([examples, ...inputShape]) }, state, weights: normal(key(3), [examples, ...outputShape]) }
}

type Values = { path: string; shape: number[]; values: ArrayLike<number> }[]

function valuesOf(tree: Tree): Values {
  const read = entries(tree).map(({ path, leaf }) => ({ path, shape: leaf.shape, values: leaf.dataSync() as ArrayLike<number> }))
  dispose(tree)
  return read
}

/**
 * Gradients that are zero but for rounding: softmax ignores what is added to all keys, a normalisation what is added to
 * a channel. They have no digits to agree in, and are compared with the largest of all gradients instead.
 */
const vanishing: Record<string, readonly string[]> = {
  multiHeadAttention: ['/grads/params/key/bias'],
  'multiHeadAttention, not causal': ['/grads/params/key/bias'],
  'attention, wide enough to run natively': ['/grads/params/key/bias'],
  convNet4: ['/grads/params/0/bias', '/grads/params/4/bias'],
}

function largest(values: ArrayLike<number>): number {
  let most = 0
  for (let i = 0; i < values.length; i++) most = Math.max(most, Math.abs(values[i]))
  return most
}

/** The largest difference in any output over the output's largest value. */
function difference(a: Values, b: Values, zero: readonly string[] = []): { worst: number; at: string } {
  expect(a.map(({ path, shape }) => [path, shape])).toEqual(b.map(({ path, shape }) => [path, shape]))
  let result = { worst: 0, at: 'nowhere' }
  const gradients = b.filter(({ path }) => path.startsWith('/grads'))
  a.forEach(({ path, values }, leaf) => {
    let error = 0
    for (let i = 0; i < values.length; i++) {
      const gap = Math.abs(values[i] - b[leaf].values[i])
      error = Number.isNaN(gap) ? Infinity : Math.max(error, gap)
    }
    const scale = zero.includes(path) ? Math.max(...gradients.map((gradient) => largest(gradient.values))) : largest(b[leaf].values)
    const relative = error === 0 ? 0 : error / scale
    if (relative > result.worst) result = { worst: relative, at: path }
  })
  return result
}

describe('eager and compiled agree to 1e-5, forward and backward', () => {
  it.each([...layerCases, ...more])('%s', (name, layer, inputShape) => {
    const inputs = inputsOf(layer, inputShape, 3)
    for (const training of [true, false]) {
      const f = forwardAndBackward(layer, training)
      const compiled = valuesOf(compile(f)(inputs, key(9)))
      const eager = valuesOf(compile(f, { traceable: false })(inputs, key(9)))
      process.env.BPF_ONNX_FALLBACK = 'never'
      const native = valuesOf(compile(f, { traceable: false })(inputs, key(9)))
      delete process.env.BPF_ONNX_FALLBACK
      for (const [how, values] of Object.entries({ eager, native })) {
        const { worst, at } = difference(values, compiled, vanishing[name])
        expect(worst, `${how}, training ${training}: ${at}`).toBeLessThan(1e-5)
      }
    }
  })

  it('embedding', () => {
    const layer = nn.embedding(7, 3)
    const { params } = layer.init(key(1), [4])
    const ids = tf.tensor2d([0, 6, 2, 2, 3, 2, 5, 0], [2, 4], 'int32')
    const weights = normal(key(3), [2, 4, 3])
    const f = ({ table, x }: { table: tf.Tensor; x: tf.Tensor }) => {
      const run = (p: { table: tf.Tensor }): tf.Tensor => layer.apply(p, {}, x, { training: true }).y
      return { y: run({ table }), grads: grad((p: { table: tf.Tensor }) => tf.sum(tf.mul(run(p), weights)))({ table }) }
    }
    const at = { table: params.table, x: ids }
    expect(difference(valuesOf(compile(f, { traceable: false })(at)), valuesOf(compile(f)(at))).worst).toBeLessThan(1e-5)
  })
})

describe('deep networks: compiled is as exact as eager, measured against double precision', () => {
  // Batch normalisation in sequence multiplies rounding errors, gradients of what a later normalisation removes are
  // rounding only, and a rectifier may decide either way at zero: float32 does not reach 1e-5 here, eager or compiled.
  const models: LayerCase[] = [
    [
      'mlp, 8 layers with batch norm',
      nn.mlp({ hidden: Array.from({ length: 8 }, () => 16), outputs: 3, norm: 'batch', activation: nn.tanh() }),
      [6],
    ],
    ['convNet4', nn.convNet4({ channels: 4, classes: 5 }), [16, 16, 1]],
    ['resnetCifar', nn.resnetCifar({ depth: 8, width: 4, classes: 3 }), [8, 8, 3]],
    ['resnet18', nn.resnet18({ width: 2, stem: 'cifar', classes: 4 }), [16, 16, 3]],
    ['vgg', nn.vgg({ depth: 11, width: 2, classes: 4, hidden: [6] }), [32, 32, 3]],
  ]
  it.each(models)('%s', (_, layer, inputShape) => {
    expectAsExact(forwardAndBackward(layer, true), inputsOf(layer, inputShape, 4))
  })

  it('unet', () => {
    const network = nn.unet({ channels: 4, multipliers: [1, 2], groups: 2, classes: 3, attention: [1] })
    const drawn = network.init(key(1), { x: [8, 8, 2], time: [], label: [] })
    // The last layer starts at zero, which would hide all the others.
    const params = map((leaf) => tf.add(leaf, normal(key(70 + leaf.size), leaf.shape, { stddev: 0.1 })), drawn.params)
    const weights = normal(key(3), [2, 8, 8, 2])
    const f = ({ p, x, time, label }: { p: typeof params; x: tf.Tensor; time: tf.Tensor; label: tf.Tensor }, k: Key) => {
      const run = (q: typeof params): tf.Tensor => network.apply(q, {}, { x, time, label }, { training: true, key: k }).y
      return { y: run(p), grads: grad((q: typeof params) => tf.sum(tf.mul(run(q), weights)))(p) }
    }
    const at = { p: params, x: spread([2, 8, 8, 2]), time: tf.tensor1d([3, 40]), label: tf.tensor1d([1, 3], 'int32') }
    expectAsExact(f, at)
  })
})

/**
 * Errors against double precision, over each leaf's largest value. A gradient that vanishes but for rounding (of what a
 * normalisation removes) is measured against a thousandth of the largest gradient instead.
 */
function errors(values: Values, exact: Values): Map<string, number> {
  const most = Math.max(...exact.filter(({ path }) => path.startsWith('/grads')).map((leaf) => largest(leaf.values)))
  return new Map(
    exact.map((leaf, i): [string, number] => {
      let error = 0
      for (let j = 0; j < leaf.values.length; j++) error = Math.max(error, Math.abs(leaf.values[j] - values[i].values[j]))
      return [leaf.path, error / Math.max(largest(leaf.values), leaf.path.startsWith('/grads') ? 1e-3 * most : 0)]
    }),
  )
}

function expectAsExact<T extends Tree>(f: (inputs: T, k: Key) => Tree, inputs: T): void {
  const exact = valuesOf(compile(f, { precision: 'float64' })(inputs, key(9)))
  const compiled = errors(valuesOf(compile(f)(inputs, key(9))), exact)
  const eager = errors(valuesOf(compile(f, { traceable: false })(inputs, key(9))), exact)
  const worstEager = Math.max(...eager.values())
  // The two round differently, so that neither is always the better; one that computes something else is off by far more.
  for (const [path, error] of compiled) expect(error, path).toBeLessThan(1e-5 + 4 * worstEager)
  expect(worstEager).toBeLessThan(1e-3)
}
