import * as tf from '@tensorflow/tfjs-core'
import { beforeRelu, binary, cast, concat, constant, expand, filled, int64, noteMasked, reshape, scalar, slice, unary } from '../emit'
import { sizeOf, type Graph, type Value } from '../graph'
import { defineLowerings, type Lowering } from '../lowering'
import { firstMatches } from './convolution'
import {
  axes2d,
  axes3d,
  channelsFirst,
  channelsLast,
  cropSpatial,
  extent,
  inner,
  mapAxis,
  padSpatial,
  placeTap,
  sumUp,
  tapOf,
  taps,
  uncropSpatial,
  windowAttributes,
  type WindowAxis,
} from './windows'

interface PoolAttributes {
  filterSize: number | [number, number]
  strides: number | [number, number]
  pad: 'valid' | 'same' | number
  dimRoundingMode?: 'floor' | 'round' | 'ceil'
}

function axesOf(shape: readonly number[], attrs: Record<string, unknown>): WindowAxis[] {
  const { filterSize, strides, pad, dimRoundingMode } = attrs as unknown as PoolAttributes
  if (shape.length === 4) {
    return axes2d(
      tf.backend_util.computePool2DInfo(shape as [number, number, number, number], filterSize, strides, 1, pad, dimRoundingMode),
    )
  }
  return axes3d(
    tf.backend_util.computePool3DInfo(
      shape as [number, number, number, number, number],
      filterSize as number,
      strides as number,
      1,
      pad as 'same',
      dimRoundingMode,
    ),
  )
}

/** Whether every window is a single entry, and all of them are there. */
function isIdentity(axes: readonly WindowAxis[]): boolean {
  return axes.every(({ size, windows, length }) => size === 1 && windows === length)
}

/** Whether the windows stand side by side and need no padding. */
function areDisjoint(axes: readonly WindowAxis[]): boolean {
  return axes.every(({ size, stride, before, after }) => size === stride && before === 0 && after <= 0)
}

function pooledShape(x: Value, axes: readonly WindowAxis[]): number[] {
  const [batch, channels] = [x.shape[0], x.shape[x.shape.length - 1]]
  return [batch, channels, ...axes.map(({ windows }) => windows)]
}

/**
 * ONNX Runtime wants less padding than window: more is put there before, by which no maximum is changed.
 *
 * @returns `first`: [n, c, …spatial]
 */
function fitPadding(g: Graph, x: Value, axes: readonly WindowAxis[]): { first: Value; axes: WindowAxis[] } {
  if (isPaddedLittle(axes)) return { first: cropSpatial(g, channelsFirst(g, x), axes, 2), axes: inner(axes) }
  const padded = padSpatial(g, x, axes, -Infinity)
  return {
    first: channelsFirst(g, padded),
    axes: axes.map((axis) => ({ ...axis, length: axis.length + axis.before + axis.after, before: 0, after: 0 })),
  }
}

function isPaddedLittle(axes: readonly WindowAxis[]): boolean {
  return axes.every((axis) => axis.before < extent(axis) && axis.after < extent(axis))
}

/** The maximum of ReLUs is the ReLU of the maximum, which has fewer entries. */
function maxPool(g: Graph, x: Value, axes: readonly WindowAxis[]): Value {
  if (isIdentity(axes)) return x
  const before = beforeRelu(g, x)
  if (before !== undefined) return unary(g, 'Relu', maxPool(g, before, axes))
  const fitted = fitPadding(g, x, axes)
  return channelsLast(g, g.op('MaxPool', [fitted.first], pooledShape(x, axes), x.type, windowAttributes(fitted.axes)))
}

/** Puts the shares of disjoint windows together again: [n, …spatial, c]. */
function interleave(g: Graph, shares: readonly Value[], shape: readonly number[], axes: readonly WindowAxis[]): Value {
  const covered = axes.map(({ windows, size }) => windows * size)
  // Innermost axis first: each run of `size` shares becomes one.
  const joined = [...axes.keys()].reverse().reduce<Value[]>(
    (parts, i) => {
      const { size } = axes[i]
      return Array.from({ length: parts.length / size }, (_, j) => {
        const run = parts.slice(j * size, (j + 1) * size)
        const at = i + 2
        const columns = run.map((part) => reshape(g, part, [...part.shape.slice(0, at), 1, ...part.shape.slice(at)]))
        const column = concat(g, columns, at)
        const merged = [...column.shape.slice(0, i + 1), column.shape[i + 1] * size, ...column.shape.slice(at + 1)]
        return reshape(g, column, merged)
      })
    },
    [...shares],
  )[0]
  const missing = axes.map(({ length }, i) => length - covered[i])
  if (missing.every((n) => n === 0)) return joined
  const pads = constant(g, [0, ...axes.map(() => 0), 0, 0, ...missing, 0], [2 * shape.length], 'int64')
  return g.op('Pad', [joined, pads], shape, joined.type)
}

/** Adds dy where each window has its maximum; at a tie the first entry counts, or in three dimensions the last. */
function maxPoolGradient(g: Graph, dy: Value, x: Value, axes: readonly WindowAxis[]): Value {
  if (isIdentity(axes)) return dy
  const isLast = axes.length === 3
  const padded = padSpatial(g, x, axes, -Infinity)
  const offsets = isLast ? taps(axes).reverse() : taps(axes)
  const entries = offsets.map((tap) => tapOf(g, padded, axes, tap))
  const greatest = maxPool(g, x, axes)
  const shares = firstMatches(g, entries, greatest).map((isFirst) => binary(g, 'Mul', dy, cast(g, isFirst, dy.type)))
  if (!areDisjoint(axes))
    return sumUp(
      g,
      shares.map((share, i) => placeTap(g, share, axes, offsets[i])),
    )
  return interleave(g, isLast ? shares.reverse() : shares, x.shape, axes)
}

/** Whether the windows are 2×2 side by side, as most are, and their entries few enough to number. */
function areSquaresOfFour(x: Value, axes: readonly WindowAxis[]): boolean {
  const entries = sizeOf(x.shape)
  return axes.length === 2 && areDisjoint(axes) && axes.every(({ size }) => size === 2) && entries > 0 && entries < 2 ** 31
}

/**
 * 2×2 windows side by side: where each has its first maximum, then dy put there. Which entry it is, the maxima of the
 * window's top row, its left column and its corner tell: pools are three times as fast as slices with steps.
 */
function unpoolToMaxima(g: Graph, dy: Value, x: Value, axes: readonly WindowAxis[]): Value {
  const first = channelsFirst(g, x)
  const [batch, channels, height, width] = first.shape
  const [rows, columns] = axes.map(({ windows }) => windows)
  const planes = batch * channels
  const even = slice(g, first, [2, 3], [0, 0], [2 * rows, 2 * columns])
  const pooled = [batch, channels, rows, columns]
  const greatest = channelsFirst(g, maxPool(g, x, axes))
  const isIn = (kernel: readonly [number, number]): Value => {
    const part = g.op('MaxPool', [even], pooled, x.type, { kernel_shape: { ints: kernel }, strides: { ints: [2, 2] } })
    return reshape(g, binary(g, 'Equal', part, greatest), [planes * rows, columns])
  }
  const not = (value: Value): Value => unary(g, 'Not', value)
  const isTop = isIn([1, 2])
  const isBelow = not(isTop)
  // In the top row only the corner counts as left: below it may have an equal.
  const isRight = not(binary(g, 'Or', isIn([1, 1]), binary(g, 'And', isBelow, isIn([2, 1]))))
  const down = binary(g, 'Mul', cast(g, isBelow, 'int32'), scalar(g, width, 'int32'))
  const within = binary(g, 'Add', cast(g, isRight, 'int32'), down)
  const bounds = [0, planes * height * width, height * width].map((value) => scalar(g, value, 'int32'))
  const corners = [
    reshape(g, g.op('Range', bounds, [planes], 'int32'), [planes, 1, 1]),
    constant(
      g,
      [...Array(rows).keys()].map((i) => 2 * i * width),
      [rows, 1],
      'int32',
    ),
    constant(
      g,
      [...Array(columns).keys()].map((i) => 2 * i),
      [columns],
      'int32',
    ),
  ].reduce((sum, part) => binary(g, 'Add', sum, part))
  const indices = cast(g, binary(g, 'Add', reshape(g, corners, within.shape), within), 'int64')
  const dx = g.op('MaxUnpool', [channelsFirst(g, dy), reshape(g, indices, pooled), int64(g, first.shape)], first.shape, dy.type, {
    kernel_shape: { ints: [2, 2] },
    strides: { ints: [2, 2] },
  })
  return channelsLast(g, dx)
}

/** Overlapping windows: the position of each maximum, then dy added there. */
function scatterToMaxima(g: Graph, dy: Value, x: Value, axes: readonly WindowAxis[]): Value {
  const first = cropSpatial(g, channelsFirst(g, x), axes, 2)
  const shape = pooledShape(x, axes)
  const [, indices] = g.ops(
    'MaxPool',
    [first],
    [
      { shape, type: x.type },
      { shape, type: 'int64' },
    ],
    windowAttributes(inner(axes)),
  )
  const count = sizeOf(shape)
  const zeros = expand(g, filled(g, 0, [1], dy.type), [sizeOf(first.shape)])
  const updates = reshape(g, channelsFirst(g, dy), [count])
  const scattered = g.op('ScatterElements', [zeros, reshape(g, indices, [count]), updates], zeros.shape, dy.type, {
    axis: { int: 0 },
    reduction: { string: 'add' },
  })
  return channelsLast(g, uncropSpatial(g, reshape(g, scattered, first.shape), axes, 2))
}

function gradientToMaxima(g: Graph, dy: Value, x: Value, axes: readonly WindowAxis[]): Value {
  if (isIdentity(axes)) return dy
  if (g.float === 'float32' && areSquaresOfFour(x, axes)) return unpoolToMaxima(g, dy, x, axes)
  const isScattered = axes.length === 2 && !areDisjoint(axes) && isPaddedLittle(axes)
  return isScattered ? scatterToMaxima(g, dy, x, axes) : maxPoolGradient(g, dy, x, axes)
}

const maxPoolGrad: Lowering = ({ g, input, attrs }) => {
  const x = cast(g, input('input'), g.float)
  const dy = cast(g, input('dy'), g.float)
  const axes = axesOf(x.shape, attrs)
  const dx = gradientToMaxima(g, dy, x, axes)
  const before = beforeRelu(g, x)
  if (before !== undefined) {
    // Where a maximum isn't positive the ReLU lets nothing through, elsewhere it changes nothing: it can be masked while small.
    noteMasked(g, dx, before, () => {
      const isPositive = binary(g, 'Greater', maxPool(g, before, axes), scalar(g, 0, x.type))
      return gradientToMaxima(g, binary(g, 'Mul', dy, cast(g, isPositive, dy.type)), before, axes)
    })
  }
  return dx
}

/** How many real entries each position of a window's axis has. */
function membership({ size, stride, dilation, before, windows, length }: WindowAxis): number[][] {
  return Array.from({ length: windows }, (_, i) => {
    const row = new Array<number>(length).fill(0)
    for (let k = 0; k < size; k++) {
      const at = i * stride - before + k * dilation
      if (at >= 0 && at < length) row[at] = 1
    }
    return row
  })
}

function transposed(matrix: readonly (readonly number[])[]): number[][] {
  return matrix[0].map((_, j) => matrix.map((row) => row[j]))
}

/** Averages over the real entries of each window: a mean along one axis after the other. */
function averageByProducts(g: Graph, x: Value, axes: readonly WindowAxis[]): Value {
  return axes.reduce((y, axis, i) => {
    const means = membership(axis).map((row) =>
      row.map(
        (entry) =>
          entry /
          Math.max(
            1,
            row.reduce((a, b) => a + b, 0),
          ),
      ),
    )
    return mapAxis(g, y, i + 1, means)
  }, x)
}

const avgPool: Lowering = ({ g, input, attrs }) => {
  const x = cast(g, input('x'), g.float)
  const axes = axesOf(x.shape, attrs)
  if (isIdentity(axes)) return input('x')
  const attributes = { ...windowAttributes(inner(axes)), count_include_pad: { int: 0 } }
  const y =
    g.float === 'float64' || !isPaddedLittle(axes)
      ? averageByProducts(g, x, axes)
      : channelsLast(g, g.op('AveragePool', [cropSpatial(g, channelsFirst(g, x), axes, 2)], pooledShape(x, axes), x.type, attributes))
  return cast(g, y, x.shape.length === 4 ? input('x').type : g.float)
}

const avgPoolGrad: Lowering = ({ g, input, attrs }) => {
  const { shape } = input('input')
  const dy = cast(g, input('dy'), g.float)
  const axes = axesOf(shape, attrs)
  const share = filled(g, 1 / axes.reduce((product, { size }) => product * size, 1), [], dy.type)
  const scaled = binary(g, 'Mul', dy, share)
  if (areDisjoint(axes) && axes.every(({ windows, size, length }) => windows * size === length)) {
    // Every entry of a window gets the same.
    const columns = [dy.shape[0], ...axes.flatMap(({ windows }) => [windows, 1]), dy.shape[dy.shape.length - 1]]
    const wide = [dy.shape[0], ...axes.flatMap(({ windows, size }) => [windows, size]), dy.shape[dy.shape.length - 1]]
    return reshape(g, expand(g, reshape(g, scaled, columns), wide), shape)
  }
  return axes.reduce((y, axis, i) => mapAxis(g, y, i + 1, transposed(membership(axis))), scaled)
}

const maxPoolLowering: Lowering = ({ g, input, attrs }) => {
  const x = input('x')
  const axes = axesOf(x.shape, attrs)
  return cast(g, maxPool(g, cast(g, x, g.float), axes), x.shape.length === 4 ? x.type : g.float)
}

/** The maximum and its position among height, width and channels, and among the batch too where asked. */
const maxPoolWithArgmax: Lowering = ({ g, input, attrs }) => {
  const x = cast(g, input('x'), g.float)
  const info = attrs as unknown as PoolAttributes
  const axes = axesOf(x.shape, { ...info, dimRoundingMode: undefined })
  const [batch, height, width, channels] = x.shape
  const padded = padSpatial(g, x, axes, -Infinity)
  const greatest = maxPool(g, x, axes)
  const offsets = taps(axes)
  const matches = firstMatches(
    g,
    offsets.map((tap) => tapOf(g, padded, axes, tap)),
    greatest,
  )
  const [, windowRows, windowColumns] = greatest.shape
  const grid = (values: number[], shape: number[]): Value => constant(g, values, shape, 'int32')
  const positions = offsets.map(([r, c]) => {
    const rows = grid(
      Array.from({ length: windowRows }, (_, i) => (i * axes[0].stride - axes[0].before + r) * width * channels),
      [windowRows, 1, 1],
    )
    const columns = grid(
      Array.from({ length: windowColumns }, (_, i) => (i * axes[1].stride - axes[1].before + c) * channels),
      [windowColumns, 1],
    )
    return binary(g, 'Add', rows, columns)
  })
  const at = sumUp(
    g,
    matches.map((match, i) => binary(g, 'Mul', cast(g, match, 'int32'), positions[i])),
  )
  const within = binary(g, 'Add', at, grid([...Array(channels).keys()], [channels]))
  const images = grid(
    Array.from({ length: batch }, (_, i) => i * height * width * channels),
    [batch, 1, 1, 1],
  )
  return [cast(g, greatest, input('x').type), attrs.includeBatchInIndex === true ? binary(g, 'Add', within, images) : within]
}

defineLowerings({
  MaxPool: maxPoolLowering,
  MaxPool3D: maxPoolLowering,
  MaxPoolGrad: maxPoolGrad,
  MaxPool3DGrad: maxPoolGrad,
  MaxPoolWithArgmax: maxPoolWithArgmax,
  AvgPool: avgPool,
  AvgPool3D: avgPool,
  AvgPoolGrad: avgPoolGrad,
  AvgPool3DGrad: avgPoolGrad,
})
