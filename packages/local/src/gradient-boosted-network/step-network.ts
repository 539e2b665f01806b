import { OptionError, random, ShapeError, type Key, type Learner } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'
import {
  checkChoice,
  fitNetwork,
  glorotBound,
  unitActivations,
  unitSolvers,
  type FitNetworkOptions,
  type NetworkData,
  type NetworkWeights,
  type UnitActivation,
  type UnitSolver,
} from './small-network'

/** Weights of a network with one hidden layer: W1 [d, J], b1 [J], W2 [J, K'], b2 [K']. */
export type StepNetworkState = { W1: tf.Tensor; b1: tf.Tensor; W2: tf.Tensor; b2: tf.Tensor }

/** Inputs x [n, d] and targets y [n, K'] or [n]. */
export type RegressionBatch = { x: tf.Tensor; y: tf.Tensor }

/** How each small network is fitted. */
export interface StepNetworkOptions {
  /** J, hidden units. Default 1. */
  units?: number
  /** Default `logistic`. */
  activation?: UnitActivation
  /** Default `lbfgs`: with few units first-order solvers barely fit. */
  solver?: UnitSolver
  /** Iterations of L-BFGS, or epochs of `adam` and `sgd`. Default 200. */
  maxIterations?: number
  /** L2 penalty α of the weights. Default 1e-4. */
  alpha?: number
  /** Step size of `adam` and `sgd`. Default 1e-3. */
  learningRate?: number
}

/** Options with defaults, checked. */
export function readStepOptions({
  units = 1,
  activation = 'logistic',
  solver = 'lbfgs',
  maxIterations = 200,
  alpha = 1e-4,
  learningRate = 1e-3,
}: StepNetworkOptions): Required<StepNetworkOptions> {
  if (!Number.isInteger(units) || units < 1) throw new OptionError(`unitsPerStep must be a positive integer, got ${units}`)
  checkChoice(activation, unitActivations, 'activation')
  checkChoice(solver, unitSolvers, 'solver')
  if (!Number.isInteger(maxIterations) || maxIterations < 1)
    throw new OptionError(`maxIterations must be a positive integer, got ${maxIterations}`)
  if (!(alpha >= 0 && Number.isFinite(alpha))) throw new OptionError(`alpha must be a number of at least 0, got ${alpha}`)
  if (!(learningRate > 0 && Number.isFinite(learningRate))) throw new OptionError(`learningRate must be positive, got ${learningRate}`)
  return { units, activation, solver, maxIterations, alpha, learningRate }
}

/** The values of a float or integer tensor in double precision. */
export const doubles = (tensor: tf.Tensor): Float64Array => Float64Array.from(tensor.dataSync())

/** Weights in double precision. */
export function readWeights({ W1, b1, W2, b2 }: StepNetworkState): NetworkWeights {
  return { W1: doubles(W1), b1: doubles(b1), W2: doubles(W2), b2: doubles(b2) }
}

/** Fresh Glorot-uniform weights, biases with their layer's bound. */
export function initialStepState(key: Key, d: number, K: number, { units: J, activation }: Required<StepNetworkOptions>): StepNetworkState {
  const keys = random.split(key, 4)
  const [first, second] = [glorotBound(d, J, activation), glorotBound(J, K, activation)]
  const draw = (i: number, shape: number[], bound: number) => random.uniform(keys[i], shape, { low: -bound, high: bound })
  return { W1: draw(0, [d, J], first), b1: draw(1, [J], first), W2: draw(2, [J, K], second), b2: draw(3, [K], second) }
}

/** Fits a network in double precision from tensors, and gives its weights as tensors. */
export function fitStepState(
  state: StepNetworkState,
  data: NetworkData,
  options: FitNetworkOptions,
  key: Key,
  rows?: Int32Array,
): { tensors: StepNetworkState; metrics: { loss: tf.Tensor } } {
  const { weights, value } = fitNetwork(data, readWeights(state), options, key, rows)
  const tensor = (name: keyof StepNetworkState): tf.Tensor => tf.tensor(Float32Array.from(weights[name]), state[name].shape, 'float32')
  return {
    tensors: { W1: tensor('W1'), b1: tensor('b1'), W2: tensor('W2'), b2: tensor('b2') },
    metrics: { loss: tf.scalar(value) },
  }
}

/**
 * The small regression network of one boosting step, o(x) = W2ᵀ σ(W1ᵀ x + b1) + b2, as a learner of its own: one step of
 * `fit` runs the whole solver on the rows of its batch, from the weights it has.
 *
 * It minimises ½ · mean over rows of Σ_k (o_k − y_k)² + α/2 ‖W‖² / n, in double precision on the host: tensors would cost
 * more in calls than in arithmetic for so few units.
 *
 * @param options - J, activation, solver
 * @throws OptionError for options out of range; its step ShapeError for another number of features or targets
 */
export function stepNetwork(options: StepNetworkOptions = {}): Learner<StepNetworkState, RegressionBatch> {
  const settings = readStepOptions(options)
  return {
    traceable: false,
    init: (key, { x, y }) => ({
      tensors: initialStepState(key, x.shape[1] ?? 1, y.rank === 1 ? 1 : (y.shape[1] ?? 1), settings),
      host: null,
    }),
    step(tensors, { x, y }, key) {
      const [features, outputs] = [tensors.W1.shape[0], tensors.b2.shape[0] ?? 1]
      checkFeatures(x, features)
      if (y.size !== (x.shape[0] ?? 0) * outputs) {
        throw new ShapeError(`stepNetwork: y should have shape [${x.shape[0]}, ${outputs}], got [${y.shape.join(', ')}]`)
      }
      return fitStepState(tensors, { x: doubles(x), target: doubles(y) }, { ...settings, features, outputs, loss: 'squared' }, key)
    },
    predict: (tensors, inputs) => networkTensors(inputs as tf.Tensor, tensors, settings.activation),
  }
}

/** Refuses inputs of another width. */
export function checkFeatures(x: tf.Tensor, features: number): void {
  if (x.rank !== 2 || x.shape[1] !== features) {
    throw new ShapeError(`model was fitted with ${features} features, got inputs of shape [${x.shape.join(', ')}]`)
  }
}

const activations: Record<UnitActivation, (x: tf.Tensor) => tf.Tensor> = { logistic: tf.sigmoid, tanh: tf.tanh, relu: tf.relu }

/** W2ᵀ σ(W1ᵀ x + b1) + b2 on tensors: x [n, d] gives [n, K']. */
export function networkTensors(x: tf.Tensor, { W1, b1, W2, b2 }: StepNetworkState, activation: UnitActivation): tf.Tensor {
  checkFeatures(x, W1.shape[0])
  const hidden = activations[activation](tf.add(tf.matMul(x as tf.Tensor2D, W1 as tf.Tensor2D), b1))
  return tf.add(tf.matMul(hidden as tf.Tensor2D, W2 as tf.Tensor2D), b2)
}
