/**
 * Training of a denoiser by regression on one of the equivalent targets: the simple loss of DDPM (Ho et al. 2020, arXiv
 * 2006.11239), denoising score matching, v-prediction, conditional flow matching (Lipman et al. 2023, arXiv 2210.02747) and EDM's
 * preconditioned loss (Karras et al. 2022, arXiv 2206.00364).
 */
import { DataError, OptionError, stopGradient, tree, valueAndGradWithAux, type Key, type Learner, type Tree } from '@bpf/core'
import { emaUpdate, type Layer, type UNetInput } from '@bpf/core/nn'
import { adam, applyUpdates, type Optimizer } from '@bpf/core/optim'
import { fold, normal, randint, uniform } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { edmPrecondition, type Denoiser } from './denoiser'
import { edmWeight, type LossWeight } from './losses'
import { checkOutput, checkPrediction, convertPrediction, predictionTarget, type Prediction } from './prediction'
import { addNoise, type Process } from './process'
import { dropLabels, labelOf } from './shared/labels'
import { meanPerSample } from './shared/maths'

/**
 * Data [n, ...dims]; class indices [n] (int32) of a class-conditional network; and, where data are coupled with their noise (reflow,
 * minibatch optimal transport), that noise, as x.
 */
export type DenoisingBatch =
  | { x: tf.Tensor }
  | { x: tf.Tensor; label: tf.Tensor }
  | { x: tf.Tensor; noise: tf.Tensor }
  | { x: tf.Tensor; label: tf.Tensor; noise: tf.Tensor }

/** Parameters, their moving average, layer and optimizer state, and the number of steps. */
export type DenoisingState = { params: Tree; average: Tree; network: Tree; optimizer: Tree; step: tf.Tensor }

/** Draws the training times of a batch, [n], in the process's units. Traceable. */
export type TimeSampler = (key: Key, n: number, process: Process) => tf.Tensor

/** t uniform in [from, tMax]. Default `from`: 1e-5 where tMin is above it, else tMin. */
export function uniformTimes({ from, to }: { from?: number; to?: number } = {}): TimeSampler {
  return (key, n, process) => {
    const low = from ?? (process.tMin > 1e-5 ? 1e-5 : process.tMin)
    return tf.add(tf.mul(uniform(key, [n]), (to ?? process.tMax) - low), low)
  }
}

/** The times of a discrete process, each index equally often. */
export function indexTimes(): TimeSampler {
  return (key, n, process) => {
    if (process.steps === undefined) throw new OptionError(`indexTimes: needs a discrete process, got '${process.name}'`)
    const index = randint(key, [n], { low: 0, high: process.steps })
    return tf.div(tf.add(tf.cast(index, 'float32'), 1), process.steps)
  }
}

/** EDM's ln σ ~ N(mean, stddev²), for processes whose time is σ. */
export function logNormalTimes({ mean = -1.2, stddev = 1.2 }: { mean?: number; stddev?: number } = {}): TimeSampler {
  return (key, n) => tf.exp(normal(key, [n], { mean, stddev }))
}

/** t = sigmoid(N(mean, stddev²)), then shifted to s t/(1 + (s − 1) t). @throws OptionError unless the shift is positive */
export function logitNormalTimes({
  mean = 0,
  stddev = 1,
  shift = 1,
}: { mean?: number; stddev?: number; shift?: number } = {}): TimeSampler {
  if (!(shift > 0)) throw new OptionError(`logitNormalTimes: shift must be positive, got ${shift}`)
  return (key, n) => {
    const t = tf.sigmoid(normal(key, [n], { mean, stddev }))
    return shift === 1 ? t : tf.div(tf.mul(t, shift), tf.add(tf.mul(t, shift - 1), 1))
  }
}

/** Options of {@link denoising}. */
export interface DenoisingOptions {
  process: Process
  /**
   * From `{ x, time, label? }` to the prediction, of the shape of x: `timeMlp()`, core's `unet()`, or one of your own. When it
   * samples, `time` is [1], to be broadcast.
   */
  network: Layer<Tree, Tree, UNetInput>
  /** What the network predicts. `edm` wraps it in EDM's preconditioning, which predicts x0. Default eps. */
  prediction?: Prediction | 'edm'
  /** From the process's times to the network's; default unchanged (EDM: ¼ ln σ). */
  timeInput?: (t: tf.Tensor) => tf.Tensor
  /** Default {@link uniformTimes}; for `edm` {@link logNormalTimes}. */
  times?: TimeSampler
  /** Weight of each sample's squared error. Default 1; for `edm` EDM's. */
  weight?: LossWeight
  /** Memory of the moving average of the parameters, with the warm-up (1 + n)/(10 + n). Default 0.9999. */
  emaDecay?: number
  /** σ_d of `edm`. Default 0.5. */
  sigmaData?: number
  /** The label of no class, for guidance without a classifier; labels are replaced by it with probability `labelDropout`. */
  nullLabel?: number
  /** Default 0.1 where there is a `nullLabel`. */
  labelDropout?: number
  /** γ of input perturbation (Ning et al. 2023, arXiv 2301.11706): x_t is made with ε + γ ξ. Default 0. */
  inputPerturbation?: number
  /** What stands for x0 in the target, from x_t and t: a teacher's, as in progressive distillation. Default x0 itself. */
  dataTarget?: (x: tf.Tensor, t: tf.Tensor) => tf.Tensor
  /** Default Adam with rate 1e-3. */
  optimizer?: Optimizer
}

/** A learner of a denoiser, and the denoiser of a state. */
export type DenoisingLearner = Omit<Learner<DenoisingState, DenoisingBatch>, 'predict'> & {
  readonly process: Process
  readonly prediction: Prediction
  /** The trained model, to be sampled from. The condition is `{ label }`. */
  denoiser(tensors: Pick<DenoisingState, 'params' | 'average' | 'network'>, options?: { average?: boolean }): Denoiser
}

/**
 * Learns a denoiser: draws t and ε, and regresses the network's prediction at x_t = α x0 + σ ε on its target,
 * loss = mean of weight(t) ‖target − prediction‖²/D.
 *
 * @returns a learner for `fit`; `denoiser(state.tensors)` is the model, by default with the averaged parameters
 * @throws OptionError for an unknown prediction, a decay outside of [0, 1) or a dropout outside of [0, 1]
 */
export function denoising(options: DenoisingOptions): DenoisingLearner {
  const {
    process,
    network,
    emaDecay = 0.9999,
    sigmaData = 0.5,
    nullLabel,
    labelDropout = nullLabel === undefined ? 0 : 0.1,
    inputPerturbation = 0,
    dataTarget,
  } = options
  const optimizer: Optimizer = options.optimizer ?? adam({ learningRate: 1e-3 })
  const isEdm = options.prediction === 'edm'
  const prediction: Prediction = options.prediction === 'edm' ? 'x0' : (options.prediction ?? 'eps')
  checkPrediction('denoising', prediction)
  const times = options.times ?? (isEdm ? logNormalTimes() : uniformTimes())
  const timeInput = options.timeInput ?? ((t: tf.Tensor) => t)
  if (!(emaDecay >= 0 && emaDecay < 1)) throw new OptionError(`denoising: emaDecay must be in [0, 1), got ${emaDecay}`)
  if (!(labelDropout >= 0 && labelDropout <= 1)) throw new OptionError(`denoising: labelDropout must be in [0, 1], got ${labelDropout}`)
  if (labelDropout > 0 && nullLabel === undefined) {
    throw new OptionError('denoising: labelDropout needs nullLabel, the label that stands for no class (network.nullLabel)')
  }

  const model = (params: Tree, state: Tree, apply: { training: boolean; key?: Key }, onState?: (next: Tree) => void): Denoiser => {
    const call = (x: tf.Tensor, time: tf.Tensor, condition: Tree | undefined): tf.Tensor => {
      const label = labelOf(condition)
      const result = network.apply(params, state, label === undefined ? { x, time } : { x, time, label }, apply)
      onState?.(result.state)
      checkOutput('denoising', result.y, x)
      return result.y
    }
    if (isEdm) return edmPrecondition((x, noise, condition) => call(x, timeInput(noise), condition), process, { sigmaData })
    return { process, prediction, predict: (x, t, condition) => call(x, timeInput(t), condition) }
  }

  /** Squared error of each sample, weighted, [n]. */
  const losses = (denoiser: Denoiser, batch: DenoisingBatch, key: Key, dropout: number): tf.Tensor => {
    const { x } = batch
    const n = x.shape[0]
    const t = times(fold(key, 0), n, process)
    const epsilon = 'noise' in batch ? batch.noise : normal(fold(key, 1), x.shape)
    const noise = inputPerturbation === 0 ? epsilon : tf.add(epsilon, normal(fold(key, 3), x.shape, { stddev: inputPerturbation }))
    const at = process.coefficientTensors(t)
    const label = labelOf(batch)
    const kept = label === undefined || dropout === 0 ? label : dropLabels(label, nullLabel as number, dropout, fold(key, 2))
    const noised = addNoise(process, x, noise, t)
    const output = denoiser.predict(noised, t, kept === undefined ? undefined : { label: kept })
    const target =
      dataTarget === undefined
        ? predictionTarget(prediction, x, epsilon, at)
        : convertPrediction(stopGradient(dataTarget(noised, t)), 'x0', prediction, noised, at)
    const error = meanPerSample(tf.squaredDifference(target, output))
    const weight = options.weight ?? (isEdm ? edmWeight({ sigmaData }) : undefined)
    return weight === undefined ? error : tf.mul(error, weight(at, prediction))
  }

  return {
    process,
    prediction,
    denoiser: (tensors, { average = true } = {}) => ({
      ...model(average ? tensors.average : tensors.params, tensors.network, { training: false }),
      // Layers of core's U-Net and the perceptrons here broadcast one time over the batch.
      sharedTime: true,
    }),
    prepare: (data, _, { signal }) => checkData(data, signal),
    init(key, sample) {
      const { params, state } = network.init(key, { x: sample.x.shape.slice(1), time: [] })
      const tensors = {
        params,
        average: tree.clone(params),
        network: state,
        optimizer: optimizer.init(params),
        step: tf.scalar(0, 'int32'),
      }
      return { tensors, host: null }
    },
    step(tensors, batch, key) {
      return tree.tidy(() => {
        const { value, grads, aux } = valueAndGradWithAux((params: Tree) => {
          let next = tensors.network
          const denoiser = model(params, tensors.network, { training: true, key: fold(key, 10) }, (state) => (next = state))
          return { loss: tf.mean(losses(denoiser, batch, key, labelDropout)), aux: next }
        })(tensors.params)
        const { updates, state } = optimizer.update(grads, tensors.optimizer, tensors.params)
        const params = applyUpdates(tensors.params, updates)
        const average = emaUpdate(tensors.average, params, { decay: emaDecay, step: tensors.step as tf.Scalar })
        const next = { params, average, network: aux, optimizer: state, step: tf.add(tensors.step, tf.scalar(1, 'int32')) }
        return { tensors: next, metrics: { loss: value } }
      })
    },
    evaluate: (tensors, batch, weight, key) =>
      tree.tidy(() => {
        const denoiser = model(tensors.average, tensors.network, { training: false })
        const each = losses(denoiser, batch, key, 0)
        return { sums: { loss: tf.sum(tf.where(tf.greater(weight, 0), each, tf.zerosLike(each))) }, count: tf.sum(weight) }
      }),
  }
}

async function checkData(
  data: Parameters<NonNullable<Learner<DenoisingState, DenoisingBatch>['prepare']>>[0],
  signal?: AbortSignal,
): Promise<void> {
  let row = 0
  for await (const { batch, weight } of data.weightedBatches({ signal })) {
    const values = await batch.x.data()
    const n = batch.x.shape[0]
    const bad = values.findIndex((value) => !Number.isFinite(value))
    tf.dispose([batch as unknown as tf.TensorContainer, weight])
    if (bad >= 0)
      throw new DataError(
        `denoising: x is ${values[bad]} in example ${row + Math.floor((bad * n) / values.length)}; expected finite values`,
      )
    row += n
  }
}
