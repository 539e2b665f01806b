import { fit, useBackend } from '@bpf/core'
import { batch, fromArrays, shuffle } from '@bpf/core/data'
import { mlp } from '@bpf/core/nn'
import { key, normalArray } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { backpropagation } from './backpropagation'
import { fitClassifier } from './classifier'
import { earlyStopping, fairComparison, stepCost, type CountedStages } from './fair-comparison'
import { fitMonoForward } from './mono-forward'

beforeAll(() => useBackend('onnx'))

const [rows, inputs, classes] = [96, 4, 3]
const y = Int32Array.from({ length: rows }, (_, i) => i % classes)
const X = {
  data: normalArray(key(3), rows * inputs, { stddev: 0.3 }).map(
    (value, i) => value + Math.cos(2 * (y[Math.floor(i / inputs)] + (i % inputs))),
  ),
  shape: [rows, inputs],
}
const method = () => backpropagation({ network: mlp({ hidden: [8], outputs: classes }), classes })
const batchOf = (n: number) => ({ x: tf.zeros([n, inputs]), y: tf.zeros([n], 'int32') })

describe('fairComparison', () => {
  it('runs every contender with every key and counts alike', async () => {
    const clock = { time: 0 }
    const before = tf.memory().numTensors
    const results = await fairComparison(
      {
        bp: {
          async fit(runKey) {
            clock.time += 2000
            const model = await fitClassifier(method(), X, y, { epochs: 2, batchSize: 16, key: runKey })
            return { model, stages: () => [{ cost: stepCost(method(), model.state.tensors, batchOf, 16), steps: 12 }] }
          },
        },
        mf: {
          async fit(runKey) {
            clock.time += 500
            const model = await fitMonoForward({ hidden: [8], classes, epochsPerLayer: 2 }, X, y, { batchSize: 16, key: runKey })
            return { model, stages: () => model.stages as CountedStages }
          },
        },
      },
      { test: { x: X, y }, keys: [key(1), key(2)], now: () => clock.time, joulesPerMultiplyAdd: 1e-9 },
    )
    expect(results.bp.map(({ seconds }) => seconds)).toEqual([2, 2])
    expect(results.mf.map(({ seconds }) => seconds)).toEqual([0.5, 0.5])
    // Forward and weight gradients of both products, and the gradient on the hidden units.
    const step = 16 * (2 * inputs * 8 + 3 * 8 * classes)
    expect(results.bp[0].multiplyAdds).toBe(12 * step)
    expect(results.bp[0].estimatedJoules).toBeCloseTo(12e-9 * step)
    // The same, and the projection of the inputs before.
    expect(results.mf[0].multiplyAdds).toBe(12 * (step + 16 * 2 * inputs * classes))
    expect(results.mf[0].peakBytes).toBeGreaterThan(0)
    expect(results.bp[0].activationBytes).toBeGreaterThan(0)
    for (const { accuracy } of [...results.bp, ...results.mf]) expect(accuracy).toBeGreaterThan(0)
    expect(tf.memory().numTensors).toBe(before)
  })

  it('wants keys and a positive energy', async () => {
    const options = { test: { x: X, y }, keys: [key(1)], now: () => 0 }
    await expect(fairComparison({}, { ...options, keys: [] })).rejects.toThrow('one key per run, got none')
    await expect(fairComparison({}, { ...options, joulesPerMultiplyAdd: 0 })).rejects.toThrow('must be positive, got 0')
  })
})

describe('earlyStopping', () => {
  const dataset = () => batch(shuffle(fromArrays({ x: X, y })), 16)

  it('ends a run after patience validations without a fall, and hands events on', async () => {
    let events = 0
    const stopping = earlyStopping({ patience: 2, minDelta: 10, reporter: { report: () => void events++ } })
    const { reason, history } = await fit(method(), dataset(), { epochs: 9, validation: batch(fromArrays({ x: X, y }), 32), ...stopping })
    expect([reason, history.length]).toEqual(['aborted', 3])
    expect(events).toBeGreaterThan(3 * 6)
  })

  it('ends when the signal it was given does', () => {
    const controller = new AbortController()
    const { signal } = earlyStopping({ signal: controller.signal })
    expect(signal.aborted).toBe(false)
    controller.abort()
    expect(signal.aborted).toBe(true)
    expect(earlyStopping({ signal: controller.signal }).signal.aborted).toBe(true)
  })
})
