/** The baseline of NoProp-CT: the same probability flow, trained from its end by the adjoint equation. */
import { scan, tree, valueAndGrad, valueAndGradWithAux, type Key, type Tree } from '@bpf/core'
import { fold } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import type { LabelledBatch } from '../shared/labelled'
import { timeFeatures } from './block'
import { clippedAdam, continuousNoProp, nextState, trainedParts, type NoPropContinuousOptions, type TrainedParts } from './continuous'
import { logSnrAt, type LogSnrParams } from './log-snr'
import { noPropModel, startingNoise, type NoPropClassifier, type NoPropState } from './model'
import { meanCrossEntropy, odeVelocity } from './objective'

/** Options of {@link noPropAdjoint}: those of NoProp-CT that a flow has. */
export type NoPropAdjointOptions = Omit<NoPropContinuousOptions, 'variant' | 'eta' | 'sampler' | 'solver' | 'inference'>

/** All that the flow's velocity depends on beside z and t; x as the network's path of x leaves it. */
type FlowParams = { denoiser: Tree; encoded: tf.Tensor; embedding: readonly tf.Tensor[]; schedule: readonly LogSnrParams[] }

/** What the backward pass carries: z, the adjoint a = ∂L/∂z, and the gradient of the parameters so far. */
type Adjoint = { z: tf.Tensor; a: tf.Tensor; grads: FlowParams }

/**
 * The baseline of NoProp-CT: the flow dz/dt = ½γ'(t)[√ᾱ û − ᾱ z] run from noise by Euler steps, loss = mean cross-entropy of g(z_1)
 * and y, the gradient by running z and the adjoint a = ∂L/∂z back: da/dt = −aᵀ∂v/∂z, dL/dθ = ∫ aᵀ∂v/∂θ dt. No step is kept in
 * memory, but every training step runs the flow twice.
 *
 * @param options - `steps` of the flow, in training and inference. Default 1000.
 * @throws OptionError for an option out of range
 * @see Chen et al., "Neural ordinary differential equations", 2018, arXiv:1806.07366
 */
export function noPropAdjoint(options: NoPropAdjointOptions): NoPropClassifier {
  const model = noPropModel(options)
  const { block } = model
  const { steps = 1000, optimizer = clippedAdam() } = options
  const h = 1 / steps
  const times = (first: number) => tf.tensor2d(Array.from({ length: steps }, (_, i) => [(first + i) / steps]))

  function gradients(trained: TrainedParts, tensors: NoPropState, { x, y }: LabelledBatch, key: Key) {
    const { network, readout, embedding, schedule } = trained
    const { state } = tensors.blocks[0]
    const layers = { training: true, key: fold(key, 1) }
    const encode = (params: Tree) => block.encode(params, state.encoder, x, layers)
    const encoder = encode(network.encoder)
    const flow: FlowParams = { denoiser: network.denoiser, encoded: encoder.y, embedding, schedule }

    const velocity = (p: FlowParams, layerState: Tree, z: tf.Tensor, t: tf.Tensor) => {
      const { gamma, slope } = logSnrAt(p.schedule[0], t)
      const output = block.denoise(p.denoiser, layerState, p.encoded, z, block.encodeTime(p.denoiser, timeFeatures(t)), layers)
      const uHat = model.predictedEmbedding(output.y, p.embedding[0] ?? tensors.embedding)
      return { v: odeVelocity(z, uHat, tf.sigmoid(gamma), slope), state: output.state }
    }
    const forward = scan(
      ({ z, layerState }: { z: tf.Tensor; layerState: Tree }, t: tf.Tensor) => {
        const { v, state: next } = velocity(flow, layerState, z, t)
        return { carry: { z: tf.add(z, tf.mul(v, h)), layerState: next }, y: [] }
      },
      { z: startingNoise(fold(key, 0), x, tensors.embedding), layerState: state.denoiser },
      times(0),
    ).carry

    const head = valueAndGrad((p: { z: tf.Tensor; readout: typeof readout; embedding: typeof embedding }) =>
      meanCrossEntropy(y, model.logits(p.z, p.embedding[0] ?? tensors.embedding, p.readout)),
    )({ z: forward.z, readout, embedding })

    const backward = scan<Adjoint, tf.Tensor, readonly Tree[]>(
      ({ z, a, grads }, t) => {
        const slope = valueAndGradWithAux((p: { flow: FlowParams; z: tf.Tensor }) => {
          const { v } = velocity(p.flow, state.denoiser, p.z, t)
          return { loss: tf.sum(tf.mul(a, v)), aux: v }
        })({ flow, z })
        const along = (sum: tf.Tensor, rate: tf.Tensor) => tf.add(sum, tf.mul(rate, h))
        const carry = {
          z: tf.sub(z, tf.mul(slope.aux, h)),
          a: along(a, slope.grads.z),
          grads: tree.map(along, grads, slope.grads.flow),
        }
        return { carry, y: [] }
      },
      { z: forward.z, a: head.grads.z, grads: tree.zerosLike(flow) },
      times(1),
      { reverse: true },
    ).carry.grads

    const encoderGrads = valueAndGrad((params: Tree) => tf.sum(tf.mul(backward.encoded, encode(params).y)))(network.encoder).grads
    const grads: TrainedParts = {
      network: { encoder: encoderGrads, denoiser: backward.denoiser },
      readout: head.grads.readout,
      embedding: head.grads.embedding.map((sum, i) => tf.add(sum, backward.embedding[i])),
      schedule: backward.schedule,
    }
    return { loss: head.value, grads, state: { encoder: encoder.state, denoiser: forward.layerState } }
  }

  return {
    ...continuousNoProp({ ...options, variant: 'ct', sampler: 'ode' }),
    step(tensors, batch, key) {
      return tree.tidy(() => {
        const trained = trainedParts(model, tensors)
        const { loss, grads, state } = gradients(trained, tensors, batch, key)
        return { tensors: nextState(optimizer, tensors, trained, grads, state), metrics: { loss } }
      })
    },
  }
}
