export type { Dataset, PassOptions, WeightedBatch } from './dataset'
