import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { registerGradients } from '../grad/index'
import { cholesky, choleskySolve, logdet, triangularSolve } from './tensor'

beforeAll(async () => {
  registerGradients()
  await useBackend('cpu')
})

/** Deterministic values in (−1, 1). */
const noise = (i: number): number => 2 * ((Math.sin(i * 12.9898 + 1) * 43758.5453) % 1) - Math.sign(Math.sin(i * 12.9898 + 1))

function random(shape: number[], seed: number): tf.Tensor {
  const size = shape.reduce((product, axis) => product * axis, 1)
  return tf.tensor(
    Float32Array.from({ length: size }, (_, i) => noise(i + 1000 * seed)),
    shape,
  )
}

function positiveDefinite(shape: number[], seed: number): tf.Tensor {
  const root = random(shape, seed)
  return tf.add(tf.matMul(root, root, false, true), tf.eye(shape[shape.length - 1]))
}

function maxDifference(a: tf.Tensor, b: tf.Tensor): number {
  return tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]
}

/** A random direction's derivative by central differences against the gradient. */
function expectGradient(fn: (x: tf.Tensor) => tf.Tensor, x: tf.Tensor, seed: number, relative = 2e-3): void {
  const direction = random(x.shape, seed)
  const h = 1e-2
  const valueAt = (t: number): number => fn(tf.add(x, tf.mul(direction, t))).dataSync()[0]
  // Fourth-order differences, so that the step may be large against float32.
  const measured = (8 * (valueAt(h) - valueAt(-h)) - (valueAt(2 * h) - valueAt(-2 * h))) / (12 * h)
  const along = tf.sum(tf.mul(tf.grad(fn)(x), direction)).dataSync()[0]
  expect(Math.abs(along - measured)).toBeLessThan(relative * Math.max(1, Math.abs(measured)))
}

/** Weighted sum, so that no symmetry hides an error. */
const weigh = (y: tf.Tensor): tf.Tensor => tf.sum(tf.mul(y, random(y.shape, 77)))

describe('cholesky', () => {
  it('factors every matrix of a batch, and blocks larger than 64', () => {
    for (const shape of [
      [1, 1],
      [3, 3],
      [2, 3, 5, 5],
      [100, 100],
    ]) {
      const a = positiveDefinite(shape, 1)
      const l = cholesky(a)
      expect(maxDifference(tf.matMul(l, l, false, true), a)).toBeLessThan(1e-4)
      expect(maxDifference(l, tf.linalg.bandPart(l, -1, 0))).toBe(0)
    }
  })

  it('has the gradient of finite differences, in a batch too', () => {
    expectGradient((x) => weigh(cholesky(x)), positiveDefinite([4, 4], 2), 3)
    expectGradient((x) => weigh(cholesky(x)), positiveDefinite([2, 3, 3], 4), 5)
  })

  it('differentiates twice', () => {
    const inner = tf.grad((x) => weigh(cholesky(x)))
    const weights = random([4, 4], 6)
    expectGradient((x) => tf.sum(tf.mul(inner(x), weights)), positiveDefinite([4, 4], 7), 8)
  })

  it('names matrix and pivot that are not positive definite', () => {
    const bad = tf.stack([
      tf.eye(2),
      tf.tensor2d([
        [1, 2],
        [2, 1],
      ]),
    ])
    expect(() => cholesky(bad)).toThrow('pivot 1 of 2 of matrix [1] is -3')
    expect(() => cholesky(tf.tensor2d([[NaN]]))).toThrow('not positive definite (or has NaN)')
    expect(() => cholesky(tf.zeros([2, 3]))).toThrow('expected shape [..., n, n], got [2, 3]')
    expect(() => cholesky(tf.cast(tf.eye(2), 'int32'))).toThrow('expected float32, got int32')
  })

  it('leaves no tensor behind', () => {
    const a = positiveDefinite([3, 3], 9)
    const before = tf.memory().numTensors
    cholesky(a).dispose()
    tf.grad((x) => weigh(cholesky(x)))(a).dispose()
    expect(tf.memory().numTensors).toBe(before)
  })
})

describe('triangularSolve', () => {
  for (const lower of [true, false]) {
    for (const transpose of [false, true]) {
      for (const unitDiagonal of [false, true]) {
        const options = { lower, transpose, unitDiagonal }
        it(`solves and differentiates twice: ${JSON.stringify(options)}`, () => {
          const t = tf.add(tf.mul(random([2, 4, 4], 11), 0.5), tf.mul(tf.eye(4), 2))
          const b = random([2, 4, 3], 12)
          const band = lower ? tf.linalg.bandPart(t, -1, 0) : tf.linalg.bandPart(t, 0, -1)
          const clean = unitDiagonal ? tf.add(tf.sub(band, tf.mul(band, tf.eye(4))), tf.eye(4)) : band
          const x = triangularSolve(t, b, options)
          expect(maxDifference(tf.matMul(clean, x, transpose, false), b)).toBeLessThan(1e-5)
          expectGradient((y) => weigh(triangularSolve(y, b, options)), t, 13)
          expectGradient((y) => weigh(triangularSolve(t, y, options)), b, 14)
          const weights = random([2, 4, 4], 15)
          const inner = tf.grad((y: tf.Tensor) => weigh(tf.square(triangularSolve(y, b, options))))
          expectGradient((y) => tf.sum(tf.mul(inner(y), weights)), t, 16)
        })
      }
    }
  }

  it('broadcasts batches, with gradients', () => {
    const t = tf.add(tf.mul(random([3, 3], 17), 0.3), tf.mul(tf.eye(3), 2))
    const b = random([2, 3, 2], 18)
    const x = triangularSolve(t, b)
    expect(x.shape).toEqual([2, 3, 2])
    expect(maxDifference(tf.matMul(tf.linalg.bandPart(t, -1, 0), x), b)).toBeLessThan(1e-5)
    expectGradient((y) => weigh(triangularSolve(y, b)), t, 19)
  })

  it('refuses what does not fit', () => {
    expect(() => triangularSolve(tf.eye(2), tf.zeros([3, 1]))).toThrow('b needs 2 rows, got [3, 1]')
    expect(() => triangularSolve(tf.zeros([2, 2]), tf.ones([2, 1]))).toThrow('the diagonal is zero at index 0')
    expect(() => triangularSolve(tf.zeros([2, 2, 2]), tf.ones([3, 2, 1]))).toThrow("don't broadcast")
  })
})

describe('logdet and choleskySolve', () => {
  it('agree with closed forms', () => {
    expect(
      logdet(
        tf.tensor2d([
          [2, 0],
          [0, 8],
        ]),
      ).dataSync()[0],
    ).toBeCloseTo(Math.log(16), 6)
    const a = positiveDefinite([2, 4, 4], 20)
    expect(logdet(a).shape).toEqual([2])
    const b = random([2, 4, 3], 21)
    expect(maxDifference(tf.matMul(a, choleskySolve(cholesky(a), b)), b)).toBeLessThan(1e-5)
  })

  it('differentiate twice', () => {
    const a = positiveDefinite([2, 3, 3], 22)
    expectGradient((x) => weigh(logdet(x)), a, 23)
    const inner = tf.grad((x: tf.Tensor) => weigh(tf.square(logdet(x))))
    const weights = random([2, 3, 3], 24)
    expectGradient((x) => tf.sum(tf.mul(inner(x), weights)), a, 25)
    const b = random([2, 3, 1], 26)
    const gaussian = (x: tf.Tensor): tf.Tensor => tf.add(tf.sum(logdet(x)), tf.sum(tf.mul(b, choleskySolve(cholesky(x), b))))
    expectGradient(gaussian, a, 27)
  })
})
