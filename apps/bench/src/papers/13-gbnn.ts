/**
 * Reproduces Emami and Martínez-Muñoz, "Sequential Training of Neural Networks with Gradient Boosting", IEEE Access 11 (2023),
 * arXiv 1909.12098: boosted units against jointly trained networks of the same size, units switched off, and a boosted head
 * on a convolutional network's features.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { compile, DataError, fit, softmaxCrossEntropy, tree, valueAndGrad, type Learner, type Tree } from '@bpf/core'
import { batch, fitStandardiser, fromArrays, kFoldIndices, shuffle } from '@bpf/core/data'
import { accuracy } from '@bpf/core/metrics'
import { conv2d, dense, flatten, maxPool, relu, sequential } from '@bpf/core/nn'
import { adam, applyUpdates, type AdamState } from '@bpf/core/optim'
import { fold, type Key } from '@bpf/core/random'
import { fitGradientBoostedNetwork, fitJointNetwork, type GradientBoostedNetwork, type UnitSolver } from '@bpf/local'
import * as tf from '@tensorflow/tfjs-core'
import { atLeast, atMost } from '../claims'
import type { LabelledImages } from '../data/access'
import { packageFolder } from '../package-folder'
import type { Paper, PaperResults, RunContext, SeedResult, Series } from '../paper'

type Task = 'regression' | 'classification'

/** Boosting options that are tuned or given. */
interface BoostingSettings {
  totalUnits: number
  unitsPerStep: number
  eta: number
  subsample: number
  maxIterations: number
}

/** One table: shipped, `digits`, or `<name>.csv` in the user's folder. */
interface TableSettings {
  name: string
  task: Task
}

/** The cross-validated comparison. With several candidates of a method the best in an inner cross-validation is taken. */
interface TabularSettings {
  tables: readonly TableSettings[]
  folds: number
  /** Folds of the inner cross-validation; unused with one candidate. */
  innerFolds: number
  boosting: Readonly<Record<Task, readonly BoostingSettings[]>>
  /** Hidden units of joint networks. */
  jointUnits: readonly number[]
}

/** The boosted head on features of a convolutional network. */
interface DeepSettings {
  train: number
  test: number
  epochs: number
  boosting: BoostingSettings
}

interface Settings {
  tabular: TabularSettings
  deep?: DeepSettings
}

/** Rows [n, d] and their targets. */
interface Rows {
  x: Float32Array
  y: Float32Array
  columns: number
}

type Predict = (x: Rows) => Float64Array

/** Joint baselines: Adam and SGD for 200 epochs, L-BFGS for 200 iterations. */
const jointSolvers: readonly UnitSolver[] = ['adam', 'lbfgs', 'sgd']
const claimedSolvers: readonly UnitSolver[] = ['adam', 'lbfgs']
const classificationTables = ['iris', 'wine', 'breast-cancer', 'digits'] as const

function parseTable(text: string, name: string): Rows {
  const rows = text
    .trim()
    .split('\n')
    .map((line) => line.split(',').map(Number))
  const width = rows[0].length
  const bad = rows.findIndex((row) => row.length !== width || row.some((value) => !Number.isFinite(value)))
  if (bad >= 0) throw new DataError(`${name}.csv: line ${bad + 1} should hold ${width} numbers; write labels as numbers, without a header`)
  return {
    x: Float32Array.from(rows.flatMap((row) => row.slice(0, -1))),
    y: Float32Array.from(rows, (row) => row[width - 1]),
    columns: width - 1,
  }
}

async function readTable({ data }: RunContext<Settings>, name: string): Promise<Rows> {
  if (name === 'digits') {
    const { images, labels, height, width } = await data.load('digits')
    return { x: Float32Array.from(images), y: Float32Array.from(labels), columns: height * width }
  }
  const folders = [...data.folders, join(packageFolder, 'data', 'tables')]
  const path = folders.map((folder) => join(folder, `${name}.csv`)).find((candidate) => existsSync(candidate))
  if (path === undefined) {
    throw new DataError(
      `${name}.csv was not found in ${folders.join(', ')}; get the set from archive.ics.uci.edu, write it as numbers with the target last, and name its folder with --data-dir`,
    )
  }
  return parseTable(readFileSync(path, 'utf8'), name)
}

function select({ x, y, columns }: Rows, indices: Int32Array): Rows {
  const out = new Float32Array(indices.length * columns)
  indices.forEach((row, i) => out.set(x.subarray(row * columns, (row + 1) * columns), i * columns))
  return { x: out, y: Float32Array.from(indices, (row) => y[row]), columns }
}

const matrix = ({ x, columns }: Rows) => ({ data: x, shape: [x.length / columns, columns] })

/** Both parts standardised with the statistics of the first. */
function standardised(train: Rows, test: Rows): [Rows, Rows] {
  const statistics = fitStandardiser({ ...matrix(train), dtype: 'float32' })
  const apply = (rows: Rows): Rows => ({ ...rows, x: Float32Array.from(statistics.apply({ ...matrix(rows), dtype: 'float32' }).data) })
  return [apply(train), apply(test)]
}

/** Accuracy, or root mean squared error. */
function score(task: Task, predicted: Float64Array, y: Float32Array): number {
  if (task === 'classification') return predicted.reduce((count, value, i) => count + (value === y[i] ? 1 : 0), 0) / y.length
  return Math.sqrt(predicted.reduce((sum, value, i) => sum + (value - y[i]) ** 2, 0) / y.length)
}

async function boosted(
  train: Rows,
  task: Task,
  settings: BoostingSettings,
  key: Key,
  signal: AbortSignal,
): Promise<GradientBoostedNetwork> {
  return fitGradientBoostedNetwork(matrix(train), train.y, { ...settings, task, key, signal })
}

async function joint(train: Rows, task: Task, solver: UnitSolver, units: number, key: Key, signal: AbortSignal): Promise<Predict> {
  await setImmediate()
  signal.throwIfAborted()
  const network = fitJointNetwork(matrix(train), train.y, { task, units, solver, maxIterations: 200, key })
  return (rows) => network.predict(matrix(rows))
}

function folds(rows: Rows, task: Task, k: number, key: Key) {
  return kFoldIndices(rows.y.length, k, key, task === 'classification' ? { stratify: rows.y } : {})
}

/** The candidate that does best in an inner cross-validation of the training rows; the only one without asking. */
async function best<T>(
  candidates: readonly T[],
  train: Rows,
  task: Task,
  innerFolds: number,
  key: Key,
  fitOne: (rows: Rows, candidate: T, key: Key) => Promise<Predict>,
): Promise<T> {
  if (candidates.length === 1) return candidates[0]
  const totals: number[] = []
  for (const candidate of candidates) {
    let total = 0
    for (const [i, { train: inner, test }] of folds(train, task, innerFolds, key).entries()) {
      const [fitRows, heldOut] = standardised(select(train, inner), select(train, test))
      const predict = await fitOne(fitRows, candidate, fold(key, i))
      total += score(task, predict(heldOut), heldOut.y) * (task === 'classification' ? 1 : -1)
    }
    totals.push(total)
  }
  return candidates[totals.indexOf(Math.max(...totals))]
}

/** One outer fold: every method's score, and the boosted network's with its first steps. */
async function runFold(context: RunContext<Settings>, task: Task, raw: Rows, rawTest: Rows, key: Key) {
  const { signal, settings, onlyClaims } = context
  const { boosting, jointUnits, innerFolds } = settings.tabular
  const [train, test] = standardised(raw, rawTest)
  const scores: Record<string, number> = {}
  const chosen = await best(boosting[task], raw, task, innerFolds, fold(key, 1), async (rows, candidate, k) => {
    const inner = await boosted(rows, task, candidate, k, signal)
    return (x) => inner.predict(matrix(x))
  })
  const model = await boosted(train, task, chosen, fold(key, 2), signal)
  const curve = model.stagedPredict(matrix(test)).map((predicted) => score(task, predicted, test.y))
  scores.gbnn = curve[curve.length - 1]
  scores.half = score(task, model.truncate(Math.ceil(model.steps / 2)).predict(matrix(test)), test.y)
  for (const [i, solver] of (onlyClaims ? claimedSolvers : jointSolvers).entries()) {
    const fitOne = (rows: Rows, units: number, k: Key): Promise<Predict> => joint(rows, task, solver, units, k, signal)
    const units = await best(jointUnits, raw, task, innerFolds, fold(key, 10 + i), fitOne)
    scores[solver] = score(task, (await fitOne(train, units, fold(key, 20 + i)))(test), test.y)
  }
  if (!onlyClaims) {
    const single = { ...chosen, unitsPerStep: chosen.totalUnits, eta: 1 }
    scores.single = score(task, (await boosted(train, task, single, fold(key, 3), signal)).predict(matrix(test)), test.y)
  }
  return { scores, curve }
}

/** Cross-validation of one table: means over folds. */
async function runTable(context: RunContext<Settings>, { name, task }: TableSettings, index: number): Promise<SeedResult> {
  const rows = await readTable(context, name)
  const key = fold(context.key, 100 + index)
  const parts = folds(rows, task, context.settings.tabular.folds, fold(key, 0))
  const bar = context.progress(name, parts.length)
  const results: Awaited<ReturnType<typeof runFold>>[] = []
  for (const [i, { train, test }] of parts.entries()) {
    results.push(await runFold(context, task, select(rows, train), select(rows, test), fold(key, i + 1)))
    bar.update(i + 1)
  }
  bar.stop()
  const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length
  const values = Object.fromEntries(
    Object.keys(results[0].scores).map((method) => [`${name}/${method}`, mean(results.map(({ scores }) => scores[method]))]),
  )
  // A fold that stopped early keeps its last score.
  const length = Math.max(...results.map(({ curve }) => curve.length))
  const curve = Array.from({ length }, (_, t) => mean(results.map((result) => result.curve[Math.min(t, result.curve.length - 1)])))
  return { values, series: { [`${name}/curve`]: curve } }
}

/** conv 3×3 16, ReLU, pool, conv 3×3 32, ReLU, pool, dense 64, ReLU = φ. */
const body = sequential([
  conv2d(16, { kernelSize: 3 }),
  relu(),
  maxPool(2),
  conv2d(32, { kernelSize: 3 }),
  relu(),
  maxPool(2),
  flatten(),
  dense(64),
  relu(),
])
const head = dense(10)
const features = 64

type DeepState = { body: Tree; head: Tree; optimizer: AdamState }
type DeepBatch = { x: tf.Tensor; y: tf.Tensor }
type Params = { body: Tree; head: Tree }

const apply = body.apply as unknown as (params: Tree, state: Tree, x: tf.Tensor, options: { training: boolean }) => { y: tf.Tensor }
const phi = (params: Tree, x: tf.Tensor): tf.Tensor => apply(params, stateless, x, { training: false }).y
const headLogits = (params: Tree, x: tf.Tensor): tf.Tensor => head.apply(params as never, {}, x, { training: false }).y
/** No layer of the body has state. */
const stateless: Tree = Array.from({ length: 9 }, () => ({}))

function convolutional(height: number, width: number): Learner<DeepState, DeepBatch> {
  const optimizer = adam({ learningRate: 1e-3 })
  return {
    init(key) {
      const params: Params = {
        body: body.init(fold(key, 0), [height, width, 1]).params as Tree,
        head: head.init(fold(key, 1), [features]).params,
      }
      return { tensors: { ...params, optimizer: optimizer.init(params) }, host: null }
    },
    step(tensors, { x, y }) {
      return tree.tidy(() => {
        const params: Params = { body: tensors.body, head: tensors.head }
        const { value, grads } = valueAndGrad((p: Params) => {
          const target = tf.oneHot(tf.cast(y, 'int32') as tf.Tensor1D, 10)
          return tf.mean(softmaxCrossEntropy(tf.cast(target, 'float32'), headLogits(p.head, phi(p.body, x))))
        })(params)
        const { updates, state } = optimizer.update(grads, tensors.optimizer, params)
        return { tensors: { ...applyUpdates(params, updates), optimizer: state }, metrics: { loss: value } }
      })
    },
  }
}

function pixels({ images, labels, height, width, maxValue }: LabelledImages, from: number, count: number): Rows {
  const size = height * width
  return {
    x: Float32Array.from(images.subarray(from * size, (from + count) * size), (value) => value / maxValue),
    y: Float32Array.from(labels.subarray(from, from + count)),
    columns: size,
  }
}

/** φ and dense logits of images, 500 at a time. */
async function activations(tensors: DeepState, images: Rows, height: number, width: number): Promise<{ phi: Rows; logits: Float32Array }> {
  const run = compile((body: Tree, headParams: Tree, x: tf.Tensor) => {
    const values = phi(body, x)
    return { values, logits: headLogits(headParams, values) }
  })
  const count = images.y.length
  const [values, logits] = [new Float32Array(count * features), new Float32Array(count * 10)]
  for (let from = 0; from < count; from += 500) {
    const rows = Math.min(500, count - from)
    const x = tf.tensor4d(images.x.slice(from * images.columns, (from + rows) * images.columns), [rows, height, width, 1])
    const out = run(tensors.body, tensors.head, x)
    values.set(await out.values.data(), from * features)
    logits.set(await out.logits.data(), from * 10)
    tf.dispose([x, out.values, out.logits])
  }
  return { phi: { x: values, y: images.y, columns: features }, logits }
}

/** A dense head against a boosted head on the same features. */
async function runDeep(context: RunContext<Settings>, settings: DeepSettings): Promise<SeedResult> {
  const name = await context.data.firstFound(['fashion-mnist', 'mnist-10k'])
  const split = name === 'fashion-mnist'
  const all = await context.data.load(name, split ? 'train' : 'all')
  const { height, width } = all
  // A set in one piece is shared out, four fifths to train.
  const count = split ? settings.train : Math.min(settings.train, Math.floor(0.8 * all.count))
  const train = pixels(all, 0, count)
  const testImages = split ? await context.data.load(name, 'test') : all
  const test = pixels(testImages, split ? 0 : count, Math.min(settings.test, testImages.count - (split ? 0 : count)))
  const examples = fromArrays({ x: { data: train.x, shape: [count, height, width, 1] }, y: train.y })
  const { state } = await fit(convolutional(height, width), batch(shuffle(examples), 128), {
    epochs: settings.epochs,
    key: fold(context.key, 50),
    reporter: context.reporter('CNN'),
    signal: context.signal,
  })
  const [trained, held] = [await activations(state.tensors, train, height, width), await activations(state.tensors, test, height, width)]
  tree.dispose(state.tensors)
  context.signal.throwIfAborted()
  const [phiTrain, phiTest] = standardised(trained.phi, held.phi)
  const model = await boosted(phiTrain, 'classification', settings.boosting, fold(context.key, 51), context.signal)
  const curve = Array.from(model.stagedScore(matrix(phiTest), phiTest.y))
  return {
    values: {
      'deep/dense': accuracy({ data: held.logits, shape: [test.y.length, 10] }, test.y),
      'deep/gbnn': curve[curve.length - 1],
      'deep/one-step': curve[0],
    },
    series: { 'deep/curve': curve, 'deep/rho': model.rho },
  }
}

const meanOver = (results: PaperResults, method: string): number =>
  classificationTables.reduce((sum, name) => sum + results.mean(`${name}/${method}`), 0) / classificationTables.length

const methods: Readonly<Record<string, string>> = {
  gbnn: 'boosted network',
  half: 'boosted network, first half of its units',
  single: 'boosted in one step of all units',
  adam: 'joint network, Adam',
  lbfgs: 'joint network, L-BFGS',
  sgd: 'joint network, SGD',
}

const embeddedBoosting: BoostingSettings = { totalUnits: 100, unitsPerStep: 2, eta: 0.5, subsample: 0.75, maxIterations: 100 }
const embeddedTables: readonly TableSettings[] = [
  ...classificationTables.map((name) => ({ name, task: 'classification' as const })),
  { name: 'diabetes', task: 'regression' },
]

/** The paper's grid: J, η and subsample. */
const paperGrid: readonly BoostingSettings[] = [1, 2, 3].flatMap((unitsPerStep) =>
  [0.025, 0.05, 0.1, 0.5, 1].flatMap((eta) =>
    [0.5, 0.75, 1].map((subsample) => ({ totalUnits: 200, unitsPerStep, eta, subsample, maxIterations: 200 })),
  ),
)

const uci: readonly TableSettings[] = [
  ...[
    'australian',
    'banknote',
    'breast-cancer',
    'pima',
    'german',
    'hepatitis',
    'ionosphere',
    'magic04',
    'sonar',
    'spambase',
    'waveform',
    'wine',
    'vowel',
  ].map((name) => ({ name, task: 'classification' as const })),
  ...['boston', 'concrete', 'energy', 'power', 'kin8nm', 'wine-quality'].map((name) => ({ name, task: 'regression' as const })),
]

export const paper: Paper<Settings> = {
  number: 13,
  slug: 'gbnn',
  title: 'Sequential Training of Neural Networks with Gradient Boosting',
  arxiv: '1909.12098',
  package: '@bpf/local',
  claims: [
    {
      id: 'accuracy-against-joint',
      statement:
        'Over iris, wine, breast cancer and digits the mean accuracy of boosted units is at most 1 point below the better of the two jointly trained networks (Adam, L-BFGS).',
      presets: ['embedded'],
      check: (results) =>
        atLeast(meanOver(results, 'gbnn'), Math.max(meanOver(results, 'adam'), meanOver(results, 'lbfgs')) - 0.01, {
          of: 'better joint network − 0.01',
        }),
    },
    {
      id: 'diabetes-against-lbfgs',
      statement: 'On diabetes the error (RMSE) of boosted units with η = 0.1 is at most that of the joint network fitted by L-BFGS.',
      presets: ['quick', 'embedded'],
      check: (results) => atMost(results.mean('diabetes/gbnn'), results.mean('diabetes/lbfgs'), { of: 'joint network, L-BFGS' }),
    },
    ...(['breast-cancer', 'digits'] as const).map((name) => ({
      id: `half-the-units-${name}`,
      statement: `On ${name} the first half of the units alone is at most 1.5 points less accurate than all of them, without retraining.`,
      presets: ['embedded'] as const,
      check: (results: PaperResults) =>
        atLeast(results.mean(`${name}/half`), results.mean(`${name}/gbnn`) - 0.015, { of: 'all units − 0.015' }),
    })),
    {
      id: 'deep-head',
      statement:
        "A boosted head (10 steps of 10 units) on a convolutional network's features is at most 1 point less accurate than the network's own dense head.",
      presets: ['embedded', 'full'],
      reported: 'reference code, one seed: dense 0.804, boosted 0.830',
      check: (results) => atLeast(results.mean('deep/gbnn'), results.mean('deep/dense') - 0.01, { of: 'dense head − 0.01' }),
    },
  ],
  presets: {
    quick: {
      description: 'Iris and diabetes, 3-fold cross-validation, one seed.',
      seeds: 1,
      seconds: 10,
      settings: {
        tabular: {
          tables: [embeddedTables[0], embeddedTables[4]],
          folds: 3,
          innerFolds: 3,
          boosting: { classification: [embeddedBoosting], regression: [{ ...embeddedBoosting, eta: 0.1 }] },
          jointUnits: [100],
        },
      },
    },
    embedded: {
      description:
        'Iris, wine, breast cancer, digits and diabetes in 5-fold cross-validation, 100 units; a boosted head on a small convolutional network for Fashion-MNIST (else MNIST-10k).',
      seeds: 2,
      seconds: 530,
      settings: {
        tabular: {
          tables: embeddedTables,
          folds: 5,
          innerFolds: 3,
          boosting: { classification: [embeddedBoosting], regression: [{ ...embeddedBoosting, eta: 0.1 }] },
          jointUnits: [100],
        },
        deep: {
          train: 10_000,
          test: 10_000,
          epochs: 3,
          boosting: { totalUnits: 100, unitsPerStep: 10, eta: 0.5, subsample: 0.75, maxIterations: 100 },
        },
      },
    },
    full: {
      description: "The paper's UCI sets from your data folder, 10-fold cross-validation with an inner grid over J, η and subsample.",
      seeds: 1,
      seconds: 2_000_000,
      settings: {
        tabular: {
          tables: uci,
          folds: 10,
          innerFolds: 10,
          boosting: { classification: paperGrid, regression: paperGrid },
          jointUnits: [25, 50, 100, 200],
        },
        deep: {
          train: 60_000,
          test: 10_000,
          epochs: 10,
          boosting: { totalUnits: 200, unitsPerStep: 10, eta: 0.5, subsample: 0.75, maxIterations: 200 },
        },
      },
    },
  },
  async run(context) {
    const { tabular, deep } = context.settings
    const results: SeedResult[] = []
    for (const [index, table] of tabular.tables.entries()) {
      results.push(await kept(context, table.name, () => runTable(context, table, index)))
    }
    if (deep !== undefined) results.push(await kept(context, 'deep', () => runDeep(context, deep)))
    return {
      values: Object.assign({}, ...results.map(({ values }) => values)) as Record<string, number>,
      series: Object.assign({}, ...results.map(({ series }) => series ?? {})) as Record<string, Series>,
    }
  },
  tables(results) {
    const known = [...embeddedTables, ...uci].filter(({ name }, i, all) => all.findIndex((other) => other.name === name) === i)
    return (['classification', 'regression'] as const).flatMap((task) => {
      const names = known.filter((table) => table.task === task && results.has(`${table.name}/gbnn`)).map(({ name }) => name)
      if (names.length === 0) return []
      const better = task === 'classification' ? ('higher' as const) : ('lower' as const)
      return [
        {
          id: task,
          title: task === 'classification' ? 'Accuracy on test folds' : 'Root mean squared error on test folds',
          columns: [{ key: 'method', label: 'method' }, ...names.map((name) => ({ key: name, label: name, better }))],
          rows: Object.keys(methods)
            .filter((method) => results.has(`${names[0]}/${method}`))
            .map((method) => ({
              method: methods[method],
              ...Object.fromEntries(names.map((name) => [name, results.mean(`${name}/${method}`)])),
            })),
        },
      ]
    })
  },
  figures(results) {
    const values = [...classificationTables, 'deep'].flatMap((name) =>
      results
        .series(`${name}/curve`)
        .flatMap((curve, seed) =>
          (curve as number[]).map((accuracy, t) => ({ name, seed, share: (t + 1) / (curve as number[]).length, accuracy })),
        ),
    )
    if (values.length === 0) return []
    return [
      {
        id: 'truncation',
        title: 'Accuracy with the first units only',
        caption: 'Test accuracy rises fast and then stays: most of the last units can be switched off.',
        spec: {
          data: { values },
          mark: 'line',
          encoding: {
            x: { field: 'share', type: 'quantitative', title: 'share of units kept' },
            y: { field: 'accuracy', type: 'quantitative', aggregate: 'mean', scale: { zero: false }, title: 'accuracy' },
            color: { field: 'name', type: 'nominal', title: 'data' },
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
