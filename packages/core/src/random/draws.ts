/** Draws as tensors. Each gives the values of its typed-array twin in arrays.ts. */
import * as tf from '@tensorflow/tfjs-core'
import { currentCompiler } from '../compiler'
import { ShapeError, TracingError } from '../errors'
import {
  bernoulliArray,
  bitsArray,
  floatBelow,
  gammaArray,
  gumbelArray,
  normalArray,
  permutationArray,
  rademacherArray,
  randintArray,
  truncatedNormalArray,
  uniformArray,
} from './arrays'
import type { Key } from './key'
import { graphDraws, type GraphDraws } from './graph-draws'
import { graphWordsOf, resolverOf } from './symbolic-key'
import { shapeSize, type NormalOptions, type RandintOptions, type TruncatedNormalOptions, type UniformOptions } from './options'

/**
 * The draw as a tensor. Inside a compiled function the key is known only at each run: the draw is made then, on the
 * host, and fed to the graph, which is faster than drawing inside and gives the same bits.
 */
function drawn(
  key: Key,
  shape: readonly number[],
  dtype: 'float32' | 'int32',
  fill: (key: Key) => Float32Array | Int32Array,
  inGraph: InGraph | undefined,
): tf.Tensor {
  const resolve = resolverOf(key)
  if (resolve === undefined) return tf.tensor(fill(key), [...shape], dtype)
  const compiler = currentCompiler()
  if (compiler === undefined) throw new TracingError('random: a key of a compiled function was used outside of it')
  const words = graphWordsOf(key)
  if (words === undefined) return compiler.hostInput({ shape, dtype }, (steps) => fill({ kind: 'bpf.key', words: resolve(steps) }))
  if (inGraph === undefined) {
    throw new TracingError(
      'random: this draw rejects or needs double precision, so it cannot be made inside a graph; give scan a key instead of folding one with a tensor',
    )
  }
  const size = shape.reduce((product, length) => product * length, 1)
  return tf.reshape(inGraph(graphDraws(compiler, words), size), [...shape])
}

/** The same draw made of tensor operations, for keys that exist in the graph only. */
type InGraph = (draws: GraphDraws, size: number) => tf.Tensor

function float(key: Key, shape: readonly number[], fill: (key: Key) => Float32Array, inGraph?: InGraph): tf.Tensor {
  return drawn(key, shape, 'float32', fill, inGraph)
}

function integer(key: Key, shape: readonly number[], fill: (key: Key) => Int32Array, inGraph?: InGraph): tf.Tensor {
  return drawn(key, shape, 'int32', fill, inGraph)
}

/** low + (high − low) u, below high. */
function uniformRange(u: tf.Tensor, { low = 0, high = 1 }: UniformOptions): tf.Tensor {
  if (low === 0 && high === 1) return u
  const start = Math.fround(low)
  return tf.minimum(tf.add(tf.mul(u, Math.fround(Math.fround(high) - start)), start), floatBelow(high))
}

function scaled(z: tf.Tensor, { mean = 0, stddev = 1 }: NormalOptions): tf.Tensor {
  return mean === 0 && stddev === 1 ? z : tf.add(tf.mul(z, stddev), mean)
}

/**
 * Random 32-bit words.
 *
 * @returns `shape`, int32: the words' bits as signed integers
 */
export function bits(key: Key, shape: readonly number[]): tf.Tensor {
  const size = shapeSize('bits', shape)
  return integer(
    key,
    shape,
    (k) => new Int32Array(bitsArray(k, size).buffer),
    (draws, n) => draws.bits(n),
  )
}

/**
 * Uniform draws on [low, high): low + (high - low) u, with u a multiple of 2⁻²⁴.
 *
 * @returns `shape`, float32
 * @throws OptionError unless low < high, both finite
 * @example
 * ```ts
 * const weights = uniform(key(0), [784, 10], { low: -0.05, high: 0.05 })
 * ```
 */
export function uniform(key: Key, shape: readonly number[], options: UniformOptions = {}): tf.Tensor {
  const size = shapeSize('uniform', shape)
  return float(
    key,
    shape,
    (k) => uniformArray(k, size, options),
    (draws, n) => uniformRange(draws.uniform(n), options),
  )
}

/**
 * Normal draws: μ + σ z, z by Box–Muller from polynomials, the same bits on every machine.
 *
 * @returns `shape`, float32
 * @throws OptionError unless stddev ≥ 0
 */
export function normal(key: Key, shape: readonly number[], options: NormalOptions = {}): tf.Tensor {
  const size = shapeSize('normal', shape)
  return float(
    key,
    shape,
    (k) => normalArray(k, size, options),
    (draws, n) => scaled(draws.normal(n), options),
  )
}

/**
 * Normal draws conditioned on lying between two bounds, by the inverse of the distribution function.
 *
 * @returns `shape`, float32, each within [mean + low·stddev, mean + high·stddev] up to float32 rounding
 * @throws OptionError unless low < high and the interval's probability is above 0 in double precision
 */
export function truncatedNormal(key: Key, shape: readonly number[], options: TruncatedNormalOptions = {}): tf.Tensor {
  const size = shapeSize('truncatedNormal', shape)
  return float(key, shape, (k) => truncatedNormalArray(k, size, options))
}

/**
 * Random signs.
 *
 * @returns `shape`, float32, -1 and 1 equally likely
 */
export function rademacher(key: Key, shape: readonly number[]): tf.Tensor {
  const size = shapeSize('rademacher', shape)
  return float(
    key,
    shape,
    (k) => rademacherArray(k, size),
    (draws, n) => tf.sub(tf.mul(tf.cast(tf.greaterEqual(draws.bits(n), tf.scalar(0, 'int32')), 'float32'), 2), 1),
  )
}

/**
 * Coin flips: 1 where a uniform draw is below p.
 *
 * @param p - probability of 1, resolved to 2⁻²⁴: a number, or a tensor that broadcasts to `shape` (not checked to lie in [0, 1])
 * @returns `shape`, float32, 0 or 1
 * @throws OptionError when the number p is not in [0, 1]
 * @throws ShapeError when a tensor p does not broadcast to `shape`
 */
export function bernoulli(key: Key, shape: readonly number[], p: number | tf.Tensor): tf.Tensor {
  const size = shapeSize('bernoulli', shape)
  if (typeof p === 'number')
    return float(
      key,
      shape,
      (k) => bernoulliArray(k, size, p),
      (draws, n) => tf.cast(tf.less(draws.uniform(n), p), 'float32'),
    )
  return tf.tidy(() => tf.cast(tf.less(uniform(key, shape), broadcast('bernoulli', 'p', p, shape)), 'float32'))
}

/**
 * Standard Gumbel draws, -log(-log u), by polynomials, the same bits on every machine.
 *
 * @returns `shape`, float32
 */
export function gumbel(key: Key, shape: readonly number[]): tf.Tensor {
  const size = shapeSize('gumbel', shape)
  return float(
    key,
    shape,
    (k) => gumbelArray(k, size),
    (draws, n) => draws.gumbel(n),
  )
}

/** Options of {@link categorical}. */
export interface CategoricalOptions {
  /** Independent draws per row of logits; adds a leading axis of this size. Default: one, without the axis. */
  samples?: number
}

/**
 * Classes with the probabilities softmax(logits), by the Gumbel-max trick.
 *
 * @param logits - [..., classes], float32; -Infinity for a class that never comes
 * @returns [...] or [samples, ...], int32
 * @throws ShapeError when logits is a scalar or has no class
 */
export function categorical(key: Key, logits: tf.Tensor, { samples }: CategoricalOptions = {}): tf.Tensor {
  if (logits.rank === 0 || logits.shape[logits.rank - 1] === 0) {
    throw new ShapeError(
      `random.categorical: expected logits [..., classes] with at least one class, got shape [${logits.shape.join(', ')}]`,
    )
  }
  const shape = samples === undefined ? logits.shape : [samples, ...logits.shape]
  return tf.tidy(() => tf.argMax(tf.add(logits, gumbel(key, shape)), -1))
}

/**
 * Uniform integers on [low, high), from 64 random bits each.
 *
 * @returns `shape`, int32
 * @throws OptionError unless low < high are int32 integers (high may be 2³¹)
 */
export function randint(key: Key, shape: readonly number[], options: RandintOptions): tf.Tensor {
  const size = shapeSize('randint', shape)
  return integer(key, shape, (k) => randintArray(k, size, options))
}

/**
 * A random order of 0 … n-1: the stable ascending order of n random 64-bit integers.
 *
 * @returns [n], int32, every value once
 */
export function permutation(key: Key, n: number): tf.Tensor1D {
  return integer(key, [n], (k) => permutationArray(k, n)) as tf.Tensor1D
}

/**
 * Gamma draws of unit scale, by Marsaglia and Tsang's rejection in double precision on the host (its values are
 * read, so it cannot be traced, and gives no gradient for alpha).
 *
 * @param alpha - shape α > 0: a number, or a tensor that broadcasts to `shape`. Below about 0.01 draws may underflow to 0.
 * @returns `shape`, float32
 * @throws OptionError when an alpha is not positive and finite
 * @throws ShapeError when a tensor alpha does not broadcast to `shape`
 * @see Marsaglia, Tsang, "A simple method for generating gamma variables", 2000
 */
export function gamma(key: Key, shape: readonly number[], alpha: number | tf.Tensor): tf.Tensor {
  const size = shapeSize('gamma', shape)
  if (typeof alpha === 'number') return float(key, shape, (k) => gammaArray(k, size, alpha))
  const alphas = tf.tidy(() => broadcast('gamma', 'alpha', alpha, shape).dataSync())
  return float(key, shape, (k) => gammaArray(k, size, alphas))
}

function broadcast(name: string, argument: string, value: tf.Tensor, shape: readonly number[]): tf.Tensor {
  const offset = shape.length - value.rank
  if (offset < 0 || value.shape.some((dimension, i) => dimension !== 1 && dimension !== shape[offset + i])) {
    throw new ShapeError(`random.${name}: ${argument} of shape [${value.shape.join(', ')}] does not broadcast to [${shape.join(', ')}]`)
  }
  return tf.broadcastTo(value, [...shape])
}
