/**
 * Solvers whose steps go between different times for each sample, on discrete processes: what the time-shift sampler (Li et al.
 * 2024, arXiv 2305.15583) is built on. The tables of sampling.ts hold one number for the whole batch; here ᾱ is a tensor.
 */
import * as tf from '@tensorflow/tfjs-core'
import { adamsBashforth, ddimTransfer, pseudoImprovedEuler, pseudoRungeKutta } from './pseudo'

/** Where each sample stands on a discrete process. */
export interface Places {
  /** Index of the schedule, [n]; −1 is clean data. Halves lie between two. */
  index: tf.Tensor
  /** ᾱ there (of the index rounded down), [n, 1, …] to go with x. */
  alphaBar: tf.Tensor
}

/** What a step leaves for later ones: the prediction at its start, and ᾱ there. */
export type Remembered = { prediction: tf.Tensor; alphaBar: tf.Tensor }

/** What a step is given. */
export interface PerSampleState {
  x: tf.Tensor
  from: Places
  to: Places
  /** What earlier steps left, the latest first; `memory` entries, all real ones once `starting` steps are done. */
  earlier: readonly Remembered[]
  /** Standard normal, as x; where the solver is noisy. */
  noise?: tf.Tensor
  /** One of the first `starting` steps. */
  isStarting: boolean
  isLast: boolean
  /** The predicted noise. */
  eps(x: tf.Tensor, at: Places): tf.Tensor
  /** Half-way in the index. */
  middle(from: Places, to: Places): Places
}

/** A solver's step with times of each sample's own. */
export interface PerSampleSolver {
  /** Evaluations of a step: at the start, and later. */
  readonly evaluations: { readonly starting: number; readonly later: number }
  /** First steps, which have another form. */
  readonly starting: number
  /** Earlier steps that a later one looks at. */
  readonly memory: number
  readonly isNoisy: boolean
  step(state: PerSampleState): { x: tf.Tensor; remembered: Remembered }
}

/**
 * DDIM, with noise ς² = η² (1 − ᾱ/ᾱ')(1 − ᾱ')/(1 − ᾱ). Where a shifted time lies on the far side of the destination that would
 * be negative: it is held in [0, 1 − ᾱ'].
 */
export function ddimPerSample(eta: number): PerSampleSolver {
  return {
    evaluations: { starting: 1, later: 1 },
    starting: 0,
    memory: 0,
    isNoisy: eta > 0,
    step({ x, from, to, noise, eps }) {
      const prediction = eps(x, from)
      const remembered = { prediction, alphaBar: from.alphaBar }
      if (noise === undefined) return { x: ddimTransfer(x, prediction, from.alphaBar, to.alphaBar), remembered }
      const [a, b] = [from.alphaBar, to.alphaBar]
      const [left, leftThere] = [tf.sub(1, a), tf.sub(1, b)]
      const posterior = tf.mul(tf.sub(1, tf.div(a, b)), tf.div(leftThere, left))
      const variance = tf.minimum(tf.maximum(tf.mul(posterior, eta * eta), 0), leftThere)
      const x0 = tf.div(tf.sub(x, tf.mul(prediction, tf.sqrt(left))), tf.sqrt(a))
      const onNoise = tf.sqrt(tf.maximum(tf.sub(leftThere, variance), 0))
      const mean = tf.add(tf.mul(x0, tf.sqrt(b)), tf.mul(prediction, onNoise))
      return { x: tf.add(mean, tf.mul(noise, tf.sqrt(variance))), remembered }
    },
  }
}

/** S-PNDM (order 2) and F-PNDM (order 4). */
export function pndmPerSample(order: 2 | 4): PerSampleSolver {
  return {
    evaluations: { starting: order, later: 1 },
    starting: order - 1,
    memory: order - 1,
    isNoisy: false,
    step({ x, from, to, earlier, isStarting, eps, middle }) {
      const transfer = (y: tf.Tensor, noise: tf.Tensor, a: Places, b: Places): tf.Tensor => ddimTransfer(y, noise, a.alphaBar, b.alphaBar)
      const leave = (prediction: tf.Tensor, slope: tf.Tensor) => ({
        x: transfer(x, slope, from, to),
        remembered: { prediction, alphaBar: from.alphaBar },
      })
      if (isStarting) {
        const { first, slope } =
          order === 2
            ? pseudoImprovedEuler({ eps, transfer }, x, from, to)
            : pseudoRungeKutta({ eps, transfer }, x, from, middle(from, to), to)
        return leave(first, slope)
      }
      const now = eps(x, from)
      const all = [now, ...earlier.map(({ prediction }) => prediction)]
      return leave(now, tf.addN(adamsBashforth[order].map((weight, k) => tf.mul(all[k], weight))))
    },
  }
}

/**
 * DPM-Solver++ of order 1 or 2: x' = (σ'/σ) x + α' (1 − e^{−h}) D, D = x̂0 + h/(2 h_prev) (x̂0 − x̂0_prev), h = λ' − λ. Order 1 in
 * the first and the last step, and for samples whose times do not advance.
 */
export function dpmSolverPerSample(order: 1 | 2): PerSampleSolver {
  const logRatio = (alphaBar: tf.Tensor): tf.Tensor => tf.mul(tf.sub(tf.log(alphaBar), tf.log(tf.sub(1, alphaBar))), 0.5)
  return {
    evaluations: { starting: 1, later: 1 },
    starting: order - 1,
    memory: order - 1,
    isNoisy: false,
    step({ x, from, to, earlier, isStarting, isLast, eps }) {
      const [a, b] = [from.alphaBar, to.alphaBar]
      const noise = eps(x, from)
      const prediction = tf.div(tf.sub(x, tf.mul(noise, tf.sqrt(tf.sub(1, a)))), tf.sqrt(a))
      const ratio = tf.sqrt(tf.div(tf.sub(1, b), tf.sub(1, a)))
      const weight = tf.sub(tf.sqrt(b), tf.mul(ratio, tf.sqrt(a)))
      let data = prediction
      if (order === 2 && !isStarting && !isLast) {
        const [before] = earlier
        const here = logRatio(a)
        const [h, h0] = [tf.sub(logRatio(b), here), tf.sub(here, logRatio(before.alphaBar))]
        const advances = tf.logicalAnd(tf.greater(h, 0), tf.greater(h0, 0))
        const share = tf.where(advances, tf.div(h, tf.mul(tf.where(advances, h0, tf.onesLike(h0)), 2)), tf.zerosLike(h))
        data = tf.add(prediction, tf.mul(tf.sub(prediction, before.prediction), share))
      }
      return { x: tf.add(tf.mul(x, ratio), tf.mul(data, weight)), remembered: { prediction, alphaBar: a } }
    },
  }
}
