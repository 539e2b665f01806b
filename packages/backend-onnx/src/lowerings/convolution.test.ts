import * as tf from '@tensorflow/tfjs-core'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { forbidFallback } from '../__fixtures__/native-only'
import { account } from '../account'
import '../index'
import './convolution'
import { deviation, kernel, sample } from '../testing/index'

forbidFallback()

const tolerance = 1e-5
const runs = { numRuns: 25, seed: 7 }

/** Shapes, strides and padding of a convolution; stride and dilation are not both above 1. */
function geometries(spatial: 2 | 3) {
  const each = <T>(one: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(one, { minLength: spatial, maxLength: spatial })
  return fc
    .record({
      batch: fc.integer({ min: 1, max: 3 }),
      lengths: each(fc.integer({ min: 4, max: spatial === 3 ? 6 : 9 })),
      sizes: each(fc.integer({ min: 1, max: 3 })),
      inputs: fc.integer({ min: 1, max: 4 }),
      outputs: fc.integer({ min: 1, max: 4 }),
      steps: each(fc.integer({ min: 1, max: 3 })),
      spaced: fc.boolean(),
      pad: fc.constantFrom(
        'same',
        'valid',
        ...(spatial === 2
          ? ([
              0,
              1,
              2,
              [
                [0, 0],
                [0, 2],
                [1, 0],
                [0, 0],
              ],
            ] as const)
          : []),
      ),
      seed: fc.integer({ min: 0, max: 1000 }),
    })
    .map(({ steps, spaced, sizes, lengths, ...rest }) => {
      const ones = steps.map(() => 1)
      // Window and dilation small enough to fit without padding.
      const dilations = spaced
        ? steps.map((step, i) => Math.min(step, sizes[i] === 1 ? 1 : Math.floor((lengths[i] - 1) / (sizes[i] - 1))))
        : ones
      // A padding number beyond the window makes no sense with 'floor'.
      return { ...rest, sizes, lengths, strides: spaced ? ones : steps, dilations }
    })
}

type Geometry = typeof geometries extends (spatial: 2) => fc.Arbitrary<infer T> ? T : never

function outShape(geometry: Geometry, depthwise: boolean, dilations: number[]): number[] {
  const { batch, lengths, sizes, inputs, outputs, strides, pad } = geometry
  const shape = [batch, ...lengths, inputs]
  const filter = [...sizes, inputs, outputs]
  if (lengths.length === 3) {
    return tf.backend_util.computeConv3DInfo(shape as never, filter as never, strides as never, dilations as never, pad as 'same').outShape
  }
  return tf.backend_util.computeConv2DInfo(
    shape as never,
    filter as never,
    strides as never,
    dilations as never,
    pad as 'same',
    'floor',
    depthwise,
  ).outShape
}

const families = [
  { forward: 'Conv2D', input: 'Conv2DBackpropInput', filter: 'Conv2DBackpropFilter', spatial: 2 },
  {
    forward: 'DepthwiseConv2dNative',
    input: 'DepthwiseConv2dNativeBackpropInput',
    filter: 'DepthwiseConv2dNativeBackpropFilter',
    spatial: 2,
  },
  { forward: 'Conv3D', input: 'Conv3DBackpropInputV2', filter: 'Conv3DBackpropFilterV2', spatial: 3 },
] as const

describe.each(families)('$forward and its adjoints', ({ forward, input, filter, spatial }) => {
  const isDepthwise = forward === 'DepthwiseConv2dNative'
  const ones = new Array<number>(spatial).fill(1)
  const shapes = (geometry: Geometry) => {
    const { batch, lengths, sizes, inputs, outputs } = geometry
    return { x: [batch, ...lengths, inputs], filter: [...sizes, inputs, outputs] }
  }
  const format = spatial === 3 ? 'NDHWC' : 'NHWC'

  const properties = (precision: 'float32' | 'float64', runsOf: { numRuns: number; seed: number }) => {
    it(`forward equals cpu in ${precision}`, async () => {
      await fc.assert(
        fc.asyncProperty(geometries(spatial), async (geometry) => {
          const { strides, dilations, pad, seed } = geometry
          fc.pre(outShape(geometry, isDepthwise, dilations).every((n) => n > 0))
          const of = shapes(geometry)
          const attrs = { strides, dilations, pad, dataFormat: format, dimRoundingMode: 'floor' }
          const error = await deviation(
            kernel(forward, ['x', 'filter'], attrs),
            [sample(of.x, seed), sample(of.filter, seed + 1)],
            precision,
          )
          expect(error).toBeLessThan(tolerance)
        }),
        runsOf,
      )
    })

    it(`input gradient equals cpu in ${precision}`, async () => {
      await fc.assert(
        fc.asyncProperty(geometries(spatial), async (geometry) => {
          const { strides, pad, seed } = geometry
          const out = outShape(geometry, isDepthwise, ones)
          fc.pre(out.every((n) => n > 0))
          const of = shapes(geometry)
          const attrs = { strides, pad, dilations: ones, dataFormat: format, dimRoundingMode: 'floor', inputShape: of.x }
          const error = await deviation(kernel(input, ['dy', 'filter'], attrs), [sample(out, seed), sample(of.filter, seed + 1)], precision)
          expect(error).toBeLessThan(tolerance)
        }),
        runsOf,
      )
    })

    it(`filter gradient equals cpu in ${precision}`, async () => {
      await fc.assert(
        fc.asyncProperty(geometries(spatial), async (geometry) => {
          const { strides, pad, seed } = geometry
          const out = outShape(geometry, isDepthwise, ones)
          fc.pre(out.every((n) => n > 0))
          const of = shapes(geometry)
          const attrs = { strides, pad, dilations: ones, dataFormat: format, dimRoundingMode: 'floor', filterShape: of.filter }
          const error = await deviation(kernel(filter, ['x', 'dy'], attrs), [sample(of.x, seed), sample(out, seed + 1)], precision)
          expect(error).toBeLessThan(tolerance)
        }),
        runsOf,
      )
    })
  }
  properties('float32', runs)
  properties('float64', { numRuns: 8, seed: 11 })
})

describe('layout and fusion', () => {
  it('NCHW convolution and its adjoints equal cpu', async () => {
    const [x, filter, dy] = [sample([2, 3, 7, 6], 1), sample([3, 2, 3, 4], 2), sample([2, 4, 4, 3], 3)]
    const attrs = { strides: [2, 2], pad: 'same', dilations: [1, 1], dataFormat: 'NCHW' }
    expect(await deviation(kernel('Conv2D', ['x', 'filter'], attrs), [x, filter])).toBeLessThan(tolerance)
    const back = kernel('Conv2DBackpropInput', ['dy', 'filter'], { ...attrs, inputShape: x.shape })
    expect(await deviation(back, [dy, filter])).toBeLessThan(tolerance)
    const weights = kernel('Conv2DBackpropFilter', ['x', 'dy'], { ...attrs, filterShape: filter.shape })
    expect(await deviation(weights, [x, dy])).toBeLessThan(tolerance)
  })

  it.each(['linear', 'relu', 'relu6', 'elu', 'sigmoid', 'leakyrelu', 'prelu'])('bias and %s after a convolution', async (activation) => {
    for (const name of ['FusedConv2D', 'FusedDepthwiseConv2D']) {
      for (const dataFormat of name === 'FusedConv2D' ? ['NHWC', 'NCHW'] : ['NHWC']) {
        const attrs = { strides: [1, 1], pad: 'same', dilations: [1, 1], dataFormat, activation, leakyreluAlpha: 0.3 }
        const x = dataFormat === 'NHWC' ? [2, 5, 6, 2] : [2, 2, 5, 6]
        const inputs = [sample(x, 1), sample([3, 3, 2, 2], 2), sample([name === 'FusedConv2D' ? 2 : 4], 3)]
        const names = ['x', 'filter', 'bias', ...(activation === 'prelu' ? ['preluActivationWeights'] : [])]
        const slopes = activation === 'prelu' ? [sample([name === 'FusedConv2D' ? 2 : 4], 4)] : []
        expect(await deviation(kernel(name, names, attrs), [...inputs, ...slopes])).toBeLessThan(tolerance)
      }
    }
  })
})

describe('grey-scale dilation', () => {
  const geometry = fc.record({
    lengths: fc.tuple(fc.integer({ min: 5, max: 8 }), fc.integer({ min: 5, max: 8 })),
    sizes: fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 })),
    strides: fc.tuple(fc.integer({ min: 1, max: 2 }), fc.integer({ min: 1, max: 2 })),
    dilations: fc.tuple(fc.integer({ min: 1, max: 2 }), fc.integer({ min: 1, max: 2 })),
    pad: fc.constantFrom('same', 'valid'),
    levels: fc.constantFrom(undefined, 3),
    seed: fc.integer({ min: 0, max: 1000 }),
  })

  it('and its gradients equal cpu, ties included', async () => {
    await fc.assert(
      fc.asyncProperty(geometry, async ({ lengths, sizes, levels, seed, ...attrs }) => {
        const [x, filter] = [sample([2, ...lengths, 2], seed, levels), sample([...sizes, 2], seed + 1, levels)]
        const { outShape: out } = tf.backend_util.computeDilation2DInfo(
          x.shape as never,
          filter.shape as never,
          attrs.strides,
          attrs.pad as 'same',
          'NHWC',
          attrs.dilations,
        )
        expect(await deviation(kernel('Dilation2D', ['x', 'filter'], attrs), [x, filter])).toBeLessThan(tolerance)
        const dy = sample(out, seed + 2)
        for (const name of ['Dilation2DBackpropInput', 'Dilation2DBackpropFilter']) {
          expect(await deviation(kernel(name, ['x', 'filter', 'dy'], attrs), [x, filter, dy])).toBeLessThan(tolerance)
        }
      }),
      { numRuns: 12, seed: 3 },
    )
  })
})

describe('convolutions with fewer windows than outputs', () => {
  it.each([
    { x: [3, 5, 4, 16], filter: [3, 3, 16, 40], strides: 1, dilations: 1, pad: 'same' },
    { x: [2, 7, 6, 17], filter: [3, 2, 17, 30], strides: 2, dilations: 1, pad: 'same' },
    { x: [2, 6, 7, 16], filter: [2, 3, 16, 33], strides: [1, 2], dilations: 1, pad: 'valid' },
    { x: [1, 7, 7, 18], filter: [3, 3, 18, 20], strides: 1, dilations: 2, pad: 'valid' },
    // Few windows on the way back only: the gradient has as many as the input has places.
    { x: [2, 4, 4, 24], filter: [3, 3, 24, 16], strides: 1, dilations: 1, pad: 1 },
    { x: [2, 1, 1, 16], filter: [3, 3, 16, 16], strides: 1, dilations: 1, pad: 'same' },
  ])('are one product, as cpu: %j', async ({ x, filter, strides, dilations, pad }) => {
    const attrs = { strides, dilations, pad, dataFormat: 'NHWC', dimRoundingMode: 'floor' }
    const out = tf.backend_util.computeConv2DInfo(x as never, filter as never, strides as never, dilations, pad as 'same', 'floor').outShape
    const back = kernel('Conv2DBackpropInput', ['dy', 'filter'], { ...attrs, inputShape: x })
    expect(await deviation(kernel('Conv2D', ['x', 'filter'], attrs), [sample(x, 1), sample(filter, 2)])).toBeLessThan(tolerance)
    if (dilations === 1) expect(await deviation(back, [sample(out, 3), sample(filter, 2)])).toBeLessThan(tolerance)
    // With neighbours in both layouts.
    const chained = ([image, kernels, bias]: tf.Tensor[]): tf.Tensor[] => {
      const [y] = kernel('Conv2D', ['x', 'filter'], attrs)([tf.relu(image), kernels])
      const normal = tf.mul(tf.sub(tf.add(y, bias), tf.mean(y, [0, 1, 2])), bias)
      return [normal, tf.sum(normal, [0, 1, 2]), tf.reshape(normal, [x[0], -1])]
    }
    const bias = sample(filter.slice(-1), 4)
    expect(await deviation(chained, [sample(x, 1), sample(filter, 2), bias])).toBeLessThan(tolerance)
  })

  it('count the multiply-adds of the convolution', async () => {
    await tf.setBackend('onnx')
    const specs = [
      [2, 5, 4, 16],
      [3, 3, 16, 40],
    ].map((shape) => ({ shape, dtype: 'float32' as const }))
    const { multiplyAdds, operations } = account((...[x, filter]) => [tf.conv2d(x as tf.Tensor4D, filter as tf.Tensor4D, 1, 'same')], specs)
    expect(operations.Conv).toBeUndefined()
    expect(multiplyAdds).toBe(2 * 5 * 4 * 40 * 3 * 3 * 16)
  })
})
