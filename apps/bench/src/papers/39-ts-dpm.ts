/**
 * Reproduces Li, Qu, Yao, Sun and Moens, "Alleviating Exposure Bias in Diffusion Models through Sampling with Shifted Time
 * Steps", ICLR 2024, arXiv 2305.15583, without training: the exact denoiser of a Gaussian with the moments of real digits, whose
 * noise is overestimated by a factor 1 + κ, as a network's is at its own samples.
 */
import { compile, DataError, type Key } from '@bpf/core'
import { frechetDistance } from '@bpf/core/metrics'
import { fold } from '@bpf/core/random'
import {
  ddim,
  ddpm,
  discreteProcess,
  epsilonScaling,
  linearGaussian,
  pndm,
  sampleTimeShift,
  stateVariance,
  timeShiftTrajectory,
  type Denoiser,
  type Solver,
  type TimeShiftOptions,
} from '@bpf/diffusion'
import * as tf from '@tensorflow/tfjs-core'
import { atMost } from '../claims'
import type { Cell, Paper, PaperResults, RunContext, SeedResult } from '../paper'

/** One comparison: steps, bias and window. */
type Row = { steps: number; kappa: number; window: number; cutoff: number }

interface Settings {
  samples: number
  rows: readonly Row[]
  /** Solvers and baselines beside DDIM, at 10 steps and κ = 0.05. */
  baselines: boolean
}

const row = (steps: number, kappa: number, window: number, cutoff: number): Row => ({ steps, kappa, window, cutoff })

/** What the claims are about. */
const claimed: readonly Row[] = [row(10, 0.02, 100, 600), row(10, 0.05, 100, 600), row(20, 0.02, 100, 200)]

/** Where the same shift gains less, or does harm: reported, because no pair of window and cutoff is safe. */
const controls: readonly Row[] = [
  row(10, 0, 100, 600),
  row(10, 0.02, 100, 200),
  row(10, 0.02, 100, 300),
  row(20, 0, 100, 200),
  row(20, 0.02, 50, 200),
  row(20, 0.02, 50, 600),
  row(20, 0.02, 100, 600),
  row(20, 0.02, 50, 300),
  row(20, 0.02, 30, 300),
  row(20, 0.05, 100, 600),
  row(20, 0.05, 50, 600),
  row(20, 0.05, 100, 200),
  row(50, 0.02, 20, 200),
  row(50, 0.02, 20, 300),
  row(50, 0.02, 20, 600),
  row(50, 0.02, 40, 600),
  row(50, 0.02, 100, 600),
  row(50, 0.02, 40, 200),
  row(50, 0.02, 100, 200),
]

const process = discreteProcess()
const size = 16

interface Digits {
  mean: number[]
  covariance: number[][]
}

/** Mean and covariance (n − 1) of the digits in [−1, 1], each pixel twice in both directions. */
async function moments({ data }: RunContext<Settings>): Promise<Digits> {
  const { images, count, height, width, maxValue } = await data.load('digits')
  if (2 * height !== size || 2 * width !== size) throw new DataError(`expected digits of 8 × 8, got ${height} × ${width}`)
  const pixels = tf.tidy(() => {
    const scaled = tf.sub(tf.div(tf.tensor(Float32Array.from(images), [count, height, 1, width, 1]), maxValue / 2), 1)
    const flat = tf.reshape(tf.tile(scaled, [1, 1, 2, 1, 2]), [count, size * size]) as tf.Tensor2D
    const mean = tf.mean(flat, 0)
    const centred = tf.sub(flat, mean) as tf.Tensor2D
    return [mean, tf.div(tf.matMul(centred, centred, true, false), count - 1)] as const
  })
  const [mean, covariance] = await Promise.all([pixels[0].array() as Promise<number[]>, pixels[1].array() as Promise<number[][]>])
  tf.dispose([...pixels])
  return { mean, covariance }
}

interface Experiment {
  samples: number
  digits: Digits
  /** ε̂ = (1 + κ) ε*. */
  biased(kappa: number): Denoiser
}

function experimentOf(digits: Digits, samples: number): Experiment {
  const exact = linearGaussian(digits, process)
  // Dividing by 1/(1 + κ).
  return { samples, digits, biased: (kappa) => epsilonScaling(exact, { offset: 1 / (1 + kappa) }) }
}

/** Fréchet distance of samples from the Gaussian of the digits. */
async function distance(
  { samples, digits }: Experiment,
  model: Denoiser,
  key: Key,
  options: Omit<TimeShiftOptions, 'key'>,
): Promise<number> {
  const drawn = compile((k: Key) => sampleTimeShift(model, { ...options, shape: [samples, size * size], key: k }))(key)
  const values = await drawn.data<'float32'>()
  drawn.dispose()
  return frechetDistance({ data: values, shape: [samples, size * size] }, { mean: digits.mean, covariance: digits.covariance })
}

const plainName = (steps: number, kappa: number): string => `plain/${steps}/${kappa}`
const shiftedName = ({ steps, kappa, window, cutoff }: Row): string => `shifted/${steps}/${kappa}/${window}/${cutoff}`

const solvers: Readonly<Record<string, () => Solver>> = {
  DDIM: ddim,
  DDPM: ddpm,
  'S-PNDM': () => pndm({ order: 2 }),
  'F-PNDM': () => pndm({ order: 4 }),
}
const baselineSteps = 10
const baselineKappa = 0.05

async function runBaselines(experiment: Experiment, key: Key): Promise<Record<string, number>> {
  const model = experiment.biased(baselineKappa)
  const grid = { steps: baselineSteps }
  const values: Record<string, number> = {}
  for (const [name, make] of Object.entries(solvers)) {
    const common = { grid, solver: make() }
    values[`baseline/${name}`] = await distance(experiment, model, key, { ...common, window: 0 })
    for (const mode of ['paper', 'destination', 'network'] as const) {
      values[`baseline/${name}/${mode}`] = await distance(experiment, model, key, { ...common, mode, window: 100, cutoff: 600 })
    }
  }
  values['baseline/epsilon scaling'] = await distance(experiment, epsilonScaling(model, { offset: 1.0012 }), key, { grid, window: 0 })
  values['baseline/epsilon scaling, tuned'] = await distance(experiment, epsilonScaling(model, { offset: 1 + baselineKappa }), key, {
    grid,
    window: 0,
  })
  values['baseline/variance normalisation'] = await distance(experiment, model, key, { grid, window: 0, normalizeVariance: true })
  return values
}

/** Variance of the states on the way, and the mean shift in each step. */
async function runTrajectory({ digits, samples, biased }: Experiment, key: Key): Promise<Record<string, Float32Array>> {
  const options = { grid: { steps: baselineSteps }, window: 100, cutoff: 600, shape: [samples, size * size] }
  const run = (window: number): (() => tf.Tensor[]) =>
    compile(() => {
      const { states, indices } = timeShiftTrajectory(biased(baselineKappa), { ...options, window, key })
      const variances = Array.from({ length: baselineSteps }, (_, i) =>
        stateVariance(tf.reshape(tf.slice(states, i, 1), [samples, size * size])),
      )
      return [tf.stack(variances), tf.mean(tf.cast(indices, 'float32'), 1)]
    })
  const [plain, shifted] = [run(0)(), run(options.window)()]
  // Var over the pixels of √ᾱ x0 + √(1 − ᾱ) ε, mean over data: ᾱ times that of the data, and 1 − ᾱ.
  const d = size * size
  const overall = digits.mean.reduce((sum, value) => sum + value, 0) / d
  const ofMean = digits.mean.reduce((sum, value) => sum + (value - overall) ** 2, 0)
  const trace = digits.covariance.reduce((sum, line, i) => sum + line[i], 0)
  const total = digits.covariance.reduce((sum, line) => sum + line.reduce((a, b) => a + b, 0), 0)
  const ofData = (ofMean + trace - total / d) / (d - 1)
  const nominal = Array.from({ length: baselineSteps }, (_, i) => process.steps - 1 - (i * process.steps) / baselineSteps)
  const result = {
    plain: (await plain[0].data()) as Float32Array,
    shifted: (await shifted[0].data()) as Float32Array,
    coupled: (await shifted[1].data()) as Float32Array,
    exact: Float32Array.from(nominal, (index) => process.alphaBar[index] * ofData + 1 - process.alphaBar[index]),
    nominal: Float32Array.from(nominal),
  }
  tf.dispose([...plain, ...shifted])
  return result
}

const ratioOf = (results: PaperResults, one: Row): number => results.mean(shiftedName(one)) / results.mean(plainName(one.steps, one.kappa))

function claimOf(id: string, one: Row, factor: number) {
  return {
    id,
    statement: `${one.steps} steps, noise overestimated by ${100 * one.kappa} %: with shifted times (w = ${one.window}, t_c = ${one.cutoff}) the Fréchet distance is at most ${factor} times DDIM's.`,
    check: (results: PaperResults) =>
      atMost(results.mean(shiftedName(one)), factor * results.mean(plainName(one.steps, one.kappa)), { of: `${factor} × DDIM` }),
  }
}

export const paper: Paper<Settings> = {
  number: 39,
  slug: 'ts-dpm',
  title: 'Alleviating Exposure Bias in Diffusion Models through Sampling with Shifted Time Steps',
  arxiv: '2305.15583',
  package: '@bpf/diffusion',
  claims: [
    claimOf('ten-steps-small-bias', claimed[0], 0.95),
    claimOf('ten-steps-large-bias', claimed[1], 0.8),
    claimOf('twenty-steps', claimed[2], 0.8),
  ],
  presets: {
    quick: {
      description: 'Exact denoiser of a Gaussian with the moments of the UCI digits, biased; the three comparisons of the claims',
      seeds: 2,
      seconds: 10,
      settings: { samples: 1000, rows: claimed, baselines: false },
    },
    embedded: {
      description: 'The same over 5 seeds, with controls in which shifting does harm, other solvers, modes and baselines',
      seeds: 5,
      seconds: 240,
      settings: { samples: 1000, rows: [...claimed, ...controls], baselines: true },
    },
    full: {
      description:
        "The embedded preset with 10,000 samples. The paper's own set-up (CIFAR-10, the DDIM checkpoint ema_cifar10, FID of 50,000 samples) needs that checkpoint, which no npm package or data set here carries: sampleTimeShift takes it as any function of the noise",
      seeds: 5,
      seconds: 1800,
      settings: { samples: 10_000, rows: [...claimed, ...controls], baselines: true },
    },
  },
  async run(context): Promise<SeedResult> {
    const { key, settings, signal, onlyClaims } = context
    const experiment = experimentOf(await moments(context), settings.samples)
    const noise = fold(key, 1)
    const rows = onlyClaims ? claimed : settings.rows
    const values = await context.part('distances', async () => {
      const found: Record<string, number> = {}
      const bar = context.progress('trajectories', rows.length)
      for (const [i, one] of rows.entries()) {
        signal.throwIfAborted()
        const { steps, kappa, window, cutoff } = one
        const model = experiment.biased(kappa)
        // Both start from the same noise.
        found[plainName(steps, kappa)] ??= await distance(experiment, model, noise, { grid: { steps }, window: 0 })
        found[shiftedName(one)] = await distance(experiment, model, noise, { grid: { steps }, window, cutoff })
        bar.update(i + 1)
      }
      bar.stop()
      return found
    })
    if (!settings.baselines || onlyClaims) return { values }
    const baselines = await context.part('baselines', () => runBaselines(experiment, noise))
    return { values: { ...values, ...baselines }, series: { trajectory: await runTrajectory(experiment, noise) } }
  },
  tables(results) {
    const cell = (name: string): Cell => {
      if (!results.has(name)) return null
      const { mean, spread } = results.summary(name)
      return { mean, spread }
    }
    const rows = [...claimed, ...controls]
      .filter((one) => results.has(shiftedName(one)))
      .map((one) => ({
        steps: one.steps,
        bias: `${100 * one.kappa} %`,
        window: one.window,
        cutoff: one.cutoff,
        plain: cell(plainName(one.steps, one.kappa)),
        shifted: cell(shiftedName(one)),
        ratio: ratioOf(results, one),
      }))
    const shifts = {
      id: 'shifts',
      title: 'Fréchet distance of samples from the digits',
      columns: [
        { key: 'steps', label: 'steps', digits: 0 },
        { key: 'bias', label: 'bias κ' },
        { key: 'window', label: 'window', digits: 0 },
        { key: 'cutoff', label: 'cutoff', digits: 0 },
        { key: 'plain', label: 'DDIM', digits: 2 },
        { key: 'shifted', label: 'shifted', digits: 2 },
        { key: 'ratio', label: 'ratio', digits: 2, better: 'lower' as const },
      ],
      rows,
      note: 'The same window helps or harms as the cutoff moves by 100, and without bias there is nothing to gain: it has to be tuned.',
    }
    if (!results.has('baseline/DDIM')) return [shifts]
    const names = [...Object.keys(solvers), 'epsilon scaling', 'epsilon scaling, tuned', 'variance normalisation']
    const baselines = {
      id: 'baselines',
      title: `Solvers, modes and baselines at ${baselineSteps} steps, κ = ${baselineKappa}`,
      columns: [
        { key: 'method', label: 'method' },
        { key: 'plain', label: 'no shift', digits: 2, better: 'lower' as const },
        { key: 'paper', label: 'paper', digits: 2, better: 'lower' as const },
        { key: 'destination', label: 'destination', digits: 2, better: 'lower' as const },
        { key: 'network', label: 'network', digits: 2, better: 'lower' as const },
      ],
      rows: names.map((name) => ({
        method: name,
        plain: cell(`baseline/${name}`),
        paper: cell(`baseline/${name}/paper`),
        destination: cell(`baseline/${name}/destination`),
        network: cell(`baseline/${name}/network`),
      })),
      note: 'Window 100 and cutoff 600 throughout. Epsilon scaling and variance normalisation are on DDIM; the tuned scale is the bias itself, which nobody knows of a network.',
    }
    return [shifts, baselines]
  },
  figures(results) {
    const [trajectory] = results.series('trajectory') as readonly Record<string, ArrayLike<number>>[]
    const ratios = [...claimed, ...controls]
      .filter((one) => results.has(shiftedName(one)))
      .map((one) => ({
        choice: `${one.steps} steps, κ ${one.kappa}: ${one.window}/${one.cutoff}`,
        ratio: ratioOf(results, one),
      }))
    const overview = {
      id: 'ratios',
      title: 'What shifting changes',
      caption: 'Fréchet distance with shifted times over that of DDIM (logarithmic): left of 1 it helps, right of 1 it harms.',
      spec: {
        data: { values: ratios },
        layer: [
          {
            mark: { type: 'point' as const, filled: true },
            encoding: {
              x: { field: 'ratio', type: 'quantitative' as const, scale: { type: 'log' as const }, title: 'ratio to DDIM' },
              y: { field: 'choice', type: 'nominal' as const, title: 'window/cutoff', sort: { field: 'ratio' } },
            },
          },
          { mark: { type: 'rule' as const, strokeDash: [4, 4] }, encoding: { x: { datum: 1 } } },
        ],
      },
    }
    if (trajectory === undefined) return [overview]
    const values = (['plain', 'shifted', 'exact'] as const).flatMap((name) =>
      Array.from(trajectory[name], (variance, i) => ({
        states: { plain: 'DDIM', shifted: 'shifted', exact: 'noised data' }[name],
        index: trajectory.nominal[i],
        variance,
      })),
    )
    return [
      overview,
      {
        id: 'variance',
        title: 'Variance of the states on the way',
        caption: `Sampling goes from right to left (${baselineSteps} steps, κ = ${baselineKappa}): the states of DDIM leave the variance that noised data have at the same time.`,
        spec: {
          data: { values },
          mark: { type: 'line', point: true },
          encoding: {
            x: { field: 'index', type: 'quantitative', title: 'time index' },
            y: { field: 'variance', type: 'quantitative', title: 'variance over pixels' },
            color: { field: 'states', type: 'nominal', title: null },
          },
        },
      },
    ]
  },
}
