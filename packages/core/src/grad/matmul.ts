import * as tf from '@tensorflow/tfjs-core'
import { broadcastTo, define, sumTo } from './define'

/** ∂(a·b) for every combination of transposes; batch axes that were broadcast are summed. */
const batchMatMul = define<{ transposeA: boolean; transposeB: boolean }>({
  kernel: 'BatchMatMul',
  save: ['a', 'b'],
  gradients: (dy, [a, b], { transposeA, transposeB }) => ({
    a: () => sumTo(transposeA ? tf.matMul(b, dy, transposeB, true) : tf.matMul(dy, b, false, !transposeB), a.shape),
    b: () => sumTo(transposeB ? tf.matMul(dy, a, true, transposeA) : tf.matMul(a, dy, !transposeA, false), b.shape),
  }),
})

/** Sums `x` over the indices of its `term` that occur nowhere in `rest`; einsum on the cpu backend cannot do it itself. */
function sumLonely(x: tf.Tensor, term: string, rest: string): { x: tf.Tensor; term: string } {
  const lonely = [...term].flatMap((index, axis) => (rest.includes(index) ? [] : [axis]))
  if (lonely.length === 0) return { x, term }
  return { x: tf.sum(x, lonely), term: [...term].filter((index) => rest.includes(index)).join('') }
}

/** The gradient of one operand is again an einsum: the output's indices and the other operands', summed down to its own. */
function einsumGradient(dy: tf.Tensor, operands: tf.Tensor[], terms: string[], result: string, i: number): tf.Tensor {
  const target = [...terms[i]]
  const elsewhere = (j: number): string => [result, ...terms.filter((_, k) => k !== j)].join('')
  const others = operands.flatMap((x, j) => (j === i ? [] : [sumLonely(x, terms[j], elsewhere(j))]))
  // An index that only this operand has was summed over: its gradient is the same along it.
  const reached = target.filter((index) => elsewhere(i).includes(index))
  const gradient =
    others.length === 0
      ? tf.transpose(
          dy,
          reached.map((index) => result.indexOf(index)),
        )
      : tf.einsum(`${[result, ...others.map(({ term }) => term)].join(',')}->${reached.join('')}`, dy, ...others.map(({ x }) => x))
  const kept = target.map((index, axis) => (reached.includes(index) ? operands[i].shape[axis] : 1))
  return broadcastTo(tf.reshape(gradient, kept), operands[i].shape)
}

const einsum = define<{ equation: string }>({
  kernel: 'Einsum',
  saveAll: true,
  gradients: (dy, operands, { equation }) => {
    const [inputs, result] = equation.replace(/\s/g, '').split('->')
    const terms = inputs.split(',')
    return Object.fromEntries(operands.map((_, i) => [i, () => einsumGradient(dy, operands, terms, result, i)]))
  },
})

export const matmulGradients: tf.GradConfig[] = [batchMatMul, einsum]
