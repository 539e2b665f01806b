import * as tf from '@tensorflow/tfjs-core'
import { broadcastTo, constant, define, filled, keptShape, output, parseAxes, rowOffsets } from './define'

type Axes = { axis?: number | number[] | null; keepDims?: boolean }

/** `dy` of a reduction with its reduced axes restored as 1. */
function restore(dy: tf.Tensor, x: tf.Tensor, axes: number[]): tf.Tensor {
  return tf.reshape(dy, keptShape(x.shape, axes))
}

/** Ties share the gradient equally, so that it still sums to `dy` (TensorFlow.js hands all of it to each). */
function extremum(kernel: 'Max' | 'Min'): tf.GradConfig {
  const reduce = kernel === 'Max' ? tf.max : tf.min
  return define<Axes & { reductionIndices?: number | number[] }>({
    kernel,
    save: ['x'],
    saveOutput: true,
    gradients: (dy, [x, y], { axis, reductionIndices }) => ({
      x: () => {
        const axes = parseAxes(reductionIndices ?? axis, x.shape)
        const kept = keptShape(x.shape, axes)
        const reached = tf.cast(
          tf.equal(
            x,
            tf.reshape(
              output(y, () => reduce(x, axes)),
              kept,
            ),
          ),
          'float32',
        )
        return tf.mul(tf.div(restore(dy, x, axes), tf.sum(reached, axes, true)), reached)
      },
    }),
  })
}

/** x shifted left by `by` along `axis`, zeros coming in. */
function shift(x: tf.Tensor, axis: number, by: number): tf.Tensor {
  const size = x.shape[axis]
  if (by >= size) return filled(x.shape, 0)
  const begin = x.shape.map((_, i) => (i === axis ? by : 0))
  const extent = x.shape.map((n, i) => (i === axis ? n - by : n))
  return tf.pad(
    tf.slice(x, begin, extent),
    x.shape.map((_, i) => (i === axis ? [0, by] : [0, 0])),
  )
}

/**
 * dxᵢ = (Π_{k<i} x_k) · sᵢ with sᵢ = dyᵢ + x_{i+1} s_{i+1}, found in log₂ n doubling steps.
 * Nothing is divided by x, so zeros in x are no special case.
 */
function cumulativeProductGradient(dy: tf.Tensor, x: tf.Tensor, axis: number, exclusive: boolean): tf.Tensor {
  let sums = exclusive ? shift(dy, axis, 1) : dy
  let factors = shift(x, axis, 1)
  for (let by = 1; by < x.shape[axis]; by *= 2) {
    sums = tf.add(sums, tf.mul(factors, shift(sums, axis, by)))
    if (2 * by < x.shape[axis]) factors = tf.mul(factors, shift(factors, axis, by))
  }
  return tf.mul(tf.cumprod(x, axis, true), sums)
}

type Scan = { axis: number; exclusive?: boolean; reverse?: boolean }

export const reductionGradients: tf.GradConfig[] = [
  define<Axes>({
    kernel: 'Sum',
    save: ['x'],
    gradients: (dy, [x], { axis }) => ({ x: () => broadcastTo(restore(dy, x, parseAxes(axis, x.shape)), x.shape) }),
  }),
  define<Axes>({
    kernel: 'Mean',
    save: ['x'],
    gradients: (dy, [x], { axis }) => ({
      x: () => {
        const scaled = tf.mul(dy, dy.size / x.size)
        return broadcastTo(restore(scaled, x, parseAxes(axis, x.shape)), x.shape)
      },
    }),
  }),
  extremum('Max'),
  extremum('Min'),
  define<Axes>({
    kernel: 'Prod',
    save: ['x'],
    gradients: (dy, [x], { axis }) => ({
      x: () => {
        // The reduced axes become one last axis; each factor's gradient is the product of all others.
        const axes = parseAxes(axis, x.shape)
        const others = x.shape.map((_, i) => i).filter((i) => !axes.includes(i))
        const order = [...others, ...axes]
        const moved = tf.transpose(tf.cast(x, 'float32'), order)
        const rows = tf.reshape(moved, [dy.size, x.size / dy.size])
        const rest = tf.mul(tf.cumprod(rows, 1, true, false), tf.cumprod(rows, 1, true, true))
        const gradient = tf.reshape(tf.mul(tf.reshape(dy, [dy.size, 1]), rest), moved.shape)
        return tf.transpose(gradient, tf.backend_util.getUndoAxesPermutation(order))
      },
    }),
  }),
  define<Scan>({
    kernel: 'Cumsum',
    save: ['x'],
    gradients: (dy, _, { axis, exclusive, reverse }) => ({ x: () => tf.cumsum(dy, axis, exclusive, !reverse) }),
  }),
  define<Scan>({
    kernel: 'Cumprod',
    save: ['x'],
    gradients: (dy, [x], { axis, exclusive = false, reverse = false }) => ({
      x: () => {
        const along = tf.util.parseAxisParam(axis, x.shape)[0]
        const turn = (t: tf.Tensor): tf.Tensor => (reverse ? tf.reverse(t, along) : t)
        return turn(cumulativeProductGradient(turn(dy), turn(tf.cast(x, 'float32')), along, exclusive))
      },
    }),
  }),
  define<{ dim: number }>({
    kernel: 'Softmax',
    save: ['logits'],
    saveOutput: true,
    gradients: (dy, [logits, y], { dim }) => ({
      logits: () => {
        const probabilities = output(y, () => tf.softmax(logits, dim))
        const weighted = tf.mul(dy, probabilities)
        return tf.sub(weighted, tf.mul(tf.sum(weighted, dim, true), probabilities))
      },
    }),
  }),
  define<{ axis: number }>({
    kernel: 'LogSoftmax',
    save: ['logits'],
    gradients: (dy, [logits], { axis }) => ({
      logits: () => tf.sub(dy, tf.mul(tf.sum(dy, axis, true), tf.softmax(logits, axis))),
    }),
  }),
  define({
    kernel: 'TopK',
    save: ['x'],
    saveOutput: [false, true],
    gradients: (dys, [x, indices]) => ({
      x: () => {
        const [dy] = dys as unknown as tf.Tensor[]
        const n = x.shape[x.rank - 1]
        const k = indices.shape[indices.rank - 1]
        const rows = x.size / n
        const flat = tf.add(tf.reshape(indices, [rows, k]), rowOffsets(rows, n))
        return tf.reshape(tf.scatterND(tf.reshape(flat, [rows * k, 1]), tf.reshape(dy, [rows * k]), [x.size]), x.shape)
      },
    }),
  }),
  ...['All', 'Any', 'ArgMax', 'ArgMin'].map((kernel) => constant(kernel, ['x'])),
]
