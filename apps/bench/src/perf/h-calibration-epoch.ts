import { hCalibration } from '@bpf/calibration'
import { random, tree } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'
import type { InputArray, Workload } from './workload'

const settings = { rows: 3000, classes: 10, segments: 100, learningRate: 0.02, window: 200, clusters: 15 }

/** Logits of an over-confident classifier, and labels drawn from the true distribution. */
function inputs(): Record<string, InputArray> {
  const { rows, classes } = settings
  const keys = random.split(random.key(0), 2)
  const scores = random.normalArray(keys[0], rows * classes, { stddev: 1.5 })
  const draws = random.uniformArray(keys[1], rows)
  const labels = new Int32Array(rows)
  for (let n = 0; n < rows; n++) {
    const weights = scores.subarray(n * classes, (n + 1) * classes).map(Math.exp)
    let left = draws[n] * weights.reduce((sum, weight) => sum + weight, 0)
    while (labels[n] < classes - 1 && left >= weights[labels[n]]) left -= weights[labels[n]++]
  }
  return {
    logits: { data: scores.map((score) => 2 * score), shape: [rows, classes] },
    labels: { data: labels, shape: [rows] },
    slopes: { data: new Float32Array(settings.segments).fill(1), shape: [settings.segments] },
  }
}

/** One full-batch epoch of fitting paper 60's piecewise linear map with its loss. */
export const hCalibrationEpoch: Workload = {
  name: 'h-calibration-epoch',
  description: `h-calibration, ${settings.rows} × ${settings.classes} logits, ${settings.segments} segments: map, loss, gradient, Adam`,
  peers: ['torch', 'numpy'],
  settings,
  repeat: 3,
  inputs,
  prepare(arrays) {
    const { rows, classes, segments, learningRate, window, clusters } = settings
    const learner = hCalibration({ classes, map: { type: 'pwlinear', segments }, learningRate, window, clusters })
    const batch = {
      x: tf.tensor2d(arrays.logits.data as Float32Array, [rows, classes]),
      y: tf.tensor1d(arrays.labels.data as Int32Array, 'int32'),
    }
    // Mean and deviation serve the nonlinear maps only.
    let state = learner.init(random.key(0), batch, { mean: 0, std: 1 }).tensors
    let count = 0
    return Promise.resolve({
      async step() {
        const next = learner.step(state, batch, random.key(count++))
        // The learning rate is handed through as it is.
        const kept = new Set(tree.leaves(next.tensors))
        tree.dispose(tree.leaves(state).filter((leaf) => !kept.has(leaf)))
        state = next.tensors
        const [loss] = await next.metrics.loss.data()
        tree.dispose(next.metrics)
        return loss
      },
      dispose: () => tree.dispose(state, batch),
    })
  },
}
