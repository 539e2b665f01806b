/** NoProp-DT: T blocks with parameters of their own on a fixed schedule, and the same chain trained by backpropagation. */
import { OptionError, tree, valueAndGradWithAux, type Key, type Tree } from '@bpf/core'
import { adamw, applyUpdates, type Optimizer } from '@bpf/core/optim'
import { fold, normal } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { oneHot, type LabelledBatch } from '../shared/labelled'
import { unstackTree, type Bank, type BlockTree } from './block'
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
import { denoisingStep, klToPrior, meanCrossEntropy, meanSquaredDistance, noisyEmbedding, type Readout } from './objective'
import { checkAlphaBar, noPropCoefficients, noPropCosineSchedule, type DiffusionCoefficients } from './schedule'

/** Options of NoProp-DT. */
export interface NoPropDiscreteOptions extends NoPropCommonOptions {
  variant?: 'dt'
  /** Number of blocks T. Default 10. */
  steps?: number
  /** ᾱ_0..ᾱ_T. Default {@link noPropCosineSchedule}. */
  alphaBar?: ArrayLike<number>
  /** Weight η > 0 of the denoising loss. Default 0.1. */
  eta?: number
  /** Trains each block alone. Default AdamW, rate and weight decay 1e-3. */
  optimizer?: Optimizer
  /** Trains the readout. Default `optimizer`. */
  readoutOptimizer?: Optimizer
  /** Trains a learned or prototype embedding. Default `optimizer`. */
  embeddingOptimizer?: Optimizer
  /**
   * How many blocks run as one batched computation: faster, but their activations are in memory together. 1 takes one block
   * after the other and needs memory for one. Default all T for dense blocks, 1 for others. `optimizer` sees the blocks stacked:
   * with one that looks at whole tensors or trees (clipping by global norm, LAMB) take 1.
   */
  blocksAtOnce?: number
  /** `noisy` adds √c_t ε at each step of the chain, `mean` (default) does not; z_0 is noise in both. */
  inference?: 'mean' | 'noisy'
}

/** A NoProp-DT classifier. */
export type NoPropDiscreteClassifier = NoPropClassifier & {
  /**
   * Trains one bank of blocks (with `blocksAtOnce` 1: one block) on a minibatch and leaves all else as it is: what one machine
   * does when blocks are spread over several. With the key of a whole step the result is that step's, if the embedding is fixed.
   */
  stepBlock(tensors: NoPropState, index: number, batch: LabelledBatch, key: Key): NoPropState
}

type DiscreteOptimizerState = { blocks: readonly Tree[]; readout: Tree; embedding: Tree }

interface Setup {
  model: NoPropModel
  coefficients: DiffusionCoefficients
  steps: number
  eta: number
  atOnce: number
  optimizers: { block: Optimizer; readout: Optimizer; embedding: Optimizer }
}

function setUp(options: NoPropDiscreteOptions): Setup {
  const model = noPropModel(options)
  const { optimizer = adamw({ learningRate: 1e-3, weightDecay: 1e-3 }), eta = 0.1, alphaBar } = options
  if (alphaBar !== undefined) checkAlphaBar('noProp', alphaBar)
  const steps = options.steps ?? (alphaBar === undefined ? 10 : alphaBar.length - 1)
  checkPositive('noProp', 'steps', steps)
  checkAbove('noProp', 'eta', eta)
  if (alphaBar !== undefined && alphaBar.length !== steps + 1) {
    throw new OptionError(`noProp: alphaBar needs steps + 1 = ${steps + 1} values, got ${alphaBar.length}`)
  }
  const atOnce = options.blocksAtOnce ?? (model.block.stacks ? steps : 1)
  checkPositive('noProp', 'blocksAtOnce', atOnce)
  if (atOnce > 1 && !model.block.stacks) {
    throw new OptionError(`noProp: blocksAtOnce is ${atOnce}, but this block can't run stacked; use 1, or noPropDenseBlock`)
  }
  return {
    model,
    coefficients: noPropCoefficients(alphaBar ?? noPropCosineSchedule({ steps })),
    steps,
    eta,
    atOnce: Math.min(atOnce, steps),
    optimizers: {
      block: optimizer,
      readout: options.readoutOptimizer ?? optimizer,
      embedding: options.embeddingOptimizer ?? optimizer,
    },
  }
}

/** Indices t = 1..T of the blocks in a bank. */
function timesOf({ steps, atOnce }: Setup, bank: number): number[] {
  const first = bank * atOnce
  return Array.from({ length: Math.min(atOnce, steps - first) }, (_, i) => first + i + 1)
}

/** One number for each block of a bank, to broadcast against [blocks, n, d]; a plain number for a single block. */
function perBlock(times: readonly number[], value: (t: number) => number): number | tf.Tensor {
  return times.length === 1 ? value(times[0]) : tf.tensor3d(times.map(value), [times.length, 1, 1])
}

/** Noise of each block from its own stream. @returns [n, d], or [blocks, n, d] for several */
function blockNoise(key: Key, times: readonly number[], shape: number[]): tf.Tensor {
  const draws = times.map((t) => normal(fold(fold(key, 1), t), shape))
  return draws.length === 1 ? draws[0] : tf.stack(draws)
}

/** The denoising losses (T/2)·η·(SNR(t) − SNR(t−1))·mean‖û_t − u‖² of a bank, [blocks] or a scalar, and the next layer state. */
function bankLosses(
  setup: Setup,
  times: readonly number[],
  { params, state }: Bank,
  W: tf.Tensor,
  x: tf.Tensor,
  labels: tf.Tensor,
  key: Key,
): { losses: tf.Tensor; state: BlockTree } {
  const { model, coefficients, steps, eta } = setup
  const u = model.embed(labels, W)
  const alphaBar = (t: number) => coefficients.alphaBar[t - 1]
  const noise = blockNoise(key, times, u.shape)
  const z = noisyEmbedding(
    u,
    noise,
    perBlock(times, alphaBar),
    perBlock(times, (t) => 1 - alphaBar(t)),
  )
  const options = { training: true, key: fold(fold(key, 2), times[0]) }
  const encoded = model.block.encode(params.encoder, state.encoder, x, options)
  const output = model.block.denoise(params.denoiser, state.denoiser, encoded.y, z, undefined, options)
  const weights = times.map((t) => 0.5 * steps * eta * coefficients.snrIncrease[t - 1])
  const distance = meanSquaredDistance(model.predictedEmbedding(output.y, W), u)
  return {
    losses: tf.mul(distance, times.length === 1 ? weights[0] : tf.tensor1d(weights)),
    state: { encoder: encoded.state, denoiser: output.state },
  }
}

/** Gradient step of a bank; the gradient of the embedding where that is trained. */
function trainBank(setup: Setup, tensors: NoPropState, index: number, x: tf.Tensor, labels: tf.Tensor, key: Key) {
  const { trainsEmbedding } = setup.model
  const bank = tensors.blocks[index]
  const times = timesOf(setup, index)
  const trained = { params: bank.params, embedding: trainsEmbedding ? [tensors.embedding] : [] }
  const { grads, aux } = valueAndGradWithAux(({ params, embedding }: typeof trained) => {
    const W = trainsEmbedding ? embedding[0] : tensors.embedding
    const { losses, state } = bankLosses(setup, times, { params, state: bank.state }, W, x, labels, key)
    return { loss: tf.sum(losses), aux: { losses, state } }
  })(trained)
  const { blocks } = tensors.optimizer as DiscreteOptimizerState
  const { updates, state } = setup.optimizers.block.update(grads.params, blocks[index], bank.params)
  const losses = times.length === 1 ? [aux.losses] : tf.unstack(aux.losses)
  return {
    bank: { params: applyUpdates(bank.params, updates), state: aux.state },
    optimizer: state,
    losses: Object.fromEntries(times.map((t, i): [string, tf.Tensor] => [`block${t}`, losses[i]])),
    embedding: grads.embedding,
  }
}

/** CE(g(z_T), y) + KL(q(z_0|y) ‖ N(0, I)), and the gradient of their sum for the readout and a trained embedding. */
function trainReadout(setup: Setup, tensors: NoPropState, labels: tf.Tensor, y: tf.Tensor, key: Key) {
  const { model, coefficients, steps } = setup
  const [start, end] = [coefficients.alphaBar[0], coefficients.alphaBar[steps]]
  const trained = { readout: tensors.readout, embedding: model.trainsEmbedding ? [tensors.embedding] : [] }
  const terms = ({ readout, embedding }: typeof trained) => {
    const W = embedding[0] ?? tensors.embedding
    const u = model.embed(labels, W)
    const zT = noisyEmbedding(u, normal(fold(key, 0), u.shape), end, 1 - end)
    return { crossEntropy: meanCrossEntropy(y, model.logits(zT, W, readout)), kl: klToPrior(u, start, Math.log1p(-start)) }
  }
  // A radial readout of a fixed embedding has nothing to train.
  if (tree.leaves(trained).length === 0) return { terms: terms(trained), grads: trained }
  const { aux, grads } = valueAndGradWithAux((p: typeof trained) => {
    const { crossEntropy, kl } = terms(p)
    return { loss: tf.add(crossEntropy, kl), aux: { crossEntropy, kl } }
  })(trained)
  return { terms: aux, grads }
}

/** How a chain runs: with noise, as layers train or not, from which z_0. */
interface ChainOptions {
  noisy: boolean
  training: boolean
  z0: tf.Tensor
}

/** The chain z_0..z_T on encoded inputs, one tensor for each block, and the blocks' next layer states. */
function runChain(
  setup: Setup,
  banks: readonly Bank[],
  W: tf.Tensor,
  encoded: readonly tf.Tensor[],
  key: Key,
  { noisy, training, z0 }: ChainOptions,
): { path: tf.Tensor[]; states: Tree[] } {
  const { model, coefficients } = setup
  const denoisers = banks.flatMap(({ params, state }, i) => {
    const count = timesOf(setup, i).length
    const states = unstackTree(state.denoiser, count)
    return unstackTree(params.denoiser, count).map((denoiser, j) => ({ params: denoiser, state: states[j] }))
  })
  const path = [z0]
  const states = denoisers.map((denoiser, i) => {
    const z = path[i]
    const options = { training, key: fold(fold(key, 2), i + 1) }
    const output = model.block.denoise(denoiser.params, denoiser.state, encoded[i], z, undefined, options)
    const noise = noisy ? normal(fold(fold(key, 1), i + 1), z.shape) : undefined
    const { a, b, c } = coefficients
    path.push(denoisingStep(z, model.predictedEmbedding(output.y, W), a[i], b[i], c[i], noise))
    return output.state
  })
  return { path, states }
}

/** x through the path of every block, once for all runs of the chain. */
function encodeAll(setup: Setup, banks: readonly Bank[], x: tf.Tensor): tf.Tensor[] {
  return banks.flatMap(({ params, state }, i) => {
    const { y } = setup.model.block.encode(params.encoder, state.encoder, x, { training: false })
    return timesOf(setup, i).length === 1 ? [y] : tf.unstack(y)
  })
}

function inferenceChain(setup: Setup, noisy: boolean) {
  return ({ blocks, embedding }: NoPropState, x: tf.Tensor): ChainRun => {
    const encoded = encodeAll(setup, blocks, x)
    return (key, keepPath) => {
      const z0 = startingNoise(fold(key, 0), x, embedding)
      const { path } = runChain(setup, blocks, embedding, encoded, key, { noisy, training: false, z0 })
      return { end: path[path.length - 1], path: keepPath ? tf.stack(path) : undefined }
    }
  }
}

function initialState({ model, steps, atOnce, optimizers }: Setup): NoPropClassifier['init'] {
  return (key, sample, aux) => {
    const tensors = model.init(key, sample, aux, { count: steps, atOnce, time: false, outputs: 'classes' })
    const optimizer: DiscreteOptimizerState = {
      blocks: tensors.blocks.map(({ params }) => optimizers.block.init(params)),
      readout: optimizers.readout.init(tensors.readout),
      embedding: optimizers.embedding.init(model.trainsEmbedding ? [tensors.embedding] : []),
    }
    return { tensors: { ...tensors, schedule: [], optimizer }, host: null }
  }
}

/** The readout and the embedding after a step with these gradients, with their optimizers. */
function updateShared(
  { optimizers, model }: Setup,
  tensors: NoPropState,
  grads: { readout: readonly Readout[]; embedding: readonly tf.Tensor[] },
): { embedding: tf.Tensor; readout: readonly Readout[]; optimizer: { readout: Tree; embedding: Tree } } {
  const before = tensors.optimizer as DiscreteOptimizerState
  const readout = optimizers.readout.update(grads.readout, before.readout, tensors.readout)
  const trained = model.trainsEmbedding ? [tensors.embedding] : []
  const embedding = optimizers.embedding.update(grads.embedding, before.embedding, trained)
  const [W = tensors.embedding.clone()] = applyUpdates(trained, embedding.updates)
  return {
    embedding: W,
    readout: applyUpdates(tensors.readout, readout.updates),
    optimizer: { readout: readout.state, embedding: embedding.state },
  }
}

/**
 * NoProp-DT as a classifier to train: every block learns alone to predict the clean label embedding from x and a noisy one.
 *
 * @throws OptionError for an option out of range
 */
export function discreteNoProp(options: NoPropDiscreteOptions): NoPropDiscreteClassifier {
  const setup = setUp(options)
  const { model } = setup
  const { inference = 'mean' } = options
  return {
    ...chainPredictions(model, inferenceChain(setup, inference === 'noisy')),
    init: initialState(setup),
    step(tensors, { x, y }, key) {
      return tree.tidy(() => {
        const labels = oneHot(y, model.classes)
        const { terms, grads } = trainReadout(setup, tensors, labels, y, key)
        let { embedding } = grads
        // One bank's gradient is done, and its activations are free, before the next bank goes forward.
        const trained = tensors.blocks.map((_, i) => {
          const bank = trainBank(setup, tensors, i, x, labels, key)
          embedding = embedding.map((sum, j) => tf.add(sum, bank.embedding[j]))
          return bank
        })
        const next = updateShared(setup, tensors, { readout: grads.readout, embedding })
        const losses = Object.assign({}, ...trained.map((bank) => bank.losses)) as Record<string, tf.Tensor>
        return {
          tensors: {
            blocks: trained.map(({ bank }) => bank),
            embedding: next.embedding,
            readout: next.readout,
            schedule: [],
            optimizer: { blocks: trained.map(({ optimizer }) => optimizer), ...next.optimizer },
          },
          metrics: { loss: tf.addN([...Object.values(terms), ...Object.values(losses)]), ...terms, ...losses },
        }
      })
    },
    stepBlock(tensors, index, { x, y }, key) {
      if (!(Number.isInteger(index) && index >= 0 && index < tensors.blocks.length)) {
        throw new OptionError(`stepBlock: index must be an integer in [0, ${tensors.blocks.length}), got ${index}`)
      }
      return tree.tidy(() => {
        const { bank, optimizer } = trainBank(setup, tensors, index, x, oneHot(y, model.classes), key)
        const kept = tree.clone(tensors)
        const optimizers = kept.optimizer as DiscreteOptimizerState
        return {
          ...kept,
          blocks: kept.blocks.map((other, i) => (i === index ? bank : other)),
          optimizer: { ...optimizers, blocks: optimizers.blocks.map((other, i) => (i === index ? optimizer : other)) },
        }
      })
    },
  }
}

/** Options of {@link noPropBackpropagation}: those of NoProp-DT that the chain has. */
export type NoPropBackpropagationOptions = Omit<NoPropDiscreteOptions, 'variant' | 'eta' | 'blocksAtOnce'>

/**
 * The baseline of the paper: the same blocks, trained together by backpropagation through the noisy chain of inference,
 * loss = mean cross-entropy of g(z_T) and y. Its memory grows with the number of blocks.
 *
 * @param options - `inference` default `noisy`, as the chain was trained
 * @throws OptionError for an option out of range
 */
export function noPropBackpropagation(options: NoPropBackpropagationOptions): NoPropClassifier {
  const setup = setUp({ ...options, blocksAtOnce: 1 })
  const { model, optimizers } = setup
  const { inference = 'noisy' } = options
  return {
    ...chainPredictions(model, inferenceChain(setup, inference === 'noisy')),
    init: initialState(setup),
    step(tensors, { x, y }, key) {
      return tree.tidy(() => {
        const trained = {
          blocks: tensors.blocks.map(({ params }) => params),
          readout: tensors.readout,
          embedding: model.trainsEmbedding ? [tensors.embedding] : [],
        }
        const { value, aux, grads } = valueAndGradWithAux(({ blocks, readout, embedding }: typeof trained) => {
          const W = embedding[0] ?? tensors.embedding
          const banks = blocks.map((params, i) => ({ params, state: tensors.blocks[i].state }))
          const encoders = banks.map(({ params, state }, i) =>
            model.block.encode(params.encoder, state.encoder, x, { training: true, key: fold(fold(key, 2), i + 1) }),
          )
          const z0 = startingNoise(fold(key, 0), x, W)
          const encoded = encoders.map((encoder) => encoder.y)
          const { path, states } = runChain(setup, banks, W, encoded, key, { noisy: true, training: true, z0 })
          const loss = meanCrossEntropy(y, model.logits(path[path.length - 1], W, readout))
          return { loss, aux: encoders.map(({ state }, i) => ({ encoder: state, denoiser: states[i] })) }
        })(trained)
        const before = (tensors.optimizer as DiscreteOptimizerState).blocks
        const updated = trained.blocks.map((params, i) => optimizers.block.update(grads.blocks[i], before[i], params))
        const next = updateShared(setup, tensors, grads)
        return {
          tensors: {
            blocks: trained.blocks.map((params, i) => ({ params: applyUpdates(params, updated[i].updates), state: aux[i] })),
            embedding: next.embedding,
            readout: next.readout,
            schedule: [],
            optimizer: { blocks: updated.map(({ state }) => state), ...next.optimizer },
          },
          metrics: { loss: value },
        }
      })
    },
  }
}
