import { compile, random, tree } from '@bpf/core'
import { linearProcess, sample, ddim, timeMlp, type Denoiser, type MlpParams } from '@bpf/diffusion'
import * as tf from '@tensorflow/tfjs-core'
import { tensorOf } from './training'
import type { InputArray, Workload } from './workload'

const settings = { points: 10_000, steps: 100, layers: 4, embedding: 32 }
const network = timeMlp({ embedding: settings.embedding })
const start = 0.99
const end = 0.01

function initial(): MlpParams {
  return network.init(random.key(0), { x: [2], time: [] }).params
}

function inputs(): Record<string, InputArray> {
  const params = initial()
  const arrays = params.layers.flatMap(({ kernel, bias }, i): [string, InputArray][] => [
    [`w${i}`, { data: kernel.dataSync().slice() as Float32Array, shape: kernel.shape }],
    [`b${i}`, { data: bias.dataSync().slice() as Float32Array, shape: bias.shape }],
  ])
  tree.dispose(params)
  return {
    ...Object.fromEntries(arrays),
    x: { data: random.normalArray(random.key(1), 2 * settings.points), shape: [settings.points, 2] },
  }
}

/** A whole trajectory of a small denoiser as one native call; what is compared is the mean square of the samples. */
export const mlpSampling: Workload = {
  name: 'mlp-sampling',
  description: `DDIM, ${settings.steps} steps for ${settings.points} points in the plane, MLP 34-64-64-64-2 of the noise`,
  peers: ['torch'],
  settings,
  bound: 0.7,
  repeat: 1,
  inputs,
  prepare(arrays) {
    const params: MlpParams = {
      layers: Array.from({ length: settings.layers }, (_, i) => ({ kernel: tensorOf(arrays[`w${i}`]), bias: tensorOf(arrays[`b${i}`]) })),
    }
    const x = tensorOf(arrays.x)
    const draw = compile(
      (weights: MlpParams, noise: tf.Tensor) => {
        const model: Denoiser = {
          process: linearProcess(),
          prediction: 'eps',
          sharedTime: true,
          predict: (y, time) => network.apply(weights, {}, { x: y, time }, { training: false }).y,
        }
        const grid = { steps: settings.steps, spacing: 'uniform', start, end } as const
        return tf.mean(tf.square(sample(model, { solver: ddim(), grid, initial: noise })))
      },
      { name: 'mlpSampling' },
    )
    return Promise.resolve({
      async step() {
        const loss = draw(params, x)
        const [value] = await loss.data()
        loss.dispose()
        return value
      },
      dispose: () => tree.dispose(params, x),
    })
  },
}
