import type * as tf from '@tensorflow/tfjs-core'
import { ShapeError } from '../errors'
import type { Key } from '../random/key'
import { clone, type Tree } from '../tree'

/** A shape without the batch axis. */
export type Shape = readonly number[]

/** The shape of a tensor, or a record of shapes for a record of tensors. */
export type ShapeOf<X> = X extends tf.Tensor ? Shape : { readonly [K in keyof X]: ShapeOf<X[K]> }

/** How a layer is applied. */
export type ApplyOptions = {
  /** Needed by layers that draw (dropout) when training. */
  key?: Key
  /** Training behaviour: batch statistics, dropout. With `false` the state returns unchanged. */
  training: boolean
}

/**
 * A pure layer. `params` is differentiated, `state` (running statistics) is not; a layer without either has `{}`.
 * Tensors are float32, channels last, the batch along axis 0. `apply` is traceable: it reads no values, disposes nothing,
 * and returns new tensors; what it leaves behind is freed by the caller's `tf.tidy` (or `compile`, or `scope`).
 *
 * @typeParam X - what goes in: a tensor, or a record of tensors for a layer of several inputs
 * @typeParam Y - what comes out
 */
export type Layer<P extends Tree = Tree, S extends Tree = Tree, X = tf.Tensor, Y = tf.Tensor> = {
  /**
   * Draws the parameters.
   *
   * @param inputShape - without the batch axis
   * @throws ShapeError when the layer can't take such an input
   */
  init(key: Key, inputShape: ShapeOf<X>): { params: P; state: S; outputShape: ShapeOf<Y> }
  /** @throws ShapeError when `x` doesn't fit the parameters */
  apply(params: P, state: S, x: X, options: ApplyOptions): { y: Y; state: S }
}

/** The parameters or state of a layer that has none. */
export type Empty = Record<string, never>

/** The type of a layer's parameters. */
export type ParamsOf<L> = L extends { init(...args: never[]): { params: infer P extends Tree } } ? P : never

/** The type of a layer's state. */
export type StateOf<L> = L extends { init(...args: never[]): { state: infer S extends Tree } } ? S : never

/** A layer without state, from its parameters and its function. */
export function stateless<P extends Tree, X = tf.Tensor, Y = tf.Tensor>(
  init: (key: Key, inputShape: ShapeOf<X>) => { params: P; outputShape: ShapeOf<Y> },
  apply: (params: P, x: X, options: ApplyOptions) => Y,
): Layer<P, Empty, X, Y> {
  return {
    init: (key, inputShape) => ({ ...init(key, inputShape), state: {} }),
    apply: (params, _, x, options) => ({ y: apply(params, x, options), state: {} }),
  }
}

/**
 * A layer without parameters from a function of one tensor.
 *
 * @param fn - traceable; returns a new tensor
 * @param outputShape - of the input shape, both without the batch axis. Default: the same shape.
 *
 * @example
 * ```ts
 * const scaled = lambda((x) => tf.mul(x, 2))
 * ```
 */
export function lambda(
  fn: (x: tf.Tensor, options: ApplyOptions) => tf.Tensor,
  outputShape: (inputShape: Shape) => Shape = (shape) => shape,
): Layer<Empty, Empty> {
  return stateless<Empty>(
    (_, inputShape) => ({ params: {}, outputShape: outputShape(inputShape) }),
    (_, x, options) => fn(x, options),
  )
}

/** Passes its input on (as a clone). */
export function identity(): Layer<Empty, Empty> {
  return lambda((x) => x.clone())
}

/** The state to return where it doesn't change: `apply` never hands back what it was given. */
export function unchanged<S extends Tree>(state: S): S {
  return clone(state)
}

/** @throws ShapeError unless `shape` has `rank` axes */
export function checkRank(where: string, shape: Shape, rank: number, names: string): void {
  if (shape.length !== rank || shape.some((size) => !Number.isInteger(size) || size < 1)) {
    throw new ShapeError(`${where}: expected an input shape [${names}] without the batch axis, got [${shape.join(', ')}]`)
  }
}

/** @throws ShapeError unless `x` has `rank` axes (batch included) and `channels` along the last */
export function checkInput(where: string, x: tf.Tensor, rank: number | undefined, channels: number, names: string): void {
  if ((rank !== undefined && x.rank !== rank) || x.shape[x.rank - 1] !== channels) {
    throw new ShapeError(`${where}: expected x of shape [${names}] with ${channels} in the last axis, got [${x.shape.join(', ')}]`)
  }
}

/** Length of one axis. */
export function sizeAt(x: tf.Tensor, axis: number): number {
  return x.shape[axis]
}
