import { compile, float64Tensor, useBackend } from '@bpf/core'
import { float32Tolerance, goldenArray, goldenCases, isGoldenArray, mismatch, type GoldenArray, type GoldenCase } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { counterCurrentLearning, type LocalLoss, type MirrorActivation } from './counter-current-learning'

beforeAll(() => useBackend('onnx'))

type Inputs = GoldenCase['inputs']
type Tensors = { [name: string]: tf.Tensor }

/** The scripts of the reference code and their losses. */
const localLosses: Record<string, LocalLoss> = { cclStepMlp: 'product', cclStepCnn: 'normalised' }

/** Kernels are [out, in] in the file, [in, out] here. */
const turned = ({ shape: [rows, columns], data }: GoldenArray): GoldenArray => ({
  shape: [columns, rows],
  data: Array.from({ length: data.length }, (_, i) => data[(i % rows) * columns + Math.floor(i / rows)]),
})
const isKernel = (name: string): boolean => /^(grad)?[FB]\d+$/.test(name)

/** All outputs of a case by their names in the file, as a function of its tensors. */
function step(fn: string, inputs: Inputs): (tensors: Tensors) => Tensors {
  const dims = goldenArray(inputs, 'dims').data
  const last = dims.length - 1
  const method = counterCurrentLearning({
    classes: dims[last],
    hidden: dims.slice(1, last),
    activation: inputs.activation as MirrorActivation,
    localLoss: localLosses[fn],
    lambdaC: inputs.lossScaleC as number,
    lambdaS: inputs.lossScaleSsl as number | undefined,
    filterTarget: inputs.filterTarget !== 0,
  })
  return (tensors) => {
    const kernels = (side: string) => Array.from({ length: last }, (_, l) => ({ kernel: tensors[`${side}${l}`] }))
    const params = { forward: kernels('F'), feedback: kernels('B') }
    const state = { params, optimizers: { forward: [], feedback: [] } }
    const { grads, pairLosses, crossEntropy } = method.gradients(state, { x: tensors.x, y: tensors.labels })
    const named = (name: string, values: readonly tf.Tensor[]) => values.map((value, l) => [`${name}${l}`, value] as const)
    const kernelsOf = (side: readonly unknown[]) => (side as { kernel: tf.Tensor }[]).map(({ kernel }) => kernel)
    return {
      layerLosses: tf.stack(pairLosses),
      crossEntropy,
      total: tf.addN([...pairLosses, crossEntropy]),
      ...Object.fromEntries([
        ...named('gradF', kernelsOf(grads.forward)),
        ...named('gradB', kernelsOf(grads.feedback)),
        ...named('act', method.activations(state, tensors.x)),
        ...named('sig', method.signals(state, [dims[0]])),
      ]),
    }
  }
}

function tensorsOf(inputs: Inputs, make: (array: GoldenArray) => tf.Tensor): Tensors {
  const arrays = Object.entries(inputs).filter(([name]) => name === 'x' || isKernel(name)) as [string, GoldenArray][]
  const labels = goldenArray(inputs, 'labels')
  return {
    labels: tf.tensor1d(labels.data, 'int32'),
    ...Object.fromEntries(arrays.map(([name, array]) => [name, make(isKernel(name) ? turned(array) : array)])),
  }
}

describe('15-ccl golden vectors', () => {
  const cases = goldenCases(new URL('../test/golden/', import.meta.url), '15-ccl')

  it('are of functions that the package has', () => {
    expect(cases.map(({ fn }) => fn).filter((fn) => !Object.hasOwn(localLosses, fn))).toEqual([])
  })

  for (const { fn, name, inputs, outputs, tolerance } of cases) {
    const agree = async (computed: Tensors, toleranceOf: (expected: number[]) => typeof tolerance): Promise<void> => {
      for (const [key, value] of Object.entries(outputs)) {
        const expected = isGoldenArray(value) ? (isKernel(key) ? turned(value) : value).data : [value as number]
        expect(computed[key], `${key} is computed`).toBeDefined()
        expect(mismatch(await computed[key].data(), expected, toleranceOf(expected)), key).toBeUndefined()
      }
    }

    it(`${name}: ${fn} agrees in double precision within the file's tolerance`, async () => {
      const double = tensorsOf(inputs, ({ shape, data }) => float64Tensor(Float64Array.from(data), shape))
      await agree(compile(step(fn, inputs), { precision: 'float64' })(double), () => tolerance)
    })

    it(`${name}: ${fn} agrees in float32, eager and compiled, within 2e-4 of the largest value`, async () => {
      const single = tensorsOf(inputs, ({ shape, data }) => tf.tensor(Float32Array.from(data), shape))
      await agree(step(fn, inputs)(single), float32Tolerance)
      await agree(compile(step(fn, inputs))(single), float32Tolerance)
    })
  }
})
