/** The methods of @bpf/local as contenders of one comparison: one perceptron, one convolutional network. */
import type { Key, Reporter, Tree } from '@bpf/core'
import { avgPool, batchNorm, conv2d, dense, flatten, globalAvgPool, maxPool, mlp, relu, sequential, type Layer } from '@bpf/core/nn'
import { adam, adamw, sgd } from '@bpf/core/optim'
import {
  augLocal,
  backpropagation,
  counterCurrentLearning,
  fitCascadedForward,
  fitClassifier,
  fitConvexRelu,
  fitGradientBoostedNetwork,
  fitMonoForward,
  forwardForward,
  forwardForwardCoolDown,
  lif,
  localLearning,
  monoForward,
  noProp,
  noPropBackpropagation,
  noPropBlock,
  noPropDenseBlock,
  poolingAuxiliary,
  residualLayers,
  sltt,
  stepCost,
  targetConv,
  targetDense,
  targetProjectionSgd,
  type ClassifierLearner,
  type LabelledBatch,
  type StepCost,
} from '@bpf/local'
import * as tf from '@tensorflow/tfjs-core'
import { slice, type ImageSet } from '../data/image-sets'

/** Sizes of the comparison. */
export interface CompareSettings {
  /** The last so many training images choose the learning rate. */
  validation: number
  train: number
  test: number
  /** How often every layer of the perceptron, and of the convolutional network, sees the data. */
  perceptronEpochs: number
  convolutionalEpochs: number
  /** Factors on each method's own learning rate; the best on the validation images counts. */
  rates: readonly number[]
  /** Units of the boosted network; patterns and images of the convex program. */
  boostedUnits: number
  convex: { images: number; patterns: number; iterations: number }
  /** Minibatches in the measurement of parallel threads. */
  parallelSteps: number
}

/** Images of one view. */
export type Sets = { train: ImageSet; validation: ImageSet; test: ImageSet }

/** What one training gave. */
export interface Trained {
  score(images: ImageSet): Promise<number>
  /** Counted on the trace; undefined for solvers, which hold the whole data. */
  cost: StepCost | undefined
  dispose(): void
}

/** A method with its own network and learning rate. */
export interface Contender {
  id: string
  name: string
  /** `perceptron`: rows of pixels; `unit`: rows of pixels in [0, 1]; `pooled`: rows of 7 × 7 averages; `images`. */
  data: 'perceptron' | 'unit' | 'pooled' | 'images'
  /** What is not alike: another architecture, another budget. */
  note?: string
  /** Tried with one rate only: a solver without one. */
  untuned?: boolean
  train(sets: Sets, rate: number, epochs: number, key: Key, running: Running): Promise<Trained>
}

/** What a training reports to, and what stops it. */
export type Running = { reporter: Reporter; signal: AbortSignal }

const classes = 10
export const batchSize = 100
const hidden = [256, 256, 256]
const widths = [8, 16, 16, 32]

const zeros =
  (images: ImageSet) =>
  (size: number): LabelledBatch => ({
    x: tf.zeros([size, ...images.x.shape.slice(1)]),
    y: tf.zeros([size], 'int32'),
  })

/** A method that `fit` trains. */
function byFit<State extends Tree, Aux>(method: (rate: number, steps: number) => ClassifierLearner<State, Aux>): Contender['train'] {
  return async (sets, rate, epochs, key, running) => {
    const learner = method(rate, epochs * Math.floor(sets.train.y.length / batchSize))
    const model = await fitClassifier(learner, sets.train.x, sets.train.y, { epochs, batchSize, key, ...running })
    const cost = stepCost(learner as never, model.state.tensors, zeros(sets.train), batchSize)
    return { score: (images) => model.score(images.x, images.y), cost, dispose: () => model.dispose() }
  }
}

/** A method with stages of its own, which counts its steps itself. */
function byStages(
  fitted: (
    sets: Sets,
    rate: number,
    epochs: number,
    options: { key: Key; batchSize: number },
  ) => ReturnType<typeof fitMonoForward> | ReturnType<typeof fitCascadedForward>,
): Contender['train'] {
  return async (sets, rate, epochs, key) => {
    const model = await fitted(sets, rate, epochs, { key, batchSize })
    const costs = model.stages.flatMap(({ cost }) => (cost === undefined ? [] : [cost]))
    const largest = (name: keyof StepCost): number => Math.max(...costs.map((cost) => cost[name]))
    return {
      score: (images) => model.score(images.x, images.y),
      cost:
        costs.length === 0
          ? undefined
          : { multiplyAdds: largest('multiplyAdds'), peakBytes: largest('peakBytes'), activationBytes: largest('activationBytes') },
      dispose: () => model.dispose(),
    }
  }
}

const chain = () => residualLayers(widths)
const decay = (learningRate: number) => sgd({ learningRate, momentum: 0.9, nesterov: true, weightDecay: 1e-4 })
const head = (): Layer => sequential([globalAvgPool(), dense(classes)]) as Layer

/** x of NoProp's image blocks: two convolutions. */
const smallConvolutions = (): Layer =>
  sequential([
    conv2d(8, { kernelSize: 3 }),
    relu(),
    maxPool(2),
    conv2d(16, { kernelSize: 3 }),
    relu(),
    avgPool(2),
    flatten(),
    dense(32),
    relu(),
  ]) as Layer
const imageBlock = () =>
  noPropBlock({ x: smallConvolutions(), z: sequential([dense(32), relu()]) as Layer, trunk: sequential([dense(32), relu()]) as Layer })
const denseBlock = () => noPropDenseBlock({ x: [128], z: [64], trunk: [64] })

/** Every method on the perceptron 784-256-256-256-10. */
export const perceptrons: readonly Contender[] = [
  {
    id: 'mlp/backpropagation',
    name: 'backpropagation',
    data: 'perceptron',
    train: byFit((rate) =>
      backpropagation({ network: mlp({ hidden, outputs: classes }), classes, optimizer: adam({ learningRate: 1e-3 * rate }) }),
    ),
  },
  {
    id: 'mlp/noprop-dt',
    name: 'NoProp-DT',
    data: 'perceptron',
    note: '10 blocks 784-128 ‖ 10-64 → 64 → 10',
    train: byFit((rate) =>
      noProp({
        variant: 'dt',
        classes,
        steps: 10,
        block: denseBlock(),
        blocksAtOnce: 1,
        optimizer: adamw({ learningRate: 1e-3 * rate, weightDecay: 1e-3 }),
      }),
    ),
  },
  {
    id: 'mlp/noprop-chain',
    name: 'backpropagation through the NoProp chain',
    data: 'perceptron',
    note: 'the same 10 blocks',
    train: byFit((rate) =>
      noPropBackpropagation({
        classes,
        steps: 10,
        block: denseBlock(),
        optimizer: adamw({ learningRate: 1e-3 * rate, weightDecay: 1e-3 }),
      }),
    ),
  },
  {
    id: 'mlp/counter-current',
    name: 'counter-current learning',
    data: 'perceptron',
    train: byFit((rate) => counterCurrentLearning({ classes, hidden, learningRate: 0.5 * rate })),
  },
  {
    id: 'mlp/mono-forward',
    name: 'Mono-Forward (simultaneous)',
    data: 'perceptron',
    train: byFit((rate) => monoForward({ hidden, classes, schedule: 'simultaneous', optimizer: adam({ learningRate: 1e-3 * rate }) })),
  },
  {
    id: 'mlp/mono-forward-greedy',
    name: 'Mono-Forward (greedy)',
    data: 'perceptron',
    train: byStages((sets, rate, epochs, options) =>
      fitMonoForward(
        { hidden, classes, inputProjection: false, epochsPerLayer: epochs, optimizer: adam({ learningRate: 1e-3 * rate }) },
        sets.train.x,
        sets.train.y,
        options,
      ),
    ),
  },
  {
    id: 'mlp/forward-forward',
    name: 'Forward-Forward',
    data: 'unit',
    train: byFit((rate, steps) =>
      forwardForward({
        hidden,
        classes,
        peerFactor: 0,
        optimizer: adamw({
          learningRate: forwardForwardCoolDown({ learningRate: 1e-3 * rate, epochs: 2, stepsPerEpoch: Math.ceil(steps / 2) }),
          weightDecay: 3e-4,
        }),
      }),
    ),
  },
  {
    id: 'mlp/target-projection',
    name: 'target projection (tpSGD)',
    data: 'perceptron',
    train: byFit((rate) =>
      targetProjectionSgd({
        layers: hidden.map((units) => targetDense(units)),
        classes,
        mode: 'simultaneous',
        learningRate: 0.001 * rate,
        outputLearningRate: 0.02,
        onWarning: () => undefined,
      }),
    ),
  },
  {
    id: 'mlp/sltt',
    name: 'spiking, SLTT (6 steps)',
    data: 'perceptron',
    note: 'the same widths, batch norm and spikes',
    train: byFit((rate) =>
      sltt({
        encoder: sequential([dense(256), batchNorm()]) as Layer,
        network: sequential([lif(), dense(256), batchNorm(), lif(), dense(256), batchNorm(), lif(), dense(classes)]) as Layer,
        classes,
        optimizer: sgd({ learningRate: 0.1 * rate, momentum: 0.9 }),
      }),
    ),
  },
]

/** Methods for one hidden layer: solvers, in double precision. */
export function oneHiddenLayer(settings: CompareSettings): readonly Contender[] {
  const rows = (images: ImageSet) => ({ data: images.x.data, shape: images.x.shape })
  return [
    {
      id: 'mlp/gradient-boosted',
      name: 'gradient-boosted network',
      data: 'perceptron',
      note: `one hidden layer of ${settings.boostedUnits} units, 2 at a time, 20 % of the images each`,
      untuned: true,
      async train(sets, _rate, _epochs, key, { signal }) {
        const options = {
          task: 'classification',
          totalUnits: settings.boostedUnits,
          unitsPerStep: 2,
          subsample: 0.2,
          maxIterations: 30,
        } as const
        const model = await fitGradientBoostedNetwork(rows(sets.train), sets.train.y, { ...options, key, signal })
        return {
          score: (images) => Promise.resolve(accuracyOf(model.predict(rows(images)), images.y)),
          cost: undefined,
          dispose: () => undefined,
        }
      },
    },
    {
      id: 'mlp/convex-relu',
      name: 'convex two-layer ReLU network',
      data: 'pooled',
      note: `one hidden layer, ${settings.convex.patterns} patterns for each class, ${settings.convex.images} images pooled to 7×7`,
      untuned: true,
      async train(sets, _rate, _epochs, key, { signal }) {
        const train = slice(sets.train, 0, Math.min(settings.convex.images, sets.train.y.length))
        const model = await fitConvexRelu(train.x, train.y, {
          task: 'multiclass',
          beta: 1e-3,
          patterns: settings.convex.patterns,
          maxIterations: settings.convex.iterations,
          key,
          signal,
        })
        return {
          score: (images) => Promise.resolve(model.score(images.x, images.y)),
          cost: undefined,
          dispose: () => undefined,
        }
      },
    },
  ]
}

function accuracyOf(predicted: Float64Array, y: Int32Array): number {
  return predicted.reduce((count, label, i) => count + (label === y[i] ? 1 : 0), 0) / y.length
}

/** Methods on a convolutional network, images of 14 × 14 with a rim of zeros. */
export const convolutional: readonly Contender[] = [
  {
    id: 'cnn/backpropagation',
    name: 'backpropagation',
    data: 'images',
    train: byFit((rate) =>
      backpropagation({ network: augLocal({ layers: chain(), classes, head: head() }).network, classes, optimizer: decay(0.05 * rate) }),
    ),
  },
  {
    id: 'cnn/aug-local',
    name: 'AugLocal (d = 2)',
    data: 'images',
    train: byFit((rate) => augLocal({ layers: chain(), classes, head: head(), dMax: 2, optimizer: decay(0.05 * rate) })),
  },
  {
    id: 'cnn/local-pooling',
    name: 'local learning, pooled linear heads',
    data: 'images',
    train: byFit((rate) =>
      localLearning({ layers: chain(), classes, head: head(), auxiliary: poolingAuxiliary(), optimizer: decay(0.05 * rate) }),
    ),
  },
  {
    id: 'cnn/counter-current',
    name: 'counter-current learning',
    data: 'images',
    note: 'convolutions of 16, 32 channels, each pooled',
    train: byFit((rate) => counterCurrentLearning({ classes, hidden: [], channels: [16, 32], learningRate: rate, warmUpSteps: 0 })),
  },
  {
    id: 'cnn/noprop-dt',
    name: 'NoProp-DT',
    data: 'images',
    note: '5 blocks with two convolutions each',
    train: byFit((rate) =>
      noProp({ variant: 'dt', classes, steps: 5, block: imageBlock(), optimizer: adamw({ learningRate: 1e-3 * rate, weightDecay: 1e-3 }) }),
    ),
  },
  ...(['random', 'dfa'] as const).map((blocks): Contender => ({
    id: `cnn/cascaded-forward-${blocks}`,
    name: blocks === 'dfa' ? 'Cascaded-Forward, feedback alignment' : 'Cascaded-Forward, random blocks',
    data: 'images',
    note: 'convolutions of 8, 16, 32 channels, each pooled',
    train: byStages((sets, rate, epochs, options) =>
      fitCascadedForward(
        {
          classes,
          channels: [8, 16, 32],
          blocks,
          blockEpochs: epochs,
          blockOptimizer: adam({ learningRate: 5e-4 * rate }),
          predictor: { kind: 'minibatch', epochs, learningRate: 5e-4 * rate },
        },
        sets.train.x,
        sets.train.y,
        options,
      ),
    ),
  })),
  {
    id: 'cnn/target-projection',
    name: 'target projection (tpSGD)',
    data: 'images',
    note: 'convolutions of 16, 32 channels, each pooled',
    train: byFit((rate) =>
      targetProjectionSgd({
        layers: [16, 32].map((channels) =>
          targetConv(channels, { kernelSize: 3, channelTarget: true, pool: avgPool(2) as unknown as Layer }),
        ),
        classes,
        mode: 'simultaneous',
        learningRate: 1e-6 * rate,
        outputLearningRate: 0.1,
        projectionScale: 0.5,
        onWarning: () => undefined,
      }),
    ),
  },
  {
    id: 'cnn/sltt',
    name: 'spiking, SLTT (6 steps)',
    data: 'images',
    note: 'convolutions of 16, 32 channels, each pooled, batch norm and spikes',
    train: byFit((rate) =>
      sltt({
        encoder: sequential([conv2d(16, { kernelSize: 3 }), batchNorm()]) as unknown as Layer,
        network: sequential([
          lif(),
          avgPool(2),
          conv2d(32, { kernelSize: 3 }),
          batchNorm(),
          lif(),
          avgPool(2),
          flatten(),
          dense(classes),
        ]) as unknown as Layer,
        classes,
        optimizer: sgd({ learningRate: 0.1 * rate, momentum: 0.9 }),
      }),
    ),
  },
]
