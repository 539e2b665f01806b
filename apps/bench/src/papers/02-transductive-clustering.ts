/**
 * Reproduces Ziko, Boudiaf, Dolz, Granger and Ben Ayed, "Transductive Few-Shot Learning: Clustering is All You Need?" (2021),
 * arXiv 2106.09516, on Gaussian classes and on the pixels of unseen digits: labelling all queries jointly by clustering against
 * the nearest class mean. Beside them, without claims: features of a small network for unseen kinds of clothes and characters.
 */
import { fit, tree, type Tree } from '@bpf/core'
import { batch, fromArrays, shuffle } from '@bpf/core/data'
import { convNet4, dense, sequential, type Layer } from '@bpf/core/nn'
import { adam, sgd } from '@bpf/core/optim'
import { fold, normalArray, type Key } from '@bpf/core/random'
import {
  bdCspn,
  cosineClassifier,
  episodeTask,
  evaluateEpisodes,
  extractFeatures,
  fineTuneHeads,
  laplacianShot,
  meanFeature,
  meanInterval,
  nearestMean,
  normaliseFeatures,
  normalisedCutLabels,
  selectRows,
  shiftQueries,
  transductiveCluster,
  type ClusterMode,
  type FeatureMatrix,
  type TransductiveInput,
} from '@bpf/fewshot'
import { backpropagation } from '@bpf/local'
import * as tf from '@tensorflow/tfjs-core'
import { atLeast } from '../claims'
import type { DataSetName, LabelledImages } from '../data/access'
import { alphabetRows } from '../data/omniglot'
import type { Claim, Paper, PaperResults, RunContext, SeedResult } from '../paper'

interface Settings {
  /** Episodes of each task and shot. */
  episodes: number
  shots: readonly number[]
  lambda: number
  /** Weights of the clamped variants, reported beside the others. */
  clampLambda: number
  /** Episodes of other classes on which baselines choose their weight or rate. */
  validation: number
  /** Sets of images, where they are on this machine; epochs of the network on their base classes. */
  images: readonly ('fashion-mnist' | 'omniglot-small')[]
  epochs: number
}

const ways = 5
const queries = 15
const dimension = 64

const clusterings: readonly ClusterMode[] = ['kmeans', 'kmodes', 'slk-means', 'slk-ms']
const methods: Readonly<Record<string, string>> = {
  inductive: 'nearest mean',
  shifted: 'nearest mean, queries shifted',
  cosine: 'cosine to the mean direction',
  heads: 'linear head, fine-tuned (rate chosen)',
  'laplacian-shot': 'LaplacianShot (weight chosen)',
  'bd-cspn': 'BD-CSPN',
  'normalised-cut': 'normalised cut',
  kmeans: 'K-means',
  kmodes: 'K-modes',
  'slk-means': 'SLK-Means',
  'slk-ms': 'SLK-MS',
  'slk-means-clamp': 'SLK-Means, supports clamped',
  'slk-ms-clamp': 'SLK-MS, supports clamped',
}

interface Task extends TransductiveInput {
  queryLabels: Int32Array
}

/** What baselines chose on validation episodes. */
interface Chosen {
  laplacianLambda: number
  headRate: number
}

const lambdas = [0.05, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1]
const headRates = [0.01, 0.1, 1]

function meanAccuracy(labels: readonly Int32Array[], tasks: readonly Task[]): number {
  return labels.reduce((sum, found, i) => sum + accuracyOf(found, tasks[i].queryLabels), 0) / tasks.length
}

const headsAt = (tasks: readonly Task[], learningRate: number, signal: AbortSignal): Promise<Int32Array[]> =>
  fineTuneHeads(tasks, { optimizer: sgd({ learningRate, momentum: 0.9, weightDecay: 1e-3 }), signal })

const laplacian = (task: Task, lambda: number): Int32Array => laplacianShot(task, { lambda, shift: true }).labels

/** The value with the highest accuracy, the first among equals. */
function bestOf(values: readonly number[], accuracies: readonly number[]): number {
  return values[accuracies.indexOf(Math.max(...accuracies))]
}

async function choose(tasks: readonly Task[], signal: AbortSignal): Promise<Chosen> {
  const weights = lambdas.map((lambda) =>
    meanAccuracy(
      tasks.map((task) => laplacian(task, lambda)),
      tasks,
    ),
  )
  const rates: number[] = []
  for (const rate of headRates) rates.push(meanAccuracy(await headsAt(tasks, rate, signal), tasks))
  return { laplacianLambda: bestOf(lambdas, weights), headRate: bestOf(headRates, rates) }
}

/** Labels that each method gives to the queries of a task. */
function label(task: Task, { lambda, clampLambda }: Settings, chosen: Chosen | undefined): Record<string, Int32Array> {
  const { support, supportLabels, query } = task
  const out: Record<string, Int32Array> = { inductive: nearestMean(support, supportLabels, query) }
  for (const mode of clusterings) {
    if (chosen !== undefined || mode === 'kmeans' || mode === 'slk-ms') out[mode] = transductiveCluster(task, { mode, lambda }).labels
  }
  if (chosen === undefined) return out
  out.shifted = nearestMean(support, supportLabels, shiftQueries(support, query))
  out.cosine = cosineClassifier(support, supportLabels, query)
  out['laplacian-shot'] = laplacian(task, chosen.laplacianLambda)
  out['bd-cspn'] = bdCspn(task).labels
  out['normalised-cut'] = normalisedCutLabels(task)
  for (const mode of ['slk-means', 'slk-ms'] as const) {
    out[`${mode}-clamp`] = transductiveCluster(task, { mode, lambda: clampLambda, supervision: 'clamp' }).labels
  }
  return out
}

/** Means 0.5·N(0, I) drawn anew, points mean + N(0, I), rows of norm 1. */
function gaussianTask(key: Key, shots: number): Task {
  const means = normalArray(fold(key, 0), ways * dimension, { stddev: 0.5 })
  const rows = (drawn: Key, count: number): FeatureMatrix => {
    const data = normalArray(drawn, ways * count * dimension)
    for (let at = 0; at < data.length; at++) data[at] += means[Math.floor(at / (count * dimension)) * dimension + (at % dimension)]
    return normaliseFeatures({ data, shape: [ways * count, dimension] }, 'l2')
  }
  const labels = (count: number) => Int32Array.from({ length: ways * count }, (_, r) => Math.floor(r / count))
  return {
    support: rows(fold(key, 1), shots),
    supportLabels: labels(shots),
    query: rows(fold(key, 2), queries),
    queryLabels: labels(queries),
  }
}

function accuracyOf(predicted: Int32Array, labels: Int32Array): number {
  return labels.reduce((hits, right, i) => hits + Number(predicted[i] === right), 0) / labels.length
}

/** Features of the classes on which methods choose, and of novel ones, where they are measured. */
interface FeatureSet {
  validation: { features: FeatureMatrix; labels: Int32Array }
  novel: { features: FeatureMatrix; labels: Int32Array }
}

/** Both parts CL2N, centred on the base classes. */
function centred(baseMean: Float64Array, validation: FeatureSet['novel'], novel: FeatureSet['novel']): FeatureSet {
  const of = ({ features, labels }: FeatureSet['novel']): FeatureSet['novel'] => ({
    features: normaliseFeatures(features, 'centred-l2', { baseMean }),
    labels,
  })
  return { validation: of(validation), novel: of(novel) }
}

const rowsWhere = (labels: Int32Array, keep: (label: number) => boolean): Int32Array =>
  Int32Array.from(labels.keys()).filter((row) => keep(labels[row]))
const labelsAt = ({ labels }: LabelledImages, rows: Int32Array): Int32Array => Int32Array.from(rows, (row) => labels[row])

async function digits({ data }: RunContext<Settings>): Promise<FeatureSet> {
  const images = await data.load('digits', 'all')
  const values = Float64Array.from(images.images, (value) => value / images.maxValue)
  const pixels: FeatureMatrix = { data: values, shape: [images.count, images.height * images.width] }
  const [base, novel] = [rowsWhere(images.labels, (label) => label < 5), rowsWhere(images.labels, (label) => label >= 5)]
  const part = (rows: Int32Array) => ({ features: selectRows(pixels, rows), labels: labelsAt(images, rows) })
  return centred(meanFeature(selectRows(pixels, base)), part(base), part(novel))
}

/** Images [n, height, width, 1] in 0..1, of squares of `pool` pixels. */
function pictures(images: LabelledImages, rows: Int32Array, pool: number): { data: Float32Array; shape: [number, number, number, number] } {
  const [height, width] = [Math.floor(images.height / pool), Math.floor(images.width / pool)]
  const data = new Float32Array(rows.length * height * width)
  for (let at = 0; at < data.length; at++) {
    const [i, y, x] = [Math.floor(at / (height * width)), Math.floor((at % (height * width)) / width), at % width]
    const corner = (rows[i] * images.height + y * pool) * images.width + x * pool
    for (let dy = 0; dy < pool; dy++) for (let dx = 0; dx < pool; dx++) data[at] += images.images[corner + dy * images.width + dx]
    data[at] /= images.maxValue * pool * pool
  }
  return { data, shape: [rows.length, height, width, 1] }
}

/** Features of a convolutional network that was trained on the base classes: for validation and of novel classes. */
async function trainedFeatures(context: RunContext<Settings>, name: DataSetName): Promise<FeatureSet> {
  const { settings, reporter, signal } = context
  const [pool, blocks] = name === 'fashion-mnist' ? [2, 2] : [1, 3]
  const inTwo = name === 'fashion-mnist'
  const train = await context.data.load(name, inTwo ? 'train' : 'all')
  const test = inTwo ? await context.data.load(name, 'test') : train
  // Characters are split by alphabets into base, validation and novel classes; clothes have too few classes for a part of their own.
  const novelRows = inTwo ? rowsWhere(test.labels, (label) => label >= 5) : alphabetRows(test, ['Sanskrit', 'Tagalog'])
  const heldRows = inTwo ? rowsWhere(test.labels, (label) => label < 5) : alphabetRows(test, ['Balinese'])
  const unseen = new Set(labelsAt(test, inTwo ? novelRows : Int32Array.of(...novelRows, ...heldRows)))
  const trainRows = rowsWhere(train.labels, (label) => !unseen.has(label)).slice(0, 6000)
  const baseClasses = [...new Set(labelsAt(train, trainRows))].sort((a, b) => a - b)
  const y = Int32Array.from(trainRows, (row) => baseClasses.indexOf(train.labels[row]))

  const body = convNet4({ channels: 32, blocks })
  const network: Layer = sequential([body, dense(baseClasses.length)])
  const learner = backpropagation({ network, classes: baseClasses.length, optimizer: adam({ learningRate: 2e-3 }) })
  const examples = batch(shuffle(fromArrays({ x: pictures(train, trainRows, pool), y })), 64)
  const fitted = await fit(learner, examples, {
    epochs: settings.epochs,
    key: fold(context.key, name === 'fashion-mnist' ? 300 : 301),
    reporter: reporter(`${name}: base classes`),
    signal,
  })
  signal.throwIfAborted()
  const { params, network: state } = fitted.state.tensors as { params: Tree; network: Tree }
  const [bodyParams, bodyState] = [(params as Tree[])[0], (state as Tree[])[0]]
  const featuresOf = async (images: LabelledImages, rows: Int32Array): Promise<FeatureMatrix> => {
    const { data, shape } = pictures(images, rows, pool)
    const x = tf.tensor4d(data, shape)
    const features = await extractFeatures(
      (inputs) => body.apply(bodyParams as never, bodyState as never, inputs, { training: false }).y,
      x,
    )
    x.dispose()
    return features
  }
  const baseMean = meanFeature(await featuresOf(train, trainRows))
  const [held, novel] = [await featuresOf(test, heldRows), await featuresOf(test, novelRows)]
  tree.dispose(fitted.state.tensors)
  return centred(baseMean, { features: held, labels: labelsAt(test, heldRows) }, { features: novel, labels: labelsAt(test, novelRows) })
}

/** Episodes of a set of features. */
function episodesOf(key: Key, { features, labels }: FeatureSet['novel'], shots: number, episodes: number): Task[] {
  const tasks: Task[] = []
  evaluateEpisodes(key, labels, { ways, shots, queries, episodes }, (episode) => {
    tasks.push({ ...episodeTask(features, episode), queryLabels: episode.queryLabels })
    return episode.queryLabels
  })
  return tasks
}

async function run(context: RunContext<Settings>): Promise<SeedResult> {
  const { key, settings, onlyClaims, progress, signal } = context
  const { episodes, shots, validation } = settings
  const values: Record<string, number> = {}
  const images = onlyClaims ? [] : settings.images.filter((name) => context.data.has(name))
  const bar = progress('episodes', (2 + images.length) * shots.length * episodes)
  let done = 0

  const measure = async (name: string, tasks: readonly Task[], validationTasks: () => readonly Task[]): Promise<void> => {
    const chosen = onlyClaims ? undefined : await choose(validationTasks(), signal)
    const each: Record<string, number[]> = {}
    const score = (method: string, labels: Int32Array, task: Task): void =>
      void (each[method] ??= []).push(accuracyOf(labels, task.queryLabels))
    for (const task of tasks) {
      for (const [method, labels] of Object.entries(label(task, settings, chosen))) score(method, labels, task)
      bar.update(++done)
      if (done % 20 === 0) {
        await new Promise((resolve) => setTimeout(resolve))
        signal.throwIfAborted()
      }
    }
    if (chosen !== undefined) {
      const labels = await headsAt(tasks, chosen.headRate, signal)
      labels.forEach((found, i) => score('heads', found, tasks[i]))
    }
    for (const [method, accuracies] of Object.entries(each)) {
      const { mean, interval } = meanInterval(accuracies)
      values[`${name}/${method}`] = 100 * mean
      values[`${name}/${method}/interval`] = 100 * interval
    }
  }
  const gaussian = (from: Key, shot: number, count: number): Task[] =>
    Array.from({ length: count }, (_, e) => gaussianTask(fold(fold(from, shot), e), shot))
  const pixels = await digits(context)
  for (const shot of shots) {
    await measure(`gaussian/${shot}-shot`, gaussian(key, shot, episodes), () => gaussian(fold(key, 200), shot, validation))
    await measure(`digits/${shot}-shot`, episodesOf(fold(key, 100 + shot), pixels.novel, shot, episodes), () =>
      episodesOf(fold(key, 210 + shot), pixels.validation, shot, validation),
    )
  }
  for (const name of images) {
    const set = await trainedFeatures(context, name)
    for (const shot of shots) {
      await measure(`${name}/${shot}-shot`, episodesOf(fold(key, 310 + shot), set.novel, shot, episodes), () =>
        episodesOf(fold(key, 320 + shot), set.validation, shot, validation),
      )
    }
  }
  bar.stop()
  return { values }
}

const gain =
  (set: string, better: string, worse: string, points: number) =>
  (results: PaperResults): ReturnType<Claim['check']> =>
    atLeast(results.mean(`${set}/${better}`) - results.mean(`${set}/${worse}`), points, { of: 'points' })

const claims: readonly Claim[] = [
  {
    id: 'kmeans-one-shot',
    statement: 'On Gaussian classes with one example each, K-means over supports and queries beats the nearest mean by 15 points.',
    reported: 'mini-ImageNet, WRN: 73.80 against 65.87',
    check: gain('gaussian/1-shot', 'kmeans', 'inductive', 15),
  },
  {
    id: 'slk-ms-one-shot',
    statement: 'There SLK-MS beats the nearest mean by 18 points.',
    reported: 'mini-ImageNet, WRN: 75.17 against 65.87',
    check: gain('gaussian/1-shot', 'slk-ms', 'inductive', 18),
  },
  {
    id: 'slk-ms-against-kmeans',
    statement: 'There SLK-MS beats K-means by 1 point.',
    reported: 'mini-ImageNet, WRN: 75.17 against 73.80',
    check: gain('gaussian/1-shot', 'slk-ms', 'kmeans', 1),
  },
  {
    id: 'kmeans-five-shot',
    statement: 'With five examples each, K-means still beats the nearest mean by 3 points.',
    reported: 'mini-ImageNet, WRN: 84.62 against 82.09',
    check: gain('gaussian/5-shot', 'kmeans', 'inductive', 3),
  },
  {
    id: 'digits-one-shot',
    statement: 'On pixels of the digits 5 to 9, of which one example each is labelled, K-means beats the nearest mean by 5 points.',
    check: gain('digits/1-shot', 'kmeans', 'inductive', 5),
  },
]

const sets: Readonly<Record<string, string>> = {
  gaussian: 'Gaussian classes',
  digits: 'digits 5 to 9',
  'fashion-mnist': 'Fashion-MNIST classes 5 to 9, network of classes 0 to 4',
  'omniglot-small': 'Omniglot characters of Sanskrit and Tagalog, network of five other alphabets',
}
const settings: Settings = {
  episodes: 200,
  shots: [1, 5],
  lambda: 0.3,
  clampLambda: 0.7,
  validation: 50,
  images: ['fashion-mnist', 'omniglot-small'],
  epochs: 4,
}

/** The reproduction. */
export const paper: Paper<Settings> = {
  number: 2,
  slug: 'transductive-clustering',
  title: 'Transductive Few-Shot Learning: Clustering is All You Need?',
  arxiv: '2106.09516',
  package: '@bpf/fewshot',
  claims,
  presets: {
    quick: {
      description: '5-way tasks of Gaussian classes and of unseen digits, 60 episodes each with 1 and 5 examples.',
      seeds: 1,
      seconds: 12,
      settings: { ...settings, episodes: 60, validation: 20, images: [] },
    },
    embedded: {
      description:
        '5-way tasks of Gaussian classes and of unseen digits, 200 episodes each with 1 and 5 examples; beside them Fashion-MNIST and Omniglot by a small network, where they are on this machine.',
      seeds: 3,
      seconds: 300,
      settings,
    },
    full: {
      description: 'The same with 2,000 episodes each: the image sets of the paper and its networks are not read.',
      seeds: 1,
      seconds: 700,
      settings: { ...settings, episodes: 2000 },
    },
  },
  run,
  tables: (results) =>
    Object.entries(sets)
      .filter(([set]) => results.has(`${set}/1-shot/inductive`))
      .map(([set, title]) => ({
        id: set,
        title: `Accuracy on ${title}, 5-way, 15 queries per class`,
        columns: [
          { key: 'method', label: 'method' },
          ...[1, 5].map((shot) => ({ key: `${shot}`, label: `${shot}-shot, %`, digits: 1, better: 'higher' as const })),
          ...[1, 5].map((shot) => ({ key: `${shot}i`, label: `± 95 % (${shot}-shot)`, digits: 1 })),
        ],
        rows: Object.entries(methods)
          .filter(([method]) => results.has(`${set}/1-shot/${method}`))
          .map(([method, name]) => ({
            method: name,
            ...Object.fromEntries(
              [1, 5].flatMap((shot) => [
                [`${shot}`, results.mean(`${set}/${shot}-shot/${method}`)],
                [`${shot}i`, results.mean(`${set}/${shot}-shot/${method}/interval`)],
              ]),
            ),
          })),
        note:
          set === 'fashion-mnist'
            ? 'Reported, not claimed: a network of five classes need not give new ones clusters. Intervals are over the episodes of one seed.'
            : 'Intervals are over the episodes of one seed.',
      })),
  figures: (results) => [
    {
      id: 'accuracy',
      title: 'Accuracy with one labelled example of each class',
      caption: 'Clustering supports and queries together labels far more queries rightly than comparing each with the class means.',
      spec: {
        data: {
          values: Object.entries(sets).flatMap(([set, title]) =>
            Object.entries(methods)
              .filter(([method]) => results.has(`${set}/1-shot/${method}`))
              .map(([method, name]) => ({ set: title, method: name, accuracy: results.mean(`${set}/1-shot/${method}`) })),
          ),
        },
        mark: { type: 'point', filled: true, size: 80 },
        encoding: {
          y: { field: 'method', type: 'nominal', sort: Object.values(methods), title: null },
          x: { field: 'accuracy', type: 'quantitative', title: 'accuracy, %', scale: { zero: false } },
          color: { field: 'set', type: 'nominal', title: null },
        },
      },
    },
  ],
}
