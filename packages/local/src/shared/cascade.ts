/**
 * Methods that train a network part by part, each on what the finished parts make of the inputs.
 *
 * As a staged method ({@link stagedCascade}) every step computes the finished parts anew from the examples. Since they no
 * longer change, {@link fitCascade} computes their output once per stage and trains on that.
 */
import {
  compile,
  fit,
  isBpfError,
  random,
  tree,
  type FitResult,
  type Key,
  type Learner,
  type LearnerState,
  type Reporter,
  type Tree,
} from '@bpf/core'
import { batch, fromArrays, map, readLabels, shuffle, type ArrayLeaf, type LabelsInput } from '@bpf/core/data'
import * as tf from '@tensorflow/tfjs-core'
import { classifierOf, type Classifier } from '../classifier'
import { earlyStopping, stepCost, type StepCost } from '../fair-comparison'
import { checkExamples, type LabelledBatch, type StagedClassifier } from './labelled'

/** One stage: what is trained on the stage's inputs, for how long, and how the result joins the whole. */
export interface CascadeStage<State extends Tree> {
  learner: Learner<Tree, LabelledBatch, unknown>
  epochs?: number
  steps?: number
  /** Stop when the validation loss has not fallen for so many epochs. */
  patience?: number
  /** Fall of the validation loss that counts; heeded by {@link fitCascade} only. */
  minDelta?: number
  /** Examples in one step where the stage wants another number than the run; heeded by {@link fitCascade} only. */
  batchSize?: number
  finish(inner: Tree): State
}

/** A method that trains part by part. */
export interface Cascade<State extends Tree> {
  where: string
  classes: number
  /** What each stage trains, for people. */
  stages: readonly string[]
  init(key: Key, sample: LabelledBatch): State
  /** Inputs of stage k from those of stage k − 1 (of stage 0: from the examples). Parts they need are trained. */
  advance(k: number, state: State, x: tf.Tensor): tf.Tensor
  stage(k: number, state: State, key: Key): CascadeStage<State>
  /** Rows that `advance` computes together: statistics of a whole set need all. Default 500. */
  advanceRows?: number
  validation?: { x: ArrayLeaf; y: LabelsInput }
  predict(tensors: State, x: tf.Tensor): tf.Tensor
}

/** What a stage did. */
export interface StageLog {
  /** What was trained: `layer 1`, `predictor 2`. */
  stage: string
  epochs: number
  steps: number
  /** Mean metrics by epoch. */
  history: FitResult<Tree>['history']
  /** Counted on the trace of a step; undefined on a backend that does not compile. */
  cost: StepCost | undefined
}

/** A classifier that was fitted part by part, and what each stage did. */
export interface CascadeClassifier<State extends Tree> extends Classifier<State> {
  readonly stages: readonly StageLog[]
}

/** Options of {@link fitCascade}. */
export interface CascadeFitOptions {
  /** Examples in one step; a shorter last batch of an epoch is left out. Default 128. */
  batchSize?: number
  /** Root of all randomness. Default seed 0. */
  key?: Key
  reporter?: Reporter
  signal?: AbortSignal
}

type Rows = { data: Float32Array; shape: readonly number[] }

/** The learner, with its inputs computed from the examples. */
function onExamples(
  learner: Learner<Tree, LabelledBatch, unknown>,
  inputs: (x: tf.Tensor) => tf.Tensor,
): Learner<Tree, LabelledBatch, unknown> {
  const prefixed = ({ x, y }: LabelledBatch): LabelledBatch => ({ x: inputs(x), y })
  const { prepare, evaluate } = learner
  return {
    ...learner,
    init: (key, sample, aux) => learner.init(key, prefixed(sample), aux),
    step: (tensors, examples, key) => tree.tidy(() => learner.step(tensors, prefixed(examples), key)),
    ...(prepare && {
      prepare: (data, key, options) =>
        prepare(
          map(data, (examples) => tree.tidy(() => ({ x: inputs(examples.x), y: examples.y.clone() }))),
          key,
          options,
        ),
    }),
    ...(evaluate && {
      evaluate: (tensors, examples, weight, key) => tree.tidy(() => evaluate(tensors, prefixed(examples), weight, key)),
    }),
  }
}

/** The cascade as a staged method for `fitStages` and `fitClassifier`. It keeps the weights of the best validation loss. */
export function stagedCascade<State extends Tree>(cascade: Cascade<State>): StagedClassifier<State> {
  const { classes, where, validation } = cascade
  return {
    classes,
    stageCount: cascade.stages.length,
    init: (key, sample) => ({ tensors: cascade.init(key, sample), host: null }),
    async stage(k, { tensors }, { dataset, key }) {
      if (k === 0) await checkExamples(where, dataset, classes)
      const { learner, epochs, steps, patience, finish } = cascade.stage(k, tensors, key)
      const inputs = (x: tf.Tensor) => {
        let value = x
        for (let i = 0; i <= k; i++) value = cascade.advance(i, tensors, value)
        return value
      }
      const held =
        validation === undefined || learner.evaluate === undefined ? undefined : batch(labelled(validation.x, validation.y, classes), 256)
      const stop = held === undefined || patience === undefined ? {} : { best: { metric: 'loss', mode: 'min' as const }, patience }
      return {
        learner: onExamples(learner, inputs),
        options: { epochs, steps, ...(held && { validation: held }), ...stop },
        finish: (inner) => ({ tensors: finish(inner.tensors), host: null }),
      }
    },
    predict: (tensors, inputs) => tf.tidy(() => cascade.predict(tensors, inputs as tf.Tensor)),
  }
}

function labelled(x: ArrayLeaf, y: LabelsInput, classes: number) {
  return fromArrays({ x, y: readLabels(y, 'y', { classes }) }) as ReturnType<typeof fromArrays<{ x: tf.Tensor; y: Int32Array }>>
}

/** What `fn` makes of all rows, some at a time. */
async function mapRows<State extends Tree>(
  fn: (state: State, x: tf.Tensor) => tf.Tensor,
  state: State,
  X: ArrayLeaf,
  rowsAtOnce: number,
): Promise<Rows> {
  const examples = fromArrays({ x: X }) as ReturnType<typeof fromArrays<{ x: tf.Tensor }>>
  const size = Math.min(rowsAtOnce, examples.size)
  const run = compile(fn)
  let out: Rows | undefined
  let row = 0
  for await (const { batch: rows, weight } of batch(examples, size).weightedBatches()) {
    const result = run(state, rows.x)
    const values = await result.data<'float32'>()
    const rowSize = values.length / size
    out ??= { data: new Float32Array(examples.size * rowSize), shape: [examples.size, ...result.shape.slice(1)] }
    out.data.set(values.subarray(0, Math.min(values.length, out.data.length - row * rowSize)), row * rowSize)
    row += size
    tf.dispose([rows.x, weight, result])
  }
  return out ?? { data: new Float32Array(), shape: [0] }
}

function counted(learner: CascadeStage<Tree>['learner'], tensors: Tree, { shape }: Rows, batchSize: number): StepCost | undefined {
  const batchOf = (size: number): LabelledBatch => ({ x: tf.zeros([size, ...shape.slice(1)]), y: tf.zeros([size], 'int32') })
  try {
    return stepCost(learner, tensors, batchOf, batchSize)
  } catch (error) {
    if (isBpfError(error, 'BackendError')) return undefined
    throw error
  }
}

/**
 * Trains a cascade stage by stage on the cached output of the parts before. Keys are those of `fitStages`.
 *
 * @param X - inputs [n, ...inputShape]
 * @param y - class indices [n]
 * @throws DataError for labels out of range or values that are not finite; what the signal aborted with
 */
export async function fitCascade<State extends Tree>(
  cascade: Cascade<State>,
  X: ArrayLeaf,
  y: LabelsInput,
  { batchSize = 128, key = random.key(0), reporter, signal }: CascadeFitOptions = {},
): Promise<CascadeClassifier<State>> {
  const { classes, where, validation, advanceRows = 500 } = cascade
  const [initKey, stagesKey] = random.split(key, 2)
  const examples = labelled(X, y, classes)
  await checkExamples(where, batch(examples, Math.min(500, examples.size)), classes, { signal })
  const sample = examples.rows([...Array(Math.min(batchSize, examples.size)).keys()])
  let state = tree.tidy(() => tree.clone(cascade.init(initKey, sample)))
  tree.dispose(sample)
  const logs: StageLog[] = []
  let cached: Rows | undefined
  let held = validation?.x
  try {
    for (const [k, name] of cascade.stages.entries()) {
      signal?.throwIfAborted()
      const [stageKey, fitKey] = random.split(random.fold(stagesKey, k), 2)
      const advance = (tensors: State, x: tf.Tensor) => cascade.advance(k, tensors, x)
      const inputs: Rows = await mapRows(advance, state, cached ?? X, advanceRows)
      cached = inputs
      if (held !== undefined) held = await mapRows(advance, state, held, advanceRows)
      const stage = cascade.stage(k, state, stageKey)
      const watched =
        validation === undefined || held === undefined || stage.learner.evaluate === undefined ? undefined : { x: held, y: validation.y }
      const stopping = { patience: stage.patience, minDelta: stage.minDelta ?? 0, reporter, signal }
      const stageBatch = Math.min(stage.batchSize ?? batchSize, examples.size)
      const fitted = await fit(stage.learner, batch(shuffle(labelled(inputs, y, classes)), stageBatch), {
        epochs: stage.epochs,
        steps: stage.steps,
        key: fitKey,
        ...(watched === undefined || stage.patience === undefined ? { reporter, signal } : earlyStopping(stopping)),
        ...(watched && { validation: batch(labelled(watched.x, watched.y, classes), 256) }),
      })
      const old = state
      state = tree.clone(stage.finish(fitted.state.tensors))
      logs.push({
        stage: name,
        epochs: fitted.history.length,
        steps: fitted.step,
        history: fitted.history,
        cost: counted(stage.learner, fitted.state.tensors, inputs, stageBatch),
      })
      tree.dispose(old, fitted.state.tensors)
    }
    signal?.throwIfAborted()
  } catch (error) {
    tree.dispose(state)
    throw error
  }
  return { ...classifierOf(stagedCascade(cascade), { tensors: state, host: null } as LearnerState<State>), stages: logs }
}
