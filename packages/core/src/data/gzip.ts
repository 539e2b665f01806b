import { inflateSync } from 'fflate'
import { dataView, malformed, need } from './malformed'

let table: Uint32Array | undefined

function crcTable(): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, n) => {
    let c = n
    for (let bit = 0; bit < 8; bit++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1
    return c
  })
}

/** CRC-32 as in gzip and zip. */
export function crc32(bytes: Uint8Array): number {
  table ??= crcTable()
  let crc = 0xffffffff
  for (let i = 0; i < bytes.length; i++) crc = table[(crc ^ bytes[i]) & 0xff] ^ (crc >>> 8)
  return (crc ^ 0xffffffff) >>> 0
}

/** No deflate stream grows by more than this: a larger size in a header is a lie, and is not allocated. */
const largestRatio = 1032

/**
 * Inflates a raw deflate stream and checks it.
 *
 * @param start - offset of `packed` in the file, for errors
 * @throws DataError when the stream is damaged, or its size or CRC-32 differs from `size` (modulo 2^32) and `crc`
 */
export function inflate(packed: Uint8Array, size: number, crc: number, start: number, file: string): Uint8Array {
  let plain: Uint8Array
  try {
    const room = size <= packed.length * largestRatio ? { out: new Uint8Array(size) } : {}
    plain = inflateSync(packed, room)
  } catch (error) {
    throw malformed(file, start, 'a deflate stream', `one that is damaged (${error instanceof Error ? error.message : String(error)})`)
  }
  if (plain.length !== size) throw malformed(file, start, `${size} bytes after decompression`, `${plain.length}; is the file truncated?`)
  const found = crc32(plain)
  if (found !== crc) throw malformed(file, start, `CRC-32 ${crc.toString(16)}`, `${found.toString(16)}; the file is damaged`)
  return plain
}

/** Whether the bytes start like a gzip file. */
export function isGzip(bytes: Uint8Array): boolean {
  return bytes.length >= 2 && bytes[0] === 0x1f && bytes[1] === 0x8b
}

/** Flags of the gzip header (RFC 1952). */
const hasHeaderCrc = 2
const hasExtra = 4
const hasName = 8
const hasComment = 16

/**
 * Decompresses a gzip file of one member.
 *
 * @throws DataError with file and offset when it is malformed, truncated or damaged
 */
export function gunzip(bytes: Uint8Array, file: string): Uint8Array {
  need(bytes, 0, 18, 'gzip header and trailer', file)
  if (!isGzip(bytes)) throw malformed(file, 0, 'the gzip magic 1f 8b', `${bytes[0].toString(16)} ${bytes[1].toString(16)}`)
  if (bytes[2] !== 8) throw malformed(file, 2, 'compression method 8 (deflate)', String(bytes[2]))
  const flags = bytes[3]
  if (flags & 0xe0) throw malformed(file, 3, 'no reserved flag', `flags ${flags}`)
  let offset = 10
  if (flags & hasExtra) offset += 2 + bytes[10] + 256 * bytes[11]
  for (const flag of [hasName, hasComment]) {
    if (!(flags & flag)) continue
    const end = bytes.indexOf(0, offset)
    if (end < 0) throw malformed(file, offset, 'a name that ends with 0', 'the end of the file; is it truncated?')
    offset = end + 1
  }
  if (flags & hasHeaderCrc) offset += 2
  need(bytes, offset, 8, 'gzip trailer', file)
  const end = bytes.length - 8
  const view = dataView(bytes)
  return inflate(bytes.subarray(offset, end), view.getUint32(end + 4, true), view.getUint32(end, true), offset, file)
}
