/** Blocks of an isotonic fit: block b has the value `value[b]` and the weight `weight[b]`, and ends before `end[b]`. */
export interface IsotonicBlocks {
  readonly end: Int32Array
  readonly value: Float64Array
  readonly weight: Float64Array
}

/**
 * Pool-adjacent-violators: the ascending sequence nearest to `values` in weighted squares. O(n).
 *
 * @param values - [n]
 * @param weights - [n] positive
 */
export function poolAdjacentViolators(values: ArrayLike<number>, weights: ArrayLike<number>): IsotonicBlocks {
  const n = values.length
  const end = new Int32Array(n)
  const value = new Float64Array(n)
  const weight = new Float64Array(n)
  let top = -1
  for (let i = 0; i < n; i++) {
    top++
    end[top] = i + 1
    value[top] = values[i]
    weight[top] = weights[i]
    while (top > 0 && value[top - 1] >= value[top]) {
      const total = weight[top - 1] + weight[top]
      value[top - 1] += (weight[top] / total) * (value[top] - value[top - 1])
      weight[top - 1] = total
      end[top - 1] = end[top]
      top--
    }
  }
  return { end: end.slice(0, top + 1), value: value.slice(0, top + 1), weight: weight.slice(0, top + 1) }
}

/** Knots of a function that is linear between them and constant beyond: ascending `x`, and `y`. */
export interface Knots {
  readonly x: Float64Array
  readonly y: Float64Array
}

/**
 * Isotonic regression of outcomes on sorted predictions; equal predictions are pooled first. Predictions between two
 * blocks are interpolated linearly.
 *
 * @param p - [n] ascending
 * @param o - [n] outcomes in the same order
 * @returns the first and last prediction of each block, with the block's value
 */
export function isotonicKnots(p: Float64Array | Float32Array, o: ArrayLike<number>): Knots {
  const x: number[] = []
  const mean: number[] = []
  const weight: number[] = []
  for (let i = 0; i < p.length;) {
    let sum = 0
    const from = i
    for (; i < p.length && p[i] === p[from]; i++) sum += o[i]
    x.push(p[from])
    mean.push(sum / (i - from))
    weight.push(i - from)
  }
  return blockKnots(x, x, poolAdjacentViolators(mean, weight))
}

/** Knots of blocks over groups of predictions: each block's least and greatest. @param first, last - of each group */
export function blockKnots(first: ArrayLike<number>, last: ArrayLike<number>, blocks: IsotonicBlocks): Knots {
  const x: number[] = []
  const y: number[] = []
  for (let b = 0, start = 0; b < blocks.end.length; b++) {
    const greatest = last[blocks.end[b] - 1]
    x.push(first[start])
    y.push(blocks.value[b])
    if (greatest > first[start]) {
      x.push(greatest)
      y.push(blocks.value[b])
    }
    start = blocks.end[b]
  }
  return { x: Float64Array.from(x), y: Float64Array.from(y) }
}
