import type * as tf from '@tensorflow/tfjs-core'
import { requireBackend } from './backend'
import { specOf, type CompileArgument } from './compile'
import { currentCompiler, type Compiler, type OnnxModel } from './compiler'
import { BackendError } from './errors'
import { isKey, type Key } from './random/key'
import { graphKey } from './random/symbolic-key'
import { entries, flatten, leaves, unflatten, type Tree } from './tree'

/** Options of {@link exportOnnx}. */
export interface ExportOnnxOptions {
  /**
   * Names of the inputs, in the order of the arguments' leaves. Default: `input_<argument>` and the leaf's path,
   * `input_0/kernel`.
   */
  inputNames?: readonly string[]
  /** Names of the outputs, in the order of the result's leaves. Default: `output` and the leaf's path. */
  outputNames?: readonly string[]
  /** Whether the first axis of every input may have any length, called `batch` in the file. Default false. */
  dynamicBatch?: boolean
  /** Name of the graph. Default: the function's own name. */
  name?: string
}

function compilerFor(what: string): Compiler {
  requireBackend()
  const compiler = currentCompiler()
  if (compiler === undefined) throw new BackendError(`${what}: needs a backend that compiles: call await useBackend('onnx')`)
  return compiler
}

/**
 * Writes a pure function over trees and keys as a standard ONNX model, for any ONNX runtime, browsers included. Captured
 * tensors and variables, such as trained parameters, become constants of the file. A key becomes an input of its own,
 * int32 [2], its two words.
 *
 * @param fn - pure, as for `compile`
 * @param sample - arguments of the right shapes; values do not matter
 * @returns the bytes of an `.onnx` file (opset 21)
 * @throws BackendError on a backend that does not compile
 * @throws TracingError where `fn` cannot be compiled
 * @throws OptionError when names do not fit, or when with `dynamicBatch` an operation depends on the batch size in a way
 *   the file cannot express
 * @example
 * ```ts
 * const bytes = exportOnnx((x: tf.Tensor) => network.apply(params, {}, x, { training: false }).y, [tf.zeros([1, 784])], {
 *   dynamicBatch: true,
 * })
 * ```
 */
export function exportOnnx<Args extends readonly CompileArgument[]>(
  fn: (...args: Args) => Tree,
  sample: readonly [...Args],
  options: ExportOnnxOptions = {},
): Uint8Array {
  const compiler = compilerFor('exportOnnx')
  const parts = sample.map((argument, i) => {
    if (isKey(argument))
      return {
        specs: [{ shape: [2], dtype: 'int32' as const }],
        names: [`input_${i}`],
        build: ([words]: tf.Tensor[]): Key => graphKey(words),
      }
    const { structure, leaves: tensors } = flatten(argument as Tree)
    const names = entries(argument as Tree).map(({ path }) => `input_${i}${path}`)
    return { specs: tensors.map(specOf), names, build: (symbols: tf.Tensor[]): Tree => unflatten(structure, symbols) }
  })
  const outputNames: string[] = []
  const flat = (...symbols: tf.Tensor[]): tf.Tensor[] => {
    let next = 0
    const args = parts.map(({ specs, build }) => build(symbols.slice(next, (next += specs.length))))
    const result = fn(...(args as unknown as Args))
    outputNames.splice(0, Infinity, ...entries(result).map(({ path }) => `output${path}`))
    return leaves(result)
  }
  const specs = parts.flatMap((part) => part.specs)
  // The result's structure, and so its names, are known only after a trace.
  if (options.outputNames === undefined) compiler.account(flat, specs)
  return compiler.exportOnnx(flat, specs, {
    inputNames: options.inputNames ?? parts.flatMap((part) => part.names),
    outputNames: options.outputNames ?? outputNames,
    dynamicBatch: options.dynamicBatch,
    name: options.name ?? (fn.name || 'function'),
  })
}

/**
 * An ONNX model as a function of tensors, in the order of its inputs.
 *
 * @param bytes - the content of an `.onnx` file; nothing in it is evaluated but its graph
 * @returns the function, with the names of its `inputs` and `outputs`
 * @throws BackendError on a backend that does not compile, or when ONNX Runtime refuses the file
 */
export function loadOnnx(bytes: Uint8Array, options: { threads?: number } = {}): OnnxModel {
  return compilerFor('loadOnnx').loadOnnx(bytes, options)
}
