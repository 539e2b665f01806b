import * as tf from '@tensorflow/tfjs-core'
import { OptionError, ShapeError } from '../errors'
import { split, type Key } from '../random/key'
import { fansOf, torchDefault, type Fans, type Initializer } from './initializers'
import { checkInput, stateless, type Empty, type Layer } from './layer'

/** A kernel, and a bias unless the layer was made without one. */
export type Affine<Bias extends boolean = true> = Bias extends true ? { kernel: tf.Tensor; bias: tf.Tensor } : { kernel: tf.Tensor }

/** Options that all layers with a kernel share. */
export type AffineOptions<Bias extends boolean = boolean> = {
  /** Add a bias per output channel. Default true. */
  bias?: Bias
  /** Draws the kernel. Default PyTorch's, uniform on ±1/√fanIn. */
  kernelInit?: Initializer
  /** Draws the bias, given the kernel's fans. Default PyTorch's. */
  biasInit?: Initializer
}

/** @throws OptionError unless `value` is a positive integer */
export function checkCount(where: string, name: string, value: number): void {
  if (!Number.isInteger(value) || value < 1) throw new OptionError(`${where}: ${name} must be a positive integer, got ${value}`)
}

/** Draws kernel and bias. */
export function initAffine<Bias extends boolean>(
  key: Key,
  kernelShape: readonly number[],
  outputs: number,
  { bias, kernelInit = torchDefault, biasInit = torchDefault }: AffineOptions<Bias>,
  fans: Fans = fansOf(kernelShape),
): Affine<Bias> {
  const [kernelKey, biasKey] = split(key, 2)
  const kernel = kernelInit(kernelKey, kernelShape, fans)
  const params = bias === false ? { kernel } : { kernel, bias: biasInit(biasKey, [outputs], fans) }
  return params as Affine<Bias>
}

/** `y + bias`, where there is one. */
export function addBias(y: tf.Tensor, params: Affine<boolean>): tf.Tensor {
  return 'bias' in params ? tf.add(y, params.bias) : y
}

/** x [..., in] times kernel [in, out]. */
export function project(x: tf.Tensor, kernel: tf.Tensor): tf.Tensor {
  const [inputs, outputs] = kernel.shape
  if (x.rank === 2) return tf.matMul(x as tf.Tensor2D, kernel as tf.Tensor2D)
  const rows = tf.reshape(x, [x.size / inputs, inputs]) as tf.Tensor2D
  return tf.reshape(tf.matMul(rows, kernel as tf.Tensor2D), [...x.shape.slice(0, -1), outputs])
}

/**
 * y = x·W + b over the last axis.
 *
 * @param units - number of outputs
 * @returns a layer from [n, ..., in] to [n, ..., units]; `params` kernel [in, units], bias [units]
 * @throws OptionError unless `units` is a positive integer
 *
 * @example
 * ```ts
 * const head = dense(10)
 * const { params } = head.init(random.key(0), [64])
 * ```
 */
export function dense<Bias extends boolean = true>(units: number, options: AffineOptions<Bias> = {}): Layer<Affine<Bias>, Empty> {
  checkCount('dense', 'units', units)
  return stateless<Affine<Bias>>(
    (key, inputShape) => {
      if (inputShape.length < 1)
        throw new ShapeError('dense: expected an input shape [..., in] of at least one axis without the batch axis, got []')
      const inputs = inputShape[inputShape.length - 1]
      return { params: initAffine(key, [inputs, units], units, options), outputShape: [...inputShape.slice(0, -1), units] }
    },
    (params, x) => {
      checkInput('dense', x, undefined, params.kernel.shape[0], 'n, ..., in')
      return addBias(project(x, params.kernel), params as Affine<boolean>)
    },
  )
}
