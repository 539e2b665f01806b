import { DataError } from '../errors'
import { readLabels, readVector, type LabelsInput, type VectorInput } from '../data/array-input'

/** Scores of positives and negatives, each ascending. Both metrics only need these two sorted lists, merged. */
function sortedByClass(scores: VectorInput, labels: LabelsInput, name: string): { positive: Float64Array; negative: Float64Array } {
  const values = readVector(scores, 'scores', { infinite: true })
  const truth = readLabels(labels, 'labels', { classes: 2, length: values.length })
  const count = truth.reduce((sum, label) => sum + label, 0)
  const positive = new Float64Array(count)
  const negative = new Float64Array(values.length - count)
  let p = 0
  let n = 0
  for (let i = 0; i < values.length; i++) {
    if (truth[i] === 1) positive[p++] = values[i] + 0
    else negative[n++] = values[i] + 0
  }
  if (p === 0 || (n === 0 && name === 'auroc')) {
    throw new DataError(`${name}: expected labels 0 and 1 to occur both, got ${p} positives and ${n} negatives`)
  }
  return { positive: positive.sort(), negative: negative.sort() }
}

/**
 * Area under the ROC curve: the probability that a positive scores higher than a negative, ties counting one half.
 *
 * @param scores - [n], higher means positive; infinities are allowed
 * @param labels - 0 or 1, [n]
 * @returns in [0, 1]
 * @throws ShapeError when the lengths differ; DataError for NaN, other labels, or when one class is missing
 */
export function auroc(scores: VectorInput, labels: LabelsInput): number {
  const { positive, negative } = sortedByClass(scores, labels, 'auroc')
  let below = 0
  let upTo = 0
  let wins = 0
  for (const score of positive) {
    while (below < negative.length && negative[below] < score) below++
    upTo = Math.max(upTo, below)
    while (upTo < negative.length && negative[upTo] === score) upTo++
    wins += below + (upTo - below) / 2
  }
  return wins / (positive.length * negative.length)
}

/**
 * Average precision: Σ (Rₖ − Rₖ₋₁) Pₖ over the distinct scores from the highest down, with precision P and recall R at
 * each threshold (no interpolation, as in scikit-learn).
 *
 * @param scores - [n], higher means positive; infinities are allowed
 * @param labels - 0 or 1, [n]
 * @returns in [0, 1]
 * @throws ShapeError when the lengths differ; DataError for NaN, other labels, or no positives
 */
export function averagePrecision(scores: VectorInput, labels: LabelsInput): number {
  const { positive, negative } = sortedByClass(scores, labels, 'averagePrecision')
  let p = positive.length
  let n = negative.length
  let sum = 0
  while (p > 0) {
    const threshold = positive[p - 1]
    const before = p
    while (p > 0 && positive[p - 1] === threshold) p--
    while (n > 0 && negative[n - 1] >= threshold) n--
    const found = positive.length - p
    sum += (before - p) * (found / (found + negative.length - n))
  }
  return sum / positive.length
}
