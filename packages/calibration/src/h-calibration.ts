/**
 * Huang, Cao, Xia, Chen, Wang, Zhang: "h-Calibration: Rethinking Classifier Recalibration with Probabilistic
 * Error-Bounded Objective", IEEE TPAMI 2025, arXiv 2506.17968. Reference code: WenjianHuang93/h-Calibration.
 *
 * Order-preserving maps of the logits are trained with the h-calibration loss ({@link hCalibrationLossArrays}): Adam, the learning rate
 * halved when the training ECE stalls, early stopping on it, and for each selector (a training-set metric) the best epoch kept.
 * Among candidate maps the selector also chooses the map. Nothing is ever selected on test data.
 */
import {
  DataError,
  fit,
  OptionError,
  ShapeError,
  tree,
  type Dataset,
  type Json,
  type Learner,
  type LearnerState,
  type StepInfo,
} from '@bpf/core'
import { batch, fromArrays, shuffle, type LabelsInput } from '@bpf/core/data'
import { adam, applyUpdates, type AdamState } from '@bpf/core/optim'
import { fold, key as makeKey, permutationArray, type Key } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { calibrationMetrics } from './calibration-metrics'
import {
  checkMap,
  initMap,
  makeMapCalibrator,
  mapPullback,
  mapTensors,
  mapTransform,
  mapTree,
  mapVector,
  paperCalibrationMaps,
  standardisation,
  type CalibrationMap,
  type MapCalibrator,
  type MapParameters,
  type Standardisation,
} from './calibration-maps'
import { hCalibrationLossArrays, type HCalibrationLossOptions } from './h-calibration-loss'
import { openFitData, positiveInteger, type FitCalibratorOptions, type FitData } from './shared/calibrator'
import { forEachBlock, logitFloor, logSoftmaxRows, type Rows } from './shared/rows'

/** Training-set metrics by which epoch and map are selected. */
type SelectorMetric = 'dECE' | 'CWECE_a' | 'NLL' | 'ECE_ew'

/** How epoch and map are selected: by a training-set metric; 'last' is the last epoch, of several maps the one of least ECE_ew then. */
export type HCalibrationSelector = SelectorMetric | 'last'

const metricSelectors: readonly SelectorMetric[] = ['dECE', 'CWECE_a', 'NLL', 'ECE_ew']

/** Options of {@link hCalibration}. */
export interface HCalibrationOptions extends Omit<HCalibrationLossOptions, 'key' | 'centroids'> {
  /** Number of classes K. */
  classes: number
  /** The map to train. Default pwlinear with 100 segments. */
  map?: CalibrationMap
  /** What to minimise: the paper's loss, or the negative log-likelihood to compare with. Default 'hCalibration'. */
  objective?: 'hCalibration' | 'nll'
  /** Adam's learning rate at the start. Default 0.005. */
  learningRate?: number
  /** Factor of the learning rate when the training ECE stalls. Default 0.5. */
  plateauFactor?: number
  /** Epochs without progress before that. Default 20, for nonlinear maps 40. */
  plateauPatience?: number
  /** Epochs without progress before `host.stop` is set. Default 160. */
  stopPatience?: number
  /** Bins of the training metrics. Default 15. */
  bins?: number
  /** Events (rows × classes) of one step at most; of a larger batch rows are drawn by the step's key. Default 1,000,000. */
  maxEvents?: number
}

/** A batch: logits `x` float32 [n, K] and labels `y` int32 [n]. */
export type HCalibrationBatch = { x: tf.Tensor; y: tf.Tensor }

/** What the learner trains. */
export type HCalibrationState = {
  map: MapParameters
  optimizer: AdamState
  /** Scalar; changed by the plateau schedule. */
  learningRate: tf.Tensor
  /** [2] mean and standard deviation of the normalised logits of the calibration data. */
  standard: tf.Tensor
}

/** The best epoch by one selector. */
type BestEpoch = { value: number; epoch: number; parameters: Float64Array }

/** Host state between epochs. */
type HostState = {
  /** Epochs without progress of the training ECE, for the schedule and for stopping. */
  plateau: { best: number | null; waited: number }
  waited: number
  stop: boolean
  best: { [selector: string]: BestEpoch }
}

/** Relative improvement that counts as progress for the plateau schedule, as in PyTorch. */
const plateauThreshold = 1e-4

/** z − logsumexp z of a batch, minus infinities clipped. */
function normalisedLogits(x: tf.Tensor2D): tf.Tensor2D {
  return tf.logSoftmax(tf.maximum(x, logitFloor)) as tf.Tensor2D
}

function checkBatch({ x, y }: HCalibrationBatch, classes: number): void {
  if (x.rank !== 2 || x.shape[1] !== classes) throw new ShapeError(`batch.x: expected logits [n, ${classes}], got [${x.shape.join(', ')}]`)
  if (y.rank !== 1 || y.shape[0] !== x.shape[0])
    throw new ShapeError(`batch.y: expected labels [${x.shape[0]}], got [${y.shape.join(', ')}]`)
}

/** Logits and labels of a batch on the host; rows drawn by key where the batch has more events than allowed. */
function hostBatch({ x, y }: HCalibrationBatch, maxEvents: number, key: Key): { z: Float64Array; labels: Int32Array } {
  const [rows, classes] = x.shape as [number, number]
  const keep = Math.min(rows, Math.max(1, Math.floor(maxEvents / classes)))
  const chosen = keep < rows ? permutationArray(key, rows).slice(0, keep).sort() : undefined
  const logits = x.dataSync()
  const all = y.dataSync()
  const z = new Float64Array(keep * classes)
  const labels = new Int32Array(keep)
  for (let i = 0; i < keep; i++) {
    const row = chosen === undefined ? i : chosen[i]
    labels[i] = all[row]
    for (let k = 0; k < classes; k++) z[i * classes + k] = Math.max(logitFloor, logits[row * classes + k])
  }
  logSoftmaxRows(z, keep, classes)
  return { z, labels }
}

/** Mean of −ln p_y and its derivative by the probabilities. */
function negativeLogLikelihood(probs: Float64Array, labels: Int32Array, classes: number): { loss: number; gradient: Float64Array } {
  const gradient = new Float64Array(probs.length)
  let loss = 0
  labels.forEach((label, row) => {
    const own = row * classes + label
    const p = Math.max(probs[own], 1e-300)
    loss -= Math.log(p) / labels.length
    gradient[own] = -1 / (p * labels.length)
  })
  return { loss, gradient }
}

/** All rows of a dataset, as logits and labels on the host. */
async function readDataset(
  dataset: Dataset<HCalibrationBatch>,
  classes: number,
  signal: AbortSignal | undefined,
): Promise<{ logits: Float32Array; labels: Int32Array }> {
  const logits: Float32Array[] = []
  const labels: Int32Array[] = []
  for await (const { batch: rows, weight } of dataset.weightedBatches({ signal })) {
    const [x, y, w] = await Promise.all([rows.x.data(), rows.y.data(), weight.data()])
    tree.dispose(rows, weight)
    const count = Array.from(w).reduce((sum, value) => sum + value, 0)
    logits.push((x as Float32Array).slice(0, count * classes))
    labels.push(Int32Array.from(y.slice(0, count)))
  }
  return { logits: concatenate(logits, Float32Array), labels: concatenate(labels, Int32Array) }
}

function concatenate<T extends Float32Array | Int32Array>(chunks: readonly T[], make: new (length: number) => T): T {
  if (chunks.length === 1) return chunks[0]
  const whole = new make(chunks.reduce((sum, chunk) => sum + chunk.length, 0))
  let offset = 0
  for (const chunk of chunks) {
    whole.set(chunk, offset)
    offset += chunk.length
  }
  return whole
}

/**
 * h-calibration as a learner: one map, trained with the h-calibration loss.
 *
 * The learner's host state keeps, for each selector, the best epoch's parameters; `fitHCalibration` reads them and stops when
 * `stop` is set. The loss sorts on the host, so a step reads its values and runs eagerly, in double precision.
 *
 * @throws OptionError for options out of range
 * @see arXiv 2506.17968
 */
export function hCalibration(options: HCalibrationOptions): Learner<HCalibrationState, HCalibrationBatch, Standardisation> {
  const {
    classes,
    map = { type: 'pwlinear', segments: 100 },
    objective = 'hCalibration',
    learningRate = 0.005,
    plateauFactor = 0.5,
    plateauPatience = map.type === 'nonlinear' ? 40 : 20,
    stopPatience = 160,
    bins = 15,
    maxEvents = 1_000_000,
    ...loss
  } = options
  checkMap(map)
  if (!Number.isInteger(classes) || classes < 2) throw new OptionError(`classes: expected an integer of at least 2, got ${classes}`)
  if (!(learningRate > 0)) throw new OptionError(`learningRate: expected a positive number, got ${learningRate}`)
  if (!(plateauFactor > 0 && plateauFactor <= 1))
    throw new OptionError(`plateauFactor: expected a number above 0 and at most 1, got ${plateauFactor}`)
  if (objective !== 'hCalibration' && objective !== 'nll')
    throw new OptionError(`objective: expected 'hCalibration' or 'nll', got '${String(objective)}'`)
  for (const [name, value] of Object.entries({ plateauPatience, stopPatience, bins, maxEvents })) positiveInteger(value, name)
  // The rate is part of the state, so that the plateau schedule can change it: Adam makes unit steps.
  const optimizer = adam({ learningRate: 1 })

  const lossOf = (probs: Float64Array, labels: Int32Array, key: Key): { loss: number; gradient: Float64Array } =>
    objective === 'nll' ? negativeLogLikelihood(probs, labels, classes) : hCalibrationLossArrays(probs, labels, { ...loss, classes, key })

  return {
    // The loss sorts and sums on the host.
    traceable: false,
    async prepare(dataset, _key, { signal }) {
      const { logits, labels } = await readDataset(dataset, classes, signal)
      return standardisation({ rows: labels.length, classes, data: logits })
    },
    init(key, sample, aux) {
      checkBatch(sample, classes)
      const parameters = initMap(map, key)
      const host: HostState = { plateau: { best: null, waited: 0 }, waited: 0, stop: false, best: {} }
      return {
        tensors: {
          map: parameters,
          optimizer: optimizer.init(parameters),
          learningRate: tf.scalar(learningRate),
          standard: tf.tensor1d([aux.mean, aux.std]),
        },
        host,
      }
    },
    step(tensors, whole, key) {
      checkBatch(whole, classes)
      return tree.tidy(() => {
        const { z, labels } = hostBatch(whole, maxEvents, fold(key, 0))
        const [mean, std] = tensors.standard.dataSync()
        const { probs, pullback } = mapPullback(map, mapVector(map, tensors.map), { mean, std }, z, classes)
        const value = lossOf(probs, labels, fold(key, 1))
        const grads = mapTree(map, pullback(value.gradient))
        const { updates, state } = optimizer.update(grads, tensors.optimizer, tensors.map)
        const scaled = tree.map((update) => tf.mul(update, tensors.learningRate), updates)
        return {
          tensors: { ...tensors, map: applyUpdates(tensors.map, scaled), optimizer: state },
          metrics: { loss: tf.scalar(value.loss) },
        }
      })
    },
    afterStep: {
      every: 'epoch',
      run: (state, info) => afterEpoch(state, info, { classes, map, bins, plateauFactor, plateauPatience, stopPatience }),
    },
    evaluate(tensors, { x, y }, weight) {
      checkBatch({ x, y }, classes)
      return tree.tidy(() => {
        const probs = mapTensors(map, tensors.map, normalisedLogits(x as tf.Tensor2D), tensors.standard)
        const truth = tf.oneHot(y as tf.Tensor1D, classes)
        const own = tf.sum(tf.mul(probs, truth), 1)
        const hit = tf.cast(tf.equal(tf.argMax(probs, 1), y), 'float32')
        const total = (values: tf.Tensor): tf.Tensor => tf.sum(tf.mul(values, weight))
        const nll = tf.neg(tf.log(tf.maximum(own, 1e-30)))
        const brier = tf.sum(tf.square(tf.sub(probs, truth)), 1)
        return { sums: { nll: total(nll), brier: total(brier), accuracy: total(hit) }, count: tf.sum(weight) }
      })
    },
    predict: (tensors, x) => tree.tidy(() => mapTensors(map, tensors.map, normalisedLogits(x as tf.Tensor2D), tensors.standard)),
  }
}

interface EpochSettings {
  classes: number
  map: CalibrationMap
  bins: number
  plateauFactor: number
  plateauPatience: number
  stopPatience: number
}

/** Measures the training set, keeps the best parameters by each selector, and moves the schedule on. */
async function afterEpoch(
  state: LearnerState<HCalibrationState>,
  info: StepInfo<HCalibrationBatch>,
  settings: EpochSettings,
): Promise<LearnerState<HCalibrationState>> {
  const { classes, map, bins } = settings
  const host = state.host as unknown as HostState
  const { logits, labels } = await readDataset(info.dataset, classes, info.signal)
  const parameters = mapVector(map, state.tensors.map)
  const [mean, std] = await state.tensors.standard.data()
  const transform = mapTransform(map, parameters, { mean, std }, classes)
  const probs = new Float32Array(logits.length)
  forEachBlock({ rows: labels.length, classes, data: logits }, (block, start, count) => {
    transform(block, count)
    probs.set(block.subarray(0, count * classes), start * classes)
  })
  const metrics = calibrationMetrics(probs, labels, { classes, bins, metrics: metricSelectors })
  const next = advance(host, metrics, info.epoch, parameters, settings)
  const tensors = next.reduceRate
    ? { ...state.tensors, learningRate: tf.tidy(() => tf.mul(state.tensors.learningRate, settings.plateauFactor)) }
    : state.tensors
  return { tensors, host: next.host as unknown as Json }
}

function advance(
  host: HostState,
  metrics: Record<SelectorMetric, number>,
  epoch: number,
  parameters: Float64Array,
  { plateauPatience, stopPatience }: EpochSettings,
): { host: HostState; reduceRate: boolean } {
  const ece = metrics.ECE_ew
  const best: HostState['best'] = { ...host.best, last: { value: ece, epoch, parameters } }
  for (const selector of metricSelectors) {
    const value = metrics[selector]
    if (!Number.isNaN(value) && !(value >= (best[selector]?.value ?? Infinity))) best[selector] = { value, epoch, parameters }
  }
  const stalled = host.plateau.best !== null && !(ece < host.plateau.best * (1 - plateauThreshold))
  let plateau = stalled ? { best: host.plateau.best, waited: host.plateau.waited + 1 } : { best: ece, waited: 0 }
  const reduceRate = plateau.waited > plateauPatience
  if (reduceRate) plateau = { ...plateau, waited: 0 }
  const waited = best.ECE_ew?.epoch === epoch ? 0 : host.waited + 1
  return { host: { plateau, waited, stop: waited >= stopPatience, best }, reduceRate }
}

/** Options of {@link fitHCalibration}. */
export interface FitHCalibrationOptions extends FitCalibratorOptions, Omit<HCalibrationOptions, 'classes' | 'map'> {
  /**
   * Candidate maps, of which `selector` chooses. Default: the paper's 12 ({@link paperCalibrationMaps}), without 500 segments
   * below 3000 rows, where they over-fit. The nonlinear ones take long; name one map for a quick fit.
   */
  maps?: readonly CalibrationMap[]
  /**
   * Training metric by which map and epoch are chosen: dECE for the top label, CWECE_a for all classes, NLL for
   * proper scores. Default 'dECE'.
   */
  selector?: HCalibrationSelector
  /** Epochs at most for each map. Default 2000. */
  epochs?: number
  /** Rows of one step. Default: all rows up to 25,000. */
  batchSize?: number
  /** All randomness: start values, order of rows, subsets. Alternatively `seed`. Default seed 0. */
  key?: Key
  seed?: number
}

/** One trained candidate. */
export interface HCalibrationCandidate {
  readonly map: CalibrationMap
  /** Epochs trained. */
  readonly epochs: number
  /** For each selector the best training value, and the epoch it was reached in (from 0). */
  readonly best: Readonly<Partial<Record<HCalibrationSelector, { value: number; epoch: number }>>>
  /** Mean training loss of each epoch. */
  readonly losses: readonly number[]
}

/** What {@link fitHCalibration} returns. */
export interface HCalibrator extends MapCalibrator {
  readonly selector: HCalibrationSelector
  readonly candidates: readonly HCalibrationCandidate[]
  /** The calibrator that another selector chooses among the trained maps and epochs. @throws OptionError when it was never defined */
  select(selector: HCalibrationSelector): MapCalibrator
}

/** M for few events: min(200, 2 ⌊N K / 40⌋). */
function windowFor(data: FitData, given: number | undefined): number {
  const events = data.rows * data.classes
  const small = Math.min(200, 2 * Math.floor(events / 40))
  if (given !== undefined) return given
  if (small < 2) {
    throw new DataError(
      `logits: ${data.rows} rows × ${data.classes} classes are too few events for any window; give at least ${Math.ceil(40 / data.classes)} rows`,
    )
  }
  if (small < 200) data.warn(`window: ${events} events (rows × classes) are few; windows of ${small} + 1 in place of 201`)
  return small
}

/**
 * Fits h-calibration: trains every candidate map and keeps map and epoch that are best by a training-set metric.
 *
 * @param logits - [N, K] of held-out examples
 * @param labels - [N] class indices
 * @returns a calibrator that never changes the ranking of a row's classes
 * @throws ShapeError, DataError for malformed or too little data; OptionError for options out of range, such as an odd window
 * @see arXiv 2506.17968
 *
 * @example
 * ```ts
 * const calibrator = await fitHCalibration(logits, labels, { maps: [{ type: 'pwlinear', segments: 100 }], epochs: 200, learningRate: 0.02 })
 * const probabilities = calibrator.apply(testLogits)
 * ```
 */
export async function fitHCalibration(logits: Rows, labels: LabelsInput, options: FitHCalibrationOptions = {}): Promise<HCalibrator> {
  const {
    maps,
    selector = 'dECE',
    epochs = 2000,
    batchSize,
    key,
    seed,
    classes: _classes,
    onWarning: _onWarning,
    signal,
    onProgress,
    ...learning
  } = options
  if (selector !== 'last' && !metricSelectors.includes(selector))
    throw new OptionError(`selector: expected one of ${metricSelectors.join(', ')} or last, got '${String(selector)}'`)
  if (key !== undefined && seed !== undefined) throw new OptionError('key, seed: give one of them, not both')
  positiveInteger(epochs, 'epochs')
  const { window: givenWindow } = learning
  if (givenWindow !== undefined && (!Number.isInteger(givenWindow) || givenWindow < 2 || givenWindow % 2 !== 0)) {
    throw new OptionError(`window must be even and at least 2, got ${givenWindow}`)
  }
  const data = openFitData(logits, labels, options)
  const { rows, classes } = data
  if (rows < 2 * classes) data.warn(`logits: ${rows} rows are few for ${classes} classes; expected at least ${2 * classes}`)
  const window = windowFor(data, givenWindow)
  if (rows * classes < window + 1) {
    throw new OptionError(
      `window: ${rows * classes} events (rows × classes) do not fill one window of ${window} + 1; leave window out or give more rows`,
    )
  }
  const size = Math.min(rows, positiveInteger(batchSize ?? 25_000, 'batchSize'))
  const maxEvents = learning.maxEvents ?? 1_000_000
  if (size * classes > maxEvents) {
    data.warn(
      `maxEvents: a step of ${size} rows × ${classes} classes has more than ${maxEvents} events; ${Math.max(1, Math.floor(maxEvents / classes))} rows are drawn for each step`,
    )
  }
  const candidates = maps ?? paperCalibrationMaps.filter((map) => rows >= 3000 || !(map.type === 'pwlinear' && map.segments > 100))
  if (candidates.length === 0) throw new OptionError('maps: expected at least one calibration map')
  candidates.forEach(checkMap)

  const dataset = trainingSet(data, size)
  const root = key ?? makeKey(seed ?? 0)
  const trained: Trained[] = []
  for (const [i, map] of candidates.entries()) {
    const learner = hCalibration({ leaveOneClassOut: classes < 1000, ...learning, classes, map, window })
    const progress = (done: number): void => onProgress?.({ done: i * epochs + done, total: candidates.length * epochs })
    trained.push(await trainOne(learner, map, dataset, { epochs, key: fold(root, i), signal, progress }))
  }
  onProgress?.({ done: candidates.length * epochs, total: candidates.length * epochs })
  return choose(trained, selector, data, standardisation(data))
}

/** Rows as shuffled batches: ties in p are ordered by the rows, so their order changes from epoch to epoch. */
function trainingSet(data: FitData, size: number): Dataset<HCalibrationBatch> {
  const values = data.data instanceof Float32Array ? data.data : Float32Array.from(data.data)
  const examples = fromArrays({
    x: { data: values, shape: [data.rows, data.classes] },
    y: { data: data.labels, shape: [data.rows], dtype: 'int32' },
  })
  return batch(shuffle(examples), size) as unknown as Dataset<HCalibrationBatch>
}

interface Trained extends HCalibrationCandidate {
  readonly host: HostState
}

async function trainOne(
  learner: Learner<HCalibrationState, HCalibrationBatch, Standardisation>,
  map: CalibrationMap,
  dataset: Dataset<HCalibrationBatch>,
  options: { epochs: number; key: Key; signal: AbortSignal | undefined; progress: (done: number) => void },
): Promise<Trained> {
  const { epochs, key, signal, progress } = options
  signal?.throwIfAborted()
  const controller = new AbortController()
  const forward = (): void => controller.abort(signal?.reason)
  signal?.addEventListener('abort', forward, { once: true })
  const { afterStep } = learner
  const stopping: typeof learner = {
    ...learner,
    afterStep: {
      every: 'epoch',
      async run(state, info) {
        const next = await (afterStep as NonNullable<typeof afterStep>).run(state, info)
        progress(info.epoch + 1)
        if ((next.host as unknown as HostState).stop) controller.abort()
        return next
      },
    },
  }
  try {
    const result = await fit(stopping, dataset, { epochs, key, signal: controller.signal })
    tree.dispose(result.state.tensors)
    signal?.throwIfAborted()
    const host = result.state.host as unknown as HostState
    const best = Object.fromEntries(Object.entries(host.best).map(([name, { value, epoch }]) => [name, { value, epoch }]))
    return { map, epochs: result.history.length, best, losses: result.history.map(({ metrics }) => metrics.loss), host }
  } finally {
    signal?.removeEventListener('abort', forward)
  }
}

function choose(trained: readonly Trained[], selector: HCalibrationSelector, data: FitData, standard: Standardisation): HCalibrator {
  const select = (by: HCalibrationSelector): MapCalibrator => {
    const measured = trained.filter(({ host }) => host.best[by] !== undefined)
    if (measured.length === 0) {
      throw new OptionError(
        `selector: ${by} was never defined on these ${data.rows} rows (too few for its bins); select by ECE_ew or NLL, or use fewer bins`,
      )
    }
    const winner = measured.reduce((least, one) => (one.host.best[by].value < least.host.best[by].value ? one : least))
    return makeMapCalibrator(data.classes, winner.map, Float64Array.from(winner.host.best[by].parameters), standard, data.warnings)
  }
  const candidates = trained.map(({ map, epochs, best, losses }) => ({ map, epochs, best, losses }))
  return { ...select(selector), selector, candidates, select }
}
