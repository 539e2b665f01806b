import * as tf from '@tensorflow/tfjs-core'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { forbidFallback } from '../__fixtures__/native-only'
import '../index'
import { deviation, kernel, sample } from '../testing/index'

forbidFallback()

const sizes = fc.integer({ min: 1, max: 6 })
const seeds = fc.nat(1000)

function swapped(shape: number[], swap: boolean): number[] {
  return swap ? [...shape.slice(0, -2), shape[shape.length - 1], shape[shape.length - 2]] : shape
}

describe('matrix products', () => {
  it('agree with the cpu backend for every batch and transpose, floats and integers', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom<[number[], number[]]>(
          [[], []],
          [[2], [2]],
          [[1], [3]],
          [[3], [1]],
          [[1], [1]],
          [
            [2, 2],
            [2, 2],
          ],
        ),
        fc.tuple(sizes, sizes, sizes),
        fc.boolean(),
        fc.boolean(),
        fc.boolean(),
        seeds,
        async ([batchA, batchB], [m, k, n], transposeA, transposeB, integers, seed) => {
          const shapes = [swapped([...batchA, m, k], transposeA), swapped([...batchB, k, n], transposeB)]
          const inputs = shapes.map((shape, i) =>
            integers ? { ...sample(shape, seed + i, 9), dtype: 'int32' as const } : sample(shape, seed + i),
          )
          expect(await deviation(kernel('BatchMatMul', ['a', 'b'], { transposeA, transposeB }), inputs)).toBeLessThan(2e-6)
        },
      ),
      { numRuns: 60 },
    )
  })

  it('with bias and activation agree', async () => {
    for (const activation of [null, 'linear', 'relu', 'relu6', 'elu', 'sigmoid', 'leakyrelu', 'prelu']) {
      const names = ['a', 'b', 'bias', ...(activation === 'prelu' ? ['preluActivationWeights'] : [])]
      const inputs = [sample([3, 4], 1), sample([4, 5], 2), sample([5], 3), sample([5], 4)].slice(0, names.length)
      const attrs = { transposeA: false, transposeB: false, activation, leakyreluAlpha: 0.3 }
      expect(await deviation(kernel('_FusedMatMul', names, attrs), inputs), String(activation)).toBeLessThan(2e-6)
    }
  })

  it('in double precision sum to 1e-14', async () => {
    const fn = ([a, b]: tf.Tensor[]): tf.Tensor[] => [tf.matMul(a as tf.Tensor2D, b as tf.Tensor2D, true, true)]
    expect(await deviation(fn, [sample([7, 3], 1), sample([4, 7], 2)], 'float64')).toBeLessThan(1e-6)
  })
})

describe('Einstein sums', () => {
  const extents: Record<string, number> = { i: 2, j: 3, k: 4, l: 2, b: 3 }
  it.each(['ij,jk->ik', 'ij->ji', 'ij->', 'ij->j', 'i,j->ij', 'bij,bjk->bik', 'ij,ij->', 'ij,kj->ik', 'bij,bkj->bik', 'ijk,jil->kl'])(
    '%s agrees with the cpu backend',
    async (equation) => {
      const terms = equation.split('->')[0].split(',')
      const inputs = terms.map((term, i) =>
        sample(
          [...term].map((letter) => extents[letter]),
          i + 1,
        ),
      )
      expect(await deviation((tensors) => [tf.einsum(equation, ...tensors)], inputs)).toBeLessThan(2e-6)
    },
  )

  it('sums out letters that only one factor has', async () => {
    // The cpu kernel gives the wrong shape here.
    await tf.setBackend('onnx')
    const sum = tf.einsum('ij,k->k', tf.ones([2, 3]), tf.tensor1d([1, 2, 3, 4]))
    expect([...sum.dataSync()]).toEqual([6, 12, 18, 24])
  })
})
