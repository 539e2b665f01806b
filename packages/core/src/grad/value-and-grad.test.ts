import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { valueAndGradWithAux } from './value-and-grad'

beforeAll(() => useBackend())

it('gives value, aux and gradients, zeros for what the value does not depend on, and leaks nothing', async () => {
  const params = { w: tf.tensor1d([1, 2]), unused: tf.scalar(3), count: tf.scalar(1, 'int32') }
  const before = tf.memory().numTensors
  const { value, aux, grads } = valueAndGradWithAux((p: typeof params) => ({
    loss: tf.sum(tf.square(p.w)),
    aux: { double: tf.mul(p.w, 2) },
  }))(params)
  expect(await value.data()).toEqual(new Float32Array([5]))
  expect(await aux.double.data()).toEqual(new Float32Array([2, 4]))
  expect(await grads.w.data()).toEqual(new Float32Array([2, 4]))
  expect(await grads.unused.data()).toEqual(new Float32Array([0]))
  expect(tf.memory().numTensors - before).toBe(5)
})
