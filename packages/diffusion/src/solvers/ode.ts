/**
 * Classical solvers of the probability-flow ODE dx/dt = u and of the reverse SDE dx = [f x − ½(1+η²) g² s] dt + η g dw, in t.
 * Song et al. 2021, arXiv 2011.13456; Lai et al. 2025, arXiv 2510.21890.
 */
import { OptionError } from '@bpf/core'
import { driftAndDiffusion } from '../process'
import type { Solver, SolverStep } from '../sampling'
import { timeGrid } from '../time-grid'
import { checkEta } from './kit'

/** A Runge–Kutta method: `rows` of earlier stages' weights (the node is their sum), and the final weights. */
function rungeKutta(name: string, rows: readonly (readonly number[])[], weights: readonly number[]): Solver {
  return {
    name,
    prediction: 'velocity',
    plan(process, grid) {
      const times = timeGrid(process, grid)
      return times.slice(1).map((to, i): SolverStep => {
        const h = to - times[i]
        const stages = rows.map((row) => {
          const node = row.reduce((sum, value) => sum + value, 0)
          return { time: node === 1 ? to : times[i] + node * h, x: 1, predictions: row.map((value) => value * h) }
        })
        return { stages, to, x: 1, predictions: weights.map((value) => value * h) }
      })
    },
  }
}

/** Euler's method on dx/dt = u, of order 1: x ← x + u Δt. */
export function euler(): Solver {
  return rungeKutta('euler', [[]], [1])
}

/** The explicit midpoint rule on dx/dt = u, of order 2: two evaluations a step. */
export function midpoint(): Solver {
  return rungeKutta('midpoint', [[], [1 / 2]], [0, 1])
}

/** The classical Runge–Kutta method on dx/dt = u, of order 4: four evaluations a step. */
export function rungeKutta4(): Solver {
  return rungeKutta('rungeKutta4', [[], [1 / 2], [0, 1 / 2], [0, 0, 1]], [1 / 6, 1 / 3, 1 / 3, 1 / 6])
}

/** Options of {@link eulerMaruyama}. */
export interface EulerMaruyamaOptions {
  /** 0 is the probability-flow ODE, 1 (default) the reverse SDE. */
  eta?: number
}

/**
 * Euler–Maruyama on the family of reverse SDEs, without noise at the last step.
 *
 * @throws OptionError unless η ≥ 0, or when the grid ends at 0, where the score of data may not exist
 */
export function eulerMaruyama({ eta = 1 }: EulerMaruyamaOptions = {}): Solver {
  checkEta('eulerMaruyama', 'eta', eta)
  return {
    name: 'eulerMaruyama',
    prediction: 'score',
    plan(process, grid) {
      const times = timeGrid(process, grid)
      return times.slice(1).map((to, i): SolverStep => {
        const h = to - times[i]
        const { f, g2 } = driftAndDiffusion(process, times[i])
        if (!(g2 >= 0)) throw new OptionError(`eulerMaruyama: '${process.name}' has no diffusion at t = ${times[i]}`)
        const noise = i === times.length - 2 ? 0 : eta * Math.sqrt(g2 * -h)
        return { stages: [{ time: times[i], x: 1 }], to, x: 1 + f * h, predictions: [-0.5 * (1 + eta * eta) * g2 * h], noise }
      })
    },
  }
}
