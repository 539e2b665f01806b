/**
 * Guo et al.: "On Calibration of Modern Neural Networks", ICML 2017, arXiv 1706.04599 (matrix scaling), and
 * Kull, Perello-Nieto, Kängsepp, Silva Filho, Song, Flach: "Beyond temperature scaling: Obtaining well-calibrated multiclass
 * probabilities with Dirichlet calibration", NeurIPS 2019, arXiv 1910.12656 (Dirichlet calibration and ODIR).
 *
 * Both are softmax(W f + b), of the logits or of the log-probabilities. ODIR penalises what is off the diagonal, and the
 * intercepts: λ Σ_{i≠j} W_ij² / (K (K − 1)) + μ Σ b² / K.
 */
import { OptionError } from '@bpf/core'
import type { LabelsInput } from '@bpf/core/data'
import { affineScores, fitAffine, type AffinePenalty } from './shared/affine'
import {
  makeCalibrator,
  openFitData,
  positiveInteger,
  savedVector,
  type Calibrator,
  type CalibratorState,
  type FitCalibratorOptions,
} from './shared/calibrator'
import { logSoftmaxRows, softmaxRows, type Rows } from './shared/rows'

/** Options of {@link fitMatrixScaling} and {@link fitDirichlet}. */
export interface MatrixScalingOptions extends FitCalibratorOptions {
  /** ODIR: λ for the off-diagonal entries of W, μ for the intercepts. Default: none for matrix scaling, 0.01 each for Dirichlet. */
  odir?: { lambda: number; mu: number }
  /** L2 in place of ODIR: weight of the mean square of W − I and b. */
  l2?: number
  /** L-BFGS iterations at most. Default 500. */
  maxIterations?: number
}

/** Softmax of an affine map of logits or log-probabilities. */
export interface MatrixScalingCalibrator extends Calibrator {
  /** W, row-major [K·K] */
  readonly weights: Float64Array
  /** b, [K] */
  readonly intercept: Float64Array
}

type Kind = 'matrixScaling' | 'dirichlet'

function penaltyOf({ odir, l2 }: MatrixScalingOptions, fallback: { lambda: number; mu: number }): AffinePenalty {
  if (odir !== undefined && l2 !== undefined) throw new OptionError('odir, l2: give one of them, not both')
  const { lambda, mu } = odir ?? (l2 === undefined ? fallback : { lambda: 0, mu: 0 })
  for (const [name, value] of Object.entries({ 'odir.lambda': lambda, 'odir.mu': mu, l2: l2 ?? 0 })) {
    if (!(value >= 0 && Number.isFinite(value))) throw new OptionError(`${name}: expected a number of at least 0, got ${value}`)
  }
  return { offDiagonal: lambda, intercept: mu, ridge: l2 ?? 0 }
}

async function fitKind(
  kind: Kind,
  logits: Rows,
  labels: LabelsInput,
  options: MatrixScalingOptions,
  fallback: { lambda: number; mu: number },
): Promise<MatrixScalingCalibrator> {
  const penalty = penaltyOf(options, fallback)
  const maxIterations = positiveInteger(options.maxIterations ?? 500, 'maxIterations')
  const data = openFitData(logits, labels, options)
  const { classes } = data
  const parameters = await fitAffine(data, 'full', featuresOf(kind, classes), penalty, { signal: options.signal, maxIterations })
  return makeMatrixScaling(kind, classes, parameters, data.warnings)
}

function featuresOf(kind: Kind, classes: number): (block: Float64Array, rows: number) => void {
  return kind === 'dirichlet' ? (block, rows) => logSoftmaxRows(block, rows, classes) : () => undefined
}

/**
 * Fits matrix scaling, softmax(W z + b).
 *
 * @param logits - [N, K] of held-out examples
 * @param labels - [N] class indices
 * @returns the calibrator with `weights` and `intercept`; arg max may change
 * @throws ShapeError, DataError for malformed input, OptionError for negative penalties
 * @see arXiv 1706.04599
 */
export async function fitMatrixScaling(
  logits: Rows,
  labels: LabelsInput,
  options: MatrixScalingOptions = {},
): Promise<MatrixScalingCalibrator> {
  return fitKind('matrixScaling', logits, labels, options, { lambda: 0, mu: 0 })
}

/**
 * Fits Dirichlet calibration, softmax(W log p + b) with ODIR or L2, by full-batch L-BFGS.
 *
 * @param logits - [N, K] of held-out examples
 * @param labels - [N] class indices
 * @returns the calibrator with `weights` and `intercept`; arg max may change
 * @throws ShapeError, DataError for malformed input, OptionError for negative penalties
 * @see arXiv 1910.12656
 */
export async function fitDirichlet(
  logits: Rows,
  labels: LabelsInput,
  options: MatrixScalingOptions = {},
): Promise<MatrixScalingCalibrator> {
  return fitKind('dirichlet', logits, labels, options, { lambda: 1e-2, mu: 1e-2 })
}

function makeMatrixScaling(kind: Kind, classes: number, parameters: Float64Array, warnings: readonly string[]): MatrixScalingCalibrator {
  const scores = new Float64Array(classes)
  const features = featuresOf(kind, classes)
  const transform = (block: Float64Array, rows: number): void => {
    features(block, rows)
    for (let row = 0, at = 0; row < rows; row++, at += classes) {
      affineScores(parameters, 'full', block, at, classes, scores)
      block.set(scores, at)
    }
    softmaxRows(block, rows, classes)
  }
  const weights = parameters.slice(0, classes * classes)
  const intercept = parameters.slice(classes * classes)
  return { ...makeCalibrator({ kind, classes, parameters: { weights, intercept }, transform, warnings }), weights, intercept }
}

/** A saved matrix scaling or Dirichlet calibration. @throws DataError */
export function loadMatrixScaling(state: CalibratorState): MatrixScalingCalibrator {
  const { classes } = state
  const parameters = new Float64Array(classes * classes + classes)
  parameters.set(savedVector(state, 'weights', classes * classes))
  parameters.set(savedVector(state, 'intercept', classes), classes * classes)
  return makeMatrixScaling(state.kind as Kind, classes, parameters, [])
}
