import { solve } from '@bpf/core/linalg'
import { sigmoid, softplus } from '@bpf/core/numerics'

/** Ridge on all parameters of the mean loss: finite optima for separable data, nothing that shows otherwise. */
const ridge = 1e-9

/**
 * Logistic regression by Newton's method with step halving.
 *
 * @param columns - features, each [n]
 * @param o - outcomes [n]
 * @returns `weights` of the features, `intercept`, and the mean log `loss`
 */
export function fitLogistic(
  columns: readonly Float64Array[],
  o: ArrayLike<number>,
): { weights: Float64Array; intercept: number; loss: number } {
  const n = o.length
  const size = columns.length + 1
  let theta = new Float64Array(size)
  const scoreOf = (parameters: Float64Array, i: number): number => {
    let score = parameters[size - 1]
    for (let f = 0; f < columns.length; f++) score += parameters[f] * columns[f][i]
    return score
  }
  const lossAt = (parameters: Float64Array): number => {
    let loss = 0
    for (let i = 0; i < n; i++) {
      const score = scoreOf(parameters, i)
      loss += softplus(score) - o[i] * score
    }
    return loss / n + (ridge / 2) * parameters.reduce((sum, value) => sum + value * value, 0)
  }
  let loss = lossAt(theta)
  for (let iteration = 0; iteration < 100; iteration++) {
    const step = newtonStep(columns, o, theta, scoreOf)
    let fraction = 1
    let next = theta
    let nextLoss = Infinity
    for (; fraction > 1e-8; fraction /= 2) {
      next = theta.map((value, j) => value - fraction * step[j])
      nextLoss = lossAt(next)
      if (nextLoss <= loss) break
    }
    if (!(nextLoss <= loss)) break
    const gained = loss - nextLoss
    theta = next
    loss = nextLoss
    if (gained < 1e-15) break
  }
  return { weights: theta.slice(0, -1), intercept: theta[size - 1], loss }
}

function newtonStep(
  columns: readonly Float64Array[],
  o: ArrayLike<number>,
  theta: Float64Array,
  scoreOf: (parameters: Float64Array, i: number) => number,
): Float64Array {
  const n = o.length
  const size = theta.length
  const hessian = new Float64Array(size * size)
  const gradient = new Float64Array(size)
  const x = new Float64Array(size).fill(1)
  for (let i = 0; i < n; i++) {
    for (let f = 0; f < columns.length; f++) x[f] = columns[f][i]
    const p = sigmoid(scoreOf(theta, i))
    for (let a = 0; a < size; a++) {
      gradient[a] += ((p - o[i]) * x[a]) / n
      for (let b = 0; b < size; b++) hessian[a * size + b] += (p * (1 - p) * x[a] * x[b]) / n
    }
  }
  for (let a = 0; a < size; a++) {
    gradient[a] += ridge * theta[a]
    hessian[a * size + a] += ridge
  }
  return solve({ rows: size, cols: size, data: hessian }, gradient)
}
