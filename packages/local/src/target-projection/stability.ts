/** The bound on η of a layer with squared errors: it is an LMS filter, stable for η·J″·mean‖a_{i−1}‖²·max σ′² < 2. */
import { warn, type Dataset } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'
import { activationRule, type TargetActivation } from './activation'
import { lossRule } from './local-loss'
import type { TargetTraining } from './network'

/** Batches that the mean is taken over. */
const batches = 8

/**
 * Warns when the first layer's learning rate is beyond its bound. A convolution sees its input at several positions: its
 * bound is lower still.
 */
export async function warnIfUnstable(
  where: string,
  dataset: Dataset<{ x: tf.Tensor; y: tf.Tensor }>,
  inputs: (x: tf.Tensor) => tf.Tensor,
  activation: TargetActivation | undefined,
  { learningRate = 'auto', localLoss = 'l2', onWarning = warn }: TargetTraining,
): Promise<void> {
  const { curvature } = lossRule(where, localLoss)
  if (activation === undefined || curvature === undefined || typeof learningRate !== 'number' || learningRate === 0) return
  let [sum, count, read] = [0, 0, 0]
  for await (const { batch, weight } of dataset.weightedBatches({})) {
    const total = tf.tidy(() => {
      const a = inputs(batch.x)
      const squares = tf.sum(tf.square(tf.reshape(a, [a.shape[0], a.size / a.shape[0]])), 1)
      return tf.stack([tf.sum(tf.mul(squares, weight)), tf.sum(weight)])
    })
    const [squares, rows] = await total.data()
    tf.dispose([batch, weight, total])
    sum += squares
    count += rows
    if (++read === batches) break
  }
  const mean = sum / count
  const bound = 2 / (curvature * mean * activationRule(where, activation).steepest)
  if (!(learningRate > bound)) return
  onWarning(
    `${where}: learningRate ${learningRate} is above ${Number(bound.toPrecision(3))}, the bound of stability for inputs of mean squared ` +
      `norm ${Number(mean.toPrecision(3))}; layers may oscillate. Choose a lower one, or 'auto', or scale the inputs.`,
  )
}
