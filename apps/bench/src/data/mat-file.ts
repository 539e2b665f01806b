/** Numeric arrays of a MATLAB 5 file, in which the Street View House Numbers come. */
import { inflateSync } from 'node:zlib'
import { DataError } from '@bpf/core'

/** An array as MATLAB keeps it: the first axis runs fastest. */
export interface MatArray {
  shape: readonly number[]
  data: Float64Array | Uint8Array
}

const compressed = 15
const matrix = 14
/** Bytes and reader of the number types that are met; the codes are MATLAB's. */
const numbers: Readonly<Record<number, { size: number; read: (view: DataView, at: number) => number }>> = {
  1: { size: 1, read: (view, at) => view.getInt8(at) },
  2: { size: 1, read: (view, at) => view.getUint8(at) },
  3: { size: 2, read: (view, at) => view.getInt16(at, true) },
  4: { size: 2, read: (view, at) => view.getUint16(at, true) },
  5: { size: 4, read: (view, at) => view.getInt32(at, true) },
  6: { size: 4, read: (view, at) => view.getUint32(at, true) },
  7: { size: 4, read: (view, at) => view.getFloat32(at, true) },
  9: { size: 8, read: (view, at) => view.getFloat64(at, true) },
}

interface Element {
  type: number
  body: Uint8Array
  next: number
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

function readElement(bytes: Uint8Array, at: number, name: string): Element {
  const view = viewOf(bytes)
  const first = at + 8 <= bytes.length ? view.getUint32(at, true) : 0
  // A short element has its length in the upper half of the first word and its body in the second.
  const isShort = first >>> 16 !== 0
  const [type, length] = isShort ? [first & 0xffff, first >>> 16] : [first, at + 8 <= bytes.length ? view.getUint32(at + 4, true) : 0]
  const start = isShort ? at + 4 : at + 8
  if (type === 0 || start + length > bytes.length) throw new DataError(`${name}: broken off at byte ${at}; get the file again`)
  const next = isShort || type === compressed ? (isShort ? at + 8 : start + length) : start + Math.ceil(length / 8) * 8
  return { type, body: bytes.subarray(start, start + length), next }
}

function readNumbers({ type, body }: Element, name: string): Float64Array | Uint8Array {
  if (type === 2) return body
  if (!(type in numbers)) throw new DataError(`${name}: holds data of MATLAB's type ${type}; expected numbers`)
  const { size, read } = numbers[type]
  const view = viewOf(body)
  return Float64Array.from({ length: body.length / size }, (_, i) => read(view, i * size))
}

/**
 * Reads the numeric arrays of a MATLAB 5 file by name.
 *
 * @param name - of the file, for errors
 * @throws DataError when the file isn't one, or broken off
 */
export function parseMat(bytes: Uint8Array, name: string): Record<string, MatArray> {
  const mark = bytes.length >= 128 ? String.fromCharCode(bytes[126], bytes[127]) : ''
  if (mark !== 'IM') throw new DataError(`${name}: not a little-endian MATLAB 5 file`)
  const arrays: Record<string, MatArray> = {}
  for (let at = 128; at < bytes.length;) {
    const outer = readElement(bytes, at, name)
    at = outer.next
    const { type, body } = outer.type === compressed ? readElement(inflateSync(outer.body), 0, name) : outer
    if (type !== matrix) continue
    const parts: Element[] = []
    // Flags, shape, name, values.
    for (let inner = 0; inner < body.length && parts.length < 4; inner = parts[parts.length - 1].next) {
      parts.push(readElement(body, inner, name))
    }
    if (parts.length < 4) continue
    const shape = Array.from(readNumbers(parts[1], name))
    arrays[String.fromCharCode(...parts[2].body)] = { shape, data: readNumbers(parts[3], name) }
  }
  return arrays
}
