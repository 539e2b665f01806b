import * as tf from '@tensorflow/tfjs-core'
import { OptionError, ShapeError } from '../errors'
import { bernoulli } from '../random/index'
import { checkCount } from './dense'
import { normal, type Initializer } from './initializers'
import { lambda, stateless, type Empty, type Layer } from './layer'

function volume(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1)
}

/** All axes but the batch in one. @returns a layer from [n, ...] to [n, product] */
export function flatten(): Layer<Empty, Empty> {
  return lambda(
    (x) => tf.reshape(x, [x.shape[0], x.size / x.shape[0]]),
    (inputShape) => [volume(inputShape)],
  )
}

/**
 * @param shape - without the batch axis
 * @returns a layer from [n, ...] to [n, ...shape]
 * @throws ShapeError when the sizes differ
 */
export function reshape(shape: readonly number[]): Layer<Empty, Empty> {
  return lambda(
    (x) => tf.reshape(x, [x.shape[0], ...shape]),
    (inputShape) => {
      if (volume(shape) !== volume(inputShape)) {
        throw new ShapeError(
          `reshape: [${shape.join(', ')}] has ${volume(shape)} values, the input [${inputShape.join(', ')}] has ${volume(inputShape)}`,
        )
      }
      return shape
    },
  )
}

/**
 * While training, sets values to zero with probability `rate` and scales the others by 1/(1 − rate).
 *
 * @param rate - in [0, 1)
 * @throws OptionError for a rate out of range, or when training without a key
 * @see Srivastava et al., "Dropout", 2014
 */
export function dropout(rate: number): Layer<Empty, Empty> {
  if (!(rate >= 0 && rate < 1)) throw new OptionError(`dropout: rate must be in [0, 1), got ${rate}`)
  return lambda((x, { key, training }) => {
    if (!training || rate === 0) return x.clone()
    if (key === undefined)
      throw new OptionError('dropout: training draws a mask; pass a key, apply(params, state, x, { key, training: true })')
    return tf.mul(x, tf.mul(bernoulli(key, x.shape, 1 - rate), 1 / (1 - rate)))
  })
}

/** Parameters of {@link embedding}. */
export type EmbeddingParams = { table: tf.Tensor }

/**
 * A learned vector per class.
 *
 * @param count - number of classes
 * @param size - length of the vectors
 * @param options.init - default N(0, 1), as in PyTorch
 * @returns a layer from int32 ids [n, ...] to [n, ..., size]; `params` table [count, size]. Ids out of range are an error on
 *   some backends and undefined on others: check them where they enter.
 */
export function embedding(count: number, size: number, options: { init?: Initializer } = {}): Layer<EmbeddingParams, Empty> {
  checkCount('embedding', 'count', count)
  checkCount('embedding', 'size', size)
  const { init = normal({ stddev: 1 }) } = options
  return stateless<EmbeddingParams>(
    (key, inputShape) => ({ params: { table: init(key, [count, size]) }, outputShape: [...inputShape, size] }),
    (params, ids) => {
      if (ids.dtype !== 'int32') throw new ShapeError(`embedding: expected int32 ids, got ${ids.dtype}; use tf.cast(ids, 'int32')`)
      return tf.gather(params.table, ids)
    },
  )
}
