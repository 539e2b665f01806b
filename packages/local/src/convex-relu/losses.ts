import { DataError } from '@bpf/core'

/** ½ (f − y)², log(1 + exp(−y f)), max(0, 1 − y f). */
export type ConvexReluLoss = 'squared' | 'logistic' | 'hinge'

export const convexReluLosses: readonly ConvexReluLoss[] = ['squared', 'logistic', 'hinge']

/** A convex loss ℓ(f, y) = Σ_k ℓ_k(f_k, y_k) with what the solvers ask of it. y is ±1 for logistic and hinge. */
export interface OutputLoss {
  /** L with ℓ_k″ ≤ L; undefined where ℓ has a kink. */
  readonly smoothness: number | undefined
  /** Σ_k ℓ_k */
  value(f: Float64Array, y: Float64Array): number
  /** ℓ_k′(f_k), a subgradient at a kink. [n] */
  gradient(f: Float64Array, y: Float64Array): Float64Array
  /** argmin_z c ℓ_k(z, y) + ½ (z − point)² */
  prox(point: number, y: number, c: number): number
  /** ℓ*(p) = sup_f ⟨p, f⟩ − ℓ(f, y) for a p that {@link gradient} can give, or a shorter one. */
  conjugate(p: Float64Array, y: Float64Array): number
}

/** 1 / (1 + exp(−x)) without overflow. */
export function sigmoid(x: number): number {
  if (x >= 0) return 1 / (1 + Math.exp(-x))
  const e = Math.exp(x)
  return e / (1 + e)
}

/** ln(1 + exp(x)) without overflow. */
export const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))

function total(n: number, term: (k: number) => number): number {
  let sum = 0
  for (let k = 0; k < n; k++) sum += term(k)
  return sum
}

const squared: OutputLoss = {
  smoothness: 1,
  value: (f, y) => 0.5 * total(y.length, (k) => (f[k] - y[k]) ** 2),
  gradient: (f, y) => f.map((value, k) => value - y[k]),
  prox: (point, y, c) => (point + c * y) / (1 + c),
  conjugate: (p, y) => total(y.length, (k) => 0.5 * p[k] * p[k] + p[k] * y[k]),
}

/** The margin m with m = q + c σ(−m): Newton inside the bracket [q, q + c]. */
function logisticMargin(q: number, c: number): number {
  let [low, high] = [q, q + c]
  let m = q + c * sigmoid(-q - c / 2)
  for (let i = 0; i < 60; i++) {
    const p = sigmoid(-m)
    const gap = m - q - c * p
    if (gap > 0) high = m
    else low = m
    const newton = m - gap / (1 + c * p * (1 - p))
    const next = newton > low && newton < high ? newton : (low + high) / 2
    if (Math.abs(next - m) <= 1e-15 * Math.max(1, Math.abs(m))) return next
    m = next
  }
  return m
}

/** q ln q, 0 at 0. */
const entropyTerm = (q: number): number => (q > 0 ? q * Math.log(q) : 0)

const logistic: OutputLoss = {
  smoothness: 0.25,
  value: (f, y) => total(y.length, (k) => softplus(-y[k] * f[k])),
  gradient: (f, y) => f.map((value, k) => -y[k] * sigmoid(-y[k] * value)),
  prox: (point, y, c) => y * logisticMargin(y * point, c),
  conjugate: (p, y) => total(y.length, (k) => entropyTerm(-y[k] * p[k]) + entropyTerm(1 + y[k] * p[k])),
}

const hinge: OutputLoss = {
  smoothness: undefined,
  value: (f, y) => total(y.length, (k) => Math.max(0, 1 - y[k] * f[k])),
  gradient: (f, y) => f.map((value, k) => (y[k] * value < 1 ? -y[k] : 0)),
  prox(point, y, c) {
    const margin = y * point
    return margin >= 1 ? point : y * Math.min(1, margin + c)
  },
  conjugate: (p, y) => total(y.length, (k) => p[k] * y[k]),
}

/** The loss of a name. */
export function outputLoss(loss: ConvexReluLoss): OutputLoss {
  return loss === 'squared' ? squared : loss === 'logistic' ? logistic : hinge
}

/** @throws DataError when the loss needs labels ±1 and y has another value */
export function checkLabels(y: ArrayLike<number>, loss: ConvexReluLoss, caller: string): void {
  if (loss === 'squared') return
  for (let k = 0; k < y.length; k++) {
    if (y[k] !== 1 && y[k] !== -1) {
      throw new DataError(
        `${caller}: the ${loss} loss needs labels -1 or 1, got ${y[k]} at index ${k}; map the labels, or use task 'multiclass' for any labels`,
      )
    }
  }
}
