import * as tf from '@tensorflow/tfjs-core'
import { binary, cast, constant, gather, matmul, pad, reshape, scalar, slice, transpose, unary, where } from '../emit'
import { sizeOf, type Graph, type Value } from '../graph'
import { defineLowerings, type Lowering, type LoweringContext } from '../lowering'
import { mapAxis } from './windows'

/** Input length over output length, as TensorFlow.js steps along one axis. */
function ratioOf(from: number, to: number, alignCorners: boolean): number {
  return alignCorners && to > 1 ? (from - 1) / (to - 1) : from / to
}

/** [to][from]: how each output position mixes the input positions. */
function bilinearMatrix(from: number, to: number, alignCorners: boolean, halfPixelCenters: boolean): number[][] {
  const ratio = ratioOf(from, to, alignCorners)
  return Array.from({ length: to }, (_, i) => {
    const at = halfPixelCenters ? ratio * (i + 0.5) - 0.5 : ratio * i
    const low = Math.max(0, Math.floor(at))
    const high = Math.min(from - 1, Math.ceil(at))
    const row = new Array<number>(from).fill(0)
    row[low] += 1 - (at - low)
    row[Math.max(0, high)] += at - low
    return row
  })
}

function nearestIndices(from: number, to: number, alignCorners: boolean, halfPixelCenters: boolean): number[] {
  const ratio = ratioOf(from, to, alignCorners)
  return Array.from({ length: to }, (_, i) => {
    const at = ratio * (halfPixelCenters ? i + 0.5 : i)
    return Math.max(0, Math.min(from - 1, alignCorners ? Math.round(at) : Math.floor(at)))
  })
}

function transposed(matrix: readonly (readonly number[])[]): number[][] {
  return matrix[0].map((_, j) => matrix.map((row) => row[j]))
}

function float(g: Graph, x: Value): Value {
  return cast(g, x, g.float)
}

const resizeBilinear: Lowering = ({ g, input, attrs }) => {
  const images = float(g, input('images'))
  const [height, width] = attrs.size as [number, number]
  const matrix = (from: number, to: number): number[][] =>
    bilinearMatrix(from, to, attrs.alignCorners === true, attrs.halfPixelCenters === true)
  return mapAxis(g, mapAxis(g, images, 1, matrix(images.shape[1], height)), 2, matrix(images.shape[2], width))
}

const resizeNearest: Lowering = ({ g, input, attrs }) => {
  const images = input('images')
  const [height, width] = attrs.size as [number, number]
  const indices = (from: number, to: number): Value =>
    constant(g, nearestIndices(from, to, attrs.alignCorners === true, attrs.halfPixelCenters === true), [to], 'int64')
  return gather(g, gather(g, images, indices(images.shape[1], height), 1), indices(images.shape[2], width), 2)
}

/** The transposed interpolation; TensorFlow.js's gradient kernels know no half-pixel centres. */
function resizeGradient(matrix: (from: number, to: number, alignCorners: boolean) => number[][]): Lowering {
  return ({ g, input, attrs }) => {
    const [dy, { shape }] = [float(g, input('dy')), input('images')]
    const back = (at: 1 | 2): number[][] => transposed(matrix(shape[at], dy.shape[at], attrs.alignCorners === true))
    return mapAxis(g, mapAxis(g, dy, 1, back(1)), 2, back(2))
  }
}

function nearestMatrix(from: number, to: number, alignCorners: boolean): number[][] {
  return nearestIndices(from, to, alignCorners, false).map((at) => Array.from({ length: from }, (_, j) => (j === at ? 1 : 0)))
}

/** x rounded to the nearest integer, halves up, as JavaScript does. */
function roundHalfUp(g: Graph, x: Value): Value {
  return unary(g, 'Floor', binary(g, 'Add', x, scalar(g, 0.5, x.type)))
}

function within(g: Graph, x: Value, low: number, high: number): Value {
  return binary(g, 'And', binary(g, 'GreaterOrEqual', x, scalar(g, low, x.type)), binary(g, 'LessOrEqual', x, scalar(g, high, x.type)))
}

function clamp(g: Graph, x: Value, low: number, high: number): Value {
  return binary(g, 'Min', binary(g, 'Max', x, scalar(g, low, x.type)), scalar(g, high, x.type))
}

/**
 * Crops by two matrices per box: rows [boxes, crop height, height] with the weight of each image row, columns alike.
 */
function cropAndResize({ g, input, attrs }: LoweringContext): Value {
  const image = float(g, input('image'))
  const boxes = float(g, input('boxes'))
  const boxInd = cast(g, input('boxInd'), 'int32')
  const [batch, height, width, channels] = image.shape
  const [count] = boxes.shape
  const [cropHeight, cropWidth] = attrs.cropSize as [number, number]

  const edge = (i: number): Value => slice(g, boxes, [1], [i], [1])
  const along = (low: Value, high: Value, length: number, crop: number): { weights: Value; isInside: Value } => {
    const last = scalar(g, length - 1, boxes.type)
    const at =
      crop > 1
        ? binary(
            g,
            'Add',
            binary(g, 'Mul', low, last),
            binary(
              g,
              'Mul',
              constant(g, [...Array(crop).keys()], [1, crop], boxes.type),
              binary(g, 'Div', binary(g, 'Mul', binary(g, 'Sub', high, low), last), scalar(g, crop - 1, boxes.type)),
            ),
          )
        : binary(g, 'Mul', binary(g, 'Mul', scalar(g, 0.5, boxes.type), binary(g, 'Add', low, high)), last)
    const positions = constant(g, [...Array(length).keys()], [1, 1, length], boxes.type)
    const column = reshape(g, at, [count, crop, 1])
    const weights =
      attrs.method === 'bilinear'
        ? unary(g, 'Relu', binary(g, 'Sub', scalar(g, 1, boxes.type), unary(g, 'Abs', binary(g, 'Sub', column, positions))))
        : cast(g, binary(g, 'Equal', roundHalfUp(g, column), positions), boxes.type)
    return { weights, isInside: within(g, at, 0, length - 1) }
  }
  const rows = along(edge(0), edge(2), height, cropHeight)
  const columns = along(edge(1), edge(3), width, cropWidth)

  const isThere = binary(g, 'Less', boxInd, scalar(g, batch, 'int32'))
  const images = gather(g, image, clamp(g, boxInd, 0, batch - 1), 0)
  const tall = reshape(g, matmul(g, rows.weights, reshape(g, images, [count, height, width * channels])), [
    count,
    cropHeight,
    width,
    channels,
  ])
  const crops = matmul(g, reshape(g, columns.weights, [count, 1, cropWidth, width]), tall)
  const isInside = binary(
    g,
    'And',
    reshape(g, rows.isInside, [count, cropHeight, 1, 1]),
    reshape(g, columns.isInside, [count, 1, cropWidth, 1]),
  )
  const extrapolated = where(g, isInside, crops, scalar(g, attrs.extrapolationValue as number, image.type))
  return where(g, reshape(g, isThere, [count, 1, 1, 1]), extrapolated, scalar(g, 0, image.type))
}

/** Rotation by a constant angle: a gather with constant indices; outside, a constant colour. */
function rotate({ g, input, attrs }: LoweringContext): Value {
  const image = input('image')
  const [batch, height, width, channels] = image.shape
  const { radians, fillValue, center } = attrs as {
    radians: number
    fillValue: number | [number, number, number]
    center: number | [number, number]
  }
  const [centerX, centerY] = tf.backend_util.getImageCenter(center, height, width)
  const [sin, cos] = [Math.sin(radians), Math.cos(radians)]
  const sources = Array.from({ length: height * width }, (_, at) => {
    const [x, y] = [(at % width) - centerX, Math.floor(at / width) - centerY]
    const sourceX = Math.round(x * cos - y * sin + centerX)
    const sourceY = Math.round(x * sin + y * cos + centerY)
    return sourceX >= 0 && sourceX < width && sourceY >= 0 && sourceY < height ? sourceY * width + sourceX : -1
  })
  const pixels = reshape(g, image, [batch, height * width, channels])
  const moved = gather(
    g,
    pixels,
    constant(
      g,
      sources.map((at) => Math.max(0, at)),
      [height * width],
      'int64',
    ),
    1,
  )
  const opaque = 255
  const colour = Array.from({ length: channels }, (_, c) => (typeof fillValue === 'number' ? fillValue : c === 3 ? opaque : fillValue[c]))
  const isInside = constant(
    g,
    sources.map((at) => (at < 0 ? 0 : 1)),
    [height * width, 1],
    'bool',
  )
  const typed = constant(g, image.type === 'int32' ? colour.map(Math.trunc) : colour, [channels], image.type)
  return reshape(g, where(g, isInside, moved, typed), image.shape)
}

type FillMode = 'reflect' | 'wrap' | 'nearest' | 'constant'

function truncate(g: Graph, x: Value): Value {
  return binary(g, 'Mul', unary(g, 'Sign', x), unary(g, 'Floor', unary(g, 'Abs', x)))
}

/** Brings coordinates outside [0, length − 1] back by a fill mode. */
function mapCoordinate(g: Graph, x: Value, length: number, mode: FillMode): Value {
  const number = (value: number): Value => scalar(g, value, x.type)
  const zero = number(0)
  const isBelow = binary(g, 'Less', x, zero)
  const isAbove = binary(g, 'Greater', x, number(length - 1))
  const limited = (below: Value, above: Value): Value =>
    clamp(g, length <= 1 ? zero : where(g, isBelow, below, where(g, isAbove, above, x)), 0, length - 1)
  switch (mode) {
    case 'reflect': {
      const period = number(2 * length)
      const up = binary(g, 'Add', binary(g, 'Mul', period, truncate(g, binary(g, 'Div', unary(g, 'Neg', x), period))), x)
      const below = where(
        g,
        binary(g, 'Less', up, number(-length)),
        binary(g, 'Add', up, period),
        binary(g, 'Sub', unary(g, 'Neg', up), number(1)),
      )
      const down = binary(g, 'Sub', x, binary(g, 'Mul', period, truncate(g, binary(g, 'Div', x, period))))
      const above = where(
        g,
        binary(g, 'GreaterOrEqual', down, number(length)),
        binary(g, 'Sub', binary(g, 'Sub', period, down), number(1)),
        down,
      )
      return limited(below, above)
    }
    case 'wrap': {
      const turns = (value: Value): Value => truncate(g, binary(g, 'Div', value, number(length - 1)))
      const below = binary(g, 'Add', x, binary(g, 'Mul', number(length), binary(g, 'Add', turns(unary(g, 'Neg', x)), number(1))))
      const above = binary(g, 'Sub', x, binary(g, 'Mul', number(length), turns(x)))
      return limited(below, above)
    }
    case 'nearest':
      return clamp(g, x, 0, length - 1)
    case 'constant':
      return x
  }
}

/** A projective transform per image, read at real-valued positions. */
function transform({ g, input, attrs }: LoweringContext): Value {
  const image = float(g, input('image'))
  const given = float(g, input('transforms'))
  const { interpolation, fillMode, fillValue, outputShape } = attrs as {
    interpolation: 'nearest' | 'bilinear'
    fillMode: FillMode
    fillValue: number
    outputShape?: [number, number] | null
  }
  const [batch, height, width, channels] = image.shape
  const [outHeight, outWidth] = outputShape ?? [height, width]
  const number = (value: number): Value => scalar(g, value, image.type)
  const coefficient = (i: number): Value => reshape(g, slice(g, given, [1], [i], [1]), [given.shape[0], 1, 1])
  const outX = constant(g, [...Array(outWidth).keys()], [1, 1, outWidth], image.type)
  const outY = constant(g, [...Array(outHeight).keys()], [1, outHeight, 1], image.type)
  const plane = (i: number, last: Value): Value =>
    binary(g, 'Add', binary(g, 'Add', binary(g, 'Mul', coefficient(i), outX), binary(g, 'Mul', coefficient(i + 1), outY)), last)
  const projection = plane(6, number(1))
  const isInfinite = binary(g, 'Equal', projection, number(0))
  const divisor = where(g, isInfinite, number(1), projection)
  const x = mapCoordinate(g, binary(g, 'Div', plane(0, coefficient(2)), divisor), width, fillMode)
  const y = mapCoordinate(g, binary(g, 'Div', plane(3, coefficient(5)), divisor), height, fillMode)

  const pixels = reshape(g, image, [batch * height * width, channels])
  const firstOfImage = constant(
    g,
    Array.from({ length: batch }, (_, i) => i * height * width),
    [batch, 1, 1],
    'int32',
  )
  const fill = number(fillValue)
  const column = (value: Value): Value => reshape(g, value, [...value.shape, 1])
  const read = (row: Value, col: Value): Value => {
    const isInside = binary(g, 'And', within(g, row, 0, height - 1), within(g, col, 0, width - 1))
    const at = binary(g, 'Add', binary(g, 'Mul', clamp(g, row, 0, height - 1), number(width)), clamp(g, col, 0, width - 1))
    const values = gather(g, pixels, binary(g, 'Add', cast(g, at, 'int32'), firstOfImage), 0)
    return where(g, column(isInside), values, fill)
  }
  const sampled = (): Value => {
    if (interpolation === 'nearest') return read(roundHalfUp(g, y), roundHalfUp(g, x))
    const [top, left] = [unary(g, 'Floor', y), unary(g, 'Floor', x)]
    const [bottom, right] = [binary(g, 'Add', top, number(1)), binary(g, 'Add', left, number(1))]
    const mix = (a: Value, b: Value, after: Value, before: Value): Value =>
      binary(g, 'Add', binary(g, 'Mul', column(after), a), binary(g, 'Mul', column(before), b))
    const [afterX, beforeX] = [binary(g, 'Sub', right, x), binary(g, 'Sub', x, left)]
    return mix(
      mix(read(top, left), read(top, right), afterX, beforeX),
      mix(read(bottom, left), read(bottom, right), afterX, beforeX),
      binary(g, 'Sub', bottom, y),
      binary(g, 'Sub', y, top),
    )
  }
  const values = where(g, column(isInfinite), fill, sampled())
  return cast(g, values, input('image').type)
}

/** Pads by reading the border in reverse. */
function mirrorPad({ g, input, attrs }: LoweringContext): Value {
  const offset = attrs.mode === 'reflect' ? 0 : 1
  return (attrs.paddings as [number, number][]).reduce((x, [before, after], axis) => {
    if (before === 0 && after === 0) return x
    const length = x.shape[axis]
    const indices = Array.from({ length: before + length + after }, (_, i) => {
      const at = i - before
      if (at < 0) return -at - offset
      return at >= length ? 2 * (length - 1) - at + offset : at
    })
    return gather(g, x, constant(g, indices, [indices.length], 'int64'), axis)
  }, input('x'))
}

function spaceToBatch({ g, input, attrs }: LoweringContext): Value {
  const x = input('x')
  const blockShape = attrs.blockShape as number[]
  const paddings = attrs.paddings as [number, number][]
  const complete = x.shape.map((_, i): [number, number] => paddings[i - 1] ?? [0, 0])
  const padded = pad(g, x, complete)
  const shape = [...padded.shape]
  const block = sizeOf(blockShape)
  const { getReshaped, getPermuted, getReshapedPermuted } = tf.backend_util
  const split = reshape(g, padded, getReshaped(shape, blockShape, block, false))
  const moved = transpose(g, split, getPermuted(split.shape.length, blockShape.length, false))
  return reshape(g, moved, getReshapedPermuted(shape, blockShape, block, false))
}

function batchToSpace({ g, input, attrs }: LoweringContext): Value {
  const x = input('x')
  const blockShape = attrs.blockShape as number[]
  const crops = attrs.crops as number[][]
  const shape = [...x.shape]
  const block = sizeOf(blockShape)
  const { getReshaped, getPermuted, getReshapedPermuted, getSliceBeginCoords, getSliceSize } = tf.backend_util
  const split = reshape(g, x, getReshaped(shape, blockShape, block))
  const moved = transpose(g, split, getPermuted(split.shape.length, blockShape.length))
  const merged = getReshapedPermuted(shape, blockShape, block)
  const starts = getSliceBeginCoords(crops, blockShape.length)
  return slice(g, reshape(g, moved, merged), [...starts.keys()], starts, getSliceSize(merged, crops, blockShape.length))
}

function depthToSpace({ g, input, attrs }: LoweringContext): Value {
  const x = input('x')
  const size = attrs.blockSize as number
  const [batch, height, width, depth] = x.shape
  const channels = depth / (size * size)
  const split = reshape(g, x, [batch, height, width, size, size, channels])
  return reshape(g, transpose(g, split, [0, 1, 3, 2, 4, 5]), [batch, height * size, width * size, channels])
}

defineLowerings({
  ResizeBilinear: resizeBilinear,
  ResizeBilinearGrad: resizeGradient((from, to, alignCorners) => bilinearMatrix(from, to, alignCorners, false)),
  ResizeNearestNeighbor: resizeNearest,
  ResizeNearestNeighborGrad: resizeGradient(nearestMatrix),
  CropAndResize: cropAndResize,
  FlipLeftRight: ({ g, input }) => {
    const image = input('image')
    const width = image.shape[2]
    return slice(g, image, [2], [width - 1], [width], [width === 1 ? 1 : -1])
  },
  RotateWithOffset: rotate,
  Transform: transform,
  MirrorPad: mirrorPad,
  SpaceToBatchND: spaceToBatch,
  BatchToSpaceND: batchToSpace,
  DepthToSpace: depthToSpace,
})
