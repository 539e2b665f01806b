import { attentionStep } from './attention'
import { augLocalStep } from './aug-local'
import { boostedUnits } from './boosted-units'
import { convexReluAdmmStep } from './convex-relu'
import { convNetStep, resnetStep } from './convolutional'
import { counterCurrentConvolutions, counterCurrentStep } from './counter-current-learning'
import { boundUpdates, episodeStep } from './fewshot'
import { mlpSampling, unetSampling, unetStep } from './diffusion'
import { cascadedForwardStep, forwardForwardStep, monoForwardStep } from './forward-only'
import { forwardGnnSteps } from './forward-gnn'
import { hCalibrationEpoch } from './h-calibration-epoch'
import { matmul1024, matmul256 } from './matmul'
import { mlpEpoch, mlpLarge, mlpSmall } from './mlp'
import { mlpStep } from './mlp-step'
import { noPropInference, noPropStep } from './no-prop'
import { gruStep } from './recurrent'
import { slttStep } from './sltt'
import { sparseProducts } from './sparse-product'
import { targetProjectionConvolutionStep, targetProjectionRecurrentStep, targetProjectionStep } from './target-projection'
import { teddyStep } from './teddy'
import { timeShiftSampling } from './time-shift'
import type { Workload } from './workload'

/** Everything `perf` can time. */
export const workloads: readonly Workload[] = [
  matmul256,
  matmul1024,
  mlpSmall,
  mlpLarge,
  mlpEpoch,
  gruStep,
  attentionStep,
  convNetStep,
  resnetStep,
  hCalibrationEpoch,
  mlpStep,
  boostedUnits,
  convexReluAdmmStep,
  slttStep,
  boundUpdates,
  episodeStep,
  ...sparseProducts,
  ...forwardGnnSteps,
  teddyStep,
  forwardForwardStep,
  monoForwardStep,
  cascadedForwardStep,
  counterCurrentStep,
  counterCurrentConvolutions,
  augLocalStep,
  noPropStep,
  noPropInference,
  targetProjectionStep,
  targetProjectionRecurrentStep,
  targetProjectionConvolutionStep,
  mlpSampling,
  timeShiftSampling,
  unetStep,
  unetSampling,
]
