/**
 * Sampling: every solver here is a table of numbers. Each step evaluates the model at one or more stages that are linear
 * combinations of the state, the predictions so far, those of earlier steps and fresh noise; so is the next state. One engine
 * runs all tables: a trajectory is one native call through `scan`, and the numbers come from double precision.
 */
import { compile, OptionError, scan, ShapeError, type Key, type Tree } from '@bpf/core'
import { fold, normal } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { checkCondition, type Denoiser } from './denoiser'
import { checkOutput, conversion, convertPrediction, type Prediction } from './prediction'
import type { Process } from './process'
import { checkFinite, firstState, type Beginning } from './shared/trajectory'
import type { PerSampleSolver } from './solvers/per-sample'
import type { TimeGrid } from './time-grid'

/** y = x·x_t + Σ_k predictions[k]·m_k + Σ_k history[k]·h_k + noise·z. Missing entries count as 0. */
export interface Combination {
  x: number
  /** Of this step's predictions so far, in their order. */
  predictions?: readonly number[]
  /** Of the first predictions of earlier steps, the latest first. */
  history?: readonly number[]
  noise?: number
}

/** One evaluation of the model, at a combination and a time. */
export interface Stage extends Combination {
  time: number
}

/** One step of a solver, from one time to the next. */
export interface SolverStep extends Combination {
  /** At least one. The first stage's prediction is what later steps find in their history. */
  stages: readonly Stage[]
  /** Time at the end of the step. */
  to: number
}

/** A way to integrate from noise to data. */
export interface Solver {
  readonly name: string
  /** What its combinations are made of; any model is converted to it. */
  readonly prediction: Prediction
  /** The steps over a grid. @throws OptionError where process and solver do not go together */
  plan(process: Process, grid: TimeGrid): readonly SolverStep[]
  /** The same method with times of each sample's own, for the time-shift sampler; absent where it has none. */
  readonly perSample?: PerSampleSolver
}

/** Evaluations of the network, counted in batches of the sampler's size: with guidance each counts twice. */
export function functionEvaluations(solver: Solver, model: Pick<Denoiser, 'process' | 'rowsPerSample'>, grid: TimeGrid): number {
  const stages = solver.plan(model.process, grid).reduce((sum, step) => sum + step.stages.length, 0)
  return stages * (model.rowsPerSample ?? 1)
}

/** Options of {@link sample}. */
export interface SampleOptions extends Beginning {
  solver: Solver
  /** Steps and their spacing, or the times. */
  grid: TimeGrid
  /** What the model is conditioned on; leaves [n, …]. */
  condition?: Tree
  /** Noise of each step, [steps, n, ...dims], in place of the key's. */
  noises?: tf.Tensor
}

/** A trajectory: the state before each step and the data predicted there, both [steps, n, ...dims], and the last state. */
export type Trajectory = { samples: tf.Tensor; states: tf.Tensor; predictions: tf.Tensor }

/**
 * Samples by integrating from noise to data. Pure and traceable: inside `compile` the whole trajectory is one native call.
 *
 * @param model - of any parameterisation, guided or not
 * @returns x at the last time, [n, ...dims]
 * @throws OptionError when the first state or the randomness is missing, or model, process and solver do not go together
 * @throws ShapeError when the condition or the model's output does not fit x
 *
 * @example
 * ```ts
 * const draw = compile((key: Key) => sample(model, { solver: dpmSolverMultistep(), grid: { steps: 20 }, shape: [100, 2], key }))
 * ```
 */
export function sample(model: Denoiser, options: SampleOptions): tf.Tensor {
  return tf.tidy(() => run(model, options, false).samples)
}

/** As {@link sample}, with the states on the way and the data predicted from each. */
export function sampleTrajectory(model: Denoiser, options: SampleOptions): Trajectory {
  return tf.tidy((() => run(model, options, true)) as () => tf.TensorContainer) as Trajectory
}

/** What {@link generate} tells after each step. */
export interface SamplingStep {
  /** From 0. */
  index: number
  /** Time before the step. */
  t: number
  /** State before the step, and data predicted from it, [n, ...dims]; disposed afterwards. */
  x: tf.Tensor
  x0: tf.Tensor
}

/**
 * Samples for the host: compiled, checked to be finite, with each step told when asked for.
 *
 * @param onStep - called for every step in order, after the trajectory is done
 * @throws DataError that names the step at which the state stopped being finite
 */
export async function generate(model: Denoiser, options: SampleOptions & { onStep?: (step: SamplingStep) => void }): Promise<tf.Tensor> {
  const { onStep, ...rest } = options
  const { samples, states, predictions } = compile(() => sampleTrajectory(model, rest), { name: 'generate' })()
  try {
    const steps = rest.solver.plan(model.process, rest.grid)
    await checkFinite(samples, states)
    if (onStep !== undefined) {
      steps.forEach(({ stages }, index) =>
        tf.tidy(() => {
          const at = (all: tf.Tensor): tf.Tensor => tf.squeeze(tf.slice(all, index, 1), [0])
          onStep({ index, t: stages[0].time, x: at(states), x0: at(predictions) })
        }),
      )
    }
    return samples
  } catch (error) {
    samples.dispose()
    throw error
  } finally {
    tf.dispose([states, predictions])
  }
}

/** A number of a table over a group of steps: the same everywhere, or one for each step. */
type Entry = number | Float64Array

/** The combination of a group of steps, entry by entry. */
interface CombinationTable {
  x: Entry
  predictions: Entry[]
  history: Entry[]
  noise: Entry
}

interface StageTable extends CombinationTable {
  time: Entry
  /** From the model's output to the solver's prediction. */
  fromState: Entry
  fromOutput: Entry
}

/** Consecutive steps of one structure. */
interface Group {
  begin: number
  length: number
  stages: StageTable[]
  next: CombinationTable
}

function entry(values: number[]): Entry {
  return values.every((value) => value === values[0]) ? values[0] : Float64Array.from(values)
}

function combinationTable(all: readonly Combination[], predictionCount: number, memory: number): CombinationTable {
  const column = (pick: (one: Combination) => number | undefined): Entry => entry(all.map((one) => pick(one) ?? 0))
  return {
    x: column((one) => one.x),
    predictions: Array.from({ length: predictionCount }, (_, k) => column((one) => one.predictions?.[k])),
    history: Array.from({ length: memory }, (_, k) => column((one) => one.history?.[k])),
    noise: column((one) => one.noise),
  }
}

/** How many earlier predictions a plan looks at. */
function memoryOf(plan: readonly SolverStep[]): number {
  const used = ({ history = [] }: Combination): number => history.length
  return Math.max(0, ...plan.map((step) => Math.max(used(step), ...step.stages.map(used))))
}

function groupsOf(model: Denoiser, solver: Solver, plan: readonly SolverStep[], memory: number): Group[] {
  const groups: SolverStep[][] = []
  for (const step of plan) {
    const last = groups.at(-1)
    if (last !== undefined && last[0].stages.length === step.stages.length) last.push(step)
    else groups.push([step])
  }
  let begin = 0
  return groups.map((steps) => {
    const stages = steps[0].stages.map((_, j): StageTable => {
      const all = steps.map(({ stages: list }) => list[j])
      const factors = all.map(({ time }) => conversion(model.prediction, solver.prediction, model.process.coefficients(time)))
      return {
        ...combinationTable(all, j, memory),
        time: entry(all.map(({ time }) => time)),
        fromState: entry(factors.map(({ x }) => x)),
        fromOutput: entry(factors.map(({ output }) => output)),
      }
    })
    const group: Group = { begin, length: steps.length, stages, next: combinationTable(steps, stages.length, memory) }
    begin += steps.length
    return group
  })
}

type Carry = { x: tf.Tensor; history: tf.Tensor[] }
type Row = { numbers: tf.Tensor[]; noise: tf.Tensor[] }
type Recorded = { states: tf.Tensor[]; predictions: tf.Tensor[] }

/** Varying entries of a group become per-step inputs of its scan; their order is that of this visit. */
function varyingEntries({ stages, next }: Group): Float64Array[] {
  const of = ({ x, predictions, history, noise }: CombinationTable): Entry[] => [x, ...predictions, ...history, noise]
  const all = [...stages.flatMap((stage) => [...of(stage), stage.time, stage.fromState, stage.fromOutput]), ...of(next)]
  return [...new Set(all.filter((one) => typeof one !== 'number'))]
}

/** Σ coefficient·tensor without the terms that are 0 and the products with 1. */
function linear(terms: readonly (readonly [number | tf.Tensor, tf.Tensor])[], x: tf.Tensor): tf.Tensor {
  const products = terms
    .filter(([coefficient]) => coefficient !== 0)
    .map(([coefficient, tensor]) => (coefficient === 1 ? tensor : tf.mul(tensor, coefficient)))
  return products.length === 0 ? tf.zerosLike(x) : products.reduce((sum, product) => tf.add(sum, product))
}

function usesNoise({ stages, next }: Group): boolean {
  return [...stages, next].some(({ noise }) => noise !== 0)
}

function run(model: Denoiser, options: SampleOptions, record: boolean): Trajectory {
  const { solver, grid, key, condition, noises } = options
  const plan = solver.plan(model.process, grid)
  const initial = firstState('sample', model.process, options, plan[0].stages[0].time)
  checkCondition('sample', initial, condition)
  const memory = memoryOf(plan)
  const groups = groupsOf(model, solver, plan, memory)
  if (noises !== undefined && (noises.shape[0] !== plan.length || noises.size !== plan.length * initial.size)) {
    throw new ShapeError(`sample: noises must be [${[plan.length, ...initial.shape].join(', ')}], got [${noises.shape.join(', ')}]`)
  }
  if (noises === undefined && key === undefined && groups.some(usesNoise)) {
    throw new OptionError(`sample: the solver '${solver.name}' draws noise; give a key`)
  }
  let carry: Carry = { x: initial, history: Array.from({ length: memory }, () => tf.zerosLike(initial)) }
  const recorded: Recorded[] = []
  for (const [g, group] of groups.entries()) {
    const varying = varyingEntries(group)
    const noisy = usesNoise(group)
    const body = (state: Carry, row: Row, stepKey: Key | undefined): { carry: Carry; y: Recorded } => {
      const value = (one: Entry): number | tf.Tensor => (typeof one === 'number' ? one : row.numbers[varying.indexOf(one)])
      const z = noisy ? (row.noise[0] ?? normal(stepKey as Key, initial.shape)) : undefined
      return step(model, group, state, { value, z, condition, record })
    }
    const groupKey = key === undefined ? undefined : fold(fold(key, 1), g)
    if (group.length === 1) {
      const noise = noises === undefined ? [] : [tf.squeeze(tf.slice(noises, group.begin, 1), [0])]
      const { carry: next, y } = body(carry, { numbers: [], noise }, groupKey)
      carry = next
      recorded.push({ states: y.states.map((x) => tf.expandDims(x, 0)), predictions: y.predictions.map((x) => tf.expandDims(x, 0)) })
      continue
    }
    const rows: Row = {
      numbers: varying.map((values) => tf.tensor1d(Array.from(values))),
      noise: noises === undefined ? [] : [tf.slice(noises, group.begin, group.length)],
    }
    const { carry: next, ys } = scan<Carry, Row, Recorded>(body, carry, rows, { length: group.length, key: groupKey })
    carry = next
    recorded.push(ys)
  }
  const joined = (part: (one: Recorded) => tf.Tensor[]): tf.Tensor => {
    const all = recorded.flatMap(part)
    return all.length === 1 ? all[0] : tf.concat(all, 0)
  }
  if (!record) return { samples: carry.x, states: carry.x, predictions: carry.x }
  return { samples: carry.x, states: joined((one) => one.states), predictions: joined((one) => one.predictions) }
}

interface StepInputs {
  value: (one: Entry) => number | tf.Tensor
  z: tf.Tensor | undefined
  condition: Tree | undefined
  record: boolean
}

function step(model: Denoiser, group: Group, { x, history }: Carry, inputs: StepInputs): { carry: Carry; y: Recorded } {
  const { value, z, condition, record } = inputs
  const found: tf.Tensor[] = []
  const combine = (table: CombinationTable): tf.Tensor => {
    const terms: [number | tf.Tensor, tf.Tensor][] = [[value(table.x), x]]
    table.predictions.forEach((one, k) => terms.push([value(one), found[k]]))
    table.history.forEach((one, k) => terms.push([value(one), history[k]]))
    if (z !== undefined) terms.push([value(table.noise), z])
    return linear(terms, x)
  }
  let seen: tf.Tensor | undefined
  for (const stage of group.stages) {
    const y = combine(stage)
    const time = value(stage.time)
    const t = batchTime(model, time, y.shape[0])
    const output = model.predict(y, t, condition)
    checkOutput('sample', output, y)
    found.push(
      linear(
        [
          [value(stage.fromState), y],
          [value(stage.fromOutput), output],
        ],
        y,
      ),
    )
    if (record && seen === undefined) seen = convertPrediction(output, model.prediction, 'x0', y, model.process.coefficientTensors(t))
  }
  const next = combine(group.next)
  const carry: Carry = { x: next === x ? tf.clone(next) : next, history: [found[0], ...history].slice(0, history.length) }
  return { carry, y: { states: record ? [tf.clone(x)] : [], predictions: seen === undefined ? [] : [seen] } }
}

/** The time as the model takes it: [n], or [1]. */
export function batchTime(model: Pick<Denoiser, 'sharedTime'>, time: number | tf.Tensor, n: number): tf.Tensor {
  const one = typeof time === 'number' ? tf.tensor1d([time]) : tf.reshape(time, [1])
  return model.sharedTime === true || n === 1 ? one : tf.mul(tf.ones([n]), one)
}
