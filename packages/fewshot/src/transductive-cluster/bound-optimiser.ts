import { OptionError, ShapeError } from '@bpf/core'
import type { Affinity } from './affinity'

/** Options of {@link boundOptimise}. */
export interface BoundOptions {
  /** Unary costs [N, K], row-major. */
  costs: Float64Array
  affinity: Affinity
  lambda: number
  /** Labels of the first rows. */
  labelled?: ArrayLike<number>
  /** `init`: labels only seed the first message. `clamp`: labelled rows are one-hot after every update. */
  supervision?: 'init' | 'clamp'
  iterations?: number
  /** Relative change of the energy to stop at. */
  tolerance?: number
}

/**
 * Energy Σ (Y log Y + a·Y − lambda (W Y)·Y) of relaxed assignments (card section 4).
 *
 * @param Y - assignments [N, K]
 * @param costs - a [N, K]
 * @param affinity - W
 * @param lambda - weight; half of the objective's gives the energy that never rises
 */
export function boundEnergy(Y: Float64Array, costs: Float64Array, affinity: Affinity, lambda: number): number {
  const K = costs.length / affinity.size
  const message = lambda === 0 ? new Float64Array(costs.length) : multiply(affinity, Y, K)
  let energy = 0
  for (let at = 0; at < Y.length; at++) {
    energy += Y[at] * (Math.log(Math.max(Y[at], 1e-20)) + costs[at] - lambda * message[at])
  }
  return energy
}

/** W Y by the edges only: N · knn · K multiply-adds. */
export function multiply(
  { size, starts, columns, weights }: Affinity,
  Y: Float64Array,
  K: number,
  out = new Float64Array(size * K),
): Float64Array {
  out.fill(0)
  for (let i = 0; i < size; i++) {
    for (let e = starts[i]; e < starts[i + 1]; e++) {
      const weight = weights[e]
      const from = columns[e] * K
      for (let k = 0; k < K; k++) out[i * K + k] += weight * Y[from + k]
    }
  }
  return out
}

/**
 * The parallel bound optimiser over assignments, prototypes fixed: Y ← softmax_row(−a + lambda W Y) until the energy settles.
 *
 * @param options - costs, affinity, weight and how to stop (600 iterations, 1e-7)
 * @returns assignments [N, K], the energies after every update, the number of updates
 * @throws OptionError for lambda < 0; ShapeError when costs don't fit the affinity
 */
export function boundOptimise(options: BoundOptions): { assignments: Float64Array; energies: number[]; iterations: number } {
  const { costs, affinity, lambda, labelled = [], supervision = 'init', iterations = 600, tolerance = 1e-7 } = options
  const N = affinity.size
  const K = costs.length / N
  if (!Number.isInteger(K)) throw new ShapeError(`costs: expected ${N} rows like the affinity, got ${costs.length} values`)
  if (!(lambda >= 0)) throw new OptionError(`lambda should be at least 0, got ${lambda}`)
  const Y = new Float64Array(N * K)
  const message = new Float64Array(N * K)
  const clamp = (): void => {
    for (let i = 0; i < labelled.length; i++) Y.fill(0, i * K, (i + 1) * K)[i * K + labelled[i]] = 1
  }
  /** Y from the message, and Σ Y log Y + a·Y on the way, which is cheap as log Y = score − log Σ. */
  const update = (): number => {
    let total = 0
    for (let start = 0; start < Y.length; start += K) {
      let top = -Infinity
      for (let at = start; at < start + K; at++) {
        Y[at] = lambda * message[at] - costs[at]
        if (Y[at] > top) top = Y[at]
      }
      let sum = 0
      for (let at = start; at < start + K; at++) {
        Y[at] = Math.exp(Y[at] - top)
        sum += Y[at]
      }
      const logSum = top + Math.log(sum)
      for (let at = start; at < start + K; at++) {
        Y[at] = Math.max(Y[at] / sum, Number.MIN_VALUE)
        // log Y + a = lambda W Y_old − log Σ.
        total += Y[at] * (lambda * message[at] - logSum)
      }
    }
    return total
  }
  update()
  clamp()
  multiply(affinity, Y, K, message)
  const energies: number[] = []
  for (let i = 0; i < iterations; i++) {
    let energy = update()
    if (supervision === 'clamp') clamp()
    multiply(affinity, Y, K, message)
    if (supervision === 'clamp') energy = boundEnergy(Y, costs, affinity, lambda)
    else for (let at = 0; at < Y.length; at++) energy -= lambda * message[at] * Y[at]
    energies.push(energy)
    if (i > 1 && Math.abs(energy - energies[i - 1]) <= tolerance * Math.abs(energies[i - 1])) break
  }
  return { assignments: Y, energies, iterations: energies.length }
}
