/**
 * Reproduces Ziko, Boudiaf, Dolz, Granger and Ben Ayed, "Transductive Few-Shot Learning: Clustering is All You Need?" (2021),
 * arXiv 2106.09516, on Gaussian classes and on the pixels of unseen digits: labelling all queries jointly by clustering against
 * the nearest class mean.
 */
import { fold, normalArray, type Key } from '@bpf/core/random'
import {
  evaluateEpisodes,
  meanFeature,
  meanInterval,
  nearestMean,
  normaliseFeatures,
  shiftQueries,
  transductiveCluster,
  type ClusterMode,
  type FeatureMatrix,
} from '@bpf/fewshot'
import { atLeast } from '../claims'
import type { Claim, Paper, PaperResults, RunContext, SeedResult } from '../paper'

interface Settings {
  /** Episodes of each task and shot. */
  episodes: number
  shots: readonly number[]
  lambda: number
  /** Weights of the clamped variants, reported beside the others. */
  clampLambda: number
}

const ways = 5
const queries = 15
const dimension = 64

const clusterings: readonly ClusterMode[] = ['kmeans', 'kmodes', 'slk-means', 'slk-ms']
const methods: Readonly<Record<string, string>> = {
  inductive: 'nearest mean',
  shifted: 'nearest mean, queries shifted',
  kmeans: 'K-means',
  kmodes: 'K-modes',
  'slk-means': 'SLK-Means',
  'slk-ms': 'SLK-MS',
  'slk-means-clamp': 'SLK-Means, supports clamped',
  'slk-ms-clamp': 'SLK-MS, supports clamped',
}

interface Task {
  support: FeatureMatrix
  supportLabels: Int32Array
  query: FeatureMatrix
}

/** Labels that each method gives to the queries. */
function label(
  { support, supportLabels, query }: Task,
  { lambda, clampLambda }: Settings,
  onlyClaims: boolean,
): Record<string, Int32Array> {
  const out: Record<string, Int32Array> = { inductive: nearestMean(support, supportLabels, query) }
  const input = { support, supportLabels, query }
  for (const mode of clusterings) {
    if (!onlyClaims || mode === 'kmeans' || mode === 'slk-ms') out[mode] = transductiveCluster(input, { mode, lambda }).labels
  }
  if (onlyClaims) return out
  out.shifted = nearestMean(support, supportLabels, shiftQueries(support, query))
  for (const mode of ['slk-means', 'slk-ms'] as const) {
    out[`${mode}-clamp`] = transductiveCluster(input, { mode, lambda: clampLambda, supervision: 'clamp' }).labels
  }
  return out
}

/** Means 0.5·N(0, I) drawn anew, points mean + N(0, I), rows of norm 1. */
function gaussianTask(key: Key, shots: number): Task & { queryLabels: Int32Array } {
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

function select({ data, shape: [, D] }: FeatureMatrix, rows: Int32Array): FeatureMatrix {
  const out = new Float64Array(rows.length * D)
  rows.forEach((row, i) => out.set(data.subarray(row * D, (row + 1) * D), i * D))
  return { data: out, shape: [rows.length, D] }
}

async function run({ key, settings, onlyClaims, data, progress, signal }: RunContext<Settings>): Promise<SeedResult> {
  const { episodes, shots } = settings
  const images = await data.load('digits', 'all')
  const size = images.height * images.width
  const pixels: FeatureMatrix = { data: Float64Array.from(images.images, (value) => value / images.maxValue), shape: [images.count, size] }
  const all = Array.from(images.labels, (_, i) => i)
  const baseMean = meanFeature(select(pixels, Int32Array.from(all.filter((i) => images.labels[i] < 5))))
  const novel = Int32Array.from(all.filter((i) => images.labels[i] >= 5))
  const features = normaliseFeatures(select(pixels, novel), 'centred-l2', { baseMean })
  const novelLabels = Int32Array.from(novel, (row) => images.labels[row])

  const values: Record<string, number> = {}
  const bar = progress('episodes', 2 * shots.length * episodes)
  let done = 0
  const store = (name: string, each: Record<string, number[]>): void => {
    for (const [method, accuracies] of Object.entries(each)) {
      const { mean, interval } = meanInterval(accuracies)
      values[`${name}/${method}`] = 100 * mean
      values[`${name}/${method}/interval`] = 100 * interval
    }
  }
  const score = async (each: Record<string, number[]>, found: Record<string, Int32Array>, labels: Int32Array): Promise<void> => {
    for (const [method, predicted] of Object.entries(found)) (each[method] ??= []).push(accuracyOf(predicted, labels))
    bar.update(++done)
    if (done % 20 === 0) {
      await new Promise((resolve) => setTimeout(resolve))
      signal.throwIfAborted()
    }
  }
  for (const shot of shots) {
    const gaussian: Record<string, number[]> = {}
    for (let e = 0; e < episodes; e++) {
      const task = gaussianTask(fold(fold(key, shot), e), shot)
      await score(gaussian, label(task, settings, onlyClaims), task.queryLabels)
    }
    store(`gaussian/${shot}-shot`, gaussian)
    const digits: Record<string, number[]> = {}
    const tasks: { task: Task; labels: Int32Array }[] = []
    evaluateEpisodes(fold(key, 100 + shot), novelLabels, { ways, shots: shot, queries, episodes }, (episode) => {
      const { support, query, supportLabels, queryLabels } = episode
      tasks.push({ task: { support: select(features, support), supportLabels, query: select(features, query) }, labels: queryLabels })
      return queryLabels
    })
    for (const { task, labels } of tasks) await score(digits, label(task, settings, onlyClaims), labels)
    store(`digits/${shot}-shot`, digits)
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

const sets: Readonly<Record<string, string>> = { gaussian: 'Gaussian classes', digits: 'digits 5 to 9' }
const settings: Settings = { episodes: 200, shots: [1, 5], lambda: 0.3, clampLambda: 0.7 }

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
      seconds: 5,
      settings: { ...settings, episodes: 60 },
    },
    embedded: {
      description: '5-way tasks of Gaussian classes and of unseen digits, 200 episodes each with 1 and 5 examples.',
      seeds: 3,
      seconds: 71,
      settings,
    },
    full: {
      description: 'The same with 2,000 episodes each: the image sets of the paper and its networks are not read.',
      seeds: 1,
      seconds: 240,
      settings: { ...settings, episodes: 2000 },
    },
  },
  run,
  tables: (results) =>
    Object.entries(sets).map(([set, title]) => ({
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
      note: 'Intervals are over the episodes of one seed.',
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
