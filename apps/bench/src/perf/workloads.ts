import { hCalibrationEpoch } from './h-calibration-epoch'
import { mlpStep } from './mlp-step'
import type { Workload } from './workload'

/** Everything `perf` can time. */
export const workloads: readonly Workload[] = [hCalibrationEpoch, mlpStep]
