import * as tf from '@tensorflow/tfjs-core'
import { ShapeError } from '../errors'
import { shapeText, takeAlongLastAxis } from './gather'

/** Options of {@link searchsorted}. */
export interface SearchsortedOptions {
  /** Where a value equal to sorted ones goes: before them (`left`, the default) or behind them (`right`). */
  side?: 'left' | 'right'
}

/**
 * Where values would be inserted into sorted rows to keep them sorted: the number of entries below the value
 * (`left`), or not above it (`right`). A binary search of ⌈log₂ n⌉ tensor steps, traceable.
 *
 * @param sorted - [n], or [..., n], ascending along the last axis
 * @param values - any shape if `sorted` is [n]; else [..., m] with the same leading axes
 * @returns the shape of `values`, int32, from 0 to n
 * @throws ShapeError when leading axes differ
 */
export function searchsorted(sorted: tf.Tensor, values: tf.Tensor, { side = 'left' }: SearchsortedOptions = {}): tf.Tensor {
  const last = sorted.rank - 1
  if (
    sorted.rank === 0 ||
    (sorted.rank > 1 && (values.rank !== sorted.rank || values.shape.some((size, i) => i < last && size !== sorted.shape[i])))
  ) {
    throw new ShapeError(
      `searchsorted: expected sorted [n], or sorted [..., n] and values [..., m], got ${shapeText(sorted)} and ${shapeText(values)}`,
    )
  }
  const n = sorted.shape[last]
  return tf.tidy(() => {
    const queries = sorted.rank === 1 ? tf.reshape(values, [values.size]) : values
    let position: tf.Tensor = tf.zeros(queries.shape, 'int32')
    for (let step = n === 0 ? 0 : 2 ** Math.floor(Math.log2(n)); step >= 1; step /= 2) {
      const probe = tf.add(position, tf.scalar(step - 1, 'int32'))
      const entry = takeAlongLastAxis(sorted, tf.minimum(probe, tf.scalar(n - 1, 'int32')))
      const below = side === 'left' ? tf.less(entry, queries) : tf.lessEqual(entry, queries)
      const moves = tf.logicalAnd(below, tf.less(probe, tf.scalar(n, 'int32')))
      position = tf.add(position, tf.mul(tf.cast(moves, 'int32'), tf.scalar(step, 'int32')))
    }
    return tf.reshape(position, values.shape)
  })
}
