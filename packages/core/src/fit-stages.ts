import { ensureBackend } from './backend'
import type { Dataset } from './data/dataset'
import { OptionError } from './errors'
import { fit } from './fit'
import type { Json, LearnerState, Staged } from './learner'
import { fold, key as makeKey, split, type Key } from './random/key'
import { checkSameRun, noBatch, ownedState } from './run-start'
import type { Checkpoint, CheckpointStore, Reporter } from './training'
import { dispose, leaves, map, type Tree } from './tree'

/** Options of {@link fitStages}; how long each stage runs is the stage's own choice. */
export interface FitStagesOptions {
  key?: Key
  seed?: number
  reporter?: Reporter
  signal?: AbortSignal
  checkpoints?: CheckpointStore
  /** Checkpoint inside a stage every so many steps, or at each epoch's end. Default 'epoch'. */
  checkpointEvery?: number | 'epoch'
  /** Go on from the newest checkpoint in `checkpoints`, where there is one. Default true. */
  resume?: boolean
}

/** What a checkpoint of a staged run says beside its tensors. */
type StagedHost = {
  words: readonly [number, number]
  /** The stage the run is in. */
  stage: number
  outer: Json
  /** Host part of the checkpoint of the stage's own `fit`, when the run is inside a stage. */
  inner?: Json
}

/**
 * Trains a staged method (layer by layer, boosting, iterative pruning, distillation): one `fit` per stage.
 *
 * Stage k gets the key `fold(stages, k)`, where `[init, stages] = split(key, 2)`, for `staged.stage` and its `fit`
 * (`split` again). A run can be stopped and resumed inside a stage and across stage boundaries.
 *
 * @returns the final state (the caller owns its tensors), the stages done, and why it ended
 * @throws OptionError when the checkpoint belongs to a run with another key
 * @throws DataError when the dataset gives no batch
 */
export async function fitStages<State extends Tree, Batch extends Tree>(
  staged: Staged<State, Batch>,
  dataset: Dataset<Batch>,
  options: FitStagesOptions = {},
): Promise<{ state: LearnerState<State>; stages: number; reason: 'done' | 'aborted' }> {
  await ensureBackend()
  if (options.key !== undefined && options.seed !== undefined) throw new OptionError('fitStages: give key or seed, not both')
  const runKey = options.key ?? makeKey(options.seed ?? 0)
  const [initKey, stagesKey] = split(runKey, 2)
  const resumed = options.resume === false ? undefined : await options.checkpoints?.load()
  let { state, stage, inner } = resumed === undefined ? await startStages(staged, dataset, initKey) : resumeStages<State>(resumed, runKey)

  try {
    for (; stage < staged.stageCount; stage++) {
      const [stageKey, fitKey] = split(fold(stagesKey, stage), 2)
      const current = await staged.stage(stage, state, { dataset, key: stageKey })
      const outer = state
      const fitted = await fit(current.learner, dataset, {
        ...current.options,
        key: fitKey,
        seed: undefined,
        signal: options.signal,
        reporter: stageReporter(options.reporter, stage, staged.stageCount),
        checkpoints: innerStore(options.checkpoints, inner, () => ({ words: runKey.words, stage, outer: outer.host }), outer.tensors),
        checkpointEvery: options.checkpointEvery,
      })
      inner = undefined
      if (fitted.reason === 'aborted') {
        dispose(fitted.state.tensors, fitted.best?.state.tensors)
        return { state, stages: stage, reason: 'aborted' }
      }
      state = takeOver(current.finish, fitted.best?.state ?? fitted.state, state)
      dispose(fitted.state.tensors, fitted.best?.state.tensors)
      const host: StagedHost = { words: runKey.words, stage: stage + 1, outer: state.host }
      await options.checkpoints?.save({ trees: { state: state.tensors }, host: host as unknown as Json }, { step: stage + 1, best: false })
    }
    return { state, stages: stage, reason: 'done' }
  } catch (error) {
    dispose(state.tensors)
    throw error
  }
}

interface StagedRun<State extends Tree> {
  state: LearnerState<State>
  stage: number
  inner: Checkpoint | undefined
}

async function startStages<State extends Tree, Batch extends Tree>(
  staged: Staged<State, Batch>,
  dataset: Dataset<Batch>,
  key: Key,
): Promise<StagedRun<State>> {
  for await (const sample of dataset.batches({ key })) {
    const state = ownedState(() => staged.init(key, sample))
    dispose(sample)
    return { state, stage: 0, inner: undefined }
  }
  throw noBatch('fitStages')
}

function resumeStages<State extends Tree>(checkpoint: Checkpoint, runKey: Key): StagedRun<State> {
  const { words, stage, outer, inner } = checkpoint.host as unknown as StagedHost
  checkSameRun('fitStages', words, runKey, checkpoint.trees)
  const { state, ...rest } = checkpoint.trees
  const innerTrees = Object.fromEntries(Object.entries(rest).map(([name, tree]) => [name.replace(/^inner-/, ''), tree]))
  return {
    state: { tensors: state as State, host: outer },
    stage,
    inner: inner === undefined ? undefined : { trees: innerTrees, host: inner },
  }
}

/** The checkpoints of one stage's `fit`, kept in the run's store together with the state before the stage. */
function innerStore(
  store: CheckpointStore | undefined,
  resumed: Checkpoint | undefined,
  describe: () => StagedHost,
  outer: Tree,
): CheckpointStore | undefined {
  if (store === undefined) return undefined
  return {
    load: () => Promise.resolve(resumed),
    save(checkpoint, info) {
      const trees = Object.fromEntries(Object.entries(checkpoint.trees).map(([name, tree]) => [`inner-${name}`, tree]))
      const host: StagedHost = { ...describe(), inner: checkpoint.host }
      return store.save({ trees: { state: outer, ...trees }, host: host as unknown as Json }, { ...info, best: false })
    },
  }
}

function stageReporter(reporter: Reporter | undefined, stage: number, stageCount: number): Reporter | undefined {
  if (reporter === undefined) return undefined
  return { report: (event) => reporter.report(event.type === 'start' ? { ...event, stage, stageCount } : event) }
}

/** The state after a stage, owned by the run; leaves it shares with what went in are copied, the old state is freed. */
function takeOver<State extends Tree>(
  finish: (inner: LearnerState<Tree>) => LearnerState<State>,
  inner: LearnerState<Tree>,
  outer: LearnerState<State>,
): LearnerState<State> {
  const next = finish(inner)
  const shared = new Set([...leaves(inner.tensors), ...leaves(outer.tensors)])
  const tensors = map((leaf) => (shared.has(leaf) ? leaf.clone() : leaf), next.tensors)
  dispose(outer.tensors)
  return { tensors, host: next.host }
}
