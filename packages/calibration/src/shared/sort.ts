/** Bits of one radix pass: 2048 counters fit the first-level cache. */
const digitBits = 11
const digitCount = 1 << digitBits
const digitMask = digitCount - 1

/**
 * Indices that sort `values` ascending; equal values keep their order.
 *
 * A radix sort on the bits of the doubles, least significant digit first, leaving out digits that all values share
 * (float32 values widened to double have 29 zero bits, so they need half the passes).
 *
 * @param values - [n] finite
 * @returns [n] indices
 */
export function stableOrder(values: Float64Array | Float32Array): Int32Array {
  const n = values.length
  const low = new Uint32Array(n)
  const high = new Uint32Array(n)
  const word = new Float64Array(1)
  const bits = new Uint32Array(word.buffer)
  let lowOr = 0
  let lowAnd = -1
  let highOr = 0
  let highAnd = -1
  for (let i = 0; i < n; i++) {
    word[0] = values[i] + 0
    let l = bits[0]
    let h = bits[1]
    if (h & 0x80000000) {
      l = ~l
      h = ~h
    } else {
      h ^= 0x80000000
    }
    low[i] = l
    high[i] = h
    lowOr |= l
    lowAnd &= l
    highOr |= h
    highAnd &= h
  }
  let from = new Int32Array(n)
  let to = new Int32Array(n)
  for (let i = 0; i < n; i++) from[i] = i
  const counts = new Int32Array(digitCount)
  for (const [keys, differing] of [
    [low, lowOr ^ lowAnd],
    [high, highOr ^ highAnd],
  ] as const) {
    for (let shift = 0; shift < 32; shift += digitBits) {
      if (((differing >>> shift) & digitMask) === 0) continue
      counts.fill(0)
      for (let i = 0; i < n; i++) counts[(keys[i] >>> shift) & digitMask]++
      for (let d = 0, total = 0; d < digitCount; d++) {
        const count = counts[d]
        counts[d] = total
        total += count
      }
      for (let i = 0; i < n; i++) {
        const index = from[i]
        to[counts[(keys[index] >>> shift) & digitMask]++] = index
      }
      ;[from, to] = [to, from]
    }
  }
  return from
}

/** `values` in the given order. */
export function gather(values: Float64Array | Float32Array | Int32Array | Uint8Array, order: Int32Array): Float64Array {
  const sorted = new Float64Array(order.length)
  for (let i = 0; i < order.length; i++) sorted[i] = values[order[i]]
  return sorted
}

/** Number of leading entries of an ascending array that are ≤ `x`, searched from index `from` on. */
export function upperBound(sorted: ArrayLike<number>, x: number, from = 0, to = sorted.length): number {
  let low = from
  let high = to
  while (low < high) {
    const middle = (low + high) >>> 1
    if (sorted[middle] <= x) low = middle + 1
    else high = middle
  }
  return low
}

/** Number of leading entries of an ascending array that are < `x`. */
export function lowerBound(sorted: ArrayLike<number>, x: number, from = 0, to = sorted.length): number {
  let low = from
  let high = to
  while (low < high) {
    const middle = (low + high) >>> 1
    if (sorted[middle] < x) low = middle + 1
    else high = middle
  }
  return low
}
