export { cosineClassifier, nearestMean } from './baselines'
export {
  episodeSampler,
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
export {
  episodeDataset,
  prototypicalNetwork,
  type EpisodeBatch,
  type EpisodeDatasetOptions,
  type ExampleRows,
  type PrototypicalLearner,
  type PrototypicalOptions,
  type PrototypicalState,
} from './prototypical-network'
