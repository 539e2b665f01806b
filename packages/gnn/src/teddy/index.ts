export { edgeScores, edgesToKeep, pruneEdges, type EdgeScores, type PruneOptions } from './edges'
export { graphNetwork, type GraphNetwork, type GraphNetworkKind, type GraphNetworkOptions } from './networks'
export { distillationLoss, projectL0 } from './objective'
export {
  fitTeddy,
  sparseStudent,
  type EdgeRanking,
  type FitTeddyOptions,
  type SparseStudent,
  type SparseStudentOptions,
  type SparseStudentState,
  type TeddyResult,
  type WeightPruning,
} from './teddy'
export { fitUgs, type FitUgsOptions, type IterativePruningOptions, type PruningLevel } from './ugs'
export { classSeparation, fitWdGlt, type FitWdGltOptions } from './wd-glt'
