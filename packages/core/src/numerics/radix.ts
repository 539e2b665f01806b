/** Rows this short are sorted by insertion; the counts of a radix pass cost more. */
const insertionLimit = 64

/**
 * Stable ascending order of unsigned 32-bit keys.
 *
 * @param keys - [n]
 * @returns [n] indices; equal keys keep their order
 */
export function argsortUnsigned(keys: Uint32Array): Int32Array<ArrayBuffer> {
  const n = keys.length
  let order = new Int32Array(n)
  for (let i = 0; i < n; i++) order[i] = i
  if (n <= insertionLimit) {
    for (let i = 1; i < n; i++) {
      let j = i
      while (j > 0 && keys[order[j - 1]] > keys[i]) {
        order[j] = order[j - 1]
        j--
      }
      order[j] = i
    }
    return order
  }
  let sorted = new Int32Array(n)
  // Three digits of 11 bits, from the lowest.
  for (let shift = 0; shift < 32; shift += 11) {
    const starts = new Int32Array(2049)
    for (let i = 0; i < n; i++) starts[((keys[i] >>> shift) & 2047) + 1]++
    for (let digit = 0; digit < 2048; digit++) starts[digit + 1] += starts[digit]
    for (let i = 0; i < n; i++) sorted[starts[(keys[order[i]] >>> shift) & 2047]++] = order[i]
    const previous = order
    order = sorted
    sorted = previous
  }
  return order
}
