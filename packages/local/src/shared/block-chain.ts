/**
 * A chain of layers trained with gradient isolation: each module (one layer, or a run of them) has an objective of its own,
 * and no gradient passes from one module to the one before. A module is updated before the next one goes forward, so the
 * activations of only one module, and of what its objective needs, are alive at a time, however long the chain is.
 */
import { OptionError, ShapeError, softmaxCrossEntropy, stopGradient, tree, valueAndGradWithAux, type Key, type Tree } from '@bpf/core'
import type { ApplyOptions, Layer, Shape } from '@bpf/core/nn'
import { applyUpdates, type Optimizer } from '@bpf/core/optim'
import { fold } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import type { LabelledBatch } from './labelled'

/** What a module is trained for: a loss of its output features, by a helper with parameters of its own. */
export interface LocalObjective {
  /**
   * @param featureShape - of the module's output, without the batch axis
   * @param inputShape - of the network's input
   */
  init(key: Key, featureShape: Shape, inputShape: Shape): { params: Tree; state: Tree }
  /** The loss (a scalar) and the next state of the helper. `batch` has the network's input and the labels. */
  loss(params: Tree, state: Tree, features: tf.Tensor, batch: LabelledBatch, options: ApplyOptions): { loss: tf.Tensor; state: Tree }
  /** Class scores [n, classes] from the features, by what was learned so far: an early exit. */
  logits(params: Tree, state: Tree, features: tf.Tensor): tf.Tensor
}

/** The objective of a helper that maps features to logits: mean cross-entropy. */
export function classifierObjective(network: Layer): LocalObjective {
  return {
    init: (key, featureShape) => network.init(key, featureShape),
    loss(params, state, features, { y }, options) {
      const scores = network.apply(params, state, features, options)
      return { loss: tf.mean(softmaxCrossEntropy(y, scores.y)), state: scores.state }
    },
    logits: (params, state, features) => network.apply(params, state, features, { training: false }).y,
  }
}

/** Consecutive layers that are trained together, and what for. */
export interface ChainModule {
  /** Index of the first layer in the chain. */
  first: number
  layers: readonly Layer[]
  objective: LocalObjective
}

/** Parameters (or layer state) of a module: of its layers, one entry each, and of the helper. */
export type ModulePart = { layers: readonly Tree[]; helper: Tree }

/** All that a module keeps from step to step. */
export type ModuleState = { params: ModulePart; state: ModulePart; optimizer: Tree }

/** Modules one after the other. */
export interface BlockChain {
  /**
   * Layer i gets the key `fold(key, i)`, as in `sequential`; so does the last module's helper, which stands where the
   * classifier of a plain network would. The other helpers get keys of their own.
   */
  init(key: Key, inputShape: Shape): ModuleState[]
  /**
   * One local update of every module, from the first to the last.
   *
   * @returns the next states and every module's loss before its update
   */
  step(modules: readonly ModuleState[], batch: LabelledBatch, key: Key): { modules: ModuleState[]; losses: tf.Tensor[] }
  /** Class scores of the helpers of all modules, or of the last one only; in evaluation. */
  logits(modules: readonly ModuleState[], x: tf.Tensor, which: 'all' | 'last'): tf.Tensor[]
}

/**
 * The module sizes that an option asks for.
 *
 * @param layers - length L of the chain
 * @param modules - number K of modules of equal size (the first ones get what does not divide), or their sizes
 * @throws OptionError unless they make up the chain
 */
export function moduleSizes(where: string, layers: number, modules: number | readonly number[]): number[] {
  if (typeof modules !== 'number') {
    const total = modules.reduce((sum, size) => sum + size, 0)
    if (modules.length === 0 || modules.some((size) => !Number.isInteger(size) || size < 1) || total !== layers) {
      throw new OptionError(`${where}: modules must be positive sizes that add up to the ${layers} layers, got [${modules.join(', ')}]`)
    }
    return [...modules]
  }
  if (!Number.isInteger(modules) || modules < 1 || modules > layers) {
    throw new OptionError(`${where}: modules must be an integer from 1 to ${layers}, the number of layers, got ${modules}`)
  }
  return Array.from({ length: modules }, (_, i) => Math.floor(layers / modules) + (i < layers % modules ? 1 : 0))
}

/** Layers of a module in their order, with the keys of their places in the chain. */
function forward({ first, layers }: ChainModule, part: ModulePart, state: ModulePart, x: tf.Tensor, options: ApplyOptions) {
  let y = x
  const states = layers.map((layer, i) => {
    const key = options.key && fold(options.key, first + i)
    const result = layer.apply(part.layers[i], state.layers[i], y, { ...options, key })
    y = result.y
    return result.state
  })
  return { y, states }
}

/**
 * The same values in memory of their own, cut from the gradient. A graph shares what it derives from one tensor, another layout
 * or a crop, between all who need it: without the copy one module's would stay alive into the next.
 */
function handedOn(features: tf.Tensor): tf.Tensor {
  const own = stopGradient(features)
  const batch = own.shape[0]
  return batch < 2 ? own : tf.concat(tf.split(own, [1, batch - 1]), 0)
}

/**
 * Makes a chain.
 *
 * @param where - the method, for error messages
 * @param optimizer - each module has a state of it of its own
 */
export function blockChain(where: string, modules: readonly ChainModule[], optimizer: Optimizer): BlockChain {
  const evaluation = { training: false }
  const layerCount = modules.reduce((sum, { layers }) => sum + layers.length, 0)
  const isLast = (m: number): boolean => m === modules.length - 1
  /** Key of module m's helper: the classifier's place for the last one, a stream of its own for the others. */
  const helperKey = (key: Key, m: number): Key => (isLast(m) ? fold(key, layerCount) : fold(fold(key, layerCount + 1), m))

  function lossAndGrad(m: number, { params, state }: ModuleState, input: tf.Tensor, batch: LabelledBatch, key: Key) {
    const module = modules[m]
    return valueAndGradWithAux((own: ModulePart) => {
      const { y, states } = forward(module, own, state, input, { training: true, key })
      const helper = module.objective.loss(own.helper, state.helper, y, batch, { training: true, key: helperKey(key, m) })
      return { loss: helper.loss, aux: { features: y, state: { layers: states, helper: helper.state } } }
    })(params)
  }

  function checkBatch(states: readonly ModuleState[], { x, y }: LabelledBatch): void {
    if (y.shape[0] !== x.shape[0]) throw new ShapeError(`${where}: x has ${x.shape[0]} examples, y ${y.shape[0]}`)
    const normalises = states.some(({ state }) => tree.leaves(state).length > 0)
    if (x.shape[0] < 2 && normalises) {
      throw new ShapeError(`${where}: batch norm needs at least 2 examples in a training batch, got ${x.shape[0]}; use a larger batch`)
    }
  }

  return {
    init(key, inputShape) {
      let shape = inputShape
      return modules.map(({ first, layers, objective }, m) => {
        const parts = layers.map((layer, i) => {
          const part = layer.init(fold(key, first + i), shape)
          shape = part.outputShape
          return part
        })
        const helper = objective.init(helperKey(key, m), shape, inputShape)
        const params = { layers: parts.map((part) => part.params), helper: helper.params }
        const state = { layers: parts.map((part) => part.state), helper: helper.state }
        return { params, state, optimizer: optimizer.init(params) }
      })
    },
    step(states, batch, key) {
      checkBatch(states, batch)
      let input = batch.x
      const losses: tf.Tensor[] = []
      const next = modules.map((_, m) => {
        // A scope for each module: without compilation, too, its activations are freed before the next one starts.
        const { own, features, loss } = tree.tidy(() => {
          const { value, grads, aux } = lossAndGrad(m, states[m], input, batch, key)
          const { updates, state } = optimizer.update(grads, states[m].optimizer, states[m].params)
          return {
            own: { params: applyUpdates(states[m].params, updates), state: aux.state, optimizer: state },
            // Nothing comes after the last module.
            features: isLast(m) ? [] : [handedOn(aux.features)],
            loss: value,
          }
        })
        if (input !== batch.x) input.dispose()
        input = features[0] ?? batch.x
        losses.push(loss)
        return own
      })
      return { modules: next, losses }
    },
    logits(states, x, which) {
      let features = x
      const scores: tf.Tensor[] = []
      modules.forEach((module, m) => {
        const { params, state } = states[m]
        features = forward(module, params, state, features, evaluation).y
        if (which === 'all' || isLast(m)) scores.push(module.objective.logits(params.helper, state.helper, features))
      })
      return scores
    },
  }
}
