/**
 * Reproduces Kao and Hariharan, "Counter-Current Learning: A Biologically Plausible Dual Network Approach for Deep Learning",
 * 2024, arXiv 2409.19841: a feedback network of its own trains each layer by a local loss, against backpropagation, fixed
 * hidden layers and random feedback on the same networks; an autoencoder trained the same way.
 */
import { compile, fit, random, tree, valueAndGradWithAux, type Key, type Learner, type Tree } from '@bpf/core'
import { batch, fromArrays, map, shuffle } from '@bpf/core/data'
import { applyUpdates, chain, clipByGlobalNorm, sgd, type LearningRate } from '@bpf/core/optim'
import {
  backpropagation,
  centraliseGradients,
  counterCurrentAutoencoder,
  counterCurrentLearning,
  differenceTargetPropagation,
  epochCosine,
  errorFeedback,
  fitClassifier,
  linearCka,
  type ClassifierLearner,
  type CounterCurrentLearner,
  type CounterCurrentState,
  type DenseClassifierState,
  type ErrorRoute,
  type ImagePair,
} from '@bpf/local'
import * as tf from '@tensorflow/tfjs-core'
import { activationBytesOf } from '../activation-bytes'
import { atLeast, atMost } from '../claims'
import { augmentation } from '../data/augmentation'
import { imageSets, slice, type ImageSet } from '../data/image-sets'
import { foundPaperSets, hasPaperSet, paperSet, type PaperSetName } from '../data/paper-sets'
import type { Paper, PaperResults, RunContext, SeedResult, Series, Table } from '../paper'

/** A classifier trained in every way there is. */
interface ClassifierSettings {
  name: string
  title: string
  /** Fashion-MNIST (else MNIST-10k), or a set from the user's folders: without its files the network is left out. */
  data: 'images' | PaperSetName
  train: number
  test: number
  hidden: readonly number[]
  /** Convolutions in front, on images padded to 32 × 32. */
  channels?: readonly number[]
  batchSize: number
  epochs: number
  learningRate: number
  /** Of backpropagation and all other rivals. */
  rivalRate: number
  /** Anneal both over epochs to this rate. */
  finalRate?: number
}

/** The autoencoder on images padded to 32 × 32, or on STL-10 with random crops and flips where it is in the user's folders. */
interface AutoencoderSettings {
  stl?: boolean
  train: number
  test: number
  channels: readonly number[]
  batchSize: number
  epochs: number
  learningRate: number
}

interface Settings {
  classifiers: readonly ClassifierSettings[]
  autoencoder?: AutoencoderSettings
}

type Measured = { values: Record<string, number>; series: Record<string, Series> }

const classes = 10
/** Settings of convolutional networks in the reference code, for the rivals; counterCurrentLearning has them as defaults. */
const convolutional = { clip: 0.3, momentum: 0.8, weightDecay: 1e-6 }

/** Two rows or columns of background on each side, 28 → 32. */
function padded({ x, y, classes: count }: ImageSet): ImageSet {
  const [n, height, width] = x.shape
  const size = height + 4
  const background = x.data.reduce((least, value) => Math.min(least, value), 0)
  const data = new Float32Array(n * size * size).fill(background)
  for (let row = 0; row < n * height; row++) {
    const target = (Math.floor(row / height) * size + (row % height) + 2) * size + 2
    data.set(x.data.subarray(row * width, (row + 1) * width), target)
  }
  return { x: { data, shape: [n, size, size, 1] }, y, classes: count }
}

/** Mean and standard deviation of each channel. */
const channelStatistics: Readonly<Partial<Record<PaperSetName, { mean: readonly number[]; stddev: readonly number[] }>>> = {
  mnist: { mean: [0.1307], stddev: [0.3081] },
  'cifar-10': { mean: [0.4914, 0.4822, 0.4465], stddev: [0.247, 0.2435, 0.2616] },
  'cifar-100': { mean: [0.5071, 0.4865, 0.4409], stddev: [0.2673, 0.2564, 0.2762] },
}

const flattened = ({ x, ...rest }: ImageSet): ImageSet => ({
  ...rest,
  x: { data: x.data, shape: [x.shape[0], x.data.length / x.shape[0]] },
})

async function loadImages(context: RunContext<Settings>, settings: ClassifierSettings) {
  const { data, train, test, channels } = settings
  const name = data === 'images' ? await context.data.firstFound(['fashion-mnist', 'mnist-10k']) : data
  const [mean, stddev] = name === 'mnist-10k' ? [0.1307, 0.3081] : [0.286, 0.353]
  const sets =
    data === 'images'
      ? await imageSets(context.data, { train, test, mean, stddev })
      : await paperSet(context.data, data, { train, test, ...channelStatistics[data] })
  const isSmall = sets.train.x.shape[1] === 28
  const form = channels === undefined ? flattened : isSmall ? padded : (set: ImageSet): ImageSet => set
  const [all, held] = [form(sets.train), form(sets.test)]
  // The last tenth chooses the epoch.
  const count = Math.floor(0.9 * all.y.length)
  return { train: slice(all, 0, count), validation: slice(all, count, all.y.length), test: held }
}

type Images = Awaited<ReturnType<typeof loadImages>>

const tensorsOf = ({ x, y }: ImageSet, count: number) => {
  const rows = Math.min(count, y.length)
  const size = x.data.length / y.length
  return { x: tf.tensor(x.data.slice(0, rows * size), [rows, ...x.shape.slice(1)]), y: tf.tensor1d(y.slice(0, rows), 'int32') }
}

/** Alignment (CKA) of a_l and c_l[y] for the hidden layers l = 1 … L − 1, on the first test images. */
function alignmentOf(method: CounterCurrentLearner, { test }: Images) {
  const { x, y } = tensorsOf(test, 1000)
  const run = compile((tensors: CounterCurrentState) => {
    const [activations, signals] = [method.activations(tensors, x), method.signals(tensors, x.shape.slice(1))]
    return tf.stack(activations.slice(1, -1).map((a, l) => linearCka(a, tf.gather(signals[l + 1], y))))
  })
  return {
    async of(tensors: CounterCurrentState): Promise<number[]> {
      const values = run(tensors)
      const list = Array.from(await values.data())
      values.dispose()
      return list
    },
    dispose: () => tf.dispose([x, y]),
  }
}

/** How rough the images are that the first layer's units look for: squared steps between neighbours over twice the variance; 1 is noise. */
function roughness(kernel: Float32Array, units: number): number {
  const size = Math.round(Math.sqrt(kernel.length / units))
  const at = (row: number, column: number, unit: number): number => kernel[(row * size + column) * units + unit]
  let [steps, squares, sum] = [0, 0, 0]
  for (let unit = 0; unit < units; unit++) {
    for (let row = 0; row < size; row++) {
      for (let column = 0; column + 1 < size; column++) {
        steps += (at(row, column, unit) - at(row, column + 1, unit)) ** 2
        squares += at(row, column, unit) ** 2
        sum += at(row, column, unit)
      }
    }
  }
  const count = units * size * (size - 1)
  return steps / count / (2 * (squares / count - (sum / count) ** 2))
}

/** Trains with the best epoch kept, and measures it on the test images. */
async function train<State extends Tree>(
  context: RunContext<Settings>,
  { name, batchSize, epochs }: ClassifierSettings,
  images: Images,
  method: ClassifierLearner<State>,
  id: string,
  key: Key,
  initialTensors?: State,
) {
  const model = await fitClassifier(method, images.train.x, images.train.y, {
    epochs,
    batchSize,
    key,
    validation: { x: images.validation.x, y: images.validation.y },
    best: { metric: 'loss', mode: 'min' },
    reporter: context.reporter(methods[id]),
    signal: context.signal,
    initialState: initialTensors && { tensors: initialTensors, host: null },
  })
  context.signal.throwIfAborted()
  const accuracy = await model.score(images.test.x, images.test.y)
  const curve = model.history.map(({ metrics }) => metrics['val/accuracy'])
  return { model, values: { [`${name}/${id}`]: accuracy }, series: { [`${name}/${id}/curve`]: curve } }
}

async function runCounterCurrent(
  context: RunContext<Settings>,
  settings: ClassifierSettings,
  images: Images,
  method: CounterCurrentLearner,
): Promise<Measured> {
  const { name } = settings
  const key = random.fold(context.key, 1)
  const alignment = alignmentOf(method, images)
  const sample = tensorsOf(images.train, 2)
  const initial = method.init(random.fold(key, 0), sample, undefined).tensors
  const trajectory = [await alignment.of(initial)]
  const watched: CounterCurrentLearner = {
    ...method,
    afterStep: {
      every: 'epoch',
      async run(state) {
        trajectory.push(await alignment.of(state.tensors))
        return state
      },
    },
  }
  const { model, values, series } = await train(context, settings, images, watched, 'ccl', random.fold(key, 1), initial)
  const after = await alignment.of(model.state.tensors)
  const { kernel } = model.state.tensors.params.forward[0] as { kernel: tf.Tensor }
  const rough =
    kernel.rank === 2 ? { [`${name}/ccl/roughness`]: roughness((await kernel.data()) as Float32Array, kernel.shape[1] ?? 1) } : {}
  alignment.dispose()
  tree.dispose(initial, sample)
  model.dispose()
  const rises = after.map((value, l) => value - trajectory[0][l])
  const perLayer = after.flatMap((value, l) => [
    [`${name}/cka/${l + 1}/before`, trajectory[0][l]] as const,
    [`${name}/cka/${l + 1}/after`, value] as const,
  ])
  return {
    values: {
      ...values,
      ...rough,
      ...Object.fromEntries(perLayer),
      [`${name}/cka-rise`]: Math.min(...rises),
      [`${name}/cka-rise-above-first`]: Math.min(...rises.slice(1)),
    },
    series: { ...series, [`${name}/cka`]: trajectory },
  }
}

/** The rivals with layers of the same sizes; convolutions only by backpropagation. */
function rivals(settings: ClassifierSettings, classes: number, rate: LearningRate, network: CounterCurrentLearner['network']) {
  const { hidden, channels } = settings
  const update = channels === undefined ? { clip: 1, momentum: 0, weightDecay: 0 } : convolutional
  const optimizer = chain(
    ...(channels === undefined ? [] : [centraliseGradients()]),
    clipByGlobalNorm(update.clip),
    sgd({ learningRate: rate, momentum: update.momentum, weightDecay: update.weightDecay }),
  )
  const exact = backpropagation({ network: network as never, classes, optimizer })
  if (channels !== undefined) return { bp: exact as unknown as ClassifierLearner<Tree> }
  const dense = { classes, hidden, learningRate: rate }
  const routed = (route: ErrorRoute): ClassifierLearner<DenseClassifierState> => errorFeedback({ ...dense, route })
  return {
    bp: exact,
    control: routed('lastLayerOnly'),
    fa: routed('feedbackAlignment'),
    dfa: routed('directFeedbackAlignment'),
    drtp: routed('directRandomTargetProjection'),
    dtp: differenceTargetPropagation(dense),
  } as unknown as Record<string, ClassifierLearner<Tree>>
}

const claimed = ['bp', 'control']

async function runClassifier(context: RunContext<Settings>, settings: ClassifierSettings): Promise<Measured> {
  const { name, hidden, channels, epochs, batchSize, finalRate } = settings
  const images = await loadImages(context, settings)
  const stepsPerEpoch = Math.floor(images.train.y.length / batchSize)
  const scheduled = (from: number): LearningRate =>
    finalRate === undefined ? from : epochCosine({ from, to: finalRate, epochs, stepsPerEpoch })
  const { classes } = images.train
  const method = counterCurrentLearning({ classes, hidden, channels, learningRate: scheduled(settings.learningRate) })
  const results: Measured[] = [await part(context, `${name}-ccl`, () => runCounterCurrent(context, settings, images, method))]
  const others = Object.entries(rivals(settings, classes, scheduled(settings.rivalRate), method.network))
  for (const [i, [id, rival]] of others.entries()) {
    if (context.onlyClaims && !claimed.includes(id)) continue
    const measured = await part(context, `${name}-${id}`, async () => {
      const { model, values, series } = await train(context, settings, images, rival, id, random.fold(context.key, 10 + i))
      const first = tree.leaves(model.state.tensors).find((leaf) => leaf.rank === 2) as tf.Tensor
      const rough =
        channels === undefined ? { [`${name}/${id}/roughness`]: roughness((await first.data()) as Float32Array, first.shape[1] ?? 1) } : {}
      model.dispose()
      return { values: { ...values, ...rough }, series }
    })
    results.push(measured)
  }
  return merged(results)
}

/** Backpropagation through the autoencoder's forward network, with the same update. */
function exactAutoencoder({ network }: ReturnType<typeof counterCurrentAutoencoder>, learningRate: number): Learner<ExactState, ImagePair> {
  const optimizer = chain(centraliseGradients(), clipByGlobalNorm(0.2), sgd({ learningRate, momentum: 0.9, weightDecay: 1e-4 }))
  return {
    init(key, { x }) {
      const { params, state } = network.init(key, x.shape.slice(1))
      return { tensors: { params, statistics: state, optimizer: optimizer.init(params) }, host: null }
    },
    step({ params, statistics, optimizer: rule }, { x, y }) {
      return tree.tidy(() => {
        const { value, grads, aux } = valueAndGradWithAux((at: typeof params) => {
          const result = network.apply(at, statistics, x, { training: true })
          return { loss: tf.mean(tf.square(tf.sub(result.y, y))), aux: result.state }
        })(params)
        const { updates, state } = optimizer.update(grads, rule, params)
        return { tensors: { params: applyUpdates(params, updates), statistics: aux, optimizer: state }, metrics: { loss: value } }
      })
    },
    evaluate({ params, statistics }, { x, y }, weight) {
      return tree.tidy(() => {
        const { y: output } = network.apply(params, statistics, x, { training: false })
        const errors = tf.mean(tf.square(tf.sub(output, y)), [1, 2, 3])
        return { sums: { loss: tf.sum(tf.mul(errors, weight)) }, count: tf.sum(weight) }
      })
    },
  }
}

type ExactState = { params: readonly Tree[]; statistics: readonly Tree[]; optimizer: readonly Tree[] }

/** Mean squared error of a pixel when every image is taken for the mean of the training images. */
function meanImageError(train: ImageSet, test: ImageSet): number {
  const size = train.x.data.length / train.y.length
  const mean = new Float64Array(size)
  train.x.data.forEach((value, i) => (mean[i % size] += value / train.y.length))
  return test.x.data.reduce((sum, value, i) => sum + (value - mean[i % size]) ** 2, 0) / test.x.data.length
}

async function paddedImages(context: RunContext<Settings>, { train, test }: AutoencoderSettings): Promise<[ImageSet, ImageSet]> {
  const sets = await imageSets(context.data, { train, test })
  return [padded(sets.train), padded(sets.test)]
}

async function stlImages({ data }: RunContext<Settings>): Promise<[ImageSet, ImageSet]> {
  const { train, test } = await paperSet(data, 'stl-10')
  return [train, test]
}

async function runAutoencoder(context: RunContext<Settings>, settings: AutoencoderSettings): Promise<Measured> {
  const { channels, epochs, batchSize, learningRate } = settings
  const isStl = settings.stl === true && hasPaperSet(context.data, 'stl-10')
  const [trainSet, testSet] = isStl ? await stlImages(context) : await paddedImages(context, settings)
  const reference = meanImageError(trainSet, testSet)
  const method = counterCurrentAutoencoder({ channels, learningRate })
  const pairs = ({ x }: ImageSet) => fromArrays({ x, y: x }) as never
  const crop = augmentation({ padding: 4 })
  const cropped = ({ x, y }: ImagePair, key?: Key): ImagePair => {
    const images = crop({ x, y }, key)
    tf.dispose(images.y)
    return { x: images.x, y: images.x.clone() }
  }
  const learners = { ccl: method, bp: exactAutoencoder(method, learningRate) } as unknown as Record<string, Learner<Tree, ImagePair>>
  const results: Measured[] = []
  for (const [id, learner] of Object.entries(learners)) {
    if (context.onlyClaims && id !== 'ccl') continue
    const examples = batch<ImagePair>(shuffle(pairs(trainSet)), batchSize)
    const fitted = await fit(learner, isStl ? map(examples, cropped) : examples, {
      epochs,
      key: random.fold(context.key, 30),
      validation: batch<ImagePair>(pairs(testSet), 100),
      reporter: context.reporter(`autoencoder, ${methods[id]}`),
      signal: context.signal,
    })
    context.signal.throwIfAborted()
    tree.dispose(fitted.state.tensors)
    const curve = fitted.history.map(({ metrics }) => metrics['val/loss'] / reference)
    results.push({ values: { [`autoencoder/${id}`]: curve[curve.length - 1] }, series: { [`autoencoder/${id}/curve`]: curve } })
  }
  return merged(results)
}

/** Depths whose memory is counted. */
const depths = [3, 6, 12] as const

/** Bytes of activations for each example, in networks of hidden layers of 256 units. */
function countMemory(): Measured {
  const width = 256
  const values: Record<string, number> = {}
  for (const depth of depths) {
    const hidden = Array.from({ length: depth }, () => width)
    const method = counterCurrentLearning({ classes, hidden })
    values[`memory/ccl/${depth}`] = activationBytesOf(method, [width])
    values[`memory/bp/${depth}`] = activationBytesOf(backpropagation({ network: method.network as never, classes }), [width])
  }
  return { values, series: {} }
}

const merged = (results: readonly Measured[]): Measured => ({
  values: Object.assign({}, ...results.map(({ values }) => values)) as Record<string, number>,
  series: Object.assign({}, ...results.map(({ series }) => series)) as Record<string, Series>,
})

/** A result that a resumed run reads instead of computing it again. */
async function part(context: RunContext<Settings>, name: string, compute: () => Promise<Measured> | Measured): Promise<Measured> {
  return context.part(name, async () => compute())
}

const methods: Readonly<Record<string, string>> = {
  bp: 'backpropagation',
  ccl: 'counter-current learning',
  dtp: 'difference target propagation',
  fa: 'feedback alignment',
  dfa: 'direct feedback alignment',
  drtp: 'direct random target projection',
  control: 'last layer only',
}

const fashion: ClassifierSettings = {
  name: 'mlp',
  title: 'MLP 784-256-256-256-10, 20,000 images',
  data: 'images',
  train: 20_000,
  test: 10_000,
  hidden: [256, 256, 256],
  batchSize: 128,
  epochs: 10,
  learningRate: 0.5,
  rivalRate: 0.3,
}
const autoencoder: AutoencoderSettings = { train: 5000, test: 1000, channels: [16, 32], batchSize: 32, epochs: 5, learningRate: 0.01 }
const perceptron = { batchSize: 256, epochs: 100, learningRate: 1, rivalRate: 0.3, test: 10_000 }
const convolutions = { ...perceptron, batchSize: 128, rivalRate: 1, hidden: [], channels: [128, 128, 256, 256, 512], finalRate: 1e-3 }

const all: readonly ClassifierSettings[] = [
  fashion,
  {
    ...perceptron,
    name: 'mlp-full',
    title: 'MLP 784-256×5-10, all images',
    data: 'images',
    train: 60_000,
    hidden: [256, 256, 256, 256, 256],
  },
  { ...convolutions, name: 'cnn', title: 'CNN of five convolutions, all images', data: 'images', train: 60_000 },
  {
    ...perceptron,
    name: 'cifar-mlp',
    title: 'CIFAR-10, MLP 3072-1024×3-10',
    data: 'cifar-10',
    train: 50_000,
    hidden: [1024, 1024, 1024],
  },
  { ...convolutions, name: 'cifar-cnn', title: 'CIFAR-10, CNN of five convolutions', data: 'cifar-10', train: 50_000 },
  {
    ...perceptron,
    name: 'mnist-mlp',
    title: 'MNIST, MLP 784-256×5-10',
    data: 'mnist',
    train: 60_000,
    hidden: [256, 256, 256, 256, 256],
  },
  {
    ...perceptron,
    name: 'cifar-100-mlp',
    title: 'CIFAR-100, MLP 3072-1024×3-100',
    data: 'cifar-100',
    train: 50_000,
    hidden: [1024, 1024, 1024],
  },
  { ...convolutions, name: 'cifar-100-cnn', title: 'CIFAR-100, CNN of five convolutions', data: 'cifar-100', train: 50_000 },
]

const cell = (results: PaperResults, name: string) => {
  if (!results.has(name)) return null
  const { mean, spread } = results.summary(name)
  return { mean, spread }
}

export const paper: Paper<Settings> = {
  number: 15,
  slug: 'ccl',
  title: 'Counter-Current Learning: A Biologically Plausible Dual Network Approach for Deep Learning',
  arxiv: '2409.19841',
  package: '@bpf/local',
  claims: [
    {
      id: 'against-last-layer',
      statement:
        'On 20,000 images counter-current learning is at least 3 points more accurate than the same network with fixed hidden layers.',
      presets: ['embedded'],
      check: (results) => atLeast(results.mean('mlp/ccl'), results.mean('mlp/control') + 0.03, { of: 'last layer only + 0.03' }),
    },
    {
      id: 'against-backpropagation',
      statement: 'It is at most 5 points less accurate than backpropagation with the same clip.',
      presets: ['embedded'],
      check: (results) => atLeast(results.mean('mlp/ccl'), results.mean('mlp/bp') - 0.05, { of: 'backpropagation − 0.05' }),
    },
    {
      id: 'accuracy',
      statement: 'Its test accuracy is at least 80 %.',
      presets: ['embedded'],
      reported: '88–89 % on all images, 100 epochs (recalled, not from the table)',
      check: (results) => atLeast(results.mean('mlp/ccl'), 0.8),
    },
    {
      id: 'alignment',
      statement:
        'Training brings activations and signals of every hidden layer together: their alignment (CKA) ends above its start, in every seed.',
      presets: ['embedded'],
      check: (results) => atLeast(results.summary('mlp/cka-rise').min, 0, { of: 'smallest rise of a layer, the worst seed' }),
    },
    {
      id: 'alignment-above-first',
      statement: 'The same of every hidden layer above the first (not from the paper: asked after the claim above had failed).',
      presets: ['embedded'],
      check: (results) => atLeast(results.summary('mlp/cka-rise-above-first').min, 0, { of: 'smallest rise of a layer, the worst seed' }),
    },
    {
      id: 'autoencoder',
      statement: 'An autoencoder trained by it reconstructs with at most 0.3 times the squared error of predicting the mean image.',
      presets: ['embedded'],
      check: (results) => atMost(results.mean('autoencoder/ccl'), 0.3, { of: 'mean image' }),
    },
    {
      id: 'memory',
      statement: 'A step of a network of 12 hidden layers keeps no more activations alive than one of 3.',
      check: (results) => atMost(results.mean('memory/ccl/12'), results.mean('memory/ccl/3'), { of: 'bytes for each example, 3 layers' }),
    },
  ],
  presets: {
    quick: {
      description: 'MLP of two hidden layers of 64 units on 2,000 images, 3 epochs; a small autoencoder on 320 images; one seed.',
      seeds: 1,
      seconds: 10,
      settings: {
        classifiers: [
          { ...fashion, title: 'MLP 784-64-64-10, 2,000 images', train: 2000, test: 1000, hidden: [64, 64], batchSize: 64, epochs: 3 },
        ],
        autoencoder: { ...autoencoder, train: 320, test: 100, channels: [4, 8], epochs: 2 },
      },
    },
    embedded: {
      description:
        'MLP of three hidden layers of 256 units on 20,000 Fashion-MNIST images (else 8,000 of MNIST-10k), 10 epochs, against six rivals; an autoencoder on 5,000 images.',
      seeds: 3,
      seconds: 240,
      settings: { classifiers: [fashion], autoencoder },
    },
    full: {
      description:
        'The MLP 784-256×5-10 and the CNN of five convolutions on all Fashion-MNIST images and, from your data folder, on those of MNIST (MLP), CIFAR-10 and CIFAR-100 that are there, 100 epochs; an autoencoder of 128 to 2048 channels on STL-10 from your data folder, else Fashion-MNIST.',
      seeds: 1,
      seconds: 1_000_000,
      settings: {
        classifiers: all.slice(1),
        autoencoder: {
          stl: true,
          train: 60_000,
          test: 10_000,
          channels: [128, 256, 1024, 2048],
          batchSize: 32,
          epochs: 50,
          learningRate: 0.01,
        },
      },
    },
  },
  async run(context) {
    const { classifiers, autoencoder: images } = context.settings
    const results: SeedResult[] = [await part(context, 'memory', countMemory)]
    const wanted = classifiers.flatMap(({ data }) => (data === 'images' ? [] : [data]))
    const found = wanted.length > 0 ? foundPaperSets(context.data, [...new Set(wanted)]) : []
    for (const settings of classifiers) {
      if (settings.data === 'images' || found.includes(settings.data)) results.push(await runClassifier(context, settings))
    }
    if (images !== undefined) results.push(await part(context, 'autoencoder', () => runAutoencoder(context, images)))
    return merged(results as Measured[])
  },
  tables(results) {
    const tables: Table[] = []
    for (const { name, title } of all.filter((one) => results.has(`${one.name}/ccl`))) {
      const kernels = results.has(`${name}/ccl/roughness`)
      tables.push({
        id: name,
        title: `${title}: accuracy on test images`,
        columns: [
          { key: 'method', label: 'method' },
          { key: 'accuracy', label: 'accuracy', better: 'higher' },
          ...(kernels ? [{ key: 'roughness', label: 'roughness of first-layer kernels' }] : []),
        ],
        rows: Object.entries(methods)
          .filter(([id]) => results.has(`${name}/${id}`))
          .map(([id, method]) => ({
            method,
            accuracy: cell(results, `${name}/${id}`),
            ...(kernels ? { roughness: cell(results, `${name}/${id}/roughness`) } : {}),
          })),
        note: 'Of the epochs the best on held-out images. All rivals share ELU, the rate and the clip of backpropagation; none is tuned. Random feedback and targets suffer most from that: with tanh, as their papers have it, they reach several points more, so their rows do not rank the methods. Roughness: squared steps between neighbouring weights over twice their variance; 1 is noise.',
      })
      const layers = [1, 2, 3, 4, 5].filter((l) => results.has(`${name}/cka/${l}/after`))
      tables.push({
        id: `${name}-cka`,
        title: `${title}: alignment (CKA) of activations and signals`,
        columns: [
          { key: 'layer', label: 'hidden layer' },
          { key: 'before', label: 'before training' },
          { key: 'after', label: 'after', better: 'higher' },
        ],
        rows: layers.map((l) => ({
          layer: String(l),
          before: cell(results, `${name}/cka/${l}/before`),
          after: cell(results, `${name}/cka/${l}/after`),
        })),
      })
    }
    if (results.has('autoencoder/ccl')) {
      tables.push({
        id: 'autoencoder',
        title: 'Autoencoder: squared error over that of the mean image',
        columns: [
          { key: 'method', label: 'method' },
          { key: 'error', label: 'error', better: 'lower' },
        ],
        rows: ['bp', 'ccl']
          .filter((id) => results.has(`autoencoder/${id}`))
          .map((id) => ({ method: methods[id], error: cell(results, `autoencoder/${id}`) })),
      })
    }
    tables.push({
      id: 'memory',
      title: 'Activations alive at once, bytes for each example, 256 units a layer',
      columns: [
        { key: 'method', label: 'method' },
        ...depths.map((depth) => ({ key: `depth${depth}`, label: `${depth} hidden layers`, digits: 0, better: 'lower' as const })),
      ],
      rows: ['bp', 'ccl'].map((id) => ({
        method: methods[id],
        ...Object.fromEntries(depths.map((depth) => [`depth${depth}`, results.mean(`memory/${id}/${depth}`)])),
      })),
      note: 'Counted on the trace of a training step, without parameters and their gradients.',
    })
    return tables
  },
  figures(results) {
    return all.flatMap(({ name, title }) => {
      const curves = Object.entries(methods).flatMap(([id, method]) =>
        results
          .series(`${name}/${id}/curve`)
          .flatMap((curve, seed) => (curve as number[]).map((accuracy, epoch) => ({ method, seed, epoch: epoch + 1, accuracy }))),
      )
      if (curves.length === 0) return []
      const alignment = results
        .series(`${name}/cka`)
        .flatMap((trajectory, seed) =>
          (trajectory as number[][]).flatMap((row, epoch) => row.map((cka, l) => ({ layer: `hidden layer ${l + 1}`, seed, epoch, cka }))),
        )
      const epoch = { field: 'epoch', type: 'quantitative' as const, title: 'epoch' }
      return [
        {
          id: `${name}-accuracy`,
          title: `${title}: accuracy on held-out images`,
          caption:
            'Counter-current learning rises more slowly than backpropagation, and above the network whose hidden layers stay random.',
          spec: {
            data: { values: curves },
            mark: 'line' as const,
            encoding: {
              x: epoch,
              y: {
                field: 'accuracy',
                type: 'quantitative' as const,
                aggregate: 'mean' as const,
                scale: { zero: false },
                title: 'accuracy',
              },
              color: { field: 'method', type: 'nominal' as const, title: 'method' },
            },
          },
        },
        {
          id: `${name}-cka`,
          title: `${title}: alignment of activations and signals`,
          caption:
            'Alignment (CKA) of hidden layers with the signals of the feedback network grows during training, but not that of the first.',
          spec: {
            data: { values: alignment },
            mark: 'line' as const,
            encoding: {
              x: epoch,
              y: { field: 'cka', type: 'quantitative' as const, aggregate: 'mean' as const, title: 'CKA' },
              color: { field: 'layer', type: 'nominal' as const, title: null },
            },
          },
        },
      ]
    })
  },
}
