/**
 * Solvers that go from x_t to x_s through x̂0 and ε̂: x_s = α_s x̂0 + √(σ_s² − ς²) ε̂ + ς z. Song, Meng and Ermon 2021, "Denoising
 * diffusion implicit models", arXiv 2010.02502; Ho et al. 2020, arXiv 2006.11239 (η = 1); k-diffusion's ancestral Euler is the
 * same written in σ/α.
 */
import { OptionError } from '@bpf/core'
import type { Solver } from '../sampling'
import { timeGrid } from '../time-grid'
import { checkEta, pairs, type Point } from './kit'
import { ddimPerSample } from './per-sample'

/** Variance of x_t given x_s and of x_s given x_t and x0: σ²_{t|s} = σ_t² − (α_t/α_s)² σ_s², times σ_s²/σ_t². */
export function posteriorVariance(from: Point, to: Point): { forward: number; backward: number } {
  // 1 − ratio, with ratio = (α_t σ_s / (α_s σ_t))² = e^{2(λ_t − λ_s)}, keeps its digits between close times.
  const share = to.sigma === 0 ? 1 : -Math.expm1(2 * (from.lambda - to.lambda))
  return { forward: from.sigma ** 2 * share, backward: to.sigma ** 2 * share }
}

/** The step with noise ς, as a combination of x and x̂0. */
function throughData(from: Point, to: Point, noise: number): { x: number; predictions: number[]; noise: number } {
  const ratio = Math.sqrt(Math.max(0, to.sigma ** 2 - noise ** 2)) / from.sigma
  return { x: ratio, predictions: [to.alpha - ratio * from.alpha], noise }
}

/** Options of {@link ddim} and {@link eulerAncestral}. */
export interface DdimOptions {
  /** η: 0 is deterministic (and DPM-Solver-1), 1 the ancestral sampler of DDPM. */
  eta?: number
}

/** DDIM, of order 1, for any process: ς = η σ_s/σ_t √(σ_t² − (α_t/α_s)² σ_s²). @throws OptionError unless η ≥ 0 */
export function ddim({ eta = 0 }: DdimOptions = {}): Solver {
  checkEta('ddim', 'eta', eta)
  return {
    name: 'ddim',
    prediction: 'x0',
    perSample: ddimPerSample(eta),
    plan: (process, grid) =>
      pairs(process, timeGrid(process, grid)).map(({ from, to }) => {
        const noise = eta === 0 ? 0 : Math.min(to.sigma, eta * Math.sqrt(posteriorVariance(from, to).backward))
        return { stages: [{ time: from.t, x: 1 }], to: to.t, ...throughData(from, to, noise) }
      }),
  }
}

/** Ancestral Euler: an Euler step of the ODE in σ/α down to σ_down, then noise σ_up. It is DDIM with η = 1 by default. */
export function eulerAncestral({ eta = 1 }: DdimOptions = {}): Solver {
  return { ...ddim({ eta }), name: 'eulerAncestral' }
}

/** Options of {@link ddpm}. */
export interface DdpmOptions {
  /** `small`: the posterior's β̃; `large`: β. Default small. */
  variance?: 'small' | 'large'
}

/**
 * Ancestral sampling: x_s = c₁ x̂0 + c₂ x_t + √var z, without noise at the last step.
 *
 * @throws OptionError for an unknown variance
 */
export function ddpm({ variance = 'small' }: DdpmOptions = {}): Solver {
  if (variance !== 'small' && variance !== 'large') {
    throw new OptionError(`ddpm: variance must be 'small' or 'large', got '${String(variance)}'`)
  }
  return {
    name: 'ddpm',
    prediction: 'x0',
    ...(variance === 'small' ? { perSample: ddimPerSample(1) } : {}),
    plan(process, grid) {
      const steps = pairs(process, timeGrid(process, grid))
      return steps.map(({ from, to }, i) => {
        const { forward, backward } = posteriorVariance(from, to)
        const mean = throughData(from, to, Math.sqrt(backward))
        const noise = i === steps.length - 1 ? 0 : Math.sqrt(variance === 'large' ? forward : backward)
        return { stages: [{ time: from.t, x: 1 }], to: to.t, ...mean, noise }
      })
    },
  }
}
