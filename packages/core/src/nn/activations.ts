import * as tf from '@tensorflow/tfjs-core'
import { lambda, type Empty, type Layer } from './layer'

type Activation = Layer<Empty, Empty>

/** max(x, 0). */
export function relu(): Activation {
  return lambda((x) => tf.relu(x))
}

/** x for x ≥ 0, slope·x below. `slope` defaults to 0.01. */
export function leakyRelu(slope = 0.01): Activation {
  return lambda((x) => tf.leakyRelu(x, slope))
}

/** x for x ≥ 0, exp(x) − 1 below. */
export function elu(): Activation {
  return lambda((x) => tf.elu(x))
}

/** x·Φ(x), exact (with erf). @see Hendrycks & Gimpel, 2016, arXiv:1606.08415 */
export function gelu(): Activation {
  return lambda((x) => tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1)))
}

/** x·σ(x), also called swish. */
export function silu(): Activation {
  return lambda((x) => tf.mul(x, tf.sigmoid(x)))
}

/** log(1 + exp x). */
export function softplus(): Activation {
  return lambda((x) => tf.softplus(x))
}

/** 1/(1 + exp(−x)). */
export function sigmoid(): Activation {
  return lambda((x) => tf.sigmoid(x))
}

/** Hyperbolic tangent. */
export function tanh(): Activation {
  return lambda((x) => tf.tanh(x))
}
