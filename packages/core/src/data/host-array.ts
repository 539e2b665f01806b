import * as tf from '@tensorflow/tfjs-core'
import { DataError, OptionError, ShapeError } from '../errors'
import { unflatten, type Tree, type TreeStructure } from '../tree'
import type { NumericArray } from './array-input'

/** Dtypes of the tensors a dataset makes. */
export type HostDtype = 'float32' | 'int32' | 'bool'

/**
 * Row-major values on the host with their shape: what the file readers return and `fromArrays` takes.
 * `dtype` is that of the tensors made from it; by default float32 for float storage, int32 for integer storage.
 * Images may stay bytes on the host (`Uint8Array` with dtype float32) and are converted batch by batch.
 */
export type HostArray = { readonly data: NumericArray; readonly shape: readonly number[]; readonly dtype?: HostDtype }

/** Numbers (float32) or booleans (bool) in nested arrays. */
export type NestedNumbers = readonly (number | boolean | NestedNumbers)[]

/** One array of examples along its first axis. A typed array alone is one value per example. */
export type ArrayLeaf = tf.Tensor | HostArray | NumericArray | NestedNumbers

/** An array of examples, or lists and records of them. */
export type ArrayTree = ArrayLeaf | readonly ArrayTree[] | { readonly [key: string]: ArrayTree }

// An array tree of unknown structure becomes a tree of unknown structure.
type Tensors<T> = ArrayTree extends T ? Tree : T extends ArrayLeaf ? tf.Tensor : { -readonly [K in keyof T]: Tensors<T[K]> }

/** The tree of tensors that an {@link ArrayTree} becomes in a batch. */
export type BatchOf<T extends ArrayTree> = Tensors<T> extends infer Batch extends Tree ? Batch : never

/** One array, ready to be gathered from: `rowSize` values per example. */
export interface HostLeaf {
  readonly path: string
  readonly data: NumericArray
  readonly rowShape: readonly number[]
  readonly rowSize: number
  readonly dtype: HostDtype
}

/** Arrays of equal first axis `size`, taken out of their tree. */
export interface HostTree {
  readonly structure: TreeStructure
  readonly leaves: readonly HostLeaf[]
  readonly size: number
}

/** Storage of one dtype, as TensorFlow.js wants it. */
export type Storage = Float32Array | Int32Array | Uint8Array

export function storage(dtype: HostDtype, length: number): Storage {
  if (dtype === 'float32') return new Float32Array(length)
  return dtype === 'int32' ? new Int32Array(length) : new Uint8Array(length)
}

export function product(shape: readonly number[]): number {
  return shape.reduce((total, n) => total * n, 1)
}

function isTypedArray(value: unknown): value is NumericArray {
  return (
    ArrayBuffer.isView(value) && !(value instanceof DataView) && !(value instanceof BigInt64Array) && !(value instanceof BigUint64Array)
  )
}

function isHostArray(value: object): value is HostArray {
  return 'data' in value && 'shape' in value && isTypedArray(value.data) && Array.isArray(value.shape)
}

function isNested(value: readonly unknown[]): value is NestedNumbers {
  let first: unknown = value[0]
  while (Array.isArray(first)) first = first[0]
  return typeof first === 'number' || typeof first === 'boolean'
}

function nestedShape(value: NestedNumbers): number[] {
  const shape: number[] = []
  for (let level: unknown = value; Array.isArray(level); level = level[0]) shape.push(level.length)
  return shape
}

function fromNested(value: NestedNumbers, path: string): HostArray {
  const shape = nestedShape(value)
  const data = new Float32Array(product(shape))
  let next = 0
  let booleans = 0
  const fill = (level: unknown, depth: number): void => {
    if (depth === shape.length) {
      if (typeof level !== 'number' && typeof level !== 'boolean') {
        throw new ShapeError(`fromArrays: '${path}' is ragged or holds a ${typeof level}; expected numbers of shape [${shape.join(', ')}]`)
      }
      if (typeof level === 'boolean') booleans++
      data[next++] = Number(level)
      return
    }
    if (!Array.isArray(level) || level.length !== shape[depth]) {
      const got = Array.isArray(level) ? `${level.length} values` : `a ${typeof level}`
      throw new ShapeError(
        `fromArrays: '${path}' is ragged: expected ${shape[depth]} values on axis ${depth}, got ${got}. Pad it (padRagged)`,
      )
    }
    for (const item of level) fill(item, depth + 1)
  }
  fill(value, 0)
  if (booleans > 0 && booleans < data.length) throw new DataError(`fromArrays: '${path}' mixes booleans and numbers; use one of them`)
  return { data, shape, dtype: booleans > 0 ? 'bool' : 'float32' }
}

function fromTensor(tensor: tf.Tensor, path: string): HostArray {
  if (tensor.isDisposed) throw new DataError(`fromArrays: the tensor '${path}' was disposed; pass it before dispose(), or a clone`)
  const { dtype, shape } = tensor
  if (dtype !== 'float32' && dtype !== 'int32' && dtype !== 'bool') {
    throw new DataError(`fromArrays: '${path}' has dtype ${dtype}; expected float32, int32 or bool`)
  }
  // The cpu backend hands out its own buffer: copy, so that the tensor may be disposed.
  return { data: tensor.dataSync().slice() as NumericArray, shape, dtype }
}

function defaultDtype(data: NumericArray): HostDtype {
  return data instanceof Float32Array || data instanceof Float64Array ? 'float32' : 'int32'
}

/** Values that would change silently when stored as `dtype`. */
function checkValues(data: NumericArray, dtype: HostDtype, path: string): void {
  const exact = data instanceof Int32Array || data instanceof Int16Array || data instanceof Uint16Array || data instanceof Int8Array
  const bytes = data instanceof Uint8Array || data instanceof Uint8ClampedArray
  if (dtype === 'float32' || (dtype === 'int32' && (exact || bytes))) return
  for (let i = 0; i < data.length; i++) {
    const value = data[i]
    const fits = dtype === 'bool' ? value === 0 || value === 1 : (value | 0) === value
    if (!fits) throw new DataError(`fromArrays: '${path}' holds ${value} at flat index ${i}, which is no ${dtype}; pass another dtype`)
  }
}

function toLeaf(array: HostArray, path: string): HostLeaf {
  const { data, shape, dtype = defaultDtype(data) } = array
  if (shape.length === 0) throw new ShapeError(`fromArrays: '${path}' is a scalar; expected examples along a first axis`)
  if (shape.some((n) => !Number.isInteger(n) || n < 0) || product(shape) !== data.length) {
    throw new ShapeError(
      `fromArrays: '${path}' has shape [${shape.join(', ')}] but ${data.length} values; their number must be the shape's product`,
    )
  }
  if (dtype !== 'float32' && dtype !== 'int32' && dtype !== 'bool') {
    throw new OptionError(`fromArrays: '${path}' asks for dtype ${String(dtype)}; expected float32, int32 or bool`)
  }
  checkValues(data, dtype, path)
  const rowShape = shape.slice(1)
  return { path, data, rowShape, rowSize: product(rowShape), dtype }
}

/**
 * Takes the arrays out of their tree and checks them.
 *
 * @throws ShapeError for ragged or scalar arrays and first axes that differ; DataError for values that don't fit the dtype
 */
export function hostTree(arrays: ArrayTree): HostTree {
  const leaves: HostLeaf[] = []
  const sizes: number[] = []
  const add = (array: HostArray, path: string): TreeStructure => {
    leaves.push(toLeaf(array, path || '/'))
    sizes.push(array.shape[0])
    return { kind: 'leaf' }
  }
  const walk = (value: ArrayTree, path: string): TreeStructure => {
    if (value instanceof tf.Tensor) return add(fromTensor(value, path || '/'), path)
    if (isTypedArray(value)) return add({ data: value, shape: [value.length] }, path)
    if (Array.isArray(value)) {
      if (isNested(value)) return add(fromNested(value, path || '/'), path)
      return { kind: 'list', items: (value as readonly ArrayTree[]).map((item, i) => walk(item, `${path}/${i}`)) }
    }
    if (typeof value === 'object' && value !== null) {
      if (isHostArray(value)) return add(value, path)
      const record = value as { readonly [key: string]: ArrayTree }
      const keys = Object.keys(record).sort()
      return { kind: 'record', keys, items: keys.map((key) => walk(record[key], `${path}/${key}`)) }
    }
    throw new OptionError(
      `fromArrays: '${path || '/'}' is ${String(value)}; expected a tensor, typed array, { data, shape } or nested numbers`,
    )
  }
  const structure = walk(arrays, '')
  const other = sizes.findIndex((size) => size !== sizes[0])
  if (other > 0) {
    throw new ShapeError(
      `fromArrays: '${leaves[other].path}' has ${sizes[other]} examples, '${leaves[0].path}' has ${sizes[0]}; all arrays need the same first axis`,
    )
  }
  if (leaves.length === 0) throw new OptionError('fromArrays: expected at least one array')
  return { structure, leaves, size: sizes[0] }
}

/** Rows shorter than this are copied value by value: a call of `set` costs more. */
const shortRow = 16

/** Copies row `from` of `source` to row `to` of `target`. */
export function copyRow(source: NumericArray, from: number, target: NumericArray, to: number, rowSize: number): void {
  if (rowSize < shortRow) {
    for (let i = 0; i < rowSize; i++) target[to * rowSize + i] = source[from * rowSize + i]
  } else {
    target.set(source.subarray(from * rowSize, (from + 1) * rowSize), to * rowSize)
  }
}

/** The tree of tensors [rows, ...] over `values`, one storage per leaf of `tree`; the tensors own the storage. */
export function toTensors<Batch extends Tree>(tree: HostTree, values: readonly Storage[], rows: number): Batch {
  return unflatten<Batch>(
    tree.structure,
    tree.leaves.map((leaf, i) => tf.tensor(values[i], [rows, ...leaf.rowShape], leaf.dtype)),
  )
}

/**
 * The examples `indices[start … start + count)` as tensors of `rows` ≥ `count` rows; rows beyond `count` repeat the first.
 * Without indices, the examples themselves from `start`.
 */
export function gather<Batch extends Tree>(
  tree: HostTree,
  indices: Int32Array | undefined,
  start: number,
  count: number,
  rows = count,
): Batch {
  const values = tree.leaves.map((leaf) => {
    const { data, rowSize } = leaf
    const out = storage(leaf.dtype, rows * rowSize)
    if (indices === undefined) out.set(data.subarray(start * rowSize, (start + count) * rowSize))
    else for (let i = 0; i < count; i++) copyRow(data, indices[start + i], out, i, rowSize)
    for (let i = count; i < rows; i++) out.copyWithin(i * rowSize, 0, rowSize)
    return out
  })
  return toTensors(tree, values, rows)
}

/** Arrays of one storage type and equal further axes, joined along the first axis. */
export function concatRows(arrays: readonly HostArray[]): HostArray {
  const [first] = arrays
  const rows = arrays.reduce((total, array) => total + array.shape[0], 0)
  const rest = first.shape.slice(1)
  const data = new (first.data.constructor as new (length: number) => NumericArray)(rows * product(rest))
  let offset = 0
  for (const array of arrays) {
    data.set(array.data, offset)
    offset += array.data.length
  }
  return { ...first, data, shape: [rows, ...rest] }
}
