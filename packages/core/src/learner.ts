import type * as tf from '@tensorflow/tfjs-core'
import type { Dataset } from './data/dataset'
import type { Key } from './random/key'
import type { FitOptions } from './training'
import type { Tree } from './tree'

/** What a checkpoint keeps beside tensors: JSON, and Float64Array for double-precision solver state. */
export type Json = null | boolean | number | string | Float64Array | readonly Json[] | { readonly [key: string]: Json }

/** The whole state of a learner: tensors, and host values that `step` never sees. */
export interface LearnerState<State extends Tree> {
  tensors: State
  host: Json
}

/** What {@link Learner.afterStep} is told. */
export interface StepInfo<Batch extends Tree = Tree> {
  /** Steps done so far, this one included. */
  step: number
  /** Index of the epoch the last step belonged to. */
  epoch: number
  /** Metrics of the last step; with `every: 'epoch'`, their mean over the epoch. */
  metrics: Record<string, number>
  /** A key for this hook alone. */
  key: Key
  /** The training data. */
  dataset: Dataset<Batch>
  signal: AbortSignal | undefined
}

/** A hook on the host between steps: bandits, pruning, schedules that read metrics. */
export interface AfterStep<State extends Tree, Batch extends Tree> {
  every: number | 'epoch'
  /** Returns the next state. A tensor it replaces is disposed by `fit`; one it passes through stays. */
  run(state: LearnerState<State>, info: StepInfo<Batch>): LearnerState<State> | Promise<LearnerState<State>>
}

/**
 * A method that is trained in steps. `step` and `evaluate` are pure and traceable: they read no values,
 * keep nothing outside, and take all randomness from their key.
 */
export interface Learner<State extends Tree, Batch extends Tree, Aux = void> {
  /**
   * False when `step` or `evaluate` must read values on the way (a sort or a solver on the host): they then run eagerly
   * on every backend. Default true.
   */
  readonly traceable?: boolean
  /** Work before the first step that needs the data: class prototypes, teacher outputs, k-means. */
  prepare?(data: Dataset<Batch>, key: Key, options: { signal?: AbortSignal }): Promise<Aux>
  /** The state before the first step. `sample` is one batch, for its shapes. */
  init(key: Key, sample: Batch, aux: Aux): LearnerState<State>
  /** One step. By convention the metric `loss` is the training loss. Metrics are scalars. */
  step(tensors: State, batch: Batch, key: Key): { tensors: State; metrics: Record<string, tf.Tensor> }
  afterStep?: AfterStep<State, Batch>
  /**
   * Metric sums over a padded batch. `weight` [n] is 0 for padding; a metric's value is its sum over `count`.
   */
  evaluate?(tensors: State, batch: Batch, weight: tf.Tensor, key: Key): { sums: Record<string, tf.Tensor>; count: tf.Tensor }
  predict?(tensors: State, inputs: Tree, key?: Key): Tree
}

/** One stage of a {@link Staged} method: an inner learner, how to fit it, and how its result joins the whole. */
export interface Stage<State extends Tree, Batch extends Tree> {
  // The inner state type differs from stage to stage and is only handed back to `finish`.
  learner: Learner<Tree, Batch, unknown>
  options: FitOptions<Tree, Batch>
  finish(inner: LearnerState<Tree>): LearnerState<State>
}

/** A method trained stage by stage: layer by layer, boosting, iterative pruning, distillation. */
export interface Staged<State extends Tree, Batch extends Tree> {
  stageCount: number
  init(key: Key, sample: Batch): LearnerState<State>
  stage(k: number, state: LearnerState<State>, context: { dataset: Dataset<Batch>; key: Key }): Promise<Stage<State, Batch>>
  predict?(tensors: State, inputs: Tree, key?: Key): Tree
}
