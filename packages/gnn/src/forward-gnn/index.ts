/**
 * N. Park, X. Wang, A. Simoulin, S. Yang, G. Yang, R. Rossi, P. Trivedi, N. Ahmed, "Forward Learning of Graph Neural
 * Networks", ICLR 2024, arXiv 2403.11004. Graph networks trained by local losses alone: no error goes through more than
 * one layer.
 */
export { virtualNodeEdges, withVirtualNodes, type VirtualDirection } from './augment'
export type { ForwardGnnOptions, LayerwiseOptions, LayerwiseState } from './layerwise'
export {
  linkPredictor,
  localLinks,
  topDownLinks,
  type LinkOptions,
  type LinkPairs,
  type LinkPredictorState,
  type LinkScores,
  type Pairs,
  type TopDownLinksOptions,
} from './links'
export {
  forwardForwardNodes,
  singleForward,
  type ForwardForwardNodes,
  type ForwardForwardNodesOptions,
  type SingleForwardOptions,
  type StagedNodeClassifier,
} from './node-methods'
export {
  goodness,
  goodnessLoss,
  linkLogits,
  linkLoss,
  normaliseRows,
  virtualLogits,
  virtualNodeLoss,
  type LinkObjective,
} from './objective'
export { pepita, type PepitaOptions, type PepitaState } from './pepita'
export {
  topDownToInput,
  topDownToLoss,
  type TopDownOptions,
  type TopDownState,
  type TopDownToInputOptions,
  type TopDownToLossOptions,
} from './top-down'
