import { DataError, OptionError } from '../errors'
import { readLabels, readMatrix, type LabelsInput, type MatrixData, type MatrixInput } from '../data/array-input'
import { zeros, type Matrix } from '../linalg/matrix'

/** Scores of classes, [n, classes], said to be logits or probabilities, because a loss can't tell and would be silently wrong. */
export type ClassScores = { logits: MatrixInput } | { probabilities: MatrixInput }

function checkRows(matrix: MatrixData, name: string): MatrixData {
  if (matrix.rows === 0) throw new DataError(`${name}: there are no rows; a mean over none is undefined`)
  return matrix
}

/** Index of the largest value of each row; the lowest index among ties. @returns [n] */
export function predictedLabels(scores: MatrixInput): Int32Array {
  const { rows, cols, data } = readMatrix(scores, 'scores', { infinite: true })
  const labels = new Int32Array(rows)
  for (let i = 0; i < rows; i++) {
    let best = 0
    for (let j = 1, p = i * cols; j < cols; j++) if (data[p + j] > data[p + best]) best = j
    labels[i] = best
  }
  return labels
}

/**
 * Share of rows whose label has the largest score (the first of ties wins).
 *
 * @param scores - logits or probabilities [n, classes]
 * @param labels - class indices [n]
 * @returns in [0, 1]
 * @throws ShapeError when the lengths differ, DataError for NaN, labels out of range, or no rows
 */
export function accuracy(scores: MatrixInput, labels: LabelsInput): number {
  return topKAccuracy(scores, labels, 1)
}

/**
 * Share of rows whose label is among the k largest scores; of equal scores the lower class index ranks first.
 *
 * @param scores - logits or probabilities [n, classes]
 * @param labels - class indices [n]
 * @param k - from 1 to the number of classes
 * @returns in [0, 1]
 * @throws like {@link accuracy}; OptionError for a bad k
 */
export function topKAccuracy(scores: MatrixInput, labels: LabelsInput, k: number): number {
  const { rows, cols, data } = checkRows(readMatrix(scores, 'scores', { infinite: true }), 'scores')
  if (!Number.isInteger(k) || k < 1 || k > cols)
    throw new OptionError(`topKAccuracy: k must be an integer from 1 to ${cols} (the classes), got ${k}`)
  const truth = readLabels(labels, 'labels', { classes: cols, length: rows })
  let hits = 0
  for (let i = 0; i < rows; i++) {
    const start = i * cols
    const label = truth[i]
    const score = data[start + label]
    let ahead = 0
    for (let j = 0; j < cols; j++) if (data[start + j] > score || (j < label && data[start + j] === score)) ahead++
    if (ahead < k) hits++
  }
  return hits / rows
}

/** Reads probabilities [n, classes]: in [0, 1], rows summing to 1 within what float32 rounding leaves. */
function readProbabilities(input: MatrixInput): MatrixData {
  const matrix = checkRows(readMatrix(input, 'probabilities'), 'probabilities')
  const { rows, cols, data } = matrix
  for (let i = 0; i < rows; i++) {
    let sum = 0
    for (let j = 0, p = i * cols; j < cols; j++, p++) {
      if (data[p] < 0 || data[p] > 1 + 1e-6)
        throw new DataError(`probabilities: ${data[p]} at row ${i}, column ${j}; expected values from 0 to 1 (or pass { logits })`)
      sum += data[p]
    }
    if (Math.abs(sum - 1) > 1e-3)
      throw new DataError(`probabilities: row ${i} sums to ${sum}, expected 1 (pass { logits } for scores before softmax)`)
  }
  return matrix
}

/** Largest value of one row, and log Σ exp of what is left when it is subtracted (kept apart, so that no digits are lost). */
function rowLogSumExp(data: Float64Array | Float32Array, start: number, cols: number, row: number): { largest: number; logSum: number } {
  let largest = -Infinity
  for (let p = start; p < start + cols; p++) largest = Math.max(largest, data[p])
  if (!Number.isFinite(largest))
    throw new DataError(`logits: the largest value of row ${row} is ${largest}; softmax needs a finite maximum`)
  let sum = 0
  for (let p = start; p < start + cols; p++) sum += Math.exp(data[p] - largest)
  return { largest, logSum: Math.log(sum) }
}

/** Scores with their labels, checked; `fromLogits` says which of the two kinds they are. */
function readScored(scores: ClassScores, labels: LabelsInput) {
  const fromLogits = 'logits' in scores
  const matrix = fromLogits
    ? checkRows(readMatrix(scores.logits, 'logits', { infinite: true }), 'logits')
    : readProbabilities(scores.probabilities)
  return { ...matrix, fromLogits, truth: readLabels(labels, 'labels', { classes: matrix.cols, length: matrix.rows }) }
}

/**
 * Mean negative log-likelihood of the labels, in nats: −(1/n) Σ log p(label). Infinity when a label has probability 0.
 *
 * @param scores - `{ logits }` or `{ probabilities }`, [n, classes]
 * @param labels - class indices [n]
 * @throws ShapeError when the lengths differ; DataError for NaN, labels out of range, rows that don't sum to 1, no rows
 */
export function negativeLogLikelihood(scores: ClassScores, labels: LabelsInput): number {
  const { fromLogits, rows, cols, data, truth } = readScored(scores, labels)
  let sum = 0
  for (let i = 0; i < rows; i++) {
    const value = data[i * cols + truth[i]]
    if (!fromLogits) {
      sum -= Math.log(value)
      continue
    }
    const { largest, logSum } = rowLogSumExp(data, i * cols, cols, i)
    sum += largest - value + logSum
  }
  return sum / rows
}

/**
 * Brier score: the mean over rows of Σ over classes of (p − [label])², from 0 to 2. (For two classes it is twice
 * scikit-learn's binary score, which looks at one class only.)
 *
 * @param scores - `{ logits }` or `{ probabilities }`, [n, classes]
 * @param labels - class indices [n]
 * @throws like {@link negativeLogLikelihood}
 */
export function brierScore(scores: ClassScores, labels: LabelsInput): number {
  const { fromLogits, rows, cols, data, truth } = readScored(scores, labels)
  let sum = 0
  for (let i = 0; i < rows; i++) {
    const start = i * cols
    const { largest, logSum } = fromLogits ? rowLogSumExp(data, start, cols, i) : { largest: 0, logSum: 0 }
    for (let j = 0; j < cols; j++) {
      const p = fromLogits ? Math.exp(data[start + j] - largest - logSum) : data[start + j]
      sum += (j === truth[i] ? p - 1 : p) ** 2
    }
  }
  return sum / rows
}

/**
 * Counts of (label, prediction) pairs.
 *
 * @param predictions - predicted class indices [n]; {@link predictedLabels} makes them from logits
 * @param labels - class indices [n]
 * @param options - `classes`: default one more than the largest index seen
 * @returns [classes, classes]: rows are labels, columns predictions
 * @throws ShapeError when the lengths differ, DataError for indices out of range
 */
export function confusionMatrix(predictions: LabelsInput, labels: LabelsInput, options: { classes?: number } = {}): Matrix {
  const { classes } = options
  const truth = readLabels(labels, 'labels', { classes })
  const predicted = readLabels(predictions, 'predictions', { classes, length: truth.length })
  const largest = (values: Int32Array): number => values.reduce((top, value) => Math.max(top, value), -1)
  const size = classes ?? Math.max(largest(truth), largest(predicted)) + 1
  const counts = zeros(size, size)
  for (let i = 0; i < truth.length; i++) counts.data[truth[i] * size + predicted[i]]++
  return counts
}
