import type * as tf from '@tensorflow/tfjs-core'
import { ensureBackend } from '../backend'
import type { Json } from '../learner'
import { deserialize, readSafetensors, serialize, type Saved } from '../save/index'
import type { Tree } from '../tree'
import { environment } from './environment'
import { nativeSha256, readBytes, writeAtomically } from './files'

/**
 * Saves a tree of tensors, with host state, as a `.safetensors` file that Python reads too. The environment is recorded.
 * A file that is there is replaced at once or not at all.
 *
 * @param path - its folder must exist
 * @throws DataError when the file cannot be written; OptionError when the tree or host state cannot be saved
 */
export async function save(path: string, tree: Tree, options: { host?: Json } = {}): Promise<void> {
  await writeAtomically(path, await serialize(tree, { ...options, environment: await environment(), sha256: nativeSha256 }))
}

/**
 * Loads what {@link save} wrote.
 *
 * @returns the tree (owned by the caller), host state, and the environment it was saved in
 * @throws DataError naming the file when it is missing, damaged or was changed; nothing is loaded then
 */
export async function load<T extends Tree = Tree>(path: string): Promise<Saved<T>> {
  await ensureBackend()
  return deserialize<T>(await readBytes(path), { file: path, sha256: nativeSha256 })
}

/**
 * Loads any safetensors file, one that Python wrote, say, as a flat record of tensors by name.
 *
 * @returns tensors owned by the caller
 * @throws DataError naming the file when it is missing or malformed
 */
export async function loadSafetensors(path: string): Promise<Record<string, tf.Tensor>> {
  await ensureBackend()
  return readSafetensors(await readBytes(path), { file: path, sha256: nativeSha256 })
}
