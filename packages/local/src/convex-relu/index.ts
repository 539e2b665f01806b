export { fitConvexRelu, type ConvexReluFit } from './fit'
export type { ConvexReluMethod, FitConvexReluOptions } from './solve'
export { fitBackpropRelu, type BackpropReluNetwork, type FitBackpropReluOptions } from './backprop'
export {
  convexReluModel,
  type ConvexReluHistory,
  type ConvexReluNetwork,
  type ConvexReluParts,
  type ConvexReluSolution,
  type ConvexReluTask,
} from './model'
export type { ConvexReluProblemOptions } from './problem'
export type { ConvexReluLoss } from './losses'
export type { InputPerturbation } from './checks'
export { recoverReluNetwork, reluNetworkObjective, reluNetworkOutputs, type ReluNetwork } from './network'
export {
  activationPatternBound,
  activationPatterns,
  patternSampleBound,
  sampleActivationPatterns,
  type PatternSampleOptions,
} from './patterns'
export { convexReluAdmm, type ConvexReluAdmmOptions, type ConvexReluSolver, type ConvexReluState } from './admm'
export { convexReluRbcd, type ConvexReluRbcdOptions } from './rbcd'
export { compiledConvexReluAdmm, type AdmmProgress, type CompiledAdmmState, type CompiledConvexReluAdmm } from './compiled-admm'
export {
  sampledConvexProgram,
  sampleHiddenWeights,
  type SampledProgram,
  type SampledProgramOptions,
  type SampledProgramState,
} from './sampled'
export { robustLosses, type RobustLosses, type RobustPerturbation, type RobustProgramOptions, type RobustSolver } from './robust'
export { robustConvexAdmm, type RobustAdmmOptions, type RobustProgramState } from './robust-admm'
export { penalizedRobustProgram, type PenalizedProgramOptions, type PenalizedProgramState } from './robust-penalized'
export { attackReluNetwork, type ReluAttackOptions } from './attack'
