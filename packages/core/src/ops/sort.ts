import * as tf from '@tensorflow/tfjs-core'
import { OptionError, ShapeError } from '../errors'
import { argsortUnsigned } from '../numerics/radix'
import { onesAt, takeAlongLastAxis } from './gather'

/** Options of {@link sort} and {@link argsort}. */
export interface SortOptions {
  /** Largest first. Default false. */
  descending?: boolean
}

/** Backends whose TopK kernel is a JavaScript comparison sort of objects; reading the values and sorting them is tens of times faster. */
const hostSorted = new Set(['cpu', 'wasm'])

/** Keys whose unsigned ascending order is the values' order; -0 and 0 get the same key. */
function unsignedKeys(values: Float32Array | Int32Array, descending: boolean): Uint32Array {
  const keys = new Uint32Array(values.length)
  if (values instanceof Int32Array) {
    for (let i = 0; i < keys.length; i++) keys[i] = values[i] ^ 0x80000000
  } else {
    const bits = new Int32Array(values.buffer, values.byteOffset, values.length)
    // The bits of a negative float grow as it falls: turn them over.
    for (let i = 0; i < keys.length; i++) keys[i] = values[i] === 0 ? 0x80000000 : bits[i] < 0 ? ~bits[i] : bits[i] ^ 0x80000000
  }
  if (descending) for (let i = 0; i < keys.length; i++) keys[i] = ~keys[i]
  return keys
}

function hostArgsort(x: tf.Tensor, descending: boolean): tf.Tensor {
  const n = x.shape[x.rank - 1]
  const keys = unsignedKeys(x.dataSync<'float32' | 'int32'>(), descending)
  const order = new Int32Array(x.size)
  for (let start = 0; start < x.size; start += n) order.set(argsortUnsigned(keys.subarray(start, start + n)), start)
  return tf.tensor(order, x.shape, 'int32')
}

/** TopK lists the largest first and, among equals, the lowest index first (on every backend): stable both ways by an exact reflection. */
export function topkArgsort(x: tf.Tensor, descending: boolean): tf.Tensor {
  const reflected = descending ? x : x.dtype === 'int32' ? tf.sub(tf.scalar(-1, 'int32'), x) : tf.neg(x)
  return tf.topk(reflected, x.shape[x.rank - 1], true).indices
}

function checkSortable(name: string, x: tf.Tensor): void {
  if (x.rank === 0) throw new ShapeError(`${name}: expected a tensor [..., n], got a scalar`)
  if (x.dtype !== 'float32' && x.dtype !== 'int32') throw new OptionError(`${name}: expected a float32 or int32 tensor, got ${x.dtype}`)
}

/**
 * Indices that sort x along its last axis, stably: equal values keep their order, ascending and descending alike.
 *
 * On backends without a native sort (cpu, wasm) the values are sorted on the host; elsewhere it is one TopK, which traces.
 *
 * @param x - [..., n], float32 or int32; without NaN, whose place is not defined
 * @returns [..., n], int32
 * @throws ShapeError for a scalar
 */
export function argsort(x: tf.Tensor, { descending = false }: SortOptions = {}): tf.Tensor {
  checkSortable('argsort', x)
  if (x.size === 0) return tf.zeros(x.shape, 'int32')
  return tf.tidy(() => (hostSorted.has(tf.getBackend()) ? hostArgsort(x, descending) : topkArgsort(x, descending)))
}

/**
 * x sorted along its last axis. The gradient goes back to where each value came from; among equal values the order
 * is the stable one, so it is defined there too. Differentiable to any order.
 *
 * @param x - [..., n], float32 or int32; without NaN
 * @returns [..., n]
 * @throws ShapeError for a scalar
 */
export function sort(x: tf.Tensor, options: SortOptions = {}): tf.Tensor {
  checkSortable('sort', x)
  return tf.tidy(() => takeAlongLastAxis(x, argsort(x, options)))
}

/** Options of {@link topKMask}. */
export interface TopKMaskOptions {
  /** Mark the k smallest instead of the largest. Default false. */
  smallest?: boolean
}

/**
 * Marks the k largest values of each row. Exactly k are marked: among equal values the lowest indices win.
 *
 * @param x - [..., n], float32 or int32; without NaN
 * @param k - from 0 to n
 * @returns [..., n], float32, 1 for marked values and 0 elsewhere; a constant for gradients
 * @throws OptionError when k is out of range
 */
export function topKMask(x: tf.Tensor, k: number, { smallest = false }: TopKMaskOptions = {}): tf.Tensor {
  checkSortable('topKMask', x)
  const n = x.shape[x.rank - 1]
  if (!Number.isInteger(k) || k < 0 || k > n)
    throw new OptionError(`topKMask: expected an integer k from 0 to ${n}, the last axis of x, got ${k}`)
  if (k === 0 || x.size === 0) return tf.zeros(x.shape)
  if (k === n) return tf.ones(x.shape)
  return tf.tidy(() => {
    const begin = x.shape.map(() => 0)
    const order = argsort(x, { descending: !smallest })
    return onesAt(tf.slice(order, begin, [...x.shape.slice(0, -1), k]), n)
  })
}
