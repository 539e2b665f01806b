/**
 * Zadrozny, Elkan: "Transforming classifier scores into accurate multiclass probability estimates", KDD 2002 (one-vs-rest);
 * Zhang, Kailkhura, Han: "Mix-n-Match", ICML 2020, arXiv 2003.07329 (IRM: one isotonic map for all classes).
 *
 * Isotonic regression by pool-adjacent-violators, linear between the knots. As in Mix-n-Match's code, 1e-9 p is added so that
 * order within a pooled block survives. Its IRM does not normalise rows; here rows are normalised unless told otherwise,
 * because `apply` returns probabilities.
 */
import { DataError, OptionError } from '@bpf/core'
import type { LabelsInput } from '@bpf/core/data'
import {
  breathe,
  makeCalibrator,
  openFitData,
  type Calibrator,
  type CalibratorState,
  type FitCalibratorOptions,
  type FitData,
} from './shared/calibrator'
import { blockKnots, isotonicKnots, poolAdjacentViolators, type Knots } from './shared/pav'
import { forEachBlock, softmaxRows, type Rows } from './shared/rows'
import {
  fitScalarMaps,
  linearMap,
  loadScalarMaps,
  normaliseRows,
  vectors,
  type ScalarMapsCalibrator,
  type ScalarMethod,
} from './shared/scalar-maps'
import { gather, stableOrder } from './shared/sort'

/** Slope added to the isotonic map, so that ties within a pooled block keep their order. */
const tieSlope = 1e-9

/** Options of {@link fitIsotonic}. */
export interface IsotonicOptions extends FitCalibratorOptions {
  /**
   * 'multiclass' (IRM): one map for all (p, 1[y = k]) pairs, which keeps the order of classes; 'oneVsRest' (IROvA): one map
   * for each class; 'topLabel': one map for the top label's confidence. Default 'multiclass'.
   */
  variant?: 'multiclass' | 'oneVsRest' | 'topLabel'
  /** Divide each row by its sum ('multiclass' only; 'oneVsRest' always does). Default true. */
  normalize?: boolean
}

const binary: ScalarMethod = {
  kind: 'isotonic',
  fit(p, o) {
    const order = stableOrder(p)
    const { x, y } = isotonicKnots(gather(p, order), gather(o, order))
    return { x, y }
  },
  map(fitted) {
    const { x, y } = vectors(fitted, 'isotonic', ['x', 'y'])
    const monotone = linearMap(x, y)
    return (p) => monotone(p) + tieSlope * p
  },
}

const topLabelOnly: ScalarMethod = {
  ...binary,
  map(fitted) {
    const { x, y } = vectors(fitted, 'isotonic', ['x', 'y'])
    return linearMap(x, y)
  },
}

/**
 * Fits isotonic regression.
 *
 * @param logits - [N, K] of held-out examples
 * @param labels - [N] class indices
 * @returns the calibrator; arg max may change except with 'multiclass'
 * @throws ShapeError, DataError for malformed input, OptionError for an unknown variant
 * @see arXiv 2003.07329
 */
export async function fitIsotonic(
  logits: Rows,
  labels: LabelsInput,
  options: IsotonicOptions = {},
): Promise<Calibrator | ScalarMapsCalibrator> {
  const { variant = 'multiclass', normalize = true, signal } = options
  if (variant === 'oneVsRest') return fitScalarMaps(binary, logits, labels, { ...options, mode: 'oneVsRest' })
  if (variant === 'topLabel') return fitScalarMaps(topLabelOnly, logits, labels, { ...options, mode: 'topLabel' })
  if (variant !== 'multiclass') throw new OptionError(`variant: expected 'multiclass', 'oneVsRest' or 'topLabel', got '${String(variant)}'`)
  const data = openFitData(logits, labels, options)
  await breathe(signal)
  return makeMulticlass(data.classes, pooledKnots(data), normalize, data.warnings)
}

/**
 * Isotonic knots of all N·K events. Only N of them occurred, so the two kinds are sorted apart, natively and in the precision
 * of the input, and merged: memory is one copy of the input.
 */
function pooledKnots(data: FitData): Knots {
  const { rows, classes, labels } = data
  const occurred = new Float64Array(rows)
  const failedCount = rows * (classes - 1)
  const failed = data.data instanceof Float32Array ? new Float32Array(failedCount) : new Float64Array(failedCount)
  const round = data.data instanceof Float32Array ? Math.fround : (x: number): number => x
  let next = 0
  forEachBlock(data, (block, start, count) => {
    softmaxRows(block, count, classes)
    for (let row = 0, i = 0; row < count; row++) {
      for (let k = 0; k < classes; k++, i++) {
        if (k === labels[start + row]) occurred[start + row] = round(block[i])
        else failed[next++] = block[i]
      }
    }
  })
  occurred.sort()
  failed.sort()
  return mergeRuns(occurred, failed)
}

/** PAV over the merged events. A run of failures between two successes stays one block, so there are at most about 2 N groups. */
function mergeRuns(occurred: Float64Array, failed: Float64Array | Float32Array): Knots {
  const first: number[] = []
  const last: number[] = []
  const mean: number[] = []
  const weight: number[] = []
  const add = (from: number, to: number, hits: number, count: number): void => {
    first.push(from)
    last.push(to)
    mean.push(hits / count)
    weight.push(count)
  }
  let f = 0
  for (let s = 0; s < occurred.length;) {
    const p = occurred[s]
    const runStart = f
    while (f < failed.length && failed[f] < p) f++
    if (f > runStart) add(failed[runStart], failed[f - 1], 0, f - runStart)
    const hitStart = s
    const tieStart = f
    while (s < occurred.length && occurred[s] === p) s++
    while (f < failed.length && failed[f] === p) f++
    add(p, p, s - hitStart, s - hitStart + f - tieStart)
  }
  if (f < failed.length) add(failed[f], failed[failed.length - 1], 0, failed.length - f)
  return blockKnots(first, last, poolAdjacentViolators(mean, weight))
}

function makeMulticlass(classes: number, { x, y }: Knots, normalize: boolean, warnings: readonly string[]): Calibrator {
  const monotone = linearMap(x, y)
  const transform = (block: Float64Array, rows: number): void => {
    softmaxRows(block, rows, classes)
    for (let i = 0; i < rows * classes; i++) block[i] = monotone(block[i]) + tieSlope * block[i]
    if (normalize) normaliseRows(block, rows, classes)
  }
  return makeCalibrator({ kind: 'isotonic', classes, parameters: { mode: 'multiclass', normalize, x, y }, transform, warnings })
}

/** A saved isotonic calibrator. @throws DataError */
export function loadIsotonic(state: CalibratorState): Calibrator {
  const { mode, normalize } = state.parameters
  if (mode === 'topLabel') return loadScalarMaps(topLabelOnly, state)
  if (mode === 'oneVsRest') return loadScalarMaps(binary, state)
  if (mode !== 'multiclass') throw new DataError("calibrator state 'isotonic': parameters.mode should be multiclass, oneVsRest or topLabel")
  return makeMulticlass(state.classes, vectors(state.parameters, 'isotonic', ['x', 'y']), normalize !== false, [])
}
