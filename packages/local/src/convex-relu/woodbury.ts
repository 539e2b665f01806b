import { cholesky, choleskySolve, gram, identity, matmul, type Matrix } from '@bpf/core/linalg'
import { masked, type PatternProducts } from './products'

/** Solves (I + GᵀG + c FᵀF) u = r for r [2P, d]. */
export type UStep = (r: Float64Array) => Float64Array

/** (I + XᵀX)⁻¹, small or well enough conditioned to be written out. */
function blockInverse(x: Matrix): Matrix {
  const d = x.cols
  const a = gram(x)
  for (let j = 0; j < d; j++) a.data[j * d + j] += 1
  return choleskySolve(cholesky(a), identity(d))
}

/** z ↦ M z, four rows at a time: M is read once, and is too thin a product for a native call. */
function inverseProduct({ rows: n, data }: Matrix): (z: Float64Array) => Float64Array {
  return (z) => {
    const out = new Float64Array(n)
    const whole = n - (n % 4)
    for (let i = 0; i < whole; i += 4) {
      let [a, b, c, d] = [0, 0, 0, 0]
      for (let j = 0, p = i * n; j < n; j++, p++) {
        const value = z[j]
        a += data[p] * value
        b += data[p + n] * value
        c += data[p + 2 * n] * value
        d += data[p + 3 * n] * value
      }
      out[i] = a
      out[i + 1] = b
      out[i + 2] = c
      out[i + 3] = d
    }
    for (let i = whole; i < n; i++) for (let j = 0, p = i * n; j < n; j++, p++) out[i] += data[p] * z[j]
    return out
  }
}

/** The matrices of the u-step: A⁻¹ [d, d], X A⁻¹ [n, d] and (I/c + F A⁻¹ Fᵀ)⁻¹ [n, n]. */
export interface WoodburyParts {
  inverse: Matrix
  scaledX: Matrix
  middle: Matrix
}

/** The matrices of {@link woodburyUStep}; F A⁻¹ Fᵀ = 2 (DᵀD) ∘ (X A⁻¹ Xᵀ). Well conditioned: A ≥ I, and F A⁻¹ Fᵀ is below 2P. */
export function woodburyParts({ x, patterns }: PatternProducts, c: number): WoodburyParts {
  const n = x.rows
  const inverse = blockInverse(x)
  const scaledX = matmul(x, inverse)
  const shared = gram(patterns).data
  const sum = matmul(scaledX, x, { transposeB: true })
  for (let k = 0; k < n; k++) {
    for (let l = 0; l <= k; l++) {
      const value = 2 * shared[k * n + l] * sum.data[k * n + l]
      sum.data[k * n + l] = sum.data[l * n + k] = value + (k === l ? 1 / c : 0)
    }
  }
  return { inverse, scaledX, middle: choleskySolve(cholesky(sum), identity(n)) }
}

/**
 * The u-step by the Woodbury identity: with T = A⁻¹ r blockwise, u = T − A⁻¹ Fᵀ (I/c + F A⁻¹ Fᵀ)⁻¹ F T.
 */
export function woodburyUStep({ x, patterns, outputs }: PatternProducts, { inverse, scaledX, middle }: WoodburyParts): UStep {
  const [n, d, P] = [x.rows, x.cols, patterns.rows]
  const solveMiddle = inverseProduct(middle)
  return (r) => {
    const u = matmul({ rows: 2 * P, cols: d, data: r }, inverse).data
    const z = solveMiddle(outputs(u))
    const correction = matmul({ rows: P, cols: n, data: masked(patterns, z) }, scaledX).data
    for (let i = 0, w = P * d; i < w; i++) {
      u[i] -= correction[i]
      u[i + w] += correction[i]
    }
    return u
  }
}
