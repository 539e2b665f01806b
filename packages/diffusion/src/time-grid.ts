/**
 * Times at which a sampler stops: from noise to data, in the process's units. Karras et al. 2022, arXiv 2206.00364 (σ^(1/ρ));
 * Lu et al. 2022, arXiv 2206.00927 (uniform in λ); Lin et al. 2024, arXiv 2305.08891 (trailing).
 */
import { OptionError } from '@bpf/core'
import { logSnr, type Process } from './process'

/**
 * `uniform`: equal steps of t; `quadratic`: of √t; `logSnr`: of λ = ln(α/σ); `karras`: of (σ/α)^(1/ρ); `exponential`: of
 * ln(σ/α), as `logSnr`, but ending at 0 unless told otherwise. For discrete processes also the three ways of choosing indices:
 * `leading`, `trailing`, `linspace`.
 */
export type Spacing = 'uniform' | 'quadratic' | 'logSnr' | 'karras' | 'exponential' | 'leading' | 'trailing' | 'linspace'

/** Options of {@link timeGrid}. */
export interface TimeGridOptions {
  /** Number of steps, at least 1. */
  steps: number
  /** Default `logSnr` where λ is finite at both ends, else `uniform`; `karras` for EDM and VE. */
  spacing?: Spacing
  /** First time. Default tMax of the process. */
  start?: number
  /** Last time (before a final 0). Default tMin of the process. */
  end?: number
  /** ρ of `karras`. Default 7. */
  rho?: number
  /** Whether 0 follows `end`, as the last of the `steps` steps. Default true for `karras`, `exponential` and the indices. */
  toZero?: boolean
}

/** A grid to be made, or the times themselves, n + 1 for n steps, decreasing. */
export type TimeGrid = TimeGridOptions | { times: readonly number[] }

/** @throws OptionError unless `steps` is a positive integer */
export function checkSteps(where: string, steps: number): void {
  if (!(Number.isSafeInteger(steps) && steps >= 1)) throw new OptionError(`${where}: steps must be a positive integer, got ${steps}`)
}

/**
 * Noise levels σ_i = (σmax^(1/ρ) + i/(n−1) (σmin^(1/ρ) − σmax^(1/ρ)))^ρ, falling.
 *
 * @param count - n ≥ 2
 * @throws OptionError for fewer than 2 levels, or unless 0 < sigmaMin < sigmaMax and ρ > 0
 */
export function karrasSigmas(count: number, { sigmaMin = 0.002, sigmaMax = 80, rho = 7 } = {}): number[] {
  if (!(Number.isSafeInteger(count) && count >= 2)) throw new OptionError(`karrasSigmas: expected at least 2 levels, got ${count}`)
  if (!(sigmaMin > 0 && sigmaMin < sigmaMax && sigmaMax < Infinity)) {
    throw new OptionError(`karrasSigmas: expected 0 < sigmaMin < sigmaMax, got ${sigmaMin} and ${sigmaMax}`)
  }
  if (!(rho > 0)) throw new OptionError(`karrasSigmas: rho must be positive, got ${rho}`)
  const [from, to] = [sigmaMax ** (1 / rho), sigmaMin ** (1 / rho)]
  return Array.from({ length: count }, (_, i) => (from + (i / (count - 1)) * (to - from)) ** rho)
}

function checkTimes(process: Process, times: readonly number[]): number[] {
  if (times.length < 2) throw new OptionError(`timeGrid: expected at least 2 times, got ${times.length}`)
  times.forEach((t, i) => {
    if (!(t >= 0 && t <= process.tMax * (1 + 1e-9))) {
      throw new OptionError(`timeGrid: times of '${process.name}' lie in [0, ${process.tMax}], got ${t} at position ${i}`)
    }
    if (i > 0 && !(t < times[i - 1])) {
      throw new OptionError(`timeGrid: times must decrease strictly from noise to data, got ${times[i - 1]} then ${t} at position ${i}`)
    }
  })
  return [...times]
}

function indices(process: Process, spacing: 'leading' | 'trailing' | 'linspace', steps: number): number[] {
  const N = process.steps
  if (N === undefined)
    throw new OptionError(`timeGrid: spacing '${spacing}' chooses indices and needs a discrete process, got '${process.name}'`)
  if (steps > N) throw new OptionError(`timeGrid: ${steps} steps do not fit the ${N} indices of the process`)
  const stride = Math.floor(N / steps)
  const of = {
    leading: (i: number) => (steps - 1 - i) * stride,
    trailing: (i: number) => Math.round(N - (i * N) / steps) - 1,
    linspace: (i: number) => (steps === 1 ? N - 1 : Math.round(((steps - 1 - i) * (N - 1)) / (steps - 1))),
  }
  return Array.from({ length: steps }, (_, i) => (of[spacing](i) + 1) / N)
}

/** The spacing that fits a process. */
function defaultSpacing(process: Process, start: number, end: number): Spacing {
  if (process.coefficients(start).alpha === 1) return 'karras'
  return Number.isFinite(logSnr(process, start)) && Number.isFinite(logSnr(process, end)) ? 'logSnr' : 'uniform'
}

/**
 * Times from noise to data.
 *
 * @returns n + 1 numbers for n steps, strictly decreasing
 * @throws OptionError for times that do not decrease or lie outside of [0, tMax], steps below 1, an unknown spacing, or a spacing
 *   in λ where λ is infinite
 */
export function timeGrid(process: Process, grid: TimeGrid): number[] {
  if ('times' in grid) return checkTimes(process, grid.times)
  const { steps, start = process.tMax, end = process.tMin, rho = 7 } = grid
  checkSteps('timeGrid', steps)
  const spacing = grid.spacing ?? defaultSpacing(process, start, end)
  if (spacing === 'leading' || spacing === 'trailing' || spacing === 'linspace') {
    const chosen = indices(process, spacing, steps)
    return checkTimes(process, (grid.toZero ?? true) ? [...chosen, 0] : chosen)
  }
  const toZero = grid.toZero ?? (spacing === 'karras' || spacing === 'exponential')
  const count = toZero ? steps : steps + 1
  const times = [...spaced(process, spacing, { count, start, end, rho }), ...(toZero ? [0] : [])]
  return checkTimes(process, times)
}

/** `count` times from start to end (the start alone for one). */
function spaced(
  process: Process,
  spacing: Exclude<Spacing, 'leading' | 'trailing' | 'linspace'>,
  { count, start, end, rho }: { count: number; start: number; end: number; rho: number },
): number[] {
  /** Equal steps of a coordinate of time; the ends are kept exact. */
  const equal = (to: (t: number) => number, from: (u: number) => number): number[] => {
    const [first, last] = [to(start), to(end)]
    if (!(Number.isFinite(first) && Number.isFinite(last))) {
      throw new OptionError(
        `timeGrid: spacing '${spacing}' needs finite signal-to-noise ratios at ${start} and ${end} of '${process.name}'; use 'uniform', or other ends`,
      )
    }
    return Array.from({ length: count }, (_, i) => {
      if (i === 0) return start
      return i === count - 1 ? end : from(first + ((last - first) * i) / (count - 1))
    })
  }
  const noise = (t: number): number => Math.exp(-logSnr(process, t))
  const timeOfNoise = (sigma: number): number => process.timeOfLogSnr(-Math.log(sigma))
  switch (spacing) {
    case 'uniform':
      return equal(
        (t) => t,
        (t) => t,
      )
    case 'quadratic':
      return equal(Math.sqrt, (root) => root * root)
    case 'logSnr':
    case 'exponential':
      return equal((t) => logSnr(process, t), process.timeOfLogSnr)
    case 'karras':
      return equal(
        (t) => noise(t) ** (1 / rho),
        (u) => timeOfNoise(u ** rho),
      )
    default:
      throw new OptionError(`timeGrid: unknown spacing '${String(spacing)}'`)
  }
}
