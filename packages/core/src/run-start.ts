import { DataError, OptionError } from './errors'
import type { Json, LearnerState } from './learner'
import type { Key } from './random/key'
import { dispose, map, tidy, type Tree } from './tree'

/** What the training loops share where a run begins: a first state, or a checkpoint of the same run. */

/** The state that `make` gives, owned by the caller: leaves it took over from elsewhere are copied, what it used is freed. */
export function ownedState<State extends Tree>(make: () => LearnerState<State>): LearnerState<State> {
  let host: Json = null
  const tensors = tidy(() => {
    const state = make()
    host = state.host
    return map((leaf) => leaf.clone(), state.tensors)
  })
  return { tensors, host }
}

/** For a dataset whose first pass is empty. */
export function noBatch(loop: string): DataError {
  return new DataError(`${loop}: the dataset gives no batch; it has fewer examples than one batch: make the batch smaller`)
}

/**
 * Checks that a checkpoint was written by a run with this key; frees its tensors when it was not.
 *
 * @throws OptionError when it was not
 */
export function checkSameRun(loop: string, words: readonly [number, number], runKey: Key, trees: Tree): void {
  if (words[0] === runKey.words[0] && words[1] === runKey.words[1]) return
  dispose(trees)
  throw new OptionError(`${loop}: the checkpoint belongs to a run with another key or seed; use that one, another store, or resume: false`)
}
