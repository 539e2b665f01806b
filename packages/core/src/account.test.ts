import * as tf from '@tensorflow/tfjs-core'
import { expect, it } from 'vitest'
import { account, activationBytes } from './account'
import { useBackend } from './backend'
import { scan } from './control'
import { valueAndGrad } from './grad/index'

it('counts multiply-adds, parameters and peak bytes of a matrix product', async () => {
  await useBackend('onnx')
  const costs = account(
    (w: tf.Tensor, x: tf.Tensor) => tf.relu(tf.matMul(x as tf.Tensor2D, w as tf.Tensor2D)),
    tf.zeros([3, 5]),
    tf.zeros([7, 3]),
  )
  // The product and the result of relu, 7 × 5 floats each.
  expect(costs).toMatchObject({ multiplyAdds: 7 * 3 * 5, parameters: 15, peakBytes: 2 * 7 * 5 * 4 })
})

it('peak memory of backpropagation grows with depth, of a forward pass it does not; nothing is computed', async () => {
  await useBackend('onnx')
  const width = 4096
  const forward = (depth: number) => (w: tf.Tensor, x: tf.Tensor) => {
    let h = x
    for (let i = 0; i < depth; i++) h = tf.tanh(tf.matMul(h as tf.Tensor2D, w as tf.Tensor2D))
    return tf.sum(h)
  }
  const w = tf.zeros([width, width])
  const x = tf.zeros([64, width])
  const peak = (depth: number): number[] => [
    account(forward(depth), w, x).peakBytes,
    account((p: tf.Tensor, y: tf.Tensor) => valueAndGrad(forward(depth))(p, y), w, x).peakBytes,
  ]
  const [shallow, deep] = [peak(2), peak(8)]
  expect(deep[0]).toBe(shallow[0])
  expect(deep[1] - shallow[1]).toBeGreaterThanOrEqual(6 * 64 * width * 4)
})

it('counts every step of a loop', async () => {
  await useBackend('onnx')
  const loop = (w: tf.Tensor, x: tf.Tensor) =>
    scan((c: tf.Tensor) => ({ carry: tf.matMul(c as tf.Tensor2D, w as tf.Tensor2D), y: {} }), x, {}, { length: 10 }).carry
  expect(account(loop, tf.zeros([4, 4]), tf.zeros([2, 4])).multiplyAdds).toBe(10 * 2 * 4 * 4)
})

it('activation bytes leave parameters out: one layer after the other keeps one layer alive, backpropagation all', async () => {
  await useBackend('onnx')
  const width = 64
  const layer = (w: tf.Tensor, x: tf.Tensor) => tf.tanh(tf.matMul(x as tf.Tensor2D, w as tf.Tensor2D))
  const whole = (ws: readonly tf.Tensor[], x: tf.Tensor) =>
    valueAndGrad((p: readonly tf.Tensor[]) => tf.sum(p.reduce((h, w) => layer(w, h), x)))(ws).grads
  const local = (ws: readonly tf.Tensor[], x: tf.Tensor) => {
    let h = x
    return ws.map((w) => {
      const { grads } = valueAndGrad((p: tf.Tensor) => tf.sum(layer(p, h)))(w)
      h = layer(w, h)
      return grads
    })
  }
  const bytes = (fn: typeof whole, depth: number) =>
    activationBytes(fn, (batch): [tf.Tensor[], tf.Tensor] => [
      Array.from({ length: depth }, () => tf.zeros([width, width])),
      tf.zeros([batch, width]),
    ])
  expect(bytes(local, 16)).toBe(bytes(local, 4))
  expect(bytes(whole, 16)).toBeGreaterThan(3 * bytes(whole, 4))
})
