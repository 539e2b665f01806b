import { useBackend, type Tree } from '@bpf/core'
import { batch, fromArrays } from '@bpf/core/data'
import { mlp } from '@bpf/core/nn'
import { sgd } from '@bpf/core/optim'
import { fold, key, normalArray } from '@bpf/core/random'
import { learnerContract } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import { fineTune, fineTuneHeads, fineTuning, fineTuningHeads } from './fine-tuning'
import type { TransductiveInput } from './transductive-cluster'

// Pretrained parameters are made as tests are collected.
await useBackend('onnx')

const backbone = mlp({ hidden: [8], outputs: 6 })
const pretrained: { params: Tree; state: Tree } = backbone.init(key(1), [4])

/** Three classes in D columns, around unit vectors. */
function task(seed: number, { D = 4, shots = 2, queries = 5, noise = 0.1 } = {}) {
  const rows = (name: number, each: number) => {
    const data = normalArray(fold(key(seed), name), 3 * each * D, { stddev: noise })
    for (let i = 0; i < 3 * each; i++) data[i * D + Math.floor(i / each)] += 1
    return { data, shape: [3 * each, D] as const }
  }
  const labels = (each: number) => Int32Array.from({ length: 3 * each }, (_, i) => Math.floor(i / each))
  return { support: rows(0, shots), supportLabels: labels(shots), query: rows(1, queries), queryLabels: labels(queries) }
}

describe('fineTuning', () => {
  const examples = () => {
    const { support, supportLabels } = task(1, { shots: 8 })
    return batch(fromArrays({ x: support, y: supportLabels }), 4)
  }
  for (const train of ['head', 'all'] as const) {
    for (const { name, run } of learnerContract({
      learner: () => fineTuning({ backbone, pretrained, ways: 3, train }),
      dataset: examples,
    })) {
      it(`${train}: ${name}`, run)
    }
  }

  it('leaves the backbone as it was, or trains it too', () => {
    const sample = { x: tf.tensor2d(task(1).support.data, [6, 4]), y: tf.tensor1d(task(1).supportLabels, 'int32') }
    for (const train of ['head', 'all'] as const) {
      const learner = fineTuning({ backbone, pretrained, ways: 3, train })
      let { tensors } = learner.init(key(0), sample, undefined)
      // The head starts at zero: the backbone's first gradient is zero too.
      for (let step = 0; step < 2; step++) tensors = learner.step(tensors, sample, key(step)).tensors
      const kernelOf = (params: Tree) => (params as { kernel: tf.Tensor }[])[0].kernel.arraySync()
      if (train === 'head') expect(kernelOf(tensors.backbone)).toEqual(kernelOf(pretrained.params))
      else expect(kernelOf(tensors.backbone)).not.toEqual(kernelOf(pretrained.params))
    }
  })

  it('labels a task, head alone or whole, and leaks nothing', async () => {
    const { support, supportLabels, query, queryLabels } = task(3)
    const inputs = { support: tf.tensor2d(support.data, [6, 4]), supportLabels, query: tf.tensor2d(query.data, [15, 4]) }
    const options = { backbone, pretrained, ways: 3, steps: 60, optimizer: sgd({ learningRate: 0.5 }) }
    await fineTune(inputs, { ...options, train: 'all' })
    const before = tf.memory().numTensors
    for (const train of ['head', 'all'] as const) expect(await fineTune(inputs, { ...options, train })).toEqual(queryLabels)
    expect(tf.memory().numTensors).toBe(before)
  })

  it('names what is wrong', async () => {
    const { support, supportLabels, query } = task(3)
    const inputs = { support: tf.tensor2d(support.data, [6, 4]), query: tf.tensor2d(query.data, [15, 4]) }
    const options = { backbone, pretrained, ways: 3 }
    await expect(fineTune({ ...inputs, supportLabels: [0, 0, 1, 1, 3, 3] }, options)).rejects.toThrow('class 2 has no support example')
    await expect(fineTune({ ...inputs, supportLabels }, { ...options, ways: 4 })).rejects.toThrow(/labels of 4 classes, got 3/)
    expect(() => fineTuning({ ...options, ways: 1 })).toThrow(/ways should be an integer of at least 2/)
    expect(() => fineTuning({ ...options, train: 'some' as 'all' })).toThrow(/train should be head or all/)
  })
})

describe('fineTuneHeads', () => {
  for (const { name, run } of learnerContract({
    learner: () => fineTuningHeads({ ways: 3 }),
    dataset: () => {
      const { support, supportLabels } = task(1, { shots: 8 })
      const twice = <T>(values: ArrayLike<T>, size: number): T[][][] =>
        Array.from({ length: 24 }, (_, i) => [0, 1].map(() => Array.from(values).slice(i * size, (i + 1) * size)))
      const labels = Int32Array.from({ length: 48 }, (_, i) => supportLabels[Math.floor(i / 2)])
      return batch(fromArrays({ x: twice(support.data, 4), y: { data: labels, shape: [24, 2] } }), 4)
    },
  })) {
    it(name, run)
  }

  it('gives each task what it gets alone', async () => {
    const tasks: TransductiveInput[] = [1, 2, 3].map((seed) => task(seed, { noise: 0.5 }))
    const together = await fineTuneHeads(tasks)
    for (const [e, one] of tasks.entries()) expect((await fineTuneHeads([one]))[0]).toEqual(together[e])
  })

  it('labels separated classes without an error', async () => {
    const tasks = [4, 5].map((seed) => task(seed))
    expect(await fineTuneHeads(tasks)).toEqual(tasks.map(({ queryLabels }) => queryLabels))
    await expect(fineTuneHeads([tasks[0], task(6, { shots: 3 })])).rejects.toThrow(/task 1: expected support \[6, 4\]/)
  })
})
