import { compile, random, tree, type Tree } from '@bpf/core'
import { counterCurrentLearning, type CounterCurrentLearner, type CounterCurrentState, type LabelledBatch } from '@bpf/local'
import { labels, tensorOf, uniform } from './training'
import type { InputArray, Workload } from './workload'

const classes = 10

/** What a step of counter-current learning is timed on. The peer reads `settings` and kernels `F<l>` and `B<l>`. */
interface Task extends Pick<Workload, 'name' | 'description' | 'bound' | 'repeat'> {
  settings: {
    readonly batch: number
    readonly layers: number
    readonly learningRate: number
    readonly clip: number
    readonly lambdaC: number
  }
  inputShape: readonly number[]
  method(): CounterCurrentLearner
}

/** Kernels of both networks, as the method draws them. */
function drawn({ method, inputShape }: Task): Record<string, InputArray> {
  const sample = {
    x: tensorOf({ data: new Float32Array(inputShape.reduce((n, m) => n * m, 1)), shape: [1, ...inputShape] }),
    y: tensorOf({ data: new Int32Array(1), shape: [1] }),
  }
  const { tensors } = method().init(random.key(0), sample, undefined)
  const named = (name: string, side: readonly Tree[]) =>
    side.map((layer, l): [string, InputArray] => {
      const [kernel] = tree.leaves(layer)
      return [`${name}${l}`, { data: kernel.dataSync().slice() as Float32Array, shape: kernel.shape }]
    })
  const arrays = Object.fromEntries([...named('F', tensors.params.forward), ...named('B', tensors.params.feedback)])
  tree.dispose(tensors, sample)
  return arrays
}

function workload(task: Task): Workload {
  const { settings, inputShape, method } = task
  return {
    ...task,
    peers: ['torch'],
    inputs() {
      const [xKey, yKey] = random.split(random.key(1), 2)
      return { ...drawn(task), x: uniform(xKey, [settings.batch, ...inputShape], 1), y: labels(yKey, [settings.batch], classes) }
    },
    prepare(arrays) {
      const learner = method()
      const batch: LabelledBatch = { x: tensorOf(arrays.x), y: tensorOf(arrays.y) }
      const step = compile((tensors: CounterCurrentState, data: LabelledBatch) => learner.step(tensors, data, random.key(0)), {
        donate: [0],
      })
      const first = learner.init(random.key(0), batch, undefined).tensors
      tree.dispose(first.params)
      const kernels = (side: string) => Array.from({ length: settings.layers }, (_, l) => ({ kernel: tensorOf(arrays[`${side}${l}`]) }))
      let state: CounterCurrentState = { ...first, params: { forward: kernels('F'), feedback: kernels('B') } }
      return Promise.resolve({
        async step() {
          const { tensors, metrics } = step(state, batch)
          state = tensors
          const [loss] = await metrics.loss.data()
          tree.dispose(metrics)
          return loss
        },
        dispose: () => tree.dispose(state, batch),
      })
    },
  }
}

const hidden = [256, 256, 256]
const dense = { batch: 128, layers: hidden.length + 1, learningRate: 0.5, clip: 1, lambdaC: 0.5 }

/** One step on the network of paper 15's embedded preset. */
export const counterCurrentStep = workload({
  name: 'counter-current-step',
  description: `counter-current learning of an MLP 784-${hidden.join('-')}-${classes}, batch ${dense.batch}: local losses and gradients, two clips, SGD`,
  settings: dense,
  bound: 1,
  repeat: 20,
  inputShape: [784],
  method: () => counterCurrentLearning({ classes, hidden, learningRate: dense.learningRate, clip: dense.clip, lambdaC: dense.lambdaC }),
})

const channels = [16, 32, 32]
const convolutional = { batch: 64, layers: channels.length + 1, learningRate: 0.1, clip: 0.3, lambdaC: 1, lambdaS: 0.5, momentum: 0.8 }

/** The same of a convolutional network, with the reference code's settings for those. */
export const counterCurrentConvolutions = workload({
  name: 'counter-current-convolutions',
  description: `counter-current learning of a CNN with channels ${channels.join('-')}, batch ${convolutional.batch}, 32 × 32 × 3: normalised losses, centralised gradients, two clips, SGD with momentum`,
  settings: convolutional,
  bound: 1.3,
  repeat: 3,
  inputShape: [32, 32, 3],
  method: () => counterCurrentLearning({ classes, channels, learningRate: convolutional.learningRate, weightDecay: 0, warmUpSteps: 0 }),
})
