// The program that kill.long.test.ts starts, kills and starts again: `node kill-run.mjs fit|stages <checkpoints> <result>`.
import * as tf from '@tensorflow/tfjs-core'
import { writeFile } from 'node:fs/promises'
import process from 'node:process'
import { useBackend } from '../../backend'
import { batch, fromArrays, shuffle } from '../../data/index'
import type { Dataset } from '../../data/dataset'
import { fit } from '../../fit'
import { fitStages } from '../../fit-stages'
import { softmaxCrossEntropy, valueAndGradWithAux } from '../../grad/index'
import type { Json, Learner, Staged } from '../../learner'
import { mlp } from '../../nn/index'
import { adam, applyUpdates, type AdamState } from '../../optim/index'
import { fold, key, normalArray } from '../../random/index'
import { serialize } from '../../save/index'
import type { Tree } from '../../tree'
import { fileCheckpoints } from '../checkpoints'

type State = { params: readonly Tree[]; layers: readonly Tree[]; optimizer: AdamState; rate: tf.Tensor }
type Batch = { x: tf.Tensor; y: tf.Tensor }

const inputs = 12
const classes = 3

/** Three noisy clusters. */
function clusters(seed: number, size: number): Dataset<Batch> {
  const noise = normalArray(key(seed), size * inputs)
  const labels = Int32Array.from({ length: size }, (_, i) => i % classes)
  const x = noise.map((value, i) => value + (i % inputs === labels[Math.floor(i / inputs)] ? 1.5 : 0))
  return batch(shuffle(fromArrays({ x: { data: x, shape: [size, inputs] }, y: labels })), 16)
}

/** A classifier with dropout (so that step keys matter), batch statistics, and a bandit-like hook that keeps host state and changes a tensor. */
function classifier(hidden: readonly number[]): Learner<State, Batch> {
  const network = mlp({ hidden, outputs: classes, norm: 'batch', dropout: 0.1 })
  const optimizer = adam({ learningRate: 0.01 })
  const lossAndGrad = valueAndGradWithAux((params: readonly Tree[], layers: readonly Tree[], { x, y }: Batch, k: ReturnType<typeof key>) => {
    const { y: logits, state } = network.apply(params, layers, x, { key: k, training: true })
    return { loss: tf.mean(softmaxCrossEntropy(y, logits)), aux: state }
  })
  return {
    init(k, sample) {
      const { params, state } = network.init(k, sample.x.shape.slice(1))
      return { tensors: { params, layers: state, optimizer: optimizer.init(params), rate: tf.scalar(1) }, host: { hooks: 0, losses: new Float64Array(0) } }
    },
    step({ params, layers, optimizer: before, rate }, data, k) {
      const { value, aux, grads } = lossAndGrad(params, layers, data, k)
      const { updates, state } = optimizer.update(grads, before, params)
      const moved = applyUpdates(params, updates)
      return { tensors: { params: moved, layers: aux, optimizer: state, rate }, metrics: { loss: tf.mul(value, rate) } }
    },
    afterStep: {
      every: 5,
      run({ tensors, host }, { metrics }) {
        const { hooks, losses } = host as { hooks: number; losses: Float64Array }
        const rate = tf.mul(tensors.rate, 1 - metrics.loss / 100)
        return { tensors: { ...tensors, rate }, host: { hooks: hooks + 1, losses: Float64Array.of(...losses.slice(-20), metrics.loss / 3) } }
      },
    },
    evaluate({ params, layers }, { x, y }, weight) {
      const { y: logits } = network.apply(params, layers, x, { training: false })
      const right = tf.cast(tf.equal(tf.argMax(logits, -1), y), 'float32')
      const loss = softmaxCrossEntropy(y, logits)
      return { sums: { loss: tf.sum(tf.mul(loss, weight)), accuracy: tf.sum(tf.mul(right, weight)) }, count: tf.sum(weight) }
    },
  }
}

/** Three classifiers one after the other, each as wide as its number says; the state keeps all of them. */
function stagedClassifiers(): Staged<{ done: readonly Tree[] }, Batch> {
  return {
    stageCount: 3,
    init: () => ({ tensors: { done: [] }, host: { values: [] } }),
    stage: (k, { tensors, host }) =>
      Promise.resolve({
        learner: classifier([8 + 8 * k]) as unknown as Learner<Tree, Batch, unknown>,
        options: { epochs: 3, validation: clusters(2, 50), best: { metric: 'loss', mode: 'min' } },
        finish: (inner) => ({
          tensors: { done: [...tensors.done, inner.tensors] },
          host: { values: [...(host as { values: Json[] }).values, inner.host] },
        }),
      }),
  }
}

async function train(kind: string, folder: string): Promise<{ trees: Tree; host: Json }> {
  const checkpoints = fileCheckpoints(folder)
  if (kind === 'stages') {
    const { state, reason } = await fitStages(stagedClassifiers(), clusters(1, 160), { seed: 7, checkpoints, checkpointEvery: 3 })
    return { trees: state.tensors, host: { host: state.host, reason } }
  }
  const result = await fit(classifier([32, 32]), clusters(1, 250), {
    epochs: 5,
    key: fold(key(7), 0),
    checkpoints,
    checkpointEvery: 3,
    validation: clusters(2, 50),
    best: { metric: 'loss', mode: 'min' },
  })
  const { state, best, history, step, reason } = result
  return {
    trees: { state: state.tensors, best: best?.state.tensors ?? [] },
    host: { host: state.host, best: best === undefined ? null : { value: best.value, epoch: best.epoch, host: best.state.host }, history, step, reason },
  }
}

const [kind, folder, resultFile] = process.argv.slice(2)
await useBackend('cpu')
const { trees, host } = await train(kind, folder)
await writeFile(resultFile, await serialize(trees, { host }))
