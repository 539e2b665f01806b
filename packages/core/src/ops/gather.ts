import * as tf from '@tensorflow/tfjs-core'
import { DataError, ShapeError } from '../errors'

/** Indices of rows or segments: on the host, where their range is checked, or a tensor, where it is not. */
export type Indices = readonly number[] | Int32Array | tf.Tensor

export function shapeText(tensor: tf.Tensor): string {
  return `[${tensor.shape.join(', ')}]`
}

/** int32 [n] from {@link Indices}, those on the host checked against `limit`. */
export function indexTensor(name: string, indices: Indices, limit: number): tf.Tensor1D {
  if (indices instanceof tf.Tensor) {
    if (indices.rank !== 1 || indices.dtype !== 'int32') {
      throw new ShapeError(`${name}: expected int32 indices of shape [n], got ${indices.dtype} ${shapeText(indices)}`)
    }
    return indices as tf.Tensor1D
  }
  for (let i = 0; i < indices.length; i++) {
    if (!Number.isInteger(indices[i]) || indices[i] < 0 || indices[i] >= limit) {
      throw new DataError(`${name}: index ${indices[i]} at position ${i} is not an integer from 0 to ${limit - 1}`)
    }
  }
  return tf.tensor1d(Int32Array.from(indices), 'int32')
}

/** Rows of x by index; its gradient adds rows up, and that one's takes them again, to any order. */
export function gatherRows(x: tf.Tensor, ids: tf.Tensor1D): tf.Tensor {
  const rows = x.shape[0]
  const take = tf.customGrad((input, save) => {
    const saveTensors = save as tf.GradSaveFunc
    saveTensors([ids])
    return {
      value: tf.gather(input as tf.Tensor, ids),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => scatterRows(dy, saved[0] as tf.Tensor1D, rows),
    }
  })
  return take(x)
}

/** Sum of the rows of x with the same index: [count, ...]. */
export function scatterRows(x: tf.Tensor, ids: tf.Tensor1D, count: number): tf.Tensor {
  const add = tf.customGrad((input, save) => {
    const saveTensors = save as tf.GradSaveFunc
    saveTensors([ids])
    const rows = input as tf.Tensor
    const shape = [count, ...rows.shape.slice(1)]
    return {
      value: rows.size === 0 || count === 0 ? tf.zeros(shape, rows.dtype) : tf.scatterND(tf.expandDims(ids, 1), rows, shape as [number]),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => gatherRows(dy, saved[0] as tf.Tensor1D),
    }
  })
  return add(x)
}

/**
 * Rows of x by index, each as often as it is named. Differentiable to any order.
 *
 * @param x - [n, ...]
 * @param indices - [m], integers from 0 to n - 1
 * @returns [m, ...]
 * @throws DataError when an index on the host is out of range
 * @throws ShapeError when x is a scalar, or a tensor of indices is not int32 [m]
 */
export function takeRows(x: tf.Tensor, indices: Indices): tf.Tensor {
  if (x.rank === 0) throw new ShapeError('takeRows: expected x [n, ...], got a scalar')
  return tf.tidy(() => gatherRows(x, indexTensor('takeRows', indices, x.shape[0])))
}

/** Positions in the flattened x [..., n] that `indices` [..., m] point to along the last axis. */
function flatPositions(indices: tf.Tensor, n: number): tf.Tensor1D {
  const m = indices.shape[indices.rank - 1]
  const rows = m === 0 ? 0 : indices.size / m
  if (rows <= 1) return tf.reshape(indices, [indices.size]) as tf.Tensor1D
  const starts = tf.tensor2d(
    Int32Array.from({ length: rows }, (_, row) => row * n),
    [rows, 1],
    'int32',
  )
  return tf.reshape(tf.add(tf.reshape(indices, [rows, m]), starts), [indices.size]) as tf.Tensor1D
}

/**
 * The entries of x at `indices` along the last axis: y[..., j] = x[..., indices[..., j]]. Differentiable to any order.
 *
 * @param x - [..., n]
 * @param indices - [..., m], int32, from 0 to n - 1; the same leading axes as x
 * @returns [..., m]
 * @throws ShapeError when ranks or leading axes differ
 */
export function takeAlongLastAxis(x: tf.Tensor, indices: tf.Tensor): tf.Tensor {
  const last = x.rank - 1
  if (x.rank === 0 || indices.rank !== x.rank || indices.shape.some((size, axis) => axis < last && size !== x.shape[axis])) {
    throw new ShapeError(`takeAlongLastAxis: expected x [..., n] and indices [..., m], got ${shapeText(x)} and ${shapeText(indices)}`)
  }
  return tf.tidy(() => tf.reshape(gatherRows(tf.reshape(x, [x.size]), flatPositions(indices, x.shape[last])), indices.shape))
}

/** Ones at `indices` [..., m] along a last axis of n, zeros elsewhere; the indices of a row are distinct. */
export function onesAt(indices: tf.Tensor, n: number): tf.Tensor {
  const leading = indices.shape.slice(0, -1)
  const count = leading.reduce((size, dimension) => size * dimension, n)
  return tf.tidy(() => tf.reshape(scatterRows(tf.ones([indices.size]), flatPositions(indices, n), count), [...leading, n]))
}
