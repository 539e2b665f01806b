export * as initializers from './initializers'
export type { Fans, Initializer } from './initializers'
export {
  identity,
  lambda,
  stateless,
  type ApplyOptions,
  type Empty,
  type Layer,
  type ParamsOf,
  type Shape,
  type ShapeOf,
  type StateOf,
} from './layer'
export { elu, gelu, leakyRelu, relu, sigmoid, silu, softplus, tanh } from './activations'
export { multiHeadAttention, type AttentionInput, type AttentionOptions, type AttentionParams } from './attention'
export { dropout, embedding, flatten, reshape, type EmbeddingParams } from './basic'
export { parallel, residual, sequential, type ParamsList, type Residual, type StateList } from './compose'
export {
  conv1d,
  conv2d,
  conv2dTranspose,
  depthwiseConv2d,
  type Conv1dOptions,
  type Conv2dOptions,
  type Conv2dTransposeOptions,
  type DepthwiseConv2dOptions,
  type Padding,
  type Pair,
} from './conv'
export { dense, type Affine, type AffineOptions } from './dense'
export { emaUpdate, type EmaOptions } from './ema'
export {
  batchNorm,
  groupNorm,
  layerNorm,
  rmsNorm,
  type AffineMode,
  type BatchNormOptions,
  type BatchNormState,
  type NormOptions,
  type NormParams,
  type ScaleOffset,
} from './norm'
export { avgPool, globalAvgPool, maxPool, type PoolOptions } from './pool'
export {
  gruCell,
  lstmCell,
  recurrent,
  unroll,
  type Cell,
  type CellOptions,
  type GatedParams,
  type GruCarry,
  type LstmCarry,
  type RecurrentOptions,
} from './recurrent'
export { fourierFeatures, sinusoidalEmbedding, type FourierState, type SinusoidalOptions } from './time-embedding'
export { convNet4, type ConvNet4Options } from './models/conv-net4'
export { mlp, type MlpOptions, type SequentialModel } from './models/mlp'
export { resnet18, resnetCifar, type Resnet18Options, type ResnetCifarOptions, type ShortcutKind } from './models/resnet'
export { unet, type UNet, type UNetInput, type UNetOptions, type UNetParams } from './models/unet'
export { vgg, type VggOptions } from './models/vgg'
