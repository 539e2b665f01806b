import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it, vi } from 'vitest'
import { useBackend } from './backend'
import { compile } from './compile'
import { batch, fromArrays, shuffle } from './data/index'
import { fit } from './fit'
import { valueAndGrad } from './grad/index'
import type { Learner } from './learner'
import * as nn from './nn/index'
import * as optim from './optim/index'
import { key, normal } from './random/index'
import { dispose, map, type Tree } from './tree'

await useBackend('onnx')

const network = nn.mlp({ hidden: [64, 64], outputs: 10 })
const optimizer = optim.adam({ learningRate: 1e-3 })
const { params } = network.init(key(0), [64])

type Params = typeof params
type State = { params: Params; optimizer: Tree }
type Batch = { x: tf.Tensor; y: tf.Tensor }

const lossAndGrad = valueAndGrad((at: Params, { x, y }: Batch) => {
  const { y: logits } = network.apply(at, network.init(key(0), [64]).state, x, { training: true })
  return tf.neg(tf.mean(tf.sum(tf.mul(y, tf.logSoftmax(logits)), -1)))
})

function step(state: State, data: Batch): { state: State; loss: tf.Tensor } {
  const { value, grads } = lossAndGrad(state.params, data)
  const { updates, state: next } = optimizer.update(grads, state.optimizer as never, state.params)
  return { state: { params: optim.applyUpdates(state.params, updates), optimizer: next }, loss: value }
}

function firstState(): State {
  return { params: map((leaf) => leaf.clone(), params), optimizer: optimizer.init(params) }
}

process.getBuiltinModule('node:v8').setFlagsFromString('--expose-gc')
const collectGarbage = process.getBuiltinModule('node:vm').runInNewContext('gc') as () => void

/** Resident memory in MB, garbage collected. */
function resident(): number {
  collectGarbage()
  return process.memoryUsage().rss / 2 ** 20
}

/** Growth that is no leak: pages the allocator keeps. A leak of one small step's tensors (100 KB) in 5,000 steps would be 500 MB. */
const slackMB = 60

describe('memory stays flat', () => {
  it('over 10,000 compiled steps that donate their state', () => {
    const run = compile(step, { donate: [0], name: 'step' })
    const data = { x: normal(key(1), [32, 64]), y: tf.oneHot(tf.mod(tf.range(0, 32, 1, 'int32'), tf.scalar(10, 'int32')), 10) }
    let state = firstState()
    const advance = (count: number): void => {
      for (let i = 0; i < count; i++) {
        const next = run(state, data)
        next.loss.dispose()
        state = next.state
      }
    }
    advance(5000)
    const tensors = tf.memory().numTensors
    const bytes = tf.memory().numBytes
    const before = resident()
    advance(5000)
    expect(tf.memory().numTensors).toBe(tensors)
    expect(tf.memory().numBytes).toBe(bytes)
    const after = resident()
    console.info(
      `10,000 compiled steps: ${tensors} tensors, resident ${before.toFixed(0)} MB after 5,000, ${after.toFixed(0)} MB at the end`,
    )
    expect(after - before).toBeLessThan(slackMB)
    dispose(state, data)
  })

  it('over 10,000 steps of fit with many steps per call', async () => {
    const x = Float32Array.from({ length: 1280 * 64 }, (_, i) => Math.sin(i * 1.7))
    const y = Float32Array.from({ length: 1280 * 10 }, (_, i) => (Math.floor(i / 10) % 10 === i % 10 ? 1 : 0))
    const dataset = batch(shuffle(fromArrays({ x: { data: x, shape: [1280, 64] }, y: { data: y, shape: [1280, 10] } })), 32)
    const learner: Learner<State, Batch> = {
      init: () => ({ tensors: firstState(), host: null }),
      step(state, data) {
        const next = step(state, data)
        return { tensors: next.state, metrics: { loss: next.loss } }
      },
    }
    const start = tf.memory().numTensors
    const seen: { step: number; tensors: number; resident: number }[] = []
    const reporter = {
      report(event: { type: string; step?: number }) {
        if (event.type === 'step' && event.step !== undefined && event.step % 2500 === 0)
          seen.push({ step: event.step, tensors: tf.memory().numTensors, resident: resident() })
      },
    }
    const { state, step: steps, history } = await fit(learner, dataset, { steps: 10_000, stepsPerCall: 20, reporter })
    expect(steps).toBe(10_000)
    expect(history[history.length - 1].metrics.loss).toBeLessThan(history[0].metrics.loss)
    expect(new Set(seen.map(({ tensors }) => tensors)).size).toBe(1)
    const [, half, , end] = seen
    console.info(`10,000 steps by fit: resident ${seen.map((at) => at.resident.toFixed(0)).join(', ')} MB at each quarter`)
    expect(end.resident - half.resident).toBeLessThan(slackMB)
    dispose(state.tensors)
    expect(tf.memory().numTensors).toBe(start)
  })
})

describe('caches stay bounded over 2,000 shapes', () => {
  // 1 to 2,000, mixed, so that both halves are alike.
  const sizes = Array.from({ length: 2000 }, (_, i) => ((i * 769) % 2000) + 1)

  it('of eager kernels', () => {
    const backend = tf.findBackend('onnx') as unknown as { cachedSessions: number }
    const run = (from: number, to: number): void => {
      for (const n of sizes.slice(from, to)) {
        tf.tidy(() => {
          // Too big for the JavaScript kernels.
          const a = tf.ones([64, 64])
          const product = tf.matMul(a, tf.ones([64, n]))
          const sum = tf.add(tf.ones([3000 + n]), 1)
          expect([product.dataSync()[0], sum.dataSync()[0]]).toEqual([64, 2])
        })
      }
    }
    const tensors = tf.memory().numTensors
    run(0, 1000)
    const before = resident()
    expect(backend.cachedSessions).toBe(512)
    run(1000, 2000)
    expect(backend.cachedSessions).toBe(512)
    expect(tf.memory().numTensors).toBe(tensors)
    const after = resident()
    console.info(`2,000 eager shapes: resident ${before.toFixed(0)} MB after 1,000, ${after.toFixed(0)} MB at the end`)
    expect(after - before).toBeLessThan(slackMB)
  })

  it('of eager kernels, which keep no memory of their results', () => {
    const start = resident()
    // 40 results of 16 MB each.
    for (let i = 0; i < 40; i++) tf.tidy(() => void tf.exp(tf.add(tf.zeros([4_000_000 - 1000 * i]), 1)))
    const after = resident()
    console.info(`40 results of 16 MB: resident ${start.toFixed(0)} MB before, ${after.toFixed(0)} MB after`)
    expect(after - start).toBeLessThan(5 * slackMB)
  })

  it('of compiled functions, which compile a forgotten shape again', () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
    let traces = 0
    const f = compile((a: tf.Tensor2D, b: tf.Tensor2D) => {
      traces++
      return tf.tanh(tf.matMul(a, b))
    })
    const a = tf.ones([4, 8])
    const call = (n: number): void => {
      const b = tf.fill([8, n], 0.125)
      const y = f(a as tf.Tensor2D, b as tf.Tensor2D)
      expect(y.shape).toEqual([4, n])
      expect(y.dataSync()[0]).toBeCloseTo(Math.tanh(1), 6)
      dispose(y, b)
    }
    const tensors = tf.memory().numTensors
    for (const n of sizes.slice(0, 1000)) call(n)
    const before = resident()
    for (const n of sizes.slice(1000)) call(n)
    expect(traces).toBe(2000)
    expect(tf.memory().numTensors).toBe(tensors)
    const after = resident()
    console.info(`2,000 compiled shapes: resident ${before.toFixed(0)} MB after 1,000, ${after.toFixed(0)} MB at the end`)
    expect(after - before).toBeLessThan(slackMB)
    // The last 64 are kept, the one before is not.
    for (const n of sizes.slice(-64)) call(n)
    expect(traces).toBe(2000)
    call(sizes[2000 - 65])
    expect(traces).toBe(2001)
    expect(warn).toHaveBeenCalledOnce()
    warn.mockRestore()
    a.dispose()
  })
})
