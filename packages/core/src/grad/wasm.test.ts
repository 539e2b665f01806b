import * as tf from '@tensorflow/tfjs-core'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { hvp, valueAndGrad } from './index'
import { kernelExamples } from './__fixtures__/kernel-examples'

afterAll(() => useBackend('cpu'))

/** What the wasm backend lacks, or computes wrongly in the forward direction already (version 4.22). */
const unusable = [
  /^(Einsum|UnsortedSegmentSum|Complex|Real|Imag|FFT|IFFT|Conv2DBackpropFilter|DepthwiseConv2dNativeBackprop(Input|Filter))( |$)/,
  /^(Conv3D|Conv3DBackprop(Input|Filter)V2|Dilation2D(Backprop(Input|Filter))?|MaxPool(WithArgmax|Grad|3DGrad))( |$)/,
  /^(GatherV2 \(batch|DenseBincount$|Transform .*reflect)/,
]
const isComputable = (name: string): boolean => !unusable.some((pattern) => pattern.test(name))

beforeAll(() => useBackend('wasm'))

async function derivatives(): Promise<Map<string, Float32Array>> {
  const found = new Map<string, Float32Array>()
  for (const { name, inputs, run } of kernelExamples()) {
    if (!isComputable(name)) continue
    const fn = (xs: tf.Tensor[]): tf.Tensor => tf.sum(tf.square(tf.cast(run(xs), 'float32')))
    const all = tf.tidy(() => [...valueAndGrad(fn)(inputs).grads, ...hvp(fn, inputs, inputs)].map((t) => t.dataSync()))
    found.set(name, Float32Array.from(all.flatMap((values) => [...values])))
  }
  return found
}

it('refuses to differentiate conv3d, where the kernels are wrong', async () => {
  await useBackend('wasm')
  const x = tf.ones([1, 2, 2, 2, 1]) as tf.Tensor5D
  const filter = tf.ones([2, 2, 2, 1, 1])
  expect(() => valueAndGrad((f: tf.Tensor) => tf.sum(tf.conv3d(x, f as tf.Tensor5D, 1, 'same')))(filter)).toThrow(
    /conv3d give wrong values/,
  )
})

it('gives the same first and second derivatives on wasm as on cpu', async () => {
  const wasm = await derivatives()
  await useBackend('cpu')
  const cpu = await derivatives()
  const wrong: string[] = []
  for (const [name, expected] of cpu) {
    const scale = expected.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1e-3)
    const error = (wasm.get(name) as Float32Array).reduce((largest, value, i) => Math.max(largest, Math.abs(value - expected[i])), 0)
    if (!(error / scale < 1e-3)) wrong.push(`${name}: ${error / scale}`)
  }
  expect(wrong).toEqual([])
  expect(cpu.size).toBeGreaterThan(180)
})
