import { compile, random, tree, valueAndGrad } from '@bpf/core'
import '@bpf/core/grad'
import { adam, applyUpdates } from '@bpf/core/optim'
import * as tf from '@tensorflow/tfjs-core'
import type { InputArray, Workload } from './workload'

const settings = { batch: 64, inputs: 64, hidden: 128, classes: 10, learningRate: 1e-3 }

type Params = { w1: tf.Tensor2D; b1: tf.Tensor1D; w2: tf.Tensor2D; b2: tf.Tensor1D }
type Batch = { x: tf.Tensor2D; y: tf.Tensor2D }

function inputs(): Record<string, InputArray> {
  const { batch, inputs: width, hidden, classes } = settings
  const keys = random.split(random.key(0), 4)
  const draw = (i: number, shape: number[], bound: number): InputArray => {
    const size = shape.reduce((product, n) => product * n, 1)
    return { data: random.uniformArray(keys[i], size, { low: -bound, high: bound }), shape }
  }
  return {
    x: draw(0, [batch, width], 1),
    y: { data: Int32Array.from({ length: batch }, (_, i) => (7 * i + 3) % classes), shape: [batch] },
    w1: draw(1, [width, hidden], 1 / Math.sqrt(width)),
    b1: { data: new Float32Array(hidden), shape: [hidden] },
    w2: draw(2, [hidden, classes], 1 / Math.sqrt(hidden)),
    b2: { data: new Float32Array(classes), shape: [classes] },
  }
}

function loss(params: Params, { x, y }: Batch): tf.Tensor {
  const hidden = tf.relu(tf.add(tf.matMul(x, params.w1), params.b1))
  const logits = tf.add(tf.matMul(hidden, params.w2), params.b2)
  return tf.mean(tf.neg(tf.sum(tf.mul(y, tf.logSoftmax(logits)), -1)))
}

/** One training step of a two-layer perceptron of the size that small reproductions use. */
export const mlpStep: Workload = {
  name: 'mlp-step',
  description: `MLP ${settings.inputs}-${settings.hidden}-${settings.classes}, batch ${settings.batch}: loss, gradients, Adam`,
  peers: ['torch', 'numpy'],
  settings,
  repeat: 10,
  inputs,
  prepare(arrays) {
    const tensor = (name: string): tf.Tensor => tf.tensor(arrays[name].data, [...arrays[name].shape], 'float32')
    const optimizer = adam({ learningRate: settings.learningRate })
    const step = compile((params: Params, state: ReturnType<typeof optimizer.init>, batch: Batch) => {
      const { value, grads } = valueAndGrad(loss)(params, batch)
      const next = optimizer.update(grads, state, params)
      return { params: applyUpdates(params, next.updates), state: next.state, loss: value }
    })
    let params = { w1: tensor('w1'), b1: tensor('b1'), w2: tensor('w2'), b2: tensor('b2') } as Params
    let state = optimizer.init(params)
    const labels = tf.tensor1d(arrays.y.data as Int32Array, 'int32')
    const batch: Batch = { x: tensor('x') as tf.Tensor2D, y: tf.oneHot(labels, settings.classes) as tf.Tensor2D }
    labels.dispose()
    return Promise.resolve({
      async step() {
        const next = step(params, state, batch)
        tree.dispose(params, state)
        params = next.params
        state = next.state
        const [value] = await next.loss.data()
        next.loss.dispose()
        return value
      },
      dispose: () => tree.dispose(params, state, batch),
    })
  },
}
