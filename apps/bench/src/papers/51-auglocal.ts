/**
 * Reproduces Ma, Wu, Si and Tan, "Scaling Supervised Local Learning with Augmented Auxiliary Networks", ICLR 2024, arXiv
 * 2402.17318: residual networks whose layers are trained in isolation, with helpers of several depths, against
 * backpropagation, plain local learning and the paper's rivals; and the activations that are alive at a time.
 */
import { account, activationBytes, compile, fit, tree, type Dataset, type Key } from '@bpf/core'
import { batch, fromArrays, map, shuffle } from '@bpf/core/data'
import { cosine, sgd, type Optimizer, type Schedule } from '@bpf/core/optim'
import { fold, key as rootKey } from '@bpf/core/random'
import {
  augLocal,
  augLocalSchedule,
  backpropagation,
  classifierOf,
  dglAuxiliary,
  infoProAuxiliary,
  localLearning,
  poolingAuxiliary,
  predSimAuxiliary,
  residualLayers,
  type ClassifierLearner,
  type LabelledBatch,
  type LocalLearner,
  type LocalLearningState,
} from '@bpf/local'
import * as tf from '@tensorflow/tfjs-core'
import { atLeast, atMost } from '../claims'
import { augmentation } from '../data/augmentation'
import { imageSets, type ImageSet } from '../data/image-sets'
import { foundPaperSets, paperSet, type PaperSetName } from '../data/paper-sets'
import type { Paper, PaperResults, RunContext, SeedResult, Series } from '../paper'

/** A network on one set. */
interface NetworkSettings {
  /** Before the names of its results; empty for the first. */
  prefix?: string
  /** Grey images on this machine, or a set from the user's folders. */
  data: { train: number; test: number; pool: number } | PaperSetName
  /** Of the stem and of each residual block; the stride is 2 where the width grows. */
  widths: readonly number[]
  batchSize: number
  epochs: number
  learningRate: number
  /** A cosine over all steps, or the paper's rate by epoch, which starts low. */
  schedule: 'cosine' | 'paper'
  /** Random crops after padding by so many pixels, and flips. Default none. */
  augment?: { padding: number; flip: boolean }
  /** d of the helpers. */
  depths: readonly number[]
  /** Rivals that no claim reads, on the first so many seeds. */
  rivals: { names: readonly Rival[]; seeds: number }
}

/** In the full preset those networks whose sets are in the user's folders. */
type Settings = { networks: readonly NetworkSettings[] }

type Rival = 'dgl' | 'predsim' | 'infopro' | 'sequential' | 'repetitive'

/** What inputs were standardised with. */
interface Scale {
  mean: number | readonly number[]
  stddev: number | readonly number[]
}

const grey = { mean: 0.286, stddev: 0.3 }
const bytes = (values: readonly number[]): number[] => values.map((value) => value / 255)
const colour: Readonly<Partial<Record<PaperSetName, { mean: readonly number[]; stddev: readonly number[] }>>> = {
  'cifar-10': { mean: bytes([125.3, 123, 113.9]), stddev: bytes([63, 62.1, 66.7]) },
  svhn: { mean: [0.5, 0.5, 0.5], stddev: [0.5, 0.5, 0.5] },
  'stl-10': { mean: [0.5, 0.5, 0.5], stddev: [0.5, 0.5, 0.5] },
}

interface Images {
  train: ImageSet
  test: ImageSet
  scale: Scale
  /** A black pixel after standardising, by channel. */
  black: readonly number[]
}

async function images(context: RunContext<Settings>, { data }: NetworkSettings): Promise<Images> {
  if (typeof data === 'string') {
    const { mean, stddev } = colour[data] ?? { mean: [0.5], stddev: [0.5] }
    const sets = await paperSet(context.data, data, { mean, stddev })
    return { ...sets, scale: { mean, stddev }, black: mean.map((value, c) => -value / stddev[c]) }
  }
  const { train, test } = await imageSets(context.data, { ...data, ...grey })
  return { train, test, scale: grey, black: [-grey.mean / grey.stddev] }
}

type Method = ClassifierLearner<LocalLearningState> & Partial<Pick<LocalLearner, 'exits'>>

/** Every method of a preset by name: `bp`, `plain`, `d1` …, and the rivals. */
function methodsOf({ widths, depths }: NetworkSettings, scale: Scale, optimizer: Optimizer): Record<string, () => Method> {
  const layers = residualLayers(widths)
  const shared = { layers, classes: 10, optimizer }
  const deep = depths.map((dMax): [string, () => Method] => [`d${dMax}`, () => augLocal({ ...shared, dMax })])
  const rival = (auxiliary: Parameters<typeof localLearning>[0]['auxiliary']) => () => localLearning({ ...shared, auxiliary })
  const network = augLocal({ ...shared, modules: 1 }).network
  return {
    bp: () => backpropagation({ network, classes: 10, optimizer }) as unknown as Method,
    plain: rival(poolingAuxiliary()),
    ...Object.fromEntries(deep),
    dgl: rival(dglAuxiliary()),
    predsim: rival(predSimAuxiliary()),
    infopro: rival(infoProAuxiliary(scale)),
    sequential: () => augLocal({ ...shared, dMax: Math.max(...depths), selection: 'sequential' }),
    repetitive: () => augLocal({ ...shared, dMax: Math.max(...depths), selection: 'repetitive' }),
  }
}

function rateOf({ schedule, learningRate, epochs }: NetworkSettings, stepsPerEpoch: number): Schedule {
  if (schedule === 'paper') return augLocalSchedule({ learningRate, epochs, stepsPerEpoch })
  return cosine({ from: learningRate, steps: epochs * stepsPerEpoch })
}

/** Trains one method and tests it, with the accuracy after every layer where there are helpers. */
async function trained(
  context: RunContext<Settings>,
  { prefix = '', batchSize, epochs, augment }: NetworkSettings,
  name: string,
  method: Method,
  { train, test, black }: Images,
  key: Key,
) {
  const examples: Dataset<LabelledBatch> = batch(shuffle(fromArrays({ x: train.x, y: train.y })), batchSize)
  const { state } = await fit(method, augment ? map(examples, augmentation({ ...augment, background: black })) : examples, {
    epochs,
    key,
    reporter: context.reporter(`${prefix}${labels[name] ?? name}`),
    signal: context.signal,
    stepsPerCall: 1,
  })
  const model = classifierOf(method, state)
  const accuracy = await model.score(test.x, test.y)
  const exits = method.exits === undefined ? [] : await exitAccuracies(method as LocalLearner, state.tensors, test)
  model.dispose()
  return { accuracy, exits }
}

/** Accuracy on the test images after every layer. */
async function exitAccuracies(method: LocalLearner, tensors: LocalLearningState, { x, y, classes }: ImageSet): Promise<number[]> {
  const size = Math.min(500, y.length)
  const run = compile((state: LocalLearningState, images: tf.Tensor) => method.exits(state, images))
  const correct = new Array<number>(tensors.modules.length).fill(0)
  const step = x.data.length / y.length
  const rows = y.length - (y.length % size)
  for (let from = 0; from < rows; from += size) {
    const input = tf.tensor(x.data.subarray(from * step, (from + size) * step), [size, ...x.shape.slice(1)])
    const exits = run(tensors, input)
    for (const [layer, exit] of exits.entries()) {
      const values = await exit.data<'float32'>()
      for (let i = 0; i < size; i++) {
        const scores = values.subarray(i * classes, (i + 1) * classes)
        if (scores.indexOf(Math.max(...scores)) === y[from + i]) correct[layer]++
      }
    }
    tree.dispose(exits, input)
  }
  return correct.map((count) => count / rows)
}

/** What a training step needs: bytes of activations for each example, multiply-adds for each example, parameters. */
function costs(method: Method, { x }: ImageSet): { bytes: number; multiplyAdds: number; parameters: number } {
  const zeros = (n: number): LabelledBatch => ({ x: tf.zeros([n, ...x.shape.slice(1)]), y: tf.zeros([n], 'int32') })
  const sample = zeros(2)
  const { tensors } = method.init(rootKey(0), sample, undefined)
  const step = (state: LocalLearningState, data: LabelledBatch) => method.step(state, data, rootKey(0))
  const made: LabelledBatch[] = [sample]
  const argsOf = (n: number): [LocalLearningState, LabelledBatch] => {
    made.push(zeros(n))
    return [tensors, made[made.length - 1]]
  }
  const bytes = activationBytes(step, argsOf)
  const { multiplyAdds } = account(step, ...argsOf(64))
  const parameters = 'modules' in tensors ? tensors.modules.map(({ params }) => params) : [(tensors as { params: tf.Tensor[] }).params]
  const size = parameters.reduce((sum, params) => sum + tree.size(params), 0)
  tree.dispose(tensors, ...made)
  return { bytes, multiplyAdds: multiplyAdds / 64, parameters: size }
}

const labels: Readonly<Record<string, string>> = {
  bp: 'backpropagation',
  plain: 'plain local (pooling and a dense layer)',
  d1: 'AugLocal, d = 1',
  d2: 'AugLocal, d = 2',
  d3: 'AugLocal, d = 3',
  d5: 'AugLocal, d = 5',
  dgl: 'DGL',
  predsim: 'PredSim',
  infopro: 'InfoPro',
  sequential: 'AugLocal, helpers of the layers that follow',
  repetitive: 'AugLocal, helpers of copies of the layer',
  d9: 'AugLocal, d = 9',
}

async function runNetwork(context: RunContext<Settings>, settings: NetworkSettings): Promise<SeedResult> {
  const { onlyClaims, seed } = context
  const { prefix = '' } = settings
  const data = await images(context, settings)
  const stepsPerEpoch = Math.floor(data.train.y.length / settings.batchSize)
  const learningRate = rateOf(settings, stepsPerEpoch)
  const all = methodsOf(settings, data.scale, sgd({ learningRate, momentum: 0.9, nesterov: true, weightDecay: 1e-4 }))
  const claimed = ['bp', 'plain', ...settings.depths.map((d) => `d${d}`)]
  const names = [...claimed, ...(onlyClaims || seed >= settings.rivals.seeds ? [] : settings.rivals.names)]
  const values: Record<string, number> = {}
  const series: Record<string, Series> = {}
  for (const name of names) {
    // All methods get the same key: the same first network, the same order of batches.
    const { accuracy, exits } = await context.part(`${prefix}${name}`, () =>
      trained(context, settings, name, all[name](), data, fold(context.key, 1)),
    )
    values[`${prefix}accuracy/${name}`] = accuracy
    if (exits.length > 0) series[`${prefix}exits/${name}`] = exits
    if (seed > 0) continue
    // They depend on the network only.
    const cost = await context.part(`${prefix}${name}-costs`, () => Promise.resolve(costs(all[name](), data.train)))
    for (const [quantity, value] of Object.entries(cost)) values[`${prefix}${quantity}/${name}`] = value
  }
  context.log(values)
  return { values, series }
}

async function run(context: RunContext<Settings>): Promise<SeedResult> {
  const { networks } = context.settings
  const wanted = networks.flatMap(({ data }) => (typeof data === 'string' ? [data] : []))
  const found = wanted.length > 0 ? foundPaperSets(context.data, [...new Set(wanted)]) : []
  const results: SeedResult[] = []
  for (const settings of networks) {
    if (typeof settings.data === 'string' && !found.includes(settings.data)) continue
    results.push(await runNetwork(context, settings))
  }
  return {
    values: Object.assign({}, ...results.map(({ values }) => values)) as Record<string, number>,
    series: Object.assign({}, ...results.map(({ series }) => series ?? {})) as Record<string, Series>,
  }
}

const measuredNames = (results: PaperResults, prefix = ''): string[] =>
  Object.keys(labels).filter((name) => results.has(`${prefix}accuracy/${name}`))

function claim(id: string, statement: string, better: string, worse: string, margin: number, reported?: string) {
  const sign = margin < 0 ? '−' : '+'
  return {
    id,
    statement,
    presets: ['embedded'] as const,
    ...(reported !== undefined && { reported }),
    check: (results: PaperResults) =>
      atLeast(results.mean(`accuracy/${better}`), results.mean(`accuracy/${worse}`) + margin, {
        of: `${labels[worse]} ${sign} ${Math.abs(margin)}`,
      }),
  }
}

const embeddedWidths = [8, 8, 8, 16, 16, 16, 32, 32]
/** Widths of the stem and of n blocks in each of three stages. */
const cifarWidths = (n: number): number[] => [16, ...[16, 32, 64].flatMap((width) => Array<number>(n).fill(width))]

const resnet32: NetworkSettings = {
  data: 'cifar-10',
  widths: cifarWidths(5),
  batchSize: 1024,
  epochs: 400,
  learningRate: 0.8,
  schedule: 'paper',
  augment: { padding: 4, flip: true },
  depths: [2, 5],
  rivals: { names: ['dgl', 'predsim', 'infopro', 'sequential', 'repetitive'], seeds: 1 },
}
const rivalNames = { names: ['dgl', 'predsim', 'infopro'], seeds: 1 } as const

/** Networks of the paper on CIFAR-sized images; the first has no prefix. */
const paperNetworks: readonly NetworkSettings[] = [
  resnet32,
  { ...resnet32, prefix: 'cifar-10-resnet-110/', widths: cifarWidths(18), depths: [3, 9], rivals: rivalNames },
  { ...resnet32, prefix: 'svhn/', data: 'svhn', augment: { padding: 2, flip: false }, rivals: rivalNames },
  {
    ...resnet32,
    prefix: 'stl-10/',
    data: 'stl-10',
    batchSize: 128,
    learningRate: 0.1,
    rivals: rivalNames,
  },
]
const titles: Readonly<Record<string, string>> = {
  '': 'Accuracy on test images, and what a training step costs',
  'cifar-10-resnet-110/': 'ResNet-110 on CIFAR-10',
  'svhn/': 'ResNet-32 on SVHN',
  'stl-10/': 'ResNet-32 on STL-10',
}

export const paper: Paper<Settings> = {
  number: 51,
  slug: 'auglocal',
  title: 'Scaling Supervised Local Learning with Augmented Auxiliary Networks',
  arxiv: '2402.17318',
  package: '@bpf/local',
  claims: [
    claim(
      'd3-against-plain',
      'Helpers of up to three blocks (d = 3) are at least 4 points more accurate than local learning with pooling and a dense layer.',
      'd3',
      'plain',
      0.04,
    ),
    claim('d1-against-plain', 'So are helpers of a single block (d = 1).', 'd1', 'plain', 0.04),
    claim(
      'd3-against-d1',
      'Deeper helpers (d = 3) are at most 2 points less accurate than single blocks after so few epochs.',
      'd3',
      'd1',
      -0.02,
    ),
    claim(
      'd3-against-backpropagation',
      'Training every layer in isolation with d = 3 is at most 3 points less accurate than backpropagation.',
      'd3',
      'bp',
      -0.03,
      'CIFAR-10, ResNet-110: backpropagation about 94–95 %, AugLocal with d = 9 about 93–94 %',
    ),
    {
      id: 'activation-memory',
      statement:
        'Activations alive at a time in a training step (d = 3, counted on the trace) are at most 0.65 of those of backpropagation.',
      presets: ['quick', 'embedded'],
      reported: 'about 40 % less GPU memory',
      check: (results) => atMost(results.mean('bytes/d3') / results.mean('bytes/bp'), 0.65, { of: 'of backpropagation' }),
    },
    {
      id: 'resnet32-against-backpropagation',
      statement: 'A ResNet-32 of 16 isolated layers with d = 5 is on every set at most 1.5 points less accurate than backpropagation.',
      presets: ['full'],
      check(results) {
        const gaps = Object.keys(titles)
          .filter((prefix) => results.has(`${prefix}accuracy/d5`))
          .map((prefix) => results.mean(`${prefix}accuracy/d5`) - results.mean(`${prefix}accuracy/bp`))
        return atLeast(Math.min(...gaps), -0.015, { of: 'of d = 5 over backpropagation; the worst set' })
      },
    },
  ],
  presets: {
    quick: {
      description: 'Eight layers on 640 Fashion-MNIST images (else MNIST) of 14 × 14, one epoch; memory as in the embedded preset.',
      seeds: 1,
      seconds: 12,
      settings: {
        networks: [
          {
            data: { train: 640, test: 500, pool: 2 },
            widths: embeddedWidths,
            batchSize: 64,
            epochs: 1,
            learningRate: 0.05,
            schedule: 'cosine',
            depths: [3],
            rivals: { names: [], seeds: 0 },
          },
        ],
      },
    },
    embedded: {
      description:
        'A stem and seven residual blocks on 6,000 Fashion-MNIST images (else MNIST) of 14 × 14, 4 epochs: backpropagation, plain local learning, AugLocal with d = 1 and 3; DGL, PredSim and InfoPro on the first seed.',
      seeds: 3,
      seconds: 400,
      settings: {
        networks: [
          {
            data: { train: 6000, test: 2000, pool: 2 },
            widths: embeddedWidths,
            batchSize: 64,
            epochs: 4,
            learningRate: 0.05,
            schedule: 'cosine',
            depths: [1, 3],
            rivals: { names: ['dgl', 'predsim', 'infopro'], seeds: 1 },
          },
        ],
      },
    },
    full: {
      description:
        "The paper's ResNet-32 on those of CIFAR-10, SVHN and STL-10 that are in your data folder, 400 epochs, d = 2 and 5, its rivals and other choices of layers; ResNet-110 on CIFAR-10 with d = 3 and 9.",
      seeds: 1,
      seconds: 20_000_000,
      settings: { networks: paperNetworks },
    },
  },
  run,
  tables: (results) =>
    Object.entries(titles)
      .filter(([prefix]) => measuredNames(results, prefix).length > 0)
      .map(([prefix, title]) => ({
        id: `methods${prefix === '' ? '' : `-${prefix.slice(0, -1)}`}`,
        title,
        columns: [
          { key: 'method', label: 'method' },
          { key: 'accuracy', label: 'accuracy', better: 'higher' },
          { key: 'memory', label: 'activations alive, kB an example', digits: 1, better: 'lower' },
          { key: 'compute', label: 'million multiply-adds an example', digits: 1, better: 'lower' },
          { key: 'parameters', label: 'trained parameters', digits: 0, better: 'lower' },
        ],
        rows: measuredNames(results, prefix).map((name) => ({
          method: labels[name],
          accuracy: results.summary(`${prefix}accuracy/${name}`),
          memory: results.mean(`${prefix}bytes/${name}`) / 1000,
          compute: results.mean(`${prefix}multiplyAdds/${name}`) / 1e6,
          parameters: results.mean(`${prefix}parameters/${name}`),
        })),
        note: 'Helpers are dropped after training: all networks predict with the parameters that backpropagation trains.',
      })),
  figures(results) {
    const exits = measuredNames(results).flatMap((name) =>
      results
        .series(`exits/${name}`)
        .flatMap((curve, seed) => (curve as number[]).map((accuracy, layer) => ({ method: labels[name], seed, layer, accuracy }))),
    )
    const memory = measuredNames(results).map((name) => ({
      method: labels[name],
      accuracy: results.mean(`accuracy/${name}`),
      memory: results.mean(`bytes/${name}`) / 1000,
    }))
    return [
      {
        id: 'exits',
        title: 'Accuracy after every layer',
        caption:
          'Test accuracy of the helper of each layer; the last one is the network itself. Deep helpers see far from the first layer on.',
        spec: {
          data: { values: exits },
          mark: { type: 'line', point: true },
          encoding: {
            x: { field: 'layer', type: 'ordinal', title: 'layer' },
            y: { field: 'accuracy', type: 'quantitative', aggregate: 'mean', scale: { zero: false }, title: 'accuracy' },
            color: { field: 'method', type: 'nominal', title: 'method' },
          },
        },
      },
      {
        id: 'memory',
        title: 'Accuracy and memory',
        caption: 'Test accuracy against the activations that are alive at a time in a training step.',
        spec: {
          data: { values: memory },
          mark: { type: 'point', filled: true, size: 90 },
          encoding: {
            x: { field: 'memory', type: 'quantitative', scale: { zero: true }, title: 'activations alive, kB an example' },
            y: { field: 'accuracy', type: 'quantitative', scale: { zero: false }, title: 'accuracy' },
            color: { field: 'method', type: 'nominal', title: 'method' },
          },
        },
      },
    ]
  },
}
