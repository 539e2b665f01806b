import { DataError, OptionError, ShapeError } from '../errors'
import { readMatrix, readVector, type MatrixInput, type VectorInput } from '../data/array-input'
import { gemm } from '../linalg/gemm'
import { matmul, matrix, type Matrix } from '../linalg/matrix'
import { qrTriangle } from '../linalg/qr'
import { singularValues } from '../linalg/svd'
import { semidefiniteFactor } from '../linalg/symmetric-eigen'

function readSample(input: MatrixInput, name: string, least: number): Matrix {
  const { rows, cols, data } = readMatrix(input, name)
  if (rows < least) throw new DataError(`${name}: expected at least ${least} rows, got ${rows}`)
  return { rows, cols, data: Float64Array.from(data) }
}

function checkColumns(x: Matrix, y: Matrix): void {
  if (x.cols !== y.cols) throw new ShapeError(`x has ${x.cols} columns, y has ${y.cols}; both need the same features`)
}

/** Subtracts `center` from every row, in place. */
function subtract(x: Matrix, center: Float64Array): void {
  const { rows, cols, data } = x
  for (let i = 0; i < rows; i++) for (let j = 0, p = i * cols; j < cols; j++, p++) data[p] -= center[j]
}

function columnMeans(x: Matrix): Float64Array {
  const means = new Float64Array(x.cols)
  for (let i = 0; i < x.rows; i++) for (let j = 0, p = i * x.cols; j < x.cols; j++, p++) means[j] += x.data[p]
  return means.map((sum) => sum / x.rows)
}

function squaredNorms(x: Matrix): Float64Array {
  return Float64Array.from({ length: x.rows }, (_, i) => {
    let sum = 0
    for (let p = i * x.cols; p < (i + 1) * x.cols; p++) sum += x.data[p] * x.data[p]
    return sum
  })
}

const rowBlock = 1024

/** Visits all squared distances in blocks of 1024 × 1024; entry (i, j) of a block is `block[i * width + j]`. */
function visitSquaredDistances(
  x: Matrix,
  y: Matrix,
  visit: (block: Float64Array, height: number, width: number, firstRow: number, firstColumn: number) => void,
): void {
  const normsX = squaredNorms(x)
  const normsY = squaredNorms(y)
  const d = x.cols
  for (let i0 = 0; i0 < x.rows; i0 += rowBlock) {
    const height = Math.min(rowBlock, x.rows - i0)
    for (let j0 = 0; j0 < y.rows; j0 += rowBlock) {
      const width = Math.min(rowBlock, y.rows - j0)
      const block = new Float64Array(height * width)
      gemm(-2, x.data, i0 * d, d, y.data, j0 * d, 1, d, block, 0, width, height, width, d)
      for (let i = 0, p = 0; i < height; i++) {
        for (let j = 0; j < width; j++, p++) block[p] = Math.max(0, block[p] + normsX[i0 + i] + normsY[j0 + j])
      }
      visit(block, height, width, i0, j0)
    }
  }
}

/** Both samples around their common mean: distances stay, and ‖x‖² + ‖y‖² − 2 x·y cancels less. */
function centredPair(x: MatrixInput, y: MatrixInput, least: number): { first: Matrix; second: Matrix } {
  const first = readSample(x, 'x', least)
  const second = readSample(y, 'y', least)
  checkColumns(first, second)
  const meanX = columnMeans(first)
  const meanY = columnMeans(second)
  const total = first.rows + second.rows
  const center = meanX.map((mean, j) => (mean * first.rows + meanY[j] * second.rows) / total)
  subtract(first, center)
  subtract(second, center)
  return { first, second }
}

/** At most `count` rows, evenly spaced. */
function thin(x: Matrix, count: number): Matrix {
  if (x.rows <= count) return x
  const data = new Float64Array(count * x.cols)
  for (let i = 0; i < count; i++) {
    const from = Math.floor((i * x.rows) / count)
    data.set(x.data.subarray(from * x.cols, (from + 1) * x.cols), i * x.cols)
  }
  return { rows: count, cols: x.cols, data }
}

function pooled(x: Matrix, y: Matrix): Matrix {
  const data = new Float64Array(x.data.length + y.data.length)
  data.set(x.data)
  data.set(y.data, x.data.length)
  return { rows: x.rows + y.rows, cols: x.cols, data }
}

function medianDistance(first: Matrix, second: Matrix): number {
  const sample = thin(pooled(first, second), 2000)
  const distances = new Float64Array((sample.rows * (sample.rows - 1)) / 2)
  let count = 0
  visitSquaredDistances(sample, sample, (block, height, width, i0, j0) => {
    for (let i = 0; i < height; i++) for (let j = 0; j < width; j++) if (j0 + j > i0 + i) distances[count++] = block[i * width + j]
  })
  distances.sort()
  const middle = distances.length >> 1
  const median =
    distances.length % 2 === 1 ? Math.sqrt(distances[middle]) : (Math.sqrt(distances[middle - 1]) + Math.sqrt(distances[middle])) / 2
  if (!(median > 0)) throw new DataError('mmd: the median distance is 0 (most rows are equal); give a bandwidth')
  return median
}

/** Options of {@link mmd}. */
export interface MmdOptions {
  /** σ of the kernel exp(−‖x − y‖² / (2σ²)). Default: the median distance between rows of both samples together. */
  bandwidth?: number
  /** Leave out the pairs of a row with itself; the value can be negative then. Default true. */
  unbiased?: boolean
}

/**
 * Squared maximum mean discrepancy between two samples with a Gaussian kernel.
 *
 * In blocks of 1024 × 1024 pairs. The median heuristic looks at 2,000 evenly spaced rows at most.
 *
 * @param x - [n, d]
 * @param y - [m, d]
 * @returns MMD², about 0 for equal distributions
 * @throws ShapeError when the columns differ, DataError for NaN or too few rows, OptionError for a bad bandwidth
 * @see Gretton et al. 2012, "A kernel two-sample test", equations 3 and 5
 */
export function mmd(x: MatrixInput, y: MatrixInput, options: MmdOptions = {}): number {
  const { unbiased = true } = options
  const { first, second } = centredPair(x, y, unbiased ? 2 : 1)
  const sigma = options.bandwidth ?? medianDistance(first, second)
  if (!(sigma > 0 && sigma < Infinity)) throw new OptionError(`mmd: bandwidth must be positive and finite, got ${sigma}`)
  const rate = -1 / (2 * sigma * sigma)
  const meanKernel = (a: Matrix, b: Matrix, excludeDiagonal: boolean): number => {
    let sum = 0
    visitSquaredDistances(a, b, (block, height, width, i0, j0) => {
      for (let i = 0, p = 0; i < height; i++) {
        for (let j = 0; j < width; j++, p++) if (!excludeDiagonal || i0 + i !== j0 + j) sum += Math.exp(rate * block[p])
      }
    })
    return sum / (excludeDiagonal ? a.rows * (a.rows - 1) : a.rows * b.rows)
  }
  return meanKernel(first, first, unbiased) + meanKernel(second, second, unbiased) - 2 * meanKernel(first, second, false)
}

/** A sample of features [n, d], or its Gaussian: mean [d] and covariance [d, d]. */
export type GaussianInput = MatrixInput | { mean: VectorInput; covariance: MatrixInput }

/** The Gaussian as mean and a factor F [k, d] with FᵀF the covariance. */
function readGaussian(input: GaussianInput, name: string): { mean: Float64Array; factor: Matrix } {
  if ('mean' in input && 'covariance' in input) {
    const mean = Float64Array.from(readVector(input.mean, `${name}.mean`))
    const { rows, cols, data } = matrix(readMatrix(input.covariance, `${name}.covariance`, { rows: mean.length, columns: mean.length }))
    const root = semidefiniteFactor({ rows, cols, data }, `${name}.covariance`)
    const factor = new Float64Array(root.data.length)
    for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) factor[j * rows + i] = root.data[i * cols + j]
    return { mean, factor: { rows: cols, cols: rows, data: factor } }
  }
  const sample = readSample(input, name, 2)
  const mean = columnMeans(sample)
  subtract(sample, mean)
  const scale = 1 / Math.sqrt(sample.rows - 1)
  for (let i = 0; i < sample.data.length; i++) sample.data[i] *= scale
  return { mean, factor: sample.rows > sample.cols ? qrTriangle(sample) : sample }
}

/**
 * Squared Fréchet distance between the Gaussians of two feature samples (FID on Inception features):
 * ‖m₁ − m₂‖² + tr C₁ + tr C₂ − 2 tr (C₁C₂)^½.
 *
 * With C = FᵀF the last trace is the sum of the singular values of F₁F₂ᵀ; covariances are never multiplied nor a root
 * of a nearly singular product taken, so it stays exact where the usual formula needs an ε on the diagonal.
 *
 * @param a - features [n, d], or `{ mean, covariance }`
 * @param b - features [m, d], or `{ mean, covariance }`
 * @returns at least 0; covariances divide by n − 1
 * @throws ShapeError when the dimensions differ; DataError for NaN, fewer than 2 rows, or a covariance with a negative eigenvalue
 * @see Heusel et al. 2017, arXiv 1706.08500
 */
export function frechetDistance(a: GaussianInput, b: GaussianInput): number {
  const first = readGaussian(a, 'a')
  const second = readGaussian(b, 'b')
  const d = first.mean.length
  if (second.mean.length !== d) throw new ShapeError(`frechetDistance: a has ${d} features, b has ${second.mean.length}`)
  let distance = 0
  for (let j = 0; j < d; j++) distance += (first.mean[j] - second.mean[j]) ** 2
  for (const value of first.factor.data) distance += value * value
  for (const value of second.factor.data) distance += value * value
  const overlap = singularValues(matmul(first.factor, second.factor, { transposeB: true })).reduce((sum, value) => sum + value, 0)
  return Math.max(0, distance - 2 * overlap)
}
