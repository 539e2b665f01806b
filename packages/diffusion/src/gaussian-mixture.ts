/**
 * Models in closed form for data of a mixture of isotropic Gaussians, or of one Gaussian with any covariance: exact score,
 * denoiser and log-density at any time of any process. Test doubles for everything, and teachers for toy problems.
 */
import { OptionError, ShapeError } from '@bpf/core'
import { symmetricEigen } from '@bpf/core/linalg'
import { normal, uniform, fold, type Key } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import type { Denoiser } from './denoiser'
import type { Process } from './process'

/** Options of {@link gaussianMixture}. */
export interface GaussianMixtureOptions {
  /** [K][D] */
  means: readonly (readonly number[])[]
  /** Standard deviation of every component. */
  stddev: number
  /** [K], positive; default equal. */
  weights?: readonly number[]
}

/** Data Σ_k w_k N(μ_k, s² I), with its noised marginals Σ_k w_k N(α μ_k, (α² s² + σ²) I). */
export interface GaussianMixture {
  readonly dimensions: number
  readonly components: number
  /** Draws, [n, D]. */
  sample(key: Key, n: number): tf.Tensor2D
  /** E[x0 | x_t], as a denoiser. With a condition `{ label }` (int32 [n]) of that component alone; K or more means none. */
  denoiser(process: Process): Denoiser
  /** ln p_t(x), [n]; t [n] or [1]. */
  logDensity(process: Process, x: tf.Tensor, t: tf.Tensor): tf.Tensor
  /** ln p(component | x_t), [n, K]. */
  logPosterior(process: Process, x: tf.Tensor, t: tf.Tensor): tf.Tensor
}

/**
 * A mixture of Gaussians. Traceable, and exact in `float64`.
 *
 * @throws OptionError for means of different lengths, a stddev that is negative, or weights that are not positive
 */
export function gaussianMixture({ means, stddev, weights }: GaussianMixtureOptions): GaussianMixture {
  const K = means.length
  const D = means[0]?.length ?? 0
  if (K === 0 || D === 0 || means.some((mean) => mean.length !== D)) {
    throw new OptionError('gaussianMixture: means must be a matrix [K][D] of at least one mean')
  }
  if (!(stddev >= 0 && stddev < Infinity)) throw new OptionError(`gaussianMixture: stddev must be at least 0, got ${stddev}`)
  const given = weights ?? means.map(() => 1)
  if (given.length !== K || given.some((weight) => !(weight > 0 && weight < Infinity))) {
    throw new OptionError(`gaussianMixture: expected ${K} positive weights, got [${given.join(', ')}]`)
  }
  const total = given.reduce((sum, weight) => sum + weight, 0)
  const logWeights = given.map((weight) => Math.log(weight / total))
  const matrix = (): tf.Tensor2D => tf.reshape(tf.tensor1d(means.flat()), [K, D])
  const row = (values: readonly number[]): tf.Tensor => tf.reshape(tf.tensor1d([...values]), [1, values.length])
  const norms = means.map((mean) => mean.reduce((sum, value) => sum + value * value, 0))

  const column = (values: tf.Tensor): tf.Tensor => tf.reshape(values, [-1, 1])
  /** α and the variance α² s² + σ², as columns. */
  const marginal = (process: Process, t: tf.Tensor): { alpha: tf.Tensor; sigma: tf.Tensor; variance: tf.Tensor } => {
    const at = process.coefficientTensors(t)
    const [alpha, sigma] = [column(at.alpha), column(at.sigma)]
    return { alpha, sigma, variance: tf.add(tf.mul(tf.square(alpha), stddev * stddev), tf.square(sigma)) }
  }
  const checkInput = (x: tf.Tensor): void => {
    if (x.rank !== 2 || x.shape[1] !== D)
      throw new ShapeError(`gaussianMixture: expected x of shape [n, ${D}], got [${x.shape.join(', ')}]`)
  }
  /** ln w_k − ‖x − α μ_k‖²/(2 variance) without the term of x alone, [n, K]. */
  const scores = (x: tf.Tensor, alpha: tf.Tensor, variance: tf.Tensor): tf.Tensor => {
    const products = tf.mul(tf.matMul(x as tf.Tensor2D, matrix(), false, true), alpha)
    const shift = tf.mul(tf.mul(tf.square(alpha), 0.5), row(norms))
    return tf.add(tf.div(tf.sub(products, shift), variance), row(logWeights))
  }
  return {
    dimensions: D,
    components: K,
    sample: (key, n) =>
      tf.tidy(() => {
        const u = uniform(fold(key, 0), [n, 1])
        let sum = 0
        const cumulative = given.map((weight) => (sum += weight / total)).slice(0, -1)
        const index = cumulative.length === 0 ? tf.zeros([n], 'int32') : tf.sum(tf.cast(tf.greaterEqual(u, row(cumulative)), 'int32'), 1)
        const centres = tf.matMul(tf.cast(tf.oneHot(tf.cast(index, 'int32') as tf.Tensor1D, K), 'float32') as tf.Tensor2D, matrix())
        return tf.add(centres, normal(fold(key, 1), [n, D], { stddev })) as tf.Tensor2D
      }),
    denoiser: (process) => ({
      process,
      prediction: 'x0',
      sharedTime: true,
      predict(x, t, condition) {
        checkInput(x)
        const { alpha, sigma, variance } = marginal(process, t)
        let logits = scores(x, alpha, variance)
        if (condition !== undefined) {
          const { label } = condition as { label: tf.Tensor }
          const chosen = tf.cast(tf.oneHot(tf.cast(label, 'int32') as tf.Tensor1D, K), 'float32')
          const isFree = tf.sub(1, tf.sum(chosen, 1, true))
          // Weights 0 of the other components; all stay where the label is none of them.
          logits = tf.add(logits, tf.mul(tf.sub(tf.add(chosen, isFree), 1), 1e30))
        }
        const mean = tf.matMul(tf.softmax(logits) as tf.Tensor2D, matrix())
        // x̂0 = Σ r_k μ_k + α s² (x − α Σ r_k μ_k)/variance = (σ² mean + α s² x)/variance
        return tf.div(tf.add(tf.mul(mean, tf.square(sigma)), tf.mul(tf.mul(x, alpha), stddev * stddev)), variance)
      },
    }),
    logDensity: (process, x, t) =>
      tf.tidy(() => {
        checkInput(x)
        const { alpha, variance } = marginal(process, t)
        const own = tf.mul(tf.div(tf.sum(tf.square(x), 1, true), variance), -0.5)
        const constant = tf.mul(tf.add(tf.log(variance), Math.log(2 * Math.PI)), -D / 2)
        return tf.reshape(tf.add(tf.add(tf.logSumExp(scores(x, alpha, variance), 1, true), own), constant), [-1])
      }),
    logPosterior: (process, x, t) =>
      tf.tidy(() => {
        checkInput(x)
        const { alpha, variance } = marginal(process, t)
        const logits = scores(x, alpha, variance)
        return tf.sub(logits, tf.logSumExp(logits, 1, true))
      }),
  }
}

/** Options of {@link linearGaussian}. */
export interface LinearGaussianOptions {
  /** [D] */
  mean: readonly number[]
  /** [D][D], symmetric, with eigenvalues at least 0. */
  covariance: readonly (readonly number[])[]
}

/**
 * The exact denoiser of data N(μ, C), which is linear: x̂0 = μ + α C (α² C + σ² I)⁻¹ (x − α μ), through the eigenvectors of C.
 *
 * @throws ShapeError when mean and covariance do not fit, OptionError for a negative eigenvalue
 */
export function linearGaussian({ mean, covariance }: LinearGaussianOptions, process: Process): Denoiser {
  const D = mean.length
  if (covariance.length !== D || covariance.some((line) => line.length !== D)) {
    throw new ShapeError(`linearGaussian: covariance must be [${D}][${D}] for a mean of ${D} values`)
  }
  const { values, vectors } = symmetricEigen({ rows: D, cols: D, data: Float64Array.from(covariance.flat()) })
  const largest = Math.max(...values)
  if (Math.min(...values) < -1e-9 * largest) {
    throw new OptionError(`linearGaussian: covariance has the negative eigenvalue ${Math.min(...values)}`)
  }
  const eigenvalues = Array.from(values, (value) => Math.max(0, value))
  return {
    process,
    prediction: 'x0',
    sharedTime: true,
    predict(x, t) {
      const at = process.coefficientTensors(t)
      const [alpha, sigma] = [tf.reshape(at.alpha, [-1, 1]), tf.reshape(at.sigma, [-1, 1])]
      const axes = tf.reshape(tf.tensor1d(Array.from(vectors.data)), [D, D]) as tf.Tensor2D
      const spectrum = tf.reshape(tf.tensor1d(eigenvalues), [1, D])
      const centre = tf.reshape(tf.tensor1d([...mean]), [1, D])
      const rotated = tf.matMul(tf.sub(x, tf.mul(centre, alpha)) as tf.Tensor2D, axes)
      const gain = tf.div(tf.mul(spectrum, alpha), tf.add(tf.mul(spectrum, tf.square(alpha)), tf.square(sigma)))
      return tf.add(tf.matMul(tf.mul(rotated, gain) as tf.Tensor2D, axes, false, true), centre)
    },
  }
}
