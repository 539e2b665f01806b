export { lif, type LifOptions, type LifState, type Surrogate } from '../shared/lif'
export { sltt, type SlttOptions, type SlttState, type SpikingClassifier } from './sltt'
export type { SpikingGradients, SpikingParts } from './gradients'
export { normFreeSpikingResnet, spikingResnet18, spikingVgg11, type SpikingNetworkOptions } from './networks'
