import { crc32, inflate } from './gzip'
import { dataView, malformed, need } from './malformed'

const endSignature = 0x06054b50
const centralSignature = 0x02014b50
const localSignature = 0x04034b50
const endSize = 22
const centralSize = 46
const localSize = 30

function findEnd(bytes: Uint8Array, view: DataView, file: string): number {
  need(bytes, 0, endSize, 'zip end record', file)
  // A comment of up to 65,535 bytes may follow the end record.
  for (let offset = bytes.length - endSize; offset >= Math.max(0, bytes.length - endSize - 0xffff); offset--) {
    if (view.getUint32(offset, true) === endSignature) return offset
  }
  throw malformed(file, bytes.length, 'a zip end record before here', 'none; is the file truncated, or no zip?')
}

/**
 * Reads every file of a zip archive (stored or deflated, below 4 GiB).
 *
 * @returns contents by name, in the order of the archive's directory
 * @throws DataError with file and offset when it is malformed, truncated or damaged
 */
export function unzip(bytes: Uint8Array, file: string): Map<string, Uint8Array> {
  const view = dataView(bytes)
  const end = findEnd(bytes, view, file)
  const count = view.getUint16(end + 10, true)
  let offset = view.getUint32(end + 16, true)
  const contents = new Map<string, Uint8Array>()
  for (let i = 0; i < count; i++) {
    need(bytes, offset, centralSize, 'zip directory entry', file)
    if (view.getUint32(offset, true) !== centralSignature) throw malformed(file, offset, 'a zip directory entry', 'something else')
    const nameLength = view.getUint16(offset + 28, true)
    need(bytes, offset + centralSize, nameLength, 'name of a zip entry', file)
    const name = new TextDecoder().decode(bytes.subarray(offset + centralSize, offset + centralSize + nameLength))
    if (contents.has(name)) throw malformed(file, offset, 'names that differ', `'${name}' twice`)
    contents.set(name, readEntry(bytes, view, offset, `${file} (${name})`))
    offset += centralSize + nameLength + view.getUint16(offset + 30, true) + view.getUint16(offset + 32, true)
  }
  if (offset > end) throw malformed(file, end, 'the end of the zip directory', `entries up to byte ${offset}`)
  return contents
}

function readEntry(bytes: Uint8Array, view: DataView, central: number, file: string): Uint8Array {
  const flags = view.getUint16(central + 8, true)
  const method = view.getUint16(central + 10, true)
  const crc = view.getUint32(central + 16, true)
  const packedSize = view.getUint32(central + 20, true)
  const size = view.getUint32(central + 24, true)
  const local = view.getUint32(central + 42, true)
  if (flags & 1) throw malformed(file, central + 8, 'no encryption', 'an encrypted entry')
  need(bytes, local, localSize, 'zip local header', file)
  if (view.getUint32(local, true) !== localSignature) throw malformed(file, local, 'a zip local header', 'something else')
  const start = local + localSize + view.getUint16(local + 26, true) + view.getUint16(local + 28, true)
  need(bytes, start, packedSize, 'contents of a zip entry', file)
  const packed = bytes.subarray(start, start + packedSize)
  if (method === 8) return inflate(packed, size, crc, start, file)
  if (method !== 0) throw malformed(file, central + 10, 'compression method 0 or 8', String(method))
  const found = crc32(packed)
  if (found !== crc || packedSize !== size) {
    throw malformed(
      file,
      start,
      `${size} bytes of CRC-32 ${crc.toString(16)}`,
      `${packedSize} of ${found.toString(16)}; the file is damaged`,
    )
  }
  return packed
}
