import * as tf from '@tensorflow/tfjs-core'
import { anchored, binary, cast, concat, constant, filled, gather, int64, matmul, reduce, reshape, slice, transpose, where } from '../emit'
import { sizeOf, type Graph, type Value } from '../graph'
import { defineLowerings, type Lowering, type LoweringContext } from '../lowering'
import { activate } from './elementwise'
import {
  axes2d,
  axes3d,
  channelsFirst,
  channelsLast,
  cropSpatial,
  extent,
  inner,
  padSpatial,
  placeTap,
  sumUp,
  tapOf,
  taps,
  uncropSpatial,
  windowAttributes,
  type WindowAxis,
} from './windows'

/** Strides, padding and the like, as the kernels give them. */
interface ConvolutionAttributes {
  strides: number | [number, number]
  pad: 'valid' | 'same' | number
  dilations?: number | [number, number] | null
  dataFormat?: 'NHWC' | 'NCHW'
  dimRoundingMode?: 'floor' | 'round' | 'ceil'
}

type Kind = 'plain' | 'depthwise' | '3d'

interface Geometry {
  axes: WindowAxis[]
  inputs: number
  outputs: number
  /** Whether tensors come and go as [n, c, h, w]. */
  isChannelsFirst: boolean
}

function geometryOf(kind: Kind, inputShape: readonly number[], filterShape: readonly number[], attrs: Record<string, unknown>): Geometry {
  const { strides, pad, dilations, dataFormat, dimRoundingMode } = attrs as unknown as ConvolutionAttributes
  if (kind === '3d') {
    const info = tf.backend_util.computeConv3DInfo(
      inputShape as [number, number, number, number, number],
      filterShape as [number, number, number, number, number],
      strides as number,
      (dilations ?? 1) as number,
      pad as 'same',
    )
    return { axes: axes3d(info), inputs: info.inChannels, outputs: info.outChannels, isChannelsFirst: false }
  }
  const info = tf.backend_util.computeConv2DInfo(
    inputShape as [number, number, number, number],
    filterShape as [number, number, number, number],
    strides,
    dilations ?? 1,
    pad,
    dimRoundingMode,
    kind === 'depthwise',
    kind === 'depthwise' ? 'channelsLast' : tf.backend_util.convertConv2DDataFormat(dataFormat ?? 'NHWC'),
  )
  return { axes: axes2d(info), inputs: info.inChannels, outputs: info.outChannels, isChannelsFirst: info.dataFormat === 'channelsFirst' }
}

/** Applies a computation in [n, …spatial, c] to tensors in the layout of the kernel. */
function inLast(g: Graph, { isChannelsFirst }: Geometry, x: Value): Value {
  return isChannelsFirst ? channelsLast(g, x) : x
}

function inFirst(g: Graph, { isChannelsFirst }: Geometry, x: Value): Value {
  return isChannelsFirst ? x : channelsFirst(g, x)
}

function fromFirst(g: Graph, { isChannelsFirst }: Geometry, y: Value): Value {
  return isChannelsFirst ? y : channelsLast(g, y)
}

function fromLast(g: Graph, { isChannelsFirst }: Geometry, y: Value): Value {
  return isChannelsFirst ? channelsFirst(g, y) : y
}

/**
 * […window, in, out] → [out, in, …window] or [in, out, …window], in steps of matrix transposes: ONNX Runtime moves several
 * axes at once element by element, ten times slower.
 */
function windowLast(g: Graph, filter: Value, order: 'outputs first' | 'inputs first'): Value {
  const window = filter.shape.slice(0, -2)
  const [inputs, outputs] = filter.shape.slice(-2)
  const size = sizeOf(window)
  if (order === 'inputs first') {
    return reshape(g, transpose(g, reshape(g, filter, [size, inputs * outputs]), [1, 0]), [inputs, outputs, ...window])
  }
  const turned = transpose(g, reshape(g, filter, [size * inputs, outputs]), [1, 0])
  return reshape(g, transpose(g, reshape(g, turned, [outputs, size, inputs]), [0, 2, 1]), [outputs, inputs, ...window])
}

/** […window, in, out] turned half round in all window axes. */
function turned(g: Graph, filter: Value): Value {
  const spatial = [...Array(filter.shape.length - 2).keys()]
  const lengths = spatial.map((i) => filter.shape[i])
  return slice(
    g,
    filter,
    spatial,
    lengths.map((n) => n - 1),
    lengths,
    spatial.map((i) => (filter.shape[i] === 1 ? 1 : -1)),
  )
}

function float(g: Graph, x: Value): Value {
  return cast(g, x, g.float)
}

/** ONNX Runtime has no convolution in double: there it is a sum of matrix products, one per tap of the window. */
function isDouble(g: Graph): boolean {
  return g.float === 'float64'
}

function tapFilter(g: Graph, filter: Value, tap: readonly number[]): Value {
  const spatial = [...tap.keys()]
  return reshape(
    g,
    slice(
      g,
      filter,
      spatial,
      tap,
      tap.map(() => 1),
    ),
    filter.shape.slice(-2),
  )
}

/**
 * Whether a convolution is better one matrix product over all windows of the batch: ONNX Runtime makes a product per image,
 * which is too small to share among threads where an image has fewer windows than there are outputs.
 */
function hasFewWindows(axes: readonly WindowAxis[], inputs: number, outputs: number): boolean {
  const windows = axes.reduce((product, axis) => product * axis.windows, 1)
  const size = axes.reduce((product, axis) => product * axis.size, 1)
  return windows > 0 && windows < outputs && size > 1 && size <= 32 && inputs >= 16
}

/** Where each entry of each window stands in a padded grid, row by row: window after window, tap after tap. */
function windowPlaces(axes: readonly WindowAxis[], grid: readonly number[]): number[] {
  const combinations = (counts: number[], steps: number[]): number[] =>
    counts.reduce<number[]>(
      (from, count, i) => from.flatMap((at) => Array.from({ length: count }, (_, k) => at * grid[i] + k * steps[i])),
      [0],
    )
  const windows = combinations(
    axes.map((axis) => axis.windows),
    axes.map(({ stride }) => stride),
  )
  const entries = combinations(
    axes.map(({ size }) => size),
    axes.map(({ dilation }) => dilation),
  )
  return windows.flatMap((window) => entries.map((entry) => window + entry))
}

/**
 * The convolution of [n, …spatial, c] with […window, in, out] as a matrix product over the entries of all windows.
 *
 * @returns [n, c, …spatial], as a convolution's: its neighbours work in that layout
 */
function convolveByProduct(g: Graph, x: Value, filter: Value, axes: readonly WindowAxis[]): Value {
  const [inputs, outputs] = filter.shape.slice(-2)
  const padded = padSpatial(g, x, axes)
  const [batch, ...grid] = padded.shape.slice(0, -1)
  const places = gather(g, reshape(g, padded, [batch, sizeOf(grid), inputs]), int64(g, windowPlaces(axes, grid)), 1)
  const windows = [x.shape[0], ...axes.map((axis) => axis.windows)]
  const width = (sizeOf(filter.shape) / (inputs * outputs)) * inputs
  const y = matmul(g, reshape(g, places, [sizeOf(windows), width]), reshape(g, filter, [width, outputs]))
  return anchored(channelsFirst(g, reshape(g, y, [...windows, outputs])))
}

function convolve(g: Graph, x: Value, filter: Value, geometry: Geometry): Value {
  const { axes, inputs, outputs } = geometry
  if (isDouble(g)) {
    const padded = padSpatial(g, inLast(g, geometry, x), axes)
    const parts = taps(axes).map((tap) => matmul(g, tapOf(g, padded, axes, tap), tapFilter(g, filter, tap)))
    return fromLast(g, geometry, sumUp(g, parts))
  }
  if (hasFewWindows(axes, inputs, outputs)) {
    return fromFirst(g, geometry, convolveByProduct(g, inLast(g, geometry, x), filter, axes))
  }
  const shape = [x.shape[0], outputs, ...axes.map(({ windows }) => windows)]
  const reached = cropSpatial(g, inFirst(g, geometry, x), axes, 2)
  return fromFirst(
    g,
    geometry,
    g.op('Conv', [reached, windowLast(g, filter, 'outputs first')], shape, x.type, windowAttributes(inner(axes))),
  )
}

/** Padding of the convolution of dy that gives the input gradient at stride 1, or undefined where it would be negative. */
function adjointAxes(axes: readonly WindowAxis[]): WindowAxis[] | undefined {
  if (axes.some(({ stride }) => stride !== 1)) return undefined
  const adjoint = inner(axes).map((axis): WindowAxis => {
    const before = extent(axis) - 1 - axis.before
    return { ...axis, before, after: axis.length - axis.windows + extent(axis) - 1 - before, windows: axis.length, length: axis.windows }
  })
  return adjoint.every(({ before, after }) => before >= 0 && after >= 0) ? adjoint : undefined
}

/** dx as a transposed convolution in [n, c, …spatial]: pads cut off what fell on padding. */
function transposedConvolution(g: Graph, dy: Value, weights: Value, axes: readonly WindowAxis[], channels: number, group: number): Value {
  const reached = inner(axes)
  const shape = [dy.shape[0], channels, ...reached.map(({ length }) => length)]
  const dx = g.op('ConvTranspose', [dy, weights], shape, dy.type, { ...windowAttributes(reached), group: { int: group } })
  return uncropSpatial(g, dx, axes, 2)
}

/** The same at stride 1: a convolution with the turned window. */
function turnedConvolution(
  g: Graph,
  dy: Value,
  weights: Value,
  adjoint: WindowAxis[],
  axes: readonly WindowAxis[],
  channels: number,
  group: number,
): Value {
  const shape = [dy.shape[0], channels, ...adjoint.map(({ windows }) => windows)]
  const dx = g.op('Conv', [dy, weights], shape, dy.type, { ...windowAttributes(adjoint), group: { int: group } })
  return uncropSpatial(g, dx, axes, 2)
}

function inputGradient(g: Graph, dy: Value, filter: Value, geometry: Geometry): Value {
  const { axes, inputs, outputs } = geometry
  if (isDouble(g)) {
    const last = inLast(g, geometry, dy)
    const parts = taps(axes).map((tap) => placeTap(g, matmul(g, last, transpose(g, tapFilter(g, filter, tap), [1, 0])), axes, tap))
    return fromLast(g, geometry, sumUp(g, parts))
  }
  const spatial = axes.length
  const first = inFirst(g, geometry, dy)
  const adjoint = adjointAxes(axes)
  if (adjoint === undefined) {
    const weights = windowLast(g, filter, 'outputs first')
    return fromFirst(g, geometry, transposedConvolution(g, first, weights, axes, inputs, 1))
  }
  if (hasFewWindows(adjoint, outputs, inputs)) {
    const back = transpose(g, turned(g, filter), [...Array(spatial).keys(), spatial + 1, spatial])
    const dx = convolveByProduct(g, inLast(g, geometry, dy), back, adjoint)
    return fromFirst(g, geometry, uncropSpatial(g, dx, axes, 2))
  }
  const weights = windowLast(g, turned(g, filter), 'inputs first')
  return fromFirst(g, geometry, turnedConvolution(g, first, weights, adjoint, axes, inputs, 1))
}

/**
 * dW[k, c, o] = Σₙᵢ x[n, i·stride + k, c] dy[n, i, o] as one convolution in groups, one per example: x with its channels
 * folded into the last spatial axis, dy as the kernel spaced out by the stride. The sum over examples comes after.
 */
function filterGradient(g: Graph, x: Value, dy: Value, geometry: Geometry): Value {
  const { axes, inputs, outputs } = geometry
  const batch = x.shape[0]
  const spatial = axes.length
  if (isDouble(g)) {
    const padded = padSpatial(g, inLast(g, geometry, x), axes)
    const flatDy = reshape(g, inLast(g, geometry, dy), [sizeOf(dy.shape) / outputs, outputs])
    const parts = taps(axes).map((tap) => {
      const flat = reshape(g, tapOf(g, padded, axes, tap), [flatDy.shape[0], inputs])
      return g.op('Gemm', [flat, flatDy], [inputs, outputs], x.type, { transA: { int: 1 } })
    })
    return reshape(g, concat(g, parts, 0), [...axes.map(({ size }) => size), inputs, outputs])
  }
  const fitted = cropSpatial(g, inLast(g, geometry, x), axes, 1)
  const reached = inner(axes)
  const folded = (values: readonly number[]): number[] => values.map((value, i) => (i === spatial - 1 ? value * inputs : value))
  const image = reshape(g, fitted, [1, batch, ...folded(fitted.shape.slice(1, -1))])
  const windows = axes.map(({ windows: count }) => count)
  const kernel = reshape(g, inFirst(g, geometry, dy), [batch * outputs, 1, ...windows])
  const sizes = axes.map(({ size, dilation }) => (size - 1) * dilation + 1)
  const correlation = g.op('Conv', [image, kernel], [1, batch * outputs, ...folded(sizes)], x.type, {
    kernel_shape: { ints: windows },
    strides: { ints: axes.map(() => 1) },
    dilations: { ints: folded(axes.map(({ stride }) => stride)) },
    pads: { ints: [...folded(reached.map(({ before }) => before)), ...folded(reached.map(({ after }) => after))] },
    group: { int: batch },
  })
  const summed = reduce(g, 'ReduceSum', reshape(g, correlation, [batch, outputs, sizeOf(sizes) * inputs]), [0], false)
  const gradient = transpose(g, reshape(g, summed, [outputs, ...sizes, inputs]), [
    ...Array.from({ length: spatial + 1 }, (_, i) => i + 1),
    0,
  ])
  return slice(
    g,
    gradient,
    [...axes.keys()],
    axes.map(() => 0),
    axes.map(({ size }) => size),
    axes.map(({ dilation }) => dilation),
  )
}

/** [h, w, c, multiplier] → [c·multiplier, 1, h, w]. */
function depthwiseWeights(g: Graph, filter: Value): Value {
  const [height, width, channels, multiplier] = filter.shape
  return reshape(g, transpose(g, filter, [2, 3, 0, 1]), [channels * multiplier, 1, height, width])
}

function repeatChannels(g: Graph, x: Value, multiplier: number): Value {
  if (multiplier === 1) return x
  const [n, h, w, c] = x.shape
  const wide = g.op(
    'Expand',
    [reshape(g, x, [n, h, w, c, 1]), constant(g, [n, h, w, c, multiplier], [5], 'int64')],
    [n, h, w, c, multiplier],
    x.type,
  )
  return reshape(g, wide, [n, h, w, c * multiplier])
}

function depthwise(g: Graph, x: Value, filter: Value, { axes, inputs, outputs }: Geometry): Value {
  if (isDouble(g)) {
    const padded = padSpatial(g, repeatChannels(g, x, outputs / inputs), axes)
    return sumUp(
      g,
      taps(axes).map((tap) => binary(g, 'Mul', tapOf(g, padded, axes, tap), reshape(g, tapFilter(g, filter, tap), [outputs]))),
    )
  }
  const shape = [x.shape[0], outputs, ...axes.map(({ windows }) => windows)]
  const attributes = { ...windowAttributes(inner(axes)), group: { int: inputs } }
  return channelsLast(
    g,
    g.op('Conv', [cropSpatial(g, channelsFirst(g, x), axes, 2), depthwiseWeights(g, filter)], shape, x.type, attributes),
  )
}

function depthwiseInputGradient(g: Graph, dy: Value, filter: Value, { axes, inputs, outputs }: Geometry): Value {
  const multiplier = outputs / inputs
  if (isDouble(g)) {
    const parts = taps(axes).map((tap) => placeTap(g, binary(g, 'Mul', dy, reshape(g, tapFilter(g, filter, tap), [outputs])), axes, tap))
    const wide = sumUp(g, parts)
    return reduce(g, 'ReduceSum', reshape(g, wide, [...wide.shape.slice(0, -1), inputs, multiplier]), [4], false)
  }
  const adjoint = adjointAxes(axes)
  const first = channelsFirst(g, dy)
  if (adjoint === undefined) return channelsLast(g, transposedConvolution(g, first, depthwiseWeights(g, filter), axes, inputs, inputs))
  const weights = transpose(g, turned(g, filter), [2, 3, 0, 1])
  return channelsLast(g, turnedConvolution(g, first, weights, adjoint, axes, inputs, inputs))
}

/** Each pair of example and channel is a group: the window of x over dy as kernel. */
function depthwiseFilterGradient(g: Graph, x: Value, dy: Value, { axes, inputs, outputs }: Geometry): Value {
  const batch = x.shape[0]
  const sizes = axes.map(({ size }) => size)
  if (isDouble(g)) {
    const padded = padSpatial(g, repeatChannels(g, x, outputs / inputs), axes)
    const parts = taps(axes).map((tap) => reduce(g, 'ReduceSum', binary(g, 'Mul', tapOf(g, padded, axes, tap), dy), [0, 1, 2], false))
    return reshape(g, concat(g, parts, 0), [...sizes, inputs, outputs / inputs])
  }
  const fitted = cropSpatial(g, channelsFirst(g, x), axes, 2)
  const reached = inner(axes)
  const image = reshape(g, fitted, [1, batch * inputs, ...fitted.shape.slice(2)])
  const windows = axes.map(({ windows: count }) => count)
  const kernel = reshape(g, channelsFirst(g, dy), [batch * outputs, 1, ...windows])
  const correlation = g.op('Conv', [image, kernel], [1, batch * outputs, ...sizes], x.type, {
    kernel_shape: { ints: windows },
    strides: { ints: axes.map(({ dilation }) => dilation) },
    dilations: { ints: axes.map(({ stride }) => stride) },
    pads: { ints: [...reached.map(({ before }) => before), ...reached.map(({ after }) => after)] },
    group: { int: batch * inputs },
  })
  const summed = reduce(g, 'ReduceSum', reshape(g, correlation, [batch, outputs, sizeOf(sizes)]), [0], false)
  return reshape(g, transpose(g, summed, [1, 0]), [...sizes, inputs, outputs / inputs])
}

function forward(kind: Kind): (context: LoweringContext) => { y: Value; geometry: Geometry } {
  return ({ g, input, attrs }) => {
    const [x, filter] = [input('x'), input('filter')]
    const geometry = geometryOf(kind, x.shape, filter.shape, attrs)
    const y = (kind === 'depthwise' ? depthwise : convolve)(g, float(g, x), float(g, filter), geometry)
    return { y: cast(g, y, x.type), geometry }
  }
}

function plain(kind: Kind): Lowering {
  const lower = forward(kind)
  return (context) => lower(context).y
}

/** Bias and activation after a convolution. */
function fused(kind: Kind): Lowering {
  const lower = forward(kind)
  return (context) => {
    const { g, optional, attrs } = context
    const { y, geometry } = lower(context)
    // In NCHW a vector belongs to the channels.
    const aligned = (value: Value): Value =>
      geometry.isChannelsFirst && value.shape.length === 1 && value.shape[0] !== 1 ? reshape(g, value, [value.shape[0], 1, 1]) : value
    const bias = optional('bias')
    const biased = bias === undefined ? y : binary(g, 'Add', y, aligned(bias))
    const prelu = optional('preluActivationWeights')
    return activate(
      g,
      biased,
      attrs.activation as string | undefined,
      prelu === undefined ? undefined : aligned(prelu),
      attrs.leakyreluAlpha as number | undefined,
    )
  }
}

function inputAdjoint(kind: Kind): Lowering {
  return ({ g, input, attrs }) => {
    const [dy, filter] = [float(g, input('dy')), float(g, input('filter'))]
    const geometry = geometryOf(kind, attrs.inputShape as number[], filter.shape, {
      ...attrs,
      ...(kind === 'depthwise' ? {} : { dilations: 1 }),
    })
    // Of a gradient larger than the convolution's output (conv2dTranspose to a smaller shape) only the part inside counts.
    const first = geometry.isChannelsFirst ? 2 : 1
    const windows = geometry.axes.map((axis, i) => Math.min(axis.windows, dy.shape[first + i]))
    const inside = slice(
      g,
      dy,
      windows.map((_, i) => first + i),
      windows.map(() => 0),
      windows,
    )
    return (kind === 'depthwise' ? depthwiseInputGradient : inputGradient)(g, inside, filter, geometry)
  }
}

function filterAdjoint(kind: Kind): Lowering {
  return ({ g, input, attrs }) => {
    const [x, dy] = [float(g, input('x')), float(g, input('dy'))]
    const geometry = geometryOf(kind, x.shape, attrs.filterShape as number[], {
      ...attrs,
      ...(kind === 'depthwise' ? {} : { dilations: 1 }),
    })
    return (kind === 'depthwise' ? depthwiseFilterGradient : filterGradient)(g, x, dy, geometry)
  }
}

/** What grey-scale dilation adds up at each tap, and the greatest of it. */
function dilationTaps({ g, input, attrs }: LoweringContext): { axes: WindowAxis[]; offsets: number[][]; sums: Value[]; greatest: Value } {
  const [x, filter] = [float(g, input('x')), float(g, input('filter'))]
  const info = tf.backend_util.computeDilation2DInfo(
    x.shape as [number, number, number, number],
    filter.shape as [number, number, number],
    attrs.strides as number,
    attrs.pad as 'same',
    'NHWC',
    attrs.dilations as number,
  )
  const axes = axes2d(info)
  const padded = padSpatial(g, x, axes, Number.MIN_SAFE_INTEGER)
  const offsets = taps(axes)
  const sums = offsets.map((tap) =>
    binary(g, 'Add', tapOf(g, padded, axes, tap), reshape(g, slice(g, filter, [0, 1], tap, [1, 1]), [filter.shape[2]])),
  )
  return { axes, offsets, sums, greatest: sums.reduce((best, sum) => binary(g, 'Max', best, sum)) }
}

/** dy at the first tap that reaches the greatest sum, 0 at the others. */
function sharesOfDilation(context: LoweringContext, sums: readonly Value[], greatest: Value): Value[] {
  const { g, input } = context
  const dy = float(g, input('dy'))
  return firstMatches(g, sums, greatest).map((first) => where(g, first, dy, filled(g, 0, [], dy.type)))
}

/** For values of equal shape, where each is the first to equal `target`. */
export function firstMatches(g: Graph, values: readonly Value[], target: Value): Value[] {
  let found: Value | undefined
  return values.map((value) => {
    const equal = binary(g, 'Equal', value, target)
    const first = found === undefined ? equal : binary(g, 'And', equal, g.op('Not', [found], found.shape, 'bool'))
    found = found === undefined ? equal : binary(g, 'Or', found, equal)
    return first
  })
}

defineLowerings({
  Conv2D: plain('plain'),
  FusedConv2D: fused('plain'),
  Conv2DBackpropInput: inputAdjoint('plain'),
  Conv2DBackpropFilter: filterAdjoint('plain'),
  DepthwiseConv2dNative: plain('depthwise'),
  FusedDepthwiseConv2D: fused('depthwise'),
  DepthwiseConv2dNativeBackpropInput: inputAdjoint('depthwise'),
  DepthwiseConv2dNativeBackpropFilter: filterAdjoint('depthwise'),
  Conv3D: plain('3d'),
  Conv3DBackpropInputV2: inputAdjoint('3d'),
  Conv3DBackpropFilterV2: filterAdjoint('3d'),
  Dilation2D: (context) => cast(context.g, dilationTaps(context).greatest, context.input('x').type),
  Dilation2DBackpropInput: (context) => {
    const { axes, offsets, sums, greatest } = dilationTaps(context)
    const shares = sharesOfDilation(context, sums, greatest)
    return sumUp(
      context.g,
      shares.map((share, i) => placeTap(context.g, share, axes, offsets[i])),
    )
  },
  Dilation2DBackpropFilter: (context) => {
    const { g, input } = context
    const { sums, greatest } = dilationTaps(context)
    const shares = sharesOfDilation(context, sums, greatest).map((share) => reduce(g, 'ReduceSum', share, [0, 1, 2], false))
    return reshape(g, concat(g, shares, 0), input('filter').shape)
  },
})
