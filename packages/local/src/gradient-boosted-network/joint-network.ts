import { DataError, OptionError, random, ShapeError, type Key } from '@bpf/core'
import { readMatrix, readVector, type MatrixInput, type VectorInput } from '@bpf/core/data'
import { predictedLabels } from '@bpf/core/metrics'
import { fitNetwork, initialNetwork, networkOutputs, type UnitActivation, type UnitSolver } from './small-network'
import { readStepOptions } from './step-network'

/** Options of {@link fitJointNetwork}. */
export interface JointNetworkOptions {
  task: 'regression' | 'classification'
  /** Hidden units. Default 200. */
  units?: number
  /** Default `logistic`. */
  activation?: UnitActivation
  /** Default `adam`. */
  solver?: UnitSolver
  /** Epochs, or iterations of L-BFGS. Default 200. */
  maxIterations?: number
  /** L2 penalty. Default 1e-4. */
  alpha?: number
  /** Step size of `adam` and `sgd`. Default 1e-3. */
  learningRate?: number
  /** Default the key of seed 0. */
  key?: Key
}

/** A network with one hidden layer whose units were fitted all at once. */
export interface JointNetwork {
  /** Values [n], or labels [n]. */
  predict(X: MatrixInput): Float64Array
}

/**
 * The baseline of gradient boosting: the same network with all units trained jointly by backpropagation, on ½ squared error
 * or the cross-entropy of its softmax.
 *
 * @param X - inputs [n, d]
 * @param y - targets or labels [n]
 * @throws ShapeError when X and y differ in length; DataError for NaN or a single class; OptionError for options out of range
 */
export function fitJointNetwork(X: MatrixInput, y: VectorInput, options: JointNetworkOptions): JointNetwork {
  const { task, key = random.key(0), units = 200, solver = 'adam', ...rest } = options
  if (task !== 'regression' && task !== 'classification') {
    throw new OptionError(`fitJointNetwork: task must be 'regression' or 'classification', got '${String(task)}'`)
  }
  const step = readStepOptions({ ...rest, units, solver })
  const { data, rows, cols } = readMatrix(X, 'X')
  const values = readVector(y, 'y')
  if (values.length !== rows) throw new ShapeError(`fitJointNetwork: X has ${rows} rows, y ${values.length}; give one target a row`)
  const labels = task === 'classification' ? [...new Set(values)].sort((a, b) => a - b) : undefined
  if (labels !== undefined && labels.length < 2) throw new DataError('fitJointNetwork: need at least two classes in y')
  const outputs = labels?.length ?? 1
  const target = labels ? new Float64Array(rows * outputs) : Float64Array.from(values)
  const indexOf = new Map(labels?.map((label, k) => [label, k]))
  if (labels) values.forEach((value, i) => (target[i * outputs + (indexOf.get(value) ?? 0)] = 1))
  const sizes = { features: cols, units, outputs }
  const [initKey, fitKey] = random.split(key, 2)
  const { weights } = fitNetwork(
    { x: data, target },
    initialNetwork(initKey, sizes, step.activation),
    { ...step, ...sizes, loss: labels ? 'softmax' : 'squared' },
    fitKey,
  )
  return {
    predict(inputs) {
      const matrix = readMatrix(inputs, 'X')
      if (matrix.cols !== cols) throw new ShapeError(`model was fitted with ${cols} features, got ${matrix.cols}`)
      const out = networkOutputs(matrix.data, weights, sizes, step.activation)
      if (labels === undefined) return out
      return Float64Array.from(predictedLabels({ data: out, shape: [matrix.rows, outputs] }), (k) => labels[k])
    },
  }
}
