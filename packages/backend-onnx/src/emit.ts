import { sizeOf, type Attributes, type ConstantData, type Graph, type Value } from './graph'
import type { ElementType } from './proto'

/** Shorthands for the operators that most lowerings use. Each computes the shape of what it emits. */

/** Shape of an elementwise operation of two values (NumPy's rule). */
export function broadcastShape(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length)
  return Array.from({ length: rank }, (_, i) => {
    const x = a[a.length - rank + i] ?? 1
    const y = b[b.length - rank + i] ?? 1
    return x === 1 ? y : x
  })
}

/** Integer indices for operators that take shapes, axes and the like as inputs. */
export function int64(g: Graph, values: readonly number[]): Value {
  return g.constant(BigInt64Array.from(values, BigInt), [values.length], 'int64')
}

function typedArray(type: ElementType, values: readonly number[]): ConstantData {
  switch (type) {
    case 'float32':
      return Float32Array.from(values)
    case 'float64':
      return Float64Array.from(values)
    case 'int32':
      return Int32Array.from(values)
    case 'uint32':
      return Uint32Array.from(values)
    case 'int64':
      return BigInt64Array.from(values, BigInt)
    case 'int8':
      return Int8Array.from(values)
    case 'uint8':
    case 'bool':
      return Uint8Array.from(values)
  }
}

/** A scalar constant of a type. */
export function scalar(g: Graph, value: number, type: ElementType): Value {
  return g.constant(typedArray(type, [value]), [], type)
}

/** A constant from numbers. */
export function constant(g: Graph, values: readonly number[], shape: readonly number[], type: ElementType): Value {
  return g.constant(typedArray(type, values), shape, type)
}

/** A value filled with one number; large ones take no space in the model. */
export function filled(g: Graph, value: number, shape: readonly number[], type: ElementType): Value {
  if (sizeOf(shape) <= 16) return constant(g, Array<number>(sizeOf(shape)).fill(value), shape, type)
  return g.op('Expand', [scalar(g, value, type), int64(g, shape)], shape, type)
}

const comparisons = new Set(['Equal', 'Less', 'LessOrEqual', 'Greater', 'GreaterOrEqual'])

/** A value seen through a Transpose: what it was made of, and the permutation. */
interface View {
  inner: Value
  perm: readonly number[]
}

const anchors = new WeakSet<Value>()

/** A transposed value whose layout is to stay: work on it is not moved before the transpose. */
export function anchored(x: Value): Value {
  anchors.add(x)
  return x
}

function viewOf(x: Value): View | undefined {
  const { producer } = x
  if (producer?.op !== 'Transpose' || anchors.has(x)) return undefined
  return { inner: producer.inputs[0], perm: (producer.attributes.perm as { ints: readonly number[] }).ints }
}

function inverse(perm: readonly number[]): number[] {
  return perm.map((_, axis) => perm.indexOf(axis))
}

/** Whether it brings [n, c, …spatial] to [n, …spatial, c], as after a convolution. */
function isChannelsLast(perm: readonly number[]): boolean {
  const rank = perm.length
  return rank > 2 && perm[0] === 0 && perm[rank - 1] === 1 && perm.slice(1, -1).every((axis, i) => axis === i + 2)
}

/**
 * Elementwise work commutes with transposes: it is done on what was transposed, and the result transposed instead, so that
 * between two convolutions nothing is. Where a whole other operand is in the common layout, only those after a convolution
 * stay in theirs, for their neighbours will be too.
 *
 * @returns the operands in the inner layout and how to come back, or undefined where nothing is gained
 */
function throughTranspose(
  g: Graph,
  operands: readonly Value[],
  shape: readonly number[],
): { inner: Value[]; perm: readonly number[] } | undefined {
  const size = sizeOf(shape)
  const views = operands
    .flatMap((operand) => viewOf(operand) ?? [])
    .filter(({ inner }) => inner.shape.length === shape.length && sizeOf(inner.shape) === size)
  const view = views.find(({ perm }) => isChannelsLast(perm)) ?? views[0]
  if (view === undefined) return undefined
  const { perm } = view
  const inner: Value[] = []
  for (const operand of operands) {
    const own = viewOf(operand)
    if (own !== undefined && sameShape(own.perm, perm)) {
      inner.push(own.inner)
    } else if (sizeOf(operand.shape) === 1) {
      inner.push(reshape(g, operand, []))
    } else {
      if (4 * sizeOf(operand.shape) > size && !isChannelsLast(perm)) return undefined
      const lifted = reshape(g, operand, [...Array<number>(shape.length - operand.shape.length).fill(1), ...operand.shape])
      inner.push(transpose(g, lifted, inverse(perm)))
    }
  }
  return { inner, perm }
}

/** The argument of the ReLU that a value is, seen through a transpose; undefined where it is none. */
export function beforeRelu(g: Graph, x: Value): Value | undefined {
  const view = viewOf(x)
  const { producer } = view?.inner ?? x
  if (producer?.op !== 'Relu') return undefined
  return view === undefined ? producer.inputs[0] : transpose(g, producer.inputs[0], view.perm)
}

/** What a product with the mask of positive entries of `z` becomes. */
interface Masked {
  z: Value
  compute: () => Value
}

const masked = new WeakMap<Value, Masked>()

/** Notes that `x`, multiplied by the mask of positive entries of `z`, is better computed by `compute`. */
export function noteMasked(g: Graph, x: Value, z: Value, compute: () => Value): void {
  const view = viewOf(x)
  if (view === undefined) masked.set(x, { z, compute })
  else masked.set(view.inner, { z: transpose(g, z, inverse(view.perm)), compute: () => transpose(g, compute(), inverse(view.perm)) })
}

/** x · mask, where there is a better way. */
function maskedProduct(g: Graph, x: Value, mask: Value): Value | undefined {
  const found = masked.get(x)
  return found !== undefined && g.made(x) && isMaskOfPositive(mask, found.z) ? found.compute() : undefined
}

/** Whether `mask` is one where `z` is positive and zero elsewhere. */
function isMaskOfPositive(mask: Value, z: Value): boolean {
  const test = mask.producer?.op === 'Cast' ? mask.producer.inputs[0].producer : undefined
  if (test?.op !== 'Greater') return false
  const [value, bound] = test.inputs
  return value === z && bound.constant?.length === 1 && Number(bound.constant[0]) === 0
}

/** A value before the Expand or Tile that did no more than broadcast it. */
function unexpanded(x: Value): Value {
  if (x.producer?.op !== 'Expand' && x.producer?.op !== 'Tile') return x
  const [source] = x.producer.inputs
  return sameShape(broadcastShape(source.shape, x.shape), x.shape) && broadcasts(source.shape, x.shape) ? unexpanded(source) : x
}

function broadcasts(from: readonly number[], to: readonly number[]): boolean {
  return from.every((size, i) => size === 1 || size === to[to.length - from.length + i])
}

/** Whether it is a constant number that may be multiplied by another first without over- or underflow. */
function isModerate(x: Value): boolean {
  if (x.constant === undefined || x.constant.length !== 1 || (x.type !== 'float32' && x.type !== 'float64')) return false
  const size = Math.abs(Number(x.constant[0]))
  return size > 1e-6 && size < 1e6
}

/** whole · small of a product, where whole has the size of the product. */
function factorsOf(x: Value): { whole: Value; small: Value } | undefined {
  if (x.producer?.op !== 'Mul') return undefined
  const [a, b] = x.producer.inputs
  if (sameShape(a.shape, x.shape) && sizeOf(b.shape) < sizeOf(a.shape)) return { whole: a, small: b }
  if (sameShape(b.shape, x.shape) && sizeOf(a.shape) < sizeOf(b.shape)) return { whole: b, small: a }
  return undefined
}

/** (whole · small) · factor = whole · (small · factor), where that leaves one pass over the whole; undefined where not. */
function mergedFactors(g: Graph, x: Value, factor: Value): Value | undefined {
  if (4 * sizeOf(factor.shape) > sizeOf(x.shape) || factor.shape.length > x.shape.length) return undefined
  const parts = factorsOf(x)
  if (parts === undefined || !(isModerate(parts.small) || isModerate(factor))) return undefined
  if (4 * sizeOf(broadcastShape(parts.small.shape, factor.shape)) > sizeOf(x.shape)) return undefined
  return binary(g, 'Mul', parts.whole, binary(g, 'Mul', parts.small, factor))
}

/** Whether it has one value per channel of [n, c, …spatial]. */
function isPerChannel(x: Value, whole: Value): boolean {
  const rank = whole.shape.length
  return x.shape.length === rank && x.shape.every((size, i) => size === (i === 1 ? whole.shape[1] : 1))
}

/** x · scale + offset per channel of [n, c, …spatial] in one pass, which BatchNormalization makes with mean 0 and variance 1. */
function affine(g: Graph, x: Value, offset: Value): Value | undefined {
  const parts = factorsOf(x)
  if (parts === undefined || x.shape.length < 3 || sizeOf(x.shape.slice(2)) < 16 || (x.type !== 'float32' && x.type !== 'float64'))
    return undefined
  const { whole, small } = parts
  if (!isPerChannel(small, whole) || !isPerChannel(offset, whole)) return undefined
  const channels = [whole.shape[1]]
  const [zeros, ones] = [0, 1].map((value) => constant(g, Array<number>(channels[0]).fill(value), channels, x.type))
  return g.op('BatchNormalization', [whole, reshape(g, small, channels), reshape(g, offset, channels), zeros, ones], x.shape, x.type, {
    epsilon: { float: 0 },
  })
}

/** An elementwise operator of two values, with broadcasting; comparisons give bool. */
export function binary(g: Graph, op: string, a: Value, b: Value): Value {
  const shape = broadcastShape(a.shape, b.shape)
  // Broadcasting comes last: what is the same everywhere is computed once.
  const [x, y] = [unexpanded(a), unexpanded(b)]
  if (!sameShape(broadcastShape(x.shape, y.shape), shape)) return expand(g, binary(g, op, x, y), shape)
  if (op === 'Mul') {
    const merged = mergedFactors(g, x, y) ?? mergedFactors(g, y, x)
    if (merged !== undefined) return merged
  }
  const moved = throughTranspose(g, [x, y], shape)
  if (moved !== undefined) return transpose(g, binary(g, op, moved.inner[0], moved.inner[1]), moved.perm)
  const product = op === 'Mul' ? (maskedProduct(g, x, y) ?? maskedProduct(g, y, x)) : undefined
  if (product !== undefined) return product
  const fused = op === 'Add' ? (affine(g, x, y) ?? affine(g, y, x)) : undefined
  return fused ?? g.op(op, [x, y], shape, comparisons.has(op) ? 'bool' : a.type)
}

/** An elementwise operator of one value (or, with an attribute `axis`, one that isn't). */
export function unary(g: Graph, op: string, x: Value, attributes?: Attributes): Value {
  const view = viewOf(x)
  if (attributes?.axis === undefined) {
    const source = unexpanded(x)
    if (source !== x) return expand(g, unary(g, op, source, attributes), x.shape)
    if (view !== undefined) return transpose(g, unary(g, op, view.inner, attributes), view.perm)
  }
  return g.op(op, [x], x.shape, x.type, attributes)
}

export function cast(g: Graph, x: Value, type: ElementType): Value {
  if (x.type === type) return x
  const view = viewOf(x)
  if (view !== undefined) return transpose(g, cast(g, view.inner, type), view.perm)
  const to = { float32: 1, uint8: 2, int8: 3, int32: 6, int64: 7, bool: 9, float64: 11, uint32: 12 }[type]
  return g.op('Cast', [x], x.shape, type, { to: { int: to } })
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, i) => size === b[i])
}

export function reshape(g: Graph, x: Value, shape: readonly number[]): Value {
  if (sameShape(x.shape, shape)) return x
  // A reshape of a reshape is one reshape.
  if (x.producer?.op === 'Reshape') return reshape(g, x.producer.inputs[0], shape)
  return g.op('Reshape', [x, int64(g, shape)], shape, x.type, shape.includes(0) ? { allowzero: { int: 1 } } : {})
}

export function transpose(g: Graph, x: Value, perm: readonly number[]): Value {
  if (perm.every((axis, i) => axis === i)) return x
  const view = viewOf(x)
  if (view !== undefined) {
    return transpose(
      g,
      view.inner,
      perm.map((axis) => view.perm[axis]),
    )
  }
  const shape = perm.map((axis) => x.shape[axis])
  // Moving only axes of size one is a reshape, which costs nothing.
  const moved = perm.filter((axis) => x.shape[axis] !== 1)
  if (moved.every((axis, i) => i === 0 || moved[i - 1] < axis)) return reshape(g, x, shape)
  return g.op('Transpose', [x], shape, x.type, { perm: { ints: perm } })
}

export function matmul(g: Graph, a: Value, b: Value): Value {
  const batch = broadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2))
  return g.op('MatMul', [a, b], [...batch, a.shape[a.shape.length - 2], b.shape[b.shape.length - 1]], a.type)
}

/** `condition ? a : b` elementwise. Where lacks bool on CPU, so bool goes through uint8. */
export function where(g: Graph, condition: Value, a: Value, b: Value): Value {
  const shape = broadcastShape(condition.shape, broadcastShape(a.shape, b.shape))
  const moved = throughTranspose(g, [condition, a, b], shape)
  if (moved !== undefined) return transpose(g, where(g, moved.inner[0], moved.inner[1], moved.inner[2]), moved.perm)
  if (a.type !== 'bool') return g.op('Where', [condition, a, b], shape, a.type)
  return cast(g, g.op('Where', [condition, cast(g, a, 'uint8'), cast(g, b, 'uint8')], shape, 'uint8'), 'bool')
}

/** Sums of rows at least so wide are products with ones. (Not the number of rows: that may be a batch left open.) */
const wideRow = 256

function isRowSum(op: string, x: Value, axes: readonly number[]): boolean {
  const isSum = (op === 'ReduceSum' || op === 'ReduceMean') && (x.type === 'float32' || x.type === 'float64')
  return isSum && axes.every((axis, i) => axis === i) && sizeOf(x.shape) > 0 && sizeOf(x.shape.slice(axes.length)) >= wideRow
}

/** The sum or mean over leading axes as a product with ones, which is 2 to 30 times faster than ONNX Runtime's reduction. */
function rowSum(g: Graph, op: string, x: Value, leading: number): Value {
  const rows = sizeOf(x.shape.slice(0, leading))
  const ones = g.op('Expand', [scalar(g, 1, x.type), int64(g, [1, rows])], [1, rows], x.type)
  const sum = matmul(g, ones, reshape(g, x, [rows, sizeOf(x.shape) / rows]))
  sums.add(sum)
  return op === 'ReduceSum' ? sum : binary(g, 'Div', sum, scalar(g, rows, x.type))
}

const sums = new WeakSet<Value>()

/** Whether a product is one with ones, which only adds up. */
export function isSum(product: Value): boolean {
  return sums.has(product)
}

/**
 * The last axes of several that are not neighbours, such as those of an image beside the batch's. Reduced first, they leave
 * little to do for the others; ONNX Runtime's reduction of all at once takes four times as long.
 */
function innermostAxes(x: Value, axes: readonly number[]): readonly number[] | undefined {
  const rank = x.shape.length
  const start = axes.findIndex((axis, i) => axes.length - i === rank - axis)
  if (start <= 0) return undefined
  const last = axes.slice(start)
  const areNeighbours = sizeOf(x.shape.slice(axes[start - 1] + 1, last[0])) === 1
  return areNeighbours || sizeOf(last.map((axis) => x.shape[axis])) < 16 ? undefined : last
}

/** A reduction such as ReduceSum over axes (all non-negative, ascending). */
export function reduce(g: Graph, op: string, x: Value, axes: readonly number[], keepDims: boolean): Value {
  if (axes.length === 0) return x
  const view = viewOf(x)
  if (view !== undefined) {
    const { inner, perm } = view
    const reduced = reduce(
      g,
      op,
      inner,
      axes.map((axis) => perm[axis]).sort((a, b) => a - b),
      keepDims,
    )
    if (keepDims) return transpose(g, reduced, perm)
    const left = perm.filter((_, i) => !axes.includes(i))
    const sorted = [...left].sort((a, b) => a - b)
    return transpose(
      g,
      reduced,
      left.map((axis) => sorted.indexOf(axis)),
    )
  }
  if (op === 'ReduceSum' && x.producer?.op === 'Neg') return unary(g, 'Neg', reduce(g, op, x.producer.inputs[0], axes, keepDims))
  const last = innermostAxes(x, axes)
  if (last !== undefined) return reduce(g, op, reduce(g, op, x, last, keepDims), axes.slice(0, -last.length), keepDims)
  const shape = x.shape.flatMap((size, i) => (axes.includes(i) ? (keepDims ? [1] : []) : [size]))
  if (isRowSum(op, x, axes)) return reshape(g, rowSum(g, op, x, axes.length), shape)
  return g.op(op, [x, int64(g, axes)], shape, x.type, { keepdims: { int: keepDims ? 1 : 0 } })
}

/** Slice with starts, ends (exclusive) and steps along given axes; negative steps run backwards. */
export function slice(
  g: Graph,
  x: Value,
  axes: readonly number[],
  starts: readonly number[],
  sizes: readonly number[],
  steps: readonly number[] = axes.map(() => 1),
): Value {
  const whole = axes.every((axis, i) => starts[i] === 0 && sizes[i] === x.shape[axis] && steps[i] === 1)
  if (whole) return x
  const shape = x.shape.map((size, axis) => (axes.includes(axis) ? sizes[axes.indexOf(axis)] : size))
  const ends = axes.map((_, i) => {
    const end = starts[i] + sizes[i] * steps[i]
    // A backwards slice to the first element needs an end below every index: −1 would mean the last one.
    return end < 0 ? -(2 ** 31) : end
  })
  const part = g.op('Slice', [x, int64(g, starts), int64(g, ends), int64(g, axes), int64(g, steps)], shape, x.type)
  const cut = axes.flatMap((axis, i) => (shape[axis] === x.shape[axis] && starts[i] === 0 && steps[i] === 1 ? [] : [i]))
  if (cut.length === 1 && steps[cut[0]] === 1) parts.set(part, { source: x, axis: axes[cut[0]], start: starts[cut[0]] })
  return part
}

/** Where a value was cut from another along one axis. */
const parts = new WeakMap<Value, { source: Value; axis: number; start: number }>()

/** Pieces of given sizes along an axis. */
export function split(g: Graph, x: Value, axis: number, sizes: readonly number[]): Value[] {
  if (sizes.length === 1) return [x]
  const specs = sizes.map((size) => ({ shape: x.shape.map((n, i) => (i === axis ? size : n)), type: x.type }))
  const pieces = g.ops('Split', [x, int64(g, sizes)], specs, { axis: { int: axis } })
  let start = 0
  for (const [i, piece] of pieces.entries()) {
    parts.set(piece, { source: x, axis, start })
    start += sizes[i]
  }
  return pieces
}

/** Neighbouring pieces of one value are one piece of it. */
function withoutCuts(g: Graph, values: readonly Value[], axis: number): Value[] {
  const pieces: { values: Value[]; source?: Value; start: number; end: number }[] = []
  for (const value of values) {
    const part = parts.get(value)
    const source = part?.axis === axis ? part.source : undefined
    const start = part?.start ?? 0
    const end = start + value.shape[axis]
    const before = pieces.at(-1)
    if (source !== undefined && before?.source === source && before.end === start) {
      before.values.push(value)
      before.end = end
    } else pieces.push({ values: [value], source, start, end })
  }
  return pieces.map(({ values: [value, ...more], source, start, end }) =>
    source === undefined || more.length === 0 ? value : slice(g, source, [axis], [start], [end - start]),
  )
}

export function concat(g: Graph, all: readonly Value[], axis: number): Value {
  const values = withoutCuts(g, all, axis)
  if (values.length === 1) return values[0]
  const shape = values[0].shape.map((size, i) => (i === axis ? values.reduce((sum, value) => sum + value.shape[axis], 0) : size))
  return g.op('Concat', values, shape, values[0].type, { axis: { int: axis } })
}

export function expand(g: Graph, x: Value, shape: readonly number[]): Value {
  if (sameShape(x.shape, shape)) return x
  return g.op('Expand', [x, int64(g, shape)], shape, x.type)
}

/** Constant padding. */
export function pad(g: Graph, x: Value, paddings: readonly (readonly [number, number])[], value = 0): Value {
  if (paddings.every(([before, after]) => before === 0 && after === 0)) return x
  const shape = x.shape.map((size, i) => size + paddings[i][0] + paddings[i][1])
  const pads = int64(g, [...paddings.map(([before]) => before), ...paddings.map(([, after]) => after)])
  if (x.type === 'bool') return cast(g, g.op('Pad', [cast(g, x, 'uint8'), pads, scalar(g, value, 'uint8')], shape, 'uint8'), 'bool')
  return g.op('Pad', [x, pads, scalar(g, value, x.type)], shape, x.type)
}

export function gather(g: Graph, x: Value, indices: Value, axis: number): Value {
  const shape = [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)]
  return g.op('Gather', [x, indices], shape, x.type, { axis: { int: axis } })
}
