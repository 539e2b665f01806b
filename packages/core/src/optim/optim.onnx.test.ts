import * as tf from '@tensorflow/tfjs-core'
import { expect, it } from 'vitest'
import { useBackend } from '../backend'
import { compile } from '../compile'
import { key, normal } from '../random/index'
import { dispose, entries, map, type Tree } from '../tree'
import * as optim from './index'

await useBackend('onnx')

type Params = { w: tf.Tensor; deep: { b: tf.Tensor; s: tf.Tensor } }

const params: Params = { w: normal(key(1), [48, 64]), deep: { b: normal(key(2), [5]), s: normal(key(3), []) } }
const mask: Tree = map((leaf) => tf.cast(tf.greater(leaf, 0), 'float32'), params)
const schedule = optim.warmUp(3, optim.cosine({ from: 0.1, to: 0.01, steps: 9 }))

const cases: [string, optim.Optimizer][] = [
  ['sgd', optim.sgd({ learningRate: 0.1 })],
  ['sgd, Nesterov momentum, weight decay', optim.sgd({ learningRate: 0.1, momentum: 0.9, nesterov: true, weightDecay: 0.01 })],
  ['adam', optim.adam({ learningRate: 0.05 })],
  ['adam, all options', optim.adam({ learningRate: 0.05, beta1: 0.8, beta2: 0.95, epsilon: 1e-3, weightDecay: 0.1 })],
  ['adamw', optim.adamw({ learningRate: 0.05, weightDecay: 0.3 })],
  ['lamb', optim.lamb({ learningRate: 0.02, weightDecay: 0.1 })],
  ['rmsprop', optim.rmsprop({ learningRate: 0.01 })],
  ['rmsprop, momentum', optim.rmsprop({ learningRate: 0.01, decay: 0.9, momentum: 0.5, weightDecay: 0.1 })],
  ['rmsprop, centred', optim.rmsprop({ learningRate: 0.01, decay: 0.9, centered: true })],
  ['clipByGlobalNorm', optim.chain(optim.clipByGlobalNorm(0.7), optim.sgd({ learningRate: 0.1 }))],
  [
    'clipByGlobalNorm, zero where not finite',
    optim.chain(optim.clipByGlobalNorm(0.7, { nonFinite: 'zero' }), optim.adam({ learningRate: 0.1 })),
  ],
  ['clipByValue', optim.chain(optim.clipByValue(0.5), optim.sgd({ learningRate: 0.1 }))],
  [
    'addDecayedWeights',
    optim.chain(
      optim.addDecayedWeights(0.2, (path) => path === '/w'),
      optim.sgd({ learningRate: 0.1 }),
    ),
  ],
  ['scaleBySchedule', optim.chain(optim.sgd({ learningRate: 1 }), optim.scaleBySchedule(schedule))],
  ['accumulate', optim.accumulate(optim.adam({ learningRate: 0.05 }), 2)],
  ['masked', optim.masked(optim.adam({ learningRate: 0.05, weightDecay: 0.1 }), mask)],
  ['a composed schedule', optim.adam({ learningRate: optim.linearCoolDown(schedule, { total: 9, steps: 4 }) })],
  ['milestones', optim.sgd({ learningRate: optim.milestones(0.5, { steps: [2, 4] }) })],
  ['step decay', optim.sgd({ learningRate: optim.stepDecay(0.5, { every: 2, factor: 0.5 }) })],
  ['polynomial', optim.sgd({ learningRate: optim.polynomial({ from: 0.5, steps: 8, power: 2 }) })],
]

/** Gradients of step i: a part that stays, a part that changes. */
function gradients(i: number): Params {
  return map((leaf) => tf.add(tf.sin(leaf), normal(key(10 + i + leaf.size), leaf.shape)), params)
}

it.each(cases)('%s: every step is the same eager and compiled', (_, optimizer) => {
  const step = ({ at, state, grads }: { at: Params; state: Tree; grads: Params }) => {
    const { updates, state: next } = optimizer.update(grads, state as never, at)
    return { at: optim.applyUpdates(at, updates), state: next as Tree, updates }
  }
  const eager = compile(step, { traceable: false })
  const compiled = compile(step)
  let at = params
  let state: Tree = optimizer.init(params)
  for (let i = 0; i < 6; i++) {
    const inputs = { at, state, grads: gradients(i) }
    const got = compiled(inputs)
    const wanted = eager(inputs)
    const expected = new Map(entries(wanted).map(({ path, leaf }) => [path, leaf]))
    for (const { path, leaf } of entries(got)) {
      const other = expected.get(path) as tf.Tensor
      expect([leaf.shape, leaf.dtype], path).toEqual([other.shape, other.dtype])
      const scale = tf.max(tf.abs(other)).dataSync()[0]
      const error = tf.max(tf.abs(tf.sub(leaf, other))).dataSync()[0]
      expect(error, `step ${i} ${path}`).toBeLessThanOrEqual(1e-5 * scale)
    }
    dispose(wanted, got.updates)
    at = got.at
    state = got.state
  }
})
