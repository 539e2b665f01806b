import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { grad, hvp } from '../grad/index'
import { key, normal } from '../random/index'
import { batchNorm, type AffineMode } from './norm'

beforeAll(async () => void (await useBackend('cpu')))

type Point = { x: tf.Tensor; scale: tf.Tensor; offset: tf.Tensor }

/** The normalisation from single operations, each with a gradient of its own. */
function plain({ x, scale, offset }: Point): tf.Tensor {
  const axes = [0, 1, 2]
  const centred = tf.sub(x, tf.mean(x, axes))
  const normalised = tf.div(centred, tf.sqrt(tf.add(tf.mean(tf.square(centred), axes), 1e-5)))
  return tf.add(tf.mul(normalised, scale), offset)
}

function layered(mode: AffineMode): (point: Point) => tf.Tensor {
  const layer = batchNorm({ affine: mode })
  const { state } = layer.init(key(0), [3, 2, 4])
  return ({ x, scale, offset }) => {
    const affine = { scale, offset }
    const { y } = layer.apply((mode === 'learned' ? affine : {}) as never, { ...state, ...(mode === 'frozen' ? affine : {}) } as never, x, {
      training: true,
    })
    // Without a map of its own it is given one, so that all three compare with the same.
    return mode === 'none' ? tf.add(tf.mul(y, scale), offset) : y
  }
}

const draw = (seed: number): Point => ({
  // A mean far from zero.
  x: tf.add(normal(key(seed), [5, 3, 2, 4], { stddev: 2 }), 3),
  scale: tf.add(normal(key(seed + 1), [4]), 1),
  offset: normal(key(seed + 2), [4]),
})

function expectSame(got: Point, wanted: Point): void {
  for (const name of ['x', 'scale', 'offset'] as const) {
    const [a, b] = [got[name], wanted[name]].map((tensor) => Array.from(tensor.dataSync()))
    const largest = b.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
    a.forEach((value, i) => expect(Math.abs(value - b[i]), `${name} at ${i}`).toBeLessThan(2e-5 * largest + 1e-6))
  }
}

describe.each(['learned', 'frozen', 'none'] as const)('batchNorm in training, %s map', (mode) => {
  // Not linear in y, so that the gradient's own derivative has all its parts.
  const loss = (normalise: (point: Point) => tf.Tensor) => (point: Point) =>
    tf.sum(tf.mul(tf.square(normalise(point)), normal(key(9), [5, 3, 2, 4])))

  it('has the gradient of its definition', () => {
    const point = draw(1)
    expectSame(grad(loss(layered(mode)))(point), grad(loss(plain))(point))
  })

  it('has the second derivatives of its definition', () => {
    const [point, direction] = [draw(1), draw(5)]
    expectSame(hvp(loss(layered(mode)), point, direction), hvp(loss(plain), point, direction))
  })
})
