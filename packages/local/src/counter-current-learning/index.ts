export {
  counterCurrentAutoencoder,
  type CounterCurrentAutoencoder,
  type CounterCurrentAutoencoderOptions,
  type CounterCurrentAutoencoderState,
  type ImagePair,
} from './autoencoder'
export {
  counterCurrentLearning,
  type CounterCurrentLearner,
  type CounterCurrentLearningOptions,
  type CounterCurrentState,
} from './counter-current-learning'
export type { MirrorActivation } from './activation'
export { linearCka } from './cka'
export type { DenseClassifierOptions, DenseClassifierState } from './dense-classifier'
export { errorFeedback, type ErrorRoute } from './error-feedback'
export type { CounterCurrentGradients, BothNetworks } from './local-step'
export type { LocalLoss } from './pair-loss'
export { differenceTargetPropagation, type DifferenceTargetPropagationOptions } from './target-propagation'
export { centraliseGradients, epochCosine, type CounterCurrentUpdate } from './updates'
