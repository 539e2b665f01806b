/** Class embeddings W [C, d] of NoProp. */
import { DataError, type Dataset, type Key } from '@bpf/core'
import { initializers } from '@bpf/core/nn'
import { normal } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import type { LabelledBatch } from '../shared/labelled'

/**
 * Rows of length 1, orthogonal where the dimension allows it.
 *
 * @param onWarning - told when it doesn't: d < C
 * @returns [classes, size]
 */
export function learnedEmbedding(key: Key, classes: number, size: number, onWarning: ((message: string) => void) | undefined): tf.Tensor {
  if (size >= classes) return initializers.orthogonal()(key, [classes, size])
  onWarning?.(
    `noProp: embeddingSize ${size} is below the ${classes} classes, so their embeddings can't be orthogonal; they start as normalised Gaussian vectors`,
  )
  return tf.tidy(() => {
    const rows = normal(key, [classes, size])
    return tf.div(rows, tf.norm(rows, 2, -1, true))
  })
}

/** Images of one class are compared in pairs: this many of them at most. */
const candidatesPerClass = 1000

/**
 * For each class the input with the smallest median distance to the other inputs of its class (among the first 1,000).
 *
 * @returns row-major [classes, d], d the size of an input
 * @throws DataError when a class has no example
 */
export async function classPrototypes(
  dataset: Dataset<LabelledBatch>,
  classes: number,
  { signal }: { signal?: AbortSignal },
): Promise<{ values: Float32Array; size: number }> {
  const members: Float32Array[][] = Array.from({ length: classes }, () => [])
  let size = 0
  for await (const { batch, weight } of dataset.weightedBatches({ signal })) {
    const [x, y, weights] = await Promise.all([batch.x.data<'float32'>(), batch.y.data<'int32'>(), weight.data<'float32'>()])
    tf.dispose([batch.x, batch.y, weight])
    size = x.length / y.length
    y.forEach((label, i) => {
      if (weights[i] > 0 && members[label].length < candidatesPerClass) members[label].push(x.slice(i * size, (i + 1) * size))
    })
  }
  const values = new Float32Array(classes * size)
  for (const [label, rows] of members.entries()) {
    if (rows.length === 0) throw new DataError(`noProp: class ${label} has no example, so it has no prototype`)
    signal?.throwIfAborted()
    values.set(rows[await mostCentral(rows, size)], label * size)
  }
  return { values, size }
}

/** Index of the row with the smallest median distance to the others. */
async function mostCentral(rows: readonly Float32Array[], size: number): Promise<number> {
  const n = rows.length
  if (n < 3) return 0
  const flat = new Float32Array(n * size)
  rows.forEach((row, i) => flat.set(row, i * size))
  const squares = tf.tidy(() => {
    const x = tf.tensor2d(flat, [n, size])
    const centred = tf.sub(x, tf.mean(x, 0))
    const norms = tf.sum(tf.square(centred), 1, true)
    return tf.sub(tf.add(norms, tf.transpose(norms)), tf.mul(2, tf.matMul(centred, centred, false, true)))
  })
  const distances = await squares.data<'float32'>()
  squares.dispose()
  const medians = Float64Array.from({ length: n }, (_, i) => {
    const others = distances.slice(i * n, (i + 1) * n)
    others[i] = others[n - 1]
    return median(others.subarray(0, n - 1).sort())
  })
  return medians.indexOf(Math.min(...medians))
}

/** Median distance from sorted squared distances. */
function median(squares: Float32Array): number {
  const root = (i: number) => Math.sqrt(Math.max(squares[i], 0))
  const middle = squares.length >> 1
  return squares.length % 2 === 1 ? root(middle) : (root(middle - 1) + root(middle)) / 2
}
