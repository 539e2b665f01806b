/** Lee et al., "Difference target propagation", 2015, arXiv 1412.7525: layers learn to reach targets that inverse layers send down. */
import { OptionError } from '@bpf/core'
import { initializers } from '@bpf/core/nn'
import { fold, normal } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import type { ClassifierLearner } from '../shared/labelled'
import { denseClassifier, times, type DenseClassifierOptions, type DenseClassifierState } from './dense-classifier'
import { crossEntropySlope } from './local-step'

/** Options of {@link differenceTargetPropagation}. */
export interface DifferenceTargetPropagationOptions extends DenseClassifierOptions {
  /** η̂ > 0: how far the top hidden layer's target goes down each example's cross-entropy. Default 0.5. */
  targetRate?: number
  /** Standard deviation of the noise on the inputs that inverse layers learn from. Default 0.1. */
  noise?: number
}

/**
 * Difference target propagation through dense layers without biases. With h = L − 1 the last hidden layer:
 * t_h = a_h − η̂·∂CE/∂a_h (of each example), t_{l−1} = a_{l−1} + g_l(t_l) − g_l(a_l), g_l(a) = φ(a·G_l);
 * W_l descends ½·mean‖a_l − t_l‖², W_L the cross-entropy, and G_l ½·mean‖g_l(f_l(ã)) − ã‖² with ã = a_{l−1} + noise.
 *
 * @returns a classifier for x [n, d]; further metric `inverse`, the mean loss of the inverse layers
 * @throws OptionError for targetRate or noise out of range
 */
export function differenceTargetPropagation(options: DifferenceTargetPropagationOptions): ClassifierLearner<DenseClassifierState> {
  const { targetRate = 0.5, noise = 0.1 } = options
  if (!(targetRate > 0)) throw new OptionError(`differenceTargetPropagation: targetRate must be positive, got ${targetRate}`)
  if (!(noise >= 0)) throw new OptionError(`differenceTargetPropagation: noise must be at least 0, got ${noise}`)
  return denseClassifier('differenceTargetPropagation', options, {
    trainsExtra: true,
    // G_l for l = 2 … L − 1, from d_l to d_{l−1}.
    extra: (key, sizes) => sizes.slice(2, -1).map((units, i) => initializers.torchDefault(fold(key, i), [units, sizes[i + 1]])),
    gradients(kernels, inverses, activations, targets, rule, key) {
      const last = kernels.length - 1
      const rows = targets.shape[0]
      const { slope, aux: loss } = crossEntropySlope(activations[last + 1], targets)
      const back = (l: number, a: tf.Tensor): tf.Tensor => rule.apply(times(a, inverses[l - 2]))
      const grads = [times(activations[last], slope, true)]
      // Target minus activation; slope is of the mean over rows.
      let miss = tf.mul(times(slope, kernels[last], false, true), -targetRate * rows)
      for (let l = last; l >= 1; l--) {
        const delta = rule.slope(activations[l], tf.div(miss, -rows))
        grads.unshift(times(activations[l - 1], delta, true))
        if (l > 1) miss = tf.sub(back(l, tf.add(activations[l], miss)), back(l, activations[l]))
      }
      const learnt = inverses.map((_, i) => {
        const input = tf.add(activations[i + 1], normal(fold(key, i), activations[i + 1].shape, { stddev: noise }))
        const output = rule.apply(times(input, kernels[i + 1]))
        const value = back(i + 2, output)
        const rest = tf.sub(value, input)
        const gradient = times(output, rule.slope(value, tf.div(rest, rows)), true)
        return { gradient, loss: tf.div(tf.sum(tf.square(rest)), 2 * rows) }
      })
      const inverse = learnt.length > 0 ? tf.div(tf.addN(learnt.map((one) => one.loss)), learnt.length) : tf.scalar(0)
      return { kernels: grads, extra: learnt.map(({ gradient }) => gradient), metrics: { loss, inverse } }
    },
  })
}
