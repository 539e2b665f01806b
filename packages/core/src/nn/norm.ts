import * as tf from '@tensorflow/tfjs-core'
import { OptionError, ShapeError } from '../errors'
import { checkCount } from './dense'
import { checkInput, stateless, unchanged, type Empty, type Layer, type Shape } from './layer'

/**
 * The affine map after a normalisation, per channel: `learned` scale and offset in `params` (default); `frozen` in `state`,
 * where they are saved and may be loaded but are never differentiated; or `none`.
 */
export type AffineMode = 'learned' | 'frozen' | 'none'

/** Scale and offset [channels], which start at 1 and 0. */
export type ScaleOffset = { scale: tf.Tensor; offset: tf.Tensor }

/** Parameters of a normalisation. */
export type NormParams<Mode extends AffineMode = 'learned'> = Mode extends 'learned' ? ScaleOffset : Empty

/** State of {@link batchNorm}: running statistics [channels], and a frozen scale and offset. */
export type BatchNormState<Mode extends AffineMode = 'learned'> = Mode extends 'frozen'
  ? { mean: tf.Tensor; variance: tf.Tensor; scale: tf.Tensor; offset: tf.Tensor }
  : { mean: tf.Tensor; variance: tf.Tensor }

/** Options of {@link batchNorm}. */
export type BatchNormOptions<Mode extends AffineMode = AffineMode> = {
  /** Weight m of the new batch in the running statistics, as in PyTorch: running ← (1−m)·running + m·batch. Default 0.1. */
  momentum?: number
  /** ε under the root. Default 1e-5. */
  epsilon?: number
  affine?: Mode
}

function channelsOf(where: string, inputShape: Shape): number {
  if (inputShape.length < 1) throw new ShapeError(`${where}: expected an input shape [..., channels] without the batch axis, got []`)
  return inputShape[inputShape.length - 1]
}

function freshAffine(channels: number): ScaleOffset {
  return { scale: tf.ones([channels]), offset: tf.zeros([channels]) }
}

/** All axes of `x` but the last. */
function leadingAxes(x: tf.Tensor): number[] {
  return Array.from({ length: x.rank - 1 }, (_, i) => i)
}

function checkEpsilon(where: string, epsilon: number): void {
  if (!(epsilon >= 0)) throw new OptionError(`${where}: epsilon must be at least 0, got ${epsilon}`)
}

/** centred · (1/√(variance + ε) · scale) + offset: scale meets the small factor, not the big tensor. */
function finish(centred: tf.Tensor, variance: tf.Tensor, epsilon: number, affine: ScaleOffset | undefined): tf.Tensor {
  const inverse = tf.rsqrt(tf.add(variance, epsilon))
  if (affine === undefined) return tf.mul(centred, inverse)
  return tf.add(tf.mul(centred, tf.mul(inverse, affine.scale)), affine.offset)
}

/** The statistics of a batch: x − μ, and the biased variance over the leading axes. */
function batchStatistics(x: tf.Tensor): { mean: tf.Tensor; centred: tf.Tensor; variance: tf.Tensor } {
  const axes = leadingAxes(x)
  const mean = tf.mean(x, axes)
  const centred = tf.sub(x, mean)
  return { mean, centred, variance: tf.mean(tf.square(centred), axes) }
}

/**
 * y = (x − μ)/√(σ² + ε)·scale + offset with the batch's own statistics, and its gradient in closed form. With s = 1/√(σ² + ε):
 * dx = s·scale·(dy − mean dy − s²·(x − μ)·mean(dy·(x − μ))), two passes over the batch fewer than through the single operations.
 *
 * @param statistics - those of `x`
 */
function normaliseBatch(
  x: tf.Tensor,
  statistics: { centred: tf.Tensor; variance: tf.Tensor },
  epsilon: number,
  affine: ScaleOffset | undefined,
): tf.Tensor {
  const axes = leadingAxes(x)
  const count = x.size / statistics.variance.size
  const operation = tf.customGrad((...args: unknown[]) => {
    const inputs = args.slice(0, -1) as tf.Tensor[]
    const save = args[args.length - 1] as tf.GradSaveFunc
    const { centred, variance } = statistics
    // A second derivative finds its way through the statistics back to x.
    save([affine === undefined ? variance : inputs[1], centred, variance])
    return {
      value: finish(centred, variance, epsilon, affine),
      gradFunc: (dy: tf.Tensor, [scale, savedCentred, savedVariance]: tf.Tensor[]) => {
        const inverse = tf.rsqrt(tf.add(savedVariance, epsilon))
        const gain = affine === undefined ? inverse : tf.mul(inverse, scale)
        const total = tf.sum(dy, axes)
        const along = tf.sum(tf.mul(dy, savedCentred), axes)
        const shift = tf.mul(tf.mul(gain, total), -1 / count)
        const slope = tf.mul(tf.mul(tf.mul(gain, tf.square(inverse)), along), -1 / count)
        const dx = tf.add(tf.add(tf.mul(dy, gain), shift), tf.mul(savedCentred, slope))
        return affine === undefined ? [dx] : [dx, tf.mul(along, inverse), total]
      },
    }
  })
  return affine === undefined ? operation(x) : operation(x, affine.scale, affine.offset)
}

/**
 * Batch normalisation over all axes but the last.
 *
 * Training: y = (x − μ)/√(σ² + ε)·scale + offset with the batch's mean μ and biased variance σ² (divided by n), and the running
 * statistics move by `momentum`, the running variance by the unbiased one (divided by n − 1): as in PyTorch.
 * Otherwise: the running statistics take the place of the batch's.
 *
 * @returns a layer from [n, ..., c] to the same shape; `state` mean and variance [c], which start at 0 and 1
 * @throws ShapeError when training on a single value per channel
 * @see Ioffe & Szegedy, "Batch normalization", 2015, arXiv:1502.03167
 */
export function batchNorm<Mode extends AffineMode = 'learned'>(
  options: BatchNormOptions<Mode> = {},
): Layer<NormParams<Mode>, BatchNormState<Mode>> {
  const { momentum = 0.1, epsilon = 1e-5 } = options
  const affine: AffineMode = options.affine ?? 'learned'
  if (!(momentum >= 0 && momentum <= 1)) throw new OptionError(`batchNorm: momentum must be in [0, 1], got ${momentum}`)
  checkEpsilon('batchNorm', epsilon)
  return {
    init: (_, inputShape) => {
      const channels = channelsOf('batchNorm', inputShape)
      const running = { mean: tf.zeros([channels]), variance: tf.ones([channels]) }
      return {
        params: (affine === 'learned' ? freshAffine(channels) : {}) as NormParams<Mode>,
        state: (affine === 'frozen' ? { ...running, ...freshAffine(channels) } : running) as BatchNormState<Mode>,
        outputShape: inputShape,
      }
    },
    apply: (params, state, x, { training }) => {
      checkInput('batchNorm', x, undefined, state.mean.size, 'n, ..., channels')
      const source = affine === 'learned' ? params : affine === 'frozen' ? state : undefined
      const scaleOffset = source as ScaleOffset | undefined
      if (!training) return { y: finish(tf.sub(x, state.mean), state.variance, epsilon, scaleOffset), state: unchanged(state) }

      const count = x.size / state.mean.size
      if (count < 2) {
        throw new ShapeError(
          `batchNorm: training needs more than one value per channel, got x of shape [${x.shape.join(', ')}]; use a larger batch`,
        )
      }
      const { mean, centred, variance } = batchStatistics(x)
      const move = (running: tf.Tensor, batch: tf.Tensor, weight: number) => tf.add(tf.mul(running, 1 - momentum), tf.mul(batch, weight))
      const running = {
        mean: move(state.mean, mean, momentum),
        variance: move(state.variance, variance, (momentum * count) / (count - 1)),
      }
      const frozen = affine === 'frozen' && scaleOffset ? { scale: scaleOffset.scale.clone(), offset: scaleOffset.offset.clone() } : {}
      return {
        y: normaliseBatch(x, { centred, variance }, epsilon, scaleOffset),
        state: { ...running, ...frozen } as unknown as BatchNormState<Mode>,
      }
    },
  }
}

/** Options of the normalisations without running statistics. */
export type NormOptions<Mode extends 'learned' | 'none' = 'learned' | 'none'> = {
  /** ε under the root. Default 1e-5. */
  epsilon?: number
  affine?: Mode
}

function normParams<Mode extends 'learned' | 'none'>(affine: Mode | undefined, channels: number): NormParams<Mode> {
  return (affine === 'none' ? {} : freshAffine(channels)) as NormParams<Mode>
}

function scaleOffsetOf(params: ScaleOffset | Empty): ScaleOffset | undefined {
  return 'scale' in params ? (params as ScaleOffset) : undefined
}

/**
 * Normalises each vector along the last axis to mean 0 and (biased) variance 1, then scales and shifts.
 *
 * @returns a layer from [n, ..., c] to the same shape
 * @see Ba et al., "Layer normalization", 2016, arXiv:1607.06450
 */
export function layerNorm<Mode extends 'learned' | 'none' = 'learned'>(options: NormOptions<Mode> = {}): Layer<NormParams<Mode>, Empty> {
  const { epsilon = 1e-5, affine } = options
  checkEpsilon('layerNorm', epsilon)
  return stateless<NormParams<Mode>>(
    (_, inputShape) => ({ params: normParams(affine, channelsOf('layerNorm', inputShape)), outputShape: inputShape }),
    (params, x) => {
      const centred = tf.sub(x, tf.mean(x, -1, true))
      return finish(centred, tf.mean(tf.square(centred), -1, true), epsilon, scaleOffsetOf(params))
    },
  )
}

/**
 * Normalises the channels group by group, over space and the group's channels, then scales and shifts per channel.
 * With as many groups as channels it is instance normalisation.
 *
 * @param groups - must divide the channels
 * @returns a layer from [n, ..., c] to the same shape
 * @throws ShapeError when `groups` doesn't divide the channels
 * @see Wu & He, "Group normalization", 2018, arXiv:1803.08494
 */
export function groupNorm<Mode extends 'learned' | 'none' = 'learned'>(
  groups: number,
  options: NormOptions<Mode> = {},
): Layer<NormParams<Mode>, Empty> {
  const { epsilon = 1e-5, affine } = options
  checkCount('groupNorm', 'groups', groups)
  checkEpsilon('groupNorm', epsilon)
  return stateless<NormParams<Mode>>(
    (_, inputShape) => {
      const channels = channelsOf('groupNorm', inputShape)
      if (channels % groups !== 0) throw new ShapeError(`groupNorm: groups (${groups}) must divide the channels (${channels})`)
      return { params: normParams(affine, channels), outputShape: inputShape }
    },
    (params, x) => {
      const channels = x.shape[x.rank - 1]
      const inside = x.shape.slice(1, -1).map((_, i) => i + 1)
      const perChannel = [x.shape[0], ...inside.map(() => 1), channels]
      // Means of groups are means of their channels' means: x keeps its shape, and with it the layout of a convolution before it.
      const groupMean = (values: tf.Tensor): tf.Tensor => {
        const means = inside.length === 0 ? values : tf.mean(values, inside)
        const grouped = tf.mean(tf.reshape(means, [x.shape[0], groups, channels / groups]), 2, true)
        return tf.reshape(tf.tile(grouped, [1, 1, channels / groups]), perChannel)
      }
      const centred = tf.sub(x, groupMean(x))
      return finish(centred, groupMean(tf.square(centred)), epsilon, scaleOffsetOf(params))
    },
  )
}

/**
 * Divides each vector along the last axis by its root mean square, then scales: y = x/√(mean x² + ε)·scale.
 *
 * @param options.epsilon - default 1e-6
 * @returns a layer from [n, ..., c] to the same shape
 * @see Zhang & Sennrich, "Root mean square layer normalization", 2019, arXiv:1910.07467
 */
export function rmsNorm({ epsilon = 1e-6 }: { epsilon?: number } = {}): Layer<{ scale: tf.Tensor }, Empty> {
  checkEpsilon('rmsNorm', epsilon)
  return stateless<{ scale: tf.Tensor }>(
    (_, inputShape) => ({ params: { scale: tf.ones([channelsOf('rmsNorm', inputShape)]) }, outputShape: inputShape }),
    (params, x) => tf.mul(tf.mul(x, tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), epsilon))), params.scale),
  )
}
