/**
 * Loss weights and bounds. Min-SNR: Hang et al. 2023, arXiv 2303.09556; P2: Choi et al. 2022, arXiv 2204.00227; EDM: Karras et al.
 * 2022, arXiv 2206.00364; variational bound: Ho et al. 2020, arXiv 2006.11239; continuous time: Kingma et al. 2021, arXiv
 * 2107.00630; pseudo-Huber: Song and Dhariwal 2024, arXiv 2310.14189.
 */
import { OptionError } from '@bpf/core'
import { takeRows } from '@bpf/core/ops'
import * as tf from '@tensorflow/tfjs-core'
import type { Prediction } from './prediction'
import type { Coefficients, DiscreteProcess } from './process'
import { perSample, sumPerSample } from './shared/maths'

/** The weight of each sample's squared error, [n], from the coefficients of its time. */
export type LossWeight = (at: Coefficients<tf.Tensor>, prediction: Prediction) => tf.Tensor

function signalToNoise({ alpha, sigma }: Coefficients<tf.Tensor>): tf.Tensor {
  return tf.square(tf.div(alpha, sigma))
}

/**
 * min(SNR, γ) on the error of x0, in the terms of the prediction: over SNR for ε, over SNR + 1 for v.
 *
 * @throws OptionError unless γ > 0, or for a prediction that has no such weight
 */
export function minSnrWeight({ gamma = 5 }: { gamma?: number } = {}): LossWeight {
  if (!(gamma > 0)) throw new OptionError(`minSnrWeight: gamma must be positive, got ${gamma}`)
  return (at, prediction) => {
    const snr = signalToNoise(at)
    const bounded = tf.minimum(snr, gamma)
    if (prediction === 'x0') return bounded
    if (prediction === 'eps') return tf.div(bounded, snr)
    if (prediction === 'v') return tf.div(bounded, tf.add(snr, 1))
    throw new OptionError(`minSnrWeight: defined for eps, x0 and v predictions, got '${prediction}'`)
  }
}

/** P2: 1/(1 + SNR)^γ. */
export function p2Weight({ gamma = 1 }: { gamma?: number } = {}): LossWeight {
  return (at) => tf.pow(tf.add(signalToNoise(at), 1), -gamma)
}

/** EDM's (σ² + σ_d²)/(σ σ_d)² on the error of x0. */
export function edmWeight({ sigmaData = 0.5 }: { sigmaData?: number } = {}): LossWeight {
  return ({ sigma }) => {
    const variance = tf.square(sigma)
    return tf.div(tf.add(variance, sigmaData * sigmaData), tf.mul(variance, sigmaData * sigmaData))
  }
}

/** The variational bound in continuous time, −½ SNR'(t) on the error of x0: with t uniform the loss is L_∞ in nats. */
export function likelihoodWeight(): LossWeight {
  return (at, prediction) => {
    if (prediction !== 'x0') throw new OptionError(`likelihoodWeight: defined for x0 predictions, got '${prediction}'`)
    const { alpha, sigma, dalpha, dsigma } = at
    return tf.mul(signalToNoise(at), tf.sub(tf.div(dsigma, sigma), tf.div(dalpha, alpha)))
  }
}

/**
 * √(‖a − b‖² + c²) − c of each sample, [n].
 *
 * @param a - [n, ...dims]
 * @param b - as a
 * @param c - default 0.00054 √D
 */
export function pseudoHuber(a: tf.Tensor, b: tf.Tensor, c = 0.00054 * Math.sqrt(a.size / a.shape[0])): tf.Tensor {
  return tf.sub(tf.sqrt(tf.add(sumPerSample(tf.squaredDifference(a, b)), c * c)), c)
}

/** What {@link ddpmBound} takes. */
export type DdpmBoundInput = {
  /** Clean data, [n, ...dims]. */
  x0: tf.Tensor
  /** The noise in x_t, and the noise predicted from it, as x0. */
  eps: tf.Tensor
  predicted: tf.Tensor
  /** Steps, [n] int32, from 0. */
  index: tf.Tensor
}

/**
 * Terms of DDPM's variational bound in nats, summed over dimensions: KL(q(x_{t−1} | x_t, x0) ‖ p) with the posterior variance
 * (that of index 1 at index 0, where it is 0), and KL(q(x_T | x0) ‖ N(0, I)).
 *
 * @returns `noised` x_t as x0; `step` [n]; `prior` [n]
 */
export function ddpmBound(process: DiscreteProcess, { x0, eps, predicted, index }: DdpmBoundInput) {
  const { alphaBar } = process
  if (alphaBar.length < 2) throw new OptionError('ddpmBound: the process needs at least 2 steps')
  const before = (i: number): number => (i === 0 ? 1 : alphaBar[i - 1])
  const beta = (i: number): number => 1 - alphaBar[i] / before(i)
  const weights = Array.from(alphaBar, (bar, i) => {
    const j = Math.max(i, 1)
    const variance = (beta(j) * (1 - before(j))) / (1 - alphaBar[j])
    return beta(i) ** 2 / (2 * variance * (1 - beta(i)) * (1 - bar))
  })
  const take = (values: number[]): tf.Tensor =>
    tf.reshape(takeRows(tf.reshape(tf.tensor1d(values), [values.length, 1]), tf.cast(index, 'int32') as tf.Tensor1D), [-1])
  const signal = take(Array.from(alphaBar, Math.sqrt))
  const noise = take(Array.from(alphaBar, (bar) => Math.sqrt(1 - bar)))
  const last = alphaBar[alphaBar.length - 1]
  const size = x0.size / x0.shape[0]
  return {
    noised: tf.add(tf.mul(x0, perSample(signal, x0)), tf.mul(eps, perSample(noise, x0))),
    step: tf.mul(sumPerSample(tf.squaredDifference(eps, predicted)), take(weights)),
    // ½ Σ (σ² + α² x0² − 1 − ln σ²) with σ² = 1 − ᾱ
    prior: tf.mul(tf.add(tf.mul(sumPerSample(tf.square(x0)), last), size * (-last - Math.log1p(-last))), 0.5),
  }
}

/**
 * −ln of the probability that a Gaussian gives to the bin of each pixel, summed over dimensions: the bound's last term for data
 * of 256 levels in [−1, 1].
 *
 * @param x - data, [n, ...dims], levels −1, −1 + 2/255, …, 1
 * @param mean - as x
 * @param stddev - of the Gaussian, a number
 * @returns [n], nats
 */
export function discretizedNll(x: tf.Tensor, mean: tf.Tensor, stddev: number, levels = 256): tf.Tensor {
  const half = 1 / (levels - 1)
  const cdf = (z: tf.Tensor): tf.Tensor => tf.mul(tf.add(tf.erf(tf.div(z, stddev * Math.SQRT2)), 1), 0.5)
  const centred = tf.sub(x, mean)
  const above = tf.where(tf.greater(x, 1 - half), tf.onesLike(x), cdf(tf.add(centred, half)))
  const below = tf.where(tf.less(x, half - 1), tf.zerosLike(x), cdf(tf.sub(centred, half)))
  return tf.neg(sumPerSample(tf.log(tf.maximum(tf.sub(above, below), 1e-12))))
}
