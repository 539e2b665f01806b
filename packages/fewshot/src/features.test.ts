import { useBackend } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { extractFeatures, meanFeature, normaliseFeatures } from './features'

beforeAll(() => useBackend('onnx'))

const rows = { data: Float64Array.from([3, 4, 0, 2]), shape: [2, 2] as const }

describe('features', () => {
  it('normalises to unit rows, centred or not', () => {
    expect(Array.from(normaliseFeatures(rows, 'none').data)).toEqual([3, 4, 0, 2])
    expect(Array.from(normaliseFeatures(rows, 'l2').data)).toEqual([0.6, 0.8, 0, 1])
    expect(Array.from(normaliseFeatures(rows, 'centred-l2', { baseMean: [0, 0] }).data)).toEqual([0.6, 0.8, 0, 1])
    expect(Array.from(normaliseFeatures(rows, 'centred-l2', { baseMean: [0, 4] }).data)).toEqual([1, 0, 0, -1])
    expect(Array.from(meanFeature(rows))).toEqual([1.5, 3])
  })

  it('names a zero row and a missing mean', () => {
    expect(() => normaliseFeatures({ data: new Float64Array(4), shape: [2, 2] }, 'l2')).toThrow(/row 0 is a zero vector/)
    expect(() => normaliseFeatures(rows, 'centred-l2')).toThrow(/needs baseMean of length 2/)
    expect(() => normaliseFeatures({ data: new Float64Array(3), shape: [2, 2] }, 'l2')).toThrow(/got shape \[2, 2\] with 3 values/)
  })

  it('extracts in batches what it extracts at once, and leaks nothing', async () => {
    const x = tf.reshape(tf.range(0, 42), [7, 3, 2])
    const network = (batch: tf.Tensor) => tf.sum(batch, 1)
    const before = tf.memory().numTensors
    const small = await extractFeatures(network, x, { batchSize: 3 })
    expect(tf.memory().numTensors).toBe(before)
    expect(small).toEqual(await extractFeatures(network, x))
    expect(small.shape).toEqual([7, 2])
    await expect(extractFeatures((batch) => batch, x)).rejects.toThrow(/should answer \[7, D\], got \[7, 3, 2\]/)
  })
})
