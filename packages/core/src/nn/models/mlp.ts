import type { Tree } from '../../tree'
import { relu } from '../activations'
import { dropout as dropoutLayer } from '../basic'
import { sequential } from '../compose'
import { dense, type AffineOptions } from '../dense'
import type { Empty, Layer } from '../layer'
import { batchNorm, layerNorm } from '../norm'

/** A network whose params and state are lists, one entry per layer. */
export type SequentialModel = Layer<readonly Tree[], readonly Tree[]>

/** Options of {@link mlp}. */
export type MlpOptions = Omit<AffineOptions<true>, 'bias'> & {
  /** Widths of the hidden layers. */
  hidden: readonly number[]
  outputs: number
  /** After every hidden layer. Default `relu()`. */
  activation?: Layer<Empty, Empty>
  /** Between a hidden layer and its activation. Default none. */
  norm?: 'batch' | 'layer'
  /** Dropout rate after every activation. Default 0. */
  dropout?: number
}

/**
 * A multilayer perceptron: dense – (norm) – activation – (dropout) per hidden width, and a dense layer to `outputs`.
 *
 * @returns a layer from [n, d] to [n, outputs]
 *
 * @example
 * ```ts
 * const network = mlp({ hidden: [64, 64], outputs: 10 })
 * const { params, state } = network.init(random.key(0), [64])
 * ```
 */
export function mlp({ hidden, outputs, activation = relu(), norm, dropout = 0, ...kernels }: MlpOptions): SequentialModel {
  const blocks = hidden.flatMap((units): Layer[] => [
    dense(units, kernels),
    ...(norm === undefined ? [] : [norm === 'batch' ? batchNorm() : layerNorm()]),
    activation,
    ...(dropout > 0 ? [dropoutLayer(dropout)] : []),
  ])
  return sequential([...blocks, dense(outputs, kernels)])
}
