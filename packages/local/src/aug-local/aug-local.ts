/**
 * Chenxiang Ma, Jibin Wu, Chenyang Si, Kay Chen Tan, "Scaling Supervised Local Learning with Augmented Auxiliary Networks",
 * ICLR 2024, arXiv:2402.17318.
 *
 * Every hidden layer is trained by the cross-entropy of a helper that copies the architecture, not the weights, of a few
 * layers after it, so that it learns what those will need; no gradient passes between layers. The helpers get shallower
 * towards the end, and are dropped after training.
 *
 * The paper's code takes one optimizer step over all parameters at the end of a pass; here each layer is updated before the
 * next one goes forward. Both give the same parameters, since no gradient and no activation depends on another layer's update.
 */
import { batchNorm, dense, globalAvgPool, sequential, type Layer } from '@bpf/core/nn'
import { classifierObjective } from '../shared/block-chain'
import { localLearner, type Auxiliary, type LocalLearner, type LocalNetworkOptions } from './local-learning'
import { auxiliaryPlan, type AuxiliaryPlanOptions, type AuxiliaryRow } from './plan'

/** Options of {@link augLocal}. */
export interface AugLocalOptions extends LocalNetworkOptions, AuxiliaryPlanOptions {}

/** Blocks of the row's widths and strides, then global average pooling, batch norm where the depth asked for is 1, and a dense layer. */
function helper({ layers, classes }: Parameters<Auxiliary>[0], { depth, indices, strides, outChannels }: AuxiliaryRow): Layer {
  // A stem takes images: what is repeated for the first layer is the block of the second, in the first one's width.
  const blocks = indices.map((j, i) => layers[Math.max(j, 1)].build(outChannels[i], strides[i]))
  return sequential([...blocks, globalAvgPool(), ...(depth <= 1 ? [batchNorm()] : []), dense(classes)]) as Layer
}

/**
 * AugLocal: a deep network whose layers are trained in isolation by augmented auxiliary networks.
 *
 * Per minibatch, for l = 0 … L − 2: h_l = layer_l(sg(h_{l−1})), loss_l = CE(helper_l(h_l), y), update of layer_l and helper_l;
 * the last layer is updated by the loss of the network's own classifier.
 *
 * @returns a classifier for `fit` or {@link fitClassifier}, and `plan`, the helpers; metrics `loss` (of the classifier) and
 *   `loss/m` of every other module m
 * @throws OptionError for an option out of range, fewer than two layers, or widths that don't double; ShapeError when
 *   training on a batch of one example with batch norm
 * @see auxiliaryPlan
 *
 * @example
 * ```ts
 * import { augLocal, fitClassifier, residualLayers } from '@bpf/local'
 * import { random } from '@bpf/core'
 *
 * // 120 images of 8 × 8 whose class is the bright column.
 * const y = Int32Array.from({ length: 120 }, (_, i) => i % 4)
 * const noise = random.normalArray(random.key(1), 120 * 64, { stddev: 0.5 })
 * const pixels = noise.map((value, i) => value + (i % 8 === 2 * y[Math.floor(i / 64)] ? 2 : 0))
 *
 * const method = augLocal({ layers: residualLayers([4, 4, 8, 8]), classes: 4 })
 * const model = await fitClassifier(method, { data: pixels, shape: [120, 8, 8, 1] }, y, { epochs: 15, batchSize: 24 })
 * console.log({ accuracy: await model.score({ data: pixels, shape: [120, 8, 8, 1] }, y), helpers: method.plan })
 * model.dispose()
 * ```
 */
export function augLocal(options: AugLocalOptions): LocalLearner & { readonly plan: readonly AuxiliaryRow[] } {
  const { layers, dMax, pyramidCoeff, selection } = options
  const widths = layers.map(({ width }) => width)
  // With one layer, or one module, there is nothing to plan: what is wrong with that, if anything, is said below.
  const plan = layers.length < 2 || options.modules === 1 ? [] : auxiliaryPlan(widths, { dMax, pyramidCoeff, selection })
  const learner = localLearner('augLocal', options, (context) => classifierObjective(helper(context, plan[context.index])))
  return { ...learner, plan }
}
