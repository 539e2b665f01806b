import { squaredDistances, type FeatureMatrix, type Products } from '../shared/matrix'

/** Rows of each label, ascending. */
export function membersOf(labels: Int32Array, K: number): Int32Array[] {
  const lists = Array.from({ length: K }, (): number[] => [])
  labels.forEach((label, i) => lists[label].push(i))
  return lists.map((list) => Int32Array.from(list))
}

/**
 * Mean-shift modes [K, D] of clusters (card section 5a): c ← Σ g_p x_p / Σ g_p with g_p = exp(−‖x_p − c‖²/(2 sigma²)) over the
 * cluster's points, until the largest change is below 1e-5 of the largest entry.
 *
 * @param x - [N, D]
 * @param labels - cluster of every row
 * @param start - previous prototypes [K, D]
 * @param sigma - bandwidth
 */
export function meanShift(x: FeatureMatrix, labels: Int32Array, start: Float64Array, sigma: number): Float64Array {
  const D = x.shape[1]
  const out = new Float64Array(start.length)
  membersOf(labels, start.length / D).forEach((members, k) => {
    let c = start.slice(k * D, (k + 1) * D)
    const distances = new Float64Array(members.length)
    for (let step = 0; step < 1000; step++) {
      members.forEach((p, at) => (distances[at] = squared(x, p, c)))
      // Weights are relative, so the smallest distance is taken off: far from all points none of them is lost to underflow.
      const least = distances.reduce((a, b) => Math.min(a, b), Infinity)
      const next = new Float64Array(D)
      let total = 0
      members.forEach((p, at) => {
        const g = Math.exp((least - distances[at]) / (2 * sigma * sigma))
        total += g
        for (let d = 0; d < D; d++) next[d] += g * x.data[p * D + d]
      })
      let change = 0
      let largest = 0
      for (let d = 0; d < D; d++) {
        next[d] /= total
        change = Math.max(change, Math.abs(next[d] - c[d]))
        largest = Math.max(largest, Math.abs(c[d]))
      }
      c = next
      if (change < 1e-5 * largest) break
    }
    out.set(c, k * D)
  })
  return out
}

/** First modes of BO: of each cluster the point with the largest sum of kernels to the others; quadratic in a cluster's size. */
export function kernelMedoids(x: FeatureMatrix, labels: Int32Array, K: number, sigma: number, products: Products): Int32Array {
  const D = x.shape[1]
  return Int32Array.from(membersOf(labels, K), (members) => {
    const size = members.length
    const rows = new Float64Array(size * D)
    members.forEach((p, at) => rows.set(x.data.subarray(p * D, (p + 1) * D), at * D))
    const own: FeatureMatrix = { data: products === 'native' ? new Float32Array(rows) : rows, shape: [size, D] }
    const sums = new Float64Array(size)
    for (let from = 0; from < size; from += block) {
      const to = Math.min(size, from + block)
      const distances = squaredDistances(own, rows.subarray(from * D, to * D), products)
      for (let a = 0, at = 0; a < size; a++) {
        for (let b = from; b < to; b++, at++) if (a !== b) sums[a] += Math.exp(-distances[at] / (2 * sigma * sigma))
      }
    }
    let best = 0
    sums.forEach((sum, at) => (best = sum > sums[best] ? at : best))
    return members[best]
  })
}

/** Points of a cluster compared with all others at once. */
const block = 512

/** ‖x_row − c‖² */
function squared(x: FeatureMatrix, row: number, c: Float64Array): number {
  const D = x.shape[1]
  let sum = 0
  for (let d = 0; d < D; d++) {
    const difference = x.data[row * D + d] - c[d]
    sum += difference * difference
  }
  return sum
}
