import * as tf from '@tensorflow/tfjs-core'
import { OptionError, ShapeError } from '../errors'
import { fold, split } from '../random/key'
import { addBias, checkCount, initAffine, project, type Affine } from './dense'
import { dropout as dropoutLayer } from './basic'
import { xavierUniform, zeros } from './initializers'
import { stateless, type Empty, type Layer, type Shape } from './layer'

/** What {@link multiHeadAttention} takes where queries, context or a mask differ from plain self-attention. */
export type AttentionInput = {
  /** [n, tq, d] */
  query: tf.Tensor
  /** Keys and values, [n, tk, d']. */
  context: tf.Tensor
  /** Bool or 0/1, [n, tk] or [n, tq, tk]: 1 where a query may look. A row without a 1 looks everywhere. */
  mask?: tf.Tensor
}

/** Parameters of {@link multiHeadAttention}: four projections. */
export type AttentionParams<Bias extends boolean = true> = {
  query: Affine<Bias>
  key: Affine<Bias>
  value: Affine<Bias>
  output: Affine<Bias>
}

/** Options of {@link multiHeadAttention}. */
export type AttentionOptions<Bias extends boolean = boolean> = {
  heads: number
  /** Width of the projections, divisible by `heads`. Default: the width of the queries. */
  width?: number
  /** A query sees its own position and earlier ones only. Default false. */
  causal?: boolean
  /** Biases of the projections. Default true. */
  bias?: Bias
  /** Dropout rate of the attention weights. Default 0. */
  dropout?: number
}

/** Subtracted from scores that must not count; large, yet finite in float32 sums. */
const blocked = 1e9

/** [n, t, heads·d] → [n, heads, t, d] */
function splitHeads(x: tf.Tensor, heads: number): tf.Tensor {
  const [batch, length, width] = x.shape as [number, number, number]
  return tf.transpose(tf.reshape(x, [batch, length, heads, width / heads]), [0, 2, 1, 3])
}

function causalPenalty(queries: number, keys: number): tf.Tensor {
  const values = new Float32Array(queries * keys)
  // Aligned at the end, so that the last query sees all keys also where earlier keys are a cache.
  const shift = keys - queries
  for (let i = 0; i < queries; i++) for (let j = i + shift + 1; j < keys; j++) values[i * keys + j] = -blocked
  return tf.tensor4d(values, [1, 1, queries, keys])
}

function maskPenalty(mask: tf.Tensor): tf.Tensor {
  const [batch, ...rest] = mask.shape
  const penalty = tf.mul(tf.sub(tf.cast(mask, 'float32'), 1), blocked)
  return tf.reshape(penalty, rest.length === 1 ? [batch, 1, 1, rest[0]] : [batch, 1, ...rest])
}

/**
 * Multi-head scaled dot-product attention: per head, softmax(Q·Kᵀ/√d)·V, then an output projection.
 *
 * @returns a layer from [n, t, d] (self-attention) or an {@link AttentionInput} (cross-attention, masks) to [n, tq, d].
 *   `params` query, key, value, output; kernels start Xavier-uniform, biases at zero
 * @throws OptionError for heads that don't divide the width; ShapeError for inputs or masks that don't fit
 * @see Vaswani et al., "Attention is all you need", 2017, arXiv:1706.03762
 */
export function multiHeadAttention<Bias extends boolean = true>(
  options: AttentionOptions<Bias>,
): Layer<AttentionParams<Bias>, Empty, tf.Tensor | AttentionInput> {
  const { heads, causal = false, dropout = 0 } = options
  checkCount('multiHeadAttention', 'heads', heads)
  const drop = dropoutLayer(dropout)
  return stateless<AttentionParams<Bias>, tf.Tensor | AttentionInput>(
    (key, inputShape) => {
      const [query, context] = 'query' in inputShape ? [inputShape.query, inputShape.context] : [inputShape as Shape, inputShape as Shape]
      if (query.length !== 2 || context.length !== 2) {
        throw new ShapeError(
          `multiHeadAttention: expected shapes [t, d] without the batch axis, got [${query.join(', ')}] and [${context.join(', ')}]`,
        )
      }
      const width = options.width ?? query[1]
      if (width % heads !== 0) throw new OptionError(`multiHeadAttention: heads (${heads}) must divide the width (${width})`)
      const keys = split(key, 4)
      const make = (i: number, inputs: number, outputs: number) =>
        initAffine<Bias>(keys[i], [inputs, outputs], outputs, { bias: options.bias, kernelInit: xavierUniform(), biasInit: zeros })
      const params = {
        query: make(0, query[1], width),
        key: make(1, context[1], width),
        value: make(2, context[1], width),
        output: make(3, width, query[1]),
      }
      return { params, outputShape: query }
    },
    (params, x, { key, training }) => {
      const { query, context, mask } = 'query' in x ? x : { query: x, context: x, mask: undefined }
      const through = (input: tf.Tensor, part: Affine<Bias>) =>
        splitHeads(addBias(project(input, part.kernel), part as Affine<boolean>), heads)
      const q = through(query, params.query)
      const k = through(context, params.key)
      const v = through(context, params.value)
      const [batch, , queries, depth] = q.shape as [number, number, number, number]
      const keyCount = k.shape[2] as number
      if (
        mask !== undefined &&
        !(mask.shape[mask.rank - 1] === keyCount && (mask.rank === 2 || (mask.rank === 3 && mask.shape[1] === queries)))
      ) {
        throw new ShapeError(
          `multiHeadAttention: expected a mask [n, ${keyCount}] or [n, ${queries}, ${keyCount}], got [${mask.shape.join(', ')}]`,
        )
      }
      let scores = tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(depth)) as tf.Tensor
      if (mask !== undefined) scores = tf.add(scores, maskPenalty(mask))
      if (causal) scores = tf.add(scores, causalPenalty(queries, keyCount))
      const weights = tf.softmax(scores, -1)
      const dropped = dropout > 0 ? drop.apply({}, {}, weights, { key: key && fold(key, 0), training }).y : weights
      const joined = tf.reshape(tf.transpose(tf.matMul(dropped, v), [0, 2, 1, 3]), [batch, queries, heads * depth])
      return addBias(project(joined, params.output.kernel), params.output as Affine<boolean>)
    },
  )
}
