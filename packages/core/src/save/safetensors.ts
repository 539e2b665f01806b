import { DataError, OptionError } from '../errors'
import { dataView, malformed, need } from '../data/malformed'

/**
 * The file format of Hugging Face's safetensors: 8 bytes of header length, a JSON header with dtype, shape and offsets of
 * each tensor, then the values without gaps. Nothing in it is ever evaluated.
 */

/** Bytes of one value, by the format's dtype names. */
export const itemSizes = { BOOL: 1, U8: 1, I8: 1, I16: 2, F16: 2, BF16: 2, I32: 4, F32: 4, I64: 8, F64: 8 } as const

/** Dtypes of the format that are read here. */
export type StoredDtype = keyof typeof itemSizes

/** One tensor of a file. */
export interface StoredTensor {
  readonly dtype: StoredDtype
  readonly shape: readonly number[]
  /** Offsets in the file. */
  readonly begin: number
  readonly end: number
}

/** A file's checked header. */
export interface StoredFile {
  readonly tensors: ReadonlyMap<string, StoredTensor>
  readonly metadata: ReadonlyMap<string, string>
}

/** Python's reader refuses longer headers. */
const longestHeader = 100_000_000

const hashKey = 'bpf.sha256'
/** The hash comes first in the header, so it has one fixed place in the file. */
const hashPrefix = `{"__metadata__":{"${hashKey}":"`
const hashStart = 8 + hashPrefix.length
const noHash = '0'.repeat(64)

const encodeText = (value: string): Uint8Array => new TextEncoder().encode(value)

/** SHA-256 of the parts one after another, in lower-case hexadecimal. */
export type Sha256 = (...parts: Uint8Array[]) => string

/**
 * Lays out a file: the hash is over all of it, with the hash's own 64 characters taken as '0'.
 *
 * @param metadata - texts beside the hash
 * @throws OptionError when the header would be longer than other readers accept
 */
export function layOut(
  tensors: readonly { name: string; dtype: StoredDtype; shape: readonly number[]; bytes: Uint8Array }[],
  metadata: Readonly<Record<string, string>>,
  sha256: Sha256,
): Uint8Array {
  // Wide values first keeps every tensor aligned.
  const ordered = [...tensors].sort((a, b) => itemSizes[b.dtype] - itemSizes[a.dtype])
  const entries: [string, unknown][] = [['__metadata__', { [hashKey]: noHash, ...metadata }]]
  let size = 0
  for (const { name, dtype, shape, bytes } of ordered) {
    entries.push([name, { dtype, shape, data_offsets: [size, size + bytes.length] }])
    size += bytes.length
  }
  const header = encodeText(JSON.stringify(Object.fromEntries(entries)))
  const headerSize = Math.ceil(header.length / 8) * 8
  if (headerSize > longestHeader) {
    throw new OptionError(
      `serialize: the header would take ${headerSize} bytes, at most ${longestHeader} are readable; keep large host state in tensors`,
    )
  }
  const file = new Uint8Array(8 + headerSize + size)
  dataView(file).setUint32(0, headerSize, true)
  file.fill(0x20, 8 + header.length, 8 + headerSize)
  file.set(header, 8)
  let offset = 8 + headerSize
  for (const { bytes } of ordered) {
    file.set(bytes, offset)
    offset += bytes.length
  }
  file.set(encodeText(sha256(file)), hashStart)
  return file
}

/** Whether the file carries a hash of ours. */
export function hasHash(bytes: Uint8Array): boolean {
  if (bytes.length < hashStart + 64) return false
  return encodeText(hashPrefix).every((byte, i) => bytes[8 + i] === byte)
}

/**
 * Compares the file with the hash it carries.
 *
 * @throws DataError when they differ
 */
export function checkHash(bytes: Uint8Array, sha256: Sha256, file: string): void {
  const stored = String.fromCharCode(...bytes.subarray(hashStart, hashStart + 64))
  const found = sha256(bytes.subarray(0, hashStart), encodeText(noHash), bytes.subarray(hashStart + 64))
  if (found !== stored) {
    throw malformed(file, hashStart, `SHA-256 ${stored}`, `${found}; the file was damaged or changed after it was written`)
  }
}

function stringEnd(json: string, start: number): number {
  for (let i = start + 1; i < json.length; i++) {
    if (json[i] === '\\') i++
    else if (json[i] === '"') return i + 1
  }
  return json.length
}

/** JSON.parse keeps the last of equal keys; here they are an error. `json` is known to be valid. */
function checkKeysDiffer(json: string, file: string): void {
  const open: Set<string>[] = []
  for (let i = 0; i < json.length; i++) {
    if (json[i] === '{') open.push(new Set())
    else if (json[i] === '}') open.pop()
    else if (json[i] === '"') {
      const end = stringEnd(json, i)
      if (/^\s*:/.test(json.slice(end, end + 16))) {
        const key = JSON.parse(json.slice(i, end)) as string
        const keys = open[open.length - 1]
        if (keys.has(key)) throw malformed(file, `header character ${i}`, 'names that differ', `'${key}' twice`)
        keys.add(key)
      }
      i = end - 1
    }
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function readHeader(bytes: Uint8Array, file: string): { header: Record<string, unknown>; dataStart: number } {
  need(bytes, 0, 8, 'header length', file)
  const view = dataView(bytes)
  const headerSize = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32
  if (headerSize < 2 || headerSize > Math.min(longestHeader, bytes.length - 8)) {
    const most = Math.min(longestHeader, bytes.length - 8)
    throw malformed(file, 0, `a header length from 2 to ${most}`, `${headerSize}; is the file truncated, or no safetensors file?`)
  }
  let json = ''
  let header: unknown
  try {
    json = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes.subarray(8, 8 + headerSize))
    header = JSON.parse(json)
  } catch (error) {
    throw new DataError(`${file}: byte 8: expected a header of ${headerSize} bytes in JSON (${(error as Error).message})`, { cause: error })
  }
  if (!isRecord(header) || json[0] !== '{') throw malformed(file, 8, 'a JSON object as header', json.slice(0, 20))
  checkKeysDiffer(json, file)
  return { header, dataStart: 8 + headerSize }
}

/** A value of the header in a few words. */
function brief(value: unknown): string {
  if (Array.isArray(value)) return `[${value.slice(0, 8).map((item: unknown) => (typeof item === 'object' ? '…' : String(item)))}]`
  if (isRecord(value)) return `{ ${Object.keys(value).slice(0, 8).join(', ')} }`
  return JSON.stringify(value).slice(0, 80)
}

function isSizeList(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && (n as number) >= 0)
}

function readEntry(name: string, entry: unknown, dataStart: number, fileSize: number, file: string): StoredTensor {
  const where = `tensor '${name}'`
  if (!isRecord(entry) || Object.keys(entry).sort().join() !== 'data_offsets,dtype,shape') {
    throw malformed(file, where, '{ dtype, shape, data_offsets }', brief(entry))
  }
  const { dtype, shape, data_offsets: offsets } = entry
  if (typeof dtype !== 'string' || !Object.hasOwn(itemSizes, dtype)) {
    throw malformed(file, where, `a dtype of ${Object.keys(itemSizes).join(', ')}`, brief(dtype))
  }
  if (!isSizeList(shape)) throw malformed(file, where, 'a shape of non-negative integers', brief(shape))
  if (!isSizeList(offsets) || offsets.length !== 2 || offsets[0] > offsets[1] || dataStart + offsets[1] > fileSize) {
    const got = `${brief(offsets)}; is the file truncated?`
    throw malformed(file, where, `data_offsets [begin, end] within ${fileSize - dataStart} bytes of data`, got)
  }
  const stored = dtype as StoredDtype
  const size = shape.reduce((total, n) => total * n, itemSizes[stored])
  if (offsets[1] - offsets[0] !== size) {
    throw malformed(file, where, `${size} bytes for ${dtype}[${shape.join(', ')}]`, `${offsets[1] - offsets[0]}`)
  }
  return { dtype: stored, shape, begin: dataStart + offsets[0], end: dataStart + offsets[1] }
}

function checkContiguous(tensors: ReadonlyMap<string, StoredTensor>, dataStart: number, fileSize: number, file: string): void {
  let next = dataStart
  for (const [name, { begin, end }] of [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== next) throw malformed(file, begin, `tensor '${name}' to begin at byte ${next}`, begin < next ? 'an overlap' : 'a gap')
    next = end
  }
  if (next !== fileSize) throw malformed(file, next, 'the end of the file', `${fileSize - next} bytes more`)
}

/**
 * Reads and checks a file's header.
 *
 * @throws DataError with file and place for a bad header length, a header that is not JSON, equal names, unknown dtypes,
 *   offsets out of range, byte counts that don't match shapes, overlaps and gaps
 */
export function readStoredFile(bytes: Uint8Array, file: string): StoredFile {
  const { header, dataStart } = readHeader(bytes, file)
  const tensors = new Map<string, StoredTensor>()
  const metadata = new Map<string, string>()
  for (const [name, entry] of Object.entries(header)) {
    if (name !== '__metadata__') {
      tensors.set(name, readEntry(name, entry, dataStart, bytes.length, file))
      continue
    }
    if (!isRecord(entry)) throw malformed(file, '__metadata__', 'a JSON object', brief(entry))
    for (const [key, value] of Object.entries(entry)) {
      if (typeof value !== 'string') throw malformed(file, `__metadata__ '${key}'`, 'a string', typeof value)
      metadata.set(key, value)
    }
  }
  checkContiguous(tensors, dataStart, bytes.length, file)
  return { tensors, metadata }
}
