import type { Key, Tree } from '@bpf/core'
import { uniform } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'

/** The labels of a batch or a condition, where it has any. */
export function labelOf(batch: Tree | undefined): tf.Tensor | undefined {
  return batch !== undefined && typeof batch === 'object' && 'label' in batch ? (batch as { label: tf.Tensor }).label : undefined
}

/** Labels, of which a share becomes that of no class. */
export function dropLabels(label: tf.Tensor, nullLabel: number, rate: number, key: Key): tf.Tensor {
  const dropped = tf.less(uniform(key, label.shape), rate)
  return tf.where(dropped, tf.fill(label.shape, nullLabel, 'int32'), tf.cast(label, 'int32'))
}
