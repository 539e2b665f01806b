import { compile, random, tree, type Key } from '@bpf/core'
import { adamw } from '@bpf/core/optim'
import { noProp, noPropDenseBlock, type LabelledBatch, type NoPropState } from '@bpf/local'
import * as tf from '@tensorflow/tfjs-core'
import { labels, tensorOf, uniform } from './training'
import type { InputArray, Workload } from './workload'

const classes = 10
const inputs = 784
const modelKey = random.key(0)
/** Of every step: what a step draws is the same each time, so that the other side can be told. */
const stepKey = random.key(1)

const noise = (key: Key, shape: readonly number[]): Float32Array => random.normalArray(key, shape[0] * shape[1])

/** Weights by their path, without the optimizer's state. */
function weights({ blocks, readout }: NoPropState): Record<string, InputArray> {
  const parts = { blocks: blocks.map(({ params }) => params), readout }
  return Object.fromEntries(
    tree.entries(parts).map(({ path, leaf }) => [path.slice(1), { data: leaf.dataSync().slice() as Float32Array, shape: leaf.shape }]),
  )
}

function examples(batch: number): { x: InputArray; y: InputArray } {
  const [xKey, yKey] = random.split(random.key(2), 2)
  return { x: uniform(xKey, [batch, inputs], 1), y: labels(yKey, [batch], classes) }
}

const sampleOf = ({ x, y }: Readonly<Record<string, InputArray>>): LabelledBatch => ({ x: tensorOf(x), y: tensorOf(y) })

const trainingSettings = { batch: 128, steps: 10, eta: 0.1, classes, learningRate: 1e-3, weightDecay: 1e-3 }

const discrete = () => {
  const { steps, eta, learningRate, weightDecay } = trainingSettings
  const block = noPropDenseBlock({ x: [128], z: [64], trunk: [64] })
  return noProp({ classes, steps, eta, block, optimizer: adamw({ learningRate, weightDecay }) })
}

/** A training step of all blocks of paper 3 as in its embedded preset. */
export const noPropStep: Workload = {
  name: 'no-prop-step',
  description: `NoProp-DT, ${trainingSettings.steps} dense blocks 784-128 ‖ 10-64 → 64 → 10, batch ${trainingSettings.batch}: noise, losses, gradients, AdamW`,
  peers: ['torch'],
  settings: trainingSettings,
  bound: 1,
  repeat: 3,
  inputs() {
    const { batch, steps } = trainingSettings
    const arrays = examples(batch)
    const sample = sampleOf(arrays)
    const tensors = tree.tidy(() => discrete().init(modelKey, sample, undefined).tensors)
    const given = weights(tensors)
    tree.dispose(tensors, sample)
    // As the method draws them in a step with this key.
    const shape = [batch, classes]
    const blockNoise = new Float32Array(steps * batch * classes)
    for (let t = 1; t <= steps; t++) blockNoise.set(noise(random.fold(random.fold(stepKey, 1), t), shape), (t - 1) * batch * classes)
    return {
      ...given,
      ...arrays,
      blockNoise: { data: blockNoise, shape: [steps, ...shape] },
      endNoise: { data: noise(random.fold(stepKey, 0), shape), shape },
    }
  },
  prepare(arrays) {
    const sample = sampleOf(arrays)
    const method = discrete()
    let state = tree.tidy(() => method.init(modelKey, sample, undefined).tensors)
    const compiled = compile((tensors: NoPropState, data: LabelledBatch, key: Key) => method.step(tensors, data, key), {
      donate: [0],
      name: 'noPropStep',
    })
    return Promise.resolve({
      async step() {
        const { tensors, metrics } = compiled(state, sample, stepKey)
        state = tensors
        const [value] = await metrics.loss.data()
        tree.dispose(metrics)
        return value
      },
      dispose: () => tree.dispose(state, sample),
    })
  },
}

const inferenceSettings = { batch: 128, steps: 1000, classes }

const continuous = () => {
  const block = noPropDenseBlock({ x: [256], z: [64], time: 64, trunk: [256] })
  return noProp({ variant: 'ct', classes, schedule: 'linear', steps: inferenceSettings.steps, block })
}

/** Prediction of NoProp-CT with the paper's number of steps: the path of x once, then one loop over the times. */
export const noPropInference: Workload = {
  name: 'no-prop-inference',
  description: `NoProp-CT, ${inferenceSettings.steps} ancestral steps without noise, batch ${inferenceSettings.batch}: class probabilities`,
  peers: ['torch'],
  settings: inferenceSettings,
  bound: 1,
  repeat: 1,
  inputs() {
    const arrays = examples(inferenceSettings.batch)
    const sample = sampleOf(arrays)
    const tensors = tree.tidy(() => continuous().init(modelKey, sample, undefined).tensors)
    const given = weights(tensors)
    tree.dispose(tensors, sample)
    const shape = [inferenceSettings.batch, classes]
    return { ...given, x: arrays.x, y: arrays.y, start: { data: noise(random.fold(stepKey, 0), shape), shape } }
  },
  prepare(arrays) {
    const sample = sampleOf(arrays)
    const method = continuous()
    const state = tree.tidy(() => method.init(modelKey, sample, undefined).tensors)
    // What is compared: the mean probability of the labels.
    const compiled = compile((tensors: NoPropState, { x, y }: LabelledBatch, key: Key) => {
      const chosen = tf.mul(method.predict(tensors, x, key), tf.oneHot(tf.cast(y, 'int32') as tf.Tensor1D, classes))
      return tf.div(tf.sum(chosen), x.shape[0])
    })
    return Promise.resolve({
      async step() {
        const mean = compiled(state, sample, stepKey)
        const [value] = await mean.data()
        mean.dispose()
        return value
      },
      dispose: () => tree.dispose(state, sample),
    })
  },
}
