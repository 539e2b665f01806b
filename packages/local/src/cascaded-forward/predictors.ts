/** Linear maps from fixed features to classes. */
import { compile, OptionError, scan, softmaxCrossEntropy, tree, type Dataset, type Tree } from '@bpf/core'
import { cholesky, choleskySolve, gram, leastSquares, matmul, ridge, type Matrix } from '@bpf/core/linalg'
import { adam, applyUpdates } from '@bpf/core/optim'
import * as tf from '@tensorflow/tfjs-core'
import { oneHot, type LabelledBatch } from '../shared/labelled'
import { sparsemax, sparsemaxLoss } from '../shared/sparsemax'
import { featureRows } from './blocks'

/** How a block's predictor is found. */
export type CascadedForwardPredictor =
  /** W = (FᵀF + nλI)⁻¹FᵀY, without bias; of minimum norm where λ = 0 and FᵀF is singular. */
  | { kind: 'leastSquares'; lambda?: number }
  /**
   * Full-batch gradient descent W ← W − step·(Fᵀ(p − Y)/n + λW) from all ones, without bias; p is the softmax
   * (cross-entropy, default) or the sparsemax (sparsemax loss) of FW. Step 0.01, 5000 iterations, λ = 0 by default.
   */
  | { kind: 'descent'; loss?: 'crossEntropy' | 'sparsemax'; step?: number; iterations?: number; lambda?: number }
  /** Full-batch Adam (ε 1e-4) on the cross-entropy from all ones, without bias. Step 0.01, 5000 iterations by default. */
  | { kind: 'adam'; step?: number; iterations?: number }
  /**
   * Adam on minibatches with bias from PyTorch's default, stopped early where the method has validation examples.
   * Rate 4.2e-4, coupled weight decay 1.7e-6, 227 epochs, patience 8 by default.
   */
  | { kind: 'minibatch'; learningRate?: number; weightDecay?: number; epochs?: number; patience?: number }

/** Predictors that are solved from all features at once. */
export type SolvedPredictor = Exclude<CascadedForwardPredictor, { kind: 'minibatch' }>

function positive(name: string, value: number, integer = false): void {
  if (!(value > 0 && value < Infinity) || (integer && !Number.isInteger(value))) {
    throw new OptionError(`cascadedForward: predictor.${name} must be a positive ${integer ? 'integer' : 'number'}, got ${value}`)
  }
}

/** @throws OptionError for values out of range */
export function checkPredictor(predictor: CascadedForwardPredictor): void {
  const given: Partial<Record<string, unknown>> = { ...predictor }
  const number = (name: string): number => (given[name] === undefined ? 1 : (given[name] as number))
  if (!(number('lambda') >= 0 && number('lambda') < Infinity)) {
    throw new OptionError(`cascadedForward: predictor.lambda must be at least 0, got ${number('lambda')}`)
  }
  for (const name of ['step', 'learningRate']) positive(name, number(name))
  for (const name of ['iterations', 'epochs', 'patience']) positive(name, number(name), true)
}

/** Features F [n, dim] and labels of a whole set. */
export interface Features {
  data: Float32Array | Float64Array
  dim: number
  y: Int32Array
}

/** Reads a dataset whole, features as rows. */
export async function readFeatures(data: Dataset<LabelledBatch>, signal: AbortSignal | undefined): Promise<Features> {
  const parts: { x: Float32Array; y: Int32Array }[] = []
  let dim = 0
  for await (const { batch, weight } of data.weightedBatches({ signal })) {
    const [x, y, weights] = await Promise.all([batch.x.data<'float32'>(), batch.y.data<'int32'>(), weight.data<'float32'>()])
    const count = weights.reduce((sum, value) => sum + value, 0)
    dim = x.length / y.length
    parts.push({ x: x.slice(0, count * dim), y: y.slice(0, count) })
    tf.dispose([batch.x, batch.y, weight])
  }
  const rows = parts.reduce((sum, { y }) => sum + y.length, 0)
  const out: Features = { data: new Float32Array(rows * dim), dim, y: new Int32Array(rows) }
  let row = 0
  for (const { x, y } of parts) {
    out.data.set(x, row * dim)
    out.y.set(y, row)
    row += y.length
  }
  return out
}

/** Rows that are turned to double precision together. */
const rowsAtOnce = 4096

function rowsOfFeatures({ data, dim }: Features, from: number, to: number): Matrix {
  return { rows: to - from, cols: dim, data: Float64Array.from(data.subarray(from * dim, to * dim)) }
}

function targets({ y }: Features, classes: number, from: number, to: number): Matrix {
  const rows: Matrix = { rows: to - from, cols: classes, data: new Float64Array((to - from) * classes) }
  for (let i = from; i < to; i++) rows.data[(i - from) * classes + y[i]] = 1
  return rows
}

/** Sums over parts of the rows, in double precision. */
function sumOverRows(features: Features, part: (f: Matrix, from: number, to: number) => Matrix): Matrix {
  const n = features.y.length
  let sum: Matrix | undefined
  for (let from = 0; from < n; from += rowsAtOnce) {
    const to = Math.min(n, from + rowsAtOnce)
    const next = part(rowsOfFeatures(features, from, to), from, to)
    if (sum === undefined) sum = next
    else for (let i = 0; i < next.data.length; i++) sum.data[i] += next.data[i]
  }
  return sum as Matrix
}

const largest = ({ data }: Matrix): number => data.reduce((most, value) => Math.max(most, Math.abs(value)), 0)

/**
 * The least-squares predictor in double precision: by the dim × dim normal equations (n × n where there are fewer rows), by
 * the SVD where those are singular.
 *
 * @returns Wᵀ as [dim, C]
 */
export function leastSquaresPredictor(features: Features, classes: number, lambda: number): Matrix {
  const [n, dim] = [features.y.length, features.dim]
  if (lambda > 0 && n < dim) return ridge(rowsOfFeatures(features, 0, n), targets(features, classes, 0, n), n * lambda)
  if (n >= dim) {
    const normal = sumOverRows(features, (f) => gram(f))
    for (let j = 0; j < dim; j++) normal.data[j * dim + j] += n * lambda
    const right = sumOverRows(features, (f, from, to) => matmul(f, targets(features, classes, from, to), { transposeA: true }))
    const solution = solveRefined(features, normal, right, classes, n * lambda)
    if (solution !== undefined) return solution
  }
  return leastSquares(rowsOfFeatures(features, 0, n), targets(features, classes, 0, n)).solution
}

/** Cholesky with two refinements by the residual; undefined where the equations are (nearly) singular. */
function solveRefined(features: Features, normal: Matrix, right: Matrix, classes: number, ridgeTerm: number): Matrix | undefined {
  let factor: Matrix
  try {
    factor = cholesky(normal)
  } catch {
    return undefined
  }
  const w = choleskySolve(factor, right)
  for (let round = 0; round < 3; round++) {
    const residual = sumOverRows(features, (f, from, to) => {
      const left = targets(features, classes, from, to)
      const fitted = matmul(f, w)
      for (let i = 0; i < left.data.length; i++) left.data[i] -= fitted.data[i]
      return matmul(f, left, { transposeA: true })
    })
    for (let i = 0; i < w.data.length; i++) residual.data[i] -= ridgeTerm * w.data[i]
    if (largest(residual) <= 1e-10 * Math.max(1, largest(right))) return w
    if (round === 2) return undefined
    const correction = choleskySolve(factor, residual)
    for (let i = 0; i < w.data.length; i++) w.data[i] += correction.data[i]
  }
  return undefined
}

/** λ below this is left out, as in the reference code. */
const smallestDecay = 1e-4

/** One iteration of {@link CascadedForwardPredictor} `descent`; `loss` is the one before it. */
export function descentStep(
  w: tf.Tensor,
  f: tf.Tensor,
  y: tf.Tensor,
  { loss = 'crossEntropy', step = 0.01, lambda = 0 }: Extract<CascadedForwardPredictor, { kind: 'descent' }>,
): { w: tf.Tensor; loss: tf.Tensor } {
  return tree.tidy(() => {
    const scores = tf.matMul(f as tf.Tensor2D, w as tf.Tensor2D)
    const p = loss === 'sparsemax' ? sparsemax(scores) : tf.softmax(scores)
    const error = tf.div(tf.sub(p, oneHot(y, w.shape[1] ?? 0)), f.shape[0])
    const gradient = tf.matMul(f as tf.Tensor2D, error as tf.Tensor2D, true)
    const value = tf.mean(loss === 'sparsemax' ? sparsemaxLoss(y, scores) : softmaxCrossEntropy(y, scores))
    return { w: tf.sub(w, tf.mul(lambda > smallestDecay ? tf.add(gradient, tf.mul(w, lambda)) : gradient, step)), loss: value }
  })
}

type Iterates = { w: tf.Tensor; optimizer: Tree }

/** Iterations in one native call. */
const iterationsPerCall = 50

/** W of the predictors that are solved at once [dim, C], from features [n, dim]. */
export async function solvePredictor(
  predictor: SolvedPredictor,
  features: Features,
  classes: number,
  signal: AbortSignal | undefined,
): Promise<tf.Tensor> {
  const { dim } = features
  if (predictor.kind === 'leastSquares') {
    const { data } = leastSquaresPredictor(features, classes, predictor.lambda ?? 0)
    return tf.tensor2d(Float32Array.from(data), [dim, classes])
  }
  const rule = adam({ learningRate: predictor.step ?? 0.01, epsilon: 1e-4 })
  const step = ({ w, optimizer }: Iterates, f: tf.Tensor, y: tf.Tensor): Iterates => {
    if (predictor.kind === 'descent') return { w: descentStep(w, f, y, predictor).w, optimizer }
    const error = tf.div(tf.sub(tf.softmax(tf.matMul(f as tf.Tensor2D, w as tf.Tensor2D)), oneHot(y, classes)), f.shape[0])
    const { updates, state } = rule.update(tf.matMul(f as tf.Tensor2D, error as tf.Tensor2D, true), optimizer as never, w as tf.Tensor2D)
    return { w: applyUpdates(w, updates), optimizer: state }
  }
  const many = (length: number) =>
    compile(
      (state: Iterates, f: tf.Tensor, y: tf.Tensor) =>
        scan((carry: Iterates, _: readonly Tree[]) => ({ carry: step(carry, f, y), y: [] as readonly Tree[] }), state, [], { length })
          .carry,
    )
  const total = predictor.iterations ?? 5000
  const f = tf.tensor2d(Float32Array.from(features.data), [features.y.length, dim])
  const y = tf.tensor1d(features.y, 'int32')
  const start = tf.ones([dim, classes])
  let state: Iterates = { w: start, optimizer: predictor.kind === 'adam' ? rule.init(start) : [] }
  const [whole, rest] = [many(Math.min(total, iterationsPerCall)), total % iterationsPerCall]
  try {
    for (let done = 0; done < total;) {
      signal?.throwIfAborted()
      const count = Math.min(iterationsPerCall, total - done)
      const before = state
      state = (count === rest && total > iterationsPerCall ? many(rest) : whole)(state, f, y)
      tree.dispose(before)
      done += count
      await state.w.data()
    }
    tree.dispose(state.optimizer)
    return state.w
  } catch (error) {
    tree.dispose(state)
    throw error
  } finally {
    tf.dispose([f, y])
  }
}

/** FW (+ b). */
export function predictorScores(predictor: Tree, f: tf.Tensor): tf.Tensor {
  const { kernel, bias } = predictor as { kernel: tf.Tensor2D; bias?: tf.Tensor }
  const scores = tf.matMul(featureRows(f), kernel)
  return bias === undefined ? scores : tf.add(scores, bias)
}
