import * as tf from '@tensorflow/tfjs-core'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { fold, key } from '../random/key'
import { dispose, type Tree } from '../tree'
import type { Dataset } from './dataset'
import { batch, fromArrays, fromStream, shuffle, subset } from './examples'
import type { ArrayTree } from './host-array'
import { concat, map, prefetch, take } from './pipeline'

beforeAll(() => useBackend())

/** Values of the tensor `x` of every batch of a pass; the batches are freed. */
async function valuesOf(pass: AsyncIterable<{ x: tf.Tensor }>): Promise<number[][]> {
  const values: number[][] = []
  for await (const item of pass) {
    values.push([...item.x.dataSync()])
    dispose(item)
  }
  return values
}

function count(n: number): { x: Int32Array } {
  return { x: Int32Array.from({ length: n }, (_, i) => i) }
}

async function* chunks(n: number, size: number): AsyncGenerator<{ x: Int32Array }> {
  for (let start = 0; start < n; start += size) yield { x: Int32Array.from({ length: Math.min(size, n - start) }, (_, i) => start + i) }
}

describe('fromArrays', () => {
  it('gathers rows of every storage into tensors of the dtype asked for', () => {
    const examples = fromArrays({
      image: { data: Uint8Array.from({ length: 3 * 20 }, (_, i) => i), shape: [3, 4, 5], dtype: 'float32' },
      nested: [
        [1, 2],
        [3, 4],
        [5, 6.5],
      ],
      flags: [true, false, true],
      list: [tf.tensor1d([7, 8, 9], 'int32'), new Float64Array([0.5, 1.5, 2.5])],
    })
    expect(examples.size).toBe(3)
    const rows = examples.rows([2, 0])
    expect(rows.image.shape).toEqual([2, 4, 5])
    expect(rows.image.dtype).toBe('float32')
    expect([...rows.image.dataSync().slice(18, 22)]).toEqual([58, 59, 0, 1])
    expect([...rows.nested.dataSync()]).toEqual([5, 6.5, 1, 2])
    expect([rows.flags.dtype, ...rows.flags.dataSync()]).toEqual(['bool', 1, 1])
    const first: tf.Tensor = rows.list[0]
    expect([first.dtype, ...first.dataSync()]).toEqual(['int32', 9, 7])
    expect([rows.list[1].dtype, ...rows.list[1].dataSync()]).toEqual(['float32', 2.5, 0.5])
    dispose(rows)
  })

  it('names the argument that is wrong', () => {
    const x = new Float32Array(3)
    expect(() => fromArrays({ x, y: new Int32Array(4) })).toThrow(/'\/y' has 4 examples, '\/x' has 3/)
    expect(() => fromArrays({ x: [[1, 2], [3]] })).toThrow(/'\/x' is ragged: expected 2 values on axis 1, got 1 values/)
    expect(() => fromArrays({ x: { data: x, shape: [2, 2] } })).toThrow(/'\/x' has shape \[2, 2\] but 3 values/)
    expect(() => fromArrays({ x: { data: new Float32Array([1, 0.5]), shape: [2], dtype: 'int32' } })).toThrow(/holds 0.5 at flat index 1/)
    expect(() => fromArrays({ x: { data: new Uint8Array([1, 2]), shape: [2], dtype: 'bool' } })).toThrow(/holds 2 at flat index 1/)
    expect(() => fromArrays({ x: null } as unknown as ArrayTree)).toThrow(/'\/x' is null/)
    expect(() => fromArrays({ x: tf.scalar(1) })).toThrow(/is a scalar/)
    expect(() => fromArrays({})).toThrow(/at least one array/)
    expect(() => fromArrays({ x }).rows([3])).toThrow(/index 3 at position 0 is out of range/)
  })

  it('keeps its own copy of a tensor', () => {
    const tensor = tf.tensor1d([1, 2])
    const examples = fromArrays(tensor)
    tensor.dispose()
    expect([...examples.rows([1]).dataSync()]).toEqual([2])
  })

  it('selects subsets of subsets', () => {
    const examples = subset(subset(fromArrays(count(10)), [9, 8, 7, 6]), [3, 0, 0])
    expect([...examples.rows([0, 1, 2]).x.dataSync()]).toEqual([6, 9, 9])
    expect(() => subset(examples, [3])).toThrow(/index 3/)
  })
})

describe('batch', () => {
  it('drops or keeps the last short batch, and skips', async () => {
    const dataset = batch(fromArrays(count(7)), 3)
    expect(dataset.batchesPerEpoch).toBe(2)
    expect(await valuesOf(dataset.batches())).toEqual([
      [0, 1, 2],
      [3, 4, 5],
    ])
    expect(await valuesOf(dataset.batches({ dropLast: false, skip: 1 }))).toEqual([[3, 4, 5], [6]])
  })

  it('pads the last evaluation batch with weight 0, without a key even when shuffled', async () => {
    for (const examples of [shuffle(fromArrays(count(7))), shuffle(fromStream(() => chunks(7, 2)))]) {
      const seen: number[][] = []
      for await (const { batch: rows, weight } of batch(examples, 3).weightedBatches())
        seen.push([...rows.x.dataSync(), ...weight.dataSync()])
      expect(seen).toEqual([
        [0, 1, 2, 1, 1, 1],
        [3, 4, 5, 1, 1, 1],
        [6, 6, 6, 1, 0, 0],
      ])
    }
  })

  it('explains a missing key and an empty pass', async () => {
    const dataset = batch(shuffle(fromArrays(count(7))), 3)
    await expect(valuesOf(dataset.batches())).rejects.toThrow(/needs a key/)
    await expect(valuesOf(batch(fromArrays(count(2)), 3).batches())).rejects.toThrow(/2 examples give no batch of 3/)
    expect(() => batch(fromArrays(count(2)), 0)).toThrow(/batchSize must be a positive integer, got 0/)
  })

  it('orders an epoch by its key alone: a permutation, whatever is skipped', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          n: fc.integer({ min: 1, max: 60 }),
          size: fc.integer({ min: 1, max: 10 }),
          seed: fc.nat(),
          skip: fc.nat(5),
          buffer: fc.integer({ min: 1, max: 70 }),
        }),
        async ({ n, size, seed, skip, buffer }) => {
          const sources = [
            shuffle(fromArrays(count(n))),
            shuffle(
              fromStream(() => chunks(n, 7), { size: n }),
              { buffer },
            ),
          ]
          for (const examples of sources) {
            const dataset = batch(examples, size)
            const options = { key: key(seed), dropLast: false }
            const whole = await valuesOf(dataset.batches(options))
            expect(whole.flat().sort((a, b) => a - b)).toEqual([...count(n).x])
            expect(await valuesOf(dataset.batches({ ...options, skip }))).toEqual(whole.slice(skip))
          }
        },
      ),
      { numRuns: 60 },
    )
  })

  it('shuffles uniformly: every example is as likely in every place', async () => {
    const n = 5
    const epochs = 4000
    for (const examples of [
      shuffle(fromArrays(count(n))),
      shuffle(
        fromStream(() => chunks(n, 2)),
        { buffer: n },
      ),
    ]) {
      const table = Array.from({ length: n }, () => new Float64Array(n))
      for (let epoch = 0; epoch < epochs; epoch++) {
        const order = (await valuesOf(batch(examples, n).batches({ key: fold(key(1), epoch) })))[0]
        order.forEach((value, place) => table[place][value]++)
      }
      const expected = epochs / n
      const chiSquare = table.reduce((sum, row) => sum + row.reduce((s, seen) => s + (seen - expected) ** 2 / expected, 0), 0)
      // 16 degrees of freedom: above 39.3 with probability 0.001.
      expect(chiSquare).toBeLessThan(39.3)
    }
  })
})

describe('fromStream', () => {
  it('refuses chunks of other arrays', async () => {
    const examples = fromStream<{ x: Float32Array | Int32Array }>(async function* () {
      yield { x: new Float32Array(2) }
      yield { x: new Int32Array(2) }
    })
    await expect(valuesOf(batch(examples, 4).batches())).rejects.toThrow(
      /every chunk needs the same arrays: expected \/x: float32\[n\], got \/x: int32\[n\]/,
    )
  })

  it('is closed when the reader stops early', async () => {
    let closed = 0
    const examples = fromStream(async function* () {
      try {
        yield* chunks(100, 3)
      } finally {
        closed++
      }
    })
    for await (const item of batch(examples, 2).batches()) {
      dispose(item)
      break
    }
    expect(closed).toBe(1)
  })

  it('ends at once when aborted, even while its source is silent', async () => {
    const controller = new AbortController()
    const examples = fromStream(async function* () {
      yield* chunks(4, 4)
      await new Promise(() => {})
    })
    const pass = batch(examples, 2).batches({ signal: controller.signal })[Symbol.asyncIterator]()
    dispose((await pass.next()).value as Tree, (await pass.next()).value as Tree)
    setTimeout(() => controller.abort(), 5)
    await expect(pass.next()).rejects.toThrow(/abort/i)
  })
})

describe('map, take, concat, prefetch', () => {
  const numbers = (n: number, size: number): Dataset<{ x: tf.Tensor }> => batch(fromArrays(count(n)), size)

  it('maps batches with a key per batch, the same after a skip', async () => {
    const words: (readonly number[] | undefined)[] = []
    const dataset = map(numbers(6, 2), ({ x }, batchKey) => {
      words.push(batchKey?.words)
      return { x: tf.mul(x, 10) }
    })
    expect(await valuesOf(dataset.batches({ key: key(3) }))).toEqual([
      [0, 10],
      [20, 30],
      [40, 50],
    ])
    const first = words.splice(0)
    expect(new Set(first.map(String)).size).toBe(3)
    await valuesOf(dataset.batches({ key: key(3), skip: 2 }))
    expect(words).toEqual(first.slice(2))
  })

  it('takes, joins and reads ahead without changing what comes', async () => {
    const joined = concat(numbers(4, 2), numbers(5, 2))
    expect(joined.batchesPerEpoch).toBe(4)
    const whole = await valuesOf(joined.batches({ dropLast: false }))
    expect(whole).toEqual([[0, 1], [2, 3], [0, 1], [2, 3], [4]])
    expect(await valuesOf(joined.batches({ dropLast: false, skip: 3 }))).toEqual(whole.slice(3))
    expect(await valuesOf(joined.batches({ skip: 3 }))).toEqual([[2, 3]])
    expect(await valuesOf(prefetch(take(joined, 3), 2).batches({ skip: 1 }))).toEqual(whole.slice(1, 3))
    expect(take(joined, 3).batchesPerEpoch).toBe(3)
    expect(() => take(joined, 0)).toThrow(/take: count/)
    expect(() => prefetch(joined, 1.5)).toThrow(/prefetch: count/)
  })

  it('frees everything but the reader’s batches, wherever the reader stops', async () => {
    const pipeline = prefetch(
      map(concat(batch(shuffle(fromArrays(count(40))), 4), numbers(40, 4)), ({ x }) => ({ x, again: tf.add(x, 1), same: x })),
      3,
    )
    await fc.assert(
      fc.asyncProperty(fc.nat(24), fc.nat(20), fc.boolean(), async (stop, skip, training) => {
        const before = tf.memory().numTensors
        const pass: AsyncIterable<Tree> = training
          ? pipeline.batches({ key: key(1), skip })
          : (pipeline.weightedBatches() as AsyncIterable<never>)
        let seen = 0
        for await (const item of pass) {
          dispose(item)
          if (++seen === stop) break
        }
        expect(tf.memory().numTensors).toBe(before)
      }),
      { numRuns: 40 },
    )
  })

  it('frees everything when a mapping fails or the pass is aborted', async () => {
    const before = tf.memory().numTensors
    let calls = 0
    const failing = prefetch(
      map(numbers(40, 2), ({ x }) => {
        if (++calls === 5) throw new RangeError('no more')
        return { x: tf.add(x, 1) }
      }),
      4,
    )
    await expect(valuesOf(failing.batches())).rejects.toThrow('no more')
    calls = 0
    await expect(
      (async () => {
        for await (const { batch: rows, weight } of failing.weightedBatches()) dispose(rows, weight)
      })(),
    ).rejects.toThrow('no more')
    const controller = new AbortController()
    const aborted = (async () => {
      for await (const item of prefetch(numbers(40, 2), 4).batches({ signal: controller.signal })) {
        dispose(item)
        controller.abort()
      }
    })()
    await expect(aborted).rejects.toThrow(/abort/i)
    expect(tf.memory().numTensors).toBe(before)
  })
})
