/**
 * Consistency models: f(x_σ, σ) jumps to the data end of the ODE in one step. Song et al. 2023, "Consistency models", arXiv
 * 2303.01469 (distillation, curriculum); Song and Dhariwal 2024, "Improved techniques for training consistency models", arXiv
 * 2310.14189 (training without a teacher: pseudo-Huber loss, doubling levels, log-normal index law, no average as target).
 */
import { OptionError, stopGradient, tree, valueAndGrad, type Key, type Learner, type Tree } from '@bpf/core'
import { emaUpdate, type Layer, type UNetInput } from '@bpf/core/nn'
import { erf } from '@bpf/core/numerics'
import { adam, applyUpdates, type Optimizer } from '@bpf/core/optim'
import { fold, normal, randint, uniform } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { asPrediction, type Denoiser } from './denoiser'
import { pseudoHuber } from './losses'
import { perSample, sumPerSample } from './shared/maths'
import { karrasSigmas } from './time-grid'

/** A flow map to data: x0 from x_σ [n, ...dims] and σ [n]. */
export type ConsistencyFunction = (x: tf.Tensor, sigma: tf.Tensor) => tf.Tensor

/** Options of {@link consistencyFunction}. */
export interface ConsistencyOptions {
  /** Default 0.5. */
  sigmaData?: number
  /** The level at which f is the identity. Default 0.002. */
  sigmaMin?: number
}

/** c_skip = σ_d²/((σ − σ_min)² + σ_d²), c_out = (σ − σ_min) σ_d/√(σ² + σ_d²), c_in = 1/√(σ² + σ_d²), as c_skip(σ_min) = 1. */
export function consistencyScalings(sigma: tf.Tensor, { sigmaData = 0.5, sigmaMin = 0.002 }: ConsistencyOptions = {}) {
  const square = sigmaData * sigmaData
  const above = tf.sub(sigma, sigmaMin)
  const root = tf.sqrt(tf.add(tf.square(sigma), square))
  return {
    skip: tf.div(square, tf.add(tf.square(above), square)),
    out: tf.div(tf.mul(above, sigmaData), root),
    input: tf.div(1, root),
  }
}

/**
 * f(x, σ) = c_skip x + c_out F(c_in x, ¼ ln σ), the identity at σ_min.
 *
 * @param network - F, from c_in x [n, ...dims] and the noise input [n]
 */
export function consistencyFunction(
  network: (x: tf.Tensor, noise: tf.Tensor) => tf.Tensor,
  options: ConsistencyOptions = {},
): ConsistencyFunction {
  return (x, sigma) => {
    const { skip, out, input } = consistencyScalings(sigma, options)
    const output = network(tf.mul(x, perSample(input, x)), tf.mul(tf.log(sigma), 0.25))
    return tf.add(tf.mul(x, perSample(skip, x)), tf.mul(output, perSample(out, x)))
  }
}

/** N(k) = min(s0 2^⌊k/K'⌋, s1) + 1, K' = ⌊K/(log₂(s1/s0) + 1)⌋: levels at step k of K, doubling (improved training). */
export function doublingLevels(k: number, total: number, { s0 = 10, s1 = 1280 } = {}): number {
  checkCurriculum('doublingLevels', s0, s1, total)
  const period = Math.max(1, Math.floor(total / (Math.log2(s1 / s0) + 1)))
  return Math.min(s0 * 2 ** Math.floor(k / period), s1) + 1
}

/** N(k) = ⌈√(k/K ((s1 + 1)² − s0²) + s0²) − 1⌉ + 1: levels at step k of K (consistency training). */
export function progressiveLevels(k: number, total: number, { s0 = 2, s1 = 150 } = {}): number {
  checkCurriculum('progressiveLevels', s0, s1, total)
  return Math.ceil(Math.sqrt((k / total) * ((s1 + 1) ** 2 - s0 ** 2) + s0 ** 2) - 1) + 1
}

/** μ(k) = exp(s0 ln μ0/N(k)): memory of the target network with so many levels. */
export function targetDecay(levels: number, { s0 = 2, mu0 = 0.95 } = {}): number {
  return Math.exp((s0 * Math.log(mu0)) / levels)
}

function checkCurriculum(where: string, s0: number, s1: number, total: number): void {
  if (!(Number.isSafeInteger(s0) && s0 >= 2 && Number.isSafeInteger(s1) && s1 >= s0)) {
    throw new OptionError(`${where}: expected whole numbers 2 ≤ s0 ≤ s1, got ${s0} and ${s1}`)
  }
  if (!(total >= 1)) throw new OptionError(`${where}: total steps must be at least 1, got ${total}`)
}

/**
 * The law of the lower index n of a pair (σ_n, σ_{n+1}), rising levels:
 * P(n) ∝ erf((ln σ_{n+1} − mean)/(√2 stddev)) − erf((ln σ_n − mean)/(√2 stddev)).
 *
 * @param sigmas - [N], rising
 * @returns [N − 1], sums to 1
 */
export function levelProbabilities(sigmas: readonly number[], { mean = -1.1, stddev = 2 } = {}): number[] {
  const cumulative = sigmas.map((sigma) => erf((Math.log(sigma) - mean) / (Math.SQRT2 * stddev)))
  const mass = cumulative.slice(1).map((value, n) => value - cumulative[n])
  const total = mass.reduce((sum, value) => sum + value, 0)
  return mass.map((value) => value / total)
}

/** Options of {@link sampleConsistency}. */
export interface ConsistencySampleOptions {
  /** [n, ...dims]; give this or `initial`, which is σ_max z. */
  shape?: readonly number[]
  initial?: tf.Tensor
  key?: Key
  /** Noise levels, falling; the first is where the noise starts. One level is one step. Default [80]. */
  sigmas?: readonly number[]
  /** Default 0.002. */
  sigmaMin?: number
}

/**
 * One step f(σ_max z, σ_max), and for each further level: noise √(σ² − σ_min²) again, then f. Traceable.
 *
 * @throws OptionError when levels don't fall, or the first state or the key is missing
 */
export function sampleConsistency(f: ConsistencyFunction, options: ConsistencySampleOptions): tf.Tensor {
  const { shape, initial, key, sigmas = [80], sigmaMin = 0.002 } = options
  const isFalling = sigmas.every((sigma, i) => sigma >= sigmaMin && (i === 0 || sigma < sigmas[i - 1]))
  if (sigmas.length === 0 || !isFalling) {
    throw new OptionError(`sampleConsistency: sigmas must fall and be at least ${sigmaMin}, got [${sigmas.join(', ')}]`)
  }
  if (initial === undefined && shape === undefined) throw new OptionError('sampleConsistency: give initial or shape; neither was given')
  if (key === undefined && (initial === undefined || sigmas.length > 1))
    throw new OptionError('sampleConsistency: drawing noise needs a key')
  return tf.tidy(() => {
    let x = initial ?? normal(fold(key as Key, 0), shape as readonly number[], { stddev: sigmas[0] })
    const level = (sigma: number): tf.Tensor => tf.fill([x.shape[0]], sigma)
    let x0 = f(x, level(sigmas[0]))
    sigmas.slice(1).forEach((sigma, i) => {
      x = tf.add(x0, normal(fold(key as Key, i + 1), x0.shape, { stddev: Math.sqrt(sigma ** 2 - sigmaMin ** 2) }))
      x0 = f(x, level(sigma))
    })
    return x0
  })
}

/** Parameters, the target network's, optimizer state and the number of steps. */
export type ConsistencyState = { params: Tree; target: Tree; optimizer: Tree; step: tf.Scalar }

/** Options of both consistency learners. */
interface ConsistencyLearnerOptions extends ConsistencyOptions {
  /** From `{ x, time }` to F, of the shape of x; the time is {@link ConsistencyLearnerOptions.timeInput} of ¼ ln σ. */
  network: Layer<Tree, Tree, UNetInput>
  /** Default ¼ ln σ as it is. */
  timeInput?: (noise: tf.Tensor) => tf.Tensor
  /** Default 80. */
  sigmaMax?: number
  /** Default Adam with rate 1e-3. */
  optimizer?: Optimizer
}

/** Options of {@link consistencyDistillation}. */
export interface ConsistencyDistillationOptions extends ConsistencyLearnerOptions {
  /** A model over `edmProcess()`. */
  teacher: Denoiser
  /** N, levels of Karras's grid. Default 18. */
  levels?: number
  /** One step of the teacher between neighbouring levels. Default heun. */
  solver?: 'heun' | 'euler'
  /** Memory of the target network. Default 0.95. */
  targetDecay?: number
  /** Default: squared distance. */
  distance?: (a: tf.Tensor, b: tf.Tensor) => tf.Tensor
}

/** Options of {@link consistencyTraining}. */
export interface ConsistencyTrainingOptions extends ConsistencyLearnerOptions {
  /** K, for how many steps the curriculum is laid out. */
  totalSteps: number
  /** Fewest and most levels. Default 10 and 1280. */
  s0?: number
  s1?: number
  /** c of the pseudo-Huber distance. Default 0.00054 √D. */
  huber?: number
}

/** A learner of a consistency function over batches `{ x }`. */
export type ConsistencyLearner = Omit<Learner<ConsistencyState, { x: tf.Tensor }>, 'predict'> & {
  /** f of a state; of the target network with `target`. */
  consistency(tensors: Pick<ConsistencyState, 'params' | 'target'>, options?: { target?: boolean }): ConsistencyFunction
}

type PairLoss = (f: (params: Tree) => ConsistencyFunction, params: Tree, state: ConsistencyState, x: tf.Tensor, key: Key) => tf.Tensor

function consistencyLearner(options: ConsistencyLearnerOptions, decay: number | undefined, loss: PairLoss): ConsistencyLearner {
  const { network, timeInput = (noise: tf.Tensor) => noise, sigmaData, sigmaMin } = options
  const optimizer: Optimizer = options.optimizer ?? adam({ learningRate: 1e-3 })
  const f = (params: Tree): ConsistencyFunction =>
    consistencyFunction((x, noise) => network.apply(params, {}, { x, time: timeInput(noise) }, { training: false }).y, {
      sigmaData,
      sigmaMin,
    })
  return {
    consistency: (tensors, { target = false } = {}) => f(target ? tensors.target : tensors.params),
    init(key, sample) {
      const { params } = network.init(key, { x: sample.x.shape.slice(1), time: [] })
      // Without an average the target is the network itself.
      const target = decay === undefined ? [] : tree.clone(params)
      return { tensors: { params, target, optimizer: optimizer.init(params), step: tf.scalar(0, 'int32') }, host: null }
    },
    step: (tensors, { x }, key) =>
      tree.tidy(() => {
        const { value, grads } = valueAndGrad((params: Tree) => loss(f, params, tensors, x, key))(tensors.params)
        const { updates, state } = optimizer.update(grads, tensors.optimizer, tensors.params)
        const params = applyUpdates(tensors.params, updates)
        const target = decay === undefined ? [] : emaUpdate(tensors.target, params, { decay })
        const step = tf.add(tensors.step, tf.scalar(1, 'int32')) as tf.Scalar
        return { tensors: { params, target, optimizer: state, step }, metrics: { loss: value } }
      }),
  }
}

/**
 * Consistency distillation: neighbouring levels σ_{n+1} > σ_n, one step of the teacher from x0 + σ_{n+1} z down to σ_n;
 * loss = mean d(f(x_{n+1}, σ_{n+1}), stopgrad f_target(x̂_n, σ_n)).
 *
 * @throws OptionError when the teacher's process isn't EDM's, for fewer than 2 levels or a decay outside of [0, 1)
 */
export function consistencyDistillation(options: ConsistencyDistillationOptions): ConsistencyLearner {
  const { teacher, levels = 18, solver = 'heun', targetDecay: decay = 0.95, sigmaMin = 0.002, sigmaMax = 80 } = options
  if (teacher.process.name !== 'edm') {
    throw new OptionError(`consistencyDistillation: the teacher must be over edmProcess(), got '${teacher.process.name}'`)
  }
  if (!(decay >= 0 && decay < 1)) throw new OptionError(`consistencyDistillation: targetDecay must be in [0, 1), got ${decay}`)
  const rising = karrasSigmas(levels, { sigmaMin, sigmaMax }).reverse()
  const distance = options.distance ?? ((a: tf.Tensor, b: tf.Tensor) => sumPerSample(tf.squaredDifference(a, b)))
  const data = asPrediction(teacher, 'x0')
  /** dx/dσ = (x − D)/σ. */
  const slope = (x: tf.Tensor, sigma: tf.Tensor): tf.Tensor => tf.div(tf.sub(x, data.predict(x, sigma)), perSample(sigma, x))
  return consistencyLearner(options, decay, (f, params, state, x, key) => {
    const n = randint(fold(key, 0), [x.shape[0]], { low: 0, high: levels - 1 })
    const chosen = tf.cast(tf.oneHot(n as tf.Tensor1D, levels - 1), 'float32') as tf.Tensor2D
    const take = (values: number[]): tf.Tensor =>
      tf.reshape(tf.matMul(chosen, tf.reshape(tf.tensor1d(values), [levels - 1, 1]) as tf.Tensor2D), [-1])
    const [low, high] = [take(rising.slice(0, -1)), take(rising.slice(1))]
    const noised = tf.add(x, tf.mul(normal(fold(key, 1), x.shape), perSample(high, x)))
    const h = perSample(tf.sub(low, high), x)
    const first = slope(noised, high)
    const euler = tf.add(noised, tf.mul(first, h))
    const lower = solver === 'euler' ? euler : tf.add(noised, tf.mul(tf.add(first, slope(euler, low)), tf.div(h, 2)))
    const target = stopGradient(f(state.target)(stopGradient(lower), low))
    return tf.mean(distance(f(params)(noised, high), target))
  })
}

/**
 * Consistency training without a teacher (improved recipe): x0 + σ_n z in place of the teacher's step, the network itself with
 * stopped gradient as the target, pseudo-Huber distance weighted by 1/(σ_{n+1} − σ_n), doubling levels, log-normal indices.
 *
 * @throws OptionError for a curriculum that makes no sense
 */
export function consistencyTraining(options: ConsistencyTrainingOptions): ConsistencyLearner {
  const { totalSteps, s0 = 10, s1 = 1280, huber, sigmaMin = 0.002, sigmaMax = 80 } = options
  checkCurriculum('consistencyTraining', s0, s1, totalSteps)
  const rho = 7
  const period = Math.max(1, Math.floor(totalSteps / (Math.log2(s1 / s0) + 1)))
  const [from, to] = [sigmaMin ** (1 / rho), sigmaMax ** (1 / rho)]
  return consistencyLearner(options, undefined, (f, params, state, x, key) => {
    const doublings = tf.floor(tf.div(tf.cast(state.step, 'float32'), period))
    const intervals = tf.minimum(tf.mul(tf.exp(tf.mul(doublings, Math.LN2)), s0), s1)
    /** σ_i = (from + i/(N − 1) (to − from))^ρ, rising. */
    const sigmaAt = (i: tf.Tensor): tf.Tensor => tf.pow(tf.add(tf.mul(tf.div(i, intervals), to - from), from), rho)
    // Inverse of the law's distribution function, in the continuous index; then rounded down to a level.
    const cdf = (sigma: tf.Tensor): tf.Tensor => tf.erf(tf.div(tf.add(tf.log(sigma), 1.1), Math.SQRT2 * 2))
    const grid = sigmaAt(tf.minimum(tf.range(0, s1 + 1), intervals))
    const table = cdf(grid)
    const [low, high] = [tf.slice(table, 0, 1), tf.slice(table, s1, 1)]
    const u = tf.add(tf.mul(uniform(fold(key, 0), [x.shape[0]]), tf.sub(high, low)), low)
    const isBelow = tf.lessEqual(tf.reshape(table, [1, -1]), tf.reshape(u, [-1, 1]))
    const n = tf.minimum(tf.sub(tf.sum(tf.cast(isBelow, 'float32'), 1), 1), tf.sub(intervals, 1))
    const [lower, upper] = [sigmaAt(n), sigmaAt(tf.add(n, 1))]
    const z = normal(fold(key, 1), x.shape)
    const at = (sigma: tf.Tensor): tf.Tensor => tf.add(x, tf.mul(z, perSample(sigma, x)))
    const target = stopGradient(f(params)(at(lower), lower))
    const distance = pseudoHuber(f(params)(at(upper), upper), target, huber)
    return tf.mean(tf.div(distance, tf.sub(upper, lower)))
  })
}
