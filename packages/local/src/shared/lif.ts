/** Leaky integrate-and-fire neurons with surrogate gradients. */
import { customGradient, OptionError, stopGradient, tree, type Tree } from '@bpf/core'
import type { Empty, Layer } from '@bpf/core/nn'
import * as tf from '@tensorflow/tfjs-core'

/** Stand-ins for the derivative of a spike in u. */
export type Surrogate = 'triangle' | 'rectangle' | 'sigmoid'

/** Options of {@link lif}. */
export interface LifOptions {
  /** Time constant τ ≥ 1; a potential keeps λ = 1 − 1/τ of itself in a step. Default 1.1. */
  tau?: number
  /** Threshold V > 0. Default 1. */
  threshold?: number
  /**
   * h(x) at x = u − V: `triangle` max(0, 1 − |x|) (default), `rectangle` 1/V for |x| ≤ V/2, `sigmoid` 4 σ(4x)(1 − σ(4x)).
   */
  surrogate?: Surrogate
  /** Leaves the reset out of the gradient through time. Default false. */
  detachReset?: boolean
}

/**
 * Potentials v [n, ...shape] after the last step ([1, ...shape] zeros before the first), which change with every step,
 * whether training or not; and the mean spikes of the last step that did not train.
 */
export type LifState = { potential: tf.Tensor; rate: tf.Tensor }

const surrogates: Readonly<Record<Surrogate, (x: tf.Tensor, threshold: number) => tf.Tensor>> = {
  triangle: (x) => tf.relu(tf.sub(1, tf.abs(x))),
  rectangle: (x, threshold) => tf.mul(tf.cast(tf.lessEqual(tf.abs(x), threshold / 2), 'float32'), 1 / threshold),
  sigmoid(x) {
    const s = tf.sigmoid(tf.mul(x, 4))
    return tf.mul(tf.mul(s, tf.sub(1, s)), 4)
  },
}

/** The names of {@link Surrogate}. */
export const surrogateNames = Object.keys(surrogates) as readonly Surrogate[]

/** h(x), the derivative that stands for that of the spike at x = u − V. */
export function surrogateDerivative(x: tf.Tensor, surrogate: Surrogate, threshold = 1): tf.Tensor {
  return tf.tidy(() => surrogates[surrogate](x, threshold))
}

/** 1 where u ≥ V, else 0, with the surrogate's derivative. Of its input it keeps u itself, which the reset needs too. */
function spike(u: tf.Tensor, surrogate: Surrogate, threshold: number): tf.Tensor {
  return customGradient(
    (at: tf.Tensor) => tf.cast(tf.greaterEqual(at, threshold), 'float32'),
    (at, dy) => tf.mul(dy, surrogates[surrogate](tf.sub(at, threshold), threshold)),
  )(u)
}

/**
 * Leaky integrate-and-fire units: u = λ v + I, s = 1 where u ≥ V, v ← u − V s. One call is one time step; the potentials are
 * in the layer's state, so that networks of the usual layers carry them. {@link resetPotentials} begins a new sample.
 *
 * @throws OptionError for τ < 1, V ≤ 0, an unknown surrogate
 */
export function lif({ tau = 1.1, threshold = 1, surrogate = 'triangle', detachReset = false }: LifOptions = {}): Layer<Empty, LifState> {
  if (!(tau >= 1)) throw new OptionError(`lif: tau must be at least 1, got ${tau}`)
  if (!(threshold > 0)) throw new OptionError(`lif: threshold must be positive, got ${threshold}`)
  if (!surrogateNames.includes(surrogate)) {
    throw new OptionError(`lif: unknown surrogate '${String(surrogate)}'; expected one of ${surrogateNames.join(', ')}`)
  }
  const decay = 1 - 1 / tau
  return {
    init: (_, inputShape) => ({
      params: {},
      state: { potential: tf.zeros([1, ...inputShape]), rate: tf.scalar(0) },
      outputShape: inputShape,
    }),
    apply: (_, { potential, rate }, x, { training }) => {
      const u = decay === 0 ? x : tf.add(tf.mul(potential, decay), x)
      const s = spike(u, surrogate, threshold)
      const fired = detachReset ? stopGradient(s) : s
      const reset = threshold === 1 ? fired : tf.mul(fired, threshold)
      return { y: s, state: { potential: tf.sub(u, reset), rate: training ? rate.clone() : tf.mean(s) } }
    },
  }
}

const isPotential = (path: string): boolean => path.endsWith('/potential')

/** A network's state with all potentials at zero for a batch of n samples; other leaves are copies. */
export function resetPotentials<S extends Tree>(state: S, n: number): S {
  const { leaves, structure } = tree.flatten(state)
  const paths = tree.entries(state).map(({ path }) => path)
  return tree.unflatten<S>(
    structure,
    leaves.map((leaf, i) => (isPotential(paths[i]) ? tf.zeros([n, ...leaf.shape.slice(1)]) : leaf.clone())),
  )
}

/** The mean spikes of the last step of every lif layer that did not train, by path. */
export function spikeRates(state: Tree): Record<string, tf.Tensor> {
  return Object.fromEntries(
    tree
      .entries(state)
      .filter(({ path }) => path.endsWith('/rate'))
      .map(({ path, leaf }) => [path, leaf]),
  )
}
