/** Activations σ of the trained layers, and where their values lie: targets have to be in reach. */
import { OptionError } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'

/** σ of a hidden layer. */
export type TargetActivation = 'tanh' | 'sigmoid' | 'relu' | 'linear'

interface ActivationRule {
  apply(z: tf.Tensor): tf.Tensor
  /** Smallest and largest target that a layer can learn, in words too. */
  range: readonly [number, number]
  interval: string
  /** max σ′². */
  steepest: number
  /** max σ². */
  largest: number
}

const rules: Readonly<Record<TargetActivation, ActivationRule>> = {
  tanh: { apply: (z) => tf.tanh(z), range: [-1, 1], interval: '[−1, 1]', steepest: 1, largest: 1 },
  // At 0 and 1 the slope vanishes, so these two are out of reach.
  sigmoid: { apply: (z) => tf.sigmoid(z), range: [1e-6, 1 - 1e-6], interval: '(0, 1)', steepest: 1 / 16, largest: 1 },
  relu: { apply: (z) => tf.relu(z), range: [0, Infinity], interval: '[0, ∞)', steepest: 1, largest: Infinity },
  linear: { apply: (z) => tf.clone(z), range: [-Infinity, Infinity], interval: '(−∞, ∞)', steepest: 1, largest: Infinity },
}

/** @throws OptionError for an activation there is not */
export function activationRule(where: string, activation: TargetActivation): ActivationRule {
  if (!Object.hasOwn(rules, activation)) {
    throw new OptionError(`${where}: activation must be one of ${Object.keys(rules).join(', ')}, got '${String(activation)}'`)
  }
  return rules[activation]
}
