/**
 * B. Hui, D. Yan, X. Ma, W. Ku, "Rethinking Graph Lottery Tickets: Graph Sparsity Matters", ICLR 2023, arXiv 2305.02190: the
 * second iterative baseline of TEDDY. As UGS, but masks on edges are driven apart by how far the outputs of each class are from
 * those of the rest.
 */
import { OptionError, stopGradient } from '@bpf/core'
import { maskedLogSumExp, pairwiseSquaredDistances } from '@bpf/core/ops'
import { fold, key as keyOf, permutationArray } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import type { Graph } from '../graph'
import { pruneIteratively, type IterativePruningOptions, type PruningLevel } from './ugs'

/** Options of {@link fitWdGlt}. */
export interface FitWdGltOptions extends IterativePruningOptions {
  /** λ_W, weight of the distance. Default 0.1. */
  separation?: number
  /**
   * Nodes, drawn once, whose outputs are compared: a step holds classes · nodes² numbers. Default all, as in the paper.
   */
  comparedNodes?: number
}

/**
 * Σ_c W(outputs predicted c, outputs of the rest): optimal transport between two sets of rows with equal weights in each, cost
 * the Euclidean distance, by Sinkhorn iterations in the log domain; Σ P · cost of the plan P. Classes that no row, or every
 * row, is predicted as add nothing. Differentiable through the iterations.
 *
 * @param probabilities - [n, C]
 * @param options - `epsilon`: weight of the entropy, default 1e-3; `iterations`, default 10
 * @returns scalar
 */
export function classSeparation(probabilities: tf.Tensor, { epsilon = 1e-3, iterations = 10 } = {}): tf.Tensor {
  return tf.tidy(() => {
    const [n, classes] = probabilities.shape
    const predicted = tf.argMax(stopGradient(probabilities), 1)
    const own = tf.transpose(tf.oneHot(predicted as tf.Tensor1D, classes))
    const count = tf.sum(tf.cast(own, 'float32'), 1, true)
    const counts = tf.logicalAnd(tf.greater(count, 0), tf.less(count, n))
    // A class that does not count gets all rows on both sides, so that its plan is finite.
    const [from, to] = [tf.cast(own, 'bool'), tf.logicalNot(tf.cast(own, 'bool'))].map((side) => tf.logicalOr(side, tf.logicalNot(counts)))
    const logMass = (side: tf.Tensor): tf.Tensor => tf.neg(tf.log(tf.sum(tf.cast(side, 'float32'), 1, true)))
    // The root has no slope at 0, where rows are equal.
    const cost = tf.sqrt(tf.add(pairwiseSquaredDistances(probabilities), 1e-12))
    const kernel = tf.expandDims(tf.div(cost, -epsilon), 0)
    const [rows, columns] = [tf.expandDims(from, 2), tf.expandDims(to, 1)]
    let v: tf.Tensor = tf.zeros([classes, n])
    let u = v
    for (let i = 0; i < iterations; i++) {
      u = tf.sub(logMass(from), maskedLogSumExp(tf.add(kernel, tf.expandDims(v, 1)), columns, { axis: 2 }))
      v = tf.sub(logMass(to), maskedLogSumExp(tf.add(kernel, tf.expandDims(u, 2)), rows, { axis: 1 }))
    }
    const exponent = tf.add(kernel, tf.add(tf.expandDims(u, 2), tf.expandDims(v, 1)))
    const pairs = tf.logicalAnd(tf.logicalAnd(rows, columns), tf.expandDims(counts, 2))
    const plan = tf.exp(tf.where(tf.broadcastTo(pairs, exponent.shape), exponent, tf.fill(exponent.shape, -1e4)))
    return tf.sum(tf.mul(plan, tf.expandDims(cost, 0)))
  })
}

/**
 * Graph lottery tickets by iterative pruning whose masks on edges enlarge the distance between classes' outputs (WD-GLT): the
 * loss is the cross-entropy − λ_W · {@link classSeparation}, and masks on edges stay in [0, 1]. Pruning, rewinding and training again
 * are those of `fitUgs`.
 *
 * @param graph - with features, labels and masks; entries are masked one by one, as directed
 * @returns one record for each level, cumulative
 * @throws OptionError for options out of range
 */
export async function fitWdGlt(graph: Graph, options: FitWdGltOptions = {}): Promise<PruningLevel[]> {
  const { separation = 0.1, comparedNodes = graph.nodes, ...rest } = options
  if (!(separation >= 0)) throw new OptionError(`fitWdGlt: separation must be at least 0, got ${separation}`)
  if (!Number.isInteger(comparedNodes) || comparedNodes < 2 || comparedNodes > graph.nodes) {
    throw new OptionError(`fitWdGlt: comparedNodes must be an integer from 2 to ${graph.nodes}, got ${comparedNodes}`)
  }
  const compared = permutationArray(fold(rest.key ?? keyOf(0), 1), graph.nodes)
    .slice(0, comparedNodes)
    .sort()
  return pruneIteratively('fitWdGlt', graph, rest, {
    penalty: ({ logits }) => tf.mul(classSeparation(tf.softmax(tf.gather(logits, tf.tensor1d(compared, 'int32')))), -separation),
    range: [0, 1],
  })
}
