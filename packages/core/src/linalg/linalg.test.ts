import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  add,
  cholesky,
  choleskyLogDet,
  choleskySolve,
  conditionNumber,
  det,
  diag,
  eigen,
  eigenCondition,
  frobeniusNorm,
  gram,
  identity,
  inverse,
  leastSquares,
  logDet,
  matmul,
  matrix,
  matvec,
  qr,
  qrTriangle,
  ridge,
  semidefiniteFactor,
  singularValues,
  solve,
  spectralNorm,
  svd,
  symmetricEigen,
  symmetricEigenvalues,
  symmetricSqrt,
  toRows,
  transpose,
  triangularSolve,
  tridiagonalSolve,
  woodburySolve,
  zeros,
  type Matrix,
} from './index'

const entry = fc.double({ min: -1, max: 1, noNaN: true })

/** Matrices of up to 9 × 9; entries may be zero, rows may be equal. */
const matrices = fc
  .tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 }))
  .chain(([rows, cols]) =>
    fc
      .array(entry, { minLength: rows * cols, maxLength: rows * cols })
      .map((data): Matrix => ({ rows, cols, data: Float64Array.from(data) })),
  )

const squares = fc
  .integer({ min: 1, max: 9 })
  .chain((n) =>
    fc.array(entry, { minLength: n * n, maxLength: n * n }).map((data): Matrix => ({ rows: n, cols: n, data: Float64Array.from(data) })),
  )

/** Deterministic values in (−1, 1). */
function random(rows: number, cols: number, seed = 0): Matrix {
  const data = Float64Array.from(
    { length: rows * cols },
    (_, i) => 2 * Math.abs((Math.sin((i + 1) * 12.9898 + seed * 78.233) * 43758.5453) % 1) - 1,
  )
  return { rows, cols, data }
}

const distance = (a: Matrix, b: Matrix): number => frobeniusNorm(add(a, b, 1, -1))

/** ‖A − B‖ within 100 ε of the size of A; below 1e-300 numbers have not that many digits. */
const close = (a: Matrix, b: Matrix): boolean => distance(a, b) <= 100 * Number.EPSILON * frobeniusNorm(a) + 1e-300

const isOrthonormal = (q: Matrix): boolean => distance(gram(q), identity(q.cols)) < 1e-13

const scaleColumns = (a: Matrix, s: Float64Array): Matrix => matmul(a, diag(s))

function naiveProduct(a: Matrix, b: Matrix): Matrix {
  const c = zeros(a.rows, b.cols)
  for (let i = 0; i < a.rows; i++) {
    for (let j = 0; j < b.cols; j++) {
      for (let k = 0; k < a.cols; k++) c.data[i * b.cols + j] += a.data[i * a.cols + k] * b.data[k * b.cols + j]
    }
  }
  return c
}

describe('products', () => {
  it('equal three plain loops at all edges of the blocks', () => {
    for (const [m, k, n] of [
      [1, 1, 1],
      [2, 3, 4],
      [5, 7, 9],
      [3, 300, 6],
      [258, 3, 5],
      [259, 257, 7],
    ]) {
      const a = random(m, k, 1)
      const b = random(k, n, 2)
      const expected = naiveProduct(a, b)
      expect(distance(matmul(a, b), expected)).toBeLessThan(1e-12)
      expect(distance(matmul(transpose(a), b, { transposeA: true }), expected)).toBeLessThan(1e-12)
      expect(distance(matmul(a, transpose(b), { transposeB: true }), expected)).toBeLessThan(1e-12)
    }
    const wide = random(5, 150, 3)
    expect(distance(gram(wide), naiveProduct(transpose(wide), wide))).toBeLessThan(1e-12)
    expect(distance(gram(wide, 'rows'), naiveProduct(wide, transpose(wide)))).toBeLessThan(1e-12)
    expect(
      toRows(
        matrix([
          [1, 2],
          [3, 4],
        ]),
      ),
    ).toEqual([
      [1, 2],
      [3, 4],
    ])
    expect([
      ...matvec(
        matrix([
          [1, 2],
          [3, 4],
        ]),
        Float64Array.of(1, -1),
      ),
    ]).toEqual([-1, -1])
  })

  it('name the sizes that do not match', () => {
    expect(() => matmul(zeros(2, 3), zeros(2, 3))).toThrow('inner sizes differ: a is [2, 3], b is [2, 3]')
    expect(() => matvec(zeros(2, 3), new Float64Array(2))).toThrow('a has 3 columns, x has 2')
    expect(() => add(zeros(1, 2), zeros(2, 1))).toThrow('shapes differ')
    expect(() => zeros(-1, 2)).toThrow('non-negative integers')
  })
})

describe('QR', () => {
  it('A = Q R with orthonormal Q and R upper triangular, diagonal not negative, for any shape and rank', () => {
    fc.assert(
      fc.property(matrices, (a) => {
        const { q, r } = qr(a)
        const upper = toRows(r).every((row, i) => row.every((value, j) => (j < i ? value === 0 : j > i || value >= 0)))
        return close(matmul(q, r), a) && isOrthonormal(q) && upper && distance(qrTriangle(a), r) === 0
      }),
    )
  })
})

describe('SVD', () => {
  it('A = U S Vᵀ with orthonormal factors and descending values, for any shape and rank', () => {
    fc.assert(
      fc.property(matrices, (a) => {
        const { u, s, vt } = svd(a)
        const ordered = s.every((value, i) => value >= 0 && (i === 0 || value <= s[i - 1]))
        return close(matmul(scaleColumns(u, s), vt), a) && isOrthonormal(u) && isOrthonormal(transpose(vt)) && ordered
      }),
      { numRuns: 300 },
    )
  })

  it('handles zero, rank one, equal values, tiny and huge scales, and bidiagonal zeros', () => {
    expect([...svd(zeros(3, 2)).s]).toEqual([0, 0])
    expect(isOrthonormal(svd(zeros(3, 2)).u)).toBe(true)
    const rankOne = matmul(random(6, 1, 4), random(1, 5, 5))
    expect(svd(rankOne).s[1]).toBeLessThan(1e-15)
    expect([...svd(identity(4)).s]).toEqual([1, 1, 1, 1])
    for (const scale of [1e-200, 1e200]) {
      const a: Matrix = { ...random(5, 5, 6), data: random(5, 5, 6).data.map((value) => value * scale) }
      const reference = svd(random(5, 5, 6)).s
      svd(a).s.forEach((value, i) => expect(Math.abs(value / scale / reference[i] - 1)).toBeLessThan(1e-12))
      expect(Math.abs(spectralNorm(a) / scale / reference[0] - 1)).toBeLessThan(1e-13)
    }
    // Zeros on the diagonal take both deflation paths.
    for (const zero of [0, 2, 4]) {
      const a = diag([1, 2, 3, 4, 5])
      for (let i = 0; i < 4; i++) a.data[i * 5 + i + 1] = 0.5 + i
      a.data[zero * 6] = 0
      const { u, s, vt } = svd(a)
      expect(close(matmul(scaleColumns(u, s), vt), a)).toBe(true)
      expect(s[4]).toBeLessThan(1e-15)
    }
  })

  it('agrees with the values alone, the spectral norm, and the condition number', () => {
    fc.assert(
      fc.property(matrices, (a) => {
        const { s } = svd(a)
        const alone = singularValues(a)
        const tolerance = 1e-13 * s[0] + Number.MIN_VALUE
        return s.every((value, i) => Math.abs(value - alone[i]) <= tolerance) && Math.abs(spectralNorm(a) - s[0]) <= tolerance
      }),
    )
    expect(conditionNumber(diag([10, 5, 1]))).toBeCloseTo(10, 12)
    expect(conditionNumber(zeros(2, 2))).toBeNaN()
  })

  it('reconstructs 300 × 1500', () => {
    const a = random(300, 1500, 7)
    const { u, s, vt } = svd(a)
    expect(distance(matmul(scaleColumns(u, s), vt), a) / frobeniusNorm(a)).toBeLessThan(1e-13)
  })
})

describe('symmetric eigenvalues', () => {
  it('A V = V Λ with orthonormal V and ascending values', () => {
    fc.assert(
      fc.property(squares, (root) => {
        const a = add(root, transpose(root))
        const { values, vectors } = symmetricEigen(a)
        const ordered = values.every((value, i) => i === 0 || value >= values[i - 1])
        const residual = distance(matmul(a, vectors), scaleColumns(vectors, values))
        return residual <= 100 * Number.EPSILON * frobeniusNorm(a) + 1e-300 && isOrthonormal(vectors) && ordered
      }),
      { numRuns: 300 },
    )
  })

  it('knows the spectrum of the second difference: 2 − 2 cos(kπ / (n + 1))', () => {
    const n = 200
    const a = zeros(n, n)
    for (let i = 0; i < n; i++) {
      a.data[i * n + i] = 2
      if (i > 0) a.data[i * n + i - 1] = a.data[(i - 1) * n + i] = -1
    }
    const { values } = symmetricEigen(a)
    values.forEach((value, i) => expect(Math.abs(value - (2 - 2 * Math.cos(((i + 1) * Math.PI) / (n + 1))))).toBeLessThan(1e-13))
    symmetricEigenvalues(a).forEach((value, i) => expect(Math.abs(value - values[i])).toBeLessThan(1e-13))
  })

  it('handles zero, equal eigenvalues, and extreme scales', () => {
    expect([...symmetricEigen(zeros(3, 3)).values]).toEqual([0, 0, 0])
    expect([...symmetricEigen(identity(5)).values]).toEqual([1, 1, 1, 1, 1])
    const { values } = symmetricEigen(diag([3e200, 1e200, 2e200]))
    values.forEach((value, i) => expect(value / (i + 1) / 1e200).toBeCloseTo(1, 14))
    expect(symmetricEigen(zeros(0, 0)).values.length).toBe(0)
    // All ones: one eigenvalue n, the others zero.
    const ones: Matrix = { rows: 50, cols: 50, data: new Float64Array(2500).fill(1) }
    const spectrum = symmetricEigen(ones)
    expect(spectrum.values[49]).toBeCloseTo(50, 11)
    expect(isOrthonormal(spectrum.vectors)).toBe(true)
  })

  it('gives square roots and factors of semi-definite matrices', () => {
    fc.assert(
      fc.property(matrices, (root) => {
        const a = gram(root)
        const s = symmetricSqrt(a)
        const f = semidefiniteFactor(a)
        return close(matmul(s, s), a) && close(matmul(f, f, { transposeB: true }), a) && distance(s, transpose(s)) === 0
      }),
    )
    expect(() => symmetricSqrt(diag([1, -1]))).toThrow('not positive semi-definite: its smallest eigenvalue is -1')
    expect(() =>
      symmetricEigen(
        matrix([
          [1, 2],
          [0, 1],
        ]),
      ),
    ).toThrow('not symmetric: [1, 0] is 0 and [0, 1] is 2')
  })
})

describe('general eigenvalues', () => {
  const residual = (re: Matrix, im: Matrix): number => {
    // Products of subnormal numbers have no twelve digits, whoever computes them.
    if (Math.hypot(frobeniusNorm(re), frobeniusNorm(im)) < 1e-280) return 0
    const { values, vectors } = eigen({ re, im })
    const left = add(matmul(re, vectors.re), matmul(im, vectors.im), 1, -1)
    const leftIm = add(matmul(re, vectors.im), matmul(im, vectors.re))
    const right = add(scaleColumns(vectors.re, values.re), scaleColumns(vectors.im, values.im), 1, -1)
    const rightIm = add(scaleColumns(vectors.im, values.re), scaleColumns(vectors.re, values.im))
    return (
      Math.hypot(distance(left, right), distance(leftIm, rightIm)) /
      Math.max(Math.hypot(frobeniusNorm(re), frobeniusNorm(im)), Number.MIN_VALUE)
    )
  }

  it('A v = λ v for real and complex matrices, defective ones too', () => {
    fc.assert(
      fc.property(squares, (a) => residual(a, zeros(a.rows, a.rows)) < 1e-12),
      { numRuns: 200 },
    )
    fc.assert(
      fc.property(squares, (a) => residual(a, transpose(a)) < 1e-12),
      { numRuns: 200 },
    )
    expect(
      residual(
        matrix([
          [1, 1],
          [0, 1],
        ]),
        zeros(2, 2),
      ),
    ).toBeLessThan(1e-14)
    expect([...eigen(zeros(3, 3)).values.re]).toEqual([0, 0, 0])
    expect(residual(random(64, 64, 8), random(64, 64, 9))).toBeLessThan(1e-13)
  })

  it('returns conjugate pairs of a real matrix exactly', () => {
    const { values, vectors } = eigen(random(9, 9, 10))
    for (let j = 0; j < 9; j++) {
      if (values.im[j] >= 0) continue
      expect(values.im[j + 1]).toBe(-values.im[j])
      expect(values.re[j + 1]).toBe(values.re[j])
      for (let i = 0; i < 9; i++) expect(vectors.im.data[i * 9 + j]).toBe(-vectors.im.data[i * 9 + j + 1])
    }
  })

  it('knows the roots of unity, and κ(V) = 1 for a normal matrix', () => {
    const n = 12
    const shift = zeros(n, n)
    for (let i = 0; i < n; i++) shift.data[i * n + ((i + 1) % n)] = 1
    const { values, vectors } = eigen(shift)
    for (let j = 0; j < n; j++) expect(Math.hypot(values.re[j], values.im[j])).toBeCloseTo(1, 13)
    expect(eigenCondition(vectors)).toBeCloseTo(1, 10)
  })

  it('balances rows of very different sizes', () => {
    const a = matrix([
      [1, 1e10, 1e5],
      [1e-10, 2, 1e-5],
      [1e-5, 1e5, 3],
    ])
    const { values } = eigen(a)
    // D⁻¹AD with D = diag(1e5, 1e-5, 1) is [[1, 1, 1], [1, 2, 1], [1, 1, 3]].
    const expected = symmetricEigen(
      matrix([
        [1, 1, 1],
        [1, 2, 1],
        [1, 1, 3],
      ]),
    ).values
    values.re.forEach((value, i) => expect(Math.abs(value / expected[i] - 1)).toBeLessThan(1e-13))
  })

  it('refuses what it can not take', () => {
    expect(() => eigen(zeros(2, 3))).toThrow('expected a square matrix, got [2, 3]')
    expect(() => eigen({ rows: 1, cols: 1, data: Float64Array.of(NaN) })).toThrow('NaN at row 0, column 0')
    expect(() => eigen({ re: zeros(2, 2), im: zeros(3, 3) })).toThrow('imaginary part [3, 3]')
    expect(eigen(zeros(0, 0)).values.re.length).toBe(0)
  })
})

describe('factorisations and solves', () => {
  const positive = (n: number, seed: number): Matrix => add(gram(random(n, n, seed)), identity(n), 1, 0.5)

  it('L Lᵀ = A, within and across blocks', () => {
    for (const n of [1, 5, 63, 64, 65, 150]) {
      const a = positive(n, n)
      const l = cholesky(a)
      expect(distance(matmul(l, l, { transposeB: true }), a) / frobeniusNorm(a)).toBeLessThan(1e-14)
      expect(toRows(l).every((row, i) => row.every((value, j) => j <= i || value === 0))).toBe(true)
      const x = random(n, 3, 11)
      expect(distance(choleskySolve(l, matmul(a, x)), x)).toBeLessThan(1e-9)
      const { sign, logAbsDet } = logDet(a)
      expect(sign).toBe(1)
      expect(choleskyLogDet(l)).toBeCloseTo(logAbsDet, 9)
    }
  })

  it('solve and inverse undo products, across blocks', () => {
    for (const n of [1, 7, 48, 49, 130]) {
      const a = add(random(n, n, 12), identity(n), 1, 3)
      const x = random(n, 5, 13)
      const condition = conditionNumber(a)
      expect(distance(solve(a, matmul(a, x)), x) / frobeniusNorm(x)).toBeLessThan(100 * condition * Number.EPSILON)
      expect(distance(matmul(a, inverse(a)), identity(n))).toBeLessThan(100 * n * condition * Number.EPSILON)
      const vector = Float64Array.from({ length: n }, (_, i) => i + 1)
      const back = solve(a, matvec(a, vector))
      back.forEach((value, i) => expect(Math.abs(value - vector[i])).toBeLessThan(100 * n * condition * Number.EPSILON))
    }
    expect(
      det(
        matrix([
          [0, 2],
          [3, 4],
        ]),
      ),
    ).toBeCloseTo(-6, 14)
    expect(
      logDet(
        matrix([
          [0, 2],
          [3, 4],
        ]),
      ).sign,
    ).toBe(-1)
    expect(
      logDet(
        matrix([
          [1, 2],
          [2, 4],
        ]),
      ),
    ).toEqual({ sign: 0, logAbsDet: -Infinity })
  })

  it('triangularSolve takes both triangles, transposed or not, and leaves its arguments alone', () => {
    for (const n of [1, 6, 64, 100]) {
      const full = add(random(n, n, 14), identity(n), 0.1, 2)
      const x = random(n, 2, 15)
      for (const lower of [true, false]) {
        const t = zeros(n, n)
        for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) if (lower ? j <= i : j >= i) t.data[i * n + j] = full.data[i * n + j]
        expect(distance(triangularSolve(full, matmul(t, x), { lower }), x)).toBeLessThan(1e-11)
        expect(distance(triangularSolve(full, matmul(transpose(t), x), { lower, transpose: true }), x)).toBeLessThan(1e-11)
      }
    }
    const b = Float64Array.of(2, 4)
    expect([
      ...triangularSolve(
        matrix([
          [9, 0],
          [1, 9],
        ]),
        b,
        { unitDiagonal: true },
      ),
    ]).toEqual([2, 2])
    expect([...b]).toEqual([2, 4])
  })

  it('tridiagonalSolve agrees with solve, where pivots are needed too', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(entry, entry, entry, entry), { minLength: 1, maxLength: 12 }), (rows) => {
        const n = rows.length
        const lower = Float64Array.from(rows.slice(1), (row) => row[0] + Math.sign(row[0] || 1))
        const diagonal = Float64Array.from(rows, (row) => row[1])
        const upper = Float64Array.from(rows.slice(1), (row) => row[2])
        const a = diag(diagonal)
        for (let i = 0; i + 1 < n; i++) {
          a.data[i * n + i + 1] = upper[i]
          a.data[(i + 1) * n + i] = lower[i]
        }
        const condition = conditionNumber(a)
        if (!(condition < 1e8) || spectralNorm(a) < 1e-200) return true
        const b = Float64Array.from(rows, (row) => row[3])
        const x = tridiagonalSolve(lower, diagonal, upper, b)
        const expected = solve(a, b)
        const size = Math.hypot(...expected)
        return x.every((value, i) => Math.abs(value - expected[i]) <= 1e3 * condition * Number.EPSILON * size)
      }),
    )
    expect(() => tridiagonalSolve(Float64Array.of(0), Float64Array.of(0, 1), Float64Array.of(0), Float64Array.of(1, 1))).toThrow('singular')
    expect(() => tridiagonalSolve(Float64Array.of(0), Float64Array.of(1), Float64Array.of(0), Float64Array.of(1))).toThrow('needs 0 below')
  })

  it('woodburySolve agrees with the dense system, with a nearly singular middle too', () => {
    const n = 12
    const diagonal = Float64Array.from({ length: n }, (_, i) => 0.5 + i)
    const u = random(n, 3, 16)
    const b = random(n, 2, 17)
    for (const c of [undefined, diag([1, 1e-8, 1e-14]), positive(3, 18)]) {
      const dense = add(diag(diagonal), matmul(u, matmul(c ?? identity(3), u, { transposeB: true })))
      const { solution, logDet: value } = woodburySolve(diagonal, u, b, c)
      expect(distance(solution, solve(dense, b))).toBeLessThan(1e-13)
      expect(value).toBeCloseTo(logDet(dense).logAbsDet, 12)
    }
    expect(() => woodburySolve(Float64Array.of(1, 0), zeros(2, 1), new Float64Array(2))).toThrow('got 0 at index 1')
  })

  it('leastSquares has minimum norm: x = A⁺ A x for any rank', () => {
    fc.assert(
      fc.property(matrices, (a) => {
        const b = random(a.rows, 1, 19)
        const { solution, rank, singularValues: s } = leastSquares(a, b, { rcond: 1e-6 })
        const amplification = rank === 0 ? 1 : s[0] / s[rank - 1]
        // Left out: values on the edge of the cut, and matrices so small that 1/σ overflows.
        if (s[0] < 1e-200 || (rank < s.length && s[rank] > 1e-12 * s[0])) return true
        // The residual is orthogonal to the columns, the solution lies in the row space.
        const normal = matmul(a, add(matmul(a, solution), b, 1, -1), { transposeA: true })
        const inRowSpace = leastSquares(a, matmul(a, solution), { rcond: 1e-6 }).solution
        const size = 1 + frobeniusNorm(solution)
        return frobeniusNorm(normal) < 1e-10 * size && distance(inRowSpace, solution) < 1e-9 * amplification * size
      }),
    )
    expect(
      [
        ...leastSquares(
          matrix([
            [1, 1],
            [1, 1],
          ]),
          Float64Array.of(2, 2),
        ).solution,
      ].map((value) => Math.round(value * 1e12) / 1e12),
    ).toEqual([1, 1])
  })

  it('ridge solves the normal equations for tall and for wide matrices', () => {
    for (const [m, n] of [
      [9, 4],
      [4, 9],
    ]) {
      const a = random(m, n, 20)
      const b = random(m, 2, 21)
      const x = ridge(a, b, 0.1)
      const gradient = add(matmul(a, add(matmul(a, x), b, 1, -1), { transposeA: true }), x, 1, 0.1)
      expect(frobeniusNorm(gradient)).toBeLessThan(1e-13)
    }
    expect(() => ridge(zeros(2, 2), new Float64Array(2), 0)).toThrow('lambda must be positive and finite, got 0')
  })

  it('errors say what is wrong and what to do', () => {
    expect(() =>
      cholesky(
        matrix([
          [1, 2],
          [2, 1],
        ]),
      ),
    ).toThrow(/pivot 1 of 2 is -3.*Add jitter/)
    expect(
      cholesky(
        matrix([
          [1, 2],
          [2, 1],
        ]),
        { jitter: 2 },
      ).rows,
    ).toBe(2)
    expect(() => cholesky(zeros(2, 3))).toThrow('expected a square matrix, got [2, 3]')
    expect(() =>
      solve(
        matrix([
          [1, 2],
          [2, 4],
        ]),
        Float64Array.of(1, 1),
      ),
    ).toThrow(/singular: pivot 1 of 2 is 0.*leastSquares/)
    expect(() => solve(identity(2), new Float64Array(3))).toThrow('the matrix has 2 rows, the right-hand side has 3')
    expect(() => solve(identity(1), Float64Array.of(NaN))).toThrow('right-hand side: NaN at row 0')
    expect(() => triangularSolve(zeros(2, 2), new Float64Array(2))).toThrow('the diagonal is zero at index 0')
    expect(() => qr({ rows: 1, cols: 2, data: Float64Array.of(1, Infinity) })).toThrow('Infinity at row 0, column 1')
    expect(() => svd({ rows: 2, cols: 2, data: new Float64Array(3) })).toThrow('[2, 2] needs 4 values, got 3')
    expect(() => leastSquares(zeros(0, 2), new Float64Array(0))).toThrow('empty')
  })
})
