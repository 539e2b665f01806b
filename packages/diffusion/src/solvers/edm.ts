/**
 * Heun's method in the noise level σ/α, where the ODE is dx̄/dσ̄ = ε: Karras et al. 2022, "Elucidating the design space of
 * diffusion-based generative models", arXiv 2206.00364, Algorithm 2.
 */
import type { Solver, SolverStep, Stage } from '../sampling'
import { timeGrid } from '../time-grid'
import { checkEta, checkSignal, pairs, pointAt } from './kit'

/** Options of {@link heun}; without churn the solver is deterministic. */
export interface HeunOptions {
  /** S_churn ≥ 0. Default 0. */
  churn?: number
  /** Noise is added for σ/α in [churnMin, churnMax]. Default 0 and ∞. */
  churnMin?: number
  churnMax?: number
  /** S_noise. Default 1; the paper has 1.003. */
  noiseScale?: number
}

/**
 * Heun's method, of order 2, with 2 evaluations a step and 1 for a last step to σ = 0.
 *
 * @throws OptionError for negative options, or a grid that starts without signal
 */
export function heun({ churn = 0, churnMin = 0, churnMax = Infinity, noiseScale = 1 }: HeunOptions = {}): Solver {
  checkEta('heun', 'churn', churn)
  checkEta('heun', 'noiseScale', noiseScale)
  return {
    name: 'heun',
    prediction: 'eps',
    plan(process, grid) {
      const steps = pairs(process, timeGrid(process, grid))
      checkSignal('heun', process, steps[0].from)
      return steps.map(({ from, to }): SolverStep => {
        const isChurned = churn > 0 && from.level >= churnMin && from.level <= churnMax
        const gamma = isChurned ? Math.min(churn / steps.length, Math.SQRT2 - 1) : 0
        const level = from.level * (1 + gamma)
        // Noise in the scaled state x̄ = x/α.
        const noise = noiseScale * Math.sqrt(level ** 2 - from.level ** 2)
        const start = gamma === 0 ? from : pointAt(process, process.timeOfLogSnr(-Math.log(level)))
        const h = to.level - level
        const base = { x: to.alpha / from.alpha, noise: to.alpha * noise }
        const first: Stage = { time: start.t, x: start.alpha / from.alpha, noise: start.alpha * noise }
        if (to.sigma === 0) return { stages: [first], to: to.t, ...base, predictions: [to.alpha * h] }
        const second: Stage = { time: to.t, ...base, predictions: [to.alpha * h] }
        return { stages: [first, second], to: to.t, ...base, predictions: [(to.alpha * h) / 2, (to.alpha * h) / 2] }
      })
    },
  }
}
