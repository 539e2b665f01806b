import * as tf from '@tensorflow/tfjs-core'
import { OptionError, ShapeError } from '../errors'
import { indexTensor, scatterRows, shapeText, type Indices } from './gather'

function segmentIds(name: string, x: tf.Tensor, ids: Indices, count: number): tf.Tensor1D {
  if (!Number.isSafeInteger(count) || count < 0)
    throw new OptionError(`${name}: expected a non-negative integer number of segments, got ${count}`)
  if (x.rank === 0) throw new ShapeError(`${name}: expected x [n, ...], got a scalar`)
  const tensor = indexTensor(name, ids, count)
  if (tensor.shape[0] !== x.shape[0])
    throw new ShapeError(`${name}: expected one segment id per row of x ${shapeText(x)}, got ${tensor.shape[0]}`)
  return tensor
}

/**
 * Sums rows by segment: y[s] = Σ of x[i] over i with ids[i] = s. Differentiable to any order.
 *
 * @param x - [n, ...], float32 or int32
 * @param ids - [n], the segment of each row, from 0 to count - 1, in any order
 * @param count - number of segments
 * @returns [count, ...]; zeros for an empty segment
 * @throws DataError when an id on the host is out of range
 * @throws ShapeError when there is not one id per row
 */
export function segmentSum(x: tf.Tensor, ids: Indices, count: number): tf.Tensor {
  return tf.tidy(() => scatterRows(x, segmentIds('segmentSum', x, ids, count), count))
}

/**
 * Averages rows by segment. Differentiable to any order.
 *
 * @param x - [n, ...], float32
 * @param ids - [n], the segment of each row, from 0 to count - 1, in any order
 * @param count - number of segments
 * @returns [count, ...]; zeros for an empty segment
 * @throws DataError when an id on the host is out of range
 * @throws ShapeError when there is not one id per row
 */
export function segmentMean(x: tf.Tensor, ids: Indices, count: number): tf.Tensor {
  return tf.tidy(() => {
    const tensor = segmentIds('segmentMean', x, ids, count)
    const sizes = tf.maximum(scatterRows(tf.ones([x.shape[0]]), tensor, count), 1)
    return tf.div(scatterRows(x, tensor, count), tf.reshape(sizes, [count, ...x.shape.slice(1).map(() => 1)]))
  })
}
