import { DataError, OptionError, ShapeError } from '@bpf/core'
import { readMatrix, readVector, type MatrixInput, type VectorInput } from '@bpf/core/data'
import { predictedLabels } from '@bpf/core/metrics'
import { boostingLoss, type BoostingLossKind } from './losses'
import { networkOutputs, type NetworkSizes, type NetworkWeights, type UnitActivation } from './small-network'

/** One ordinary network with T·J hidden units: W1 [d, T·J], b1 [T·J], W2 [T·J, K'], b2 [K'], row-major. */
export interface MergedNetwork extends NetworkWeights {
  features: number
  units: number
  outputs: number
  activation: UnitActivation
  /** What turns its outputs into predictions: `sigmoid` gives the probability of the second class. */
  outputActivation: 'identity' | 'sigmoid' | 'softmax'
}

/** What a {@link GradientBoostedNetwork} is made of. */
export interface BoostedParts extends NetworkSizes {
  loss: BoostingLossKind
  activation: UnitActivation
  /** Label values in sorted order; undefined for regression. */
  classes: readonly number[] | undefined
  /** F_0 [K'] */
  f0: Float64Array
  /** ρ_t, η included. */
  rho: Float64Array
  /** The step networks, unscaled. */
  networks: readonly NetworkWeights[]
  /** Mean training loss with 0 … T steps; empty when it is not known. */
  losses: Float64Array
}

/** A fitted ensemble F(x) = F_0 + Σ_t ρ_t net_t(x). */
export interface GradientBoostedNetwork extends BoostedParts {
  /** T */
  steps: number
  /** Values [n] (regression), or labels [n]. */
  predict(X: MatrixInput): Float64Array
  /** Probabilities [n, K], row-major, in the order of `classes`. @throws OptionError for regression */
  predictProba(X: MatrixInput): Float64Array
  /** F(x): [n], or [n, K] row-major for three and more classes. */
  decisionFunction(X: MatrixInput): Float64Array
  /** Predictions with 1 … T steps. */
  stagedPredict(X: MatrixInput): Float64Array[]
  /** Accuracy, or R² for regression, with 1 … T steps. */
  stagedScore(X: MatrixInput, y: VectorInput): Float64Array
  /** The model of the first t steps: later units are switched off. */
  truncate(t: number): GradientBoostedNetwork
  /** The same function as one network. */
  toNetwork(): MergedNetwork
}

function accuracy(predicted: Float64Array, y: ArrayLike<number>): number {
  let right = 0
  for (let i = 0; i < predicted.length; i++) if (predicted[i] === y[i]) right++
  return right / predicted.length
}

/** R² = 1 − Σ (y − ŷ)² / Σ (y − mean y)². */
function determination(predicted: Float64Array, y: ArrayLike<number>): number {
  const values = Float64Array.from(y)
  const average = values.reduce((sum, value) => sum + value, 0) / values.length
  let [error, total] = [0, 0]
  for (let i = 0; i < values.length; i++) {
    error += (values[i] - predicted[i]) ** 2
    total += (values[i] - average) ** 2
  }
  return 1 - error / total
}

/** Adds ρ·h to F in place. */
export function addScaled(raw: Float64Array, rho: number, h: Float64Array): void {
  for (let i = 0; i < raw.length; i++) raw[i] += rho * h[i]
}

/** F_0 on n rows [n, K']. */
export function constantRows(f0: Float64Array, n: number): Float64Array {
  return Float64Array.from({ length: n * f0.length }, (_, i) => f0[i % f0.length])
}

/**
 * The merged network. For the log-exponential loss the output is 2F, so that an ordinary sigmoid gives the probability.
 */
function merge(parts: BoostedParts): MergedNetwork {
  const { features: d, units: J, outputs: K, networks, rho, f0, loss, activation } = parts
  const T = networks.length
  const scale = loss === 'logExponential' ? 2 : 1
  const [W1, b1, W2] = [new Float64Array(d * T * J), new Float64Array(T * J), new Float64Array(T * J * K)]
  const b2 = f0.map((value) => scale * value)
  networks.forEach((network, t) => {
    for (let i = 0; i < d; i++) W1.set(network.W1.subarray(i * J, (i + 1) * J), i * T * J + t * J)
    b1.set(network.b1, t * J)
    W2.set(
      network.W2.map((value) => scale * rho[t] * value),
      t * J * K,
    )
    addScaled(b2, scale * rho[t], network.b2)
  })
  const outputActivation = loss === 'squared' ? 'identity' : loss === 'logExponential' ? 'sigmoid' : 'softmax'
  return { features: d, units: T * J, outputs: K, activation, outputActivation, W1, b1, W2, b2 }
}

/**
 * Makes the ensemble of step networks: prediction, truncation and merging.
 *
 * @param parts - F_0 [K'], ρ [T] and T networks of J units, unscaled
 * @throws ShapeError when ρ and the networks differ in number; its functions when X has other than d columns
 */
export function boostedNetworkModel(parts: BoostedParts): GradientBoostedNetwork {
  const { features, outputs, activation, classes, f0, rho, networks } = parts
  if (rho.length !== networks.length) {
    throw new ShapeError(`boosted network: expected one rho for each of ${networks.length} networks, got ${rho.length}`)
  }
  const loss = boostingLoss(parts.loss, outputs)
  const read = (X: MatrixInput) => {
    const matrix = readMatrix(X, 'X')
    if (matrix.cols !== features) throw new ShapeError(`model was fitted with ${features} features, got ${matrix.cols}`)
    return matrix
  }
  /** F after 0 … T steps, one after the other in the same array. */
  function* stages(X: MatrixInput): Generator<Float64Array> {
    const { data, rows } = read(X)
    const raw = constantRows(f0, rows)
    yield raw
    for (const [t, network] of networks.entries()) {
      addScaled(raw, rho[t], networkOutputs(data, network, parts, activation))
      yield raw
    }
  }
  const decisionFunction = (X: MatrixInput): Float64Array => {
    let last = new Float64Array(0)
    for (const raw of stages(X)) last = raw as Float64Array<ArrayBuffer>
    return last
  }
  const toPrediction = (raw: Float64Array): Float64Array => {
    if (classes === undefined) return raw.slice()
    if (outputs === 1) return raw.map((f) => classes[f > 0 ? 1 : 0])
    return Float64Array.from(predictedLabels({ data: raw, shape: [raw.length / outputs, outputs] }), (k) => classes[k])
  }
  const stagedPredict = (X: MatrixInput): Float64Array[] => Array.from(stages(X), toPrediction).slice(1)
  return {
    ...parts,
    steps: networks.length,
    decisionFunction,
    predict: (X) => toPrediction(decisionFunction(X)),
    predictProba(X) {
      if (loss.probabilities === undefined) throw new OptionError('predictProba: a regression model has no probabilities; use predict')
      return loss.probabilities(decisionFunction(X))
    },
    stagedPredict,
    stagedScore(X, y) {
      const target = readVector(y, 'y')
      const staged = stagedPredict(X)
      const rows = staged[0]?.length ?? target.length
      if (rows !== target.length) throw new ShapeError(`stagedScore: X has ${rows} rows, y ${target.length}`)
      if (rows === 0) throw new DataError('stagedScore: X has no rows')
      return Float64Array.from(staged, (predicted) => (classes ? accuracy(predicted, target) : determination(predicted, target)))
    },
    truncate(t) {
      if (!Number.isInteger(t) || t < 0 || t > networks.length) {
        throw new OptionError(`truncate: t must be an integer from 0 to ${networks.length}, got ${t}`)
      }
      return boostedNetworkModel({ ...parts, rho: rho.slice(0, t), networks: networks.slice(0, t), losses: parts.losses.slice(0, t + 1) })
    },
    toNetwork: () => merge(parts),
  }
}
