import { ensureBackend } from '../backend'
import type { Checkpoint, CheckpointStore } from '../training'
import { deserialize, serialize } from './serialize'

/**
 * Checkpoints in memory, for tests and browsers: the newest one is kept, as the bytes a file would hold.
 */
export function memoryCheckpoints(): CheckpointStore {
  let newest: Uint8Array | undefined
  return {
    async save({ trees, host }) {
      newest = await serialize(trees, { host })
    },
    async load() {
      if (newest === undefined) return undefined
      await ensureBackend()
      const { tree, host } = deserialize<Checkpoint['trees']>(newest)
      return { trees: tree, host }
    },
  }
}
