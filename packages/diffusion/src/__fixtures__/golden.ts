import { compile, float64Tensor, tree, useBackend } from '@bpf/core'
import { float32Tolerance, goldenCases, isGoldenArray, mismatch, type GoldenArray, type Tolerance } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'

export type Tensors = Record<string, tf.Tensor>
export type Inputs = Record<string, unknown>

/** A function of golden files: the arrays of a case as tensors, all of its inputs, and what it must give, by name. */
export type Compute = (x: Tensors, inputs: Inputs, outputs: Inputs) => Tensors

const values = (value: unknown): number[] => (isGoldenArray(value) ? value.data : [value as number])

/** Tests of a paper's golden vectors, in double precision and in float32, eager and compiled. */
export function describeGolden(slug: string, functions: Readonly<Record<string, Compute>>): void {
  const cases = goldenCases(new URL('../../test/golden/', import.meta.url), slug)

  describe(`${slug} golden vectors`, () => {
    it('are of functions that the package has', () => {
      expect(cases.map(({ fn }) => fn).filter((fn) => !Object.hasOwn(functions, fn))).toEqual([])
    })

    for (const { fn, name, inputs, outputs, tolerance } of cases) {
      const tensors = (make: (array: GoldenArray) => tf.Tensor): Tensors =>
        Object.fromEntries(Object.entries(inputs).flatMap(([key, value]) => (isGoldenArray(value) ? [[key, make(value)]] : [])))
      const single = ({ shape, data }: GoldenArray): tf.Tensor => tf.tensor(Float32Array.from(data), shape)
      const compute = (x: Tensors): Tensors => functions[fn](x, inputs, outputs)
      const agree = async (computed: Tensors, toleranceOf: (expected: number[]) => Tolerance): Promise<void> => {
        for (const [key, expected] of Object.entries(outputs)) {
          expect(computed[key], `${key} is computed`).toBeDefined()
          expect(mismatch(await computed[key].data(), values(expected), toleranceOf(values(expected))), key).toBeUndefined()
        }
      }

      it(`${name}: ${fn} in double precision agrees within the file's tolerance`, async () => {
        await useBackend('onnx')
        const double = tensors(({ shape, data }) => float64Tensor(Float64Array.from(data), shape))
        await agree(compile(compute, { precision: 'float64' })(double), () => tolerance)
      })

      it(`${name}: ${fn} in float32 agrees within 2e-4 of the largest value, eager and compiled`, async () => {
        await useBackend('cpu')
        await agree(
          tree.tidy(() => compute(tensors(single))),
          float32Tolerance,
        )
        await useBackend('onnx')
        await agree(compile(compute)(tensors(single)), float32Tolerance)
      })
    }
  })
}
