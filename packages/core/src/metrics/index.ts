export {
  accuracy,
  brierScore,
  confusionMatrix,
  negativeLogLikelihood,
  predictedLabels,
  topKAccuracy,
  type ClassScores,
} from './classification'
export { clusteringAccuracy, normalizedMutualInformation } from './clustering'
export { auroc, averagePrecision } from './ranking'
export { lineFit, r2, rmse, type LineFit, type ValuesInput } from './regression'
export { frechetDistance, mmd, type GaussianInput, type MmdOptions } from './distribution'
