/** Training that keeps the parameters of the best validation accuracy inside its state, so that many steps run in one call. */
import { tree, type Tree } from '@bpf/core'
import type { Optimizer } from '@bpf/core/optim'
import * as tf from '@tensorflow/tfjs-core'

/** Parameters, optimizer, and the parameters of the best validation so far with their accuracies. */
export type BestSoFar<P extends Tree> = { params: P; optimizer: Tree; best: P; accuracy: tf.Tensor; testAccuracy: tf.Tensor }

/** The state before the first step: any accuracy is better. */
export function startBest<P extends Tree>(params: P, optimizer: Optimizer): BestSoFar<P> {
  return {
    params,
    optimizer: optimizer.init(params),
    best: tree.clone(params),
    accuracy: tf.scalar(-1),
    testAccuracy: tf.scalar(0),
  }
}

/**
 * The state after a step.
 *
 * @param before - its best and their accuracies are compared
 * @param now - what the step made, and its accuracies
 * @param ties - which of equal accuracies stays
 */
export function keepBest<P extends Tree>(before: BestSoFar<P>, now: Omit<BestSoFar<P>, 'best'>, ties: 'earliest' | 'latest'): BestSoFar<P> {
  const isBest = (ties === 'latest' ? tf.greaterEqual : tf.greater)(now.accuracy, before.accuracy) as tf.Scalar
  return {
    params: now.params,
    optimizer: now.optimizer,
    best: tree.where(isBest, now.params, before.best),
    accuracy: tf.where(isBest, now.accuracy, before.accuracy),
    testAccuracy: tf.where(isBest, now.testAccuracy, before.testAccuracy),
  }
}
