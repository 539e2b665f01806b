import { OptionError } from '../errors'

/** A random key: the whole state of a stream. Opaque; made by {@link key}, {@link split} and {@link fold}. */
export interface Key {
  readonly kind: 'bpf.key'
  /** The two 32-bit words of the Threefry key. */
  readonly words: readonly [number, number]
}

/** Number of rounds of Threefry 2×32 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). */
const rotations = [13, 15, 26, 6, 17, 29, 16, 24] as const
const parity = 0x1bd11bda

/**
 * Threefry 2×32 with 20 rounds: one block of two 32-bit words.
 *
 * @returns the two output words as unsigned integers
 */
export function threefry2x32(key0: number, key1: number, counter0: number, counter1: number): [number, number] {
  const keys = [key0 | 0, key1 | 0, (parity ^ key0 ^ key1) | 0]
  let x0 = (counter0 + keys[0]) | 0
  let x1 = (counter1 + keys[1]) | 0
  for (let round = 0; round < 20; round++) {
    const r = rotations[round % 8]
    x0 = (x0 + x1) | 0
    x1 = ((x1 << r) | (x1 >>> (32 - r))) ^ x0
    if (round % 4 === 3) {
      const s = (round + 1) / 4
      x0 = (x0 + keys[s % 3]) | 0
      x1 = (x1 + keys[(s + 1) % 3] + s) | 0
    }
  }
  return [x0 >>> 0, x1 >>> 0]
}

/** Second counter word by purpose, so that draws, splits and folds of one key never meet. */
const splitDomain = 0x80000000
const foldDomain = 0x40000000

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

/** `n` independent keys. The parent key should not be used for draws afterwards. */
export function split(parent: Key, n = 2): Key[] {
  return Array.from({ length: n }, (_, i) => makeKey(threefry2x32(...parent.words, i, splitDomain)))
}

/** The key for item `index` (a step, an epoch, a row) of a family: independent for different indices. */
export function fold(parent: Key, index: number): Key {
  if (!Number.isSafeInteger(index) || index < 0) {
    throw new OptionError(`random.fold: expected a non-negative integer index, got ${index}`)
  }
  return makeKey(threefry2x32(...parent.words, index >>> 0, (foldDomain + Math.floor(index / 2 ** 32)) >>> 0))
}
