/**
 * Adams-type solvers: the predicted noise of earlier steps is interpolated by a polynomial, whose integral is exact. LMS as in
 * k-diffusion (a polynomial in σ/α); DEIS-tAB (in t): Zhang and Chen 2023, arXiv 2204.13902; PNDM: Liu et al. 2022, arXiv
 * 2202.09778.
 */
import { OptionError } from '@bpf/core'
import { gaussLegendre } from '@bpf/core/numerics'
import type { Solver, SolverStep, Stage } from '../sampling'
import { timeGrid } from '../time-grid'
import { checkSignal, pairs, pointAt, type Point } from './kit'
import { pndmPerSample } from './per-sample'
import { adamsBashforth } from './pseudo'

function checkOrder(where: string, order: number): void {
  if (!(Number.isInteger(order) && order >= 1 && order <= 4)) throw new OptionError(`${where}: order must be 1, 2, 3 or 4, got ${order}`)
}

/** ∏_{k ≠ j} (at − nodes_k)/(nodes_j − nodes_k). */
function lagrange(nodes: readonly number[], j: number, at: number): number {
  return nodes.reduce((product, node, k) => (k === j ? product : (product * (at - node)) / (nodes[j] - node)), 1)
}

/** ∫ f from a to b. */
function integrate(f: (u: number) => number, a: number, b: number, points: number): number {
  const { nodes, weights } = gaussLegendre(points)
  const half = (b - a) / 2
  return nodes.reduce((sum, node, k) => sum + weights[k] * half * f(a + half * (1 + node)), 0)
}

/** A solver of dx̄ = ε dσ̄ (x̄ = x/α, σ̄ = σ/α) with the given integrals of Lagrange polynomials. */
function adams(name: string, order: number, weight: (earlier: readonly Point[], j: number, to: Point) => number): Solver {
  return {
    name,
    prediction: 'eps',
    plan(process, grid) {
      const steps = pairs(process, timeGrid(process, grid))
      checkSignal(name, process, steps[0].from)
      return steps.map(({ from, to }, i): SolverStep => {
        const earlier = steps.slice(Math.max(0, i - order + 1), i + 1).map((one) => one.from)
        earlier.reverse()
        const [now, ...before] = earlier.map((_, j) => to.alpha * weight(earlier, j, to))
        const history = Array.from({ length: order - 1 }, (_, k) => before[k] ?? 0)
        return { stages: [{ time: from.t, x: 1 }], to: to.t, x: to.alpha / from.alpha, predictions: [now], history }
      })
    },
  }
}

/** Linear multistep in σ/α, of order min(i + 1, order) at step i, order up to 4. @throws OptionError for another order */
export function lms({ order = 4 }: { order?: number } = {}): Solver {
  checkOrder('lms', order)
  return adams('lms', order, (earlier, j, to) => {
    const levels = earlier.map(({ level }) => level)
    // Exact: polynomials of degree 3 at most.
    return integrate((level) => lagrange(levels, j, level), levels[0], to.level, 4)
  })
}

/**
 * DEIS-tAB: the noise is a polynomial in t. It needs σ/α smooth in t, so a grid that ends above 0 or a process with σ/α ~ t.
 *
 * @throws OptionError for an order outside of 1 … 4
 */
export function deis({ order = 3 }: { order?: number } = {}): Solver {
  checkOrder('deis', order)
  const solver = (process: Parameters<Solver['plan']>[0]): Solver =>
    adams('deis', order, (earlier, j, to) => {
      const times = earlier.map(({ t }) => t)
      const slope = (t: number): number => {
        const { alpha, sigma, dalpha, dsigma } = process.coefficients(t)
        return (dsigma * alpha - sigma * dalpha) / alpha ** 2
      }
      return integrate((t) => lagrange(times, j, t) * slope(t), times[0], to.t, 40)
    })
  return { name: 'deis', prediction: 'eps', plan: (process, grid) => solver(process).plan(process, grid) }
}

/** Options of {@link pndm}. */
export interface PndmOptions {
  /** 4: F-PNDM, three Runge–Kutta steps first (steps + 9 evaluations). 2: S-PNDM (steps + 1). Default 4. */
  order?: 2 | 4
}

/**
 * Pseudo numerical methods: classical multistep weights, with DDIM's step as the transfer. The middle of a step is the mean of
 * its times.
 *
 * @throws OptionError for another order, or fewer steps than the start takes
 */
export function pndm({ order = 4 }: PndmOptions = {}): Solver {
  if (order !== 2 && order !== 4) throw new OptionError(`pndm: order must be 2 or 4, got ${String(order)}`)
  return {
    name: `pndm(${order})`,
    prediction: 'eps',
    perSample: pndmPerSample(order),
    plan(process, grid) {
      const steps = pairs(process, timeGrid(process, grid))
      if (steps.length < order) throw new OptionError(`pndm: order ${order} needs at least ${order} steps, got ${steps.length}`)
      checkSignal('pndm', process, steps[0].from)
      return steps.map(({ from, to }, i): SolverStep => {
        const transfer = (point: Point) => ({ x: point.alpha / from.alpha, weight: point.alpha * (point.level - from.level) })
        const end = transfer(to)
        const first: Stage = { time: from.t, x: 1 }
        const final = (weights: readonly number[]): Pick<SolverStep, 'to' | 'x' | 'predictions'> => ({
          to: to.t,
          x: end.x,
          predictions: weights.map((value) => value * end.weight),
        })
        if (i >= order - 1) {
          const [now, ...before] = adamsBashforth[order].map((value) => value * end.weight)
          return { stages: [first], to: to.t, x: end.x, predictions: [now], history: before }
        }
        const last = (weights: number[]): Stage => ({ time: to.t, x: end.x, predictions: weights.map((value) => value * end.weight) })
        if (order === 2) return { stages: [first, last([1])], ...final([1 / 2, 1 / 2]) }
        const middle = pointAt(process, (from.t + to.t) / 2)
        const half = transfer(middle)
        const stages: Stage[] = [
          first,
          { time: middle.t, x: half.x, predictions: [half.weight] },
          { time: middle.t, x: half.x, predictions: [0, half.weight] },
          last([0, 0, 1]),
        ]
        return { stages, ...final([1 / 6, 1 / 3, 1 / 3, 1 / 6]) }
      })
    },
  }
}
