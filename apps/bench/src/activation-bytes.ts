import { activationBytes, type Key, type Tree } from '@bpf/core'
import { key as keyOf } from '@bpf/core/random'
import type { ClassifierLearner, LabelledBatch } from '@bpf/local'
import * as tf from '@tensorflow/tfjs-core'

/**
 * Bytes of activations for each example that are alive at once in a training step of a classifier, counted on its trace.
 *
 * @param shape - of one example
 */
export function activationBytesOf<State extends Tree, Aux>(method: ClassifierLearner<State, Aux>, shape: readonly number[]): number {
  const batchOf = (size: number): LabelledBatch => ({ x: tf.zeros([size, ...shape]), y: tf.zeros([size], 'int32') })
  const step = (tensors: State, batch: LabelledBatch, key: Key) => method.step(tensors, batch, key)
  let bytes = 0
  tf.tidy(() => {
    const { tensors } = method.init(keyOf(0), batchOf(2), undefined as Aux)
    bytes = activationBytes(step, (size): [State, LabelledBatch, Key] => [tensors, batchOf(size), keyOf(0)])
  })
  return bytes
}
