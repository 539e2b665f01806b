import * as tf from '@tensorflow/tfjs-core'
import { binary, cast, constant, expand, filled, gather, reduce, reshape, scalar, slice, transpose, where } from '../emit'
import { sizeOf, type Graph, type Value } from '../graph'
import { defineLowerings, type LoweringContext } from '../lowering'
import { positiveAxis } from './reduction'
import { separateWeights } from './separable'
import { toFloat } from './special'

function numbers(count: number): number[] {
  return [...Array(count).keys()]
}

function range(g: Graph, count: number, shape: readonly number[]): Value {
  return constant(g, numbers(count), shape, 'int32')
}

/** Only a shape: enough for TensorFlow.js's shape checks. */
function shaped(value: Value): tf.Tensor {
  return {
    shape: [...value.shape],
    rank: value.shape.length,
    dtype: value.type === 'float64' ? 'float32' : value.type,
  } as unknown as tf.Tensor
}

/** Rows by index; with batch dimensions each batch has its own rows: row i of batch b is row b·rows + i of them all. */
function gatherRows({ g, input, attrs }: LoweringContext): Value {
  const [x, indices] = [input('x'), input('indices')]
  const axis = positiveAxis(attrs.axis as number, x.shape.length)
  const batchDims = (attrs.batchDims as number | undefined) ?? 0
  const integers = indices.type === 'int32' ? indices : cast(g, indices, 'int32')
  if (batchDims === 0) return gather(g, x, integers, axis)
  const info = tf.backend_util.segment_util.collectGatherOpShapeInfo(shaped(x), shaped(indices), axis, batchDims)
  const { batchSize, outerSize, dimSize, sliceSize, outputShape } = info
  const rowsFirst = transpose(g, reshape(g, x, [batchSize, outerSize, dimSize, sliceSize]), [0, 2, 1, 3])
  const rows = reshape(g, rowsFirst, [batchSize * dimSize, outerSize, sliceSize])
  const starts = constant(
    g,
    numbers(batchSize).map((batch) => batch * dimSize),
    [batchSize, 1],
    'int32',
  )
  const perBatch = sizeOf(indices.shape) / batchSize
  const positions = binary(g, 'Add', reshape(g, integers, [batchSize, perBatch]), starts)
  return reshape(g, transpose(g, gather(g, rows, positions, 0), [0, 2, 1, 3]), outputShape)
}

/** Indices [n, rank of the part they address] as ONNX wants them; a vector of indices addresses the first axis. */
function scatterIndices(g: Graph, indices: Value): Value {
  const depth = indices.shape.length > 1 ? indices.shape[indices.shape.length - 1] : 1
  return cast(g, reshape(g, indices, [sizeOf(indices.shape) / Math.max(depth, 1), depth]), 'int64')
}

/**
 * Writes or adds updates into a tensor. The attribute is given even for plain writing: with it the graph runs on one
 * thread, where of several updates of one place all are added, or the last one stays.
 */
function scatter(g: Graph, data: Value, indices: Value, updates: Value, reduction: 'none' | 'add'): Value {
  const positions = scatterIndices(g, indices)
  const [count, depth] = positions.shape
  const shape = [count, ...data.shape.slice(depth)]
  const rows = updates.shape.length === 0 ? expand(g, updates, shape) : reshape(g, updates, shape)
  return g.op('ScatterND', [data, positions, rows], data.shape, data.type, { reduction: { string: reduction } })
}

/** Sums over fewer gathered values are left as they are. */
const smallProduct = 2 ** 14

/** Values of one part of a sum over gathered rows: small enough to stay in the cache between the operators. */
const partSize = 2 ** 17

/** Rows that are gathered (and weighed), as they stand before: x[rows] or w · x[rows]. */
function gatheredRows(updates: Value): { x: Value; rows: Value; weight: Value | undefined } | undefined {
  const { producer } = updates
  if (producer?.op === 'Mul') {
    for (const [weight, rows] of [producer.inputs, [...producer.inputs].reverse()]) {
      const gathered = gatheredRows(rows)
      const isPerRow = weight.shape.length === 2 && weight.shape[0] === updates.shape[0] && weight.shape[1] === 1
      if (gathered === undefined || gathered.weight !== undefined) continue
      // Equal weights come as one number.
      if (sizeOf(weight.shape) === 1) return weight.constant?.[0] === 1 ? gathered : { ...gathered, weight }
      if (isPerRow) return { ...gathered, weight }
    }
    return undefined
  }
  if (producer?.op !== 'Gather' || updates.shape.length !== 2) return undefined
  const [x, rows] = producer.inputs
  const { axis } = producer.attributes as { axis?: { int: number } }
  return (axis?.int ?? 0) === 0 && rows.shape.length === 1 ? { x, rows, weight: undefined } : undefined
}

/** The numbers of a constant, seen through changes of its shape. */
function constantValues(value: Value): ArrayLike<number> | undefined {
  if (value.constant !== undefined) return value.type === 'int32' ? (value.constant as Int32Array) : undefined
  return value.producer?.op === 'Reshape' ? constantValues(value.producer.inputs[0]) : undefined
}

/** Where to cut a sorted list so that parts have about `length` entries and no value stands in two of them; undefined if unsorted. */
function cuts(sorted: ArrayLike<number>, length: number): number[] | undefined {
  const out = [0]
  for (let i = 1; i < sorted.length; i++) {
    if (sorted[i] < sorted[i - 1]) return undefined
    if (i - out[out.length - 1] >= length && sorted[i] !== sorted[i - 1]) out.push(i)
  }
  return [...out, sorted.length]
}

/** The gathered rows without weights on entries, where those are products: weighed before, and `after` for the sums. */
function separatedRows(
  g: Graph,
  gathered: { x: Value; rows: Value; weight: Value | undefined },
  destinations: ArrayLike<number>,
  count: number,
): { x: Value; rows: Value; weight: Value | undefined; after?: Float32Array } {
  const { x, rows, weight } = gathered
  const indices = constantValues(rows)
  // Rounding the factors is nothing in single precision, but all of the error in double.
  if (weight?.constant === undefined || sizeOf(weight.shape) === 1 || weight.type !== 'float32' || indices === undefined) return gathered
  const factors = separateWeights(weight.constant as Float32Array, destinations, indices, [count, x.shape[0]])
  if (factors === undefined) return gathered
  const before = g.constant(factors.b, [x.shape[0], 1], 'float32')
  return { x: binary(g, 'Mul', before, x), rows, weight: undefined, after: factors.a }
}

/**
 * Σ of gathered rows by destination, a sparse product. All of them at once would go through memory three times (gathered,
 * weighed, added); where the destinations are known and sorted, parts with destinations of their own stay in the cache.
 */
function scatterInParts(g: Graph, shape: readonly number[], indices: Value, updates: Value): Value | undefined {
  if (shape.length !== 2 || sizeOf(updates.shape) <= smallProduct || !g.made(updates)) return undefined
  const gathered = gatheredRows(updates)
  const destinations = constantValues(indices)
  if (gathered === undefined || destinations === undefined) return undefined
  const width = shape[1]
  const places = cuts(destinations, sizeOf(updates.shape) <= 2 * partSize ? destinations.length : Math.ceil(partSize / width))
  if (places === undefined) return undefined
  const { x, rows, weight, after } = separatedRows(g, gathered, destinations, shape[0])
  let done = 0
  const parts = places.slice(0, -1).map((from, i) => {
    const to = places[i + 1]
    const part = (value: Value): Value => slice(g, value, [0], [from], [to - from])
    const end = to === destinations.length ? shape[0] : destinations[to]
    const own = Int32Array.from({ length: to - from }, (_, e) => destinations[from + e] - done)
    const taken = gather(g, x, part(rows), 0)
    const sum = scatter(
      g,
      filled(g, 0, [end - done, width], x.type),
      g.constant(own, [own.length, 1], 'int32'),
      weight === undefined ? taken : binary(g, 'Mul', sizeOf(weight.shape) === 1 ? weight : part(weight), taken),
      'add',
    )
    const scale = after?.slice(done, end)
    done = end
    return scale === undefined ? sum : binary(g, 'Mul', g.constant(scale, [scale.length, 1], 'float32'), sum)
  })
  return parts.length === 1 ? parts[0] : g.op('Concat', parts, shape, x.type, { axis: { int: 0 } })
}

/** Sums the rows of each segment; ids outside [0, count) are dropped. */
function segmentSum({ g, input, attrs }: LoweringContext): Value {
  const x = toFloat(g, input('x'))
  const ids = cast(g, input('segmentIds'), 'int32')
  const count = attrs.numSegments as number
  const rest = x.shape.slice(1)
  if (ids.shape.length !== 1) {
    // Ids per element: each segment masks the whole, as the cpu kernel does.
    const aligned = reshape(g, ids, [1, ...ids.shape, ...Array<number>(x.shape.length - ids.shape.length).fill(1)])
    const segments = range(g, count, [count, ...Array<number>(x.shape.length).fill(1)])
    const mask = cast(g, binary(g, 'Equal', aligned, segments), x.type)
    return reduce(g, 'ReduceSum', binary(g, 'Mul', mask, reshape(g, x, [1, ...x.shape])), [1], false)
  }
  const outside = g.op(
    'Or',
    [binary(g, 'Less', ids, scalar(g, 0, 'int32')), binary(g, 'GreaterOrEqual', ids, scalar(g, count, 'int32'))],
    ids.shape,
    'bool',
  )
  const kept = where(g, outside, scalar(g, count, 'int32'), ids)
  const sums = scatter(g, filled(g, 0, [count + 1, ...rest], x.type), reshape(g, kept, [ids.shape[0], 1]), x, 'add')
  return slice(g, sums, [0], [0], [count])
}

defineLowerings({
  GatherV2: gatherRows,
  GatherNd: ({ g, input }) => {
    const [params, indices] = [input('params'), input('indices')]
    const depth = indices.shape[indices.shape.length - 1]
    const shape = [...indices.shape.slice(0, -1), ...params.shape.slice(depth)]
    return g.op('GatherND', [params, cast(g, indices, 'int64')], shape, params.type)
  },
  ScatterNd: ({ g, input, attrs }) => {
    const updates = input('updates')
    const shape = attrs.shape as number[]
    const added = updates.type === 'bool' ? cast(g, updates, 'int32') : updates
    const indices = input('indices')
    const sum = scatterInParts(g, shape, indices, added) ?? scatter(g, filled(g, 0, shape, added.type), indices, added, 'add')
    return cast(g, sum, updates.type)
  },
  TensorScatterUpdate: ({ g, input }) => scatter(g, input('tensor'), input('indices'), input('updates'), 'none'),
  SparseToDense: ({ g, input, attrs }) => {
    const values = input('sparseValues')
    const background = expand(g, reshape(g, cast(g, input('defaultValue'), values.type), []), attrs.outputShape as number[])
    return scatter(g, background, input('sparseIndices'), values, 'none')
  },
  UnsortedSegmentSum: segmentSum,
  OneHot: ({ g, input, attrs }) => {
    const indices = cast(g, input('indices'), 'int32')
    const depth = attrs.depth as number
    const [on, off] = [attrs.onValue as number, attrs.offValue as number]
    const dtype = attrs.dtype as 'float32' | 'int32' | 'bool'
    const type = dtype === 'float32' ? g.float : dtype
    const hit = binary(g, 'Equal', reshape(g, indices, [...indices.shape, 1]), range(g, depth, [depth]))
    return on === 1 && off === 0 ? cast(g, hit, type) : where(g, hit, scalar(g, on, type), scalar(g, off, type))
  },
  Diag: ({ g, input }) => {
    const x = input('x')
    const size = sizeOf(x.shape)
    const diagonal = binary(g, 'Equal', range(g, size, [size, 1]), range(g, size, [1, size]))
    return reshape(g, where(g, diagonal, reshape(g, x, [1, size]), scalar(g, 0, x.type)), [...x.shape, ...x.shape])
  },
})
