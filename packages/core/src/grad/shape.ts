import * as tf from '@tensorflow/tfjs-core'
import { OptionError } from '../errors'
import { constant, define, filled, parseAxes, runKernel, sizes } from './define'

/** Σ over the blocks that tiling repeated. Axes of size 1 and those not repeated are not split, to keep the rank low. */
function untile(dy: tf.Tensor, shape: number[], reps: number[]): tf.Tensor {
  const split: number[] = []
  const repeated: number[] = []
  shape.forEach((size, axis) => {
    if (reps[axis] > 1) repeated.push(split.push(reps[axis]) - 1)
    if (reps[axis] === 1 || size !== 1) split.push(size)
  })
  return tf.reshape(repeated.length > 0 ? tf.sum(tf.reshape(dy, split), repeated) : dy, shape)
}

/** The inverse of padding by reflection, transposed: the padding is folded back onto what it mirrored. */
function unmirror(dy: tf.Tensor, shape: number[], paddings: [number, number][], mode: string): tf.Tensor {
  const skip = mode === 'reflect' ? 1 : 0
  return paddings.reduce((gradient, [before, after], axis) => {
    const size = shape[axis]
    const part = (begin: number, extent: number): tf.Tensor =>
      tf.slice(
        gradient,
        gradient.shape.map((_, i) => (i === axis ? begin : 0)),
        gradient.shape.map((n, i) => (i === axis ? extent : n)),
      )
    const place = (piece: tf.Tensor, offset: number): tf.Tensor =>
      tf.pad(
        tf.reverse(piece, axis),
        piece.shape.map((n, i) => (i === axis ? [offset, size - offset - n] : [0, 0])),
      )
    let sum = part(before, size)
    if (before > 0) sum = tf.add(sum, place(part(0, before), skip))
    if (after > 0) sum = tf.add(sum, place(part(before + size, after), size - skip - after))
    return sum
  }, dy)
}

type Paddings = { paddings: [number, number][] }
type StridedSlice = {
  begin: number[]
  end: number[]
  strides: number[]
  beginMask: number
  endMask: number
  ellipsisMask: number
  newAxisMask: number
  shrinkAxisMask: number
}

/** Inserts `stride - 1` zeros behind every entry along every axis, then pads to `shape` from `begin` on. */
export function spread(dy: tf.Tensor, shape: number[], begin: number[], strides: number[]): tf.Tensor {
  let gradient = dy
  strides.forEach((stride, axis) => {
    if (stride === 1) return
    const size = gradient.shape[axis]
    const column = [...gradient.shape.slice(0, axis + 1), 1, ...gradient.shape.slice(axis + 1)]
    const padded = tf.pad(
      tf.reshape(gradient, column),
      column.map((_, i) => (i === axis + 1 ? [0, stride - 1] : [0, 0])),
    )
    const flat = gradient.shape.map((n, i) => (i === axis ? n * stride : n))
    const trimmed = flat.map((n, i) => (i === axis ? (size - 1) * stride + 1 : n))
    gradient = tf.slice(tf.reshape(padded, flat), new Array<number>(flat.length).fill(0), trimmed)
  })
  return tf.pad(
    gradient,
    shape.map((n, i) => [begin[i], n - begin[i] - gradient.shape[i]]),
  )
}

function stridedSliceGradient(dy: tf.Tensor, x: tf.Tensor, attributes: StridedSlice): tf.Tensor {
  const { begin, end, strides, beginMask, endMask, ellipsisMask, newAxisMask, shrinkAxisMask } = attributes
  const info = tf.slice_util.sliceInfo(x.shape, begin, end, strides, beginMask, endMask, ellipsisMask, newAxisMask, shrinkAxisMask)
  if (dy.size === 0) return filled(x.shape, 0)
  // `finalShapeSparse` counts the entries of each axis before axes are added or dropped.
  const counts = tf.slice_util.computeOutShape(info.begin, info.end, info.strides)
  let gradient = tf.reshape(dy, counts)
  const backward = info.strides.flatMap((stride, axis) => (stride < 0 ? [axis] : []))
  if (backward.length > 0) gradient = tf.reverse(gradient, backward)
  const first = info.begin.map((start, i) => (info.strides[i] < 0 ? start + (counts[i] - 1) * info.strides[i] : start))
  return spread(
    gradient,
    x.shape,
    first,
    info.strides.map((stride) => Math.abs(stride)),
  )
}

export const shapeGradients: tf.GradConfig[] = [
  define({ kernel: 'Reshape', save: ['x'], gradients: (dy, [x]) => ({ x: () => tf.reshape(dy, x.shape) }) }),
  define({ kernel: 'ExpandDims', save: ['input'], gradients: (dy, [input]) => ({ input: () => tf.reshape(dy, input.shape) }) }),
  define<{ perm: number[] }>({
    kernel: 'Transpose',
    gradients: (dy, _, { perm }) => ({ x: () => tf.transpose(dy, tf.backend_util.getUndoAxesPermutation(perm)) }),
  }),
  define<{ shape: number[]; inputShape: number[] }>({
    kernel: 'BroadcastTo',
    gradients: (dy, _, { shape, inputShape }) => ({
      x: () => {
        const repeated = shape.flatMap((size, axis) => (size !== inputShape[axis] ? [axis] : []))
        return tf.reshape(tf.sum(dy, repeated), inputShape)
      },
    }),
  }),
  define<{ reps: number[] }>({
    kernel: 'Tile',
    save: ['x'],
    gradients: (dy, [x], { reps }) => ({ x: () => untile(dy, x.shape, reps) }),
  }),
  define<{ axis: number }>({
    kernel: 'Concat',
    saveAll: true,
    gradients: (dy, saved, { axis }) => {
      const along = tf.util.parseAxisParam(axis, saved[0].shape)[0]
      let begin = 0
      return Object.fromEntries(
        saved.map((x, i) => {
          const from = x.shape.map((_, k) => (k === along ? begin : 0))
          begin += x.shape[along]
          return [i, () => tf.slice(dy, from, x.shape)]
        }),
      )
    },
  }),
  define<{ axis: number }>({
    kernel: 'Pack',
    saveAll: true,
    gradients: (dy, saved, { axis }) => {
      const along = axis < 0 ? axis + dy.rank : axis
      const extent = dy.shape.map((n, k) => (k === along ? 1 : n))
      return Object.fromEntries(
        saved.map((x, i) => [
          i,
          () =>
            tf.reshape(
              tf.slice(
                dy,
                extent.map((_, k) => (k === along ? i : 0)),
                extent,
              ),
              x.shape,
            ),
        ]),
      )
    },
  }),
  define<{ axis: number }>({
    kernel: 'Unpack',
    save: ['value'],
    gradients: (dys, _, { axis }) => ({ value: () => tf.stack(asList(dys), axis) }),
  }),
  define<{ axis: number }>({
    kernel: 'SplitV',
    gradients: (dys, _, { axis }) => ({ x: () => tf.concat(asList(dys), axis) }),
  }),
  define<{ begin: number | number[]; size: number | number[] }>({
    kernel: 'Slice',
    save: ['x'],
    gradients: (dy, [x], { begin, size }) => ({
      x: () => {
        const [from, extent] = tf.slice_util.parseSliceParams(x, begin, size)
        return tf.pad(
          dy,
          from.map((start, i) => [start, x.shape[i] - start - extent[i]]),
        )
      },
    }),
  }),
  define<StridedSlice>({
    kernel: 'StridedSlice',
    save: ['x'],
    gradients: (dy, [x], attributes) => ({ x: () => stridedSliceGradient(dy, x, attributes) }),
  }),
  define<Paddings>({
    kernel: 'PadV2',
    save: ['x'],
    gradients: (dy, [x], { paddings }) => ({
      x: () =>
        tf.slice(
          dy,
          paddings.map(([before]) => before),
          x.shape,
        ),
    }),
  }),
  define<Paddings & { mode: string }>({
    kernel: 'MirrorPad',
    save: ['x'],
    gradients: (dy, [x], { paddings, mode }) => ({ x: () => unmirror(dy, x.shape, paddings, mode) }),
  }),
  define<{ dims: number | number[] }>({
    kernel: 'Reverse',
    gradients: (dy, _, { dims }) => ({ x: () => tf.reverse(dy, parseAxes(dims, dy.shape)) }),
  }),
  define<{ blockShape: number[]; crops: number[][] }>({
    kernel: 'BatchToSpaceND',
    gradients: (dy, _, { blockShape, crops }) => ({ x: () => tf.spaceToBatchND(dy, blockShape, crops) }),
  }),
  define<{ blockShape: number[]; paddings: number[][] }>({
    kernel: 'SpaceToBatchND',
    gradients: (dy, _, { blockShape, paddings }) => ({ x: () => tf.batchToSpaceND(dy, blockShape, paddings) }),
  }),
  define<{ blockSize: number; dataFormat: string }>({
    kernel: 'DepthToSpace',
    save: ['x'],
    gradients: (dy, [x], { blockSize, dataFormat }) => ({
      x: () => {
        if (dataFormat !== 'NHWC') throw new OptionError(`grad: depthToSpace has a gradient for the format NHWC only, got ${dataFormat}`)
        const [batch, height, width, channels] = sizes(x)
        const blocks = tf.reshape(dy, [batch, height, blockSize, width, blockSize, channels / blockSize ** 2])
        return tf.reshape(tf.transpose(blocks, [0, 1, 3, 2, 4, 5]), x.shape)
      },
    }),
  }),
  define({
    kernel: 'Diag',
    save: ['x'],
    gradients: (dy, [x]) => ({
      x: () => {
        // Every (n + 1)-th entry of the flattened [n, n].
        const padded = tf.pad(tf.reshape(dy, [x.size * x.size]), [[0, x.size]])
        return tf.reshape(tf.slice(tf.reshape(padded, [x.size, x.size + 1]), [0, 0], [x.size, 1]), x.shape)
      },
    }),
  }),
  define({ kernel: 'FlipLeftRight', gradients: (dy) => ({ image: () => runKernel('FlipLeftRight', { image: dy }) }) }),
  constant('OneHot', ['indices']),
]

function asList(dys: tf.Tensor | tf.Tensor[]): tf.Tensor[] {
  return Array.isArray(dys) ? dys : [dys]
}
