/**
 * Y. Bai, T. Gautam, S. Sojoudi, "Efficient Global Optimization of Two-layer ReLU Networks: Quadratic-time Algorithms and
 * Adversarial Training", SIAM J. Mathematics of Data Science 5 (2023), arXiv 2201.01965. Training f(x) = Σ_j α_j relu(u_jᵀx)
 * with weight decay equals a convex program with one pair of groups (v_i, w_i) for each activation pattern D_i of the data
 * (Pilanci and Ergen 2020):
 *
 *   min ℓ(Σ_i D_i X (v_i − w_i), y) + β Σ_i (‖v_i‖ + ‖w_i‖)  subject to  (2D_i − I) X v_i ≥ 0, (2D_i − I) X w_i ≥ 0.
 *
 * The paper solves it by ADMM, over all patterns or a random sample, restricts it to a lasso over sampled hidden weights, and
 * makes its adversarial version convex too. Its code (Bai-YT/Convex-NN-Training) hands the programs to an interior-point solver;
 * here the adversarial one is split so that ADMM solves it exactly. Everything is in double precision: in float32 ADMM stalls near 1e-4.
 */
import { OptionError, random, yieldToEventLoop, type Key } from '@bpf/core'
import type { MatrixInput, VectorInput } from '@bpf/core/data'
import { matrix, type Matrix } from '@bpf/core/linalg'
import { admmOnSystem, uStepWeight } from './admm'
import { checkChoice, checkCount, checkPatterns, checkPerturbation, checkPositive } from './checks'
import { compiledConvexReluAdmm } from './compiled-admm'
import { convexReluModel, type ConvexReluNetwork, type ConvexReluSolution } from './model'
import { reluNetworkObjective, type ReluNetwork } from './network'
import { activationPatternBound, activationPatterns, sampleActivationPatterns } from './patterns'
import { readProblem, type ConvexReluProblemOptions, type Problem } from './problem'
import { patternProducts } from './products'
import { convexReluRbcd } from './rbcd'
import { sampleHiddenWeights } from './sampled'
import {
  convexReluMethods,
  solveAdmm,
  solveCompiled,
  solveRobust,
  solveSampled,
  type ConvexReluMethod,
  type FitConvexReluOptions,
  type Limits,
  type Solved,
} from './solve'
import { woodburyParts, woodburyUStep } from './woodbury'

/** A network fitted by {@link fitConvexRelu}. */
export interface ConvexReluFit extends ConvexReluNetwork {
  method: ConvexReluMethod
  /** D [P, n]; undefined for `scp`. */
  patterns: Matrix | undefined
  /** Whether all activation patterns were in the program: then it has the optimum of networks of any width. */
  exact: boolean
  /** ℓ + (β/2) Σ (‖u_j‖² + α_j²) of the networks on the clean training data, summed over outputs. */
  objective: number
  /** The programs' objective, summed over outputs; for adversarial training a bound of the worst case, as far as `coneViolation` is 0. */
  programObjective: number
  /** Sum of the outputs' lower bounds; undefined where the method has none. */
  lowerBound: number | undefined
  /** One for each output. */
  solutions: readonly ConvexReluSolution[]
}

function choosePatterns(problem: Problem, options: FitConvexReluOptions, key: Key, caller: string): { D: Matrix; exact: boolean } {
  const { x, features } = problem
  const { patterns = 120, adversarial } = options
  if (patterns === 'all') {
    if (adversarial !== undefined) {
      throw new OptionError(
        `${caller}: patterns 'all' are those of clean data only; for adversarial training give a number or the patterns`,
      )
    }
    return { D: activationPatterns(x), exact: true }
  }
  if (typeof patterns === 'number') {
    checkCount(patterns, 'patterns', caller)
    if (adversarial === undefined) {
      // Sampling would miss thin cells where all are asked for.
      if (activationPatternBound(x.rows, x.cols) <= patterns) return { D: activationPatterns(x), exact: true }
      return { D: sampleActivationPatterns(x, { count: patterns, key }), exact: false }
    }
    const perturbation = { ...adversarial, columns: features }
    return { D: sampleActivationPatterns(x, { count: patterns, key, perturbation }), exact: false }
  }
  const D = matrix(patterns)
  checkPatterns(x, D, caller)
  return { D, exact: false }
}

/** Multiply-adds of one product, and iterations, from which compiling an iteration pays. */
const compiledWork = 65536
const compiledIterations = 100

const iterationsOf: Readonly<Record<ConvexReluMethod, number>> = { admm: 500, 'admm-rbcd': 500, scp: 5000, 'penalized-adam': 4000 }

/**
 * Fits a two-layer ReLU network through its convex program: with all activation patterns the global optimum of
 * ℓ(Σ_j α_j relu(X u_j), y) + (β/2) Σ_j (‖u_j‖² + α_j²), with a sample of them an approximation that no bad local minimum can spoil.
 *
 * Standardise X. The solver yields to the event loop and heeds the signal. The same key gives the same network.
 *
 * @param X - inputs [n, d]
 * @param y - targets [n] (squared loss), labels −1 and 1 (any loss), or any labels with task `multiclass`
 * @param options - loss, β, method, patterns, adversarial ball
 * @returns the model: predict, predictProba, score, attack, toNetwork; objectives, bounds and histories
 * @throws ShapeError when X and y, or the patterns, do not fit; DataError for an empty X, NaN, labels other than ±1 for
 *   logistic and hinge, patterns other than 0 and 1
 * @throws OptionError for β, ρ not positive, ε < 0, more than 2000 patterns asked for by `all`, and methods that do not
 *   go with the loss (`admm-rbcd` with hinge) or with adversarial training (`admm-rbcd`, `scp`)
 * @see Bai, Gautam, Sojoudi 2023, arXiv 2201.01965
 *
 * @example
 * ```ts
 * import { fitConvexRelu } from '@bpf/local'
 *
 * const model = await fitConvexRelu([[0], [1], [2], [3]], [0, 1, 0, 1], { beta: 1e-3, patterns: 'all', maxIterations: 2000 })
 * console.log(model.objective, model.lowerBound, model.predict([[1.5]]), model.toNetwork().units)
 * ```
 */
export async function fitConvexRelu(X: MatrixInput, y: VectorInput, options: FitConvexReluOptions = {}): Promise<ConvexReluFit> {
  const caller = 'fitConvexRelu'
  const { method = 'admm', adversarial, key = random.key(0), signal, tolerance = 1e-6, rho = 0.4, gamma = rho } = options
  checkChoice(method, convexReluMethods, 'method', caller)
  const { maxIterations = iterationsOf[method] } = options
  checkCount(maxIterations, 'maxIterations', caller)
  checkPositive(tolerance, 'tolerance', caller)
  checkPositive(rho, 'rho', caller)
  checkPositive(gamma, 'gamma', caller)
  if (adversarial !== undefined) {
    checkPerturbation(adversarial, caller)
    if (method === 'admm-rbcd' || method === 'scp') {
      throw new OptionError(`${caller}: adversarial training needs method 'admm' or 'penalized-adam', got '${method}'`)
    }
  }
  const defaults: ConvexReluProblemOptions = adversarial === undefined ? {} : { loss: 'hinge', reduction: 'mean' }
  const problem = readProblem(X, y, { ...defaults, ...defined(options) }, caller)
  signal?.throwIfAborted()
  const { x, targets, loss, beta, scale } = problem
  const [patternKey, solverKey] = random.split(key)
  const limit = (work: number): Limits => ({ maxIterations, tolerance, work, signal })

  if (method === 'scp') {
    const { samples = Math.min(10 * x.rows, 1000) } = options
    const U = sampleHiddenWeights(samples, x.cols, patternKey)
    const limits = limit(3 * x.rows * samples)
    return finish(problem, method, undefined, false, targets, (target) => solveSampled(problem, target, options, U, limits))
  }
  const { D, exact } = choosePatterns(problem, options, patternKey, caller)
  await yieldToEventLoop()
  const limits = limit(8 * x.rows * x.cols * D.rows * (method === 'admm-rbcd' ? 4 * (options.sweeps ?? 10) : 1))
  if (adversarial !== undefined || method === 'penalized-adam') {
    return finish(problem, method, D, exact, targets, (target) => solveRobust(problem, target, D, { ...options, method }, limits))
  }
  const program = { loss, beta, rho, gamma }
  if (method === 'admm-rbcd') {
    return finish(problem, method, D, exact, targets, (target, k) => {
      const solver = convexReluRbcd(x, target, D, { ...program, sweeps: options.sweeps, key: random.fold(solverKey, k) })
      return solveAdmm(solver, scale, options, limits)
    })
  }
  const products = patternProducts(x, D)
  const parts = woodburyParts(products, uStepWeight(program))
  const system = woodburyUStep(products, parts)
  const compiles = loss === 'squared' && maxIterations >= compiledIterations && x.rows * x.cols * D.rows >= compiledWork
  return finish(problem, method, D, exact, targets, (target) => {
    const solver = admmOnSystem(products, system, target, program)
    const compiled = compiles ? compiledConvexReluAdmm(x, target, D, program, parts) : undefined
    return compiled === undefined ? solveAdmm(solver, scale, options, limits) : solveCompiled(compiled, solver, scale, rho, limits)
  })
}

/** Options that are there, so that an undefined one leaves the default. */
function defined(options: ConvexReluProblemOptions): ConvexReluProblemOptions {
  const { loss, task, beta, reduction, fitIntercept } = options
  return Object.fromEntries(Object.entries({ loss, task, beta, reduction, fitIntercept }).filter(([, value]) => value !== undefined))
}

/** Solves one output after the other and makes the model. */
async function finish(
  problem: Problem,
  method: ConvexReluMethod,
  patterns: Matrix | undefined,
  exact: boolean,
  targets: readonly Float64Array[],
  solve: (target: Float64Array, k: number) => Promise<Solved>,
): Promise<ConvexReluFit> {
  const { x, loss, beta, scale, parts } = problem
  const networks: ReluNetwork[] = []
  const solutions: ConvexReluSolution[] = []
  for (const [k, target] of targets.entries()) {
    const { network, solution } = await solve(target, k)
    networks.push(network)
    solutions.push({ ...solution, networkObjective: scale * reluNetworkObjective(network, x, target, { beta, loss }) })
  }
  const total = (value: (solution: ConvexReluSolution) => number): number => solutions.reduce((sum, solution) => sum + value(solution), 0)
  const bounded = solutions.every(({ lowerBound }) => lowerBound !== undefined)
  return {
    ...convexReluModel({ ...parts, networks }),
    method,
    patterns,
    exact,
    objective: total(({ networkObjective }) => networkObjective),
    programObjective: total(({ programObjective }) => programObjective),
    lowerBound: bounded ? total(({ lowerBound }) => lowerBound ?? 0) : undefined,
    solutions,
  }
}
