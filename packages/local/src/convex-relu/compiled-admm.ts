/**
 * Algorithm 1 as one native call an iteration, in double precision, with its state kept there: for sizes where arrays that
 * come and go with every product cost more than the arithmetic.
 */
import { compile, float64Tensor } from '@bpf/core'
import type { Matrix } from '@bpf/core/linalg'
import * as tf from '@tensorflow/tfjs-core'
import { compilesDoubles } from '../shared/doubles'
import { checkedAdmm, type ConvexReluAdmmOptions, type ConvexReluState } from './admm'
import { patternProducts } from './products'
import { woodburyParts, type WoodburyParts } from './woodbury'

/** v and λ [2P, d], s and ν [2P, n], in double precision. */
export type CompiledAdmmState = { v: tf.Tensor; s: tf.Tensor; lambda: tf.Tensor; nu: tf.Tensor }

/** How an iteration went. */
export interface AdmmProgress {
  /** ½‖Fv − y‖² + β Σ ‖v_i‖ */
  objective: number
  /** ‖(u − v, Gu − s)‖ */
  primal: number
  /** ‖change of (v, s)‖ */
  dual: number
  /** ‖(v, s)‖ */
  size: number
}

/** {@link convexReluAdmm} for the squared loss on the backend's own double-precision arrays. */
export interface CompiledConvexReluAdmm {
  init(): CompiledAdmmState
  /** Consumes the state. */
  step(state: CompiledAdmmState): { state: CompiledAdmmState; progress: AdmmProgress }
  /** The state as arrays; u is not kept, v stands for it. The tensors stay. */
  read(state: CompiledAdmmState): ConvexReluState
  /** Frees the constants; states are freed by their holder. */
  dispose(): void
}

/** What stays the same: matrices of the u-step, masks, and numbers as tensors [1] (written into the graph they would be rounded to single precision). */
type Constants = {
  X: tf.Tensor
  y: tf.Tensor
  D: tf.Tensor
  sign: tf.Tensor
  pull: tf.Tensor
  inverse: tf.Tensor
  scaledX: tf.Tensor
  middle: tf.Tensor
  beta: tf.Tensor
  threshold: tf.Tensor
  rate: tf.Tensor
}

const squares = (...tensors: tf.Tensor[]): tf.Tensor => tf.addN(tensors.map((tensor) => tf.sum(tf.square(tensor))))

/** F u [1, n] of blocks u [2P, d]. */
function outputsOf(u: tf.Tensor, { X, D }: Constants): tf.Tensor {
  const P = D.shape[0]
  const difference = tf.sub(tf.slice(u, [0, 0], [P, -1]), tf.slice(u, [P, 0], [P, -1]))
  return tf.sum(tf.mul(D, tf.matMul(difference as tf.Tensor2D, X as tf.Tensor2D, false, true)), 0, true)
}

function iteration({ v: vOld, s: sOld, lambda: lambdaOld, nu: nuOld }: CompiledAdmmState, c: Constants) {
  const pulled = tf.add(tf.mul(c.sign, tf.sub(sOld, nuOld)), c.pull)
  const r = tf.add(tf.sub(vOld, lambdaOld), tf.matMul(pulled as tf.Tensor2D, c.X as tf.Tensor2D))
  const first = tf.matMul(r as tf.Tensor2D, c.inverse as tf.Tensor2D)
  const z = tf.matMul(outputsOf(first, c) as tf.Tensor2D, c.middle as tf.Tensor2D)
  const correction = tf.matMul(tf.mul(c.D, z) as tf.Tensor2D, c.scaledX as tf.Tensor2D)
  const u = tf.sub(first, tf.concat([correction, tf.neg(correction)], 0))
  const moved = tf.add(u, lambdaOld)
  const norms = tf.sqrt(tf.sum(tf.square(moved), 1, true))
  const v = tf.mul(moved, tf.sub(1, tf.div(c.threshold, tf.maximum(norms, c.threshold))))
  const apart = tf.sub(u, v)
  const g = tf.mul(c.sign, tf.matMul(u as tf.Tensor2D, c.X as tf.Tensor2D, false, true))
  const s = tf.relu(tf.add(g, nuOld))
  const coneApart = tf.sub(g, s)
  const error = tf.sub(outputsOf(v, c), c.y)
  const objective = tf.add(tf.mul(0.5, squares(error)), tf.mul(c.beta, tf.sum(tf.sqrt(tf.sum(tf.square(v), 1)))))
  return {
    state: { v, s, lambda: tf.add(lambdaOld, tf.mul(c.rate, apart)), nu: tf.add(nuOld, tf.mul(c.rate, coneApart)) },
    progress: tf.concat([
      tf.reshape(objective, [1]),
      tf.sqrt(tf.stack([squares(apart, coneApart), squares(tf.sub(v, vOld), tf.sub(s, sOld)), squares(v, s)])),
    ]),
  }
}

const compiledIteration = compile(iteration, { precision: 'float64', donate: [0], name: 'convexReluAdmm' })

/**
 * {@link convexReluAdmm} for the squared loss, compiled; the same iterates up to rounding.
 *
 * @returns undefined where the backend in use does not compile in double precision
 * @throws as {@link convexReluAdmm}
 */
export function compiledConvexReluAdmm(
  x: Matrix,
  y: Float64Array,
  patterns: Matrix,
  options: Omit<ConvexReluAdmmOptions, 'loss'>,
  parts?: WoodburyParts,
): CompiledConvexReluAdmm | undefined {
  const { beta, rho, gamma } = checkedAdmm(x, y, patterns, { ...options, loss: 'squared' }, 'compiledConvexReluAdmm')
  const [n, d, P] = [x.rows, x.cols, patterns.rows]
  if (!compilesDoubles()) return undefined
  const products = patternProducts(x, patterns)
  const { inverse, scaledX, middle } = parts ?? woodburyParts(products, 1 / rho)
  const number = (value: number): tf.Tensor => float64Tensor(Float64Array.of(value), [1])
  const tensor = ({ data, rows, cols }: Matrix): tf.Tensor => float64Tensor(data.slice(), [rows, cols])
  const twice = (values: Float64Array, side: number): tf.Tensor => {
    const both = new Float64Array(2 * values.length)
    both.set(values)
    both.set(
      values.map((value) => side * value),
      values.length,
    )
    return float64Tensor(both, [2 * P, n])
  }
  const constants: Constants = {
    X: tensor(x),
    y: float64Tensor(y.slice(), [1, n]),
    D: tensor(patterns),
    sign: twice(products.sign, 1),
    pull: twice(
      patterns.data.map((active, p) => (active * y[p % n]) / rho),
      -1,
    ),
    inverse: tensor(inverse),
    scaledX: tensor(scaledX),
    middle: tensor(middle),
    beta: number(beta),
    threshold: number(beta / rho),
    rate: number(gamma / rho),
  }
  const zeros = (columns: number): tf.Tensor => float64Tensor(new Float64Array(2 * P * columns), [2 * P, columns])
  return {
    init: () => ({ v: zeros(d), s: zeros(n), lambda: zeros(d), nu: zeros(n) }),
    step(old) {
      const { state, progress } = compiledIteration(old, constants)
      const [objective, primal, dual, size] = progress.dataSync()
      progress.dispose()
      return { state, progress: { objective, primal, dual, size } }
    },
    read({ v, s, lambda, nu }) {
      const values = (of: tf.Tensor): Float64Array => Float64Array.from(of.dataSync())
      return { u: values(v), v: values(v), s: values(s), lambda: values(lambda), nu: values(nu) }
    },
    dispose: () => tf.dispose(constants),
  }
}
