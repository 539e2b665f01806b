/** Fixed random projections P of labels: the columns of P [d, C] (rows of what is kept here, [C, d]) are a layer's targets. */
import { OptionError, tree, type Key } from '@bpf/core'
import { initializers } from '@bpf/core/nn'
import { normal, rademacher, uniform } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { activationRule, type TargetActivation } from './activation'

/**
 * `sign` ±s, equally likely; `gaussian` N(0, s²); `uniform` s·U(±√(6/d)), Kaiming's bound, as in DRTP's code; `orthogonal`
 * columns of length s·√d, for d ≥ C. Or a function that draws Pᵀ [C, d], whose values are taken as they are.
 */
export type ProjectionKind = 'sign' | 'gaussian' | 'uniform' | 'orthogonal' | ((key: Key, shape: readonly [number, number]) => tf.Tensor)

const kinds: readonly ProjectionKind[] = ['sign', 'gaussian', 'uniform', 'orthogonal']

/** @throws OptionError for a kind there is not, or a scale that the activation cannot reach */
export function checkProjection(where: string, kind: ProjectionKind, scale: number, activations: readonly TargetActivation[]): void {
  if (typeof kind !== 'function' && !kinds.includes(kind)) {
    throw new OptionError(`${where}: projection must be one of ${kinds.join(', ')}, or a function, got '${String(kind)}'`)
  }
  if (!(scale > 0 && scale < Infinity)) throw new OptionError(`${where}: projectionScale must be positive, got ${scale}`)
  if (scale > 1 && typeof kind !== 'function' && activations.includes('tanh')) {
    throw new OptionError(`${where}: tanh targets must lie in [−1, 1]: got projectionScale ${scale}; choose at most 1`)
  }
}

function draw(
  where: string,
  kind: Exclude<ProjectionKind, (...args: never[]) => unknown>,
  key: Key,
  classes: number,
  units: number,
): tf.Tensor {
  const shape = [classes, units]
  if (kind === 'sign') return rademacher(key, shape)
  if (kind === 'gaussian') return normal(key, shape)
  if (kind === 'uniform') return uniform(key, shape, { low: -Math.sqrt(6 / units), high: Math.sqrt(6 / units) })
  if (units < classes) {
    throw new OptionError(`${where}: an orthogonal projection needs layers of at least ${classes} units (the classes), got ${units}`)
  }
  return tf.mul(initializers.orthogonal()(key, shape), Math.sqrt(units))
}

function checkRange(where: string, projection: tf.Tensor, activation: TargetActivation): void {
  const { range, interval } = activationRule(where, activation)
  const values = projection.dataSync()
  // A float32 of a bound may lie beyond it by its last bit.
  const bad = values.find((value) => !(value >= range[0] - 1e-6 * Math.abs(range[0]) && value <= range[1] + 1e-7))
  if (bad !== undefined) {
    throw new OptionError(`${where}: ${activation} targets must lie in ${interval}: got ${bad}; scale or shift the projection`)
  }
}

/**
 * Draws Pᵀ [C, d] with values that the activation can take: for sigmoid 0.5 + 0.4·p/max|P|; for ReLU |p|, and {0, s} in place
 * of ±s. Gaussian and orthogonal targets of tanh may pass ±1; their tails saturate.
 */
export function drawProjection(
  where: string,
  { kind, scale }: { kind: ProjectionKind; scale: number },
  key: Key,
  [classes, units]: readonly [number, number],
  activation: TargetActivation,
): tf.Tensor {
  return tree.tidy(() => {
    if (typeof kind === 'function') {
      const own = kind(key, [classes, units])
      if (own.shape[0] !== classes || own.shape[1] !== units || own.rank !== 2) {
        throw new OptionError(`${where}: projection must return shape [${classes}, ${units}], got [${own.shape.join(', ')}]`)
      }
      checkRange(where, own, activation)
      return tf.clone(own)
    }
    const p = tf.mul(draw(where, kind, key, classes, units), scale)
    if (activation === 'sigmoid') return tf.add(tf.mul(tf.div(p, tf.max(tf.abs(p))), 0.4), 0.5)
    if (activation !== 'relu') return p
    return kind === 'sign' ? tf.relu(p) : tf.abs(p)
  })
}
