/** Metrics of every class's probability against whether that class occurred. */
import { kMeansBounds } from '../shared/k-means-line'
import { forEachColumn, type BlockTransform, type RowData } from '../shared/rows'
import { gather, stableOrder } from '../shared/sort'
import { equalWidthBin, prefixSum, rootSquareGap, weightedGap, type BinSums } from './top-label'

/** Bin sums of all classes: entry k·B + b. `zeroCount` [K] and so on hold the events with p = 0, which (lo, hi] leaves out. */
export interface ClassSums extends BinSums {
  readonly bins: number
  /** Occurrences among events with p = 0 (their predicted sum is 0). */
  readonly zeroCount: Float64Array
  readonly zeroOccurred: Float64Array
}

/** Empty sums for `classes` classes. */
export function emptyClassSums(classes: number, bins: number): ClassSums {
  return {
    bins,
    count: new Float64Array(classes * bins),
    predicted: new Float64Array(classes * bins),
    occurred: new Float64Array(classes * bins),
    zeroCount: new Float64Array(classes),
    zeroOccurred: new Float64Array(classes),
  }
}

/** Adds a block of probability rows. @param threshold - only events with p above it count */
export function addClassSums(sums: ClassSums, block: Float64Array, labels: Int32Array, start: number, rows: number, threshold = -1): void {
  const classes = sums.zeroCount.length
  for (let row = 0, i = 0; row < rows; row++) {
    const label = labels[start + row]
    for (let k = 0; k < classes; k++, i++) {
      const p = block[i]
      if (p <= threshold) continue
      const bin = equalWidthBin(p, sums.bins)
      if (bin < 0) {
        sums.zeroCount[k]++
        if (k === label) sums.zeroOccurred[k]++
        continue
      }
      const at = k * sums.bins + bin
      sums.count[at]++
      sums.predicted[at] += p
      if (k === label) sums.occurred[at]++
    }
  }
}

/** Sum over classes of the equal-width error of class k. @param total - events of each class */
export function sumOverClasses(sums: ClassSums, total: number): number {
  let error = 0
  for (let k = 0; k < sums.zeroCount.length; k++) error += weightedGap(sums, total, k * sums.bins, sums.bins)
  return error
}

/** Mean over classes of the root of the weighted squared gaps; p = 0 counts in the first bin. */
export function meanRootSquare(sums: ClassSums, total: number): number {
  const { bins } = sums
  const withZeros = { count: sums.count.slice(), predicted: sums.predicted, occurred: sums.occurred.slice() }
  const classes = sums.zeroCount.length
  let error = 0
  for (let k = 0; k < classes; k++) {
    withZeros.count[k * bins] += sums.zeroCount[k]
    withZeros.occurred[k * bins] += sums.zeroOccurred[k]
    error += rootSquareGap(withZeros, total, k * bins, bins)
  }
  return error / classes
}

/** Mean over classes of the error over the events kept in `sums`, weighted by their own number; a class without counts 0. */
export function meanOverKept(sums: ClassSums): number {
  const classes = sums.zeroCount.length
  let error = 0
  for (let k = 0; k < classes; k++) {
    let kept = 0
    for (let b = k * sums.bins; b < (k + 1) * sums.bins; b++) kept += sums.count[b]
    if (kept > 0) error += weightedGap(sums, kept, k * sums.bins, sums.bins)
  }
  return error / classes
}

/**
 * Mean over classes of the error over k-means bins of p_k. The bins are made of all events of the class; of them those with
 * p > 1/K count.
 */
export function thresholdedClusterError(source: RowData, toProbabilities: BlockTransform, labels: Int32Array, bins: number): number {
  let error = 0
  forEachColumn(source, toProbabilities, (column, k) => {
    error += clusterError(column, labels, k, 1 / source.classes, bins)
  })
  return error / source.classes
}

function clusterError(column: Float64Array, labels: Int32Array, k: number, threshold: number, bins: number): number {
  const order = stableOrder(column)
  const p = gather(column, order)
  const occurred = Float64Array.from(order, (row) => (labels[row] === k ? 1 : 0))
  const prefixP = prefixSum(p)
  const prefixO = prefixSum(occurred)
  const bounds = kMeansBounds(p, p.length, prefixP, bins)
  const from = p.findIndex((x) => x > threshold)
  if (from < 0) return 0
  let error = 0
  for (let b = 0; b < bins; b++) {
    const lo = Math.max(bounds[b], from)
    const hi = bounds[b + 1]
    if (hi > lo) error += Math.abs(prefixP[hi] - prefixP[lo] - (prefixO[hi] - prefixO[lo]))
  }
  return error / (p.length - from)
}
