export * from './errors'
export * as tree from './tree'
export { scope, type Scope, type Tree, type TreeStructure } from './tree'
export * as random from './random/index'
export type { Key } from './random/key'
export type { AfterStep, Json, Learner, LearnerState, Stage, Staged, StepInfo } from './learner'
export { evaluateLearner, fit } from './fit'
export { exportOnnx, loadOnnx, type ExportOnnxOptions } from './onnx-file'
export type { OnnxModel } from './compiler'
export { fitStages, type FitStagesOptions } from './fit-stages'
export { yieldToEventLoop } from './event-loop'
export { warn } from './warn'
export { jsonLinesReporter, terminalReporter } from './reporters'
export type { Checkpoint, CheckpointStore, FitEvent, FitOptions, FitResult, Reporter } from './training'
export type { Dataset, PassOptions, WeightedBatch } from './data/dataset'
export { cond, scan, whileLoop, type ScanBody, type ScanOptions, type WhileOptions } from './control'
export { account, activationBytes, type Account } from './account'
export { compile, float64Tensor, type CompileArgument, type CompileOptions } from './compile'
export { ensureBackend, requireBackend, useBackend, type BackendChoice, type BackendName, type BackendOptions } from './backend'
export {
  customGradient,
  grad,
  hvp,
  jvp,
  logSoftmax,
  sigmoidCrossEntropy,
  softmaxCrossEntropy,
  stopGradient,
  straightThrough,
  valueAndGrad,
  valueAndGradWithAux,
  vjp,
} from './grad/index'
export {
  deserialize,
  memoryCheckpoints,
  readSafetensors,
  serialize,
  type DeserializeOptions,
  type Saved,
  type SerializeOptions,
  type Sha256,
} from './save/index'
