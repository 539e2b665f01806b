import { OptionError, ShapeError, tree, type Key, type Tree } from '@bpf/core'
import { batchNorm, conv2d, initializers, relu, sequential, type Initializer, type Layer } from '@bpf/core/nn'
import { fold } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { halvingPool } from './halving-pool'

/** What a block keeps: weights, and running statistics of its batch norm. */
export type BlockState = { params: Tree; state: Tree }

/** How blocks are made and read. */
export interface BlockOptions {
  channels: readonly number[]
  /** ε of batch norm. */
  epsilon: number
  kernelInit: Initializer
  biasInit: Initializer
  /** Statistics of batch norm once the blocks are fixed. */
  statistics: 'running' | 'transductive'
}

/** The cascade of feature blocks f_i = block_i(f_{i−1}). */
export interface Blocks {
  count: number
  /** Block i gets the key `fold(key, i)`, so a further block leaves the others as they are. */
  init(key: Key, inputShape: readonly number[]): BlockState[]
  /** Shape of f_1 … f_B for one input. @throws ShapeError where pooling leaves nothing */
  shapes(inputShape: readonly number[]): number[][]
  /** Block i in training: with the statistics of the batch. */
  train(i: number, params: Tree, state: Tree, x: tf.Tensor): { y: tf.Tensor; state: Tree }
  /** Block i once it is fixed. */
  apply(i: number, block: BlockState, x: tf.Tensor): tf.Tensor
}

/** PyTorch's `kaiming_uniform_` for ReLU: uniform on ±√(6/fanIn). */
export const kaiming = initializers.kaimingUniform()

/** Blocks of conv 3×3 – ReLU – max pool 2 – batch norm. */
export function convolutionalBlocks({ channels, epsilon, kernelInit, biasInit, statistics }: BlockOptions): Blocks {
  const where = 'cascadedForward'
  const layers: Layer[] = channels.map((count) =>
    // ReLU and maximum commute: after the pool the ReLU has a quarter to do, with the same values and gradients.
    sequential([conv2d(count, { kernelSize: 3, kernelInit, biasInit }), halvingPool(), relu(), batchNorm({ epsilon })] as const),
  )

  function shapes(inputShape: readonly number[]): number[][] {
    if (inputShape.length !== 3) {
      throw new ShapeError(`${where}: expected images x of shape [n, height, width, channels], got [n, ${inputShape.join(', ')}]`)
    }
    let [height, width] = inputShape
    return channels.map((count, i) => {
      ;[height, width] = [Math.floor(height / 2), Math.floor(width / 2)]
      if (height < 1 || width < 1) {
        throw new ShapeError(
          `${where}: images of ${inputShape[0]} × ${inputShape[1]} pixels are halved to nothing in block ${i + 1}; use fewer blocks or larger images`,
        )
      }
      return [height, width, count]
    })
  }

  return {
    count: channels.length,
    shapes,
    init(key, inputShape) {
      const outputs = shapes(inputShape)
      return layers.map((layer, i) => {
        const { params, state } = layer.init(fold(key, i), i === 0 ? inputShape : outputs[i - 1])
        return { params, state }
      })
    },
    train: (i, params, state, x) => layers[i].apply(params, state, x, { training: true }),
    apply: (i, { params, state }, x) => layers[i].apply(params, state, x, { training: statistics === 'transductive' }).y,
  }
}

/** @throws OptionError unless ε is positive */
export function checkEpsilon(epsilon: number): void {
  if (!(epsilon > 0 && epsilon < 1)) throw new OptionError(`cascadedForward: epsilon must be in (0, 1), got ${epsilon}`)
}

/** f [n, h, w, c] as rows [n, h·w·c]. */
export function featureRows(f: tf.Tensor): tf.Tensor2D {
  return tf.reshape(f, [f.shape[0], f.size / f.shape[0]]) as tf.Tensor2D
}

/** Blocks that own their tensors. */
export const copyBlocks = (blocks: readonly BlockState[]): BlockState[] => blocks.map((block) => tree.clone(block))
