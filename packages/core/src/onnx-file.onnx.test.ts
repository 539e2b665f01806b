import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, expect, it } from 'vitest'
import { useBackend } from './backend'
import { exportOnnx, loadOnnx } from './onnx-file'
import { mlp } from './nn/index'
import * as random from './random/index'
import type { Key } from './random/index'

beforeAll(() => useBackend('onnx'))

it('a network leaves as a file and comes back, for any batch size', () => {
  const network = mlp({ hidden: [8], outputs: 3 })
  const { params, state } = network.init(random.key(0), [5])
  const predict = (x: tf.Tensor) => ({ logits: network.apply(params, state, x, { training: false }).y })
  const model = loadOnnx(exportOnnx(predict, [tf.zeros([1, 5])], { dynamicBatch: true }))
  expect(model.inputs.map(({ name }) => name)).toEqual(['input_0'])
  expect(model.outputs.map(({ name }) => name)).toEqual(['output/logits'])
  for (const batch of [1, 4, 33]) {
    const x = random.normal(random.key(batch), [batch, 5])
    const [y] = model(x)
    expect(y.shape).toEqual([batch, 3])
    const expected = predict(x).logits.dataSync()
    for (const [i, value] of y.dataSync().entries()) expect(value).toBeCloseTo(expected[i], 5)
  }
  model.dispose()
})

it('a key is an input of the file: its two words', () => {
  const f = (x: { value: tf.Tensor }, key: Key) => tf.add(x.value, random.normal(random.split(key)[1], [4]))
  const model = loadOnnx(exportOnnx(f, [{ value: tf.zeros([4]) }, random.key(0)]))
  expect(model.inputs.map(({ name }) => name)).toEqual(['input_0/value', 'input_1'])
  const key = random.key(77)
  const [y] = model(tf.ones([4]), tf.tensor1d([...key.words], 'int32'))
  expect(y.dataSync()).toEqual(f({ value: tf.ones([4]) }, key).dataSync())
})

it('says which backend can', async () => {
  await useBackend('cpu')
  expect(() => exportOnnx((x: tf.Tensor) => x, [tf.zeros([1])])).toThrow("useBackend('onnx')")
  await useBackend('onnx')
})
