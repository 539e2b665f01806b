import { scan, softmaxCrossEntropy } from '@bpf/core'
import { mlp } from '@bpf/core/nn'
import * as tf from '@tensorflow/tfjs-core'
import {
  batchOf,
  initialState,
  prepareTraining,
  training,
  trainingInputs,
  trainingStep,
  uniform,
  type TrainingTask,
  type TrainingState,
} from './training'
import type { Workload } from './workload'

interface Sizes {
  inputs: number
  hidden: readonly number[]
  classes: number
  batch: number
}

const small: Sizes = { inputs: 64, hidden: [64, 64], classes: 10, batch: 32 }
const large: Sizes = { inputs: 784, hidden: [512, 512], classes: 10, batch: 256 }

const layers = ({ inputs, hidden, classes }: Sizes): string => [inputs, ...hidden, classes].join('-')

const argMax = (values: Float32Array | Int32Array): number => values.indexOf(Math.max(...values) as never)

/** `leading` axes stand before the batch: the steps of an epoch. */
function task(sizes: Sizes, leading: readonly number[]): Pick<TrainingTask, 'init' | 'batch' | 'loss'> {
  const { inputs, hidden, classes, batch } = sizes
  const network = mlp({ hidden, outputs: classes })
  return {
    init: (key) => network.init(key, [inputs]),
    batch(key) {
      const x = uniform(key, [...leading, batch, inputs], 1)
      // The largest of the first inputs says the class: an epoch over other examples teaches it too.
      const label = (row: number): number => argMax(x.data.subarray(row * inputs, row * inputs + classes))
      const y = Int32Array.from({ length: x.data.length / inputs }, (_, row) => label(row))
      return { x, y: { data: y, shape: [...leading, batch] } }
    },
    loss(params, state, { x, y }) {
      const result = network.apply(params as readonly tf.Tensor[], state as readonly tf.Tensor[], x, { training: true })
      return { loss: tf.mean(softmaxCrossEntropy(y, result.y)), state: result.state }
    },
  }
}

function mlpTraining(name: string, sizes: Sizes, bound: number, repeat: number): Workload {
  return training({
    name,
    description: `MLP ${layers(sizes)}, batch ${sizes.batch}: loss, gradients, Adam`,
    peers: ['torch', 'jax'],
    settings: { batch: sizes.batch, layers: sizes.hidden.length + 1, learningRate: 1e-3 },
    bound,
    repeat,
    ...task(sizes, []),
  })
}

export const mlpSmall = mlpTraining('mlp-small', small, 0.7, 100)
export const mlpLarge = mlpTraining('mlp-large', large, 1, 3)

const epoch = {
  name: 'mlp-epoch',
  description: `1,000 training steps of the MLP ${layers(small)}, batch ${small.batch}, in one call through scan (PyTorch: step by step)`,
  peers: ['torch', 'jax'],
  // Rounding grows over thousands of steps; small ones keep both sides within the tolerance.
  settings: { batch: small.batch, layers: small.hidden.length + 1, steps: 1000, learningRate: 1e-4 },
  bound: 0.4,
  repeat: 1,
  ...task(small, [1000]),
} as const

/** An epoch as one native call; what is compared is the mean of its losses. */
export const mlpEpoch: Workload = {
  ...epoch,
  inputs: () => trainingInputs(epoch),
  prepare(arrays) {
    const step = trainingStep(epoch)
    return prepareTraining(initialState(epoch, arrays), batchOf(arrays), (current, batches) => {
      const { carry, ys } = scan<TrainingState, typeof batches, tf.Tensor>(
        (state, batch) => {
          const { next, loss } = step(state, batch)
          return { carry: next, y: loss }
        },
        current,
        batches,
      )
      return { next: carry, loss: tf.mean(ys) }
    })
  },
}
