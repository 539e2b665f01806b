import type * as tf from '@tensorflow/tfjs-core'
import { OptionError } from '../errors'
import { fold, type Key } from '../random/key'
import { clone, dispose, scope, type Tree } from '../tree'
import type { Dataset, PassOptions } from './dataset'

/** Separates the keys of {@link map} from those that order the pass. */
const mapPurpose = 0x6d6170

/**
 * Applies a function to every batch: scaling, augmentation, a frozen feature extractor.
 *
 * @param fn - batch → batch with the same number of examples; runs in a scope of its own, and its argument is freed afterwards.
 *   In a training pass with a key it gets a key of its own for each batch (for augmentation); in evaluation, and in a pass
 *   without a key, `undefined`. Every `map` of a pipeline gets the same keys: fold them where two of them draw.
 */
export function map<In extends Tree, Out extends Tree>(dataset: Dataset<In>, fn: (batch: In, key: Key | undefined) => Out): Dataset<Out> {
  const apply = (batch: In, key: Key | undefined): Out => {
    using s = scope()
    try {
      return s.keep(clone(fn(batch, key)))
    } finally {
      dispose(batch)
    }
  }
  return {
    batchesPerEpoch: dataset.batchesPerEpoch,
    async *batches(options: PassOptions = {}) {
      const { key, skip = 0 } = options
      const root = key === undefined ? undefined : fold(key, mapPurpose)
      let index = skip
      for await (const batch of dataset.batches(options)) yield apply(batch, root && fold(root, index++))
    },
    async *weightedBatches(options) {
      for await (const { batch, weight } of dataset.weightedBatches(options)) {
        let mapped: Out
        try {
          mapped = apply(batch, undefined)
        } catch (error) {
          weight.dispose()
          throw error
        }
        yield { batch: mapped, weight }
      }
    },
  }
}

function checkCount(value: number, name: string): void {
  if (!Number.isInteger(value) || value < 1) throw new OptionError(`${name} must be a positive integer, got ${value}`)
}

async function* limited<T>(source: () => AsyncIterable<T>, count: number): AsyncGenerator<T> {
  if (count <= 0) return
  let left = count
  for await (const item of source()) {
    yield item
    if (--left === 0) return
  }
}

/**
 * The first `count` batches of each pass, in training and evaluation.
 *
 * @throws OptionError when `count` is no positive integer
 */
export function take<Batch extends Tree>(dataset: Dataset<Batch>, count: number): Dataset<Batch> {
  checkCount(count, 'take: count')
  const { batchesPerEpoch } = dataset
  return {
    batchesPerEpoch: batchesPerEpoch === undefined ? undefined : Math.min(count, batchesPerEpoch),
    batches: (options = {}) => limited(() => dataset.batches(options), count - (options.skip ?? 0)),
    weightedBatches: (options) => limited(() => dataset.weightedBatches(options), count),
  }
}

/**
 * Passes over several datasets, one after another. Dataset i is ordered by `fold(key, i)`; each drops its own last short batch.
 */
export function concat<Batch extends Tree>(...datasets: Dataset<Batch>[]): Dataset<Batch> {
  const counts = datasets.map((dataset) => dataset.batchesPerEpoch)
  return {
    batchesPerEpoch: counts.reduce((total, count) => (total === undefined || count === undefined ? undefined : total + count), 0),
    async *batches(options: PassOptions = {}) {
      const { key, dropLast = true } = options
      let skip = options.skip ?? 0
      for (const [i, dataset] of datasets.entries()) {
        const count = dataset.batchesPerEpoch
        // With the last short batches kept, a pass has more batches than `batchesPerEpoch` tells.
        if (count !== undefined && dropLast && skip >= count) {
          skip -= count
          continue
        }
        const known = count !== undefined && dropLast
        const own: PassOptions = { ...options, skip: known ? skip : 0, ...(key && { key: fold(key, i) }) }
        if (known) skip = 0
        for await (const batch of dataset.batches(own)) {
          if (skip > 0) {
            skip--
            dispose(batch)
          } else yield batch
        }
      }
    },
    async *weightedBatches(options) {
      for (const dataset of datasets) yield* dataset.weightedBatches(options)
    },
  }
}

/** Keeps `count` items of `source` under way; frees those that were not handed out when the reader stops. */
async function* ahead<T extends Tree>(source: AsyncIterable<T>, count: number): AsyncGenerator<T> {
  const iterator = source[Symbol.asyncIterator]()
  const pending: Promise<IteratorResult<T>>[] = []
  const request = (): void => {
    const next = iterator.next()
    // Its failure is reported when its turn comes; until then it is not unhandled.
    next.catch(() => {})
    pending.push(next)
  }
  try {
    for (let i = 0; i < count; i++) request()
    while (true) {
      const next = await (pending.shift() as Promise<IteratorResult<T>>)
      if (next.done) return
      request()
      yield next.value
    }
  } finally {
    const rest = pending.map(async (next) => {
      const result = await next.catch(() => undefined)
      if (result !== undefined && !result.done) dispose(result.value)
    })
    await Promise.all([...rest, iterator.return?.()])
  }
}

/**
 * Reads up to `count` batches ahead of the consumer: reading and decoding overlap training.
 *
 * @param count - batches held; each costs its memory. Default 2
 * @throws OptionError when `count` is no positive integer
 */
export function prefetch<Batch extends Tree>(dataset: Dataset<Batch>, count = 2): Dataset<Batch> {
  checkCount(count, 'prefetch: count')
  return {
    batchesPerEpoch: dataset.batchesPerEpoch,
    batches: (options) => ahead(dataset.batches(options), count),
    async *weightedBatches(options) {
      const asTrees = async function* (): AsyncGenerator<{ batch: Batch; weight: tf.Tensor1D }> {
        yield* dataset.weightedBatches(options)
      }
      yield* ahead(asTrees(), count)
    },
  }
}
