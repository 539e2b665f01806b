export { cosineClassifier, nearestMean } from './baselines'
export {
  evaluateEpisodes,
  meanInterval,
  sampleEpisode,
  splitClasses,
  type Episode,
  type EpisodeAccuracy,
  type EpisodeOptions,
} from './episodes'
export { extractFeatures, meanFeature, normaliseFeatures, type FeatureNormalisation } from './features'
export type { FeatureMatrix, Products } from './shared/matrix'
export * from './transductive-cluster'
export * from './icnn-loss'
