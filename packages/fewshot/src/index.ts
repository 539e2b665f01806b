export { bdCspn, type BdCspnOptions } from './bd-cspn'
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
export {
  fineTune,
  fineTuneHeads,
  fineTuning,
  fineTuningHeads,
  type FineTuneHeadsOptions,
  type FineTuneOptions,
  type FineTuningOptions,
  type FineTuningState,
  type HeadsBatch,
  type HeadsState,
  type SupportBatch,
} from './fine-tuning'
export { laplacianShot, type LaplacianShotOptions } from './laplacian-shot'
export { normalisedCut, normalisedCutLabels, type NormalisedCutOptions } from './normalised-cut'
export { episodeTask, selectLambda } from './select-lambda'
export { selectRows, type FeatureMatrix, type Products } from './shared/matrix'
export * from './transductive-cluster'
export * from './icnn-loss'
export {
  episodeDataset,
  prototypicalNetwork,
  type EpisodeExamples,
  type EpisodeDatasetOptions,
  type ExampleRows,
  type PrototypicalLearner,
  type PrototypicalOptions,
  type PrototypicalState,
} from './prototypical-network'
