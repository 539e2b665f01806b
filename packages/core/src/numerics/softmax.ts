import { OptionError, ShapeError } from '../errors'

/** log(1 + e^x) without overflow or loss of small results. */
export function softplus(x: number): number {
  return x > 0 ? x + Math.log1p(Math.exp(-x)) : Math.log1p(Math.exp(x))
}

/** 1 / (1 + e^-x), with full relative precision for negative x. */
export function sigmoid(x: number): number {
  if (x >= 0) return 1 / (1 + Math.exp(-x))
  const e = Math.exp(x)
  return e / (1 + e)
}

/** log of the logistic function, -softplus(-x). */
export function logSigmoid(x: number): number {
  return -softplus(-x)
}

/**
 * log(p / (1 - p)), the inverse of {@link sigmoid}.
 *
 * @param p - a probability; ∓Infinity at 0 and 1, NaN outside [0, 1]
 */
export function logit(p: number): number {
  // Near ½ the two logarithms cancel; (2p - 1) is exact there.
  if (p > 0.25 && p < 0.75) return 2 * Math.atanh(2 * p - 1)
  return Math.log(p) - Math.log1p(-p)
}

/** x log y, 0 where x = 0 (for any y that is not NaN). */
export function xlogy(x: number, y: number): number {
  return x === 0 && !Number.isNaN(y) ? 0 : x * Math.log(y)
}

/** Rounds to the nearest integer, halves to the even one (as IEEE 754, NumPy and PyTorch do). */
export function roundHalfToEven(x: number): number {
  const floor = Math.floor(x)
  const rest = x - floor
  if (rest < 0.5) return floor
  return rest > 0.5 || floor % 2 !== 0 ? floor + 1 : floor
}

/**
 * log Σ exp(x_i), without overflow.
 *
 * @param values - any numbers; -Infinity counts as nothing
 * @returns -Infinity for an empty list
 */
export function logSumExp(values: ArrayLike<number>): number {
  return logSumExpSlice(values, 0, values.length)
}

function logSumExpSlice(values: ArrayLike<number>, start: number, end: number): number {
  let max = -Infinity
  for (let i = start; i < end; i++) max = Math.max(max, values[i])
  if (!Number.isFinite(max)) return max
  let sum = 0
  for (let i = start; i < end; i++) sum += Math.exp(values[i] - max)
  return max + Math.log(sum)
}

function rowCount(name: string, logits: ArrayLike<number>, classes: number): number {
  if (!Number.isSafeInteger(classes) || classes < 1)
    throw new OptionError(`${name}: expected a positive integer number of classes, got ${classes}`)
  if (logits.length % classes !== 0) {
    throw new ShapeError(`${name}: expected rows of ${classes} logits, got ${logits.length} values, which is not a multiple`)
  }
  return logits.length / classes
}

/**
 * log Σ exp over each row.
 *
 * @param logits - [n · classes], row by row
 * @returns [n]
 * @throws ShapeError when the length is not a multiple of `classes`
 */
export function logSumExpRows(logits: ArrayLike<number>, classes: number): Float64Array {
  const rows = rowCount('logSumExpRows', logits, classes)
  const out = new Float64Array(rows)
  for (let row = 0; row < rows; row++) out[row] = logSumExpSlice(logits, row * classes, (row + 1) * classes)
  return out
}

/**
 * Softmax of each row, in double precision.
 *
 * @param logits - [n · classes], row by row; not all -Infinity in a row
 * @returns [n · classes]; rows sum to 1 to rounding
 * @throws ShapeError when the length is not a multiple of `classes`
 */
export function softmaxRows(logits: ArrayLike<number>, classes: number): Float64Array {
  const rows = rowCount('softmaxRows', logits, classes)
  const out = new Float64Array(logits.length)
  for (let row = 0; row < rows; row++) {
    const start = row * classes
    const end = start + classes
    let max = -Infinity
    for (let i = start; i < end; i++) max = Math.max(max, logits[i])
    let sum = 0
    for (let i = start; i < end; i++) sum += out[i] = Math.exp(logits[i] - max)
    for (let i = start; i < end; i++) out[i] /= sum
  }
  return out
}

/**
 * Log-softmax of each row, in double precision.
 *
 * @param logits - [n · classes], row by row; not all -Infinity in a row
 * @returns [n · classes]
 * @throws ShapeError when the length is not a multiple of `classes`
 */
export function logSoftmaxRows(logits: ArrayLike<number>, classes: number): Float64Array {
  const rows = rowCount('logSoftmaxRows', logits, classes)
  const out = new Float64Array(logits.length)
  for (let row = 0; row < rows; row++) {
    const start = row * classes
    const end = start + classes
    let max = -Infinity
    for (let i = start; i < end; i++) max = Math.max(max, logits[i])
    let rest = 0
    let seenMax = false
    for (let i = start; i < end; i++) {
      if (!seenMax && logits[i] === max) seenMax = true
      else rest += Math.exp(logits[i] - max)
    }
    // log1p keeps the log-probability of a confident class (−1e-20, say) from rounding to 0.
    const logSum = Math.log1p(rest)
    for (let i = start; i < end; i++) out[i] = logits[i] - max - logSum
  }
  return out
}
