import { compile, random, tree, type Key, type Tree } from '@bpf/core'
import { avgPool } from '@bpf/core/nn'
import {
  elmanCell,
  recurrentTargetProjectionSgd,
  targetConv,
  targetDense,
  targetProjectionSgd,
  type ClassifierLearner,
  type LabelledBatch,
} from '@bpf/local'
import * as tf from '@tensorflow/tfjs-core'
import { batchOf, labels, tensorOf, uniform } from './training'
import type { InputArray, Workload } from './workload'

const classes = 10

interface Task<State extends Tree> {
  name: string
  description: string
  settings: Readonly<Record<string, number>> & { readonly batch: number }
  bound: number
  repeat: number
  method: ClassifierLearner<State>
  /** Without the batch axis. */
  input: readonly number[]
}

/** A step of a method; both sides start from its own first state, projections included. Compared is the sum of all losses. */
function workload<State extends Tree>({ method, input, ...task }: Task<State>): Workload {
  const { batch } = task.settings
  const initial = (): State =>
    tree.tidy(() => method.init(random.key(0), { x: tf.zeros([batch, ...input]), y: tf.zeros([batch], 'int32') }, undefined).tensors)

  function inputs(): Record<string, InputArray> {
    const [dataKey, labelKey] = random.split(random.key(1), 2)
    const state = initial()
    const parts = tree.entries(state).filter(({ leaf }) => leaf.dtype === 'float32')
    const arrays = parts.map(({ path, leaf }): [string, InputArray] => {
      return [`state${path}`, { data: leaf.dataSync().slice() as Float32Array, shape: leaf.shape }]
    })
    tree.dispose(state)
    return { ...Object.fromEntries(arrays), x: uniform(dataKey, [batch, ...input], 1), y: labels(labelKey, [batch], classes) }
  }

  return {
    ...task,
    peers: ['torch'],
    inputs,
    prepare(arrays) {
      const { x, y } = batchOf({ x: arrays.x, y: arrays.y })
      const step = compile(
        (state: State, data: LabelledBatch, key: Key) => {
          const { tensors, metrics } = method.step(state, data, key)
          return { tensors, loss: tf.addN(Object.values(metrics)) }
        },
        { donate: [0], name: task.name },
      )
      const drawn = initial()
      const { structure } = tree.flatten(drawn)
      const leaves = tree.entries(drawn).map(({ path, leaf }) => {
        const given = arrays[`state${path}`]
        return given === undefined ? leaf.clone() : tensorOf(given)
      })
      tree.dispose(drawn)
      let current: State = tree.unflatten<State>(structure, leaves)
      return Promise.resolve({
        async step() {
          const next = step(current, { x, y }, random.key(0))
          current = next.tensors as State
          const [value] = await next.loss.data()
          next.loss.dispose()
          return value
        },
        dispose: () => tree.dispose(current, { x, y }),
      })
    },
  }
}

const rates = { learningRate: 1e-3, outputLearningRate: 0.02 }

export const targetProjectionStep = workload({
  name: 'target-projection',
  description: 'tpSGD, MLP 784-256-256-10, batch 64: local losses, gradients, SGD, layer by layer',
  settings: { batch: 64, layers: 2, ...rates },
  bound: 1,
  repeat: 20,
  method: targetProjectionSgd({ layers: [targetDense(256), targetDense(256)], classes, ...rates }),
  input: [784],
})

const recurrentSettings = { batch: 64, steps: 8, units: 16, learningRate: 0.03, outputLearningRate: 0.3 }

export const targetProjectionRecurrentStep = workload({
  name: 'target-projection-recurrent',
  description: 'tpSGD, Elman network of 16 units, 8 steps of 8, batch 64, target at the last step: losses, gradients, SGD',
  settings: recurrentSettings,
  bound: 1,
  repeat: 50,
  method: recurrentTargetProjectionSgd({ cells: [elmanCell(16)], classes, target: 'last', ...recurrentSettings }),
  input: [8, 8],
})

const convolutionSettings = { batch: 64, learningRate: 1e-5, outputLearningRate: 0.1 }

export const targetProjectionConvolutionStep = workload({
  name: 'target-projection-convolution',
  description: 'tpSGD, 16 filters of 5 × 5 on 14 × 14 pixels, a target for each position, average pooling: losses, gradients, SGD',
  settings: convolutionSettings,
  bound: 1.3,
  repeat: 10,
  method: targetProjectionSgd({ layers: [targetConv(16, { kernelSize: 5, pool: avgPool(2) })], classes, ...convolutionSettings }),
  input: [14, 14, 1],
})
