import { DataError } from '@bpf/core'

/** Squared error (regression), log-exponential (binary, y ∈ {−1, +1}), cross-entropy (one-hot y [n, K]). */
export type BoostingLossKind = 'squared' | 'logExponential' | 'crossEntropy'

/**
 * A loss L(y, F) as gradient boosting uses it. All arrays are row-major [n, outputs] in double precision; `outputs` is 1
 * but for the cross-entropy, where it is the number of classes.
 */
export interface BoostingLoss {
  readonly kind: BoostingLossKind
  readonly outputs: number
  /** F_0 [outputs]: the constant that minimises the mean loss; 0 for the cross-entropy, as in the paper's code. */
  initial(y: Float64Array): Float64Array
  /** r = −∂L/∂F [n, outputs] (of half the squared error). */
  residuals(y: Float64Array, raw: Float64Array): Float64Array
  /**
   * The Newton step ρ along h: Σ r h / Σ h² ∂²L/∂F²; 1 for the squared error.
   *
   * @returns 0 when the curvature along h is below 1e-12: nothing is left to fit
   */
  newtonStep(y: Float64Array, residuals: Float64Array, h: Float64Array): number
  /** Loss of each row [n]. */
  rowLosses(y: Float64Array, raw: Float64Array): Float64Array
  /** Class probabilities [n, K] from F; undefined for regression. */
  probabilities?(raw: Float64Array): Float64Array
}

const smallestCurvature = 1e-12

/** 1 / (1 + exp(−x)) without overflow. */
function sigmoid(x: number): number {
  if (x >= 0) return 1 / (1 + Math.exp(-x))
  const e = Math.exp(x)
  return e / (1 + e)
}

/** ln(1 + exp(x)) without overflow. */
const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))

const mean = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0) / values.length

const squared: BoostingLoss = {
  kind: 'squared',
  outputs: 1,
  initial: (y) => Float64Array.of(mean(y)),
  residuals: (y, raw) => y.map((value, i) => value - raw[i]),
  newtonStep: () => 1,
  rowLosses: (y, raw) => y.map((value, i) => (value - raw[i]) ** 2),
}

const logExponential: BoostingLoss = {
  kind: 'logExponential',
  outputs: 1,
  initial(y) {
    const average = mean(y)
    if (!(Math.abs(average) < 1)) throw new DataError('gradient boosting: need at least two classes in y, got one')
    return Float64Array.of(0.5 * Math.log((1 + average) / (1 - average)))
  },
  residuals: (y, raw) => y.map((value, i) => 2 * value * sigmoid(-2 * value * raw[i])),
  newtonStep(y, r, h) {
    let [slope, curvature] = [0, 0]
    for (let i = 0; i < y.length; i++) {
      slope += r[i] * h[i]
      // r (2y − r) = |r| (2 − |r|) is the second derivative of L.
      curvature += r[i] * (2 * y[i] - r[i]) * h[i] * h[i]
    }
    return Math.abs(curvature) < smallestCurvature ? 0 : slope / curvature
  },
  rowLosses: (y, raw) => y.map((value, i) => softplus(-2 * value * raw[i])),
  probabilities(raw) {
    const out = new Float64Array(2 * raw.length)
    raw.forEach((f, i) => {
      out[2 * i] = sigmoid(-2 * f)
      out[2 * i + 1] = sigmoid(2 * f)
    })
    return out
  },
}

/** Softmax of each row [n, K], and ln Σ exp of it [n]. */
function softmaxRows(raw: Float64Array, classes: number): { p: Float64Array; logSums: Float64Array } {
  const p = new Float64Array(raw.length)
  const logSums = new Float64Array(raw.length / classes)
  for (let row = 0, at = 0; at < raw.length; row++, at += classes) {
    let [max, sum] = [-Infinity, 0]
    for (let k = 0; k < classes; k++) max = Math.max(max, raw[at + k])
    for (let k = 0; k < classes; k++) sum += p[at + k] = Math.exp(raw[at + k] - max)
    for (let k = 0; k < classes; k++) p[at + k] /= sum
    logSums[row] = max + Math.log(sum)
  }
  return { p, logSums }
}

function crossEntropy(classes: number): BoostingLoss {
  return {
    kind: 'crossEntropy',
    outputs: classes,
    initial: () => new Float64Array(classes),
    residuals: (y, raw) => softmaxRows(raw, classes).p.map((p, i) => y[i] - p),
    newtonStep(y, r, h) {
      let [slope, curvature] = [0, 0]
      for (let i = 0; i < y.length; i++) {
        const p = y[i] - r[i]
        slope += r[i] * h[i]
        curvature += p * (1 - p) * h[i] * h[i]
      }
      return Math.abs(curvature) < smallestCurvature ? 0 : slope / curvature
    },
    rowLosses(y, raw) {
      return softmaxRows(raw, classes).logSums.map((logSum, row) => {
        let dot = 0
        for (let k = row * classes; k < (row + 1) * classes; k++) dot += y[k] * raw[k]
        return logSum - dot
      })
    },
    probabilities: (raw) => softmaxRows(raw, classes).p,
  }
}

/**
 * The loss of a task, with its constant start, pseudo-residuals and Newton step.
 *
 * L = (y − F)², ln(1 + exp(−2yF)) or −Σ_k y_k ln softmax(F)_k.
 *
 * @param kind - which one
 * @param classes - K, for the cross-entropy
 */
export function boostingLoss(kind: BoostingLossKind, classes = 1): BoostingLoss {
  if (kind === 'crossEntropy') return crossEntropy(classes)
  return kind === 'squared' ? squared : logExponential
}
