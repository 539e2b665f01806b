export { augLocal, type AugLocalOptions } from './aug-local'
export {
  localLearning,
  type Auxiliary,
  type AuxiliaryContext,
  type LocalLearner,
  type LocalLearningOptions,
  type LocalLearningState,
  type LocalNetworkOptions,
} from './local-learning'
export { auxiliaryPlan, augLocalSchedule, type AuxiliaryPlanOptions, type AuxiliaryRow, type LayerSelection } from './plan'
export {
  dglAuxiliary,
  infoProAuxiliary,
  poolingAuxiliary,
  predSimAuxiliary,
  similarityLoss,
  type InfoProOptions,
  type InfoProWeights,
} from './rivals'
export {
  basicBlock,
  bottleneckBlock,
  cifarResnetLayers,
  convBlock,
  imagenetResnetLayers,
  residualLayers,
  vggBlock,
  vggLayers,
  type BlockFactory,
  type LocalLayer,
} from '../shared/blocks'
export { classifierObjective, type LocalObjective, type ModulePart, type ModuleState } from '../shared/block-chain'
