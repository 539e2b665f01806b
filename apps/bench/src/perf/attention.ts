import { random, type Tree } from '@bpf/core'
import { dense, layerNorm, multiHeadAttention, relu, residual, sequential, type Layer, type SequentialModel } from '@bpf/core/nn'
import * as tf from '@tensorflow/tfjs-core'
import { training, uniform } from './training'

const settings = { batch: 16, tokens: 64, width: 128, heads: 4, learningRate: 1e-3 }

/** A transformer block with norms first: x + attention(norm(x)), then x + MLP(norm(x)). */
const block = sequential([
  residual(sequential([layerNorm(), multiHeadAttention({ heads: settings.heads }) as Layer])),
  residual(sequential([layerNorm(), dense(4 * settings.width), relu(), dense(settings.width)])),
]) as unknown as SequentialModel

/** One training step of a transformer block towards random targets. */
export const attentionStep = training({
  name: 'attention',
  description: `transformer block, batch ${settings.batch}, ${settings.tokens} tokens, ${settings.width} wide, ${settings.heads} heads: loss, gradients, Adam`,
  peers: ['torch', 'jax'],
  settings,
  bound: 1,
  repeat: 3,
  init: (key) => block.init(key, [settings.tokens, settings.width]),
  batch(key) {
    const keys = random.split(key, 2)
    const shape = [settings.batch, settings.tokens, settings.width]
    return { x: uniform(keys[0], shape, 1), y: uniform(keys[1], shape, 1) }
  },
  loss(params, state, { x, y }) {
    const result = block.apply(params as readonly Tree[], state as readonly Tree[], x, { training: true })
    return { loss: tf.mean(tf.square(tf.sub(result.y, y))), state: result.state }
  },
})
