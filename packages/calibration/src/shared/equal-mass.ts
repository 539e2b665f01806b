import { stableOrder } from './sort'

/** Bins of (nearly) equal numbers of examples. */
export interface EqualMassBins {
  /** [B + 1] ascending: 0, mid-points of neighbouring sorted predictions, 1. */
  readonly edges: Float64Array
  /** [B] examples */
  readonly counts: Float64Array
  /** [B] occurrences */
  readonly hits: Float64Array
  /** [B] sum of predictions */
  readonly sums: Float64Array
}

/** Sorts predictions into B bins of equal mass; the first N mod B bins have one example more. */
export function equalMassBins(p: Float64Array, o: Uint8Array, bins: number, order: Int32Array = stableOrder(p)): EqualMassBins {
  const n = p.length
  const edges = new Float64Array(bins + 1)
  const counts = new Float64Array(bins)
  const hits = new Float64Array(bins)
  const sums = new Float64Array(bins)
  const size = Math.floor(n / bins)
  const larger = n % bins
  for (let b = 0, i = 0; b < bins; b++) {
    counts[b] = size + (b < larger ? 1 : 0)
    const end = i + counts[b]
    for (; i < end; i++) {
      hits[b] += o[order[i]]
      sums[b] += p[order[i]]
    }
    if (b + 1 < bins) edges[b + 1] = i > 0 && i < n ? (p[order[i - 1]] + p[order[i]]) / 2 : 0
  }
  edges[bins] = 1
  return { edges, counts, hits, sums }
}
