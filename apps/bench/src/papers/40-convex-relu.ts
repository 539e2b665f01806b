/**
 * Reproduces Bai, Gautam and Sojoudi, "Efficient Global Optimization of Two-layer ReLU Networks: Quadratic-time Algorithms and
 * Adversarial Training", SIAM J. Mathematics of Data Science 5 (2023), arXiv 2201.01965: the optimum of small networks against
 * back-propagation, ADMM's first iterations on a table, and convex adversarial training on pairs of image classes.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DataError } from '@bpf/core'
import { fitStandardiser, kFoldIndices } from '@bpf/core/data'
import { ridge } from '@bpf/core/linalg'
import { fold, normalArray, permutationArray, type Key } from '@bpf/core/random'
import {
  activationPatterns,
  convexReluAdmm,
  fitBackpropRelu,
  fitConvexRelu,
  reluNetworkObjective,
  sampleActivationPatterns,
  type ConvexReluNetwork,
} from '@bpf/local'
import { atLeast, atMost } from '../claims'
import type { DataSetName } from '../data/access'
import { paperSet } from '../data/paper-sets'
import { packageFolder } from '../package-folder'
import type { Paper, PaperResults, RunContext, SeedResult, Series } from '../paper'

/** The network optimum of n points in the plane. */
interface OptimumSettings {
  rows: number
  beta: number
  rho: number
  iterations: number
  /** Runs of Adam on the network objective, their width and steps. */
  runs: number
  units: number
  steps: number
  learningRate: number
  /** N of the sampled convex program, nested. */
  samples: readonly number[]
  /** P_s of subsampled programs, nested, solved to convergence and compared with the program of all patterns. */
  subsets: readonly number[]
}

/** A table of labels by ADMM with the squared loss. */
interface TableSettings {
  name: string
  folds: number
  patterns: number
  beta: number
  rho: number
  /** Iterations after which the accuracy is taken. */
  iterations: readonly number[]
  /** Whether other methods are fitted too. */
  comparisons: boolean
}

/** Adversarial training on two classes of images. */
interface AdversarialSettings {
  /** `cifar-10` and `mnist` are read from the user's folders. */
  set: DataSetName | 'cifar-10' | 'mnist'
  classes: readonly [number, number]
  train: number
  epsilon: number
  beta: number
  /** Draws of a, each with its clean pattern and `copies` − 1 perturbed ones. */
  draws: number
  copies: number
  steps: number
  learningRate: number
  penalty: number
  attackSteps: number
  /** Iterations of the exact solver; 0 leaves it out. */
  exactIterations: number
  /** Back-propagation: width, steps, and steps of PGD in training. */
  units: number
  backpropSteps: number
  trainAttackSteps: number
}

interface Settings {
  optimum?: OptimumSettings
  table?: TableSettings
  pairs: readonly AdversarialSettings[]
}

/** Inputs [n, d] in [0, 1] or standardised, labels ±1 or targets. */
interface Rows {
  X: { data: Float64Array; shape: [number, number] }
  y: Float64Array
}

function select({ X, y }: Rows, indices: Int32Array): Rows {
  const d = X.shape[1]
  const data = new Float64Array(indices.length * d)
  indices.forEach((row, i) => data.set(X.data.subarray(row * d, (row + 1) * d), i * d))
  return { X: { data, shape: [indices.length, d] }, y: Float64Array.from(indices, (row) => y[row]) }
}

/** y = sin(2x₁) x₂ + 0.3 noise. */
function wavyPoints(rows: number, key: Key): Rows {
  const data = Float64Array.from(normalArray(fold(key, 0), 2 * rows))
  const noise = normalArray(fold(key, 1), rows)
  const y = Float64Array.from({ length: rows }, (_, k) => Math.sin(2 * data[2 * k]) * data[2 * k + 1] + 0.3 * noise[k])
  return { X: { data, shape: [rows, 2] }, y }
}

const earlyIteration = 200

async function runOptimum({ key, signal, progress, onlyClaims }: RunContext<Settings>, settings: OptimumSettings): Promise<SeedResult> {
  const { rows, beta, rho, iterations, runs, units, steps, learningRate, samples, subsets } = settings
  const { X, y } = wavyPoints(rows, fold(key, 1))
  const bar = progress('optimum', 1 + runs + samples.length + subsets.length)
  let done = 0
  // All iterations are made: the tolerance is out of reach.
  const admm = { beta, rho, maxIterations: iterations, tolerance: 1e-14, signal }
  const exact = await fitConvexRelu(X, y, { ...admm, patterns: 'all' })
  const early = await fitConvexRelu(X, y, { ...admm, patterns: 'all', maxIterations: earlyIteration })
  bar.update(++done)
  const trained: number[] = []
  const histories: Float64Array[] = []
  for (let run = 0; run < runs; run++) {
    const model = await fitBackpropRelu(X, y, { beta, units, steps, learningRate, key: fold(fold(key, 2), run), signal })
    trained.push(model.objective)
    histories.push(model.histories[0])
    bar.update(++done)
  }
  const values: Record<string, number> = {
    'optimum/patterns': exact.patterns?.rows ?? 0,
    'optimum/admm': exact.objective,
    'optimum/admm-early': early.objective,
    'optimum/lower-bound': exact.lowerBound ?? NaN,
    'optimum/adam-best': Math.min(...trained),
    'optimum/adam-worst': Math.max(...trained),
    'optimum/admm-over-adam': exact.objective / Math.min(...trained),
  }
  for (const N of samples) {
    const model = await fitConvexRelu(X, y, {
      method: 'scp',
      beta,
      samples: N,
      maxIterations: 20_000,
      tolerance: 1e-8,
      key: fold(key, 3),
      signal,
    })
    values[`optimum/scp-${N}`] = model.objective
    values[`optimum/scp-${N}-over-admm`] = model.objective / exact.objective
    bar.update(++done)
  }
  if (subsets.length > 0) {
    // These are compared to 1e-6, which takes more iterations, and a smaller penalty.
    const converged = { beta, rho: rho / 4, maxIterations: 8 * iterations, tolerance: 1e-10, signal }
    const optima: number[] = []
    for (const P of subsets) {
      const model = await fitConvexRelu(X, y, { ...converged, patterns: nested(X, P, fold(key, 4)) })
      values[`optimum/subset-${P}`] = model.programObjective
      optima.push(model.programObjective)
      bar.update(++done)
    }
    const whole = await fitConvexRelu(X, y, { ...converged, patterns: 'all' })
    optima.push(whole.programObjective)
    values['optimum/converged'] = whole.objective
    values['optimum/lower-bound'] = whole.lowerBound ?? NaN
    values['optimum/subset-rise'] = Math.max(...optima.slice(1).map((value, i) => value - optima[i]))
  }
  bar.stop()
  if (onlyClaims) return { values }
  // What is above the bound cannot be gained by any network.
  const excess = (points: number[][]): number[][] =>
    points.map(([iteration, objective]) => [iteration, Math.max(1e-6, objective - values['optimum/lower-bound'])])
  const curves = histories.map((history) => excess(logSpaced(history.length).map((iteration) => [iteration, history[iteration - 1]])))
  return { values, series: { 'optimum/admm-curve': excess(networkCurve(withOnes(X), y, settings)), 'optimum/adam-curves': curves } }
}

/** [iteration, objective of the network recovered then] of ADMM over all patterns. */
function networkCurve(x: ReturnType<typeof withOnes>, y: Float64Array, { beta, rho, iterations }: OptimumSettings): number[][] {
  const solver = convexReluAdmm(x, y, activationPatterns(x), { beta, rho })
  let state = solver.init()
  let done = 0
  return logSpaced(iterations).map((iteration) => {
    for (; done < iteration; done++) state = solver.step(state)
    return [iteration, reluNetworkObjective(solver.network(state), x, y, { beta })]
  })
}

/** The first P random patterns of points with a column of ones. */
function nested(X: Rows['X'], P: number, key: Key) {
  return sampleActivationPatterns(withOnes(X), { count: P, key })
}

function withOnes({ data, shape: [rows, cols] }: Rows['X']) {
  const out = new Float64Array(rows * (cols + 1)).fill(1)
  for (let k = 0; k < rows; k++) out.set(data.subarray(k * cols, (k + 1) * cols), k * (cols + 1))
  return { rows, cols: cols + 1, data: out }
}

/** About 100 iterations from 1 to `last`, evenly spaced on a logarithmic axis. */
function logSpaced(last: number): number[] {
  return [...new Set(Array.from({ length: 101 }, (_, i) => Math.round(last ** (i / 100))))]
}

function readTable(context: RunContext<Settings>, name: string): Rows {
  const folders = [...context.data.folders, join(packageFolder, 'data', 'tables')]
  const path = folders.map((folder) => join(folder, `${name}.csv`)).find((candidate) => existsSync(candidate))
  if (path === undefined) {
    throw new DataError(
      `${name}.csv was not found in ${folders.join(', ')}; get the set from archive.ics.uci.edu, write it as numbers with the label (0 or 1) last, without missing values, and name its folder with --data-dir`,
    )
  }
  const rows = readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(',').map(Number))
  const width = rows[0].length
  const bad = rows.findIndex(
    (row) => row.length !== width || row.some((value) => !Number.isFinite(value)) || ![0, 1].includes(row[width - 1]),
  )
  if (bad >= 0) throw new DataError(`${name}.csv: line ${bad + 1} should hold ${width} numbers, the last of them 0 or 1`)
  const data = Float64Array.from(rows.flatMap((row) => row.slice(0, -1)))
  return { X: { data, shape: [rows.length, width - 1] }, y: Float64Array.from(rows, (row) => 2 * row[width - 1] - 1) }
}

/** Both parts standardised with the statistics of the first, and divided by √d, so that rows have norm 1 or so. */
function standardised(train: Rows, test: Rows): [Rows, Rows] {
  const array = ({ X }: Rows) => ({ data: Float32Array.from(X.data), shape: X.shape, dtype: 'float32' }) as const
  const statistics = fitStandardiser(array(train))
  const scale = Math.sqrt(train.X.shape[1])
  const apply = (rows: Rows): Rows => ({
    y: rows.y,
    X: { shape: rows.X.shape, data: Float64Array.from(statistics.apply(array(rows)).data, (value) => value / scale) },
  })
  return [apply(train), apply(test)]
}

/** Accuracy of the sign of a ridge regression, with a bias. */
function ridgeAccuracy(train: Rows, test: Rows): number {
  const w = ridge(withOnes(train.X), train.y, 1)
  const d = w.length
  const { data } = withOnes(test.X)
  return (
    test.y.reduce((right, label, k) => {
      let f = 0
      for (let a = 0; a < d; a++) f += data[k * d + a] * w[a]
      return right + (label * f > 0 ? 1 : 0)
    }, 0) / test.y.length
  )
}

async function runTable(context: RunContext<Settings>, settings: TableSettings): Promise<SeedResult> {
  const { name, folds, patterns, beta, rho, iterations, comparisons } = settings
  const { signal, onlyClaims } = context
  const key = fold(context.key, 20)
  const rows = readTable(context, name)
  const bar = context.progress(name, folds)
  const sums: Record<string, number> = {}
  const add = (method: string, accuracy: number): void => {
    sums[`${name}/${method}`] = (sums[`${name}/${method}`] ?? 0) + accuracy / folds
  }
  const parts = kFoldIndices(rows.y.length, folds, fold(key, 0), { stratify: rows.y })
  for (const [i, part] of parts.entries()) {
    const [train, test] = standardised(select(rows, part.train), select(rows, part.test))
    const common = { task: 'binary', beta, key: fold(key, i + 1), signal } as const
    for (const maxIterations of iterations) {
      const model = await fitConvexRelu(train.X, train.y, { ...common, patterns, rho, maxIterations })
      add(`admm-${maxIterations}`, model.score(test.X, test.y))
    }
    if (comparisons && !onlyClaims) {
      const inexact = await fitConvexRelu(train.X, train.y, { ...common, method: 'admm-rbcd', patterns, rho, sweeps: 3, maxIterations: 10 })
      add('rbcd-10', inexact.score(test.X, test.y))
      const logistic = await fitConvexRelu(train.X, train.y, { ...common, loss: 'logistic', patterns, rho, maxIterations: 50 })
      add('logistic-50', logistic.score(test.X, test.y))
      const sampled = await fitConvexRelu(train.X, train.y, { ...common, method: 'scp', samples: 200, maxIterations: 500 })
      add('scp', sampled.score(test.X, test.y))
      const network = await fitBackpropRelu(train.X, train.y, { ...common, units: 2 * patterns, steps: 500 })
      add('adam', network.score(test.X, test.y))
      add('ridge', ridgeAccuracy(train, test))
    }
    bar.update(i + 1)
  }
  bar.stop()
  return { values: sums }
}

/** Images [count, size] and their labels, pixels in [0, 1]. */
async function readImages(
  { data }: RunContext<Settings>,
  set: AdversarialSettings['set'],
): Promise<{ images: ArrayLike<number>; labels: ArrayLike<number>; size: number; maxValue: number }> {
  if (set === 'cifar-10' || set === 'mnist') {
    const { train } = await paperSet(data, set)
    return { images: train.x.data, labels: train.y, size: train.x.data.length / train.y.length, maxValue: 1 }
  }
  const all = await data.load(set, set === 'fashion-mnist' ? 'train' : 'all')
  return { images: all.images, labels: all.labels, size: all.height * all.width, maxValue: all.maxValue }
}

async function readPair(context: RunContext<Settings>, { set, classes }: AdversarialSettings): Promise<Rows> {
  const { images, labels, size, maxValue } = await readImages(context, set)
  const kept = Array.from(labels).flatMap((label, i) => (classes.includes(label) ? [i] : []))
  const data = new Float64Array(kept.length * size)
  kept.forEach((row, i) => {
    for (let a = 0; a < size; a++) data[i * size + a] = images[row * size + a] / maxValue
  })
  return { X: { data, shape: [kept.length, size] }, y: Float64Array.from(kept, (row) => (labels[row] === classes[0] ? 1 : -1)) }
}

/** The all-ones pattern and those of the draws, of perturbed data too where ε > 0. */
function pairPatterns({ X }: Rows, { draws, copies, epsilon }: AdversarialSettings, robust: boolean, key: Key) {
  const perturbation = robust ? { epsilon, copies, columns: X.shape[1] } : undefined
  const sample = sampleActivationPatterns(withOnes(X), { draws, key, perturbation })
  const n = X.shape[0]
  const first = new Float64Array(n).fill(1)
  const others = Array.from({ length: sample.rows }, (_, i) => sample.data.subarray(i * n, (i + 1) * n)).filter((row) => row.includes(0))
  const data = new Float64Array((others.length + 1) * n)
  for (const [i, row] of [first, ...others].entries()) data.set(row, i * n)
  return { data, shape: [others.length + 1, n] }
}

const pairName = ({ set, classes }: AdversarialSettings): string => `${set} ${classes[0]} or ${classes[1]}`

async function runPair(context: RunContext<Settings>, settings: AdversarialSettings, index: number): Promise<SeedResult> {
  const { signal, onlyClaims } = context
  const { epsilon, beta, steps, learningRate, penalty, attackSteps, exactIterations, units, backpropSteps, trainAttackSteps } = settings
  const key = fold(context.key, 40 + index)
  const all = await readPair(context, settings)
  const order = permutationArray(fold(key, 0), all.y.length)
  const [train, test] = [select(all, order.slice(0, settings.train)), select(all, order.slice(settings.train))]
  const name = pairName(settings)
  const values: Record<string, number> = {}
  const measure = (method: string, model: ConvexReluNetwork): void => {
    const attacked = (rows: Rows, options: { steps: number; stepSize: number }) => model.attack(rows.X, rows.y, { epsilon, ...options })
    values[`${name}/${method}/clean`] = model.score(test.X, test.y)
    values[`${name}/${method}/fgsm`] = model.score(attacked(test, { steps: 1, stepSize: epsilon }), test.y)
    values[`${name}/${method}/pgd`] = model.score(attacked(test, { steps: attackSteps, stepSize: epsilon / 10 }), test.y)
  }
  const convex = { loss: 'hinge', task: 'binary', reduction: 'mean', beta, signal } as const
  const adam = { ...convex, method: 'penalized-adam', maxIterations: steps, learningRate, penalty } as const
  const clean = pairPatterns(train, settings, false, fold(key, 1))
  const perturbed = pairPatterns(train, settings, true, fold(key, 1))
  const bar = context.progress(name, onlyClaims ? 2 : 6)
  let done = 0
  measure('cvx-std', await fitConvexRelu(train.X, train.y, { ...adam, patterns: clean }))
  bar.update(++done)
  measure('cvx-robust', await fitConvexRelu(train.X, train.y, { ...adam, patterns: perturbed, adversarial: { epsilon } }))
  bar.update(++done)
  values[`${name}/patterns-clean`] = clean.shape[0]
  values[`${name}/patterns-perturbed`] = perturbed.shape[0]
  if (!onlyClaims) {
    if (exactIterations > 0) {
      const exact = await fitConvexRelu(train.X, train.y, {
        ...convex,
        patterns: perturbed,
        adversarial: { epsilon },
        maxIterations: exactIterations,
      })
      measure('cvx-robust-admm', exact)
    }
    bar.update(++done)
    const backprop = { ...convex, units, steps: backpropSteps, key: fold(key, 2) }
    measure('gd-std', await fitBackpropRelu(train.X, train.y, backprop))
    bar.update(++done)
    measure('gd-fgsm', await fitBackpropRelu(train.X, train.y, { ...backprop, adversarial: { epsilon, steps: 1 } }))
    bar.update(++done)
    measure('gd-pgd', await fitBackpropRelu(train.X, train.y, { ...backprop, adversarial: { epsilon, steps: trainAttackSteps } }))
    bar.update(++done)
  }
  bar.stop()
  return { values }
}

const methods: Readonly<Record<string, string>> = {
  'gd-std': 'back-propagation',
  'gd-fgsm': 'back-propagation on FGSM inputs',
  'gd-pgd': 'back-propagation on PGD inputs',
  'cvx-std': 'convex program',
  'cvx-robust': 'robust convex program, penalised Adam',
  'cvx-robust-admm': 'robust convex program, ADMM',
}

const tableMethods: Readonly<Record<string, string>> = {
  'admm-1': 'ADMM, 1 iteration',
  'admm-10': 'ADMM, 10 iterations',
  'admm-50': 'ADMM, 50 iterations',
  'rbcd-10': 'ADMM with block coordinate descent, 10 iterations',
  'logistic-50': 'ADMM, logistic loss, 50 iterations',
  scp: 'sampled convex program, N = 200',
  adam: 'back-propagation (Adam)',
  ridge: 'linear ridge',
}

const optimum: OptimumSettings = {
  rows: 12,
  beta: 0.05,
  rho: 0.2,
  iterations: 3000,
  runs: 10,
  units: 100,
  steps: 3000,
  learningRate: 0.01,
  samples: [100, 1000],
  subsets: [6, 11, 23, 34],
}
const breastCancer: TableSettings = {
  name: 'breast-cancer',
  folds: 5,
  patterns: 20,
  beta: 0.01,
  rho: 0.1,
  iterations: [1, 10, 50],
  comparisons: true,
}
const digits: AdversarialSettings = {
  set: 'digits',
  classes: [3, 8],
  train: 150,
  epsilon: 0.1,
  beta: 1e-3,
  draws: 40,
  copies: 3,
  steps: 1200,
  learningRate: 0.02,
  penalty: 10,
  attackSteps: 40,
  exactIterations: 500,
  units: 70,
  backpropSteps: 400,
  trainAttackSteps: 10,
}
const embeddedPair = pairName(digits)

const cifar: AdversarialSettings = {
  ...digits,
  set: 'cifar-10',
  classes: [2, 8],
  train: 1600,
  epsilon: 10 / 255,
  beta: 1e-4,
  draws: 36,
  steps: 4000,
  exactIterations: 0,
  units: 120,
  backpropSteps: 2000,
  trainAttackSteps: 40,
}

const each = (results: PaperResults, name: string): readonly number[] => results.summary(name).each

export const paper: Paper<Settings> = {
  number: 40,
  slug: 'convex-relu',
  title: 'Efficient Global Optimization of Two-layer ReLU Networks: Quadratic-time Algorithms and Adversarial Training',
  arxiv: '2201.01965',
  package: '@bpf/local',
  claims: [
    {
      id: 'admm-against-adam',
      statement:
        'On 12 points with all activation patterns, ADMM’s network is in every seed at most 1.003 times the training objective of the best network that Adam finds.',
      presets: ['quick', 'embedded'],
      check: (results) => atMost(results.summary('optimum/admm-over-adam').max, 1.003, { of: 'best network by Adam; the worst seed' }),
    },
    {
      id: 'scp-near-optimum',
      statement: 'The sampled convex program with 1,000 hidden weights is in every seed at most 1.10 times ADMM’s objective.',
      presets: ['quick', 'embedded'],
      check: (results) => atMost(results.summary('optimum/scp-1000-over-admm').max, 1.1, { of: 'ADMM; the worst seed' }),
    },
    {
      id: 'more-patterns',
      statement: 'With more sampled patterns (nested) the optimum of the convex program never rises (beyond 1e-6, the solver’s accuracy).',
      presets: ['embedded'],
      check: (results) => atMost(results.summary('optimum/subset-rise').max, 1e-6, { of: 'largest rise, all seeds' }),
    },
    {
      id: 'ten-iterations',
      statement: 'On breast cancer (5-fold) the network after 10 iterations of ADMM has a mean accuracy of at least 94.5 %.',
      presets: ['quick', 'embedded'],
      check: (results) => atLeast(results.mean('breast-cancer/admm-10'), 0.945),
    },
    {
      id: 'one-iteration',
      statement: 'On breast cancer (5-fold) the network after one iteration of ADMM has a mean accuracy of at least 91 %.',
      presets: ['quick', 'embedded'],
      check: (results) => atLeast(results.mean('breast-cancer/admm-1'), 0.91),
    },
    {
      id: 'robust-accuracy',
      statement:
        'On digits 3 and 8 with ε = 0.1 the robust convex program has at least 20 points more accuracy under PGD than the ordinary one.',
      presets: ['embedded'],
      reported: 'CIFAR-10 birds and ships, ε = 10/255: 66.8 % against 0.5 %',
      check: (results) =>
        atLeast(results.mean(`${embeddedPair}/cvx-robust/pgd`), results.mean(`${embeddedPair}/cvx-std/pgd`) + 0.2, {
          of: 'ordinary program + 0.20',
        }),
    },
    {
      id: 'clean-accuracy',
      statement: 'Its accuracy on clean images is at most 4 points below that of the ordinary program.',
      presets: ['embedded'],
      reported: 'CIFAR-10 birds and ships: 78.4 % against 81.0 %',
      check: (results) =>
        atLeast(results.mean(`${embeddedPair}/cvx-robust/clean`), results.mean(`${embeddedPair}/cvx-std/clean`) - 0.04, {
          of: 'ordinary program − 0.04',
        }),
    },
  ],
  presets: {
    quick: {
      description: 'The optimum on 12 points, against 3 runs of Adam; breast cancer in 5-fold cross-validation; one seed.',
      seeds: 1,
      seconds: 6,
      settings: { optimum: { ...optimum, runs: 3, subsets: [] }, table: { ...breastCancer, comparisons: false }, pairs: [] },
    },
    embedded: {
      description:
        'The optimum on 12 points against 10 runs of Adam and sampled programs; breast cancer in 5-fold cross-validation; adversarial training on digits 3 and 8.',
      seeds: 5,
      seconds: 130,
      settings: { optimum, table: breastCancer, pairs: [digits] },
    },
    full: {
      description:
        "Adversarial training on CIFAR-10's birds and ships, and on pairs of MNIST and Fashion-MNIST; mammographic masses (UCI) from your data folder.",
      seeds: 1,
      seconds: 40_000,
      settings: {
        optimum,
        table: { ...breastCancer, name: 'mammographic', patterns: 120 },
        pairs: [
          { ...cifar, set: 'mnist-10k', classes: [2, 8], train: 1500 },
          { ...cifar, set: 'fashion-mnist', classes: [2, 6], train: 4000 },
          cifar,
        ],
      },
    },
  },
  async run(context) {
    const { optimum: first, table, pairs } = context.settings
    const results: SeedResult[] = []
    if (first !== undefined) results.push(await kept(context, 'optimum', () => runOptimum(context, first)))
    if (table !== undefined) results.push(await kept(context, table.name, () => runTable(context, table)))
    for (const [index, pair] of pairs.entries()) results.push(await kept(context, pairName(pair), () => runPair(context, pair, index)))
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
    const tables = []
    if (results.has('optimum/admm')) {
      const rows = {
        'lower-bound': 'lower bound of every network (dual value)',
        converged: 'ADMM, all patterns, to convergence',
        admm: 'ADMM, all patterns, 3,000 iterations',
        'admm-early': `ADMM, all patterns, ${earlyIteration} iterations`,
        'adam-best': 'Adam, best run',
        'adam-worst': 'Adam, worst run',
        'scp-1000': 'sampled convex program, N = 1000',
        'scp-100': 'sampled convex program, N = 100',
        ...Object.fromEntries([...optimum.subsets].reverse().map((P) => [`subset-${P}`, `program of ${P} sampled patterns`])),
      }
      const columns = results.seeds.map(({ seed }) => ({ key: `seed${seed}`, label: `seed ${seed}`, digits: 5 }))
      tables.push({
        id: 'optimum',
        title: 'Training objective on 12 points',
        columns: [{ key: 'method', label: 'method' }, ...columns],
        rows: Object.entries(rows)
          .filter(([method]) => results.has(`optimum/${method}`))
          .map(([method, label]) => ({
            method: label,
            ...Object.fromEntries(columns.map(({ key }, i) => [key, each(results, `optimum/${method}`)[i] ?? null])),
          })),
        note: 'Lower is better. The bound comes from the multipliers of ADMM and holds for networks of any width.',
      })
    }
    for (const name of [breastCancer.name, 'mammographic']) {
      if (!results.has(`${name}/admm-10`)) continue
      tables.push({
        id: name,
        title: `Accuracy on ${name}, mean of 5 folds`,
        columns: [
          { key: 'method', label: 'method' },
          { key: 'accuracy', label: 'accuracy', better: 'higher' as const },
        ],
        rows: Object.entries(tableMethods)
          .filter(([method]) => results.has(`${name}/${method}`))
          .map(([method, label]) => ({ method: label, accuracy: cell(`${name}/${method}`) })),
      })
    }
    for (const name of pairNames.filter((pair) => results.has(`${pair}/cvx-std/clean`))) {
      tables.push({
        id: `robust-${name.replaceAll(' ', '-')}`,
        title: `Accuracy on ${name}`,
        columns: [
          { key: 'method', label: 'method' },
          { key: 'clean', label: 'clean', better: 'higher' as const },
          { key: 'fgsm', label: 'FGSM', better: 'higher' as const },
          { key: 'pgd', label: 'PGD', better: 'higher' as const },
        ],
        rows: Object.entries(methods)
          .filter(([method]) => results.has(`${name}/${method}/clean`))
          .map(([method, label]) => ({
            method: label,
            ...Object.fromEntries(['clean', 'fgsm', 'pgd'].map((attack) => [attack, cell(`${name}/${method}/${attack}`)])),
          })),
      })
    }
    return tables
  },
  figures(results) {
    const figures = []
    const admm = results.series('optimum/admm-curve')
    if (admm.length > 0) {
      const points = (curve: Series, method: string, run: number) =>
        (curve as number[][]).map(([iteration, objective]) => ({ method, run, iteration, objective }))
      const adam = results.series('optimum/adam-curves')[0] as Series[]
      const values = [...points(admm[0], 'ADMM', 0), ...adam.flatMap((curve, run) => points(curve, 'Adam', run + 1))]
      figures.push({
        id: 'optimum',
        title: 'Training objective above the lower bound, 12 points, seed 0',
        caption:
          "Training objective minus the dual lower bound, which no network is below, by iteration. ADMM's recovered network comes down to the bound; runs of Adam stop at different heights above it.",
        spec: {
          data: { values },
          mark: { type: 'line' as const, clip: true },
          encoding: {
            x: { field: 'iteration', type: 'quantitative' as const, scale: { type: 'log' as const }, title: 'iteration' },
            y: { field: 'objective', type: 'quantitative' as const, scale: { type: 'log' as const }, title: 'above the bound' },
            color: { field: 'method', type: 'nominal' as const, title: 'method' },
            detail: { field: 'run', type: 'nominal' as const },
          },
        },
      })
    }
    const accuracies = pairNames.flatMap((name) =>
      Object.entries(methods).flatMap(([method, label]) =>
        ['clean', 'fgsm', 'pgd'].flatMap((attack) =>
          results.has(`${name}/${method}/${attack}`)
            ? [
                {
                  name,
                  method: label,
                  attack: attack === 'clean' ? attack : attack.toUpperCase(),
                  accuracy: results.mean(`${name}/${method}/${attack}`),
                },
              ]
            : [],
        ),
      ),
    )
    if (accuracies.length > 0) {
      figures.push({
        id: 'robust',
        title: 'Accuracy on clean and attacked images',
        caption: 'Under attack the ordinary program fails, the robust one keeps most of its accuracy, at a small cost on clean images.',
        spec: {
          data: { values: accuracies },
          mark: 'bar' as const,
          encoding: {
            y: { field: 'method', type: 'nominal' as const, title: null, sort: null, axis: { labelLimit: 320 } },
            x: { field: 'accuracy', type: 'quantitative' as const, title: 'accuracy' },
            yOffset: { field: 'attack', type: 'nominal' as const },
            color: { field: 'attack', type: 'nominal' as const, title: 'images' },
            row: { field: 'name', type: 'nominal' as const, title: null },
          },
        },
      })
    }
    return figures
  },
}

const pairNames: readonly string[] = [
  ...new Set([paper.presets.embedded, paper.presets.full].flatMap(({ settings }) => settings.pairs.map(pairName))),
]

/** A result that a resumed run reads instead of computing it again. */
async function kept(context: RunContext<Settings>, name: string, compute: () => Promise<SeedResult>): Promise<SeedResult> {
  return context.part(name, async () => {
    const { values, series } = await compute()
    return { values, series: series ?? {} }
  })
}
