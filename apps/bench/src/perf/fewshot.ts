import { random } from '@bpf/core'
import { convNet4 } from '@bpf/core/nn'
import { boundOptimise, episodeLoss } from '@bpf/fewshot'
import * as tf from '@tensorflow/tfjs-core'
import { training, uniform } from './training'
import type { Workload } from './workload'

const [points, classes, neighbours] = [10_000, 20, 4]

/** Updates of all assignments at once; compared is the energy after the last. */
export const boundUpdates: Workload = {
  name: 'bound-updates',
  description: `bound optimiser, 10 updates of ${points} points in ${classes} classes with ${neighbours} neighbours each`,
  peers: ['torch'],
  settings: { lambda: 0.7, updates: 10 },
  repeat: 3,
  inputs() {
    const columns = random.randintArray(random.key(0), points * neighbours, { low: 0, high: points })
    return {
      columns: { data: Int32Array.from(columns), shape: [points, neighbours] },
      costs: uniform(random.key(1), [points, classes], 1),
    }
  },
  prepare({ columns, costs }) {
    const affinity = {
      size: points,
      starts: Int32Array.from({ length: points + 1 }, (_, i) => i * neighbours),
      columns: columns.data as Int32Array,
      weights: new Float64Array(points * neighbours).fill(1),
    }
    const options = { costs: new Float64Array(costs.data), affinity, lambda: 0.7, iterations: 10, tolerance: -1 }
    return Promise.resolve({
      step: () => Promise.resolve(boundOptimise(options).energies[9]),
      dispose: () => undefined,
    })
  },
}

/** A small rate: with 1e-3 the loss is so steep that PyTorch's own float32 and float64 part by a per cent in two steps. */
const episode = { ways: 5, shots: 5, queries: 5, image: 28, learningRate: 1e-4 }
const network = convNet4()

/** One training step on an episode: ConvNet4's embeddings, cross-entropy to prototypes and the ICNN loss, Adam. */
export const episodeStep = training({
  name: 'episode-step',
  description: `ConvNet4 on an episode of ${episode.ways} ways, ${episode.shots} shots and ${episode.queries} queries, 28 × 28: cross-entropy and ICNN loss, gradients, Adam`,
  peers: ['torch'],
  settings: episode,
  bound: 1.3,
  repeat: 1,
  init: (key) => network.init(key, [episode.image, episode.image, 1]),
  batch(key) {
    const rows = episode.ways * (episode.shots + episode.queries)
    return { x: uniform(key, [rows, episode.image, episode.image, 1], 1) }
  },
  loss(params, state, { x }) {
    const { ways, shots } = episode
    const result = network.apply(params as readonly tf.Tensor[], state as readonly tf.Tensor[], x, { training: true })
    const supports = ways * shots
    const support = tf.slice(result.y, [0, 0], [supports, -1])
    const query = tf.slice(result.y, [supports, 0], [-1, -1])
    return { loss: episodeLoss({ support, query, ways, shots }, { losses: ['cross', 'fullicnn'] }).loss, state: result.state }
  },
})
