/** What exposure bias looks like, and epsilon scaling, which lessens it without shifting times. */
import { OptionError, type Key, type Tree } from '@bpf/core'
import { normal } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import type { Denoiser } from '../denoiser'
import { convertPrediction } from '../prediction'
import { perSample } from '../shared/maths'
import { ddim } from '../solvers/ddim'
import type { PerSampleSolver, Places } from '../solvers/per-sample'
import { checkDimensions, checkWindow, discrete, halfWidth, varianceOf } from './select-time'

/** Options of {@link epsilonScaling}. */
export interface EpsilonScalingOptions {
  /** λ = offset + slope·index, with the index of the schedule. Default 1.0012. */
  offset?: number
  /** Default 0. */
  slope?: number
}

/**
 * Epsilon scaling, a baseline without training: the predicted noise is divided by λ = offset + slope·index.
 *
 * @returns a denoiser of the noise
 * @throws OptionError for a process that is not discrete, or a λ that is not positive at both ends
 * @see Ning et al. 2024, arXiv 2308.15321
 */
export function epsilonScaling(model: Denoiser, { offset = 1.0012, slope = 0 }: EpsilonScalingOptions = {}): Denoiser {
  const process = discrete('epsilonScaling', model.process)
  if (!(offset > 0 && offset + slope * (process.steps - 1) > 0)) {
    throw new OptionError(
      `epsilonScaling: offset + slope·index must be positive, got ${offset} and ${offset + slope * (process.steps - 1)}`,
    )
  }
  return {
    ...model,
    prediction: 'eps',
    predict(x, t, condition) {
      const eps = convertPrediction(model.predict(x, t, condition), model.prediction, 'eps', x, process.coefficientTensors(t))
      if (slope === 0) return tf.div(eps, offset)
      return tf.div(eps, perSample(tf.add(tf.mul(process.indexOfTime(t), slope), offset), x))
    },
  }
}

/** Mean over the batch of the variance of each state's entries, a scalar: on a trajectory it departs from that of noised data. */
export function stateVariance(x: tf.Tensor): tf.Tensor {
  checkDimensions('stateVariance', x.shape)
  return tf.tidy(() => tf.mean(varianceOf(x)))
}

/** Options of {@link couplingError}. */
export interface CouplingOptions {
  /** What the model is conditioned on; leaves [n, …]. */
  condition?: Tree
  /** Index that the data are noised to. */
  from: number
  /** Index that one DDIM step goes to, below `from`. */
  to: number
  /** Indices from `to` − ⌊window/2⌋ to `to` + ⌊window/2⌋ are tried. */
  window: number
  key: Key
}

/**
 * How well a sampler's state goes with each time: data are noised to `from`, one DDIM step leads to `to`, and there the network,
 * told each index of a window, predicts the noise. The least error often lies at another index than `to`: exposure bias.
 *
 * @param x0 - data, [n, ...dims]
 * @returns the indices tried, and the mean squared error ‖ε_θ(x̂, τ) − ε‖²/D of each, [indices]
 */
export function couplingError(
  model: Denoiser,
  x0: tf.Tensor,
  { from, to, window, key, condition }: CouplingOptions,
): { indices: number[]; errors: tf.Tensor } {
  const process = discrete('couplingError', model.process)
  checkWindow('couplingError', { window, cutoff: 0 })
  const N = process.steps
  if (!(Number.isInteger(from) && Number.isInteger(to) && to >= 0 && to < from && from < N)) {
    throw new OptionError(`couplingError: expected integers 0 ≤ to < from < ${N}, got from ${from} and to ${to}`)
  }
  const half = halfWidth(process, window, 'paper')
  const low = Math.max(0, to - half)
  const indices = Array.from({ length: Math.min(N - 1, to + half) - low + 1 }, (_, i) => low + i)
  const errors = tf.tidy(() => {
    const n = x0.shape[0]
    const predicted = (x: tf.Tensor, index: number): tf.Tensor => {
      const t = tf.fill([n], process.timeOfIndex(index))
      return convertPrediction(model.predict(x, t, condition), model.prediction, 'eps', x, process.coefficientTensors(t))
    }
    const at = (index: number): number => process.alphaBar[index]
    const noised = (eps: tf.Tensor): tf.Tensor => tf.add(tf.mul(x0, Math.sqrt(at(from))), tf.mul(eps, Math.sqrt(1 - at(from))))
    const epsilon = normal(key, x0.shape)
    const start = noised(epsilon)
    const solver = ddim().perSample as PerSampleSolver
    const places = (index: number): Places => ({ index: tf.fill([n], index), alphaBar: perSample(tf.fill([n], at(index)), x0) })
    const { x } = solver.step({
      x: start,
      from: places(from),
      to: places(to),
      earlier: [],
      isStarting: false,
      isLast: false,
      eps: (y) => predicted(y, from),
      middle: (a) => a,
    })
    return tf.stack(indices.map((index) => tf.mean(tf.squaredDifference(predicted(x, index), epsilon))))
  })
  return { indices, errors }
}
