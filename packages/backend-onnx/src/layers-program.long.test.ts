import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import * as tf from '@tensorflow/tfjs-core'
import * as layers from '@tensorflow/tfjs-layers'
import { expect, it } from 'vitest'
// The one import that the program gains.
import './index'

/** The UCI digits that @bpf/bench carries: 1,797 images of 8 × 8 in IDX files. */
function digits(): { images: Float32Array; labels: Uint8Array } {
  const read = (name: string): Uint8Array => gunzipSync(readFileSync(new URL(`../../../apps/bench/data/${name}`, import.meta.url)))
  const pixels = read('digits-images-idx3-ubyte.gz').subarray(16)
  return { images: Float32Array.from(pixels, (value) => value / 16), labels: read('digits-labels-idx1-ubyte.gz').subarray(8) }
}

/** A program as the TensorFlow.js tutorials write it. */
async function program(epochs: number): Promise<{ ms: number; accuracy: number; losses: number[]; leaked: number }> {
  const before = tf.memory().numTensors
  const { images, labels } = digits()
  const x = tf.tensor4d(images, [1797, 8, 8, 1])
  const y = tf.oneHot(tf.tensor1d(labels, 'int32'), 10)
  const model = layers.sequential({
    layers: [
      layers.layers.conv2d({
        inputShape: [8, 8, 1],
        filters: 16,
        kernelSize: 3,
        activation: 'relu',
        padding: 'same',
        kernelInitializer: layers.initializers.glorotUniform({ seed: 1 }),
      }),
      layers.layers.conv2d({
        filters: 16,
        kernelSize: 3,
        activation: 'relu',
        kernelInitializer: layers.initializers.glorotUniform({ seed: 2 }),
      }),
      layers.layers.maxPooling2d({ poolSize: 2 }),
      layers.layers.flatten(),
      layers.layers.dense({ units: 64, activation: 'relu', kernelInitializer: layers.initializers.glorotUniform({ seed: 3 }) }),
      layers.layers.dense({ units: 10, activation: 'softmax', kernelInitializer: layers.initializers.glorotUniform({ seed: 4 }) }),
    ],
  })
  model.compile({ optimizer: tf.train.adam(1e-3), loss: 'categoricalCrossentropy', metrics: ['accuracy'] })
  // Everything is built and warm before the clock runs.
  await model.fit(tf.slice(x, 0, 64), tf.slice(y, 0, 64), { epochs: 1, batchSize: 32, shuffle: false, verbose: 0 })
  const start = performance.now()
  const history = await model.fit(x, y, { epochs, batchSize: 32, shuffle: false, validationSplit: 0.2, verbose: 0 })
  const ms = performance.now() - start
  const accuracy = history.history.val_acc[epochs - 1] as number
  const losses = history.history.loss as number[]
  model.dispose()
  tf.dispose([x, y])
  return { ms, accuracy, losses, leaked: tf.memory().numTensors - before }
}

it('a TensorFlow.js Layers program learns real digits on onnx, at least 5 times faster than on cpu', async () => {
  // Nobody chooses a backend: what was imported is taken.
  const onnx = await program(1)
  expect(tf.getBackend()).toBe('onnx')
  const trained = await program(20)
  await tf.setBackend('cpu')
  const cpu = await program(1)
  console.info(
    `An epoch: onnx ${onnx.ms.toFixed(0)} ms, cpu ${cpu.ms.toFixed(0)} ms (${(cpu.ms / onnx.ms).toFixed(1)} times); accuracy after 20: ${trained.accuracy}`,
  )
  // The same program: the losses agree as far as two roundings of 45 steps do.
  onnx.losses.forEach((loss, epoch) => expect(Math.abs(loss - cpu.losses[epoch])).toBeLessThan(1e-2 * cpu.losses[0]))
  expect(trained.accuracy).toBeGreaterThan(0.9)
  expect(onnx.leaked).toBe(cpu.leaked)
  expect(cpu.ms / onnx.ms).toBeGreaterThan(5)
})
