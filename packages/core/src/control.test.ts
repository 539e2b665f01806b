import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { useBackend } from './backend'
import { compile } from './compile'
import { cond, scan, whileLoop } from './control'
import { ShapeError } from './errors'
import { grad, valueAndGrad } from './grad/index'
import { uniform } from './random/draws'
import { key, type Key } from './random/key'
import { leaves, type Tree } from './tree'

// Set BPF_BACKEND=onnx to compile; on backends that do not compile both sides run eagerly.
beforeAll(() => useBackend())

function expectClose(actual: Tree, expected: Tree, tolerance = 1e-5): void {
  const right = leaves(expected)
  for (const [i, leaf] of leaves(actual).entries()) {
    expect(leaf.shape).toEqual(right[i].shape)
    const scale = Math.max(1e-6, ...Array.from(right[i].dataSync(), Math.abs))
    const a = leaf.dataSync()
    for (const [j, value] of right[i].dataSync().entries()) expect(Math.abs(a[j] - value) / scale).toBeLessThan(tolerance)
  }
}

const xs = () =>
  tf.tensor2d(
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map((v) => v / 10),
    [5, 2],
  )
const w = () => tf.tensor2d([0.5, -0.3, 0.2, 0.9], [2, 2])

/** A small recurrent net: c' = tanh(c w + x), y = sum c'. */
function recurrent(weights: tf.Tensor, inputs: tf.Tensor, start: tf.Tensor, options: { reverse?: boolean; checkpointEvery?: number } = {}) {
  return scan(
    ({ c }: { c: tf.Tensor }, x: tf.Tensor) => {
      const next = tf.tanh(tf.add(tf.matMul(tf.reshape(c, [1, 2]), weights as tf.Tensor2D), tf.reshape(x, [1, 2])))
      return { carry: { c: tf.reshape(next, [2]) }, y: { sum: tf.sum(next) } }
    },
    { c: start },
    inputs,
    options,
  )
}

/** The same, unrolled. */
function unrolled(weights: tf.Tensor, inputs: tf.Tensor, start: tf.Tensor): tf.Tensor {
  let c = start
  for (const x of tf.unstack(inputs))
    c = tf.reshape(tf.tanh(tf.add(tf.matMul(tf.reshape(c, [1, 2]), weights as tf.Tensor2D), tf.reshape(x, [1, 2]))), [2])
  return c
}

describe('scan', () => {
  it.each([{}, { reverse: true }, { checkpointEvery: 2 }, { checkpointEvery: 2, reverse: true }])(
    'compiled equals eager: %o',
    (options) => {
      const f = (a: tf.Tensor, b: tf.Tensor, c: tf.Tensor) => recurrent(a, b, c, options)
      const start = tf.tensor1d([0.1, 0.2])
      expectClose(compile(f)(w(), xs(), start), f(w(), xs(), start))
    },
  )

  it.each([{}, { checkpointEvery: 2 }, { reverse: true, checkpointEvery: 3 }])(
    'gradients equal those of the unrolled loop: %o',
    (options) => {
      const start = tf.tensor1d([0.1, 0.2])
      const loss = (p: { w: tf.Tensor; x: tf.Tensor; c: tf.Tensor }) => tf.sum(tf.square(recurrent(p.w, p.x, p.c, options).carry.c))
      const direct = (p: { w: tf.Tensor; x: tf.Tensor; c: tf.Tensor }) =>
        tf.sum(tf.square(unrolled(p.w, 'reverse' in options && options.reverse ? tf.reverse(p.x, 0) : p.x, p.c)))
      const p = { w: w(), x: xs(), c: start }
      expectClose(compile((q: typeof p) => grad(loss)(q))(p), grad(direct)(p))
      expectClose(grad(loss)(p), grad(direct)(p))
    },
  )

  it('gradients flow through stacked outputs and closed-over intermediates that a tidy frees', () => {
    const loss = (p: { w: tf.Tensor }) =>
      tf.tidy(() => {
        const ys = tf.tidy(() => {
          const doubled = tf.mul(p.w, 2)
          return scan(
            (c: tf.Tensor, x: tf.Tensor) => ({ carry: tf.add(c, tf.sum(doubled)), y: tf.mul(tf.mul(x, c), doubled) }),
            tf.scalar(1),
            tf.tensor1d([1, 2, 3]),
          ).ys
        })
        return tf.sum(tf.square(ys))
      })
    const p = { w: tf.tensor1d([0.3, -0.2]) }
    expectClose(compile((q: typeof p) => grad(loss)(q))(p), grad(loss)(p))
  })

  it('differentiates twice', () => {
    const start = tf.tensor1d([0.1, 0.2])
    const inner = grad((p: tf.Tensor) => tf.sum(tf.square(recurrent(p, xs(), start).carry.c)))
    const innerUnrolled = grad((p: tf.Tensor) => tf.sum(tf.square(unrolled(p, xs(), start))))
    const outer = (g: (p: tf.Tensor) => tf.Tensor) => grad((p: tf.Tensor) => tf.sum(tf.mul(g(p), g(p))))
    expectClose(compile((p: tf.Tensor) => outer(inner)(p))(w()), outer(innerUnrolled)(w()), 1e-4)
  })

  it('draws with the same keys compiled and eager, in nested loops and chunks too', () => {
    for (const checkpointEvery of [undefined, 2]) {
      const f = (start: tf.Tensor, k: Key) =>
        scan(
          (c: tf.Tensor, x: tf.Tensor, k2) => {
            const inner = scan(
              (d: tf.Tensor, _: Tree, k3) => ({ carry: tf.add(d, uniform(k3 as Key, [2])), y: d }),
              c,
              {},
              { length: 3, key: k2 },
            )
            return { carry: tf.add(inner.carry, tf.mul(x, uniform(k2 as Key, [2]))), y: inner.ys }
          },
          start,
          tf.tensor1d([1, 2, 3, 4, 5]),
          { key: k, checkpointEvery },
        )
      expectClose(compile(f)(tf.zeros([2]), key(3)), f(tf.zeros([2]), key(3)))
    }
  })

  it('training steps in a scan equal training steps one by one', () => {
    const lossAndGrad = valueAndGrad((p: { w: tf.Tensor }, x: tf.Tensor) =>
      tf.mean(tf.square(tf.sub(tf.matMul(x as tf.Tensor2D, p.w as tf.Tensor2D), 1))),
    )
    const step = (p: { w: tf.Tensor }, x: tf.Tensor) => {
      const { value, grads } = lossAndGrad(p, x)
      return { carry: { w: tf.sub(p.w, tf.mul(grads.w, 0.1)) }, y: value }
    }
    const batches = tf.reshape(tf.linspace(-1, 1, 24), [4, 3, 2])
    const many = compile((p: { w: tf.Tensor }, b: tf.Tensor) => scan(step, p, b))
    const once = compile(step)
    let p = { w: tf.ones([2, 1]) as tf.Tensor }
    const losses: number[] = []
    for (const batch of tf.unstack(batches)) {
      const { carry, y } = once(p, batch)
      losses.push(y.dataSync()[0])
      p = carry
    }
    const all = many({ w: tf.ones([2, 1]) }, batches)
    expect(Array.from(all.ys.dataSync())).toEqual(losses)
    expect(all.carry.w.dataSync()).toEqual(p.w.dataSync())
  })

  it('a MAML inner loop by scan gives the second-order gradient of the unrolled eager one', () => {
    const data = tf.tensor2d([
      [0.5, -1],
      [1.5, 0.3],
      [-0.7, 0.8],
    ])
    const task = (p: tf.Tensor) =>
      tf.mean(tf.square(tf.sub(tf.tanh(tf.matMul(data, tf.reshape(p, [2, 1]) as tf.Tensor2D)), tf.tensor2d([[1], [0], [-1]]))))
    const inner = (p: tf.Tensor) => tf.sub(p, tf.mul(0.4, grad(task)(p)))
    const byScan = (p: tf.Tensor) => task(scan((c: tf.Tensor) => ({ carry: inner(c), y: {} }), p, {}, { length: 3 }).carry)
    const byHand = (p: tf.Tensor) => task(inner(inner(inner(p))))
    const p = tf.tensor1d([0.2, -0.4])
    expectClose(compile((q: tf.Tensor) => grad(byScan)(q))(p), grad(byHand)(p), 1e-5)
  })

  it('names what the body changed', () => {
    expect(() => scan((c: tf.Tensor) => ({ carry: tf.concat([c, c]), y: c }), tf.zeros([2]), {}, { length: 2 })).toThrow(ShapeError)
    expect(() =>
      compile((c: tf.Tensor) => scan((d: tf.Tensor) => ({ carry: tf.concat([d, d]), y: d }), c, {}, { length: 2 }))(tf.zeros([2])),
    ).toThrow('float32[2] to float32[4]')
    expect(() => scan((c: tf.Tensor) => ({ carry: c, y: c }), tf.zeros([2]), {})).toThrow('give xs or length')
    expect(() => scan((c: tf.Tensor) => ({ carry: c, y: c }), tf.zeros([2]), [tf.zeros([2]), tf.zeros([3])])).toThrow(
      'must agree, got 2, 3',
    )
  })
})

describe('cond', () => {
  const f = (x: tf.Tensor, p: tf.Tensor) =>
    cond(
      tf.greater(tf.sum(x), 0),
      () => ({ y: tf.mul(p, tf.square(x)) }),
      () => ({ y: tf.add(p, x) }),
    )

  it.each([1, -1])('takes the same branch compiled and eager, and so do gradients (%d)', (sign) => {
    const x = tf.mul(tf.tensor1d([1, 2]), sign)
    const p = tf.tensor1d([3, 4])
    expectClose(compile(f)(x, p), f(x, p))
    const g = (q: { x: tf.Tensor; p: tf.Tensor }) => grad((r: { x: tf.Tensor; p: tf.Tensor }) => tf.sum(tf.square(f(r.x, r.p).y)))(q)
    expectClose(compile(g)({ x, p }), g({ x, p }))
  })
})

describe('whileLoop', () => {
  it('runs until the condition fails or maxSteps', () => {
    for (const maxSteps of [undefined, 2]) {
      const f = (x: tf.Tensor) =>
        whileLoop(
          ({ v }: { v: tf.Tensor }) => tf.less(tf.sum(v), 20),
          ({ v }) => ({ v: tf.mul(v, 2) }),
          { v: x },
          { maxSteps },
        )
      const x = tf.tensor1d([1, 2])
      expectClose(compile(f)(x), f(x))
    }
  })

  it('refuses gradients and says what to use', () => {
    const f = (x: tf.Tensor) =>
      tf.sum(
        whileLoop(
          (v: tf.Tensor) => tf.less(tf.sum(v), 20),
          (v) => tf.mul(v, 2),
          x,
        ),
      )
    expect(() => grad(f)(tf.tensor1d([1, 2]))).toThrow('whileLoop is not differentiable; use scan')
    expect(() => compile((x: tf.Tensor) => grad(f)(x))(tf.tensor1d([1, 2]))).toThrow('whileLoop is not differentiable; use scan')
  })
})
