import { compile, random, tree, type Tree } from '@bpf/core'
import { unet, type UNetParams } from '@bpf/core/nn'
import { addNoise, ddim, linearProcess, predictionTarget, sample, timeMlp, type Denoiser, type MlpParams } from '@bpf/diffusion'
import * as tf from '@tensorflow/tfjs-core'
import { initialState, tensorOf, training, trainingInputs } from './training'
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

const images = { batch: 64, size: 16, channels: 16, groups: 8, learningRate: 1e-3, steps: 50 }
const imageShape = [images.batch, images.size, images.size, 1]
// Attention at the lower of two resolutions.
const imageNetwork = unet({ channels: images.channels, multipliers: [1, 2], attention: [1], groups: images.groups, timeScale: 1000 })

/** Parameters of which none is 0, as after training: a fresh network predicts 0 whatever its other parts do. */
function imageParams(key: random.Key): Tree {
  const { params } = imageNetwork.init(key, { x: imageShape.slice(1), time: [] })
  const { structure } = tree.flatten(params)
  const moved = tree.entries(params).map(({ leaf }, i) => {
    const noise = random.normal(random.fold(key, 100 + i), leaf.shape, { stddev: 0.03 })
    const sum = tf.add(leaf, noise)
    noise.dispose()
    return sum
  })
  tree.dispose(params)
  return tree.unflatten<Tree>(structure, moved)
}

const unetTask = {
  name: 'unet-step',
  description: `U-Net of the velocity, ${images.size} × ${images.size}, batch ${images.batch}: loss, gradients, Adam`,
  peers: ['torch'],
  settings: images,
  bound: 1.3,
  repeat: 1,
  init: (key) => ({ params: imageParams(key), state: {} }),
  batch(key) {
    const keys = random.split(key, 3)
    const size = images.batch * images.size ** 2
    return {
      x: { data: random.normalArray(keys[0], size), shape: imageShape },
      eps: { data: random.normalArray(keys[1], size), shape: imageShape },
      time: { data: random.uniformArray(keys[2], images.batch), shape: [images.batch] },
    }
  },
  loss(params, state, { x, eps, time }) {
    const process = linearProcess()
    const noised = addNoise(process, x, eps, time)
    const { y } = imageNetwork.apply(params as UNetParams, {}, { x: noised, time }, { training: true })
    const target = predictionTarget('velocity', x, eps, process.coefficientTensors(time))
    return { loss: tf.mean(tf.squaredDifference(y, target)), state }
  },
} satisfies Parameters<typeof training>[0]

/** A training step of a small U-Net. */
export const unetStep = training(unetTask)

/** A rate would say that steps train. */
const { learningRate: _, ...sampled } = images

/** A whole trajectory of a small U-Net as one native call. */
export const unetSampling: Workload = {
  name: 'unet-sampling',
  description: `DDIM, ${images.steps} steps for ${images.batch} images of ${images.size} × ${images.size}, U-Net of the velocity`,
  peers: ['torch'],
  settings: sampled,
  bound: 1.3,
  repeat: 1,
  inputs: () => trainingInputs(unetTask),
  prepare(arrays) {
    const { params, state, optimizer } = initialState(unetTask, arrays)
    tree.dispose(state, optimizer)
    const noise = tensorOf(arrays.eps)
    const draw = compile(
      (weights: Tree, initial: tf.Tensor) => {
        const model: Denoiser = {
          process: linearProcess(),
          prediction: 'velocity',
          sharedTime: true,
          predict: (x, time) => imageNetwork.apply(weights as UNetParams, {}, { x, time }, { training: false }).y,
        }
        const grid = { steps: images.steps, spacing: 'uniform', start, end } as const
        return tf.mean(tf.square(sample(model, { solver: ddim(), grid, initial })))
      },
      { name: 'unetSampling' },
    )
    return Promise.resolve({
      async step() {
        const value = draw(params, noise)
        const [number] = await value.data()
        value.dispose()
        return number
      },
      dispose: () => tree.dispose(params, noise),
    })
  },
}
