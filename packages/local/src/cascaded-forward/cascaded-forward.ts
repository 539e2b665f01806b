/**
 * Cascaded Forward: Zhao, Wang, Jin, Lang, Li, "The Cascaded Forward Algorithm for Neural Network Training", 2023, arXiv
 * 2303.09728 (code Graph-ZKY/CaFo), and its version in Spyra and Dzwinel, "Beyond Backpropagation", 2025, arXiv 2511.01061
 * (code Przemyslaw11/BeyondBackpropagation).
 *
 * A cascade of convolutional blocks that stay random, or are trained a little by direct feedback alignment, and then are fixed.
 * A linear predictor on each block's features is found by itself; what the predictors say is summed.
 *
 * The reference code normalises test images by the statistics of the test set; here blocks keep the training set's (`statistics:
 * 'transductive'` brings the other back).
 */
import { OptionError, tree, type Learner, type Tree } from '@bpf/core'
import type { ArrayLeaf, LabelsInput } from '@bpf/core/data'
import { initializers, type Initializer } from '@bpf/core/nn'
import { adam, type Optimizer } from '@bpf/core/optim'
import { split } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import {
  fitCascade,
  stagedCascade,
  type Cascade,
  type CascadeClassifier,
  type CascadeFitOptions,
  type CascadeStage,
} from '../shared/cascade'
import { checkClasses, type LabelledBatch, type StagedClassifier } from '../shared/labelled'
import { localLearner, type LocalState } from '../shared/local-learner'
import { checkWidths } from '../shared/rows'
import { sparsemax } from '../shared/sparsemax'
import { feedbackAlignmentLearner, statisticsLearner, type FeedbackAlignmentState, type StatisticsState } from './block-learners'
import { checkEpsilon, convolutionalBlocks, kaiming, type BlockState } from './blocks'
import {
  checkPredictor,
  predictorScores,
  readFeatures,
  solvePredictor,
  type CascadedForwardPredictor,
  type SolvedPredictor,
} from './predictors'

/** Options of {@link cascadedForward}. */
export interface CascadedForwardOptions {
  /** Number of classes C ≥ 2. */
  classes: number
  /** Output channels of the blocks. Default 32, 128, 512. */
  channels?: readonly number[]
  /** Blocks stay at their random weights (default), or are trained by direct feedback alignment before they are fixed. */
  blocks?: 'random' | 'dfa'
  /** How each block's predictor is found. Default `{ kind: 'minibatch' }`, as in the study. */
  predictor?: CascadedForwardPredictor
  /** What is summed over blocks: class scores (default with `minibatch`) or probabilities (default else; sparsemax ones with its loss). */
  aggregate?: 'scores' | 'probabilities'
  /** Passes over the data in which DFA trains the blocks. Default 5. */
  blockEpochs?: number
  /** Trains the blocks (DFA). Default Adam with rate 5e-4. */
  blockOptimizer?: Optimizer
  /** Examples in a step of the pass that finds the statistics of random blocks ({@link fitCascadedForward}). Default 125. */
  statisticsBatchSize?: number
  /** ε of batch norm. Default 1e-5; the original code has 1e-4. */
  epsilon?: number
  /** Default Kaiming uniform by fan-in, as in the study; the original has PyTorch's default (`initializers.torchDefault`). */
  kernelInit?: Initializer
  /** Default zeros. */
  biasInit?: Initializer
  /** Batch norm of fixed blocks by running statistics of the training set (default) or of the batch passed in. */
  statistics?: 'running' | 'transductive'
  /** Examples whose loss ends the training of a `minibatch` predictor early. */
  validation?: { x: ArrayLeaf; y: LabelsInput }
}

/** Blocks, and a predictor `{ kernel [dim, C], bias? [C] }` for each block that has one already. */
export type CascadedForwardState = { blocks: readonly BlockState[]; predictors: readonly Tree[] }

/** What {@link cascadedForward} returns: a staged classifier, and what its blocks say. */
export interface CascadedForward extends StagedClassifier<CascadedForwardState> {
  /** Class scores of each block's predictor [n, blocks, C]. */
  layerScores(tensors: CascadedForwardState, x: tf.Tensor): tf.Tensor
  /** The first stage by itself: what trains the blocks of `tensors`, or finds their statistics. */
  blockLearner(tensors: CascadedForwardState): Learner<Tree, LabelledBatch>
}

const where = 'cascadedForward'

type Settings = Required<Omit<CascadedForwardOptions, 'validation'>> & Pick<CascadedForwardOptions, 'validation'>

function readOptions({
  classes,
  channels = [32, 128, 512],
  blocks = 'random',
  predictor = { kind: 'minibatch' },
  aggregate = predictor.kind === 'minibatch' ? 'scores' : 'probabilities',
  blockEpochs = 5,
  blockOptimizer = adam({ learningRate: 5e-4 }),
  statisticsBatchSize = 125,
  epsilon = 1e-5,
  kernelInit = kaiming,
  biasInit = initializers.zeros,
  statistics = 'running',
  validation,
}: CascadedForwardOptions): Settings {
  checkClasses(where, classes)
  checkWidths(where, 'channels', channels)
  checkEpsilon(epsilon)
  checkPredictor(predictor)
  for (const [name, value] of Object.entries({ blockEpochs, statisticsBatchSize })) {
    if (!Number.isInteger(value) || value < 1) throw new OptionError(`${where}: ${name} must be a positive integer, got ${value}`)
  }
  return {
    classes,
    channels,
    blocks,
    predictor,
    aggregate,
    blockEpochs,
    blockOptimizer,
    statisticsBatchSize,
    epsilon,
    kernelInit,
    biasInit,
    statistics,
    validation,
  }
}

type Solved = { kernel: tf.Tensor }

/** Solves the predictor before the first step; there are no steps. */
function solvedLearner(predictor: SolvedPredictor, classes: number): Learner<Solved, LabelledBatch, tf.Tensor> {
  return {
    prepare: async (data, _, { signal }) => solvePredictor(predictor, await readFeatures(data, signal), classes, signal),
    init: (_key, _sample, kernel) => ({ tensors: { kernel }, host: null }),
    step: (tensors) => ({ tensors: tree.clone(tensors), metrics: {} }),
  }
}

function makeCascade(settings: Settings): Cascade<CascadedForwardState> & Pick<CascadedForward, 'layerScores' | 'blockLearner'> {
  const { classes, predictor, aggregate, validation, channels } = settings
  const blocks = convolutionalBlocks(settings)
  const useSparsemax = predictor.kind === 'descent' && predictor.loss === 'sparsemax'

  function blockStage(state: CascadedForwardState): CascadeStage<CascadedForwardState> {
    if (settings.blocks === 'dfa') {
      return {
        learner: feedbackAlignmentLearner(blocks, state.blocks, classes, settings.blockOptimizer) as never,
        epochs: settings.blockEpochs,
        finish(inner) {
          const { weights, states } = inner as FeedbackAlignmentState
          return { ...state, blocks: weights.blocks.map((params, i) => ({ params, state: states[i] })) }
        },
      }
    }
    return {
      learner: statisticsLearner(blocks, state.blocks) as never,
      epochs: settings.statistics === 'running' ? 1 : 0,
      batchSize: settings.statisticsBatchSize,
      finish: (inner) => ({ ...state, blocks: (inner as StatisticsState).blocks }),
    }
  }

  function predictorStage(state: CascadedForwardState): CascadeStage<CascadedForwardState> {
    const joined = (next: Tree) => ({ ...state, predictors: [...state.predictors, next] })
    if (predictor.kind !== 'minibatch') return { learner: solvedLearner(predictor, classes) as never, steps: 0, finish: joined }
    const { learningRate = 4.2e-4, weightDecay = 1.7e-6, epochs = 227, patience = 8 } = predictor
    const learner = localLearner(
      (key, { x }) => {
        const dim = x.size / x.shape[0]
        const [kernelKey, biasKey] = split(key, 2)
        return {
          kernel: initializers.torchDefault(kernelKey, [dim, classes]),
          bias: initializers.torchDefault(biasKey, [classes], { fanIn: dim, fanOut: classes }),
        }
      },
      predictorScores,
      adam({ learningRate, weightDecay }),
    )
    return { learner: learner as never, epochs, patience, finish: (inner) => joined((inner as LocalState).params) }
  }

  /** Scores of the predictors there are. */
  function scores({ blocks: fixed, predictors }: CascadedForwardState, x: tf.Tensor): tf.Tensor[] {
    let f = x
    return predictors.map((one, i) => {
      f = blocks.apply(i, fixed[i], f)
      return predictorScores(one, f)
    })
  }

  return {
    where,
    classes,
    stages: ['blocks', ...channels.map((_, i) => `predictor ${i + 1}`)],
    init: (key, { x }) => ({ blocks: blocks.init(key, x.shape.slice(1)), predictors: [] }),
    advance: (k, state, x) => (k === 0 ? x.clone() : blocks.apply(k - 1, state.blocks[k - 1], x)),
    stage: (k, state) => (k === 0 ? blockStage(state) : predictorStage(state)),
    ...(settings.statistics === 'transductive' && { advanceRows: Infinity }),
    validation,
    predict(tensors, x) {
      const all = scores(tensors, x)
      if (aggregate === 'scores') return tf.softmax(tf.addN(all))
      return tf.div(tf.addN(all.map((one) => (useSparsemax ? sparsemax(one) : tf.softmax(one)))), all.length)
    },
    layerScores: (tensors, x) => tf.tidy(() => tf.stack(scores(tensors, x), 1)),
    blockLearner: (tensors) => blockStage(tensors).learner as Learner<Tree, LabelledBatch>,
  }
}

/**
 * Cascaded Forward on images as a staged method: first the blocks, then one predictor after the other. It computes the blocks'
 * features anew in every step; {@link fitCascadedForward} computes them once.
 *
 * @returns a method for `fitClassifier` and `fitStages`
 * @throws OptionError for options out of range; ShapeError for inputs that are no images, or too small for so many blocks
 *
 * @example
 * ```ts
 * const method = cascadedForward({ classes: 10, channels: [16, 32, 64], predictor: { kind: 'leastSquares', lambda: 1e-3 } })
 * ```
 */
export function cascadedForward(options: CascadedForwardOptions): CascadedForward {
  const cascade = makeCascade(readOptions(options))
  return { ...stagedCascade(cascade), layerScores: cascade.layerScores, blockLearner: cascade.blockLearner }
}

/**
 * Cascaded Forward on arrays: the features of every block are computed once, then its predictor is found from them.
 *
 * @param X - images [n, height, width, channels]
 * @param y - class indices [n]
 * @returns a classifier, and what each stage did
 * @throws DataError for labels out of range or values that are not finite; ShapeError as {@link cascadedForward}
 */
export async function fitCascadedForward(
  options: CascadedForwardOptions,
  X: ArrayLeaf,
  y: LabelsInput,
  fitting: CascadeFitOptions = {},
): Promise<CascadeClassifier<CascadedForwardState>> {
  return fitCascade(makeCascade(readOptions(options)), X, y, fitting)
}
