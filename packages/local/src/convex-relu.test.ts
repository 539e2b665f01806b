import { random, useBackend } from '@bpf/core'
import { solve, toRows, type Matrix } from '@bpf/core/linalg'
import * as tf from '@tensorflow/tfjs-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  activationPatternBound,
  activationPatterns,
  attackReluNetwork,
  compiledConvexReluAdmm,
  convexReluAdmm,
  convexReluRbcd,
  fitBackpropRelu,
  fitConvexRelu,
  patternSampleBound,
  penalizedRobustProgram,
  recoverReluNetwork,
  reluNetworkObjective,
  reluNetworkOutputs,
  robustConvexAdmm,
  robustLosses,
  sampleActivationPatterns,
  sampledConvexProgram,
  sampleHiddenWeights,
  type ConvexReluLoss,
  type ConvexReluSolver,
  type ConvexReluState,
} from './convex-relu'

const losses: readonly ConvexReluLoss[] = ['squared', 'logistic', 'hinge']
const normals = (seed: number, n: number): Float64Array => Float64Array.from(random.normalArray(random.key(seed), n))
const gaussian = (seed: number, rows: number, cols: number): Matrix => ({ rows, cols, data: normals(seed, rows * cols) })
const withOnes = (m: Matrix): Matrix => {
  const rows = toRows(m).map((row) => [...row, 1])
  return { rows: m.rows, cols: m.cols + 1, data: Float64Array.from(rows.flat()) }
}
const firstRows = (m: Matrix, rows: number): Matrix => ({ ...m, rows, data: m.data.slice(0, rows * m.cols) })
const signs = (values: Float64Array): Float64Array => values.map((value) => (value >= 0 ? 1 : -1))
const largestGap = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((gap, value, i) => Math.max(gap, Math.abs(value - b[i])), a.length === b.length ? 0 : Infinity)

function run(solver: ConvexReluSolver, iterations: number): ConvexReluState {
  let state = solver.init()
  for (let k = 0; k < iterations; k++) state = solver.step(state, k)
  return state
}

const x = gaussian(1, 9, 3)
const y = normals(2, 9)
const labels = signs(y)
const patterns = sampleActivationPatterns(x, { count: 8, key: random.key(3) })
const targetsOf = (loss: ConvexReluLoss): Float64Array => (loss === 'squared' ? y : labels)

beforeAll(async () => {
  await useBackend('cpu')
})

describe('oracles of the card', () => {
  it.each([
    [5, 2, 10],
    [6, 3, 32],
    [5, 3, 22],
    [12, 3, 134],
  ])('1: n = %i points in general position in R^%i have %i patterns', (n, d, count) => {
    const points = gaussian(n + d, n, d)
    const all = activationPatterns(points)
    expect(activationPatternBound(n, d)).toBe(count)
    expect(all.rows).toBe(count)
    const known = new Set(toRows(all).map((row) => row.join('')))
    expect(known.size).toBe(count)
    // Every random pattern is one of them.
    const some = sampleActivationPatterns(points, { draws: 300, key: random.key(4) })
    for (const row of toRows(some)) expect(known.has(row.join(''))).toBe(true)
  })

  it('1: points in special position have fewer patterns, all of them found', () => {
    // Doubled, opposite and zero rows, and three points on a line through the origin's plane.
    const rows = [[1, 0, 0], [2, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 0], [1, 1, 0], [0, 0, 1], [1, 2, 3]] // prettier-ignore
    const points: Matrix = { rows: 8, cols: 3, data: Float64Array.from(rows.flat()) }
    const known = new Set(toRows(activationPatterns(points)).map((row) => row.join('')))
    const drawn = new Set(toRows(sampleActivationPatterns(points, { draws: 10_000, key: random.key(5) })).map((row) => row.join('')))
    expect(known).toEqual(drawn)
    // Rank 2 in R^3.
    const flat: Matrix = { rows: 5, cols: 3, data: Float64Array.from(toRows(gaussian(6, 5, 2)).flatMap(([a, b]) => [a, b, a + b])) }
    expect(activationPatterns(flat).rows).toBe(10)
  })

  it('2: no network of 100 trained ones is below pStar, and the recovered network attains it', async () => {
    const points = withOnes(gaussian(7, 6, 2))
    const target = normals(8, 6)
    const solver = convexReluAdmm(points, target, activationPatterns(points), { beta: 0.05, rho: 0.2 })
    const state = run(solver, 4000)
    const pStar = solver.objective(state)
    expect(Math.abs(reluNetworkObjective(solver.network(state), points, target, { beta: 0.05 }) - pStar)).toBeLessThan(1e-6)
    expect(Math.abs(solver.lowerBound(state) - pStar)).toBeLessThan(1e-6)
    const trained: number[] = []
    for (let seed = 0; seed < 100; seed++) {
      const options = { beta: 0.05, units: 16, steps: 150, learningRate: 0.05, fitIntercept: false, key: random.key(seed) }
      trained.push((await fitBackpropRelu(points, target, options)).objective)
    }
    expect(Math.min(...trained)).toBeGreaterThanOrEqual(pStar - 1e-9)
    // The runs are real ones: the best comes near.
    expect(Math.min(...trained)).toBeLessThan(1.2 * pStar)
  })

  it('3: for a large β everything is zero', () => {
    const bound = y.reduce((sum, value, k) => sum + Math.abs(value) * Math.hypot(...x.data.subarray(3 * k, 3 * k + 3)), 0)
    const solver = convexReluAdmm(x, y, patterns, { beta: bound })
    const state = run(solver, 2000)
    expect(solver.network(state).alpha).toHaveLength(0)
    expect(solver.objective(state)).toBeCloseTo(0.5 * y.reduce((sum, value) => sum + value ** 2, 0), 6)
    const U = sampleHiddenWeights(40, 3, random.key(9))
    const { H } = sampledConvexProgram(x, y, U, { beta: 1 })
    const slopes = Array.from({ length: 40 }, (_, j) => y.reduce((sum, value, k) => sum + H.data[k * 40 + j] * value, 0))
    const program = sampledConvexProgram(x, y, U, { beta: Math.max(...slopes.map(Math.abs)) })
    let sampledState = program.init()
    for (let k = 0; k < 50; k++) sampledState = program.step(sampledState)
    expect(sampledState.alpha.every((value) => value === 0)).toBe(true)
  })

  it.each(losses)('4: the u-step by Woodbury is the dense solve to 1e-9 (%s)', (loss) => {
    const [n, d, P, rho] = [9, 3, patterns.rows, 0.4]
    const size = 2 * P * d
    const F = Array.from({ length: n }, (_, k) =>
      Array.from(
        { length: size },
        (_, j) => (j < P * d ? 1 : -1) * patterns.data[(Math.floor(j / d) % P) * n + k] * x.data[k * d + (j % d)],
      ),
    )
    const G = Array.from({ length: 2 * P * n }, (_, row) =>
      Array.from({ length: size }, (_, j) =>
        Math.floor(row / n) === Math.floor(j / d) ? (2 * patterns.data[row % (P * n)] - 1) * x.data[(row % n) * d + (j % d)] : 0,
      ),
    )
    const c = loss === 'squared' ? 1 / rho : 1
    const target = targetsOf(loss)
    const solver = convexReluAdmm(x, target, patterns, { loss, beta: 0.1, rho })
    // From a state that is not zero anywhere.
    const state = run(solver, 3)
    const a = new Float64Array(size * size)
    const b = new Float64Array(size)
    for (let i = 0; i < size; i++) {
      b[i] = state.v[i] - state.lambda[i]
      for (let k = 0; k < n; k++) b[i] += F[k][i] * (loss === 'squared' ? target[k] / rho : (state.z?.[k] ?? 0) - (state.mu?.[k] ?? 0))
      for (let row = 0; row < G.length; row++) b[i] += G[row][i] * (state.s[row] - state.nu[row])
      for (let j = 0; j < size; j++) {
        a[i * size + j] = (i === j ? 1 : 0) + G.reduce((sum, row) => sum + row[i] * row[j], 0)
        for (let k = 0; k < n; k++) a[i * size + j] += c * F[k][i] * F[k][j]
      }
    }
    expect(largestGap(solver.step(state).u, solve({ rows: size, cols: size, data: a }, b))).toBeLessThan(1e-9)
  })

  it.each(losses)('5: more patterns never raise the optimum, more samples never that of SCP, which is not below pStar (%s)', (loss) => {
    const points = withOnes(gaussian(10, 7, 2))
    const target = loss === 'squared' ? normals(11, 7) : signs(normals(11, 7))
    const all = activationPatterns(points)
    const optimum = (D: Matrix): { value: number; bound: number } => {
      const solver = convexReluAdmm(points, target, D, { loss, beta: 0.1, rho: 0.1 })
      const state = run(solver, 2000)
      return { value: solver.objective(state), bound: solver.lowerBound(state) }
    }
    const order = random.permutationArray(random.key(12), all.rows)
    const shuffled: Matrix = { ...all, data: Float64Array.from(Array.from(order).flatMap((i) => toRows(all)[i])) }
    const values = [2, 5, 12, all.rows].map((rows) => optimum(firstRows(shuffled, rows)))
    for (let i = 1; i < values.length; i++) expect(values[i].value).toBeLessThanOrEqual(values[i - 1].value + 1e-6)
    for (const { value, bound } of values) {
      expect(bound).toBeLessThanOrEqual(value + 1e-6)
      expect(bound).toBeGreaterThan(value - 1e-2 * value)
    }
    const U = sampleHiddenWeights(60, 3, random.key(13))
    const sampledValues = [10, 30, 60].map((N) => {
      const program = sampledConvexProgram(points, target, firstRows(U, N), { loss, beta: 0.1 })
      let state = program.init()
      for (let k = 0; k < 2000 && state.change > 1e-10; k++) state = program.step(state)
      return program.objective(state.alpha)
    })
    for (let i = 1; i < 3; i++) expect(sampledValues[i]).toBeLessThanOrEqual(sampledValues[i - 1] + 1e-6)
    expect(sampledValues[2]).toBeGreaterThanOrEqual(values[3].value - 1e-6)
  })

  it('6: SCP meets the conditions of optimality (squared, logistic)', () => {
    const U = sampleHiddenWeights(40, 3, random.key(14))
    for (const loss of ['squared', 'logistic'] as const) {
      const target = targetsOf(loss)
      const program = sampledConvexProgram(x, target, U, { loss, beta: 0.1 })
      let state = program.init()
      for (let k = 0; k < 100_000 && state.change > 1e-12; k++) state = program.step(state)
      const fitted = program.fitted(state.alpha)
      state.alpha.forEach((value, j) => {
        const residual = (k: number): number =>
          loss === 'squared' ? target[k] - fitted[k] : target[k] / (1 + Math.exp(target[k] * fitted[k]))
        const slope = target.reduce((sum, _, k) => sum + program.H.data[k * 40 + j] * residual(k), 0)
        expect(Math.abs(slope)).toBeLessThanOrEqual(0.1 + 1e-6)
        if (value !== 0) expect(Math.abs(slope - 0.1 * Math.sign(value))).toBeLessThan(1e-6)
      })
      expect(largestGap(reluNetworkOutputs(program.network(state.alpha), x), fitted)).toBeLessThan(1e-9)
      // Balanced units: their weight decay is β‖α‖₁.
      expect(reluNetworkObjective(program.network(state.alpha), x, target, { loss, beta: 0.1 })).toBeCloseTo(
        program.objective(state.alpha),
        9,
      )
    }
  })

  it('6: SCP with the hinge loss meets its dual value', () => {
    const program = sampledConvexProgram(x, labels, sampleHiddenWeights(40, 3, random.key(14)), { loss: 'hinge', beta: 0.3 })
    let state = program.init()
    for (let k = 0; k < 8000; k++) state = program.step(state)
    // max Σ q subject to |Hᵀ(q y)| ≤ β, 0 ≤ q ≤ 1, at the multipliers, shortened until they fit.
    const q = labels.map((label, k) => Math.min(1, Math.max(0, -label * 0.4 * (state.mu?.[k] ?? 0))))
    const slopes = Array.from({ length: 40 }, (_, j) =>
      labels.reduce((sum, label, k) => sum + program.H.data[k * 40 + j] * label * q[k], 0),
    )
    const scale = Math.min(1, 0.3 / Math.max(...slopes.map(Math.abs)))
    const dual = scale * q.reduce((sum, value) => sum + value, 0)
    expect(program.objective(state.alpha) - dual).toBeGreaterThan(-1e-9)
    expect(program.objective(state.alpha) - dual).toBeLessThan(1e-5)
  })

  it.each(losses)('7: with ε = 0 the robust program is the ordinary one (%s)', (loss) => {
    const target = targetsOf(loss)
    const blocks = gaussian(15, 16, 3)
    const [V, W] = [firstRows(blocks, 8), { ...blocks, rows: 8, data: blocks.data.slice(24) }]
    const solver = convexReluAdmm(x, target, patterns, { loss, beta: 0.1, rho: 0.1 })
    // Values at any point …
    const worst = robustLosses(x, labels, y, patterns, V, W, { epsilon: 0 })
    const norms = Array.from({ length: 16 }, (_, i) => Math.hypot(...blocks.data.subarray(3 * i, 3 * i + 3))).reduce((a, b) => a + b, 0)
    const total = worst[loss].reduce((sum, value) => sum + value, 0) + 0.1 * norms
    expect(total).toBeCloseTo(solver.objective({ ...solver.init(), v: blocks.data }), 9)
    // … and optima.
    const robust = robustConvexAdmm(x, target, patterns, { loss, beta: 0.1, rho: 0.1, perturbation: { epsilon: 0 } })
    let state = robust.init()
    for (let k = 0; k < 1500; k++) state = robust.step(state)
    expect(Math.abs(robust.objective(state) - solver.objective(run(solver, 1500)))).toBeLessThan(1e-4)
  })

  it.each([
    ['squared', 'linf'],
    ['logistic', 'l2'],
    ['hinge', 'linf'],
    ['hinge', 'l2'],
  ] as const)('8: the robust loss bounds the worst case of the recovered network on every row (%s, %s)', (loss, norm) => {
    const points = withOnes(gaussian(16, 7, 2))
    const target = loss === 'squared' ? normals(17, 7) : signs(points.data.filter((_, p) => p % 3 === 0))
    const perturbation = { epsilon: 0.1, norm, columns: 2 }
    const D = sampleActivationPatterns(points, { count: 12, key: random.key(18), perturbation: { ...perturbation, copies: 4 } })
    const solver = robustConvexAdmm(points, target, D, { loss, beta: 0.02, rho: 0.1, perturbation })
    let state = solver.init()
    for (let k = 0; k < 4000; k++) state = solver.step(state)
    expect(solver.violation(state)).toBeLessThan(5e-4)
    const [P, d] = [D.rows, 3]
    const V: Matrix = { rows: P, cols: d, data: state.v.slice(0, P * d) }
    const W: Matrix = { rows: P, cols: d, data: state.v.slice(P * d) }
    const bounds = robustLosses(points, signs(target), target, D, V, W, perturbation)[loss]
    const network = recoverReluNetwork(V, W)
    expect(network.alpha.length).toBeGreaterThan(0)
    const moves = Array.from({ length: 200 }, (_, i) => {
      const corner = [i & 1 ? 1 : -1, i & 2 ? 1 : -1]
      const inside = random.uniformArray(random.fold(random.key(19), i), 2, { low: -1, high: 1 })
      const [a, b] = i < 4 ? corner : inside
      const scale = norm === 'l2' ? (i < 100 ? 1 : 0.5) / Math.max(Math.hypot(a, b), 1e-9) : 1
      return [0.1 * a * scale, 0.1 * b * scale]
    })
    for (const [a, b] of moves) {
      const moved = { ...points, data: points.data.map((value, p) => value + (p % 3 === 0 ? a : p % 3 === 1 ? b : 0)) }
      reluNetworkOutputs(network, moved).forEach((f, k) => {
        const m = target[k] * f
        const loss_k = loss === 'squared' ? 0.5 * (f - target[k]) ** 2 : loss === 'hinge' ? Math.max(0, 1 - m) : Math.log1p(Math.exp(-m))
        expect(loss_k).toBeLessThanOrEqual(bounds[k] + 1e-3)
      })
    }
  })

  it('9: block coordinate descent finds the closed form of the u-step to 1e-6', () => {
    const exact = convexReluAdmm(x, y, patterns, { beta: 0.1 })
    const inexact = convexReluRbcd(x, y, patterns, { beta: 0.1, sweeps: 4000, gradientTolerance: 1e-12, key: random.key(20) })
    for (const state of [exact.init(), run(exact, 4)]) expect(largestGap(inexact.step(state, 1).u, exact.step(state).u)).toBeLessThan(1e-6)
  })

  it('9: with its default sweeps it reaches the optimum (squared, logistic)', () => {
    for (const loss of ['squared', 'logistic'] as const) {
      const options = { loss, beta: 0.1, rho: 0.1 }
      const solver = convexReluRbcd(x, targetsOf(loss), patterns, { ...options, key: random.key(21) })
      const exact = convexReluAdmm(x, targetsOf(loss), patterns, options)
      expect(Math.abs(solver.objective(run(solver, loss === 'squared' ? 400 : 800)) - exact.objective(run(exact, 3000)))).toBeLessThan(1e-4)
    }
  })

  it('10: twice the patterns cost at most 5 times as much an iteration', () => {
    const points = gaussian(22, 100, 10)
    const target = normals(23, 100)
    const D = sampleActivationPatterns(points, { count: 160, key: random.key(24) })
    const solvers = [80, 160].map((P) => convexReluAdmm(points, target, firstRows(D, P), { beta: 0.1 }))
    const times = solvers.map((solver) => {
      let state = run(solver, 5)
      let best = Infinity
      for (let repeat = 0; repeat < 5; repeat++) {
        const begun = performance.now()
        for (let k = 0; k < 4; k++) state = solver.step(state)
        best = Math.min(best, performance.now() - begun)
      }
      return best
    })
    expect(times[1]).toBeLessThan(5 * times[0])
  })
})

describe('robust solvers', () => {
  it.each(losses)('the penalised first-order solver comes near the exact one (%s)', (loss) => {
    const points = withOnes(gaussian(25, 6, 2))
    const target = loss === 'squared' ? normals(26, 6) : signs(points.data.filter((_, p) => p % 3 === 1))
    const perturbation = { epsilon: 0.05, columns: 2 }
    const D = sampleActivationPatterns(points, { count: 8, key: random.key(27), perturbation })
    const options = { loss, beta: 0.1, perturbation }
    const exact = robustConvexAdmm(points, target, D, { ...options, rho: 0.1 })
    let state = exact.init()
    for (let k = 0; k < 2500; k++) state = exact.step(state)
    const optimum = exact.objective(state)
    const penalised = penalizedRobustProgram(points, target, D, { ...options, penalty: 3, steps: 8000 })
    let adam = penalised.init()
    for (let k = 0; k < 8000; k++) adam = penalised.step(adam)
    expect(penalised.objective(adam)).toBeLessThan(1.02 * optimum)
    expect(penalised.objective(adam)).toBeGreaterThan(optimum - 0.02 * Math.max(1, optimum))
    expect(penalised.violation(adam)).toBeLessThan(0.05)
  })

  it('an attack stays in its ball, and hurts more with more steps', async () => {
    const model = await fitConvexRelu(x, labels, { loss: 'hinge', beta: 0.01, patterns: 20 })
    const X = model.attack(x, labels, { epsilon: 0.3 })
    expect(largestGap(X.data, x.data)).toBeLessThanOrEqual(0.3 + 1e-12)
    const margin = (inputs: Matrix): number => model.decisionFunction(inputs).reduce((sum, f, k) => sum + labels[k] * f, 0)
    expect(margin(model.attack(x, labels, { epsilon: 0.3, steps: 1 }))).toBeLessThan(margin(x))
    expect(margin(X)).toBeLessThan(margin(x))
    const round = model.attack(x, labels, { epsilon: 0.3, norm: 'l2' })
    for (let k = 0; k < 9; k++) {
      expect(Math.hypot(...[0, 1, 2].map((a) => round.data[3 * k + a] - x.data[3 * k + a]))).toBeLessThanOrEqual(0.3 + 1e-12)
    }
    expect(model.attack(x, labels, { epsilon: 0 }).data).toEqual(x.data)
  })
})

describe('fitConvexRelu', () => {
  const third = Float64Array.from(y).sort()
  const classLabels = Float64Array.from(y, (value) => (value > third[6] ? 7 : value < third[3] ? 3 : 4))

  it('with all patterns finds the optimum and says so', async () => {
    const model = await fitConvexRelu(gaussian(30, 6, 1), normals(31, 6), {
      beta: 0.05,
      rho: 0.1,
      patterns: 'all',
      maxIterations: 5000,
      tolerance: 1e-9,
    })
    expect(model.exact).toBe(true)
    expect(model.solutions[0].converged).toBe(true)
    expect(model.objective - (model.lowerBound ?? 0)).toBeLessThan(1e-6)
    expect(model.objective - (model.lowerBound ?? 0)).toBeGreaterThan(-1e-6)
  })

  it('every method and loss gives a model whose parts agree', async () => {
    for (const method of ['admm', 'admm-rbcd', 'scp', 'penalized-adam'] as const) {
      for (const loss of losses) {
        if (method === 'admm-rbcd' && loss === 'hinge') continue
        const target = targetsOf(loss)
        const model = await fitConvexRelu(x, target, { method, loss, beta: 0.05, patterns: 12, samples: 50, maxIterations: 300, sweeps: 3 })
        const { W1, b1, W2, units } = model.toNetwork()
        const f = model.decisionFunction(x)
        const plain = Float64Array.from({ length: 9 }, (_, k) => {
          let sum = 0
          for (let j = 0; j < units; j++) {
            const z = [0, 1, 2].reduce((total, a) => total + x.data[3 * k + a] * W1[a * units + j], b1[j])
            sum += W2[j] * Math.max(0, z)
          }
          return sum
        })
        expect(largestGap(plain, f)).toBeLessThan(1e-9)
        expect(model.score(x, target)).toBeGreaterThan(0.7)
        expect(model.solutions[0].history.objective).toHaveLength(model.solutions[0].iterations)
        expect(Math.abs(model.objective - model.programObjective)).toBeLessThan(0.1 * Math.max(1, model.objective))
        if (loss === 'logistic') {
          const p = model.predictProba(x)
          expect(p[1]).toBeCloseTo(1 / (1 + Math.exp(-f[0])), 12)
          expect(p[0] + p[1]).toBeCloseTo(1, 12)
        } else expect(() => model.predictProba(x)).toThrow(/no probabilities/)
      }
    }
  })

  it('fits one network against the rest for several classes', async () => {
    const model = await fitConvexRelu(x, classLabels, { task: 'multiclass', loss: 'logistic', beta: 0.01, patterns: 30 })
    expect(model.classes).toEqual([3, 4, 7])
    expect(model.networks).toHaveLength(3)
    expect(model.score(x, classLabels)).toBeGreaterThan(0.85)
    const p = model.predictProba(x)
    for (let k = 0; k < 9; k++) expect(p[3 * k] + p[3 * k + 1] + p[3 * k + 2]).toBeCloseTo(1, 12)
    expect(model.score(model.attack(x, classLabels, { epsilon: 2 }), classLabels)).toBeLessThan(model.score(x, classLabels))
    expect(() => model.attack(x, y, { epsilon: 1 })).toThrow(/not one of the model's classes/)
  })

  it('trains adversarially by both solvers', async () => {
    for (const method of ['admm', 'penalized-adam'] as const) {
      const model = await fitConvexRelu(x, labels, {
        method,
        adversarial: { epsilon: 0.05 },
        beta: 1e-3,
        patterns: 20,
        maxIterations: 1500,
      })
      expect(model.loss).toBe('hinge')
      expect(model.score(x, labels)).toBeGreaterThan(0.7)
      expect(model.patterns?.rows).toBe(20)
      const [{ coneViolation = NaN }] = model.solutions
      expect(coneViolation).toBeLessThan(0.05)
      const worst = model.decisionFunction(model.attack(x, labels, { epsilon: 0.05 })).map((f, k) => Math.max(0, 1 - labels[k] * f) / 9)
      expect(worst.reduce((sum, value) => sum + value, 0)).toBeLessThan(model.programObjective + coneViolation)
    }
  })

  it('the mean over rows is the sum with n times the β', async () => {
    const mean = await fitConvexRelu(x, y, { beta: 0.01, reduction: 'mean', patterns: 10 })
    const sum = await fitConvexRelu(x, y, { beta: 0.09, patterns: 10 })
    expect(largestGap(mean.decisionFunction(x), sum.decisionFunction(x))).toBeLessThan(1e-12)
    expect(9 * mean.objective).toBeCloseTo(sum.objective, 9)
  })

  it('the same key gives the same network, another key another', async () => {
    const fit = (seed: number, method: 'admm' | 'admm-rbcd' | 'scp') =>
      fitConvexRelu(x, y, { method, beta: 0.05, patterns: 6, samples: 20, maxIterations: 20, key: random.key(seed) })
    for (const method of ['admm', 'admm-rbcd', 'scp'] as const) {
      const [a, b, c] = [await fit(1, method), await fit(1, method), await fit(2, method)]
      expect(a.networks).toEqual(b.networks)
      expect(a.decisionFunction(x)).not.toEqual(c.decisionFunction(x))
    }
  })

  it('heeds an abort while it runs, letting timers fire', async () => {
    const controller = new AbortController()
    const timer = setTimeout(() => controller.abort(new Error('enough')), 30)
    const wide = gaussian(32, 60, 8)
    await expect(
      fitConvexRelu(wide, normals(33, 60), { patterns: 100, maxIterations: 1_000_000, tolerance: 1e-15, signal: controller.signal }),
    ).rejects.toThrow('enough')
    clearTimeout(timer)
    await expect(fitBackpropRelu(x, y, { signal: controller.signal })).rejects.toThrow('enough')
  })

  it('back-propagation trains with gradient descent and on attacked inputs', async () => {
    const plain = await fitBackpropRelu(x, y, { optimizer: 'gd', beta: 1e-3, units: 20, steps: 400, learningRate: 0.02 })
    expect(plain.histories[0][399]).toBeLessThan(0.5 * plain.histories[0][0])
    const common = { loss: 'hinge', reduction: 'mean', beta: 1e-3, units: 20, steps: 300 } as const
    const standard = await fitBackpropRelu(x, labels, common)
    const robust = await fitBackpropRelu(x, labels, { ...common, adversarial: { epsilon: 0.2, steps: 5 } })
    const attacked = (model: typeof robust): number =>
      model.decisionFunction(model.attack(x, labels, { epsilon: 0.2 })).reduce((sum, f, k) => sum + Math.max(0, 1 - labels[k] * f), 0)
    expect(attacked(robust)).toBeLessThan(attacked(standard))
  })
})

describe('the compiled iteration', () => {
  afterAll(async () => {
    await useBackend('cpu')
  })

  it('is not there where the backend keeps no doubles', async () => {
    await useBackend('cpu')
    expect(compiledConvexReluAdmm(x, y, patterns, { beta: 0.1 })).toBeUndefined()
  })

  it('gives the iterates of ADMM to 1e-12, with any dual step, and leaves no tensor behind', async () => {
    await useBackend('onnx')
    const before = tf.memory().numTensors
    for (const gamma of [0.4, 0.6]) {
      const options = { beta: 0.1, rho: 0.4, gamma }
      const [host, compiled] = [convexReluAdmm(x, y, patterns, options), compiledConvexReluAdmm(x, y, patterns, options)]
      if (compiled === undefined) throw new Error('the onnx backend compiles')
      let [mine, tensors] = [host.init(), compiled.init()]
      for (let k = 0; k < 20; k++) {
        mine = host.step(mine)
        const { state, progress } = compiled.step(tensors)
        tensors = state
        const read = compiled.read(state)
        for (const name of ['v', 's', 'lambda', 'nu'] as const) expect(largestGap(read[name], mine[name])).toBeLessThan(1e-12)
        expect(progress.objective).toBeCloseTo(host.objective(mine), 11)
        expect(progress.primal).toBeCloseTo(host.primalResidual(mine), 11)
      }
      tf.dispose(tensors)
      compiled.dispose()
    }
    expect(tf.memory().numTensors).toBe(before)
  })

  it('serves larger fits, which are the same as without it', async () => {
    const wide = gaussian(60, 80, 20)
    const target = normals(61, 80)
    const options = { beta: 0.5, patterns: 50, maxIterations: 150, tolerance: 1e-9 }
    await useBackend('onnx')
    const before = tf.memory().numTensors
    const compiled = await fitConvexRelu(wide, target, options)
    const controller = new AbortController()
    setTimeout(() => controller.abort(new Error('enough')), 30)
    const endless = { ...options, maxIterations: 1_000_000, tolerance: 1e-15, signal: controller.signal }
    await expect(fitConvexRelu(wide, target, endless)).rejects.toThrow('enough')
    expect(tf.memory().numTensors).toBe(before)
    await useBackend('cpu')
    const host = await fitConvexRelu(wide, target, options)
    expect(largestGap(compiled.decisionFunction(wide), host.decisionFunction(wide))).toBeLessThan(1e-9)
    expect(largestGap(compiled.solutions[0].history.objective, host.solutions[0].history.objective)).toBeLessThan(1e-8)
    expect(largestGap(compiled.solutions[0].history.primalResidual, host.solutions[0].history.primalResidual)).toBeLessThan(1e-8)
    expect(largestGap(compiled.solutions[0].history.dualResidual, host.solutions[0].history.dualResidual)).toBeLessThan(1e-8)
  })
})

describe('pattern sampling', () => {
  it('is nested, and knows how many are enough', () => {
    const small = sampleActivationPatterns(x, { count: 4, key: random.key(40) })
    const large = sampleActivationPatterns(x, { count: 9, key: random.key(40) })
    expect(large.data.slice(0, small.data.length)).toEqual(small.data)
    expect(patternSampleBound(99, 0.5, 0.5)).toBe(Math.ceil(Math.min(100 / 0.25 - 1, 4 * (100 - Math.log(0.5)))))
  })

  it('adds patterns of perturbed data', () => {
    const clean = sampleActivationPatterns(x, { draws: 10, key: random.key(41) })
    const both = sampleActivationPatterns(x, { draws: 10, key: random.key(41), perturbation: { epsilon: 0.5, copies: 4 } })
    const known = new Set(toRows(both).map((row) => row.join('')))
    for (const row of toRows(clean)) expect(known.has(row.join(''))).toBe(true)
    expect(both.rows).toBeGreaterThan(clean.rows)
  })
})

describe('bad input', () => {
  const fits = (options: Parameters<typeof fitConvexRelu>[2], target: Float64Array = y) => fitConvexRelu(x, target, options)

  it('is refused by name', async () => {
    await expect(fits({ beta: 0 })).rejects.toThrow(/beta must be a positive number, got 0/)
    await expect(fits({ rho: -1 })).rejects.toThrow(/rho must be a positive number/)
    await expect(fits({ gamma: 0 })).rejects.toThrow(/gamma/)
    await expect(fits({ adversarial: { epsilon: -0.1 } }, labels)).rejects.toThrow(/epsilon must be a number of at least 0/)
    await expect(fits({ loss: 'hinge' })).rejects.toThrow(/labels -1 or 1/)
    await expect(fits({ loss: 'logistic' })).rejects.toThrow(/labels -1 or 1/)
    await expect(fits({ loss: 'absolute' as never })).rejects.toThrow(/loss must be one of squared, logistic, hinge/)
    await expect(fits({ method: 'sgd' as never })).rejects.toThrow(/method must be one of/)
    await expect(fits({ method: 'admm-rbcd', loss: 'hinge' }, labels)).rejects.toThrow(/not smooth/)
    await expect(fits({ method: 'scp', adversarial: { epsilon: 0.1 } }, labels)).rejects.toThrow(/adversarial training needs method/)
    await expect(fits({ adversarial: { epsilon: 0.1 }, patterns: 'all' }, labels)).rejects.toThrow(/clean data only/)
    await expect(fits({ patterns: 0 })).rejects.toThrow(/patterns must be a positive integer/)
    await expect(fits({ patterns: [[0, 1]] })).rejects.toThrow(/one column per row of X/)
    await expect(fits({ patterns: [[0, 1, 2, 0, 1, 0, 1, 0, 1]] })).rejects.toThrow(/only 0 and 1, got 2 at \[0, 2\]/)
    await expect(fits({ task: 'multiclass' }, new Float64Array(9))).rejects.toThrow(/at least two classes/)
    await expect(fitConvexRelu(x, y.slice(1))).rejects.toThrow(/X has 9 rows, y 8/)
    await expect(
      fitConvexRelu(
        x,
        y.map(() => NaN),
      ),
    ).rejects.toThrow(/NaN/)
    await expect(fitConvexRelu({ ...x, data: x.data.map(() => NaN) }, y)).rejects.toThrow(/NaN/)
    await expect(fitConvexRelu({ rows: 0, cols: 3, data: new Float64Array(0) }, [])).rejects.toThrow(/empty/)
    const wide = gaussian(50, 40, 6)
    await expect(fitConvexRelu(wide, normals(51, 40), { patterns: 'all' })).rejects.toThrow(/too many activation patterns \(.*use sampling/)
    const model = await fits({ patterns: 4, maxIterations: 5 })
    expect(() => model.predict([[1, 2]])).toThrow(/3 features/)
  })

  it('is refused by the parts', () => {
    expect(() => convexReluAdmm(x, y, { ...patterns, rows: 9, cols: 8 }, { beta: 1 })).toThrow(/one column per row/)
    expect(() => convexReluAdmm(x, y, { rows: 0, cols: 9, data: new Float64Array(0) }, { beta: 1 })).toThrow(/no rows/)
    expect(() => sampledConvexProgram(x, y, gaussian(52, 5, 4), { beta: 1 })).toThrow(/3 columns/)
    expect(() => robustLosses(x, y, y, patterns, gaussian(53, 8, 3), gaussian(54, 8, 3), { epsilon: 0.1 })).toThrow(/-1 or 1/)
    expect(() => robustLosses(x, labels, y, patterns, gaussian(53, 7, 3), gaussian(54, 8, 3), { epsilon: 0.1 })).toThrow(/V should be/)
    expect(() => attackReluNetwork([], x, labels, 'hinge', { epsilon: -1 })).toThrow(/epsilon/)
    expect(() => patternSampleBound(10, 0, 0.5)).toThrow(/psi/)
    expect(() => sampleActivationPatterns(x, { key: random.key(0) })).toThrow(/count or a number of draws/)
    expect(() => recoverReluNetwork(gaussian(55, 2, 3), gaussian(56, 2, 2))).toThrow(/columns/)
  })
})
