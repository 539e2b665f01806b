import * as tf from '@tensorflow/tfjs-core'
import { binary, cast, matmul, reduce, reshape, transpose } from '../emit'
import { sizeOf, type Graph, type Value } from '../graph'
import { defineLowerings, type LoweringContext } from '../lowering'
import { activate } from './elementwise'

function swapLast(rank: number): number[] {
  return [...Array(rank - 2).keys(), rank - 1, rank - 2]
}

function product(g: Graph, a: Value, b: Value, transposeA: boolean, transposeB: boolean): Value {
  if (a.shape.length === 2 && b.shape.length === 2 && (transposeA || transposeB) && a.type !== 'int32') {
    const shape = [a.shape[transposeA ? 1 : 0], b.shape[transposeB ? 0 : 1]]
    return g.op('Gemm', [a, b], shape, a.type, { transA: { int: transposeA ? 1 : 0 }, transB: { int: transposeB ? 1 : 0 } })
  }
  const left = transposeA ? transpose(g, a, swapLast(a.shape.length)) : a
  const right = transposeB ? transpose(g, b, swapLast(b.shape.length)) : b
  return matmul(g, left, right)
}

/** Batches of size one and equal rank: drop the batch so that Gemm can take transposes without copying. */
function batchProduct({ g, input, attrs }: LoweringContext): Value {
  const a = toNumber(g, input('a'))
  const b = cast(g, input('b'), a.type)
  const [transposeA, transposeB] = [attrs.transposeA === true, attrs.transposeB === true]
  const [innerA, innerB] = [a.shape[a.shape.length - (transposeA ? 2 : 1)], b.shape[b.shape.length - (transposeB ? 1 : 2)]]
  tf.util.assert(
    innerA === innerB,
    () =>
      `Error in matMul: inner shapes (${innerA}) and (${innerB}) of Tensors with shapes ${a.shape.join()} and ${b.shape.join()} ` +
      `and transposeA=${transposeA} and transposeB=${transposeB} must match.`,
  )
  const single = (x: Value): boolean => x.shape.slice(0, -2).every((size) => size === 1)
  if (single(a) && single(b)) {
    const flat = product(g, reshape(g, a, a.shape.slice(-2)), reshape(g, b, b.shape.slice(-2)), transposeA, transposeB)
    const batch = Array<number>(Math.max(a.shape.length, b.shape.length) - 2).fill(1)
    return reshape(g, flat, [...batch, ...flat.shape])
  }
  return product(g, a, b, transposeA, transposeB)
}

/** A factor of an Einstein sum: the letters of its axes. */
interface Factor {
  value: Value
  letters: string[]
}

/** Sums out the axes whose letter is not wanted. */
function keepLetters(g: Graph, { value, letters }: Factor, wanted: (letter: string) => boolean): Factor {
  const axes = letters.flatMap((letter, i) => (wanted(letter) ? [] : [i]))
  return { value: reduce(g, 'ReduceSum', value, axes, false), letters: letters.filter(wanted) }
}

function arrange(g: Graph, { value, letters }: Factor, order: readonly string[]): Value {
  return transpose(
    g,
    value,
    order.map((letter) => letters.indexOf(letter)),
  )
}

/** Multiplies two factors and sums over the letters that nothing else needs: one batched matrix product. */
function contract(g: Graph, left: Factor, right: Factor, needed: (letter: string) => boolean): Factor {
  const a = keepLetters(g, left, (letter) => needed(letter) || right.letters.includes(letter))
  const b = keepLetters(g, right, (letter) => needed(letter) || left.letters.includes(letter))
  const shared = a.letters.filter((letter) => b.letters.includes(letter))
  const batch = shared.filter(needed)
  const summed = shared.filter((letter) => !needed(letter))
  const onlyA = a.letters.filter((letter) => !shared.includes(letter))
  const onlyB = b.letters.filter((letter) => !shared.includes(letter))
  const sizes = ({ value, letters }: Factor, of: readonly string[]): number[] => of.map((letter) => value.shape[letters.indexOf(letter)])
  const letters = [...batch, ...onlyA, ...onlyB]
  const shape = [...sizes(a, [...batch, ...onlyA]), ...sizes(b, onlyB)]
  const dims = (factor: Factor, ...groups: string[][]): number[] => groups.map((group) => sizeOf(sizes(factor, group)))
  const x = reshape(g, arrange(g, a, [...batch, ...onlyA, ...summed]), dims(a, batch, onlyA, summed))
  const y = reshape(g, arrange(g, b, [...batch, ...summed, ...onlyB]), dims(b, batch, summed, onlyB))
  const flat = (value: Value): Value => (batch.length === 0 ? reshape(g, value, value.shape.slice(1)) : value)
  return { value: reshape(g, matmul(g, flat(x), flat(y)), shape), letters }
}

/** An Einstein sum, folded from the left. */
function einsum({ g, list, attrs }: LoweringContext): Value {
  const equation = (attrs.equation as string).replace(/\s/g, '')
  const values = list().map((value) => toNumber(g, value))
  // The checks, and their messages, are TensorFlow.js's.
  const { allDims, idDims } = tf.backend_util.decodeEinsumEquation(equation, values.length)
  tf.backend_util.checkEinsumDimSizes(
    allDims.length,
    idDims,
    values.map(({ shape }) => ({ shape }) as unknown as tf.Tensor),
  )
  const [terms, output] = equation.split('->')
  const wanted = [...output]
  const factors = terms.split(',').map((term, i): Factor => ({ value: cast(g, values[i], values[0].type), letters: [...term] }))
  const last = factors.slice(1).reduce((product, factor, i) => {
    const later = new Set([...wanted, ...factors.slice(i + 2).flatMap(({ letters }) => letters)])
    return contract(g, product, factor, (letter) => later.has(letter))
  }, factors[0])
  return arrange(
    g,
    keepLetters(g, last, (letter) => wanted.includes(letter)),
    wanted,
  )
}

function toNumber(g: Graph, x: Value): Value {
  return x.type === 'bool' ? cast(g, x, 'int32') : x
}

defineLowerings({
  BatchMatMul: batchProduct,
  _FusedMatMul: (context) => {
    const { g, optional, attrs } = context
    const bias = optional('bias')
    const y = batchProduct(context)
    const biased = bias === undefined ? y : binary(g, 'Add', y, bias)
    return activate(
      g,
      biased,
      attrs.activation as string | undefined,
      optional('preluActivationWeights'),
      attrs.leakyreluAlpha as number | undefined,
    )
  },
  Einsum: einsum,
})
