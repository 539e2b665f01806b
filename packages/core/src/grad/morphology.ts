import * as tf from '@tensorflow/tfjs-core'
import { define, filled, runKernel, sizes } from './define'
import { firstMaximum, gatherWindows, lowest, windowPositions } from './windows'

type Attributes = { strides: [number, number] | number; pad: 'valid' | 'same' | number; dilations: [number, number] | number }
type Shape4D = [number, number, number, number]

function tableOf(x: tf.Tensor, filter: tf.Tensor, { strides, pad, dilations }: Attributes): number[][] {
  const info = tf.backend_util.computeDilation2DInfo(
    x.shape as Shape4D,
    filter.shape as [number, number, number],
    strides as number,
    pad,
    'NHWC',
    dilations as number,
  )
  return windowPositions([
    {
      window: info.filterHeight,
      stride: info.strideHeight,
      dilation: info.dilationHeight,
      before: info.padInfo.top,
      windows: info.outHeight,
      length: info.inHeight,
    },
    {
      window: info.filterWidth,
      stride: info.strideWidth,
      dilation: info.dilationWidth,
      before: info.padInfo.left,
      windows: info.outWidth,
      length: info.inWidth,
    },
  ])
}

/** What `values` ([batch or 1, windows or 1, window size, channels]) hold where x + filter is largest in each window. */
function takeAtMaximum(values: tf.Tensor, x: tf.Tensor, filter: tf.Tensor, table: number[][], outShape: number[]): tf.Tensor {
  const sums = tf.add(gatherWindows(x, table, lowest), tf.reshape(filter, [1, 1, table[0].length, sizes(filter)[2]]))
  return tf.reshape(tf.sum(tf.mul(firstMaximum(sums), values), 2), outShape)
}

/** Grey-scale dilation, y = max over the window of x + filter, and its two adjoints, which route dy to the maximum. */
export const morphologyGradients: tf.GradConfig[] = [
  define<Attributes>({
    kernel: 'Dilation2D',
    save: ['x', 'filter'],
    gradients: (dy, [x, filter], attributes) => ({
      x: () => runKernel('Dilation2DBackpropInput', { x, filter, dy }, attributes),
      filter: () => runKernel('Dilation2DBackpropFilter', { x, filter, dy }, attributes),
    }),
  }),
  define<Attributes>({
    kernel: 'Dilation2DBackpropInput',
    save: ['x', 'filter', 'dy'],
    gradients: (ddx, [x, filter, dy], attributes) => ({
      x: () => filled(x.shape, 0),
      filter: () => filled(filter.shape, 0),
      dy: () => {
        const table = tableOf(x, filter, attributes)
        return takeAtMaximum(gatherWindows(ddx, table, 0), x, filter, table, dy.shape)
      },
    }),
  }),
  define<Attributes>({
    kernel: 'Dilation2DBackpropFilter',
    save: ['x', 'filter', 'dy'],
    gradients: (ddFilter, [x, filter, dy], attributes) => ({
      x: () => filled(x.shape, 0),
      filter: () => filled(filter.shape, 0),
      dy: () => {
        const table = tableOf(x, filter, attributes)
        return takeAtMaximum(tf.reshape(ddFilter, [1, 1, table[0].length, sizes(filter)[2]]), x, filter, table, dy.shape)
      },
    }),
  }),
]
