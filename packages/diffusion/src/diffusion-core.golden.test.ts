import { grad } from '@bpf/core'
import { goldenArray } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { describeGolden, type Compute, type Inputs } from './__fixtures__/golden'
import { consistencyFunction, consistencyScalings, doublingLevels, levelProbabilities, progressiveLevels } from './consistency'
import { ctmJump, meanFlowJump, meanFlowTarget } from './flow-map'
import { gaussianMixture } from './gaussian-mixture'
import { classifierFreeGuidance, classifierGuidance } from './guidance'
import { ddpmBound, edmWeight, minSnrWeight, pseudoHuber } from './losses'
import { convertPrediction } from './prediction'
import {
  alphaBarOf,
  betaSchedule,
  discreteProcess,
  driftAndDiffusion,
  edmProcess,
  linearProcess,
  subVpProcess,
  trigonometricProcess,
  veProcess,
  vpProcess,
  type Process,
} from './process'
import { sample, type Solver } from './sampling'
import { perSample } from './shared/maths'
import { ddim, dpmSolverMultistep, dpmSolverSinglestep, euler, eulerAncestral, heun, lms } from './solvers/index'
import { asPrediction, type Denoiser } from './denoiser'
import { karrasSigmas, type TimeGrid } from './time-grid'

const flat = (inputs: Inputs, name: string): number[] => goldenArray(inputs, name).data
const vector = (values: readonly number[]): tf.Tensor => tf.tensor1d([...values])
const number = (inputs: Inputs, name: string): number => inputs[name] as number
const rows = (inputs: Inputs, name: string): number[][] => {
  const { shape, data } = goldenArray(inputs, name)
  return Array.from({ length: shape[0] }, (_, i) => data.slice(i * shape[1], (i + 1) * shape[1]))
}
const mixture = (inputs: Inputs) => gaussianMixture({ means: rows(inputs, 'means'), stddev: number(inputs, 'sd') })
/** The velocity α' x0 + σ' ε is what dx/dσ is for EDM's process: Euler in t is Euler in σ. */
const exact = (inputs: Inputs, process: Process): Denoiser => mixture(inputs).denoiser(process)

const functions: Record<string, Compute> = {
  conversions({ x, eps, ...at }) {
    const to = (kind: 'x0' | 'score' | 'v' | 'velocity'): tf.Tensor =>
      convertPrediction(eps, 'eps', kind, x, at as { alpha: tf.Tensor; sigma: tf.Tensor; dalpha: tf.Tensor; dsigma: tf.Tensor })
    return { x0: to('x0'), score: to('score'), vddpm: to('v'), velocity: to('velocity') }
  },
  sdeSchedules(_, inputs) {
    const t = flat(inputs, 't')
    const processes = { vp: vpProcess(), subvp: subVpProcess(), ve: veProcess() }
    return Object.fromEntries(
      Object.entries(processes).flatMap(([name, process]) => [
        [`${name}_alpha`, vector(t.map((at) => process.coefficients(at).alpha))],
        [`${name}_sigma`, vector(t.map((at) => process.coefficients(at).sigma))],
        [`${name}_f`, vector(t.map((at) => driftAndDiffusion(process, at).f))],
        [`${name}_g`, vector(t.map((at) => Math.sqrt(driftAndDiffusion(process, at).g2)))],
      ]),
    )
  },
  interpolantSchedules(_, inputs) {
    const t = flat(inputs, 't')
    return Object.fromEntries(
      Object.entries({ lin: linearProcess(), trig: trigonometricProcess() }).flatMap(([name, process]) => [
        [`${name}_alpha`, vector(t.map((at) => process.coefficients(at).alpha))],
        [`${name}_sigma`, vector(t.map((at) => process.coefficients(at).sigma))],
        [`${name}_f`, vector(t.map((at) => driftAndDiffusion(process, at).f))],
        [`${name}_g2`, vector(t.map((at) => driftAndDiffusion(process, at).g2))],
      ]),
    )
  },
  driftsVp({ x, t }, inputs) {
    const model = exact(inputs, vpProcess())
    const score = asPrediction(model, 'score').predict(x, t)
    const drift = flat(inputs, 't').map((at) => driftAndDiffusion(vpProcess(), at))
    const f = perSample(vector(drift.map((one) => one.f)), x)
    const g2 = perSample(vector(drift.map((one) => one.g2)), x)
    return { score, pfode: asPrediction(model, 'velocity').predict(x, t), revsde: tf.sub(tf.mul(x, f), tf.mul(score, g2)) }
  },
  flowMatchingVelocity: ({ x, t }, inputs) => ({ v: asPrediction(exact(inputs, linearProcess()), 'velocity').predict(x, t) }),
  guidance({ eu, ec, x, t }, inputs) {
    const process = vpProcess()
    const isNull = tf.tensor1d(Array.from({ length: x.shape[0] }, () => 1))
    const model: Denoiser = {
      process,
      prediction: 'eps',
      predict: (both, _, condition) => {
        const free = perSample((condition as { free: tf.Tensor }).free, both)
        return tf.add(tf.mul(tf.concat([eu, eu], 0), free), tf.mul(tf.concat([ec, ec], 0), tf.sub(1, free)))
      },
    }
    const guided = flat(inputs, 'w').map((scale) =>
      classifierFreeGuidance(model, { scale, unconditional: () => ({ free: isNull }) }).predict(x, t, { free: tf.zerosLike(isNull) }),
    )
    const data = mixture(inputs)
    const logProbability = (at: tf.Tensor): tf.Tensor => tf.slice(data.logPosterior(process, at, t), [0, 1], [-1, 1])
    return {
      cfg: tf.stack(guided),
      grad_logp: grad((at: tf.Tensor) => tf.sum(logProbability(at)))(x),
      cg: classifierGuidance(data.denoiser(process), { logProbability, scale: number(inputs, 'wc') }).predict(x, t),
    }
  },
  edmHeun({ z, n }, inputs) {
    const model = exact(inputs, edmProcess())
    const initial = tf.mul(z, 80)
    const grid: TimeGrid = { steps: number(inputs, 'steps') }
    const churned = heun({ churn: 10, churnMin: 0.05, churnMax: 50, noiseScale: 1.003 })
    return { det: sample(model, { solver: heun(), grid, initial }), sto: sample(model, { solver: churned, grid, initial, noises: n }) }
  },
  sigmaSolvers({ z, n }, inputs) {
    const model = exact(inputs, edmProcess())
    const sigmas = [...karrasSigmas(8, { sigmaMin: 0.01, sigmaMax: 20 }), 0]
    const initial = tf.mul(z, sigmas[0])
    const by = (solver: Solver, noises?: tf.Tensor): tf.Tensor =>
      sample(asPrediction(model, solver.prediction), { solver, grid: { times: sigmas }, initial, noises })
    return {
      sigmas: vector(sigmas),
      euler: by(euler()),
      heun: by(heun()),
      dpmpp_2m: by(dpmSolverMultistep({ lowerOrderFinal: false })),
      lms: by(lms()),
      euler_ancestral: by(eulerAncestral(), n),
    }
  },
  dpmSolverVp({ z }, inputs) {
    const process = vpProcess()
    const model = asPrediction(exact(inputs, process), 'eps')
    const by = (solver: Solver, steps: number, spacing: 'uniform' | 'logSnr'): tf.Tensor =>
      sample(model, { solver, grid: { steps, spacing }, initial: z })
    return {
      ddim10: by(ddim(), 10, 'uniform'),
      pp2m_10_uniform: by(dpmSolverMultistep(), 10, 'uniform'),
      pp2m_20_logsnr: by(dpmSolverMultistep(), 20, 'logSnr'),
      eps2m_10: by(dpmSolverMultistep({ algorithm: 'dpmsolver' }), 10, 'uniform'),
      pp3m_10: by(dpmSolverMultistep({ order: 3 }), 10, 'logSnr'),
      eps_single3_12: by(dpmSolverSinglestep(), 12, 'logSnr'),
    }
  },
  ddpmVlbTerms({ t, x0, eps, epshat }, inputs) {
    const process = discreteProcess(alphaBarOf(betaSchedule('linear', { steps: number(inputs, 'T'), betaStart: 1e-3, betaEnd: 0.2 })))
    const { noised, step, prior } = ddpmBound(process, { x0, eps, predicted: epshat, index: t })
    return { xt: noised, Lt: step, prior }
  },
  consistencyParts({ sigma, x, F }, inputs) {
    const { skip, out, input } = consistencyScalings(sigma)
    const sigmas = karrasSigmas(10).reverse()
    return {
      c_skip: skip,
      c_out: out,
      c_in: input,
      f: consistencyFunction(() => F)(x, sigma),
      N: vector(flat(inputs, 'k').map((k) => doublingLevels(k, 400_000))),
      sigmas10: vector(sigmas),
      probs: vector(levelProbabilities(sigmas)),
      huber: pseudoHuber(F, x),
      cm_scales: vector([0, 100, 500, 1000].map((k) => progressiveLevels(k, 1000))),
    }
  },
  flowMaps({ x, s, t, v, W, b, c, d }) {
    const h = (y: tf.Tensor, from: tf.Tensor, to: tf.Tensor): tf.Tensor => {
      const column = (values: tf.Tensor): tf.Tensor => tf.reshape(values, [-1, 1])
      const times = tf.add(tf.mul(column(from), tf.reshape(c, [1, -1])), tf.mul(column(to), tf.reshape(d, [1, -1])))
      return tf.tanh(tf.add(tf.add(tf.matMul(y as tf.Tensor2D, W as tf.Tensor2D), b), times))
    }
    const { value, derivative, target } = meanFlowTarget(h, x, s, t, v)
    return {
      h: value,
      jvp: derivative,
      target,
      loss: tf.mean(tf.squaredDifference(value, target)),
      jump: meanFlowJump(h, x, s, t),
      ctm: ctmJump(h, x, s, t),
    }
  },
  lossWeights({ sigma, denoised, y, alpha, sig }) {
    const zero = tf.zerosLike(sigma)
    const lam = edmWeight()({ alpha: zero, sigma, dalpha: zero, dsigma: zero }, 'x0')
    const at = { alpha, sigma: sig, dalpha: zero, dsigma: zero }
    return {
      lam,
      edm_loss: tf.mean(tf.mul(tf.squaredDifference(denoised, y), perSample(lam, y))),
      minsnr_eps: minSnrWeight()(at, 'eps'),
      minsnr_x0: minSnrWeight()(at, 'x0'),
      minsnr_v: minSnrWeight()(at, 'v'),
    }
  },
}

describeGolden('55-diffusion-core', functions)
