import * as tf from '@tensorflow/tfjs-core'
import { define, filled, rowOffsets, untouched } from './define'

function zerosOf(x: tf.Tensor): tf.Tensor {
  return filled(x.shape, 0)
}

const product = (sizes: number[]): number => sizes.reduce((a, b) => a * b, 1)

/**
 * Adds every row of `dy` to the row of `x` it was taken from. With x as [batch, outer, size, inner] and the indices as
 * [batch, count], this is one scatter into [batch · size, outer, inner].
 */
function gatherGradient(dy: tf.Tensor, x: tf.Tensor, indices: tf.Tensor, axis: number, batchDims: number): tf.Tensor {
  const batch = product(x.shape.slice(0, batchDims))
  const outer = product(x.shape.slice(batchDims, axis))
  const size = x.shape[axis]
  const inner = product(x.shape.slice(axis + 1))
  const count = indices.size / batch
  const values = outer === 1 ? dy : tf.transpose(tf.reshape(dy, [batch, outer, count, inner]), [0, 2, 1, 3])
  const rows = batch === 1 ? indices : tf.add(tf.reshape(indices, [batch, count]), rowOffsets(batch, size))
  const summed = tf.scatterND(tf.reshape(rows, [batch * count, 1]), tf.reshape(values, [batch * count, outer * inner]), [
    batch * size,
    outer * inner,
  ])
  const ordered = outer === 1 ? summed : tf.transpose(tf.reshape(summed, [batch, size, outer, inner]), [0, 2, 1, 3])
  return tf.reshape(ordered, x.shape)
}

/** Rows of x at `ids`; zeros where an id is negative (a segment that was dropped). */
function gatherDroppingNegatives(x: tf.Tensor, ids: tf.Tensor): tf.Tensor {
  const zero = tf.scalar(0, 'int32')
  const rows = tf.gather(x, tf.maximum(ids, zero))
  const isKept = tf.reshape(tf.greaterEqual(ids, zero), [...ids.shape, ...new Array<number>(rows.rank - ids.rank).fill(1)])
  return tf.mul(rows, tf.cast(isKept, 'float32'))
}

export const gatherScatterGradients: tf.GradConfig[] = [
  define<{ axis: number; batchDims?: number }>({
    kernel: 'GatherV2',
    save: ['x', 'indices'],
    gradients: (dy, [x, indices], { axis, batchDims = 0 }) => ({
      x: () => gatherGradient(dy, x, indices, tf.util.parseAxisParam(axis, x.shape)[0], batchDims),
      indices: () => zerosOf(indices),
    }),
  }),
  define({
    kernel: 'GatherNd',
    save: ['params', 'indices'],
    gradients: (dy, [params, indices]) => ({
      params: () => tf.scatterND(indices, dy, params.shape),
      indices: () => zerosOf(indices),
    }),
  }),
  define({
    kernel: 'ScatterNd',
    save: ['indices'],
    gradients: (dy, [indices]) => ({
      indices: () => zerosOf(indices),
      updates: () => tf.gatherND(dy, indices),
    }),
  }),
  define({
    kernel: 'TensorScatterUpdate',
    save: ['indices'],
    gradients: (dy, [indices]) => ({
      // What was overwritten has no influence.
      tensor: () => tf.mul(dy, untouched(indices, dy.shape)),
      indices: () => zerosOf(indices),
      updates: () => tf.gatherND(dy, indices),
    }),
  }),
  define<{ numSegments: number }>({
    kernel: 'UnsortedSegmentSum',
    save: ['segmentIds'],
    gradients: (dy, [segmentIds]) => ({
      x: () => gatherDroppingNegatives(dy, segmentIds),
      segmentIds: () => zerosOf(segmentIds),
    }),
  }),
]
