import * as tf from '@tensorflow/tfjs-core'
import { BackendError } from '../errors'
import { depthwiseFilterGradient, depthwiseInputGradient, filterGradient } from './convolution-composite'
import { define, runKernel } from './define'

type Padding = 'valid' | 'same' | number | tf.backend_util.ExplicitPadding

type Attributes = {
  strides: number | number[]
  pad: Padding
  dilations?: number | number[] | null
  dataFormat?: string
  dimRoundingMode?: 'floor' | 'round' | 'ceil'
}

/** The kernels of one convolution and of its two adjoints, which differ only in names and number of spatial axes. */
type Family = {
  forward: string
  input: string
  filter: string
  spatial: number
  /** The adjoints written with other operations. */
  composite?: {
    input?: (dy: tf.Tensor, filter: tf.Tensor, inputShape: number[], attributes: Attributes) => tf.Tensor
    filter: (x: tf.Tensor, dy: tf.Tensor, filterShape: number[], attributes: Attributes) => tf.Tensor
  }
}

const families: Family[] = [
  {
    forward: 'Conv2D',
    input: 'Conv2DBackpropInput',
    filter: 'Conv2DBackpropFilter',
    spatial: 2,
    composite: { filter: filterGradient },
  },
  {
    forward: 'DepthwiseConv2dNative',
    input: 'DepthwiseConv2dNativeBackpropInput',
    filter: 'DepthwiseConv2dNativeBackpropFilter',
    spatial: 2,
    composite: { input: depthwiseInputGradient, filter: depthwiseFilterGradient },
  },
  { forward: 'Conv3D', input: 'Conv3DBackpropInputV2', filter: 'Conv3DBackpropFilterV2', spatial: 3 },
]

/** Kernels of the cpu backend that are ten times and more slower than the same written as a forward convolution. */
const slowOnCpu = new Set(['Conv2DBackpropFilter', 'DepthwiseConv2dNativeBackpropFilter'])

/** Whether to do without this kernel: the backend lacks it (wasm does), or it is slow there. */
function avoids(kernel: string, { dataFormat }: Attributes): boolean {
  if (dataFormat === 'NCHW') return false
  const backend = tf.getBackend()
  return tf.getKernel(kernel, backend) === undefined || (backend === 'cpu' && slowOnCpu.has(kernel))
}

function dilationsOf({ dilations }: Attributes, { spatial }: Family): number[] {
  if (dilations === undefined || dilations === null) return new Array<number>(spatial).fill(1)
  return typeof dilations === 'number' ? new Array<number>(spatial).fill(dilations) : dilations
}

/** [size, …] → [size, step, …] → the first `(size - 1) · step + 1` entries of each spatial axis: zeros between the taps. */
function dilate(filter: tf.Tensor, steps: number[]): tf.Tensor {
  return steps.reduce((spaced, step, axis) => {
    if (step === 1) return spaced
    const column = [...spaced.shape.slice(0, axis + 1), 1, ...spaced.shape.slice(axis + 1)]
    const padded = tf.pad(
      tf.reshape(spaced, column),
      column.map((_, i) => (i === axis + 1 ? [0, step - 1] : [0, 0])),
    )
    const flat = spaced.shape.map((n, i) => (i === axis ? n * step : n))
    const trimmed = spaced.shape.map((n, i) => (i === axis ? (n - 1) * step + 1 : n))
    return tf.slice(tf.reshape(padded, flat), new Array<number>(flat.length).fill(0), trimmed)
  }, filter)
}

/** The transpose of {@link dilate}: the taps without what lies between them. */
function undilate(gradient: tf.Tensor, steps: number[], shape: number[]): tf.Tensor {
  if (steps.every((step) => step === 1)) return gradient
  const strides = shape.map((_, i) => steps[i] ?? 1)
  return tf.stridedSlice(gradient, new Array<number>(shape.length).fill(0), gradient.shape, strides)
}

function requireCorrect(family: Family): void {
  if (family.spatial < 3 || tf.getBackend() !== 'wasm') return
  throw new BackendError(
    "grad: the wasm backend's kernels for gradients of conv3d give wrong values; use useBackend('cpu') or another backend",
  )
}

/** y is bilinear in x and the filter; so are its adjoints, and each is the derivative of the others. */
function gradientsOf(family: Family): tf.GradConfig[] {
  const plain = (attributes: Attributes): Record<string, unknown> => ({
    ...attributes,
    dilations: new Array<number>(family.spatial).fill(1),
  })
  const forward = (x: tf.Tensor, filter: tf.Tensor, attributes: Attributes): tf.Tensor =>
    runKernel(
      family.forward,
      { x, filter },
      { ...plain(attributes), dataFormat: attributes.dataFormat ?? (family.spatial === 3 ? 'NDHWC' : 'NHWC') },
    )
  const { composite } = family
  const backpropInput = (dy: tf.Tensor, filter: tf.Tensor, inputShape: number[], attributes: Attributes): tf.Tensor =>
    composite?.input !== undefined && avoids(family.input, attributes)
      ? composite.input(dy, filter, inputShape, attributes)
      : runKernel(family.input, { dy, filter }, { ...plain(attributes), inputShape })
  const backpropFilter = (x: tf.Tensor, dy: tf.Tensor, filterShape: number[], attributes: Attributes): tf.Tensor =>
    composite !== undefined && avoids(family.filter, attributes)
      ? composite.filter(x, dy, filterShape, attributes)
      : runKernel(family.filter, { x, dy }, { ...plain(attributes), filterShape })

  return [
    define<Attributes>({
      kernel: family.forward,
      save: ['x', 'filter'],
      gradients: (dy, [x, filter], attributes) => {
        requireCorrect(family)
        // The backward kernels know no dilation: the filter is spaced out instead.
        const steps = dilationsOf(attributes, family)
        return {
          x: () => backpropInput(dy, dilate(filter, steps), x.shape, attributes),
          filter: () => {
            const spaced = filter.shape.map((n, i) => (n - 1) * (steps[i] ?? 1) + 1)
            return undilate(backpropFilter(x, dy, spaced, attributes), steps, filter.shape)
          },
        }
      },
    }),
    define<Attributes>({
      kernel: family.input,
      save: ['dy', 'filter'],
      gradients: (ddx, [dy, filter], attributes) => ({
        dy: () => forward(ddx, filter, attributes),
        filter: () => backpropFilter(ddx, dy, filter.shape, attributes),
      }),
    }),
    define<Attributes>({
      kernel: family.filter,
      save: ['x', 'dy'],
      gradients: (ddFilter, [x, dy], attributes) => ({
        x: () => backpropInput(dy, ddFilter, x.shape, attributes),
        dy: () => forward(x, ddFilter, attributes),
      }),
    }),
  ]
}

export const convolutionGradients: tf.GradConfig[] = families.flatMap(gradientsOf)
