import * as tf from '@tensorflow/tfjs-core'
import { ShapeError } from '../errors'
import { flatten, map, unflatten, type Tree } from '../tree'

/**
 * The same values with the gradient cut: nothing flows back through the result, and nothing is computed for it.
 *
 * @returns new tensors, a tree like the argument
 */
export function stopGradient<T extends Tree>(tree: T): T {
  const { state } = tf.engine()
  // As inside a kernel, the tape records nothing.
  state.kernelDepth++
  try {
    return map((leaf) => tf.clone(leaf), tree)
  } finally {
    state.kernelDepth--
  }
}

/**
 * A function with a gradient of your own: surrogates for steps, projections, clipped gradients.
 *
 * @param forward - the value, one tensor; not differentiated
 * @param backward - from the input `x` and the gradient `dy` of the value, the gradient for each float leaf of `x`; it is
 *   what is differentiated when a second derivative is taken
 * @example
 * ```ts
 * // A spike whose gradient is that of a steep sigmoid.
 * const spike = customGradient(
 *   (x: tf.Tensor) => tf.step(x),
 *   (x, dy) => tf.mul(dy, tf.div(5, tf.square(tf.add(tf.abs(tf.mul(x, 5)), 1)))),
 * )
 * ```
 */
export function customGradient<X extends Tree>(forward: (x: X) => tf.Tensor, backward: (x: X, dy: tf.Tensor) => X): (x: X) => tf.Tensor {
  return (x) => {
    const { leaves, structure } = flatten(x)
    const operation = tf.customGrad((...args: unknown[]) => {
      const inputs = args.slice(0, -1) as tf.Tensor[]
      const save = args[args.length - 1] as tf.GradSaveFunc
      save(inputs)
      const value = forward(unflatten<X>(structure, inputs))
      return {
        value: inputs.includes(value) ? tf.clone(value) : value,
        gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
          const gradients = flatten(backward(unflatten<X>(structure, saved), dy)).leaves
          return saved.map((leaf, i) => {
            if (leaf.dtype !== 'float32') return tf.zeros(leaf.shape)
            if (!tf.util.arraysEqual(gradients[i].shape, leaf.shape)) {
              throw new ShapeError(
                `customGradient: the gradient of leaf ${i} must have its shape [${leaf.shape.join(', ')}], got [${gradients[i].shape.join(', ')}]`,
              )
            }
            return gradients[i]
          })
        },
      }
    })
    return operation(...leaves)
  }
}

/**
 * The value of `fn(x)` with the gradient of the identity, for rounding, binarising or quantising in a network.
 *
 * @param fn - keeps the shape
 */
export function straightThrough(fn: (x: tf.Tensor) => tf.Tensor): (x: tf.Tensor) => tf.Tensor {
  return customGradient(fn, (x: tf.Tensor, dy) => tf.reshape(dy, x.shape))
}
