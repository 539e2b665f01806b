/**
 * Plane rotations of columns, collected and applied late. A QR sweep turns all n rows of the vector matrix by the same
 * rotations; applied one by one each would stream the whole matrix through the cache, so they are kept until there are
 * many, and each group of four rows then takes them all while it is in the first-level cache.
 */
export interface RotationQueue {
  /** Column i becomes c xᵢ + s xⱼ, column j becomes −s xᵢ + c xⱼ. */
  push(i: number, j: number, c: number, s: number): void
  /** Applies what is waiting. Call before the matrix is read. */
  flush(): void
}

const capacity = 1 << 15

/** A queue over the columns of `z`, row-major with `rows` rows of `cols` values. */
export function rotationQueue(z: Float64Array, rows: number, cols: number): RotationQueue {
  const first = new Int32Array(capacity)
  const second = new Int32Array(capacity)
  const cosine = new Float64Array(capacity)
  const sine = new Float64Array(capacity)
  let count = 0
  const flush = (): void => {
    let row = 0
    for (; row + 4 <= rows; row += 4) rotateFourRows(z, row * cols, cols, first, second, cosine, sine, count)
    for (; row < rows; row++) rotateRow(z, row * cols, first, second, cosine, sine, count)
    count = 0
  }
  return {
    flush,
    push(i, j, c, s) {
      first[count] = i
      second[count] = j
      cosine[count] = c
      sine[count] = s
      count++
      if (count === capacity) flush()
    },
  }
}

function rotateFourRows(
  z: Float64Array,
  start: number,
  cols: number,
  first: Int32Array,
  second: Int32Array,
  cosine: Float64Array,
  sine: Float64Array,
  count: number,
): void {
  const r1 = start + cols
  const r2 = r1 + cols
  const r3 = r2 + cols
  for (let k = 0; k < count; k++) {
    const i = first[k]
    const j = second[k]
    const c = cosine[k]
    const s = sine[k]
    const x0 = z[start + i]
    const y0 = z[start + j]
    z[start + i] = c * x0 + s * y0
    z[start + j] = c * y0 - s * x0
    const x1 = z[r1 + i]
    const y1 = z[r1 + j]
    z[r1 + i] = c * x1 + s * y1
    z[r1 + j] = c * y1 - s * x1
    const x2 = z[r2 + i]
    const y2 = z[r2 + j]
    z[r2 + i] = c * x2 + s * y2
    z[r2 + j] = c * y2 - s * x2
    const x3 = z[r3 + i]
    const y3 = z[r3 + j]
    z[r3 + i] = c * x3 + s * y3
    z[r3 + j] = c * y3 - s * x3
  }
}

function rotateRow(
  z: Float64Array,
  start: number,
  first: Int32Array,
  second: Int32Array,
  cosine: Float64Array,
  sine: Float64Array,
  count: number,
): void {
  for (let k = 0; k < count; k++) {
    const i = start + first[k]
    const j = start + second[k]
    const x = z[i]
    const y = z[j]
    z[i] = cosine[k] * x + sine[k] * y
    z[j] = cosine[k] * y - sine[k] * x
  }
}
