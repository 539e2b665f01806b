/**
 * Target projection stochastic gradient descent (tpSGD): every layer is trained by a local loss between its output and a fixed
 * random projection of the label, in one forward sweep.
 *
 * Michael Lomnitz, Zachary Daniels, David Zhang, Michael Piacentino: "Learning with Local Gradients at the Edge", 2022,
 * arXiv:2208.08503.
 *
 * No code of the authors is public. The update of dense layers is theirs, with the factor 2 of the squared error kept in the
 * gradient (they take it into η). How convolutions and recurrent cells have their targets, how P is scaled to an activation's
 * range and the automatic learning rate are our reading of the abstract. The rule generalises direct random target projection
 * (Frenkel, Lefebvre, Bol, 2021, arXiv 1909.01311), which is the linear loss here; the sign of its P is immaterial.
 */
export { targetConv, targetDense, type TargetConvOptions, type TargetLayer } from './layer'
export type { CustomLocalLoss, TargetLoss } from './local-loss'
export type { LocalGradients, TargetLayerState, TargetNetwork, TargetProjectionState, TargetTraining } from './network'
export type { ProjectionKind } from './projection'
export type { TargetActivation } from './activation'
export { randomFeedback, type FeedbackRoute, type RandomFeedbackOptions, type RandomFeedbackState } from './random-feedback'
export {
  elmanCell,
  recurrentTargetProjectionSgd,
  type ElmanParams,
  type RecurrentGradients,
  type RecurrentTargetProjectionClassifier,
  type RecurrentTargetProjectionOptions,
  type RecurrentTargetProjectionState,
  type TargetCell,
} from './recurrent'
export { targetProjectionRegression, type TargetProjectionRegressionOptions, type ValuesBatch } from './regression'
export {
  fitTargetProjection,
  retainedFloats,
  targetProjectionSgd,
  type TargetProjectionClassifier,
  type TargetProjectionSgdOptions,
} from './target-projection-sgd'
