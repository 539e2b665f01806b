import { DataError, OptionError, type Dataset, type Key, type Learner, type Staged, type Tree } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'

/** Inputs x [n, ...inputShape] (float32, images channels last) and class indices y [n] (int32). */
export type LabelledBatch = { x: tf.Tensor; y: tf.Tensor }

/** What every classifier here says of itself beside being a learner: `predict` gives class probabilities [n, classes]. */
interface ClassProbabilities<State extends Tree> {
  readonly classes: number
  predict(tensors: State, inputs: Tree, key?: Key): tf.Tensor
}

/** A classifier trained step by step. */
export type ClassifierLearner<State extends Tree, Aux = void> = Omit<Learner<State, LabelledBatch, Aux>, 'predict'> &
  ClassProbabilities<State>

/** A classifier trained stage by stage. */
export type StagedClassifier<State extends Tree> = Omit<Staged<State, LabelledBatch>, 'predict'> & ClassProbabilities<State>

/** @throws OptionError unless there are at least two classes */
export function checkClasses(where: string, classes: number): void {
  if (!Number.isInteger(classes) || classes < 2) throw new OptionError(`${where}: classes must be an integer of at least 2, got ${classes}`)
}

/**
 * Reads a dataset once before training: labels must be integers in [0, classes), inputs finite.
 *
 * @throws DataError that names the first bad example
 */
export async function checkExamples(
  where: string,
  dataset: Dataset<LabelledBatch>,
  classes: number,
  { signal }: { signal?: AbortSignal } = {},
): Promise<void> {
  let row = 0
  for await (const { batch, weight } of dataset.weightedBatches({ signal })) {
    const [x, y, weights] = await Promise.all([batch.x.data<'float32'>(), batch.y.data<'int32'>(), weight.data<'float32'>()])
    tf.dispose([batch.x, batch.y, weight])
    const count = weights.reduce((sum, value) => sum + value, 0)
    const size = x.length / y.length
    for (let i = 0; i < count; i++) {
      if (!(Number.isInteger(y[i]) && y[i] >= 0 && y[i] < classes)) {
        throw new DataError(`${where}: y is ${y[i]} at example ${row + i}; labels must be integers in [0, ${classes})`)
      }
    }
    const bad = x.subarray(0, count * size).findIndex((value) => !Number.isFinite(value))
    if (bad >= 0) throw new DataError(`${where}: x is ${x[bad]} in example ${row + Math.floor(bad / size)}; expected finite values`)
    row += count
  }
}

/** One-hot rows [n, classes], float32. */
export function oneHot(y: tf.Tensor, classes: number): tf.Tensor {
  return tf.cast(tf.oneHot(tf.cast(y, 'int32'), classes), 'float32')
}

/** Sums over a padded batch of `accuracy` and `loss` (cross-entropy), from class probabilities or logits [n, classes]. */
export function classificationSums(
  logProbabilities: tf.Tensor,
  y: tf.Tensor,
  weight: tf.Tensor,
): { sums: Record<string, tf.Tensor>; count: tf.Tensor } {
  const correct = tf.cast(tf.equal(tf.argMax(logProbabilities, -1), tf.cast(y, 'int32')), 'float32')
  const chosen = tf.sum(tf.mul(logProbabilities, oneHot(y, logProbabilities.shape[1] ?? 1)), -1)
  return {
    sums: { accuracy: tf.sum(tf.mul(correct, weight)), loss: tf.neg(tf.sum(tf.mul(chosen, weight))) },
    count: tf.sum(weight),
  }
}
