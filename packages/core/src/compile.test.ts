import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, expect, it } from 'vitest'
import { useBackend } from './backend'
import { compile } from './compile'
import { uniform } from './random/draws'
import { fold, key, type Key } from './random/key'
import { dispose } from './tree'

beforeAll(() => useBackend('cpu'))

it('runs over trees and keys and frees intermediate tensors', () => {
  const f = compile((p: { w: tf.Tensor }, k: Key) => ({ y: tf.add(p.w, uniform(k, [2])), z: tf.square(p.w) }))
  const p = { w: tf.tensor1d([1, 2]) }
  const before = tf.memory().numTensors
  const out = f(p, key(3))
  expect(tf.memory().numTensors - before).toBe(2)
  expect(out.y.dataSync()).toEqual(tf.add(p.w, uniform(key(3), [2])).dataSync())
})

it('clones outputs that alias an argument or each other', () => {
  const f = compile((x: tf.Tensor) => {
    const y = tf.square(x)
    return [x, y, y]
  })
  const x = tf.tensor1d([2])
  const [same, y, again] = f(x)
  dispose(x, y)
  expect([same.dataSync()[0], again.dataSync()[0]]).toEqual([2, 4])
})

it('disposes donated arguments, and says so when one is used again', () => {
  const f = compile((s: { n: tf.Tensor }, x: tf.Tensor) => ({ n: tf.add(s.n, x) }), { donate: [0], name: 'count' })
  const one = tf.scalar(1)
  const first = { n: tf.scalar(0) }
  const second = f(first, one)
  expect(first.n.isDisposed).toBe(true)
  expect(one.isDisposed).toBe(false)
  expect(() => f(first, one)).toThrow('compile(count): argument 0: a tensor of it was disposed (perhaps donated')
  expect(f(second, one).n.dataSync()[0]).toBe(2)
})

it('a donated leaf that is passed through stays readable in the result', () => {
  const f = compile((s: { n: tf.Tensor; same: tf.Tensor }) => ({ n: tf.add(s.n, 1), same: s.same }), { donate: [0] })
  expect(f({ n: tf.scalar(0), same: tf.scalar(5) }).same.dataSync()[0]).toBe(5)
})

it('refuses arguments that are neither trees nor keys, and donating a key', () => {
  const f = compile((x: tf.Tensor) => x, { name: 'id' })
  expect(() => f(1 as unknown as tf.Tensor)).toThrow(
    "compile(id): argument 0: tree: expected a tensor, list or record at '/', got the number 1",
  )
  const g = compile((k: Key) => tf.reshape(uniform(k, [1]), []), { donate: [0] })
  expect(() => g(key(0))).toThrow('donate names argument 0')
})

it('does not compute in double precision where the backend cannot', () => {
  expect(() => compile((x: tf.Tensor) => x, { precision: 'float64' })(tf.scalar(0))).toThrow("precision 'float64'")
})

it('1,000 hand-written steps leave no tensor behind', () => {
  const step = compile((s: { w: tf.Tensor; n: tf.Tensor }, k: Key) => ({ w: tf.mul(s.w, 0.9), n: tf.add(s.n, tf.sum(uniform(k, [3]))) }), {
    donate: [0],
  })
  let state: { w: tf.Tensor; n: tf.Tensor } = { w: tf.ones([4]), n: tf.scalar(0) }
  const before = tf.memory().numTensors
  for (let i = 0; i < 1000; i++) state = step(state, fold(key(0), i))
  expect(tf.memory().numTensors).toBe(before)
})
