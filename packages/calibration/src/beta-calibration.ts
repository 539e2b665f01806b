/**
 * Kull, Silva Filho, Flach: "Beta calibration: a well-founded and easily implemented improvement on logistic calibration for
 * binary classifiers", AISTATS 2017.
 *
 * logit q = a ln p − b ln(1 − p) + c with a, b ≥ 0: logistic regression on two features. It is convex, so of the four ways
 * to hold a or b at 0 the feasible one of least loss is the optimum.
 */
import type { LabelsInput } from '@bpf/core/data'
import { sigmoid } from '@bpf/core/numerics'
import type { CalibratorState, FitCalibratorOptions } from './shared/calibrator'
import { fitLogistic } from './shared/logistic'
import type { Rows } from './shared/rows'
import { fitScalarMaps, loadScalarMaps, vectors, type BinaryMode, type ScalarMapsCalibrator, type ScalarMethod } from './shared/scalar-maps'

/** Options of {@link fitBeta}. */
export interface BetaOptions extends FitCalibratorOptions {
  /** Default 'oneVsRest'. */
  mode?: BinaryMode
}

/** Probabilities 0 and 1 have no logarithms; they are moved in by this much. */
const least = 1e-12

function features(p: number): [number, number] {
  const inside = Math.min(1 - least, Math.max(least, p))
  return [Math.log(inside), -Math.log1p(-inside)]
}

const method: ScalarMethod = {
  kind: 'beta',
  fit(p, o) {
    const x = [new Float64Array(p.length), new Float64Array(p.length)]
    p.forEach((value, i) => ([x[0][i], x[1][i]] = features(value)))
    const subsets = [[0, 1], [0], [1], []]
    let best = { loss: Infinity, abc: [0, 0, 0] }
    for (const subset of subsets) {
      const { weights, intercept, loss } = fitLogistic(
        subset.map((feature) => x[feature]),
        o,
      )
      const abc = [0, 0, intercept]
      subset.forEach((feature, i) => (abc[feature] = weights[i]))
      if (abc[0] >= 0 && abc[1] >= 0 && loss < best.loss) best = { loss, abc }
    }
    return { abc: Float64Array.from(best.abc) }
  },
  map(fitted) {
    const [a, b, c] = vectors(fitted, 'beta', ['abc']).abc
    return (p) => {
      const [x0, x1] = features(p)
      return sigmoid(a * x0 + b * x1 + c)
    }
  },
}

/**
 * Fits Beta calibration.
 *
 * @param logits - [N, K] of held-out examples
 * @param labels - [N] class indices
 * @returns the calibrator; arg max may change
 * @throws ShapeError, DataError for malformed input
 */
export async function fitBeta(logits: Rows, labels: LabelsInput, options: BetaOptions = {}): Promise<ScalarMapsCalibrator> {
  return fitScalarMaps(method, logits, labels, { ...options, mode: options.mode ?? 'oneVsRest' })
}

/** A saved Beta calibration. @throws DataError */
export function loadBeta(state: CalibratorState): ScalarMapsCalibrator {
  return loadScalarMaps(method, state)
}
