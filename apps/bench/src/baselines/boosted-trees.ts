/**
 * Gradient boosting of regression trees, as a baseline: J. Friedman, "Greedy Function Approximation: A Gradient Boosting
 * Machine", Annals of Statistics 29 (2001). Trees of fixed depth on the pseudo-residuals, split where the squared error falls
 * most, with a Newton step in each leaf. (ml-cart, the npm package, tries every threshold on a copy of the rows, which for
 * hundreds of trees takes minutes, and does not say in which leaf a row ends.)
 */
import type { BoostingLoss } from '@bpf/local'

/** Options of {@link fitBoostedTrees}. */
export interface BoostedTreesOptions {
  loss: BoostingLoss
  /** Steps; each has a tree for every output. Default 100. */
  steps?: number
  /** Default 3. */
  depth?: number
  /** Share of a leaf's Newton step that is taken. Default 0.1. */
  learningRate?: number
}

/** A complete tree: the children of inner node i are 2i + 1 and 2i + 2; a row goes left where its feature ≤ threshold. */
interface Tree {
  feature: Int32Array
  threshold: Float64Array
  /** [2^depth] */
  leaves: Float64Array
}

/** For each column the rows by increasing value. */
function sortedColumns(x: ArrayLike<number>, rows: number, columns: number): Int32Array[] {
  return Array.from({ length: columns }, (_, c) =>
    Int32Array.from({ length: rows }, (_, i) => i).sort((a, b) => x[a * columns + c] - x[b * columns + c]),
  )
}

/** The split of every node of one level that lowers the squared error most. A node that none helps sends all rows left. */
function bestSplits(
  x: ArrayLike<number>,
  columns: number,
  order: readonly Int32Array[],
  target: Float64Array,
  node: Int32Array,
  nodes: number,
): { feature: Int32Array; threshold: Float64Array } {
  const [sums, counts] = [new Float64Array(nodes), new Float64Array(nodes)]
  target.forEach((value, row) => {
    sums[node[row]] += value
    counts[node[row]]++
  })
  const best = { feature: new Int32Array(nodes), threshold: new Float64Array(nodes).fill(Infinity) }
  const gains = sums.map((sum, i) => (counts[i] > 0 ? (sum * sum) / counts[i] : 0) + 1e-12)
  for (const [c, sorted] of order.entries()) {
    const [left, leftCounts, last] = [new Float64Array(nodes), new Float64Array(nodes), new Float64Array(nodes)]
    for (const row of sorted) {
      const at = node[row]
      const value = x[row * columns + c]
      const count = leftCounts[at]
      if (count > 0 && value > last[at]) {
        const gain = (left[at] * left[at]) / count + (sums[at] - left[at]) ** 2 / (counts[at] - count)
        if (gain > gains[at]) {
          gains[at] = gain
          best.feature[at] = c
          best.threshold[at] = (last[at] + value) / 2
        }
      }
      left[at] += target[row]
      leftCounts[at]++
      last[at] = value
    }
  }
  return best
}

/** A tree's splits, and the leaf of each row. */
function growTree(x: ArrayLike<number>, columns: number, order: readonly Int32Array[], target: Float64Array, depth: number) {
  const tree: Tree = {
    feature: new Int32Array(2 ** depth - 1),
    threshold: new Float64Array(2 ** depth - 1),
    leaves: new Float64Array(2 ** depth),
  }
  const node = new Int32Array(target.length)
  for (let level = 0; level < depth; level++) {
    const { feature, threshold } = bestSplits(x, columns, order, target, node, 2 ** level)
    tree.feature.set(feature, 2 ** level - 1)
    tree.threshold.set(threshold, 2 ** level - 1)
    for (let row = 0; row < node.length; row++) {
      const at = node[row]
      node[row] = 2 * at + (x[row * columns + feature[at]] <= threshold[at] ? 0 : 1)
    }
  }
  return { tree, leaf: node }
}

function leafOf({ feature, threshold }: Tree, x: ArrayLike<number>, at: number): number {
  let i = 0
  while (i < feature.length) i = 2 * i + (x[at + feature[i]] <= threshold[i] ? 1 : 2)
  return i - feature.length
}

/** The step of each leaf: the mean residual for the squared error, else Newton's along the leaf in output k. */
function leafSteps(
  { loss, y, residuals, k }: { loss: BoostingLoss; y: Float64Array; residuals: Float64Array; k: number },
  leaf: Int32Array,
  leaves: number,
): Float64Array {
  return Float64Array.from({ length: leaves }, (_, i) => {
    const inside = new Float64Array(residuals.length)
    let [sum, count] = [0, 0]
    leaf.forEach((own, row) => {
      if (own !== i) return
      inside[row * loss.outputs + k] = 1
      sum += residuals[row * loss.outputs + k]
      count++
    })
    if (count === 0) return 0
    return loss.kind === 'squared' ? sum / count : loss.newtonStep(y, residuals, inside)
  })
}

/**
 * Fits boosted trees.
 *
 * @param x - [n, columns], row-major
 * @param y - as the loss takes it: values, ±1, or one-hot [n, K]
 * @returns F [n, outputs] at other rows
 */
export function fitBoostedTrees(
  x: ArrayLike<number>,
  columns: number,
  y: Float64Array,
  { loss, steps = 100, depth = 3, learningRate = 0.1 }: BoostedTreesOptions,
): (x: ArrayLike<number>) => Float64Array {
  const K = loss.outputs
  const rows = x.length / columns
  const order = sortedColumns(x, rows, columns)
  const initial = loss.initial(y)
  const raw = Float64Array.from({ length: rows * K }, (_, i) => initial[i % K])
  const trees: Tree[][] = []
  for (let t = 0; t < steps; t++) {
    const residuals = loss.residuals(y, raw)
    const step: Tree[] = []
    for (let k = 0; k < K; k++) {
      const target = Float64Array.from({ length: rows }, (_, row) => residuals[row * K + k])
      const { tree, leaf } = growTree(x, columns, order, target, depth)
      tree.leaves.set(leafSteps({ loss, y, residuals, k }, leaf, 2 ** depth).map((value) => learningRate * value))
      for (let row = 0; row < rows; row++) raw[row * K + k] += tree.leaves[leaf[row]]
      step.push(tree)
    }
    trees.push(step)
  }
  return (other) =>
    Float64Array.from({ length: (other.length / columns) * K }, (_, i) => {
      const at = Math.floor(i / K) * columns
      return trees.reduce((sum, step) => sum + step[i % K].leaves[leafOf(step[i % K], other, at)], initial[i % K])
    })
}
