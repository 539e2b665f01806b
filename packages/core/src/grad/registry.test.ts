import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { registerGradients, valueAndGrad } from './index'
import { notDifferentiable, onceDifferentiable } from './not-differentiable'
import { kernelExamples, type KernelExample } from './__fixtures__/kernel-examples'

// The examples hold tensors and name the tests, so the backend must be ready while tests are collected.
await useBackend('cpu')
const allExamples = kernelExamples()

const step = 0.02
const tolerance = 2e-3

function signs(shape: number[], seed: number): tf.Tensor {
  return tf.randomUniform(shape, -1, 1, 'float32', seed)
}

/** A smooth scalar of the example's output; the square makes the gradient that reaches the kernel depend on its input. */
function objective({ run }: KernelExample): (inputs: tf.Tensor[]) => tf.Tensor {
  return (inputs) => {
    const y = tf.cast(run(inputs), 'float32')
    return tf.sum(tf.mul(signs(y.shape, 3), tf.add(y, tf.mul(tf.square(y), 0.5))))
  }
}

function moved(inputs: tf.Tensor[], directions: tf.Tensor[], by: number): tf.Tensor[] {
  return inputs.map((x, i) => tf.add(x, tf.mul(directions[i], by)))
}

function inner(a: tf.Tensor[], b: tf.Tensor[]): number {
  return a.reduce((total, x, i) => total + tf.sum(tf.mul(x, b[i])).dataSync()[0], 0)
}

/** Directional derivative by central differences of fourth order. */
function difference(fn: (inputs: tf.Tensor[]) => number, inputs: tf.Tensor[], directions: tf.Tensor[]): number {
  const central = (h: number): number => (fn(moved(inputs, directions, h)) - fn(moved(inputs, directions, -h))) / (2 * h)
  return (4 * central(step / 2) - central(step)) / 3
}

function magnitude(tensors: tf.Tensor[]): number {
  return Math.sqrt(inner(tensors, tensors))
}

function check(example: KernelExample): void {
  const fn = objective(example)
  const inputs = example.inputs
  const directions = inputs.map((x, i) => signs(x.shape, 11 + i))
  const others = inputs.map((x, i) => signs(x.shape, 31 + i))
  const gradient = valueAndGrad(fn)

  const first = gradient(inputs).grads
  const numericFirst = difference((x) => fn(x).dataSync()[0], inputs, directions)
  const firstScale = 1 + magnitude(first)
  expect(Math.abs(inner(first, directions) - numericFirst) / firstScale, 'first derivative').toBeLessThan(tolerance)

  const alongOthers = (x: tf.Tensor[]): tf.Tensor => tf.addN(gradient(x).grads.map((g, i) => tf.sum(tf.mul(g, others[i]))))
  const second = valueAndGrad(alongOthers)(inputs).grads
  const numericSecond = difference((x) => alongOthers(x).dataSync()[0], inputs, directions)
  const secondScale = 1 + magnitude(second) + firstScale
  expect(Math.abs(inner(second, directions) - numericSecond) / secondScale, 'second derivative').toBeLessThan(tolerance)
}

describe('every kernel of the cpu backend', () => {
  it('is differentiated in an example or stands on the list of what cannot be', () => {
    const kernels = tf.getKernelsForBackend('cpu').map(({ kernelName }) => kernelName)
    const examples = new Set(allExamples.map(({ kernel }) => kernel))
    const listed = new Set([...Object.keys(notDifferentiable), ...Object.keys(onceDifferentiable)])
    expect(kernels.filter((kernel) => !examples.has(kernel) && !listed.has(kernel))).toEqual([])
    expect(Object.keys(notDifferentiable).filter((kernel) => examples.has(kernel))).toEqual([])
    expect(Object.keys(notDifferentiable).filter((kernel) => !kernels.includes(kernel))).toEqual([])
    expect(Object.keys(notDifferentiable).filter((kernel) => tf.getGradient(kernel) !== undefined)).toEqual([])
  })

  it.each(allExamples.map((example) => [example.name, example] as const))('%s differentiates twice', async (_, example) => {
    const profile = await tf.profile(() => example.run(example.inputs))
    expect(profile.kernelNames).toContain(example.kernel)
    const before = tf.memory().numTensors
    tf.tidy(() => check(example))
    expect(tf.memory().numTensors, 'tensors left over').toBe(before)
  })
})

describe('conventions at kinks', () => {
  const gradientAt = (fn: (x: tf.Tensor) => tf.Tensor, values: number[]): number[] => [
    ...valueAndGrad((x: tf.Tensor) => tf.sum(fn(x)))(tf.tensor1d(values)).grads.dataSync(),
  ]

  it('shares the gradient of a maximum or minimum among equals', () => {
    expect(gradientAt((x) => tf.max(x), [1, 3, 3, 2])).toEqual([0, 0.5, 0.5, 0])
    expect(gradientAt((x) => tf.min(x), [1, 3, 1, 1])).toEqual([1 / 3, 0, 1 / 3, 1 / 3].map(Math.fround))
  })

  it('gives all of it to the first of two equal arguments of maximum and minimum', () => {
    expect(gradientAt((x) => tf.maximum(x, tf.tensor1d([1, 2, 3])), [2, 2, 2])).toEqual([1, 1, 0])
    expect(gradientAt((x) => tf.minimum(tf.tensor1d([1, 2, 3]), x), [2, 2, 2])).toEqual([0, 0, 1])
  })

  it('is zero at the corner of relu and of the absolute value, and inside the bounds of a clip includes them', () => {
    expect(gradientAt(tf.relu, [-1, 0, 1])).toEqual([0, 0, 1])
    expect(gradientAt(tf.abs, [-1, 0, 1])).toEqual([-1, 0, 1])
    expect(gradientAt((x) => tf.clipByValue(x, 0, 1), [-1, 0, 0.5, 1, 2])).toEqual([0, 1, 1, 1, 0])
  })

  it('is finite for powers of zero', () => {
    expect(gradientAt((x) => tf.pow(x, tf.tensor1d([0, 1, 2, 3])), [0, 0, 0, 0])).toEqual([0, 1, 0, 0])
    const line = (x: tf.Tensor): tf.Tensor => tf.pow(x, 1)
    expect(gradientAt((x) => valueAndGrad((t: tf.Tensor) => tf.sum(line(t)))(x).grads, [0, 2])).toEqual([0, 0])
  })
})

it('registers again without a warning, in place of what another library registered', () => {
  const warnings: unknown[] = []
  const warn = console.warn
  console.warn = (...args: unknown[]) => warnings.push(args)
  try {
    tf.unregisterGradient('Square')
    tf.registerGradient({ kernelName: 'Square', gradFunc: () => ({ x: () => tf.scalar(0) }) })
    registerGradients()
  } finally {
    console.warn = warn
  }
  expect(warnings).toEqual([])
  expect(valueAndGrad((x: tf.Tensor) => tf.square(x))(tf.scalar(3)).grads.dataSync()[0]).toBe(6)
})
