import { compile, useBackend, type Dataset } from '@bpf/core'
import { batch, fromArrays, shuffle } from '@bpf/core/data'
import { key } from '@bpf/core/random'
import { float32Tolerance, learnerContract, mismatch } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { synthetic } from '../test/synthetic'
import { calibrationMetrics } from './calibration-metrics'
import { loadCalibrator } from './load-calibrator'
import { openFitData } from './shared/calibrator'
import {
  diagonalObjective,
  fitOrderPreserving,
  orderPreserving,
  type OrderPreservingBatch,
  type OrderPreservingCalibrator,
  type OrderPreservingState,
} from './order-preserving'

beforeAll(() => useBackend())

describe('the order-preserving learner', () => {
  const data = synthetic(52, 80, 3)
  const dataset = (): Dataset<OrderPreservingBatch> =>
    batch(
      shuffle(
        fromArrays({ x: { data: Float32Array.from(data.truth), shape: [80, 3] }, y: { data: data.labels, shape: [80], dtype: 'int32' } }),
      ),
      20,
    ) as unknown as Dataset<OrderPreservingBatch>
  for (const variant of ['OP', 'OI'] as const) {
    for (const check of learnerContract({ learner: () => orderPreserving({ classes: 3, variant, hidden: [4] }), dataset }))
      it(`${variant}: ${check.name}`, check.run)
  }
})

describe('predict of the learner', () => {
  const { truth, rows } = synthetic(53, 30, 5)
  for (const variant of ['OP', 'OI'] as const) {
    it(`${variant}: compiled, is what the calibrator of the same network answers, ties included`, async () => {
      const learner = orderPreserving({ classes: 5, variant, hidden: [6] })
      const tied = [[2, 2, -1, 2, -1], ...rows]
      const x = tf.tensor2d(tied)
      const { tensors } = learner.init(key(7), { x, y: tf.zeros([31], 'int32') }, undefined)
      const joined = (part: 'kernel' | 'bias'): number[] => tensors.layers.flatMap((layer) => Array.from(layer[part].dataSync()))
      const calibrator = loadCalibrator({
        kind: 'orderPreserving',
        version: 1,
        classes: 5,
        parameters: { variant, widths: [5, 6, 5], kernels: joined('kernel'), biases: joined('bias') },
      })
      const predict = compile((state: OrderPreservingState, logits: tf.Tensor) => learner.predict?.(state, logits) as tf.Tensor)
      const expected = calibrator.apply(tied).flat()
      expect(mismatch(await predict(tensors, x).data(), expected, float32Tolerance(expected))).toBeUndefined()
      expect(expected).toHaveLength(truth.length + 5)
    })
  }
})

const { truth, labels, classes } = synthetic(51, 1000, 4)
const sharp = Float32Array.from(truth, (z) => 2.5 * z)
const nll = (probabilities: Float32Array): number => calibrationMetrics(probabilities, labels, { classes, metrics: ['NLL'] }).NLL

describe('fitOrderPreserving', () => {
  const own = calibrationMetrics(truth, labels, { classes, input: 'logits', metrics: ['NLL'] }).NLL
  const before = calibrationMetrics(sharp, labels, { classes, input: 'logits', metrics: ['NLL'] }).NLL
  for (const variant of ['OP', 'OI', 'DIAG'] as const) {
    it(`${variant}: recalibrates, keeps every ranking, and is the same after saving`, async () => {
      const fitted = await fitOrderPreserving(sharp, labels, {
        classes,
        variant,
        hidden: variant === 'DIAG' ? [4, 4] : [16],
        epochs: 20,
        maxIterations: 20,
      })
      const probabilities = fitted.apply(sharp)
      expect(nll(probabilities)).toBeLessThan(own + 0.2 * (before - own))
      for (let at = 0; at < sharp.length; at += classes) {
        for (let a = at; a < at + classes; a++)
          for (let b = at; b < at + classes; b++) if (sharp[a] > sharp[b]) expect(probabilities[a]).toBeGreaterThanOrEqual(probabilities[b])
      }
      expect(loadCalibrator(fitted.save()).apply(sharp)).toEqual(probabilities)
    })
  }

  it('DIAG has the gradient of finite differences', () => {
    const objective = diagonalObjective(openFitData(sharp.slice(0, 80), labels.slice(0, 20), { classes }), 3, { mean: -3, std: 2 })
    const start = Float64Array.from({ length: 22 }, (_, i) => Math.sin(3 * i + 1))
    const { gradient } = objective(start)
    start.forEach((value, i) => {
      const at = (x: number): number => objective(start.with(i, x)).value
      expect(Math.abs((at(value + 1e-5) - at(value - 1e-5)) / 2e-5 - gradient[i])).toBeLessThan(1e-5)
    })
  })

  it('OI commutes with a permutation of the classes', async () => {
    const fitted = (await fitOrderPreserving(sharp, labels, { classes, hidden: [8], epochs: 3 })) as OrderPreservingCalibrator
    const [row] = fitted.applyLogits([[3, -1, 0.5, 2]])
    const [turned] = fitted.applyLogits([[2, 3, -1, 0.5]])
    expect([...turned.slice(1), turned[0]]).toEqual(row)
  })
})
