// Run in a project with the packages: trains a small backbone on stripes of some directions and saves it, with images of five
// other directions, as the README of @bpf/fewshot reads them.
import { mkdirSync } from 'node:fs'
import * as tf from '@tensorflow/tfjs-core'
import { fit, random, useBackend, valueAndGradWithAux } from '@bpf/core'
import { batch, fromArrays, shuffle } from '@bpf/core/data'
import { softmaxCrossEntropy } from '@bpf/core/grad'
import { convNet4, dense } from '@bpf/core/nn'
import { save } from '@bpf/core/node'
import { adam, applyUpdates } from '@bpf/core/optim'

const [size, base, novel] = [16, 5, 5]
await useBackend()

/** Noisy stripes [n, 16, 16, 1], `each` of every class; base and new directions alternate. */
function stripes(seed, first, each) {
  const count = base * each
  const [phases, noise] = [random.uniformArray(random.key(seed), count), random.normalArray(random.key(seed + 1), count * size * size)]
  const data = Float32Array.from(noise, (value, at) => {
    const i = Math.floor(at / (size * size))
    const angle = (Math.PI * (2 * Math.floor(i / each) + first)) / (base + novel)
    const along = Math.floor((at % (size * size)) / size) * Math.sin(angle) + (at % size) * Math.cos(angle)
    return Math.sin(along + 2 * Math.PI * phases[i]) + 0.3 * value
  })
  return { data, shape: [count, size, size, 1] }
}

const backbone = convNet4({ channels: 8, blocks: 3 })
const head = dense(base)
const optimizer = adam({ learningRate: 0.005 })
const learner = {
  init(key) {
    const body = backbone.init(random.fold(key, 0), [size, size, 1])
    const params = { body: body.params, head: head.init(random.fold(key, 1), body.outputShape).params }
    return { tensors: { params, state: body.state, moments: optimizer.init(params) }, host: null }
  },
  step({ params, state, moments }, { x, y }) {
    const { value, grads, aux } = valueAndGradWithAux((p) => {
      const features = backbone.apply(p.body, state, x, { training: true })
      return { loss: tf.mean(softmaxCrossEntropy(y, head.apply(p.head, {}, features.y, { training: true }).y)), aux: features.state }
    })(params)
    const next = optimizer.update(grads, moments, params)
    return { tensors: { params: applyUpdates(params, next.updates), state: aux, moments: next.state }, metrics: { loss: value } }
  },
}
const each = 40
const examples = fromArrays({ x: stripes(1, 0, each), y: Int32Array.from({ length: base * each }, (_, i) => Math.floor(i / each)) })
const { state } = await fit(learner, batch(shuffle(examples), 25), { epochs: 8, seed: 0 })
const tensorOf = ({ data, shape }) => tf.tensor(data, shape)
mkdirSync(process.argv[2], { recursive: true })
await save(`${process.argv[2]}/backbone.safetensors`, { params: state.tensors.params.body, state: state.tensors.state })
await save(`${process.argv[2]}/images.safetensors`, { support: tensorOf(stripes(3, 1, 5)), query: tensorOf(stripes(5, 1, 15)) })
