/**
 * Noise schedules of NoProp as plain numbers. Time runs from noise (t = 0) to label (t = T), the reverse of the usual
 * indexing of diffusion models: ᾱ_t, the share of the label's signal in z_t, grows with t.
 */
import { OptionError } from '@bpf/core'

/** Options of {@link noPropCosineSchedule}. */
export interface CosineScheduleOptions {
  /** Number of steps T ≥ 1: ᾱ has T + 1 values. */
  steps: number
  /** Offset s ≥ 0 of the cosine. Default 0.008. */
  offset?: number
  /** Bounds of ᾱ, strictly within (0, 1). Default 1e-3 and 0.99; at 1 the signal-to-noise ratio would be infinite. */
  alphaBarMin?: number
  alphaBarMax?: number
}

/** What a step of the chain needs to know: arrays of T for the steps t = 1..T, of T + 1 for the times t = 0..T. */
export interface DiffusionCoefficients {
  /** ᾱ_0..ᾱ_T */
  alphaBar: Float64Array
  /** a_t = √ᾱ_t (1 − α_{t−1}) / (1 − ᾱ_{t−1}), with α_{t−1} = ᾱ_{t−1} / ᾱ_t */
  a: Float64Array
  /** b_t = √α_{t−1} (1 − ᾱ_t) / (1 − ᾱ_{t−1}) */
  b: Float64Array
  /** c_t = (1 − ᾱ_t)(1 − α_{t−1}) / (1 − ᾱ_{t−1}) */
  c: Float64Array
  /** SNR(t) = ᾱ_t / (1 − ᾱ_t) */
  snr: Float64Array
  /** SNR(t) − SNR(t−1) */
  snrIncrease: Float64Array
}

/** @throws OptionError unless alphaBar has at least two values that increase strictly within (0, 1) */
export function checkAlphaBar(where: string, alphaBar: ArrayLike<number>): void {
  if (alphaBar.length < 2) throw new OptionError(`${where}: alphaBar needs at least two values, got ${alphaBar.length}`)
  for (let t = 0; t < alphaBar.length; t++) {
    if (alphaBar[t] > (t === 0 ? 0 : alphaBar[t - 1]) && alphaBar[t] < 1) continue
    const before = t === 0 ? '' : ` after ${alphaBar[t - 1]}`
    throw new OptionError(`${where}: alphaBar must increase strictly within (0, 1), got ${alphaBar[t]}${before} at t = ${t}`)
  }
}

/**
 * The cosine schedule, ᾱ_t = cos²(((1 − t/T) + s)/(1 + s)·π/2) / cos²(s/(1 + s)·π/2), clamped to [alphaBarMin, alphaBarMax].
 *
 * @returns ᾱ_0..ᾱ_T
 * @throws OptionError for an option out of range, or when the clamp makes neighbours equal
 */
export function noPropCosineSchedule({
  steps,
  offset = 0.008,
  alphaBarMin = 1e-3,
  alphaBarMax = 0.99,
}: CosineScheduleOptions): Float64Array {
  if (!Number.isInteger(steps) || steps < 1)
    throw new OptionError(`noPropCosineSchedule: steps must be an integer of at least 1, got ${steps}`)
  if (!(offset >= 0)) throw new OptionError(`noPropCosineSchedule: offset must be at least 0, got ${offset}`)
  const squaredCosine = (time: number) => Math.cos((((time + offset) / (1 + offset)) * Math.PI) / 2) ** 2
  const alphaBar = Float64Array.from({ length: steps + 1 }, (_, t) =>
    Math.min(Math.max(squaredCosine(1 - t / steps) / squaredCosine(0), alphaBarMin), alphaBarMax),
  )
  checkAlphaBar('noPropCosineSchedule', alphaBar)
  return alphaBar
}

/**
 * Coefficients of the chain z_t = a_t û_t + b_t z_{t−1} + √c_t ε, from any increasing ᾱ. They satisfy a_t²/c_t = SNR(t) − SNR(t−1).
 *
 * @param alphaBar - ᾱ_0..ᾱ_T
 * @throws OptionError unless alphaBar increases strictly within (0, 1)
 */
export function noPropCoefficients(alphaBar: ArrayLike<number>): DiffusionCoefficients {
  checkAlphaBar('noPropCoefficients', alphaBar)
  const steps = alphaBar.length - 1
  const snr = Float64Array.from(alphaBar, (value) => value / (1 - value))
  const each = (value: (now: number, before: number, t: number) => number) =>
    Float64Array.from({ length: steps }, (_, i) => value(alphaBar[i + 1], alphaBar[i], i + 1))
  return {
    alphaBar: Float64Array.from(alphaBar),
    a: each((now, before) => (Math.sqrt(now) * (1 - before / now)) / (1 - before)),
    b: each((now, before) => (Math.sqrt(before / now) * (1 - now)) / (1 - before)),
    c: each((now, before) => ((1 - now) * (1 - before / now)) / (1 - before)),
    snr,
    snrIncrease: each((_, __, t) => snr[t] - snr[t - 1]),
  }
}
