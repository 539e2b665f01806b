/**
 * Forward processes: x_t = α_t x0 + σ_t ε, t = 0 data and t = tMax noise. Equivalent to the SDE dx = f x dt + g dw with
 * f = α'/α and g² = (σ²)' − 2 f σ² (Lai et al. 2025, "The Principles of Diffusion Models", arXiv 2510.21890; Song et al. 2021,
 * "Score-based generative modeling through SDEs", arXiv 2011.13456; Karras et al. 2022, arXiv 2206.00364).
 */
import { OptionError } from '@bpf/core'
import { takeRows } from '@bpf/core/ops'
import * as tf from '@tensorflow/tfjs-core'
import { numbers, tensors, type Maths } from './shared/maths'

/** α_t, σ_t and their derivatives by t, as numbers or per sample. */
export interface Coefficients<T = number> {
  alpha: T
  sigma: T
  dalpha: T
  dsigma: T
}

/** A Gaussian corruption of data with its schedule. All randomness is elsewhere. */
export interface Process {
  readonly name: string
  /** Where sampling stops unless told otherwise: just above 0 where the model is ill-conditioned there. */
  readonly tMin: number
  /** The noisiest time. */
  readonly tMax: number
  /** Number of times of a discrete schedule; index i is t = (i + 1) / steps. */
  readonly steps?: number
  /** In double precision. @throws OptionError unless 0 ≤ t */
  coefficients(t: number): Coefficients
  /** Per sample, traceable. `t` [n] float32; each result [n]. */
  coefficientTensors(t: tf.Tensor): Coefficients<tf.Tensor>
  /** The time of a half log signal-to-noise ratio λ = ln(α/σ). */
  timeOfLogSnr(lambda: number): number
  /** Standard deviation of the noise that sampling starts from at time t. */
  priorStddev(t: number): number
}

function checkTime(name: string, t: number): void {
  if (!(t >= 0 && t < Infinity)) throw new OptionError(`${name}: the time t must be at least 0 and finite, got ${t}`)
}

function checkRange(where: string, low: [string, number], high: [string, number]): void {
  if (!(low[1] > 0 && low[1] < high[1] && high[1] < Infinity)) {
    throw new OptionError(`${where}: expected 0 < ${low[0]} < ${high[0]}, both finite, got ${low[1]} and ${high[1]}`)
  }
}

type Formula = <T>(maths: Maths<T>, t: T) => Coefficients<T>

function fromFormula(
  name: string,
  formula: Formula,
  rest: Pick<Process, 'tMin' | 'tMax' | 'timeOfLogSnr'> & Partial<Pick<Process, 'priorStddev'>>,
): Process {
  return {
    name,
    coefficients(t) {
      checkTime(name, t)
      return formula(numbers, t)
    },
    coefficientTensors: (t) => formula(tensors, t),
    priorStddev: () => 1,
    ...rest,
  }
}

/** The time in [0, tMax] where λ, which falls with t, has the given value. */
function bisectLogSnr(coefficients: (t: number) => Coefficients, tMax: number, lambda: number): number {
  let [low, high] = [0, tMax]
  for (let i = 0; i < 100; i++) {
    const middle = (low + high) / 2
    if (middle === low || middle === high) break
    const { alpha, sigma } = coefficients(middle)
    if (Math.log(alpha / sigma) > lambda) low = middle
    else high = middle
  }
  return (low + high) / 2
}

/** Options of {@link vpProcess} and {@link subVpProcess}: β(t) = betaMin + t (betaMax − betaMin). */
export interface VpOptions {
  /** β₀. Default 0.1. */
  betaMin?: number
  /** β₁. Default 20. */
  betaMax?: number
}

/** ln α = −t²(β₁ − β₀)/4 − tβ₀/2 and its derivative −β(t)/2. */
function logAlphaOf<T>(m: Maths<T>, t: T, betaMin: number, betaMax: number): { logAlpha: T; slope: T } {
  const width = betaMax - betaMin
  return {
    logAlpha: m.mul(t, m.add(m.mul(t, -width / 4), -betaMin / 2)),
    slope: m.add(m.mul(t, -width / 2), -betaMin / 2),
  }
}

/**
 * Variance preserving: α = exp(−t²(β₁ − β₀)/4 − tβ₀/2), σ = √(1 − α²), t in [0, 1].
 *
 * @throws OptionError unless 0 < betaMin < betaMax
 */
export function vpProcess({ betaMin = 0.1, betaMax = 20 }: VpOptions = {}): Process {
  checkRange('vpProcess', ['betaMin', betaMin], ['betaMax', betaMax])
  const formula: Formula = (m, t) => {
    const { logAlpha, slope } = logAlphaOf(m, t, betaMin, betaMax)
    const alpha = m.exp(logAlpha)
    const sigma = m.sqrt(m.mul(m.expm1(m.mul(logAlpha, 2)), -1))
    const dalpha = m.mul(alpha, slope)
    // σ² = 1 − α²
    return { alpha, sigma, dalpha, dsigma: m.mul(m.div(m.mul(alpha, dalpha), sigma), -1) }
  }
  return fromFormula('vp', formula, {
    tMin: 1e-3,
    tMax: 1,
    timeOfLogSnr(lambda) {
      const width = betaMax - betaMin
      const doubled = 2 * width * Math.log1p(Math.exp(-2 * lambda))
      return doubled / ((Math.sqrt(betaMin ** 2 + doubled) + betaMin) * width)
    },
  })
}

/** Sub-variance preserving: α of {@link vpProcess}, σ = 1 − α². @throws OptionError unless 0 < betaMin < betaMax */
export function subVpProcess({ betaMin = 0.1, betaMax = 20 }: VpOptions = {}): Process {
  checkRange('subVpProcess', ['betaMin', betaMin], ['betaMax', betaMax])
  const formula: Formula = (m, t) => {
    const { logAlpha, slope } = logAlphaOf(m, t, betaMin, betaMax)
    const alpha = m.exp(logAlpha)
    const dalpha = m.mul(alpha, slope)
    return { alpha, sigma: m.mul(m.expm1(m.mul(logAlpha, 2)), -1), dalpha, dsigma: m.mul(m.mul(alpha, dalpha), -2) }
  }
  const coefficients = (t: number): Coefficients => formula(numbers, t)
  return fromFormula('sub-vp', formula, { tMin: 1e-3, tMax: 1, timeOfLogSnr: (lambda) => bisectLogSnr(coefficients, 1, lambda) })
}

/** Options of {@link veProcess}: σ from sigmaMin to sigmaMax. */
export interface VeOptions {
  /** Default 0.01. */
  sigmaMin?: number
  /** Default 50. */
  sigmaMax?: number
}

/** Variance exploding: α = 1, σ = σmin (σmax/σmin)^t, t in [0, 1]. @throws OptionError unless 0 < sigmaMin < sigmaMax */
export function veProcess({ sigmaMin = 0.01, sigmaMax = 50 }: VeOptions = {}): Process {
  checkRange('veProcess', ['sigmaMin', sigmaMin], ['sigmaMax', sigmaMax])
  const rate = Math.log(sigmaMax / sigmaMin)
  const formula: Formula = (m, t) => {
    const sigma = m.mul(m.exp(m.mul(t, rate)), sigmaMin)
    const zero = m.mul(t, 0)
    return { alpha: m.add(zero, 1), sigma, dalpha: zero, dsigma: m.mul(sigma, rate) }
  }
  return fromFormula('ve', formula, {
    tMin: 0,
    tMax: 1,
    timeOfLogSnr: (lambda) => (-lambda - Math.log(sigmaMin)) / rate,
    priorStddev: (t) => sigmaMin * Math.exp(rate * t),
  })
}

/** The process of EDM: α = 1, σ = t, t in [sigmaMin, sigmaMax] (0.002 and 80 by default). @throws OptionError for a bad range */
export function edmProcess({ sigmaMin = 0.002, sigmaMax = 80 }: VeOptions = {}): Process {
  checkRange('edmProcess', ['sigmaMin', sigmaMin], ['sigmaMax', sigmaMax])
  const formula: Formula = (m, t) => {
    const zero = m.mul(t, 0)
    const one = m.add(zero, 1)
    return { alpha: one, sigma: m.mul(t, 1), dalpha: zero, dsigma: one }
  }
  return fromFormula('edm', formula, {
    tMin: sigmaMin,
    tMax: sigmaMax,
    timeOfLogSnr: (lambda) => Math.exp(-lambda),
    priorStddev: (t) => t,
  })
}

/** The straight path of flow matching and rectified flow: α = 1 − t, σ = t, t in [0, 1]. */
export function linearProcess(): Process {
  const formula: Formula = (m, t) => {
    const zero = m.mul(t, 0)
    return { alpha: m.sub(1, t), sigma: m.mul(t, 1), dalpha: m.add(zero, -1), dsigma: m.add(zero, 1) }
  }
  return fromFormula('linear', formula, { tMin: 0, tMax: 1, timeOfLogSnr: (lambda) => 1 / (1 + Math.exp(lambda)) })
}

/** The trigonometric path: α = cos(πt/2), σ = sin(πt/2), t in [0, 1]. */
export function trigonometricProcess(): Process {
  const quarter = Math.PI / 2
  const formula: Formula = (m, t) => {
    const angle = m.mul(t, quarter)
    const [alpha, sigma] = [m.cos(angle), m.sin(angle)]
    return { alpha, sigma, dalpha: m.mul(sigma, -quarter), dsigma: m.mul(alpha, quarter) }
  }
  return fromFormula('trigonometric', formula, {
    tMin: 0,
    tMax: 1,
    timeOfLogSnr: (lambda) => Math.atan(Math.exp(-lambda)) / quarter,
  })
}

/** How β grows over the steps of DDPM. */
export type BetaSchedule = 'linear' | 'scaledLinear' | 'quadratic' | 'cosine'

/** Options of {@link betaSchedule}. */
export interface BetaOptions {
  /** Default 1000. */
  steps?: number
  /** Default 1e-4; 0.00085 for `scaledLinear`. Unused by `cosine`. */
  betaStart?: number
  /** Default 0.02; 0.012 for `scaledLinear`. */
  betaEnd?: number
}

/**
 * β_0 … β_{N−1}: `linear`; `scaledLinear` and `quadratic` are linear in √β (latent diffusion's and DDPM's end points); `cosine`
 * is β_i = min(1 − c((i+1)/N)/c(i/N), 0.999) with c(u) = cos²((u + 0.008)/1.008 · π/2).
 *
 * @throws OptionError unless steps ≥ 1 and 0 < betaStart ≤ betaEnd ≤ 1
 * @see Ho et al. 2020, arXiv 2006.11239; Nichol and Dhariwal 2021, arXiv 2102.09672
 */
export function betaSchedule(kind: BetaSchedule, options: BetaOptions = {}): Float64Array {
  const { steps = 1000, betaStart = kind === 'scaledLinear' ? 0.00085 : 1e-4, betaEnd = kind === 'scaledLinear' ? 0.012 : 0.02 } = options
  if (!(Number.isSafeInteger(steps) && steps >= 1)) throw new OptionError(`betaSchedule: steps must be a positive integer, got ${steps}`)
  if (!(betaStart > 0 && betaStart <= betaEnd && betaEnd <= 1)) {
    throw new OptionError(`betaSchedule: expected 0 < betaStart ≤ betaEnd ≤ 1, got ${betaStart} and ${betaEnd}`)
  }
  const between = (low: number, high: number, i: number): number => (steps === 1 ? low : low + ((high - low) * i) / (steps - 1))
  const cosine = (u: number): number => Math.cos((((u + 0.008) / 1.008) * Math.PI) / 2) ** 2
  const of: Record<BetaSchedule, (i: number) => number> = {
    linear: (i) => between(betaStart, betaEnd, i),
    scaledLinear: (i) => between(Math.sqrt(betaStart), Math.sqrt(betaEnd), i) ** 2,
    quadratic: (i) => between(Math.sqrt(betaStart), Math.sqrt(betaEnd), i) ** 2,
    cosine: (i) => Math.min(1 - cosine((i + 1) / steps) / cosine(i / steps), 0.999),
  }
  if (!Object.hasOwn(of, kind)) {
    throw new OptionError(`betaSchedule: unknown kind '${String(kind)}'; expected ${Object.keys(of).join(', ')}`)
  }
  return Float64Array.from({ length: steps }, (_, i) => of[kind](i))
}

/** Products ᾱ_i = ∏_{j ≤ i} (1 − β_j), summed as logarithms. @throws OptionError unless every β is in (0, 1] */
export function alphaBarOf(betas: ArrayLike<number>): Float64Array {
  let sum = 0
  return Float64Array.from(betas, (beta, i) => {
    if (!(beta > 0 && beta <= 1)) throw new OptionError(`alphaBarOf: beta must be in (0, 1], got ${beta} at index ${i}`)
    sum += Math.log1p(-beta)
    return Math.exp(sum)
  })
}

/** A discrete process, with its tables. */
export interface DiscreteProcess extends Process {
  readonly steps: number
  /** ᾱ_0 … ᾱ_{N−1}. */
  readonly alphaBar: Float64Array
  /** (i + 1) / N; index −1 is clean data, t = 0. Not only for integers. */
  timeOfIndex(index: number): number
  /** The inverse of `timeOfIndex`, on tensors: what networks trained on indices take. */
  indexOfTime(t: tf.Tensor): tf.Tensor
}

/**
 * DDPM's process: α_i = √ᾱ_i, σ_i = √(1 − ᾱ_i) at t = (i + 1)/N; between, ln α is linear, and t = 0 is clean data.
 *
 * @param alphaBar - [N], strictly decreasing in (0, 1); see {@link alphaBarOf} and {@link betaSchedule}
 * @throws OptionError when it is not
 */
export function discreteProcess(alphaBar: ArrayLike<number> = alphaBarOf(betaSchedule('linear'))): DiscreteProcess {
  const table = Float64Array.from(alphaBar)
  const N = table.length
  if (N === 0) throw new OptionError('discreteProcess: alphaBar is empty; expected one value for each step')
  table.forEach((value, i) => {
    if (!(value > 0 && value < (i === 0 ? 1 : table[i - 1]))) {
      throw new OptionError(`discreteProcess: alphaBar must decrease strictly in (0, 1), got ${value} at index ${i}`)
    }
  })
  // Node k is index k − 1: node 0 is clean data.
  const logAlpha = Float64Array.from({ length: N + 1 }, (_, k) => (k === 0 ? 0 : Math.log(table[k - 1]) / 2))
  const complete = <T>(m: Maths<T>, log: T, slope: T): Coefficients<T> => {
    const alpha = m.exp(log)
    // 0 − 0 is 0, where −1·0 were −0 and ln(α/σ) at clean data NaN.
    const sigma = m.sqrt(m.sub(0, m.expm1(m.mul(log, 2))))
    const dalpha = m.mul(alpha, slope)
    return { alpha, sigma, dalpha, dsigma: m.mul(m.div(m.mul(alpha, dalpha), sigma), -1) }
  }
  return {
    name: 'discrete',
    steps: N,
    alphaBar: table,
    tMin: 1 / N,
    tMax: 1,
    timeOfIndex: (index) => (index + 1) / N,
    indexOfTime: (t) => tf.sub(tf.mul(t, N), 1),
    coefficients(t) {
      checkTime('discrete', t)
      const position = Math.min(t * N, N)
      // (i + 1)/N·N may miss the node by a rounding.
      const nearest = Math.round(position)
      const low = Math.abs(position - nearest) < 1e-9 ? Math.min(nearest, N - 1) : Math.floor(position)
      const slope = logAlpha[low + 1] - logAlpha[low]
      return complete(numbers, logAlpha[low] + slope * (Math.abs(position - nearest) < 1e-9 ? nearest - low : position - low), slope * N)
    },
    coefficientTensors(t) {
      const position = tf.clipByValue(tf.mul(t, N), 0, N)
      const low = tf.clipByValue(tf.floor(position), 0, N - 1)
      const index = tf.cast(low, 'int32')
      const slopes = logAlpha.slice(1).map((value, k) => value - logAlpha[k])
      const take = (values: Float64Array): tf.Tensor =>
        tf.reshape(takeRows(tf.reshape(tf.tensor1d(Array.from(values)), [values.length, 1]), index as tf.Tensor1D), [-1])
      const slope = take(slopes)
      return complete(tensors, tf.add(take(logAlpha), tf.mul(slope, tf.sub(position, low))), tf.mul(slope, N))
    },
    timeOfLogSnr(lambda) {
      const target = -Math.log1p(Math.exp(-2 * lambda)) / 2
      if (target <= logAlpha[N]) return 1
      let [low, high] = [0, N]
      while (high - low > 1) {
        const middle = (low + high) >> 1
        if (logAlpha[middle] > target) low = middle
        else high = middle
      }
      return (low + (logAlpha[low] - target) / (logAlpha[low] - logAlpha[high])) / N
    },
    priorStddev: () => 1,
  }
}

/** λ = ln(α/σ): half the log signal-to-noise ratio. */
export function logSnr(process: Process, t: number): number {
  const { alpha, sigma } = process.coefficients(t)
  return Math.log(alpha / sigma)
}

/** The SDE of a process at a time: dx = f x dt + g dw. @returns f and g² */
export function driftAndDiffusion(process: Process, t: number): { f: number; g2: number } {
  const { alpha, sigma, dalpha, dsigma } = process.coefficients(t)
  if (alpha === 0) throw new OptionError(`driftAndDiffusion: alpha is 0 at t = ${t}, where the drift α'/α is infinite; use t below it`)
  const f = dalpha / alpha
  return { f, g2: 2 * sigma * dsigma - 2 * f * sigma * sigma }
}

/**
 * Noised data x_t = α_t x0 + σ_t ε.
 *
 * @param x0 - [n, ...dims]
 * @param epsilon - as x0
 * @param t - [n]
 */
export function addNoise(process: Process, x0: tf.Tensor, epsilon: tf.Tensor, t: tf.Tensor): tf.Tensor {
  const { alpha, sigma } = process.coefficientTensors(t)
  const shape = [t.size, ...x0.shape.slice(1).map(() => 1)]
  return tf.add(tf.mul(x0, tf.reshape(alpha, shape)), tf.mul(epsilon, tf.reshape(sigma, shape)))
}
