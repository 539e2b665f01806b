/**
 * A denoiser is any function (x, t, condition) → prediction with its process and parameterisation declared; samplers, guidance
 * and likelihoods take it. Preconditioning: Karras et al. 2022, arXiv 2206.00364; dynamic thresholding: Saharia et al. 2022,
 * arXiv 2205.11487.
 */
import { OptionError, ShapeError, tree, type Tree } from '@bpf/core'
import { sort } from '@bpf/core/ops'
import * as tf from '@tensorflow/tfjs-core'
import { checkPrediction, convertPrediction, type Prediction } from './prediction'
import type { Process } from './process'
import { perSample } from './shared/maths'

/** A model of the noise, the data, the score or the velocity at any time of a process. */
export interface Denoiser {
  readonly process: Process
  /** What `predict` gives. */
  readonly prediction: Prediction
  /** True when `predict` takes one time [1] for the whole batch, which saves embedding equal times again and again. */
  readonly sharedTime?: boolean
  /** Rows of the network for each row of x: 2 with guidance without a classifier. Default 1. */
  readonly rowsPerSample?: number
  /**
   * Pure and traceable.
   *
   * @param x - x_t, [n, ...dims]
   * @param t - times in the process's units, [n] (or [1], where `sharedTime` says so)
   * @param condition - leaves [n, …]
   * @returns as x
   */
  predict(x: tf.Tensor, t: tf.Tensor, condition?: Tree): tf.Tensor
}

/** @throws ShapeError when a leaf of the condition has another number of rows than x */
export function checkCondition(where: string, x: tf.Tensor, condition: Tree | undefined): void {
  if (condition === undefined) return
  for (const { path, leaf } of tree.entries(condition)) {
    if (leaf.shape[0] !== x.shape[0]) {
      throw new ShapeError(`${where}: condition${path} has ${leaf.shape[0] ?? 'no'} rows, x has ${x.shape[0]}; give one for each sample`)
    }
  }
}

/** How predicted data are bounded; see {@link clipDenoised}. */
export interface ClipOptions {
  /** Clip x̂0 to [−range, range]. Default 1. */
  range?: number
  /**
   * Dynamic thresholding: this quantile s of |x̂0| of each sample, at least `range`, is the bound, and the result is divided by
   * s / range. Such as 0.995.
   */
  quantile?: number
}

/**
 * The same model, predicting x0 with its values bounded. Guidance goes inside: it must not be applied after clipping.
 *
 * @returns a denoiser of x0
 * @throws OptionError for a range that is not positive, or a quantile outside (0, 1]
 */
export function clipDenoised(model: Denoiser, { range = 1, quantile }: ClipOptions = {}): Denoiser {
  if (!(range > 0 && range < Infinity)) throw new OptionError(`clipDenoised: range must be positive and finite, got ${range}`)
  if (quantile !== undefined && !(quantile > 0 && quantile <= 1)) {
    throw new OptionError(`clipDenoised: quantile must be in (0, 1], got ${quantile}`)
  }
  const denoised = asPrediction(model, 'x0')
  return {
    ...denoised,
    predict(x, t, condition) {
      const x0 = denoised.predict(x, t, condition)
      return quantile === undefined ? tf.clipByValue(x0, -range, range) : dynamicThreshold(x0, { quantile, range })
    },
  }
}

/**
 * s = max(range, quantile of |x0|) of each sample; clip(x0, −s, s) · range / s.
 *
 * @param x0 - [n, ...dims]
 */
export function dynamicThreshold(x0: tf.Tensor, { quantile = 0.995, range = 1 }: ClipOptions = {}): tf.Tensor {
  const flat = tf.reshape(tf.abs(x0), [x0.shape[0], -1])
  const size = flat.shape[1] as number
  const position = quantile * (size - 1)
  const low = Math.floor(position)
  const high = Math.min(low + 1, size - 1)
  const sorted = sort(flat)
  const column = (j: number): tf.Tensor => tf.slice(sorted, [0, j], [-1, 1])
  const value = tf.add(tf.mul(column(low), 1 - (position - low)), tf.mul(column(high), position - low))
  const s = perSample(tf.maximum(value, range), x0)
  return tf.mul(tf.minimum(tf.maximum(x0, tf.neg(s)), s), tf.div(range, s))
}

/** The same model with another parameterisation. */
export function asPrediction(model: Denoiser, prediction: Prediction): Denoiser {
  checkPrediction('asPrediction', prediction)
  if (prediction === model.prediction) return model
  return {
    ...model,
    prediction,
    predict: (x, t, condition) =>
      convertPrediction(model.predict(x, t, condition), model.prediction, prediction, x, model.process.coefficientTensors(t)),
  }
}

/** Options of {@link edmPrecondition}. */
export interface EdmOptions {
  /** Standard deviation of the data. Default 0.5. */
  sigmaData?: number
}

/** c_skip, c_out, c_in and the loss weight of EDM at a noise level. */
export function edmScalings(sigma: number, { sigmaData = 0.5 }: EdmOptions = {}) {
  const total = sigma * sigma + sigmaData * sigmaData
  return {
    skip: (sigmaData * sigmaData) / total,
    out: (sigma * sigmaData) / Math.sqrt(total),
    input: 1 / Math.sqrt(total),
    weight: total / (sigma * sigmaData) ** 2,
  }
}

/**
 * EDM's denoiser D = c_skip x + c_out F(c_in x, ¼ ln σ) over a process with α = 1.
 *
 * @param network - F, from c_in x [n, ...dims], the noise input [n] and the condition to [n, ...dims]
 * @param process - of which σ_t is the noise level: `edmProcess()` or `veProcess()`
 * @returns a denoiser of x0
 */
export function edmPrecondition(
  network: (x: tf.Tensor, noise: tf.Tensor, condition?: Tree) => tf.Tensor,
  process: Process,
  { sigmaData = 0.5 }: EdmOptions = {},
): Denoiser {
  if (!(sigmaData > 0 && sigmaData < Infinity)) throw new OptionError(`edmPrecondition: sigmaData must be positive, got ${sigmaData}`)
  if (process.coefficients(process.tMax).alpha !== 1) {
    throw new OptionError(`edmPrecondition: expected a process with alpha = 1 such as edmProcess(), got '${process.name}'`)
  }
  return {
    process,
    prediction: 'x0',
    predict(x, t, condition) {
      const { sigma } = process.coefficientTensors(t)
      const total = tf.add(tf.square(sigma), sigmaData * sigmaData)
      const root = tf.sqrt(total)
      const output = network(tf.div(x, perSample(root, x)), tf.mul(tf.log(sigma), 0.25), condition)
      const skip = tf.mul(x, perSample(tf.div(sigmaData * sigmaData, total), x))
      return tf.add(skip, tf.mul(output, perSample(tf.div(tf.mul(sigma, sigmaData), root), x)))
    },
  }
}
