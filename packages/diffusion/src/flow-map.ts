/**
 * Flow maps from any time to any earlier one: Ψ_{s→t}(x_s) = x_s + ∫ u. MeanFlow learns the mean velocity h of the jump (Geng et
 * al. 2025, arXiv 2505.13447); consistency trajectory models (CTM) learn G = (t/s) x + (1 − t/s) g (Kim et al. 2024, arXiv
 * 2310.02279). Their relation: g = x − s h (Lai et al. 2025, arXiv 2510.21890).
 */
import { jvp, OptionError, stopGradient, tree, valueAndGrad, type Key, type Learner, type Tree } from '@bpf/core'
import { emaUpdate, type Layer } from '@bpf/core/nn'
import { adam, applyUpdates, type Optimizer } from '@bpf/core/optim'
import { fold, normal, uniform } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { asPrediction, type Denoiser } from './denoiser'
import type { FlowMapInput } from './networks'
import { addNoise, type Process } from './process'
import { dropLabels, labelOf } from './shared/labels'
import { perSample, sumPerSample } from './shared/maths'

/** h(x, s, t) or g(x, s, t): x [n, ...dims], s and t [n] → as x. */
export type TwoTimeFunction = (x: tf.Tensor, s: tf.Tensor, t: tf.Tensor) => tf.Tensor

/** The jump of a mean velocity: x_t = x_s + (t − s) h(x_s, s, t). */
export function meanFlowJump(h: TwoTimeFunction, x: tf.Tensor, s: tf.Tensor, t: tf.Tensor): tf.Tensor {
  return tf.add(x, tf.mul(h(x, s, t), perSample(tf.sub(t, s), x)))
}

/** The jump of a CTM: G(x, s, t) = (t/s) x + (1 − t/s) g(x, s, t), the identity for t = s. */
export function ctmJump(g: TwoTimeFunction, x: tf.Tensor, s: tf.Tensor, t: tf.Tensor): tf.Tensor {
  const ratio = perSample(tf.div(t, s), x)
  return tf.add(tf.mul(x, ratio), tf.mul(g(x, s, t), tf.sub(1, ratio)))
}

/**
 * MeanFlow's target u − (s − t) dh/ds along the flow, the derivative being the Jacobian product of h with (u, 1, 0).
 *
 * @param u - velocity at (x, s), as x
 * @returns `value` h, `derivative` and `target`, as x; not cut off from gradients
 */
export function meanFlowTarget(h: TwoTimeFunction, x: tf.Tensor, s: tf.Tensor, t: tf.Tensor, u: tf.Tensor) {
  const at = { x, s, t }
  const direction = { x: u, s: tf.onesLike(s), t: tf.zerosLike(t) }
  const { value, tangent } = jvp((point: typeof at) => h(point.x, point.s, point.t), at, direction)
  return { value, derivative: tangent, target: tf.sub(u, tf.mul(tangent, perSample(tf.sub(s, t), x))) }
}

/** Parameters, their moving average, optimizer state and the number of steps. */
export type FlowMapState = { params: Tree; average: Tree; optimizer: Tree; step: tf.Scalar }

/** Options of {@link meanFlow}. */
export interface MeanFlowOptions {
  process: Process
  /** From `{ x, s, t }` to h, of the shape of x: {@link flowMapMlp} or one of your own. */
  network: Layer<Tree, Tree, FlowMapInput>
  /** Its velocity is the target's; without it the velocity of the sample itself, α' x0 + σ' ε. */
  teacher?: Denoiser
  /** Share of pairs with t = s, which are plain flow matching. Default 0.75. */
  equalTimes?: number
  /** Mean and standard deviation of the logit-normal times. Default −0.4 and 1. */
  times?: { mean?: number; stddev?: number }
  /** p of the adaptive weight 1/(‖Δ‖² + 1e-3)^p. Default 1; 0 is the plain squared error. */
  power?: number
  /**
   * Guidance without a classifier learned into the map, so that it costs nothing when sampling: the velocity is
   * w u + (1 − w) h(x, s, s | no class). Batches need labels.
   */
  guidance?: MeanFlowGuidance
  /** Memory of the moving average, with warm-up. Default 0.999. */
  emaDecay?: number
  /** Default Adam with rate 1e-3. */
  optimizer?: Optimizer
}

/** Guidance of {@link meanFlow}. */
export interface MeanFlowGuidance {
  /** w: 1 is none. */
  scale: number
  /** The label of no class (network.nullLabel). */
  nullLabel: number
  /** Share of labels that are replaced by it. Default 0.1. */
  labelDropout?: number
}

/** Data [n, ...dims], and class indices [n] (int32) of a class-conditional map. */
export type FlowMapBatch = { x: tf.Tensor } | { x: tf.Tensor; label: tf.Tensor }

/** A learner of a two-time function. */
export type FlowMapLearner = Omit<Learner<FlowMapState, FlowMapBatch>, 'predict'> & {
  /** h (MeanFlow) or g (CTM) of a state; of the averaged parameters with `average`, and of the classes `label` [n]. */
  flowMap(tensors: Pick<FlowMapState, 'params' | 'average'>, options?: { average?: boolean; label?: tf.Tensor }): TwoTimeFunction
}

type FlowMapLoss = (
  network: (params: Tree, label?: tf.Tensor) => TwoTimeFunction,
  params: Tree,
  state: FlowMapState,
  batch: FlowMapBatch,
  key: Key,
) => tf.Tensor

interface FlowMapLearnerOptions {
  network: Layer<Tree, Tree, FlowMapInput>
  emaDecay: number
  warmUp: boolean
  optimizer: Optimizer | undefined
}

function flowMapLearner(where: string, { network, emaDecay, warmUp, ...rest }: FlowMapLearnerOptions, loss: FlowMapLoss): FlowMapLearner {
  const optimizer: Optimizer = rest.optimizer ?? adam({ learningRate: 1e-3 })
  if (!(emaDecay >= 0 && emaDecay < 1)) throw new OptionError(`${where}: emaDecay must be in [0, 1), got ${emaDecay}`)
  const apply =
    (params: Tree, label?: tf.Tensor): TwoTimeFunction =>
    (x, s, t) =>
      network.apply(params, {}, label === undefined ? { x, s, t } : { x, s, t, label }, { training: false }).y
  return {
    flowMap: (tensors, { average = false, label } = {}) => apply(average ? tensors.average : tensors.params, label),
    init(key, sample) {
      const { params } = network.init(key, { x: sample.x.shape.slice(1), s: [], t: [] })
      return {
        tensors: { params, average: tree.clone(params), optimizer: optimizer.init(params), step: tf.scalar(0, 'int32') },
        host: null,
      }
    },
    step: (tensors, batch, key) =>
      tree.tidy(() => {
        const { value, grads } = valueAndGrad((params: Tree) => loss(apply, params, tensors, batch, key))(tensors.params)
        const { updates, state } = optimizer.update(grads, tensors.optimizer, tensors.params)
        const params = applyUpdates(tensors.params, updates)
        const average = emaUpdate(tensors.average, params, warmUp ? { decay: emaDecay, step: tensors.step } : { decay: emaDecay })
        const next = { params, average, optimizer: state, step: tf.add(tensors.step, tf.scalar(1, 'int32')) as tf.Scalar }
        return { tensors: next, metrics: { loss: value } }
      }),
  }
}

/** Two logit-normal times, sorted; equal for a share of the samples. */
function timePairs(key: Key, n: number, tMax: number, { mean = -0.4, stddev = 1 } = {}, equal: number): { s: tf.Tensor; t: tf.Tensor } {
  const draw = (i: number): tf.Tensor => tf.mul(tf.sigmoid(normal(fold(key, i), [n], { mean, stddev })), tMax)
  const [a, b] = [draw(0), draw(1)]
  const s = tf.maximum(a, b)
  return { s, t: tf.where(tf.less(uniform(fold(key, 2), [n]), equal), s, tf.minimum(a, b)) }
}

/**
 * MeanFlow: h(x_s, s, t) is regressed on stopgrad[u − (s − t) (∂ₓh u + ∂ₛh)] with the adaptive weight. One step of the result is
 * x0 = x1 − h(x1, 1, 0).
 *
 * @throws OptionError for a share outside of [0, 1], a negative power, or a decay outside of [0, 1)
 */
export function meanFlow(options: MeanFlowOptions): FlowMapLearner {
  const { process, network, teacher, equalTimes = 0.75, times, power = 1, guidance, emaDecay = 0.999, optimizer } = options
  if (!(equalTimes >= 0 && equalTimes <= 1)) throw new OptionError(`meanFlow: equalTimes must be in [0, 1], got ${equalTimes}`)
  if (!(power >= 0)) throw new OptionError(`meanFlow: power must be at least 0, got ${power}`)
  const { scale = 1, nullLabel = 0, labelDropout = 0.1 } = guidance ?? {}
  if (!Number.isFinite(scale)) throw new OptionError(`meanFlow: guidance.scale must be finite, got ${scale}`)
  if (!(labelDropout >= 0 && labelDropout <= 1)) {
    throw new OptionError(`meanFlow: guidance.labelDropout must be in [0, 1], got ${labelDropout}`)
  }
  const velocity = teacher === undefined ? undefined : asPrediction(teacher, 'velocity')
  return flowMapLearner('meanFlow', { network, emaDecay, warmUp: true, optimizer }, (network, params, _, batch, key) => {
    const { x: x0 } = batch
    const given = labelOf(batch)
    if (guidance !== undefined && given === undefined) throw new OptionError('meanFlow: guidance needs batches with label')
    const label = given === undefined || guidance === undefined ? given : dropLabels(given, nullLabel, labelDropout, fold(key, 2))
    const h = network(params, label)
    const { s, t } = timePairs(fold(key, 0), x0.shape[0], process.tMax, times, equalTimes)
    const epsilon = normal(fold(key, 1), x0.shape)
    const x = addNoise(process, x0, epsilon, s)
    const { dalpha, dsigma } = process.coefficientTensors(s)
    const own = (): tf.Tensor => tf.add(tf.mul(x0, perSample(dalpha, x0)), tf.mul(epsilon, perSample(dsigma, x0)))
    const plain = velocity === undefined ? own() : velocity.predict(x, s)
    const free = (): tf.Tensor => stopGradient(network(params, tf.fill([x0.shape[0]], nullLabel, 'int32'))(x, s, s))
    const u = guidance === undefined || scale === 1 ? plain : tf.add(tf.mul(plain, scale), tf.mul(free(), 1 - scale))
    const target = stopGradient(meanFlowTarget(h, x, s, t, u).target)
    const squared = sumPerSample(tf.squaredDifference(h(x, s, t), target))
    if (power === 0) return tf.mean(squared)
    return tf.mean(tf.div(squared, tf.pow(tf.add(stopGradient(squared), 1e-3), power)))
  })
}

/** Options of {@link sampleMeanFlow}. */
export interface FlowMapSampleOptions {
  /** [n, ...dims]; give this with a key, or `initial`. */
  shape?: readonly number[]
  initial?: tf.Tensor
  key?: Key
  /** Falling times, the first is that of the noise. Default [1, 0]: one step. */
  times?: readonly number[]
}

function startOf(where: string, { shape, initial, key }: FlowMapSampleOptions, stddev: number): tf.Tensor {
  if (initial !== undefined) return initial
  if (shape === undefined || key === undefined) throw new OptionError(`${where}: give initial, or shape and key`)
  return normal(fold(key, 0), shape, { stddev })
}

function checkFalling(where: string, times: readonly number[]): void {
  if (times.length < 2 || times.some((t, i) => !(t >= 0) || (i > 0 && !(t < times[i - 1])))) {
    throw new OptionError(`${where}: expected at least two falling times, got [${times.join(', ')}]`)
  }
}

/** Jumps of a MeanFlow from time to time; one step by default. Traceable. @throws OptionError when times don't fall */
export function sampleMeanFlow(h: TwoTimeFunction, options: FlowMapSampleOptions): tf.Tensor {
  const { times = [1, 0] } = options
  checkFalling('sampleMeanFlow', times)
  return tf.tidy(() => {
    let x = startOf('sampleMeanFlow', options, 1)
    const at = (t: number): tf.Tensor => tf.fill([x.shape[0]], t)
    for (let i = 1; i < times.length; i++) x = meanFlowJump(h, x, at(times[i - 1]), at(times[i]))
    return x
  })
}

/** Options of {@link sampleCtm}. */
export interface CtmSampleOptions extends FlowMapSampleOptions {
  /** γ in [0, 1]: 0 (default) jumps on, 1 jumps to data and noises again, as consistency models do. */
  gamma?: number
}

/** γ-sampling of a CTM: jump to √(1 − γ²) t, add γ t z. Traceable. @throws OptionError for γ outside of [0, 1] */
export function sampleCtm(g: TwoTimeFunction, options: CtmSampleOptions): tf.Tensor {
  const { times = [80, 0], gamma = 0, key } = options
  checkFalling('sampleCtm', times)
  if (!(gamma >= 0 && gamma <= 1)) throw new OptionError(`sampleCtm: gamma must be in [0, 1], got ${gamma}`)
  if (gamma > 0 && times.length > 2 && key === undefined) throw new OptionError('sampleCtm: gamma above 0 draws noise; give a key')
  return tf.tidy(() => {
    let x = startOf('sampleCtm', options, times[0])
    const at = (t: number): tf.Tensor => tf.fill([x.shape[0]], t)
    for (let i = 1; i < times.length; i++) {
      x = ctmJump(g, x, at(times[i - 1]), at(Math.sqrt(1 - gamma ** 2) * times[i]))
      const noise = gamma * times[i]
      if (noise > 0) x = tf.add(x, normal(fold(key as Key, i), x.shape, { stddev: noise }))
    }
    return x
  })
}

/** Options of {@link ctm}. */
export interface CtmOptions {
  /** From `{ x, s, t }` to g, of the shape of x; the times are σ, and x is divided by √(s² + σ_d²) first. */
  network: Layer<Tree, Tree, FlowMapInput>
  /** A model over `edmProcess()`; without it the learner's own g(x, s, s) is the denoiser. */
  teacher?: Denoiser
  /** Default 0.002 and 80. */
  sigmaMin?: number
  sigmaMax?: number
  /** σ_d. Default 0.5. */
  sigmaData?: number
  /** Weight of the denoising term ‖x0 − g(x, s, s)‖². Default 1. */
  denoisingWeight?: number
  /** Memory of the target network. Default 0.999. */
  emaDecay?: number
  /** Default Adam with rate 1e-3. */
  optimizer?: Optimizer
}

/**
 * Consistency trajectory model: with t ≤ u < s, jumping from s to t and from there to 0 must agree with one Heun step of the
 * teacher to u, then the target's jump to t and to 0; plus the denoising loss of g(x, s, s).
 *
 * g has EDM's skip connection: g = c_skip(s) x + c_out(s) F(c_in x, ¼ ln s, ¼ ln t).
 *
 * @throws OptionError when the teacher's process isn't EDM's, or for a decay outside of [0, 1)
 */
export function ctm(options: CtmOptions): FlowMapLearner {
  const { network, teacher, sigmaMin = 0.002, sigmaMax = 80, sigmaData = 0.5, denoisingWeight = 1, emaDecay = 0.999, optimizer } = options
  if (teacher !== undefined && teacher.process.name !== 'edm') {
    throw new OptionError(`ctm: the teacher must be over edmProcess(), got '${teacher.process.name}'`)
  }
  const data = teacher === undefined ? undefined : asPrediction(teacher, 'x0')
  const rho = 7
  const [from, to] = [sigmaMin ** (1 / rho), sigmaMax ** (1 / rho)]
  const wrapped: Layer<Tree, Tree, FlowMapInput> = {
    init: (key, shape) => network.init(key, shape),
    apply(params, state, { x, s, t }, apply) {
      const total = tf.add(tf.square(s), sigmaData * sigmaData)
      const root = perSample(tf.sqrt(total), x)
      const noise = (sigma: tf.Tensor): tf.Tensor => tf.mul(tf.log(tf.maximum(sigma, sigmaMin)), 0.25)
      const result = network.apply(params, state, { x: tf.div(x, root), s: noise(s), t: noise(t) }, apply)
      const skip = tf.mul(x, perSample(tf.div(sigmaData * sigmaData, total), x))
      return { ...result, y: tf.add(skip, tf.mul(result.y, tf.div(tf.mul(perSample(s, x), sigmaData), root))) }
    },
  }
  return flowMapLearner('ctm', { network: wrapped, emaDecay, warmUp: false, optimizer }, (g, params, state, { x: x0 }, key) => {
    const n = x0.shape[0]
    const level = (position: tf.Tensor): tf.Tensor => tf.pow(tf.add(tf.mul(position, to - from), from), rho)
    const top = uniform(fold(key, 0), [n], { low: 0.05, high: 1 })
    const share = uniform(fold(key, 1), [n])
    const [s, u] = [level(top), level(tf.mul(top, tf.add(tf.mul(share, 0.5), 0.45)))]
    const t = tf.minimum(u, level(tf.mul(top, tf.mul(uniform(fold(key, 2), [n]), 0.95))))
    const x = tf.add(x0, tf.mul(normal(fold(key, 3), x0.shape), perSample(s, x0)))
    const frozen = g(state.average)
    const denoise =
      data === undefined ? (y: tf.Tensor, at: tf.Tensor) => frozen(y, at, at) : (y: tf.Tensor, at: tf.Tensor) => data.predict(y, at)
    const slope = (y: tf.Tensor, at: tf.Tensor): tf.Tensor => tf.div(tf.sub(y, denoise(y, at)), perSample(at, y))
    const h = perSample(tf.sub(u, s), x)
    const first = slope(x, s)
    const lower = tf.add(x, tf.mul(tf.add(first, slope(tf.add(x, tf.mul(first, h)), u)), tf.div(h, 2)))
    const zero = tf.zerosLike(t)
    // The target network carries both sides to data, where they are compared.
    const student = ctmJump(frozen, ctmJump(g(params), x, s, t), t, zero)
    const target = stopGradient(ctmJump(frozen, ctmJump(frozen, lower, u, t), t, zero))
    const jump = tf.mean(sumPerSample(tf.squaredDifference(student, target)))
    const direct = tf.mean(sumPerSample(tf.squaredDifference(g(params)(x, s, s), x0)))
    return tf.add(jump, tf.mul(direct, denoisingWeight))
  })
}
