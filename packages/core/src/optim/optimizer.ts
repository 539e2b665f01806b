import * as tf from '@tensorflow/tfjs-core'
import { elementwise } from '../elementwise'
import { OptionError, ShapeError } from '../errors'
import { flatten, map, signature, unflatten, type Tree } from '../tree'
import type { Schedule } from './schedules'

/**
 * A pure rule that turns gradients into updates, which are *added* to the parameters ({@link applyUpdates}).
 * Rules compose with {@link chain}. Everything is traceable: counters are int32 scalars in the state.
 */
export type Optimizer<State extends Tree = Tree> = {
  /** The state before the first step (zeros, counters). */
  init(params: Tree): State
  /**
   * One step. The results are new tensors; neither argument is disposed or aliased.
   *
   * @param grads - like `params`
   * @throws ShapeError when `grads` and `params` differ in structure
   */
  update<P extends Tree>(grads: P, state: State, params: P): { updates: P; state: State }
}

/** A learning rate: a number, or a function of the step. */
export type LearningRate = number | Schedule

/** `params + updates`, leaf by leaf. */
export function applyUpdates<P extends Tree>(params: P, updates: P): P {
  return tidy(() => {
    const pairs: tf.Tensor[][] = []
    const visited = map((p, u) => (pairs.push([p, u]), p), params, updates)
    const sums = elementwise(([p, u]) => [tf.add(p, u)], pairs)
    return unflatten<P>(flatten(visited).structure, sums.flat())
  })
}

/** An optimizer's schedule or number at `count` (the number of steps done before this one). */
export function rateAt(rate: LearningRate, count: tf.Scalar): number | tf.Scalar {
  return typeof rate === 'number' ? rate : rate(count)
}

/** −η: what a step is multiplied by. */
export function descentAt(rate: LearningRate, count: tf.Scalar): number | tf.Scalar {
  const value = rateAt(rate, count)
  return typeof value === 'number' ? -value : tf.neg(value)
}

/** int32 zero, the counter of a new state. */
export function zeroCount(): tf.Scalar {
  return tf.scalar(0, 'int32')
}

/** `count + 1`. */
export function increment(count: tf.Scalar): tf.Scalar {
  return tf.add(count, tf.scalar(1, 'int32')) as tf.Scalar
}

/**
 * `1 − decayᵗ` for each of some decays, without the cancellation that float32 suffers for decay near 1: with
 * h = tanh(−t·log(decay)/2) it is 2h/(1 + h). (expm1 says the same, but becomes a dozen nodes in a graph.)
 */
export function biasCorrections(decays: readonly number[], count: tf.Scalar): tf.Scalar[] {
  // log 0 = −∞: the correction is 1 at once.
  const halves = decays.map((decay) => -Math.log(Math.max(decay, Number.MIN_VALUE)) / 2)
  const h = tf.tanh(tf.mul(tf.cast(count, 'float32'), tf.tensor1d(halves)))
  return tf.unstack(tf.div(tf.mul(h, 2), tf.add(h, 1))) as tf.Scalar[]
}

/** `tf.tidy` for trees. */
export function tidy<T>(fn: () => T): T {
  return tf.tidy(fn as () => tf.TensorContainer) as T
}

/**
 * Applies `fn` to corresponding float leaves of trees of equal structure and returns `outputs` trees.
 * Leaves of another dtype have no gradient: every output is zero there.
 */
export function mapLeaves(outputs: number, fn: (leaves: tf.Tensor[]) => tf.Tensor[], ...trees: Tree[]): Tree[] {
  return mapPositions(outputs, (positions) => positions.map(fn), trees)
}

/** {@link mapLeaves} for a function that works element by element, which then sees small leaves joined to one vector. */
export function mapElements(outputs: number, fn: (leaves: tf.Tensor[]) => tf.Tensor[], ...trees: Tree[]): Tree[] {
  return mapPositions(outputs, (positions) => elementwise(fn, positions), trees)
}

function mapPositions(outputs: number, apply: (positions: tf.Tensor[][]) => tf.Tensor[][], trees: readonly Tree[]): Tree[] {
  const flat = trees.map((tree) => flatten(tree))
  const { structure, leaves } = flat[0]
  flat.forEach((other, i) => {
    const fits = other.leaves.length === leaves.length && other.leaves.every((leaf, j) => tf.util.arraysEqual(leaf.shape, leaves[j].shape))
    if (!fits) {
      throw new ShapeError(
        `optimizer: argument ${i + 1} has another structure or other shapes than argument 1 (gradients, state and parameters must come from the same tree): ` +
          `expected ${signature(trees[0])}, got ${signature(trees[i])}`,
      )
    }
  })
  const floats = leaves.flatMap((leaf, i) => (leaf.dtype === 'float32' ? [i] : []))
  const results = apply(floats.map((i) => flat.map((tree) => tree.leaves[i])))
  const ofLeaf = new Map(floats.map((i, n) => [i, results[n]]))
  return Array.from({ length: outputs }, (_, k) =>
    unflatten(
      structure,
      leaves.map((leaf, i) => ofLeaf.get(i)?.[k] ?? tf.zerosLike(leaf)),
    ),
  )
}

/** @throws OptionError unless `low ≤ value < high` */
export function checkRange(where: string, name: string, value: number, low: number, high: number): void {
  if (!(value >= low && value < high)) {
    throw new OptionError(`${where}: ${name} must be at least ${low}${high === Infinity ? '' : ` and below ${high}`}, got ${value}`)
  }
}

/** @throws OptionError for a learning rate that is a negative or non-finite number */
export function checkRate(where: string, rate: LearningRate): void {
  if (typeof rate === 'number') checkRange(where, 'learningRate', rate, 0, Infinity)
  else if (typeof rate !== 'function') throw new OptionError(`${where}: learningRate must be a number or a schedule, got ${String(rate)}`)
}
