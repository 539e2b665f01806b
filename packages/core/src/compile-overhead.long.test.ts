import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { useBackend } from './backend'
import { compile } from './compile'
import { dispose, type Tree } from './tree'

describe('overhead of a compiled call', () => {
  beforeAll(() => useBackend('onnx'))

  type Small = Record<string, tf.Tensor>
  const small = (count: number): Small => Object.fromEntries(Array.from({ length: count }, (_, i) => [`p${i}`, tf.fill([4, 4], i)]))
  const twoResults = (p: Small): Tree => {
    const sum = Object.values(p).reduce((total, value) => tf.add(total, tf.sum(value)), tf.scalar(0) as tf.Tensor)
    return [sum, tf.mul(sum, 2)]
  }
  const allResults = (p: Small): Tree => Object.fromEntries(Object.entries(p).map(([name, value]) => [name, tf.mul(value, 2)]))

  it.each([
    { name: '20 small inputs and 2 outputs', count: 20, fn: twoResults, microseconds: 100 },
    { name: '100 small parameters in and out, packed', count: 100, fn: allResults, microseconds: 250 },
  ])('$name: under $microseconds µs', ({ count, fn, microseconds }) => {
    const compiled = compile(fn)
    const inputs = small(count)
    const times = Array.from({ length: 1000 }, () => {
      const started = performance.now()
      const result = compiled(inputs)
      const elapsed = performance.now() - started
      dispose(result)
      return elapsed * 1000
    })
    const settled = times.slice(300).sort((a, b) => a - b)
    expect(settled[settled.length >> 1]).toBeLessThan(microseconds)
  })
})
