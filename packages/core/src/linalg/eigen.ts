import { EigenvalueDecomposition, Matrix as MlMatrix } from 'ml-matrix'
import { DataError, ShapeError } from '../errors'
import { add, checkSquare, frobeniusNorm, identity, matmul, zeros, type Matrix } from './matrix'
import { singularValues } from './svd'

/** A complex matrix: real and imaginary part, of equal shape. */
export interface ComplexMatrix {
  readonly re: Matrix
  readonly im: Matrix
}

/** A V = V diag(values). */
export interface Eigen {
  /** Eigenvalues, [n] each, ordered by real, then imaginary part. Those of a real matrix come in exact conjugate pairs. */
  readonly values: { readonly re: Float64Array; readonly im: Float64Array }
  /** [n, n]; column j belongs to eigenvalue j and has norm 1. */
  readonly vectors: ComplexMatrix
}

const balanceLimit = 2 ** 40

/** Scales rows and columns by powers of two towards equal norms (D⁻¹ A D; Parlett and Reinsch), in place. @returns D */
function balance(re: Float64Array, im: Float64Array, n: number): Float64Array {
  const scale = new Float64Array(n).fill(1)
  let changed = true
  for (let sweep = 0; sweep < 30 && changed; sweep++) {
    changed = false
    for (let i = 0; i < n; i++) {
      let row = 0
      let column = 0
      for (let j = 0; j < n; j++) {
        if (j === i) continue
        row += Math.abs(re[i * n + j]) + Math.abs(im[i * n + j])
        column += Math.abs(re[j * n + i]) + Math.abs(im[j * n + i])
      }
      if (row === 0 || column === 0) continue
      // Without bound a nearly reducible matrix would be scaled away.
      const wanted = 2 ** Math.round(Math.log2(row / column) / 2)
      const factor = Math.min(Math.max(wanted, balanceLimit ** -1 / scale[i]), balanceLimit / scale[i])
      if (factor === 1 || column * factor + row / factor >= 0.95 * (column + row)) continue
      changed = true
      scale[i] *= factor
      for (let j = 0; j < n; j++) {
        re[i * n + j] /= factor
        im[i * n + j] /= factor
      }
      for (let j = 0; j < n; j++) {
        re[j * n + i] *= factor
        im[j * n + i] *= factor
      }
    }
  }
  return scale
}

/** Working arrays of the complex QR algorithm: T upper triangular at the end, Z unitary, A = Z T Zᴴ. */
interface Schur {
  n: number
  tr: Float64Array
  ti: Float64Array
  zr: Float64Array
  zi: Float64Array
}

/** Householder reduction to Hessenberg form; Z collects the reflectors. */
function reduceToHessenberg({ n, tr, ti, zr, zi }: Schur): void {
  const vr = new Float64Array(n)
  const vi = new Float64Array(n)
  const sumR = new Float64Array(n)
  const sumI = new Float64Array(n)
  for (let k = 0; k + 2 < n; k++) {
    let rest = 0
    for (let i = k + 1; i < n; i++) {
      vr[i] = tr[i * n + k]
      vi[i] = ti[i * n + k]
      if (i > k + 1) rest += vr[i] * vr[i] + vi[i] * vi[i]
    }
    // The matrix is of size 1: entries below 1e-140 are nothing, and their squares would underflow.
    if (rest < 1e-280) {
      clearBelow(tr, ti, n, k)
      continue
    }
    const head = Math.hypot(vr[k + 1], vi[k + 1])
    const norm = Math.sqrt(rest + head * head)
    // v = x + phase(x₁)·‖x‖·e₁ does not cancel; H = I − 2 v vᴴ / vᴴv.
    const phaseR = head === 0 ? 1 : vr[k + 1] / head
    const phaseI = head === 0 ? 0 : vi[k + 1] / head
    vr[k + 1] += phaseR * norm
    vi[k + 1] += phaseI * norm
    const tau = 1 / (norm * (norm + head))
    sumR.fill(0)
    sumI.fill(0)
    for (let i = k + 1; i < n; i++) {
      const a = vr[i]
      const b = vi[i]
      for (let j = k, p = i * n + k; j < n; j++, p++) {
        sumR[j] += a * tr[p] + b * ti[p]
        sumI[j] += a * ti[p] - b * tr[p]
      }
    }
    for (let i = k + 1; i < n; i++) {
      const a = tau * vr[i]
      const b = tau * vi[i]
      for (let j = k, p = i * n + k; j < n; j++, p++) {
        tr[p] -= a * sumR[j] - b * sumI[j]
        ti[p] -= a * sumI[j] + b * sumR[j]
      }
    }
    reflectRows(tr, ti, n, k + 1, vr, vi, tau)
    reflectRows(zr, zi, n, k + 1, vr, vi, tau)
    clearBelow(tr, ti, n, k)
  }
}

/** Zeros below the subdiagonal of column k. */
function clearBelow(tr: Float64Array, ti: Float64Array, n: number, k: number): void {
  for (let i = k + 2; i < n; i++) {
    tr[i * n + k] = 0
    ti[i * n + k] = 0
  }
}

/** M ← M (I − tau v vᴴ), row by row. */
function reflectRows(mr: Float64Array, mi: Float64Array, n: number, from: number, vr: Float64Array, vi: Float64Array, tau: number): void {
  for (let i = 0; i < n; i++) {
    let dotR = 0
    let dotI = 0
    for (let j = from, p = i * n + from; j < n; j++, p++) {
      dotR += mr[p] * vr[j] - mi[p] * vi[j]
      dotI += mr[p] * vi[j] + mi[p] * vr[j]
    }
    dotR *= tau
    dotI *= tau
    for (let j = from, p = i * n + from; j < n; j++, p++) {
      mr[p] -= dotR * vr[j] + dotI * vi[j]
      mi[p] -= dotI * vr[j] - dotR * vi[j]
    }
  }
}

function complexSqrt(re: number, im: number): [number, number] {
  const modulus = Math.hypot(re, im)
  const a = Math.sqrt((modulus + Math.abs(re)) / 2)
  if (a === 0) return [0, 0]
  const b = Math.abs(im) / (2 * a)
  const sign = im < 0 ? -1 : 1
  return re >= 0 ? [a, sign * b] : [b, sign * a]
}

/** a / b without overflow in the squares (Smith). */
function complexDivide(ar: number, ai: number, br: number, bi: number): [number, number] {
  if (Math.abs(br) >= Math.abs(bi)) {
    const ratio = bi / br
    const den = br + bi * ratio
    return [(ar + ai * ratio) / den, (ai - ar * ratio) / den]
  }
  const ratio = br / bi
  const den = br * ratio + bi
  return [(ar * ratio + ai) / den, (ai * ratio - ar) / den]
}

/** The eigenvalue of the trailing 2 × 2 block at `m` that is closer to its last entry (Wilkinson's shift). */
function wilkinsonShift({ n, tr, ti }: Schur, m: number): [number, number] {
  const at = (i: number, j: number): [number, number] => [tr[i * n + j], ti[i * n + j]]
  const [ar, ai] = at(m - 1, m - 1)
  const [dr, di] = at(m, m)
  const [br, bi] = at(m - 1, m)
  const [cr, ci] = at(m, m - 1)
  const bcR = br * cr - bi * ci
  const bcI = br * ci + bi * cr
  const halfR = (ar - dr) / 2
  const halfI = (ai - di) / 2
  const [rootR, rootI] = complexSqrt(halfR * halfR - halfI * halfI + bcR, 2 * halfR * halfI + bcI)
  const sign = halfR * rootR + halfI * rootI >= 0 ? 1 : -1
  const denR = halfR + sign * rootR
  const denI = halfI + sign * rootI
  if (denR === 0 && denI === 0) return [dr, di]
  const [qr, qi] = complexDivide(bcR, bcI, denR, denI)
  return [dr - qr, di - qi]
}

/** Complex QR with Wilkinson shifts and Givens rotations until T is triangular. */
function qrIterate(schur: Schur): void {
  const { n, tr, ti } = schur
  const size = (i: number, j: number): number => Math.abs(tr[i * n + j]) + Math.abs(ti[i * n + j])
  let norm = 0
  for (let i = 0; i < tr.length; i++) norm = Math.max(norm, Math.abs(tr[i]) + Math.abs(ti[i]))
  let m = n - 1
  let iteration = 0
  while (m > 0) {
    let l = m
    for (; l > 0; l--) {
      // Against the neighbours, but where these vanish against a millionth of the whole: far under the backward error.
      const scale = Math.max(size(l, l) + size(l - 1, l - 1), 1e-6 * norm)
      if (size(l, l - 1) <= Number.EPSILON * scale) break
    }
    if (l > 0) {
      tr[l * n + l - 1] = 0
      ti[l * n + l - 1] = 0
    }
    if (l === m) {
      m--
      iteration = 0
      continue
    }
    if (++iteration > 100) throw new DataError(`eigen: no convergence for eigenvalue ${m} of ${n}; rescale the matrix`)
    // An exceptional shift breaks the rare cycles.
    const shift: [number, number] = iteration % 15 === 0 ? [size(m, m - 1) + tr[m * n + m], ti[m * n + m]] : wilkinsonShift(schur, m)
    qrSweep(schur, l, m, shift)
  }
}

/** One explicit-shift step on rows and columns l … m: T − σI = Q R, T ← R Q + σI, rotation by rotation. */
function qrSweep(schur: Schur, l: number, m: number, [shiftR, shiftI]: [number, number]): void {
  const { n, tr, ti, zr, zi } = schur
  for (let i = l; i <= m; i++) {
    tr[i * n + i] -= shiftR
    ti[i * n + i] -= shiftI
  }
  let pendingC = 1
  let pendingR = 0
  let pendingI = 0
  for (let k = l; k < m; k++) {
    // G = [c, s; −s̄, c] with c real maps (f, g) onto (r, 0).
    const fr = tr[k * n + k]
    const fi = ti[k * n + k]
    const gr = tr[(k + 1) * n + k]
    const gi = ti[(k + 1) * n + k]
    const f = Math.hypot(fr, fi)
    const g = Math.hypot(gr, gi)
    const norm = Math.hypot(f, g)
    let c = 1
    let sr = 0
    let si = 0
    if (norm > 0) {
      const phaseR = f === 0 ? 1 : fr / f
      const phaseI = f === 0 ? 0 : fi / f
      c = f / norm
      sr = (phaseR * gr + phaseI * gi) / norm
      si = (phaseI * gr - phaseR * gi) / norm
    }
    rotateTwoRows(tr, ti, k * n, (k + 1) * n, k, n, c, sr, si)
    // The columns of the rotation before are free now: it would have disturbed row k earlier.
    if (k > l) rotateTwoColumns(tr, ti, n, 0, k + 1, k - 1, pendingC, pendingR, pendingI)
    rotateTwoColumns(zr, zi, n, 0, n, k, c, sr, si)
    pendingC = c
    pendingR = sr
    pendingI = si
  }
  rotateTwoColumns(tr, ti, n, 0, m + 1, m - 1, pendingC, pendingR, pendingI)
  for (let i = l; i <= m; i++) {
    tr[i * n + i] += shiftR
    ti[i * n + i] += shiftI
  }
}

/** Rows x, y ← c x + s y, c y − s̄ x from column `from` on. */
function rotateTwoRows(
  mr: Float64Array,
  mi: Float64Array,
  rowX: number,
  rowY: number,
  from: number,
  to: number,
  c: number,
  sr: number,
  si: number,
): void {
  for (let p = rowX + from, q = rowY + from; p < rowX + to; p++, q++) {
    const xr = mr[p]
    const xi = mi[p]
    const yr = mr[q]
    const yi = mi[q]
    mr[p] = c * xr + sr * yr - si * yi
    mi[p] = c * xi + sr * yi + si * yr
    mr[q] = c * yr - sr * xr - si * xi
    mi[q] = c * yi - sr * xi + si * xr
  }
}

/** Columns j, j + 1 times Gᴴ: x, y ← c x + s̄ y, c y − s x. */
function rotateTwoColumns(
  mr: Float64Array,
  mi: Float64Array,
  n: number,
  from: number,
  to: number,
  j: number,
  c: number,
  sr: number,
  si: number,
): void {
  for (let i = from, p = from * n + j; i < to; i++, p += n) {
    const xr = mr[p]
    const xi = mi[p]
    const yr = mr[p + 1]
    const yi = mi[p + 1]
    mr[p] = c * xr + sr * yr + si * yi
    mi[p] = c * xi + sr * yi - si * yr
    mr[p + 1] = c * yr - sr * xr + si * xi
    mi[p + 1] = c * yi - sr * xi - si * xr
  }
}

/** Eigenvectors of the triangle by back substitution, as columns, each scaled against overflow. */
function triangleVectors({ n, tr, ti }: Schur): { xr: Float64Array; xi: Float64Array } {
  let largest = 0
  for (let i = 0; i < tr.length; i++) largest = Math.max(largest, Math.abs(tr[i]), Math.abs(ti[i]))
  const smallest = Number.EPSILON * (largest || 1)
  const xr = new Float64Array(n * n)
  const xi = new Float64Array(n * n)
  // Row k of x holds the vector of eigenvalue k, so that all accesses are along rows.
  for (let k = 0; k < n; k++) {
    const x = k * n
    xr[x + k] = 1
    for (let i = k - 1; i >= 0; i--) {
      let sumR = 0
      let sumI = 0
      for (let j = i + 1, p = i * n + j; j <= k; j++, p++) {
        sumR += tr[p] * xr[x + j] - ti[p] * xi[x + j]
        sumI += tr[p] * xi[x + j] + ti[p] * xr[x + j]
      }
      let dr = tr[i * n + i] - tr[k * n + k]
      const di = ti[i * n + i] - ti[k * n + k]
      if (Math.abs(dr) + Math.abs(di) < smallest) dr = smallest
      const [vr, vi] = complexDivide(-sumR, -sumI, dr, di)
      xr[x + i] = vr
      xi[x + i] = vi
      const size = Math.abs(vr) + Math.abs(vi)
      if (size < 1e100) continue
      for (let j = i; j <= k; j++) {
        xr[x + j] /= size
        xi[x + j] /= size
      }
    }
  }
  return { xr, xi }
}

/** V = Z X, with the vectors as rows of x: the result has them as columns. */
function backTransform({ n, zr, zi }: Schur, xr: Float64Array, xi: Float64Array): ComplexMatrix {
  const re = zeros(n, n)
  const im = zeros(n, n)
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < n; k++) {
      let sumR = 0
      let sumI = 0
      for (let j = 0, p = i * n, q = k * n; j <= k; j++, p++, q++) {
        sumR += zr[p] * xr[q] - zi[p] * xi[q]
        sumI += zr[p] * xi[q] + zi[p] * xr[q]
      }
      re.data[i * n + k] = sumR
      im.data[i * n + k] = sumI
    }
  }
  return { re, im }
}

function complexEigen(re: Float64Array, im: Float64Array, n: number): Eigen {
  const schur: Schur = { n, tr: re, ti: im, zr: identity(n).data, zi: new Float64Array(n * n) }
  reduceToHessenberg(schur)
  qrIterate(schur)
  const { xr, xi } = triangleVectors(schur)
  const diagonal = (data: Float64Array): Float64Array => Float64Array.from({ length: n }, (_, i) => data[i * n + i])
  return { values: { re: diagonal(schur.tr), im: diagonal(schur.ti) }, vectors: backTransform(schur, xr, xi) }
}

/**
 * Real matrices go to ml-matrix (EISPACK's hqr2): real arithmetic keeps conjugate pairs exact. Its columns j, j + 1 are
 * the real and imaginary part of the vector of the pair. The matrix is shifted by a multiple of the identity first:
 * hqr2 has no limit of iterations and never ends where two neighbours on the diagonal underflow.
 */
function realEigen(data: Float64Array, n: number): Eigen {
  // Of the size of the matrix, and no eigenvalue met in practice is exactly minus this.
  const shift = ((Math.sqrt(5) - 1) / 2) * data.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0)
  const input = new MlMatrix(n, n)
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) input.set(i, j, data[i * n + j] + (i === j ? shift : 0))
  const decomposition = new EigenvalueDecomposition(input, { assumeSymmetric: false })
  const values = {
    re: Float64Array.from(decomposition.realEigenvalues, (value) => value - shift),
    im: Float64Array.from(decomposition.imaginaryEigenvalues),
  }
  const packed = decomposition.eigenvectorMatrix
  const re = zeros(n, n)
  const im = zeros(n, n)
  for (let j = 0; j < n; j++) {
    const paired = values.im[j] !== 0
    for (let i = 0; i < n; i++) {
      re.data[i * n + j] = packed.get(i, j)
      if (!paired) continue
      const part = packed.get(i, j + 1)
      re.data[i * n + j + 1] = re.data[i * n + j]
      im.data[i * n + j] = part
      im.data[i * n + j + 1] = -part
    }
    if (paired) j++
  }
  return { values, vectors: { re, im } }
}

/**
 * Divides a matrix by its largest entry, in place, and clears off-diagonal entries below 1e-40 of it (diagonal ones
 * below 1e-100), far under rounding: products of such entries underflow, quotients overflow, and the convergence tests
 * of the QR algorithms would wait for ever.
 */
function normalise(re: Float64Array, im: Float64Array, n: number): number {
  let largest = 0
  for (let i = 0; i < re.length; i++) largest = Math.max(largest, Math.abs(re[i]), Math.abs(im[i]))
  if (largest === 0) return 1
  for (let i = 0; i < n; i++) {
    for (let p = i * n; p < (i + 1) * n; p++) {
      re[p] /= largest
      im[p] /= largest
      if (Math.abs(re[p]) + Math.abs(im[p]) >= (p === i * n + i ? 1e-100 : 1e-40)) continue
      re[p] = 0
      im[p] = 0
    }
  }
  return largest
}

/** Undoes the balancing, makes columns unit vectors and orders by eigenvalue. */
function finish({ values, vectors }: Eigen, scale: Float64Array): Eigen {
  const n = scale.length
  const order = Array.from(scale.keys()).sort((i, j) => values.re[i] - values.re[j] || values.im[i] - values.im[j])
  const re = zeros(n, n)
  const im = zeros(n, n)
  order.forEach((from, to) => {
    let largest = 0
    for (let i = 0; i < n; i++) {
      re.data[i * n + to] = scale[i] * vectors.re.data[i * n + from]
      im.data[i * n + to] = scale[i] * vectors.im.data[i * n + from]
      largest = Math.max(largest, Math.abs(re.data[i * n + to]), Math.abs(im.data[i * n + to]))
    }
    let sum = 0
    for (let i = 0; i < n; i++) sum += (re.data[i * n + to] / largest) ** 2 + (im.data[i * n + to] / largest) ** 2
    const norm = largest * Math.sqrt(sum)
    for (let i = 0; i < n; i++) {
      re.data[i * n + to] /= norm
      im.data[i * n + to] /= norm
    }
  })
  const ordered = (part: Float64Array): Float64Array => Float64Array.from(order, (i) => part[i])
  return { values: { re: ordered(values.re), im: ordered(values.im) }, vectors: { re, im } }
}

function decompose({ re, im }: ComplexMatrix, balancing: boolean): Eigen {
  const n = re.rows
  const workRe = re.data.slice()
  const workIm = im.data.slice()
  const scale = balancing ? balance(workRe, workIm, n) : new Float64Array(n).fill(1)
  const isReal = workIm.every((value) => value === 0)
  return finish(isReal ? realEigen(workRe, n) : complexEigen(workRe, workIm, n), scale)
}

/** ‖A V − V Λ‖ / ‖A‖ in Frobenius norms. */
function relativeResidual({ re, im }: ComplexMatrix, { values, vectors }: Eigen): number {
  const n = re.rows
  const left = add(matmul(re, vectors.re), matmul(im, vectors.im), 1, -1)
  const leftIm = add(matmul(re, vectors.im), matmul(im, vectors.re))
  for (let i = 0; i < n; i++) {
    for (let j = 0, p = i * n; j < n; j++, p++) {
      left.data[p] -= vectors.re.data[p] * values.re[j] - vectors.im.data[p] * values.im[j]
      leftIm.data[p] -= vectors.re.data[p] * values.im[j] + vectors.im.data[p] * values.re[j]
    }
  }
  const size = Math.hypot(frobeniusNorm(re), frobeniusNorm(im))
  return size === 0 ? 0 : Math.hypot(frobeniusNorm(left), frobeniusNorm(leftIm)) / size
}

/**
 * Eigenvalues and eigenvectors of a general square matrix, real or complex: A V = V diag(values). Meant for n up to a
 * few hundred. For symmetric matrices use `symmetricEigen`.
 *
 * The vectors of a matrix that is not normal can be nearly dependent; {@link eigenCondition} says how nearly.
 *
 * @param a - [n, n], real or complex
 * @returns `values` ordered by real, then imaginary part; `vectors` as unit columns
 * @throws ShapeError when not square, DataError for values that are not finite
 */
export function eigen(a: Matrix | ComplexMatrix): Eigen {
  const complex = 're' in a ? a : undefined
  const real = 're' in a ? a.re : a
  checkSquare(real, 'eigen')
  const n = real.rows
  const re = real.data.slice()
  const im = complex === undefined ? new Float64Array(n * n) : complex.im.data.slice()
  if (complex !== undefined) {
    checkSquare(complex.im, 'eigen')
    if (complex.im.rows !== n)
      throw new ShapeError(`eigen: the real part is [${n}, ${n}], the imaginary part [${complex.im.rows}, ${complex.im.rows}]`)
  }
  if (n === 0) return { values: { re, im }, vectors: { re: zeros(0, 0), im: zeros(0, 0) } }
  const size = normalise(re, im, n)
  const input: ComplexMatrix = { re: { rows: n, cols: n, data: re }, im: { rows: n, cols: n, data: im } }
  const balanced = decompose(input, true)
  const residual = relativeResidual(input, balanced)
  // Balancing usually helps, but harms some nearly reducible matrices (Watkins 2006): then do without.
  const plain = residual > 10 * n * Number.EPSILON ? decompose(input, false) : undefined
  const { values, vectors } = plain !== undefined && relativeResidual(input, plain) < residual ? plain : balanced
  return { values: { re: values.re.map((value) => value * size), im: values.im.map((value) => value * size) }, vectors }
}

/**
 * Condition number κ₂(V) = σmax / σmin of a matrix of eigenvectors: by how much a perturbation of A can move its
 * eigenvalues (Bauer–Fike). Infinity when they are dependent.
 *
 * A complex matrix has the singular values of its real form [Re, −Im; Im, Re], each twice.
 */
export function eigenCondition(vectors: ComplexMatrix): number {
  const { re, im } = vectors
  const n = re.rows
  const isReal = im.data.every((value) => value === 0)
  const form = isReal ? re : zeros(2 * n, 2 * n)
  for (let i = 0; i < n && !isReal; i++) {
    for (let j = 0; j < n; j++) {
      form.data[i * 2 * n + j] = form.data[(i + n) * 2 * n + j + n] = re.data[i * n + j]
      form.data[(i + n) * 2 * n + j] = im.data[i * n + j]
      form.data[i * 2 * n + j + n] = -im.data[i * n + j]
    }
  }
  const s = singularValues(form)
  return s.length === 0 ? 1 : s[0] / s[s.length - 1]
}
