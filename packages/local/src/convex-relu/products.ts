import { matmul, type Matrix } from '@bpf/core/linalg'

/**
 * Products with F = [D_1 X … D_P X, −D_1 X … −D_P X] and G = blockdiag((2D_i − I) X, twice), never built: both are X Uᵀ
 * with entries masked. Blocks u = (v_1 … v_P, w_1 … w_P) are [2P, d], row-major; what G gives is [2P, n].
 */
export interface PatternProducts {
  readonly x: Matrix
  /** D [P, n] */
  readonly patterns: Matrix
  /** 2D − 1, once [P, n] */
  readonly sign: Float64Array
  /** u Xᵀ [2P, n] */
  project(u: Float64Array): Float64Array
  /** F u [n] */
  outputs(u: Float64Array): Float64Array
  /** F u [n] where u Xᵀ is known. */
  outputsOf(projected: Float64Array): Float64Array
  /** c X for c [k, n]: [k, d] */
  collect(c: Float64Array): Float64Array
}

/** @param x - [n, d] @param patterns - D [P, n] */
export function patternProducts(x: Matrix, patterns: Matrix): PatternProducts {
  const [n, d, P] = [x.rows, x.cols, patterns.rows]
  const D = patterns.data
  const project = (u: Float64Array): Float64Array => matmul({ rows: u.length / d, cols: d, data: u }, x, { transposeB: true }).data
  return {
    x,
    patterns,
    sign: D.map((value) => 2 * value - 1),
    project,
    outputs(u) {
      // Only V − W counts: half the product.
      const half = u.length / 2
      const difference = new Float64Array(half)
      for (let i = 0; i < half; i++) difference[i] = u[i] - u[i + half]
      return maskedColumnSums(D, project(difference), P, n)
    },
    outputsOf(projected) {
      const half = P * n
      const difference = new Float64Array(half)
      for (let p = 0; p < half; p++) difference[p] = projected[p] - projected[p + half]
      return maskedColumnSums(D, difference, P, n)
    },
    collect: (c) => matmul({ rows: c.length / n, cols: n, data: c }, x).data,
  }
}

/** Σ_i D_ik values_ik [n] */
function maskedColumnSums(D: Float64Array, values: Float64Array, P: number, n: number): Float64Array {
  const out = new Float64Array(n)
  for (let i = 0, p = 0; i < P; i++) for (let k = 0; k < n; k++, p++) out[k] += D[p] * values[p]
  return out
}

/** The weights of rows of X in Fᵀ z for the v-blocks, [P, n]: D_i z. */
export function masked({ rows: P, cols: n, data: D }: Matrix, z: Float64Array): Float64Array {
  const out = new Float64Array(P * n)
  for (let i = 0, p = 0; i < P; i++) for (let k = 0; k < n; k++, p++) out[p] = D[p] * z[k]
  return out
}
