import { compile, tree, useBackend, type Key, type Tree } from '@bpf/core'
import { fold, key as keyOf, permutationArray } from '@bpf/core/random'
import { noProp, noPropDenseBlock } from '@bpf/local'
import * as tf from '@tensorflow/tfjs-core'

/** Which blocks to train, on what. Everything can be sent to a thread; the data is shared, not copied. */
export interface BlockTask {
  /** Indices of the blocks. */
  mine: readonly number[]
  /** All blocks of the network. */
  steps: number
  seed: number
  batches: number
  batchSize: number
  classes: number
  /** [n, columns] in shared memory. */
  x: Float32Array
  y: Int32Array
}

/** The trained leaves of each block, in the order of `mine`. */
export type TrainedBlocks = Float32Array[]

/**
 * Makes ready to train some blocks with one native thread: everything is compiled and has run once.
 *
 * @returns starts the training
 */
export async function trainBlocks({
  mine,
  steps,
  seed,
  batches,
  batchSize,
  classes,
  x,
  y,
}: BlockTask): Promise<() => Promise<TrainedBlocks>> {
  await useBackend('onnx', { threads: 1 })
  const block = noPropDenseBlock({ x: [128], z: [64], trunk: [64] })
  const method = noProp({ variant: 'dt', classes, steps, block, blocksAtOnce: 1 })
  const columns = x.length / y.length
  const runKey = keyOf(seed)
  const order = permutationArray(fold(runKey, 0), y.length)
  const batchOf = (index: number): { x: tf.Tensor; y: tf.Tensor } => {
    const rows = new Float32Array(batchSize * columns)
    const labels = new Int32Array(batchSize)
    for (let i = 0; i < batchSize; i++) {
      const row = order[(index * batchSize + i) % y.length]
      rows.set(x.subarray(row * columns, (row + 1) * columns), i * columns)
      labels[i] = y[row]
    }
    return { x: tf.tensor2d(rows, [batchSize, columns]), y: tf.tensor1d(labels, 'int32') }
  }
  const sample = batchOf(0)
  // Every thread draws the same whole network and keeps its own blocks of it.
  const first = method.init(fold(runKey, 1), sample, undefined).tensors
  tree.dispose(sample)
  type Own = { blocks: Tree; optimizers: Tree }
  const own = (state: typeof first): Own => ({
    blocks: mine.map((i) => state.blocks[i]),
    optimizers: mine.map((i) => (state.optimizer as { blocks: readonly Tree[] }).blocks[i]),
  })
  const step = compile(
    (mineNow: Own, data: { x: tf.Tensor; y: tf.Tensor }, key: Key): Own => {
      const at = (i: number): number => mine.indexOf(i)
      const pick = (trained: Tree, before: readonly Tree[]): Tree[] =>
        before.map((other, i) => (at(i) < 0 ? other : (trained as readonly Tree[])[at(i)]))
      const optimizer = first.optimizer as { blocks: readonly Tree[] }
      let state = {
        ...first,
        blocks: pick(mineNow.blocks, first.blocks) as unknown as typeof first.blocks,
        optimizer: { ...optimizer, blocks: pick(mineNow.optimizers, optimizer.blocks) } as Tree,
      }
      for (const i of mine) state = method.stepBlock(state, i, data, key)
      return own(state)
    },
    { name: 'blocks' },
  )
  const advance = (state: Own, index: number): Own => {
    const data = batchOf(index)
    const next = step(state, data, fold(fold(runKey, 2), index))
    tree.dispose(data)
    return next
  }
  tree.dispose(advance(own(first), 0))
  return async () => {
    let state = tree.clone(own(first))
    for (let index = 0; index < batches; index++) {
      const next = advance(state, index)
      tree.dispose(state)
      state = next
    }
    const out: TrainedBlocks = []
    for (const leaf of tree.leaves(state.blocks)) out.push(Float32Array.from(await leaf.data()))
    tree.dispose(state, first)
    return out
  }
}
