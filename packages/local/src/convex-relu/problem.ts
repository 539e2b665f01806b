import { DataError, OptionError, ShapeError } from '@bpf/core'
import { readMatrix, readVector, type MatrixInput, type VectorInput } from '@bpf/core/data'
import type { Matrix } from '@bpf/core/linalg'
import { checkChoice, checkPositive } from './checks'
import { checkLabels, convexReluLosses, type ConvexReluLoss } from './losses'
import { withIntercept, type ConvexReluParts, type ConvexReluTask } from './model'

/** The training problem: data, loss and weight decay. */
export interface ConvexReluProblemOptions {
  /** ℓ. Default `squared`; `hinge` for adversarial training. */
  loss?: ConvexReluLoss
  /**
   * What y is. Default `regression` for the squared loss, `binary` (labels −1 and 1) for the others; `multiclass` takes any
   * labels and fits one network against the rest for each.
   */
  task?: ConvexReluTask
  /** β > 0: weight decay (β/2) Σ (‖u_j‖² + α_j²). Default 1e-4. */
  beta?: number
  /** Whether the loss is the sum over rows or their mean. Default `sum`; `mean` for adversarial training. */
  reduction?: 'sum' | 'mean'
  /** Whether a column of ones is appended to X: a bias, decayed as the other weights. Default true. */
  fitIntercept?: boolean
}

/** A problem with everything read and checked. The objective is `scale` · (ℓ summed over rows + β · norms). */
export interface Problem {
  x: Matrix
  /** One target [n] for each output. */
  targets: Float64Array[]
  loss: ConvexReluLoss
  /** β against the loss summed over rows. */
  beta: number
  /** 1, or 1/n for the mean. */
  scale: number
  /** d without the column of ones: the columns that an adversary moves. */
  features: number
  parts: Omit<ConvexReluParts, 'networks'>
}

function targetsOf(y: Float64Array, task: ConvexReluTask, loss: ConvexReluLoss, caller: string) {
  if (task === 'regression') return { classes: undefined, targets: [y] }
  if (task === 'binary') {
    checkLabels(y, loss === 'squared' ? 'hinge' : loss, caller)
    return { classes: [-1, 1], targets: [y] }
  }
  const classes = [...new Set(y)].sort((a, b) => a - b)
  if (classes.length < 2) throw new DataError(`${caller}: need at least two classes in y, got only ${classes[0]}`)
  return { classes, targets: classes.map((label) => y.map((value) => (value === label ? 1 : -1))) }
}

/**
 * Reads and checks X, y and the options that all fits share.
 *
 * @throws ShapeError when X and y differ in rows; DataError for an empty X, NaN or labels the loss does not take
 * @throws OptionError for unknown names and β that is not positive
 */
export function readProblem(X: MatrixInput, y: VectorInput, options: ConvexReluProblemOptions, caller: string): Problem {
  const { loss = 'squared', beta = 1e-4, reduction = 'sum', fitIntercept = true } = options
  checkChoice(loss, convexReluLosses, 'loss', caller)
  const { task = loss === 'squared' ? 'regression' : 'binary' } = options
  checkChoice(task, ['regression', 'binary', 'multiclass'], 'task', caller)
  checkChoice(reduction, ['sum', 'mean'], 'reduction', caller)
  checkPositive(beta, 'beta', caller)
  if (task === 'regression' && loss !== 'squared') {
    throw new OptionError(`${caller}: the ${loss} loss is for labels; use task 'binary' or 'multiclass', or the squared loss`)
  }
  const { rows, cols, data } = readMatrix(X, 'X')
  if (rows === 0 || cols === 0) throw new DataError(`${caller}: X is empty: [${rows}, ${cols}]; expected rows and columns`)
  const target = Float64Array.from(readVector(y, 'y'))
  if (target.length !== rows) throw new ShapeError(`${caller}: X has ${rows} rows, y ${target.length} values; give one a row`)
  const plain = { rows, cols, data: Float64Array.from(data) }
  const { classes, targets } = targetsOf(target, task, loss, caller)
  const scale = reduction === 'mean' ? 1 / rows : 1
  return {
    x: fitIntercept ? withIntercept(plain) : plain,
    targets,
    loss,
    beta: beta / scale,
    scale,
    features: cols,
    parts: { task, loss, features: cols, fitIntercept, classes },
  }
}
