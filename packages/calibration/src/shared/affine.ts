import { lbfgs } from '@bpf/core/solve'
import { breathe, type FitData } from './calibrator'
import { forEachBlock } from './rows'

/** How W and b of softmax(W f + b) are penalised. */
export interface AffinePenalty {
  /** Weight of Σ_{i≠j} W_ij² / (K (K − 1)). */
  offDiagonal: number
  /** Weight of Σ b² / K. */
  intercept: number
  /** Weight of the mean square of all of W − I and b (L2). */
  ridge: number
}

/** Which W: a diagonal (K numbers) or a full matrix (K² numbers, row-major). */
export type AffineShape = 'diagonal' | 'full'

/** The scores W f + b of one row, `f` at `at` in `block`, into `out`. */
export function affineScores(
  parameters: Float64Array,
  shape: AffineShape,
  block: Float64Array,
  at: number,
  classes: number,
  out: Float64Array,
): void {
  const offset = shape === 'diagonal' ? classes : classes * classes
  for (let k = 0; k < classes; k++) {
    let score = parameters[offset + k]
    if (shape === 'diagonal') score += parameters[k] * block[at + k]
    else for (let j = 0, w = k * classes; j < classes; j++, w++) score += parameters[w] * block[at + j]
    out[k] = score
  }
}

/** In-place softmax of one row. @returns log Σ exp */
function softmaxRow(values: Float64Array): number {
  let max = -Infinity
  for (const value of values) if (value > max) max = value
  let sum = 0
  for (let k = 0; k < values.length; k++) {
    values[k] = Math.exp(values[k] - max)
    sum += values[k]
  }
  for (let k = 0; k < values.length; k++) values[k] /= sum
  return max + Math.log(sum)
}

function addPenalty(parameters: Float64Array, gradient: Float64Array, classes: number, shape: AffineShape, penalty: AffinePenalty): number {
  const offset = parameters.length - classes
  let value = 0
  const add = (i: number, weight: number, target: number): void => {
    const difference = parameters[i] - target
    value += weight * difference * difference
    gradient[i] += 2 * weight * difference
  }
  for (let i = 0; i < offset; i++) {
    const onDiagonal = shape === 'diagonal' || i % (classes + 1) === 0
    if (!onDiagonal && penalty.offDiagonal > 0) add(i, penalty.offDiagonal / (classes * (classes - 1)), 0)
    if (penalty.ridge > 0) add(i, penalty.ridge / parameters.length, onDiagonal ? 1 : 0)
  }
  for (let i = offset; i < parameters.length; i++) add(i, penalty.intercept / classes + penalty.ridge / parameters.length, 0)
  return value
}

/**
 * Minimises the mean of −log softmax(W f + b)_y plus the penalty over W and b by L-BFGS, from W = I, b = 0, streaming over
 * the rows.
 *
 * @param features - changes a block of logits to the features f, in place
 * @returns the K (or K²) entries of W, then b
 */
export async function fitAffine(
  data: FitData,
  shape: AffineShape,
  features: (block: Float64Array, rows: number) => void,
  penalty: AffinePenalty,
  options: { signal?: AbortSignal; maxIterations: number },
): Promise<Float64Array> {
  const { classes, labels, rows } = data
  const offset = shape === 'diagonal' ? classes : classes * classes
  const start = new Float64Array(offset + classes)
  for (let k = 0; k < classes; k++) start[shape === 'diagonal' ? k : k * (classes + 1)] = 1
  await breathe(options.signal)
  const probabilities = new Float64Array(classes)
  const objective = (parameters: Float64Array): { value: number; gradient: Float64Array } => {
    options.signal?.throwIfAborted()
    const gradient = new Float64Array(parameters.length)
    let loss = 0
    forEachBlock(data, (block, first, count) => {
      features(block, count)
      for (let row = 0, at = 0; row < count; row++, at += classes) {
        affineScores(parameters, shape, block, at, classes, probabilities)
        const label = labels[first + row]
        const own = probabilities[label]
        loss += softmaxRow(probabilities) - own
        probabilities[label] -= 1
        for (let k = 0; k < classes; k++) {
          const residual = probabilities[k] / rows
          gradient[offset + k] += residual
          if (shape === 'diagonal') gradient[k] += residual * block[at + k]
          else for (let j = 0, w = k * classes; j < classes; j++, w++) gradient[w] += residual * block[at + j]
        }
      }
    })
    return { value: loss / rows + addPenalty(parameters, gradient, classes, shape, penalty), gradient }
  }
  return lbfgs(objective, start, { maxIterations: options.maxIterations, gradientTolerance: 1e-9 }).x
}
