import { mkdir, readdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { type BpfError, DataError, isBpfError } from '../errors'
import { ensureBackend } from '../backend'
import type { Checkpoint, CheckpointStore } from '../training'
import { deserialize, serialize, type Saved } from '../save/index'
import { warn } from '../warn'
import { environment, environmentDifferences } from './environment'
import { fileError, nativeSha256, readBytes, temporarySuffix, writeAtomically } from './files'

/** Options of {@link fileCheckpoints}. */
export interface FileCheckpointOptions {
  /**
   * Hears when a damaged checkpoint was passed over, and when a checkpoint comes from another environment.
   * Default: a Node process warning.
   */
  onWarning?: (message: string) => void
}

/** One finished checkpoint; its name alone tells what it is, so nothing else can get out of step. */
interface Entry {
  readonly file: string
  /** Counts the checkpoints of the folder. Steps would not do: the stages of a staged learner each count their own. */
  readonly sequence: number
  readonly best: boolean
}

const pattern = /^checkpoint-(\d{6,})-step-\d+(-best)?\.safetensors$/
const kept = 2

function nameOf(sequence: number, step: number, best: boolean): string {
  return `checkpoint-${String(sequence).padStart(6, '0')}-step-${step}${best ? '-best' : ''}.safetensors`
}

async function list(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw fileError(error, 'read the folder', folder, 'Check the path and its permissions.')
  }
}

/** Finished checkpoints, newest first. */
function finished(names: readonly string[]): Entry[] {
  return names
    .flatMap((file) => {
      const match = pattern.exec(file)
      return match === null ? [] : [{ file, sequence: Number(match[1]), best: match[2] !== undefined }]
    })
    .sort((a, b) => b.sequence - a.sequence)
}

function isLeftover(name: string): boolean {
  return name.startsWith('.checkpoint-') && name.endsWith(temporarySuffix)
}

/** Removes all but the last two and the best, damaged checkpoints, and temporary files of a process that was killed. */
async function prune(folder: string, damaged: ReadonlySet<string>): Promise<void> {
  const names = await list(folder)
  const whole = finished(names).filter((entry) => !damaged.has(entry.file))
  const best = whole.find((entry) => entry.best)
  const needed = new Set([...whole.slice(0, kept), ...(best ? [best] : [])].map((entry) => entry.file))
  const superfluous = names.filter((name) => isLeftover(name) || (pattern.test(name) && !needed.has(name)))
  await Promise.all(superfluous.map((name) => unlink(join(folder, name)).catch(() => {})))
}

/**
 * Checkpoints of one run as files in a folder: the last two and the best. Each is written whole or not at all, so a
 * process may be killed at any moment. The environment is recorded with each.
 *
 * Loading takes the newest whole checkpoint. A damaged one (its hash covers all of it) is passed over with a warning; when
 * no whole one is left, loading fails rather than starting anew. Resuming in another environment warns, because results
 * are then not bit-equal to those of an uninterrupted run.
 *
 * @param folder - made when the first checkpoint is saved
 * @throws DataError (from `load`) naming the newest file when checkpoints exist but all are damaged
 */
export function fileCheckpoints(folder: string, options: FileCheckpointOptions = {}): CheckpointStore {
  const { onWarning = warn } = options
  const damaged = new Set<string>()

  const read = async (entry: Entry): Promise<Saved<Checkpoint['trees']> | BpfError> => {
    const path = join(folder, entry.file)
    const bytes = await readBytes(path)
    try {
      return deserialize<Checkpoint['trees']>(bytes, { file: path, sha256: nativeSha256 })
    } catch (error) {
      if (isBpfError(error, 'DataError')) return error
      throw error
    }
  }

  return {
    async save({ trees, host }, { step, best }) {
      const bytes = await serialize(trees, { host, environment: await environment(), sha256: nativeSha256 })
      await mkdir(folder, { recursive: true }).catch((error: unknown) => {
        throw fileError(error, 'make the folder', folder, 'Check the path and its permissions.')
      })
      const sequence = 1 + (finished(await list(folder))[0]?.sequence ?? 0)
      await writeAtomically(join(folder, nameOf(sequence, step, best)), bytes)
      await prune(folder, damaged)
    },

    async load() {
      await ensureBackend()
      const errors: BpfError[] = []
      for (const entry of finished(await list(folder))) {
        const result = await read(entry)
        if (isBpfError(result)) {
          errors.push(result)
          damaged.add(entry.file)
          continue
        }
        for (const error of errors) onWarning(`${error.message}. Resuming from ${entry.file} instead`)
        const differences = environmentDifferences(result.environment, await environment())
        if (differences.length > 0) {
          onWarning(
            `${join(folder, entry.file)} was saved in another environment (${differences.join('; ')}): results will not be bit-equal`,
          )
        }
        return { trees: result.tree, host: result.host }
      }
      if (errors.length > 0) {
        throw new DataError(`no whole checkpoint is left in ${folder}: ${errors[0].message}. Delete the folder to start anew`, {
          cause: errors[0],
        })
      }
      return undefined
    },
  }
}
