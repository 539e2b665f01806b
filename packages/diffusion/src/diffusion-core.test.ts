import { compile, fit, float64Tensor, random, useBackend, type Dataset } from '@bpf/core'
import { batch, fromArrays, shuffle } from '@bpf/core/data'
import { learnerContract } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { consistencyDistillation, consistencyTraining, sampleConsistency, targetDecay } from './consistency'
import { asPrediction, clipDenoised, edmPrecondition, edmScalings, type Denoiser } from './denoiser'
import { denoising } from './denoising'
import { ctm, ctmJump, meanFlow, meanFlowJump, meanFlowTarget, sampleCtm, sampleMeanFlow } from './flow-map'
import { gaussianMixture, linearGaussian } from './gaussian-mixture'
import { classifierFreeGuidance, classifierGuidance } from './guidance'
import { annealedLangevin, predictorCorrector } from './langevin'
import { logLikelihood, solveOde } from './likelihood'
import { flowMapMlp, timeMlp } from './networks'
import { convertPrediction, conversion, predictions, type Prediction } from './prediction'
import {
  alphaBarOf,
  discreteProcess,
  driftAndDiffusion,
  edmProcess,
  linearProcess,
  subVpProcess,
  trigonometricProcess,
  veProcess,
  vpProcess,
} from './process'
import {
  energyDistance,
  gaussianKl,
  histogramDistance,
  precisionRecall,
  slicedWasserstein,
  straightness,
  wasserstein2,
} from './sample-metrics'
import { functionEvaluations, generate, sample, sampleTrajectory, type Solver } from './sampling'
import {
  ddim,
  ddimTransfer,
  ddpm,
  deis,
  dpmSolverMultistep,
  dpmSolverSinglestep,
  euler,
  eulerMaruyama,
  heun,
  lms,
  midpoint,
  pndm,
  rungeKutta4,
} from './solvers/index'
import { timeGrid } from './time-grid'

beforeAll(async () => useBackend('onnx'))

const processes = [vpProcess(), subVpProcess(), veProcess(), edmProcess(), linearProcess(), trigonometricProcess(), discreteProcess()]
const ring = gaussianMixture({
  means: Array.from({ length: 8 }, (_, k) => [2 * Math.cos((Math.PI * k) / 4), 2 * Math.sin((Math.PI * k) / 4)]),
  stddev: 0.3,
})
const double = (values: readonly number[], shape: readonly number[]): tf.Tensor => float64Tensor(Float64Array.from(values), shape)
const start = (n: number, d: number, scale = 1): tf.Tensor =>
  double(
    Array.from(random.normalArray(random.key(3), n * d), (z) => z * scale),
    [n, d],
  )
const largest = async (a: tf.Tensor, b: ArrayLike<number>): Promise<number> =>
  Array.from(await a.data()).reduce((worst, value, i) => Math.max(worst, Math.abs(value - b[i])), 0)
const run = (model: Denoiser, solver: Solver, grid: Parameters<Solver['plan']>[1], initial: tf.Tensor): tf.Tensor =>
  compile((x: tf.Tensor) => sample(model, { solver, grid, initial: x }), { precision: 'float64' })(initial)

describe('processes and predictions', () => {
  it('convert from any prediction to any other and back within 1e-10, also where α² + σ² is not 1', async () => {
    const [x, values] = [start(3, 4), double([0.3, -1, 2, 0.5, 0.1, 0.7, -0.2, 1.4, 0.9, -2, 0.4, 0.6], [3, 4])]
    const trips = predictions.flatMap((from) => predictions.map((to) => ({ from, to })))
    const back = compile(
      (at: tf.Tensor, output: tf.Tensor) => {
        const coefficients = {
          alpha: tf.tensor1d([0.3, 0.9, 0.6]),
          sigma: tf.tensor1d([0.7, 0.2, 0.6]),
          dalpha: tf.tensor1d([-1, -2, -0.5]),
          dsigma: tf.tensor1d([1, 0.3, 0.8]),
        }
        return trips.map(({ from, to }) =>
          convertPrediction(convertPrediction(output, from, to, at, coefficients), to, from, at, coefficients),
        )
      },
      { precision: 'float64' },
    )(x, values)
    for (const tensor of back) expect(await largest(tensor, await values.data())).toBeLessThan(1e-10)
  })

  it.each(processes)('$name: derivatives agree with differences, λ with its inverse, tensors with numbers', async (process) => {
    const times = [0.2, 0.55, 0.9].map((share) => process.tMin + share * (Math.min(process.tMax, 1) - process.tMin))
    for (const t of times) {
      const at = process.coefficients(t)
      const [low, high] = [process.coefficients(t - 1e-6), process.coefficients(t + 1e-6)]
      expect(Math.abs((high.alpha - low.alpha) / 2e-6 - at.dalpha)).toBeLessThan(1e-4 * Math.max(1, Math.abs(at.dalpha)))
      expect(Math.abs((high.sigma - low.sigma) / 2e-6 - at.dsigma)).toBeLessThan(1e-4 * Math.max(1, Math.abs(at.dsigma)))
      expect(process.timeOfLogSnr(Math.log(at.alpha / at.sigma))).toBeCloseTo(t, 9)
      const { f, g2 } = driftAndDiffusion(process, t)
      const velocity = conversion('score', 'velocity', at)
      expect(velocity.x).toBeCloseTo(f, 8)
      expect(velocity.output / (-g2 / 2)).toBeCloseTo(1, 8)
    }
    const { alpha, sigma } = process.coefficientTensors(tf.tensor1d(times))
    expect(
      await largest(
        alpha,
        times.map((t) => process.coefficients(t).alpha),
      ),
    ).toBeLessThan(1e-4)
    expect(
      await largest(
        sigma,
        times.map((t) => process.coefficients(t).sigma),
      ),
    ).toBeLessThan(1e-3)
  })

  it('name what they cannot do', () => {
    expect(() => conversion('eps', 'x0', linearProcess().coefficients(1))).toThrow('cannot recover x0 from eps where alpha=0')
    expect(() => timeGrid(vpProcess(), { times: [0.5, 0.7] })).toThrow('decrease')
    expect(() => timeGrid(vpProcess(), { times: [2, 0.7] })).toThrow('lie in')
    expect(() => timeGrid(vpProcess(), { steps: 0 })).toThrow('positive integer')
    expect(() => dpmSolverMultistep({ order: 3 }).plan(vpProcess(), { steps: 2 })).toThrow('at least 3 steps')
    expect(() => heun().plan(linearProcess(), { steps: 4 })).toThrow('alpha is 0')
    const wide: Denoiser = { ...ring.denoiser(vpProcess()), predict: (x) => tf.concat([x, x], 1) }
    expect(() => sample(wide, { solver: ddim(), grid: { steps: 2 }, initial: tf.zeros([2, 2]) })).toThrow('learned variance')
    expect(() => classifierFreeGuidance(wide, { scale: NaN, unconditional: (c) => c })).toThrow('finite')
    expect(() => solveOde(wide, tf.zeros([1, 2]), { from: 1, to: 0, rtol: 0 })).toThrow('positive')
    expect(() => discreteProcess([0.5, 0.6])).toThrow('decrease')
    expect(() => alphaBarOf([0.5, 1.5])).toThrow('beta must be in (0, 1], got 1.5 at index 1')
    expect(() => asPrediction(wide, 'noise' as Prediction)).toThrow("unknown prediction 'noise'")
    const guided = { solver: ddim(), grid: { steps: 2 }, initial: tf.zeros([2, 2]), condition: tf.zeros([3]) }
    expect(() => sample(ring.denoiser(vpProcess()), guided)).toThrow('3 rows, x has 2')
    expect(() => consistencyDistillation({ network, teacher: ring.denoiser(vpProcess()) })).toThrow('edmProcess()')
  })
})

describe('solvers', () => {
  it('DDIM with η = 0 is DPM-Solver-1 and DPM-Solver++-1, and its transfer, within 1e-10', async () => {
    const model = asPrediction(ring.denoiser(vpProcess()), 'eps')
    const [grid, x] = [{ steps: 8 }, start(20, 2)]
    const expected = await run(model, ddim(), grid, x).data()
    const others = [
      dpmSolverMultistep({ order: 1 }),
      dpmSolverMultistep({ order: 1, algorithm: 'dpmsolver' }),
      dpmSolverSinglestep({ order: 1 }),
    ]
    for (const solver of others) expect(await largest(run(model, solver, grid, x), expected)).toBeLessThan(1e-10)
    const [a, b] = timeGrid(vpProcess(), grid).map((t) => vpProcess().coefficients(t).alpha ** 2)
    const first = compile((y: tf.Tensor) => ddimTransfer(y, model.predict(y, tf.tensor1d([1])), a, b), { precision: 'float64' })(x)
    const times = timeGrid(vpProcess(), grid).slice(0, 2)
    expect(await largest(first, await run(model, ddim(), { times }, x).data())).toBeLessThan(1e-10)
  })

  it('DDIM with η = 1 on adjacent steps is ancestral DDPM', () => {
    const process = discreteProcess()
    const grid = { times: [500, 499, 498].map(process.timeOfIndex) }
    const [a, b] = [ddim({ eta: 1 }).plan(process, grid)[0], ddpm().plan(process, grid)[0]]
    const [bar, before] = [process.alphaBar[500], process.alphaBar[499]]
    const beta = 1 - bar / before
    expect(a.x).toBeCloseTo((Math.sqrt(bar / before) * (1 - before)) / (1 - bar), 10)
    expect(a.predictions?.[0]).toBeCloseTo((Math.sqrt(before) * beta) / (1 - bar), 10)
    expect(a.noise).toBeCloseTo(Math.sqrt((beta * (1 - before)) / (1 - bar)), 10)
    expect(b).toEqual(a)
  })

  it('orders on the mixture are those of theory within 0.2 (PNDM and LMS better than 2)', async () => {
    const vp = ring.denoiser(vpProcess())
    const ends = { end: 0.05, toZero: false } as const
    const x = start(100, 2)
    const reference = await run(vp, rungeKutta4(), { steps: 2000, spacing: 'quadratic', ...ends }, x).data()
    const error = async (solver: Solver, steps: number): Promise<number> => {
      const found = await run(vp, solver, { steps, spacing: 'logSnr', ...ends }, x).data()
      let sum = 0
      for (let i = 0; i < found.length; i += 2) sum += Math.hypot(found[i] - reference[i], found[i + 1] - reference[i + 1])
      return sum / x.shape[0]
    }
    const order = async (solver: Solver): Promise<number> => Math.log2((await error(solver, 160)) / (await error(solver, 320)))
    expect(Math.abs((await order(ddim())) - 1)).toBeLessThan(0.2)
    expect(Math.abs((await order(heun())) - 2)).toBeLessThan(0.2)
    expect(Math.abs((await order(dpmSolverMultistep())) - 2)).toBeLessThan(0.2)
    expect(Math.abs((await order(dpmSolverMultistep({ algorithm: 'dpmsolver' }))) - 2)).toBeLessThan(0.2)
    expect(Math.abs((await order(dpmSolverSinglestep({ order: 2 }))) - 2)).toBeLessThan(0.2)
    expect(Math.abs((await order(dpmSolverSinglestep({ order: 3, fixed: true }))) - 3)).toBeLessThan(0.4)
    for (const solver of [lms(), deis(), pndm()]) expect(await order(solver)).toBeGreaterThan(1.8)
    expect(Math.abs((await order(euler())) - 1)).toBeLessThan(0.2)
    expect(Math.abs((await order(midpoint())) - 2)).toBeLessThan(0.2)
  })

  it('follow the closed form of the flow of one Gaussian, on every process', async () => {
    const [m, s] = [0.7, 0.4]
    const data = gaussianMixture({ means: [[m, m]], stddev: s })
    for (const process of [vpProcess(), edmProcess(), trigonometricProcess()]) {
      const [from, to] = process.name === 'edm' ? [10, 0.05] : [0.95, 0.05]
      const x = start(5, 2, process.priorStddev(from))
      const [a, b] = [process.coefficients(from), process.coefficients(to)]
      const ratio = Math.sqrt((b.alpha ** 2 * s * s + b.sigma ** 2) / (a.alpha ** 2 * s * s + a.sigma ** 2))
      const expected = (await x.data()).map((value) => b.alpha * m + (value - a.alpha * m) * ratio)
      const grid = { steps: 200, start: from, end: to, toZero: false, spacing: 'logSnr' } as const
      for (const solver of [heun(), dpmSolverMultistep()])
        expect(await largest(run(data.denoiser(process), solver, grid, x), expected)).toBeLessThan(1e-3)
    }
  })

  it('give the same samples for all parameterisations from one key within 1e-4', async () => {
    for (const solver of [ddim({ eta: 1 }), dpmSolverMultistep(), heun(), eulerMaruyama()]) {
      const all = predictions.map((kind) =>
        compile((key: random.Key) =>
          sample(asPrediction(ring.denoiser(vpProcess()), kind), { solver, grid: { steps: 30, spacing: 'logSnr' }, shape: [50, 2], key }),
        )(random.key(5)),
      )
      for (const one of all) expect(await largest(one, await all[1].data())).toBeLessThan(1e-4)
    }
  })

  it('count their evaluations', () => {
    const model = ring.denoiser(edmProcess())
    const guided = classifierFreeGuidance(model, { unconditional: (c) => c })
    expect(functionEvaluations(ddim(), model, { steps: 7 })).toBe(7)
    expect(functionEvaluations(heun(), model, { steps: 7 })).toBe(13)
    expect(functionEvaluations(heun(), guided, { steps: 7 })).toBe(26)
    const vp = { process: vpProcess() }
    for (let n = 3; n < 16; n++) expect(functionEvaluations(dpmSolverSinglestep(), vp, { steps: n })).toBe(n)
    expect(functionEvaluations(pndm(), vp, { steps: 10 })).toBe(19)
    expect(functionEvaluations(pndm({ order: 2 }), vp, { steps: 10 })).toBe(11)
  })

  it('go straight to one data point in one Euler step of flow matching', async () => {
    const point = gaussianMixture({ means: [[1, -2]], stddev: 0 }).denoiser(linearProcess())
    const x = run(asPrediction(point, 'velocity'), euler(), { steps: 1 }, start(4, 2))
    expect(await largest(x, [1, -2, 1, -2, 1, -2, 1, -2])).toBeLessThan(1e-12)
  })

  it('tell their trajectory, eager as compiled, and where it stops being finite', async () => {
    const model = ring.denoiser(vpProcess())
    const options = { solver: dpmSolverMultistep(), grid: { steps: 5 }, shape: [4, 2], key: random.key(1) }
    const { samples, states } = compile(() => sampleTrajectory(model, options))()
    expect(states.shape).toEqual([5, 4, 2])
    expect(await largest(sample(model, options), await samples.data())).toBeLessThan(1e-4)
    const seen: number[] = []
    await generate(model, { ...options, onStep: ({ index }) => seen.push(index) })
    expect(seen).toEqual([0, 1, 2, 3, 4])
    const broken: Denoiser = { ...model, predict: (x, t) => tf.where(tf.less(t, 0.5), tf.fill(x.shape, NaN), model.predict(x, t)) }
    await expect(generate(broken, options)).rejects.toThrow(/not finite after step \d/)
  })

  it('with Langevin steps sample the mixture', async () => {
    const model = ring.denoiser(veProcess())
    const grid = { steps: 60, spacing: 'karras', toZero: false } as const
    const x = compile((key: random.Key) => predictorCorrector(model, { grid, shape: [400, 2], key }))(random.key(2))
    expect(energyDistance(x as tf.Tensor2D, ring.sample(random.key(9), 400))).toBeLessThan(0.05)
    const times = [0.3, 0.3 ** 2, 0.01]
    const annealed = compile((key: random.Key) =>
      annealedLangevin(ring.denoiser(edmProcess()), { times, key, shape: [8, 2], stepsPerLevel: 20, stepSize: 1e-4 }),
    )(random.key(2))
    expect((await annealed.data()).every(Number.isFinite)).toBe(true)
  })
})

describe('guidance, clipping and densities', () => {
  it('classifier guidance with w = 1 is the exact conditional model, and w of guidance without a classifier blends', async () => {
    const process = vpProcess()
    const [x, t] = [
      tf.tensor2d([
        [0.5, 1],
        [-1, 0.2],
      ]),
      tf.tensor1d([0.3, 0.6]),
    ]
    const label = tf.tensor1d([1, 1], 'int32')
    const model = asPrediction(ring.denoiser(process), 'eps')
    const bound = await model.predict(x, t, { label }).data()
    const logProbability = (at: tf.Tensor): tf.Tensor => tf.slice(ring.logPosterior(process, at, t), [0, 1], [-1, 1])
    expect(await largest(classifierGuidance(model, { logProbability }).predict(x, t), bound)).toBeLessThan(1e-4)
    const guided = (scale: number) => classifierFreeGuidance(model, { scale, unconditional: () => ({ label: tf.fill([2], 8, 'int32') }) })
    expect(await largest(guided(1).predict(x, t, { label }), bound)).toBeLessThan(1e-5)
    expect(await largest(guided(0).predict(x, t, { label }), await model.predict(x, t).data())).toBeLessThan(1e-5)
    expect(await largest(clipDenoised(model, { range: 0.1 }).predict(x, t), [0, 0, 0, 0])).toBeLessThan(0.1001)
  })

  it('EDM’s preconditioning is the identity part for a network of zero', async () => {
    const model = edmPrecondition((x) => tf.zerosLike(x), edmProcess())
    const y = await model.predict(tf.ones([1, 2]), tf.tensor1d([2])).data()
    expect(y[0]).toBeCloseTo(edmScalings(2).skip, 6)
  })

  it('the exact denoiser of a Gaussian is that of a mixture of one', async () => {
    const process = vpProcess()
    const [x, t] = [tf.tensor2d([[0.5, 1]]), tf.tensor1d([0.4])]
    const one = gaussianMixture({ means: [[1, 2]], stddev: 0.5 })
      .denoiser(process)
      .predict(x, t)
    const covariance = [
      [0.25, 0],
      [0, 0.25],
    ]
    expect(await largest(linearGaussian({ mean: [1, 2], covariance }, process).predict(x, t), await one.data())).toBeLessThan(1e-5)
  })

  it('the likelihood by the flow is the analytic one within 1e-3, and the adaptive solver agrees with small steps', async () => {
    const [process, x] = [
      vpProcess(),
      tf.tensor2d([
        [0.5, 1],
        [0.9, 0.1],
      ]),
    ]
    const data = gaussianMixture({ means: [[0.7, 0.3]], stddev: 0.5 })
    const exact = await data.logDensity(process, x, tf.tensor1d([process.tMin])).data()
    // At t = 1 the data are not quite N(0, I): the mean is 0.005, which the exact prior takes into account.
    const prior = (at: tf.Tensor): tf.Tensor => data.logDensity(process, at, tf.tensor1d([1]))
    const found = compile((at: tf.Tensor) => logLikelihood(data.denoiser(process), at, { steps: 200, prior }))(x)
    expect(await largest(found, exact)).toBeLessThan(1e-3)
    const key = random.key(1)
    const guessed = compile((at: tf.Tensor) =>
      logLikelihood(data.denoiser(process), at, { steps: 200, divergence: 'hutchinson', key, prior }),
    )(x)
    // J is a multiple of I here, so that every probe is exact.
    expect(await largest(guessed, exact)).toBeLessThan(1e-3)
    const model = ring.denoiser(process)
    const { x: end } = compile((at: tf.Tensor) => solveOde(model, at, { from: 1, to: 0.01 }))(x)
    const fine = run(model, rungeKutta4(), { steps: 2000, spacing: 'quadratic', end: 0.01 }, double([0.5, 1, 0.9, 0.1], [2, 2]))
    expect(await largest(end, await fine.data())).toBeLessThan(1e-3)
  })
})

describe('flow maps', () => {
  // N(0, s²) on EDM's clock: x_t = x_s √((s² + t²)/(s² + s_t²)).
  const root = (t: tf.Tensor): tf.Tensor => tf.reshape(tf.sqrt(tf.add(tf.square(t), 0.25)), [-1, 1])
  const psi = (x: tf.Tensor, s: tf.Tensor, t: tf.Tensor): tf.Tensor => tf.div(tf.mul(x, root(t)), root(s))
  const h = (x: tf.Tensor, s: tf.Tensor, t: tf.Tensor): tf.Tensor => tf.div(tf.sub(psi(x, s, t), x), tf.reshape(tf.sub(t, s), [-1, 1]))

  it('of one Gaussian are a semigroup, satisfy MeanFlow’s identity, and CTM’s boundary', async () => {
    const [x, s, u, t] = [tf.tensor2d([[1], [2]]), tf.tensor1d([3, 2]), tf.tensor1d([1.5, 1]), tf.tensor1d([0.5, 0.2])]
    expect(await largest(meanFlowJump(h, meanFlowJump(h, x, s, u), u, t), await meanFlowJump(h, x, s, t).data())).toBeLessThan(1e-5)
    const velocity = tf.div(tf.mul(x, tf.reshape(s, [-1, 1])), tf.square(root(s)))
    const { value, target } = meanFlowTarget(h, x, s, t, velocity)
    expect(await largest(target, await value.data())).toBeLessThan(1e-4)
    expect(
      await largest(
        ctmJump(() => tf.ones([2, 1]), x, s, s),
        await x.data(),
      ),
    ).toBeLessThan(1e-6)
    const one = sampleMeanFlow(h, { initial: tf.tensor2d([[3]]), times: [10, 1, 0.1] })
    expect(await largest(one, [(3 * Math.hypot(0.1, 0.5)) / Math.hypot(10, 0.5)])).toBeLessThan(1e-4)
    expect(
      await largest(
        sampleConsistency((y) => y, { initial: x }),
        await x.data(),
      ),
    ).toBe(0)
    expect(sampleCtm((y) => y, { initial: x, times: [3, 1, 0] }).shape).toEqual([2, 1])
    expect(targetDecay(18)).toBeLessThan(1)
  })
})

describe('metrics', () => {
  it('are exact where the answer is known', () => {
    const [x, y] = [
      [
        [0, 0],
        [1, 0],
      ],
      [
        [1, 0],
        [0, 0],
      ],
    ]
    expect(energyDistance(x, y)).toBeCloseTo(0)
    expect(energyDistance([[0]], [[3]])).toBeCloseTo(6)
    expect(wasserstein2(x, y)).toEqual({ distance: 0, assignment: Int32Array.from([1, 0]) })
    expect(slicedWasserstein([[0], [1]], [[2], [3]], { key: random.key(0) })).toBeCloseTo(2)
    expect(precisionRecall([[0], [1], [2]], [[0], [1], [2]], { k: 1 })).toEqual({ precision: 1, recall: 1 })
    expect(histogramDistance(x, y, { range: 2 })).toEqual({ l1: 0, kl: 0 })
    expect(
      straightness(
        [
          [2, 0],
          [1, 0],
          [0, 0],
        ],
        1,
      ),
    ).toBe(0)
    expect(gaussianKl({ mean: [1], variance: [1] }, { mean: [0], variance: [1] })).toBeCloseTo(0.5)
  })
})

const points = Float32Array.from(random.normalArray(random.key(4), 96))
const dataset = (): Dataset<{ x: tf.Tensor }> =>
  batch(shuffle(fromArrays({ x: { data: points, shape: [48, 2] } })), 8) as Dataset<{ x: tf.Tensor }>
const network = timeMlp({ hidden: [8] })
const learners = {
  denoising: () => denoising({ process: vpProcess(), network }),
  'denoising with EDM’s preconditioning': () => denoising({ process: edmProcess(), network, prediction: 'edm' }),
  meanFlow: () => meanFlow({ process: linearProcess(), network: flowMapMlp({ hidden: [8] }) }),
  ctm: () => ctm({ network: flowMapMlp({ hidden: [8] }), teacher: ring.denoiser(edmProcess()) }),
  consistencyDistillation: () => consistencyDistillation({ network, teacher: ring.denoiser(edmProcess()) }),
  consistencyTraining: () => consistencyTraining({ network, totalSteps: 100, s1: 40 }),
}

describe.each(Object.entries(learners))('%s', (_, learner) => {
  for (const check of learnerContract({ learner: learner as () => ReturnType<typeof meanFlow>, dataset })) it(check.name, check.run)
})

it('denoising learns one Gaussian', async () => {
  const learner = denoising({ process: linearProcess(), network: timeMlp({ hidden: [32, 32] }), prediction: 'velocity', emaDecay: 0.99 })
  const { state } = await fit(learner, dataset(), { steps: 600, seed: 1 })
  const model = learner.denoiser(state.tensors)
  const draw = compile((key: random.Key) => sample(model, { solver: euler(), grid: { steps: 20 }, shape: [400, 2], key }))(random.key(1))
  expect(energyDistance(draw as tf.Tensor2D, { data: points, shape: [48, 2] })).toBeLessThan(0.1)
})
