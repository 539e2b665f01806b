import { compile, random, tree, type Tree } from '@bpf/core'
import { sgd } from '@bpf/core/optim'
import { augLocal, residualLayers, type LocalLearningState } from '@bpf/local'
import * as tf from '@tensorflow/tfjs-core'
import { batchOf, labels, tensorOf, uniform } from './training'
import type { InputArray, Workload } from './workload'

const widths = [8, 8, 8, 16, 16, 16, 32, 32]
const settings = { batch: 64, layers: widths.length, dMax: 3, learningRate: 0.05, momentum: 0.9, weightDecay: 1e-4 }
const image = [14, 14, 1]

const { batch, dMax, learningRate, momentum, weightDecay } = settings
const method = augLocal({
  layers: residualLayers(widths),
  classes: 10,
  dMax,
  optimizer: sgd({ learningRate, momentum, weightDecay, nesterov: true }),
})

function initial(): LocalLearningState {
  return tree.tidy(() => method.init(random.key(0), { x: tf.zeros([batch, ...image]), y: tf.zeros([batch], 'int32') }).tensors)
}

const parameterName = (module: number, path: string): string => `params/${module}${path}`

/** The parameters of all modules by name, and where each block of a helper shrinks the image. */
function inputs(): Record<string, InputArray> {
  const keys = random.split(random.key(1), 2)
  const { modules } = initial()
  const parameters = modules.flatMap(({ params }, m) =>
    tree.entries(params).map(({ path, leaf }): [string, InputArray] => {
      return [parameterName(m, path), { data: leaf.dataSync().slice() as Float32Array, shape: leaf.shape }]
    }),
  )
  tree.dispose(modules)
  const strides = method.plan.flatMap((row) => Array.from({ length: dMax }, (_, i) => row.strides[i] ?? 0))
  return {
    ...Object.fromEntries(parameters),
    strides: { data: Int32Array.from(strides), shape: [method.plan.length, dMax] },
    x: uniform(keys[0], [batch, ...image], 1),
    y: labels(keys[1], [batch], 10),
  }
}

function withParameters(state: LocalLearningState, arrays: Readonly<Record<string, InputArray>>): LocalLearningState {
  const modules = state.modules.map((module, m) => {
    const leaves = tree.entries(module.params).map(({ path }) => tensorOf(arrays[parameterName(m, path)]))
    const params = tree.unflatten<typeof module.params>(tree.flatten(module.params).structure, leaves)
    tree.dispose(module.params)
    return { ...module, params }
  })
  return { modules }
}

/** The paper's step at the size of the embedded preset: eight layers in isolation, helpers of three blocks, SGD. Compared is the mean of all local losses. */
export const augLocalStep: Workload = {
  name: 'aug-local',
  description: `AugLocal, ${widths.length} layers (${widths.join('-')}), batch ${batch}, ${image.join(' × ')}: local losses, gradients, SGD`,
  peers: ['torch'],
  settings,
  bound: 1.3,
  repeat: 1,
  inputs,
  prepare(arrays) {
    const { x, y, strides } = batchOf(arrays)
    strides.dispose()
    const step = compile(
      (state: LocalLearningState, data: { x: tf.Tensor; y: tf.Tensor }) => {
        const { tensors, metrics } = method.step(state, data, random.key(0))
        return { tensors, loss: tf.div(tf.addN(Object.values(metrics)), settings.layers) } satisfies Record<string, Tree>
      },
      { donate: [0], name: 'augLocalStep' },
    )
    let current = withParameters(initial(), arrays)
    return Promise.resolve({
      async step() {
        const next = step(current, { x, y })
        current = next.tensors
        const [value] = await next.loss.data()
        next.loss.dispose()
        return value
      },
      dispose: () => tree.dispose(current, { x, y }),
    })
  },
}
