/**
 * Reproduces Spyra and Dzwinel, "Beyond Backpropagation: Exploring Innovative Algorithms for Energy-Efficient Deep Neural Network
 * Training", 2025, arXiv 2511.01061: Mono-Forward, Forward-Forward and Cascaded Forward against backpropagation on the same
 * networks, in accuracy, time, counted arithmetic and counted memory. Energy is an estimate from the arithmetic, not measured.
 */
import { activationBytes, compile, random, tree, type Key, type Tree } from '@bpf/core'
import { batch, fromArrays } from '@bpf/core/data'
import { batchNorm, conv2d, dense, flatten, initializers, maxPool, mlp, relu, sequential } from '@bpf/core/nn'
import { adam, adamw, type Optimizer } from '@bpf/core/optim'
import {
  backpropagation,
  cascadedForward,
  earlyStopping,
  fairComparison,
  fitCascadedForward,
  fitClassifier,
  fitMonoForward,
  forwardForward,
  forwardForwardCoolDown,
  monoForward,
  stepCost,
  type CascadedForwardOptions,
  type CascadedForwardPredictor,
  type ClassifierLearner,
  type Contender,
  type ContenderRun,
  type CountedStages,
  type LabelledBatch,
} from '@bpf/local'
import * as tf from '@tensorflow/tfjs-core'
import { atLeast, atMost } from '../claims'
import { imageSets, slice, type ImageSet } from '../data/image-sets'
import { hasPaperSet, paperSet, type PaperSetName } from '../data/paper-sets'
import type { Paper, PaperResults, PresetName, RunContext, SeedResult, Series } from '../paper'

/** Perceptrons on rows of pixels. */
interface PerceptronSettings {
  train: number
  /** The last so many training images end training early. */
  validation: number
  test: number
  monoForward: { hidden: readonly number[]; learningRate: number; batchSize: number; epochsPerLayer: number }
  backpropagationEpochs: number
  forwardForward: {
    hidden: readonly number[]
    learningRate: number
    weightDecay: number
    batchSize: number
    epochs: number
    peerFactor: number
  }
}

/** Convolutional cascades. */
interface CascadeSettings {
  train: number
  validation: number
  test: number
  /** Averages squares of so many pixels first. */
  pool: number
  channels: readonly number[]
  batchSize: number
  blockEpochs: number
  random: Extract<CascadedForwardPredictor, { kind: 'minibatch' }>
  dfa: Extract<CascadedForwardPredictor, { kind: 'minibatch' }>
  lambda: number
  backpropagationEpochs: number
}

interface SetSettings {
  perceptrons?: PerceptronSettings
  cascades?: CascadeSettings
}

/** Another set of the study, from the user's folders, and what differs on it. */
interface StudySet {
  name: PaperSetName
  train: number
  monoForwardHidden: readonly number[]
}

interface Settings extends SetSettings {
  /** Sets beside the images on this machine; those that are not there are left out. */
  sets?: readonly StudySet[]
}

const patience = 5

/** Backpropagation with the study's stopping rule. */
function backpropagationContender(
  method: ClassifierLearner<never>,
  { train, validation, epochs, batchSize }: { train: ImageSet; validation: ImageSet | undefined; epochs: number; batchSize: number },
  context: RunContext<Settings>,
  label: string,
): Contender {
  return {
    async fit(key) {
      const running = { reporter: context.reporter(label), signal: context.signal }
      const stopping = validation === undefined ? running : earlyStopping({ patience, minDelta: 1e-4, ...running })
      const held = validation && { x: validation.x, y: validation.y }
      const model = await fitClassifier(method, train.x, train.y, { epochs, batchSize, key, validation: held, ...stopping })
      context.signal.throwIfAborted()
      const steps = model.history.length * Math.floor(train.y.length / batchSize)
      const batchOf = (size: number): LabelledBatch => ({
        x: tf.zeros([size, ...train.x.shape.slice(1)]),
        y: tf.zeros([size], 'int32'),
      })
      return { model, stages: () => [{ cost: stepCost(method, model.state.tensors, batchOf, batchSize), steps }] }
    },
  }
}

/** Accuracy of each layer's own scores [n, layers, C], and of their sum from layer `first` on. */
async function layerAccuracies(
  layerScores: (tensors: never, x: tf.Tensor) => tf.Tensor,
  tensors: Tree,
  { x, y }: ImageSet,
): Promise<number[]> {
  const run = compile((state: Tree, images: tf.Tensor) => tf.argMax(layerScores(state as never, images), 2))
  const examples = fromArrays({ x }) as ReturnType<typeof fromArrays<{ x: tf.Tensor }>>
  let correct: number[] = []
  let row = 0
  for await (const { batch: images, weight } of batch(examples, Math.min(500, y.length)).weightedBatches()) {
    const top = run(tensors, images.x)
    const [size, layers] = top.shape as [number, number]
    const labels = await top.data()
    if (row === 0) correct = Array<number>(layers).fill(0)
    for (let i = 0; i < Math.min(size, y.length - row); i++) {
      for (let layer = 0; layer < layers; layer++) if (labels[i * layers + layer] === y[row + i]) correct[layer]++
    }
    row += size
    tf.dispose([images.x, weight, top])
  }
  return correct.map((count) => count / y.length)
}

type Measured = { values: Record<string, number>; series?: Record<string, Series> }

/** Scalars of a contender's only run. */
const runValues = (name: string, [run]: readonly ContenderRun[]): Record<string, number> =>
  Object.fromEntries(Object.entries(run).map(([quantity, value]) => [`${name}/${quantity}`, value]))

/** Trains one contender and measures it. */
async function measure(name: string, contender: Contender, test: ImageSet, key: Key): Promise<Record<string, number>> {
  const results = await fairComparison({ [name]: contender }, { test: { x: test.x, y: test.y }, keys: [key], now: () => performance.now() })
  return runValues(name, results[name])
}

const rows = ({ x, ...rest }: ImageSet): ImageSet => ({ ...rest, x: { data: x.data, shape: [x.shape[0], x.data.length / x.shape[0]] } })

async function perceptronData(
  context: RunContext<Settings>,
  { train, validation, test }: PerceptronSettings,
  set: PaperSetName | undefined,
) {
  const images = await (set === undefined ? imageSets(context.data, { train, test }) : paperSet(context.data, set, { train, test }))
  const sets = { train: rows(images.train), test: rows(images.test) }
  const count = sets.train.y.length
  // Where fewer images are there than asked for, a tenth stays to stop by.
  const held = count < train ? Math.floor(count / 10) : validation
  return { train: slice(sets.train, 0, count - held), validation: slice(sets.train, count - held, count), test: sets.test }
}

type PerceptronData = Awaited<ReturnType<typeof perceptronData>>

/** Leaves the layers' weights at their random values. */
function projectionsOnly(rule: Optimizer): Optimizer {
  return {
    init: (params) => rule.init(params),
    update(grads, state, params) {
      const next = rule.update(grads, state, params)
      const { projection } = next.updates as unknown as { projection: tf.Tensor }
      return { updates: { ...tree.zerosLike(next.updates), projection } as unknown as typeof grads, state: next.state }
    },
  }
}

async function runMonoForward(context: RunContext<Settings>, settings: PerceptronSettings, data: PerceptronData): Promise<Measured> {
  const { hidden, learningRate, batchSize, epochsPerLayer } = settings.monoForward
  const { train, validation, test } = data
  const { classes } = train
  const key = random.fold(context.key, 1)
  const held = { x: validation.x, y: validation.y }
  const options = { hidden, classes, epochsPerLayer, validation: held, patience }
  const running = { batchSize, signal: context.signal }
  let layers: number[] = []
  const greedy: Contender = {
    async fit(runKey) {
      const rate = adam({ learningRate })
      const fitted = await fitMonoForward({ ...options, optimizer: rate }, train.x, train.y, {
        ...running,
        key: runKey,
        reporter: context.reporter('Mono-Forward'),
      })
      return { model: fitted, stages: () => fitted.stages as CountedStages }
    },
  }
  const watched: Contender = {
    async fit(runKey) {
      const fitted = await greedy.fit(runKey)
      const model = fitted.model as Awaited<ReturnType<typeof fitMonoForward>>
      return {
        ...fitted,
        model: {
          async score(x, y) {
            layers = await layerAccuracies(monoForward(options).layerScores as never, model.state.tensors, test)
            return model.score(x, y)
          },
          dispose: () => model.dispose(),
        },
      }
    },
  }
  const values = await measure('mf', watched, test, key)
  const perLayer = Object.fromEntries(layers.map((accuracy, i) => [`mf/layer${i}`, accuracy]))
  if (context.onlyClaims) return { values: { ...values, ...perLayer } }

  const sums = await measure(
    'mf-simultaneous',
    backpropagationContender(
      monoForward({ hidden, classes, schedule: 'simultaneous', optimizer: adam({ learningRate }) }) as never,
      { train, validation, epochs: epochsPerLayer, batchSize },
      context,
      'Mono-Forward, all layers at once',
    ),
    test,
    random.fold(context.key, 2),
  )
  const probes = await measure(
    'mf-probes',
    {
      async fit(runKey) {
        const optimizer = projectionsOnly(adam({ learningRate }))
        const model = await fitMonoForward({ ...options, inputProjection: false, optimizer }, train.x, train.y, { ...running, key: runKey })
        return { model, stages: () => model.stages as CountedStages }
      },
    },
    test,
    key,
  )
  return { values: { ...values, ...perLayer, ...sums, ...probes } }
}

async function runBackpropagation(
  context: RunContext<Settings>,
  settings: PerceptronSettings,
  data: PerceptronData,
  hidden = settings.monoForward.hidden,
  name = 'bp',
): Promise<Measured> {
  const { learningRate, batchSize } = settings.monoForward
  const { classes } = data.train
  const network = mlp({ hidden, outputs: classes, biasInit: initializers.zeros })
  const method = backpropagation({ network, classes, optimizer: adam({ learningRate }) })
  const training = { ...data, epochs: settings.backpropagationEpochs, batchSize }
  const contender = backpropagationContender(method as never, training, context, 'Backpropagation')
  return { values: await measure(name, contender, data.test, random.fold(context.key, 3)) }
}

async function runForwardForward(
  context: RunContext<Settings>,
  settings: PerceptronSettings,
  { train, test }: PerceptronData,
): Promise<Measured> {
  const { hidden, learningRate, weightDecay, batchSize, epochs, peerFactor } = settings.forwardForward
  const rate = forwardForwardCoolDown({ learningRate, epochs, stepsPerEpoch: Math.floor(train.y.length / batchSize) })
  const { classes } = train
  const method = forwardForward({ hidden, classes, optimizer: adamw({ learningRate: rate, weightDecay }), peerFactor })
  const training = { train, validation: undefined, epochs, batchSize }
  const contender = backpropagationContender(method as never, training, context, 'Forward-Forward')
  return { values: await measure('ff', contender, test, random.fold(context.key, 4)) }
}

async function cascadeData(
  context: RunContext<Settings>,
  { train, validation, test, pool }: CascadeSettings,
  set: PaperSetName | undefined,
) {
  const sets = await (set === undefined ? imageSets(context.data, { train, test, pool }) : paperSet(context.data, set, { train, test }))
  const count = sets.train.y.length
  return {
    train: slice(sets.train, 0, count - validation),
    validation: validation === 0 ? undefined : slice(sets.train, count - validation, count),
    test: sets.test,
  }
}

type CascadeData = Awaited<ReturnType<typeof cascadeData>>

/** One kind of blocks with one kind of predictors. */
async function runCascade(
  context: RunContext<Settings>,
  settings: CascadeSettings,
  { train, validation, test }: CascadeData,
  name: string,
  options: Pick<CascadedForwardOptions, 'blocks' | 'predictor'>,
): Promise<Measured> {
  const held = validation && { x: validation.x, y: validation.y }
  const { channels, blockEpochs, batchSize } = settings
  const { classes } = train
  const all: CascadedForwardOptions = { ...options, classes, channels, blockEpochs, aggregate: 'scores', validation: held }
  let perBlock: number[] = []
  const contender: Contender = {
    async fit(key) {
      const fitting = { batchSize, key, reporter: context.reporter(name), signal: context.signal }
      const model = await fitCascadedForward(all, train.x, train.y, fitting)
      return {
        model: {
          async score(x, y) {
            perBlock = await layerAccuracies(cascadedForward(all).layerScores as never, model.state.tensors, test)
            return model.score(x, y)
          },
          dispose: () => model.dispose(),
        },
        stages: () => model.stages as CountedStages,
      }
    },
  }
  // All kinds start from the same blocks.
  const values = await measure(name, contender, test, random.fold(context.key, 5))
  return { values: { ...values, ...Object.fromEntries(perBlock.map((accuracy, i) => [`${name}/block${i + 1}`, accuracy])) } }
}

async function runConvolutional(context: RunContext<Settings>, settings: CascadeSettings, data: CascadeData): Promise<Measured> {
  const blocks = settings.channels.flatMap((channels) => [
    conv2d(channels, { kernelSize: 3, kernelInit: initializers.kaimingUniform(), biasInit: initializers.zeros }),
    relu(),
    maxPool(2),
    batchNorm(),
  ])
  const { classes } = data.train
  const method = backpropagation({ network: sequential([...blocks, flatten(), dense(classes)]), classes })
  const training = { ...data, epochs: settings.backpropagationEpochs, batchSize: settings.batchSize }
  const contender = backpropagationContender(method as never, training, context, 'Backpropagation, CNN')
  return { values: await measure('bp-cnn', contender, data.test, random.fold(context.key, 6)) }
}

/** Depths whose memory is counted. */
const depths = [3, 6, 12] as const

/** Bytes of activations for each example of networks of 3, 6 and 12 layers of 256 units. Networks of two have no layer that is neither first nor last. */
async function countMemory(): Promise<Measured> {
  const width = 256
  const classes = 10
  const sample = (size: number): LabelledBatch => ({ x: tf.zeros([size, width]), y: tf.zeros([size], 'int32') })
  const bytes = (learner: Pick<ClassifierLearner<never>, 'step'>, tensors: Tree): number =>
    activationBytes(
      (state: Tree, examples: LabelledBatch, key: Key) => learner.step(state as never, examples, key),
      (size): [Tree, LabelledBatch, Key] => [tensors, sample(size), random.key(0)],
      // So large that activations outweigh what the parameters of twelve layers need.
      [8192, 16_384],
    )
  const values: Record<string, number> = {}
  for (const depth of depths) {
    const hidden = Array<number>(depth).fill(width)
    const learners = {
      bp: backpropagation({ network: mlp({ hidden, outputs: classes }), classes }),
      mf: monoForward({ hidden, classes, schedule: 'simultaneous' }),
      ff: forwardForward({ hidden, classes, peerFactor: 0 }),
    }
    for (const [name, learner] of Object.entries(learners)) {
      values[`memory/${name}/${depth}`] = bytes(learner as never, learner.init(random.key(0), sample(2), undefined as never).tensors)
    }
    const greedy = monoForward({ hidden, classes })
    const last = await greedy.stage(depth, greedy.init(random.key(0), sample(2)), {
      dataset: batch(fromArrays(sample(4) as never), 2),
      key: random.key(0),
    })
    values[`memory/mf-greedy/${depth}`] = bytes(last.learner as never, last.learner.init(random.key(0), sample(2), undefined).tensors)
  }
  return { values }
}

const methods: Readonly<Record<string, string>> = {
  bp: 'backpropagation, perceptron',
  mf: 'Mono-Forward, layer by layer',
  'mf-simultaneous': 'Mono-Forward, all layers at once',
  'mf-probes': 'linear probes on random layers (Mono-Forward with fixed W)',
  ff: 'Forward-Forward',
  'bp-ff': "backpropagation, Forward-Forward's perceptron",
  'bp-cnn': 'backpropagation, CNN',
  'rand-ce': 'Cascaded Forward, random blocks, cross-entropy',
  'rand-mse': 'Cascaded Forward, random blocks, closed form',
  'dfa-ce': 'Cascaded Forward, DFA blocks, cross-entropy',
  'dfa-mse': 'Cascaded Forward, DFA blocks, closed form',
}

const perceptrons = ['bp', 'bp-ff', 'mf', 'mf-simultaneous', 'mf-probes', 'ff']
const trained = (results: PaperResults, prefix = ''): string[] =>
  Object.keys(methods).filter((name) => results.has(`${prefix}${name}/accuracy`))
const growth = (results: PaperResults, name: string): number => results.mean(`memory/${name}/12`) / results.mean(`memory/${name}/3`)

const embedded: readonly PresetName[] = ['embedded']

/** Sets of the study: what stands before their results' names. */
const studySets: Readonly<Record<string, string>> = {
  '': 'Fashion-MNIST (else MNIST-10k)',
  'mnist/': 'MNIST',
  'cifar-10/': 'CIFAR-10',
  'cifar-100/': 'CIFAR-100',
}

/** Differences of accuracy in points that the study reports by set, to be reached within half a point. */
const reportedDifference = (
  id: string,
  statement: string,
  method: string,
  baseline: string,
  points: Readonly<Record<string, number>>,
): Paper['claims'][number] => ({
  id,
  statement,
  presets: ['full'],
  reported: Object.entries(points)
    .map(([prefix, value]) => `${studySets[prefix]} ${value > 0 ? '+' : '−'}${Math.abs(value)}`)
    .join(', '),
  check(results) {
    const gaps = Object.entries(points)
      .filter(([prefix]) => results.has(`${prefix}${method}/accuracy`))
      .map(([prefix, value]) =>
        Math.abs(100 * (results.mean(`${prefix}${method}/accuracy`) - results.mean(`${prefix}${baseline}/accuracy`)) - value),
      )
    return atMost(Math.max(...gaps), 0.5, { of: 'points from the reported difference; the worst set' })
  },
})

/** The same settings on another set. */
function onSet({ perceptrons, cascades }: SetSettings, { train, monoForwardHidden: hidden }: StudySet): SetSettings {
  const validation = train / 10
  return {
    ...(perceptrons && { perceptrons: { ...perceptrons, train, validation, monoForward: { ...perceptrons.monoForward, hidden } } }),
    ...(cascades && { cascades: { ...cascades, train, validation } }),
  }
}

/** Every method on one set. */
async function runSet(
  context: RunContext<Settings>,
  { perceptrons: rowSettings, cascades }: SetSettings,
  set?: PaperSetName,
): Promise<Record<string, number>> {
  const prefix = set === undefined ? '' : `${set}/`
  const results: Record<string, number> = {}
  const part = async (name: string, compute: () => Promise<Measured>): Promise<void> => {
    context.signal.throwIfAborted()
    const values = await context.part(`${prefix}${name}`, async () => (await compute()).values)
    for (const [key, value] of Object.entries(values)) results[`${prefix}${key}`] = value
  }
  if (rowSettings !== undefined) {
    const data = await perceptronData(context, rowSettings, set)
    await part('mono-forward', () => runMonoForward(context, rowSettings, data))
    await part('backpropagation', () => runBackpropagation(context, rowSettings, data))
    await part('forward-forward', () => runForwardForward(context, rowSettings, data))
    if (context.preset === 'full') {
      // Forward-Forward has a network of its own, so its difference needs backpropagation on that.
      await part('backpropagation-ff', () => runBackpropagation(context, rowSettings, data, rowSettings.forwardForward.hidden, 'bp-ff'))
    }
  }
  if (cascades !== undefined) {
    const data = await cascadeData(context, cascades, set)
    const closedForm = { kind: 'leastSquares', lambda: cascades.lambda } as const
    const cascade = (name: string, options: Parameters<typeof runCascade>[4]) =>
      part(name, () => runCascade(context, cascades, data, name, options))
    await cascade('rand-ce', { blocks: 'random', predictor: cascades.random })
    await cascade('rand-mse', { blocks: 'random', predictor: closedForm })
    await cascade('dfa-ce', { blocks: 'dfa', predictor: cascades.dfa })
    if (!context.onlyClaims) await cascade('dfa-mse', { blocks: 'dfa', predictor: closedForm })
    if (!context.onlyClaims || context.preset === 'full') await part('cnn', () => runConvolutional(context, cascades, data))
  }
  return results
}

export const paper: Paper<Settings> = {
  number: 56,
  slug: 'forward-only',
  title: 'Beyond Backpropagation: Exploring Innovative Algorithms for Energy-Efficient Deep Neural Network Training',
  arxiv: '2511.01061',
  package: '@bpf/local',
  claims: [
    {
      id: 'mono-forward-against-backpropagation',
      statement: 'Mono-Forward, layer by layer, is at most 1 point less accurate than backpropagation on the same perceptron.',
      presets: embedded,
      reported: '+0.51 points (2 × 1000, all of Fashion-MNIST)',
      check: (results) => atLeast(results.mean('mf/accuracy'), results.mean('bp/accuracy') - 0.01, { of: 'backpropagation − 0.01' }),
    },
    {
      id: 'mono-forward-accuracy',
      statement: 'Mono-Forward reaches a test accuracy of 83 % with 256-256 units and 9,000 images.',
      presets: embedded,
      check: (results) => atLeast(results.mean('mf/accuracy'), 0.83),
    },
    {
      id: 'forward-forward-accuracy',
      statement: 'Forward-Forward reaches a test accuracy of 79 % with 400-400-400 units, 9,000 images and 20 epochs.',
      presets: embedded,
      check: (results) => atLeast(results.mean('ff/accuracy'), 0.79),
    },
    {
      id: 'forward-forward-is-slow',
      statement: 'Forward-Forward takes at least three times as long to train as Mono-Forward.',
      presets: embedded,
      reported: 'time × 13 against backpropagation (4 × 2000)',
      check: (results) =>
        atLeast(results.mean('ff/seconds') / results.mean('mf/seconds'), 3, { of: 'time of Forward-Forward / time of Mono-Forward' }),
    },
    {
      id: 'dfa-improves-the-deepest-block',
      statement: 'The predictor on block 3 alone is at least 3 points more accurate on blocks trained by DFA than on random blocks.',
      presets: embedded,
      check: (results) => atLeast(results.mean('dfa-ce/block3'), results.mean('rand-ce/block3') + 0.03, { of: 'random blocks + 0.03' }),
    },
    {
      id: 'dfa-sum-against-random',
      statement: 'The sum over DFA blocks is at most half a point less accurate than the sum over random blocks.',
      presets: embedded,
      reported: 'DFA above random by 1.36 points on Fashion-MNIST',
      check: (results) =>
        atLeast(results.mean('dfa-ce/accuracy'), results.mean('rand-ce/accuracy') - 0.005, { of: 'random blocks − 0.005' }),
    },
    {
      id: 'closed-form-accuracy',
      statement: 'Random blocks with predictors in closed form reach a test accuracy of 78 %.',
      presets: embedded,
      check: (results) => atLeast(results.mean('rand-mse/accuracy'), 0.78),
    },
    {
      id: 'closed-form-against-descent',
      statement: 'Predictors in closed form are at most 1 point less accurate than those trained by cross-entropy, on random blocks.',
      presets: embedded,
      check: (results) =>
        atLeast(results.mean('rand-mse/accuracy'), results.mean('rand-ce/accuracy') - 0.01, { of: 'cross-entropy − 0.01' }),
    },
    ...(['rand-ce', 'rand-mse'] as const).flatMap((name): Paper['claims'] => [
      {
        id: `first-block-is-best-${name}`,
        statement: `Of random blocks alone the first is the best (${methods[name].split(', ')[2]}).`,
        presets: embedded,
        check: (results) =>
          atLeast(results.mean(`${name}/block1`), Math.max(results.mean(`${name}/block2`), results.mean(`${name}/block3`)), {
            of: 'the others',
          }),
      },
      {
        id: `deepest-block-is-worst-${name}`,
        statement: `Of random blocks alone the deepest is the worst (${methods[name].split(', ')[2]}).`,
        presets: embedded,
        check: (results) =>
          atMost(results.mean(`${name}/block3`), Math.min(results.mean(`${name}/block1`), results.mean(`${name}/block2`)), {
            of: 'the others',
          }),
      },
    ]),
    ...(['mf', 'mf-greedy'] as const).map((name) => ({
      id: `memory-${name}`,
      statement: `Activations of Mono-Forward (${name === 'mf' ? 'all layers at once' : 'layer by layer'}) grow by less than 10 % when the network becomes four times as deep.`,
      presets: ['quick', 'embedded'] as const,
      check: (results: PaperResults) => atMost(growth(results, name), 1.1, { of: '12 layers / 3 layers' }),
    })),
    {
      id: 'memory-backpropagation',
      statement: 'Activations of backpropagation at least double when the network becomes four times as deep.',
      presets: ['quick', 'embedded'],
      check: (results) => atLeast(growth(results, 'bp'), 2, { of: '12 layers / 3 layers' }),
    },
    reportedDifference('reported-mono-forward', 'Mono-Forward differs from backpropagation as the study reports.', 'mf', 'bp', {
      '': 0.51,
      'mnist/': 0.09,
      'cifar-10/': 1.21,
      'cifar-100/': 0.37,
    }),
    reportedDifference('reported-forward-forward', 'Forward-Forward differs from backpropagation as the study reports.', 'ff', 'bp-ff', {
      '': 0.75,
      'mnist/': -0.01,
    }),
    reportedDifference(
      'reported-cascaded-random',
      'Cascaded Forward with random blocks differs from backpropagation as the study reports.',
      'rand-ce',
      'bp-cnn',
      { '': 1.11, 'mnist/': -0.32, 'cifar-10/': -13.23, 'cifar-100/': -11.44 },
    ),
    reportedDifference(
      'reported-cascaded-dfa',
      'Cascaded Forward with DFA blocks differs from backpropagation as the study reports.',
      'dfa-ce',
      'bp-cnn',
      { '': 2.47, 'mnist/': 0.08, 'cifar-10/': -1.72, 'cifar-100/': -4.43 },
    ),
  ],
  presets: {
    quick: {
      description: 'Counted memory at three depths; Mono-Forward, backpropagation and Forward-Forward on 1,800 images for some epochs.',
      seeds: 1,
      seconds: 7,
      settings: {
        perceptrons: {
          train: 2000,
          validation: 200,
          test: 1000,
          monoForward: { hidden: [128, 128], learningRate: 1e-3, batchSize: 128, epochsPerLayer: 4 },
          backpropagationEpochs: 8,
          forwardForward: { hidden: [128, 128, 128], learningRate: 1e-3, weightDecay: 3e-4, batchSize: 100, epochs: 30, peerFactor: 0 },
        },
      },
    },
    embedded: {
      description:
        'Fashion-MNIST (else MNIST-10k): perceptrons on 9,000 images (1,000 more to stop by) and convolutional cascades on 5,000 images of 14 × 14 pixels. All rates as given, none tuned.',
      seeds: 3,
      seconds: 180,
      settings: {
        perceptrons: {
          train: 10_000,
          validation: 1000,
          test: 10_000,
          monoForward: { hidden: [256, 256], learningRate: 1e-3, batchSize: 128, epochsPerLayer: 8 },
          backpropagationEpochs: 16,
          forwardForward: { hidden: [400, 400, 400], learningRate: 1e-3, weightDecay: 3e-4, batchSize: 100, epochs: 20, peerFactor: 0 },
        },
        cascades: {
          train: 5000,
          validation: 0,
          test: 5000,
          pool: 2,
          channels: [16, 32, 64],
          batchSize: 128,
          blockEpochs: 5,
          random: { kind: 'minibatch', learningRate: 4.2e-4, weightDecay: 0, epochs: 25 },
          dfa: { kind: 'minibatch', learningRate: 4.2e-4, weightDecay: 0, epochs: 25 },
          lambda: 1e-3,
          backpropagationEpochs: 10,
        },
      },
    },
    full: {
      description:
        "The study's networks and rates on all of Fashion-MNIST, and on those of MNIST, CIFAR-10 and CIFAR-100 that are in your data folder; a tenth to stop by.",
      seeds: 3,
      seconds: 400_000,
      settings: {
        perceptrons: {
          train: 60_000,
          validation: 6000,
          test: 10_000,
          monoForward: { hidden: [1000, 1000], learningRate: 1.57e-3, batchSize: 128, epochsPerLayer: 14 },
          backpropagationEpochs: 50,
          forwardForward: {
            hidden: [2000, 2000, 2000, 2000],
            learningRate: 5.25e-4,
            weightDecay: 4.2e-4,
            batchSize: 100,
            epochs: 100,
            peerFactor: 0.03,
          },
        },
        cascades: {
          train: 60_000,
          validation: 6000,
          test: 10_000,
          pool: 1,
          channels: [32, 128, 512],
          batchSize: 128,
          blockEpochs: 5,
          random: { kind: 'minibatch' },
          dfa: { kind: 'minibatch', learningRate: 2.5e-4, epochs: 12 },
          lambda: 1e-3,
          backpropagationEpochs: 50,
        },
        sets: [
          { name: 'mnist', train: 60_000, monoForwardHidden: [1000, 1000] },
          { name: 'cifar-10', train: 50_000, monoForwardHidden: [2000, 2000, 2000] },
          { name: 'cifar-100', train: 50_000, monoForwardHidden: [2000, 2000, 2000] },
        ],
      },
    },
  },
  async run(context) {
    const { sets = [], ...own } = context.settings
    const memory = await context.part('memory', async () => (await countMemory()).values)
    const values = [memory, await runSet(context, own)]
    for (const set of sets) if (hasPaperSet(context.data, set.name)) values.push(await runSet(context, onSet(own, set), set.name))
    return { values: Object.assign({}, ...values) as Record<string, number> } satisfies SeedResult
  },
  tables(results) {
    const summary = (name: string) => (results.has(name) ? results.summary(name) : null)
    const costsOf = (prefix: string) => ({
      id: prefix === '' ? 'comparison' : `comparison-${prefix.slice(0, -1)}`,
      title: prefix === '' ? 'The same data for all: accuracy and what training cost' : studySets[prefix],
      columns: [
        { key: 'method', label: 'method' },
        { key: 'accuracy', label: 'test accuracy', better: 'higher' as const },
        { key: 'seconds', label: 'seconds', digits: 1 },
        { key: 'gigaMultiplyAdds', label: '10⁹ multiply-adds (counted)', digits: 1 },
        { key: 'kilobytes', label: 'kB of activations per example (counted)', digits: 1 },
        { key: 'peakMegabytes', label: 'MB at the peak of a step (counted)', digits: 1 },
        { key: 'joules', label: 'J for the arithmetic (estimated)', digits: 2 },
      ],
      rows: trained(results, prefix).map((name) => ({
        method: methods[name],
        accuracy: summary(`${prefix}${name}/accuracy`),
        seconds: summary(`${prefix}${name}/seconds`),
        gigaMultiplyAdds: results.mean(`${prefix}${name}/multiplyAdds`) / 1e9,
        kilobytes: results.mean(`${prefix}${name}/activationBytes`) / 1000,
        peakMegabytes: results.mean(`${prefix}${name}/peakBytes`) / 1e6,
        joules: results.mean(`${prefix}${name}/estimatedJoules`),
      })),
      note: 'Perceptrons and cascades see different images; compare within each. Energy was not measured: it is 4.6 pJ (a float32 multiply and add at 45 nm) for each counted multiply-add, without memory traffic. Closed forms are solved, not stepped: their arithmetic is not counted.',
    })
    const layered = trained(results).filter((name) => results.has(`${name}/block1`))
    const blocks = {
      id: 'blocks',
      title: 'Accuracy of each block alone, and of their sum',
      columns: [
        { key: 'method', label: 'method' },
        ...['block1', 'block2', 'block3', 'accuracy'].map((key) => ({
          key,
          label: key === 'accuracy' ? 'sum' : key.replace('block', 'block '),
        })),
      ],
      rows: layered.map((name) => ({
        method: methods[name],
        ...Object.fromEntries(['block1', 'block2', 'block3', 'accuracy'].map((key) => [key, summary(`${name}/${key}`)])),
      })),
    }
    const memory = {
      id: 'memory',
      title: 'Bytes of activations per example, by depth (256 units a layer, counted)',
      columns: [
        { key: 'method', label: 'method' },
        ...depths.map((depth) => ({ key: String(depth), label: `${depth} layers`, digits: 0 })),
      ],
      rows: Object.entries(memoryNames).map(([name, method]) => ({
        method,
        ...Object.fromEntries(depths.map((depth) => [String(depth), results.mean(`memory/${name}/${depth}`)])),
      })),
    }
    const sets = Object.keys(studySets).filter((prefix) => trained(results, prefix).length > 0)
    return [...sets.map(costsOf), ...(layered.length > 0 ? [blocks] : []), memory]
  },
  figures(results) {
    const points = trained(results).flatMap((name) =>
      results.summary(`${name}/accuracy`).each.map((accuracy, i) => ({
        method: methods[name],
        network: perceptrons.includes(name) ? 'perceptron' : 'convolutional',
        accuracy,
        seconds: results.summary(`${name}/seconds`).each[i],
      })),
    )
    const memory = Object.entries(memoryNames).flatMap(([name, method]) =>
      depths.map((layers) => ({ method, layers, bytes: results.mean(`memory/${name}/${layers}`) })),
    )
    return [
      {
        id: 'accuracy-and-time',
        title: 'Accuracy against training time',
        caption: 'Mono-Forward is as accurate as backpropagation in similar time; Forward-Forward is far slower.',
        spec: {
          data: { values: points },
          mark: { type: 'point', filled: true, size: 80 },
          encoding: {
            x: { field: 'seconds', type: 'quantitative', scale: { type: 'log' }, title: 'seconds of training' },
            y: { field: 'accuracy', type: 'quantitative', scale: { zero: false }, title: 'test accuracy' },
            color: { field: 'method', type: 'nominal', title: 'method' },
            shape: { field: 'network', type: 'nominal', title: 'network' },
          },
        },
      },
      {
        id: 'memory-by-depth',
        title: 'Memory for activations by depth',
        caption: 'Local methods need the activations of one layer, however deep the network is; backpropagation keeps all.',
        spec: {
          data: { values: memory },
          mark: { type: 'line', point: true },
          encoding: {
            x: { field: 'layers', type: 'quantitative', title: 'layers' },
            y: { field: 'bytes', type: 'quantitative', title: 'bytes per example' },
            color: { field: 'method', type: 'nominal', title: 'method' },
          },
        },
      },
    ]
  },
}

const memoryNames: Readonly<Record<string, string>> = {
  bp: 'backpropagation',
  mf: 'Mono-Forward, all layers at once',
  'mf-greedy': 'Mono-Forward, layer by layer (last layer)',
  ff: 'Forward-Forward',
}
