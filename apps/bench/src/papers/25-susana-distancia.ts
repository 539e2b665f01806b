/**
 * Reproduces Mendez-Ruiz et al., "SuSana Distancia is all you need" (2023), arXiv 2305.09062: prototypical networks trained with
 * the Proto-Triplet and ICNN losses against cross-entropy alone, on classes that training has not seen.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { compile, DataError, fit, tree, type Tree } from '@bpf/core'
import { parseNpz } from '@bpf/core/data'
import { batchNorm, conv2d, dense, flatten, relu, resnet18, sequential, type Layer } from '@bpf/core/nn'
import { adam, stepDecay } from '@bpf/core/optim'
import { fold } from '@bpf/core/random'
import {
  episodeDataset,
  evaluateEpisodes,
  extractFeatures,
  icnnScore,
  meanInterval,
  nearestMean,
  prototypicalNetwork,
  type EpisodeLossName,
  type ExampleRows,
  type FeatureMatrix,
} from '@bpf/fewshot'
import * as tf from '@tensorflow/tfjs-core'
import { atLeast, equals } from '../claims'
import type { LabelledImages } from '../data/access'
import type { Paper, PaperResults, RunContext, SeedResult } from '../paper'

interface Settings {
  /** Fashion-MNIST's first five classes to train and last five to test, or miniImageNet from the user's folders. */
  set: 'five-and-five' | 'mini-imagenet'
  backbone: 'small' | 'resnet18'
  /** Trained and tested with each. */
  shots: readonly number[]
  /** Training queries of a class. */
  queries: number
  episodes: number
  /** The rate is halved after so many episodes. Default never. */
  halveEvery?: number
  testEpisodes: number
  /** Seeds that also train with the classic triplet loss. */
  baselineSeeds: number
  /** Seeds that also train with the other losses that no claim is about. */
  extraSeeds: number
}

const ways = 5
const testQueries = 15

type Losses = Readonly<Record<string, readonly EpisodeLossName[]>>

/** Trained for every seed. */
const claimed: Losses = { cross: ['cross'], fullicnn: ['fullicnn'] }
const baseline: Losses = { triplet: ['triplet'] }
/** Reported for the first seeds. */
const reported: Losses = {
  prototriplet: ['prototriplet'],
  'cross+prototriplet': ['cross', 'prototriplet'],
  'cross+fullicnn': ['cross', 'fullicnn'],
  'cross+fullicnn+prototriplet': ['cross', 'fullicnn', 'prototriplet'],
}
const titles: Readonly<Record<string, string>> = {
  cross: 'cross-entropy (prototypical network)',
  fullicnn: 'ICNN',
  triplet: 'classic triplet loss',
  prototriplet: 'Proto-Triplet',
  'cross+prototriplet': 'cross-entropy and Proto-Triplet',
  'cross+fullicnn': 'cross-entropy and ICNN',
  'cross+fullicnn+prototriplet': 'all three',
}

/** Three strided convolutions with batch norm, and 32 values without activation. */
function smallEncoder(): Layer<Tree, Tree> {
  const blocks = [16, 32, 32].map((channels) => [conv2d(channels, { kernelSize: 3, stride: 2, padding: 1 }), batchNorm(), relu()])
  return sequential([...blocks.flat(), flatten(), dense(32)]) as unknown as Layer<Tree, Tree>
}

interface Labelled {
  rows: ExampleRows
  labels: Int32Array
}

interface ClassSplit {
  train: Labelled
  /** Sets to test on, by the start of their values' names: '' is of the training images' kind. */
  tests: Readonly<Record<string, Labelled>>
}

function rowsOfClasses({ images, labels, height, width, maxValue }: LabelledImages, has: (label: number) => boolean): Labelled {
  const size = height * width
  const rows = Array.from(labels.keys()).filter((row) => has(labels[row]))
  const data = new Uint8Array(rows.length * size)
  rows.forEach((row, i) => data.set(images.subarray(row * size, (row + 1) * size), i * size))
  return { rows: { data, shape: [rows.length, height, width, 1], divisor: maxValue }, labels: Int32Array.from(rows, (row) => labels[row]) }
}

/** Classes 0 to 4 of the training images, and 5 to 9 of the test images: of the digits, which come in one piece, of all. */
async function fiveAndFive({ data }: RunContext<Settings>): Promise<ClassSplit> {
  const name = await data.firstFound(['fashion-mnist', 'mnist-10k'])
  const parts = name === 'fashion-mnist' ? (['train', 'test'] as const) : (['all', 'all'] as const)
  const [train, test] = [await data.load(name, parts[0]), await data.load(name, parts[1])]
  return { train: rowsOfClasses(train, (label) => label < 5), tests: { '': rowsOfClasses(test, (label) => label >= 5) } }
}

/** Other domains, all of whose classes are new. */
const otherDomains = ['cub', 'dogs', 'cars']

/**
 * `mini-imagenet-train.npz` and `mini-imagenet-test.npz`: `images` uint8 [n, 84, 84, 3] and `labels` [n]; and of CUB-200-2011, Stanford
 * Dogs and Stanford Cars what is there of `cub-test.npz`, `dogs-test.npz`, `cars-test.npz`.
 */
function miniImageNet({ data: { folders } }: RunContext<Settings>): ClassSplit {
  const find = (file: string) => folders.map((folder) => join(folder, file)).find((candidate) => existsSync(candidate))
  const read = (path: string): Labelled => {
    const arrays = parseNpz(new Uint8Array(readFileSync(path)), path)
    const [images, labels] = [arrays.get('images'), arrays.get('labels')]
    if (!(images?.data instanceof Uint8Array) || images.shape.length !== 4 || labels?.shape[0] !== images.shape[0]) {
      throw new DataError(`${path}: expected arrays images (uint8 [n, height, width, 3]) and labels [n]`)
    }
    return { rows: { data: images.data, shape: images.shape, divisor: 255 }, labels: Int32Array.from(labels.data as ArrayLike<number>) }
  }
  const [train, test] = ['mini-imagenet-train.npz', 'mini-imagenet-test.npz'].map((file) => {
    const path = find(file)
    if (path !== undefined) return path
    throw new DataError(
      `${file} was not found in ${folders.join(', ') || 'any folder (name one with --data-dir)'}: the full preset reads miniImageNet's 64 training and 20 test classes as arrays images (uint8 [n, 84, 84, 3]) and labels`,
    )
  })
  const others = otherDomains.map((name) => [`${name}/`, find(`${name}-test.npz`)] as const)
  const found = others.flatMap(([name, path]) => (path === undefined ? [] : [[name, read(path)] as const]))
  return { train: read(train), tests: { '': read(test), ...Object.fromEntries(found) } }
}

/** Embeddings of images, which stay bytes until their turn. */
async function embedAll(embed: (x: tf.Tensor) => tf.Tensor, { data, shape, divisor = 1 }: ExampleRows): Promise<FeatureMatrix> {
  const [n, ...dims] = shape
  const size = dims.reduce((product, dim) => product * dim, 1)
  const step = 1000
  const parts: FeatureMatrix[] = []
  for (let start = 0; start < n; start += step) {
    const end = Math.min(n, start + step)
    const pixels = tf.tensor(
      Float32Array.from(data.subarray(start * size, end * size), (value) => value / divisor),
      [end - start, ...dims],
    )
    parts.push(await extractFeatures(embed, pixels, { batchSize: 500 }))
    pixels.dispose()
  }
  const D = parts[0].shape[1]
  const values = new Float32Array(n * D)
  parts.forEach((part, i) => values.set(part.data, i * step * D))
  return { data: values, shape: [n, D] }
}

/** Accuracy on test episodes with its interval, %, and the mean ICNN score of their queries. */
async function testOn(context: RunContext<Settings>, embed: (x: tf.Tensor) => tf.Tensor, { rows, labels }: Labelled, shots: number) {
  const features = await embedAll(embed, rows)
  const take = (chosen: Int32Array): FeatureMatrix => {
    const D = features.shape[1]
    const values = new Float32Array(chosen.length * D)
    chosen.forEach((row, i) => values.set(features.data.subarray(row * D, (row + 1) * D), i * D))
    return { data: values, shape: [chosen.length, D] }
  }
  const score = compile((points: tf.Tensor, classes: tf.Tensor) => icnnScore(points, classes, { k: 4 }), { name: 'icnn' })
  const scores: number[] = []
  const size = { ways, shots, queries: testQueries, episodes: context.settings.testEpisodes }
  const { mean, interval } = evaluateEpisodes(fold(context.key, 2), labels, size, ({ support, supportLabels, query, queryLabels }) => {
    const queried = take(query)
    scores.push(
      tf.tidy(() => score(tf.tensor2d(queried.data as Float32Array, [...queried.shape]), tf.tensor1d(queryLabels, 'int32'))).dataSync()[0],
    )
    return nearestMean(take(support), supportLabels, queried)
  })
  return { accuracy: 100 * mean, interval: 100 * interval, icnn: meanInterval(scores).mean }
}

/** Trains with the losses, and gives `<set>/<shots>-shot/<what>/<name>` for each test set; 5 shots are not named. */
async function runLoss(context: RunContext<Settings>, data: ClassSplit, shots: number, name: string, losses: readonly EpisodeLossName[]) {
  const { key, settings, signal, reporter } = context
  const { queries, episodes, halveEvery } = settings
  const learner = prototypicalNetwork({
    backbone: settings.backbone === 'small' ? smallEncoder() : (resnet18() as unknown as Layer<Tree, Tree>),
    ways,
    shots,
    queries,
    losses,
    optimizer: adam({ learningRate: halveEvery === undefined ? 1e-3 : stepDecay(1e-3, { every: halveEvery, factor: 0.5 }) }),
  })
  // One key for all losses: the same start and the same episodes.
  const { state } = await fit(learner, episodeDataset(data.train.rows, data.train.labels, { ways, shots, queries, episodes }), {
    epochs: 1,
    key: fold(key, 1),
    signal,
    reporter: reporter(name),
  })
  const embed = compile((x: tf.Tensor) => learner.embed(state.tensors, x), { name: 'embed' })
  const values: Record<string, number> = {}
  for (const [set, labelled] of Object.entries(data.tests)) {
    for (const [what, value] of Object.entries(await testOn(context, embed, labelled, shots))) {
      values[`${prefixOf(set, shots)}${what}/${name}`] = value
    }
  }
  tree.dispose(state.tensors)
  return values
}

const prefixOf = (set: string, shots: number): string => `${set}${shots === 5 ? '' : `${shots}-shot/`}`

const difference = (results: PaperResults, name: string): number => results.mean(`difference/${name}`)

function standardError(results: PaperResults, name: string): number {
  const { spread, each } = results.summary(name)
  return spread / Math.sqrt(each.length)
}

const settings: Settings = {
  set: 'five-and-five',
  backbone: 'small',
  shots: [5],
  queries: 5,
  episodes: 150,
  testEpisodes: 100,
  baselineSeeds: 25,
  extraSeeds: 5,
}

export const paper: Paper<Settings> = {
  number: 25,
  slug: 'susana-distancia',
  title:
    'SuSana Distancia is all you need: Enforcing class separability in metric learning via two novel distance-based loss functions for few-shot image classification',
  arxiv: '2305.09062',
  package: '@bpf/fewshot',
  claims: [
    {
      id: 'icnn-above-cross',
      statement: 'On unseen classes the ICNN loss alone gives at least 0.5 points more than cross-entropy (paired means over seeds).',
      presets: ['embedded'],
      check: (results) => atLeast(difference(results, 'fullicnn'), 0.5),
    },
    {
      id: 'icnn-adds-on-mini-imagenet',
      statement: 'On miniImageNet cross-entropy with the ICNN loss gives at least 1 point more than cross-entropy alone.',
      presets: ['full'],
      check: (results) => atLeast(difference(results, 'cross+fullicnn'), 1),
    },
    {
      id: 'finite',
      statement: 'Every accuracy and score is a number.',
      check: (results) => equals(results.mean('not-finite'), 0),
    },
  ],
  presets: {
    quick: {
      description: 'Cross-entropy and ICNN on five classes of Fashion-MNIST or digits, tested on the five others; fewer episodes',
      seeds: 2,
      seconds: 10,
      settings: { ...settings, episodes: 60, testEpisodes: 40, baselineSeeds: 0, extraSeeds: 0 },
    },
    embedded: {
      description:
        'Fashion-MNIST, five classes to train and five to test, 150 episodes, 25 paired seeds; combinations and Proto-Triplet for 5',
      seeds: 25,
      seconds: 240,
      settings,
    },
    full: {
      description:
        "miniImageNet from the user's folders, and CUB, Dogs and Cars where they are there; ResNet-18, 5-way 1- and 5-shot, 600 test episodes",
      seeds: 3,
      seconds: 3_000_000,
      settings: {
        set: 'mini-imagenet',
        backbone: 'resnet18',
        shots: [1, 5],
        queries: 15,
        episodes: 20_000,
        halveEvery: 4000,
        testEpisodes: 600,
        baselineSeeds: 3,
        extraSeeds: 3,
      },
    },
  },
  async run(context): Promise<SeedResult> {
    const { settings: chosen, seed, signal, onlyClaims } = context
    const data = chosen.set === 'mini-imagenet' ? miniImageNet(context) : await fiveAndFive(context)
    const compared = ['cross', chosen.set === 'mini-imagenet' ? 'cross+fullicnn' : 'fullicnn']
    const trained = Object.entries({
      ...claimed,
      ...(seed < chosen.baselineSeeds && baseline),
      ...(seed < chosen.extraSeeds && reported),
    }).filter(([name]) => !onlyClaims || compared.includes(name))
    const values: Record<string, number> = {}
    for (const shots of chosen.shots) {
      for (const [name, losses] of trained) {
        signal.throwIfAborted()
        Object.assign(values, await context.part(`${shots}-shot/${name}`, () => runLoss(context, data, shots, name, losses)))
        if (name === 'cross') continue
        for (const prefix of Object.keys(data.tests).map((set) => prefixOf(set, shots))) {
          values[`${prefix}difference/${name}`] = values[`${prefix}accuracy/${name}`] - values[`${prefix}accuracy/cross`]
        }
      }
    }
    return { values: { ...values, 'not-finite': Object.values(values).filter((value) => !Number.isFinite(value)).length } }
  },
  tables(results) {
    const cell = (name: string) => ({ mean: results.mean(name), spread: results.summary(name).spread })
    const prefixes = ['', ...otherDomains.map((name) => `${name}/`)].flatMap((set) => [5, 1].map((shots) => ({ set, shots })))
    return prefixes.flatMap(({ set, shots }) => {
      const prefix = prefixOf(set, shots)
      const names = Object.keys(titles).filter((name) => results.has(`${prefix}accuracy/${name}`))
      if (names.length === 0) return []
      const domain = set === '' ? '' : `, ${set.slice(0, -1)}`
      return [
        {
          id: `${prefix}accuracy`.replaceAll('/', '-'),
          title: `Accuracy on unseen classes, 5-way ${shots}-shot, nearest prototype${domain}`,
          columns: [
            { key: 'loss', label: 'loss' },
            { key: 'accuracy', label: 'accuracy, %', digits: 1, better: 'higher' as const },
            { key: 'difference', label: 'against cross-entropy, points', digits: 2, better: 'higher' as const },
            { key: 'error', label: 'its standard error', digits: 2 },
            { key: 'icnn', label: 'ICNN score of queries', digits: 3 },
            { key: 'seeds', label: 'seeds', digits: 0 },
          ],
          rows: names.map((name) => ({
            loss: titles[name],
            accuracy: cell(`${prefix}accuracy/${name}`),
            difference: name === 'cross' ? null : results.mean(`${prefix}difference/${name}`),
            error: name === 'cross' ? null : standardError(results, `${prefix}difference/${name}`),
            icnn: cell(`${prefix}icnn/${name}`),
            seeds: results.summary(`${prefix}accuracy/${name}`).each.length,
          })),
          note: 'Spread over seeds. Differences are paired: each seed starts all losses from the same weights and trains them on the same episodes. Combinations, Proto-Triplet and the classic triplet loss are reported, not claimed.',
        },
      ]
    })
  },
  figures(results) {
    const values = results.seeds.flatMap(({ seed, result }) =>
      Object.keys(titles)
        .filter((name) => `difference/${name}` in result.values)
        .map((name) => ({ seed, loss: titles[name], difference: result.values[`difference/${name}`] })),
    )
    return [
      {
        id: 'differences',
        title: 'Difference from cross-entropy, seed by seed',
        caption: 'Each point is one seed. The spread of several points is why 25 seeds are needed to see half a point.',
        spec: {
          data: { values },
          layer: [
            {
              mark: { type: 'point' as const, filled: true },
              encoding: {
                x: { field: 'difference', type: 'quantitative' as const, title: 'points of accuracy' },
                y: { field: 'loss', type: 'nominal' as const, title: null },
              },
            },
            { mark: { type: 'rule' as const, strokeDash: [4, 4] }, encoding: { x: { datum: 0 } } },
          ],
        },
      },
    ]
  },
}
