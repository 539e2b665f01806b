import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import { forbidFallback } from './__fixtures__/native-only'
import './index'
import { binary, reshape, transpose } from './emit'
import { createGraph, type Graph, type Value } from './graph'
import { sigmoid as sigmoidOf } from './lowerings/special'
import { deviation, sample } from './testing/index'
import { trace } from './trace'

forbidFallback()

function convolution(g: Graph): { y: Value; bias: Value } {
  const x = g.input({ shape: [2, 3, 6, 6], type: 'float32' })
  const kernel = g.input({ shape: [4, 3, 3, 3], type: 'float32' })
  return { y: g.op('Conv', [x, kernel], [2, 4, 4, 4], 'float32'), bias: g.input({ shape: [4], type: 'float32' }) }
}

const operators = (g: Graph, outputs: Value[]): string[] => g.build('g', outputs).nodes.map(({ op }) => op)

describe('a bias after a convolution', () => {
  it('becomes a part of it', () => {
    const g = createGraph()
    const { y, bias } = convolution(g)
    // As after a layer in the common layout.
    const sum = binary(g, 'Add', transpose(g, y, [0, 2, 3, 1]), bias)
    const { nodes } = g.build('g', [transpose(g, sum, [0, 3, 1, 2])])
    expect(nodes.map(({ op }) => op)).toEqual(['Conv'])
    expect(nodes[0].inputs).toHaveLength(3)
  })

  it('stays apart where the convolution itself is read too, or is an output', () => {
    for (const use of ['reader', 'output']) {
      const g = createGraph()
      const { y, bias } = convolution(g)
      const sum = binary(g, 'Add', y, reshape(g, bias, [1, 4, 1, 1]))
      expect(operators(g, use === 'output' ? [y, sum] : [binary(g, 'Mul', y, y), sum])).toContain('Add')
    }
  })

  it('stays apart where it is none: one number per row', () => {
    const g = createGraph()
    const { y, bias } = convolution(g)
    expect(operators(g, [binary(g, 'Add', y, reshape(g, bias, [1, 1, 4, 1]))])).toContain('Add')
  })

  it('changes no result', async () => {
    const fn = ([x, kernel, bias]: tf.Tensor[]): tf.Tensor[] => {
      const y = tf.conv2d(x as tf.Tensor4D, kernel as tf.Tensor4D, 1, 'same')
      return [tf.add(y, bias), tf.relu(tf.add(tf.conv2d(x as tf.Tensor4D, kernel as tf.Tensor4D, 2, 'valid'), bias))]
    }
    expect(await deviation(fn, [sample([2, 7, 5, 3], 1), sample([3, 3, 3, 4], 2), sample([4], 3)])).toBeLessThan(1e-6)
  })
})

describe('x times its sigmoid', () => {
  const silu = (g: Graph): { sigmoid: Value; y: Value } => {
    const x = g.input({ shape: [8, 16], type: 'float32' })
    const sigmoid = sigmoidOf(g, x)
    return { sigmoid, y: binary(g, 'Mul', x, sigmoid) }
  }

  it('is a product with Sigmoid', () => {
    const g = createGraph()
    expect(operators(g, [silu(g).y])).toEqual(['Sigmoid', 'Mul'])
    expect(g.facts.gates).toBe(true)
  })

  it('keeps the exact sigmoid where that is read too, as its gradient does', () => {
    const g = createGraph()
    const { sigmoid, y } = silu(g)
    expect(operators(g, [y, sigmoid])).not.toContain('Sigmoid')
  })

  it('agrees with the definition to a rounding of x, far out too', async () => {
    const values = [-90, -30, -18, -15, -1, -1e-3, 0, 1e-3, 1, 15, 90]
    const x = tf.tensor1d(values)
    const traced = trace((input) => [tf.mul(input, tf.sigmoid(input))], [{ shape: [values.length], dtype: 'float32' }])
    const found = await traced.run([x])[0].data()
    values.forEach((value, i) => {
      expect(Math.abs(found[i] - value / (1 + Math.exp(-value)))).toBeLessThan(1.2e-7 * Math.max(1, Math.abs(value)))
    })
    traced.dispose()
  })
})
