import type * as tf from '@tensorflow/tfjs-core'
import { TracingError } from '../errors'
import type { Key } from './key'

/** The words of a key when a compiled function runs; `steps` are the indices of the loops around the draw, outermost first. */
export type KeyResolver = (steps: readonly number[]) => readonly [number, number]

const resolvers = new WeakMap<Key, KeyResolver>()

/**
 * A key whose words are known only when the compiled function runs. Draws from it are made on the host at each run and
 * fed to the graph: that is faster than drawing inside, and gives the same bits.
 */
export function symbolicKey(resolve: KeyResolver): Key {
  const symbolic: Key = {
    kind: 'bpf.key',
    get words(): never {
      throw new TracingError('the words of a key were read while its function is being compiled; use split, fold and draws instead')
    },
  }
  resolvers.set(symbolic, resolve)
  return symbolic
}

const graphKeys = new WeakMap<Key, tf.Tensor>()

/** A key whose words are a tensor of the graph being traced, int32 [2]: folded with a tensor, or an input of a file. */
export function graphKey(words: tf.Tensor): Key {
  const key = symbolicKey(() => {
    throw new TracingError('a key made inside a compiled function has no words outside of it')
  })
  graphKeys.set(key, words)
  return key
}

/** The words of a key that exists in the graph only; undefined for any other key. */
export function graphWordsOf(key: Key): tf.Tensor | undefined {
  return graphKeys.get(key)
}

/** How to find the words of a symbolic key; undefined for a key whose words are known. */
export function resolverOf(key: Key): KeyResolver | undefined {
  return resolvers.get(key)
}
