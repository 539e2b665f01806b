import { useBackend } from '@bpf/core'
import { key } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { synthetic } from '../test/synthetic'
import { initMap, mapTensors, type CalibrationMap } from './calibration-maps'

beforeAll(() => useBackend())

describe('calibration maps on many rows', () => {
  it('tensors in chunks of rows equal those at once', async () => {
    // 4 million values fit in one chunk of 411 rows: 420 rows are cut, halves are not.
    const map: CalibrationMap = { type: 'nonlinear', hidden: 20 }
    const big = synthetic(5, 420)
    const parameters = initMap(map, key(6))
    const scale = tf.tensor1d([-3, 2])
    const z = tf.logSoftmax(tf.tensor2d(Float32Array.from(big.truth), [420, big.classes])) as tf.Tensor2D
    const half = (from: number): tf.Tensor2D => mapTensors(map, parameters, tf.slice(z, [from, 0], [210, big.classes]), scale)
    expect(await mapTensors(map, parameters, z, scale).data()).toEqual(await tf.concat([half(0), half(210)]).data())
  })
})
