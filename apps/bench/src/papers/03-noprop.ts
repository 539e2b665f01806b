/**
 * Reproduces Li, Teh and Pascanu, "NoProp: Training Neural Networks without Back-propagation or Forward-propagation", 2025,
 * arXiv 2503.24322: blocks trained alone against backpropagation through the same chain, one noisy run of the chain against its
 * mean, continuous time and flow matching, and the activations that are alive at a time.
 */
import { compile, fit, tree, type Key } from '@bpf/core'
import { batch, fromArrays, shuffle } from '@bpf/core/data'
import { mlp } from '@bpf/core/nn'
import { adam, adamw, chain, clipByGlobalNorm } from '@bpf/core/optim'
import { fold } from '@bpf/core/random'
import {
  backpropagation,
  classifierOf,
  noProp,
  noPropAdjoint,
  noPropBackpropagation,
  noPropConvBlock,
  noPropDenseBlock,
  type NoPropClassifier,
  type NoPropState,
} from '@bpf/local'
import * as tf from '@tensorflow/tfjs-core'
import { activationBytesOf } from '../activation-bytes'
import { atLeast, atMost } from '../claims'
import { imageSets, slice, type ImageSet } from '../data/image-sets'
import { foundPaperSets, hasPaperSet, paperSet, type PaperSetName } from '../data/paper-sets'
import type { Claim, Paper, PaperResults, RunContext, SeedResult, Series, Verdict } from '../paper'

/** Dense blocks on rows of pixels. */
interface DenseSettings {
  train: number
  test: number
  /** Blocks T. */
  steps: number
  epochs: number
  /** Runs whose probabilities are averaged, beside single runs. */
  samples: number
  /** One network of time, on the first so many images. */
  continuous?: { train: number; epochs: number; ctSteps: number; fmSteps: number; adjointSteps: number; samples: number }
}

type FullSet = (typeof fullSets)[number] | 'fashion-mnist'

/** The paper's convolutional block and prototypes. */
interface ConvSettings {
  steps: number
  batchSize: number
  epochs: Readonly<Record<FullSet, number>>
}

interface Settings {
  dense?: DenseSettings
  conv?: ConvSettings
}

/** Inference runs whose accuracy is averaged, as in the paper. */
const inferenceRuns = 5
const batchSize = 128
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)

const denseBlock = noPropDenseBlock({ x: [128], z: [64], trunk: [64] })
const timedBlock = noPropDenseBlock({ x: [256], z: [64], time: 64, trunk: [256] })

interface Trained {
  state: NoPropState
  loss: number[]
}

async function train(
  context: RunContext<Settings>,
  name: string,
  method: NoPropClassifier,
  images: ImageSet,
  epochs: number,
  size: number,
  key: Key,
): Promise<Trained> {
  const examples = batch(shuffle(fromArrays({ x: images.x, y: images.y })), size)
  const { state, history } = await fit(method, examples, { epochs, key, reporter: context.reporter(name), signal: context.signal })
  context.signal.throwIfAborted()
  return { state: state.tensors, loss: history.map(({ metrics }) => metrics.loss) }
}

/** Test accuracy of single runs with keys of their own. */
async function accuracies(method: NoPropClassifier, state: NoPropState, test: ImageSet, key: Key, runs: number): Promise<number[]> {
  const model = classifierOf(method, { tensors: state, host: null })
  const each: number[] = []
  for (let run = 0; run < runs; run++) each.push(await model.score(test.x, test.y, { key: fold(key, run), batchSize: 500 }))
  return each
}

async function accuracy(method: NoPropClassifier, state: NoPropState, test: ImageSet, key: Key, runs = 1): Promise<number> {
  return sum(await accuracies(method, state, test, key, runs)) / runs
}

/** Accuracy of the embedding nearest to z_t, for t = 0..T. */
async function nearestAccuracies(method: NoPropClassifier, state: NoPropState, test: ImageSet, key: Key): Promise<number[]> {
  const correct = compile((tensors: NoPropState, x: tf.Tensor, y: tf.Tensor, k: Key) => {
    const path = method.trajectory(tensors, x, k)
    const W = tensors.embedding
    const closeness = tf.sub(tf.matMul(path, W, false, true), tf.div(tf.sum(tf.square(W), 1), 2))
    return tf.sum(tf.cast(tf.equal(tf.argMax(closeness, -1), tf.cast(y, 'int32')), 'float32'), 1)
  })
  const totals: number[] = []
  const size = 500
  for (let from = 0; from < test.y.length; from += size) {
    const part = slice(test, from, Math.min(from + size, test.y.length))
    const [x, y] = [tf.tensor(part.x.data, [...part.x.shape]), tf.tensor1d(part.y, 'int32')]
    const counts = correct(state, x, y, fold(key, from))
    const values = await counts.data()
    values.forEach((count, t) => (totals[t] = (totals[t] ?? 0) + count / test.y.length))
    tf.dispose([x, y, counts])
  }
  return totals
}

type Options = Parameters<typeof noPropBackpropagation>[0]

/** NoProp-DT and backpropagation through the same chain. */
async function runDiscrete(context: RunContext<Settings>, settings: DenseSettings): Promise<SeedResult> {
  const { key, onlyClaims } = context
  const { steps, epochs, samples } = settings
  const images = await imageSets(context.data, { train: settings.train, test: settings.test, flatten: true })
  const options: Options = {
    classes: images.train.classes,
    steps,
    block: denseBlock,
    optimizer: adamw({ learningRate: 1e-3, weightDecay: 1e-3 }),
    readoutOptimizer: adamw({ learningRate: 1e-2, weightDecay: 1e-3 }),
  }
  const [noisy, mean] = (['noisy', 'mean'] as const).map((inference) => noProp({ ...options, inference }))
  const { state, loss } = await train(context, 'NoProp-DT', mean, images.train, epochs, batchSize, fold(key, 1))
  const nearest = await nearestAccuracies(mean, state, images.test, fold(key, 2))
  const values: Record<string, number> = {
    'dt/noisy': await accuracy(noisy, state, images.test, fold(key, 3), inferenceRuns),
    'dt/mean': await accuracy(mean, state, images.test, fold(key, 2)),
    'dt/first-step': nearest[1],
    'dt/last-step': nearest[steps],
  }
  const averaged = noProp({ ...options, inference: 'noisy', samples })
  if (!onlyClaims) values['dt/averaged'] = await accuracy(averaged, state, images.test, fold(key, 4))
  tree.dispose(state)

  const baseline = noPropBackpropagation(options)
  const whole = await train(context, 'backpropagation', baseline, images.train, epochs, batchSize, fold(key, 5))
  values['bp/noisy'] = await accuracy(baseline, whole.state, images.test, fold(key, 3), inferenceRuns)
  if (!onlyClaims) {
    values['bp/mean'] = await accuracy(noPropBackpropagation({ ...options, inference: 'mean' }), whole.state, images.test, fold(key, 2))
    values['plain/accuracy'] = await plainAccuracy(context, images, epochs, fold(key, 6))
  }
  tree.dispose(whole.state)
  return { values, series: { 'dt/nearest': nearest, 'dt/loss': loss, 'bp/loss': whole.loss } }
}

/** The first block's x path as a network of its own, without z. */
async function plainAccuracy(
  context: RunContext<Settings>,
  images: { train: ImageSet; test: ImageSet },
  epochs: number,
  key: Key,
): Promise<number> {
  const method = backpropagation({ network: mlp({ hidden: [128, 64], outputs: images.train.classes }), classes: images.train.classes })
  const examples = batch(shuffle(fromArrays({ x: images.train.x, y: images.train.y })), batchSize)
  const { state } = await fit(method, examples, { epochs, key, reporter: context.reporter('plain network'), signal: context.signal })
  context.signal.throwIfAborted()
  const model = classifierOf(method, state)
  const score = await model.score(images.test.x, images.test.y, { batchSize: 500 })
  model.dispose()
  return score
}

/** NoProp-CT with its samplers, and NoProp-FM. */
async function runContinuous(context: RunContext<Settings>, { test }: DenseSettings, settings: NonNullable<DenseSettings['continuous']>) {
  const { key, onlyClaims } = context
  const images = await imageSets(context.data, { train: settings.train, test, flatten: true })
  const values: Record<string, number> = {}
  const common = { classes: images.train.classes, block: timedBlock }
  const optimizer = chain(clipByGlobalNorm(1), adam({ learningRate: 3e-3 }))
  const ct = (options: { sampler?: 'ancestral' | 'sde' | 'ode'; inference?: 'mean' | 'noisy'; samples?: number }) =>
    noProp({ ...common, variant: 'ct', optimizer, steps: settings.ctSteps, ...options })
  const continuous = await train(context, 'NoProp-CT', ct({}), images.train, settings.epochs, batchSize, fold(key, 11))
  values['ct/mean'] = await accuracy(ct({}), continuous.state, images.test, fold(key, 12))
  if (!onlyClaims) {
    values['ct/ancestral'] = await accuracy(ct({ inference: 'noisy' }), continuous.state, images.test, fold(key, 13))
    values['ct/ode'] = await accuracy(ct({ sampler: 'ode' }), continuous.state, images.test, fold(key, 14))
    values['ct/ode-averaged'] = await accuracy(
      ct({ sampler: 'ode', samples: settings.samples }),
      continuous.state,
      images.test,
      fold(key, 15),
    )
  }
  tree.dispose(continuous.state)
  if (!onlyClaims) {
    const adjoint = noPropAdjoint({ ...common, optimizer, steps: settings.adjointSteps })
    const { state } = await train(context, 'adjoint', adjoint, images.train, settings.epochs, batchSize, fold(key, 11))
    values['ct/adjoint'] = await accuracy(adjoint, state, images.test, fold(key, 14))
    tree.dispose(state)
  }
  const fm = (samples: number) =>
    noProp({ ...common, variant: 'fm', embedding: 'learned', optimizer: adam({ learningRate: 3e-3 }), steps: settings.fmSteps, samples })
  const flow = await train(context, 'NoProp-FM', fm(1), images.train, settings.epochs, batchSize, fold(key, 21))
  values['fm/one'] = await accuracy(fm(1), flow.state, images.test, fold(key, 22))
  values['fm/averaged'] = await accuracy(fm(settings.samples), flow.state, images.test, fold(key, 23))
  tree.dispose(flow.state)
  return { values }
}

/** Bytes of activations for each example that are alive at once in a training step. */
function activations(steps: number, isLocal: boolean): number {
  const options = { classes: 10, steps, block: denseBlock }
  const method = isLocal ? noProp({ ...options, blocksAtOnce: 1 }) : noPropBackpropagation(options)
  return activationBytesOf(method, [784])
}

function runMemory(): SeedResult {
  const values: Record<string, number> = {}
  for (const steps of [4, 16]) {
    values[`memory/dt-${steps}`] = activations(steps, true)
    values[`memory/bp-${steps}`] = activations(steps, false)
  }
  return { values }
}

const fullSets = ['mnist', 'cifar-10', 'cifar-100'] as const satisfies readonly PaperSetName[]

/** NoProp-DT with the paper's block and prototypes, and backpropagation through the same chain. */
async function runConv(context: RunContext<Settings>, settings: ConvSettings, name: FullSet): Promise<SeedResult> {
  const images = await (name === 'fashion-mnist' ? imageSets(context.data, { train: 60_000, test: 10_000 }) : paperSet(context.data, name))
  const shape = images.train.x.shape.slice(1)
  const options: Options = {
    classes: images.train.classes,
    steps: settings.steps,
    block: noPropConvBlock({ prototype: shape }),
    embedding: 'prototype',
    inference: 'noisy',
  }
  const key = fold(context.key, 31 + [...fullSets, 'fashion-mnist'].indexOf(name))
  const values: Record<string, number> = {}
  for (const [id, method] of Object.entries({ dt: noProp(options), bp: noPropBackpropagation(options) })) {
    if (context.onlyClaims && id === 'bp') continue
    const label = id === 'dt' ? name : `${name}, backpropagation`
    const { state } = await train(context, label, method, images.train, settings.epochs[name], settings.batchSize, fold(key, 0))
    values[`${name}/${id}`] = await accuracy(method, state, images.test, fold(key, 1), inferenceRuns)
    tree.dispose(state)
  }
  return { values }
}

async function runFull(context: RunContext<Settings>, settings: ConvSettings): Promise<SeedResult[]> {
  const found: FullSet[] = fullSets.filter((name) => hasPaperSet(context.data, name))
  const fallback = await context.data.firstFound(['fashion-mnist', 'mnist-10k'])
  const results: SeedResult[] = []
  // Without Fashion-MNIST the error names the files of the paper's sets.
  const names = found.length > 0 ? found : fallback === 'fashion-mnist' ? [fallback] : foundPaperSets(context.data, fullSets)
  for (const name of names) results.push(await kept(context, name, () => runConv(context, settings, name)))
  return results
}

const methods: Readonly<Record<string, string>> = {
  'dt/noisy': 'NoProp-DT, one noisy run (mean of 5)',
  'dt/averaged': 'NoProp-DT, noisy runs averaged',
  'dt/mean': 'NoProp-DT, mean chain (ε = 0)',
  'bp/noisy': 'backpropagation through the chain, one noisy run (mean of 5)',
  'bp/mean': 'backpropagation through the chain, mean chain',
  'plain/accuracy': 'network without z, backpropagation',
  'ct/mean': 'NoProp-CT, ancestral, mean chain',
  'ct/ancestral': 'NoProp-CT, ancestral, one noisy run',
  'ct/ode': 'NoProp-CT, probability flow, one run',
  'ct/ode-averaged': 'NoProp-CT, probability flow, runs averaged',
  'ct/adjoint': 'the same flow in 10 steps, trained by the adjoint equation',
  'fm/one': 'NoProp-FM, learned embedding, one run',
  'fm/averaged': 'NoProp-FM, learned embedding, runs averaged',
}

const embedded: DenseSettings = {
  train: 20_000,
  test: 10_000,
  steps: 10,
  epochs: 6,
  samples: 20,
  continuous: { train: 10_000, epochs: 10, ctSteps: 100, fmSteps: 50, adjointSteps: 10, samples: 5 },
}

/** A claim about a set that only the user's folder has. */
function fullClaim(name: FullSet, title: string, bound: number, reported: string): Claim {
  return {
    id: `${name}-prototypes`,
    statement: `On ${title} NoProp-DT with the paper's block and prototypes reaches at least ${bound * 100} % test accuracy.`,
    presets: ['full'],
    reported,
    check(results: PaperResults): Verdict {
      if (results.has(`${name}/dt`)) return atLeast(results.mean(`${name}/dt`), bound)
      return {
        holds: false,
        measured: { text: `not measured: no ${title} in the data folder` },
        expected: { text: `≥ ${bound}`, value: bound },
      }
    },
  }
}

export const paper: Paper<Settings> = {
  number: 3,
  slug: 'noprop',
  title: 'NoProp: Training Neural Networks without Full Back-propagation or Full Forward-propagation',
  arxiv: '2503.24322',
  package: '@bpf/local',
  claims: [
    {
      id: 'dt-against-backpropagation',
      statement:
        'With the same blocks and epochs, one noisy run of NoProp-DT is at least 5 points more accurate than one of the chain trained by backpropagation.',
      presets: ['quick', 'embedded'],
      reported: 'MNIST 99.54 against 99.46 %, CIFAR-10 80.54 against 79.92 %, CIFAR-100 46.06 against 47.80 %, trained to the end',
      check: (results) => atLeast(results.mean('dt/noisy'), results.mean('bp/noisy') + 0.05, { of: 'backpropagation + 0.05' }),
    },
    {
      id: 'mean-inference',
      statement: 'The mean chain (ε = 0) of NoProp-DT reaches at least 82 % test accuracy.',
      presets: ['embedded'],
      check: (results) => atLeast(results.mean('dt/mean'), 0.82),
    },
    {
      id: 'mean-against-noisy',
      statement: 'The mean chain is at least 2 points more accurate than one noisy run, which samples a label.',
      presets: ['embedded'],
      check: (results) => atLeast(results.mean('dt/mean'), results.mean('dt/noisy') + 0.02, { of: 'one noisy run + 0.02' }),
    },
    {
      id: 'blocks-add-up',
      statement: 'Along the mean chain the accuracy of the embedding nearest to z_t rises by at least 20 points from t = 1 to t = T.',
      presets: ['quick', 'embedded'],
      check: (results) => atLeast(results.mean('dt/last-step') - results.mean('dt/first-step'), 0.2),
    },
    {
      id: 'continuous-time',
      statement: 'NoProp-CT with a learned schedule reaches at least 75 % with 100 mean ancestral steps.',
      presets: ['embedded'],
      check: (results) => atLeast(results.mean('ct/mean'), 0.75),
    },
    {
      id: 'flow-matching',
      statement: 'NoProp-FM with a learned embedding reaches at least 70 % in one run of 50 Euler steps.',
      presets: ['embedded'],
      check: (results) => atLeast(results.mean('fm/one'), 0.7),
    },
    {
      id: 'flow-matching-averaged',
      statement: 'Five runs of NoProp-FM averaged reach at least 73 %.',
      presets: ['embedded'],
      check: (results) => atLeast(results.mean('fm/averaged'), 0.73),
    },
    {
      id: 'memory',
      statement: 'Activations alive in a step of NoProp-DT (block after block) grow by less than 10 % from 4 blocks to 16.',
      presets: ['quick', 'embedded'],
      reported: 'GPU memory on CIFAR-10: 0.64 GB against 1.17 GB for backpropagation',
      check: (results) => atMost(results.mean('memory/dt-16'), 1.1 * results.mean('memory/dt-4'), { of: 'bytes of 4 blocks × 1.1' }),
    },
    {
      id: 'memory-of-backpropagation',
      statement: 'With 16 blocks backpropagation through the chain keeps at least 5 times the activations of NoProp-DT.',
      presets: ['quick', 'embedded'],
      check: (results) => atLeast(results.mean('memory/bp-16'), 5 * results.mean('memory/dt-16'), { of: 'bytes of NoProp-DT × 5' }),
    },
    fullClaim('mnist', 'MNIST', 0.994, '99.54 %'),
    fullClaim('cifar-10', 'CIFAR-10', 0.79, '80.54 %'),
    fullClaim('cifar-100', 'CIFAR-100', 0.45, '46.06 %'),
  ],
  presets: {
    quick: {
      description:
        'NoProp-DT and backpropagation with 10 dense blocks on 4,000 images of Fashion-MNIST (else MNIST-10k), 2 epochs, one seed.',
      seeds: 1,
      seconds: 8,
      settings: { dense: { train: 4000, test: 1000, steps: 10, epochs: 2, samples: 20 } },
    },
    embedded: {
      description:
        'NoProp-DT and backpropagation with 10 dense blocks on 20,000 images of Fashion-MNIST (else MNIST-10k), 6 epochs; NoProp-CT and NoProp-FM on 10,000, 10 epochs.',
      seeds: 3,
      seconds: 270,
      settings: { dense: embedded },
    },
    full: {
      description:
        "NoProp-DT with the paper's convolutional block and prototypes on MNIST, CIFAR-10 and CIFAR-100, whichever are in your data folder; else on all of Fashion-MNIST.",
      seeds: 3,
      seconds: 3_000_000,
      settings: {
        conv: { steps: 10, batchSize: 128, epochs: { mnist: 100, 'fashion-mnist': 100, 'cifar-10': 150, 'cifar-100': 150 } },
      },
    },
  },
  async run(context) {
    const { dense, conv } = context.settings
    const results: SeedResult[] = []
    if (dense !== undefined) {
      results.push(runMemory(), await kept(context, 'dt', () => runDiscrete(context, dense)))
      const { continuous } = dense
      if (continuous !== undefined) results.push(await kept(context, 'ct-fm', () => runContinuous(context, dense, continuous)))
    }
    if (conv !== undefined) results.push(...(await runFull(context, conv)))
    return {
      values: Object.assign({}, ...results.map(({ values }) => values)) as Record<string, number>,
      series: Object.assign({}, ...results.map(({ series }) => series ?? {})) as Record<string, Series>,
    }
  },
  tables(results) {
    const cell = (name: string) => {
      if (!results.has(name)) return null
      const { mean, spread } = results.summary(name)
      return { mean, spread }
    }
    const full = [...fullSets, 'fashion-mnist'].filter((name) => results.has(`${name}/dt`))
    const tables = []
    if (results.has('dt/noisy')) {
      tables.push({
        id: 'accuracy',
        title: 'Test accuracy',
        columns: [
          { key: 'method', label: 'method' },
          { key: 'accuracy', label: 'accuracy', better: 'higher' as const },
        ],
        rows: Object.entries(methods)
          .filter(([name]) => results.has(name))
          .map(([name, method]) => ({ method, accuracy: cell(name) })),
        note: 'CT and FM are trained on half as many images. A noisy run samples a label about as likely as it is; the mean chain takes the likeliest.',
      })
    }
    if (results.has('memory/dt-4')) {
      tables.push({
        id: 'memory',
        title: 'Activations alive at once in a training step, bytes per example',
        columns: [
          { key: 'method', label: 'method' },
          ...[4, 16].map((steps) => ({ key: `t${steps}`, label: `${steps} blocks`, digits: 0, better: 'lower' as const })),
        ],
        rows: Object.entries({ dt: 'NoProp-DT, block after block', bp: 'backpropagation through the chain' }).map(([name, method]) => ({
          method,
          t4: results.mean(`memory/${name}-4`),
          t16: results.mean(`memory/${name}-16`),
        })),
      })
    }
    if (full.length > 0) {
      tables.push({
        id: 'full',
        title: "Test accuracy with the paper's block, noisy runs",
        columns: [
          { key: 'set', label: 'data' },
          { key: 'accuracy', label: 'NoProp-DT', better: 'higher' as const },
          { key: 'bp', label: 'backpropagation through the chain', better: 'higher' as const },
        ],
        rows: full.map((name) => ({ set: name, accuracy: cell(`${name}/dt`), bp: cell(`${name}/bp`) })),
      })
    }
    return tables
  },
  figures(results) {
    const chains = results
      .series('dt/nearest')
      .flatMap((series, seed) => (series as number[]).map((value, t) => ({ seed: `seed ${seed}`, t, accuracy: value })))
    if (chains.length === 0) return []
    const bars = Object.entries(methods)
      .filter(([name]) => results.has(name))
      .map(([name, method]) => ({ method, accuracy: results.mean(name) }))
    return [
      {
        id: 'chain',
        title: 'From noise to label along the chain of NoProp-DT',
        caption:
          'Without noise in its steps, the embedding nearest to z_t is right more often with each block, though none was trained with another.',
        spec: {
          data: { values: chains },
          mark: { type: 'line' as const, point: true },
          encoding: {
            x: { field: 't', type: 'quantitative' as const, title: 't (blocks run)' },
            y: { field: 'accuracy', type: 'quantitative' as const, title: 'test accuracy of the nearest embedding' },
            color: { field: 'seed', type: 'nominal' as const, title: null },
          },
        },
      },
      {
        id: 'accuracy',
        title: 'Test accuracy by method and inference',
        caption:
          'Blocks trained alone beat the same blocks trained through the noisy chain; averaging runs or leaving out the noise adds points.',
        spec: {
          data: { values: bars },
          mark: 'bar' as const,
          encoding: {
            y: { field: 'method', type: 'nominal' as const, sort: null, title: null },
            x: { field: 'accuracy', type: 'quantitative' as const, title: 'test accuracy' },
          },
        },
      },
    ]
  },
}

/** A result that a resumed run reads instead of computing it again. */
async function kept(context: RunContext<Settings>, name: string, compute: () => Promise<SeedResult>): Promise<SeedResult> {
  return context.part(name, async () => {
    const { values, series } = await compute()
    return { values, series: series ?? {} }
  })
}
