/** Small denoising networks of points; images take core's `unet`, which takes the same inputs. */
import { OptionError, ShapeError } from '@bpf/core'
import { dense, silu, sinusoidalEmbedding, type Affine, type Empty, type Layer, type UNetInput } from '@bpf/core/nn'
import { fold } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'

/** Options of {@link timeMlp}. */
export interface TimeMlpOptions {
  /** Widths of the hidden layers. Default [64, 64, 64]. */
  hidden?: readonly number[]
  /** Columns of the sinusoidal time embedding; even. Default 32. */
  embedding?: number
  /** Multiplies times before they are embedded. Default 1000, for times in [0, 1]. */
  timeScale?: number
  /** Number of classes; a null class is added, whose index is `classes`. Default none. */
  classes?: number
}

/** Parameters of {@link timeMlp} and {@link flowMapMlp}. */
export type MlpParams = { layers: Affine[] }

/** Layers from [x, features] on; features [1, f] serve all rows. */
function stack(widths: readonly number[]) {
  const layers = widths.map((units) => dense(units))
  const activation = silu()
  const apply = (params: MlpParams, x: tf.Tensor, features: tf.Tensor): tf.Tensor => {
    const [{ kernel, bias }] = params.layers
    const d = x.shape[1] as number
    // [x, features] W + b, without repeating features that are the same in all rows.
    const own = tf.matMul(x as tf.Tensor2D, tf.slice(kernel, 0, d) as tf.Tensor2D)
    const shared = tf.add(tf.matMul(features as tf.Tensor2D, tf.slice(kernel, d) as tf.Tensor2D), bias)
    let h: tf.Tensor = tf.add(own, shared)
    for (let i = 1; i < layers.length; i++) {
      const active = activation.apply({}, {}, h, { training: false }).y
      h = layers[i].apply(params.layers[i], {}, active, { training: false }).y
    }
    return h
  }
  return {
    init(key: Parameters<typeof fold>[0], inputs: number): MlpParams {
      return { layers: layers.map((layer, i) => layer.init(fold(key, i), [i === 0 ? inputs : widths[i - 1]]).params) }
    },
    apply,
  }
}

function checkPoints(where: string, shape: readonly number[]): number {
  if (shape.length !== 1) throw new ShapeError(`${where}: expected x of shape [n, d], got [n, ${shape.join(', ')}]; images take unet()`)
  return shape[0]
}

/**
 * A multilayer perceptron over [x, embedded time, class]: SiLU between the layers, as many outputs as x has columns.
 *
 * @returns a layer from `{ x [n, d], time [n] or [1], label? [n] int32 }` to [n, d]
 * @throws OptionError for a width that is not positive, ShapeError for x of another rank
 */
export function timeMlp(options: TimeMlpOptions = {}): Layer<MlpParams, Empty, UNetInput> & { nullLabel: number | undefined } {
  const { hidden = [64, 64, 64], embedding = 32, timeScale = 1000, classes } = options
  if (hidden.length === 0) throw new OptionError('timeMlp: hidden must name at least one width')
  const classColumns = classes === undefined ? 0 : classes + 1
  return {
    nullLabel: classes,
    init(key, { x }) {
      const d = checkPoints('timeMlp', x)
      const params = stack([...hidden, d]).init(key, d + embedding + classColumns)
      return { params, state: {}, outputShape: [d] }
    },
    apply(params, _, { x, time, label }) {
      const embedded: tf.Tensor = sinusoidalEmbedding(time, embedding, { scale: timeScale })
      if (classes === undefined) return { y: stack([...hidden, x.shape[1] as number]).apply(params, x, embedded), state: {} }
      const ids = label ?? tf.fill([1], classes, 'int32')
      const chosen = tf.cast(tf.oneHot(tf.cast(ids, 'int32') as tf.Tensor1D, classColumns), 'float32')
      const rows = Math.max(embedded.shape[0], chosen.shape[0])
      const full = (part: tf.Tensor): tf.Tensor => (part.shape[0] === rows ? part : tf.tile(part, [rows, 1]))
      const features = tf.concat([full(embedded), full(chosen)], 1)
      return { y: stack([...hidden, x.shape[1] as number]).apply(params, x, features), state: {} }
    },
  }
}

/** What networks of flow maps take: the state at s, the times from and to, s ≥ t, and class indices [n], where there are classes. */
export type FlowMapInput = { x: tf.Tensor; s: tf.Tensor; t: tf.Tensor } | { x: tf.Tensor; s: tf.Tensor; t: tf.Tensor; label: tf.Tensor }

/** Options of {@link flowMapMlp}. */
export interface FlowMapMlpOptions {
  /** Widths of the hidden layers. Default [64, 64, 64]. */
  hidden?: readonly number[]
  /** Number of classes; a null class is added, whose index is `classes`. Default none. */
  classes?: number
}

/**
 * A perceptron of a flow map: features s, t, s − t, 1 and sin, cos of πs, πt, 2πs, 2πt. The times aren't scaled up, since a
 * derivative by them would be.
 *
 * @returns a layer from `{ x [n, d], s [n], t [n], label? [n] int32 }` to [n, d]
 */
export function flowMapMlp({ hidden = [64, 64, 64], classes }: FlowMapMlpOptions = {}): Layer<MlpParams, Empty, FlowMapInput> & {
  nullLabel: number | undefined
} {
  if (hidden.length === 0) throw new OptionError('flowMapMlp: hidden must name at least one width')
  const classColumns = classes === undefined ? 0 : classes + 1
  return {
    nullLabel: classes,
    init(key, { x }) {
      const d = checkPoints('flowMapMlp', x)
      return { params: stack([...hidden, d]).init(key, d + 12 + classColumns), state: {}, outputShape: [d] }
    },
    apply(params, _, input) {
      const { x, s, t } = input
      const [from, to] = [tf.reshape(s, [-1, 1]), tf.reshape(t, [-1, 1])]
      const angles = tf.concat([from, to, tf.mul(from, 2), tf.mul(to, 2)], 1)
      const turned = tf.mul(angles, Math.PI)
      const times = [from, to, tf.sub(from, to), tf.onesLike(from), tf.sin(turned), tf.cos(turned)]
      const ids = 'label' in input ? input.label : tf.fill([from.shape[0]], classes ?? 0, 'int32')
      const chosen = classes === undefined ? [] : [tf.cast(tf.oneHot(tf.cast(ids, 'int32') as tf.Tensor1D, classColumns), 'float32')]
      const features = tf.concat([...times, ...chosen], 1)
      return { y: stack([...hidden, x.shape[1] as number]).apply(params, x, features), state: {} }
    },
  }
}
