import { compile, float64Tensor, tree, useBackend, type Tree } from '@bpf/core'
import { dense, sequential, type Layer } from '@bpf/core/nn'
import {
  float32Tolerance,
  goldenArray,
  goldenCases,
  isGoldenArray,
  mismatch,
  type GoldenArray,
  type GoldenCase,
  type Tolerance,
} from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { lif, type Surrogate } from './sltt'
import { gradientsInSpace, gradientsThroughTime, type SpikingTask } from './sltt/gradients'
import { resetPotentials } from './shared/lif'

beforeAll(() => useBackend('onnx'))

type Inputs = GoldenCase['inputs']
type Tensors = Record<string, tf.Tensor>

const number = (inputs: Inputs, name: string): number => inputs[name] as number

/** The layers of a case: dense and lif in turn, a dense readout at the end. */
function layersOf(inputs: Inputs): Layer[] {
  const count = Object.keys(inputs).filter((name) => /^W\d+$/.test(name)).length
  const neurons = {
    tau: number(inputs, 'tau'),
    threshold: number(inputs, 'vThreshold'),
    surrogate: inputs.surrogate as Surrogate,
    detachReset: inputs.mode !== 'bptt_full',
  }
  return Array.from({ length: count }, (_, l): Layer[] => {
    const layer = dense(goldenArray(inputs, `W${l}`).shape[0]) as Layer
    return l + 1 < count ? [layer, lif(neurons) as Layer] : [layer]
  }).flat()
}

function spikingNetGradients(inputs: Inputs) {
  const layers = layersOf(inputs)
  const network = sequential(layers) as Layer
  const [steps, , width] = goldenArray(inputs, 'x').shape
  const loss = { lambda: number(inputs, 'lossLambda'), mean: number(inputs, 'lossMean'), target: inputs.mseTarget as 'constant' | 'onehot' }
  const task: SpikingTask = { encoder: sequential([]), network, steps, loss, input: 'frames' }
  const trained = isGoldenArray(inputs.trainedSteps) ? goldenArray(inputs, 'trainedSteps').data : undefined
  const { state } = network.init({ kind: 'bpf.key', words: [0, 0] }, [width])

  return (tensors: Tensors): Tensors => {
    const params = layers.map((_, i) => (i % 2 === 0 ? { kernel: tf.transpose(tensors[`W${i / 2}`]), bias: tensors[`b${i / 2}`] } : {}))
    const parts = { encoder: [], network: params as Tree }
    const states = { encoder: [], network: state }
    const chosen = trained && tf.tensor1d(Array.from({ length: steps }, (_, t) => (Array.from(trained).includes(t) ? 1 : 0)))
    // The file has the time first.
    const x = tf.transpose(tensors.x, [1, 0, 2])
    const { labels } = tensors
    const result =
      inputs.mode === 'sltt'
        ? gradientsInSpace(task, parts, states, x, labels, { training: true }, chosen)
        : gradientsThroughTime(task, parts, states, x, labels, { training: true })
    const out: Tensors = { logits: result.logits, lossPerStep: result.lossPerStep }
    ;(result.grads.network as unknown as { kernel?: tf.Tensor; bias?: tf.Tensor }[]).forEach(({ kernel, bias }, i) => {
      if (kernel === undefined || bias === undefined) return
      out[`gradW${i / 2}`] = tf.transpose(kernel)
      out[`gradb${i / 2}`] = bias
    })
    // Spikes by the layers themselves, one step after the other.
    const spikes: tf.Tensor[][] = layers.map(() => [])
    let states1 = resetPotentials(state, x.shape[0]) as readonly Tree[]
    for (const frame of tf.unstack(tensors.x)) {
      let y = frame
      states1 = layers.map((layer, i) => {
        const step = layer.apply(params[i] as Tree, states1[i], y, { training: true })
        y = step.y
        spikes[i].push(y)
        return step.state
      })
    }
    layers.forEach((_, i) => {
      if (i % 2 === 1) out[`spikes${(i - 1) / 2}`] = tf.stack(spikes[i])
    })
    return out
  }
}

const functions: Record<string, typeof spikingNetGradients> = { spikingNetGradients }

function tensorsOf(inputs: Inputs, floats: (array: GoldenArray) => tf.Tensor): Tensors {
  const arrays = Object.entries(inputs).filter(([name, value]) => isGoldenArray(value) && name !== 'trainedSteps')
  return Object.fromEntries(
    arrays.map(([name, value]) => {
      const array = value as GoldenArray
      return [name, name === 'labels' ? tf.tensor1d(Int32Array.from(array.data), 'int32') : floats(array)]
    }),
  )
}

describe('54-sltt golden vectors', () => {
  for (const { fn, name, inputs, outputs, tolerance } of goldenCases(new URL('../test/golden/', import.meta.url), '54-sltt')) {
    const agree = async (computed: Tensors, toleranceOf: (expected: ArrayLike<number>) => Tolerance) => {
      for (const key of Object.keys(outputs)) {
        const expected = goldenArray(outputs, key).data
        expect(mismatch(await computed[key].data(), expected, toleranceOf(expected)), key).toBeUndefined()
      }
      tree.dispose(computed)
    }
    const single = () => tensorsOf(inputs, ({ shape, data }) => tf.tensor(Float32Array.from(data), [...shape]))

    it(`${name}: ${fn} agrees in double precision within the file's tolerance`, async () => {
      const double = tensorsOf(inputs, ({ shape, data }) => float64Tensor(Float64Array.from(data), shape))
      await agree(compile(functions[fn](inputs), { precision: 'float64' })(double), () => tolerance)
    })
    it(`${name}: ${fn} agrees in float32, eager and compiled`, async () => {
      await agree(functions[fn](inputs)(single()), float32Tolerance)
      await agree(compile(functions[fn](inputs))(single()), float32Tolerance)
    })
  }
})
