import * as tf from '@tensorflow/tfjs-core'
import { withSmallJoined } from './elementwise'
import { OptionError, ShapeError } from './errors'

/**
 * Nested tensors: a tensor, a list of trees, or a record of trees. No null, number or string inside:
 * a number captured by `compile` would freeze silently. Counters are int32 scalars.
 *
 * Records are walked in sorted key order, so two trees with the same keys have the same structure
 * whatever order they were written in. Declare record types with `type`, not `interface`
 * (an interface has no index signature and is not assignable to `Tree`).
 */
export type Tree = tf.Tensor | readonly Tree[] | { readonly [key: string]: Tree }

/** What is left of a tree when its tensors are taken out; rebuilds a tree with {@link unflatten}. */
export type TreeStructure =
  | { readonly kind: 'leaf' }
  | { readonly kind: 'list'; readonly items: readonly TreeStructure[] }
  | { readonly kind: 'record'; readonly keys: readonly string[]; readonly items: readonly TreeStructure[] }

const leafStructure: TreeStructure = { kind: 'leaf' }

/** Whether `value` is a tensor (a leaf). */
export function isTensor(value: unknown): value is tf.Tensor {
  return value instanceof tf.Tensor
}

function describe(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'an array'
  return typeof value === 'object' ? `an object of class ${value.constructor?.name ?? 'unknown'}` : `the ${typeof value} ${String(value)}`
}

const remedy = 'A tree holds only tensors, lists and records of them; wrap a number as tf.scalar(n).'

/** JSON Pointer (RFC 6901) of a path of keys: `/layers/0/kernel`. */
function pointer(path: readonly (string | number)[]): string {
  return path.map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
}

function isRecord(value: unknown): value is Record<string, Tree> {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

function walk(value: unknown, path: (string | number)[], visit: (leaf: tf.Tensor, path: (string | number)[]) => void): TreeStructure {
  if (isTensor(value)) {
    visit(value, path)
    return leafStructure
  }
  if (Array.isArray(value)) {
    return { kind: 'list', items: value.map((item, i) => walk(item, [...path, i], visit)) }
  }
  if (isRecord(value)) {
    const keys = Object.keys(value).sort()
    return { kind: 'record', keys, items: keys.map((key) => walk(value[key], [...path, key], visit)) }
  }
  throw notATree(value, path)
}

function notATree(value: unknown, path: (string | number)[]): OptionError {
  return new OptionError(`tree: expected a tensor, list or record at '${pointer(path) || '/'}', got ${describe(value)}. ${remedy}`)
}

/**
 * Takes the tensors out of a tree.
 *
 * @returns `leaves` in a fixed order and the `structure` that {@link unflatten} needs
 * @throws OptionError where something in the tree is not a tensor, list or record
 */
export function flatten(tree: Tree): { leaves: tf.Tensor[]; structure: TreeStructure } {
  const leaves: tf.Tensor[] = []
  const structure = walk(tree, [], (leaf) => leaves.push(leaf))
  return { leaves, structure }
}

/**
 * Rebuilds a tree from its structure; the inverse of {@link flatten}.
 *
 * @throws ShapeError when the number of leaves differs from the structure's
 */
export function unflatten<T extends Tree>(structure: TreeStructure, leaves: readonly tf.Tensor[]): T {
  let next = 0
  const build = (node: TreeStructure): Tree => {
    if (node.kind === 'leaf') return leaves[next++]
    if (node.kind === 'list') return node.items.map(build)
    return Object.fromEntries(node.keys.map((key, i) => [key, build(node.items[i])]))
  }
  const tree = build(structure)
  if (next !== leaves.length) throw new ShapeError(`unflatten: the structure has ${next} leaves, got ${leaves.length}`)
  return tree as T
}

/** The tensors of a tree, in the order of {@link flatten}. */
export function leaves(tree: Tree): tf.Tensor[] {
  return flatten(tree).leaves
}

/** Each leaf with its JSON Pointer (`/layers/0/kernel`); the root tensor's pointer is the empty string. */
export function entries(tree: Tree): { path: string; leaf: tf.Tensor }[] {
  const found: { path: string; leaf: tf.Tensor }[] = []
  walk(tree, [], (leaf, path) => found.push({ path: pointer(path), leaf }))
  return found
}

function sameStructure(a: TreeStructure, b: TreeStructure): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

/** A short text of a tree's structure, dtypes and shapes, equal exactly when all three are. */
export function signature(tree: Tree): string {
  // Runs at each compiled call: no paths, no intermediate objects.
  if (isTensor(tree)) return `${tree.dtype}[${tree.shape.join(',')}]`
  if (Array.isArray(tree)) return `(${(tree as readonly Tree[]).map(signature).join(';')})`
  if (!isRecord(tree)) throw notATree(tree, [])
  const keys = Object.keys(tree).sort()
  return `{${keys.map((key) => `${JSON.stringify(key)}:${signature(tree[key])}`).join(';')}}`
}

/**
 * Applies `fn` to corresponding leaves of trees of equal structure.
 *
 * @param fn - gets one leaf of each tree; returns a new tensor
 * @throws ShapeError when the structures differ
 */
export function map<T extends Tree>(fn: (...leaves: tf.Tensor[]) => tf.Tensor, tree: T, ...rest: Tree[]): T {
  const first = flatten(tree)
  const others = rest.map((other, i) => {
    const flat = flatten(other)
    if (!sameStructure(flat.structure, first.structure)) {
      throw new ShapeError(`tree.map: tree ${i + 2} has another structure than tree 1: ${differences(tree, other)}`)
    }
    return flat.leaves
  })
  return unflatten<T>(
    first.structure,
    first.leaves.map((leaf, i) => fn(leaf, ...others.map((list) => list[i]))),
  )
}

function differences(a: Tree, b: Tree): string {
  const left = new Set(entries(a).map((entry) => entry.path || '/'))
  const right = new Set(entries(b).map((entry) => entry.path || '/'))
  const missing = [...left].filter((path) => !right.has(path))
  const extra = [...right].filter((path) => !left.has(path))
  const text = [
    missing.length ? `missing ${missing.slice(0, 3).join(', ')}` : '',
    extra.length ? `unexpected ${extra.slice(0, 3).join(', ')}` : '',
  ]
  return text.filter(Boolean).join('; ') || 'lists against records'
}

/**
 * Disposes every tensor of the trees. A leaf shared by several places is disposed once.
 */
export function dispose(...trees: (Tree | undefined)[]): void {
  const all = new Set(trees.filter((tree) => tree !== undefined).flatMap((tree) => leaves(tree)))
  for (const leaf of all) leaf.dispose()
}

/** A copy whose tensors are owned by the caller (the values are shared until one side is disposed). */
export function clone<T extends Tree>(tree: T): T {
  return map((leaf) => leaf.clone(), tree)
}

/** Zeros with the shapes and dtypes of `tree`. */
export function zerosLike<T extends Tree>(tree: T): T {
  return map((leaf) => tf.zerosLike(leaf), tree)
}

function floatLeaves(tree: Tree): tf.Tensor[] {
  return leaves(tree).filter((leaf) => leaf.dtype === 'float32')
}

/** Inner product of two trees of equal structure over their float leaves. @returns scalar */
export function dot(a: Tree, b: Tree): tf.Scalar {
  return tf.tidy(() => {
    const left = flatten(a)
    const right = flatten(b)
    if (!sameStructure(left.structure, right.structure)) throw new ShapeError(`tree.dot: the trees differ: ${differences(a, b)}`)
    const terms = left.leaves.flatMap((leaf, i) => (leaf.dtype === 'float32' ? [tf.sum(tf.mul(leaf, right.leaves[i]))] : []))
    return terms.length === 0 ? tf.scalar(0) : (tf.addN(terms) as tf.Scalar)
  })
}

/** Global Euclidean norm over all float leaves. @returns scalar */
export function norm(tree: Tree): tf.Scalar {
  return tf.tidy(() => tf.sqrt(dot(tree, tree)) as tf.Scalar)
}

/** Number of values in all leaves. */
export function size(tree: Tree): number {
  return leaves(tree).reduce((total, leaf) => total + leaf.size, 0)
}

/**
 * Concatenates all float leaves into one vector, in the order of {@link flatten}.
 *
 * @returns `vector` [n] and `unpack`, which turns such a vector back into a tree of the same shapes
 *   (non-float leaves are cloned from the original)
 */
export function pack<T extends Tree>(tree: T): { vector: tf.Tensor1D; unpack: (vector: tf.Tensor1D) => T } {
  const flat = flatten(tree)
  const floats = floatLeaves(tree)
  const vector = tf.tidy(() =>
    floats.length === 0 ? tf.zeros<tf.Rank.R1>([0]) : tf.concat1d(floats.map((leaf) => tf.reshape(leaf, [leaf.size]) as tf.Tensor1D)),
  )
  const unpack = (values: tf.Tensor1D): T => {
    const total = floats.reduce((sum, leaf) => sum + leaf.size, 0)
    if (values.size !== total) throw new ShapeError(`unpack: expected a vector of ${total} values, got ${values.size}`)
    let offset = 0
    return unflatten<T>(
      flat.structure,
      flat.leaves.map((leaf) => {
        if (leaf.dtype !== 'float32') return leaf.clone()
        const part = tf.tidy(() => tf.reshape(tf.slice1d(values, offset, leaf.size), leaf.shape))
        offset += leaf.size
        return part
      }),
    )
  }
  return { vector, unpack }
}

/**
 * Whether all float leaves are finite, as a bool scalar (traceable).
 *
 * `x·0` is 0 for a finite x and NaN otherwise, so one sum per leaf finds NaN and both infinities.
 */
export function allFinite(tree: Tree): tf.Scalar {
  return tf.tidy(() => {
    const terms = withSmallJoined(floatLeaves(tree)).map((leaf) => tf.sum(tf.mul(leaf, 0)))
    const total = terms.length === 0 ? tf.scalar(0) : tf.addN(terms)
    return tf.equal(total, 0) as tf.Scalar
  })
}

/** Per leaf, `a` where `condition` holds and `b` elsewhere; `condition` is a bool scalar. Traceable. */
export function where<T extends Tree>(condition: tf.Scalar, a: T, b: T): T {
  return map((x, y) => tf.tidy(() => tf.where(condition, x, y)), a, b)
}

/** {@link tf.tidy} for functions that return trees: frees every tensor made inside except the result's. */
export function tidy<T extends Tree>(fn: () => T): T {
  return tf.tidy(() => fn() as tf.TensorContainer) as T
}

/** Everything allocated since {@link scope} is freed when it is disposed, except what was kept. */
export interface Scope extends Disposable {
  /** Keeps a tree beyond the end of the scope; the caller owns it then. */
  keep<T extends Tree>(tree: T): T
}

const disposeSymbol: typeof Symbol.dispose = Symbol.dispose ?? Symbol.for('Symbol.dispose')

/**
 * Frees all tensors made inside a block: `using s = scope()`.
 *
 * @example
 * ```ts
 * function normalise(x: tf.Tensor) {
 *   using s = scope()
 *   return s.keep(tf.div(tf.sub(x, tf.mean(x)), tf.norm(x)))
 * }
 * ```
 */
export function scope(): Scope {
  const engine = tf.engine()
  engine.startScope('bpf')
  const kept: tf.Tensor[] = []
  return {
    keep<T extends Tree>(tree: T): T {
      kept.push(...leaves(tree))
      return tree
    },
    [disposeSymbol]() {
      engine.endScope(kept)
    },
  }
}
