import * as tf from '@tensorflow/tfjs-core'
import { ShapeError } from '../errors'
import { dispose, flatten, map, unflatten, type Tree } from '../tree'

function isFloat(tensor: tf.Tensor): boolean {
  return tensor.dtype === 'float32'
}

/**
 * Value and gradient of a scalar function of a tree.
 *
 * @param fn - returns a scalar; further arguments are passed through and not differentiated
 * @returns a function giving `value` (scalar) and `grads`, a tree like the first argument; leaves that are not
 *   float, or that the value does not depend on, get zeros
 * @throws ShapeError when `fn` returns something else than a scalar
 */
export function valueAndGrad<P extends Tree, Args extends unknown[]>(
  fn: (params: P, ...args: Args) => tf.Tensor,
): (params: P, ...args: Args) => { value: tf.Scalar; grads: P } {
  const withAux = valueAndGradWithAux((params: P, ...args: Args) => ({ loss: fn(params, ...args), aux: [] }))
  return (params, ...args) => {
    const { value, grads } = withAux(params, ...args)
    return { value, grads }
  }
}

/**
 * {@link valueAndGrad} for a function that also returns other tensors (new layer state, logits, metrics).
 *
 * @param fn - returns the scalar `loss` and a tree `aux`
 */
export function valueAndGradWithAux<P extends Tree, Aux extends Tree, Args extends unknown[]>(
  fn: (params: P, ...args: Args) => { loss: tf.Tensor; aux: Aux },
): (params: P, ...args: Args) => { value: tf.Scalar; aux: Aux; grads: P } {
  return (params, ...args) => {
    const { leaves: all, structure } = flatten(params)
    const floats = all.filter(isFloat)
    let keptAux: Aux | undefined
    let result: { value: tf.Tensor; grads: tf.Tensor[] } | undefined
    try {
      result = tf.engine().gradients(
        () => {
          const { loss, aux } = fn(params, ...args)
          if (loss.size !== 1) throw new ShapeError(`valueAndGrad: the function must return a scalar, got shape [${loss.shape.join(', ')}]`)
          // The gradient's own scope would free `aux`: keep copies, handed to the caller's scope below.
          keptAux = map((leaf) => tf.keep(leaf.clone()), aux)
          return tf.reshape(loss, [])
        },
        floats,
        undefined,
        true,
      )
      const aux = map((leaf) => leaf.clone(), keptAux as Aux)
      let next = 0
      const grads = all.map((leaf) => (isFloat(leaf) ? (result?.grads[next++] ?? tf.zerosLike(leaf)) : tf.zerosLike(leaf)))
      return { value: result.value as tf.Scalar, aux, grads: unflatten<P>(structure, grads) }
    } finally {
      dispose(keptAux)
    }
  }
}

/** Gradient of a scalar function of a tree; see {@link valueAndGrad}. */
export function grad<P extends Tree, Args extends unknown[]>(fn: (params: P, ...args: Args) => tf.Tensor): (params: P, ...args: Args) => P {
  const both = valueAndGrad(fn)
  return (params, ...args) => {
    const { value, grads } = both(params, ...args)
    value.dispose()
    return grads
  }
}
