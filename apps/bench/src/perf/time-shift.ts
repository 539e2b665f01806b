import { compile, random, tree } from '@bpf/core'
import { discreteProcess, sampleTimeShift, type Denoiser } from '@bpf/diffusion'
import * as tf from '@tensorflow/tfjs-core'
import { tensorOf, uniform } from './training'
import type { Workload } from './workload'

const settings = { samples: 1000, dimensions: 256, steps: 10, indices: 1000, window: 100, cutoff: 600, kappa: 0.05 }

/** DDIM with shifted times; the network is the noise of a Gaussian, overestimated by κ. What is compared is the mean square. */
export const timeShiftSampling: Workload = {
  name: 'time-shift',
  description: `DDIM with shifted times, ${settings.steps} steps for ${settings.samples} samples of ${settings.dimensions} values, a linear model of the noise`,
  peers: ['torch'],
  settings,
  bound: 1,
  repeat: 3,
  inputs() {
    const [axesKey, spectrumKey, noiseKey] = random.split(random.key(0), 3)
    const { samples, dimensions: d } = settings
    const spectrum = uniform(spectrumKey, [d], 0.1)
    return {
      // Rows of about unit length, and variances up to 0.1.
      axes: uniform(axesKey, [d, d], Math.sqrt(3 / d)),
      spectrum: { ...spectrum, data: spectrum.data.map(Math.abs) },
      x: { data: random.normalArray(noiseKey, samples * d), shape: [samples, d] },
    }
  },
  prepare(arrays) {
    const given = { axes: tensorOf(arrays.axes), spectrum: tensorOf(arrays.spectrum), x: tensorOf(arrays.x) }
    const process = discreteProcess()
    const draw = compile(
      ({ axes, spectrum, x }: typeof given) => {
        const model: Denoiser = {
          process,
          prediction: 'eps',
          predict(y, t) {
            const at = process.coefficientTensors(t)
            const [alpha, sigma] = [tf.reshape(at.alpha, [-1, 1]), tf.reshape(at.sigma, [-1, 1])]
            const rotated = tf.matMul(y as tf.Tensor2D, axes as tf.Tensor2D)
            const gain = tf.div(sigma, tf.add(tf.mul(tf.square(alpha), spectrum), tf.square(sigma)))
            return tf.mul(tf.matMul(tf.mul(rotated, gain) as tf.Tensor2D, axes as tf.Tensor2D, false, true), 1 + settings.kappa)
          },
        }
        const { steps, window, cutoff } = settings
        return tf.mean(tf.square(sampleTimeShift(model, { grid: { steps }, window, cutoff, initial: x })))
      },
      { name: 'timeShift' },
    )
    return Promise.resolve({
      async step() {
        const loss = draw(given)
        const [value] = await loss.data()
        loss.dispose()
        return value
      },
      dispose: () => tree.dispose(given),
    })
  },
}
