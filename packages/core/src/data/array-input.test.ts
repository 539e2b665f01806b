import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { readLabels, readMatrix, readVector } from './array-input'

beforeAll(async () => {
  await useBackend()
})

describe('readMatrix', () => {
  it('reads every accepted form to the same rows', () => {
    const forms = [
      tf.tensor2d([
        [1, 2, 3],
        [4, 5, 6],
      ]),
      [
        [1, 2, 3],
        [4, 5, 6],
      ],
      [Float32Array.of(1, 2, 3), Float32Array.of(4, 5, 6)],
      { rows: 2, cols: 3, data: Float64Array.of(1, 2, 3, 4, 5, 6) },
      { shape: [2, 3], data: [1, 2, 3, 4, 5, 6] },
      tf.tensor2d(
        [
          [1, 2, 3],
          [4, 5, 6],
        ],
        [2, 3],
        'int32',
      ),
    ]
    for (const form of forms) {
      const { rows, cols, data } = readMatrix(form, 'x')
      expect([rows, cols, ...data]).toEqual([2, 3, 1, 2, 3, 4, 5, 6])
    }
    expect(readMatrix([1, 2, 3, 4], 'x', { columns: 2 }).rows).toBe(2)
    expect(readMatrix(Float32Array.of(1, 2, 3, 4), 'x', { columns: 2 }).rows).toBe(2)
  })

  it('does not copy floats', () => {
    const data = Float32Array.of(1, 2, 3, 4)
    expect(readMatrix({ data, shape: [2, 2] }, 'x').data).toBe(data)
    expect(readMatrix(data, 'x', { columns: 2 }).data).toBe(data)
  })

  it('names row and column of what is not finite', () => {
    expect(() =>
      readMatrix(
        [
          [1, 2],
          [3, NaN],
        ],
        'logits',
      ),
    ).toThrow('logits: NaN at row 1, column 1')
    expect(() =>
      readMatrix(
        [
          [1, 2],
          [Infinity, 0],
        ],
        'logits',
      ),
    ).toThrow('logits: Infinity at row 1, column 0')
    expect(readMatrix([[-Infinity, 2]], 'x', { infinite: true }).cols).toBe(2)
    expect(() => readMatrix([[NaN, 2]], 'x', { infinite: true })).toThrow('NaN at row 0, column 0')
  })

  it('refuses wrong shapes and non-numbers', () => {
    expect(() => readMatrix([[1, 2], [3]], 'x')).toThrow('x: row 1 has 1 values, expected 2')
    expect(() => readMatrix(Float32Array.of(1, 2, 3), 'x')).toThrow('has no shape')
    expect(() => readMatrix(Float32Array.of(1, 2, 3), 'x', { columns: 2 })).toThrow('do not fill rows of 2')
    expect(() => readMatrix(tf.zeros([2, 2, 2]), 'x')).toThrow('got [2, 2, 2]')
    expect(() => readMatrix({ data: [1, 2, 3], shape: [2, 2] }, 'x')).toThrow('needs 4 values, got 3')
    expect(() => readMatrix([[1, 2]], 'x', { columns: 3 })).toThrow('row 0 has 2 values, expected 3')
    expect(() => readMatrix([[1, 2]], 'x', { rows: 3 })).toThrow('expected 3 rows, got 1')
    expect(() => readMatrix([['a', 2]] as unknown as number[][], 'x')).toThrow('should be a number, got the string a')
    expect(() => readMatrix(undefined as unknown as number[][], 'x')).toThrow('got undefined')
    const gone = tf.zeros([2, 2])
    gone.dispose()
    expect(() => readMatrix(gone, 'x')).toThrow('disposed')
  })
})

describe('readVector and readLabels', () => {
  it('read tensors and arrays', () => {
    expect([...readVector(tf.tensor1d([1, 2]), 'x')]).toEqual([1, 2])
    expect([...readVector(tf.tensor2d([[1], [2]]), 'x')]).toEqual([1, 2])
    expect([...readLabels(Uint8Array.of(3, 0), 'labels')]).toEqual([3, 0])
    expect([...readLabels([true, false], 'labels')]).toEqual([1, 0])
    expect([...readLabels(tf.tensor1d([1, 0], 'int32'), 'labels', { classes: 2 })]).toEqual([1, 0])
  })

  it('name the index of a bad value', () => {
    expect(() => readVector([1, NaN], 'x')).toThrow('x: NaN at index 1')
    expect(() => readVector([1, 2], 'x', { length: 3 })).toThrow('expected 3 values, got 2')
    expect(() => readLabels([0, 1.5], 'labels')).toThrow('label 1.5 at index 1 is not an integer')
    expect(() => readLabels([0, NaN], 'labels')).toThrow('label NaN at index 1')
    expect(() => readLabels([0, 1, 10], 'labels', { classes: 10 })).toThrow('label 10 at index 2 is out of range; expected 0 to 9')
    expect(() => readLabels(Int32Array.of(-1), 'labels')).toThrow('label -1 at index 0')
    expect(() => readLabels(tf.zeros([2, 3]), 'labels')).toThrow('expected a tensor of shape [n], got [2, 3]')
  })
})
