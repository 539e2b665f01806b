export type { Dataset, PassOptions, WeightedBatch } from './dataset'
export type { ArrayLeaf, ArrayTree, BatchOf, HostArray, HostDtype, NestedNumbers } from './host-array'
export {
  batch,
  fromArrays,
  fromStream,
  shuffle,
  subset,
  type ArrayExamples,
  type Examples,
  type GroupOptions,
  type ShuffleOptions,
  type StreamOptions,
} from './examples'
export { concat, map, prefetch, take } from './pipeline'
export { kFold, kFoldIndices, split, splitIndices, type SplitOptions } from './splits'
export { padRagged, padToSizeClass, sizeClass, type Padded } from './padding'
export { fitStandardiser, type Standardiser } from './standardise'
export { parseIdx } from './idx'
export { parseCifar10, parseCifar100 } from './cifar'
export { parseCsv, type CategoricalColumn, type Column, type CsvOptions, type NumericColumn, type Table } from './csv'
export { parseNpy, parseNpz } from './npy'
export {
  readLabels,
  readMatrix,
  readVector,
  type LabelsInput,
  type MatrixData,
  type MatrixInput,
  type NumericArray,
  type ReadMatrixOptions,
  type VectorInput,
} from './array-input'
