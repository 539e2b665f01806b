import { DataError } from '../errors'

/**
 * The error for a file that breaks its format, naming where.
 *
 * @param file - name of the file
 * @param where - byte offset, or another position in words
 */
export function malformed(file: string, where: number | string, expected: string, got: string): DataError {
  return new DataError(`${file}: ${typeof where === 'number' ? `byte ${where}` : where}: expected ${expected}, got ${got}`)
}

/**
 * Checks that `length` bytes lie at `offset`.
 *
 * @throws DataError when the file ends before
 */
export function need(bytes: Uint8Array, offset: number, length: number, what: string, file: string): void {
  if (offset + length <= bytes.length) return
  throw malformed(
    file,
    offset,
    `${length} bytes (${what})`,
    `the end of the file after ${Math.max(0, bytes.length - offset)}; is it truncated?`,
  )
}

export function dataView(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

export const hostIsLittleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

/** Reverses the bytes of each item in place. */
export function swapBytes(bytes: Uint8Array, itemSize: number): void {
  for (let start = 0; start < bytes.length; start += itemSize) {
    for (let i = start, j = start + itemSize - 1; i < j; i++, j--) {
      const held = bytes[i]
      bytes[i] = bytes[j]
      bytes[j] = held
    }
  }
}

/** A copy of `count` items at `offset`, aligned and in the host's byte order. */
export function copyItems(bytes: Uint8Array, offset: number, count: number, itemSize: number, littleEndian: boolean): ArrayBuffer {
  const buffer = new ArrayBuffer(count * itemSize)
  const copy = new Uint8Array(buffer)
  copy.set(bytes.subarray(offset, offset + count * itemSize))
  if (itemSize > 1 && littleEndian !== hostIsLittleEndian) swapBytes(copy, itemSize)
  return buffer
}
