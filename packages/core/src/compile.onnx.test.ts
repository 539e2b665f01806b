import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { useBackend } from './backend'
import { compile, float64Tensor } from './compile'
import { scan } from './control'
import { grad } from './grad/index'

beforeAll(() => useBackend('onnx'))

describe('double precision', () => {
  it('keeps constants, results and gradients to 1e-14', () => {
    const x = float64Tensor(Float64Array.from([0.1, 0.7, 1.3]), [3])
    const f = (v: tf.Tensor) => tf.sum(tf.exp(tf.mul(v, 0.1)))
    const both = compile((v: tf.Tensor) => ({ value: f(v), slope: grad(f)(v) }), { precision: 'float64' })(x)
    const values = [0.1, 0.7, 1.3].map((v) => Math.exp(0.1 * v))
    expect(both.value.dataSync()).toBeInstanceOf(Float64Array)
    expect(Math.abs(both.value.dataSync()[0] - values.reduce((a, b) => a + b))).toBeLessThan(1e-14)
    for (const [i, slope] of both.slope.dataSync().entries()) expect(Math.abs(slope - 0.1 * values[i])).toBeLessThan(1e-15)
    expect(new Float32Array(1)).not.toBeInstanceOf(Float64Array)
  })

  it('keeps constants that come after a loop', () => {
    const x = float64Tensor(Float64Array.from([1, 1]), [2])
    const run = compile(
      (v: tf.Tensor) => {
        const { carry } = scan((sum: tf.Tensor, step: tf.Tensor) => ({ carry: tf.add(sum, step), y: {} }), tf.scalar(0), v)
        return tf.mul(carry, 0.1)
      },
      { precision: 'float64' },
    )
    expect(run(x).dataSync()[0]).toBe(0.2)
  })
})

describe('tracing', () => {
  it('reads captured variables at each call and freezes captured tensors', () => {
    const v = tf.variable(tf.scalar(1))
    const f = compile((x: tf.Tensor) => tf.add(x, v))
    expect(f(tf.scalar(1)).dataSync()[0]).toBe(2)
    v.assign(tf.scalar(5))
    expect(f(tf.scalar(1)).dataSync()[0]).toBe(6)
  })

  it('names the remedy and the line where a value is read', () => {
    const f = compile((x: tf.Tensor) => (x.dataSync()[0] > 0 ? x : tf.neg(x)))
    expect(() => f(tf.scalar(1))).toThrow(
      /was read while its function is being compiled.*tf\.where, cond, scan.*compile\.onnx\.test\.ts:\d+/s,
    )
  })

  it('runs eagerly where the function says that it reads values', () => {
    const f = compile((x: tf.Tensor) => (x.dataSync()[0] > 0 ? x : tf.neg(x)), { traceable: false })
    expect(f(tf.scalar(-2)).dataSync()[0]).toBe(2)
  })

  it('warns once when a function is compiled for 8 shapes, naming the argument that varies', () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
    const f = compile((a: tf.Tensor, b: tf.Tensor) => tf.add(a, tf.sum(b)), { name: 'ragged' })
    for (let n = 1; n <= 12; n++) f(tf.scalar(1), tf.ones([n])).dispose()
    expect(warn).toHaveBeenCalledOnce()
    expect(warn.mock.calls[0][0]).toContain('compile(ragged): compiled for 8 different shapes; argument 1 varies')
    warn.mockRestore()
  })

  it('many small arguments and results keep their places', () => {
    const f = compile((p: Record<string, tf.Tensor>) => Object.fromEntries(Object.entries(p).map(([k, v]) => [k, tf.mul(v, 2)])))
    const p = Object.fromEntries(
      Array.from({ length: 60 }, (_, i) => [`p${i}`, i % 7 === 0 ? tf.fill([40, 40], i) : tf.fill([i % 3, 2], i)]),
    )
    for (const [name, y] of Object.entries(f(p))) {
      expect(y.shape).toEqual(p[name].shape)
      expect(Array.from(y.dataSync())).toEqual(Array.from(p[name].dataSync(), (v) => 2 * v))
    }
  })
})
