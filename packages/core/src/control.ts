import * as tf from '@tensorflow/tfjs-core'
import { currentCompiler, type Compiler } from './compiler'
import { OptionError, ShapeError, TracingError } from './errors'
import { fold, symbolicKey, type Key } from './random/key'
import { resolverOf } from './random/symbolic-key'
import { flatten, leaves, map, signature, unflatten, type Tree, type TreeStructure } from './tree'

/** Options of {@link scan}. */
export interface ScanOptions {
  /** Number of steps; needed where there is no `xs`. */
  length?: number
  /** Run from the last step to the first; outputs stay at their step's index. */
  reverse?: boolean
  /** The body gets `fold(key, i)` at step i. */
  key?: Key
  /**
   * For gradients, keep only every so manyth carry and compute the others again in the backward pass: memory for
   * length / checkpointEvery + checkpointEvery carries instead of length.
   */
  checkpointEvery?: number
}

/** One step of a {@link scan}: the next carry, of the same structure, dtypes and shapes, and what is stacked. */
export type ScanBody<Carry extends Tree, X extends Tree, Y extends Tree> = (
  carry: Carry,
  x: X,
  key: Key | undefined,
) => { carry: Carry; y: Y }

/**
 * A loop of fixed length over trees: `carry, y_i = body(carry, xs_i)`. Inside a compiled function it is one node of the
 * graph, elsewhere a JavaScript loop with the same result. Differentiable, to any order, with respect to the first
 * carry, `xs`, and everything the body closes over.
 *
 * @param body - one step
 * @param init - the first carry
 * @param xs - per-step inputs, each leaf [length, …]; an empty record where there are none
 * @returns the last carry, and the y's stacked to [length, …]
 * @throws ShapeError when leaves of `xs` differ in length, or the body changes the carry's structure or shapes
 * @throws OptionError when no length is known
 */
export function scan<Carry extends Tree, X extends Tree, Y extends Tree>(
  body: ScanBody<Carry, X, Y>,
  init: Carry,
  xs: X,
  options: ScanOptions = {},
): { carry: Carry; ys: Y } {
  const length = scanLength(xs, options.length)
  const { checkpointEvery } = options
  if (checkpointEvery !== undefined && !(Number.isSafeInteger(checkpointEvery) && checkpointEvery >= 1)) {
    throw new OptionError(`scan: checkpointEvery must be a positive integer, got ${checkpointEvery}`)
  }
  const compiler = currentCompiler()
  if (compiler === undefined || !compiler.isTracing()) return scanEagerly(body, init, xs, length, options)
  const loop = { length, reverse: options.reverse ?? false, key: options.key, begin: 0 }
  if (checkpointEvery !== undefined && checkpointEvery < length) return scanInChunks(compiler, body, init, xs, loop, checkpointEvery)
  return scanGraph(compiler, body, init, xs, loop)
}

function scanLength(xs: Tree, given: number | undefined): number {
  const lengths = leaves(xs).map((leaf) => leaf.shape[0])
  const length = lengths[0] ?? given
  if (length === undefined) throw new OptionError('scan: give xs or length; there is neither')
  if (lengths.some((other) => other !== length) || (given !== undefined && given !== length)) {
    throw new ShapeError(`scan: all leaves of xs (and length) must agree, got ${[...new Set([...lengths, given ?? length])].join(', ')}`)
  }
  if (!(Number.isSafeInteger(length) && length >= 1)) throw new OptionError(`scan: length must be a positive integer, got ${length}`)
  return length
}

function checkCarry(before: Tree, after: Tree): void {
  if (signature(before) === signature(after)) return
  throw new ShapeError(
    `scan: the body changed the carry from ${signature(before)} to ${signature(after)}; it must keep structure, dtypes and shapes`,
  )
}

function scanEagerly<Carry extends Tree, X extends Tree, Y extends Tree>(
  body: ScanBody<Carry, X, Y>,
  init: Carry,
  xs: X,
  length: number,
  { reverse = false, key }: ScanOptions,
): { carry: Carry; ys: Y } {
  const slices = leaves(xs).map((leaf) => tf.unstack(leaf))
  const { structure } = flatten(xs)
  let carry = map((leaf) => leaf.clone(), init)
  const ys: Y[] = []
  for (let n = 0; n < length; n++) {
    const i = reverse ? length - 1 - n : n
    const x = unflatten<X>(
      structure,
      slices.map((parts) => parts[i]),
    )
    const step = body(carry, x, key === undefined ? undefined : fold(key, i))
    checkCarry(carry, step.carry)
    carry = step.carry
    ys[i] = step.y
  }
  return { carry, ys: map((...parts) => tf.stack(parts), ys[0], ...ys.slice(1)) }
}

/** A loop of a graph; its first step has the index `begin` for keys. */
interface GraphLoop {
  length: number
  reverse: boolean
  key: Key | undefined
  begin: number
}

/** Loop bodies being traced around this point: the position of a loop's index among `steps`. */
let loopDepth = 0

function atDepth<T>(depth: number, trace: () => T): T {
  const before = loopDepth
  loopDepth = depth + 1
  try {
    return trace()
  } finally {
    loopDepth = before
  }
}

/** The key of the current step of a loop, given the index of that step. */
function stepKey(key: Key | undefined, indexOf: (steps: readonly number[]) => number): Key | undefined {
  if (key === undefined) return undefined
  const resolve = resolverOf(key)
  return symbolicKey((steps) => {
    const parent: Key = resolve === undefined ? key : { kind: 'bpf.key', words: resolve(steps) }
    return fold(parent, indexOf(steps)).words
  })
}

/** A function over flat lists of tensors, as the loops of a graph and their gradients work on. */
type FlatBody = (carries: tf.Tensor[], slices: tf.Tensor[]) => { carries: tf.Tensor[]; outputs: tf.Tensor[] }

function scanGraph<Carry extends Tree, X extends Tree, Y extends Tree>(
  compiler: Compiler,
  body: ScanBody<Carry, X, Y>,
  init: Carry,
  xs: X,
  { length, reverse, key, begin }: GraphLoop,
): { carry: Carry; ys: Y } {
  const carryTree = flatten(init)
  const xsTree = flatten(xs)
  const depth = loopDepth
  const keyOfStep = stepKey(key, (steps) => begin + steps[depth])
  let ysStructure: TreeStructure | undefined
  const flatBody: FlatBody = (carries, slices) =>
    atDepth(depth, () => {
      const before = unflatten<Carry>(carryTree.structure, carries)
      const step = body(before, unflatten<X>(xsTree.structure, slices), keyOfStep)
      checkCarry(before, step.carry)
      const ys = flatten(step.y)
      ysStructure = ys.structure
      return { carries: leaves(step.carry), outputs: ys.leaves }
    })
  const { carries, outputs } = differentiableScan(compiler, flatBody, carryTree.leaves, xsTree.leaves, length, reverse)
  return { carry: unflatten<Carry>(carryTree.structure, carries), ys: unflatten<Y>(ysStructure as TreeStructure, outputs) }
}

/** The part of TensorFlow.js's engine that knows whether and where operations are recorded for gradients. */
function tapeState(): { gradientDepth: number; activeTape: unknown } {
  return (tf.engine() as unknown as { state: { gradientDepth: number; activeTape: unknown } }).state
}

function isRecording(): boolean {
  return tapeState().gradientDepth > 0
}

const isFloat = (tensor: tf.Tensor): boolean => tensor.dtype === 'float32'

/**
 * A scan as one step of the gradient tape. The backward pass is again a scan, over the kept carries, that
 * differentiates the body at each step.
 */
function differentiableScan(
  compiler: Compiler,
  body: FlatBody,
  init: tf.Tensor[],
  xs: tf.Tensor[],
  length: number,
  reverse: boolean,
): { carries: tf.Tensor[]; outputs: tf.Tensor[] } {
  if (!isRecording()) return compiler.scan(body, init, xs, length, reverse)
  let outputCount = 0
  // The carries before each step are outputs too: the backward pass needs them, and they depend on all inputs.
  const keepingCarries: FlatBody = (carries, slices) => {
    const step = body(carries, slices)
    outputCount = step.outputs.length
    return { carries: step.carries, outputs: [...step.outputs, ...carries] }
  }
  const forward = compiler.scan(keepingCarries, init, xs, length, reverse)
  const closure = forward.closure.filter(isFloat)
  for (const tensor of [...forward.closure, ...init, ...xs]) compiler.keepUntilTraced(tensor)

  const recorded = recordOnTape([...init, ...xs, ...closure], [...forward.carries, ...forward.outputs], (dys) => {
    const dCarries = dys.slice(0, init.length)
    const dOutputs = dys.slice(init.length)
    const floatOutputs = forward.outputs.flatMap((tensor, i) => (isFloat(tensor) ? [i] : []))
    const zeros = (tensors: tf.Tensor[]): tf.Tensor[] => tensors.map((tensor) => tf.zeros(tensor.shape))
    // Carries of the backward loop: the gradient of the carry, and the sums of the gradients of what was closed over.
    const backward: FlatBody = ([...state], [...slices]) => {
      const dCarry = state.slice(0, init.length)
      const dClosure = state.slice(init.length)
      const x = slices.slice(0, xs.length)
      const carry = slices.slice(xs.length, xs.length + init.length)
      const dy = slices.slice(xs.length + init.length)
      const grads = pullBack(
        () => {
          const step = keepingCarries(carry, x)
          return [...step.carries.filter(isFloat), ...step.outputs.filter(isFloat)]
        },
        [...carry, ...x, ...closure],
        [...dCarry.filter((_, i) => isFloat(init[i])), ...dy],
      )
      const nextCarry = grads.slice(0, init.length)
      const dx = grads.slice(init.length, init.length + xs.length)
      const sums = dClosure.map((sum, i) => tf.add(sum, grads[init.length + xs.length + i]))
      return { carries: [...nextCarry, ...sums], outputs: dx }
    }
    const result = differentiableScan(
      compiler,
      backward,
      [...dCarries, ...zeros(closure)],
      [...xs, ...keptCarries, ...floatOutputs.map((i) => dOutputs[i])],
      length,
      !reverse,
    )
    return [...result.carries.slice(0, init.length), ...result.outputs, ...result.carries.slice(init.length)]
  })
  const keptCarries = recorded.slice(init.length + outputCount)
  for (const tensor of keptCarries) compiler.keepUntilTraced(tensor)
  return { carries: recorded.slice(0, init.length), outputs: recorded.slice(init.length, init.length + outputCount) }
}

/**
 * Vector–Jacobian product of `fn` at tensors it uses: zeros where nothing depends on them, and for tensors that are
 * not float.
 */
function pullBack(fn: () => tf.Tensor[], at: tf.Tensor[], dys: tf.Tensor[]): tf.Tensor[] {
  const floats = at.filter(isFloat)
  const state = tapeState()
  // A gradient inside a backward pass would drop the tape that this pass still walks.
  const outerTape = state.activeTape
  let grads: (tf.Tensor | undefined)[]
  try {
    grads = tf.engine().gradients(
      () => {
        const terms = fn().map((y, i) => tf.sum(tf.mul(y, dys[i])))
        return terms.length === 0 ? tf.scalar(0) : tf.addN(terms)
      },
      floats,
      undefined,
      true,
    ).grads
  } finally {
    state.activeTape = outerTape
  }
  let next = 0
  return at.map((tensor) => (isFloat(tensor) ? (grads[next++] ?? tf.zeros(tensor.shape)) : tf.zeros(tensor.shape)))
}

/** Puts outputs that were computed off the tape onto it, with their gradient. */
function recordOnTape(inputs: tf.Tensor[], outputs: tf.Tensor[], backward: (dys: tf.Tensor[]) => tf.Tensor[]): tf.Tensor[] {
  const named = Object.fromEntries(inputs.map((tensor, i) => [String(i), tensor]))
  const engine = tf.engine() as unknown as { runKernelFunc(invocation: object): unknown }
  const result = engine.runKernelFunc({
    forwardFunc: () => outputs.map((tensor) => tensor.clone()),
    backwardsFunc: (dy: tf.Tensor | tf.Tensor[]) => {
      const grads = backward(Array.isArray(dy) ? dy : [dy])
      return Object.fromEntries(inputs.map((_, i) => [String(i), () => grads[i]]))
    },
    inputs: named,
  }) as tf.Tensor | tf.Tensor[]
  return Array.isArray(result) ? result : [result]
}

/** A scan of scans: gradients keep the carries between chunks only and compute those inside again. */
function scanInChunks<Carry extends Tree, X extends Tree, Y extends Tree>(
  compiler: Compiler,
  body: ScanBody<Carry, X, Y>,
  init: Carry,
  xs: X,
  { length, reverse, key }: GraphLoop,
  size: number,
): { carry: Carry; ys: Y } {
  const chunks = Math.floor(length / size)
  const rest = length - chunks * size
  // What does not fill a chunk runs last, whichever the direction.
  const begin = reverse ? rest : 0
  const part = (first: number, count: number): X => map((leaf) => tf.slice(leaf, first, count), xs)
  const depth = loopDepth
  const outer = scanGraph<Carry, X, Y>(
    compiler,
    (carry, chunk) => {
      const keyed: ScanBody<Carry, X, Y> = (inner, x) =>
        body(
          inner,
          x,
          stepKey(key, (steps) => begin + steps[depth] * size + steps[depth + 1]),
        )
      const { carry: next, ys } = scanGraph(compiler, keyed, carry, chunk, { length: size, reverse, key: undefined, begin: 0 })
      return { carry: next, y: ys }
    },
    init,
    map((leaf) => tf.reshape(leaf, [chunks, size, ...leaf.shape.slice(1)]), part(begin, chunks * size)),
    { length: chunks, reverse, key: undefined, begin: 0 },
  )
  const ys = map((leaf) => tf.reshape(leaf, [chunks * size, ...leaf.shape.slice(2)]), outer.ys)
  if (rest === 0) return { carry: outer.carry, ys }
  const restBegin = reverse ? 0 : chunks * size
  const last = scanGraph(compiler, body, outer.carry, part(restBegin, rest), { length: rest, reverse, key, begin: restBegin })
  return { carry: last.carry, ys: map((a, b) => tf.concat(reverse ? [b, a] : [a, b]), ys, last.ys) }
}

/**
 * One of two functions, by a condition. Inside a compiled function only the branch taken is computed when it runs.
 * Differentiable with respect to what the branches close over.
 *
 * @param condition - bool scalar
 * @param onTrue - gives a tree; `onFalse` one of the same structure, dtypes and shapes
 * @throws ShapeError when the two differ
 */
export function cond<R extends Tree>(condition: tf.Tensor, onTrue: () => R, onFalse: () => R): R {
  const compiler = currentCompiler()
  if (compiler === undefined || !compiler.isTracing()) {
    return condition.dataSync()[0] ? onTrue() : onFalse()
  }
  let structure: TreeStructure | undefined
  const branch = (fn: () => R) => () => {
    const flat = flatten(fn())
    if (structure !== undefined && JSON.stringify(structure) !== JSON.stringify(flat.structure)) {
      throw new ShapeError('cond: both branches must return trees of the same structure')
    }
    structure = flat.structure
    return flat.leaves
  }
  const outputs = differentiableCond(compiler, condition, [branch(onTrue), branch(onFalse)])
  return unflatten<R>(structure as unknown as TreeStructure, outputs)
}

function differentiableCond(
  compiler: Compiler,
  condition: tf.Tensor,
  branches: readonly [() => tf.Tensor[], () => tf.Tensor[]],
): tf.Tensor[] {
  const { outputs, closure } = compiler.cond(condition, branches)
  if (!isRecording()) return outputs
  const floats = closure.filter(isFloat)
  for (const tensor of [...closure, condition]) compiler.keepUntilTraced(tensor)
  return recordOnTape(floats, outputs, (dys) => {
    const floatDys = dys.filter((_, i) => isFloat(outputs[i]))
    const pull = (fn: () => tf.Tensor[]) => () => pullBack(() => fn().filter(isFloat), floats, floatDys)
    return differentiableCond(compiler, condition, [pull(branches[0]), pull(branches[1])])
  })
}

/** Options of {@link whileLoop}. */
export interface WhileOptions {
  /** Stop after so many steps whatever the condition. */
  maxSteps?: number
}

/**
 * A loop that runs while a condition of its carry holds. Not differentiable: the number of steps is not known
 * beforehand; use {@link scan} for gradients.
 *
 * @param condition - of the carry: a bool scalar
 * @param body - the next carry, of the same structure, dtypes and shapes
 * @throws ShapeError when the body changes the carry's structure or shapes
 * @throws TracingError when a gradient through it is asked for
 */
export function whileLoop<Carry extends Tree>(
  condition: (carry: Carry) => tf.Tensor,
  body: (carry: Carry) => Carry,
  init: Carry,
  { maxSteps }: WhileOptions = {},
): Carry {
  const compiler = currentCompiler()
  const { leaves: first, structure } = flatten(init)
  if (compiler?.isTracing()) {
    const tree = (carries: tf.Tensor[]): Carry => unflatten<Carry>(structure, carries)
    const next = (carries: tf.Tensor[]): tf.Tensor[] => {
      const after = body(tree(carries))
      checkCarry(tree(carries), after)
      return leaves(after)
    }
    const carries = compiler.whileLoop((list) => condition(tree(list)), next, first, maxSteps)
    return tree(refuseGradient(first, carries))
  }
  let carry = map((leaf) => leaf.clone(), init)
  for (let step = 0; step < (maxSteps ?? Infinity) && condition(carry).dataSync()[0]; step++) {
    const next = body(carry)
    checkCarry(carry, next)
    carry = next
  }
  return unflatten<Carry>(structure, refuseGradient(first, leaves(carry)))
}

function refuseGradient(inputs: tf.Tensor[], outputs: tf.Tensor[]): tf.Tensor[] {
  if (!isRecording()) return outputs
  return recordOnTape(inputs.filter(isFloat), outputs, () => {
    throw new TracingError('whileLoop is not differentiable; use scan, or stopGradient around it')
  })
}
