import * as tf from '@tensorflow/tfjs-core'
import { define, filled, runKernel, sizes } from './define'
import { firstMaximum, gatherWindows, lowest, scatterWindows, windowPositions, type WindowAxis } from './windows'

type Attributes = {
  filterSize: number | number[]
  strides: number | number[]
  pad: 'valid' | 'same' | number | tf.backend_util.ExplicitPadding
  dimRoundingMode?: 'floor' | 'round' | 'ceil'
  dataFormat?: string
}

type PoolInfo = ReturnType<typeof tf.backend_util.computePool2DInfo> | ReturnType<typeof tf.backend_util.computePool3DInfo>

function heightAndWidth(info: PoolInfo): WindowAxis[] {
  return [
    {
      window: info.filterHeight,
      stride: info.strideHeight,
      dilation: 1,
      before: info.padInfo.top,
      windows: info.outHeight,
      length: info.inHeight,
    },
    {
      window: info.filterWidth,
      stride: info.strideWidth,
      dilation: 1,
      before: info.padInfo.left,
      windows: info.outWidth,
      length: info.inWidth,
    },
  ]
}

function axesOf(shape: number[], { filterSize, strides, pad, dimRoundingMode }: Attributes): WindowAxis[] {
  if (shape.length === 4) {
    const info = tf.backend_util.computePool2DInfo(
      shape as [number, number, number, number],
      filterSize as [number, number],
      strides as [number, number],
      1,
      pad,
      dimRoundingMode,
    )
    return heightAndWidth(info)
  }
  const info = tf.backend_util.computePool3DInfo(
    shape as [number, number, number, number, number],
    filterSize as [number, number, number],
    strides as [number, number, number],
    1,
    pad as 'valid' | 'same' | number,
    dimRoundingMode,
  )
  return [
    {
      window: info.filterDepth,
      stride: info.strideDepth,
      dilation: 1,
      before: info.padInfo.front,
      windows: info.outDepth,
      length: info.inDepth,
    },
    ...heightAndWidth(info),
  ]
}

/**
 * What `x` holds at the position of each window's maximum of `input`: the transpose of the MaxPoolGrad kernels. At a tie
 * the first position counts, as in the kernels.
 */
function takeAtMaximum(x: tf.Tensor, input: tf.Tensor, outShape: number[], attributes: Attributes): tf.Tensor {
  const table = windowPositions(axesOf(input.shape, attributes))
  const winners = firstMaximum(gatherWindows(input, table, lowest))
  return tf.reshape(tf.sum(tf.mul(winners, gatherWindows(x, table, 0)), 2), outShape)
}

/** Hands `dy` to the position of each window's maximum. */
function maxPoolGradient(kernel: string, dy: tf.Tensor, input: tf.Tensor, pooled: tf.Tensor, attributes: Attributes): tf.Tensor {
  if (tf.getBackend() !== 'wasm') return runKernel(kernel, { dy, input, output: pooled }, attributes)
  // The kernel of the wasm backend misses maxima that are negative.
  const table = windowPositions(axesOf(input.shape, attributes))
  const winners = firstMaximum(gatherWindows(input, table, lowest))
  const each = tf.reshape(dy, [sizes(input)[0], table.length, 1, sizes(dy)[dy.rank - 1]])
  return scatterWindows(tf.mul(winners, each), table, input.shape)
}

/**
 * Window size over the number of real entries, for each window: [1, …windows, 1], or undefined where nothing is padded.
 * The AvgPool kernels average over the real entries only, the AvgPoolGrad kernels divide by the whole window (so
 * TensorFlow.js's own gradient is wrong at padded borders); this factor repairs it.
 */
function borderFactor(shape: number[], attributes: Attributes): tf.Tensor | undefined {
  const table = windowPositions(axesOf(shape, attributes))
  const factors = table.map((at) => at.length / Math.max(1, at.filter((position) => position >= 0).length))
  if (factors.every((factor) => factor === 1)) return undefined
  return tf.tensor(factors, [1, ...axesOf(shape, attributes).map(({ windows }) => windows), 1])
}

function gradientsOf(suffix: '' | '3D'): tf.GradConfig[] {
  const format = suffix === '3D' ? { dataFormat: 'NDHWC' } : {}
  return [
    define<Attributes>({
      kernel: `MaxPool${suffix}`,
      save: ['x'],
      saveOutput: true,
      // MaxPoolGrad only looks for the maximum in its second and third input, so the saved output always serves.
      gradients: (dy, [x, y], attributes) => ({ x: () => maxPoolGradient(`MaxPool${suffix}Grad`, dy, x, y, attributes) }),
    }),
    define<Attributes>({
      kernel: `MaxPool${suffix}Grad`,
      save: ['dy', 'input', 'output'],
      gradients: (ddx, [dy, input, pooled], attributes) => ({
        dy: () => takeAtMaximum(ddx, input, dy.shape, attributes),
        input: () => filled(input.shape, 0),
        output: () => filled(pooled.shape, 0),
      }),
    }),
    define<Attributes>({
      kernel: `AvgPool${suffix}`,
      save: ['x'],
      gradients: (dy, [x], attributes) => ({
        x: () => {
          const factor = borderFactor(x.shape, attributes)
          return runKernel(`AvgPool${suffix}Grad`, { dy: factor ? tf.mul(dy, factor) : dy, input: x }, attributes)
        },
      }),
    }),
    define<Attributes>({
      kernel: `AvgPool${suffix}Grad`,
      save: ['input'],
      gradients: (ddx, [input], attributes) => ({
        dy: () => {
          const factor = borderFactor(input.shape, attributes)
          const averages = runKernel(`AvgPool${suffix}`, { x: ddx }, { ...attributes, ...format })
          return factor ? tf.div(averages, factor) : averages
        },
        input: () => filled(input.shape, 0),
      }),
    }),
  ]
}

export const poolingGradients: tf.GradConfig[] = [
  ...gradientsOf(''),
  ...gradientsOf('3D'),
  define<Attributes>({
    kernel: 'MaxPoolWithArgmax',
    save: ['x'],
    saveOutput: [true, false],
    gradients: (dys, [x, y], attributes) => ({
      x: () => maxPoolGradient('MaxPoolGrad', (dys as unknown as tf.Tensor[])[0], x, y, attributes),
    }),
  }),
]
