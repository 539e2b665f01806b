import { DataError, ShapeError } from '@bpf/core'
import { pairwiseSquaredDistances } from '@bpf/core/ops'
import * as tf from '@tensorflow/tfjs-core'

/** Class of every row: on the host, where they are checked, or int32 [n]. */
export type Labels = ArrayLike<number> | tf.Tensor

/** Inside the root: its slope stays finite where two points meet. */
const rootEpsilon = 1e-6

/** √(d² + 1e-6) of squared distances. */
export const distanceOf = (squared: tf.Tensor): tf.Tensor => tf.sqrt(tf.add(squared, rootEpsilon))

/** Distances √(‖x_i − y_j‖² + 1e-6) between all rows [n, m]. */
export const pairwiseDistances = (x: tf.Tensor, y: tf.Tensor): tf.Tensor => distanceOf(pairwiseSquaredDistances(x, y))

/** Values of a tensor, or undefined where they cannot be read at once: in a function that is being compiled, or on WebGPU. */
function readable(x: tf.Tensor): ArrayLike<number> | undefined {
  try {
    return x.dataSync()
  } catch {
    return undefined
  }
}

/**
 * @param isTrusted - leave out the values: a training step reads nothing, and its guard finds what is not finite
 * @throws ShapeError unless x is [n ≥ 1, D ≥ 1]; DataError where it can be read and is not finite
 */
export function checkEmbeddings(where: string, name: string, x: tf.Tensor, isTrusted = false): void {
  if (x.rank !== 2 || x.size === 0) throw new ShapeError(`${where}: expected ${name} [n, D], got [${x.shape.join(', ')}]`)
  const values = isTrusted ? undefined : readable(x)
  if (values === undefined) return
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i])) {
      const row = Math.floor(i / x.shape[1]!)
      throw new DataError(`${where}: row ${row} of ${name} holds ${values[i]}; features must be finite`)
    }
  }
}

/**
 * Labels as a new tensor, and on the host where they can be read.
 *
 * @throws ShapeError when there is not one label per row; DataError for one that is not an integer from 0
 */
export function readLabels(where: string, name: string, labels: Labels, rows: number): { tensor: tf.Tensor1D; host?: ArrayLike<number> } {
  const isTensor = labels instanceof tf.Tensor
  const shape = isTensor ? labels.shape : [labels.length]
  if (shape.length !== 1 || shape[0] !== rows) {
    throw new ShapeError(`${where}: expected ${rows} labels in ${name}, one per row, got [${shape.join(', ')}]`)
  }
  const host = isTensor ? readable(labels) : labels
  for (let i = 0; i < (host?.length ?? 0); i++) {
    const label = host?.[i] ?? NaN
    if (!Number.isInteger(label) || label < 0) throw new DataError(`${where}: ${name} is ${label} at row ${i}; labels are integers from 0`)
  }
  const tensor = isTensor ? tf.cast(labels, 'int32') : tf.tensor1d(Int32Array.from(labels), 'int32')
  return { tensor: tensor as tf.Tensor1D, ...(host && { host }) }
}

/** Labels 0, 0, …, 1, 1, …: `each` rows of every class. */
export const groupedLabels = (classes: number, each: number): Int32Array =>
  Int32Array.from({ length: classes * each }, (_, row) => Math.floor(row / each))
