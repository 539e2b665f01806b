/** How both networks are updated: gradient centralisation, a clip of the global norm, SGD. */
import { OptionError, tree, type Tree } from '@bpf/core'
import { chain, clipByGlobalNorm, scaleBySchedule, schedule, sgd, type LearningRate, type Optimizer, type Schedule } from '@bpf/core/optim'
import * as tf from '@tensorflow/tfjs-core'
import { checkSizes } from './mirror'

/** How a network is updated. */
export interface CounterCurrentUpdate {
  /** η; a number or a schedule over steps, {@link epochCosine} say. */
  learningRate?: LearningRate
  /** μ in [0, 1). */
  momentum?: number
  /** λ ≥ 0, added to the clipped gradient as λ·p. */
  weightDecay?: number
  /** Largest global norm of the network's gradient; Infinity for no clip. */
  clip?: number
  /** Gradient centralisation before the clip. */
  centralise?: boolean
  /** Gradients of the first so many steps are scaled by (step + 1)/warmUpSteps, before the clip. */
  warmUpSteps?: number
}

/**
 * Takes from the gradient of each kernel its mean over all axes but that of the outputs. Biases stay.
 *
 * @see Yong et al., "Gradient centralization", 2020, arXiv 2004.01461
 */
export function centraliseGradients(): Optimizer<readonly []> {
  const centred = (g: tf.Tensor): tf.Tensor => (g.rank < 2 ? g.clone() : tf.sub(g, tf.mean(g, [...Array(g.rank - 1).keys()], true)))
  return {
    init: () => [],
    update: <P extends Tree>(grads: P) => tree.tidy(() => ({ updates: tree.map(centred, grads), state: [] as const })),
  }
}

/**
 * Half a cosine over epochs: `from` in the first epoch, `to` (default 0) after `epochs` of them, constant within an epoch.
 *
 * @throws OptionError unless `epochs` and `stepsPerEpoch` are positive integers
 */
export function epochCosine({
  from,
  to = 0,
  epochs,
  stepsPerEpoch,
}: {
  from: number
  to?: number
  epochs: number
  stepsPerEpoch: number
}): Schedule {
  checkSizes('epochCosine', 'epochs and stepsPerEpoch', [epochs, stepsPerEpoch])
  return schedule((step, math) => {
    const epoch = math.floor(math.div(step, stepsPerEpoch))
    const angle = math.mul(math.min(math.div(epoch, epochs), 1), Math.PI)
    return math.add(to, math.mul((from - to) / 2, math.add(math.cos(angle), 1)))
  })
}

/** `options` over `defaults`, undefined ones left out. */
export function settledUpdate(options: CounterCurrentUpdate, defaults: Required<CounterCurrentUpdate>): Required<CounterCurrentUpdate> {
  const { learningRate, momentum, weightDecay, clip, centralise, warmUpSteps } = options
  const given = Object.entries({ learningRate, momentum, weightDecay, clip, centralise, warmUpSteps }).filter(
    ([, value]) => value !== undefined,
  )
  return { ...defaults, ...Object.fromEntries(given) }
}

/** The rules of one network, in their order: warm-up, centralisation, clip, SGD. */
export function counterCurrentOptimizer(where: string, options: Required<CounterCurrentUpdate>): Optimizer<readonly Tree[]> {
  const { learningRate, momentum, weightDecay, clip, centralise, warmUpSteps } = options
  if (!Number.isInteger(warmUpSteps) || warmUpSteps < 0) {
    throw new OptionError(`${where}: warmUpSteps must be an integer of at least 0, got ${warmUpSteps}`)
  }
  if (!(clip > 0)) throw new OptionError(`${where}: clip must be positive, Infinity for none, got ${clip}`)
  const rising = schedule((step, math) => math.min(math.div(math.add(step, 1), warmUpSteps), 1))
  return chain(
    ...(warmUpSteps > 0 ? [scaleBySchedule(rising)] : []),
    ...(centralise ? [centraliseGradients()] : []),
    ...(clip < Infinity ? [clipByGlobalNorm(clip)] : []),
    sgd({ learningRate, momentum, weightDecay }),
  )
}
