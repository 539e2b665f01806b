import * as tf from '@tensorflow/tfjs-core'
import { ensureBackend, requireBackend } from '../backend'
import { OptionError, ShapeError } from '../errors'
import { permutationArray } from '../random/arrays'
import type { Key } from '../random/key'
import type { Tree } from '../tree'
import type { NumericArray } from './array-input'
import type { Dataset, PassOptions, WeightedBatch } from './dataset'
import { copyRow, gather, hostTree, storage, toTensors, type ArrayTree, type BatchOf, type HostTree, type Storage } from './host-array'
import { uniformIndices } from './uniform-indices'

/** How {@link Examples.groups} reads one pass. */
export interface GroupOptions {
  /** Shuffles the pass: equal keys give equal orders. In order without it. */
  order?: { key: Key; buffer: number }
  /** Groups to leave out at the start. */
  skip?: number
  /** A last group that is short: leave it out, keep it short, or fill it by repeating its first example. */
  last: 'drop' | 'keep' | 'pad'
  signal?: AbortSignal
}

/** Examples before they are batched: from memory ({@link fromArrays}) or read as they come ({@link fromStream}). */
export interface Examples<Batch extends Tree> {
  /** Number of examples, where known. */
  readonly size: number | undefined
  /** Set by {@link shuffle}: how many examples a stream holds to draw from (arrays are permuted whole). */
  readonly shuffleBuffer?: number
  /** One pass as tensors of `groupSize` examples, `count` of which are real. The reader owns the tensors. */
  groups(groupSize: number, options: GroupOptions): AsyncIterable<{ batch: Batch; count: number }>
}

/** Examples in memory. */
export interface ArrayExamples<Batch extends Tree> extends Examples<Batch> {
  readonly size: number
  /** The examples of these indices, in this order, as tensors [indices.length, ...]. The caller owns them. */
  rows(indices: ArrayLike<number>): Batch
}

function checkPositiveInteger(value: number, name: string): void {
  if (!Number.isInteger(value) || value < 1) throw new OptionError(`${name} must be a positive integer, got ${value}`)
}

function checkIndices(indices: ArrayLike<number>, size: number, name: string): Int32Array {
  const checked = new Int32Array(indices.length)
  for (let i = 0; i < indices.length; i++) {
    const index = indices[i]
    if (!Number.isInteger(index) || index < 0 || index >= size) {
      throw new OptionError(`${name}: index ${index} at position ${i} is out of range; expected 0 to ${size - 1}`)
    }
    checked[i] = index
  }
  return checked
}

/** Where the examples of an {@link ArrayExamples} lie; {@link subset} selects from it without copying. */
interface HostSource {
  readonly tree: HostTree
  readonly selection: Int32Array | undefined
}
const hosts = Symbol('hosts')

function arrayExamples<Batch extends Tree>(
  tree: HostTree,
  selection: Int32Array | undefined,
): ArrayExamples<Batch> & { [hosts]: HostSource } {
  const size = selection?.length ?? tree.size
  const ordered = (key: Key | undefined): Int32Array | undefined => {
    if (key === undefined) return selection
    const order = permutationArray(key, size)
    return selection === undefined ? order : order.map((i) => selection[i])
  }
  return {
    size,
    [hosts]: { tree, selection },
    async *groups(groupSize, { order, skip = 0, last, signal }) {
      const indices = ordered(order?.key)
      const end = last === 'drop' ? size - (size % groupSize) : size
      for (let start = skip * groupSize; start < end; start += groupSize) {
        signal?.throwIfAborted()
        const count = Math.min(groupSize, size - start)
        yield { batch: gather<Batch>(tree, indices, start, count, last === 'pad' ? groupSize : count), count }
      }
    },
    rows(indices) {
      requireBackend()
      const checked = checkIndices(indices, size, 'rows')
      return gather<Batch>(tree, selection === undefined ? checked : checked.map((i) => selection[i]), 0, checked.length)
    },
  }
}

/**
 * Examples in memory: any record, list or tree of arrays with equal first axis.
 *
 * Typed arrays are used in place (don't change them afterwards), tensors and nested numbers are copied.
 * A batch is a copy of its rows into new tensors.
 *
 * @param arrays - leaves: tensors, typed arrays [n], `{ data, shape, dtype? }` or nested numbers, all with n examples first
 * @throws ShapeError when the arrays are ragged, or differ in their first axis
 * @throws DataError when values don't fit the dtype asked for
 */
export function fromArrays<const T extends ArrayTree>(arrays: T): ArrayExamples<BatchOf<T>> {
  return arrayExamples(hostTree(arrays), undefined)
}

/**
 * Some of the examples, in the given order, without copying them. Shuffling is kept.
 *
 * @param indices - each from 0 to `examples.size − 1`; repeats are allowed
 * @throws OptionError for an index out of range, or examples that were not made by `fromArrays`
 */
export function subset<Batch extends Tree>(examples: ArrayExamples<Batch>, indices: ArrayLike<number>): ArrayExamples<Batch> {
  if (!(hosts in examples)) throw new OptionError('subset: expected examples made by fromArrays')
  const { tree, selection } = examples[hosts] as HostSource
  const checked = checkIndices(indices, examples.size, 'subset')
  const chosen = arrayExamples<Batch>(tree, selection === undefined ? checked : checked.map((i) => selection[i]))
  return examples.shuffleBuffer === undefined ? chosen : { ...chosen, shuffleBuffer: examples.shuffleBuffer }
}

/** Options of {@link fromStream}. */
export interface StreamOptions {
  /** Number of examples in one pass, where known: progress bars and `fit` by epochs can then count ahead. */
  size?: number
}

/** `next`, or the signal's reason as soon as it aborts. */
function orAbort<T>(next: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return next
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason as Error)
    signal.addEventListener('abort', abort)
    next.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}

/** Ends when `signal` aborts even while the source is silent; closes the source. */
async function* abortable<T>(source: AsyncIterable<T>, signal: AbortSignal | undefined): AsyncGenerator<T> {
  const iterator = source[Symbol.asyncIterator]()
  let waiting = false
  try {
    while (true) {
      signal?.throwIfAborted()
      waiting = true
      const next = await orAbort(iterator.next(), signal)
      waiting = false
      if (next.done) return
      yield next.value
    }
  } finally {
    const closing = Promise.resolve(iterator.return?.())
    // A source that is still silent would never answer: its end is not awaited, and its late failure concerns no one.
    if (waiting) closing.catch(() => {})
    else await closing
  }
}

function checkSameArrays(chunk: HostTree, first: HostTree): void {
  const describe = (tree: HostTree): string =>
    tree.leaves.map((leaf) => `${leaf.path}: ${leaf.dtype}[n${leaf.rowShape.map((n) => `, ${n}`).join('')}]`).join('; ')
  if (describe(chunk) === describe(first) && JSON.stringify(chunk.structure) === JSON.stringify(first.structure)) return
  throw new ShapeError(`fromStream: every chunk needs the same arrays: expected ${describe(first)}, got ${describe(chunk)}`)
}

/** Gathers rows into tensors of `groupSize` examples, leaving out the first `skipRows`. */
function groupBuilder<Batch extends Tree>(tree: HostTree, groupSize: number, skipRows: number) {
  let seen = 0
  let count = 0
  let values: Storage[] = []
  const isFull = (): boolean => count === groupSize
  return {
    isFull,
    add(source: readonly NumericArray[], row: number): void {
      if (seen++ < skipRows) return
      if (count === 0) values = tree.leaves.map((leaf) => storage(leaf.dtype, groupSize * leaf.rowSize))
      tree.leaves.forEach((leaf, i) => copyRow(source[i], row, values[i], count, leaf.rowSize))
      count++
    },
    /** The rows so far as tensors; a short group is filled up with its first example when `pad` is set. */
    take(pad: boolean): { batch: Batch; count: number } {
      const rows = pad ? groupSize : count
      tree.leaves.forEach((leaf, i) => {
        for (let row = count; row < rows; row++) copyRow(values[i], 0, values[i], row, leaf.rowSize)
        if (rows < groupSize) values[i] = values[i].slice(0, rows * leaf.rowSize)
      })
      const group = { batch: toTensors<Batch>(tree, values, rows), count }
      count = 0
      return group
    },
    get count() {
      return count
    },
  }
}

/** Holds `capacity` rows; a row that comes in takes the place of a random one, which goes out. */
function rowShuffler(tree: HostTree, capacity: number, key: Key, emit: (values: readonly NumericArray[], row: number) => void) {
  const draw = uniformIndices(key)
  const held = tree.leaves.map((leaf) => storage(leaf.dtype, capacity * leaf.rowSize))
  let filled = 0
  const put = (source: readonly NumericArray[], row: number, slot: number): void =>
    tree.leaves.forEach((leaf, i) => copyRow(source[i], row, held[i], slot, leaf.rowSize))
  return {
    push(source: readonly NumericArray[], row: number): void {
      if (filled < capacity) return put(source, row, filled++)
      const slot = draw(capacity)
      emit(held, slot)
      put(source, row, slot)
    },
    /** Sends out one of the rows still held; false when there is none. */
    pop(): boolean {
      if (filled === 0) return false
      const slot = draw(filled--)
      emit(held, slot)
      put(held, filled, slot)
      return true
    },
  }
}

/**
 * Examples read as they come: files larger than memory, generators, sockets.
 *
 * @param open - starts one pass; yields chunks of examples, each a tree of arrays with n ≥ 0 examples first (one example:
 *   `n = 1`), all of the same arrays. It gets the pass's `signal` and is closed when the reader stops early.
 * @throws ShapeError (while reading) when a chunk's arrays differ from the first chunk's
 */
export function fromStream<const T extends ArrayTree>(
  open: (options: { signal?: AbortSignal }) => AsyncIterable<T>,
  options: StreamOptions = {},
): Examples<BatchOf<T>> {
  const { size } = options
  return {
    size,
    async *groups(groupSize, { order, skip = 0, last, signal }) {
      let first: HostTree | undefined
      let group: ReturnType<typeof groupBuilder<BatchOf<T>>> | undefined
      let shuffler: ReturnType<typeof rowShuffler> | undefined
      for await (const arrays of abortable(open(signal === undefined ? {} : { signal }), signal)) {
        const chunk = hostTree(arrays)
        first ??= chunk
        checkSameArrays(chunk, first)
        const builder = (group ??= groupBuilder(first, groupSize, skip * groupSize))
        if (order !== undefined) shuffler ??= rowShuffler(first, order.buffer, order.key, builder.add)
        const take = shuffler?.push ?? builder.add
        const values = chunk.leaves.map((leaf) => leaf.data)
        for (let row = 0; row < chunk.size; row++) {
          take(values, row)
          if (builder.isFull()) yield builder.take(false)
        }
      }
      if (group === undefined) return
      while (shuffler?.pop()) if (group.isFull()) yield group.take(false)
      if (group.count > 0 && last !== 'drop') yield group.take(last === 'pad')
    },
  }
}

/** Options of {@link shuffle}. */
export interface ShuffleOptions {
  /** Examples of a stream held in memory to draw the next from. Arrays are permuted whole. Default 1024. */
  buffer?: number
}

/**
 * Reads training passes in random order: a permutation of arrays, a shuffle buffer for streams.
 * The order depends only on the key of the pass, which is then required. Evaluation stays in order.
 *
 * @throws OptionError when `buffer` is no positive integer
 */
export function shuffle<E extends Examples<Tree>>(examples: E, options: ShuffleOptions = {}): E {
  const { buffer = 1024 } = options
  checkPositiveInteger(buffer, 'shuffle: buffer')
  return { ...examples, shuffleBuffer: buffer }
}

function weights(count: number, rows: number): tf.Tensor1D {
  return tf.tensor1d(new Float32Array(rows).fill(1, 0, count))
}

/**
 * Examples in batches.
 *
 * @param batchSize - examples in a batch
 * @returns a dataset; a training pass throws OptionError when the examples are shuffled and no key is given, or when
 *   `dropLast` would leave no batch at all
 * @throws OptionError when `batchSize` is no positive integer
 */
export function batch<Batch extends Tree>(examples: Examples<Batch>, batchSize: number): Dataset<Batch> {
  checkPositiveInteger(batchSize, 'batch: batchSize')
  const { size, shuffleBuffer } = examples
  return {
    batchesPerEpoch: size === undefined ? undefined : Math.floor(size / batchSize),
    async *batches({ key, skip = 0, dropLast = true, signal }: PassOptions = {}) {
      if (shuffleBuffer !== undefined && key === undefined) {
        throw new OptionError('batches: the examples are shuffled, so the pass needs a key: batches({ key })')
      }
      if (!Number.isInteger(skip) || skip < 0) throw new OptionError(`batches: skip must be a non-negative integer, got ${skip}`)
      if (dropLast && size !== undefined && size < batchSize) {
        throw new OptionError(`batches: ${size} examples give no batch of ${batchSize}; use a smaller batchSize, or dropLast: false`)
      }
      await ensureBackend()
      const order = shuffleBuffer === undefined || key === undefined ? undefined : { key, buffer: shuffleBuffer }
      const groups = examples.groups(batchSize, { order, skip, last: dropLast ? 'drop' : 'keep', signal })
      for await (const group of groups) yield group.batch
    },
    async *weightedBatches({ signal } = {}): AsyncGenerator<WeightedBatch<Batch>> {
      await ensureBackend()
      for await (const group of examples.groups(batchSize, { last: 'pad', signal })) {
        yield { batch: group.batch, weight: weights(group.count, batchSize) }
      }
    },
  }
}
