/** NoProp-CT: one network û(z, x, t) on a continuous, learned noise schedule, the limit of many blocks. */
import { OptionError, tree, valueAndGradWithAux, type Key } from '@bpf/core'
import { adam, applyUpdates, chain, clipByGlobalNorm, type Optimizer } from '@bpf/core/optim'
import { fold, normal, uniform } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { oneHot } from '../shared/labelled'
import { timeFeatures, type BlockTree } from './block'
import { integrate, loop, type OdeSolver } from './integrate'
import { chainCoefficients, initLogSnr, logSnrAt, logSnrEnds, signalShares, type LogSnrParams } from './log-snr'
import {
  chainPredictions,
  checkAbove,
  checkPositive,
  noPropModel,
  startingNoise,
  type ChainRun,
  type NoPropClassifier,
  type NoPropCommonOptions,
  type NoPropModel,
  type NoPropState,
} from './model'
import { denoisingStep, klToPrior, meanCrossEntropy, noisyEmbedding, odeVelocity, sdeDrift } from './objective'

/** Options of NoProp-CT. */
export interface NoPropContinuousOptions extends NoPropCommonOptions {
  variant: 'ct'
  /** Steps of inference. Default 1000. */
  steps?: number
  /** Weight η > 0 of the denoising loss. Default 1. */
  eta?: number
  /** γ(t), the log of the signal-to-noise ratio: `learned` (default) from −7 to 7 at first, or `linear` between them. */
  schedule?: 'learned' | 'linear'
  /** Trains all parameters together. Default Adam, rate 1e-3, after clipping the gradient to norm 1. */
  optimizer?: Optimizer
  /** `ancestral` (default): the chain of NoProp-DT between the times i/steps; `sde`: Euler–Maruyama; `ode`: the probability flow. */
  sampler?: 'ancestral' | 'sde' | 'ode'
  /** Of the `ode` sampler. Default `euler`. */
  solver?: OdeSolver
  /** `mean` (default) leaves out the noise of the steps of `ancestral` and `sde`; z_0 is noise in all. */
  inference?: 'mean' | 'noisy'
}

/** SNR' grows without bound towards t = 1: training times stop before. */
const timeMargin = 1e-3

/** What an optimizer of the whole network sees. */
export function trainedParts(model: NoPropModel, { blocks, readout, embedding, schedule }: Omit<NoPropState, 'optimizer'>) {
  return {
    network: blocks[0].params,
    readout,
    embedding: model.trainsEmbedding ? [embedding] : [],
    schedule: schedule as readonly LogSnrParams[],
  }
}

/** The parts of {@link trainedParts}. */
export type TrainedParts = ReturnType<typeof trainedParts>

/** The state after a step of the optimizer. */
export function nextState(
  optimizer: Optimizer,
  tensors: NoPropState,
  trained: TrainedParts,
  grads: TrainedParts,
  layerState: BlockTree,
): NoPropState {
  const { updates, state } = optimizer.update(grads, tensors.optimizer, trained)
  const { network, readout, embedding, schedule } = applyUpdates(trained, updates)
  return {
    blocks: [{ params: network, state: layerState }],
    embedding: embedding[0] ?? tensors.embedding.clone(),
    readout,
    schedule,
    optimizer: state,
  }
}

/** Default optimizer of whole networks of time. */
export const clippedAdam = (): Optimizer => chain(clipByGlobalNorm(1), adam({ learningRate: 1e-3 }))

/** What the schedule's parameters are, undefined for the linear one. */
const scheduleOf = ({ schedule }: Pick<NoPropState, 'schedule'>): LogSnrParams | undefined => (schedule as readonly LogSnrParams[])[0]

/**
 * NoProp-CT as a classifier to train.
 *
 * @throws OptionError for an option out of range
 */
export function continuousNoProp(options: NoPropContinuousOptions): NoPropClassifier {
  const model = noPropModel(options)
  const {
    steps = 1000,
    eta = 1,
    schedule = 'learned',
    optimizer = clippedAdam(),
    sampler = 'ancestral',
    solver = 'euler',
    inference = 'mean',
  } = options
  checkPositive('noProp', 'steps', steps)
  checkAbove('noProp', 'eta', eta)
  if (solver !== 'euler' && sampler !== 'ode') throw new OptionError(`noProp: solver '${solver}' needs sampler 'ode', got '${sampler}'`)
  const { block } = model

  /** Terms of the loss: ½ η mean[SNR'(t)‖û − u‖²], cross-entropy at t = 1, and KL at t = 0. */
  function losses(trained: TrainedParts, tensors: NoPropState, x: tf.Tensor, y: tf.Tensor, key: Key) {
    const { network, readout, embedding, schedule: gamma } = trained
    const { state } = tensors.blocks[0]
    const W = embedding[0] ?? tensors.embedding
    const u = model.embed(oneHot(y, model.classes), W)
    const n = x.shape[0]
    const t = tf.mul(uniform(fold(key, 0), [n, 1]), 1 - timeMargin)
    const { alphaBar, oneMinus, snrSlope } = signalShares(logSnrAt(gamma[0], t))
    const z = noisyEmbedding(u, normal(fold(key, 1), u.shape), alphaBar, oneMinus)
    const layers = { training: true, key: fold(key, 3) }
    const encoded = block.encode(network.encoder, state.encoder, x, layers)
    const time = block.encodeTime(network.denoiser, timeFeatures(t))
    const output = block.denoise(network.denoiser, state.denoiser, encoded.y, z, time, layers)
    const error = tf.sum(tf.square(tf.sub(model.predictedEmbedding(output.y, W), u)), -1, true)
    const denoising = tf.mul(0.5 * eta, tf.mean(tf.mul(snrSlope, error)))
    const { gamma0, gamma1 } = gamma[0] ?? { gamma0: tf.scalar(logSnrEnds.gamma0), gamma1: tf.scalar(logSnrEnds.gamma1) }
    const z1 = noisyEmbedding(u, normal(fold(key, 2), u.shape), tf.sigmoid(gamma1), tf.sigmoid(tf.neg(gamma1)))
    const crossEntropy = meanCrossEntropy(y, model.logits(z1, W, readout))
    // ln(1 − sigmoid(γ)) = −softplus(γ).
    const kl = klToPrior(u, tf.sigmoid(gamma0), tf.neg(tf.softplus(gamma0)))
    return { terms: { denoising, crossEntropy, kl }, state: { encoder: encoded.state, denoiser: output.state } }
  }

  function inferenceChain(tensors: NoPropState, x: tf.Tensor): ChainRun {
    const { params, state } = tensors.blocks[0]
    const W = tensors.embedding
    const layers = { training: false }
    const encoded = block.encode(params.encoder, state.encoder, x, layers).y
    // Of each time, a row for the network and scalars of the schedule.
    const encodeTimes = (times: tf.Tensor) => tf.expandDims(block.encodeTime(params.denoiser, timeFeatures(times)), 1)
    const denoised = (z: tf.Tensor, time: tf.Tensor) =>
      model.predictedEmbedding(block.denoise(params.denoiser, state.denoiser, encoded, z, time, layers).y, W)
    const at = (times: tf.Tensor) => {
      const { gamma, slope } = logSnrAt(scheduleOf(tensors), times)
      return { time: encodeTimes(times), alphaBar: tf.sigmoid(gamma), oneMinus: tf.sigmoid(tf.neg(gamma)), slope }
    }
    const noisy = inference === 'noisy'
    const starts = (length: number) => tf.tensor1d(Array.from({ length }, (_, i) => i / steps))
    return (key, keepPath) => {
      const z0 = startingNoise(fold(key, 0), x, W)
      const noiseKey = noisy ? fold(key, 1) : undefined
      if (sampler === 'ode') {
        const velocity = (z: tf.Tensor, { time, alphaBar, slope }: ReturnType<typeof at>) =>
          odeVelocity(z, denoised(z, time), alphaBar, slope)
        return integrate(velocity, at, z0, { steps, solver, keepPath })
      }
      if (sampler === 'sde') {
        return loop(
          (z, { time, alphaBar, oneMinus, slope }, stepKey) => {
            const moved = tf.add(z, tf.div(sdeDrift(z, denoised(z, time), alphaBar, slope), steps))
            if (stepKey === undefined) return moved
            return tf.add(moved, tf.mul(tf.sqrt(tf.div(tf.mul(slope, oneMinus), steps)), normal(stepKey, z.shape)))
          },
          z0,
          at(starts(steps)),
          keepPath,
          noiseKey,
        )
      }
      const { gamma } = logSnrAt(scheduleOf(tensors), starts(steps + 1))
      return loop(
        (z, { time, a, b, c }, stepKey) =>
          denoisingStep(z, denoised(z, time), a, b, c, stepKey === undefined ? undefined : normal(stepKey, z.shape)),
        z0,
        { time: encodeTimes(starts(steps)), ...chainCoefficients(gamma) },
        keepPath,
        noiseKey,
      )
    }
  }

  return {
    ...chainPredictions(model, inferenceChain),
    init(key, sample, aux) {
      const parts = model.init(fold(key, 0), sample, aux, { count: 1, atOnce: 1, time: true, outputs: 'classes' })
      const tensors = { ...parts, schedule: schedule === 'learned' ? [initLogSnr(fold(key, 1))] : [] }
      return { tensors: { ...tensors, optimizer: optimizer.init(trainedParts(model, tensors)) }, host: null }
    },
    step(tensors, { x, y }, key) {
      return tree.tidy(() => {
        const trained = trainedParts(model, tensors)
        const { value, aux, grads } = valueAndGradWithAux((p: typeof trained) => {
          const { terms, state } = losses(p, tensors, x, y, key)
          return { loss: tf.addN(Object.values(terms)), aux: { terms, state } }
        })(trained)
        return { tensors: nextState(optimizer, tensors, trained, grads, aux.state), metrics: { loss: value, ...aux.terms } }
      })
    },
  }
}
