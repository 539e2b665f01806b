import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, expect, it } from 'vitest'
import { useBackend } from './backend'
import { compile } from './compile'
import { batch, fromArrays } from './data/index'
import { fit } from './fit'
import type { Learner } from './learner'

beforeAll(() => useBackend('wasm'))

const einsum = (x: tf.Tensor): tf.Tensor => tf.einsum('ij,jk->ik', x, x)
const named = (name: string): object =>
  expect.objectContaining({
    name: 'BackendError',
    message: `compile(${name}): the wasm backend has no kernel 'Einsum'; use one that has: await useBackend('onnx') in Node, 'cpu' elsewhere`,
  }) as object

it('compile names the kernel that the backend lacks, and a backend that has it', () => {
  const before = tf.memory().numTensors
  const x = tf.eye(2)
  expect(() => compile(einsum, { name: 'product' })(x)).toThrow(named('product'))
  const inner = compile(einsum, { name: 'inner' })
  expect(() => compile((a: tf.Tensor) => inner(tf.square(a)), { name: 'outer' })(x)).toThrow(named('inner'))
  x.dispose()
  expect(tf.memory().numTensors).toBe(before)
})

it('so does fit', async () => {
  const learner: Learner<{ w: tf.Tensor }, { x: tf.Tensor }> = {
    init: () => ({ tensors: { w: tf.eye(2) }, host: null }),
    step: ({ w }) => ({ tensors: { w: einsum(w) }, metrics: {} }),
  }
  const data = batch(fromArrays({ x: { data: new Float32Array(8), shape: [4, 2] } }), 2)
  await expect(fit(learner, data, { steps: 1 })).rejects.toThrow(named('step'))
})
