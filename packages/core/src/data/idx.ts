import type { NumericArray } from './array-input'
import { gunzip, isGzip } from './gzip'
import { product, type HostArray } from './host-array'
import { copyItems, dataView, malformed, need } from './malformed'

type Element = { readonly name: string; readonly size: number; readonly make: (buffer: ArrayBuffer) => NumericArray }

/** Element types by their code in the magic number. */
const elements: ReadonlyMap<number, Element> = new Map([
  [0x08, { name: 'uint8', size: 1, make: (buffer) => new Uint8Array(buffer) }],
  [0x09, { name: 'int8', size: 1, make: (buffer) => new Int8Array(buffer) }],
  [0x0b, { name: 'int16', size: 2, make: (buffer) => new Int16Array(buffer) }],
  [0x0c, { name: 'int32', size: 4, make: (buffer) => new Int32Array(buffer) }],
  [0x0d, { name: 'float32', size: 4, make: (buffer) => new Float32Array(buffer) }],
  [0x0e, { name: 'float64', size: 8, make: (buffer) => new Float64Array(buffer) }],
] as [number, Element][])

/**
 * Reads an IDX file (MNIST and its relatives), plain or gzipped.
 *
 * @param bytes - the whole file
 * @param file - its name, for errors
 * @returns the array in its own element type: images [n, rows, columns] as bytes, labels [n] as bytes
 * @throws DataError with file, offset and what was expected
 */
export function parseIdx(bytes: Uint8Array, file = 'IDX file'): HostArray {
  if (isGzip(bytes)) return parseIdx(gunzip(bytes, file), `${file} (unzipped)`)
  need(bytes, 0, 4, 'IDX magic', file)
  const element = elements.get(bytes[2])
  if (bytes[0] !== 0 || bytes[1] !== 0 || element === undefined) {
    const magic = [...bytes.subarray(0, 4)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')
    throw malformed(file, 0, 'the IDX magic 00 00, element type 08–0e, rank', magic)
  }
  const rank = bytes[3]
  if (rank < 1) throw malformed(file, 3, 'a rank of at least 1', '0')
  need(bytes, 4, 4 * rank, `${rank} dimensions`, file)
  const view = dataView(bytes)
  const shape = Array.from({ length: rank }, (_, axis) => view.getUint32(4 + 4 * axis))
  const start = 4 + 4 * rank
  const count = product(shape)
  if (count * element.size !== bytes.length - start) {
    const expected = `${count * element.size} bytes of data for ${element.name}[${shape.join(', ')}]`
    throw malformed(file, start, expected, `${bytes.length - start} bytes`)
  }
  return { data: element.make(copyItems(bytes, start, count, element.size, false)), shape }
}
