import type { Dataset } from './data/dataset'
import type { Json, LearnerState } from './learner'
import type { Key } from './random/key'
import type { Tree } from './tree'

/** What a reporter hears from `fit`. */
export type FitEvent =
  | { type: 'start'; totalSteps: number | undefined; stage?: number; stageCount?: number }
  | { type: 'step'; step: number; epoch: number; metrics: Record<string, number> }
  | { type: 'validation'; step: number; epoch: number; metrics: Record<string, number> }
  | { type: 'checkpoint'; step: number }
  | { type: 'end'; step: number; reason: 'done' | 'early-stop' | 'aborted' }

/** Receives training events: a terminal bar, JSON lines, or nothing. */
export interface Reporter {
  report(event: FitEvent): void
}

/** One checkpoint: everything `fit` needs to go on as if it had never stopped. */
export interface Checkpoint {
  /** Named trees: `state`, and `best` where best weights are kept. */
  trees: { readonly [name: string]: Tree }
  /** Step counters, host state, histories. */
  host: Json
}

/** Where checkpoints are kept. `@bpf/core/node` has one in a folder, `memoryCheckpoints()` one for tests. */
export interface CheckpointStore {
  /** Keeps a checkpoint; `best` marks the best so far. The store copies or writes the tensors before it resolves. */
  save(checkpoint: Checkpoint, info: { step: number; best: boolean }): Promise<void>
  /** The newest checkpoint that is whole, or undefined when there is none. The caller owns the tensors. */
  load(): Promise<Checkpoint | undefined>
}

/** Options of `fit`. */
export interface FitOptions<State extends Tree, Batch extends Tree> {
  /** Passes over the dataset. One of `epochs` and `steps` is required. */
  epochs?: number
  /** Steps in all. */
  steps?: number
  /** Root of all randomness of the run (alternatively `seed`). Default seed 0. */
  key?: Key
  seed?: number
  validation?: Dataset<Batch>
  /** Validate every so many epochs. Default 1. */
  validateEvery?: number
  /** Keep the state with the best value of a metric: of the validation where there is one, else the epoch's training mean. */
  best?: { metric: string; mode: 'min' | 'max' }
  /** Stop when the best metric has not improved for so many validations. Needs `best`. */
  patience?: number
  reporter?: Reporter
  signal?: AbortSignal
  checkpoints?: CheckpointStore
  /** Go on from the newest checkpoint in `checkpoints`, where there is one. Default true. */
  resume?: boolean
  /** Checkpoint every so many steps, or at each epoch's end. Default 'epoch'. */
  checkpointEvery?: number | 'epoch'
  /** Steps in one native call. Default: as many as fit in 100 ms. */
  stepsPerCall?: number
  /** Start from this state instead of `learner.init`. `fit` takes a copy. */
  initialState?: LearnerState<State>
}

/** What `fit` returns. The caller owns the tensors. */
export interface FitResult<State extends Tree> {
  state: LearnerState<State>
  /** The best state, where `best` was asked for and a value was seen. */
  best?: { state: LearnerState<State>; value: number; epoch: number }
  /** Per epoch: mean training metrics and, prefixed `val/`, validation metrics. */
  history: { epoch: number; metrics: Record<string, number> }[]
  step: number
  reason: 'done' | 'early-stop' | 'aborted'
}
