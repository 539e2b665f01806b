import * as tf from '@tensorflow/tfjs-core'
import { sizes } from './define'

/** A window sliding along one spatial axis; `before` is the padding in front, `windows` their number, `length` the input's. */
export type WindowAxis = { window: number; stride: number; dilation: number; before: number; windows: number; length: number }

/** The input positions of one window along one axis; -1 in the padding. */
function positions({ window, stride, dilation, before, length }: WindowAxis, index: number): number[] {
  return Array.from({ length: window }, (_, k) => index * stride - before + k * dilation).map((at) => (at >= 0 && at < length ? at : -1))
}

/** For every window, in row-major order, its flat input positions, also in row-major order; -1 in the padding. */
export function windowPositions(axes: WindowAxis[]): number[][] {
  return axes.reduce<number[][]>(
    (outer, axis) => {
      const inner = Array.from({ length: axis.windows }, (_, i) => positions(axis, i))
      return outer.flatMap((from) => inner.map((to) => from.flatMap((a) => to.map((b) => (a < 0 || b < 0 ? -1 : a * axis.length + b)))))
    },
    [[0]],
  )
}

/**
 * The entries of every window side by side.
 *
 * @param x - [batch, …spatial, channels]
 * @param table - from {@link windowPositions}
 * @param padding - the value outside x
 * @returns [batch, windows, window size, channels]
 */
export function gatherWindows(x: tf.Tensor, table: number[][], padding: number): tf.Tensor {
  const [batch, channels] = [x.shape[0], x.shape[x.rank - 1]]
  const size = x.size / (batch * channels)
  const indices = table.flat().map((at) => (at < 0 ? size : at))
  const padded = tf.pad(
    tf.reshape(x, [batch, size, channels]),
    [
      [0, 0],
      [0, 1],
      [0, 0],
    ],
    padding,
  )
  return tf.reshape(tf.gather(padded, tf.tensor1d(indices, 'int32'), 1), [batch, table.length, table[0].length, channels])
}

/** The transpose of {@link gatherWindows}: adds every entry of the windows to where it came from, giving `shape`. */
export function scatterWindows(windows: tf.Tensor, table: number[][], shape: number[]): tf.Tensor {
  const [batch, channels] = [shape[0], shape[shape.length - 1]]
  const size = shape.slice(1, -1).reduce((a, b) => a * b, 1)
  // What lies in the padding goes to a row past the end, which is cut off.
  const rows = table.flat().map((at) => (at < 0 ? size : at))
  const values = tf.transpose(tf.reshape(windows, [batch, rows.length, channels]), [1, 0, 2])
  const summed = tf.scatterND(tf.tensor2d(rows, [rows.length, 1], 'int32'), values, [size + 1, batch, channels])
  return tf.reshape(tf.transpose(tf.slice(summed, [0, 0, 0], [size, batch, channels]), [1, 0, 2]), shape)
}

/** 1 at the first maximum of each window and 0 elsewhere, from and to [batch, windows, window size, channels]. */
export function firstMaximum(windows: tf.Tensor): tf.Tensor {
  // tf.oneHot writes integers even when asked for floats on the wasm backend.
  const winners = tf.cast(tf.oneHot(tf.argMax(windows, 2), sizes(windows)[2]), 'float32')
  return tf.transpose(winners, [0, 1, 3, 2])
}

/** Below every number that can win a window. */
export const lowest = -3.4e38
