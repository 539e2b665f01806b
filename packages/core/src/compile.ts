import * as tf from '@tensorflow/tfjs-core'
import { requireBackend } from './backend'
import { BackendError, OptionError } from './errors'
import type { Key } from './random/key'
import { flatten, isTensor, leaves, unflatten, type Tree, type TreeStructure } from './tree'

/** Options of {@link compile}. */
export interface CompileOptions {
  /** Indices of arguments whose tensors the call may consume: they are disposed and their memory reused. */
  donate?: readonly number[]
  /** `float64` computes in double precision where the backend can; outputs are read as Float64Array. */
  precision?: 'float32' | 'float64'
  /** Names the function in errors and logs. Default: the function's own name. */
  name?: string
}

/** What a compiled function takes: trees and keys. Anything else would freeze at its first value. */
export type CompileArgument = Tree | Key

function isKey(value: unknown): value is Key {
  return typeof value === 'object' && value !== null && (value as Key).kind === 'bpf.key'
}

/**
 * Turns a pure function over trees and keys into one native call where the backend can compile
 * (none of the backends of this version does: it runs eagerly, with the same contract and result).
 *
 * The result never aliases an argument, intermediate tensors are freed, the caller owns what it gets.
 *
 * @param fn - pure: reads no values, keeps nothing; its outputs depend on its arguments only
 * @returns a synchronous function of the same arguments
 * @throws BackendError when no backend was chosen yet, or it cannot compute in the asked precision
 * @throws OptionError when an argument is neither a tree nor a key, or `donate` names a missing argument
 */
export function compile<Args extends readonly CompileArgument[], Result extends Tree>(
  fn: (...args: Args) => Result,
  options: CompileOptions = {},
): (...args: Args) => Result {
  const name = options.name ?? (fn.name || 'function')
  const donated = new Set(options.donate ?? [])
  return (...args) => {
    requireBackend()
    if (options.precision === 'float64') {
      throw new BackendError(`compile(${name}): precision 'float64' needs a backend that compiles; ${tf.getBackend()} computes in float32`)
    }
    const argumentLeaves = args.map((argument, i) => (isKey(argument) ? [] : argumentTensors(argument, name, i)))
    for (const index of donated) {
      if (index >= args.length || isKey(args[index])) throw new OptionError(`compile(${name}): donate names argument ${index}, which is not a tree argument`)
    }
    const inputs = new Set(argumentLeaves.flat())
    let structure: TreeStructure | undefined
    const owned = tf.tidy(() => {
      const flat = flatten(fn(...args))
      structure = flat.structure
      const seen = new Set<tf.Tensor>()
      return flat.leaves.map((leaf) => {
        const aliases = inputs.has(leaf) || seen.has(leaf)
        seen.add(leaf)
        return aliases ? leaf.clone() : leaf
      })
    })
    for (const index of donated) for (const leaf of argumentLeaves[index]) leaf.dispose()
    return unflatten<Result>(structure as TreeStructure, owned)
  }
}

function argumentTensors(argument: CompileArgument, name: string, index: number): tf.Tensor[] {
  try {
    const tensors = isTensor(argument) ? [argument] : leaves(argument as Tree)
    for (const tensor of tensors) {
      if (tensor.isDisposed) throw new OptionError('a tensor of it was disposed (perhaps donated to an earlier call)')
    }
    return tensors
  } catch (error) {
    throw new OptionError(`compile(${name}): argument ${index}: ${(error as Error).message}`)
  }
}
