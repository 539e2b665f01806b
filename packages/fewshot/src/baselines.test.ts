import { describe, expect, it } from 'vitest'
import { cosineClassifier, nearestMean } from './baselines'

const matrix = (data: number[][]) => ({ data: Float64Array.from(data.flat()), shape: [data.length, data[0].length] as const })

describe('inductive baselines', () => {
  it('nearestMean answers the class of the nearest mean, cosineClassifier of the nearest direction', () => {
    const support = matrix([
      [1, 0],
      [3, 0],
      [0, 10],
    ])
    const query = matrix([
      [2, 1],
      [1, 2],
      [0.2, 9],
    ])
    expect(Array.from(nearestMean(support, [0, 0, 1], query))).toEqual([0, 0, 1])
    expect(Array.from(cosineClassifier(support, [0, 0, 1], query))).toEqual([0, 1, 1])
  })

  it('names what is wrong', () => {
    const support = matrix([
      [1, 0],
      [0, 1],
    ])
    expect(() => nearestMean(support, [0, 2], support)).toThrow('class 1 has no support example')
    expect(() => nearestMean(support, [0, 1], matrix([[1, 2, 3]]))).toThrow(/query: expected 2 columns/)
    expect(() =>
      cosineClassifier(
        matrix([
          [0, 0],
          [0, 1],
        ]),
        [0, 1],
        support,
      ),
    ).toThrow(/support row 0 is zero/)
  })
})
