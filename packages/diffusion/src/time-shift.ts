/**
 * The time-shift sampler: Li, Qu, Yao, Sun and Moens 2024, "Alleviating Exposure Bias in Diffusion Models through Sampling with
 * Shifted Time Steps", arXiv 2305.15583 (paper 39). A sampler's states match the noised data of other times than the nominal
 * ones; the time whose noise variance is nearest to that of the state is found without the network and used in place.
 */
import { compile, OptionError, scan, ShapeError, warn, type Key, type Tree } from '@bpf/core'
import { takeRows } from '@bpf/core/ops'
import { fold, normal } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { checkCondition, type Denoiser } from './denoiser'
import { checkOutput, convertPrediction } from './prediction'
import type { DiscreteProcess, Process } from './process'
import type { Solver } from './sampling'
import { perSample } from './shared/maths'
import { checkFinite, firstState, type Beginning } from './shared/trajectory'
import { ddim } from './solvers/ddim'
import type { PerSampleSolver, Places, Remembered } from './solvers/per-sample'
import { checkSteps } from './time-grid'

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

function discrete(where: string, process: Process): DiscreteProcess {
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
function varianceOf(x: tf.Tensor): tf.Tensor {
  const size = x.size / x.shape[0]
  const flat = tf.reshape(x, [x.shape[0], size])
  return tf.div(tf.sum(tf.square(tf.sub(flat, tf.mean(flat, 1, true))), 1), size - 1)
}

function checkDimensions(where: string, shape: readonly number[]): void {
  if (shape.slice(1).reduce((product, size) => product * size, 1) < 2) {
    throw new ShapeError(
      `${where}: time shift needs at least 2 dimensions per sample, whose variance tells the noise, got [${shape.join(', ')}]`,
    )
  }
}

/** ⌊w/2⌋ (or w, in mode `network`), within the schedule. */
function halfWidth(process: DiscreteProcess, window: number, mode: TimeShiftMode): number {
  const half = mode === 'network' ? Math.floor(window) : Math.floor(window / 2)
  if (half < process.steps) return half
  warn(`time shift: the window of ${window} is wider than the schedule of ${process.steps} indices; all of them are compared`)
  return process.steps - 1
}

function checkWindow(where: string, { window, cutoff }: TimeWindow): void {
  if (!(window >= 0 && window < Infinity)) throw new OptionError(`${where}: window must be at least 0 and finite, got ${window}`)
  if (!(cutoff >= 0)) throw new OptionError(`${where}: cutoff must be at least 0, got ${cutoff}`)
}

function tableOf(process: DiscreteProcess): tf.Tensor {
  // Row k is index k − 1: row 0 is clean data.
  return tf.reshape(tf.tensor1d([1, ...process.alphaBar]), [process.steps + 1, 1])
}

function alphaBarAt(process: DiscreteProcess, index: tf.Tensor): tf.Tensor {
  const row = tf.cast(tf.add(tf.floor(tf.cast(index, 'float32')), 1), 'int32')
  return tf.reshape(takeRows(tableOf(process), row as tf.Tensor1D), [-1])
}

/** {@link selectTime} with the half width h, at a nominal index that may be a tensor. */
function select(process: DiscreteProcess, x: tf.Tensor, nominal: tf.Tensor, h: number, cutoff: number): tf.Tensor {
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

/** Options of {@link epsilonScaling}. */
export interface EpsilonScalingOptions {
  /** λ = offset + slope·index, with the index of the schedule. Default 1.0012. */
  offset?: number
  /** Default 0. */
  slope?: number
}

/**
 * Epsilon scaling, a baseline without training: the predicted noise is divided by λ = offset + slope·index.
 *
 * @returns a denoiser of the noise
 * @throws OptionError for a process that is not discrete, or a λ that is not positive at both ends
 * @see Ning et al. 2024, arXiv 2308.15321
 */
export function epsilonScaling(model: Denoiser, { offset = 1.0012, slope = 0 }: EpsilonScalingOptions = {}): Denoiser {
  const process = discrete('epsilonScaling', model.process)
  if (!(offset > 0 && offset + slope * (process.steps - 1) > 0)) {
    throw new OptionError(
      `epsilonScaling: offset + slope·index must be positive, got ${offset} and ${offset + slope * (process.steps - 1)}`,
    )
  }
  return {
    ...model,
    prediction: 'eps',
    predict(x, t, condition) {
      const eps = convertPrediction(model.predict(x, t, condition), model.prediction, 'eps', x, process.coefficientTensors(t))
      if (slope === 0) return tf.div(eps, offset)
      return tf.div(eps, perSample(tf.add(tf.mul(process.indexOfTime(t), slope), offset), x))
    },
  }
}

/** Mean over the batch of the variance of each state's entries, a scalar: on a trajectory it departs from that of noised data. */
export function stateVariance(x: tf.Tensor): tf.Tensor {
  checkDimensions('stateVariance', x.shape)
  return tf.tidy(() => tf.mean(varianceOf(x)))
}

/** Options of {@link couplingError}. */
export interface CouplingOptions extends Pick<TimeShiftOptions, 'condition'> {
  /** Index that the data are noised to. */
  from: number
  /** Index that one DDIM step goes to, below `from`. */
  to: number
  /** Indices from `to` − ⌊window/2⌋ to `to` + ⌊window/2⌋ are tried. */
  window: number
  key: Key
}

/**
 * How well a sampler's state goes with each time: data are noised to `from`, one DDIM step leads to `to`, and there the network,
 * told each index of a window, predicts the noise. The least error often lies at another index than `to`: exposure bias.
 *
 * @param x0 - data, [n, ...dims]
 * @returns the indices tried, and the mean squared error ‖ε_θ(x̂, τ) − ε‖²/D of each, [indices]
 */
export function couplingError(
  model: Denoiser,
  x0: tf.Tensor,
  { from, to, window, key, condition }: CouplingOptions,
): { indices: number[]; errors: tf.Tensor } {
  const process = discrete('couplingError', model.process)
  checkWindow('couplingError', { window, cutoff: 0 })
  const N = process.steps
  if (!(Number.isInteger(from) && Number.isInteger(to) && to >= 0 && to < from && from < N)) {
    throw new OptionError(`couplingError: expected integers 0 ≤ to < from < ${N}, got from ${from} and to ${to}`)
  }
  const half = halfWidth(process, window, 'paper')
  const low = Math.max(0, to - half)
  const indices = Array.from({ length: Math.min(N - 1, to + half) - low + 1 }, (_, i) => low + i)
  const errors = tf.tidy(() => {
    const n = x0.shape[0]
    const predicted = (x: tf.Tensor, index: number): tf.Tensor => {
      const t = tf.fill([n], process.timeOfIndex(index))
      return convertPrediction(model.predict(x, t, condition), model.prediction, 'eps', x, process.coefficientTensors(t))
    }
    const at = (index: number): number => process.alphaBar[index]
    const noised = (eps: tf.Tensor): tf.Tensor => tf.add(tf.mul(x0, Math.sqrt(at(from))), tf.mul(eps, Math.sqrt(1 - at(from))))
    const epsilon = normal(key, x0.shape)
    const start = noised(epsilon)
    const solver = ddim().perSample as PerSampleSolver
    const places = (index: number): Places => ({ index: tf.fill([n], index), alphaBar: perSample(tf.fill([n], at(index)), x0) })
    const { x } = solver.step({
      x: start,
      from: places(from),
      to: places(to),
      earlier: [],
      isStarting: false,
      isLast: false,
      eps: (y) => predicted(y, from),
      middle: (a) => a,
    })
    return tf.stack(indices.map((index) => tf.mean(tf.squaredDifference(predicted(x, index), epsilon))))
  })
  return { indices, errors }
}
