/**
 * Reproduces Lomnitz, Daniels, Zhang and Piacentino, "Learning with Local Gradients at the Edge", 2022, arXiv 2208.08503: every
 * layer learns a fixed random projection of the label. Perceptrons, a recurrent and a convolutional network against
 * backpropagation, random feedback and frozen layers; adaptation of a frozen network to inverted images.
 */
import { random, type Key, type Tree } from '@bpf/core'
import { avgPool, dense, initializers, mlp, recurrent, sequential, tanh, type Layer } from '@bpf/core/nn'
import { sgd } from '@bpf/core/optim'
import { permutationArray } from '@bpf/core/random'
import {
  backpropagation,
  elmanCell,
  fitClassifier,
  randomFeedback,
  recurrentTargetProjectionSgd,
  retainedFloats,
  targetConv,
  targetDense,
  targetProjectionSgd,
  type BackpropagationState,
  type Classifier,
  type ClassifierLearner,
  type FeedbackRoute,
  type TargetProjectionSgdOptions,
} from '@bpf/local'
import * as tf from '@tensorflow/tfjs-core'
import { activationBytesOf } from '../activation-bytes'
import { atLeast, atMost } from '../claims'
import { imageSets, slice, type ImageSet } from '../data/image-sets'
import { hasPaperSet, paperSet, type PaperSetName } from '../data/paper-sets'
import type { Claim, Paper, PaperResults, PresetName, RunContext, SeedResult } from '../paper'

/** Perceptrons on rows of pixels. */
interface PerceptronSettings {
  /** A set from the user's folders; the images on this machine (Fashion-MNIST, else MNIST-10k) without it. */
  set?: PaperSetName
  train: number
  test: number
  hidden: readonly number[]
  batchSize: number
  epochs: number
  learningRate: number
  outputLearningRate: number
  /** Rates that DRTP is tuned over. */
  drtpRates: readonly number[]
}

/** Elman networks on the rows of small digits. */
interface SequenceSettings {
  /** The rows of MNIST from the user's folders, where they are there, in place of small digits. */
  mnist?: boolean
  train: number
  units: number
  batchSize: number
  epochs: number
  learningRate: number
  outputLearningRate: number
  projectionScale: number
  bpttRate: number
}

/** Convolutions with pooling, then dense layers. */
interface ConvolutionSettings {
  set?: PaperSetName
  train: number
  test: number
  pool: number
  channels: readonly number[]
  /** Convolutions that are followed by pooling. */
  pooled: readonly number[]
  kernelSize: number
  dense: readonly number[]
  batchSize: number
  epochs: number
  channelRate: number
  mapRate: number
  outputLearningRate: number
}

/** Adaptor layers on a frozen network. */
interface AdaptorSettings {
  train: number
  test: number
  units: number
  epochs: number
}

interface Settings {
  perceptrons: PerceptronSettings
  /** Sets from the user's folders on which all perceptrons are trained too; those that are not there are left out. */
  sets?: readonly PaperSetName[]
  sequences?: SequenceSettings
  convolutions?: readonly ConvolutionSettings[]
  adaptor?: AdaptorSettings
}

const classes = 10
const [mean, stddev] = [0.286, 0.353]
const xavier = { kernelInit: initializers.xavierUniform(), biasInit: initializers.zeros }

type Values = Record<string, number>

/** Trains on the first set and scores the second; hands the fitted model on where it is asked for. */
async function accuracyOf<State extends Tree>(
  method: ClassifierLearner<State>,
  { train, test }: { train: ImageSet; test: ImageSet },
  fitting: { epochs: number; batchSize: number; key: Key },
  context: RunContext<Settings>,
  label: string,
  use: (model: Classifier<State>) => Promise<void> = () => Promise.resolve(),
): Promise<number> {
  const model = await fitClassifier(method, train.x, train.y, { ...fitting, reporter: context.reporter(label), signal: context.signal })
  context.signal.throwIfAborted()
  const accuracy = await model.score(test.x, test.y)
  await use(model)
  model.dispose()
  return accuracy
}

const perceptron = (hidden: readonly number[]): Layer => mlp({ hidden, outputs: classes, activation: tanh(), ...xavier }) as Layer

/** Images of the user's folders, or those on this machine. */
async function imagesOf(
  { data }: RunContext<Settings>,
  { set, train, test, pool = 1 }: { set?: PaperSetName; train: number; test: number; pool?: number },
): Promise<{ train: ImageSet; test: ImageSet }> {
  if (set === undefined) return imageSets(data, { train, test, pool, mean, stddev })
  return paperSet(data, set, { train, test, mean: [mean], stddev: [stddev] })
}

const flattened = ({ x, ...rest }: ImageSet): ImageSet => ({
  ...rest,
  x: { data: x.data, shape: [x.shape[0], x.data.length / x.shape[0]] },
})

const perceptronData = async (context: RunContext<Settings>, settings: PerceptronSettings) => {
  const { train, test } = await imagesOf(context, settings)
  return { train: flattened(train), test: flattened(test) }
}

/** Exact errors, tpSGD, DRTP and frozen layers on one network; with random feedback and other targets where not only claims are asked for. */
async function runPerceptrons(context: RunContext<Settings>, settings: PerceptronSettings, prefix = 'dense'): Promise<Values> {
  const data = await perceptronData(context, settings)
  const { hidden, epochs, batchSize, learningRate, outputLearningRate, drtpRates } = settings
  const fitting = { epochs, batchSize, key: random.fold(context.key, 1) }
  const layers = hidden.map((units) => targetDense(units))
  const local = (options: Partial<TargetProjectionSgdOptions>) =>
    targetProjectionSgd({ layers, classes, learningRate, outputLearningRate, ...options, mode: 'simultaneous', onWarning: () => undefined })
  const values: Values = {}
  const measure = async <State extends Tree>(name: string, method: ClassifierLearner<State>): Promise<void> => {
    values[`${prefix}/${name}`] = await accuracyOf(method, data, fitting, context, labels[name] ?? name)
  }
  await measure('bp', backpropagation({ network: perceptron(hidden), classes, optimizer: sgd({ learningRate: outputLearningRate }) }))
  await measure('l2', local({}))
  for (const rate of drtpRates) await measure(`drtp-${rate}`, local({ localLoss: 'linear', learningRate: rate }))
  await measure('shallow', local({ learningRate: 0 }))
  if (context.onlyClaims) return values
  await measure('l2-fast', local({ learningRate: 2.5 * learningRate }))
  await measure('gaussian', local({ projection: 'gaussian', projectionScale: 0.8 }))
  await measure('auto', local({ learningRate: 'auto' }))
  await measure('l1', local({ localLoss: 'l1' }))
  await measure('huber', local({ localLoss: 'huber' }))
  await measure('cosine', local({ localLoss: 'cosine', learningRate: 0.05 }))
  const routes: Record<string, FeedbackRoute> = {
    fa: 'feedbackAlignment',
    dfa: 'directFeedbackAlignment',
    sdfa: 'signDirectFeedbackAlignment',
  }
  for (const [name, route] of Object.entries(routes)) {
    await measure(name, randomFeedback({ route, hidden, classes, learningRate: outputLearningRate }))
  }
  return values
}

/** Rows of small digits as sequences, split by a permutation of the seed. */
async function digitRows(context: RunContext<Settings>, train: number): Promise<{ train: ImageSet; test: ImageSet }> {
  const { images, labels: y, count, height, width, maxValue } = await context.data.load('digits')
  const order = permutationArray(random.fold(context.key, 2), count)
  const size = height * width
  const data = new Float32Array(count * size)
  order.forEach((from, i) => {
    for (let pixel = 0; pixel < size; pixel++) data[i * size + pixel] = images[from * size + pixel] / maxValue
  })
  const all: ImageSet = { x: { data, shape: [count, height, width] }, y: Int32Array.from(order, (from) => y[from]), classes }
  return { train: slice(all, 0, train), test: slice(all, train, count) }
}

/** Images of MNIST as sequences of 28 rows. */
async function mnistRows({ data }: RunContext<Settings>): Promise<{ train: ImageSet; test: ImageSet }> {
  const { train, test } = await paperSet(data, 'mnist')
  const rows = ({ x, ...rest }: ImageSet): ImageSet => ({ ...rest, x: { data: x.data, shape: x.shape.slice(0, 3) } })
  return { train: rows(train), test: rows(test) }
}

async function runSequences(context: RunContext<Settings>, settings: SequenceSettings): Promise<Values> {
  const { units, batchSize, epochs, learningRate, outputLearningRate, projectionScale, bpttRate } = settings
  const isMnist = settings.mnist === true && hasPaperSet(context.data, 'mnist')
  const data = isMnist ? await mnistRows(context) : await digitRows(context, settings.train)
  const fitting = { epochs, batchSize, key: random.fold(context.key, 3) }
  const local = (rate: number, target: 'every' | 'last') =>
    recurrentTargetProjectionSgd({
      cells: [elmanCell(units)],
      classes,
      target,
      learningRate: rate,
      outputLearningRate,
      projectionScale,
    })
  const values: Values = {}
  const measure = async <State extends Tree>(name: string, method: ClassifierLearner<State>): Promise<void> => {
    values[`rnn/${name}`] = await accuracyOf(method, data, fitting, context, labels[name] ?? name)
  }
  await measure('shallow', local(0, 'last'))
  await measure('l2', local(learningRate, 'last'))
  if (context.onlyClaims) return values
  await measure('every', local(learningRate, 'every'))
  const network = sequential([recurrent(elmanCell(units), { output: 'last' }) as Layer, dense(classes, xavier) as Layer]) as Layer
  await measure('bp', backpropagation({ network, classes, optimizer: sgd({ learningRate: bpttRate }) }))
  return values
}

async function runConvolutions(context: RunContext<Settings>, settings: ConvolutionSettings, prefix: string): Promise<Values> {
  const { channels, pooled, kernelSize, batchSize, epochs, outputLearningRate } = settings
  const data = await imagesOf(context, settings)
  const fitting = { epochs, batchSize, key: random.fold(context.key, 4) }
  const layersOf = (channelTarget: boolean) => [
    ...channels.map((count, i) => targetConv(count, { kernelSize, channelTarget, ...(pooled.includes(i) && { pool: avgPool(2) }) })),
    ...settings.dense.map((units) => targetDense(units)),
  ]
  const local = (options: Partial<TargetProjectionSgdOptions>, channelTarget: boolean) =>
    targetProjectionSgd({
      layers: layersOf(channelTarget),
      classes,
      outputLearningRate,
      projectionScale: 0.5,
      ...options,
      mode: 'simultaneous',
      onWarning: () => undefined,
    })
  const values: Values = {}
  const measure = async <State extends Tree>(name: string, method: ClassifierLearner<State>): Promise<void> => {
    values[`${prefix}/${name}`] = await accuracyOf(method, data, fitting, context, labels[name] ?? name)
  }
  const network = sequential([
    ...layersOf(false).flatMap(({ layer, after }) => (after === undefined ? [shaped(layer)] : [shaped(layer), after])),
    shaped(dense(classes, xavier) as Layer, true),
  ]) as Layer
  await measure('bp', backpropagation({ network, classes, optimizer: sgd({ learningRate: outputLearningRate }) }))
  await measure('shallow', local({ learningRate: 0 }, true))
  await measure('channels', local({ learningRate: settings.channelRate }, true))
  await measure('map', local({ learningRate: settings.mapRate }, false))
  return values
}

/** A layer that says its output's shape by what it computes, on rows where these are wanted. */
function shaped(layer: Layer, asRows = false): Layer {
  const input = (x: tf.Tensor): tf.Tensor => (asRows ? tf.reshape(x, [x.shape[0], -1]) : x)
  return {
    init(key, shape) {
      const made = layer.init(key, asRows ? [shape.reduce((product, n) => product * n, 1)] : shape)
      const outputShape = tf.tidy(() =>
        layer.apply(made.params, made.state, input(tf.zeros([1, ...shape])), { training: false }).y.shape.slice(1),
      )
      return { ...made, outputShape }
    },
    apply: (params, state, x, options) => layer.apply(params, state, input(x), options),
  }
}

const inverted = ({ x, y, classes: count }: ImageSet): ImageSet => ({
  // 1 − pixel before the standardisation.
  x: { data: x.data.map((value) => (1 - 2 * mean) / stddev - value), shape: x.shape },
  y,
  classes: count,
})

async function runAdaptor(context: RunContext<Settings>, perceptrons: PerceptronSettings, settings: AdaptorSettings): Promise<Values> {
  const { hidden, batchSize, outputLearningRate, learningRate } = perceptrons
  const sets = await perceptronData(context, perceptrons)
  const test = slice(sets.test, 0, Math.min(settings.test, sets.test.y.length))
  const shifted = { train: inverted(slice(sets.train, 0, settings.train)), test: inverted(test) }
  const network = perceptron(hidden)
  const method = backpropagation({ network, classes, optimizer: sgd({ learningRate: outputLearningRate }) })
  const values: Values = {}
  const training = { epochs: perceptrons.epochs, batchSize, key: random.fold(context.key, 1) }
  values['adaptor/clean'] = await accuracyOf(
    method,
    { train: sets.train, test },
    training,
    context,
    'The network to adapt',
    async (model) => {
      values['adaptor/shifted'] = await model.score(shifted.test.x, shifted.test.y)
      // All but the last layer, which is a dense one.
      const { params } = model.state.tensors as BackpropagationState & { params: readonly Tree[] }
      const trunk = (x: tf.Tensor): tf.Tensor => hiddenOutput(params, x, hidden.length)
      const fitting = { epochs: settings.epochs, batchSize, key: random.fold(context.key, 5) }
      const adapted = (units: readonly number[]) =>
        targetProjectionSgd({
          layers: units.map((width) => targetDense(width)),
          classes,
          trunk,
          learningRate,
          outputLearningRate,
          onWarning: () => undefined,
        })
      values['adaptor/adapted'] = await accuracyOf(adapted([settings.units]), shifted, fitting, context, 'Adaptor layer and head')
      if (!context.onlyClaims) values['adaptor/head'] = await accuracyOf(adapted([]), shifted, fitting, context, 'New head alone')
    },
  )
  const drop = values['adaptor/clean'] - values['adaptor/shifted']
  return { ...values, 'adaptor/recovered': (values['adaptor/adapted'] - values['adaptor/shifted']) / drop }
}

/** What the last of the hidden layers puts out. */
function hiddenOutput(params: readonly Tree[], x: tf.Tensor, layers: number): tf.Tensor {
  const affine = params.filter((part) => Object.hasOwn(part, 'kernel')) as unknown as { kernel: tf.Tensor2D; bias: tf.Tensor }[]
  return affine.slice(0, layers).reduce((a, { kernel, bias }) => tf.tanh(tf.add(tf.matMul(a as tf.Tensor2D, kernel), bias)), x)
}

const depths = [2, 5, 10] as const

/** Retained floats by arithmetic, and bytes of activations for each example measured on the trace of a step. */
function countMemory(): Values {
  const values: Values = {}
  const inputs = 784
  for (const depth of depths) {
    const hidden = Array<number>(depth).fill(256)
    const { targetProjection, backpropagation: all } = retainedFloats([inputs, ...hidden, classes])
    values[`floats/tpsgd/${depth}`] = targetProjection
    values[`floats/bp/${depth}`] = all
    values[`bytes/bp/${depth}`] = activationBytesOf(
      backpropagation({ network: perceptron(hidden), classes, optimizer: sgd({ learningRate: 0.02 }) }),
      [inputs],
    )
    values[`bytes/tpsgd/${depth}`] = activationBytesOf(
      targetProjectionSgd({ layers: hidden.map((units) => targetDense(units)), classes, learningRate: 0.001 }),
      [inputs],
    )
  }
  return values
}

const labels: Readonly<Record<string, string>> = {
  bp: 'Backpropagation',
  l2: 'tpSGD',
  'l2-fast': 'tpSGD, η × 2.5',
  gaussian: 'tpSGD, Gaussian projection (s = 0.8)',
  auto: 'tpSGD, automatic rate',
  l1: 'tpSGD, l1',
  huber: 'tpSGD, Huber',
  cosine: 'tpSGD, cosine (η 0.05)',
  fa: 'Feedback alignment',
  dfa: 'Direct feedback alignment',
  sdfa: 'Direct feedback alignment, signs',
  shallow: 'Hidden layers frozen',
  every: 'tpSGD, target at every step',
  channels: 'tpSGD, a target for each channel',
  map: 'tpSGD, a target for each position',
}

const paperSets = ['mnist', 'cifar-10'] as const satisfies readonly PaperSetName[]
const perceptronTitles: Readonly<Record<string, string>> = {
  dense: 'Perceptrons',
  'dense-mnist': 'Perceptrons, MNIST',
  'dense-cifar-10': 'Perceptrons, CIFAR-10',
}

const drtpNames = (results: PaperResults): string[] => {
  const { drtpRates } = paper.presets[results.preset].settings.perceptrons
  return drtpRates.map((rate) => `drtp-${rate}`)
}

/** The DRTP run with the best mean. */
function bestDrtp(results: PaperResults): string {
  return drtpNames(results).reduce((best, name) => (results.mean(`dense/${name}`) > results.mean(`dense/${best}`) ? name : best))
}

const large: readonly PresetName[] = ['embedded', 'full']

/** Percentage points are easier to read than differences of shares. */
const points = (difference: number): number => 100 * difference

const claims: readonly Claim[] = [
  {
    id: 'near-backpropagation',
    statement: 'With squared errors and sign projections the perceptron is at most 5 points below backpropagation.',
    reported: 'within 5 % of backpropagation on shallow networks',
    presets: large,
    check(results) {
      const gaps = Object.keys(perceptronTitles)
        .filter((prefix) => results.has(`${prefix}/l2`))
        .map((prefix) => points(results.mean(`${prefix}/l2`) - results.mean(`${prefix}/bp`)))
      return atLeast(Math.min(...gaps), -5, { of: 'points; the worst set' })
    },
  },
  {
    id: 'above-drtp',
    statement: 'It is at least 2 points above direct random target projection, whose rate is the best of three.',
    reported: 'better than other gradient-free methods',
    presets: large,
    check: (results) => atLeast(points(results.mean('dense/l2') - results.mean(`dense/${bestDrtp(results)}`)), 2, { of: 'points' }),
  },
  {
    id: 'above-frozen',
    statement: 'It is at least 2 points above the same network with hidden layers left as they were drawn.',
    presets: large,
    check: (results) => atLeast(points(results.mean('dense/l2') - results.mean('dense/shallow')), 2, { of: 'points' }),
  },
  {
    id: 'retained-floats',
    statement: 'On 784-256-256-256-256-256-10 a step keeps at most 0.6 times the activations that backpropagation keeps (counted).',
    reported: 'much less memory',
    check: (results) => atMost(results.mean('floats/tpsgd/5') / results.mean('floats/bp/5'), 0.6, { of: '× backpropagation' }),
  },
  {
    id: 'depth-free-memory',
    statement: 'Memory for activations, measured on the trace of a step, is the same for 5 and 10 hidden layers.',
    check: (results) => atMost(results.mean('bytes/tpsgd/10') / results.mean('bytes/tpsgd/5'), 1, { of: '× that of 5 layers' }),
  },
  {
    id: 'recurrent-above-frozen',
    statement: 'An Elman network with its target at the last step is at least 5 points above the same one with a frozen recurrence.',
    presets: large,
    check: (results) => atLeast(points(results.mean('rnn/l2') - results.mean('rnn/shallow')), 5, { of: 'points' }),
  },
  {
    id: 'adaptor-recovers',
    statement: 'An adaptor layer on the frozen network recovers at least half of the accuracy that inverted images cost.',
    presets: large,
    check: (results) => atLeast(results.mean('adaptor/recovered'), 0.5, { of: 'of the drop' }),
  },
]

const perceptronRates = { learningRate: 0.001, outputLearningRate: 0.02, drtpRates: [1e-4, 2.5e-4, 5e-4] }
const sequences = { units: 16, batchSize: 64, learningRate: 0.03, outputLearningRate: 0.3, projectionScale: 0.8, bpttRate: 0.1 }
const convolution = { kernelSize: 5, batchSize: 64, channelRate: 1e-6, mapRate: 1e-5, outputLearningRate: 0.1 }

const allImages = { train: 60_000, test: 10_000, pool: 1 }
const drtpTopology: ConvolutionSettings = { ...allImages, channels: [32], pooled: [0], dense: [1000], epochs: 30, ...convolution }
const vgg: ConvolutionSettings = {
  ...allImages,
  channels: [64, 128, 256, 256, 512, 512, 512, 512],
  pooled: [0, 1, 3, 5],
  dense: [],
  epochs: 10,
  ...convolution,
  kernelSize: 3,
}

export const paper: Paper<Settings> = {
  number: 21,
  slug: 'tpsgd',
  title: 'Learning with Local Gradients at the Edge',
  arxiv: '2208.08503',
  package: '@bpf/local',
  claims,
  presets: {
    quick: {
      description: 'A perceptron 784-64-64-10 on 2,000 images for 3 epochs; memory counted.',
      seeds: 1,
      seconds: 8,
      settings: { perceptrons: { train: 2000, test: 1000, hidden: [64, 64], batchSize: 64, epochs: 3, ...perceptronRates } },
    },
    embedded: {
      description:
        'Fashion-MNIST (else MNIST-10k): perceptrons 784-256-256-10 on 10,000 images, a convolution on 5,000 of 14 × 14, adaptation to inverted images; digits by rows for Elman networks.',
      seeds: 3,
      seconds: 460,
      settings: {
        perceptrons: { train: 10_000, test: 10_000, hidden: [256, 256], batchSize: 64, epochs: 8, ...perceptronRates },
        sequences: { train: 1437, epochs: 30, ...sequences },
        convolutions: [{ train: 5000, test: 2000, pool: 2, channels: [16], pooled: [0], dense: [], epochs: 5, ...convolution }],
        adaptor: { train: 2000, test: 2000, units: 256, epochs: 20 },
      },
    },
    full: {
      description:
        'All of Fashion-MNIST, and of MNIST and CIFAR-10 where they are in your data folder: a perceptron of 1,000 units, the DRTP topology (32 × 5 × 5, dense 1000), a VGG of eight convolutions; Elman networks on rows of MNIST, else of small digits.',
      seeds: 3,
      seconds: 60_000,
      settings: {
        perceptrons: { train: 60_000, test: 10_000, hidden: [1000], batchSize: 100, epochs: 100, ...perceptronRates },
        sets: paperSets,
        sequences: { mnist: true, train: 1437, epochs: 200, ...sequences },
        convolutions: [undefined, ...paperSets].flatMap((set) => [
          { ...drtpTopology, set },
          { ...vgg, set },
        ]),
        adaptor: { train: 10_000, test: 10_000, units: 256, epochs: 20 },
      },
    },
  },
  async run(context) {
    const { perceptrons, sets = [], sequences: rows, convolutions = [], adaptor } = context.settings
    const parts: Values[] = []
    const part = async (name: string, compute: () => Promise<Values> | Values): Promise<void> => {
      context.signal.throwIfAborted()
      parts.push(await context.part(name, async () => compute()))
    }
    await part('memory', countMemory)
    await part('perceptrons', () => runPerceptrons(context, perceptrons))
    if (rows !== undefined) await part('sequences', () => runSequences(context, rows))
    if (adaptor !== undefined) await part('adaptor', () => runAdaptor(context, perceptrons, adaptor))
    for (const set of sets.filter((name) => hasPaperSet(context.data, name))) {
      await part(`perceptrons-${set}`, () => runPerceptrons(context, { ...perceptrons, set }, `dense-${set}`))
    }
    if (!context.onlyClaims) {
      const there = convolutions.filter(({ set }) => set === undefined || hasPaperSet(context.data, set))
      for (const settings of there) {
        const prefix = `conv${settings.channels.length > 1 ? '2' : ''}${settings.set === undefined ? '' : `-${settings.set}`}`
        await part(prefix, () => runConvolutions(context, settings, prefix))
      }
    }
    return { values: Object.assign({}, ...parts) as Values } satisfies SeedResult
  },
  tables(results) {
    const accuracy = { key: 'accuracy', label: 'test accuracy', better: 'higher' as const }
    const methods = [...Object.keys(labels), ...drtpNames(results)]
    const label = (name: string): string => (name.startsWith('drtp-') ? `DRTP (η ${name.slice(5)})` : (labels[name] ?? name))
    const table = (prefix: string, title: string, note?: string) => {
      const rows = methods
        .filter((name) => results.has(`${prefix}/${name}`))
        .map((name) => ({ method: label(name), accuracy: results.summary(`${prefix}/${name}`) }))
      return rows.length === 0 ? [] : [{ id: prefix, title, columns: [{ key: 'method', label: 'method' }, accuracy], rows, note }]
    }
    const adaptation = [
      ['clean', 'before the shift'],
      ['shifted', 'inverted images'],
      ['adapted', 'with an adaptor layer and a new head, tpSGD'],
      ['head', 'with a new head alone'],
    ]
    const adaptor = {
      id: 'adaptor',
      title: 'A frozen network on inverted images',
      note: 'The claim is about the adaptor layer with its head. The head alone is the control: what it recovers is not owed to target projection.',
      columns: [{ key: 'state', label: '' }, accuracy],
      rows: adaptation
        .filter(([name]) => results.has(`adaptor/${name}`))
        .map(([name, state]) => ({ state, accuracy: results.summary(`adaptor/${name}`) })),
    }
    const memory = {
      id: 'memory',
      title: 'Activations that a step keeps for each example, by depth (hidden layers of 256 units)',
      columns: [
        { key: 'quantity', label: '' },
        ...depths.map((depth) => ({ key: String(depth), label: `${depth} hidden layers`, digits: 0 })),
      ],
      rows: [
        ['floats/tpsgd', 'tpSGD, floats by arithmetic'],
        ['floats/bp', 'backpropagation, floats by arithmetic'],
        ['bytes/tpsgd', 'tpSGD, bytes on the trace'],
        ['bytes/bp', 'backpropagation, bytes on the trace'],
      ].map(([name, quantity]) => ({
        quantity,
        ...Object.fromEntries(depths.map((depth) => [String(depth), results.mean(`${name}/${depth}`)])),
      })),
      note: 'Floats count input and logits; bytes do not count the input, but targets and errors of the layer at hand.',
    }
    return [
      ...table(
        'dense',
        'Perceptrons',
        'Feedback alignment and its direct forms send the error of the output down; DRTP and tpSGD see the label alone. Only DRTP has a claim here: compare with the others too.',
      ),
      ...table(
        'rnn',
        'Elman networks on rows of digits',
        'The gap to backpropagation through time is open: the abstract does not say what closes it.',
      ),
      ...table(
        'conv',
        'A convolution and a classifier',
        'A shared kernel cannot reach a target for each position; training towards one costs accuracy.',
      ),
      ...table('conv2', 'A VGG'),
      ...Object.entries(perceptronTitles)
        .slice(1)
        .flatMap(([prefix, title]) => table(prefix, title)),
      ...paperSets.flatMap((set) => [
        ...table(`conv-${set}`, `A convolution and a classifier, ${set}`),
        ...table(`conv2-${set}`, `A VGG, ${set}`),
      ]),
      ...(adaptor.rows.length > 0 ? [adaptor] : []),
      memory,
    ]
  },
  figures(results) {
    const names = ['bp', 'l2', 'gaussian', 'l1', 'huber', 'cosine', 'fa', 'dfa', 'sdfa', bestDrtp(results), 'shallow']
    const accuracies = names
      .filter((name) => results.has(`dense/${name}`))
      .flatMap((name) =>
        results.summary(`dense/${name}`).each.map((accuracy) => ({ method: labels[name] ?? 'DRTP, best of three rates', accuracy })),
      )
    const memory = depths.flatMap((layers) =>
      [
        ['tpsgd', 'tpSGD'],
        ['bp', 'backpropagation'],
      ].map(([name, method]) => ({ method, layers, bytes: results.mean(`bytes/${name}/${layers}`) })),
    )
    return [
      {
        id: 'accuracy',
        title: 'Test accuracy of the perceptron, each seed a point',
        caption: 'Layers that learn projected targets come close to backpropagation and are clearly above frozen layers.',
        spec: {
          data: { values: accuracies },
          mark: { type: 'point', filled: true, size: 60 },
          encoding: {
            x: { field: 'accuracy', type: 'quantitative', scale: { zero: false }, title: 'test accuracy' },
            y: { field: 'method', type: 'nominal', sort: '-x', title: null },
          },
        },
      },
      {
        id: 'memory-by-depth',
        title: 'Memory for activations by depth',
        caption: 'Target projection needs the activations of one layer at a time; backpropagation keeps all of them.',
        spec: {
          data: { values: memory },
          mark: { type: 'line', point: true },
          encoding: {
            x: { field: 'layers', type: 'quantitative', title: 'hidden layers' },
            y: { field: 'bytes', type: 'quantitative', title: 'bytes per example' },
            color: { field: 'method', type: 'nominal', title: 'method' },
          },
        },
      },
    ]
  },
}
