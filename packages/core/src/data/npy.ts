import type { NumericArray } from './array-input'
import { product, type HostArray } from './host-array'
import { copyItems, dataView, malformed, need } from './malformed'
import { unzip } from './zip'

type Element = { readonly size: number; readonly make: (buffer: ArrayBuffer, file: string, start: number) => NumericArray }

const elements: ReadonlyMap<string, Element> = new Map([
  ['f4', { size: 4, make: (buffer) => new Float32Array(buffer) }],
  ['f8', { size: 8, make: (buffer) => new Float64Array(buffer) }],
  ['i1', { size: 1, make: (buffer) => new Int8Array(buffer) }],
  ['i2', { size: 2, make: (buffer) => new Int16Array(buffer) }],
  ['i4', { size: 4, make: (buffer) => new Int32Array(buffer) }],
  ['i8', { size: 8, make: (buffer, file, start) => narrow(new BigInt64Array(buffer), file, start) }],
  ['u1', { size: 1, make: (buffer) => new Uint8Array(buffer) }],
  ['u2', { size: 2, make: (buffer) => new Uint16Array(buffer) }],
  ['u4', { size: 4, make: (buffer) => new Uint32Array(buffer) }],
  ['b1', { size: 1, make: (buffer) => new Uint8Array(buffer) }],
] as [string, Element][])

/** 64-bit integers (numpy's default for labels) as int32 where all fit, else as doubles. */
function narrow(values: BigInt64Array, file: string, start: number): NumericArray {
  const narrowed = new Float64Array(values.length)
  let fits = true
  for (let i = 0; i < values.length; i++) {
    const value = Number(values[i])
    if (!Number.isSafeInteger(value)) throw malformed(file, start + 8 * i, 'an integer below 2^53 in size', String(values[i]))
    if ((value | 0) !== value) fits = false
    narrowed[i] = value
  }
  return fits ? Int32Array.from(narrowed) : narrowed
}

interface Header {
  readonly descr: string
  readonly fortranOrder: boolean
  readonly shape: readonly number[]
}

/** The header is a Python dict literal with exactly three keys; it is matched, never evaluated. */
function parseHeader(text: string, start: number, file: string): Header {
  const expected = `a header like {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`
  const dict = /^\{(.*)\}\s*$/s.exec(text)
  if (dict === null) throw malformed(file, start, expected, text.slice(0, 80))
  const descr = /'descr':\s*'([^']*)'/.exec(dict[1])?.[1]
  const order = /'fortran_order':\s*(True|False)\b/.exec(dict[1])?.[1]
  const shape = /'shape':\s*\(\s*((?:\d+\s*,\s*)*\d*)\s*\)/.exec(dict[1])?.[1]
  if (descr === undefined || order === undefined || shape === undefined) {
    const hint = text.includes("'descr': [") ? ' (a structured dtype; save one array per field)' : ''
    throw malformed(file, start, expected, text.trim().slice(0, 120) + hint)
  }
  const sizes = shape.split(',').map((part) => part.trim())
  return { descr, fortranOrder: order === 'True', shape: sizes.filter((part) => part !== '').map(Number) }
}

/** Values in row-major order from values in column-major order. */
function toRowMajor(data: NumericArray, shape: readonly number[]): NumericArray {
  const out = data.slice()
  const rank = shape.length
  // Stride of each axis in column-major order; the index below counts like an odometer, last axis fastest.
  const strides = shape.map((_, axis) => product(shape.slice(0, axis)))
  const index = new Int32Array(rank)
  let source = 0
  for (let target = 0; target < out.length; target++) {
    out[target] = data[source]
    for (let axis = rank - 1; axis >= 0; axis--) {
      source += strides[axis]
      if (++index[axis] < shape[axis]) break
      source -= strides[axis] * shape[axis]
      index[axis] = 0
    }
  }
  return out
}

/**
 * Reads a NumPy array file (format 1, 2 or 3): floats of 4 or 8 bytes, signed and unsigned integers, bool;
 * little or big endian, C or Fortran order. 64-bit integers become int32 where all fit, else doubles.
 *
 * @param bytes - the whole file
 * @param file - its name, for errors
 * @returns the values in row-major order; a scalar has shape []
 * @throws DataError with file, offset and what was expected
 */
export function parseNpy(bytes: Uint8Array, file = 'NPY file'): HostArray {
  need(bytes, 0, 10, 'NPY magic, version and header length', file)
  const magic = String.fromCharCode(...bytes.subarray(0, 6))
  if (magic !== '\x93NUMPY') throw malformed(file, 0, 'the magic \\x93NUMPY', JSON.stringify(magic))
  const version = bytes[6]
  if (version < 1 || version > 3) throw malformed(file, 6, 'format version 1, 2 or 3', String(version))
  const view = dataView(bytes)
  if (version > 1) need(bytes, 8, 4, 'NPY header length', file)
  const headerStart = version === 1 ? 10 : 12
  const headerSize = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true)
  need(bytes, headerStart, headerSize, 'NPY header', file)
  const start = headerStart + headerSize
  const { descr, fortranOrder, shape } = parseHeader(new TextDecoder().decode(bytes.subarray(headerStart, start)), headerStart, file)
  const element = elements.get(descr.slice(1))
  if (element === undefined || !'<>|='.includes(descr[0])) {
    throw malformed(file, headerStart, `a dtype of ${[...elements.keys()].join(', ')}`, `'${descr}'; convert it with array.astype(…)`)
  }
  const count = product(shape)
  if (count * element.size !== bytes.length - start) {
    throw malformed(file, start, `${count * element.size} bytes of data for ${descr}[${shape.join(', ')}]`, `${bytes.length - start} bytes`)
  }
  const data = element.make(copyItems(bytes, start, count, element.size, descr[0] !== '>'), file, start)
  const isBool = descr.endsWith('b1')
  const bad = isBool ? (data as Uint8Array).findIndex((value) => value > 1) : -1
  if (bad >= 0) throw malformed(file, start + bad, 'a bool of 0 or 1', String(data[bad]))
  return { data: fortranOrder && shape.length > 1 ? toRowMajor(data, shape) : data, shape, ...(isBool && { dtype: 'bool' }) }
}

/**
 * Reads an archive of NumPy arrays (`numpy.savez`, `savez_compressed`).
 *
 * @param bytes - the whole file
 * @param file - its name, for errors
 * @returns the arrays by name (without `.npy`)
 * @throws DataError with file, offset and what was expected
 */
export function parseNpz(bytes: Uint8Array, file = 'NPZ file'): Map<string, HostArray> {
  const arrays = new Map<string, HostArray>()
  for (const [name, content] of unzip(bytes, file)) {
    const array = name.replace(/\.npy$/, '')
    if (arrays.has(array)) throw malformed(file, 'directory', 'names that differ', `'${array}' twice`)
    arrays.set(array, parseNpy(content, `${file} (${name})`))
  }
  return arrays
}
