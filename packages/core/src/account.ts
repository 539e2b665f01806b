import { requireBackend } from './backend'
import { specOf, symbolicArguments, type CompileArgument } from './compile'
import { currentCompiler } from './compiler'
import { BackendError } from './errors'
import { isKey, key } from './random/key'
import { leaves, type Tree } from './tree'

/** What a function costs; see {@link account}. */
export interface Account {
  /** Multiply-adds of matrix products and convolutions. Loops count every step, a choice its dearer branch. */
  multiplyAdds: number
  /** Largest number of bytes of intermediate and output tensors alive at once, each freed after its last use. */
  peakBytes: number
  /** Number of float values in the first argument: the parameters, by convention. */
  parameters: number
  /** Number of operations by name; those of a loop body count once. */
  operations: Record<string, number>
}

/**
 * What a function costs, measured on its trace: nothing is computed, so sizes that would not fit in memory can be
 * asked for. Arguments and constants do not count as memory, results and what lives between do.
 *
 * @param fn - pure, as for `compile`
 * @param args - arguments of the shapes in question; their values do not matter
 * @throws BackendError on a backend that does not compile
 * @throws TracingError where `fn` cannot be traced
 */
export function account<Args extends readonly CompileArgument[]>(fn: (...args: Args) => Tree, ...args: Args): Account {
  requireBackend()
  const compiler = currentCompiler()
  if (compiler === undefined) throw new BackendError("account: needs a backend that compiles: call await useBackend('onnx')")
  const tensors = args.map((argument) => (isKey(argument) ? [] : leaves(argument as Tree)))
  const bind = symbolicArguments(args, tensors, () => key(0))
  const costs = compiler.account((...symbols) => leaves(fn(...(bind(symbols) as unknown as Args))), tensors.flat().map(specOf))
  const parameters = (tensors[0] ?? []).reduce((sum, leaf) => sum + (leaf.dtype === 'float32' ? leaf.size : 0), 0)
  return { ...costs, parameters }
}

/**
 * Memory that grows with the batch: how many bytes {@link Account.peakBytes} gains with each further example. Parameters,
 * their gradients and the optimizer's state do not depend on the batch and drop out; what is left are the activations
 * (and what goes with them) that are alive at once.
 *
 * @param fn - a training step, say; pure, as for `compile`
 * @param argsOf - the arguments for a batch of so many examples; their values do not matter. They are not disposed.
 * @param batches - two batch sizes, large enough that activations and not parameters make the peak. Default 1024 and 2048.
 * @returns bytes for each example
 * @throws BackendError on a backend that does not compile
 */
export function activationBytes<Args extends readonly CompileArgument[]>(
  fn: (...args: Args) => Tree,
  argsOf: (batch: number) => Args,
  batches: readonly [number, number] = [1024, 2048],
): number {
  const [small, large] = batches.map((batch) => account(fn, ...argsOf(batch)).peakBytes)
  return (large - small) / (batches[1] - batches[0])
}
