import * as tf from '@tensorflow/tfjs-core'
import { ensureBackend } from './backend'
import { compile } from './compile'
import { currentCompiler } from './compiler'
import { scan } from './control'
import type { Dataset } from './data/dataset'
import { elementwise } from './elementwise'
import { BpfError, DataError, isBpfError, OptionError, ShapeError } from './errors'
import { yieldToEventLoop } from './event-loop'
import type { Json, Learner, LearnerState, StepInfo } from './learner'
import { fold, key as makeKey, split, symbolicKey, type Key } from './random/key'
import { checkSameRun, noBatch, ownedState } from './run-start'
import type { Checkpoint, FitOptions, FitResult } from './training'
import { allFinite, clone, dispose, entries, flatten, leaves, map, signature, unflatten, type Tree } from './tree'

/** A native call should not last longer than this, so that progress, abort and Ctrl-C work. */
const callBudgetMs = 100

/** Where a run stands: what a checkpoint keeps beside the tensors. */
type Progress = {
  step: number
  epoch: number
  /** Batches of this epoch already used. */
  batchInEpoch: number
  /** Sums of the training metrics of this epoch so far. */
  sums: Record<string, number>
  history: { epoch: number; metrics: Record<string, number> }[]
  best: { value: number; epoch: number; host: Json } | null
  /** Validations since the best one. */
  waited: number
}

/** The independent streams of one run. */
interface RunKeys {
  init: Key
  prepare: Key
  data: Key
  step: Key
  hook: Key
  evaluate: Key
}

/**
 * Trains a learner: the only training loop of the library, with {@link fitStages} for staged methods.
 *
 * Step n (from 0) gets the key `fold(run, n)`, epoch e the data order `fold(data, e)`, where
 * `[init, prepare, data, run, hook, evaluate] = split(key, 6)`: the result does not depend on how many steps one
 * native call runs, nor on being stopped and resumed.
 *
 * A step whose metrics or new state are not finite leaves the old state; `fit` then stops with an error that names the
 * first bad value. Between calls it yields to the event loop, so an `AbortSignal` works within one call: `fit` then
 * writes a checkpoint and returns with reason `aborted`.
 *
 * @param learner - the method
 * @param dataset - training batches; a last short batch of an epoch is left out
 * @param options - how long, with what key, validation, checkpoints; see {@link FitOptions}
 * @returns the final state (the caller owns its tensors), the best one if asked for, and the history
 * @throws OptionError for options that make no sense, such as validation without `learner.evaluate`
 * @throws DataError when the dataset gives no batch
 * @throws ShapeError when a batch or the new state has another structure or shape than before
 * @throws BpfError when a step gives a value that is not finite
 */
export async function fit<State extends Tree, Batch extends Tree, Aux>(
  learner: Learner<State, Batch, Aux>,
  dataset: Dataset<Batch>,
  options: FitOptions<State, Batch>,
): Promise<FitResult<State>> {
  checkOptions(learner as Learner<State, Batch, unknown>, options)
  await ensureBackend()
  const runKey = options.key ?? makeKey(options.seed ?? 0)
  const [init, prepare, data, step, hook, evaluate] = split(runKey, 6)
  const keys: RunKeys = { init, prepare, data, step, hook, evaluate }
  const run = await startRun(learner, dataset, options, runKey, keys)
  try {
    return await trainEpochs(learner as Learner<State, Batch, unknown>, dataset, options, runKey, keys, run)
  } catch (error) {
    dispose(run.state.tensors, run.best)
    throw error
  }
}

/** A run in memory: its tensors and its progress. */
interface Run<State extends Tree> {
  state: LearnerState<State>
  best: State | undefined
  progress: Progress
}

function checkOptions<State extends Tree, Batch extends Tree>(
  learner: Learner<State, Batch, unknown>,
  options: FitOptions<State, Batch>,
): void {
  const positive = ['epochs', 'steps', 'validateEvery', 'patience', 'stepsPerCall'] as const
  for (const name of positive) {
    const value = options[name]
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= (name === 'epochs' || name === 'steps' ? 0 : 1))) {
      throw new OptionError(`fit: ${name} must be a positive integer, got ${String(value)}`)
    }
  }
  const every = options.checkpointEvery
  if (every !== undefined && every !== 'epoch' && !(Number.isSafeInteger(every) && every >= 1)) {
    throw new OptionError(`fit: checkpointEvery must be a positive integer or 'epoch', got ${String(every)}`)
  }
  if (options.epochs === undefined && options.steps === undefined) throw new OptionError('fit: give epochs or steps; neither was given')
  if (options.validation !== undefined && learner.evaluate === undefined) {
    throw new OptionError('fit: validation needs learner.evaluate, which this learner does not have; leave validation out')
  }
  if (options.patience !== undefined && options.best === undefined) {
    throw new OptionError("fit: patience needs best, such as best: { metric: 'loss', mode: 'min' }")
  }
  if (options.key !== undefined && options.seed !== undefined) throw new OptionError('fit: give key or seed, not both')
}

async function startRun<State extends Tree, Batch extends Tree, Aux>(
  learner: Learner<State, Batch, Aux>,
  dataset: Dataset<Batch>,
  options: FitOptions<State, Batch>,
  runKey: Key,
  keys: RunKeys,
): Promise<Run<State>> {
  if (options.checkpoints !== undefined && options.resume !== false) {
    const checkpoint = await options.checkpoints.load()
    if (checkpoint !== undefined) return resumeRun(checkpoint, runKey)
  }
  const progress: Progress = { step: 0, epoch: 0, batchInEpoch: 0, sums: {}, history: [], best: null, waited: 0 }
  if (options.initialState !== undefined) {
    const { tensors, host } = options.initialState
    return { state: { tensors: clone(tensors), host }, best: undefined, progress }
  }
  const aux = (await learner.prepare?.(dataset, keys.prepare, { signal: options.signal })) as Aux
  for await (const sample of dataset.batches({ key: fold(keys.data, 0), signal: options.signal })) {
    const state = ownedState(() => learner.init(keys.init, sample, aux))
    dispose(sample)
    tf.dispose(aux as tf.TensorContainer)
    return { state, best: undefined, progress }
  }
  throw noBatch('fit')
}

function resumeRun<State extends Tree>(checkpoint: Checkpoint, runKey: Key): Run<State> {
  const saved = checkpoint.host as unknown as { words: [number, number]; progress: Progress; host: Json }
  checkSameRun('fit', saved.words, runKey, checkpoint.trees)
  return {
    state: { tensors: checkpoint.trees.state as State, host: saved.host },
    best: checkpoint.trees.best as State | undefined,
    progress: saved.progress,
  }
}

/** A guarded step, as one compiled function of the state, whether all went well so far, a batch and a key. */
type GuardedStep<State extends Tree, Batch extends Tree> = (
  tensors: State,
  ok: tf.Scalar,
  batch: Batch,
  key: Key,
) => { tensors: State; ok: tf.Scalar; metrics: Record<string, tf.Tensor> }

/**
 * The learner's step with the NaN guard inside: once a step goes wrong, the state stays as it was before that step.
 * Leaves that a step passes through untouched need neither check nor choice.
 */
function guardedStep<State extends Tree, Batch extends Tree>(learner: Learner<State, Batch, unknown>): GuardedStep<State, Batch> {
  return (tensors, ok, batch, key) => {
    const next = learner.step(tensors, batch, key)
    checkSameSignature(tensors, next.tensors)
    const [before, after] = [leaves(tensors), leaves(next.tensors)]
    const changed = after.flatMap((leaf, i) => (leaf === before[i] ? [] : [i]))
    const good = tf.logicalAnd(ok, allFinite([changed.map((i) => after[i]), next.metrics])) as tf.Scalar
    const chosen = elementwise(
      ([old, now]) => [tf.where(good, now, old)],
      changed.map((i) => [before[i], after[i]]),
    )
    for (const [n, i] of changed.entries()) after[i] = chosen[n][0]
    const guarded = unflatten<State>(flatten(tensors).structure, after)
    return { tensors: guarded, ok: good, metrics: next.metrics }
  }
}

function checkSameSignature(before: Tree, after: Tree): void {
  if (signature(before) === signature(after)) return
  const old = new Map(entries(before).map(({ path, leaf }) => [path, `${leaf.dtype} [${leaf.shape.join(', ')}]`]))
  const now = new Map(entries(after).map(({ path, leaf }) => [path, `${leaf.dtype} [${leaf.shape.join(', ')}]`]))
  for (const path of new Set([...old.keys(), ...now.keys()])) {
    if (old.get(path) !== now.get(path)) {
      const was = old.get(path) ?? 'missing'
      const is = now.get(path) ?? 'missing'
      throw new ShapeError(
        `learner.step changed the state at '${path || '/'}' from ${was} to ${is}; a step must keep structure, dtypes and shapes`,
      )
    }
  }
  throw new ShapeError('learner.step changed the structure of the state; a step must keep it')
}

async function trainEpochs<State extends Tree, Batch extends Tree>(
  learner: Learner<State, Batch, unknown>,
  dataset: Dataset<Batch>,
  options: FitOptions<State, Batch>,
  runKey: Key,
  keys: RunKeys,
  run: Run<State>,
): Promise<FitResult<State>> {
  const { progress } = run
  const trainer = makeTrainer(learner, dataset, options, keys)
  const stepLimit = totalSteps(dataset, options)
  const save = makeSaver(options, runKey, run)
  options.reporter?.report({ type: 'start', totalSteps: stepLimit })

  const finished = (): boolean =>
    progress.step >= (options.steps ?? Infinity) || progress.epoch >= (options.epochs ?? Infinity) || stoppedEarly(options, progress)
  const end = async (reason: FitResult<State>['reason']): Promise<FitResult<State>> => {
    await save({ best: false })
    options.reporter?.report({ type: 'end', step: progress.step, reason })
    return result(run, reason)
  }

  // A checkpoint of an epoch's last step is from before the epoch's end, which is still owed.
  const owesEnd = (): boolean => progress.batchInEpoch > 0 && progress.batchInEpoch === dataset.batchesPerEpoch

  let emptyEpochs = 0
  while (!finished() || owesEnd()) {
    if (options.signal?.aborted) return end('aborted')
    const before = progress.step
    const outcome = await trainEpoch(trainer, dataset, options, keys, run, save, stepLimit)
    if (outcome === 'aborted') return end('aborted')
    emptyEpochs = progress.step === before ? emptyEpochs + 1 : 0
    if (emptyEpochs > 1) throw noBatch('fit')
  }
  return end(stoppedEarly(options, progress) ? 'early-stop' : 'done')
}

function stoppedEarly(options: { patience?: number }, progress: Progress): boolean {
  return options.patience !== undefined && progress.waited >= options.patience
}

function totalSteps(dataset: Dataset<Tree>, options: { epochs?: number; steps?: number }): number | undefined {
  const perEpoch = dataset.batchesPerEpoch
  const byEpochs = options.epochs !== undefined && perEpoch !== undefined ? options.epochs * perEpoch : undefined
  if (options.steps === undefined) return byEpochs
  return Math.min(options.steps, byEpochs ?? Infinity)
}

function result<State extends Tree>(run: Run<State>, reason: FitResult<State>['reason']): FitResult<State> {
  const { progress, state } = run
  const best = progress.best
  return {
    state,
    ...(run.best !== undefined && best !== null
      ? { best: { state: { tensors: run.best, host: best.host }, value: best.value, epoch: best.epoch } }
      : {}),
    history: progress.history,
    step: progress.step,
    reason,
  }
}

type Saver = (info: { best: boolean }) => Promise<void>

function makeSaver<State extends Tree, Batch extends Tree>(options: FitOptions<State, Batch>, runKey: Key, run: Run<State>): Saver {
  let savedAt = -1
  return async ({ best }) => {
    const { progress, state } = run
    if (options.checkpoints === undefined || (savedAt === progress.step && !best)) return
    savedAt = progress.step
    const trees: Record<string, Tree> = { state: state.tensors }
    if (run.best !== undefined) trees.best = run.best
    const host = { words: runKey.words, progress, host: state.host } as unknown as Json
    await options.checkpoints.save({ trees, host }, { step: progress.step, best })
    options.reporter?.report({ type: 'checkpoint', step: progress.step })
  }
}

/** One epoch, or what is left of it. */
async function trainEpoch<State extends Tree, Batch extends Tree>(
  trainer: Trainer<State, Batch>,
  dataset: Dataset<Batch>,
  options: FitOptions<State, Batch>,
  keys: RunKeys,
  run: Run<State>,
  save: Saver,
  stepLimit: number | undefined,
): Promise<'epoch-done' | 'aborted'> {
  const { progress } = run
  const { learner } = trainer
  const pass = dataset.batches({ key: fold(keys.data, progress.epoch), skip: progress.batchInEpoch, signal: options.signal })
  const iterator = pass[Symbol.asyncIterator]()
  const hookEvery = learner.afterStep?.every
  const checkpointEvery = options.checkpointEvery ?? 'epoch'
  let exhausted = false
  try {
    while (!exhausted && progress.step < (options.steps ?? Infinity)) {
      if (options.signal?.aborted) return 'aborted'
      const room = Math.min(
        untilMultiple(progress.step, hookEvery),
        untilMultiple(progress.step, checkpointEvery),
        (options.steps ?? Infinity) - progress.step,
        dataset.batchesPerEpoch === undefined ? Infinity : Math.max(1, dataset.batchesPerEpoch - progress.batchInEpoch),
      )
      const batches = await take(iterator, trainer.stepsPerCall(room))
      if (options.signal?.aborted) {
        dispose(...batches.items)
        return 'aborted'
      }
      exhausted = batches.exhausted
      if (batches.items.length === 0) break
      const metrics = await trainer.call(run, batches.items)
      if (typeof hookEvery === 'number' && progress.step % hookEvery === 0) await trainer.hook(run, metrics, dataset)
      if (typeof checkpointEvery === 'number' && progress.step % checkpointEvery === 0) await save({ best: false })
      await yieldToEventLoop()
    }
  } catch (error) {
    // A dataset may answer an abort with an error of its own.
    if (options.signal?.aborted && !isBpfError(error)) return 'aborted'
    throw error
  } finally {
    await iterator.return?.()
  }
  // A run that ends in the middle of an epoch by its step limit does not end the epoch.
  const whole = exhausted || progress.batchInEpoch === dataset.batchesPerEpoch
  if (!whole && stepLimit !== undefined && progress.step >= stepLimit) return 'epoch-done'
  if (progress.batchInEpoch > 0) await endEpoch(trainer, dataset, options, keys, run, save)
  else progress.epoch++
  return 'epoch-done'
}

function untilMultiple(step: number, every: number | 'epoch' | undefined): number {
  return typeof every === 'number' ? every - (step % every) : Infinity
}

async function take<Batch>(iterator: AsyncIterator<Batch>, count: number): Promise<{ items: Batch[]; exhausted: boolean }> {
  const items: Batch[] = []
  try {
    while (items.length < count) {
      const next = await iterator.next()
      if (next.done) return { items, exhausted: true }
      items.push(next.value)
    }
  } catch (error) {
    dispose(...(items as unknown as Tree[]))
    throw error
  }
  return { items, exhausted: false }
}

async function endEpoch<State extends Tree, Batch extends Tree>(
  trainer: Trainer<State, Batch>,
  dataset: Dataset<Batch>,
  options: FitOptions<State, Batch>,
  keys: RunKeys,
  run: Run<State>,
  save: Saver,
): Promise<void> {
  const { progress } = run
  const means = Object.fromEntries(Object.entries(progress.sums).map(([name, sum]) => [name, sum / progress.batchInEpoch]))
  if (trainer.learner.afterStep?.every === 'epoch') await trainer.hook(run, means, dataset)
  const metrics = { ...means }
  let judged: Record<string, number> | undefined = means
  if (options.validation !== undefined) {
    judged = undefined
    if ((progress.epoch + 1) % (options.validateEvery ?? 1) === 0) {
      judged = await trainer.evaluate(run.state.tensors, options.validation, fold(keys.evaluate, progress.epoch), options.signal)
      for (const [name, value] of Object.entries(judged)) metrics[`val/${name}`] = value
      options.reporter?.report({ type: 'validation', step: progress.step, epoch: progress.epoch, metrics: judged })
    }
  }
  progress.history.push({ epoch: progress.epoch, metrics })
  const improved = judged !== undefined && options.best !== undefined && keepBest(options.best, judged, run)
  if (judged !== undefined && options.best !== undefined) progress.waited = improved ? 0 : progress.waited + 1
  progress.epoch++
  progress.batchInEpoch = 0
  progress.sums = {}
  if (improved || (options.checkpointEvery ?? 'epoch') === 'epoch') await save({ best: improved })
}

function keepBest<State extends Tree>(
  best: { metric: string; mode: 'min' | 'max' },
  metrics: Record<string, number>,
  run: Run<State>,
): boolean {
  const { progress } = run
  const value = metrics[best.metric]
  if (value === undefined) {
    throw new OptionError(`fit: best.metric '${best.metric}' is not among the metrics: ${Object.keys(metrics).join(', ') || 'none'}`)
  }
  const previous = progress.best?.value
  if (previous !== undefined && !(best.mode === 'min' ? value < previous : value > previous)) return false
  dispose(run.best)
  run.best = clone(run.state.tensors)
  progress.best = { value, epoch: progress.epoch, host: run.state.host }
  return true
}

/** Runs steps and hooks on a run. */
interface Trainer<State extends Tree, Batch extends Tree> {
  learner: Learner<State, Batch, unknown>
  evaluate: Evaluator<State, Batch>
  /** How many steps the next call takes, where at most `room` may. */
  stepsPerCall(room: number): number
  /** Runs one step per batch, disposes the batches, and returns the last step's metrics. */
  call(run: Run<State>, batches: Batch[]): Promise<Record<string, number>>
  hook(run: Run<State>, metrics: Record<string, number>, dataset: Dataset<Batch>): Promise<void>
}

/** A call of several steps must not make a learner compile for more than two numbers of steps. */
const mostStepsPerCall = 128

function makeTrainer<State extends Tree, Batch extends Tree>(
  learner: Learner<State, Batch, unknown>,
  dataset: Dataset<Batch>,
  options: FitOptions<State, Batch>,
  keys: RunKeys,
): Trainer<State, Batch> {
  const body = guardedStep(learner)
  const { traceable } = learner
  const single = compile(body, { donate: [0, 1], name: 'step', traceable })
  let firstStep = 0
  // Step i of a call draws from the key of its place in the run, whatever the call it falls into.
  const callKey = symbolicKey((steps) => fold(keys.step, firstStep + steps[0]).words)
  const several = compile(
    (tensors: State, ok: tf.Scalar, batches: Batch) => {
      const { carry, ys } = scan(
        (state: { tensors: State; ok: tf.Scalar }, batch: Batch) => {
          const next = body(state.tensors, state.ok, batch, callKey)
          return { carry: { tensors: next.tensors, ok: next.ok }, y: { ok: next.ok, metrics: next.metrics } }
        },
        { tensors, ok },
        batches,
      )
      return { ...carry, outcomes: ys }
    },
    { donate: [0, 1], name: 'steps' },
  )
  let stepsPerCall = options.stepsPerCall ?? 1
  let calls = 0
  let batchSignature: string | undefined

  // Made at the first validation: not every learner evaluates.
  let evaluator: Evaluator<State, Batch> | undefined
  return {
    learner,
    evaluate: (...args) => (evaluator ??= makeEvaluator(learner))(...args),
    stepsPerCall: (room) => (room >= stepsPerCall || currentCompiler() === undefined ? Math.min(room, stepsPerCall) : 1),
    async call(run, batches) {
      const { progress } = run
      const started = performance.now()
      checkBatches(batches, progress.step)
      firstStep = progress.step
      const outcomes: Outcome[] = []
      try {
        if (batches.length > 1 && traceable !== false && currentCompiler() !== undefined) runTogether(run, batches, outcomes)
        else for (const [i, batch] of batches.entries()) runOne(run, batch, fold(keys.step, firstStep + i), outcomes)
        const last = await readOutcomes(outcomes, run, batches, learner, keys, options)
        if (options.stepsPerCall === undefined && ++calls === 3) stepsPerCall = chooseSteps(performance.now() - started)
        return last
      } finally {
        dispose(...outcomes, ...batches)
      }
    },
    async hook(run, metrics, dataset_) {
      const hook = learner.afterStep
      if (hook === undefined) return
      const { progress, state } = run
      const info: StepInfo<Batch> = {
        step: progress.step,
        epoch: progress.epoch,
        metrics,
        key: fold(keys.hook, progress.step),
        dataset: dataset_,
        signal: options.signal,
      }
      const next = await hook.run(state, info)
      const kept = new Set(leaves(next.tensors))
      for (const leaf of leaves(state.tensors)) if (!kept.has(leaf)) leaf.dispose()
      run.state = next
    },
  }

  function checkBatches(batches: Batch[], step: number): void {
    for (const [i, batch] of batches.entries()) {
      const found = signature(batch)
      batchSignature ??= found
      if (found !== batchSignature) throw new ShapeError(`fit: batch of step ${step + i} is ${found}, the first one was ${batchSignature}`)
    }
  }

  function runOne(run: Run<State>, batch: Batch, key: Key, outcomes: Outcome[]): void {
    const previous = outcomes[outcomes.length - 1]
    const ok = previous === undefined ? tf.scalar(true, 'bool') : (previous.ok.clone() as tf.Scalar)
    const next = single(run.state.tensors, ok, batch, key)
    run.state = { tensors: next.tensors, host: run.state.host }
    outcomes.push({ ok: next.ok, metrics: next.metrics })
  }

  function runTogether(run: Run<State>, batches: Batch[], outcomes: Outcome[]): void {
    const stacked = map((...parts) => stackOnHost(parts), batches[0], ...batches.slice(1))
    const { outcomes: all, ...carry } = several(run.state.tensors, tf.scalar(true, 'bool'), stacked)
    run.state = { tensors: carry.tensors, host: run.state.host }
    dispose(stacked, carry.ok)
    outcomes.push(all)
  }

  /** As many steps as fit into the time of a call, and so that an epoch leaves few over; decided once, by the third step. */
  function chooseSteps(elapsed: number): number {
    const { every } = learner.afterStep ?? {}
    const limits = [every, options.checkpointEvery].filter((limit) => typeof limit === 'number')
    const fitting = Math.max(1, Math.min(Math.floor(callBudgetMs / Math.max(elapsed, 1e-3)), mostStepsPerCall, ...limits))
    const perEpoch = dataset.batchesPerEpoch
    return perEpoch === undefined || perEpoch < 1 ? fitting : Math.max(1, Math.floor(perEpoch / Math.ceil(perEpoch / fitting)))
  }
}

/** Whether steps went well and what they measured: of one step, or stacked along a first axis for several. */
type Outcome = { ok: tf.Tensor; metrics: Record<string, tf.Tensor> }

/** Stacks batches that are there as values, by copying memory. */
function stackOnHost(parts: tf.Tensor[]): tf.Tensor {
  const first = parts[0].dataSync()
  const all = new (first.constructor as new (size: number) => Float32Array)(first.length * parts.length)
  for (const [i, part] of parts.entries()) all.set(part.dataSync() as Float32Array, i * first.length)
  return tf.tensor(all, [parts.length, ...parts[0].shape], parts[0].dtype)
}

/** Reads the metrics of a call, adds them to the epoch's sums, reports them, and stops at the first bad step. */
async function readOutcomes<State extends Tree, Batch extends Tree>(
  outcomes: Outcome[],
  run: Run<State>,
  batches: Batch[],
  learner: Learner<State, Batch, unknown>,
  keys: RunKeys,
  options: FitOptions<State, Batch>,
): Promise<Record<string, number>> {
  const { progress } = run
  let metrics: Record<string, number> = {}
  let done = 0
  for (const outcome of outcomes) {
    const ok = await outcome.ok.data()
    const values = new Map<string, ArrayLike<number>>()
    for (const [name, value] of Object.entries(outcome.metrics)) {
      if (value.size !== ok.length) {
        throw new ShapeError(
          `learner.step: metric '${name}' must be a scalar, got shape [${value.shape.slice(outcome.ok.rank).join(', ')}]`,
        )
      }
      values.set(name, await value.data())
    }
    for (let i = 0; i < ok.length; i++) {
      if (ok[i] === 0) throw notFinite(learner, run.state.tensors, batches[done], fold(keys.step, progress.step), progress.step)
      metrics = {}
      for (const [name, list] of values) {
        metrics[name] = list[i]
        progress.sums[name] = (progress.sums[name] ?? 0) + list[i]
      }
      done++
      progress.step++
      progress.batchInEpoch++
      options.reporter?.report({ type: 'step', step: progress.step, epoch: progress.epoch, metrics })
    }
  }
  return metrics
}

/** Runs the bad step again from the state before it, to name the first value that is not finite. */
function notFinite<State extends Tree, Batch extends Tree>(
  learner: Learner<State, Batch, unknown>,
  tensors: State,
  batch: Batch,
  key: Key,
  step: number,
): BpfError {
  const bad = tf.tidy(() => {
    const next = learner.step(tensors, batch, key)
    const named = [
      ...Object.entries(next.metrics).map(([name, leaf]) => ({ path: `metric '${name}'`, leaf })),
      ...entries(next.tensors).map(({ path, leaf }) => ({ path: `state '${path || '/'}'`, leaf })),
    ]
    return named.find(({ leaf }) => leaf.dtype === 'float32' && leaf.dataSync().some((value) => !Number.isFinite(value)))?.path
  })
  return new BpfError(
    `fit: step ${step} made ${bad ?? 'a value'} not finite; the state before it was kept. Check the batch for NaN, or lower the learning rate.`,
  )
}

/**
 * Metrics of a learner over a dataset: sums of `learner.evaluate` over all batches, divided by the count.
 *
 * @param learner - needs `evaluate`
 * @param tensors - the learner's state
 * @param key - batch i gets `fold(key, i)`
 * @throws OptionError when the learner has no `evaluate`
 */
export async function evaluateLearner<State extends Tree, Batch extends Tree>(
  learner: Learner<State, Batch, unknown>,
  tensors: State,
  dataset: Dataset<Batch>,
  key: Key,
  signal?: AbortSignal,
): Promise<Record<string, number>> {
  return makeEvaluator(learner)(tensors, dataset, key, signal)
}

/** {@link evaluateLearner} of one learner, compiled once for all its evaluations. */
type Evaluator<State extends Tree, Batch extends Tree> = (
  tensors: State,
  dataset: Dataset<Batch>,
  key: Key,
  signal?: AbortSignal,
) => Promise<Record<string, number>>

function makeEvaluator<State extends Tree, Batch extends Tree>(learner: Learner<State, Batch, unknown>): Evaluator<State, Batch> {
  const { evaluate, traceable } = learner
  if (evaluate === undefined) throw new OptionError('evaluateLearner: this learner has no evaluate')
  const compiled = compile(
    (state: State, batch: Batch, weight: tf.Tensor, batchKey: Key) => evaluate.call(learner, state, batch, weight, batchKey),
    { name: 'evaluate', traceable },
  )
  return async (tensors, dataset, key, signal) => {
    await ensureBackend()
    const sums: Record<string, number> = {}
    let count = 0
    let index = 0
    for await (const { batch, weight } of dataset.weightedBatches({ signal })) {
      const part = compiled(tensors, batch, weight, fold(key, index++))
      for (const [name, value] of Object.entries(part.sums)) sums[name] = (sums[name] ?? 0) + (await value.data())[0]
      count += (await part.count.data())[0]
      dispose(part, batch, weight)
    }
    if (count === 0) throw new DataError('evaluateLearner: the dataset has no examples')
    return Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, sum / count]))
  }
}
