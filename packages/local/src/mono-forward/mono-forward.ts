/**
 * Mono-Forward: Gong, Li, Abdulla, "Mono-Forward: Backpropagation-Free Algorithm for Efficient Neural Network Training
 * Harnessing Local Errors", 2025, arXiv 2501.09238, and its version in Spyra and Dzwinel, "Beyond Backpropagation", 2025,
 * arXiv 2511.01061 (code Przemyslaw11/BeyondBackpropagation).
 *
 * Each layer projects its activity to class scores by a matrix that it learns, and is trained by their cross-entropy:
 *
 *   a_i = ReLU(W_i a_{i−1} + b_i),  G_i = M_i a_i,  loss_i = CE(softmax(G_i), y),  a_{i−1} constant.
 *
 * The study trains layer after layer (`greedy`), the paper all layers on the same minibatch (`simultaneous`). In both a layer
 * is updated before the next one goes forward, so only one layer's activity is alive at a time.
 */
import { logSoftmax, OptionError, ShapeError, softmaxCrossEntropy, tree, valueAndGradWithAux, type Key, type Tree } from '@bpf/core'
import type { ArrayLeaf, LabelsInput } from '@bpf/core/data'
import { initializers } from '@bpf/core/nn'
import { adam, applyUpdates, type Optimizer } from '@bpf/core/optim'
import { fold, split } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { fitCascade, stagedCascade, type Cascade, type CascadeClassifier, type CascadeFitOptions } from '../shared/cascade'
import { checkClasses, checkExamples, classificationSums, type ClassifierLearner, type StagedClassifier } from '../shared/labelled'
import { localLearner, type LocalState } from '../shared/local-learner'
import { checkWidths, rowsOf } from '../shared/rows'

/** W_iᵀ [in, out], b_i [out] and M_iᵀ [out, C]. */
export type MonoForwardLayer = { kernel: tf.Tensor; bias: tf.Tensor; projection: tf.Tensor }

/** `input` holds M_0ᵀ [d, C] where it was asked for; optimizer states are there for the simultaneous schedule only. */
export type MonoForwardState = { input: Tree; layers: readonly MonoForwardLayer[]; optimizers: readonly Tree[] }

/** Options of {@link monoForward}. */
export interface MonoForwardOptions {
  /** Widths of the layers. Default two of 1000, as for MNIST. */
  hidden?: readonly number[]
  /** Number of classes C ≥ 2. */
  classes: number
  /** Layer after layer (default) or all on the same minibatch. */
  schedule?: 'greedy' | 'simultaneous'
  /** Scores that decide: G_L (default) or Σ_{i≥1} G_i. */
  prediction?: 'last' | 'sum'
  /** Each layer has its own state of it. Default Adam with rate 1.57e-3. */
  optimizer?: Optimizer
  /** Trains M_0 on the inputs too, to compare with; it is no part of predictions. Default: in the greedy schedule. */
  inputProjection?: boolean
  /** Greedy: passes over the data for each layer, at most. Default 14. */
  epochsPerLayer?: number
  /** Greedy: examples whose local loss ends a layer's training early. */
  validation?: { x: ArrayLeaf; y: LabelsInput }
  /** Greedy: epochs that the validation loss may go without falling. Default 5. */
  patience?: number
  /** Greedy: a fall that counts. Default 1e-4; `fitStages` counts every fall, and keeps the best weights in place of the last. */
  minDelta?: number
  /** Takes images [n, h, w, c] as rows. Default false. */
  flatten?: boolean
}

/** What the layers say. */
interface MonoForwardScores {
  /** G_1 … G_L (G_0 first, where it is trained) [n, layers, C]. */
  layerScores(tensors: MonoForwardState, x: tf.Tensor): tf.Tensor
}

const where = 'monoForward'

/** a_i of a layer. */
function activity({ kernel, bias }: MonoForwardLayer, x: tf.Tensor): tf.Tensor {
  return tf.relu(tf.add(tf.matMul(x as tf.Tensor2D, kernel as tf.Tensor2D), bias))
}

function product(a: tf.Tensor, projection: tf.Tensor): tf.Tensor {
  return tf.matMul(a as tf.Tensor2D, projection as tf.Tensor2D)
}

/** loss_i, its gradients, and a_i. */
export function monoForwardLayer(layer: MonoForwardLayer, x: tf.Tensor, y: tf.Tensor) {
  const { value, grads, aux } = valueAndGradWithAux((at: MonoForwardLayer) => {
    const a = activity(at, x)
    return { loss: tf.mean(softmaxCrossEntropy(y, product(a, at.projection))), aux: a }
  })(layer)
  return { loss: value, grads, activity: aux }
}

type Settings = Required<Omit<MonoForwardOptions, 'validation'>> & Pick<MonoForwardOptions, 'validation'>

function readOptions({
  hidden = [1000, 1000],
  classes,
  schedule = 'greedy',
  prediction = 'last',
  optimizer = adam({ learningRate: 1.57e-3 }),
  inputProjection = schedule === 'greedy',
  epochsPerLayer = 14,
  validation,
  patience = 5,
  minDelta = 1e-4,
  flatten = false,
}: MonoForwardOptions): Settings {
  checkClasses(where, classes)
  checkWidths(where, 'hidden', hidden)
  for (const [name, value] of Object.entries({ epochsPerLayer, patience })) {
    if (!Number.isInteger(value) || value < 1) throw new OptionError(`${where}: ${name} must be a positive integer, got ${value}`)
  }
  if (!(minDelta >= 0)) throw new OptionError(`${where}: minDelta must be at least 0, got ${minDelta}`)
  return {
    hidden,
    classes,
    schedule,
    prediction,
    optimizer,
    inputProjection,
    epochsPerLayer,
    validation,
    patience,
    minDelta,
    flatten,
  }
}

/** W, b and M of all layers: W and M uniform on ±1/√fanIn, b = 0. */
function initState(settings: Settings, key: Key, x: tf.Tensor): MonoForwardState {
  const { hidden, classes, inputProjection, optimizer, schedule } = settings
  const inputs = rowsOf(where, x, settings.flatten).shape[1]
  const input: Tree = inputProjection ? { projection: initializers.torchDefault(fold(key, 0), [inputs, classes]) } : {}
  const layers = hidden.map((width, i): MonoForwardLayer => {
    const [kernelKey, projectionKey] = split(fold(key, i + 1), 2)
    return {
      kernel: initializers.torchDefault(kernelKey, [i === 0 ? inputs : hidden[i - 1], width]),
      bias: tf.zeros([width]),
      projection: initializers.torchDefault(projectionKey, [width, classes]),
    }
  })
  const trained: readonly Tree[] = inputProjection ? [input, ...layers] : layers
  return { input, layers, optimizers: schedule === 'simultaneous' ? trained.map((part) => optimizer.init(part)) : [] }
}

function inputRows(x: tf.Tensor, { layers }: MonoForwardState, flatten: boolean): tf.Tensor2D {
  const rows = rowsOf(where, x, flatten)
  const inputs = layers[0].kernel.shape[0]
  if (rows.shape[1] !== inputs) throw new ShapeError(`${where}: expected rows of ${inputs} values, got x of shape [${x.shape.join(', ')}]`)
  return rows
}

/** G_1 … G_L, or the last alone. */
function hiddenScores(layers: readonly MonoForwardLayer[], rows: tf.Tensor, which: 'all' | 'last'): tf.Tensor[] {
  const scores: tf.Tensor[] = []
  let a = rows
  for (const [i, layer] of layers.entries()) {
    a = activity(layer, a)
    if (which === 'all' || i === layers.length - 1) scores.push(product(a, layer.projection))
  }
  return scores
}

type InputProjection = { projection: tf.Tensor }

function makeScores(settings: Settings) {
  const { prediction, flatten, inputProjection } = settings
  return {
    decisive: (tensors: MonoForwardState, x: tf.Tensor): tf.Tensor =>
      tf.addN(hiddenScores(tensors.layers, inputRows(x, tensors, flatten), prediction === 'sum' ? 'all' : 'last')),
    layerScores: (tensors: MonoForwardState, x: tf.Tensor): tf.Tensor =>
      tf.tidy(() => {
        const rows = inputRows(x, tensors, flatten)
        const first = inputProjection ? [product(rows, (tensors.input as InputProjection).projection)] : []
        return tf.stack([...first, ...hiddenScores(tensors.layers, rows, 'all')], 1)
      }),
  }
}

function greedyCascade(settings: Settings): Cascade<MonoForwardState> {
  const { hidden, classes, optimizer, inputProjection, epochsPerLayer, patience, minDelta, validation, flatten } = settings
  // Stage k trains layer k − before; the projection of the inputs, where there is one, comes first.
  const before = inputProjection ? 1 : 0
  return {
    where,
    classes,
    stages: [...(inputProjection ? ['input projection'] : []), ...hidden.map((_, i) => `layer ${i + 1}`)],
    init: (key, sample) => initState(settings, key, sample.x),
    advance(k, state, x) {
      if (k === 0) return inputRows(x, state, flatten)
      const finished = k - 1 - before
      return finished < 0 ? x : activity(state.layers[finished], x)
    },
    stage(k, state) {
      const index = k - before
      const shared = { epochs: epochsPerLayer, patience, minDelta }
      if (index < 0) {
        return {
          learner: localLearner(
            () => tree.clone(state.input as InputProjection),
            ({ projection }, x) => product(x, projection),
            optimizer,
          ) as never,
          ...shared,
          finish: (inner) => ({ ...state, input: (inner as LocalState).params }),
        }
      }
      return {
        learner: localLearner(
          () => tree.clone(state.layers[index]),
          (layer, x) => product(activity(layer, x), layer.projection),
          optimizer,
        ) as never,
        ...shared,
        finish: (inner) => ({
          ...state,
          layers: state.layers.map((layer, i) => (i === index ? ((inner as LocalState).params as MonoForwardLayer) : layer)),
        }),
      }
    },
    validation,
    predict: (tensors, x) => tf.softmax(makeScores(settings).decisive(tensors, x)),
  }
}

function simultaneous(settings: Settings): ClassifierLearner<MonoForwardState> {
  const { classes, optimizer, inputProjection, flatten } = settings
  const { decisive } = makeScores(settings)
  return {
    classes,
    prepare: (data, _, options) => checkExamples(where, data, classes, options),
    init: (key, sample) => ({ tensors: initState(settings, key, sample.x), host: null }),
    step(tensors, { x, y }) {
      return tree.tidy(() => {
        let a: tf.Tensor = inputRows(x, tensors, flatten)
        const metrics: Record<string, tf.Tensor> = {}
        const optimizers: Tree[] = []
        function update<P extends Tree>(params: P, grads: P): P {
          const { updates, state } = optimizer.update(grads, tensors.optimizers[optimizers.length], params)
          optimizers.push(state)
          return applyUpdates(params, updates)
        }
        let input: Tree = {}
        if (inputProjection) {
          const { value, grads } = valueAndGradWithAux(({ projection }: InputProjection) => ({
            loss: tf.mean(softmaxCrossEntropy(y, product(a, projection))),
            aux: [],
          }))(tensors.input as InputProjection)
          input = update(tensors.input as InputProjection, grads)
          metrics.layer0 = value
        }
        const layers = tensors.layers.map((layer, i) => {
          const local = monoForwardLayer(layer, a, y)
          a = local.activity
          metrics[`layer${i + 1}`] = local.loss
          return update(layer, local.grads)
        })
        metrics.loss = tf.addN(layers.map((_, i) => metrics[`layer${i + 1}`]))
        return { tensors: { input, layers, optimizers }, metrics }
      })
    },
    evaluate: (tensors, { x, y }, weight) => tree.tidy(() => classificationSums(logSoftmax(decisive(tensors, x)), y, weight)),
    predict: (tensors, inputs) => tf.tidy(() => tf.softmax(decisive(tensors, inputs as tf.Tensor))),
  }
}

/**
 * Mono-Forward training of a perceptron. Greedy it is a staged method, simultaneous a learner with the metrics `loss` (the sum
 * over layers), `layer1` … `layerL` (and `layer0` with `inputProjection`). {@link fitMonoForward} trains the greedy one faster.
 *
 * @returns a method for `fitClassifier`; of the greedy schedule for `fitStages`, of the simultaneous one for `fit`
 * @throws OptionError for options out of range; ShapeError for images without `flatten`
 *
 * @example
 * ```ts
 * const method = monoForward({ hidden: [256, 256], classes: 10, schedule: 'simultaneous' })
 * const model = await fitClassifier(method, X, y, { epochs: 10 })
 * ```
 */
export function monoForward(
  options: MonoForwardOptions & { schedule: 'simultaneous' },
): ClassifierLearner<MonoForwardState> & MonoForwardScores
export function monoForward(options: MonoForwardOptions & { schedule?: 'greedy' }): StagedClassifier<MonoForwardState> & MonoForwardScores
export function monoForward(
  options: MonoForwardOptions,
): (ClassifierLearner<MonoForwardState> | StagedClassifier<MonoForwardState>) & MonoForwardScores {
  const settings = readOptions(options)
  const { layerScores } = makeScores(settings)
  if (settings.schedule === 'simultaneous') return { ...simultaneous(settings), layerScores }
  return { ...stagedCascade(greedyCascade(settings)), layerScores }
}

/**
 * Greedy Mono-Forward on arrays: the activity of finished layers is computed once per layer, not once per step, and training
 * of a layer stops as in the study: when the validation loss has not fallen by `minDelta` for `patience` epochs, with the
 * weights of that moment.
 *
 * @param X - inputs [n, d], or images with `flatten`
 * @param y - class indices [n]
 * @returns a classifier, and what each stage did
 * @throws DataError for labels out of range or values that are not finite
 */
export async function fitMonoForward(
  options: MonoForwardOptions & { schedule?: 'greedy' },
  X: ArrayLeaf,
  y: LabelsInput,
  fitting: CascadeFitOptions = {},
): Promise<CascadeClassifier<MonoForwardState>> {
  return fitCascade(greedyCascade(readOptions(options)), X, y, fitting)
}
