/**
 * Target projection SGD of recurrent classifiers. Every cell learns a projected target for its hidden state, with the state
 * before taken as a constant: no gradients through time, and no states kept.
 */
import {
  logSoftmax,
  OptionError,
  scan,
  ShapeError,
  softmaxCrossEntropy,
  tree,
  valueAndGrad,
  valueAndGradWithAux,
  type Tree,
} from '@bpf/core'
import { dense, initializers, unroll, type Affine, type Cell } from '@bpf/core/nn'
import { applyUpdates } from '@bpf/core/optim'
import { fold, split } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { checkClasses, checkExamples, classificationSums, type ClassifierLearner, type LabelledBatch } from '../shared/labelled'
import { meanLocalLoss } from './local-loss'
import { automaticRate, targetOptimizers, targetRules, type TargetTraining } from './network'
import { drawProjection } from './projection'
import { projectLabels } from './target-projection-sgd'

/** Kernels [d, units] and [units, units], and the bias of {@link elmanCell}. */
export type ElmanParams = { inputKernel: tf.Tensor; recurrentKernel: tf.Tensor; bias: tf.Tensor }

/** A cell of any kind whose outputs lie in [−1, 1]: {@link elmanCell}, or `gruCell` and `lstmCell` of `@bpf/core/nn`. */
export type TargetCell = Cell<Tree, Tree>

/** h ← tanh(W·x + U·h + b); Xavier's weights, b = 0. */
export function elmanCell(units: number): Cell<ElmanParams, { hidden: tf.Tensor }> {
  if (!Number.isInteger(units) || units < 2) {
    throw new OptionError(`elmanCell: a hidden layer needs at least 2 units to tell classes apart, got ${units}`)
  }
  const input = dense(units, { kernelInit: initializers.xavierUniform(), biasInit: initializers.zeros })
  return {
    init(key, inputShape) {
      const [inputKey, recurrentKey] = split(key, 2)
      const { params, outputShape } = input.init(inputKey, inputShape)
      const recurrentKernel = initializers.xavierUniform()(recurrentKey, [units, units])
      return { params: { inputKernel: params.kernel, recurrentKernel, bias: params.bias }, outputShape }
    },
    initialCarry: (batch) => ({ hidden: tf.zeros([batch, units]) }),
    prepare: ({ inputKernel, bias }, x) => input.apply({ kernel: inputKernel, bias }, {}, x, { training: true }).y,
    advance({ recurrentKernel }, { hidden }, prepared) {
      const h = tf.tanh(tf.add(prepared, tf.matMul(hidden as tf.Tensor2D, recurrentKernel as tf.Tensor2D)))
      return { carry: { hidden: h }, y: h }
    },
  }
}

/** Options of {@link recurrentTargetProjectionSgd}. */
export interface RecurrentTargetProjectionOptions extends TargetTraining {
  /** One cell for each layer; a layer sees the outputs of the one below as constants. */
  cells: readonly TargetCell[]
  /** Number of classes C ≥ 2. */
  classes: number
  /** The hidden state has its target at every step (default; each counts 1/T), or at the last one only. */
  target?: 'every' | 'last'
  /** What the classifier sees of the top layer: its last state (default), or the mean over steps. */
  readout?: 'last' | 'mean'
}

/** Cells with their projections Pᵀ [C, units], and the classifier of the top layer's state. */
export type RecurrentTargetProjectionState = {
  cells: readonly { params: Tree; projection: tf.Tensor; optimizer: Tree }[]
  output: { params: Affine; optimizer: Tree }
}

/** What a batch of sequences says: local losses of each layer at each trained step, and all gradients. */
export type RecurrentGradients = {
  /** By layer: [T], or [1] with `target: 'last'`; each the mean over the batch. */
  losses: tf.Tensor[]
  grads: Tree[]
  readout: { loss: tf.Tensor; grads: Affine }
}

/** A classifier of sequences, its gradients and hidden states. */
export type RecurrentTargetProjectionClassifier = ClassifierLearner<RecurrentTargetProjectionState> & {
  gradients(tensors: RecurrentTargetProjectionState, batch: LabelledBatch): RecurrentGradients
  /** Outputs of each layer at all steps, [n, T, units]. */
  states(tensors: RecurrentTargetProjectionState, x: tf.Tensor): tf.Tensor[]
}

const where = 'recurrentTargetProjectionSgd'

/** Sequences of up to so many steps need no loop in the graph. */
const longestWrittenOut = 32

/** Carried from step to step: the cells' carries, the top layer's output, and the sum of these where the readout is their mean. */
type Carry = { carries: readonly Tree[]; top: tf.Tensor; sum: readonly tf.Tensor[] }
type Trained = { carry: Carry; losses: readonly tf.Tensor[]; grads: readonly Tree[]; rates: readonly tf.Tensor[] }

/**
 * A recurrent classifier whose cells learn targets t = P y for their hidden state: e_t = ∂J(h_t, t)/∂h_t back through that
 * step's cell only, h_{t−1} (and an LSTM's c_{t−1}) constant; the readout learns by cross-entropy. Memory does not grow with T.
 *
 * @returns a classifier for x [n, T, d] with the metrics `loss` (cross-entropy) and `layer1` … (mean local losses)
 * @throws OptionError for options out of range; ShapeError for sequences of length 0 or inputs of another rank
 * @see Lomnitz, Zhang, Piacentino, Zhang, 2022, arXiv 2208.08503
 *
 * @example
 * ```ts
 * const method = recurrentTargetProjectionSgd({ cells: [elmanCell(32)], classes: 10, target: 'last' })
 * ```
 */
export function recurrentTargetProjectionSgd(options: RecurrentTargetProjectionOptions): RecurrentTargetProjectionClassifier {
  const { classes, target = 'every', readout = 'last' } = options
  checkClasses(where, classes)
  if (options.cells.length === 0) throw new OptionError(`${where}: cells must have at least one cell`)
  if (target !== 'every' && target !== 'last') throw new OptionError(`${where}: target must be every or last, got '${String(target)}'`)
  if (readout !== 'last' && readout !== 'mean') throw new OptionError(`${where}: readout must be last or mean, got '${String(readout)}'`)
  const { cells } = options
  const optimizers = targetOptimizers(where, options)
  const rules = targetRules(where, options, ['tanh'])
  const head = dense(classes, { kernelInit: initializers.xavierUniform(), biasInit: initializers.zeros })

  function checkSequences(x: tf.Tensor): void {
    if (x.rank !== 3 || x.shape[1] === 0) {
      throw new ShapeError(`${where}: expected x of shape [n, T, d] with T ≥ 1, got [${x.shape.join(', ')}]`)
    }
  }

  function initialCarry({ cells: states }: RecurrentTargetProjectionState, batch: number): Carry {
    const units = states[states.length - 1].projection.shape[1] as number
    return {
      carries: cells.map((cell) => cell.initialCarry(batch)),
      top: tf.zeros([batch, units]),
      sum: readout === 'mean' ? [tf.zeros([batch, units])] : [],
    }
  }

  function advance({ cells: states }: RecurrentTargetProjectionState, { carries, sum }: Carry, x: tf.Tensor): Carry {
    let input = x
    const next = cells.map((cell, i) => {
      const { params } = states[i]
      const result = cell.advance(params, carries[i], cell.prepare(params, input))
      input = result.y
      return result.carry
    })
    return { carries: next, top: input, sum: sum.map((before) => tf.add(before, input)) }
  }

  /** One step of all cells with the gradients of their local losses. */
  function trainedStep({ cells: states }: RecurrentTargetProjectionState, { carries, sum }: Carry, x: tf.Tensor, y: tf.Tensor): Trained {
    let input = x
    const found = cells.map((cell, i) => {
      const { params, projection } = states[i]
      const targets = projectLabels(projection, y)
      const { value, grads, aux } = valueAndGradWithAux((at: Tree) => {
        const result = cell.advance(at, carries[i], cell.prepare(at, input))
        return { loss: meanLocalLoss(rules.loss, result.y, targets), aux: result }
      })(params)
      const seen = optimizers.auto ? [automaticRate(tf.concat([input, ...tree.leaves(carries[i])], 1))] : []
      input = aux.y
      return { carry: aux.carry, loss: value, grads, rates: seen }
    })
    return {
      carry: { carries: found.map(({ carry }) => carry), top: input, sum: sum.map((before) => tf.add(before, input)) },
      losses: found.map(({ loss }) => loss),
      grads: found.map(({ grads }) => grads),
      rates: found.flatMap(({ rates }) => rates),
    }
  }

  // A short loop written out runs faster than one in the graph.
  function overTime<C extends Tree, Y extends Tree>(body: (carry: C, x: tf.Tensor) => { carry: C; y: Y }, first: C, steps: tf.Tensor) {
    const length = steps.shape[0]
    if (length > longestWrittenOut) return scan(body, first, steps)
    let carry = first
    const ys = Array.from({ length }, (_, t) => {
      const next = body(carry, stepAt(steps, t))
      carry = next.carry
      return next.y
    })
    return { carry, ys: tree.map((...leaves) => tf.stack(leaves), ys[0], ...ys.slice(1)) }
  }

  const timeFirst = (x: tf.Tensor): tf.Tensor => tf.transpose(x, [1, 0, 2])
  const stepAt = (steps: tf.Tensor, t: number): tf.Tensor => tf.squeeze(tf.slice(steps, [t, 0, 0], [1, -1, -1]), [0])

  function run(tensors: RecurrentTargetProjectionState, steps: tf.Tensor): Carry {
    const [length, batch] = steps.shape
    if (length === 0) return initialCarry(tensors, batch)
    return overTime((carry: Carry, x) => ({ carry: advance(tensors, carry, x), y: [] }), initialCarry(tensors, batch), steps).carry
  }

  /** All steps, and what the targets say: gradients are the mean over the steps that have one. */
  function sweep(tensors: RecurrentTargetProjectionState, x: tf.Tensor, y: tf.Tensor): Trained {
    const steps = timeFirst(x)
    const [length, batch] = steps.shape
    if (target === 'last') {
      const before = run(tensors, tf.slice(steps, [0, 0, 0], [length - 1, -1, -1]))
      const trained = trainedStep(tensors, before, stepAt(steps, length - 1), y)
      return { ...trained, losses: trained.losses.map((loss) => tf.reshape(loss, [1])) }
    }
    const zeros = tensors.cells.map(({ params }) => tree.zerosLike(params))
    const { carry, ys } = overTime(
      ({ state, grads }: { state: Carry; grads: readonly Tree[] }, input: tf.Tensor) => {
        const trained = trainedStep(tensors, state, input, y)
        const sums = tree.map((a, b) => tf.add(a, b), grads, trained.grads)
        return { carry: { state: trained.carry, grads: sums }, y: { losses: trained.losses, rates: trained.rates } }
      },
      { state: initialCarry(tensors, batch), grads: zeros },
      steps,
    )
    const grads = tree.map((sum) => tf.div(sum, length), carry.grads)
    return { carry: carry.state, losses: ys.losses, grads, rates: ys.rates.map((rate) => tf.mean(rate)) }
  }

  const stepsOf = (x: tf.Tensor): number => x.shape[1] as number
  const seen = ({ top, sum }: Carry, length: number): tf.Tensor => (sum.length > 0 ? tf.div(sum[0], length) : top)

  function readoutGradients({ params }: RecurrentTargetProjectionState['output'], h: tf.Tensor, y: tf.Tensor) {
    const loss = (at: Affine): tf.Tensor => tf.mean(softmaxCrossEntropy(y, head.apply(at, {}, h, { training: true }).y))
    const { value, grads } = valueAndGrad(loss)(params)
    return { loss: value, grads }
  }

  function logits(tensors: RecurrentTargetProjectionState, x: tf.Tensor): tf.Tensor {
    checkSequences(x)
    const last = run(tensors, timeFirst(x))
    return head.apply(tensors.output.params, {}, seen(last, stepsOf(x)), { training: false }).y
  }

  function trainCells(tensors: RecurrentTargetProjectionState, { grads, rates }: Trained): RecurrentTargetProjectionState['cells'] {
    return tensors.cells.map(({ params, projection, optimizer }, i) => {
      const { updates, state } = optimizers.hidden.update(grads[i], optimizer, params)
      const scaled = optimizers.auto ? tree.map((update) => tf.mul(update, rates[i]), updates) : updates
      return { params: applyUpdates(params, scaled), projection: tf.clone(projection), optimizer: state }
    })
  }

  return {
    classes,
    prepare: (data, _, running) => checkExamples(where, data, classes, running),
    init(key, { x }) {
      checkSequences(x)
      let shape: readonly number[] = [x.shape[2] as number]
      const states = cells.map((cell, i) => {
        const [parameterKey, projectionKey] = split(fold(key, i), 2)
        const { params, outputShape } = cell.init(parameterKey, shape)
        shape = outputShape
        const projection = drawProjection(where, rules.projection, projectionKey, [classes, outputShape[0]], 'tanh')
        return { params, projection, optimizer: optimizers.hidden.init(params) }
      })
      const { params } = head.init(fold(key, cells.length), shape)
      return { tensors: { cells: states, output: { params, optimizer: optimizers.output.init(params) } }, host: null }
    },
    step(tensors, { x, y }) {
      return tree.tidy(() => {
        checkSequences(x)
        const trained = optimizers.frozen ? undefined : sweep(tensors, x, y)
        const last = trained?.carry ?? run(tensors, timeFirst(x))
        const { loss, grads } = readoutGradients(tensors.output, seen(last, stepsOf(x)), y)
        const { updates, state } = optimizers.output.update(grads, tensors.output.optimizer, tensors.output.params)
        const local = (trained?.losses ?? []).map((losses, i) => [`layer${i + 1}`, tf.mean(losses)] as const)
        return {
          tensors: {
            cells: trained === undefined ? tree.clone(tensors.cells) : trainCells(tensors, trained),
            output: { params: applyUpdates(tensors.output.params, updates), optimizer: state },
          },
          metrics: { ...Object.fromEntries(local), loss },
        }
      })
    },
    evaluate: (tensors, { x, y }, weight) => tree.tidy(() => classificationSums(logSoftmax(logits(tensors, x)), y, weight)),
    predict: (tensors, inputs) => tf.tidy(() => tf.softmax(logits(tensors, inputs as tf.Tensor))),
    gradients: (tensors, { x, y }) =>
      tree.tidy((): RecurrentGradients => {
        checkSequences(x)
        const { carry, losses, grads } = sweep(tensors, x, y)
        return { losses: [...losses], grads: [...grads], readout: readoutGradients(tensors.output, seen(carry, stepsOf(x)), y) }
      }),
    states: (tensors, x) =>
      tree.tidy(() => {
        checkSequences(x)
        let input = x
        return cells.map((cell, i) => {
          input = unroll(cell, tensors.cells[i].params, input).y
          return input
        })
      }),
  }
}
