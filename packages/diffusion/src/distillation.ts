/**
 * Couplings of data with noise, and students of samplers. Progressive distillation: Salimans and Ho 2022, arXiv 2202.00512; reflow:
 * Liu, Gong and Liu 2023, "Flow straight and fast", arXiv 2209.03003; minibatch optimal transport: Tong et al. 2024, arXiv 2302.00482.
 */
import { OptionError } from '@bpf/core'
import { fold, normal, randint } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { asPrediction, type Denoiser } from './denoiser'
import { denoising, type DenoisingLearner, type DenoisingOptions, type TimeSampler } from './denoising'
import { wasserstein2 } from './sample-metrics'
import { sample, type SampleOptions } from './sampling'
import { perSample } from './shared/maths'
import { checkSteps } from './time-grid'

/**
 * Data and the noise they were made from: the solver's own pairs, on which a second rectified flow is trained (`denoising` takes
 * them as a batch).
 *
 * @returns `x` and `noise`, [n, ...dims]
 * @throws as `sample`, and OptionError without a key where `initial` is not given
 */
export function reflowPairs(model: Denoiser, options: SampleOptions): { x: tf.Tensor; noise: tf.Tensor } {
  const { key, shape, initial } = options
  if (initial === undefined && (key === undefined || shape === undefined)) {
    throw new OptionError('reflowPairs: give initial, or shape and key')
  }
  return tf.tidy((() => {
    const noise = initial === undefined ? normal(fold(key as NonNullable<typeof key>, 2), shape as readonly number[]) : tf.clone(initial)
    return { x: sample(model, { ...options, initial: noise }), noise }
  }) as () => tf.TensorContainer) as { x: tf.Tensor; noise: tf.Tensor }
}

/**
 * Pairs each sample of a minibatch with the noise that optimal transport assigns to it: paths cross less, and are straighter. On
 * the host, n³.
 *
 * @param x - data, [n, ...dims], at most 1,000 samples
 * @param noise - as x
 * @returns the noise in the order of x
 * @throws ShapeError when they differ in shape, OptionError for more than 1,000 samples
 */
export async function transportNoise(x: tf.Tensor, noise: tf.Tensor): Promise<tf.Tensor> {
  const n = x.shape[0]
  const matrix = async (values: tf.Tensor) => ({ data: await values.data<'float32'>(), shape: [n, values.size / n] })
  const { assignment } = wasserstein2(await matrix(x), await matrix(noise))
  return tf.tidy(() => tf.gather(noise, tf.tensor1d(assignment, 'int32')))
}

/**
 * The data x̃0 that one DDIM step of a student from t to t − 2h must predict to arrive where two steps of the teacher do:
 * (x'' − (σ''/σ) x)/(α'' − (σ''/σ) α).
 *
 * @param x - x_t, [n, ...dims]
 * @param t - [n], at least 2h
 * @param h - a step of the teacher
 * @returns as x
 */
export function progressiveTarget(teacher: Denoiser, x: tf.Tensor, t: tf.Tensor, h: number): tf.Tensor {
  const { process } = teacher
  const data = asPrediction(teacher, 'x0')
  const at = process.coefficientTensors
  const half = tf.sub(t, h)
  // The end of the last step is 0, whatever rounding makes of it.
  const end = tf.maximum(tf.sub(t, 2 * h), 0)
  const ddimStep = (state: tf.Tensor, from: tf.Tensor, to: tf.Tensor): tf.Tensor => {
    const [before, after] = [at(from), at(to)]
    const ratio = tf.div(after.sigma, before.sigma)
    const onData = perSample(tf.sub(after.alpha, tf.mul(ratio, before.alpha)), state)
    return tf.add(tf.mul(state, perSample(ratio, state)), tf.mul(data.predict(state, from), onData))
  }
  const reached = ddimStep(ddimStep(x, t, half), half, end)
  const [before, after] = [at(t), at(end)]
  const ratio = tf.div(after.sigma, before.sigma)
  const share = tf.sub(after.alpha, tf.mul(ratio, before.alpha))
  return tf.div(tf.sub(reached, tf.mul(x, perSample(ratio, x))), perSample(share, x))
}

/** Options of {@link progressiveDistillation}: those of `denoising`, over the teacher's process. */
export interface ProgressiveDistillationOptions extends Omit<DenoisingOptions, 'process' | 'times' | 'dataTarget'> {
  /** The model whose 2·steps DDIM steps, equal in t, the student is to do in `steps`. */
  teacher: Denoiser
  /** N of the student. */
  steps: number
}

/**
 * Halves the steps of a sampler: the student's DDIM step from t = i/N must arrive where two of the teacher's do. Start it from the
 * teacher's parameters, and repeat with the student as the teacher. Sample with `ddim()` at `times` tMax, …, tMax/N, 0.
 *
 * @throws OptionError unless steps is a positive integer
 */
export function progressiveDistillation({ teacher, steps, ...options }: ProgressiveDistillationOptions): DenoisingLearner {
  checkSteps('progressiveDistillation', steps)
  const { process } = teacher
  const width = process.tMax / steps
  const times: TimeSampler = (key, n) => tf.mul(tf.add(tf.cast(randint(key, [n], { low: 0, high: steps }), 'float32'), 1), width)
  return denoising({ ...options, process, times, dataTarget: (x, t) => progressiveTarget(teacher, x, t, width / 2) })
}
