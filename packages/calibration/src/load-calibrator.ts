import { DataError } from '@bpf/core'
import { loadBayesianBinning } from './bayesian-binning'
import { loadBeta } from './beta-calibration'
import { loadMapCalibrator } from './calibration-maps'
import { loadEnsembleTemperature } from './ensemble-temperature-scaling'
import { loadHistogramBinning } from './histogram-binning'
import { loadIsotonic } from './isotonic-regression'
import { loadMatrixScaling } from './matrix-scaling'
import { loadOrderPreserving } from './order-preserving'
import { loadScalingBinning } from './scaling-binning'
import type { Calibrator, CalibratorState } from './shared/calibrator'
import { loadSpline } from './spline-calibration'
import { loadTemperature } from './temperature-scaling'
import { loadVectorScaling } from './vector-scaling'

const loaders: { readonly [kind: string]: (state: CalibratorState) => Calibrator } = {
  bayesianBinning: loadBayesianBinning,
  beta: loadBeta,
  calibrationMap: loadMapCalibrator,
  dirichlet: loadMatrixScaling,
  ensembleTemperature: loadEnsembleTemperature,
  histogramBinning: loadHistogramBinning,
  isotonic: loadIsotonic,
  matrixScaling: loadMatrixScaling,
  orderPreserving: loadOrderPreserving,
  scalingBinning: loadScalingBinning,
  spline: loadSpline,
  temperature: loadTemperature,
  vectorScaling: loadVectorScaling,
}

/**
 * A calibrator from what its `save()` returned; lists may stand for Float64Array, so plain JSON works too.
 *
 * @throws DataError when the state is malformed or of an unknown kind or version
 */
export function loadCalibrator(state: CalibratorState): Calibrator {
  const { kind, version, classes } = (state ?? {}) as Partial<CalibratorState>
  if (typeof kind !== 'string' || !Object.hasOwn(loaders, kind)) {
    throw new DataError(`calibrator state: unknown kind '${String(kind)}'; known are ${Object.keys(loaders).join(', ')}`)
  }
  if (version !== 1) throw new DataError(`calibrator state '${kind}': expected version 1, got ${String(version)}; update @bpf/calibration`)
  if (!Number.isInteger(classes) || (classes as number) < 2)
    throw new DataError(`calibrator state '${kind}': classes should be an integer of at least 2`)
  if (typeof state.parameters !== 'object' || state.parameters === null)
    throw new DataError(`calibrator state '${kind}': parameters are missing`)
  return loaders[kind](state)
}
