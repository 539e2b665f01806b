/** What classification and regression share: one forward sweep that trains each layer towards its projected target. */
import { OptionError, ShapeError, tree, valueAndGrad, valueAndGradWithAux, type Key, type Tree } from '@bpf/core'
import { dense, initializers, type Affine, type Layer } from '@bpf/core/nn'
import { applyUpdates, sgd, type LearningRate, type Optimizer } from '@bpf/core/optim'
import { fold, split } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { activationRule, type TargetActivation } from './activation'
import type { TargetLayer } from './layer'
import { lossRule, meanLocalLoss, rowsOf, type TargetLoss } from './local-loss'
import { checkProjection, drawProjection, type ProjectionKind } from './projection'

/** How layers are trained: the same for all variants. */
export interface TargetTraining {
  /** J. Default 'l2'. */
  localLoss?: TargetLoss
  /** How P is drawn, once. Default 'sign'. */
  projection?: ProjectionKind
  /** s, at most 1 for tanh. Default 1. */
  projectionScale?: number
  /**
   * η of the layers with a projected target. Default 'auto': 0.5/mean‖a_{i−1}‖² of the batch, a quarter of what squared
   * errors bear. 0 leaves the layers as they were drawn.
   */
  learningRate?: LearningRate | 'auto'
  /** η of the last layer. Default 0.02. */
  outputLearningRate?: LearningRate
  /** μ in [0, 1). Default 0. */
  momentum?: number
  /** Look ahead along the momentum. Default false. */
  nesterov?: boolean
  /** Told when η is beyond the first layer's bound of stability. Default: a process warning. */
  onWarning?: (message: string) => void
}

/** Options of a network of layers. */
export interface TargetNetwork extends TargetTraining {
  /** The layers with projected targets, from the input on; the last layer, to the outputs, is added. None: only that one. */
  layers: readonly TargetLayer[]
  /** A frozen feature extractor that inputs go through first; pure and traceable. */
  trunk?: (x: tf.Tensor) => tf.Tensor
}

/** A layer's parameters and state, Pᵀ [C, d] and its optimizer's state. */
export type TargetLayerState = { params: Tree; state: Tree; projection: tf.Tensor; optimizer: Tree }

/** Layers with projected targets, and the last layer. */
export type TargetProjectionState = { layers: readonly TargetLayerState[]; output: { params: Affine; optimizer: Tree } }

/** What a layer finds out about a batch: its output, its local loss (a scalar) and gradients of its parameters alone. */
export type LocalGradients = { activation: tf.Tensor; loss: tf.Tensor; grads: Tree }

/** What the outputs are trained for. */
export interface TargetTask {
  where: string
  /** Number of outputs: C classes, or q values. */
  outputs: number
  /** Targets [n, d] of the labels. */
  project(projection: tf.Tensor, y: tf.Tensor): tf.Tensor
  /** Loss of the last layer, a mean over the batch. */
  loss(y: tf.Tensor, outputs: tf.Tensor): tf.Tensor
}

/** The optimizers of both kinds of layers, checked. `frozen`: layers with a projected target stay as they are. */
export function targetOptimizers(
  where: string,
  options: TargetTraining,
): { hidden: Optimizer; output: Optimizer; auto: boolean; frozen: boolean } {
  const { learningRate = 'auto', outputLearningRate = 0.02, momentum = 0, nesterov = false } = options
  if (typeof learningRate === 'string' && learningRate !== 'auto') {
    throw new OptionError(`${where}: learningRate must be a number, a schedule or 'auto', got '${String(learningRate)}'`)
  }
  const auto = learningRate === 'auto'
  return {
    hidden: sgd({ learningRate: auto ? 1 : learningRate, momentum, nesterov }),
    output: sgd({ learningRate: outputLearningRate, momentum, nesterov }),
    auto,
    frozen: learningRate === 0,
  }
}

/** The projection and loss that the options ask for, checked against the layers' activations. */
export function targetRules(where: string, options: TargetTraining, activations: readonly TargetActivation[]) {
  const { localLoss = 'l2', projection = 'sign', projectionScale = 1 } = options
  checkProjection(where, projection, projectionScale, activations)
  return { loss: lossRule(where, localLoss), projection: { kind: projection, scale: projectionScale } }
}

/** Taps of a convolution's kernel: its input counts at so many positions. */
function taps(params: Tree): number {
  const kernel = tree.leaves(params).find(({ rank }) => rank === 4)
  const [height, width] = (kernel?.shape ?? [1, 1]) as number[]
  return height * width
}

/** 0.5/mean‖a‖², or 0 where all a are 0. */
export function automaticRate(a: tf.Tensor, count = 1): tf.Tensor {
  return tf.div(0.5 * a.shape[0], tf.maximum(tf.mul(tf.sum(tf.square(a)), count), 1e-12))
}

/** The functions that methods are made of. */
export function targetNetwork(task: TargetTask, options: TargetNetwork) {
  const { where, outputs } = task
  const { layers: specs, trunk } = options
  const optimizers = targetOptimizers(where, options)
  for (const { activation } of specs) activationRule(where, activation)
  const rules = targetRules(
    where,
    options,
    specs.map(({ activation }) => activation),
  )
  const head = dense(outputs, { kernelInit: initializers.xavierUniform(), biasInit: initializers.zeros })

  const inputs = (x: tf.Tensor): tf.Tensor => (trunk === undefined ? x : trunk(x))

  function passOn({ after }: TargetLayer, a: tf.Tensor): tf.Tensor {
    return after === undefined ? a : after.apply({}, {}, a, { training: false }).y
  }

  function forward(spec: TargetLayer, { params, state }: TargetLayerState, a: tf.Tensor): tf.Tensor {
    return passOn(spec, spec.layer.apply(params, state, a, { training: false }).y)
  }

  function init(key: Key, x: tf.Tensor): TargetProjectionState {
    return tree.tidy(() => {
      let a: tf.Tensor = inputs(x)
      const layers = specs.map((spec, i): TargetLayerState => {
        const [parameterKey, projectionKey] = split(fold(key, i), 2)
        const { params, state } = (spec.layer as Layer).init(parameterKey, a.shape.slice(1))
        // The shapes are read off the sample's activity, so any layer will do.
        const activity = spec.layer.apply(params, state, a, { training: false }).y
        const units = spec.channelTarget ? (activity.shape[activity.rank - 1] as number) : activity.size / activity.shape[0]
        const projection = drawProjection(where, rules.projection, projectionKey, [outputs, units], spec.activation)
        a = passOn(spec, activity)
        return { params, state, projection, optimizer: optimizers.hidden.init(params) }
      })
      const params = head.init(fold(key, specs.length), [a.size / a.shape[0]]).params
      return { layers, output: { params, optimizer: optimizers.output.init(params) } }
    })
  }

  /** The layer's own gradients for its input a; nothing of other layers is in them. */
  function localGradients(i: number, layer: TargetLayerState, a: tf.Tensor, y: tf.Tensor, key?: Key): LocalGradients & { state: Tree } {
    const targets = task.project(layer.projection, y)
    const { value, grads, aux } = valueAndGradWithAux((params: Tree) => {
      const result = specs[i].layer.apply(params, layer.state, a, { training: true, ...(key && { key }) })
      return { loss: meanLocalLoss(rules.loss, result.y, targets), aux: { activation: result.y, state: result.state } }
    })(layer.params)
    return { loss: value, grads, ...aux }
  }

  function trainLayer(i: number, layer: TargetLayerState, a: tf.Tensor, y: tf.Tensor, key: Key) {
    if (optimizers.frozen) return { next: tree.clone(layer), output: forward(specs[i], layer, a), loss: undefined }
    const { activation, loss, grads, state } = localGradients(i, layer, a, y, key)
    const result = optimizers.hidden.update(grads, layer.optimizer, layer.params)
    const rate = optimizers.auto ? automaticRate(a, taps(layer.params)) : undefined
    const updates = rate === undefined ? result.updates : tree.map((update) => tf.mul(update, rate), result.updates)
    const next = { params: applyUpdates(layer.params, updates), state, projection: tf.clone(layer.projection), optimizer: result.state }
    return { next, output: passOn(specs[i], activation), loss }
  }

  function outputGradients(params: Affine, a: tf.Tensor, y: tf.Tensor): { loss: tf.Tensor; grads: Affine } {
    const rows = rowsOf(a)
    const { value, grads } = valueAndGrad((at: Affine) => task.loss(y, head.apply(at, {}, rows, { training: true }).y))(params)
    return { loss: value, grads }
  }

  function trainOutput({ params, optimizer }: TargetProjectionState['output'], a: tf.Tensor, y: tf.Tensor) {
    const { loss, grads } = outputGradients(params, a, y)
    const { updates, state } = optimizers.output.update(grads, optimizer, params)
    return { next: { params: applyUpdates(params, updates), optimizer: state }, loss }
  }

  function scores({ layers, output }: TargetProjectionState, x: tf.Tensor): tf.Tensor {
    const a = layers.reduce((input, layer, i) => forward(specs[i], layer, input), inputs(x))
    return head.apply(output.params, {}, rowsOf(a), { training: false }).y
  }

  /** One step of all layers on the same batch. A layer is updated before the next one goes forward, on its old output. */
  function step({ layers, output }: TargetProjectionState, x: tf.Tensor, y: tf.Tensor, key: Key) {
    return tree.tidy(() => {
      let a = inputs(x)
      const metrics: Record<string, tf.Tensor> = {}
      const trained = layers.map((layer, i) => {
        const result = trainLayer(i, layer, a, y, fold(key, i))
        a = result.output
        if (result.loss !== undefined) metrics[`layer${i + 1}`] = result.loss
        return result.next
      })
      const last = trainOutput(output, a, y)
      return { tensors: { layers: trained, output: last.next }, metrics: { ...metrics, loss: last.loss } }
    })
  }

  /** Outputs, local losses and gradients of all layers, the last one too (its output are the scores), without an update. */
  function gradients({ layers, output }: TargetProjectionState, x: tf.Tensor, y: tf.Tensor): LocalGradients[] {
    return tree.tidy(() => {
      let a = inputs(x)
      const found = layers.map((layer, i): LocalGradients => {
        const { activation, loss, grads } = localGradients(i, layer, a, y)
        a = passOn(specs[i], activation)
        return { activation, loss, grads }
      })
      const activation = head.apply(output.params, {}, rowsOf(a), { training: true }).y
      return [...found, { activation, ...outputGradients(output.params, a, y) }]
    })
  }

  function checkSample(x: tf.Tensor): void {
    if (x.rank < 2) throw new ShapeError(`${where}: expected x of shape [n, d] or [n, h, w, c], got [${x.shape.join(', ')}]`)
  }

  return { where, specs, optimizers, rules, inputs, init, forward, trainLayer, trainOutput, scores, step, gradients, checkSample }
}
