/** NoProp-FM: one network v(z, x, t) trained by flow matching from noise to the label embedding. */
import { OptionError, stopGradient, tree, valueAndGradWithAux, type Key } from '@bpf/core'
import { adam, applyUpdates, type Optimizer } from '@bpf/core/optim'
import { fold, normal, uniform } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { oneHot } from '../shared/labelled'
import { timeFeatures } from './block'
import { integrate, type OdeSolver } from './integrate'
import {
  chainPredictions,
  checkPositive,
  noPropModel,
  startingNoise,
  type ChainRun,
  type NoPropClassifier,
  type NoPropCommonOptions,
  type NoPropState,
} from './model'
import { flowEndpoint, flowPoint, meanCrossEntropy, meanSquaredDistance } from './objective'

/** Options of NoProp-FM. */
export interface NoPropFlowOptions extends NoPropCommonOptions {
  variant: 'fm'
  /** Steps of inference. Default 1000. */
  steps?: number
  /** σ ≥ 0 of noise on the points of the path. Default 0. */
  pathNoise?: number
  /** Trains all parameters together. Default Adam, rate 1e-3. */
  optimizer?: Optimizer
  /** Default `euler`. */
  solver?: OdeSolver
}

/**
 * NoProp-FM as a classifier to train. With a trained embedding the readout's cross-entropy at the extrapolated end z̃_1 is part of
 * the loss (without it the embedding collapses); with a fixed one it trains the readout alone.
 *
 * @throws OptionError for an option out of range
 */
export function flowNoProp(options: NoPropFlowOptions): NoPropClassifier {
  const model = noPropModel(options)
  const { steps = 1000, pathNoise = 0, solver = 'euler' } = options
  const optimizer: Optimizer = options.optimizer ?? adam({ learningRate: 1e-3 })
  checkPositive('noProp', 'steps', steps)
  if (!(pathNoise >= 0 && pathNoise < Infinity)) throw new OptionError(`noProp: pathNoise must be at least 0, got ${pathNoise}`)
  const { block } = model

  const trainedOf = ({ blocks, readout, embedding }: Pick<NoPropState, 'blocks' | 'readout' | 'embedding'>) => ({
    network: blocks[0].params,
    readout,
    embedding: model.trainsEmbedding ? [embedding] : [],
  })

  /** Terms of the loss: mean‖v(z_t, x, t) − (u − z_0)‖² and the cross-entropy of g(z̃_1). */
  function losses(trained: ReturnType<typeof trainedOf>, tensors: NoPropState, x: tf.Tensor, y: tf.Tensor, key: Key) {
    const { network, readout, embedding } = trained
    const { state } = tensors.blocks[0]
    const W = embedding[0] ?? tensors.embedding
    const u = model.embed(oneHot(y, model.classes), W)
    const t = uniform(fold(key, 0), [x.shape[0], 1])
    const z0 = normal(fold(key, 1), u.shape)
    const point = flowPoint(u, z0, t)
    const zt = pathNoise === 0 ? point : tf.add(point, normal(fold(key, 2), u.shape, { stddev: pathNoise }))
    const layers = { training: true, key: fold(key, 3) }
    const encoded = block.encode(network.encoder, state.encoder, x, layers)
    const time = block.encodeTime(network.denoiser, timeFeatures(t))
    const output = block.denoise(network.denoiser, state.denoiser, encoded.y, zt, time, layers)
    const flow = meanSquaredDistance(output.y, tf.sub(u, z0))
    const end = flowEndpoint(zt, output.y, t)
    const crossEntropy = meanCrossEntropy(y, model.logits(model.trainsEmbedding ? end : stopGradient(end), W, readout))
    return { terms: { flow, crossEntropy }, state: { encoder: encoded.state, denoiser: output.state } }
  }

  function inferenceChain(tensors: NoPropState, x: tf.Tensor): ChainRun {
    const { params, state } = tensors.blocks[0]
    const layers = { training: false }
    const encoded = block.encode(params.encoder, state.encoder, x, layers).y
    const encodeTimes = (times: tf.Tensor) => tf.expandDims(block.encodeTime(params.denoiser, timeFeatures(times)), 1)
    const velocity = (z: tf.Tensor, time: tf.Tensor) => block.denoise(params.denoiser, state.denoiser, encoded, z, time, layers).y
    return (key, keepPath) =>
      integrate(velocity, encodeTimes, startingNoise(fold(key, 0), x, tensors.embedding), { steps, solver, keepPath })
  }

  return {
    ...chainPredictions(model, inferenceChain),
    init(key, sample, aux) {
      const parts = model.init(key, sample, aux, { count: 1, atOnce: 1, time: true, outputs: 'embedding' })
      return { tensors: { ...parts, schedule: [], optimizer: optimizer.init(trainedOf(parts)) }, host: null }
    },
    step(tensors, { x, y }, key) {
      return tree.tidy(() => {
        const trained = trainedOf(tensors)
        const { value, aux, grads } = valueAndGradWithAux((p: typeof trained) => {
          const { terms, state } = losses(p, tensors, x, y, key)
          return { loss: tf.add(terms.flow, terms.crossEntropy), aux: { terms, state } }
        })(trained)
        const { updates, state } = optimizer.update(grads, tensors.optimizer, trained)
        const { network, readout, embedding } = applyUpdates(trained, updates)
        const next = {
          blocks: [{ params: network, state: aux.state }],
          embedding: embedding[0] ?? tensors.embedding.clone(),
          readout,
          schedule: [],
          optimizer: state,
        }
        return { tensors: next, metrics: { loss: value, ...aux.terms } }
      })
    },
  }
}
