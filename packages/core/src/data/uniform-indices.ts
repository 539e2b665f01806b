import { bitsArray } from '../random/arrays'
import { fold, type Key } from '../random/key'

/** Random words drawn at a time. */
const blockSize = 1024

/** An endless stream of integers, uniform in [0, n) for the n of each call. */
export function uniformIndices(key: Key): (n: number) => number {
  let drawn = 0
  let words = new Uint32Array(0)
  return (n) => {
    const place = drawn % blockSize
    if (place === 0) words = bitsArray(fold(key, drawn / blockSize), blockSize)
    drawn++
    return Math.floor((words[place] / 2 ** 32) * n)
  }
}
