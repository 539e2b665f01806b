import type * as tf from '@tensorflow/tfjs-core'
import type { Tracer } from './backend'
import { binary, cast, concat, reshape, scalar, slice } from './emit'
import { tracingError } from './errors'
import type { Graph, Value } from './graph'
import { onnxBackend, symbolicTensor } from './trace'

/** Random words of a graph, as int32 tensors [blocks, 2]. */
export interface GraphWords {
  /** The 32 bits as a signed integer. */
  bits: tf.Tensor
  /** The upper and the lower 16 bits, from 0 to 65535. */
  high: tf.Tensor
  low: tf.Tensor
}

const rotations = [13, 15, 26, 6, 17, 29, 16, 24] as const
const parity = 0x1bd11bda

function uint32(g: Graph, value: number): Value {
  return scalar(g, value >>> 0, 'uint32')
}

function shift(g: Graph, x: Value, bits: number, direction: 'LEFT' | 'RIGHT'): Value {
  return g.op('BitShift', [x, uint32(g, bits)], x.shape, 'uint32', { direction: { string: direction } })
}

function xor(g: Graph, a: Value, b: Value): Value {
  return binary(g, 'BitwiseXor', a, b)
}

/** Threefry 2×32 with 20 rounds on columns of counters; the bits that the host computes. */
function threefry(g: Graph, key0: Value, key1: Value, counter0: Value, counter1: Value): [Value, Value] {
  const keys = [key0, key1, xor(g, xor(g, uint32(g, parity), key0), key1)]
  const add = (a: Value, b: Value): Value => binary(g, 'Add', a, b)
  let x0 = add(counter0, keys[0])
  let x1 = add(counter1, keys[1])
  for (let round = 0; round < 20; round++) {
    const r = rotations[round % 8]
    x0 = add(x0, x1)
    x1 = xor(g, xor(g, shift(g, x1, r, 'LEFT'), shift(g, x1, 32 - r, 'RIGHT')), x0)
    if (round % 4 === 3) {
      const s = (round + 1) / 4
      x0 = add(x0, keys[s % 3])
      x1 = add(add(x1, keys[(s + 1) % 3]), uint32(g, s))
    }
  }
  return [x0, x1]
}

/**
 * Random words inside the graph being traced, where the key or the counter is known only there.
 *
 * @param words - int32 [2]: the key
 * @param counters - int32 [blocks]: first counter word of each block
 * @param counter1 - second counter word
 */
export function graphWords(words: tf.Tensor, counters: tf.Tensor, counter1: number): GraphWords {
  const backend = onnxBackend()
  const { tracer } = backend
  if (tracer === undefined) throw tracingError('random words of a graph exist only inside a function that is being traced')
  const { graph: g } = tracer
  const value = (tensor: tf.Tensor, on: Tracer): Value => cast(g, backend.graphValue(tensor, on) as Value, 'uint32')
  const key = value(words, tracer)
  const [key0, key1] = [0, 1].map((i) => reshape(g, slice(g, key, [0], [i], [1]), [1]))
  const counter0 = value(counters, tracer)
  const pair = threefry(g, key0, key1, counter0, uint32(g, counter1))
  const columns = pair.map((column) => reshape(g, column, [counters.size, 1]))
  const all = concat(g, columns, 1)
  const tensor = (x: Value): tf.Tensor => symbolicTensor(backend, cast(g, x, 'int32'))
  const mask = uint32(g, 0xffff)
  return { bits: tensor(all), high: tensor(shift(g, all, 16, 'RIGHT')), low: tensor(binary(g, 'BitwiseAnd', all, mask)) }
}
