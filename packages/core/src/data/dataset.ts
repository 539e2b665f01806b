import type * as tf from '@tensorflow/tfjs-core'
import type { Tree } from '../tree'
import type { Key } from '../random/key'

/** How one pass over a dataset is read. */
export interface PassOptions {
  /** Orders the pass where the dataset shuffles; equal keys give equal orders. Required by shuffled datasets. */
  key?: Key
  /** Leave out this many batches at the start (resuming in the middle of an epoch); cheap where possible. */
  skip?: number
  /** Leave out a last batch that is shorter than the others. Default true. */
  dropLast?: boolean
  signal?: AbortSignal
}

/** A batch padded to full size, with the weight [n] of each row: 1 for real rows, 0 for padding. */
export interface WeightedBatch<Batch extends Tree> {
  batch: Batch
  weight: tf.Tensor1D
}

/**
 * Batches of examples, read pass by pass. Every tensor of a batch has the examples along its first axis.
 * The reader owns the batches it gets and disposes them.
 */
export interface Dataset<Batch extends Tree> {
  /** Batches in one pass with `dropLast: true`, where known beforehand. */
  readonly batchesPerEpoch: number | undefined
  /** One pass for training. */
  batches(options?: PassOptions): AsyncIterable<Batch>
  /** One pass for evaluation: in order, every example once, the last batch padded. */
  weightedBatches(options?: { signal?: AbortSignal }): AsyncIterable<WeightedBatch<Batch>>
}
