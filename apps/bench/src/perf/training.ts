import { compile, random, tree, valueAndGradWithAux, type Key, type Tree } from '@bpf/core'
import { adam, applyUpdates, type AdamState } from '@bpf/core/optim'
import * as tf from '@tensorflow/tfjs-core'
import type { InputArray, Prepared, Workload } from './workload'

/** Tensors of a minibatch by name. */
export type Batch = Readonly<Record<string, tf.Tensor>>

/** What is trained: everything both sides need to know of a model. */
export interface TrainingTask extends Omit<Workload, 'inputs' | 'prepare'> {
  /** Must have `learningRate`: both sides train with Adam. */
  settings: Readonly<Record<string, number>> & { readonly learningRate: number }
  /** Parameters and layer state before the first step. */
  init(key: Key): { params: Tree; state: Tree }
  batch(key: Key): Record<string, InputArray>
  /** Loss of a minibatch (a scalar) and the next layer state. */
  loss(params: Tree, state: Tree, batch: Batch): { loss: tf.Tensor; state: Tree }
}

/** What changes from step to step. */
export type TrainingState = { params: Tree; state: Tree; optimizer: AdamState }

/** Values drawn uniformly from ±bound. */
export function uniform(key: Key, shape: readonly number[], bound: number): InputArray {
  const size = shape.reduce((product, n) => product * n, 1)
  return { data: random.uniformArray(key, size, { low: -bound, high: bound }), shape }
}

/** Class labels. */
export function labels(key: Key, shape: readonly number[], classes: number): InputArray {
  const size = shape.reduce((product, n) => product * n, 1)
  return { data: Int32Array.from(random.uniformArray(key, size), (u) => Math.floor(u * classes)), shape }
}

export function tensorOf({ data, shape }: InputArray): tf.Tensor {
  return tf.tensor(data, [...shape], data instanceof Int32Array ? 'int32' : 'float32')
}

/** Parameters go to the other side by their path in the tree. */
const parameterName = (path: string): string => `params${path}`

/** The arrays that both sides start from: parameters by path, and the minibatch. */
export function trainingInputs(task: Pick<TrainingTask, 'init' | 'batch'>): Record<string, InputArray> {
  const [modelKey, dataKey] = random.split(random.key(0), 2)
  const { params, state } = task.init(modelKey)
  const parameters = tree.entries(params).map(({ path, leaf }): [string, InputArray] => {
    const data = leaf.dataSync().slice() as Float32Array
    return [parameterName(path), { data, shape: leaf.shape }]
  })
  tree.dispose(params, state)
  return { ...Object.fromEntries(parameters), ...task.batch(dataKey) }
}

/** The state before the first step, with parameters from `arrays`. */
export function initialState(task: Pick<TrainingTask, 'init' | 'settings'>, arrays: Readonly<Record<string, InputArray>>): TrainingState {
  const drawn = task.init(random.key(0))
  const { structure } = tree.flatten(drawn.params)
  const leaves = tree.entries(drawn.params).map(({ path }) => tensorOf(arrays[parameterName(path)]))
  tree.dispose(drawn.params)
  const params = tree.unflatten<Tree>(structure, leaves)
  return { params, state: drawn.state, optimizer: adam({ learningRate: task.settings.learningRate }).init(params) }
}

/** The minibatch in `arrays`. */
export function batchOf(arrays: Readonly<Record<string, InputArray>>): Record<string, tf.Tensor> {
  const named = Object.entries(arrays).filter(([name]) => !name.startsWith(parameterName('')))
  return Object.fromEntries(named.map(([name, array]) => [name, tensorOf(array)]))
}

/** One step of training as a pure function: loss, gradients, Adam. */
export function trainingStep({
  loss,
  settings,
}: Pick<TrainingTask, 'loss' | 'settings'>): (current: TrainingState, batch: Batch) => { next: TrainingState; loss: tf.Scalar } {
  const optimizer = adam({ learningRate: settings.learningRate })
  const lossAndGrad = valueAndGradWithAux((params: Tree, state: Tree, batch: Batch) => {
    const result = loss(params, state, batch)
    return { loss: result.loss, aux: result.state }
  })
  return (current, batch) => {
    const { value, grads, aux } = lossAndGrad(current.params, current.state, batch)
    const { updates, state } = optimizer.update(grads, current.optimizer, current.params)
    return { next: { params: applyUpdates(current.params, updates), state: aux, optimizer: state }, loss: value }
  }
}

/** Our side of any training loop: the state is donated from step to step, and only the loss is read. */
export function prepareTraining(
  initial: TrainingState,
  batch: Record<string, tf.Tensor>,
  step: (current: TrainingState, batch: Batch) => { next: TrainingState; loss: tf.Scalar },
): Promise<Prepared> {
  const compiled = compile(step, { donate: [0], name: 'trainingStep' })
  let current = initial
  return Promise.resolve({
    async step() {
      const { next, loss } = compiled(current, batch)
      current = next
      const [value] = await loss.data()
      loss.dispose()
      return value
    },
    dispose: () => tree.dispose(current, batch),
  })
}

/** A workload whose step is one training step on one minibatch. */
export function training(task: TrainingTask): Workload {
  return {
    ...task,
    inputs: () => trainingInputs(task),
    prepare: (arrays) => prepareTraining(initialState(task, arrays), batchOf(arrays), trainingStep(task)),
  }
}
