import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { grad, hvp, logSigmoid, logSoftmax, sigmoidCrossEntropy, softmaxCrossEntropy } from './index'

beforeAll(() => useBackend('cpu'))

const normal = (shape: number[], seed: number): tf.Tensor => tf.randomNormal(shape, 0, 1, 'float32', seed)

function expectClose(actual: tf.Tensor, expected: tf.Tensor, tolerance = 1e-5): void {
  expect(actual.shape).toEqual(expected.shape)
  expect(tf.max(tf.abs(tf.sub(actual, expected))).dataSync()[0]).toBeLessThan(tolerance)
}

/** (diag(p) - p pᵀ) v for each row. */
function softmaxCurvature(x: tf.Tensor, v: tf.Tensor): tf.Tensor {
  const p = tf.softmax(x)
  return tf.sub(tf.mul(p, v), tf.mul(p, tf.sum(tf.mul(p, v), -1, true)))
}

describe('softmaxCrossEntropy', () => {
  const x = (): tf.Tensor => normal([3, 4], 1)
  const indices = (): tf.Tensor => tf.tensor1d([2, 0, 3], 'int32')

  it('has the gradient softmax - labels and the curvature diag(p) - p pᵀ', () => {
    const loss = (t: tf.Tensor): tf.Tensor => tf.sum(softmaxCrossEntropy(indices(), t))
    const labels = tf.oneHot(indices(), 4, 1, 0, 'float32')
    expectClose(grad(loss)(x()), tf.sub(tf.softmax(x()), labels))
    const v = normal([3, 4], 2)
    expectClose(hvp(loss, x(), v), softmaxCurvature(x(), v))
  })

  it('agrees with TensorFlow.js for one-hot labels, smoothed or not, and with indices', () => {
    const labels = tf.oneHot(indices(), 4, 1, 0, 'float32')
    for (const labelSmoothing of [0, 0.1]) {
      const theirs = tf.losses.softmaxCrossEntropy(labels, x(), undefined, labelSmoothing)
      expectClose(tf.mean(softmaxCrossEntropy(labels, x(), { labelSmoothing })), theirs)
      expectClose(tf.mean(softmaxCrossEntropy(indices(), x(), { labelSmoothing })), theirs)
    }
  })

  it('stays finite for large logits', async () => {
    const loss = (t: tf.Tensor): tf.Tensor => tf.sum(softmaxCrossEntropy(tf.tensor1d([0], 'int32'), t))
    const far = tf.tensor2d([-2000, 2000], [1, 2])
    expect(Array.from(await loss(far).data())).toEqual([4000])
    expect(Array.from(await grad(loss)(far).data())).toEqual([-1, 1])
  })

  it('says which labels it takes', () => {
    expect(() => softmaxCrossEntropy(tf.tensor1d([1, 0], 'int32'), x())).toThrow(/int32 indices \[3\].*got int32 \[2\]/)
    expect(() => softmaxCrossEntropy(indices(), x(), { labelSmoothing: 1 })).toThrow(/labelSmoothing must be in \[0, 1\), got 1/)
  })
})

describe('sigmoidCrossEntropy', () => {
  it('has the gradient σ(x) - z and the curvature σ(1 - σ), also at zero', () => {
    const x = tf.tensor1d([-3, 0, 0, 2, 50])
    const z = tf.tensor1d([1, 1, 0, 0.3, 1])
    const loss = (t: tf.Tensor): tf.Tensor => tf.sum(sigmoidCrossEntropy(z, t))
    const p = tf.sigmoid(x)
    expectClose(grad(loss)(x), tf.sub(p, z))
    expectClose(hvp(loss, x, tf.ones([5])), tf.mul(p, tf.sub(1, p)))
  })

  it('says when the shapes differ', () => {
    expect(() => sigmoidCrossEntropy(tf.zeros([2]), tf.zeros([3]))).toThrow(/shape \[3\], got \[2\]/)
  })
})

describe('logSoftmax and logSigmoid', () => {
  it('agree with the logarithms of softmax and sigmoid, twice differentiated', () => {
    const x = normal([2, 5], 3)
    const weights = normal([2, 5], 4)
    const v = normal([2, 5], 5)
    expectClose(logSoftmax(x), tf.log(tf.softmax(x)))
    expectClose(logSigmoid(x), tf.log(tf.sigmoid(x)))
    const pairs: ((t: tf.Tensor) => tf.Tensor)[][] = [
      [logSoftmax, (t) => tf.log(tf.softmax(t))],
      [logSigmoid, (t) => tf.log(tf.sigmoid(t))],
    ]
    for (const [ours, plain] of pairs) {
      expectClose(grad((t: tf.Tensor) => tf.sum(tf.mul(weights, ours(t))))(x), grad((t: tf.Tensor) => tf.sum(tf.mul(weights, plain(t))))(x))
      expectClose(
        hvp((t: tf.Tensor) => tf.sum(tf.mul(weights, ours(t))), x, v),
        hvp((t: tf.Tensor) => tf.sum(tf.mul(weights, plain(t))), x, v),
      )
    }
  })
})

describe("TensorFlow.js's own", () => {
  const labels = (): tf.Tensor => tf.oneHot(tf.tensor1d([2, 0, 3], 'int32'), 4, 1, 0, 'float32')

  it('logSoftmax and softmaxCrossEntropy differentiate once, and refuse a second time instead of being wrong', () => {
    const x = normal([3, 4], 1)
    const cross = (t: tf.Tensor): tf.Tensor => tf.losses.softmaxCrossEntropy(labels(), t)
    const direct = (t: tf.Tensor): tf.Tensor => tf.neg(tf.mean(tf.sum(tf.mul(labels(), tf.logSoftmax(t)), -1)))
    for (const loss of [cross, direct]) {
      expectClose(grad(loss)(x), tf.div(tf.sub(tf.softmax(x), labels()), 3))
      expect(() => hvp(loss, x, x)).toThrow(/once, not twice; use .*@bpf\/core\/grad/)
    }
  })

  it('other losses and fused operations differentiate twice', () => {
    const x = normal([3, 4], 1)
    const w = normal([4, 4], 2)
    const y = normal([3, 4], 3)
    const v = normal([3, 4], 4)
    const matmul = (t: tf.Tensor, activation: 'linear' | 'elu'): tf.Tensor =>
      tf.fused.matMul({ a: t, b: w, bias: tf.slice(y, [0, 0], [1, 4]), activation })
    const losses: ((t: tf.Tensor) => tf.Tensor)[] = [
      (t) => tf.losses.meanSquaredError(y, t),
      (t) => tf.losses.huberLoss(y, t),
      (t) => tf.losses.cosineDistance(y, t, 1),
      (t) => tf.losses.hingeLoss(labels(), t),
      (t) => tf.losses.logLoss(y, tf.sigmoid(t)),
      (t) => tf.losses.sigmoidCrossEntropy(tf.sigmoid(y), t),
      (t) => tf.mean(tf.square(matmul(t, 'linear'))),
      (t) => tf.mean(tf.square(matmul(t, 'elu'))),
      (t) => tf.sum(tf.norm(t, 'euclidean', 1)),
      (t) => tf.sum(tf.square(tf.moments(t, 0).variance)),
    ]
    const step = 0.01
    for (const loss of losses) {
      const along = (s: number): tf.Tensor => grad(loss)(tf.add(x, tf.mul(v, s)))
      const central = (s: number): tf.Tensor => tf.div(tf.sub(along(s), along(-s)), 2 * s)
      const numeric = tf.div(tf.sub(tf.mul(4, central(step / 2)), central(step)), 3)
      expectClose(hvp(loss, x, v), numeric, 2e-3)
    }
  })

  it('absolute value of a complex tensor differentiates once', () => {
    const re = normal([2, 3], 1)
    const im = normal([2, 3], 2)
    const size = (t: tf.Tensor): tf.Tensor => tf.sum(tf.abs(tf.complex(t, im)))
    expectClose(grad(size)(re), tf.div(re, tf.sqrt(tf.add(tf.square(re), tf.square(im)))))
    expect(() => hvp(size, re, im)).toThrow(/once, not twice/)
  })

  it('product of complex tensors differentiates once', () => {
    const re = normal([2, 3], 1)
    const im = normal([2, 3], 2)
    // Re((a + ib)²) = a² - b²
    const square = (t: tf.Tensor): tf.Tensor => tf.sum(tf.real(tf.mul(tf.complex(t, im), tf.complex(t, im))))
    expectClose(grad(square)(re), tf.mul(re, 2))
    expect(() => hvp(square, re, im)).toThrow(/once, not twice/)
  })
})
