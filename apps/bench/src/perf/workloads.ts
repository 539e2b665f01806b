import { attentionStep } from './attention'
import { boostedUnits } from './boosted-units'
import { convNetStep, resnetStep } from './convolutional'
import { hCalibrationEpoch } from './h-calibration-epoch'
import { matmul1024, matmul256 } from './matmul'
import { mlpEpoch, mlpLarge, mlpSmall } from './mlp'
import { mlpStep } from './mlp-step'
import { gruStep } from './recurrent'
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
]
