import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import { useBackend } from '../backend'
import {
  cholesky,
  choleskyLogDet,
  choleskySolve,
  conditionNumber,
  eigen,
  eigenCondition,
  inverse,
  leastSquares,
  logDet,
  matrix,
  ridge,
  singularValues,
  solve,
  spectralNorm,
  svd,
  symmetricEigen,
  symmetricEigenvalues,
  symmetricSqrt,
  type Matrix,
} from './index'

function golden<Case>(name: string): Case[] {
  return JSON.parse(readFileSync(new URL(`../../test/golden/linalg-${name}.json`, import.meta.url), 'utf8')) as Case[]
}

const eps = Number.EPSILON

// The default in Node multiplies natively; BPF_BACKEND=cpu runs the same on our own kernels.
beforeAll(() => useBackend())

/** Largest difference over the largest expected value. */
function relativeError(actual: Matrix | Float64Array, expected: number[][] | number[]): number {
  const values = actual instanceof Float64Array ? actual : actual.data
  const flat = expected.flat()
  expect(values.length).toBe(flat.length)
  const scale = Math.max(...flat.map(Math.abs))
  return flat.reduce((worst, value, i) => Math.max(worst, Math.abs(values[i] - value)), 0) / scale
}

type General = {
  condition: number
  a: number[][]
  b: number[][]
  x: number[][]
  inverse: number[][]
  logAbsDet: number
  sign: number
  singularValues: number[]
}

describe('general matrices up to condition 1e10 (60-digit values)', () => {
  for (const { condition, ...expected } of golden<General>('general')) {
    const a = matrix(expected.a)
    // A backward stable solution is wrong by a small multiple of κ ε.
    const tolerance = 20 * condition * eps

    it(`condition ${condition}: solve, inverse, logDet`, () => {
      expect(relativeError(solve(a, matrix(expected.b)), expected.x)).toBeLessThan(tolerance)
      expect(relativeError(inverse(a), expected.inverse)).toBeLessThan(tolerance)
      const { sign, logAbsDet } = logDet(a)
      expect(sign).toBe(expected.sign)
      expect(Math.abs(logAbsDet - expected.logAbsDet)).toBeLessThan(tolerance)
    })

    it(`condition ${condition}: singular values to 20 ε of the largest`, () => {
      expect(relativeError(svd(a).s, expected.singularValues)).toBeLessThan(20 * eps)
      expect(relativeError(singularValues(a), expected.singularValues)).toBeLessThan(20 * eps)
      expect(Math.abs(spectralNorm(a) / expected.singularValues[0] - 1)).toBeLessThan(20 * eps)
      expect(Math.abs(conditionNumber(a) / condition - 1)).toBeLessThan(tolerance)
    })
  }
})

type Symmetric = {
  condition: number
  a: number[][]
  b: number[][]
  cholesky: number[][]
  x: number[][]
  logDet: number
  eigenvalues: number[]
  sqrt: number[][]
}

describe('symmetric matrices up to condition 1e10 (60-digit values)', () => {
  for (const { condition, ...expected } of golden<Symmetric>('symmetric')) {
    const a = matrix(expected.a)
    const tolerance = 20 * condition * eps

    it(`condition ${condition}: Cholesky`, () => {
      const l = cholesky(a)
      expect(relativeError(l, expected.cholesky)).toBeLessThan(tolerance)
      expect(relativeError(choleskySolve(l, matrix(expected.b)), expected.x)).toBeLessThan(tolerance)
      expect(Math.abs(choleskyLogDet(l) - expected.logDet)).toBeLessThan(tolerance)
    })

    it(`condition ${condition}: eigenvalues to 20 ε of the largest, and the square root`, () => {
      expect(relativeError(symmetricEigen(a).values, expected.eigenvalues)).toBeLessThan(20 * eps)
      expect(relativeError(symmetricEigenvalues(a), expected.eigenvalues)).toBeLessThan(20 * eps)
      // A change of ε in A moves √A by up to ε / (2 √λmin).
      expect(relativeError(symmetricSqrt(a), expected.sqrt)).toBeLessThan(20 * Math.sqrt(condition) * eps)
    })
  }
})

type LeastSquaresCase = { condition: number; a: number[][]; b: number[]; x: number[]; relativeResidual: number; ridge: number[] }

describe('least squares up to condition 1e10 (60-digit values)', () => {
  for (const { condition, ...expected } of golden<LeastSquaresCase>('least-squares')) {
    const a = matrix(expected.a)
    const b = Float64Array.from(expected.b)
    it(`condition ${condition}, [${a.rows}, ${a.cols}]: minimum norm and ridge`, () => {
      const { solution, rank } = leastSquares(a, b)
      expect(rank).toBe(6)
      // Wedin: κ ε, plus κ² ε times the part of b that A can't reach (‖A‖ is 1, so against ‖b‖).
      const size = Math.hypot(...expected.b) / Math.max(...expected.x.map(Math.abs))
      const tolerance = 20 * eps * (condition + condition ** 2 * expected.relativeResidual * size)
      expect(relativeError(solution, expected.x)).toBeLessThan(tolerance)
      // AᵀA + 1e-3 I has condition 1e3 at most.
      expect(relativeError(ridge(a, b, 1e-3), expected.ridge)).toBeLessThan(20 * 1e3 * eps)
    })
  }
})

type EigenCase = { re: number[][]; im: number[][]; valuesRe: number[]; valuesIm: number[]; vectorCondition: number }

describe('general eigenvalues, vectors of condition up to 1e5 and beyond (60-digit values)', () => {
  golden<EigenCase>('eigen').forEach((expected, index) => {
    it(`case ${index}: κ(V) = ${expected.vectorCondition.toExponential(1)}`, () => {
      const re = matrix(expected.re)
      const im = matrix(expected.im)
      const { values, vectors } = eigen({ re, im })
      const size = Math.max(spectralNorm(re), spectralNorm(im))
      // Bauer–Fike: a backward error of n ε ‖A‖ moves an eigenvalue by up to κ(V) times that.
      const tolerance = 8 * eps * size * expected.vectorCondition * 4
      const left = new Set(values.re.keys())
      expected.valuesRe.forEach((real, i) => {
        const distance = (j: number): number => Math.hypot(values.re[j] - real, values.im[j] - expected.valuesIm[i])
        const nearest = [...left].reduce((best, j) => (distance(j) < distance(best) ? j : best))
        expect(distance(nearest)).toBeLessThan(tolerance)
        left.delete(nearest)
      })
      expect(Math.abs(eigenCondition(vectors) / expected.vectorCondition - 1)).toBeLessThan(1e-3)
    })
  })
})
