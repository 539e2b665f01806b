/** Which time of the schedule a state goes with: the criterion of arXiv 2305.15583, from the variance of the state. */
import { OptionError, ShapeError, warn } from '@bpf/core'
import { takeRows } from '@bpf/core/ops'
import * as tf from '@tensorflow/tfjs-core'
import type { DiscreteProcess, Process } from '../process'
import { checkSteps } from '../time-grid'

/**
 * What is shifted. `paper` (algorithm 3): the time a step starts from, for the network and for ᾱ. `destination` (the reference
 * code with DDPM, PNDM and ADM): where a step goes to. `network` (its DEIS): only the time the network is told, in a window of
 * twice the width.
 */
export type TimeShiftMode = 'paper' | 'destination' | 'network'

/** The window of {@link selectTime}. */
export interface TimeWindow {
  /** w ≥ 0: indices from n − ⌊w/2⌋ to n + ⌊w/2⌋ are compared. */
  window: number
  /** t_c ≥ 0: indices up to it are not shifted. */
  cutoff: number
}

/** Indices of a discrete schedule to be visited, noise first. */
export type IndexGrid =
  | {
      steps: number
      /** `uniform`: N − 1 − ⌊i N/S⌋ (default); `quadratic`: ⌊u²⌋ with u from 0 to √(0.8 N) in equal steps. */
      spacing?: 'uniform' | 'quadratic'
    }
  | { indices: readonly number[] }

export function discrete(where: string, process: Process): DiscreteProcess {
  if ('alphaBar' in process && process.steps !== undefined) return process as DiscreteProcess
  throw new OptionError(`${where}: expected a model of a discrete process (discreteProcess()), got '${process.name}'`)
}

/** Indices by name. @throws OptionError unless they decrease strictly in [0, N − 1] */
export function indexGrid(process: DiscreteProcess, grid: IndexGrid): number[] {
  const N = process.steps
  if ('indices' in grid) {
    const { indices } = grid
    if (indices.length === 0) throw new OptionError('indexGrid: expected at least one index')
    indices.forEach((index, i) => {
      if (!Number.isInteger(index) || index < 0 || index >= N) {
        throw new OptionError(`indexGrid: indices must be integers in [0, ${N - 1}], got ${index} at position ${i}`)
      }
      if (i > 0 && !(index < indices[i - 1])) {
        throw new OptionError(`indexGrid: indices must decrease strictly, got ${indices[i - 1]} then ${index} at position ${i}`)
      }
    })
    return [...indices]
  }
  const { steps, spacing = 'uniform' } = grid
  checkSteps('indexGrid', steps)
  if (steps > N) throw new OptionError(`indexGrid: ${steps} steps do not fit the ${N} indices of the process`)
  const of = {
    uniform: (i: number) => N - 1 - Math.floor((i * N) / steps),
    quadratic: (i: number) => Math.floor(((steps - 1 - i) * (Math.sqrt(0.8 * N) / Math.max(1, steps - 1))) ** 2),
  }
  if (!Object.hasOwn(of, spacing)) throw new OptionError(`indexGrid: spacing must be 'uniform' or 'quadratic', got '${String(spacing)}'`)
  const indices = Array.from({ length: steps }, (_, i) => of[spacing](i))
  const repeated = indices.findIndex((index, i) => i > 0 && index === indices[i - 1])
  if (repeated > 0) {
    throw new OptionError(`indexGrid: ${steps} steps with ${spacing} spacing visit index ${indices[repeated]} twice; use fewer steps`)
  }
  return indices
}

/** Unbiased variance over all entries of each sample, [n]. */
export function varianceOf(x: tf.Tensor): tf.Tensor {
  const size = x.size / x.shape[0]
  const flat = tf.reshape(x, [x.shape[0], size])
  return tf.div(tf.sum(tf.square(tf.sub(flat, tf.mean(flat, 1, true))), 1), size - 1)
}

export function checkDimensions(where: string, shape: readonly number[]): void {
  if (shape.slice(1).reduce((product, size) => product * size, 1) < 2) {
    throw new ShapeError(
      `${where}: time shift needs at least 2 dimensions per sample, whose variance tells the noise, got [${shape.join(', ')}]`,
    )
  }
}

/** ⌊w/2⌋ (or w, in mode `network`), within the schedule. */
export function halfWidth(process: DiscreteProcess, window: number, mode: TimeShiftMode): number {
  const half = mode === 'network' ? Math.floor(window) : Math.floor(window / 2)
  if (half < process.steps) return half
  warn(`time shift: the window of ${window} is wider than the schedule of ${process.steps} indices; all of them are compared`)
  return process.steps - 1
}

export function checkWindow(where: string, { window, cutoff }: TimeWindow): void {
  if (!(window >= 0 && window < Infinity)) throw new OptionError(`${where}: window must be at least 0 and finite, got ${window}`)
  if (!(cutoff >= 0)) throw new OptionError(`${where}: cutoff must be at least 0, got ${cutoff}`)
}

function tableOf(process: DiscreteProcess): tf.Tensor {
  // Row k is index k − 1: row 0 is clean data.
  return tf.reshape(tf.tensor1d([1, ...process.alphaBar]), [process.steps + 1, 1])
}

export function alphaBarAt(process: DiscreteProcess, index: tf.Tensor): tf.Tensor {
  const row = tf.cast(tf.add(tf.floor(tf.cast(index, 'float32')), 1), 'int32')
  return tf.reshape(takeRows(tableOf(process), row as tf.Tensor1D), [-1])
}

/** {@link selectTime} with the half width h, at a nominal index that may be a tensor. */
export function select(process: DiscreteProcess, x: tf.Tensor, nominal: tf.Tensor, h: number, cutoff: number): tf.Tensor {
  const n = x.shape[0]
  const last = process.steps - 1
  const offsets = tf.tensor1d(
    Array.from({ length: 2 * h + 1 }, (_, i) => i - h),
    'int32',
  )
  const candidates = tf.add(offsets, nominal)
  const inside = tf.logicalAnd(tf.greaterEqual(candidates, tf.scalar(0, 'int32')), tf.lessEqual(candidates, tf.scalar(last, 'int32')))
  const noise = tf.sub(1, alphaBarAt(process, tf.minimum(tf.maximum(candidates, tf.scalar(0, 'int32')), tf.scalar(last, 'int32'))))
  const distance = tf.square(tf.sub(tf.reshape(varianceOf(x), [n, 1]), tf.reshape(noise, [1, 2 * h + 1])))
  // Farther than any inside, for any variance that float32 holds.
  const outside = tf.mul(tf.sub(1, tf.cast(inside, 'float32')), 1e38)
  const nearest = tf.argMin(tf.add(distance, tf.reshape(outside, [1, 2 * h + 1])), 1)
  const chosen = tf.add(tf.sub(tf.cast(nearest, 'int32'), tf.scalar(h, 'int32')), nominal)
  const unshifted = tf.mul(tf.onesLike(chosen), nominal)
  return tf.where(tf.lessEqual(nominal, tf.scalar(Math.min(cutoff, 2 ** 30), 'float32')), unshifted, chosen)
}

/**
 * The index whose noise variance 1 − ᾱ is nearest to the variance of each state, in a window about the nominal index; the first
 * of equals. Up to the cutoff the nominal index.
 *
 * @param x - states, [n, ...dims] with at least 2 dimensions; data must be scaled so that the noise dominates (images in [−1, 1])
 * @param nominal - n
 * @returns int32 [n]
 * @throws ShapeError for one dimension per sample, OptionError for a negative window or cutoff
 */
export function selectTime(process: DiscreteProcess, x: tf.Tensor, nominal: number, window: TimeWindow): tf.Tensor {
  checkWindow('selectTime', window)
  checkDimensions('selectTime', x.shape)
  const h = halfWidth(process, window.window, 'paper')
  return tf.tidy(() => select(process, x, tf.scalar(nominal, 'int32'), h, window.cutoff))
}
