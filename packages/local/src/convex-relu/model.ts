import { DataError, OptionError, ShapeError } from '@bpf/core'
import { readMatrix, readVector, type MatrixInput, type VectorInput } from '@bpf/core/data'
import type { Matrix } from '@bpf/core/linalg'
import type { MergedNetwork } from '../gradient-boosted-network'
import { attackReluNetwork, type ReluAttackOptions } from './attack'
import { sigmoid, type ConvexReluLoss } from './losses'
import { reluNetworkOutputs, type ReluNetwork } from './network'

/** What y is: values, labels ±1, or any labels (one network against the rest for each). */
export type ConvexReluTask = 'regression' | 'binary' | 'multiclass'

/** What a {@link ConvexReluNetwork} is made of. */
export interface ConvexReluParts {
  task: ConvexReluTask
  loss: ConvexReluLoss
  /** d, without the column of ones. */
  features: number
  /** Whether the networks take a last column of ones: their bias. */
  fitIntercept: boolean
  /** Label values in sorted order; [−1, 1] for a binary task, undefined for regression. */
  classes: readonly number[] | undefined
  /** One network, or one for each class: U [m, d (+ 1)], alpha [m]. */
  networks: readonly ReluNetwork[]
}

/** How the solver came to one output. */
export interface ConvexReluHistory {
  /** The program's objective after each iteration. */
  objective: Float64Array
  /** ADMM: ‖(u − v, Gu − s, Fu − z)‖; empty for other methods. */
  primalResidual: Float64Array
  /** ADMM: ρ ‖change of (v, s, z)‖; other methods: how far the iterate moved. */
  dualResidual: Float64Array
}

/** The solution of one output's program. */
export interface ConvexReluSolution {
  /** The program's objective at the solution; its cones may be violated slightly, so no network need attain it. */
  programObjective: number
  /** The objective of training that the recovered network attains: ℓ + (β/2) Σ (‖u_j‖² + α_j²). */
  networkObjective: number
  /**
   * No point of the program is below this (ADMM). With all patterns (`exact`) no network is either, of any width, so the
   * distance to `networkObjective` bounds what is left to gain; with a sample of them it says nothing about other networks.
   */
  lowerBound: number | undefined
  /**
   * Adversarial training: the largest violation of a robust cone. As far as it is 0, `programObjective` bounds the network's
   * worst case on the training data from above.
   */
  coneViolation: number | undefined
  iterations: number
  /** Whether the tolerance was met. */
  converged: boolean
  history: ConvexReluHistory
}

/** A fitted two-layer ReLU network. */
export interface ConvexReluNetwork extends ConvexReluParts {
  /** Values [n] (regression), or labels [n]. */
  predict(X: MatrixInput): Float64Array
  /** Probabilities [n, K], row-major, in the order of `classes`; logistic loss only. @throws OptionError for other losses */
  predictProba(X: MatrixInput): Float64Array
  /** f(x): [n], or [n, K] row-major for a multiclass task. */
  decisionFunction(X: MatrixInput): Float64Array
  /** Accuracy, or R² for regression. */
  score(X: MatrixInput, y: VectorInput): number
  /** Inputs moved within a ball so that the loss rises: FGSM (`steps: 1`) or PGD. [n, d] */
  attack(X: MatrixInput, y: VectorInput, options: Omit<ReluAttackOptions, 'columns'>): Matrix
  /** The same function as one ordinary network. */
  toNetwork(): MergedNetwork
}

/** X with a last column of ones. */
export function withIntercept({ rows, cols, data }: Matrix): Matrix {
  const out = new Float64Array(rows * (cols + 1)).fill(1)
  for (let k = 0; k < rows; k++) out.set(data.subarray(k * cols, (k + 1) * cols), k * (cols + 1))
  return { rows, cols: cols + 1, data: out }
}

function withoutIntercept({ rows, cols, data }: Matrix): Matrix {
  const out = new Float64Array(rows * (cols - 1))
  for (let k = 0; k < rows; k++) out.set(data.subarray(k * cols, (k + 1) * cols - 1), k * (cols - 1))
  return { rows, cols: cols - 1, data: out }
}

function determination(predicted: Float64Array, y: ArrayLike<number>): number {
  let [mean, error, total] = [0, 0, 0]
  for (let i = 0; i < y.length; i++) mean += y[i] / y.length
  for (let i = 0; i < y.length; i++) {
    error += (predicted[i] - y[i]) ** 2
    total += (y[i] - mean) ** 2
  }
  return 1 - error / total
}

function merge({ networks, features, fitIntercept, loss, task }: ConvexReluParts): MergedNetwork {
  const units = networks.reduce((count, { alpha }) => count + alpha.length, 0)
  const outputs = networks.length
  const [W1, b1, W2] = [new Float64Array(features * units), new Float64Array(units), new Float64Array(units * outputs)]
  let at = 0
  networks.forEach(({ U, alpha }, k) => {
    for (let j = 0; j < alpha.length; j++, at++) {
      for (let i = 0; i < features; i++) W1[i * units + at] = U.data[j * U.cols + i]
      if (fitIntercept) b1[at] = U.data[j * U.cols + features]
      W2[at * outputs + k] = alpha[j]
    }
  })
  const outputActivation = loss === 'logistic' && task !== 'regression' ? 'sigmoid' : 'identity'
  return { features, units, outputs, activation: 'relu', outputActivation, W1, b1, W2, b2: new Float64Array(outputs) }
}

/**
 * Makes the model of fitted networks: prediction, scoring, attacks, and one merged network.
 *
 * @param parts - one network, or one for each class
 * @throws its functions ShapeError when X has other than d columns, DataError for NaN
 */
export function convexReluModel(parts: ConvexReluParts): ConvexReluNetwork {
  const { networks, features, fitIntercept, classes, loss, task } = parts
  const read = (X: MatrixInput): Matrix => {
    const { rows, cols, data } = readMatrix(X, 'X')
    if (cols !== features) throw new ShapeError(`model was fitted with ${features} features, got ${cols}`)
    const x = { rows, cols, data: Float64Array.from(data) }
    return fitIntercept ? withIntercept(x) : x
  }
  const decisionFunction = (X: MatrixInput): Float64Array => {
    const x = read(X)
    const outputs = networks.map((network) => reluNetworkOutputs(network, x))
    if (outputs.length === 1) return outputs[0]
    return Float64Array.from({ length: x.rows * outputs.length }, (_, p) => outputs[p % outputs.length][Math.floor(p / outputs.length)])
  }
  const predict = (X: MatrixInput): Float64Array => {
    const f = decisionFunction(X)
    if (classes === undefined) return f
    if (task === 'binary') return f.map((value) => (value > 0 ? 1 : -1))
    const K = classes.length
    return Float64Array.from({ length: f.length / K }, (_, k) => {
      const row = f.subarray(k * K, (k + 1) * K)
      return classes[row.indexOf(Math.max(...row))]
    })
  }
  return {
    ...parts,
    decisionFunction,
    predict,
    predictProba(X) {
      if (classes === undefined || loss !== 'logistic') {
        throw new OptionError(`predictProba: the ${loss} loss gives no probabilities; fit with loss 'logistic', or use decisionFunction`)
      }
      const f = decisionFunction(X)
      const K = classes.length
      if (task === 'binary') return Float64Array.from({ length: 2 * f.length }, (_, p) => sigmoid(p % 2 === 1 ? f[p >> 1] : -f[p >> 1]))
      // One against the rest: each class's own probability, scaled to a sum of 1.
      const each = f.map(sigmoid)
      return each.map((p, i) => p / each.subarray(i - (i % K), i - (i % K) + K).reduce((sum, value) => sum + value, 0))
    },
    score(X, y) {
      const target = readVector(y, 'y')
      const predicted = predict(X)
      if (predicted.length !== target.length) throw new ShapeError(`score: X has ${predicted.length} rows, y ${target.length}`)
      if (target.length === 0) throw new DataError('score: X has no rows')
      if (task === 'regression') return determination(predicted, target)
      return predicted.reduce((right, label, i) => right + (label === target[i] ? 1 : 0), 0) / target.length
    },
    attack(X, y, options) {
      const x = read(X)
      const target = readVector(y, 'y', { length: x.rows })
      const wanted = Float64Array.from(target, (value) => (task === 'multiclass' ? (classes ?? []).indexOf(value) : value))
      const unknown = wanted.indexOf(-1)
      if (task === 'multiclass' && unknown >= 0) throw new DataError(`attack: label ${target[unknown]} is not one of the model's classes`)
      // A squared loss on labels is attacked by their margin.
      const attacked = task === 'binary' && loss === 'squared' ? 'hinge' : loss
      const moved = attackReluNetwork(networks, x, wanted, attacked, { ...options, columns: features })
      return fitIntercept ? withoutIntercept(moved) : moved
    },
    toNetwork: () => merge(parts),
  }
}
