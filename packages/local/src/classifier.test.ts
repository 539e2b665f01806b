import { isBpfError, useBackend } from '@bpf/core'
import { batch, fromArrays } from '@bpf/core/data'
import { dense, mlp } from '@bpf/core/nn'
import { adam } from '@bpf/core/optim'
import { key, normalArray } from '@bpf/core/random'
import { learnerContract } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { backpropagation, fitClassifier } from './index'

beforeAll(() => useBackend('onnx'))

const method = () => backpropagation({ network: mlp({ hidden: [8], outputs: 3 }), classes: 3, optimizer: adam({ learningRate: 0.02 }) })

/** Three separated clouds in the plane. */
const rows = 96
const y = Int32Array.from({ length: rows }, (_, i) => i % 3)
const noise = normalArray(key(3), 2 * rows, { stddev: 0.3 })
const X = { data: noise.map((value, i) => value + 2 * Math.cos(2 * (y[i >> 1] + (i % 2)))), shape: [rows, 2] }

describe('backpropagation keeps the contract', () => {
  const dataset = () => batch(fromArrays({ x: X, y }), 16)
  for (const check of learnerContract({ learner: method, dataset })) it(check.name, check.run)
})

describe('fitClassifier', () => {
  it('learns separated clouds and leaves no tensor behind', async () => {
    const before = tf.memory().numTensors
    const model = await fitClassifier(method(), X, y, { epochs: 60, batchSize: 32 })
    const probabilities = await model.predictProba(X, { batchSize: 20 })
    expect(probabilities).toHaveLength(3 * rows)
    for (let row = 0; row < rows; row++) {
      expect(probabilities.subarray(3 * row, 3 * row + 3).reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 5)
    }
    expect(await model.score(X, y)).toBeGreaterThan(0.95)
    expect(await model.predict(X, { batchSize: 7 })).toEqual(await model.predict(X))
    expect(model.history).toHaveLength(60)
    model.dispose()
    expect(tf.memory().numTensors).toBe(before)
  })

  it('keeps the best state of a validation', async () => {
    const model = await fitClassifier(method(), X, y, {
      epochs: 5,
      batchSize: 32,
      validation: { x: X, y },
      best: { metric: 'accuracy', mode: 'max' },
    })
    const best = Math.max(...model.history.map(({ metrics }) => metrics['val/accuracy']))
    expect(await model.score(X, y)).toBeCloseTo(best, 5)
    model.dispose()
  })

  const failure = async (promise: Promise<unknown>) => {
    const error = await promise.then(
      () => undefined,
      (reason: unknown) => reason,
    )
    expect(isBpfError(error)).toBe(true)
    return (error as Error).message
  }

  it('names a label out of range, NaN, a batch too large, one class', async () => {
    const wrong = y.slice()
    wrong[5] = 3
    expect(await failure(fitClassifier(method(), X, wrong, { epochs: 1 }))).toContain('label 3 at index 5 is out of range')
    const nan = { ...X, data: X.data.map((value, i) => (i === 11 ? NaN : value)) }
    expect(await failure(fitClassifier(method(), nan, y, { epochs: 1, batchSize: 32 }))).toContain('x is NaN in example 5')
    expect(await failure(fitClassifier(method(), X, y, { epochs: 1, batchSize: 97 }))).toContain('there are 96 examples')
    expect(() => backpropagation({ network: dense(1), classes: 1 })).toThrow('at least 2, got 1')
  })
})
