import { categoricalArray, fold, key, normalArray, uniformArray } from '@bpf/core/random'

/** Logits with labels drawn from their softmax. */
export interface Synthetic {
  classes: number
  /** [n·K] whose softmax is the true distribution of the labels. */
  truth: Float64Array
  /** The same as rows. */
  rows: number[][]
  labels: Int32Array
}

/**
 * Labels drawn from softmax t: t is standard normal noise (0.8), and one class, drawn uniformly, has Gamma(2, 1.5) added.
 */
export function synthetic(seed: number, n: number, classes = 10): Synthetic {
  const root = key(seed)
  const noise = normalArray(fold(root, 0), n * classes)
  const chosen = uniformArray(fold(root, 1), n)
  const u = uniformArray(fold(root, 2), 2 * n)
  const truth = new Float64Array(n * classes)
  for (let i = 0; i < n * classes; i++) truth[i] = 0.8 * noise[i]
  for (let row = 0; row < n; row++) {
    const gamma = -1.5 * Math.log(Math.max(1e-12, (1 - u[2 * row]) * (1 - u[2 * row + 1])))
    truth[row * classes + Math.floor(chosen[row] * classes)] += gamma
  }
  const labels = categoricalArray(fold(root, 3), truth, classes)
  return { classes, truth, rows: toRows(truth, classes), labels }
}

/** Row-major values as nested rows. */
export function toRows(values: ArrayLike<number>, classes: number): number[][] {
  return Array.from({ length: values.length / classes }, (_, i) => Array.from({ length: classes }, (_, k) => values[i * classes + k]))
}

/** Softmax of row-major logits. */
export function softmax(logits: ArrayLike<number>, classes: number): Float64Array {
  const out = new Float64Array(logits.length)
  for (let at = 0; at < logits.length; at += classes) {
    let max = -Infinity
    for (let i = at; i < at + classes; i++) max = Math.max(max, logits[i])
    let sum = 0
    for (let i = at; i < at + classes; i++) sum += out[i] = Math.exp(logits[i] - max)
    for (let i = at; i < at + classes; i++) out[i] /= sum
  }
  return out
}
