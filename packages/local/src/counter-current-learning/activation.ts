/** Activations φ whose derivative is a function of their value, so that only the value has to be kept. */
import { OptionError } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'

/** φ of the hidden layers: ELU with α = 1, leaky ReLU with slope 0.01. */
export type MirrorActivation = 'elu' | 'relu' | 'tanh' | 'leakyRelu' | 'selu'

/** φ, and a gradient in φ(z) times φ′(z), from φ(z). */
export interface ActivationRule {
  apply(z: tf.Tensor): tf.Tensor
  slope(value: tf.Tensor, gradient: tf.Tensor): tf.Tensor
}

const leak = 0.01
const seluScale = 1.0507009873554805
const seluAlpha = 1.6732632423543772

const positive = (value: tf.Tensor): tf.Tensor => tf.cast(tf.greater(value, 0), 'float32')

const rules: Readonly<Record<MirrorActivation, ActivationRule>> = {
  elu: { apply: (z) => tf.elu(z), slope: (value, gradient) => tf.mul(gradient, tf.add(tf.minimum(value, 0), 1)) },
  relu: { apply: (z) => tf.relu(z), slope: (value, gradient) => tf.mul(gradient, positive(value)) },
  tanh: { apply: (z) => tf.tanh(z), slope: (value, gradient) => tf.mul(gradient, tf.sub(1, tf.square(value))) },
  leakyRelu: {
    apply: (z) => tf.leakyRelu(z, leak),
    slope: (value, gradient) => tf.mul(gradient, tf.add(tf.mul(positive(value), 1 - leak), leak)),
  },
  selu: {
    apply: (z) => tf.selu(z),
    slope(value, gradient) {
      const negative = tf.add(tf.minimum(value, 0), seluScale * seluAlpha)
      return tf.mul(gradient, tf.where(tf.greater(value, 0), tf.mul(tf.onesLike(value), seluScale), negative))
    },
  },
}

/** @throws OptionError for an activation there is not */
export function activationRule(where: string, activation: MirrorActivation): ActivationRule {
  if (!Object.hasOwn(rules, activation)) {
    throw new OptionError(`${where}: activation must be one of ${Object.keys(rules).join(', ')}, got '${String(activation)}'`)
  }
  return rules[activation]
}
