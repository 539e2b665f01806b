export {
  boostedNetworkFromState,
  fitGradientBoostedNetwork,
  gradientBoostedNetwork,
  type BoostedBatch,
  type BoostedState,
  type FitGradientBoostedNetworkOptions,
  type GradientBoostedNetworkOptions,
} from './gradient-boosted-network'
export { boostingLoss, type BoostingLoss, type BoostingLossKind } from './losses'
export { boostedNetworkModel, type BoostedParts, type GradientBoostedNetwork, type MergedNetwork } from './model'
export { fitJointNetwork, type JointNetwork, type JointNetworkOptions } from './joint-network'
export { stepNetwork, type RegressionBatch, type StepNetworkOptions, type StepNetworkState } from './step-network'
export {
  networkObjective,
  type NetworkData,
  type NetworkObjective,
  type NetworkObjectiveOptions,
  type NetworkSizes,
  type NetworkWeights,
  type UnitActivation,
  type UnitSolver,
} from './small-network'
