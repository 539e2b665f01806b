import { relu } from '../activations'
import { dropout as dropoutLayer, flatten } from '../basic'
import { sequential } from '../compose'
import { conv2d } from '../conv'
import { dense } from '../dense'
import { kaimingNormal, normal, zeros } from '../initializers'
import type { Layer } from '../layer'
import { batchNorm } from '../norm'
import { maxPool } from '../pool'
import type { SequentialModel } from './mlp'

/** Convolutions of each stage: multiples of the width. A 2×2 max-pooling follows each stage. */
const configurations = {
  11: [[1], [2], [4, 4], [8, 8], [8, 8]],
  16: [
    [1, 1],
    [2, 2],
    [4, 4, 4],
    [8, 8, 8],
    [8, 8, 8],
  ],
} as const

/** Options of {@link vgg}. */
export type VggOptions = {
  /** Weighted layers of the original with its three dense layers. Default 16. */
  depth?: 11 | 16
  /** Number of logits. Default: none, the flattened features come out. */
  classes?: number
  /** Widths of dense layers before the logits; [4096, 4096] in the paper. Default none, as usual on CIFAR. */
  hidden?: readonly number[]
  /** Dropout rate after the hidden dense layers. Default 0.5. */
  dropout?: number
  /** Batch norm after every convolution. Default true. */
  norm?: boolean
  /** Channels of the first stage. Default 64. */
  width?: number
}

/**
 * VGG with batch norm, as torchvision's vgg11_bn and vgg16_bn.
 *
 * @returns a layer from [n, h, w, c], h and w at least 32, to logits [n, classes] or features
 * @throws ShapeError for images smaller than 32×32
 * @see Simonyan & Zisserman, "Very deep convolutional networks", 2015, arXiv:1409.1556
 */
export function vgg({ depth = 16, classes, hidden = [], dropout = 0.5, norm = true, width = 64 }: VggOptions = {}): SequentialModel {
  const conv = (multiple: number): Layer[] => [
    conv2d(multiple * width, { kernelSize: 3, kernelInit: kaimingNormal({ mode: 'fanOut' }), biasInit: zeros }),
    ...(norm ? [batchNorm()] : []),
    relu(),
  ]
  const features = configurations[depth].flatMap((stage) => [...stage.flatMap(conv), maxPool(2)])
  const denseOptions = { kernelInit: normal({ stddev: 0.01 }), biasInit: zeros }
  const top = hidden.flatMap((units): Layer[] => [dense(units, denseOptions), relu(), dropoutLayer(dropout)])
  return sequential([...features, flatten(), ...(classes === undefined ? [] : [...top, dense(classes, denseOptions)])])
}
