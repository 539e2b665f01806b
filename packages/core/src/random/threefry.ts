/**
 * Threefry 2×32 with 20 rounds.
 *
 * Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). A keyed bijection of a
 * 64-bit counter: any block of a stream is computed on its own, so draws need no state and no order.
 */
const parity = 0x1bd11bda

/**
 * Writes `blocks` consecutive blocks (two 32-bit words each) of the stream of one key.
 *
 * The rounds are unrolled: a loop over rotations runs four times slower.
 *
 * @param out - gets words `2i` and `2i + 1` of block i, from `offset` on
 * @param firstBlock - first counter word of the first block
 * @param counter1 - second counter word, the same for all blocks
 */
export function fillBlocks(
  out: Int32Array,
  offset: number,
  blocks: number,
  key0: number,
  key1: number,
  firstBlock: number,
  counter1: number,
): void {
  const k0 = key0 | 0
  const k1 = key1 | 0
  const k2 = parity ^ k0 ^ k1
  const start1 = (counter1 + k1) | 0
  for (let block = 0; block < blocks; block++) {
    let x0 = (firstBlock + block + k0) | 0
    let x1 = start1
    x0 = (x0 + x1) | 0
    x1 = ((x1 << 13) | (x1 >>> 19)) ^ x0
    x0 = (x0 + x1) | 0
    x1 = ((x1 << 15) | (x1 >>> 17)) ^ x0
    x0 = (x0 + x1) | 0
    x1 = ((x1 << 26) | (x1 >>> 6)) ^ x0
    x0 = (x0 + x1) | 0
    x1 = ((x1 << 6) | (x1 >>> 26)) ^ x0
    x0 = (x0 + k1) | 0
    x1 = (x1 + k2 + 1) | 0
    x0 = (x0 + x1) | 0
    x1 = ((x1 << 17) | (x1 >>> 15)) ^ x0
    x0 = (x0 + x1) | 0
    x1 = ((x1 << 29) | (x1 >>> 3)) ^ x0
    x0 = (x0 + x1) | 0
    x1 = ((x1 << 16) | (x1 >>> 16)) ^ x0
    x0 = (x0 + x1) | 0
    x1 = ((x1 << 24) | (x1 >>> 8)) ^ x0
    x0 = (x0 + k2) | 0
    x1 = (x1 + k0 + 2) | 0
    x0 = (x0 + x1) | 0
    x1 = ((x1 << 13) | (x1 >>> 19)) ^ x0
    x0 = (x0 + x1) | 0
    x1 = ((x1 << 15) | (x1 >>> 17)) ^ x0
    x0 = (x0 + x1) | 0
    x1 = ((x1 << 26) | (x1 >>> 6)) ^ x0
    x0 = (x0 + x1) | 0
    x1 = ((x1 << 6) | (x1 >>> 26)) ^ x0
    x0 = (x0 + k0) | 0
    x1 = (x1 + k1 + 3) | 0
    x0 = (x0 + x1) | 0
    x1 = ((x1 << 17) | (x1 >>> 15)) ^ x0
    x0 = (x0 + x1) | 0
    x1 = ((x1 << 29) | (x1 >>> 3)) ^ x0
    x0 = (x0 + x1) | 0
    x1 = ((x1 << 16) | (x1 >>> 16)) ^ x0
    x0 = (x0 + x1) | 0
    x1 = ((x1 << 24) | (x1 >>> 8)) ^ x0
    x0 = (x0 + k1) | 0
    x1 = (x1 + k2 + 4) | 0
    x0 = (x0 + x1) | 0
    x1 = ((x1 << 13) | (x1 >>> 19)) ^ x0
    x0 = (x0 + x1) | 0
    x1 = ((x1 << 15) | (x1 >>> 17)) ^ x0
    x0 = (x0 + x1) | 0
    x1 = ((x1 << 26) | (x1 >>> 6)) ^ x0
    x0 = (x0 + x1) | 0
    x1 = ((x1 << 6) | (x1 >>> 26)) ^ x0
    out[offset + 2 * block] = x0 + k2
    out[offset + 2 * block + 1] = x1 + k0 + 5
  }
}

/**
 * One block of two 32-bit words.
 *
 * @returns the two output words as unsigned integers
 */
export function threefry2x32(key0: number, key1: number, counter0: number, counter1: number): [number, number] {
  const words = new Int32Array(2)
  fillBlocks(words, 0, 1, key0, key1, counter0, counter1)
  return [words[0] >>> 0, words[1] >>> 0]
}
