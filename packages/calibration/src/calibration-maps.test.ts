import { useBackend } from '@bpf/core'
import { key } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { softmax, synthetic, toRows } from '../test/synthetic'
import {
  initMap,
  makeMapCalibrator,
  mapPullback,
  mapTensors,
  mapVector,
  piecewiseLinearLogits,
  temperatureEnsemble,
  type CalibrationMap,
} from './calibration-maps'
import { orderPreservingLogits } from './order-preserving'
import { loadCalibrator } from './load-calibrator'

beforeAll(() => useBackend())

const { truth, rows, classes } = synthetic(31, 60, 6)
const maps: CalibrationMap[] = [
  { type: 'temperature' },
  { type: 'linear', members: 16 },
  { type: 'pwlinear', segments: 10 },
  { type: 'nonlinear', hidden: 3 },
]
const sizes = [1, 32, 10, 3 + 3 + 1 + 3 + 9 + 3]
const standard = { mean: -3, std: 2 }

/** No pair of classes changes its order; equal probabilities may come from rounding. */
function keepsRanking(before: readonly (readonly number[])[], after: readonly (readonly number[])[]): boolean {
  return before.every((row, i) => row.every((a, j) => row.every((b, k) => !(a > b) || after[i][j] >= after[i][k])))
}

describe('calibration maps', () => {
  maps.forEach((map, m) => {
    it(`${map.type}: arg max and full ranking are unchanged for every parameter value`, () => {
      const value = fc.double({ min: -3, max: 3, noNaN: true }).map((x) => (Math.abs(x) < 1e-3 ? 0.5 : x))
      fc.assert(
        fc.property(fc.array(value, { minLength: sizes[m], maxLength: sizes[m] }), (parameters) => {
          const calibrator = makeMapCalibrator(classes, map, Float64Array.from(parameters), standard, [])
          expect(keepsRanking(rows, calibrator.apply(rows))).toBe(true)
        }),
        { numRuns: 30 },
      )
    })

    it(`${map.type}: tensors and double precision agree within 2e-4 of the largest value`, async () => {
      const parameters = initMap(map, key(4))
      const calibrator = makeMapCalibrator(classes, map, mapVector(map, parameters), standard, [])
      const expected = calibrator.apply(truth)
      const z = tf.logSoftmax(tf.tensor2d(rows)) as tf.Tensor2D
      const actual = await mapTensors(map, parameters, z, tf.tensor1d([standard.mean, standard.std])).data()
      expected.forEach((value, i) => expect(Math.abs(actual[i] - value)).toBeLessThan(2e-4))
    })

    it(`${map.type}: a saved map is the same after JSON`, () => {
      const calibrator = makeMapCalibrator(
        classes,
        map,
        Float64Array.from({ length: sizes[m] }, (_, i) => Math.sin(i + 1)),
        standard,
        [],
      )
      const json = JSON.parse(
        JSON.stringify(calibrator.save(), (_, value: unknown) => (value instanceof Float64Array ? Array.from(value) : value)),
      )
      expect(loadCalibrator(json).apply(rows)).toEqual(calibrator.apply(rows))
    })
  })

  it('one segment and one member are temperature scaling', () => {
    const tempered = toRows(
      softmax(
        truth.map((z) => 0.4 * z),
        classes,
      ),
      classes,
    )
    const one = makeMapCalibrator(classes, { type: 'pwlinear', segments: 1 }, Float64Array.of(0.4), standard, []).apply(rows)
    const single = temperatureEnsemble(rows as number[][], [0.4], [-2])
    tempered.forEach((row, i) =>
      row.forEach((p, k) => {
        expect(one[i][k]).toBeCloseTo(p, 12)
        expect(single[i][k]).toBeCloseTo(p, 12)
      }),
    )
  })

  it('the piecewise linear map is continuous at its knots and goes on with the last slope', () => {
    const slopes = [0.5, 3, 0.1, 2]
    const at = (x: number): number => -piecewiseLinearLogits([[0, -x, -1e4]], slopes)[0][1]
    for (const knot of [25, 50, 75]) expect(Math.abs(at(knot + 1e-9) - at(knot - 1e-9))).toBeLessThan(1e-7)
    expect(at(140) - at(120)).toBeCloseTo(40, 9)
  })

  it('the order-preserving map keeps the ranking and sends the least logit to 0', () => {
    const mapped = orderPreservingLogits(rows as number[][], [9, -1, 0.5, 2, -3, 1])
    expect(keepsRanking(rows, mapped)).toBe(true)
    for (const row of mapped) expect(Math.min(...row)).toBe(0)
  })

  maps.forEach((map, m) => {
    it(`${map.type}: pulls derivatives back to the parameters as finite differences do`, () => {
      const z = Float64Array.from(truth.subarray(0, 10 * classes))
      const slope = z.map((value) => Math.cos(3 * value))
      const loss = (vector: Float64Array): number =>
        mapPullback(map, vector, standard, z, classes).probs.reduce((sum, p, i) => sum + p * slope[i], 0)
      const start = Float64Array.from({ length: sizes[m] }, (_, i) => Math.sin(2 * i + 1))
      const gradient = mapPullback(map, start, standard, z, classes).pullback(slope)
      start.forEach((value, i) => {
        const difference = (loss(start.with(i, value + 1e-6)) - loss(start.with(i, value - 1e-6))) / 2e-6
        expect(Math.abs(difference - gradient[i])).toBeLessThan(1e-5)
      })
    })
  })
})
