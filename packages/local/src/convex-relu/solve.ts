import { yieldToEventLoop, type Key } from '@bpf/core'
import type { MatrixInput } from '@bpf/core/data'
import type { Matrix } from '@bpf/core/linalg'
import * as tf from '@tensorflow/tfjs-core'
import type { ConvexReluSolver, ConvexReluState } from './admm'
import type { InputPerturbation } from './checks'
import type { CompiledConvexReluAdmm } from './compiled-admm'
import type { ConvexReluSolution } from './model'
import type { ReluNetwork } from './network'
import type { ConvexReluProblemOptions, Problem } from './problem'
import { robustConvexAdmm, type RobustProgramState } from './robust-admm'
import { penalizedRobustProgram, type PenalizedProgramState } from './robust-penalized'
import { sampledConvexProgram, type SampledProgramState } from './sampled'
import { turnEvery } from './turns'

/**
 * `admm`: Algorithm 1, and its split for other losses and for adversarial training. `admm-rbcd`: Algorithm 2. `scp`: the
 * sampled convex program, Algorithm 3. `penalized-adam`: first-order, cones as a penalty.
 */
export type ConvexReluMethod = 'admm' | 'admm-rbcd' | 'scp' | 'penalized-adam'

export const convexReluMethods: readonly ConvexReluMethod[] = ['admm', 'admm-rbcd', 'scp', 'penalized-adam']

/** Options of {@link fitConvexRelu}. */
export interface FitConvexReluOptions extends ConvexReluProblemOptions {
  /** Default `admm`. */
  method?: ConvexReluMethod
  /**
   * P_s, the number of activation patterns to sample (all are taken where there are no more), `all` of them, or the patterns
   * D [P, n] themselves. Default 120. For adversarial training the sample holds patterns of perturbed data too.
   */
  patterns?: number | 'all' | MatrixInput
  /** N, hidden weights of `scp`. Default 10 n, at most 1000. */
  samples?: number
  /** Convex adversarial training: each row may be moved within a ball. */
  adversarial?: InputPerturbation & {
    /** S: patterns for each draw, the clean one included. Default 6. */
    copies?: number
  }
  /** Penalty ρ > 0 of ADMM. Default 0.4; σ_max(X)² β is a guide to its scale. */
  rho?: number
  /** Dual step γ_a > 0 of ADMM. Default ρ. */
  gamma?: number
  /** Iterations at most. Default 500 (ADMM), 5000 (`scp`), 4000 (`penalized-adam`, which makes them all). */
  maxIterations?: number
  /** ADMM ends when both residuals, `scp` when its step is at most this times the size of the iterate (at least 1). Default 1e-6. */
  tolerance?: number
  /** `admm-rbcd`: sweeps over the blocks in one u-step at most. Default 10. */
  sweeps?: number
  /** `penalized-adam`: weight μ of violated cones. Default 10. */
  penalty?: number
  /** `penalized-adam`: first step size. Default 0.02. */
  learningRate?: number
  /** Root of all randomness. Default the key of seed 0. */
  key?: Key
  signal?: AbortSignal
}

/** What the solver of one output gives. */
export type Solved = { network: ReluNetwork; solution: Omit<ConvexReluSolution, 'networkObjective'> }

/** How one iteration went. */
interface Progress {
  objective: number
  /** Undefined where the method has no copies to compare. */
  primal?: number
  dual: number
  /** The size of the iterate. */
  size: number
}

/** How long to iterate. */
export interface Limits {
  maxIterations: number
  tolerance: number
  /** Multiply-adds of one iteration. */
  work: number
  signal: AbortSignal | undefined
}

/** Iterates until the tolerance is met, letting the event loop turn. */
async function iterate<State>(
  start: State,
  step: (state: State, iteration: number) => State,
  progress: (state: State, before: State) => Progress,
  { maxIterations, tolerance, work, signal }: Limits,
) {
  const turn = turnEvery(work)
  const [objective, primal, dual]: [number[], number[], number[]] = [[], [], []]
  let state = start
  let converged = false
  let iterations = 0
  while (iterations < maxIterations && !converged) {
    signal?.throwIfAborted()
    if (iterations % turn === turn - 1) {
      await yieldToEventLoop()
      signal?.throwIfAborted()
    }
    const next = step(state, iterations)
    const now = progress(next, state)
    state = next
    iterations++
    objective.push(now.objective)
    dual.push(now.dual)
    if (now.primal !== undefined) primal.push(now.primal)
    const enough = tolerance * Math.max(1, now.size)
    converged = now.dual <= enough && (now.primal ?? 0) <= enough
  }
  const history = {
    objective: Float64Array.from(objective),
    primalResidual: Float64Array.from(primal),
    dualResidual: Float64Array.from(dual),
  }
  return { state, iterations, converged, history }
}

function squaredGap(a: Float64Array, b: Float64Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2
  return sum
}

const length = (...parts: readonly Float64Array[]): number => Math.sqrt(parts.reduce((sum, part) => sum + squaredSum(part), 0))

function squaredSum(a: Float64Array): number {
  let sum = 0
  for (const value of a) sum += value * value
  return sum
}

/** ‖(new − old) of each pair‖ */
const gap = (...pairs: readonly (readonly [Float64Array, Float64Array])[]): number =>
  Math.sqrt(pairs.reduce((sum, [a, b]) => sum + squaredGap(a, b), 0))

const none = new Float64Array(0)

/** By ADMM on arrays. */
export async function solveAdmm(
  solver: ConvexReluSolver,
  scale: number,
  { rho = 0.4, gamma = rho }: FitConvexReluOptions,
  limits: Limits,
): Promise<Solved> {
  const progress = (now: ConvexReluState, before: ConvexReluState): Progress => ({
    objective: scale * solver.objective(now),
    // The multipliers move by γ/ρ times the distance of the copies.
    primal: (gap([now.lambda, before.lambda], [now.nu, before.nu], [now.mu ?? none, before.mu ?? none]) * rho) / gamma,
    dual: rho * gap([now.v, before.v], [now.s, before.s], [now.z ?? none, before.z ?? none]),
    size: length(now.v, now.s),
  })
  const { state, ...rest } = await iterate(solver.init(), solver.step, progress, limits)
  const [programObjective, lowerBound] = [scale * solver.objective(state), scale * solver.lowerBound(state)]
  return { network: solver.network(state), solution: { ...rest, programObjective, lowerBound, coneViolation: undefined } }
}

/** By ADMM's compiled iteration; `solver` is its counterpart on arrays. */
export async function solveCompiled(
  compiled: CompiledConvexReluAdmm,
  solver: ConvexReluSolver,
  scale: number,
  rho: number,
  limits: Limits,
): Promise<Solved> {
  let current = compiled.init()
  try {
    const step = (): Progress => {
      const { state, progress } = compiled.step(current)
      current = state
      return { ...progress, objective: scale * progress.objective, dual: rho * progress.dual }
    }
    const { state: _, ...rest } = await iterate<Progress>({ objective: 0, dual: 0, size: 0 }, step, (now) => now, limits)
    const state = compiled.read(current)
    const [programObjective, lowerBound] = [scale * solver.objective(state), scale * solver.lowerBound(state)]
    return { network: solver.network(state), solution: { ...rest, programObjective, lowerBound, coneViolation: undefined } }
  } finally {
    tf.dispose(current)
    compiled.dispose()
  }
}

/** By the sampled convex program. */
export async function solveSampled(
  problem: Problem,
  target: Float64Array,
  options: FitConvexReluOptions,
  U: Matrix,
  limits: Limits,
): Promise<Solved> {
  const { x, loss, beta, scale } = problem
  const program = sampledConvexProgram(x, target, U, { loss, beta, rho: options.rho })
  const progress = (now: SampledProgramState): Progress => ({
    objective: scale * program.objective(now.alpha),
    dual: now.change,
    size: length(now.alpha),
  })
  const { state, ...rest } = await iterate(program.init(), program.step, progress, limits)
  const programObjective = scale * program.objective(state.alpha)
  return { network: program.network(state.alpha), solution: { ...rest, programObjective, lowerBound: undefined, coneViolation: undefined } }
}

/** The robust program, or with ε = 0 the ordinary one, by ADMM or penalised Adam. */
export async function solveRobust(
  problem: Problem,
  target: Float64Array,
  patterns: Matrix,
  options: FitConvexReluOptions,
  limits: Limits,
): Promise<Solved> {
  const { x, loss, beta, scale, features } = problem
  const { method, rho = 0.4, penalty, learningRate, adversarial = { epsilon: 0 } } = options
  const { epsilon, norm } = adversarial
  const program = { loss, beta, perturbation: { epsilon, norm, columns: features } }
  if (method === 'penalized-adam') {
    const solver = penalizedRobustProgram(x, target, patterns, { ...program, penalty, learningRate, steps: limits.maxIterations })
    const progress = (now: PenalizedProgramState, before: PenalizedProgramState): Progress => ({
      objective: scale * solver.objective(now),
      dual: gap([now.u, before.u]),
      size: length(now.u),
    })
    // The rate falls to 0, so a short step says nothing: all steps are made.
    const { state, ...rest } = await iterate(solver.init(), solver.step, progress, { ...limits, tolerance: -1 })
    return {
      network: solver.network(state),
      solution: {
        ...rest,
        programObjective: scale * solver.objective(state),
        lowerBound: undefined,
        coneViolation: solver.violation(state),
      },
    }
  }
  const solver = robustConvexAdmm(x, target, patterns, { ...program, rho })
  const progress = (now: RobustProgramState, before: RobustProgramState): Progress => ({
    objective: scale * solver.objective(now),
    primal: gap([now.lambda, before.lambda], [now.tau, before.tau], [now.nu, before.nu], [now.mu, before.mu]),
    dual: rho * gap([now.v, before.v], [now.t, before.t], [now.s, before.s], [now.Z, before.Z]),
    size: length(now.v, now.s),
  })
  const { state, ...rest } = await iterate(solver.init(), solver.step, progress, limits)
  return {
    network: solver.network(state),
    solution: { ...rest, programObjective: scale * solver.objective(state), lowerBound: undefined, coneViolation: solver.violation(state) },
  }
}
