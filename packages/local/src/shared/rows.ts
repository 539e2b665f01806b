import { OptionError, ShapeError } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'

/** @throws OptionError unless `widths` are positive integers, at least one */
export function checkWidths(where: string, name: string, widths: readonly number[]): void {
  if (widths.length === 0 || widths.some((width) => !Number.isInteger(width) || width < 1)) {
    throw new OptionError(`${where}: ${name} must be positive integers, at least one, got [${widths.join(', ')}]`)
  }
}

/**
 * Inputs as rows [n, d].
 *
 * @throws ShapeError for other ranks, unless they are to be flattened
 */
export function rowsOf(where: string, x: tf.Tensor, flatten: boolean): tf.Tensor2D {
  if (x.rank === 2) return x as tf.Tensor2D
  if (flatten && x.rank > 2) return tf.reshape(x, [x.shape[0], x.size / x.shape[0]]) as tf.Tensor2D
  const remedy = x.rank > 2 ? '; give flatten: true for images' : ''
  throw new ShapeError(`${where}: expected x of shape [n, d], got [${x.shape.join(', ')}]${remedy}`)
}
