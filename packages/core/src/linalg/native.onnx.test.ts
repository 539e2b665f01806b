import { beforeAll, describe, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { startedCompiler } from '../compiler'
import {
  add,
  cholesky,
  choleskySolve,
  frobeniusNorm,
  gram,
  identity,
  inverse,
  logDet,
  lu,
  matmul,
  qr,
  qrTriangle,
  ridge,
  solve,
  toRows,
  transpose,
  triangularSolve,
  woodburySolve,
  type Matrix,
} from './index'

/** Deterministic values in (−1, 1). */
function random(rows: number, cols: number, seed: number): Matrix {
  let state = (seed * 2654435761 + 12345) >>> 0
  const data = Float64Array.from({ length: rows * cols }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 31 - 1
  })
  return { rows, cols, data }
}

function positive(n: number, seed: number): Matrix {
  return add(gram(random(n, n, seed)), identity(n), 1 / n, 1)
}

/** Wider than the blocks of all routines, and no multiple of them. */
const n = 333
const a = random(n, n, 1)
const b = random(n, n, 2)
const tall = random(2 * n, n, 3)
const spd = positive(n, 4)
/** Rows of falling size: pivots and conditions of blocks that differ widely. */
const graded: Matrix = { ...a, data: a.data.map((value, p) => value * 10 ** ((-8 * Math.floor(p / n)) / n)) }

const results: Record<string, () => Matrix | Float64Array> = {
  matmul: () => matmul(a, b),
  'matmul, A transposed': () => matmul(a, b, { transposeA: true }),
  'matmul, B transposed': () => matmul(a, b, { transposeB: true }),
  'matmul, both transposed': () => matmul(tall, random(77, 2 * n, 5), { transposeA: true, transposeB: true }),
  'gram of columns': () => gram(tall),
  'gram of rows': () => gram(tall, 'rows'),
  'gram of few columns': () => gram(random(n, 90, 10)),
  'gram of few rows': () => gram(random(90, n, 10), 'rows'),
  cholesky: () => cholesky(spd),
  'choleskySolve of many': () => choleskySolve(cholesky(spd), b),
  'choleskySolve of one': () => choleskySolve(cholesky(spd), b.data.slice(0, n)),
  'triangularSolve, lower': () => triangularSolve(cholesky(spd), b),
  'triangularSolve, lower transposed': () => triangularSolve(cholesky(spd), b, { transpose: true }),
  'triangularSolve, upper': () => triangularSolve(transpose(cholesky(spd)), b, { lower: false }),
  'triangularSolve, unit diagonal': () => triangularSolve({ ...a, data: a.data.map((value) => value / n) }, b, { unitDiagonal: true }),
  'solve of many': () => solve(add(a, identity(n), 0.1, 1), b),
  'solve of one': () => solve(add(a, identity(n), 0.1, 1), b.data.slice(0, n)),
  inverse: () => inverse(spd),
  'log determinant': () => Float64Array.of(logDet(graded).sign, logDet(graded).logAbsDet),
  'Q of qr': () => qr(tall).q,
  'R of qr': () => qr(tall).r,
  qrTriangle: () => qrTriangle(tall),
  ridge: () => ridge(tall, random(2 * n, 40, 6), 0.5),
  woodbury: () => woodburySolve(new Float64Array(2 * n).fill(2), tall, random(2 * n, 40, 7), spd).solution,
}

const values = (x: Matrix | Float64Array): Float64Array => (x instanceof Float64Array ? x : x.data)

describe('native products', () => {
  const plain: Record<string, Float64Array> = {}

  beforeAll(async () => {
    await useBackend('cpu')
    for (const [name, result] of Object.entries(results)) plain[name] = values(result())
    await useBackend('onnx')
  })

  for (const [name, result] of Object.entries(results)) {
    it(`change ${name} by less than 1e-12`, () => {
      const native = values(result())
      const expected = plain[name]
      expect(native.length).toBe(expected.length)
      const scale = expected.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0)
      const error = native.reduce((worst, value, i) => Math.max(worst, Math.abs(value - expected[i])), 0) / scale
      expect(error).toBeLessThan(1e-12)
    })
  }

  it('are in use here', () => {
    expect(startedCompiler()?.gemm64).toBeDefined()
  })

  it('keep a Gram matrix symmetric to the last bit', () => {
    for (const g of [gram(tall), gram(random(n, 90, 10)), gram(random(90, n, 10), 'rows')]) expect(transpose(g).data).toEqual(g.data)
  })

  it('leave small backward errors of graded rows', () => {
    const { factors, permutation } = lu(graded)
    const l: Matrix = { ...factors, data: factors.data.map((value, p) => (p % n < Math.floor(p / n) ? value : p % (n + 1) === 0 ? 1 : 0)) }
    const u: Matrix = { ...factors, data: factors.data.map((value, p) => (p % n >= Math.floor(p / n) ? value : 0)) }
    const product = toRows(matmul(l, u))
    const scale = Math.max(...graded.data)
    permutation.forEach((from, to) =>
      product[to].forEach((value, j) => expect(Math.abs(value - graded.data[from * n + j]) / scale).toBeLessThan(1e-13)),
    )
  })

  it('do not lose digits to the inverse of an ill-conditioned block', () => {
    // Random triangles have inverses that grow exponentially, yet these systems have solutions of size 1.
    const size = 160
    const values = random(size, size, 8).data
    const t: Matrix = {
      rows: size,
      cols: size,
      data: values.map((value, p) => (p % (size + 1) === 0 ? 1 : p % size < Math.floor(p / size) ? value : 0)),
    }
    const right = matmul(t, random(size, 64, 9))
    const x = triangularSolve(t, right)
    expect(frobeniusNorm(add(matmul(t, x), right, 1, -1)) / frobeniusNorm(right)).toBeLessThan(1e-14)
    const upper = matmul(t, random(size, 64, 9), { transposeA: true })
    const y = triangularSolve(t, upper, { transpose: true })
    expect(frobeniusNorm(add(matmul(t, y, { transposeA: true }), upper, 1, -1)) / frobeniusNorm(upper)).toBeLessThan(1e-14)
    // The first block of this one has condition 1e5, what is below it solves with that block.
    const half: Matrix = { ...t, data: t.data.map((value, p) => (p % size >= 64 && p % (size + 1) !== 0 ? value / size : value)) }
    const bad = gram(half, 'rows')
    const factor = cholesky(bad)
    expect(frobeniusNorm(add(gram(factor, 'rows'), bad, 1, -1)) / frobeniusNorm(bad)).toBeLessThan(1e-14)
  })

  it('name the pivot that is not positive', () => {
    const indefinite = add(spd, identity(n))
    indefinite.data[250 * (n + 1)] = -1
    expect(() => cholesky(indefinite)).toThrow(`pivot 250 of ${n}`)
  })
})
