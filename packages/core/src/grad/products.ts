import * as tf from '@tensorflow/tfjs-core'
import { dot, map, zerosLike, type Tree } from '../tree'
import { grad } from './value-and-grad'

/**
 * Value of a function between trees and the transpose of its Jacobian J at that point.
 *
 * @param fn - returns a tree; it is evaluated again by each pullback
 * @returns `value`, and `pullback(cotangent)` = Jᵀ cotangent, a tree like `params` from a tree like the value
 */
export function vjp<P extends Tree, Y extends Tree>(fn: (params: P) => Y, params: P): { value: Y; pullback: (cotangent: Y) => P } {
  return { value: ownResult(fn, params), pullback: (cotangent) => grad((p: P) => dot(fn(p), cotangent))(params) }
}

/** The value of `fn`, never one of its arguments. */
function ownResult<P extends Tree, Y extends Tree>(fn: (params: P) => Y, params: P): Y {
  return tidyTree(() => map((leaf) => tf.clone(leaf), fn(params)))
}

function tidyTree<T extends Tree>(fn: () => T): T {
  return tf.tidy(fn as unknown as () => tf.TensorContainer) as unknown as T
}

/**
 * Value and directional derivative J tangent: how the value moves when the parameters do.
 *
 * TensorFlow.js has no forward mode; Jᵀu is linear in u, so differentiating (Jᵀu)·tangent by u gives J tangent, at about
 * four times the cost of `fn`.
 *
 * @param tangent - a tree like `params`
 * @returns `value` and `tangent`, trees like the value of `fn`
 */
export function jvp<P extends Tree, Y extends Tree>(fn: (params: P) => Y, params: P, tangent: P): { value: Y; tangent: Y } {
  const value = ownResult(fn, params)
  const along = tidyTree(() => {
    const transposed = (u: Y): P => grad((p: P) => dot(fn(p), u))(params)
    return grad((u: Y) => dot(transposed(u), tangent))(zerosLike(value))
  })
  return { value, tangent: along }
}

/**
 * Hessian of a scalar function times a vector, without the Hessian.
 *
 * @param fn - returns a scalar
 * @param vector - a tree like `params`
 * @returns H vector, a tree like `params`
 */
export function hvp<P extends Tree>(fn: (params: P) => tf.Tensor, params: P, vector: P): P {
  return tidyTree(() => grad((p: P) => dot(grad(fn)(p), vector))(params))
}

/**
 * Gauss–Newton matrix of loss(fn(params)) times a vector: Jᵀ H J vector, with J of `fn` and H the Hessian of the loss in
 * the value of `fn`. Positive semi-definite for a convex loss.
 *
 * @param fn - from parameters to predictions
 * @param loss - from predictions to a scalar
 * @param vector - a tree like `params`
 * @returns a tree like `params`
 */
export function gaussNewtonVectorProduct<P extends Tree, Y extends Tree>(
  fn: (params: P) => Y,
  loss: (predictions: Y) => tf.Tensor,
  params: P,
  vector: P,
): P {
  return tidyTree(() => {
    const { value, tangent } = jvp(fn, params, vector)
    const curved = hvp(loss, value, tangent)
    return grad((p: P) => dot(fn(p), curved))(params)
  })
}
