import { DataError, OptionError, ShapeError } from '../errors'
import { product, type HostArray } from './host-array'
import type { NumericArray } from './array-input'

/** Values padded along an axis, with a mask that is 1 for real entries. */
export type Padded = { readonly values: HostArray; readonly mask: HostArray }

/**
 * The smallest of {1, 1.25, 1.5, 1.75}·2^k that holds `n`: 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20 …
 *
 * Padding to these sizes wastes at most a quarter, and n up to 1,000 needs 36 shapes, so few compiled programs.
 *
 * @throws OptionError when `n` is no positive integer
 */
export function sizeClass(n: number): number {
  if (!Number.isInteger(n) || n < 1) throw new OptionError(`sizeClass: expected a positive integer, got ${n}`)
  if (n <= 8) return n
  const step = 2 ** (Math.floor(Math.log2(n)) - 2)
  return Math.ceil(n / step) * step
}

function sameStorage(data: NumericArray, length: number): NumericArray {
  return new (data.constructor as new (length: number) => NumericArray)(length)
}

/**
 * Pads an array along its first axis (nodes of a graph, steps of an episode) to the next size class.
 *
 * @param array - [n, ...]
 * @param value - of the padding. Default 0
 * @returns `values` [N, ...] and `mask` [N] (bool)
 */
export function padToSizeClass(array: HostArray, value = 0): Padded {
  const { values, mask } = padRagged([array], value)
  const [, length, ...rest] = values.shape
  return { values: { ...values, shape: [length, ...rest] }, mask: { ...mask, shape: [length] } }
}

/**
 * Stacks arrays of different lengths, padded to the size class of the longest.
 *
 * @param arrays - n arrays [length_i, ...] of the same further axes
 * @param value - of the padding. Default 0
 * @returns `values` [n, L, ...] and `mask` [n, L] (bool), for `fromArrays({ x: values, mask })`
 * @throws ShapeError when the further axes differ; DataError when the storage types differ; OptionError when there is no array
 */
export function padRagged(arrays: readonly HostArray[], value = 0): Padded {
  if (arrays.length === 0) throw new OptionError('padRagged: expected at least one array')
  const [first] = arrays
  const rest = first.shape.slice(1)
  arrays.forEach((array, i) => {
    if (array.data.constructor !== first.data.constructor) {
      throw new DataError(
        `padRagged: array ${i} is a ${array.data.constructor.name}, array 0 a ${first.data.constructor.name}; use one type`,
      )
    }
    if (array.shape.length === rest.length + 1 && rest.every((n, axis) => n === array.shape[axis + 1])) return
    throw new ShapeError(
      `padRagged: array ${i} has shape [${array.shape.join(', ')}], expected [length${rest.map((n) => `, ${n}`).join('')}]`,
    )
  })
  const length = sizeClass(Math.max(1, ...arrays.map((array) => array.shape[0])))
  const rowSize = product(rest)
  const data = sameStorage(first.data, arrays.length * length * rowSize)
  if (value !== 0) data.fill(value)
  const mask = new Uint8Array(arrays.length * length)
  arrays.forEach((array, i) => {
    data.set(array.data, i * length * rowSize)
    mask.fill(1, i * length, i * length + array.shape[0])
  })
  return {
    values: { data, shape: [arrays.length, length, ...rest], ...(first.dtype && { dtype: first.dtype }) },
    mask: { data: mask, shape: [arrays.length, length], dtype: 'bool' },
  }
}
