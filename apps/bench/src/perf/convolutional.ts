import { random, softmaxCrossEntropy } from '@bpf/core'
import { convNet4, resnetCifar, type SequentialModel } from '@bpf/core/nn'
import * as tf from '@tensorflow/tfjs-core'
import { labels, training, uniform } from './training'
import type { Workload } from './workload'

const classes = 10

function imageTraining(name: string, title: string, network: SequentialModel, batch: number, image: readonly number[]): Workload {
  return training({
    name,
    description: `${title}, batch ${batch}, ${image.join(' × ')}: loss, gradients, Adam`,
    peers: ['torch', 'jax'],
    settings: { batch, learningRate: 1e-3 },
    bound: 1.3,
    repeat: 1,
    init: (key) => network.init(key, image),
    batch(key) {
      const keys = random.split(key, 2)
      return { x: uniform(keys[0], [batch, ...image], 1), y: labels(keys[1], [batch], classes) }
    },
    loss(params, state, { x, y }) {
      const result = network.apply(params as readonly tf.Tensor[], state as readonly tf.Tensor[], x, { training: true })
      return { loss: tf.mean(softmaxCrossEntropy(y, result.y)), state: result.state }
    },
  })
}

export const convNetStep = imageTraining('convnet4', 'ConvNet4', convNet4({ classes }), 64, [28, 28, 1])
export const resnetStep = imageTraining('resnet20', 'ResNet-20', resnetCifar({ depth: 20, classes }), 32, [32, 32, 3])
