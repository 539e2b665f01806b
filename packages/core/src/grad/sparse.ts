import * as tf from '@tensorflow/tfjs-core'
import { define, filled, untouched } from './define'

const zerosOf = (x: tf.Tensor): tf.Tensor => filled(x.shape, 0)

/** Rows of `data` are taken by `indices` and summed (or averaged) within the segments. */
function segmentGradient(kernel: string, isMean: boolean): tf.GradConfig {
  return define({
    kernel,
    save: ['data', 'indices', 'segmentIds'],
    gradients: (dy, [data, indices, segmentIds]) => ({
      data: () => {
        let rows = tf.gather(dy, segmentIds)
        if (isMean) {
          const ids = tf.reshape(segmentIds, [segmentIds.size, 1])
          const counts = tf.gather(tf.scatterND(ids, filled([segmentIds.size], 1), [dy.shape[0]]), segmentIds)
          rows = tf.div(rows, tf.reshape(counts, [segmentIds.size, ...new Array<number>(data.rank - 1).fill(1)]))
        }
        return tf.scatterND(tf.reshape(indices, [indices.size, 1]), rows, data.shape)
      },
      indices: () => zerosOf(indices),
      segmentIds: () => zerosOf(segmentIds),
    }),
  })
}

/** y[bin] = Σ weights over the entries of x equal to bin; entries beyond the last bin are dropped. */
function weightsOfBins(dy: tf.Tensor, x: tf.Tensor): tf.Tensor {
  const bins = dy.shape[dy.rank - 1]
  const last = tf.scalar(bins - 1, 'int32')
  const taken = tf.gather(dy, tf.minimum(x, last), dy.rank - 1, dy.rank - 1)
  return tf.mul(taken, tf.cast(tf.lessEqual(x, last), 'float32'))
}

function bincount(kernel: string): tf.GradConfig {
  return define<{ binaryOutput?: boolean }>({
    kernel,
    save: ['x', 'weights'],
    gradients: (dy, [x, weights], { binaryOutput = false }) => ({
      x: () => zerosOf(x),
      weights: () => (binaryOutput || weights.size === 0 ? zerosOf(weights) : tf.reshape(weightsOfBins(dy, x), weights.shape)),
    }),
  })
}

export const sparseGradients: tf.GradConfig[] = [
  segmentGradient('SparseSegmentSum', false),
  segmentGradient('SparseSegmentMean', true),
  bincount('Bincount'),
  bincount('DenseBincount'),
  define({
    kernel: 'SparseToDense',
    save: ['sparseIndices', 'sparseValues', 'defaultValue'],
    gradients: (dy, [indices, values, defaultValue]) => {
      const coordinates = indices.rank === 2 ? indices : tf.reshape(indices, [indices.size, 1])
      return {
        sparseIndices: () => zerosOf(indices),
        // One value may stand for all positions.
        sparseValues: () => {
          const taken = tf.gatherND(dy, coordinates)
          return values.rank === 0 ? tf.sum(taken) : taken
        },
        defaultValue: () => tf.reshape(tf.sum(tf.mul(dy, untouched(coordinates, dy.shape))), defaultValue.shape),
      }
    },
  }),
  define({
    kernel: 'SparseFillEmptyRows',
    save: ['values', 'defaultValue', 'indices', 'denseShape'],
    saveOutput: [false, false, false, true],
    gradients: (dys, [, defaultValue, indices, denseShape, position]) => {
      const [, dy] = dys as unknown as tf.Tensor[]
      const taken = (): tf.Tensor => tf.gather(dy, position)
      return {
        values: taken,
        defaultValue: () => tf.reshape(tf.sub(tf.sum(dy), tf.sum(taken())), defaultValue.shape),
        indices: () => zerosOf(indices),
        denseShape: () => zerosOf(denseShape),
      }
    },
  }),
]
