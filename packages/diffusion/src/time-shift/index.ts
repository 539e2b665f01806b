/**
 * The time-shift sampler: Li, Qu, Yao, Sun and Moens 2024, "Alleviating Exposure Bias in Diffusion Models through Sampling with
 * Shifted Time Steps", arXiv 2305.15583 (paper 39). A sampler's states match the noised data of other times than the nominal
 * ones; the time whose noise variance is nearest to that of the state is found without the network and used in place.
 */
import { compile, OptionError, scan, type Key, type Tree } from '@bpf/core'
import { fold, normal } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { checkCondition, type Denoiser } from '../denoiser'
import { checkOutput, convertPrediction } from '../prediction'
import type { DiscreteProcess } from '../process'
import type { Solver } from '../sampling'
import { perSample } from '../shared/maths'
import { checkFinite, firstState, type Beginning } from '../shared/trajectory'
import { ddim } from '../solvers/ddim'
import type { PerSampleSolver, Places, Remembered } from '../solvers/per-sample'
import {
  alphaBarAt,
  checkDimensions,
  checkWindow,
  discrete,
  halfWidth,
  indexGrid,
  select,
  varianceOf,
  type IndexGrid,
  type TimeShiftMode,
  type TimeWindow,
} from './select-time'

export { couplingError, epsilonScaling, stateVariance, type CouplingOptions, type EpsilonScalingOptions } from './diagnosis'
export { indexGrid, selectTime, type IndexGrid, type TimeShiftMode, type TimeWindow } from './select-time'

/** Options of {@link sampleTimeShift}. */
export interface TimeShiftOptions extends Partial<TimeWindow>, Beginning {
  grid: IndexGrid
  /** `ddim()` (default), `ddpm()`, `eulerAncestral()`, `pndm()`, or `dpmSolverMultistep()` of order 1 or 2. */
  solver?: Solver
  /** Default `paper`. */
  mode?: TimeShiftMode
  /** Where the last step goes: `clean` data (default), or `index0` as in the reference code. */
  lastStep?: 'clean' | 'index0'
  /** Scale each state to the variance 1 − ᾱ before its step: a baseline of the reference code. Default false. */
  normalizeVariance?: boolean
  /** What the model is conditioned on; leaves [n, …]. */
  condition?: Tree
}

/** A trajectory: the samples, the state before each step [steps, n, ...dims], and the indices chosen in each step [steps, n]. */
export type TimeShiftTrajectory = { samples: tf.Tensor; states: tf.Tensor; indices: tf.Tensor }

/** Everything a run needs, with defaults in place. */
interface Plan {
  process: DiscreteProcess
  solver: PerSampleSolver
  /** Nominal indices, the destination of the last step included. */
  nominal: number[]
  mode: TimeShiftMode
  half: number
  cutoff: number
}

const modes: readonly TimeShiftMode[] = ['paper', 'destination', 'network']

/** The defaults: a window of about one stride, cut off at 0.6 N. */
function defaultWindow(process: DiscreteProcess, steps: number): TimeWindow {
  return { window: 2 * Math.floor(process.steps / (2 * steps)), cutoff: Math.floor(0.6 * process.steps) }
}

function planOf(where: string, model: Denoiser, options: TimeShiftOptions): Plan {
  const { solver = ddim(), mode = 'paper', lastStep = 'clean' } = options
  const process = discrete(where, model.process)
  if (!modes.includes(mode)) throw new OptionError(`${where}: mode must be one of ${modes.join(', ')}, got '${String(mode)}'`)
  if (lastStep !== 'clean' && lastStep !== 'index0') {
    throw new OptionError(`${where}: lastStep must be 'clean' or 'index0', got '${String(lastStep)}'`)
  }
  if (solver.perSample === undefined) {
    throw new OptionError(
      `${where}: '${solver.name}' takes one time for the whole batch; use ddim(), ddpm(), eulerAncestral(), pndm(), or dpmSolverMultistep() of order 1 or 2`,
    )
  }
  const indices = indexGrid(process, options.grid)
  const { starting } = solver.perSample
  if (indices.length <= starting) {
    throw new OptionError(`${where}: '${solver.name}' needs at least ${starting + 1} steps, got ${indices.length}`)
  }
  const standard = defaultWindow(process, indices.length)
  const { window = standard.window, cutoff = standard.cutoff } = options
  checkWindow(where, { window, cutoff })
  return {
    process,
    solver: solver.perSample,
    nominal: [...indices, lastStep === 'clean' ? -1 : 0],
    mode,
    half: halfWidth(process, window, mode),
    cutoff,
  }
}

type Carry = { x: tf.Tensor; index: tf.Tensor; earlier: Remembered[] }
type Row = { from: tf.Tensor; to: tf.Tensor }
type Recorded = { states: tf.Tensor[]; indices: tf.Tensor[] }

/** One step between nominal indices `from` and `to` (int32 scalars). */
function advance(
  model: Denoiser,
  { process, solver, mode, half, cutoff }: Plan,
  { x: state, index, earlier }: Carry,
  { from, to }: Row,
  rest: {
    noise?: tf.Tensor
    condition?: Tree
    isFirst: boolean
    isStarting: boolean
    isLast: boolean
    normalizes: boolean
    record: boolean
  },
): { carry: Carry; y: Recorded } {
  const { noise, condition, isFirst, isStarting, isLast, normalizes, record } = rest
  const n = state.shape[0]
  const repeated = (one: tf.Tensor): tf.Tensor => tf.mul(tf.ones([n], 'int32'), one)
  const placesAt = (at: tf.Tensor): Places => ({ index: at, alphaBar: perSample(alphaBarAt(process, at), state) })
  const here = placesAt(mode === 'paper' ? index : repeated(from))
  const x = normalizes ? tf.mul(state, tf.sqrt(tf.div(tf.sub(1, here.alphaBar), perSample(varianceOf(state), state)))) : state
  const there = mode === 'destination' && !isFirst ? select(process, x, to, half, cutoff) : repeated(to)
  let told: tf.Tensor | undefined
  const eps = (y: tf.Tensor, at: Places): tf.Tensor => {
    // In the middle of a Runge–Kutta step the nominal index may be half an integer.
    const nominal = tf.cast(tf.floor(tf.cast(tf.slice(at.index, 0, 1), 'float32')), 'int32')
    const seen = mode === 'network' ? select(process, y, nominal, half, cutoff) : at.index
    told ??= seen
    const t = tf.div(tf.add(tf.cast(seen, 'float32'), 1), process.steps)
    const output = model.predict(y, t, condition)
    checkOutput('sampleTimeShift', output, y)
    return convertPrediction(output, model.prediction, 'eps', y, process.coefficientTensors(t))
  }
  const { x: next, remembered } = solver.step({
    x,
    from: here,
    to: placesAt(there),
    earlier,
    noise,
    isStarting,
    isLast,
    eps,
    middle: (a, b) => placesAt(tf.div(tf.add(tf.cast(a.index, 'float32'), tf.cast(b.index, 'float32')), 2)),
  })
  const coupled = mode === 'paper' ? select(process, next, to, half, cutoff) : there
  return {
    carry: { x: next, index: coupled, earlier: [remembered, ...earlier].slice(0, solver.memory) },
    y: {
      states: record ? [tf.clone(state)] : [],
      indices: record ? [tf.clone(mode === 'network' && told !== undefined ? told : coupled)] : [],
    },
  }
}

function run(where: string, model: Denoiser, options: TimeShiftOptions, record: boolean): TimeShiftTrajectory {
  const { key, condition, normalizeVariance: normalizes = false } = options
  const plan = planOf(where, model, options)
  const { nominal, solver } = plan
  const steps = nominal.length - 1
  const initial = firstState(where, plan.process, options, plan.process.tMax)
  checkDimensions(where, initial.shape)
  checkCondition(where, initial, condition)
  if (solver.isNoisy && key === undefined) throw new OptionError(`${where}: the solver draws noise; give a key`)
  const scalar = (value: number): tf.Tensor => tf.scalar(value, 'int32')
  const zero: Remembered = { prediction: tf.zerosLike(initial), alphaBar: perSample(tf.fill([initial.shape[0]], 0.5), initial) }
  let carry: Carry = {
    x: initial,
    index: tf.mul(tf.ones([initial.shape[0]], 'int32'), scalar(nominal[0])),
    earlier: Array.from({ length: solver.memory }, () => zero),
  }
  const recorded: Recorded[] = []
  const noiseKey = key === undefined ? undefined : fold(key, 1)
  const drawn = (stepKey: Key | undefined): tf.Tensor | undefined => (solver.isNoisy ? normal(stepKey as Key, initial.shape) : undefined)
  const single = (i: number): void => {
    const { carry: next, y } = advance(
      model,
      plan,
      carry,
      { from: scalar(nominal[i]), to: scalar(nominal[i + 1]) },
      {
        noise: drawn(noiseKey === undefined ? undefined : fold(noiseKey, i)),
        condition,
        isFirst: i === 0,
        isStarting: i < solver.starting,
        isLast: i === steps - 1,
        normalizes,
        record,
      },
    )
    carry = next
    recorded.push({ states: y.states.map((x) => tf.expandDims(x, 0)), indices: y.indices.map((x) => tf.expandDims(x, 0)) })
  }
  // The steps between the first ones and the last are alike: one loop of the graph.
  const begin = Math.max(1, solver.starting)
  const alike = steps - 1 - begin
  for (let i = 0; i < Math.min(begin, steps); i++) single(i)
  if (alike > 0) {
    const column = (from: number): tf.Tensor => tf.tensor1d(nominal.slice(from, from + alike), 'int32')
    const { carry: next, ys } = scan<Carry, Row, Recorded>(
      (state, row, stepKey) =>
        advance(model, plan, state, row, {
          noise: drawn(stepKey),
          condition,
          isFirst: false,
          isStarting: false,
          isLast: false,
          normalizes,
          record,
        }),
      carry,
      { from: column(begin), to: column(begin + 1) },
      { length: alike, key: noiseKey === undefined ? undefined : fold(noiseKey, steps) },
    )
    carry = next
    recorded.push(ys)
  }
  if (steps > begin) single(steps - 1)
  if (!record) return { samples: carry.x, states: carry.x, indices: carry.index }
  return {
    samples: carry.x,
    states: tf.concat(recorded.flatMap((one) => one.states)),
    indices: tf.concat(recorded.flatMap((one) => one.indices)),
  }
}

/**
 * Samples with shifted times. Pure and traceable: inside `compile` the whole trajectory is one native call. It takes as many
 * evaluations of the network as the solver without shift. With `window: 0`, or a cutoff above all indices, it is that solver.
 *
 * The pair (window, cutoff) has to be tuned for data, solver and number of steps; no pair is safe everywhere.
 *
 * @param model - of a discrete process and any parameterisation, guided or not; it gets a time for each sample
 * @returns x after the last step, [n, ...dims]
 * @throws OptionError for a process that is not discrete, a solver without times per sample, an unknown mode, a negative window or
 *   cutoff, or missing randomness
 * @throws ShapeError for one dimension per sample, or a condition or output that does not fit x
 * @see arXiv 2305.15583, algorithm 3
 *
 * @example
 * ```ts
 * const draw = compile((key: Key) => sampleTimeShift(model, { grid: { steps: 10 }, window: 100, cutoff: 600, shape: [64, 28, 28, 1], key }))
 * ```
 */
export function sampleTimeShift(model: Denoiser, options: TimeShiftOptions): tf.Tensor {
  return tf.tidy(() => run('sampleTimeShift', model, options, false).samples)
}

/**
 * As {@link sampleTimeShift}, with the states on the way and the index chosen in each step: where the sample stands after it
 * (−1: clean data), or in mode `network` what the network was told.
 */
export function timeShiftTrajectory(model: Denoiser, options: TimeShiftOptions): TimeShiftTrajectory {
  return tf.tidy((() => run('timeShiftTrajectory', model, options, true)) as () => tf.TensorContainer) as TimeShiftTrajectory
}

/** {@link sampleTimeShift} for the host: compiled, and checked. @throws DataError that names the step after which the state is not finite */
export async function generateTimeShift(model: Denoiser, options: TimeShiftOptions): Promise<tf.Tensor> {
  const { samples, states, indices } = compile(() => timeShiftTrajectory(model, options), { name: 'generateTimeShift' })()
  try {
    await checkFinite(samples, states)
    return samples
  } catch (error) {
    samples.dispose()
    throw error
  } finally {
    tf.dispose([states, indices])
  }
}

/** Evaluations of the network in batches of the sampler's size. */
export function timeShiftEvaluations(solver: Solver, steps: number): number {
  if (solver.perSample === undefined) throw new OptionError(`timeShiftEvaluations: '${solver.name}' has no steps with times per sample`)
  const { evaluations, starting } = solver.perSample
  return starting * evaluations.starting + (steps - starting) * evaluations.later
}
