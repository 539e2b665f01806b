import { DataError, OptionError, ShapeError } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'
import { checkFeatures, type FeatureMatrix } from './shared/matrix'

/** `none` (UN), `l2` (L2N, x/‖x‖) or `centred-l2` (CL2N, (x − base mean)/‖x − base mean‖). */
export type FeatureNormalisation = 'none' | 'l2' | 'centred-l2'

/**
 * Normalises rows of features as SimpleShot does (Wang et al. 2019, arXiv 1911.04623).
 *
 * @param features - [n, D]
 * @param kind - which normalisation
 * @param options.baseMean - mean feature [D] of the base classes, for `centred-l2`
 * @returns new features [n, D] in double precision
 * @throws DataError naming the row whose norm is zero; ShapeError when `baseMean` is missing or of another length
 */
export function normaliseFeatures(
  features: FeatureMatrix,
  kind: FeatureNormalisation,
  { baseMean }: { baseMean?: ArrayLike<number> } = {},
): FeatureMatrix {
  checkFeatures('features', features)
  const [rows, D] = features.shape
  const data = Float64Array.from(features.data)
  if (kind === 'none') return { data, shape: [rows, D] }
  if (kind !== 'l2' && kind !== 'centred-l2') {
    throw new OptionError(`normaliseFeatures: kind should be none, l2 or centred-l2, got ${String(kind)}`)
  }
  if (kind === 'centred-l2') {
    if (baseMean?.length !== D) {
      throw new ShapeError(`normaliseFeatures: centred-l2 needs baseMean of length ${D}, got ${baseMean?.length ?? 'none'}`)
    }
    for (let i = 0; i < data.length; i++) data[i] -= baseMean[i % D]
  }
  for (let i = 0; i < rows; i++) {
    const row = data.subarray(i * D, (i + 1) * D)
    const norm = Math.sqrt(row.reduce((sum, value) => sum + value * value, 0))
    if (norm === 0) throw new DataError(`normaliseFeatures: row ${i} is a zero vector, which has no direction; drop it or use none`)
    for (let d = 0; d < D; d++) row[d] /= norm
  }
  return { data, shape: [rows, D] }
}

/**
 * Mean row of features.
 *
 * @param features - [n, D]
 * @returns [D]
 */
export function meanFeature({ data, shape: [rows, D] }: FeatureMatrix): Float64Array {
  const mean = new Float64Array(D)
  for (let i = 0; i < data.length; i++) mean[i % D] += data[i] / rows
  return mean
}

/**
 * Runs a backbone over inputs in batches.
 *
 * @param network - maps a batch [b, …] to features [b, D]
 * @param inputs - [n, …]
 * @param options.batchSize - rows at once
 * @returns features [n, D], float32
 * @throws ShapeError when the network does not answer with one row per input
 */
export async function extractFeatures(
  network: (x: tf.Tensor) => tf.Tensor,
  inputs: tf.Tensor,
  { batchSize = 256 }: { batchSize?: number } = {},
): Promise<FeatureMatrix> {
  if (!Number.isInteger(batchSize) || batchSize < 1)
    throw new OptionError(`extractFeatures: batchSize should be at least 1, got ${batchSize}`)
  const rows = inputs.shape[0]
  let out = new Float32Array(0)
  let D = 0
  for (let start = 0; start < rows; start += batchSize) {
    const size = Math.min(batchSize, rows - start)
    const batch = tf.tidy(() => network(tf.slice(inputs, [start, ...inputs.shape.slice(1).map(() => 0)], [size, ...inputs.shape.slice(1)])))
    if (batch.rank !== 2 || batch.shape[0] !== size) {
      const shape = batch.shape.join(', ')
      tf.dispose(batch)
      throw new ShapeError(`extractFeatures: the network should answer [${size}, D], got [${shape}]`)
    }
    if (D === 0) {
      D = batch.shape[1] as number
      out = new Float32Array(rows * D)
    }
    out.set((await batch.data()) as Float32Array, start * D)
    tf.dispose(batch)
  }
  return { data: out, shape: [rows, D] }
}
