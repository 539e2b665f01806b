import * as tf from '@tensorflow/tfjs-core'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { dot } from '../tree'
import { gaussNewtonVectorProduct, grad, hvp, jvp, vjp } from './index'

beforeAll(() => useBackend())

const normal = (shape: number[], seed: number): tf.Tensor => tf.randomNormal(shape, 0, 0.5, 'float32', seed)

function expectClose(actual: tf.Tensor, expected: tf.Tensor, tolerance = 1e-5): void {
  expect(actual.shape).toEqual(expected.shape)
  expect(tf.max(tf.abs(tf.sub(actual, expected))).dataSync()[0]).toBeLessThan(tolerance)
}

describe('vjp', () => {
  it('is the transposed matrix for a linear map between trees', () => {
    const a = normal([3, 4], 1)
    const params = { x: normal([4, 1], 2), y: normal([2], 3) }
    const { value, pullback } = vjp((p: typeof params) => [tf.matMul(a, p.x), tf.mul(p.y, 3)], params)
    const cotangent = [normal([3, 1], 4), normal([2], 5)]
    expectClose(value[0], tf.matMul(a, params.x))
    const back = pullback(cotangent)
    expectClose(back.x, tf.matMul(a, cotangent[0], true))
    expectClose(back.y, tf.mul(cotangent[1], 3))
  })

  it('owns its value even where the function returns its argument', () => {
    const x = tf.tensor1d([1, 2])
    const { value } = vjp((p: tf.Tensor) => p, x)
    value.dispose()
    expect(x.isDisposed).toBe(false)
  })
})

describe('jvp', () => {
  it('is the matrix itself for a linear map, and cos(x) t for sin(x)', () => {
    const a = normal([3, 4], 1)
    const x = normal([4, 1], 2)
    const t = normal([4, 1], 3)
    const { value, tangent } = jvp((p: tf.Tensor) => ({ linear: tf.matMul(a, p), sine: tf.sin(p) }), x, t)
    expectClose(value.sine, tf.sin(x))
    expectClose(tangent.linear, tf.matMul(a, t))
    expectClose(tangent.sine, tf.mul(tf.cos(x), t))
  })

  it('is adjoint to vjp: ⟨u, J t⟩ = ⟨Jᵀ u, t⟩', () => {
    const layer = (p: { w: tf.Tensor; b: tf.Tensor }): tf.Tensor => tf.softmax(tf.tanh(tf.add(tf.matMul(tf.eye(3), p.w), p.b)))
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1e6 }), (seed) => {
        const params = { w: normal([3, 4], seed), b: normal([4], seed + 1) }
        const direction = { w: normal([3, 4], seed + 2), b: normal([4], seed + 3) }
        const u = normal([3, 4], seed + 4)
        const left = tf.sum(tf.mul(u, jvp(layer, params, direction).tangent)).dataSync()[0]
        const right = dot(vjp(layer, params).pullback(u), direction).dataSync()[0]
        expect(Math.abs(left - right)).toBeLessThan(1e-5)
      }),
      { numRuns: 10 },
    )
  })
})

describe('hvp', () => {
  it('is A v for ½ xᵀ A x', () => {
    const half = normal([5, 5], 1)
    const a = tf.add(half, tf.transpose(half))
    const quadratic = ({ x }: { x: tf.Tensor }): tf.Tensor => tf.mul(tf.sum(tf.mul(x, tf.matMul(a, x))), 0.5)
    const v = normal([5, 1], 2)
    expectClose(hvp(quadratic, { x: normal([5, 1], 3) }, { x: v }).x, tf.matMul(a, v))
  })

  it('is (diag(p) - p pᵀ) v for log-sum-exp', () => {
    const x = normal([6], 1)
    const v = normal([6], 2)
    const p = tf.softmax(x)
    const expected = tf.sub(tf.mul(p, v), tf.mul(p, tf.sum(tf.mul(p, v))))
    expectClose(
      hvp((t: tf.Tensor) => tf.logSumExp(t), x, v),
      expected,
    )
  })

  it('leaks nothing', () => {
    const x = normal([6], 1)
    const v = normal([6], 2)
    const f = (t: tf.Tensor): tf.Tensor => tf.sum(tf.exp(tf.tanh(t)))
    const before = tf.memory().numTensors
    hvp(f, x, v).dispose()
    tf.dispose(jvp(tf.sigmoid as (t: tf.Tensor) => tf.Tensor, x, v))
    tf.dispose(gaussNewtonVectorProduct(tf.sigmoid as (t: tf.Tensor) => tf.Tensor, f, x, v))
    grad(f)(x).dispose()
    expect(tf.memory().numTensors).toBe(before)
  })
})

describe('gaussNewtonVectorProduct', () => {
  it('is Xᵀ X v for least squares', () => {
    const x = normal([7, 3], 1)
    const v = normal([3, 1], 2)
    const product = gaussNewtonVectorProduct(
      (w: tf.Tensor) => tf.matMul(x, w),
      (y) => tf.mul(tf.sum(tf.square(tf.sub(y, 1))), 0.5),
      normal([3, 1], 3),
      v,
    )
    expectClose(product, tf.matMul(x, tf.matMul(x, v), true))
  })
})

describe('grad of grad of grad', () => {
  const derivative = (fn: (x: tf.Tensor) => tf.Tensor): ((x: tf.Tensor) => tf.Tensor) => grad((x: tf.Tensor) => tf.sum(fn(x)))

  it('gives the third derivatives of tanh, sigmoid and a product of powers', () => {
    const x = tf.tensor1d([-0.7, 0.2, 1.1])
    const third = (fn: (x: tf.Tensor) => tf.Tensor): tf.Tensor => derivative(derivative(derivative(fn)))(x)
    // With t = tanh x: (1 - t²)(6t² - 2); with s = σ(x): s(1 - s)(1 - 6s + 6s²).
    const t2 = tf.square(tf.tanh(x))
    expectClose(third(tf.tanh), tf.mul(tf.sub(1, t2), tf.sub(tf.mul(6, t2), 2)))
    const s = tf.sigmoid(x)
    const variance = tf.mul(s, tf.sub(1, s))
    expectClose(third(tf.sigmoid), tf.mul(variance, tf.sub(1, tf.mul(6, variance))))
    expectClose(
      third((y) => tf.mul(tf.square(y), tf.pow(y, 2))),
      tf.mul(24, x),
      1e-4,
    )
  })

  it('gives third derivatives through a convolution', () => {
    const x = normal([1, 4, 4, 1], 1) as tf.Tensor4D
    const filter = normal([2, 2, 1, 2], 2)
    // f(s) = Σ (s · conv)³, so f''' = 6 Σ conv³ along s.
    const cube = (s: tf.Tensor): tf.Tensor => tf.pow(tf.conv2d(x, tf.mul(filter, s) as tf.Tensor4D, 1, 'same'), 3)
    const expected = tf.mul(6, tf.sum(tf.pow(tf.conv2d(x, filter as tf.Tensor4D, 1, 'same'), 3)))
    expectClose(derivative(derivative(derivative(cube)))(tf.scalar(1.3)), expected, 1e-3)
  })
})
