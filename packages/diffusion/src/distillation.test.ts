import { compile, fit, random, useBackend, type Dataset } from '@bpf/core'
import { batch, fromArrays, shuffle } from '@bpf/core/data'
import { learnerContract } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { denoising } from './denoising'
import { progressiveDistillation, progressiveTarget, reflowPairs, transportNoise } from './distillation'
import { gaussianMixture } from './gaussian-mixture'
import { timeMlp } from './networks'
import { linearProcess, vpProcess } from './process'
import { energyDistance } from './sample-metrics'
import { sample } from './sampling'
import { ddim, euler } from './solvers/index'

beforeAll(async () => useBackend('onnx'))

const mixture = gaussianMixture({
  means: [
    [-2, 0],
    [2, 1],
  ],
  stddev: 0.3,
})
const start = random.normalArray(random.key(1), 64)
const dataset = (): Dataset<{ x: tf.Tensor }> =>
  batch(shuffle(fromArrays({ x: { data: start, shape: [32, 2] } })), 8) as Dataset<{ x: tf.Tensor }>

function largestDifference(a: tf.Tensor, b: tf.Tensor): number {
  return tf.tidy(() => tf.max(tf.abs(tf.sub(a, b))).dataSync()[0])
}

describe('progressive distillation', () => {
  it.each([
    ['in the middle', 0.7, 0.1],
    ['to clean data', 0.5, 0.25],
  ])('one step to its target arrives where two steps of the teacher do, %s', (_, t, h) => {
    const process = vpProcess()
    const teacher = mixture.denoiser(process)
    const x = tf.tensor2d(start, [32, 2])
    const end = t - 2 * h
    const two = sample(teacher, { solver: ddim(), grid: { times: [t, t - h, end] }, initial: x })
    const target = progressiveTarget(teacher, x, tf.fill([32], t), h)
    const student = { process, prediction: 'x0', predict: () => tf.clone(target) } as const
    const one = sample(student, { solver: ddim(), grid: { times: [t, end] }, initial: x })
    expect(largestDifference(one, two)).toBeLessThan(2e-5)
  })

  it('rejects a number of steps that is not positive', () => {
    expect(() => progressiveDistillation({ teacher: mixture.denoiser(vpProcess()), network: timeMlp(), steps: 0 })).toThrow(
      'progressiveDistillation: steps must be a positive integer, got 0',
    )
  })
})

describe.each(['x0', 'velocity'] as const)('progressiveDistillation of %s', (prediction) => {
  const learner = () =>
    progressiveDistillation({ teacher: mixture.denoiser(linearProcess()), network: timeMlp({ hidden: [8] }), steps: 4, prediction })
  for (const check of learnerContract({ learner, dataset })) it(check.name, check.run)
})

describe('couplings', () => {
  it('minibatch optimal transport pairs each sample with the nearest noise where that is possible', async () => {
    const x = tf.tensor2d([0, 0, 5, 5, -5, 5], [3, 2])
    const noise = tf.tensor2d([-4, 5, 0.1, 0, 5, 4], [3, 2])
    expect(Array.from(await (await transportNoise(x, noise)).data())).toEqual(Array.from(Float32Array.of(0.1, 0, 5, 4, -4, 5)))
  })

  it('reflow pairs noise with what the solver makes of it', () => {
    const model = mixture.denoiser(linearProcess())
    const options = { solver: euler(), grid: { steps: 10, start: 0.999 } }
    const { x, noise } = reflowPairs(model, { ...options, shape: [16, 2], key: random.key(3) })
    expect(largestDifference(x, sample(model, { ...options, initial: noise }))).toBe(0)
    expect(() => reflowPairs(model, options)).toThrow('reflowPairs: give initial, or shape and key')
  })

  it('a flow trained on the pairs of a flow needs one step', async () => {
    const model = mixture.denoiser(linearProcess())
    const { x, noise } = compile((key: random.Key) =>
      reflowPairs(model, { solver: euler(), grid: { steps: 50, start: 0.999 }, shape: [512, 2], key }),
    )(random.key(4))
    const arrays = { x: { data: x.dataSync<'float32'>(), shape: [512, 2] }, noise: { data: noise.dataSync<'float32'>(), shape: [512, 2] } }
    const pairs = batch(shuffle(fromArrays(arrays)), 128) as Dataset<{ x: tf.Tensor; noise: tf.Tensor }>
    const data = mixture.sample(random.key(5), 500) as tf.Tensor2D
    const oneStep = async (set: Dataset<{ x: tf.Tensor }>): Promise<number> => {
      const learner = denoising({ process: linearProcess(), network: timeMlp(), prediction: 'velocity', emaDecay: 0.99 })
      const { state } = await fit(learner, set, { steps: 800, seed: 1 })
      const grid = { steps: 1 }
      const made = sample(learner.denoiser(state.tensors), { solver: euler(), grid, shape: [500, 2], key: random.key(6) })
      return energyDistance(made as tf.Tensor2D, data)
    }
    const unpaired = batch(shuffle(fromArrays({ x: arrays.x })), 128) as Dataset<{ x: tf.Tensor }>
    expect(await oneStep(pairs)).toBeLessThan(0.5 * (await oneStep(unpaired)))
  })
})
