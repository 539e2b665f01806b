import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import { forbidFallback } from '../__fixtures__/native-only'
import { trace } from '../index'
import { float64Tensor } from '../trace'
import { deviation, kernel, sample } from '../testing/index'

forbidFallback()

function transformed(name: string): (inputs: tf.Tensor[]) => tf.Tensor[] {
  return ([real, imag]) => {
    const [y] = kernel(name, ['input'], {})([tf.complex(real, imag)])
    return [tf.real(y), tf.imag(y)]
  }
}

/** Σ xⱼ·e^(−2πi·j·k/n), term by term, in double. */
function definition(real: Float64Array, imag: Float64Array): [Float64Array, Float64Array] {
  const n = real.length
  const [outReal, outImag] = [new Float64Array(n), new Float64Array(n)]
  for (let k = 0; k < n; k++) {
    for (let j = 0; j < n; j++) {
      const turn = (-2 * Math.PI * ((j * k) % n)) / n
      outReal[k] += real[j] * Math.cos(turn) - imag[j] * Math.sin(turn)
      outImag[k] += real[j] * Math.sin(turn) + imag[j] * Math.cos(turn)
    }
  }
  return [outReal, outImag]
}

describe('Fourier transforms', () => {
  it.each([1, 2, 3, 5, 8, 12, 31, 64, 67, 96, 100, 128, 210, 256])('of length %i agree with the cpu backend', async (length) => {
    const inputs = [sample([2, length], 1), sample([2, length], 2)]
    expect(await deviation(transformed('FFT'), inputs)).toBeLessThan(3e-6)
    expect(await deviation(transformed('IFFT'), inputs)).toBeLessThan(3e-6)
  })

  // By the whole matrix; by four steps once and twice; with a large prime factor; by Bluestein.
  it.each([60, 100, 1024, 509, 2 * 521, 1009])('of length %i in double are good to 1e-13', async (length) => {
    await tf.setBackend('onnx')
    const [real, imag] = [1, 2].map((seed) => Float64Array.from(sample([length], seed).values))
    const shape = [1, length]
    const traced = trace(
      (re, im) => transformed('FFT')([re, im]),
      [
        { shape, dtype: 'float32' },
        { shape, dtype: 'float32' },
      ],
      { precision: 'float64' },
    )
    const got = traced.run([float64Tensor(real, shape), float64Tensor(imag, shape)]).map((tensor) => tensor.dataSync())
    traced.dispose()
    const wanted = definition(real, imag)
    const scale = Math.max(...wanted[0].map(Math.abs))
    wanted.forEach((part, p) => part.forEach((value, k) => expect(Math.abs(got[p][k] - value) / scale).toBeLessThan(1e-13)))
  })

  it('forth and back give the input, in single precision, for a long prime length', async () => {
    await tf.setBackend('onnx')
    const { values } = sample([1, 1009], 4)
    const y = tf.ifft(tf.fft(tf.complex(tf.tensor2d(values, [1, 1009]), tf.zeros([1, 1009]))))
    tf.real(y)
      .dataSync()
      .forEach((value, i) => expect(Math.abs(value - values[i])).toBeLessThan(5e-6))
  })

  it('of real signals and their inverse agree', async () => {
    const fn = ([x]: tf.Tensor[]): tf.Tensor[] => {
      const spectrum = tf.spectral.rfft(x)
      return [tf.real(spectrum), tf.imag(spectrum), tf.spectral.irfft(spectrum)]
    }
    for (const length of [6, 16, 30]) expect(await deviation(fn, [sample([3, length], length)])).toBeLessThan(3e-6)
  })
})
