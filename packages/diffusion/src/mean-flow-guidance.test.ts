import { fit, random, useBackend, type Dataset } from '@bpf/core'
import { batch, fromArrays, shuffle } from '@bpf/core/data'
import { learnerContract } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { meanFlow, sampleMeanFlow } from './flow-map'
import { flowMapMlp } from './networks'
import { linearProcess } from './process'

beforeAll(async () => useBackend('onnx'))

/** Two classes on a line, N(−1, 0.6²) and N(1, 0.6²). */
const count = 512
const label = Int32Array.from({ length: count }, (_, i) => i % 2)
const x = Float32Array.from(random.normalArray(random.key(1), count), (z, i) => (label[i] === 0 ? -1 : 1) + 0.6 * z)
const dataset = () =>
  batch(shuffle(fromArrays({ x: { data: x, shape: [count, 1] }, label: { data: label, shape: [count] } })), 64) as Dataset<{
    x: tf.Tensor
    label: tf.Tensor
  }>
const learner = (scale: number, hidden: number[]) => {
  const network = flowMapMlp({ hidden, classes: 2 })
  return meanFlow({ process: linearProcess(), network, guidance: { scale, nullLabel: 2 }, emaDecay: 0.99 })
}

describe('meanFlow with guidance', () => {
  for (const check of learnerContract({ learner: () => learner(2, [8]), dataset })) it(check.name, check.run)

  it('one step samples the class asked for, further out with more guidance', async () => {
    const meanOf = async (scale: number, asked: number): Promise<number> => {
      const made = learner(scale, [32, 32])
      const { state } = await fit(made, dataset(), { steps: 1500, seed: 1 })
      const h = made.flowMap(state.tensors, { average: true, label: tf.fill([500], asked, 'int32') })
      return tf.mean(sampleMeanFlow(h, { shape: [500, 1], key: random.key(2) })).dataSync()[0]
    }
    const [plain, guided] = [await meanOf(1, 1), await meanOf(3, 1)]
    expect(plain).toBeCloseTo(1, 0)
    expect(guided).toBeGreaterThan(plain + 0.2)
    expect(await meanOf(3, 0)).toBeLessThan(-1.2)
  })

  it('needs labels and a finite scale', () => {
    const made = learner(2, [8])
    const tensors = made.init(random.key(0), { x: tf.zeros([2, 1]) }).tensors
    expect(() => made.step(tensors, { x: tf.zeros([2, 1]) }, random.key(1))).toThrow('guidance needs batches with label')
    expect(() => learner(NaN, [8])).toThrow('guidance.scale must be finite')
  })
})
