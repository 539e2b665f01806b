import * as tf from '@tensorflow/tfjs-core'
import { currentCompiler } from '../compiler'
import { OptionError } from '../errors'
import { graphKey, graphWordsOf, resolverOf, symbolicKey, type KeyResolver } from './symbolic-key'
import { threefry2x32 } from './threefry'

export { threefry2x32 } from './threefry'
export { symbolicKey } from './symbolic-key'

/** Whether `value` is a key. */
export function isKey(value: unknown): value is Key {
  return typeof value === 'object' && value !== null && (value as Key).kind === 'bpf.key'
}

/** A random key: the whole state of a stream. Opaque; made by {@link key}, {@link split} and {@link fold}. */
export interface Key {
  readonly kind: 'bpf.key'
  /**
   * The two 32-bit words of the Threefry key. Read them through `hostWords`: inside a trace a key may be symbolic.
   *
   * @internal
   */
  readonly words: readonly [number, number]
}

/** Second counter word by purpose, so that draws (below 2^30), splits and folds of one key never meet. */
const splitDomain = 0x80000000
const foldDomain = 0x40000000

/** The key of block (counter0, counter1) of a parent, known now or when the compiled function runs. */
function derive(parent: Key, name: string, counter: KeyResolver): Key {
  const words = graphWordsOf(parent)
  if (words !== undefined) return deriveInGraph(words, tf.tensor1d([counter([])[0] | 0], 'int32'), counter([])[1])
  const resolve = resolverOf(parent)
  if (resolve !== undefined) return symbolicKey((steps) => threefry2x32(...resolve(steps), ...counter(steps)))
  return makeKey(threefry2x32(...hostWords(parent, name), ...counter([])))
}

/** A key derived inside the graph being traced, where the parent or the index is a tensor. */
function deriveInGraph(words: tf.Tensor, counter0: tf.Tensor, counter1: number): Key {
  const compiler = currentCompiler()
  if (compiler === undefined) throw new OptionError('random: a key of a compiled function was used outside of it')
  return graphKey(tf.reshape(compiler.randomWords(words, counter0, counter1).bits, [2]))
}

/** The words of any key as a tensor of the graph being traced. */
function wordsInGraph(parent: Key): tf.Tensor {
  const words = graphWordsOf(parent)
  if (words !== undefined) return words
  const resolve = resolverOf(parent)
  const compiler = currentCompiler()
  if (resolve === undefined || compiler === undefined) return tf.tensor1d(Int32Array.from(hostWords(parent, 'fold')), 'int32')
  return compiler.hostInput({ shape: [2], dtype: 'int32' }, (steps) => Int32Array.from(resolve(steps)))
}

function makeKey(words: readonly [number, number]): Key {
  return { kind: 'bpf.key', words }
}

/**
 * A key from a seed.
 *
 * @param seed - a non-negative integer below 2^53
 * @throws OptionError for any other number
 */
export function key(seed: number): Key {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new OptionError(`random.key: expected a non-negative integer seed below 2^53, got ${seed}`)
  }
  return makeKey([seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0])
}

/**
 * The words of a key on the host.
 *
 * @throws OptionError when `value` is not a key (a seed, say)
 */
export function hostWords(value: Key, name: string): readonly [number, number] {
  if (!isKey(value)) {
    throw new OptionError(`random.${name}: expected a key, got ${typeof value}. Make one with random.key(seed), split or fold.`)
  }
  return value.words
}

/**
 * `n` independent keys. The parent key should not be used for draws afterwards.
 *
 * @throws OptionError when `n` is not a non-negative integer
 */
export function split(parent: Key, n = 2): Key[] {
  if (!Number.isSafeInteger(n) || n < 0) throw new OptionError(`random.split: expected a non-negative integer number of keys, got ${n}`)
  return Array.from({ length: n }, (_, i) => derive(parent, 'split', () => [i, splitDomain]))
}

/**
 * The key for item `index` (a step, an epoch, a row) of a family: independent for different indices.
 *
 * @param index - a non-negative integer below 2^53, or a tensor of one such value (a step counter); inside a compiled
 *   function a tensor makes a key of the graph, whose draws are computed there
 * @throws OptionError for any other index
 */
export function fold(parent: Key, index: number | tf.Tensor): Key {
  if (typeof index !== 'number' && currentCompiler()?.isTracing()) {
    if (index.size !== 1) throw notOneValue(index)
    return deriveInGraph(wordsInGraph(parent), tf.reshape(tf.cast(index, 'int32'), [1]), foldDomain)
  }
  const item = typeof index === 'number' ? index : scalarValue(index)
  if (!Number.isSafeInteger(item) || item < 0) {
    throw new OptionError(`random.fold: expected a non-negative integer index, got ${item}`)
  }
  return derive(parent, 'fold', () => [item >>> 0, (foldDomain + Math.floor(item / 2 ** 32)) >>> 0])
}

function scalarValue(index: tf.Tensor): number {
  if (index.size !== 1) throw notOneValue(index)
  return index.dataSync()[0]
}

function notOneValue(index: tf.Tensor): OptionError {
  return new OptionError(`random.fold: expected an index of one value, got a tensor of shape [${index.shape.join(', ')}]`)
}
