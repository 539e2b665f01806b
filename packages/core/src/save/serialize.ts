import * as tf from '@tensorflow/tfjs-core'
import { sha256 as nobleSha256 } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'
import { requireBackend } from '../backend'
import { DataError, OptionError } from '../errors'
import { copyItems, hostIsLittleEndian, malformed, swapBytes } from '../data/malformed'
import type { Json } from '../learner'
import { dispose, entries, flatten, unflatten, type Tree, type TreeStructure } from '../tree'
import { deepest, isForbiddenKey, parseHost, stringifyHost } from './host-json'
import {
  checkHash,
  hasHash,
  itemSizes,
  layOut,
  readStoredFile,
  type Sha256,
  type StoredDtype,
  type StoredFile,
  type StoredTensor,
} from './safetensors'

/** Version of what `bpf.*` metadata mean. */
const formatVersion = '1'

type LeafDtype = 'float32' | 'int32' | 'bool' | 'complex64'
const storedDtypes: Readonly<Record<Exclude<LeafDtype, 'complex64'>, StoredDtype>> = { float32: 'F32', int32: 'I32', bool: 'BOOL' }

/** A tree's structure in JSON: a leaf is its dtype, a list an array, a record an object. */
type StoredStructure = LeafDtype | readonly StoredStructure[] | { readonly [key: string]: StoredStructure }

/** '~' in a JSON Pointer is always followed by 0 or 1, so these names belong to no other leaf. */
const realPart = '~real'
const imaginaryPart = '~imag'

const portableSha256: Sha256 = (...parts) => {
  const hash = nobleSha256.create()
  for (const part of parts) hash.update(part)
  return bytesToHex(hash.digest())
}

/** Options of {@link serialize}. */
export interface SerializeOptions {
  /** Host state kept beside the tensors. Default null. */
  host?: Json
  /** Where the state was made (versions, backend, threads), to compare on loading. Default null. */
  environment?: Json
  /** Replaces the built-in SHA-256 (a native one, say). */
  sha256?: Sha256
}

/** What {@link deserialize} returns. The caller owns the tensors. */
export interface Saved<T extends Tree> {
  tree: T
  host: Json
  environment: Json
}

function storedStructure(structure: TreeStructure, leaves: Iterator<tf.Tensor>): StoredStructure {
  if (structure.kind === 'leaf') return (leaves.next().value as tf.Tensor).dtype as LeafDtype
  const items = structure.items.map((item) => storedStructure(item, leaves))
  return structure.kind === 'list' ? items : Object.fromEntries(structure.keys.map((key, i) => [key, items[i]]))
}

function checkWritable(leaf: tf.Tensor, path: string): void {
  if (leaf.isDisposed) throw new OptionError(`serialize: the tensor at '${path || '/'}' was disposed; serialize it before dispose()`)
  if (leaf.dtype === 'string') throw new OptionError(`serialize: the tensor at '${path || '/'}' holds strings; keep them in the host state`)
  const forbidden = path.split('/').find(isForbiddenKey)
  if (forbidden !== undefined) throw new OptionError(`serialize: the key '${forbidden}' at '${path}' is not allowed; rename it`)
}

function littleEndianBytes(values: Float32Array | Int32Array | Uint8Array): Uint8Array {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
  if (hostIsLittleEndian || values.BYTES_PER_ELEMENT === 1) return bytes
  const swapped = bytes.slice()
  swapBytes(swapped, values.BYTES_PER_ELEMENT)
  return swapped
}

interface NamedTensor {
  readonly name: string
  readonly dtype: StoredDtype
  readonly shape: readonly number[]
  readonly bytes: Uint8Array
}

async function readLeaf(leaf: tf.Tensor, path: string): Promise<NamedTensor[]> {
  const { shape } = leaf
  const values = await leaf.data()
  if (leaf.dtype === 'float32') return [{ name: path, dtype: 'F32', shape, bytes: littleEndianBytes(new Float32Array(values)) }]
  if (leaf.dtype === 'int32') return [{ name: path, dtype: 'I32', shape, bytes: littleEndianBytes(new Int32Array(values)) }]
  if (leaf.dtype === 'bool') return [{ name: path, dtype: 'BOOL', shape, bytes: new Uint8Array(values) }]
  // complex64 comes as pairs of real and imaginary part.
  const parts = [0, 1].map((part) => Float32Array.from({ length: leaf.size }, (_, i) => values[2 * i + part]))
  return [realPart, imaginaryPart].map((suffix, i) => ({ name: path + suffix, dtype: 'F32', shape, bytes: littleEndianBytes(parts[i]) }))
}

/**
 * A tree of tensors with its host state as one safetensors file, which Python's safetensors reads too.
 *
 * Tensors are named by JSON Pointer (`/layers/0/kernel`); complex64 becomes two tensors, bool BOOL, int32 I32. Structure,
 * host state and environment are JSON strings in `__metadata__`, with a SHA-256 over the whole file.
 *
 * @param tree - not disposed
 * @returns the file's bytes
 * @throws OptionError for string tensors, disposed tensors, host state that is not JSON, and keys like `__proto__`
 */
export async function serialize(tree: Tree, options: SerializeOptions = {}): Promise<Uint8Array> {
  const { host = null, environment = null, sha256 = portableSha256 } = options
  const flat = flatten(tree)
  const named = entries(tree)
  for (const { leaf, path } of named) checkWritable(leaf, path)
  const structure = storedStructure(flat.structure, flat.leaves.values())
  const metadata = {
    'bpf.format': formatVersion,
    'bpf.structure': JSON.stringify(structure),
    'bpf.host': stringifyHost(host),
    'bpf.environment': stringifyHost(environment),
  }
  const tensors = await Promise.all(named.map(({ leaf, path }) => readLeaf(leaf, path)))
  return layOut(tensors.flat(), metadata, sha256)
}

interface LeafPlan {
  readonly path: string
  readonly dtype: LeafDtype
}

/** Structure and leaves (in the order of `flatten`) from the stored structure. */
function planLeaves(stored: unknown, path: string, leaves: LeafPlan[], file: string, depth = 0): TreeStructure {
  if (depth > deepest) throw malformed(file, 'bpf.structure', `at most ${deepest} levels`, 'more')
  if (stored === 'float32' || stored === 'int32' || stored === 'bool' || stored === 'complex64') {
    leaves.push({ path, dtype: stored })
    return { kind: 'leaf' }
  }
  if (Array.isArray(stored))
    return { kind: 'list', items: stored.map((item, i) => planLeaves(item, `${path}/${i}`, leaves, file, depth + 1)) }
  if (typeof stored !== 'object' || stored === null) {
    throw malformed(file, 'bpf.structure', `a dtype, list or record at '${path || '/'}'`, JSON.stringify(stored))
  }
  const keys = Object.keys(stored).sort()
  const items = keys.map((key) => {
    if (isForbiddenKey(key)) throw malformed(file, 'bpf.structure', 'harmless keys', `'${key}'`)
    const name = key.replaceAll('~', '~0').replaceAll('/', '~1')
    return planLeaves((stored as Record<string, unknown>)[key], `${path}/${name}`, leaves, file, depth + 1)
  })
  return { kind: 'record', keys, items }
}

function floatsFrom(bytes: Uint8Array, tensor: StoredTensor): Float32Array {
  return new Float32Array(copyItems(bytes, tensor.begin, (tensor.end - tensor.begin) / 4, 4, true))
}

function find(stored: StoredFile, name: string, dtype: StoredDtype, file: string): StoredTensor {
  const tensor = stored.tensors.get(name)
  if (tensor === undefined) throw malformed(file, 'bpf.structure', `a tensor '${name}'`, 'none of that name')
  if (tensor.dtype !== dtype) throw malformed(file, `tensor '${name}'`, `dtype ${dtype} as in bpf.structure`, tensor.dtype)
  return tensor
}

/** Values of one leaf, checked but not yet a tensor: nothing is allocated until the whole file is known to be good. */
function leafMaker(bytes: Uint8Array, stored: StoredFile, { path, dtype }: LeafPlan, file: string): () => tf.Tensor {
  if (dtype === 'complex64') {
    const real = find(stored, path + realPart, 'F32', file)
    const imaginary = find(stored, path + imaginaryPart, 'F32', file)
    if (real.shape.join() !== imaginary.shape.join()) throw malformed(file, `tensor '${path}'`, 'parts of equal shape', 'others')
    const part = (tensor: StoredTensor): tf.Tensor => tf.tensor(floatsFrom(bytes, tensor), [...tensor.shape], 'float32')
    return () => tf.tidy(() => tf.complex(part(real), part(imaginary)))
  }
  const tensor = find(stored, path, storedDtypes[dtype], file)
  if (dtype === 'bool') checkBools(bytes, tensor, file)
  return () => toTensor(bytes, tensor, path, file)
}

function checkBools(bytes: Uint8Array, { begin, end }: StoredTensor, file: string): void {
  const bad = bytes.subarray(begin, end).findIndex((value) => value > 1)
  if (bad >= 0) throw malformed(file, begin + bad, 'a bool of 0 or 1', String(bytes[begin + bad]))
}

function parseStructure(stored: StoredFile, file: string): { structure: TreeStructure; plans: LeafPlan[] } {
  const json = stored.metadata.get('bpf.structure')
  if (stored.metadata.get('bpf.format') !== formatVersion || json === undefined) {
    throw malformed(
      file,
      '__metadata__',
      `bpf.format ${formatVersion} and bpf.structure`,
      `${stored.metadata.get('bpf.format')}; update @bpf/core`,
    )
  }
  const plans: LeafPlan[] = []
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch (error) {
    throw new DataError(`${file}: bpf.structure: expected JSON`, { cause: error })
  }
  const structure = planLeaves(value, '', plans, file)
  const expected = plans.reduce((count, { dtype }) => count + (dtype === 'complex64' ? 2 : 1), 0)
  if (expected !== stored.tensors.size) throw malformed(file, 'bpf.structure', `${expected} tensors`, String(stored.tensors.size))
  return { structure, plans }
}

/** Options of {@link deserialize}. */
export interface DeserializeOptions {
  /** Name of the file, for errors. */
  file?: string
  /** Replaces the built-in SHA-256 (a native one, say). */
  sha256?: Sha256
}

/**
 * Reads what {@link serialize} wrote. The tree is rebuilt from the file alone, empty lists and records included.
 *
 * @returns the tree (owned by the caller), host state and environment
 * @throws DataError naming file and place when anything in the file is damaged or was changed; nothing is loaded then
 * @throws BackendError when no backend was chosen yet
 */
export function deserialize<T extends Tree = Tree>(bytes: Uint8Array, options: DeserializeOptions = {}): Saved<T> {
  requireBackend()
  const { file = 'saved state', sha256 = portableSha256 } = options
  const stored = readStoredFile(bytes, file)
  if (!hasHash(bytes)) {
    throw malformed(file, 8, 'a file written by @bpf/core (its hash comes first)', 'another safetensors file; read it with readSafetensors')
  }
  checkHash(bytes, sha256, file)
  const { structure, plans } = parseStructure(stored, file)
  const makers = plans.map((plan) => leafMaker(bytes, stored, plan, file))
  const host = parseHost(stored.metadata.get('bpf.host') ?? 'null', `${file}: bpf.host`)
  const environment = parseHost(stored.metadata.get('bpf.environment') ?? 'null', `${file}: bpf.environment`)
  return {
    tree: unflatten<T>(
      structure,
      makers.map((make) => make()),
    ),
    host,
    environment,
  }
}

function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

function int64ToInt32(values: BigInt64Array, name: string, file: string): Int32Array {
  return Int32Array.from(values, (value) => {
    if (BigInt.asIntN(32, value) !== value) throw malformed(file, `tensor '${name}'`, 'integers that fit int32', String(value))
    return Number(value)
  })
}

/** A tensor of the nearest dtype that TensorFlow.js has. */
function toTensor(bytes: Uint8Array, tensor: StoredTensor, name: string, file: string): tf.Tensor {
  const { dtype, begin, end } = tensor
  const shape = [...tensor.shape]
  const size = itemSizes[dtype]
  const buffer = copyItems(bytes, begin, (end - begin) / size, size, true)
  switch (dtype) {
    case 'F32':
      return tf.tensor(new Float32Array(buffer), shape, 'float32')
    case 'F64':
      return tf.tensor(new Float32Array(new Float64Array(buffer)), shape, 'float32')
    case 'F16':
      return tf.tensor(Float32Array.from(new Uint16Array(buffer), halfToFloat), shape, 'float32')
    case 'BF16':
      return tf.tensor(new Float32Array(Uint32Array.from(new Uint16Array(buffer), (bits) => bits * 0x10000).buffer), shape, 'float32')
    case 'I64':
      return tf.tensor(int64ToInt32(new BigInt64Array(buffer), name, file), shape, 'int32')
    case 'I32':
      return tf.tensor(new Int32Array(buffer), shape, 'int32')
    case 'I16':
      return tf.tensor(Int32Array.from(new Int16Array(buffer)), shape, 'int32')
    case 'I8':
      return tf.tensor(Int32Array.from(new Int8Array(buffer)), shape, 'int32')
    case 'U8':
      return tf.tensor(Int32Array.from(new Uint8Array(buffer)), shape, 'int32')
    case 'BOOL':
      return tf.tensor(new Uint8Array(buffer), shape, 'bool')
  }
}

/**
 * Reads any safetensors file (a model saved by Python, say) as a flat record of tensors by name.
 * Half precision and doubles become float32, integers int32.
 *
 * @returns tensors owned by the caller
 * @throws DataError naming file and place when the file is malformed, or 64-bit integers don't fit int32
 */
export function readSafetensors(bytes: Uint8Array, options: DeserializeOptions = {}): Record<string, tf.Tensor> {
  requireBackend()
  const { file = 'safetensors file', sha256 = portableSha256 } = options
  const stored = readStoredFile(bytes, file)
  if (hasHash(bytes)) checkHash(bytes, sha256, file)
  else if ([...stored.metadata.keys()].some((key) => key.startsWith('bpf.'))) {
    throw malformed(file, 8, 'the hash bpf.sha256 first', 'other bpf metadata without it; the file is damaged')
  }
  const record: Record<string, tf.Tensor> = {}
  try {
    for (const [name, tensor] of stored.tensors) {
      if (isForbiddenKey(name)) throw malformed(file, 'header', 'harmless names', `'${name}'`)
      if (tensor.dtype === 'BOOL') checkBools(bytes, tensor, file)
      record[name] = toTensor(bytes, tensor, name, file)
    }
  } catch (error) {
    dispose(record)
    throw error
  }
  return record
}
