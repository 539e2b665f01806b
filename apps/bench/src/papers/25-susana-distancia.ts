/**
 * Reproduces Mendez-Ruiz et al., "SuSana Distancia is all you need" (2023), arXiv 2305.09062: prototypical networks trained with
 * the Proto-Triplet and ICNN losses against cross-entropy alone, on classes that training has not seen.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { compile, DataError, fit, type Tree } from '@bpf/core'
import { parseNpz } from '@bpf/core/data'
import { batchNorm, conv2d, dense, flatten, relu, resnet18, sequential, type Layer } from '@bpf/core/nn'
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
  shots: number
  /** Training queries of a class. */
  queries: number
  episodes: number
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

interface ClassSplit {
  train: ExampleRows
  trainLabels: Int32Array
  test: ExampleRows
  testLabels: Int32Array
}

function rowsOfClasses({ images, labels, height, width, maxValue }: LabelledImages, has: (label: number) => boolean) {
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
  const [seen, unseen] = [rowsOfClasses(train, (label) => label < 5), rowsOfClasses(test, (label) => label >= 5)]
  return { train: seen.rows, trainLabels: seen.labels, test: unseen.rows, testLabels: unseen.labels }
}

/** `mini-imagenet-train.npz` and `mini-imagenet-test.npz`: `images` uint8 [n, 84, 84, 3] and `labels` [n]. */
function miniImageNet({ data: { folders } }: RunContext<Settings>): ClassSplit {
  const read = (part: 'train' | 'test') => {
    const file = `mini-imagenet-${part}.npz`
    const path = folders.map((folder) => join(folder, file)).find((candidate) => existsSync(candidate))
    if (path === undefined) {
      throw new DataError(
        `${file} was not found in ${folders.join(', ') || 'any folder (name one with --data-dir)'}: the full preset reads miniImageNet's 64 training and 20 test classes as arrays images (uint8 [n, 84, 84, 3]) and labels`,
      )
    }
    const arrays = parseNpz(new Uint8Array(readFileSync(path)), path)
    const [images, labels] = [arrays.get('images'), arrays.get('labels')]
    if (!(images?.data instanceof Uint8Array) || images.shape.length !== 4 || labels?.shape[0] !== images.shape[0]) {
      throw new DataError(`${path}: expected arrays images (uint8 [n, height, width, 3]) and labels [n]`)
    }
    return { rows: { data: images.data, shape: images.shape, divisor: 255 }, labels: Int32Array.from(labels.data as ArrayLike<number>) }
  }
  const [seen, unseen] = [read('train'), read('test')]
  return { train: seen.rows, trainLabels: seen.labels, test: unseen.rows, testLabels: unseen.labels }
}

async function runLoss(context: RunContext<Settings>, data: ClassSplit, name: string, losses: readonly EpisodeLossName[]) {
  const { key, settings, signal, reporter } = context
  const { shots, queries, episodes, testEpisodes } = settings
  const learner = prototypicalNetwork({
    backbone: settings.backbone === 'small' ? smallEncoder() : (resnet18() as unknown as Layer<Tree, Tree>),
    ways,
    shots,
    queries,
    losses,
  })
  // One key for all losses: the same start and the same episodes.
  const { state } = await fit(learner, episodeDataset(data.train, data.trainLabels, { ways, shots, queries, episodes }), {
    epochs: 1,
    key: fold(key, 1),
    signal,
    reporter: reporter(name),
  })
  const embed = compile((x: tf.Tensor) => learner.embed(state.tensors, x), { name: 'embed' })
  const pixels = tf.tidy(() => tf.div(tf.cast(tf.tensor(data.test.data, [...data.test.shape], 'int32'), 'float32'), data.test.divisor ?? 1))
  const features = await extractFeatures(embed, pixels, { batchSize: 500 })
  pixels.dispose()
  const take = (rows: Int32Array): FeatureMatrix => {
    const D = features.shape[1]
    const values = new Float32Array(rows.length * D)
    rows.forEach((row, i) => values.set(features.data.subarray(row * D, (row + 1) * D), i * D))
    return { data: values, shape: [rows.length, D] }
  }
  const score = compile((points: tf.Tensor, labels: tf.Tensor) => icnnScore(points, labels, { k: 4 }), { name: 'icnn' })
  const scores: number[] = []
  const size = { ways, shots, queries: testQueries, episodes: testEpisodes }
  const { mean, interval } = evaluateEpisodes(fold(key, 2), data.testLabels, size, ({ support, supportLabels, query, queryLabels }) => {
    const queried = take(query)
    scores.push(
      tf.tidy(() => score(tf.tensor2d(queried.data as Float32Array, [...queried.shape]), tf.tensor1d(queryLabels, 'int32'))).dataSync()[0],
    )
    return nearestMean(take(support), supportLabels, queried)
  })
  return { accuracy: 100 * mean, interval: 100 * interval, icnn: meanInterval(scores).mean }
}

const difference = (results: PaperResults, name: string): number => results.mean(`difference/${name}`)

function standardError(results: PaperResults, name: string): number {
  const { spread, each } = results.summary(name)
  return spread / Math.sqrt(each.length)
}

const settings: Settings = {
  set: 'five-and-five',
  backbone: 'small',
  shots: 5,
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
      description: "miniImageNet from the user's folders, ResNet-18, 5-way 5-shot, 600 test episodes",
      seeds: 3,
      seconds: 36_000,
      settings: {
        set: 'mini-imagenet',
        backbone: 'resnet18',
        shots: 5,
        queries: 15,
        episodes: 20_000,
        testEpisodes: 600,
        baselineSeeds: 3,
        extraSeeds: 3,
      },
    },
  },
  async run(context): Promise<SeedResult> {
    const { settings: chosen, seed, signal, onlyClaims } = context
    const data = chosen.set === 'mini-imagenet' ? miniImageNet(context) : await fiveAndFive(context)
    const extras = seed < chosen.extraSeeds && (!onlyClaims || chosen.set === 'mini-imagenet')
    const values: Record<string, number> = {}
    const withBaseline = seed < chosen.baselineSeeds && !onlyClaims
    const trained = { ...claimed, ...(withBaseline && baseline), ...(extras && reported) }
    for (const [name, losses] of Object.entries(trained)) {
      signal.throwIfAborted()
      const { accuracy, interval, icnn } = await context.part(name, () => runLoss(context, data, name, losses))
      values[`accuracy/${name}`] = accuracy
      values[`interval/${name}`] = interval
      values[`icnn/${name}`] = icnn
      if (name !== 'cross') values[`difference/${name}`] = accuracy - values['accuracy/cross']
    }
    return { values: { ...values, 'not-finite': Object.values(values).filter((value) => !Number.isFinite(value)).length } }
  },
  tables(results) {
    const names = Object.keys(titles).filter((name) => results.has(`accuracy/${name}`))
    const cell = (name: string) => ({ mean: results.mean(name), spread: results.summary(name).spread })
    return [
      {
        id: 'accuracy',
        title: 'Accuracy on unseen classes, 5-way 5-shot, nearest prototype',
        columns: [
          { key: 'loss', label: 'loss' },
          { key: 'accuracy', label: 'accuracy, %', digits: 1, better: 'higher' },
          { key: 'difference', label: 'against cross-entropy, points', digits: 2, better: 'higher' },
          { key: 'error', label: 'its standard error', digits: 2 },
          { key: 'icnn', label: 'ICNN score of queries', digits: 3 },
          { key: 'seeds', label: 'seeds', digits: 0 },
        ],
        rows: names.map((name) => ({
          loss: titles[name],
          accuracy: cell(`accuracy/${name}`),
          difference: name === 'cross' ? null : difference(results, name),
          error: name === 'cross' ? null : standardError(results, `difference/${name}`),
          icnn: cell(`icnn/${name}`),
          seeds: results.summary(`accuracy/${name}`).each.length,
        })),
        note: 'Spread over seeds. Differences are paired: each seed starts all losses from the same weights and trains them on the same episodes. Combinations, Proto-Triplet and the classic triplet loss are reported, not claimed.',
      },
    ]
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
