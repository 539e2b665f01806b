export { applyUpdates, type LearningRate, type Optimizer } from './optimizer'
export { adam, adamw, type AdamOptions, type AdamState } from './adam'
export { lamb } from './lamb'
export { rmsprop, type RmspropOptions, type RmspropState } from './rmsprop'
export { sgd, type SgdOptions, type SgdState } from './sgd'
export {
  constant,
  cosine,
  linearCoolDown,
  milestones,
  polynomial,
  schedule,
  stepDecay,
  switchAt,
  warmUp,
  type Schedule,
  type ScheduleMath,
} from './schedules'
export {
  accumulate,
  addDecayedWeights,
  chain,
  clipByGlobalNorm,
  clipByValue,
  masked,
  scaleBySchedule,
  type AccumulateState,
  type EmptyState,
  type MaskedState,
} from './transforms'
