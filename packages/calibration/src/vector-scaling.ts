/**
 * Guo, Pleiss, Sun, Weinberger: "On Calibration of Modern Neural Networks", ICML 2017, arXiv 1706.04599: vector scaling.
 *
 * softmax(w ⊙ z + b), a scale and an intercept for each class, minimising the negative log-likelihood (convex) by L-BFGS.
 */
import type { LabelsInput } from '@bpf/core/data'
import { affineScores, fitAffine } from './shared/affine'
import {
  makeCalibrator,
  openFitData,
  positiveInteger,
  savedVector,
  type Calibrator,
  type CalibratorState,
  type FitCalibratorOptions,
} from './shared/calibrator'
import { softmaxRows, type Rows } from './shared/rows'

/** Options of {@link fitVectorScaling}. */
export interface VectorScalingOptions extends FitCalibratorOptions {
  /** L-BFGS iterations at most. Default 500. */
  maxIterations?: number
}

/** Softmax of scaled and shifted logits. */
export interface VectorScalingCalibrator extends Calibrator {
  /** w, [K] */
  readonly scale: Float64Array
  /** b, [K] */
  readonly intercept: Float64Array
}

/**
 * Fits vector scaling. At the optimum the mean of p_k is the frequency of class k.
 *
 * @param logits - [N, K] of held-out examples
 * @param labels - [N] class indices
 * @returns the calibrator with `scale` and `intercept`; arg max may change
 * @throws ShapeError, DataError for malformed input
 * @see arXiv 1706.04599
 */
export async function fitVectorScaling(
  logits: Rows,
  labels: LabelsInput,
  options: VectorScalingOptions = {},
): Promise<VectorScalingCalibrator> {
  const maxIterations = positiveInteger(options.maxIterations ?? 500, 'maxIterations')
  const data = openFitData(logits, labels, options)
  const none = { offDiagonal: 0, intercept: 0, ridge: 0 }
  const parameters = await fitAffine(data, 'diagonal', () => undefined, none, { signal: options.signal, maxIterations })
  return makeVectorScaling(data.classes, parameters, data.warnings)
}

function makeVectorScaling(classes: number, parameters: Float64Array, warnings: readonly string[]): VectorScalingCalibrator {
  const scores = new Float64Array(classes)
  const transform = (block: Float64Array, rows: number): void => {
    for (let row = 0, at = 0; row < rows; row++, at += classes) {
      affineScores(parameters, 'diagonal', block, at, classes, scores)
      block.set(scores, at)
    }
    softmaxRows(block, rows, classes)
  }
  const scale = parameters.slice(0, classes)
  const intercept = parameters.slice(classes)
  return { ...makeCalibrator({ kind: 'vectorScaling', classes, parameters: { scale, intercept }, transform, warnings }), scale, intercept }
}

/** A saved vector scaling. @throws DataError */
export function loadVectorScaling(state: CalibratorState): VectorScalingCalibrator {
  const { classes } = state
  const parameters = new Float64Array(2 * classes)
  parameters.set(savedVector(state, 'scale', classes))
  parameters.set(savedVector(state, 'intercept', classes), classes)
  return makeVectorScaling(classes, parameters, [])
}
