/**
 * Algorithm 2: ADMM for smooth losses whose u-step is found by randomised block coordinate descent.
 */
import { OptionError, random, type Key } from '@bpf/core'
import { gram, spectralNorm, symmetricEigenvalues, type Matrix } from '@bpf/core/linalg'
import { checkedAdmm, programSolver, type ConvexReluAdmmOptions, type ConvexReluSolver } from './admm'
import { blockNorm, checkCount, checkPositive } from './checks'
import { patternProducts } from './products'

/** Options of the u-step of {@link convexReluRbcd}. */
export interface ConvexReluRbcdOptions extends ConvexReluAdmmOptions {
  /** Sweeps of 2P block steps in one u-step at most. Default 10. */
  sweeps?: number
  /** A u-step ends when its full gradient is at most this times the last residual of ADMM. Default 0.1. */
  gradientTolerance?: number
  key: Key
}

/** X with the rows of inactive samples set to zero. */
function activeRows(x: Matrix, patterns: Matrix, i: number): Matrix {
  return { ...x, data: x.data.map((value, p) => patterns.data[i * x.rows + Math.floor(p / x.cols)] * value) }
}

/**
 * ADMM whose u-step is found by randomised block coordinate descent (Algorithm 2), for smooth losses. A block i, uniform among 2P, moves by
 *
 *   u_i ← u_i − γ_r [F_iᵀ∇ℓ(ŷ) + ρ(u_i − v_i + λ_i) + ρ G_iᵀ(G_i u_i − s_i + ν_i)],  γ_r = 1/(L‖F_i‖² + ρ(1 + ‖X‖²)),
 *
 * with ŷ = Fu kept up to date; v, s and the multipliers as in Algorithm 1. The u-step starts from the last u.
 *
 * @param x - [n, d]
 * @param y - [n], ±1 for the logistic loss
 * @param patterns - D [P, n] of 0 and 1
 * @param options - β, ρ, γ_a, sweeps, tolerance, and the key of the blocks' order
 * @throws OptionError for the hinge loss, which is not smooth, and as {@link convexReluAdmm}
 */
export function convexReluRbcd(x: Matrix, y: Float64Array, patterns: Matrix, options: ConvexReluRbcdOptions): ConvexReluSolver {
  const caller = 'convexReluRbcd'
  const settings = checkedAdmm(x, y, patterns, options, caller)
  const { loss, rho, kind } = settings
  const { smoothness } = loss
  if (smoothness === undefined) throw new OptionError(`${caller}: the ${kind} loss is not smooth; use method 'admm', or the logistic loss`)
  const { sweeps = 10, gradientTolerance = 0.1, key } = options
  checkCount(sweeps, 'sweeps', caller)
  checkPositive(gradientTolerance, 'gradientTolerance', caller)
  const products = patternProducts(x, patterns)
  const whole = spectralNorm(x) ** 2
  const rates = Float64Array.from({ length: patterns.rows }, (_, i) => {
    const eigenvalues = symmetricEigenvalues(gram(activeRows(x, patterns, i)))
    return 1 / (smoothness * Math.max(0, eigenvalues[eigenvalues.length - 1]) + rho * (1 + whole))
  })
  const [P, n, d] = [patterns.rows, x.rows, x.cols]
  const D = patterns.data
  const self: ConvexReluSolver = programSolver(products, y, settings, false, (state, iteration) => {
    const u = state.u.slice()
    const projected = products.project(u)
    const outputs = products.outputsOf(projected)
    const gradient = new Float64Array(d)
    const weights = new Float64Array(n)
    /** Gradient of the u-step's objective in block b, into `gradient`. */
    const blockGradient = (b: number, slopes: Float64Array): void => {
      const [mask, at] = [(b % P) * n, b * n]
      const side = b < P ? 1 : -1
      for (let k = 0; k < n; k++) {
        const active = D[mask + k] === 1
        const g = active ? projected[at + k] : -projected[at + k]
        const cone = rho * (g - state.s[at + k] + state.nu[at + k])
        weights[k] = active ? cone + side * slopes[k] : -cone
      }
      for (let a = 0; a < d; a++) gradient[a] = rho * (u[b * d + a] - state.v[b * d + a] + state.lambda[b * d + a])
      for (let k = 0, p = 0; k < n; k++) for (let a = 0; a < d; a++, p++) gradient[a] += weights[k] * x.data[p]
    }
    const move = (b: number): void => {
      blockGradient(b, loss.gradient(outputs, y))
      const rate = rates[b % P]
      for (let a = 0; a < d; a++) u[b * d + a] -= rate * gradient[a]
      for (let k = 0, p = 0; k < n; k++) {
        let change = 0
        for (let a = 0; a < d; a++, p++) change -= rate * gradient[a] * x.data[p]
        projected[b * n + k] += change
        if (D[(b % P) * n + k] === 1) outputs[k] += b < P ? change : -change
      }
    }
    const gradientNorm = (): number => {
      const slopes = loss.gradient(outputs, y)
      let sum = 0
      for (let b = 0; b < 2 * P; b++) {
        blockGradient(b, slopes)
        sum += blockNorm(gradient, 0, d) ** 2
      }
      return Math.sqrt(sum)
    }
    const enough = gradientTolerance * rho * self.primalResidual(state)
    const order = random.randintArray(random.fold(key, iteration), sweeps * 2 * P, { high: 2 * P })
    for (let sweep = 0; sweep < sweeps; sweep++) {
      for (let j = 0; j < 2 * P; j++) move(order[sweep * 2 * P + j])
      // At the start all copies are zero, and the residual says nothing.
      if (enough > 0 && gradientNorm() <= enough) break
    }
    return u
  })
  return self
}
