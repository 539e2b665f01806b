/**
 * Rivals that send the output's error, or the label itself, to hidden layers through fixed random matrices: feedback
 * alignment (Lillicrap et al. 2016), direct feedback alignment (Nøkland 2016, arXiv 1609.01596), direct random target
 * projection (Frenkel et al. 2021, arXiv 1909.01311); with them exact errors, and no errors at all, as controls.
 */
import { OptionError } from '@bpf/core'
import { initializers } from '@bpf/core/nn'
import { fold } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import type { ClassifierLearner } from '../shared/labelled'
import { denseClassifier, times, type DenseClassifierOptions, type DenseClassifierState } from './dense-classifier'
import { crossEntropySlope } from './local-step'

/** Where hidden layers have their errors from. */
export type ErrorRoute =
  'backpropagation' | 'feedbackAlignment' | 'directFeedbackAlignment' | 'directRandomTargetProjection' | 'lastLayerOnly'

const routes: readonly ErrorRoute[] = [
  'backpropagation',
  'feedbackAlignment',
  'directFeedbackAlignment',
  'directRandomTargetProjection',
  'lastLayerOnly',
]

/**
 * A network of dense layers without biases whose hidden layers learn from errors on one of these routes; the last layer
 * always learns from the cross-entropy. With e = (softmax(a_L) − y)/n and δ_L = e, W_l gets the gradient a_{l−1}ᵀ·δ_l:
 * `backpropagation` δ_l = φ′·δ_{l+1}W_{l+1}ᵀ; `feedbackAlignment` δ_l = φ′·δ_{l+1}R_{l+1} with R_{l+1} fixed, of the shape
 * of W_{l+1}ᵀ; `directFeedbackAlignment` δ_l = φ′·e·R_l; `directRandomTargetProjection` δ_l = φ′·(onehot(y)/n)·R_l;
 * `lastLayerOnly` hidden layers stay as they were drawn.
 *
 * @param options - those of the network and its update, as for counterCurrentLearning (rate 1 and clip 1 by default)
 * @returns a classifier for x [n, d]
 * @throws OptionError for a route there is not
 */
export function errorFeedback({
  route,
  ...options
}: DenseClassifierOptions & { route: ErrorRoute }): ClassifierLearner<DenseClassifierState> {
  if (!routes.includes(route)) throw new OptionError(`errorFeedback: route must be one of ${routes.join(', ')}, got '${String(route)}'`)
  const direct = route === 'directFeedbackAlignment' || route === 'directRandomTargetProjection'
  return denseClassifier('errorFeedback', options, {
    lastOnly: route === 'lastLayerOnly',
    extra(key, sizes) {
      const hidden = sizes.slice(1, -1)
      const classes = sizes[sizes.length - 1]
      if (direct) return hidden.map((units, l) => initializers.torchDefault(fold(key, l), [classes, units]))
      if (route !== 'feedbackAlignment') return []
      return hidden.map((units, l) => initializers.torchDefault(fold(key, l), [sizes[l + 2], units]))
    },
    gradients(kernels, matrices, activations, targets, rule) {
      const last = kernels.length - 1
      const { slope: error, aux: loss } = crossEntropySlope(activations[last + 1], targets)
      const metrics = { loss }
      const gradient = (l: number, delta: tf.Tensor): tf.Tensor => times(activations[l], delta, true)
      const grads = [gradient(last, error)]
      if (route === 'lastLayerOnly') return { kernels: grads, extra: [], metrics }
      const source = route === 'directRandomTargetProjection' ? tf.div(targets, targets.shape[0]) : error
      let delta = error
      for (let l = last - 1; l >= 0; l--) {
        const sent = direct
          ? times(source, matrices[l])
          : route === 'backpropagation'
            ? times(delta, kernels[l + 1], false, true)
            : times(delta, matrices[l])
        delta = rule.slope(activations[l + 1], sent)
        grads.unshift(gradient(l, delta))
      }
      return { kernels: grads, extra: [], metrics }
    },
  })
}
