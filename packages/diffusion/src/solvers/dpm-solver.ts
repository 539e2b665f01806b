/**
 * DPM-Solver: exponential integrators in λ = ln(α/σ). Lu et al. 2022, "DPM-Solver", arXiv 2206.00927 (noise prediction,
 * singlestep) and "DPM-Solver++", arXiv 2211.01095 (data prediction, multistep, SDE). Coefficients follow the official code; its
 * third-order multistep method measures order 2 because of its start.
 */
import { OptionError } from '@bpf/core'
import type { Process } from '../process'
import type { Solver, SolverStep, Stage } from '../sampling'
import { checkSteps, timeGrid, type TimeGrid } from '../time-grid'
import { checkSignal, pairs, pointAt, type Point } from './kit'
import { dpmSolverPerSample } from './per-sample'

/** Options of {@link dpmSolverMultistep}. */
export interface DpmSolverMultistepOptions {
  /** 1, 2 or 3. Default 2. */
  order?: 1 | 2 | 3
  /** Data prediction (`dpmsolver++`, default), noise prediction (`dpmsolver`), or the SDE with data prediction. */
  algorithm?: 'dpmsolver++' | 'dpmsolver' | 'sde-dpmsolver++'
  /** Order 1 at the last step, 2 at the last but one, for grids of fewer than 10 steps. Default true. */
  lowerOrderFinal?: boolean
}

/**
 * One evaluation a step, of order 2 by default; earlier predictions serve again. A step to σ = 0 has order 1 and gives x̂0.
 *
 * @throws OptionError for an order the algorithm has not, or more than there are steps
 */
export function dpmSolverMultistep(options: DpmSolverMultistepOptions = {}): Solver {
  const { order = 2, algorithm = 'dpmsolver++', lowerOrderFinal = true } = options
  if (![1, 2, 3].includes(order)) throw new OptionError(`dpmSolverMultistep: order must be 1, 2 or 3, got ${String(order)}`)
  if (!['dpmsolver++', 'dpmsolver', 'sde-dpmsolver++'].includes(algorithm)) {
    throw new OptionError(
      `dpmSolverMultistep: unknown algorithm '${String(algorithm)}'; expected dpmsolver++, dpmsolver or sde-dpmsolver++`,
    )
  }
  if (order === 3 && algorithm !== 'dpmsolver++') {
    throw new OptionError(`dpmSolverMultistep: order 3 exists for 'dpmsolver++' only, not for '${algorithm}'`)
  }
  const isNoise = algorithm === 'dpmsolver'
  return {
    name: `dpmSolverMultistep(${order}, ${algorithm})`,
    prediction: isNoise ? 'eps' : 'x0',
    ...(order < 3 && algorithm === 'dpmsolver++' ? { perSample: dpmSolverPerSample(order as 1 | 2) } : {}),
    plan(process, grid) {
      const steps = pairs(process, timeGrid(process, grid))
      const n = steps.length
      if (n < order) throw new OptionError(`dpmSolverMultistep: a method of order ${order} needs at least ${order} steps, got ${n}`)
      if (isNoise) checkSignal('dpmSolverMultistep', process, steps[0].from)
      return steps.map(({ from, to }, i): SolverStep => {
        const rising = Math.min(order, i + 1)
        const allowed = lowerOrderFinal && n < 10 ? Math.min(rising, n - i) : rising
        const h = to.lambda - from.lambda
        const current = to.sigma === 0 ? 1 : allowed
        const lengths = [1, 2].map((back) => (i < back ? NaN : steps[i - back + 1].from.lambda - steps[i - back].from.lambda))
        const combined = isNoise
          ? noiseStep(from, to, h, current, lengths[0] / h)
          : algorithm === 'dpmsolver++'
            ? dataStep(from, to, h, current, lengths[0] / h, lengths[1] / h)
            : sdeStep(from, to, h, current, lengths[0] / h)
        return { stages: [{ time: from.t, x: 1 }], to: to.t, ...combined }
      })
    },
  }
}

/** D = (1 + 1/(2r)) m − 1/(2r) m_prev, as weights. */
function extrapolation(order: number, r: number): [number, number] {
  return order === 1 ? [1, 0] : [1 + 1 / (2 * r), -1 / (2 * r)]
}

/** x_s = (σ_s/σ_t) x − α_s (e^{−h} − 1) D; with order 3 also differences of second order. */
function dataStep(from: Point, to: Point, h: number, order: number, r0: number, r1: number) {
  const x = to.sigma / from.sigma
  const phi1 = Math.expm1(-h)
  if (order < 3) {
    const [now, before] = extrapolation(order, r0)
    return { x, predictions: [-to.alpha * phi1 * now], history: [-to.alpha * phi1 * before, 0] }
  }
  const phi2 = phi1 / h + 1
  const phi3 = phi2 / h - 0.5
  // D1_0 = (m − p)/r0, D1_1 = (p − q)/r1, D2 = (D1_0 − D1_1)/(r0 + r1), D1 = D1_0 + r0 D2: weights of m, p, q.
  const first = [1 / r0, -1 / r0, 0]
  const second = [0, 1 / r1, -1 / r1]
  const d2 = first.map((value, k) => (value - second[k]) / (r0 + r1))
  const d1 = first.map((value, k) => value + r0 * d2[k])
  const weights = d1.map((value, k) => to.alpha * ((k === 0 ? -phi1 : 0) + phi2 * value - phi3 * d2[k]))
  return { x, predictions: [weights[0]], history: weights.slice(1) }
}

/** x_s = (α_s/α_t) x − σ_s (e^h − 1) (ε + (ε − ε_prev)/(2r)). */
function noiseStep(from: Point, to: Point, h: number, order: number, r: number) {
  const [now, before] = extrapolation(order, r)
  // σ_s (e^h − 1) = α_s (σ_t/α_t − σ_s/α_s): finite where h is not.
  const phi = to.alpha * (from.level - to.level)
  const exact = Number.isFinite(h) ? to.sigma * Math.expm1(h) : phi
  return { x: to.alpha / from.alpha, predictions: [-exact * now], history: [-exact * before] }
}

/** x_s = (σ_s/σ_t) e^{−h} x + α_s (1 − e^{−2h}) D + σ_s √(1 − e^{−2h}) z. */
function sdeStep(from: Point, to: Point, h: number, order: number, r: number) {
  const [now, before] = extrapolation(order, r)
  const share = -Math.expm1(-2 * h)
  const weight = to.alpha * share
  return {
    x: (to.sigma / from.sigma) * Math.exp(-h),
    predictions: [weight * now],
    history: [weight * before],
    noise: to.sigma * Math.sqrt(share),
  }
}

/** Options of {@link dpmSolverSinglestep}. */
export interface DpmSolverSinglestepOptions {
  /** 1, 2 or 3. Default 3. */
  order?: 1 | 2 | 3
  /** Only steps of full order, ⌊steps/order⌋ of them (`singlestep_fixed` of the official code). Default false. */
  fixed?: boolean
}

/**
 * DPM-Solver-1/2/3 with noise prediction. `steps` of the grid is the number of evaluations, all of which are used: the orders
 * of the steps add up to it.
 *
 * @throws OptionError for an order that does not exist or that is more than `steps`, for a spacing other than `logSnr`, `uniform`
 *   and `quadratic`, or explicit times, whose inner times are not known
 */
export function dpmSolverSinglestep({ order = 3, fixed = false }: DpmSolverSinglestepOptions = {}): Solver {
  if (![1, 2, 3].includes(order)) throw new OptionError(`dpmSolverSinglestep: order must be 1, 2 or 3, got ${String(order)}`)
  return {
    name: `dpmSolverSinglestep(${order})`,
    prediction: 'eps',
    plan(process, grid) {
      const { ends, inner, orders } = singlestepTimes(process, grid, order, fixed)
      checkSignal('dpmSolverSinglestep', process, ends[0])
      return orders.map((one, i): SolverStep => singleStep(process, ends[i], ends[i + 1], one, inner[i]))
    },
  }
}

/** Orders of the steps for so many evaluations. */
export function singlestepOrders(evaluations: number, order: 1 | 2 | 3, fixed = false): number[] {
  checkSteps('singlestepOrders', evaluations)
  if (evaluations < order) {
    throw new OptionError(`singlestepOrders: order ${order} needs at least ${order} steps (evaluations), got ${evaluations}`)
  }
  const times = (count: number, value: number): number[] => Array.from({ length: count }, () => value)
  if (fixed || order === 1) return times(Math.floor(evaluations / order), order)
  if (order === 2) return [...times(Math.floor(evaluations / 2), 2), ...times(evaluations % 2, 1)]
  const K = Math.floor(evaluations / 3) + 1
  const tails = [[2, 1], [1], [2]]
  const tail = tails[evaluations % 3]
  return [...times(K - tail.length, 3), ...tail]
}

/** The ends of the steps, and the fractions r1, r2 of h at which each looks in between. */
function singlestepTimes(process: Process, grid: TimeGrid, order: 1 | 2 | 3, fixed: boolean) {
  if ('times' in grid) {
    throw new OptionError('dpmSolverSinglestep: give steps and spacing in place of times: the steps choose their own inner times')
  }
  const spacing = grid.spacing ?? 'logSnr'
  if (!['logSnr', 'uniform', 'quadratic'].includes(spacing)) {
    throw new OptionError(`dpmSolverSinglestep: spacing must be logSnr, uniform or quadratic, got '${spacing}'`)
  }
  const orders = singlestepOrders(grid.steps, order, fixed)
  const used = orders.reduce((sum, one) => sum + one, 0)
  const isLogSnr = spacing === 'logSnr'
  const times = timeGrid(process, { ...grid, spacing, steps: isLogSnr ? orders.length : used, toZero: false })
  const points = times.map((t) => pointAt(process, t))
  const standard = [[], [1 / 2], [1 / 3, 2 / 3]]
  if (isLogSnr) return { ends: points, inner: orders.map((one) => standard[one - 1]), orders }
  const starts = orders.map((_, i) => orders.slice(0, i).reduce((sum, one) => sum + one, 0))
  const inner = orders.map((one, i) => {
    const begin = points[starts[i]].lambda
    const h = points[starts[i] + one].lambda - begin
    return Array.from({ length: one - 1 }, (_, k) => (points[starts[i] + k + 1].lambda - begin) / h)
  })
  return { ends: [...starts.map((k) => points[k]), points[used]], inner, orders }
}

function singleStep(process: Process, from: Point, to: Point, order: number, [r1, r2]: readonly number[]): SolverStep {
  const h = to.lambda - from.lambda
  const inside = (r: number): Point => pointAt(process, process.timeOfLogSnr(from.lambda + r * h))
  const first: Stage = { time: from.t, x: 1 }
  /** (α_p/α_t) x − σ_p (e^{rh} − 1) ε. */
  const basic = (point: Point, r: number) => ({ x: point.alpha / from.alpha, weight: -point.sigma * Math.expm1(r * h) })
  const end = basic(to, 1)
  if (order === 1) return { stages: [first], to: to.t, x: end.x, predictions: [end.weight] }
  const p1 = inside(r1)
  const one = basic(p1, r1)
  const second: Stage = { time: p1.t, x: one.x, predictions: [one.weight] }
  if (order === 2) {
    const slope = end.weight / (2 * r1)
    return { stages: [first, second], to: to.t, x: end.x, predictions: [end.weight - slope, slope] }
  }
  const p2 = inside(r2)
  const two = basic(p2, r2)
  const bend = -p2.sigma * (r2 / r1) * (Math.expm1(r2 * h) / (r2 * h) - 1)
  const third: Stage = { time: p2.t, x: two.x, predictions: [two.weight - bend, bend] }
  const last = -(to.sigma / r2) * (Math.expm1(h) / h - 1)
  return { stages: [first, second, third], to: to.t, x: end.x, predictions: [end.weight - last, 0, last] }
}
