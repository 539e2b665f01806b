import { compile, float64Tensor, random, useBackend } from '@bpf/core'
import { conv2d, type Layer } from '@bpf/core/nn'
import { float32Tolerance, goldenArray, goldenCases, isGoldenArray, mismatch, type GoldenArray, type GoldenCase } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  elmanCell,
  recurrentTargetProjectionSgd,
  targetDense,
  targetProjectionSgd,
  type TargetActivation,
  type TargetLoss,
} from './target-projection'

beforeAll(() => useBackend('onnx'))

type Inputs = GoldenCase['inputs']
type Tensors = { [name: string]: tf.Tensor }

/** Matrices are [out, in] and [d, C] in the file, [in, out] and [C, d] here. */
const turn = (matrix: tf.Tensor): tf.Tensor => tf.transpose(matrix)
const none: readonly tf.Tensor[] = []
const sgdState = () => ({ count: tf.scalar(0, 'int32'), momentum: none })

function mlpStep(inputs: Inputs): (tensors: Tensors) => Tensors {
  const count = Object.keys(inputs).filter((name) => /^W\d+$/.test(name)).length
  const hidden = Array.from({ length: count - 1 }, (_, i) => i)
  const method = targetProjectionSgd({
    layers: hidden.map((i) => targetDense(goldenArray(inputs, `W${i}`).shape[0], { activation: inputs.activation as TargetActivation })),
    classes: goldenArray(inputs, `W${count - 1}`).shape[0],
    localLoss: inputs.loss as TargetLoss,
    learningRate: inputs.lrHidden as number,
    outputLearningRate: inputs.lrOut as number,
  })
  return (tensors) => {
    const params = (i: number) => ({ kernel: turn(tensors[`W${i}`]), bias: tensors[`b${i}`] })
    const layers = hidden.map((i) => ({ params: params(i), state: {}, projection: turn(tensors[`P${i}`]), optimizer: sgdState() }))
    const state = { layers, output: { params: params(count - 1), optimizer: sgdState() } }
    const batch = { x: tensors.x, y: tensors.labels }
    const found = method.gradients(state, batch)
    const { tensors: next } = method.step(state, batch, random.key(0))
    const updated = [...next.layers.map((layer) => layer.params), next.output.params] as { kernel: tf.Tensor }[]
    return Object.fromEntries(
      found.flatMap(({ activation, loss, grads }, i) => {
        const { kernel, bias } = grads as { kernel: tf.Tensor; bias: tf.Tensor }
        return [
          [`act${i}`, activation],
          [`loss${i}`, loss],
          [`gradW${i}`, turn(kernel)],
          [`gradb${i}`, bias],
          [`newW${i}`, turn(updated[i].kernel)],
        ]
      }),
    ) as Tensors
  }
}

function rnnStep(inputs: Inputs): (tensors: Tensors) => Tensors {
  const [classes, units] = goldenArray(inputs, 'V').shape
  const method = recurrentTargetProjectionSgd({ cells: [elmanCell(units)], classes, target: inputs.everyStep === true ? 'every' : 'last' })
  return ({ x, labels, W, U, b, P, V, c }) => {
    const params = { inputKernel: turn(W), recurrentKernel: turn(U), bias: b }
    const state = {
      cells: [{ params, projection: turn(P), optimizer: none }],
      output: { params: { kernel: turn(V), bias: c }, optimizer: none },
    }
    const { losses, grads, readout } = method.gradients(state, { x, y: labels })
    const [{ inputKernel, recurrentKernel, bias }] = grads as unknown as {
      inputKernel: tf.Tensor
      recurrentKernel: tf.Tensor
      bias: tf.Tensor
    }[]
    return {
      states: method.states(state, x)[0],
      losses: losses[0],
      gradW: turn(inputKernel),
      gradU: turn(recurrentKernel),
      gradb: bias,
      readoutLoss: readout.loss,
      gradV: turn(readout.grads.kernel),
    }
  }
}

function convLayer(inputs: Inputs): (tensors: Tensors) => Tensors {
  const [height, width, , channels] = goldenArray(inputs, 'K').shape
  const [units, classes] = goldenArray(inputs, 'P').shape
  const conv = conv2d(channels, { kernelSize: [height, width], padding: 'valid', bias: false }) as Layer
  const layer: Layer = {
    init: (key, shape) => conv.init(key, shape),
    apply(params, state, x, options) {
      const result = conv.apply(params, state, x, options)
      return { y: tf.tanh(result.y), state: result.state }
    },
  }
  const method = targetProjectionSgd({ layers: [{ layer, activation: 'tanh' }], classes })
  return ({ x, labels, K, P }) => {
    const layers = [{ params: { kernel: K }, state: {}, projection: turn(P), optimizer: none }]
    const output = { params: { kernel: tf.zeros([units, classes]), bias: tf.zeros([classes]) }, optimizer: none }
    const [{ activation, loss, grads }] = method.gradients({ layers, output }, { x, y: labels })
    return { act: activation, loss, gradK: (grads as { kernel: tf.Tensor }).kernel }
  }
}

const functions: Record<string, (inputs: Inputs) => (tensors: Tensors) => Tensors> = { mlpStep, rnnStep, convLayer }

function tensorsOf(inputs: Inputs, make: (array: GoldenArray) => tf.Tensor): Tensors {
  const arrays = Object.entries(inputs).filter(([name, value]) => name !== 'labels' && isGoldenArray(value)) as [string, GoldenArray][]
  return {
    labels: tf.tensor1d(goldenArray(inputs, 'labels').data, 'int32'),
    ...Object.fromEntries(arrays.map(([name, array]) => [name, make(array)])),
  }
}

describe('21-tpsgd golden vectors', () => {
  const cases = goldenCases(new URL('../test/golden/', import.meta.url), '21-tpsgd')

  it('are of functions that the package has', () => {
    expect(cases.map(({ fn }) => fn).filter((fn) => !Object.hasOwn(functions, fn))).toEqual([])
  })

  for (const { fn, name, inputs, outputs, tolerance } of cases) {
    const agree = async (computed: Tensors, toleranceOf: (expected: number[]) => typeof tolerance): Promise<void> => {
      for (const [key, value] of Object.entries(outputs)) {
        const expected = isGoldenArray(value) ? value.data : [value as number]
        expect(computed[key], `${key} is computed`).toBeDefined()
        expect(mismatch(await computed[key].data(), expected, toleranceOf(expected)), key).toBeUndefined()
      }
    }

    // The engine has no convolutions in double precision.
    if (fn !== 'convLayer') {
      it(`${name}: ${fn} agrees in double precision within the file's tolerance`, async () => {
        const double = tensorsOf(inputs, ({ shape, data }) => float64Tensor(Float64Array.from(data), shape))
        await agree(compile(functions[fn](inputs), { precision: 'float64' })(double), () => tolerance)
      })
    }

    it(`${name}: ${fn} agrees in float32, eager and compiled, within 2e-4 of the largest value`, async () => {
      const single = tensorsOf(inputs, ({ shape, data }) => tf.tensor(Float32Array.from(data), shape))
      await agree(functions[fn](inputs)(single), float32Tolerance)
      await agree(compile(functions[fn](inputs))(single), float32Tolerance)
    })
  }
})
