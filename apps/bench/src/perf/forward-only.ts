import { compile, random, tree, type Learner, type Tree } from '@bpf/core'
import { adam, adamw } from '@bpf/core/optim'
import { cascadedForward, forwardForward, monoForward, type LabelledBatch } from '@bpf/local'
import { labels, tensorOf, uniform } from './training'
import type { InputArray, Workload } from './workload'

const classes = 10
const modelKey = random.key(0)
/** Of every step: what a step draws is the same each time, so that the other side can be told. */
const stepKey = random.key(1)

interface Task extends Pick<Workload, 'name' | 'description' | 'bound' | 'repeat' | 'settings'> {
  image: readonly number[]
  batch: number
}

type Method = Pick<Learner<Tree, LabelledBatch, unknown>, 'init' | 'step'>

function exampleArrays({ image, batch }: Task): { x: InputArray; y: InputArray; negative: InputArray } {
  const [xKey, yKey] = random.split(random.key(2), 2)
  const y = labels(yKey, [batch], classes)
  // As Forward-Forward draws them in a step with this key.
  const shift = random.randintArray(random.fold(stepKey, 0), batch, { low: 1, high: classes })
  const negative = { data: Int32Array.from(y.data, (label, i) => (label + shift[i]) % classes), shape: [batch] }
  const x = uniform(xKey, [batch, ...image], 0.5)
  return { x: { data: (x.data as Float32Array).map((value) => value + 0.5), shape: x.shape }, y, negative }
}

/** The first state of a learner; what it makes on the way is freed, the learner's own tensors too. */
const startOf = (method: (sample: LabelledBatch) => Method, sample: LabelledBatch): Tree =>
  tree.tidy(() => method(sample).init(modelKey, sample, undefined).tensors)

/** One step of a learner, its state donated to the next. */
function stepOf(task: Task, method: (sample: LabelledBatch) => Method): Workload {
  const sample = ({ x, y }: Readonly<Record<string, InputArray>>): LabelledBatch => ({ x: tensorOf(x), y: tensorOf(y) })
  return {
    ...task,
    peers: ['torch'],
    inputs() {
      const arrays = exampleArrays(task)
      const examples = sample(arrays)
      const state = startOf(method, examples)
      const values = tree
        .entries(state)
        .map(({ path, leaf }): [string, InputArray] => [
          path.slice(1),
          { data: leaf.dataSync().slice() as Float32Array, shape: leaf.shape },
        ])
      tree.dispose(state, examples)
      return {
        ...Object.fromEntries(values.filter(([name]) => !name.startsWith('optimizer') && !name.startsWith('headOptimizer'))),
        ...arrays,
      }
    },
    prepare(arrays) {
      const examples = sample(arrays)
      let state = startOf(method, examples)
      const compiled = compile(
        (tensors: Tree, data: LabelledBatch, key: typeof stepKey) => tree.tidy(() => method(examples).step(tensors, data, key)),
        {
          donate: [0],
          name: task.name,
        },
      )
      return Promise.resolve({
        async step() {
          const { tensors, metrics } = compiled(state, examples, stepKey)
          state = tensors
          const [value] = await metrics.loss.data()
          tree.dispose(metrics)
          return value
        },
        dispose: () => tree.dispose(state, examples),
      })
    },
  }
}

const forwardForwardTask: Task = {
  name: 'forward-forward',
  description: 'Forward-Forward 784-400-400-400, batch 100: losses and gradients of all layers, AdamW',
  bound: 1,
  repeat: 3,
  settings: { layers: 3, classes, learningRate: 1e-3, weightDecay: 3e-4 },
  image: [784],
  batch: 100,
}

export const forwardForwardStep = stepOf(forwardForwardTask, () => {
  const { learningRate, weightDecay } = forwardForwardTask.settings
  return forwardForward({ hidden: [400, 400, 400], classes, optimizer: adamw({ learningRate, weightDecay }), peerFactor: 0 }) as never
})

const monoForwardTask: Task = {
  name: 'mono-forward',
  description: 'Mono-Forward 784-256-256, batch 128, all layers at once: losses, gradients, Adam',
  bound: 1,
  repeat: 10,
  settings: { layers: 2, learningRate: 1e-3 },
  image: [784],
  batch: 128,
}

export const monoForwardStep = stepOf(monoForwardTask, () => {
  const { learningRate } = monoForwardTask.settings
  return monoForward({ hidden: [256, 256], classes, schedule: 'simultaneous', optimizer: adam({ learningRate }) }) as never
})

const cascadedForwardTask: Task = {
  name: 'cascaded-forward',
  description: 'Cascaded Forward 16-32-64, batch 128, 14 × 14 × 1: direct feedback alignment of the blocks, Adam',
  bound: 1.3,
  repeat: 3,
  settings: { blocks: 3, classes, learningRate: 5e-4 },
  image: [14, 14, 1],
  batch: 128,
}

export const cascadedForwardStep = stepOf(cascadedForwardTask, (sample) => {
  const { learningRate } = cascadedForwardTask.settings
  const method = cascadedForward({ classes, channels: [16, 32, 64], blocks: 'dfa', blockOptimizer: adam({ learningRate }) })
  return method.blockLearner(method.init(modelKey, sample).tensors)
})
