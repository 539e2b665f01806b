/** Layers that are trained towards a target of their own. */
import { OptionError, type Tree } from '@bpf/core'
import { conv2d, dense, initializers, type Layer, type Pair, type Padding } from '@bpf/core/nn'
import * as tf from '@tensorflow/tfjs-core'
import { activationRule, type TargetActivation } from './activation'

/** One layer with its own target: any layer of `@bpf/core/nn` can be one, batch norm inside included. */
export interface TargetLayer {
  /** From the layer's input to its output a = σ(z). */
  layer: Layer
  /** Says where targets may lie. It is not applied: `layer` has it inside. */
  activation: TargetActivation
  /** Pooling and the like after the layer: part of what the next layer sees, not of the local loss. */
  after?: Layer
  /** One target for each channel, the same at every position: P is [channels, C] in place of [h·w·channels, C]. */
  channelTarget?: boolean
}

function activated(inner: Layer, activation: TargetActivation, asRows: boolean): Layer {
  const { apply } = activationRule('targetLayer', activation)
  const size = (shape: readonly number[]) => shape.reduce((product, n) => product * n, 1)
  return {
    init: (key, inputShape) => inner.init(key, asRows ? [size(inputShape)] : inputShape),
    apply(params: Tree, state: Tree, x, options) {
      const rows = asRows && x.rank !== 2 ? tf.reshape(x, [x.shape[0], size(x.shape.slice(1))]) : x
      const result = inner.apply(params, state, rows, options)
      return { y: apply(result.y), state: result.state }
    },
  }
}

const xavier = { kernelInit: initializers.xavierUniform(), biasInit: initializers.zeros }

/**
 * a = σ(W·x + b). Images and maps are taken as rows.
 *
 * @param units - d ≥ 2
 * @throws OptionError for fewer units, or an activation there is not
 */
export function targetDense(units: number, { activation = 'tanh' }: { activation?: TargetActivation } = {}): TargetLayer {
  if (!Number.isInteger(units) || units < 2) {
    throw new OptionError(`targetDense: a hidden layer needs at least 2 units to tell classes apart, got ${units}`)
  }
  return { layer: activated(dense(units, xavier) as Layer, activation, true), activation }
}

/** Options of {@link targetConv}. */
export interface TargetConvOptions {
  kernelSize: Pair
  /** Default 1. */
  stride?: Pair
  /** Default 'same'. */
  padding?: Padding
  /** Default tanh. */
  activation?: TargetActivation
  /** Default true. */
  bias?: boolean
  /** Applied after the activation, `maxPool(2)` say. */
  pool?: Layer
  /** The map that the local loss sees: before pooling (default) or after it. */
  lossOn?: 'map' | 'pooled'
  /** See {@link TargetLayer.channelTarget}. Default false. */
  channelTarget?: boolean
}

/**
 * a = σ(conv(x) + b), then pooling.
 *
 * @param channels - output channels, at least 2
 * @throws OptionError for fewer channels, or an option out of range
 */
export function targetConv(channels: number, options: TargetConvOptions): TargetLayer {
  const { kernelSize, stride, padding, activation = 'tanh', bias = true, pool, lossOn = 'map', channelTarget = false } = options
  if (!Number.isInteger(channels) || channels < 2) {
    throw new OptionError(`targetConv: a hidden layer needs at least 2 channels to tell classes apart, got ${channels}`)
  }
  if (lossOn !== 'map' && lossOn !== 'pooled') throw new OptionError(`targetConv: lossOn must be map or pooled, got '${String(lossOn)}'`)
  const conv = conv2d(channels, { kernelSize, stride, padding, bias, ...xavier }) as Layer
  const layer = activated(conv, activation, false)
  if (pool === undefined || lossOn === 'map') return { layer, activation, channelTarget, ...(pool && { after: pool }) }
  return { layer: followedBy(layer, pool), activation, channelTarget }
}

/** Both layers as one, with the first one's parameters. The second has none. */
function followedBy(first: Layer, second: Layer): Layer {
  const parameters = second.init as (key: never, shape: readonly number[]) => { params: Tree; state: Tree; outputShape: readonly number[] }
  return {
    init(key, inputShape) {
      const { params, state, outputShape } = first.init(key, inputShape)
      return { params, state, outputShape: parameters(key as never, outputShape).outputShape }
    },
    apply(params, state, x, options) {
      const result = first.apply(params, state, x, options)
      return { y: second.apply({}, {}, result.y, options).y, state: result.state }
    },
  }
}
