/** Target projection SGD of a feed-forward network for regression: values are projected in place of one-hot labels. */
import { DataError, OptionError, tree, type Learner } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'
import { targetNetwork, type TargetNetwork, type TargetProjectionState } from './network'
import { warnIfUnstable } from './stability'

/** Options of {@link targetProjectionRegression}. */
export interface TargetProjectionRegressionOptions extends TargetNetwork {
  /** Number of values q of each example. */
  outputs: number
}

/** Inputs x [n, ...inputShape] and values y [n, q]. */
export type ValuesBatch = { x: tf.Tensor; y: tf.Tensor }

const where = 'targetProjectionRegression'

/**
 * As {@link targetProjectionSgd}, with targets t_i = P_i y of the values y, and squared errors ‖ŷ − y‖² of the last layer.
 * Scale y so that the targets are in the activations' range.
 *
 * @returns a learner with the metrics `loss` (of the last layer) and `layer1` …; `predict` gives values [n, q]
 * @throws OptionError for options out of range; DataError from `prepare` for values that are not finite
 */
export function targetProjectionRegression(options: TargetProjectionRegressionOptions): Learner<TargetProjectionState, ValuesBatch> {
  const { outputs } = options
  if (!Number.isInteger(outputs) || outputs < 1) throw new OptionError(`${where}: outputs must be a positive integer, got ${outputs}`)
  const errors = (y: tf.Tensor, values: tf.Tensor): tf.Tensor => tf.sum(tf.square(tf.sub(values, y)), 1)
  const network = targetNetwork(
    {
      where,
      outputs,
      project: (projection, y) => tf.matMul(y as tf.Tensor2D, projection as tf.Tensor2D),
      loss: (y, values) => tf.mean(errors(y, values)),
    },
    options,
  )
  return {
    async prepare(data, _, { signal }) {
      for await (const { batch, weight } of data.weightedBatches({ signal })) {
        const finite = tf.tidy(() => tf.all(tf.stack([tf.all(tf.isFinite(batch.x)), tf.all(tf.isFinite(batch.y))])))
        const [all] = await finite.data()
        tf.dispose([batch, weight, finite])
        if (!all) throw new DataError(`${where}: expected finite x and y, got NaN or an infinity`)
      }
      await warnIfUnstable(where, data, network.inputs, network.specs[0]?.activation, options)
    },
    init(key, { x }) {
      network.checkSample(x)
      return { tensors: network.init(key, x), host: null }
    },
    step: (tensors, { x, y }, key) => network.step(tensors, x, y, key),
    evaluate: (tensors, { x, y }, weight) =>
      tree.tidy(() => ({ sums: { loss: tf.sum(tf.mul(errors(y, network.scores(tensors, x)), weight)) }, count: tf.sum(weight) })),
    predict: (tensors, inputs) => tf.tidy(() => tf.clone(network.scores(tensors, inputs as tf.Tensor))),
  }
}
