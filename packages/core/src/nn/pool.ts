import * as tf from '@tensorflow/tfjs-core'
import { checkPadding, pairOf, windowOutput, type Padding, type Pair } from './conv'
import { checkRank, lambda, type Empty, type Layer } from './layer'

/** Options of the pooling layers. */
export type PoolOptions = {
  /** Default: the size, so that windows don't overlap. */
  stride?: Pair
  /** Default 'valid': an incomplete window at the end is dropped. */
  padding?: Padding
}

function pool(where: string, kernel: typeof tf.maxPool, window: Pair, options: PoolOptions): Layer<Empty, Empty> {
  const { padding = 'valid' } = options
  checkPadding(where, padding)
  const size = pairOf(where, 'size', window)
  const stride = pairOf(where, 'stride', options.stride ?? window)
  return lambda(
    (x) => kernel(x as tf.Tensor4D, size, stride, padding),
    (inputShape) => {
      checkRank(where, inputShape, 3, 'h, w, channels')
      return [...[0, 1].map((i) => windowOutput(where, inputShape[i], size[i], stride[i], padding)), inputShape[2]]
    },
  )
}

/** Largest value of each window. @returns a layer from [n, h, w, c] to [n, h', w', c] */
export function maxPool(size: Pair, options: PoolOptions = {}): Layer<Empty, Empty> {
  return pool('maxPool', tf.maxPool, size, options)
}

/** Mean of each window; padding doesn't count. @returns a layer from [n, h, w, c] to [n, h', w', c] */
export function avgPool(size: Pair, options: PoolOptions = {}): Layer<Empty, Empty> {
  return pool('avgPool', tf.avgPool, size, options)
}

/** Mean over all axes between the batch and the channels. @returns a layer from [n, ..., c] to [n, c] */
export function globalAvgPool(): Layer<Empty, Empty> {
  return lambda(
    (x) =>
      tf.mean(
        x,
        Array.from({ length: x.rank - 2 }, (_, i) => i + 1),
      ),
    (inputShape) => inputShape.slice(-1),
  )
}
