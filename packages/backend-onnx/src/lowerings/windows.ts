import type * as tf from '@tensorflow/tfjs-core'
import { binary, matmul, pad, reshape, slice, transpose } from '../emit'
import { sizeOf, type Attributes, type Graph, type Value } from '../graph'

/**
 * A window sliding along one spatial axis: `before` and `after` are the padding that its `windows` positions need, negative
 * where they leave out the edge (TensorFlow.js's 'same' in three dimensions does, and its numbers with unequal strides).
 */
export interface WindowAxis {
  size: number
  stride: number
  dilation: number
  before: number
  after: number
  windows: number
  length: number
}

/** Extent of a dilated window. */
export function extent({ size, dilation }: WindowAxis): number {
  return (size - 1) * dilation + 1
}

function axis(size: number, stride: number, dilation: number, before: number, windows: number, length: number): WindowAxis {
  // What the last window needs, which may be less than TensorFlow.js says, or more where it rounds the output up.
  const after = (windows - 1) * stride + (size - 1) * dilation + 1 - length - before
  return { size, stride, dilation, before, after, windows, length }
}

/** What one of TensorFlow.js's 2-D window computations says, axis by axis. */
export function axes2d(info: tf.backend_util.Conv2DInfo): WindowAxis[] {
  return [
    axis(info.filterHeight, info.strideHeight, info.dilationHeight, info.padInfo.top, info.outHeight, info.inHeight),
    axis(info.filterWidth, info.strideWidth, info.dilationWidth, info.padInfo.left, info.outWidth, info.inWidth),
  ]
}

/** The same for three axes. */
export function axes3d(info: tf.backend_util.Conv3DInfo): WindowAxis[] {
  return [
    axis(info.filterDepth, info.strideDepth, info.dilationDepth, info.padInfo.front, info.outDepth, info.inDepth),
    axis(info.filterHeight, info.strideHeight, info.dilationHeight, info.padInfo.top, info.outHeight, info.inHeight),
    axis(info.filterWidth, info.strideWidth, info.dilationWidth, info.padInfo.left, info.outWidth, info.inWidth),
  ]
}

/** [n, …spatial, c] → [n, c, …spatial]. */
export function channelsFirst(g: Graph, x: Value): Value {
  const rank = x.shape.length
  return transpose(g, x, [0, rank - 1, ...Array.from({ length: rank - 2 }, (_, i) => i + 1)])
}

/** [n, c, …spatial] → [n, …spatial, c]. */
export function channelsLast(g: Graph, x: Value): Value {
  const rank = x.shape.length
  return transpose(g, x, [0, ...Array.from({ length: rank - 2 }, (_, i) => i + 2), 1])
}

/** The window attributes that Conv and the pools share. */
export function windowAttributes(
  axes: readonly WindowAxis[],
  given: Partial<Record<'strides' | 'dilations', readonly number[]>> = {},
): Attributes {
  return {
    kernel_shape: { ints: axes.map(({ size }) => size) },
    strides: { ints: given.strides ?? axes.map(({ stride }) => stride) },
    dilations: { ints: given.dilations ?? axes.map(({ dilation }) => dilation) },
    pads: { ints: [...axes.map(({ before }) => before), ...axes.map(({ after }) => after)] },
  }
}

/** Offsets of a window's entries along each axis, in row-major order. */
export function taps(axes: readonly WindowAxis[]): number[][] {
  return axes.reduce<number[][]>((outer, { size }) => outer.flatMap((from) => Array.from({ length: size }, (_, k) => [...from, k])), [[]])
}

/** The same windows over what they reach: edges that none does are cut off, so that no padding is negative. */
export function inner(axes: readonly WindowAxis[]): WindowAxis[] {
  return axes.map((axis) => ({
    ...axis,
    before: Math.max(0, axis.before),
    after: Math.max(0, axis.after),
    length: axis.length + Math.min(0, axis.before) + Math.min(0, axis.after),
  }))
}

/** Cuts the edges that no window reaches off spatial axes that start at `first`; what is left has the {@link inner} axes. */
export function cropSpatial(g: Graph, x: Value, axes: readonly WindowAxis[], first: number): Value {
  return slice(
    g,
    x,
    axes.map((_, i) => i + first),
    axes.map(({ before }) => Math.max(0, -before)),
    inner(axes).map(({ length }) => length),
  )
}

/** The transpose of {@link cropSpatial}: zeros at the edges. */
export function uncropSpatial(g: Graph, x: Value, axes: readonly WindowAxis[], first: number): Value {
  const edges = x.shape.map((_, i): [number, number] => {
    const axis = axes[i - first] as WindowAxis | undefined
    return axis === undefined ? [0, 0] : [Math.max(0, -axis.before), Math.max(0, -axis.after)]
  })
  return pad(g, x, edges)
}

/** Puts the padding around [n, …spatial, c]. */
export function padSpatial(g: Graph, x: Value, axes: readonly WindowAxis[], value = 0): Value {
  const edges = inner(axes).map(({ before, after }): [number, number] => [before, after])
  return pad(g, cropSpatial(g, x, axes, 1), [[0, 0], ...edges, [0, 0]], value)
}

/** What every window of the padded [n, …spatial, c] holds at one tap: [n, …windows, c]. */
export function tapOf(g: Graph, padded: Value, axes: readonly WindowAxis[], tap: readonly number[]): Value {
  return slice(
    g,
    padded,
    axes.map((_, i) => i + 1),
    axes.map(({ dilation }, i) => tap[i] * dilation),
    axes.map(({ windows }) => windows),
    axes.map(({ stride }) => stride),
  )
}

/** The transpose of {@link padSpatial} and {@link tapOf}: each window's entry at the place of its tap in [n, …spatial, c]. */
export function placeTap(g: Graph, entries: Value, axes: readonly WindowAxis[], tap: readonly number[]): Value {
  return axes.reduce((x, { stride, dilation, before, windows, length }, i) => {
    const at = i + 1
    const head = x.shape.slice(0, at)
    const tail = x.shape.slice(at + 1)
    const column = reshape(g, x, [...head, windows, 1, ...tail])
    const spaced = pad(
      g,
      column,
      column.shape.map((_, j): [number, number] => [0, j === at + 1 ? stride - 1 : 0]),
    )
    const line = reshape(g, spaced, [...head, windows * stride, ...tail])
    const start = tap[i] * dilation - before
    const end = start + windows * stride
    const padded = pad(
      g,
      line,
      line.shape.map((_, j): [number, number] => (j === at ? [Math.max(0, start), Math.max(0, length - end)] : [0, 0])),
    )
    return slice(g, padded, [at], [Math.max(0, -start)], [length])
  }, entries)
}

/** Adds up values of equal shape. */
export function sumUp(g: Graph, values: readonly Value[]): Value {
  return values.reduce((sum, value) => binary(g, 'Add', sum, value))
}

/** A linear map along one axis of x: y[…, i, …] = Σⱼ matrix[i, j] x[…, j, …]. */
export function mapAxis(g: Graph, x: Value, at: number, matrix: readonly (readonly number[])[]): Value {
  const [head, tail] = [x.shape.slice(0, at), x.shape.slice(at + 1)]
  const rows = matrix.length
  const weights = g.constant(
    x.type === 'float64' ? Float64Array.from(matrix.flat()) : Float32Array.from(matrix.flat()),
    [rows, x.shape[at]],
    x.type,
  )
  const y = matmul(g, weights, reshape(g, x, [sizeOf(head), x.shape[at], sizeOf(tail)]))
  return reshape(g, y, [...head, rows, ...tail])
}
