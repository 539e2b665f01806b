import { binary, cast, concat, constant, filled, reduce, reshape, scalar, slice, unary, where } from '../emit'
import { sizeOf, type Graph, type Value } from '../graph'
import { defineLowerings, type Lowering, type LoweringContext } from '../lowering'
import { constantLike, isFloat, toFloat } from './special'

/** A possibly negative axis as a non-negative one. */
export function positiveAxis(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis
}

/** The axes a kernel reduces, non-negative and sorted; all when none are given. */
export function reductionAxes(axis: unknown, rank: number): number[] {
  if (axis === undefined || axis === null) return [...Array(rank).keys()]
  const list = Array.isArray(axis) ? (axis as number[]) : [axis as number]
  return [...new Set(list.map((a) => positiveAxis(a, rank)))].sort((a, b) => a - b)
}

/** Sums of booleans and integers are integers. */
const toNumber = (g: Graph, x: Value): Value => (x.type === 'bool' ? cast(g, x, 'int32') : x)

function reduction(op: string, prepare: (g: Graph, x: Value) => Value): Lowering {
  return ({ g, input, attrs }) => {
    const x = prepare(g, input('x'))
    return reduce(g, op, x, reductionAxes(attrs.axis, x.shape.length), attrs.keepDims === true)
  }
}

/** The kernel Max calls its axes `reductionIndices`. Booleans stay booleans. */
function extreme(op: 'ReduceMin' | 'ReduceMax', axisName: 'axis' | 'reductionIndices'): Lowering {
  return ({ g, input, attrs }) => {
    const x = input('x')
    const axes = reductionAxes(attrs[axisName], x.shape.length)
    const over = (operator: string, value: Value): Value => reduce(g, operator, value, axes, attrs.keepDims === true)
    if (!isFloat(x)) return cast(g, over(op, toNumber(g, x)), x.type)
    // The operator overlooks NaN, depending on its place.
    const anyNaN = cast(g, over('ReduceMax', cast(g, isNaNOf(g, x), 'uint8')), 'bool')
    return where(g, anyNaN, constantLike(g, x, NaN), over(op, x))
  }
}

function isNaNOf(g: Graph, x: Value): Value {
  return g.op('IsNaN', [x], x.shape, 'bool')
}

function argExtreme(op: 'ArgMax' | 'ArgMin'): Lowering {
  return ({ g, input, attrs }) => {
    const x = toNumber(g, input('x'))
    const [axis] = reductionAxes(attrs.axis ?? 0, x.shape.length)
    const shape = x.shape.filter((_, i) => i !== axis)
    const index = (of: Value): Value => cast(g, g.op(op, [of], shape, 'int64', { axis: { int: axis }, keepdims: { int: 0 } }), 'int32')
    if (!isFloat(x)) return index(x)
    // NaN never wins, except where it stands first and nothing compares with it.
    const lost = constantLike(g, x, op === 'ArgMax' ? -Infinity : Infinity)
    const firstIsNaN = reshape(g, isNaNOf(g, slice(g, x, [axis], [0], [1])), shape)
    return where(g, firstIsNaN, scalar(g, 0, 'int32'), index(where(g, isNaNOf(g, x), lost, x)))
  }
}

function softmax({ g, input, attrs }: LoweringContext): Value {
  const logits = toFloat(g, input('logits'))
  return unary(g, 'Softmax', logits, { axis: { int: positiveAxis(attrs.dim as number, logits.shape.length) } })
}

/** Products of growing prefixes in log₂(length) rounds: after each, an element covers twice as many factors. */
function cumulativeProduct({ g, input, attrs }: LoweringContext): Value {
  const x = toNumber(g, input('x'))
  const axis = positiveAxis(attrs.axis as number, x.shape.length)
  const length = x.shape[axis]
  const backwards = attrs.reverse === true
  const shifted = (value: Value, by: number): Value => {
    const ones = filled(
      g,
      1,
      x.shape.map((size, i) => (i === axis ? by : size)),
      x.type,
    )
    const kept = slice(g, value, [axis], [backwards ? by : 0], [length - by])
    return concat(g, backwards ? [kept, ones] : [ones, kept], axis)
  }
  let product = x
  for (let covered = 1; covered < length; covered *= 2) product = binary(g, 'Mul', product, shifted(product, covered))
  if (attrs.exclusive !== true) return product
  return length === 1 ? filled(g, 1, x.shape, x.type) : shifted(product, 1)
}

/** Counts, or sums of weights, of each value below `size` in each row; larger values are dropped. */
function countRows(g: Graph, x: Value, weights: Value, size: number, binaryOutput: boolean): Value {
  const [rows, columns] = x.shape
  const number = toNumber(g, weights)
  const bins = size + 1
  // Too large a value goes to a bin that is cut off, a negative one out of bounds, which the scatter refuses.
  const capped = binary(g, 'Min', cast(g, x, 'int64'), scalar(g, size, 'int64'))
  const offsets = constant(
    g,
    Array.from({ length: rows }, (_, row) => row * bins),
    [rows, 1],
    'int64',
  )
  const outside = scalar(g, 2 * rows * bins, 'int64')
  const negative = binary(g, 'Less', capped, scalar(g, 0, 'int64'))
  const checked = g.op('Where', [negative, outside, binary(g, 'Add', capped, offsets)], x.shape, 'int64')
  const indices = reshape(g, checked, [rows * columns, 1])
  const weighted = weights.shape.every((dimension) => dimension > 0)
  const updates = weighted && !binaryOutput ? reshape(g, number, [rows * columns]) : filled(g, 1, [rows * columns], number.type)
  const reductionName = binaryOutput ? 'none' : 'add'
  const counts = g.op('ScatterND', [filled(g, 0, [rows * bins], number.type), indices, updates], [rows * bins], number.type, {
    reduction: { string: reductionName },
  })
  return cast(g, slice(g, reshape(g, counts, [rows, bins]), [1], [0], [size]), weights.type)
}

defineLowerings({
  Sum: reduction('ReduceSum', toNumber),
  Mean: reduction('ReduceMean', toFloat),
  Prod: reduction('ReduceProd', toNumber),
  Max: extreme('ReduceMax', 'reductionIndices'),
  Min: extreme('ReduceMin', 'axis'),
  All: extreme('ReduceMin', 'axis'),
  Any: extreme('ReduceMax', 'axis'),
  ArgMax: argExtreme('ArgMax'),
  ArgMin: argExtreme('ArgMin'),
  Softmax: softmax,
  LogSoftmax: ({ g, input }) => {
    const logits = toFloat(g, input('logits'))
    return unary(g, 'LogSoftmax', logits, { axis: { int: logits.shape.length - 1 } })
  },
  Cumsum: ({ g, input, attrs }) => {
    const x = toNumber(g, input('x'))
    return g.op('CumSum', [x, scalar(g, positiveAxis(attrs.axis as number, x.shape.length), 'int64')], x.shape, x.type, {
      exclusive: { int: attrs.exclusive === true ? 1 : 0 },
      reverse: { int: attrs.reverse === true ? 1 : 0 },
    })
  },
  Cumprod: cumulativeProduct,
  Bincount: ({ g, input, attrs }) => {
    const x = input('x')
    const size = attrs.size as number
    return reshape(g, countRows(g, reshape(g, x, [1, sizeOf(x.shape)]), input('weights'), size, false), [size])
  },
  DenseBincount: ({ g, input, attrs }) => {
    const x = input('x')
    const size = attrs.size as number
    // Of a vector the cpu kernel counts even where only presence is asked for.
    if (x.shape.length === 1) return reshape(g, countRows(g, reshape(g, x, [1, x.shape[0]]), input('weights'), size, false), [size])
    return countRows(g, x, input('weights'), size, attrs.binaryOutput === true)
  },
})
