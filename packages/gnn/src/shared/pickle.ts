/** A reader of Python pickles that builds data and calls nothing: only the classes it knows, everything else is an error. */
import { DataError } from '@bpf/core'

/** A value of a pickle. Byte strings are bytes, tuples and lists arrays, dictionaries maps. */
export type PickleValue =
  null | boolean | number | string | Uint8Array | PickleValue[] | Map<PickleValue, PickleValue> | PickleArray | PickleObject | PickleClass

/** A numpy array of a numeric type. */
export interface PickleArray {
  kind: 'array'
  shape: number[]
  values: Float64Array
}

/** An instance of a class that only holds state, such as a scipy matrix. */
export interface PickleObject {
  kind: 'object'
  class: string
  state: PickleValue
}

interface PickleClass {
  kind: 'class'
  name: string
}

/** A numpy array or dtype before its state is there. */
interface Growing {
  kind: 'growing'
  class: 'ndarray' | 'dtype'
  code: string
}

type Item = PickleValue | Growing

const classes = new Set([
  'scipy.sparse.csr csr_matrix',
  'scipy.sparse._csr csr_matrix',
  'numpy.core.multiarray _reconstruct',
  'numpy._core.multiarray _reconstruct',
  'numpy ndarray',
  'numpy dtype',
  'collections defaultdict',
  '__builtin__ list',
  'builtins list',
])

const mark = Symbol('mark')

/** How to read one number of a numpy type code. */
const readers: Readonly<Record<string, { bytes: number; read(view: DataView, at: number, little: boolean): number }>> = {
  i1: { bytes: 1, read: (view, at) => view.getInt8(at) },
  u1: { bytes: 1, read: (view, at) => view.getUint8(at) },
  b1: { bytes: 1, read: (view, at) => view.getUint8(at) },
  i2: { bytes: 2, read: (view, at, little) => view.getInt16(at, little) },
  i4: { bytes: 4, read: (view, at, little) => view.getInt32(at, little) },
  u4: { bytes: 4, read: (view, at, little) => view.getUint32(at, little) },
  i8: { bytes: 8, read: (view, at, little) => Number(view.getBigInt64(at, little)) },
  f4: { bytes: 4, read: (view, at, little) => view.getFloat32(at, little) },
  f8: { bytes: 8, read: (view, at, little) => view.getFloat64(at, little) },
}

/**
 * Reads a pickle of protocol 0 to 3 of numbers, strings, lists, tuples, dictionaries, numpy arrays and scipy matrices.
 *
 * @param name - names the file in errors
 * @throws DataError for a truncated or damaged file, an unknown class, or anything that would have to be executed
 */
export function readPickle(bytes: Uint8Array, name: string): PickleValue {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  const fail = (what: string): DataError => new DataError(`${name}: ${what} at byte ${at} of ${bytes.length}`)
  const need = (count: number): number => {
    if (count < 0 || at + count > bytes.length) throw fail('the pickle ends too early')
    at += count
    return at - count
  }
  const take = (count: number): Uint8Array => bytes.subarray(need(count), at)
  const latin = (slice: Uint8Array): string => Array.from(slice, (byte) => String.fromCharCode(byte)).join('')
  const line = (): string => {
    const end = bytes.indexOf(10, at)
    if (end < 0) throw fail('the pickle ends too early')
    const text = latin(bytes.subarray(at, end))
    at = end + 1
    return text
  }
  const stack: (Item | typeof mark)[] = []
  const memo = new Map<number, Item>()
  const pop = (): Item => {
    const top = stack.pop()
    if (top === undefined || top === mark) throw fail('the pickle is damaged (an empty stack)')
    return top
  }
  const popMark = (): Item[] => {
    const from = stack.lastIndexOf(mark)
    if (from < 0) throw fail('the pickle is damaged (a missing mark)')
    return stack.splice(from).slice(1) as Item[]
  }
  const top = (): Item => {
    const last = stack[stack.length - 1]
    if (last === undefined || last === mark) throw fail('the pickle is damaged (an empty stack)')
    return last
  }
  const recall = (index: number): Item => {
    const value = memo.get(index)
    if (value === undefined) throw fail(`the pickle is damaged (no memo ${index})`)
    return value
  }
  const setItems = (items: Item[]): void => {
    const target = top()
    if (!(target instanceof Map)) throw fail('the pickle is damaged (items of what is no dictionary)')
    for (let i = 0; i + 1 < items.length; i += 2) target.set(items[i] as PickleValue, items[i + 1] as PickleValue)
  }
  const append = (items: Item[]): void => {
    const target = top()
    if (!Array.isArray(target)) throw fail('the pickle is damaged (items of what is no list)')
    for (const item of items) target.push(item as PickleValue)
  }
  const reduce = (callable: Item, args: Item): Item => {
    const called = isClass(callable) ? callable.name : ''
    if (/multiarray _reconstruct$/.test(called)) return { kind: 'growing', class: 'ndarray', code: '' }
    if (called === 'numpy dtype') {
      const code = (args as PickleValue[])[0]
      return { kind: 'growing', class: 'dtype', code: typeof code === 'string' ? code : latin(code as Uint8Array) }
    }
    if (called === 'collections defaultdict') return new Map()
    throw fail(`the pickle calls ${called === '' ? 'something that is no class' : called}, which is not allowed`)
  }
  const build = (target: Item, state: Item): Item => {
    if (isGrowing(target) && target.class === 'dtype') {
      const order = (state as PickleValue[])[1]
      return { ...target, code: `${typeof order === 'string' ? order : latin(order as Uint8Array)}${target.code}` }
    }
    if (isGrowing(target)) {
      const [, shape, dtype, isFortran, content] = state as [PickleValue, number[], Growing, boolean, Uint8Array | string]
      return readArray(shape, dtype.code, isFortran, content)
    }
    if (isObject(target)) return { ...target, state: state as PickleValue }
    throw fail('the pickle gives state to something that has none')
  }
  const readArray = (shape: number[], code: string, isFortran: boolean, content: Uint8Array | string): PickleArray => {
    const reader = readers[code.slice(1)]
    if (reader === undefined) throw fail(`the numpy type '${code}' is not a number`)
    const data = typeof content === 'string' ? Uint8Array.from(content, (c) => c.charCodeAt(0)) : content
    const size = shape.reduce((product, n) => product * n, 1)
    if (data.length !== size * reader.bytes) throw fail(`an array [${shape.join(', ')}] of '${code}' has ${data.length} bytes`)
    const source = new DataView(data.buffer, data.byteOffset, data.byteLength)
    const values = Float64Array.from({ length: size }, (_, i) => reader.read(source, i * reader.bytes, code[0] !== '>'))
    if (!isFortran || shape.length < 2) return { kind: 'array', shape, values }
    if (shape.length > 2) throw fail('a column-major array of more than two axes')
    const [rows, columns] = shape
    return { kind: 'array', shape, values: values.map((_, i) => values[(i % columns) * rows + Math.floor(i / columns)]) }
  }
  /** An object whose state came later takes the place of the one on the stack and in the memo. */
  const replaceTop = (next: Item): void => {
    const previous = stack.pop() as Item
    stack.push(next)
    for (const [index, value] of memo) if (value === previous) memo.set(index, next)
  }

  for (;;) {
    const op = String.fromCharCode(bytes[need(1)])
    switch (op) {
      case '\x80':
        if (bytes[need(1)] > 3) throw fail(`protocol ${bytes[at - 1]} is not supported (save with protocol 2)`)
        break
      case '.':
        return pop() as PickleValue
      case '(':
        stack.push(mark)
        break
      case ')':
      case ']':
        stack.push([])
        break
      case '}':
        stack.push(new Map())
        break
      case 'N':
        stack.push(null)
        break
      case '\x88':
      case '\x89':
        stack.push(op === '\x88')
        break
      case 'K':
        stack.push(bytes[need(1)])
        break
      case 'M':
        stack.push(view.getUint16(need(2), true))
        break
      case 'J':
        stack.push(view.getInt32(need(4), true))
        break
      case 'I': {
        const text = line()
        stack.push(text === '01' ? true : text === '00' ? false : Number(text))
        break
      }
      case 'L':
        stack.push(Number(line().replace(/L$/, '')))
        break
      case 'F':
        stack.push(Number(line()))
        break
      case 'G':
        stack.push(view.getFloat64(need(8), false))
        break
      case '\x8a': {
        const digits = take(bytes[need(1)])
        stack.push(
          Number(
            BigInt.asIntN(
              8 * digits.length,
              [...digits].reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n),
            ),
          ),
        )
        break
      }
      case 'U':
        stack.push(latin(take(bytes[need(1)])))
        break
      case 'T':
        stack.push(take(view.getInt32(need(4), true)))
        break
      case 'X':
        stack.push(new TextDecoder().decode(take(view.getUint32(need(4), true))))
        break
      case 'C':
        stack.push(take(bytes[need(1)]))
        break
      case 'B':
        stack.push(take(view.getUint32(need(4), true)))
        break
      case 't':
      case 'l':
        stack.push(popMark() as PickleValue[])
        break
      case 'd': {
        const items = popMark()
        stack.push(new Map())
        setItems(items)
        break
      }
      case '\x85':
        stack.push([pop() as PickleValue])
        break
      case '\x86': {
        const [second, first] = [pop(), pop()]
        stack.push([first, second] as PickleValue[])
        break
      }
      case '\x87': {
        const [third, second, first] = [pop(), pop(), pop()]
        stack.push([first, second, third] as PickleValue[])
        break
      }
      case 'a': {
        const item = pop()
        append([item])
        break
      }
      case 'e':
        append(popMark())
        break
      case 's': {
        const [value, key] = [pop(), pop()]
        setItems([key, value])
        break
      }
      case 'u':
        setItems(popMark())
        break
      case 'q':
        memo.set(bytes[need(1)], top())
        break
      case 'r':
        memo.set(view.getUint32(need(4), true), top())
        break
      case 'p':
        memo.set(Number(line()), top())
        break
      case 'h':
        stack.push(recall(bytes[need(1)]))
        break
      case 'j':
        stack.push(recall(view.getUint32(need(4), true)))
        break
      case 'g':
        stack.push(recall(Number(line())))
        break
      case 'c': {
        const named = `${line()} ${line()}`
        if (!classes.has(named)) throw fail(`the pickle names ${named}; only numpy arrays, scipy matrices and plain data are read`)
        stack.push({ kind: 'class', name: named })
        break
      }
      case '\x81': {
        pop()
        const made = pop()
        if (!isClass(made)) throw fail('the pickle is damaged (an object of no class)')
        stack.push({ kind: 'object', class: made.name, state: null })
        break
      }
      case 'R': {
        const args = pop()
        stack.push(reduce(pop(), args))
        break
      }
      case 'b': {
        const state = pop()
        replaceTop(build(top(), state))
        break
      }
      default:
        throw fail(`the pickle has the operation 0x${op.charCodeAt(0).toString(16).padStart(2, '0')}, which is not supported`)
    }
  }
}

const hasKind = (value: unknown, kind: string): boolean =>
  typeof value === 'object' && value !== null && (value as { kind?: unknown }).kind === kind
const isClass = (value: unknown): value is PickleClass => hasKind(value, 'class')
const isGrowing = (value: unknown): value is Growing => hasKind(value, 'growing')

/** Whether a value is an object with state. */
export const isObject = (value: unknown): value is PickleObject => hasKind(value, 'object')
/** Whether a value is a numeric array. */
export const isArray = (value: unknown): value is PickleArray => hasKind(value, 'array')
