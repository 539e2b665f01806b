export type { ApplyCalibrator, ApplyOptions, Calibrator, CalibratorState, FitCalibratorOptions } from './shared/calibrator'
export type { OnWarning, Rows } from './shared/rows'
export type { BinaryMode, ScalarMapsCalibrator, TopLabelCalibrator } from './shared/scalar-maps'
export { loadCalibrator } from './load-calibrator'

export {
  hCalibrationLoss,
  hCalibrationLossArrays,
  sortedWindowErrors,
  windowMeans,
  type HCalibrationLossOptions,
  type HCalibrationLossResult,
  type HCalibrationWeighting,
} from './h-calibration-loss'
export {
  fitHCalibration,
  hCalibration,
  type FitHCalibrationOptions,
  type HCalibrationBatch,
  type HCalibrationCandidate,
  type HCalibrationOptions,
  type HCalibrationSelector,
  type HCalibrationState,
  type HCalibrator,
} from './h-calibration'
export {
  mapName,
  paperCalibrationMaps,
  piecewiseLinearLogits,
  temperatureEnsemble,
  type CalibrationMap,
  type MapCalibrator,
  type MapParameters,
  type Standardisation,
} from './calibration-maps'

export { fitTemperature, type TemperatureCalibrator } from './temperature-scaling'
export { fitVectorScaling, type VectorScalingCalibrator, type VectorScalingOptions } from './vector-scaling'
export { fitDirichlet, fitMatrixScaling, type MatrixScalingCalibrator, type MatrixScalingOptions } from './matrix-scaling'
export { fitEnsembleTemperature, type EnsembleTemperatureCalibrator, type EnsembleTemperatureOptions } from './ensemble-temperature-scaling'
export { fitIsotonic, type IsotonicOptions } from './isotonic-regression'
export { fitHistogramBinning, type HistogramBinningOptions } from './histogram-binning'
export { fitBayesianBinning, type BayesianBinningCalibrator, type BayesianBinningOptions } from './bayesian-binning'
export { fitBeta, type BetaOptions } from './beta-calibration'
export { fitSpline, type SplineCalibrator, type SplineOptions } from './spline-calibration'
export { fitScalingBinning, type ScalingBinningOptions } from './scaling-binning'
export {
  fitOrderPreserving,
  orderPreserving,
  orderPreservingLogits,
  type FitOrderPreservingOptions,
  type OrderPreservingBatch,
  type OrderPreservingCalibrator,
  type OrderPreservingOptions,
  type OrderPreservingState,
} from './order-preserving'

export { calibrationMetricNames, calibrationMetrics, type CalibrationMetric, type CalibrationMetricsOptions } from './calibration-metrics'
export { reliabilityDiagram, type ReliabilityBin, type ReliabilityDiagram, type ReliabilityDiagramOptions } from './reliability-diagram'
