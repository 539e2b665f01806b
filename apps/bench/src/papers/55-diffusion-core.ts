/**
 * Reproduces facts of Lai et al., "The Principles of Diffusion Models", 2025, arXiv 2510.21890: the orders of solvers on an exact
 * model, the equivalence of parameterisations after training, and flow maps that sample in one step.
 */
import { compile, fit, random, type Dataset, type Key } from '@bpf/core'
import { fold } from '@bpf/core/random'
import {
  consistencyDistillation,
  denoising,
  dpmSolverMultistep,
  edmProcess,
  energyDistance,
  euler,
  flowMapMlp,
  gaussianMixture,
  heun,
  karrasSigmas,
  linearProcess,
  lms,
  meanFlow,
  rungeKutta4,
  sample,
  sampleConsistency,
  sampleMeanFlow,
  sampleTrajectory,
  timeMlp,
  uniformTimes,
  vpProcess,
  type Denoiser,
  type Prediction,
  type Solver,
} from '@bpf/diffusion'
import * as tf from '@tensorflow/tfjs-core'
import { atLeast, atMost } from '../claims'
import type { Figure, Paper, PaperResults, RunContext, SeedResult } from '../paper'

interface Settings {
  /** Starting points of the solvers, and the numbers of steps. */
  points: number
  steps: readonly number[]
  /** Steps of the Runge–Kutta reference. */
  referenceSteps: number
  /** Training steps of the denoisers; 0 leaves them out. */
  iterations: number
  /** Training steps of the flow maps, in the first `flowMapSeeds` seeds. */
  flowMapIterations: number
  flowMapSeeds: number
  /** Samples compared by energy distance. */
  samples: number
}

const ring = gaussianMixture({
  means: Array.from({ length: 8 }, (_, k) => [2 * Math.cos((Math.PI * k) / 4), 2 * Math.sin((Math.PI * k) / 4)]),
  stddev: 0.3,
})
const batchSize = 256

const solvers: Readonly<Record<string, () => Solver>> = {
  euler,
  heun,
  '2m': () => dpmSolverMultistep({ lowerOrderFinal: false }),
  lms,
}
const solverNames: Readonly<Record<string, string>> = { euler: 'Euler', heun: 'Heun', '2m': 'DPM-Solver++(2M)', lms: 'LMS' }

async function runSolvers({ key, settings }: RunContext<Settings>): Promise<Record<string, number>> {
  const { points, steps, referenceSteps } = settings
  const model = ring.denoiser(edmProcess())
  const initial = random.normal(fold(key, 1), [points, 2], { stddev: 10 })
  const solve = async (solver: Solver, times: readonly number[]): Promise<ArrayLike<number>> => {
    const x = compile((start: tf.Tensor) => sample(model, { solver, grid: { times }, initial: start }))(initial)
    const values = await x.data<'float32'>()
    x.dispose()
    return values
  }
  const levels = (n: number): number[] => karrasSigmas(n + 1, { sigmaMin: 0.05, sigmaMax: 10 })
  const reference = await solve(rungeKutta4(), levels(referenceSteps))
  const values: Record<string, number> = {}
  for (const [name, make] of Object.entries(solvers)) {
    for (const n of steps) {
      const found = await solve(make(), levels(n))
      let sum = 0
      for (let i = 0; i < points; i++) sum += Math.hypot(found[2 * i] - reference[2 * i], found[2 * i + 1] - reference[2 * i + 1])
      values[`error/${name}/${n}`] = sum / points
    }
    values[`slope/${name}`] = Math.log(values[`error/${name}/20`] / values[`error/${name}/80`]) / Math.log(4)
  }
  initial.dispose()
  return values
}

/** Fresh samples of the ring in every batch. */
function freshSamples(): Dataset<{ x: tf.Tensor }> {
  const batchesPerEpoch = 100
  return {
    batchesPerEpoch,
    async *batches({ key, skip = 0, signal } = {}) {
      for (let i = skip; i < batchesPerEpoch; i++) {
        signal?.throwIfAborted()
        yield await Promise.resolve({ x: ring.sample(fold(key ?? random.key(0), i), batchSize) })
      }
    },
    async *weightedBatches() {
      yield await Promise.resolve({ batch: { x: ring.sample(random.key(0), batchSize) }, weight: tf.ones([batchSize]) as tf.Tensor1D })
    },
  }
}

/** Distances of samples from data, and some of the samples to look at, by the model's name. */
type Judged = { values: Record<string, number>; points: Record<string, Float32Array> }

const shownPoints = 150

async function judge(judged: Judged, name: string, samples: tf.Tensor, key: Key): Promise<void> {
  const data = ring.sample(key, samples.shape[0])
  const points = await samples.data<'float32'>()
  judged.values[`energy/${name}`] = energyDistance(
    { data: points, shape: [...samples.shape] },
    { data: await data.data<'float32'>(), shape: [...data.shape] },
  )
  judged.points[name] = points.slice(0, 2 * shownPoints)
  tf.dispose([samples, data])
}

/** Steps of the paths that are drawn, and how many. */
const [pathSteps, paths] = [20, 60]

/** Paths of the exact model of the ring from noise to data: [pathSteps + 1, paths, 2]. */
async function drawPaths(key: Key): Promise<Float32Array> {
  const model = ring.denoiser(vpProcess())
  const { samples, states } = compile((k: Key) =>
    sampleTrajectory(model, { solver: dpmSolverMultistep(), grid: { steps: pathSteps }, shape: [paths, 2], key: k }),
  )(key)
  const parts = [await states.data<'float32'>(), await samples.data<'float32'>()]
  const all = new Float32Array(2 * paths * (pathSteps + 1))
  all.set(parts[0])
  all.set(parts[1], parts[0].length)
  tf.dispose([samples, states])
  return all
}

const parameterisations: readonly Prediction[] = ['eps', 'x0', 'v', 'velocity']

async function runDenoisers(context: RunContext<Settings>): Promise<Judged> {
  const { key, settings, signal, reporter } = context
  const { iterations, samples } = settings
  const judged: Judged = { values: {}, points: {} }
  for (const [i, prediction] of parameterisations.entries()) {
    const isFlow = prediction === 'velocity'
    const process = isFlow ? linearProcess() : vpProcess()
    const learner = denoising({
      process,
      prediction,
      network: timeMlp(),
      times: uniformTimes({ from: isFlow ? 0 : 1e-3 }),
      emaDecay: 0.999,
    })
    const { state } = await fit(learner, freshSamples(), {
      steps: iterations,
      key: fold(key, 10 + i),
      signal,
      reporter: reporter(prediction),
    })
    const model: Denoiser = learner.denoiser(state.tensors)
    const solver = isFlow ? euler() : dpmSolverMultistep({ lowerOrderFinal: false })
    const draw = (steps: number, count: number): tf.Tensor =>
      compile((k: Key) => sample(model, { solver, grid: { steps }, shape: [count, 2], key: k }))(fold(key, 20 + i))
    await judge(judged, prediction, draw(50, samples), fold(key, 30 + i))
    if (isFlow) await judge(judged, 'one-euler-step', draw(1, samples), fold(key, 40))
  }
  await judge(judged, 'noise', random.normal(fold(key, 41), [samples, 2]), fold(key, 42))
  return judged
}

async function runFlowMaps({ key, settings, signal, reporter }: RunContext<Settings>): Promise<Judged> {
  const { flowMapIterations: steps, samples } = settings
  const mean = meanFlow({ process: linearProcess(), network: flowMapMlp() })
  const meanRun = await fit(mean, freshSamples(), { steps, key: fold(key, 50), signal, reporter: reporter('MeanFlow') })
  const h = mean.flowMap(meanRun.state.tensors)
  const jumped = compile((k: Key) => sampleMeanFlow(h, { shape: [samples, 2], key: k }))(fold(key, 51))
  const distilled = consistencyDistillation({
    network: timeMlp({ timeScale: 25 }),
    teacher: ring.denoiser(edmProcess()),
  })
  const distilledRun = await fit(distilled, freshSamples(), { steps, key: fold(key, 52), signal, reporter: reporter('consistency') })
  const f = distilled.consistency(distilledRun.state.tensors)
  const mapped = compile((k: Key) => sampleConsistency(f, { shape: [samples, 2], key: k }))(fold(key, 53))
  const judged: Judged = { values: {}, points: {} }
  await judge(judged, 'mean-flow', jumped, fold(key, 54))
  await judge(judged, 'consistency', mapped, fold(key, 55))
  return judged
}

const worst = (results: PaperResults): number => Math.max(...parameterisations.map((kind) => results.mean(`energy/${kind}`)))
const best = (results: PaperResults): number => Math.min(...parameterisations.map((kind) => results.mean(`energy/${kind}`)))
const trained = ['embedded', 'full'] as const

function pathFigure(drawn: Float32Array): Figure {
  const values = Array.from({ length: drawn.length / 2 }, (_, i) => ({
    path: i % paths,
    step: Math.floor(i / paths),
    x: drawn[2 * i],
    y: drawn[2 * i + 1],
  }))
  return {
    id: 'paths',
    title: 'Paths from noise to data',
    caption: `Each of ${paths} paths leads from noise to one of the eight modes of the ring: exact model, DPM-Solver++(2M), ${pathSteps} steps; ends are dotted.`,
    spec: {
      data: { values },
      encoding: {
        x: { field: 'x', type: 'quantitative', title: null },
        y: { field: 'y', type: 'quantitative', title: null },
      },
      layer: [
        {
          mark: { type: 'line', strokeWidth: 0.5, opacity: 0.6 },
          encoding: { detail: { field: 'path', type: 'nominal' }, order: { field: 'step', type: 'quantitative' } },
        },
        { transform: [{ filter: `datum.step === ${pathSteps}` }], mark: { type: 'circle', size: 20 } },
      ],
    },
  }
}

function sampleFigure(points: Record<string, Float32Array>): Figure {
  const values = Object.entries(points).flatMap(([model, xy]) =>
    Array.from({ length: xy.length / 2 }, (_, i) => ({ model, x: xy[2 * i], y: xy[2 * i + 1] })),
  )
  return {
    id: 'samples',
    title: 'Samples of each model',
    caption: `${shownPoints} samples each (seed 0): the trained models fill the eight modes of the ring, one Euler step does not.`,
    spec: {
      data: { values },
      facet: { field: 'model', type: 'nominal', title: null, sort: null },
      columns: 4,
      spec: {
        width: 140,
        height: 140,
        mark: { type: 'circle', size: 8, opacity: 0.6 },
        encoding: {
          x: { field: 'x', type: 'quantitative', title: null, scale: { domain: [-4, 4] } },
          y: { field: 'y', type: 'quantitative', title: null, scale: { domain: [-4, 4] } },
        },
      },
    },
  }
}

export const paper: Paper<Settings> = {
  number: 55,
  slug: 'diffusion-core',
  title: 'The Principles of Diffusion Models',
  arxiv: '2510.21890',
  package: '@bpf/diffusion',
  claims: [
    ...(['euler', 'heun', '2m'] as const).flatMap((name) => {
      const [order, within] = name === 'euler' ? [1, 0.1] : [2, 0.2]
      return [
        {
          id: `${name}-order-at-least`,
          statement: `${solverNames[name]} converges with order ${order} (from 20 to 80 steps), at least ${order - within}.`,
          check: (results: PaperResults) => atLeast(results.mean(`slope/${name}`), order - within),
        },
        {
          id: `${name}-order-at-most`,
          statement: `${solverNames[name]} converges with order ${order} (from 20 to 80 steps), at most ${order + within}.`,
          check: (results: PaperResults) => atMost(results.mean(`slope/${name}`), order + within),
        },
      ]
    }),
    {
      id: '2m-against-euler',
      statement: 'With 20 steps DPM-Solver++(2M) has at most a quarter of the error of Euler.',
      check: (results) => atMost(results.mean('error/2m/20'), 0.25 * results.mean('error/euler/20'), { of: '0.25 × Euler' }),
    },
    {
      id: '2m-against-heun',
      statement: 'With 20 evaluations DPM-Solver++(2M) has at most half of the error of Heun (10 steps).',
      check: (results) => atMost(results.mean('error/2m/20'), 0.5 * results.mean('error/heun/10'), { of: '0.5 × Heun' }),
    },
    {
      id: 'parameterisations-alike',
      statement: 'Networks of noise, data, v and velocity sample alike: the worst energy distance is at most 3 times the best.',
      presets: trained,
      check: (results) => atMost(worst(results), 3 * best(results), { of: '3 × the best' }),
    },
    {
      id: 'parameterisations-learn',
      statement: 'All are at most a tenth as far from the data as N(0, I).',
      presets: trained,
      check: (results) => atMost(worst(results), 0.1 * results.mean('energy/noise'), { of: '0.1 × N(0, I)' }),
    },
    {
      id: 'mean-flow-one-step',
      statement: 'One step of MeanFlow has at most 0.2 times the energy distance of one Euler step of the velocity model.',
      presets: trained,
      check: (results) => atMost(results.mean('energy/mean-flow'), 0.2 * results.mean('energy/one-euler-step'), { of: '0.2 × Euler' }),
    },
    {
      id: 'consistency-one-step',
      statement: 'One step of the distilled consistency model has at most 0.05 times the energy distance of one Euler step.',
      presets: trained,
      check: (results) => atMost(results.mean('energy/consistency'), 0.05 * results.mean('energy/one-euler-step'), { of: '0.05 × Euler' }),
    },
  ],
  presets: {
    quick: {
      description: 'Errors of solvers on the exact model of a ring of 8 Gaussians; nothing is trained',
      seeds: 1,
      seconds: 6,
      settings: {
        points: 500,
        steps: [5, 10, 20, 40, 80],
        referenceSteps: 1000,
        iterations: 0,
        flowMapIterations: 0,
        flowMapSeeds: 0,
        samples: 1000,
      },
    },
    embedded: {
      description: 'The same, four parameterisations trained on the ring, and one-step flow maps',
      seeds: 5,
      seconds: 300,
      settings: {
        points: 500,
        steps: [5, 10, 20, 40, 80],
        referenceSteps: 1000,
        iterations: 4000,
        flowMapIterations: 5000,
        flowMapSeeds: 3,
        samples: 4000,
      },
    },
    full: {
      description: 'The embedded preset with ten times the training steps; the paper has no experiment of its own',
      seeds: 5,
      seconds: 3000,
      settings: {
        points: 500,
        steps: [5, 10, 20, 40, 80],
        referenceSteps: 1000,
        iterations: 40_000,
        flowMapIterations: 50_000,
        flowMapSeeds: 5,
        samples: 4000,
      },
    },
  },
  async run(context): Promise<SeedResult> {
    const { settings, seed } = context
    const solved = await runSolvers(context)
    const nothing: Judged = { values: {}, points: {} }
    const denoised = settings.iterations > 0 ? await context.part('denoisers', () => runDenoisers(context)) : nothing
    const mapped = seed < settings.flowMapSeeds ? await context.part('flow-maps', () => runFlowMaps(context)) : nothing
    const shown: SeedResult['series'] =
      seed === 0 ? { paths: await drawPaths(fold(context.key, 60)), points: { ...denoised.points, ...mapped.points } } : {}
    return { values: { ...solved, ...denoised.values, ...mapped.values }, series: shown }
  },
  tables(results) {
    const steps = [5, 10, 20, 40, 80]
    const rows = Object.keys(solvers).map((name) => ({
      solver: solverNames[name],
      ...Object.fromEntries(steps.map((n) => [`n${n}`, results.mean(`error/${name}/${n}`)])),
      slope: results.mean(`slope/${name}`),
    }))
    const energies = [...parameterisations, 'one-euler-step', 'mean-flow', 'consistency', 'noise'].filter((name) =>
      results.has(`energy/${name}`),
    )
    const errors = {
      id: 'errors',
      title: 'Mean distance from the exact solution, by number of steps',
      columns: [
        { key: 'solver', label: 'solver' },
        ...steps.map((n) => ({ key: `n${n}`, label: `${n} steps`, digits: 6, better: 'lower' as const })),
        { key: 'slope', label: 'order', digits: 2 },
      ],
      rows,
      note: 'Heun evaluates the model twice a step.',
    }
    if (energies.length === 0) return [errors]
    const energy = {
      id: 'energy',
      title: 'Energy distance of samples from fresh data',
      columns: [
        { key: 'model', label: 'model' },
        { key: 'distance', label: 'energy distance', digits: 4, better: 'lower' as const },
      ],
      rows: energies.map((name) => ({
        model: name,
        distance: { mean: results.mean(`energy/${name}`), spread: results.summary(`energy/${name}`).spread },
      })),
    }
    return [errors, energy]
  },
  figures(results) {
    const values = Object.keys(solvers).flatMap((name) =>
      [5, 10, 20, 40, 80].map((n) => ({ solver: solverNames[name], steps: n, error: results.mean(`error/${name}/${n}`) })),
    )
    const [drawn] = results.series('paths') as Float32Array[]
    const [points] = results.series('points') as Record<string, Float32Array>[]
    return [
      {
        id: 'orders',
        title: 'Solvers on an exact model',
        caption:
          'On logarithmic axes errors fall along straight lines, whose slopes are the orders: 1 for Euler, 2 for Heun and DPM-Solver++(2M).',
        spec: {
          data: { values },
          mark: { type: 'line', point: true },
          encoding: {
            x: { field: 'steps', type: 'quantitative', scale: { type: 'log' }, title: 'steps' },
            y: { field: 'error', type: 'quantitative', scale: { type: 'log' }, title: 'mean error' },
            color: { field: 'solver', type: 'nominal', title: null },
          },
        },
      },
      ...(drawn === undefined ? [] : [pathFigure(drawn)]),
      ...(points === undefined || Object.keys(points).length === 0 ? [] : [sampleFigure(points)]),
    ]
  },
}
