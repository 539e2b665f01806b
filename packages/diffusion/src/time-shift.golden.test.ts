import { goldenArray } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { describeGolden, type Compute, type Inputs, type Tensors } from './__fixtures__/golden'
import type { Denoiser } from './denoiser'
import { alphaBarOf, betaSchedule, discreteProcess, type BetaSchedule, type DiscreteProcess } from './process'
import type { Solver } from './sampling'
import { ddim, pndm } from './solvers/index'
import { epsilonScaling, sampleTimeShift, selectTime, timeShiftTrajectory, type TimeShiftOptions } from './time-shift/index'

const number = (inputs: Inputs, name: string): number => inputs[name] as number
const vector = (values: readonly number[]): tf.Tensor => tf.tensor1d([...values])

function processOf(inputs: Inputs): DiscreteProcess {
  const options = { steps: number(inputs, 'T'), betaStart: number(inputs, 'beta_start'), betaEnd: number(inputs, 'beta_end') }
  return discreteProcess(alphaBarOf(betaSchedule('linear', options)))
}

/** ε(x, t) = (1 − b) √(1 − ᾱ) / (ᾱ λ + 1 − ᾱ) x + a sin 3x with ᾱ at ⌊t⌋. */
function closedForm(inputs: Inputs): Denoiser {
  const process = processOf(inputs)
  const [lam, a, b] = ['lam', 'a', 'b'].map((name) => number(inputs, name))
  const table = vector([...process.alphaBar])
  return {
    process,
    prediction: 'eps',
    predict(x, t) {
      // Indices may miss a whole number by a rounding.
      const index = tf.cast(tf.floor(tf.add(process.indexOfTime(t), 1e-2)), 'int32')
      const alphaBar = tf.reshape(tf.gather(table, index), [-1, 1])
      const noise = tf.sub(1, alphaBar)
      const gain = tf.div(tf.mul(tf.sqrt(noise), 1 - b), tf.add(tf.mul(alphaBar, lam), noise))
      return tf.add(tf.mul(x, gain), tf.mul(tf.sin(tf.mul(x, 3)), a))
    },
  }
}

function optionsOf(x: Tensors, inputs: Inputs, solver: Solver): TimeShiftOptions {
  const indices = [...goldenArray(inputs, 'time_seq').data].reverse()
  const isShifted = inputs.shift !== false && 'window' in inputs
  return {
    grid: { indices },
    solver,
    lastStep: 'index0',
    initial: x.x_T,
    window: isShifted ? number(inputs, 'window') : 0,
    cutoff: isShifted ? number(inputs, 'cutoff') : Infinity,
  }
}

const schedule =
  (kind: BetaSchedule): Compute =>
  (_, inputs) => {
    const table = alphaBarOf(betaSchedule(kind, { steps: number(inputs, 'T') }))
    return { alphabar: vector(goldenArray(inputs, 'idx').data.map((i) => table[i])) }
  }

const destination =
  (solver: Solver): Compute =>
  (x, inputs) => ({ x: sampleTimeShift(closedForm(inputs), { ...optionsOf(x, inputs, solver), mode: 'destination' }) })

const functions: Record<string, Compute> = {
  scheduleLinear: schedule('linear'),
  scheduleQuad: schedule('quadratic'),
  scheduleCosine: schedule('cosine'),
  selectShift({ x, scale }, inputs, outputs) {
    const process = processOf(inputs)
    const window = { window: number(inputs, 'window'), cutoff: number(inputs, 'cutoff') }
    const at = (nominal: number): tf.Tensor => {
      const states = tf.mul(tf.mul(x, tf.reshape(scale, [-1, 1])), Math.sqrt(1 - process.alphaBar[nominal]))
      return selectTime(process, states, nominal, window)
    }
    // Which nominal times are asked for stands in the names of the outputs.
    const names = Object.keys(outputs).filter((name) => name.startsWith('t_'))
    return Object.fromEntries(names.map((name) => [name, at(Number(name.slice(2)))]))
  },
  sampleEuler: destination(ddim()),
  sampleSPndm: destination(pndm({ order: 2 })),
  sampleFPndm: destination(pndm({ order: 4 })),
  ddimTimeShift(x, inputs) {
    const { samples, indices } = timeShiftTrajectory(closedForm(inputs), optionsOf(x, inputs, ddim()))
    return { x: samples, sel: indices }
  },
  ddimEpsScaling(x, inputs) {
    const model = epsilonScaling(closedForm(inputs), { offset: number(inputs, 'fix_scale') })
    return { x: sampleTimeShift(model, optionsOf(x, inputs, ddim())) }
  },
}

describeGolden('39-ts-dpm', functions)
