import { DataError, OptionError, type Key } from '@bpf/core'
import { fold, normal } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import type { Process } from '../process'

/** Where a sampler begins. */
export interface Beginning {
  /** [n, ...dims] of the samples: the first state is drawn. Give this or `initial`. */
  shape?: readonly number[]
  /** The first state, [n, ...dims]. */
  initial?: tf.Tensor
  /** For the first state and for stochastic solvers. */
  key?: Key
}

/** The given first state, or one drawn for the time the sampler starts at. @throws OptionError when there is neither */
export function firstState(where: string, process: Process, { shape, initial, key }: Beginning, start: number): tf.Tensor {
  if (initial !== undefined) return tf.clone(initial)
  if (shape === undefined) throw new OptionError(`${where}: give initial (the first state) or shape; neither was given`)
  if (key === undefined) throw new OptionError(`${where}: drawing the first state needs a key`)
  return normal(fold(key, 0), shape, { stddev: process.priorStddev(start) })
}

/** @throws DataError that names the step at which the state stopped being finite */
export async function checkFinite(samples: tf.Tensor, states: tf.Tensor): Promise<void> {
  const before = await states.data()
  const size = before.length / states.shape[0]
  const bad = before.findIndex((value) => !Number.isFinite(value))
  if (bad >= 0) {
    const step = Math.floor(bad / size)
    throw new DataError(
      step === 0
        ? 'sample: the first state is not finite'
        : `sample: the state is not finite after step ${step - 1}; check the model's output there, or clip its data`,
    )
  }
  if ((await samples.data()).some((value) => !Number.isFinite(value))) {
    throw new DataError(
      `sample: the state is not finite after step ${states.shape[0] - 1}; check the model's output there, or clip its data`,
    )
  }
}
