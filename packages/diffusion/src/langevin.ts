/**
 * Samplers with Langevin steps, whose sizes depend on norms and so aren't tables of numbers: predictor–corrector (Song et al.
 * 2021, arXiv 2011.13456) and annealed Langevin dynamics (Song and Ermon 2019, arXiv 1907.05600).
 */
import { OptionError, scan, type Key } from '@bpf/core'
import { fold, normal } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { asPrediction, checkCondition, type Denoiser } from './denoiser'
import { driftAndDiffusion, type Process } from './process'
import { batchTime, type SampleOptions } from './sampling'
import { sumPerSample } from './shared/maths'
import { timeGrid } from './time-grid'

/** Options of {@link predictorCorrector}: those of `sample`, without a solver. */
export interface PredictorCorrectorOptions extends Omit<SampleOptions, 'solver' | 'noises' | 'key'> {
  key: Key
  /** Signal-to-noise ratio r of the corrector. Default 0.16. */
  snr?: number
  /** Langevin steps before each predictor step. Default 1. */
  correctorSteps?: number
}

type State = { x: tf.Tensor }

/** Mean over the batch of the norms of its samples. */
function meanNorm(x: tf.Tensor): tf.Tensor {
  return tf.mean(tf.sqrt(sumPerSample(tf.square(x))))
}

function begin(
  where: string,
  model: Denoiser,
  { shape, initial, key }: { shape?: readonly number[]; initial?: tf.Tensor; key: Key },
  t: number,
) {
  if (initial !== undefined) return tf.clone(initial)
  if (shape === undefined) throw new OptionError(`${where}: give initial (the first state) or shape; neither was given`)
  return normal(fold(key, 0), shape, { stddev: model.process.priorStddev(t) })
}

/** 1 − β_i for variance preserving processes, 1 for the others. */
function correctorScale(process: Process, from: number, to: number): number {
  if (process.coefficients(process.tMax).alpha === 1) return 1
  return (process.coefficients(from).alpha / process.coefficients(to).alpha) ** 2
}

/**
 * Before each Euler–Maruyama step of the reverse SDE, Langevin steps x ← x + ε s + √(2ε) z with ε = 2α (r‖z‖/‖s‖)², norms being
 * means over the batch. The mean of the last step is returned, without its noise. (correctorSteps + 1) evaluations a step.
 *
 * @throws OptionError for a ratio that is not positive, or corrector steps below 0
 */
export function predictorCorrector(model: Denoiser, options: PredictorCorrectorOptions): tf.Tensor {
  const { snr = 0.16, correctorSteps = 1, condition, key } = options
  if (!(snr > 0 && snr < Infinity)) throw new OptionError(`predictorCorrector: snr must be positive, got ${snr}`)
  if (!(Number.isSafeInteger(correctorSteps) && correctorSteps >= 0)) {
    throw new OptionError(`predictorCorrector: correctorSteps must be a whole number of at least 0, got ${correctorSteps}`)
  }
  const { process } = model
  const times = timeGrid(process, options.grid)
  const rows = times.slice(1).map((to, i) => {
    const h = to - times[i]
    const { f, g2 } = driftAndDiffusion(process, times[i])
    return [times[i], correctorScale(process, times[i], to), 1 + f * h, -g2 * h, Math.sqrt(g2 * -h)]
  })
  return tf.tidy(() => {
    const score = asPrediction(model, 'score')
    const initial = begin('predictorCorrector', model, options, times[0])
    checkCondition('predictorCorrector', initial, condition)
    const xs = rows[0].map((_, column) => tf.tensor1d(rows.map((row) => row[column])))
    const body = ({ x }: State, row: tf.Tensor[], stepKey: Key | undefined): { carry: State; y: State } => {
      const [time, scale, onState, onScore, noise] = row
      const t = batchTime(model, time, x.shape[0])
      let state = x
      for (let i = 0; i < correctorSteps; i++) {
        const s = score.predict(state, t, condition)
        const z = normal(fold(stepKey as Key, i), x.shape)
        const size = tf.mul(tf.square(tf.div(tf.mul(meanNorm(z), snr), meanNorm(s))), tf.mul(scale, 2))
        state = tf.add(tf.add(state, tf.mul(s, size)), tf.mul(z, tf.sqrt(tf.mul(size, 2))))
      }
      const mean = tf.add(tf.mul(state, onState), tf.mul(score.predict(state, t, condition), onScore))
      const z = normal(fold(stepKey as Key, correctorSteps), x.shape)
      return { carry: { x: tf.add(mean, tf.mul(z, noise)) }, y: { x: mean } }
    }
    const { ys } = scan<State, tf.Tensor[], State>(body, { x: initial }, xs, { length: rows.length, key: fold(key, 1) })
    return tf.squeeze(tf.slice(ys.x, rows.length - 1, 1), [0])
  })
}

/** Options of {@link annealedLangevin}. */
export interface AnnealedLangevinOptions {
  shape?: readonly number[]
  /** The first state, [n, ...dims]; drawn at the first level from the prior unless given. */
  initial?: tf.Tensor
  key: Key
  /** Times (noise levels), from noise to data. */
  times: readonly number[]
  /** L. Default 100. */
  stepsPerLevel?: number
  /** ε: step sizes are a_i = ε σ_i²/σ_L². Default 2e-5. */
  stepSize?: number
}

/**
 * For each level, L steps x ← x + ½ a_i s + √a_i z.
 *
 * @throws OptionError for times that do not fall, or step sizes or counts that are not positive
 */
export function annealedLangevin(model: Denoiser, options: AnnealedLangevinOptions): tf.Tensor {
  const { key, stepsPerLevel = 100, stepSize = 2e-5 } = options
  const times = timeGrid(model.process, { times: options.times })
  if (!(Number.isSafeInteger(stepsPerLevel) && stepsPerLevel >= 1)) {
    throw new OptionError(`annealedLangevin: stepsPerLevel must be a positive integer, got ${stepsPerLevel}`)
  }
  if (!(stepSize > 0 && stepSize < Infinity)) throw new OptionError(`annealedLangevin: stepSize must be positive, got ${stepSize}`)
  const sigmas = times.map((t) => model.process.coefficients(t).sigma)
  const last = sigmas[sigmas.length - 1]
  const all = times.flatMap((t, i) => Array.from({ length: stepsPerLevel }, () => [t, (stepSize * sigmas[i] ** 2) / last ** 2]))
  return tf.tidy(() => {
    const score = asPrediction(model, 'score')
    const initial = begin('annealedLangevin', model, options, times[0])
    const body = ({ x }: State, [time, size]: tf.Tensor[], stepKey: Key | undefined): { carry: State; y: tf.Tensor[] } => {
      const s = score.predict(x, batchTime(model, time, x.shape[0]))
      const noise = tf.mul(normal(stepKey as Key, x.shape), tf.sqrt(size))
      return { carry: { x: tf.add(tf.add(x, tf.mul(s, tf.div(size, 2))), noise) }, y: [] }
    }
    const xs = [0, 1].map((column) => tf.tensor1d(all.map((row) => row[column])))
    return scan<State, tf.Tensor[], tf.Tensor[]>(body, { x: initial }, xs, { length: all.length, key: fold(key, 1) }).carry.x
  })
}
