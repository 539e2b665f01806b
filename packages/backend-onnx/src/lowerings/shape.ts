import * as tf from '@tensorflow/tfjs-core'
import { cast, concat, expand, int64, pad, reshape, slice, split, transpose } from '../emit'
import type { Graph, Value } from '../graph'
import { defineLowerings, isComplex, type AnyValue } from '../lowering'
import { positiveAxis, reductionAxes } from './reduction'

/** Applies a rearrangement to a value or to both parts of a complex one. */
function both(value: AnyValue, rearrange: (x: Value) => Value): AnyValue {
  return isComplex(value) ? { real: rearrange(value.real), imag: rearrange(value.imag) } : rearrange(value)
}

/** Only a shape: enough for TensorFlow.js's checks. */
function shaped(shape: readonly number[]): tf.Tensor {
  return { shape, rank: shape.length } as unknown as tf.Tensor
}

function shapeOf(value: AnyValue): readonly number[] {
  return isComplex(value) ? value.real.shape : value.shape
}

function typeOf(value: AnyValue): string {
  return isComplex(value) ? 'complex64' : value.type
}

/** Values one after the other along an axis; empty ones are left out. The dtype is the first one's. */
function joined(g: Graph, values: readonly AnyValue[], axis: number): AnyValue {
  const nonEmpty = values.filter((value) => shapeOf(value).every((size) => size > 0))
  const parts = nonEmpty.length === 0 ? values.slice(0, 1) : nonEmpty
  const along = (pick: (value: AnyValue) => Value): Value => {
    const picked = parts.map(pick)
    return concat(
      g,
      picked.map((value) => cast(g, value, picked[0].type)),
      axis,
    )
  }
  const [first] = parts
  if (!isComplex(first)) return along((value) => (isComplex(value) ? value.real : value))
  const part = (name: 'real' | 'imag') => (value: AnyValue) => (isComplex(value) ? value[name] : value)
  return { real: along(part('real')), imag: along(part('imag')) }
}

defineLowerings({
  Reshape: ({ g, any, attrs }) => {
    const x = any('x')
    const size = shapeOf(x).reduce((a, b) => a * b, 1)
    const wanted = attrs.shape as number[]
    const known = wanted.reduce((a, b) => (b === -1 ? a : a * b), 1)
    const shape = wanted.map((dim) => (dim === -1 ? size / known : dim))
    return both(x, (part) => reshape(g, part, shape))
  },
  ExpandDims: ({ g, any, attrs }) => {
    const input = any('input')
    const shape = [...shapeOf(input)]
    const dim = attrs.dim as number
    const rank = shape.length
    tf.util.assert(dim >= -(rank + 1) && dim <= rank, () => `Axis must be in the interval [${-(rank + 1)}, ${rank}]`)
    shape.splice(dim < 0 ? rank + 1 + dim : dim, 0, 1)
    return both(input, (part) => reshape(g, part, shape))
  },
  Transpose: ({ g, any, attrs }) => both(any('x'), (part) => transpose(g, part, attrs.perm as number[])),
  Concat: ({ g, anyList, attrs }) => {
    const values = anyList()
    const shapes = values.map((value) => [...shapeOf(value)])
    const axis = positiveAxis(attrs.axis as number, shapes[0].length)
    tf.backend_util.assertParamsConsistent(shapes, axis)
    return joined(g, values, axis)
  },
  Slice: ({ g, any, attrs }) => {
    const x = any('x')
    const shape = [...shapeOf(x)]
    const [starts, sizes] = tf.slice_util.parseSliceParams(shaped(shape), attrs.begin as number[], attrs.size as number[])
    tf.slice_util.assertParamsValid(shaped(shape), starts, sizes)
    return both(x, (part) => slice(g, part, [...shape.keys()], starts, sizes))
  },
  PadV2: ({ g, any, attrs }) => both(any('x'), (part) => pad(g, part, attrs.paddings as [number, number][], attrs.constantValue as number)),
  Tile: ({ g, input, attrs }) => {
    const x = input('x')
    const reps = attrs.reps as number[]
    const shape = x.shape.map((size, i) => size * reps[i])
    if (x.shape.every((size, i) => size === 1 || reps[i] === 1)) return expand(g, x, shape)
    return g.op('Tile', [x, int64(g, reps)], shape, x.type)
  },
  Pack: ({ g, anyList, attrs }) => {
    const values = anyList()
    const shape = [...shapeOf(values[0])]
    for (const value of values) {
      tf.util.assertShapesMatch(shape, [...shapeOf(value)], 'All tensors passed to stack must have matching shapes')
      tf.util.assert(typeOf(value) === typeOf(values[0]), () => 'All tensors passed to stack must have matching dtypes')
    }
    const axis = positiveAxis(attrs.axis as number, shape.length + 1)
    const lifted = values.map((value) =>
      both(value, (part) => reshape(g, part, [...part.shape.slice(0, axis), 1, ...part.shape.slice(axis)])),
    )
    return joined(g, lifted, axis)
  },
  Unpack: ({ g, input, attrs }) => {
    const value = input('value')
    const axis = positiveAxis(attrs.axis as number, value.shape.length)
    const shape = value.shape.filter((_, i) => i !== axis)
    return Array.from({ length: value.shape[axis] }, (_, i) => reshape(g, slice(g, value, [axis], [i], [1]), shape))
  },
  SplitV: ({ g, input, attrs }) => {
    const x = input('x')
    const axis = positiveAxis(attrs.axis as number, x.shape.length)
    const sizes = tf.backend_util.prepareSplitSize(shaped(x.shape), attrs.numOrSizeSplits as number | number[], axis)
    return split(g, x, axis, sizes)
  },
  Reverse: ({ g, input, attrs }) => {
    const x = input('x')
    const axes = reductionAxes(attrs.dims, x.shape.length)
    const sizes = axes.map((axis) => x.shape[axis])
    return slice(
      g,
      x,
      axes,
      sizes.map((size) => size - 1),
      sizes,
      axes.map(() => -1),
    )
  },
  StridedSlice: ({ g, input, attrs }) => {
    const x = input('x')
    const { finalShape, begin, end, strides } = tf.slice_util.sliceInfo(
      [...x.shape],
      attrs.begin as number[],
      attrs.end as number[],
      attrs.strides as number[],
      attrs.beginMask as number,
      attrs.endMask as number,
      attrs.ellipsisMask as number,
      attrs.newAxisMask as number,
      attrs.shrinkAxisMask as number,
    )
    // An empty range may come out as −0.
    const sizes = tf.slice_util.computeOutShape(begin, end, strides).map((size) => Math.max(0, size))
    return reshape(g, slice(g, x, [...x.shape.keys()], begin, sizes, strides), finalShape)
  },
})
