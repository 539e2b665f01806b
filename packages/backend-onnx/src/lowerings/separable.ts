/** Products of one factor for the row and one for the column of an entry may differ from its weight by so much, relative to it. */
const factorTolerance = 5e-7

/** Where roundings have added up along a long way, products may be off by so much before they are evened out. */
const firstTolerance = 1e-3

const eveningSweeps = 4

/**
 * Factors with weight_e = a[destination_e] · b[row_e], where there are such: then rows are weighed before and after the sum, n times
 * instead of once for each entry. Adjacencies that are normalised by degrees are of this kind.
 */
export function separateWeights(
  weight: ArrayLike<number>,
  destinations: ArrayLike<number>,
  rows: ArrayLike<number>,
  sizes: readonly [number, number],
): { a: Float32Array; b: Float32Array } | undefined {
  // Rows of both sides as the nodes of one graph: destinations first.
  const [count, others] = sizes
  const from = (e: number): number => destinations[e]
  const to = (e: number): number => count + rows[e]
  const starts = new Int32Array(count + others + 1)
  for (let e = 0; e < weight.length; e++) {
    if (!(Math.abs(weight[e]) > 0 && Math.abs(weight[e]) < Infinity)) return undefined
    starts[from(e) + 1]++
    starts[to(e) + 1]++
  }
  for (let i = 0; i < count + others; i++) starts[i + 1] += starts[i]
  const next = starts.slice()
  const entries = new Int32Array(2 * weight.length)
  for (let e = 0; e < weight.length; e++) {
    entries[next[from(e)]++] = e
    entries[next[to(e)]++] = e
  }
  const factors = new Float64Array(count + others)
  const queue = new Int32Array(count + others)
  let [first, last] = [0, 0]
  for (let root = 0; root < count; root++) {
    if (factors[root] !== 0) continue
    factors[root] = 1
    queue[last++] = root
    // The nearest first: roundings add up along the way from the root.
    while (first < last) {
      const i = queue[first++]
      for (let k = starts[i]; k < starts[i + 1]; k++) {
        const e = entries[k]
        const other = i < count ? to(e) : from(e)
        if (factors[other] === 0) {
          factors[other] = weight[e] / factors[i]
          queue[last++] = other
        } else if (Math.abs(factors[i] * factors[other] - weight[e]) > firstTolerance * Math.abs(weight[e])) return undefined
      }
    }
  }
  // Each factor becomes the mean of what its entries ask for, which spreads what roundings left at the end of a way over all of it.
  for (let sweep = 0; sweep < eveningSweeps; sweep++) {
    for (let i = 0; i < count + others; i++) {
      let sum = 0
      for (let k = starts[i]; k < starts[i + 1]; k++) sum += weight[entries[k]] / factors[i < count ? to(entries[k]) : from(entries[k])]
      if (starts[i + 1] > starts[i]) factors[i] = sum / (starts[i + 1] - starts[i])
    }
  }
  for (let e = 0; e < weight.length; e++) {
    if (!(Math.abs(factors[from(e)] * factors[to(e)] - weight[e]) <= factorTolerance * Math.abs(weight[e]))) return undefined
  }
  return { a: Float32Array.from(factors.subarray(0, count)), b: Float32Array.from(factors.subarray(count)) }
}
