/** Metrics of the whole probability vector. They compare all pairs of rows: O(N² K), in blocks of 1024 rows. */
import { lgamma } from '@bpf/core/numerics'

const pairBlock = 1024

/** Σ_k a_k b_k of two rows. */
function dotRows(a: Float64Array, startA: number, b: Float64Array, startB: number, classes: number): number {
  let sum = 0
  for (let k = 0; k < classes; k++) sum += a[startA + k] * b[startB + k]
  return sum
}

/** Rows of a matrix in double precision, block by block: the whole is never copied. */
export type BlockSource = (start: number, count: number, block: Float64Array) => void

/**
 * Squared kernel calibration error (Widmann, Lindsten, Zachariah 2019), kernel e^{−‖p − p'‖} times the identity:
 * means of e^{−‖p_i − p_j‖} (e_{y_i} − p_i)·(e_{y_j} − p_j).
 *
 * @returns `unbiased` over i < j (may be negative; NaN for one row), `biased` over all i, j
 */
export function squaredKernelError(read: BlockSource, labels: Int32Array, classes: number): { unbiased: number; biased: number } {
  const n = labels.length
  const left = new Float64Array(Math.min(n, pairBlock) * classes)
  const right = new Float64Array(Math.min(n, pairBlock) * classes)
  let off = 0
  let diagonal = 0
  for (let i0 = 0; i0 < n; i0 += pairBlock) {
    const rowsI = Math.min(pairBlock, n - i0)
    read(i0, rowsI, left)
    const normI = squaredNorms(left, rowsI, classes)
    for (let i = 0; i < rowsI; i++) diagonal += normI[i] - 2 * left[i * classes + labels[i0 + i]] + 1
    for (let j0 = i0; j0 < n; j0 += pairBlock) {
      const rowsJ = Math.min(pairBlock, n - j0)
      read(j0, rowsJ, right)
      const normJ = squaredNorms(right, rowsJ, classes)
      for (let i = 0; i < rowsI; i++) {
        const yi = labels[i0 + i]
        const start = i * classes
        for (let j = j0 === i0 ? i + 1 : 0; j < rowsJ; j++) {
          const yj = labels[j0 + j]
          const dot = dotRows(left, start, right, j * classes, classes)
          const distance = Math.sqrt(Math.max(0, normI[i] + normJ[j] - 2 * dot))
          const agreement = dot - left[start + yj] - right[j * classes + yi] + (yi === yj ? 1 : 0)
          off += Math.exp(-distance) * agreement
        }
      }
    }
  }
  return { unbiased: n < 2 ? NaN : (2 * off) / (n * (n - 1)), biased: (2 * off + diagonal) / (n * n) }
}

function squaredNorms(block: Float64Array, rows: number, classes: number): Float64Array {
  return Float64Array.from({ length: rows }, (_, i) => dotRows(block, i * classes, block, i * classes, classes))
}

/** Running softmax average of one-hot labels for one row: the maximum so far, the weights' sum, and the sums by class. */
interface RunningMeans {
  max: Float64Array
  total: Float64Array
  byClass: Float64Array
}

/**
 * Canonical calibration error with Dirichlet kernels (Popordanoska, Sayer, Blaschko 2022): labels are averaged with
 * weights proportional to the Dirichlet density of p_i under parameters p_j/h + 1, j ≠ i; the mean of the squared distance
 * between that average and p_i, no root.
 *
 * @param readLog - reads log-probabilities
 * @param h - bandwidth
 */
export function dirichletKernelError(read: BlockSource, readLog: BlockSource, labels: Int32Array, classes: number, h = 1): number {
  const n = labels.length
  if (n < 2) return NaN
  const logs = new Float64Array(Math.min(n, pairBlock) * classes)
  const centres = new Float64Array(Math.min(n, pairBlock) * classes)
  const own = new Float64Array(Math.min(n, pairBlock) * classes)
  const normalisers = logNormalisers(read, n, classes, h, centres)
  let error = 0
  for (let i0 = 0; i0 < n; i0 += pairBlock) {
    const rowsI = Math.min(pairBlock, n - i0)
    readLog(i0, rowsI, logs)
    const means: RunningMeans = {
      max: new Float64Array(rowsI).fill(-Infinity),
      total: new Float64Array(rowsI),
      byClass: new Float64Array(rowsI * classes),
    }
    for (let j0 = 0; j0 < n; j0 += pairBlock) {
      const rowsJ = Math.min(pairBlock, n - j0)
      read(j0, rowsJ, centres)
      for (let i = 0; i < rowsI; i++) {
        for (let j = 0; j < rowsJ; j++) {
          if (i0 + i === j0 + j) continue
          const logWeight = dotRows(logs, i * classes, centres, j * classes, classes) / h + normalisers[j0 + j]
          addWeighted(means, i, labels[j0 + j], logWeight, classes)
        }
      }
    }
    read(i0, rowsI, own)
    for (let i = 0; i < rowsI; i++) {
      for (let k = 0; k < classes; k++) error += (means.byClass[i * classes + k] / means.total[i] - own[i * classes + k]) ** 2
    }
  }
  return error / n
}

function addWeighted(means: RunningMeans, i: number, label: number, logWeight: number, classes: number): void {
  const max = means.max[i]
  if (logWeight > max) {
    const shrink = Math.exp(max - logWeight)
    means.max[i] = logWeight
    means.total[i] *= shrink
    for (let k = i * classes; k < (i + 1) * classes; k++) means.byClass[k] *= shrink
  }
  const weight = Math.exp(logWeight - means.max[i])
  means.total[i] += weight
  means.byClass[i * classes + label] += weight
}

/** ln Γ(Σ_k α_jk) − Σ_k ln Γ(α_jk), α_j = p_j/h + 1. */
function logNormalisers(read: BlockSource, n: number, classes: number, h: number, block: Float64Array): Float64Array {
  const normalisers = new Float64Array(n)
  for (let start = 0; start < n; start += pairBlock) {
    const rows = Math.min(pairBlock, n - start)
    read(start, rows, block)
    for (let row = 0; row < rows; row++) {
      let sum = 0
      let logs = 0
      for (let k = row * classes; k < (row + 1) * classes; k++) {
        sum += block[k]
        logs += lgamma(block[k] / h + 1)
      }
      normalisers[start + row] = lgamma(sum / h + classes) - logs
    }
  }
  return normalisers
}
