import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  logit,
  logSigmoid,
  logSoftmaxRows,
  logSumExp,
  logSumExpRows,
  roundHalfToEven,
  sigmoid,
  softmaxRows,
  softplus,
  xlogy,
} from './index'

function relative(actual: number, expected: number): number {
  return Math.abs(actual - expected) / Math.abs(expected)
}

describe('logistic family', () => {
  it('keeps its precision where the plain formulas overflow or round to 0', () => {
    expect(softplus(1000)).toBe(1000)
    expect(relative(softplus(-40), 4.248354255291589e-18)).toBeLessThan(1e-15)
    expect(softplus(-1000)).toBe(0)
    expect(logSigmoid(-1000)).toBe(-1000)
    expect(relative(logSigmoid(40), -4.248354255291589e-18)).toBeLessThan(1e-15)
    expect(sigmoid(-1000)).toBe(0)
    expect(relative(sigmoid(-40), 4.248354255291589e-18)).toBeLessThan(1e-15)
    expect(sigmoid(0)).toBe(0.5)
    expect(softplus(0)).toBe(Math.LN2)
  })

  it('logit inverts sigmoid', () => {
    fc.assert(
      fc.property(fc.double({ min: -30, max: 15, noNaN: true }), (x) => {
        expect(Math.abs(logit(sigmoid(x)) - x)).toBeLessThan(1e-15 * (4 + Math.abs(x)) + 3e-16 * Math.exp(Math.max(0, x)))
      }),
    )
    expect([logit(0), logit(1), logit(0.5)]).toEqual([-Infinity, Infinity, 0])
    expect(logit(1.5)).toBeNaN()
  })

  it('softplus(x) - softplus(-x) = x', () => {
    fc.assert(
      fc.property(fc.double({ min: -700, max: 700, noNaN: true }), (x) => {
        expect(Math.abs(softplus(x) - softplus(-x) - x)).toBeLessThanOrEqual(4e-16 * Math.max(1, Math.abs(x)))
      }),
    )
  })
})

describe('xlogy and rounding', () => {
  it('gives 0 log 0 = 0', () => {
    expect([xlogy(0, 0), xlogy(0, -1), xlogy(2, 1), xlogy(1, 0)]).toEqual([0, 0, 0, -Infinity])
    expect(xlogy(0, NaN)).toBeNaN()
    expect(xlogy(NaN, 1)).toBeNaN()
  })

  it('rounds halves to the even integer', () => {
    expect([0.5, 1.5, 2.5, 3.5, -0.5, -1.5, -2.5, 2.4999999999999996, 0.49999999999999994, 2 ** 52 + 1, -7].map(roundHalfToEven)).toEqual([
      0,
      2,
      2,
      4,
      -0 + 0,
      -2,
      -2,
      2,
      0,
      2 ** 52 + 1,
      -7,
    ])
    expect(roundHalfToEven(Infinity)).toBe(Infinity)
    expect(roundHalfToEven(-Infinity)).toBe(-Infinity)
    expect(roundHalfToEven(NaN)).toBeNaN()
  })
})

describe('softmax rows', () => {
  it('survives large logits and shifts', () => {
    expect(logSumExp([1000, 1000])).toBeCloseTo(1000 + Math.LN2, 12)
    expect(logSumExp([-1000, -1001])).toBeCloseTo(-1000 + Math.log1p(Math.exp(-1)), 12)
    expect(logSumExp([])).toBe(-Infinity)
    expect(logSumExp([-Infinity, -Infinity])).toBe(-Infinity)
    expect(logSumExp([-Infinity, 3])).toBe(3)
    expect(logSumExp([NaN, -Infinity])).toBeNaN()
    expect([...softmaxRows([1000, 1000, -Infinity, 5], 2)]).toEqual([0.5, 0.5, 0, 1])
    expect([...logSumExpRows([0, 0, 0, 0], 2)]).toEqual([Math.LN2, Math.LN2])
  })

  it('keeps the tiny log-probability lost by a confident class', () => {
    const [confident, other] = logSoftmaxRows([0, -50], 2)
    expect(relative(confident, -1.9287498479639178e-22)).toBeLessThan(1e-15)
    expect(other).toBe(-50)
    expect([...logSoftmaxRows([7, 7], 2)]).toEqual([-Math.LN2, -Math.LN2])
  })

  it('rows sum to 1 and do not depend on a common shift', () => {
    const row = fc.array(fc.double({ min: -600, max: 600, noNaN: true }), { minLength: 1, maxLength: 12 })
    fc.assert(
      fc.property(row, (logits) => {
        const p = softmaxRows(logits, logits.length)
        expect(Math.abs(p.reduce((a, b) => a + b) - 1)).toBeLessThan(1e-14)
        const logP = logSoftmaxRows(logits, logits.length)
        p.forEach((value, i) => expect(Math.abs(Math.exp(logP[i]) - value)).toBeLessThan(1e-13 * (value + 1e-300)))
        expect(Math.abs(logSumExp(logits) - (logits[0] - logP[0]))).toBeLessThan(1e-12)
      }),
    )
  })

  it('says what is wrong with the row length', () => {
    expect(() => softmaxRows([1, 2, 3], 2)).toThrow('softmaxRows: expected rows of 2 logits, got 3 values')
    expect(() => logSumExpRows([1], 0)).toThrow('positive integer number of classes')
  })
})
