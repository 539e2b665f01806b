import { compile, float64Tensor, useBackend } from '@bpf/core'
import { float32Tolerance, goldenArray, goldenCases, mismatch, type GoldenCase } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { augLocalSchedule, auxiliaryPlan } from './aug-local'

beforeAll(() => useBackend('onnx'))

type Inputs = GoldenCase['inputs']

function plan(inputs: Inputs): Record<string, number[]> {
  const { dMax, pyramidCoeff } = inputs as { dMax: number; pyramidCoeff: number }
  const rows = auxiliaryPlan(goldenArray(inputs, 'widths').data, { dMax, pyramidCoeff })
  const columns = Math.max(...rows.map(({ indices }) => indices.length))
  const padded = (name: 'indices' | 'strides' | 'outChannels'): number[] =>
    rows.flatMap((row) => [...row[name], ...Array.from({ length: columns - row[name].length }, () => -1)])
  return {
    depths: rows.map(({ depth }) => depth),
    indices: padded('indices'),
    strides: padded('strides'),
    outChannels: padded('outChannels'),
  }
}

const scheduleOf = (inputs: Inputs) => augLocalSchedule({ learningRate: inputs.lr as number, epochs: inputs.epochs as number })

const functions: Record<string, (inputs: Inputs) => Record<string, number[]>> = {
  auxiliaryPlan: plan,
  learningRates(inputs) {
    const rate = scheduleOf(inputs)
    return { lrs: Array.from({ length: inputs.epochs as number }, (_, epoch) => rate(epoch)) }
  },
}

const cases = goldenCases(new URL('../test/golden/', import.meta.url), '51-auglocal')

describe('51-auglocal golden vectors', () => {
  for (const { fn, name, inputs, outputs, tolerance } of cases) {
    it(`${name}: ${fn} agrees in double precision within the file's tolerance`, () => {
      const computed = functions[fn](inputs)
      for (const key of Object.keys(outputs)) {
        expect(mismatch(computed[key], goldenArray(outputs, key).data, tolerance), key).toBeUndefined()
      }
    })
  }

  for (const { name, inputs, outputs, tolerance } of cases.filter(({ fn }) => fn === 'learningRates')) {
    const expected = goldenArray(outputs, 'lrs').data
    const at = (step: tf.Tensor): tf.Tensor => scheduleOf(inputs)(step)
    const over = async (one: (epoch: number) => tf.Tensor): Promise<number[]> => {
      const values: number[] = []
      for (let epoch = 0; epoch < expected.length; epoch++) values.push((await one(epoch).data())[0])
      return values
    }

    it(`${name}: learningRates traced in float64 agree within the file's tolerance`, async () => {
      const run = compile(at, { precision: 'float64' })
      const values = await over((epoch) => run(float64Tensor(Float64Array.of(epoch), [])))
      expect(mismatch(values, expected, tolerance)).toBeUndefined()
    })

    it(`${name}: learningRates eager and compiled in float32 agree within 2e-4 of the largest value`, async () => {
      const run = compile(at)
      for (const one of [at, run]) {
        const values = await over((epoch) => one(tf.scalar(epoch)))
        expect(mismatch(values, expected, float32Tolerance(expected))).toBeUndefined()
      }
    })
  }
})
