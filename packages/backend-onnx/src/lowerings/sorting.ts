import { binary, cast, constant, gather, reshape, scalar, int64, where } from '../emit'
import type { Graph, Value } from '../graph'
import { defineLowerings } from '../lowering'

/**
 * For each value the number of elements of its row that are smaller (`left`) or not larger (`right`), by bisection: the
 * count is built from its highest binary digit down, all values at once.
 */
function search(g: Graph, sorted: Value, values: Value, side: 'left' | 'right'): Value {
  const [batch, length] = sorted.shape
  const flat = reshape(g, sorted, [batch * length])
  const starts = constant(
    g,
    Array.from({ length: batch }, (_, row) => row * length),
    [batch, 1],
    'int32',
  )
  const compare = side === 'left' ? 'Less' : 'LessOrEqual'
  let count = constant(g, Array<number>(batch).fill(0), [batch, 1], 'int32')
  for (let digit = 2 ** Math.floor(Math.log2(length)); digit >= 1; digit /= 2) {
    const tried = binary(g, 'Add', count, scalar(g, digit, 'int32'))
    const inside = binary(g, 'LessOrEqual', tried, scalar(g, length, 'int32'))
    const last = binary(g, 'Sub', binary(g, 'Min', tried, scalar(g, length, 'int32')), scalar(g, 1, 'int32'))
    const element = gather(g, flat, binary(g, 'Add', last, starts), 0)
    const fits = binary(g, 'And', binary(g, compare, element, values), inside)
    count = where(g, fits, tried, count)
  }
  return count
}

defineLowerings({
  /** Equal values come in the order of their indices, in ONNX as here. */
  TopK: ({ g, input, attrs }) => {
    const x = input('x')
    const k = attrs.k as number
    const number = x.type === 'bool' ? cast(g, x, 'int32') : x
    const shape = [...x.shape.slice(0, -1), k]
    const [values, indices] = g.ops(
      'TopK',
      [number, int64(g, [k])],
      [
        { shape, type: number.type },
        { shape, type: 'int64' },
      ],
      { axis: { int: x.shape.length - 1 }, largest: { int: 1 }, sorted: { int: 1 } },
    )
    return [cast(g, values, x.type), cast(g, indices, 'int32')]
  },
  SearchSorted: ({ g, input, attrs }) => {
    const [sorted, values] = [input('sortedSequence'), input('values')]
    return search(g, sorted, cast(g, values, sorted.type), attrs.side as 'left' | 'right')
  },
})
