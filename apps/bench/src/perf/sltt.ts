import { compile, random, tree, type Key } from '@bpf/core'
import { batchNorm, dense, sequential, type Layer } from '@bpf/core/nn'
import { sgd } from '@bpf/core/optim'
import { lif, sltt, type LabelledBatch, type SlttState } from '@bpf/local'
import * as tf from '@tensorflow/tfjs-core'
import { labels, tensorOf, uniform } from './training'
import type { InputArray, Workload } from './workload'

const settings = { batch: 128, steps: 6, classes: 10, tau: 1.1, mse: 0.05, learningRate: 0.05, momentum: 0.9 }
const inputs = 784

const method = () =>
  sltt({
    encoder: sequential([dense(256), batchNorm()]) as Layer,
    network: sequential([
      lif({ tau: settings.tau }),
      dense(128),
      batchNorm(),
      lif({ tau: settings.tau }),
      dense(settings.classes),
    ]) as Layer,
    classes: settings.classes,
    steps: settings.steps,
    mseWeight: settings.mse,
    optimizer: sgd({ learningRate: settings.learningRate, momentum: settings.momentum }),
  })

function examples(): { x: InputArray; y: InputArray } {
  const [xKey, yKey] = random.split(random.key(1), 2)
  return { x: uniform(xKey, [settings.batch, inputs], 1), y: labels(yKey, [settings.batch], settings.classes) }
}

/** A training step of paper 54's embedded preset. */
export const slttStep: Workload = {
  name: 'sltt-step',
  description: `SLTT, spiking network ${inputs}-256-128-10, ${settings.steps} steps, batch ${settings.batch}: gradients of every step, SGD`,
  peers: ['torch'],
  settings,
  bound: 1,
  repeat: 10,
  inputs() {
    const data = examples()
    const sample = { x: tensorOf(data.x), y: tensorOf(data.y) }
    const { tensors } = method().init(random.key(0), sample, undefined)
    const weights = tree
      .entries(tensors.params)
      .map(({ path, leaf }): [string, InputArray] => [
        `params${path}`,
        { data: leaf.dataSync().slice() as Float32Array, shape: leaf.shape },
      ])
    tree.dispose(tensors, sample)
    return { ...Object.fromEntries(weights), ...data }
  },
  prepare(arrays) {
    const batch: LabelledBatch = { x: tensorOf(arrays.x), y: tensorOf(arrays.y) }
    const learner = method()
    let state: SlttState = learner.init(random.key(0), batch, undefined).tensors
    const step = compile((tensors: SlttState, data: LabelledBatch, key: Key) => learner.step(tensors, data, key), {
      donate: [0],
      name: 'sltt-step',
    })
    return Promise.resolve({
      async step() {
        const { tensors, metrics } = step(state, batch, random.key(2))
        state = tensors
        const [value] = await metrics.loss.data()
        tf.dispose(metrics)
        return value
      },
      dispose: () => tree.dispose(state, batch),
    })
  },
}
