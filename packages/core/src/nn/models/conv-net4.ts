import { relu } from '../activations'
import { flatten } from '../basic'
import { sequential } from '../compose'
import { conv2d } from '../conv'
import { dense } from '../dense'
import type { Layer } from '../layer'
import { batchNorm } from '../norm'
import { maxPool } from '../pool'
import type { SequentialModel } from './mlp'

/** Options of {@link convNet4}. */
export type ConvNet4Options = {
  /** Channels of each block. Default 64. */
  channels?: number
  /** Number of blocks; the input's height and width must be at least 2^blocks. Default 4. */
  blocks?: number
  /** Add a dense layer to so many logits. Default: none, the flattened features come out. */
  classes?: number
}

/**
 * The few-shot backbone: blocks of 3×3 convolution – batch norm – ReLU – 2×2 max-pooling, flattened.
 *
 * @returns a layer from [n, h, w, c] to [n, features] (or logits [n, classes])
 * @throws ShapeError for images smaller than 2^blocks
 * @see Vinyals et al., "Matching networks", 2016, arXiv:1606.04080; Snell et al., 2017, arXiv:1703.05175
 */
export function convNet4({ channels = 64, blocks = 4, classes }: ConvNet4Options = {}): SequentialModel {
  const body = Array.from({ length: blocks }, (): Layer[] => [conv2d(channels, { kernelSize: 3 }), batchNorm(), relu(), maxPool(2)])
  return sequential([...body.flat(), flatten(), ...(classes === undefined ? [] : [dense(classes)])])
}
