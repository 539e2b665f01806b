import * as tf from '@tensorflow/tfjs-core'
import { requireBackend } from './backend'
import { currentCompiler, type Compiler, type TensorSpec, type Traced } from './compiler'
import { BackendError, isBpfError, OptionError, ShapeError, TracingError } from './errors'
import { isKey, symbolicKey, type Key } from './random/key'
import { warn } from './warn'
import { flatten, isTensor, leaves, signature, unflatten, type Tree, type TreeStructure } from './tree'

/** Options of {@link compile}. */
export interface CompileOptions {
  /** Indices of arguments whose tensors the call may consume: they are disposed and their memory reused. */
  donate?: readonly number[]
  /** `float64` computes in double precision where the backend can; outputs are read as Float64Array. */
  precision?: 'float32' | 'float64'
  /** Names the function in errors and logs. Default: the function's own name. */
  name?: string
  /** False runs the function eagerly even where the backend compiles: for one that must read values on the way. Default true. */
  traceable?: boolean
}

/** What a compiled function takes: trees and keys. Anything else would freeze at its first value. */
export type CompileArgument = Tree | Key

/** A warning is due when a function was compiled for this many different shapes. */
const manySignatures = 8
/** Compiled forms kept per function; the least recently used go first. */
const keptSignatures = 64

/** One compiled form of a function: for one structure, dtypes and shapes of its arguments. */
interface CompiledForm {
  traced: Traced
  structure: TreeStructure
  /** Structure of each argument; undefined for a key. */
  argumentStructures: readonly (TreeStructure | undefined)[]
  /** Of the leaves of all arguments. */
  specs: readonly TensorSpec[]
  /** Where the keys of the current call are put for the graph's draws. */
  keys: Key[]
}

/**
 * Turns a pure function over trees and keys into one native call where the backend compiles (`onnx`); elsewhere it runs
 * eagerly, with the same contract and result.
 *
 * A compiled form is kept for each structure, dtypes and shapes of the arguments. Captured tensors become constants,
 * captured `tf.Variable`s are read at each call. The result never aliases an argument, intermediate tensors are freed,
 * the caller owns what it gets.
 *
 * @param fn - pure: reads no values, keeps nothing; its outputs depend on its arguments only
 * @returns a synchronous function of the same arguments
 * @throws BackendError when no backend was chosen yet, it cannot compute in the asked precision, or lacks a kernel
 * @throws OptionError when an argument is neither a tree nor a key, or `donate` names a missing argument
 * @throws TracingError where `fn` reads a value or does something else that cannot be compiled, with the line
 */
export function compile<Args extends readonly CompileArgument[], Result extends Tree>(
  fn: (...args: Args) => Result,
  options: CompileOptions = {},
): (...args: Args) => Result {
  const name = options.name ?? (fn.name || 'function')
  const donated = new Set(options.donate ?? [])
  const forms = new Map<string, CompiledForm>()
  const seenSignatures: string[][] = []
  let latest: CompiledForm | undefined

  return (...args) => {
    requireBackend()
    const compiler = options.traceable === false ? undefined : currentCompiler()
    // Most calls are like the one before: then no signature has to be spelt out.
    const alike = latest === undefined || compiler === undefined || compiler.isTracing() ? undefined : leavesLike(latest, args)
    if (latest !== undefined && alike !== undefined) return run<Result>(latest, args, alike, donated)
    if (options.precision === 'float64' && compiler === undefined) {
      throw new BackendError(`compile(${name}): precision 'float64' needs a backend that compiles; ${tf.getBackend()} computes in float32`)
    }
    const tensors = args.map((argument, i) => (isKey(argument) ? [] : argumentTensors(argument, name, i)))
    for (const index of donated) {
      if (index >= args.length || isKey(args[index]))
        throw new OptionError(`compile(${name}): donate names argument ${index}, which is not a tree argument`)
    }
    // A compiled function called while another is traced becomes part of that one.
    if (compiler === undefined || compiler.isTracing()) {
      const { structure, owned } = namingMissingKernels(name, () => runEagerly(fn, args, tensors))
      if (compiler === undefined) disposeDonated(donated, tensors)
      return unflatten<Result>(structure, owned)
    }

    const signatures = args.map((argument) => (isKey(argument) ? 'key' : signature(argument as Tree)))
    const id = signatures.join('&')
    let form = forms.get(id)
    if (form === undefined) {
      seenSignatures.push(signatures)
      if (seenSignatures.length === manySignatures) warnOfShapes(name, seenSignatures)
      form = traceForm(fn, args, tensors, compiler, { name, precision: options.precision })
      // The latest form is never the oldest: it was put last.
      if (forms.size >= keptSignatures) evictOldest(forms)
    } else {
      forms.delete(id)
    }
    forms.set(id, form)
    latest = form
    return run<Result>(form, args, tensors, donated)
  }
}

function run<Result extends Tree>(
  form: CompiledForm,
  args: readonly CompileArgument[],
  tensors: readonly tf.Tensor[][],
  donated: ReadonlySet<number>,
): Result {
  form.keys = args.filter(isKey)
  const outputs = form.traced.run(tensors.flat())
  disposeDonated(donated, tensors)
  return unflatten<Result>(form.structure, outputs)
}

/** The leaves of each argument when all have the structures, dtypes and shapes of `form`. Runs at each call: no paths, no strings. */
function leavesLike({ argumentStructures, specs }: CompiledForm, args: readonly CompileArgument[]): tf.Tensor[][] | undefined {
  if (args.length !== argumentStructures.length) return undefined
  let next = 0
  const collect = (tree: Tree | undefined, structure: TreeStructure, found: tf.Tensor[]): boolean => {
    if (structure.kind === 'leaf') {
      if (!isTensor(tree) || tree.isDisposed) return false
      const { dtype, shape } = specs[next++]
      if (tree.dtype !== dtype || tree.shape.length !== shape.length || tree.shape.some((size, i) => size !== shape[i])) return false
      found.push(tree)
      return true
    }
    if (typeof tree !== 'object' || isTensor(tree) || Array.isArray(tree) !== (structure.kind === 'list')) return false
    if (structure.kind === 'list') {
      const list = tree as readonly Tree[]
      return list.length === structure.items.length && structure.items.every((item, i) => collect(list[i], item, found))
    }
    const record = tree as Readonly<Record<string, Tree>>
    return (
      Object.keys(record).length === structure.keys.length &&
      structure.items.every((item, i) => collect(record[structure.keys[i]], item, found))
    )
  }
  const leavesOf: tf.Tensor[][] = []
  for (const [i, structure] of argumentStructures.entries()) {
    const found: tf.Tensor[] = []
    const argument = args[i]
    const fits =
      structure === undefined || isKey(argument) ? structure === undefined && isKey(argument) : collect(argument as Tree, structure, found)
    if (!fits) return undefined
    leavesOf.push(found)
  }
  return leavesOf
}

/**
 * A tensor in double precision, for functions compiled with `precision: 'float64'`: they take its values exactly, and
 * it is read as a Float64Array. Other operations round it to single precision.
 *
 * @param values - row-major; taken over without copying
 * @throws ShapeError when the number of values is not that of the shape
 * @throws BackendError on a backend that does not compile
 */
export function float64Tensor(values: Float64Array, shape: readonly number[]): tf.Tensor {
  requireBackend()
  const compiler = currentCompiler()
  if (compiler === undefined) throw new BackendError("float64Tensor: needs a backend that compiles: call await useBackend('onnx')")
  const size = shape.reduce((product, length) => product * length, 1)
  if (values.length !== size) throw new ShapeError(`float64Tensor: shape [${shape.join(', ')}] has ${size} values, got ${values.length}`)
  return compiler.float64Tensor(values, shape)
}

function disposeDonated(donated: ReadonlySet<number>, tensors: readonly tf.Tensor[][]): void {
  for (const index of donated) for (const leaf of tensors[index]) leaf.dispose()
}

/** TensorFlow.js says that an operation does not exist on a backend, but not what to do. */
function namingMissingKernels<T>(name: string, run: () => T): T {
  try {
    return run()
  } catch (error) {
    const [, kernel] = /[Kk]ernel '(\w+)' (?:not registered )?for backend/.exec((error as Error).message) ?? []
    if (kernel === undefined || isBpfError(error)) throw error
    throw new BackendError(
      `compile(${name}): the ${tf.getBackend()} backend has no kernel '${kernel}'; use one that has: await useBackend('onnx') in Node, 'cpu' elsewhere`,
      { cause: error },
    )
  }
}

/** Runs a function in a scope of its own; outputs that alias an argument or each other are cloned. */
function runEagerly<Args extends readonly CompileArgument[]>(
  fn: (...args: Args) => Tree,
  args: Args,
  tensors: readonly tf.Tensor[][],
): { structure: TreeStructure; owned: tf.Tensor[] } {
  const taken = new Set(tensors.flat())
  let structure: TreeStructure | undefined
  const owned = tf.tidy(() => {
    const flat = flatten(fn(...args))
    structure = flat.structure
    return flat.leaves.map((leaf) => {
      const own = taken.has(leaf) ? leaf.clone() : leaf
      taken.add(own)
      return own
    })
  })
  return { structure: structure as TreeStructure, owned }
}

function traceForm<Args extends readonly CompileArgument[]>(
  fn: (...args: Args) => Tree,
  args: Args,
  tensors: readonly tf.Tensor[][],
  compiler: Compiler,
  options: { name: string; precision?: 'float32' | 'float64' },
): CompiledForm {
  const form: Partial<CompiledForm> & { keys: Key[] } = { keys: args.filter(isKey) }
  const bind = symbolicArguments(args, tensors, (index) => form.keys[index])
  let structure: TreeStructure | undefined
  const specs = tensors.flat().map(specOf)
  const traced = compiler.trace(
    (...symbols) => {
      const flat = flatten(fn(...(bind(symbols) as unknown as Args)))
      structure = flat.structure
      return flat.leaves
    },
    specs,
    options,
  )
  if (structure === undefined) throw new TracingError(`compile(${options.name}): the function returned nothing`)
  const argumentStructures = args.map((argument) => (isKey(argument) ? undefined : flatten(argument as Tree).structure))
  return Object.assign(form, { traced, structure, argumentStructures, specs }) as CompiledForm
}

/**
 * How symbolic tensors become the arguments of the traced function: trees of the same structures, and keys whose words
 * are asked for at each run.
 */
export function symbolicArguments(
  args: readonly CompileArgument[],
  tensors: readonly tf.Tensor[][],
  keyAt: (index: number) => Key,
): (symbols: readonly tf.Tensor[]) => CompileArgument[] {
  const structures = args.map((argument) => (isKey(argument) ? undefined : flatten(argument as Tree).structure))
  return (symbols) => {
    let next = 0
    let nextKey = 0
    return structures.map((structure, i) => {
      if (structure === undefined) {
        const index = nextKey++
        return symbolicKey(() => keyAt(index).words)
      }
      const part = symbols.slice(next, next + tensors[i].length)
      next += tensors[i].length
      return unflatten(structure, part)
    })
  }
}

/** Shape and dtype of an argument. */
export function specOf(tensor: tf.Tensor): TensorSpec {
  const { dtype, shape } = tensor
  if (dtype !== 'float32' && dtype !== 'int32' && dtype !== 'bool') {
    throw new OptionError(
      `compile: arguments are float32, int32 or bool tensors, got ${dtype}; pass a complex tensor as its real and imaginary part`,
    )
  }
  return { dtype, shape }
}

function evictOldest(forms: Map<string, CompiledForm>): void {
  const oldest = forms.keys().next().value as string
  forms.get(oldest)?.traced.dispose()
  forms.delete(oldest)
}

function warnOfShapes(name: string, seen: readonly string[][]): void {
  const varying = seen[0].flatMap((_, i) => (new Set(seen.map((signatures) => signatures[i])).size > 1 ? [i] : []))
  warn(
    `compile(${name}): compiled for ${seen.length} different shapes; argument ${varying.join(' and ')} varies. ` +
      'Each costs a compilation: pad batches to one size (@bpf/core/data has padToSizeClass).',
  )
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
