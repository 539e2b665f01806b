/**
 * NoProp: training neural networks without full back-propagation or full forward-propagation.
 *
 * Qinyu Li, Yee Whye Teh, Razvan Pascanu: "NoProp: Training Neural Networks without Back-propagation or Forward-propagation",
 * 2025, arXiv:2503.24322.
 *
 * A classifier is a chain of blocks. Each sees the input x and a noisy copy of the label's embedding and learns to predict the
 * clean one; the noisy copies come from a fixed diffusion, so that no block needs anything of another. At test time the chain
 * starts from noise and the blocks run in order. Where the paper leaves a choice open (clamps of the schedule, detaching for
 * a fixed embedding in FM) it is documented at the option. The re-implementations we know of shift the schedule's index by one,
 * start the evaluation from the true label, or leave the noise out of the stochastic equation; we do none of these.
 */
import { continuousNoProp, type NoPropContinuousOptions } from './continuous'
import { discreteNoProp, type NoPropDiscreteClassifier, type NoPropDiscreteOptions } from './discrete'
import { flowNoProp, type NoPropFlowOptions } from './flow'
import type { NoPropClassifier } from './model'

export {
  noPropBlock,
  noPropConvBlock,
  noPropDenseBlock,
  type ConvBlockOptions as NoPropConvBlockOptions,
  type DenseBlockOptions as NoPropDenseBlockOptions,
  type LayeredBlockOptions as NoPropBlockOptions,
  type NoPropBlock,
} from './block'
export { noPropAdjoint, type NoPropAdjointOptions } from './adjoint'
export type { NoPropContinuousOptions } from './continuous'
export {
  noPropBackpropagation,
  type NoPropBackpropagationOptions,
  type NoPropDiscreteClassifier,
  type NoPropDiscreteOptions,
} from './discrete'
export type { NoPropFlowOptions } from './flow'
export type { OdeSolver as NoPropSolver } from './integrate'
export type { NoPropClassifier, NoPropCommonOptions, NoPropState } from './model'
export { noPropCoefficients, noPropCosineSchedule, type CosineScheduleOptions, type DiffusionCoefficients } from './schedule'

/** Options of {@link noProp}; `variant` says which further ones there are. */
export type NoPropOptions = NoPropDiscreteOptions | NoPropContinuousOptions | NoPropFlowOptions

/**
 * A NoProp classifier for `fit` or {@link fitClassifier}. Variants: `dt` (default), T blocks with losses
 * (T/2)·η·(SNR(t) − SNR(t−1))·‖û_t(z_{t−1}, x) − u_y‖²; `ct`, one network of time with ½·η·SNR'(t)·‖û(z_t, x, t) − u_y‖² and
 * a learned schedule; `fm`, one velocity field with ‖v(z_t, x, t) − (u_y − z_0)‖².
 *
 * @returns metrics of a step: `loss`, its terms, and for `dt` each block's own loss `block1`…`blockT`
 * @throws OptionError for an option out of range; ShapeError from `init` when the block's output is of another length
 * @see Li, Teh, Pascanu, 2025, arXiv:2503.24322
 *
 * @example
 * ```ts
 * import { fitClassifier, noProp, noPropDenseBlock } from '@bpf/local'
 * import { adam } from '@bpf/core/optim'
 *
 * const X = [[0, 0], [0, 1], [1, 0], [1, 1]]
 * const y = [0, 1, 1, 0]
 * const block = noPropDenseBlock({ x: [16], z: [8], trunk: [16] })
 * const method = noProp({ classes: 2, steps: 5, block, optimizer: adam({ learningRate: 0.02 }) })
 * const model = await fitClassifier(method, X, y, { epochs: 200, batchSize: 4 })
 * console.log(await model.predict(X))
 * model.dispose()
 * ```
 */
export function noProp(options: NoPropDiscreteOptions): NoPropDiscreteClassifier
export function noProp(options: NoPropOptions): NoPropClassifier
export function noProp(options: NoPropOptions): NoPropClassifier {
  if (options.variant === 'ct') return continuousNoProp(options)
  return options.variant === 'fm' ? flowNoProp(options) : discreteNoProp(options)
}
