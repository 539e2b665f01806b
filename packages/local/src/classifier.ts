import {
  compile,
  fit,
  fitStages,
  OptionError,
  random,
  ShapeError,
  tree,
  type FitOptions,
  type FitResult,
  type Key,
  type LearnerState,
  type Tree,
} from '@bpf/core'
import { batch, fromArrays, readLabels, shuffle, type ArrayLeaf, type LabelsInput } from '@bpf/core/data'
import { predictedLabels } from '@bpf/core/metrics'
import * as tf from '@tensorflow/tfjs-core'
import type { ClassifierLearner, LabelledBatch, StagedClassifier } from './shared/labelled'

export type { ClassifierLearner, LabelledBatch, StagedClassifier } from './shared/labelled'

/** Options of {@link fitClassifier}: those of `fit`, with arrays in place of datasets. */
export interface FitClassifierOptions<State extends Tree> extends Omit<FitOptions<State, LabelledBatch>, 'validation'> {
  /** Examples in one step; a shorter last batch of an epoch is left out. Default 128. */
  batchSize?: number
  /** Held-out examples for `best` and `patience`. */
  validation?: { x: ArrayLeaf; y: LabelsInput }
}

/** A fitted classifier. It owns its tensors until {@link Classifier.dispose}. */
export interface Classifier<State extends Tree> {
  readonly classes: number
  /** The tensors that `fit` left, the best ones where `best` was asked for; save them with `@bpf/core/node`. */
  readonly state: LearnerState<State>
  /** Mean metrics by epoch; empty for staged methods. */
  readonly history: FitResult<State>['history']
  /**
   * Class probabilities, row-major [n, classes].
   *
   * @param X - inputs [n, ...inputShape]
   * @param options - `key` for methods that draw when they predict (default seed 0); `batchSize` (default 256)
   */
  predictProba(X: ArrayLeaf, options?: PredictOptions): Promise<Float32Array>
  /** The most probable class of each row [n]. */
  predict(X: ArrayLeaf, options?: PredictOptions): Promise<Int32Array>
  /** Share of rows whose predicted class is y. */
  score(X: ArrayLeaf, y: LabelsInput, options?: PredictOptions): Promise<number>
  dispose(): void
}

/** How {@link Classifier.predict} runs. */
export interface PredictOptions {
  key?: Key
  batchSize?: number
}

const isStaged = <State extends Tree, Aux>(
  method: ClassifierLearner<State, Aux> | StagedClassifier<State>,
): method is StagedClassifier<State> => 'stageCount' in method

/**
 * Fits any classifier of this package to arrays.
 *
 * @param method - a method of this package: `noProp(…)`, `augLocal(…)`, `backpropagation(…)`
 * @param X - inputs [n, ...inputShape], as the method wants them scaled
 * @param y - class indices [n]
 * @param options - `epochs` or `steps`, `batchSize`, and what else `fit` takes. Staged methods choose the length of their
 *   stages themselves: of these they take only `batchSize`, `key` or `seed`, `reporter`, `signal`, and checkpoints.
 * @throws ShapeError when X and y differ in length; DataError for labels out of range or NaN
 *
 * @example
 * ```ts
 * import { backpropagation, fitClassifier } from '@bpf/local'
 * import { mlp } from '@bpf/core/nn'
 *
 * const X = [[0, 0], [0, 1], [1, 0], [1, 1]]
 * const y = [0, 1, 1, 0]
 * const method = backpropagation({ network: mlp({ hidden: [16], outputs: 2 }), classes: 2 })
 * const model = await fitClassifier(method, X, y, { epochs: 200, batchSize: 4 })
 * console.log(await model.predict(X))
 * model.dispose()
 * ```
 */
export async function fitClassifier<State extends Tree, Aux = void>(
  method: ClassifierLearner<State, Aux> | StagedClassifier<State>,
  X: ArrayLeaf,
  y: LabelsInput,
  options: FitClassifierOptions<State> = {},
): Promise<Classifier<State>> {
  const { batchSize = 128, validation, ...rest } = options
  const examples = (x: ArrayLeaf, labels: LabelsInput) =>
    fromArrays({ x, y: readLabels(labels, 'y', { classes: method.classes }) }) as ReturnType<
      typeof fromArrays<{ x: tf.Tensor; y: Int32Array }>
    >
  const data = examples(X, y)
  if (batchSize > data.size) {
    throw new OptionError(`fitClassifier: batchSize is ${batchSize}, but there are ${data.size} examples; choose at most that many`)
  }
  const training = batch(shuffle(data), batchSize)
  if (isStaged(method)) {
    const { key, seed, reporter, signal, checkpoints, checkpointEvery, resume, ...unused } = rest
    const given = [...Object.keys(unused), ...(validation === undefined ? [] : ['validation'])]
    if (given.length > 0) {
      throw new OptionError(`fitClassifier: a staged method sets ${given.join(', ')} itself; give them to the method`)
    }
    const fitted = await fitStages(method, training, { key, seed, reporter, signal, checkpoints, checkpointEvery, resume })
    return classifierOf(method, fitted.state, [])
  }
  const held = validation === undefined ? undefined : batch(examples(validation.x, validation.y), batchSize)
  const result = await fit(method, training, { ...rest, validation: held })
  if (result.best === undefined) return classifierOf(method, result.state, result.history)
  tree.dispose(result.state.tensors)
  return classifierOf(method, result.best.state, result.history)
}

/**
 * A classifier from a method and a state, one that was saved for example.
 *
 * @param method - with the options the state was trained with
 * @param state - the classifier owns its tensors
 */
export function classifierOf<State extends Tree, Aux = void>(
  method: ClassifierLearner<State, Aux> | StagedClassifier<State>,
  state: LearnerState<State>,
  history: FitResult<State>['history'] = [],
): Classifier<State> {
  const { classes } = method
  const run = compile((tensors: State, x: tf.Tensor, key: Key) => method.predict(tensors, x, key))

  async function predictProba(X: ArrayLeaf, { key = random.key(0), batchSize = 256 }: PredictOptions = {}): Promise<Float32Array> {
    const data = fromArrays({ x: X }) as ReturnType<typeof fromArrays<{ x: tf.Tensor }>>
    const out = new Float32Array(data.size * classes)
    const size = Math.min(batchSize, data.size)
    let row = 0
    for await (const { batch: rows, weight } of batch(data, size).weightedBatches()) {
      const probabilities = run(state.tensors, rows.x, random.fold(key, row))
      const values = await probabilities.data<'float32'>()
      out.set(values.subarray(0, Math.min(values.length, out.length - row * classes)), row * classes)
      row += size
      tf.dispose([rows.x, weight, probabilities])
    }
    return out
  }

  async function predict(X: ArrayLeaf, options?: PredictOptions): Promise<Int32Array> {
    const data = await predictProba(X, options)
    return predictedLabels({ data, shape: [data.length / classes, classes] })
  }

  return {
    classes,
    state,
    history,
    predictProba,
    predict,
    async score(X, y, options) {
      const labels = readLabels(y, 'y', { classes })
      const predicted = await predict(X, options)
      if (labels.length !== predicted.length) throw new ShapeError(`score: X has ${predicted.length} rows, y ${labels.length}`)
      return predicted.reduce((count, label, i) => count + (label === labels[i] ? 1 : 0), 0) / predicted.length
    },
    dispose: () => tree.dispose(state.tensors),
  }
}
