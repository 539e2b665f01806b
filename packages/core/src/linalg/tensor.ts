import * as tf from '@tensorflow/tfjs-core'
import { DataError, ShapeError } from '../errors'
import { output } from '../grad/define'
import { choleskyInPlace } from './cholesky'
import type { TriangularOptions } from './triangular'
import { solveTriangleInPlace } from './triangular'

/*
 * Each operation is a primitive (values in, values out) wrapped in a gradient that is written with the operations
 * themselves, so it differentiates again. The primitives compute on the host in float64 and round once; a compiled
 * backend lowers `choleskyPrimitive` and `triangularSolvePrimitive` and leaves the rest as it is.
 */

function checkMatrices(x: tf.Tensor, name: string, square: boolean): void {
  if (x.dtype !== 'float32') throw new DataError(`${name}: expected float32, got ${x.dtype}; cast it first`)
  const [rows, cols] = x.shape.slice(-2)
  if (x.rank < 2 || (square && rows !== cols)) {
    throw new ShapeError(`${name}: expected shape ${square ? '[..., n, n]' : '[..., n, k]'}, got [${x.shape.join(', ')}]`)
  }
}

/** Where in the batch matrix number `index` lies, for errors. */
function place(index: number, batchShape: readonly number[]): string {
  if (batchShape.length === 0) return ''
  const position: number[] = []
  for (let axis = batchShape.length - 1, rest = index; axis >= 0; axis--) {
    position.unshift(rest % batchShape[axis])
    rest = Math.floor(rest / batchShape[axis])
  }
  return ` of matrix [${position.join(', ')}]`
}

/** Lower Cholesky factors of (A + Aᵀ) / 2. */
function choleskyPrimitive(a: tf.Tensor): tf.Tensor {
  const n = a.shape[a.rank - 1]
  const values = a.dataSync()
  const result = new Float32Array(values.length)
  const work = new Float64Array(n * n)
  const batch = n === 0 ? 0 : values.length / (n * n)
  for (let b = 0; b < batch; b++) {
    const start = b * n * n
    for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) work[i * n + j] = (values[start + i * n + j] + values[start + j * n + i]) / 2
    const failure = choleskyInPlace(work, n)
    if (failure !== undefined) {
      throw new DataError(
        `cholesky: pivot ${failure.index} of ${n}${place(b, a.shape.slice(0, -2))} is ${failure.pivot}: the matrix is not positive ` +
          'definite (or has NaN). Add jitter to its diagonal, 1e-6 of the mean diagonal say',
      )
    }
    result.set(work, start)
  }
  return tf.tensor(result, a.shape)
}

type Triangle = Required<TriangularOptions>

/** X with op(T) X = B, for equal batch shapes. */
function triangularSolvePrimitive(t: tf.Tensor, b: tf.Tensor, { lower, transpose, unitDiagonal }: Triangle): tf.Tensor {
  const [n, count] = b.shape.slice(-2)
  const triangles = t.dataSync()
  const values = b.dataSync()
  const result = new Float32Array(values.length)
  const triangle = new Float64Array(n * n)
  const x = new Float64Array(n * count)
  const batch = n === 0 ? 0 : triangles.length / (n * n)
  for (let index = 0; index < batch; index++) {
    const start = index * n * n
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) triangle[transpose ? j * n + i : i * n + j] = triangles[start + i * n + j]
      if (!unitDiagonal && triangle[i * n + i] === 0 && count > 0) {
        throw new DataError(
          `triangularSolve: the diagonal is zero at index ${i}${place(index, t.shape.slice(0, -2))}, so the matrix is singular`,
        )
      }
    }
    x.set(values.subarray(index * n * count, (index + 1) * n * count))
    solveTriangleInPlace(triangle, n, x, count, transpose ? !lower : lower, unitDiagonal)
    result.set(x, index * n * count)
  }
  return tf.tensor(result, b.shape)
}

/** [n, n] of ones in one triangle, with `diagonal` on the diagonal. */
function triangleMask(n: number, lower: boolean, diagonal: number): tf.Tensor2D {
  const mask = new Float32Array(n * n)
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) mask[i * n + j] = i === j ? diagonal : j < i === lower ? 1 : 0
  }
  return tf.tensor2d(mask, [n, n])
}

function transposeLast(x: tf.Tensor): tf.Tensor {
  const axes = x.shape.map((_, axis) => axis)
  const last = axes.length - 1
  ;[axes[last], axes[last - 1]] = [axes[last - 1], axes[last]]
  return tf.transpose(x, axes)
}

/** L⁻ᵀ M L⁻¹. */
function congruence(l: tf.Tensor, m: tf.Tensor): tf.Tensor {
  const left = triangularSolve(l, m, { transpose: true })
  return transposeLast(triangularSolve(l, transposeLast(left), { transpose: true }))
}

/**
 * Cholesky factors of symmetric positive definite matrices: A = L Lᵀ. Differentiable, twice too.
 *
 * The symmetric part (A + Aᵀ) / 2 is factored, so the gradient is symmetric: with P the lower triangle of Lᵀ L̄ and half
 * its diagonal, Ā is the symmetric part of L⁻ᵀ P L⁻¹.
 *
 * @param a - float32 [..., n, n]
 * @returns L [..., n, n], lower triangular with a positive diagonal
 * @throws ShapeError for other shapes, DataError naming matrix and pivot where one is not positive definite
 * @see Murray 2016, arXiv 1602.07527
 */
export function cholesky(a: tf.Tensor): tf.Tensor {
  checkMatrices(a, 'cholesky', true)
  const n = a.shape[a.rank - 1]
  const op = tf.customGrad((x, save) => {
    const input = x as tf.Tensor
    const value = tf.tidy(() => choleskyPrimitive(input))
    ;(save as tf.GradSaveFunc)([input, value])
    return {
      value,
      gradFunc: (dy: tf.Tensor, [savedInput, savedValue]: tf.Tensor[]) => {
        const l = output(savedValue, () => cholesky(savedInput))
        const p = tf.mul(tf.matMul(l, dy, true, false), triangleMask(n, true, 0.5))
        const s = congruence(l, p)
        return tf.mul(tf.add(s, transposeLast(s)), 0.5)
      },
    }
  })
  return op(a)
}

/**
 * Solves T X = B (or Tᵀ X = B) for triangular matrices. Differentiable in both, twice too:
 * B̄ = T⁻ᵀ X̄ and T̄ = −B̄ Xᵀ on the triangle.
 *
 * @param t - float32 [..., n, n]; only the triangle is read
 * @param b - float32 [..., n, k]; batch dimensions broadcast against those of t
 * @returns X [..., n, k]
 * @throws ShapeError for sizes that don't match, DataError for a zero on the diagonal
 */
export function triangularSolve(t: tf.Tensor, b: tf.Tensor, options: TriangularOptions = {}): tf.Tensor {
  const { lower = true, transpose = false, unitDiagonal = false } = options
  checkMatrices(t, 'triangularSolve: t', true)
  checkMatrices(b, 'triangularSolve: b', false)
  const n = t.shape[t.rank - 1]
  if (b.shape[b.rank - 2] !== n) {
    throw new ShapeError(`triangularSolve: t is [${t.shape.join(', ')}], so b needs ${n} rows, got [${b.shape.join(', ')}]`)
  }
  const [tFull, bFull] = broadcastBatch(t, b)
  const triangle: Triangle = { lower, transpose, unitDiagonal }
  const op = tf.customGrad((x, y, save) => {
    const tIn = x as tf.Tensor
    const bIn = y as tf.Tensor
    const value = tf.tidy(() => triangularSolvePrimitive(tIn, bIn, triangle))
    ;(save as tf.GradSaveFunc)([tIn, bIn, value])
    return {
      value,
      gradFunc: (dy: tf.Tensor, [savedT, savedB, savedValue]: tf.Tensor[]) => {
        const solution = output(savedValue, () => triangularSolve(savedT, savedB, triangle))
        const db = triangularSolve(savedT, dy, { lower, transpose: !transpose, unitDiagonal })
        const outer = transpose ? tf.matMul(solution, db, false, true) : tf.matMul(db, solution, false, true)
        return [tf.mul(tf.neg(outer), triangleMask(n, lower, unitDiagonal ? 0 : 1)), db]
      },
    }
  })
  return op(tFull, bFull)
}

function broadcastBatch(t: tf.Tensor, b: tf.Tensor): [tf.Tensor, tf.Tensor] {
  const batchT = t.shape.slice(0, -2)
  const batchB = b.shape.slice(0, -2)
  if (batchT.join() === batchB.join()) return [t, b]
  const rank = Math.max(batchT.length, batchB.length)
  const batch = Array.from({ length: rank }, (_, axis) => {
    const left = batchT[axis - rank + batchT.length] ?? 1
    const right = batchB[axis - rank + batchB.length] ?? 1
    if (left !== right && left !== 1 && right !== 1) {
      throw new ShapeError(`triangularSolve: batch dimensions [${batchT.join(', ')}] of t and [${batchB.join(', ')}] of b don't broadcast`)
    }
    return left === 1 ? right : left
  })
  return [tf.broadcastTo(t, [...batch, ...t.shape.slice(-2)]), tf.broadcastTo(b, [...batch, ...b.shape.slice(-2)])]
}

/**
 * Solves A X = B given the Cholesky factor L of A. Differentiable in both.
 *
 * @param l - float32 [..., n, n], of {@link cholesky}
 * @param b - float32 [..., n, k]
 * @returns X [..., n, k]
 */
export function choleskySolve(l: tf.Tensor, b: tf.Tensor): tf.Tensor {
  return triangularSolve(l, triangularSolve(l, b), { transpose: true })
}

/**
 * Log determinants of symmetric positive definite matrices, 2 Σ log Lᵢᵢ. Differentiable, twice too: Ā = ȳ A⁻¹.
 *
 * @param a - float32 [..., n, n]
 * @returns [...]
 * @throws like {@link cholesky}
 */
export function logdet(a: tf.Tensor): tf.Tensor {
  checkMatrices(a, 'logdet', true)
  const n = a.shape[a.rank - 1]
  const op = tf.customGrad((x, save) => {
    const input = x as tf.Tensor
    const value = tf.tidy(() => {
      const diagonal = tf.sum(tf.mul(choleskyPrimitive(input), tf.eye(n)), -1)
      return tf.mul(tf.sum(tf.log(diagonal), -1), 2)
    })
    ;(save as tf.GradSaveFunc)([input])
    return {
      value,
      gradFunc: (dy: tf.Tensor, [savedInput]: tf.Tensor[]) => {
        const inverse = choleskySolve(cholesky(savedInput), tf.broadcastTo(tf.eye(n), savedInput.shape))
        return tf.mul(tf.reshape(dy, [...dy.shape, 1, 1]), inverse)
      },
    }
  })
  return op(a)
}
