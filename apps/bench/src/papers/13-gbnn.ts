/**
 * Reproduces Emami and Martínez-Muñoz, "Sequential Training of Neural Networks with Gradient Boosting", IEEE Access 11 (2023),
 * arXiv 1909.12098: boosted units against jointly trained networks of the same size, a deep one and boosted trees, units switched
 * off, training time by the number of steps, and a boosted head on a convolutional network's features.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { compile, DataError, fit, softmaxCrossEntropy, tree, valueAndGrad, type Learner, type Tree } from '@bpf/core'
import { batch, fitStandardiser, fromArrays, kFoldIndices, shuffle } from '@bpf/core/data'
import { accuracy, lineFit, predictedLabels } from '@bpf/core/metrics'
import { conv2d, dense, flatten, maxPool, relu, sequential, type Layer } from '@bpf/core/nn'
import { adam, applyUpdates, type AdamState } from '@bpf/core/optim'
import { fold, type Key } from '@bpf/core/random'
import { boostingLoss, fitGradientBoostedNetwork, fitJointNetwork, type GradientBoostedNetwork, type UnitSolver } from '@bpf/local'
import * as tf from '@tensorflow/tfjs-core'
import { fitBoostedTrees } from '../baselines/boosted-trees'
import { atLeast, atMost } from '../claims'
import { imageSets, type ImageSet } from '../data/image-sets'
import { hasPaperSet, paperSet, type PaperSetName } from '../data/paper-sets'
import { packageFolder } from '../package-folder'
import type { Paper, PaperResults, RunContext, SeedResult, Series, Table } from '../paper'

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
  /** Sets from the user's folders; those on this machine (Fashion-MNIST, else MNIST-10k) without it, or where none is there. */
  sets?: readonly PaperSetName[]
  train: number
  test: number
  epochs: number
  boosting: BoostingSettings
}

/** Training time by the number of steps, on digits. */
interface TimeSettings {
  steps: readonly number[]
  boosting: Omit<BoostingSettings, 'totalUnits'>
  /** Medians of so many rounds. */
  rounds: number
}

interface Settings {
  tabular: TabularSettings
  time?: TimeSettings
  deep?: DeepSettings
}

/** Rows [n, d] and their targets. */
interface Rows {
  x: Float32Array
  y: Float32Array
  columns: number
}

type Predict = (x: Rows) => Float64Array

/** Epochs of joint networks trained by Adam and SGD; iterations of L-BFGS. */
const jointIterations = 200
/** Joint baselines with one hidden layer. */
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
  const network = fitJointNetwork(matrix(train), train.y, { task, units, solver, maxIterations: jointIterations, key })
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
    scores.trees = score(task, boostedTrees(train, task)(test), test.y)
    scores.deepNetwork = score(task, await deepNetwork(train, test, task, chosen.totalUnits, fold(key, 4), signal), test.y)
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

type DeepState = { body: Tree; head: Tree; optimizer: AdamState }
type DeepBatch = { x: tf.Tensor; y: tf.Tensor }
type Params = { body: Tree; head: Tree }

/** Layers without state and a dense head, trained by backpropagation and Adam. */
interface Network {
  learner: Learner<DeepState, DeepBatch>
  /** What the head sees. */
  phi(params: Tree, x: tf.Tensor): tf.Tensor
  head(params: Tree, phi: tf.Tensor): tf.Tensor
}

function network(layers: readonly Layer[], shape: readonly number[], task: Task, outputs: number): Network {
  const body = sequential([...layers] as Layer[]) as Layer
  const last = dense(outputs) as unknown as Layer
  const stateless: Tree = layers.map(() => ({}))
  const optimizer = adam({ learningRate: 1e-3 })
  const phi = (params: Tree, x: tf.Tensor): tf.Tensor => body.apply(params, stateless, x, { training: false }).y
  const head = (params: Tree, x: tf.Tensor): tf.Tensor => last.apply(params, {}, x, { training: false }).y
  const lossOf = (out: tf.Tensor, y: tf.Tensor): tf.Tensor =>
    task === 'regression'
      ? tf.mul(0.5, tf.mean(tf.square(tf.sub(tf.squeeze(out, [1]), y))))
      : tf.mean(softmaxCrossEntropy(tf.cast(tf.oneHot(tf.cast(y, 'int32') as tf.Tensor1D, outputs), 'float32'), out))
  const learner: Learner<DeepState, DeepBatch> = {
    init(key) {
      const { params: first, outputShape } = body.init(fold(key, 0), [...shape])
      const params: Params = { body: first, head: last.init(fold(key, 1), outputShape).params }
      return { tensors: { ...params, optimizer: optimizer.init(params) }, host: null }
    },
    step(tensors, { x, y }) {
      return tree.tidy(() => {
        const params: Params = { body: tensors.body, head: tensors.head }
        const { value, grads } = valueAndGrad((p: Params) => lossOf(head(p.head, phi(p.body, x)), y))(params)
        const { updates, state } = optimizer.update(grads, tensors.optimizer, params)
        return { tensors: { ...applyUpdates(params, updates), optimizer: state }, metrics: { loss: value } }
      })
    },
  }
  return { learner, phi, head }
}

/** conv 3×3 16, ReLU, pool, conv 3×3 32, ReLU, pool, dense 64, ReLU = φ. */
const features = 64
const convolutional = (shape: readonly number[], classes: number): Network =>
  network(
    [
      conv2d(16, { kernelSize: 3 }),
      relu(),
      maxPool(2),
      conv2d(32, { kernelSize: 3 }),
      relu(),
      maxPool(2),
      flatten(),
      dense(features),
      relu(),
    ] as unknown as Layer[],
    shape,
    'classification',
    classes,
  )

/** Sorted distinct labels. */
const labelsOf = (y: Float32Array): number[] => [...new Set(y)].sort((a, b) => a - b)

/** What the deep baseline says of the test rows: three hidden layers of ReLU units, Adam for 200 epochs in batches of 200 rows. */
async function deepNetwork(train: Rows, test: Rows, task: Task, units: number, key: Key, signal: AbortSignal): Promise<Float64Array> {
  const labels = task === 'classification' ? labelsOf(train.y) : undefined
  const { learner, phi, head } = network(
    [1, 2, 3].flatMap(() => [dense(units), relu()]) as unknown as Layer[],
    [train.columns],
    task,
    labels?.length ?? 1,
  )
  const y = labels === undefined ? train.y : Float32Array.from(train.y, (label) => labels.indexOf(label))
  const examples = shuffle(fromArrays({ x: matrix(train), y }))
  const { state } = await fit(learner, batch(examples, Math.min(200, train.y.length)), { epochs: jointIterations, key, signal })
  const out = tf.tidy(() => head(state.tensors.head, phi(state.tensors.body, tf.tensor2d(test.x, [test.y.length, test.columns]))))
  const values = Float64Array.from(await out.data())
  out.dispose()
  tree.dispose(state.tensors)
  if (labels === undefined) return values
  return Float64Array.from(predictedLabels({ data: values, shape: [test.y.length, labels.length] }), (k) => labels[k])
}

/** Depth 3, 100 steps, learning rate 0.1, the same losses. */
function boostedTrees(train: Rows, task: Task): Predict {
  const labels = task === 'classification' ? labelsOf(train.y) : undefined
  const K = labels?.length ?? 0
  const loss = labels === undefined ? boostingLoss('squared') : K === 2 ? boostingLoss('logExponential') : boostingLoss('crossEntropy', K)
  const indices = Array.from(train.y, (value) => labels?.indexOf(value) ?? value)
  const y = Float64Array.from(
    loss.kind === 'crossEntropy' ? indices.flatMap((index) => Array.from({ length: K }, (_, k) => (k === index ? 1 : 0))) : indices,
    (value) => (loss.kind === 'logExponential' ? 2 * value - 1 : value),
  )
  const decide = fitBoostedTrees(train.x, train.columns, y, { loss })
  return (rows) => {
    const raw = decide(rows.x)
    if (labels === undefined) return raw
    if (K === 2) return raw.map((f) => labels[f > 0 ? 1 : 0])
    const best = predictedLabels({ data: raw, shape: [rows.y.length, K] })
    return Float64Array.from(best, (k) => labels[k])
  }
}

/** Seconds that boosting takes for each number of steps, and a deep network as wide as the longest. */
async function runTime(context: RunContext<Settings>, { steps, boosting, rounds }: TimeSettings): Promise<SeedResult> {
  const { key, signal } = context
  const [rows] = standardised(await readTable(context, 'digits'), await readTable(context, 'digits'))
  const seconds = async (work: () => Promise<unknown>): Promise<number> => {
    const begun = performance.now()
    await work()
    return (performance.now() - begun) / 1000
  }
  const boost = (T: number) => () =>
    boosted(rows, 'classification', { ...boosting, totalUnits: T * boosting.unitsPerStep }, fold(key, 60), signal)
  const width = Math.max(...steps) * boosting.unitsPerStep
  const works = [...steps.map(boost), () => deepNetwork(rows, rows, 'classification', width, fold(key, 61), signal)]
  const measured: number[][] = works.map(() => [])
  // The first call compiles.
  await boost(1)()
  const bar = context.progress('time', rounds)
  for (let round = 0; round < rounds; round++) {
    for (const [i, work] of works.entries()) measured[i].push(await seconds(work))
    bar.update(round + 1)
  }
  bar.stop()
  const medians = measured.map((list) => list.sort((a, b) => a - b)[list.length >> 1])
  const boostedSeconds = medians.slice(0, steps.length)
  const line = lineFit(steps, boostedSeconds)
  return {
    values: {
      'time/gbnn': boostedSeconds[boostedSeconds.length - 1],
      'time/deepNetwork': medians[steps.length],
      'time/r2': line.r2,
      // Nothing but a part that grows with T: the line meets T = 0 near 0.
      'time/constantShare': Math.abs(line.intercept) / boostedSeconds[boostedSeconds.length - 1],
    },
    series: { 'time/steps': steps.map((T, i) => ({ steps: T, seconds: boostedSeconds[i] })) },
  }
}

/** φ and dense logits of images, 500 at a time. */
async function activations({ phi, head }: Network, tensors: DeepState, { x, y, classes }: ImageSet) {
  const run = compile((bodyParams: Tree, headParams: Tree, images: tf.Tensor) => {
    const values = phi(bodyParams, images)
    return { values, logits: head(headParams, values) }
  })
  const size = x.data.length / y.length
  const [values, logits] = [new Float32Array(y.length * features), new Float32Array(y.length * classes)]
  for (let from = 0; from < y.length; from += 500) {
    const rows = Math.min(500, y.length - from)
    const images = tf.tensor(x.data.slice(from * size, (from + rows) * size), [rows, ...x.shape.slice(1)])
    const out = run(tensors.body, tensors.head, images)
    values.set(await out.values.data(), from * features)
    logits.set(await out.logits.data(), from * classes)
    tf.dispose([images, out.values, out.logits])
  }
  const rows: Rows = { x: values, y: Float32Array.from(y), columns: features }
  return { phi: rows, accuracy: accuracy({ data: logits, shape: [y.length, classes] }, y) }
}

/** A dense head against a boosted head on the same features. */
async function runDeep(context: RunContext<Settings>, settings: DeepSettings, set: PaperSetName | undefined): Promise<SeedResult> {
  const { train, test } = await (set === undefined
    ? imageSets(context.data, { train: settings.train, test: settings.test })
    : paperSet(context.data, set, { train: settings.train, test: settings.test }))
  const model = convolutional(train.x.shape.slice(1), train.classes)
  const { state } = await fit(model.learner, batch(shuffle(fromArrays({ x: train.x, y: train.y })), 128), {
    epochs: settings.epochs,
    key: fold(context.key, 50),
    reporter: context.reporter('CNN'),
    signal: context.signal,
  })
  const [trained, held] = [await activations(model, state.tensors, train), await activations(model, state.tensors, test)]
  tree.dispose(state.tensors)
  context.signal.throwIfAborted()
  const [phiTrain, phiTest] = standardised(trained.phi, held.phi)
  const boostedHead = await boosted(phiTrain, 'classification', settings.boosting, fold(context.key, 51), context.signal)
  const curve = Array.from(boostedHead.stagedScore(matrix(phiTest), phiTest.y))
  const name = deepName(set)
  return {
    values: { [`${name}/dense`]: held.accuracy, [`${name}/gbnn`]: curve[curve.length - 1], [`${name}/one-step`]: curve[0] },
    series: { [`${name}/curve`]: curve, [`${name}/rho`]: boostedHead.rho },
  }
}

const deepSets: readonly PaperSetName[] = ['mnist', 'cifar-10']
const deepName = (set: PaperSetName | undefined): string => (set === undefined ? 'deep' : `deep/${set}`)
const deepTitles: readonly { name: string; title: string }[] = [
  { name: 'deep', title: 'Fashion-MNIST (else MNIST-10k)' },
  { name: 'deep/mnist', title: 'MNIST' },
  { name: 'deep/cifar-10', title: 'CIFAR-10' },
]

const meanOver = (results: PaperResults, method: string): number =>
  classificationTables.reduce((sum, name) => sum + results.mean(`${name}/${method}`), 0) / classificationTables.length

const methods: Readonly<Record<string, string>> = {
  gbnn: 'boosted network',
  half: 'boosted network, first half of its units',
  single: 'boosted in one step of all units',
  adam: 'joint network, Adam',
  lbfgs: 'joint network, L-BFGS',
  sgd: 'joint network, SGD',
  deepNetwork: 'three hidden layers, Adam',
  trees: 'boosted trees',
}

const embeddedBoosting: BoostingSettings = { totalUnits: 100, unitsPerStep: 2, eta: 0.5, subsample: 0.75, maxIterations: 100 }
const embeddedTables: readonly TableSettings[] = [
  ...classificationTables.map((name) => ({ name, task: 'classification' as const })),
  { name: 'diabetes', task: 'regression' },
]

const embeddedTime: TimeSettings = {
  steps: [10, 20, 40, 80],
  boosting: { unitsPerStep: 2, eta: 0.5, subsample: 0.75, maxIterations: 100 },
  rounds: 3,
}

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
      check(results) {
        const verdicts = deepTitles
          .filter(({ name }) => results.has(`${name}/gbnn`))
          .map(({ name }) => atLeast(results.mean(`${name}/gbnn`), results.mean(`${name}/dense`) - 0.01, { of: 'dense head − 0.01' }))
        return verdicts.find(({ holds }) => !holds) ?? verdicts[0]
      },
    },
    {
      id: 'time-linear',
      statement: 'The time of boosting is linear in the number of steps: R² of the line at least 0.95.',
      presets: ['embedded', 'full'],
      check: (results) => atLeast(results.mean('time/r2'), 0.95),
    },
    {
      id: 'time-below-deep',
      statement: 'Boosting takes less time than a network of three hidden layers of as many units.',
      presets: ['embedded', 'full'],
      check: (results) => atMost(results.mean('time/gbnn'), results.mean('time/deepNetwork'), { of: 'three hidden layers' }),
    },
  ],
  presets: {
    quick: {
      description: 'Iris and diabetes, 3-fold cross-validation, one seed.',
      seeds: 1,
      seconds: 6,
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
      seconds: 265,
      settings: {
        tabular: {
          tables: embeddedTables,
          folds: 5,
          innerFolds: 3,
          boosting: { classification: [embeddedBoosting], regression: [{ ...embeddedBoosting, eta: 0.1 }] },
          jointUnits: [100],
        },
        time: embeddedTime,
        deep: {
          train: 10_000,
          test: 10_000,
          epochs: 3,
          boosting: { totalUnits: 100, unitsPerStep: 10, eta: 0.5, subsample: 0.75, maxIterations: 100 },
        },
      },
    },
    full: {
      description:
        "The paper's UCI sets from your data folder, 10-fold cross-validation with an inner grid over J, η and subsample; boosted heads for MNIST and CIFAR-10 from your data folder.",
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
        time: embeddedTime,
        deep: {
          sets: deepSets,
          train: 60_000,
          test: 10_000,
          epochs: 10,
          boosting: { totalUnits: 200, unitsPerStep: 10, eta: 0.5, subsample: 0.75, maxIterations: 200 },
        },
      },
    },
  },
  async run(context) {
    const { tabular, time, deep } = context.settings
    const results: SeedResult[] = []
    for (const [index, table] of tabular.tables.entries()) {
      results.push(await kept(context, table.name, () => runTable(context, table, index)))
    }
    if (time !== undefined) results.push(await kept(context, 'time', () => runTime(context, time)))
    if (deep !== undefined) {
      const found = (deep.sets ?? []).filter((set) => hasPaperSet(context.data, set))
      for (const set of found.length > 0 ? found : [undefined]) {
        results.push(await kept(context, deepName(set), () => runDeep(context, deep, set)))
      }
    }
    return {
      values: Object.assign({}, ...results.map(({ values }) => values)) as Record<string, number>,
      series: Object.assign({}, ...results.map(({ series }) => series ?? {})) as Record<string, Series>,
    }
  },
  tables(results) {
    const deep = deepTitles.filter(({ name }) => results.has(`${name}/gbnn`))
    return [
      ...tabularTables(results),
      ...(deep.length === 0
        ? []
        : [
            {
              id: 'deep',
              title: "Accuracy of heads on a convolutional network's features",
              columns: [
                { key: 'data', label: 'data' },
                { key: 'dense', label: 'dense head', better: 'higher' as const },
                { key: 'one', label: 'boosted, one step', better: 'higher' as const },
                { key: 'gbnn', label: 'boosted', better: 'higher' as const },
              ],
              rows: deep.map(({ name, title }) => ({
                data: title,
                dense: results.summary(`${name}/dense`),
                one: results.summary(`${name}/one-step`),
                gbnn: results.summary(`${name}/gbnn`),
              })),
            },
          ]),
    ]
  },
  figures(results) {
    const values = [...classificationTables, ...deepTitles.map(({ name }) => name)].flatMap((name) =>
      results
        .series(`${name}/curve`)
        .flatMap((curve, seed) =>
          (curve as number[]).map((accuracy, t) => ({ name, seed, share: (t + 1) / (curve as number[]).length, accuracy })),
        ),
    )
    const times = results
      .series('time/steps')
      .flatMap((list, seed) => (list as object[]).map((point) => ({ ...point, seed: String(seed) })))
    return [
      ...(values.length === 0
        ? []
        : [
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
            } as const,
          ]),
      ...(times.length === 0
        ? []
        : [
            {
              id: 'time',
              title: 'Training time by the number of steps',
              caption: 'On digits, two units a step: every step costs the same.',
              spec: {
                data: { values: times },
                mark: { type: 'line', point: true },
                encoding: {
                  x: { field: 'steps', type: 'quantitative', title: 'steps T' },
                  y: { field: 'seconds', type: 'quantitative', title: 'seconds' },
                  color: { field: 'seed', type: 'nominal', title: 'seed' },
                },
              },
            } as const,
          ]),
    ]
  },
}

/** Every method's score on each table, by task. */
function tabularTables(results: PaperResults): Table[] {
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
}

/** A result that a resumed run reads instead of computing it again. */
async function kept(context: RunContext<Settings>, name: string, compute: () => Promise<SeedResult>): Promise<SeedResult> {
  return context.part(name, async () => {
    const { values, series } = await compute()
    return { values, series: series ?? {} }
  })
}
