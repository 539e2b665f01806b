import { matmul, type Matrix } from '@bpf/core/linalg'
import { adamStep, cosineRate } from './adam'
import { blockNorm, checkCount, checkPositive } from './checks'
import { sigmoid } from './losses'
import { patternProducts } from './products'
import {
  checkedProgram,
  dualNorm,
  linearParts,
  programValues,
  sampleWeights,
  type Ball,
  type RobustProgramOptions,
  type RobustSolver,
} from './robust'

/** Options of {@link penalizedRobustProgram}. */
export interface PenalizedProgramOptions extends RobustProgramOptions {
  /** μ, weight of violated cones (their sum over n). Default 10. */
  penalty?: number
  /** First step size of Adam; it falls to 0 by half a cosine. Default 0.02. */
  learningRate?: number
  /** Number of steps. Default 4000. */
  steps?: number
}

/** u [2P, d] with the moments of Adam and the number of steps done. */
export interface PenalizedProgramState {
  u: Float64Array
  mean: Float64Array
  square: Float64Array
  count: number
}

/** Adds scale · ∂(dual norm) of a block to out; nothing at 0. */
function addDualNormGradient(out: Float64Array, values: Float64Array, start: number, scale: number, { norm, columns }: Ball): void {
  const length = norm === 'l2' ? blockNorm(values, start, columns) || 1 : 1
  for (let a = start; a < start + columns; a++) out[a] += scale * (norm === 'l2' ? values[a] / length : Math.sign(values[a]))
}

/**
 * The robust convex program with penalised cones, by Adam: of the mean over rows,
 *
 * (1/n) Σ_k worst loss_k + (β/n) Σ_i ‖u_i‖ + (μ/n) Σ_i Σ_k max(0, ε‖u_i‖ − ((2D_i − I) X u_i)_k).
 *
 * First-order and approximate, for sizes where the exact steps of {@link robustConvexAdmm} cost too much. With ε = 0 it is
 * the ordinary program.
 *
 * @param x - [n, d]
 * @param y - [n]
 * @param patterns - D [P, n]
 * @throws as {@link robustConvexAdmm}
 */
export function penalizedRobustProgram(
  x: Matrix,
  y: Float64Array,
  patterns: Matrix,
  options: PenalizedProgramOptions,
): RobustSolver<PenalizedProgramState> {
  const caller = 'penalizedRobustProgram'
  const settings = checkedProgram(x, y, patterns, options, caller)
  const { loss, beta, ball } = settings
  const { penalty: mu = 10, learningRate = 0.02, steps = 4000 } = options
  checkPositive(mu, 'penalty', caller)
  checkPositive(learningRate, 'learningRate', caller)
  checkCount(steps, 'steps', caller)
  const products = patternProducts(x, patterns)
  const [n, d, P] = [x.rows, x.cols, patterns.rows]
  const D = patterns.data

  /** ∂ Σ worst loss / ∂ Z [n, d]. */
  const lossGradient = (Z: Float64Array): Float64Array => {
    const { z, penalty } = linearParts(x, Z, ball)
    const out = new Float64Array(n * d)
    for (let k = 0; k < n; k++) {
      const lack = ball.epsilon * penalty[k] - y[k] * z[k]
      const error = z[k] - y[k]
      const slope =
        loss === 'hinge' ? (lack > -1 ? 1 : 0) : loss === 'logistic' ? sigmoid(lack) : Math.abs(error) + ball.epsilon * penalty[k]
      if (slope === 0) continue
      const along = slope * (loss === 'squared' ? Math.sign(error) : -y[k])
      for (let a = k * d; a < (k + 1) * d; a++) out[a] = along * x.data[a]
      addDualNormGradient(out, Z, k * d, slope * ball.epsilon, ball)
    }
    return out
  }
  /** Gradient of the penalised cones, times n. */
  const coneGradient = (u: Float64Array): Float64Array => {
    const margins = products.project(u)
    const counts = new Float64Array(2 * P)
    for (let i = 0, p = 0; i < 2 * P; i++) {
      const size = ball.epsilon * dualNorm(u, i * d, ball)
      for (let k = 0; k < n; k++, p++) {
        const sign = D[p % D.length] === 1 ? 1 : -1
        const violated = sign * margins[p] < size
        margins[p] = violated ? -mu * sign : 0
        if (violated) counts[i]++
      }
    }
    const out = products.collect(margins)
    counts.forEach((count, i) => addDualNormGradient(out, u, i * d, mu * count * ball.epsilon, ball))
    return out
  }
  return {
    ...programValues<PenalizedProgramState>(x, y, patterns, settings, ({ u }) => u),
    init: () => {
      const zeros = (): Float64Array => new Float64Array(2 * P * d)
      return { u: zeros(), mean: zeros(), square: zeros(), count: 0 }
    },
    step(state) {
      const gradient = coneGradient(state.u)
      const byLoss = matmul(patterns, { rows: n, cols: d, data: lossGradient(sampleWeights(state.u, patterns, d)) }).data
      for (let i = 0; i < P * d; i++) {
        gradient[i] += byLoss[i]
        gradient[i + P * d] -= byLoss[i]
      }
      for (let i = 0; i < gradient.length; i += d) {
        const norm = blockNorm(state.u, i, d)
        for (let a = i; a < i + d; a++) gradient[a] = (gradient[a] + (norm > 0 ? (beta * state.u[a]) / norm : 0)) / n
      }
      const next = { u: state.u.slice(), mean: state.mean.slice(), square: state.square.slice(), count: state.count + 1 }
      adamStep(next.u, next.mean, next.square, gradient, next.count, cosineRate(learningRate, state.count, steps))
      return next
    },
  }
}
