import { startedCompiler } from '../compiler'

/** A factor of {@link nativeProduct}: a contiguous row-major array of the shape as stored. */
interface Factor {
  data: Float64Array
  shape: readonly [number, number]
  transposed: boolean
}

/** Multiply-adds from which a native call, with its copies of blocks, is faster than our kernel: measured, about 40 cubed. */
const nativeWork = 65536
/** Thinner products are bound by those copies. */
const nativeWidth = 8

/** Whether a product of [m, k] and [k, n] is computed natively with the backend in use. */
export function isNative(m: number, n: number, k: number): boolean {
  return m * n * k >= nativeWork && Math.min(m, n, k) >= nativeWidth && startedCompiler()?.gemm64 !== undefined
}

/** A B by the backend in use, [m, n]; undefined where it has no product in double precision or the call would not pay. */
export function nativeProduct(a: Factor, b: Factor): Float64Array | undefined {
  const [m, k] = a.transposed ? [a.shape[1], a.shape[0]] : a.shape
  const n = b.shape[b.transposed ? 0 : 1]
  if (!isNative(m, n, k)) return undefined
  return startedCompiler()?.gemm64?.(a.data, a.shape, b.data, b.shape, { transposeA: a.transposed, transposeB: b.transposed })
}

/** A block of a row-major array as a contiguous one, copied only where it has to be. */
function contiguous(x: Float64Array, start: number, stride: number, rows: number, cols: number): Float64Array {
  if (stride === cols) return x.subarray(start, start + rows * cols)
  const result = new Float64Array(rows * cols)
  for (let i = 0, p = start; i < rows; i++, p += stride) result.set(x.subarray(p, p + cols), i * cols)
  return result
}

/** C += alpha P for a contiguous P. */
function accumulate(alpha: number, product: Float64Array, c: Float64Array, cStart: number, cRow: number, m: number, n: number): void {
  for (let i = 0, p = 0; i < m; i++) {
    for (let q = cStart + i * cRow, end = q + n; q < end; p++, q++) c[q] += alpha * product[p]
  }
}

/**
 * C += alpha A B on row-major blocks inside larger arrays: the kernel under all blocked routines here. Large products
 * run natively where the backend in use can ({@link isNative}), others by {@link plainGemm}.
 *
 * `bRow` and `bCol` are the strides of B, so that a transposed B costs nothing. `aRow` is the stride of A's rows.
 */
export function gemm(
  alpha: number,
  a: Float64Array,
  aStart: number,
  aRow: number,
  b: Float64Array,
  bStart: number,
  bRow: number,
  bCol: number,
  c: Float64Array,
  cStart: number,
  cRow: number,
  m: number,
  n: number,
  k: number,
): void {
  if ((bRow === 1 || bCol === 1) && isNative(m, n, k)) {
    const transposed = bCol !== 1
    const shape: [number, number] = transposed ? [n, k] : [k, n]
    const product = nativeProduct(
      { data: contiguous(a, aStart, aRow, m, k), shape: [m, k], transposed: false },
      { data: contiguous(b, bStart, transposed ? bCol : bRow, ...shape), shape, transposed },
    )
    if (product !== undefined) {
      accumulate(alpha, product, c, cStart, cRow, m, n)
      return
    }
  }
  plainGemm(alpha, a, aStart, aRow, b, bStart, bRow, bCol, c, cStart, cRow, m, n, k)
}

/**
 * {@link gemm} in JavaScript.
 *
 * B is packed four columns wide so that the inner loop reads two rows of A and one packed stream, with eight sums
 * held in registers: on V8 about 4 GFLOP/s on one core, where three plain loops give 0.7. The blocks of A stay in L2.
 */
function plainGemm(
  alpha: number,
  a: Float64Array,
  aStart: number,
  aRow: number,
  b: Float64Array,
  bStart: number,
  bRow: number,
  bCol: number,
  c: Float64Array,
  cStart: number,
  cRow: number,
  m: number,
  n: number,
  k: number,
): void {
  const packed = new Float64Array(4 * Math.min(k, depthBlock))
  for (let p0 = 0; p0 < k; p0 += depthBlock) {
    const depth = Math.min(depthBlock, k - p0)
    for (let i0 = 0; i0 < m; i0 += rowBlock) {
      const iEnd = Math.min(m, i0 + rowBlock)
      for (let j = 0; j < n; j += 4) {
        const width = Math.min(4, n - j)
        packColumns(packed, b, bStart + p0 * bRow + j * bCol, bRow, bCol, depth, width)
        for (let i = i0; i < iEnd; i += 2) {
          const height = Math.min(2, iEnd - i)
          const aIndex = aStart + i * aRow + p0
          tile(alpha, a, aIndex, height === 2 ? aIndex + aRow : aIndex, packed, depth, c, cStart + i * cRow + j, cRow, height, width)
        }
      }
    }
  }
}

const depthBlock = 256
const rowBlock = 256

/** Four columns side by side; columns beyond `width` are zero. */
function packColumns(packed: Float64Array, b: Float64Array, start: number, bRow: number, bCol: number, depth: number, width: number): void {
  if (width === 4) {
    for (let p = 0, q = 0, index = start; p < depth; p++, q += 4, index += bRow) {
      packed[q] = b[index]
      packed[q + 1] = b[index + bCol]
      packed[q + 2] = b[index + 2 * bCol]
      packed[q + 3] = b[index + 3 * bCol]
    }
    return
  }
  packed.fill(0, 0, 4 * depth)
  for (let p = 0, q = 0, index = start; p < depth; p++, q += 4, index += bRow) {
    for (let j = 0; j < width; j++) packed[q + j] = b[index + j * bCol]
  }
}

function tile(
  alpha: number,
  a: Float64Array,
  row0: number,
  row1: number,
  packed: Float64Array,
  depth: number,
  c: Float64Array,
  cIndex: number,
  cRow: number,
  height: number,
  width: number,
): void {
  let c00 = 0
  let c01 = 0
  let c02 = 0
  let c03 = 0
  let c10 = 0
  let c11 = 0
  let c12 = 0
  let c13 = 0
  for (let p = 0, q = 0; p < depth; p++, q += 4) {
    const x = a[row0 + p]
    const y = a[row1 + p]
    const b0 = packed[q]
    const b1 = packed[q + 1]
    const b2 = packed[q + 2]
    const b3 = packed[q + 3]
    c00 += x * b0
    c01 += x * b1
    c02 += x * b2
    c03 += x * b3
    c10 += y * b0
    c11 += y * b1
    c12 += y * b2
    c13 += y * b3
  }
  c[cIndex] += alpha * c00
  if (width > 1) c[cIndex + 1] += alpha * c01
  if (width > 2) c[cIndex + 2] += alpha * c02
  if (width > 3) c[cIndex + 3] += alpha * c03
  if (height === 1) return
  const next = cIndex + cRow
  c[next] += alpha * c10
  if (width > 1) c[next + 1] += alpha * c11
  if (width > 2) c[next + 2] += alpha * c12
  if (width > 3) c[next + 3] += alpha * c13
}
