import { random, scan, softmaxCrossEntropy } from '@bpf/core'
import { dense, gruCell, type Affine, type GatedParams, type GruCarry } from '@bpf/core/nn'
import * as tf from '@tensorflow/tfjs-core'
import { labels, training, uniform } from './training'

const settings = { batch: 32, steps: 50, inputs: 64, units: 64, classes: 10, learningRate: 1e-3 }

type Params = { cell: GatedParams; head: Affine }

const cell = gruCell(settings.units)
const head = dense(settings.classes)

/** One training step of a GRU that classifies sequences by its last output: backpropagation through time by scan. */
export const gruStep = training({
  name: 'gru',
  description: `GRU, ${settings.steps} steps, batch ${settings.batch}, ${settings.units} wide: loss, gradients through time, Adam`,
  peers: ['torch', 'jax'],
  settings,
  bound: 1,
  repeat: 3,
  init(key) {
    const keys = random.split(key, 2)
    return { params: { cell: cell.init(keys[0], [settings.inputs]).params, head: head.init(keys[1], [settings.units]).params }, state: {} }
  },
  batch(key) {
    const keys = random.split(key, 2)
    // Time first: the axis that is scanned.
    return {
      x: uniform(keys[0], [settings.steps, settings.batch, settings.inputs], 1),
      y: labels(keys[1], [settings.batch], settings.classes),
    }
  },
  loss(params, _, { x, y }) {
    const { cell: gates, head: output } = params as Params
    const prepared = cell.prepare(gates, x)
    const { carry } = scan<GruCarry, tf.Tensor, readonly tf.Tensor[]>(
      (before, now) => ({ carry: cell.advance(gates, before, now).carry, y: [] }),
      cell.initialCarry(settings.batch),
      prepared,
    )
    const logits = head.apply(output, {}, carry.hidden, { training: true }).y
    return { loss: tf.mean(softmaxCrossEntropy(y, logits)), state: {} }
  },
})
