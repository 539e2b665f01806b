import * as tf from '@tensorflow/tfjs-core'
import { expect, it } from 'vitest'
import { setThreads, threads, trace, type Traced } from './index'

/** The lower quartile: what a call takes when nothing else wants the cores. */
function undisturbed(times: number[]): number {
  return times.sort((a, b) => a - b)[Math.floor(times.length / 4)]
}

/** A chain of products, 2 threads. */
function chain(): Traced {
  const n = 256
  return trace(
    (x) => {
      let y = x as tf.Tensor2D
      for (let i = 0; i < 12; i++) y = tf.tanh(tf.matMul(y, x as tf.Tensor2D)) as tf.Tensor2D
      return [y]
    },
    [{ shape: [n, n], dtype: 'float32' }],
    { threads: 2 },
  )
}

it('eight sessions of two threads in turn are as fast as one alone', async () => {
  await tf.setBackend('onnx')
  setThreads(2)
  expect(threads()).toBe(2)
  const x = tf.fill([256, 256], 1e-3)
  /** Milliseconds of each of 40 calls of some sessions in turn. */
  const measure = (count: number): number[] => {
    const sessions = Array.from({ length: count }, chain)
    expect(sessions[0].facts.threads).toBe(2)
    const times: number[] = []
    for (let i = 0; i < 48; i++) {
      const start = performance.now()
      tf.dispose(sessions[i % count].run([x]))
      // The first call of each session sets it up.
      if (i >= 8) times.push(performance.now() - start)
    }
    for (const session of sessions) session.dispose()
    return times
  }
  const alone: number[] = []
  const inTurn: number[] = []
  for (let round = 0; round < 4; round++) {
    alone.push(...measure(1))
    inTurn.push(...measure(8))
  }
  const [one, eight] = [undisturbed(alone), undisturbed(inTurn)]
  console.info(`one session ${one.toFixed(2)} ms, eight in turn ${eight.toFixed(2)} ms a call`)
  // SPIN
  expect(eight).toBeLessThan(1.7 * one)
  x.dispose()
  setThreads(0)
})
