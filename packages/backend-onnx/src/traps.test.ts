import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, beforeEach, afterEach, describe, expect, it, vi } from 'vitest'
import { trace, type TensorSpec } from './index'
import { createSession, loadNative } from './native'

// Traps of ONNX Runtime, each silent. Lost updates of ScatterND and ties of max pooling are in lowerings/*.test.ts.

beforeAll(() => tf.setBackend('onnx'))

const float = (...shape: number[]): TensorSpec => ({ shape, dtype: 'float32' })

describe('thread pools of several sessions', () => {
  const loadModel = vi.fn()

  beforeEach(() => {
    loadModel.mockReset()
    vi.spyOn(loadNative().binding, 'InferenceSession').mockImplementation(function (this: object) {
      Object.assign(this, { loadModel, run: () => ({}), dispose: () => undefined, inputMetadata: [], outputMetadata: [] })
    } as never)
  })
  afterEach(() => void vi.restoreAllMocks())

  it('stop spinning when a run ends, so that they do not fight over the cores', () => {
    createSession(new Uint8Array(1), ['y'], { intraOpNumThreads: 2 })
    createSession(new Uint8Array(1), ['y'], { intraOpNumThreads: 1 })
    const [two, one] = loadModel.mock.calls.map((call) => call[3] as { intraOpNumThreads: number; extra: { session?: object } })
    expect([two.intraOpNumThreads, two.extra.session]).toEqual([2, { force_spinning_stop: '1' }])
    expect([one.intraOpNumThreads, one.extra.session]).toEqual([1, undefined])
  })
})

describe('nothing is computed in place: nodes do not run in the order written', () => {
  const values = (tensor: tf.Tensor): number[] => Array.from(tensor.dataSync())
  const buffer = (tensor: tf.Tensor): ArrayBufferLike => tensor.dataSync().buffer

  it('an update does not show in products of what it updates, whatever the order', () => {
    const n = 64
    const w = tf.eye(n)
    const dy = tf.ones([n, n])
    // Update first, then products with the old values, as an optimizer inside a step does.
    const step = trace(
      (p, g) => {
        const next = tf.sub(p, g)
        const product = tf.matMul(p as tf.Tensor2D, g as tf.Tensor2D)
        return [next, product, tf.add(tf.matMul(p as tf.Tensor2D, p as tf.Tensor2D), 0)]
      },
      [float(n, n), float(n, n)],
    )
    for (let i = 0; i < 5; i++) {
      const [next, product, square] = step.run([w, dy])
      expect(values(product)).toEqual(values(dy))
      expect(values(square)).toEqual(values(w))
      expect(values(next)[1]).toBe(-1)
      tf.dispose([next, product, square])
    }
    expect(values(w)).toEqual(values(tf.eye(n)))
    step.dispose()
  })

  it('outputs share no memory with inputs, with each other, or with the outputs of the run before', () => {
    const specs = [float(8), float(4, 2)]
    const f = trace((a, b) => [a, tf.reshape(a, [2, 4]), tf.add(a, 1), b, tf.reshape(b, [8]), tf.cast(a, 'float32'), a], specs)
    const inputs = [tf.range(0, 8), tf.reshape(tf.range(8, 16), [4, 2])]
    const first = f.run(inputs)
    const again = f.run(inputs)
    const buffers = [...inputs, ...first, ...again].map(buffer)
    expect(new Set(buffers).size).toBe(buffers.length)
    // Writing into every output and every input changes nothing else.
    const kept = first.map(values)
    for (const tensor of [...inputs, ...again]) (tensor.dataSync() as Float32Array).fill(-7)
    expect(first.map(values)).toEqual(kept)
    tf.dispose([inputs, first, again])
    f.dispose()
  })

  it('so with small tensors that are packed into one vector: a write into one is not a write into another', () => {
    const f = trace(
      (...xs) => xs.map((x, i) => (i % 2 === 0 ? x : tf.mul(x, 2))),
      Array.from({ length: 30 }, () => float(3)),
    )
    const inputs = Array.from({ length: 30 }, (_, i) => tf.fill([3], i))
    const outputs = f.run(inputs)
    const before = outputs.map(values)
    ;(outputs[0].dataSync() as Float32Array).fill(-7)
    for (const input of inputs) (input.dataSync() as Float32Array).fill(-9)
    expect(outputs.slice(1).map(values)).toEqual(before.slice(1))
    f.dispose()
  })

  it('eager kernels give memory of their own too', () => {
    const x = tf.ones([100, 100])
    const y = tf.add(x, 0)
    const z = tf.relu(x)
    expect(new Set([x, y, z].map(buffer)).size).toBe(3)
    tf.dispose([x, y, z])
  })
})

describe('Fourier transforms of any length', () => {
  it.each([1000, 1009, 997, 360, 1536])('of length %i are exact to single precision, where ONNX Runtime loses three digits', (length) => {
    const signal = Float32Array.from({ length }, (_, i) => Math.sin(0.37 * i) + ((i * 7919) % 11) / 11)
    const expected = new Float64Array(2 * length)
    for (let k = 0; k < length; k++) {
      for (let n = 0; n < length; n++) {
        const angle = (-2 * Math.PI * ((k * n) % length)) / length
        expected[2 * k] += signal[n] * Math.cos(angle)
        expected[2 * k + 1] += signal[n] * Math.sin(angle)
      }
    }
    const most = expected.reduce((max, value) => Math.max(max, Math.abs(value)), 0)
    process.env.BPF_ONNX_FALLBACK = 'never'
    try {
      const f = trace(
        (x) => {
          const y = tf.spectral.fft(tf.complex(x, tf.zerosLike(x)))
          return [tf.real(y), tf.imag(y)]
        },
        [float(1, length)],
      )
      const [real, imag] = f.run([tf.tensor2d(signal, [1, length])]).map((tensor) => tensor.dataSync())
      let error = 0
      for (let k = 0; k < length; k++) error = Math.max(error, Math.abs(real[k] - expected[2 * k]), Math.abs(imag[k] - expected[2 * k + 1]))
      // DFT of ONNX Runtime: 1.4e-3 absolute at these lengths.
      expect(error / most).toBeLessThan(1e-6)
      f.dispose()
    } finally {
      delete process.env.BPF_ONNX_FALLBACK
    }
  })
})
