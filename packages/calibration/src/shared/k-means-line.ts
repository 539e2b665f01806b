import { lowerBound, upperBound } from './sort'

/**
 * Where sorted values change from one centroid to the next: cluster b holds the values from `bounds[b]` to
 * `bounds[b + 1]` (exclusive). A value in the middle of two centroids belongs to the lower one.
 */
export function nearestBounds(sorted: Float64Array, count: number, centroids: Float64Array): Int32Array {
  const clusters = centroids.length
  const bounds = new Int32Array(clusters + 1)
  for (let b = 1; b < clusters; b++) {
    bounds[b] = upperBound(sorted, (centroids[b - 1] + centroids[b]) / 2, bounds[b - 1], count)
  }
  bounds[clusters] = count
  return bounds
}

/**
 * Deterministic k-means of sorted values on a line: centroids start evenly spaced from the least to the largest value;
 * at most `iterations` Lloyd steps, each by binary search and prefix sums. An empty cluster keeps its centroid.
 *
 * @param sorted - ascending; only the first `count` entries are used
 * @param prefix - [count + 1] prefix sums of `sorted`, from 0
 * @returns the bounds of the clusters, as {@link nearestBounds}
 */
export function kMeansBounds(sorted: Float64Array, count: number, prefix: Float64Array, clusters: number, iterations = 15): Int32Array {
  const centroids = new Float64Array(clusters)
  const least = sorted[0]
  const range = count > 0 ? sorted[count - 1] - least : 0
  for (let b = 0; b < clusters; b++) centroids[b] = least + (clusters === 1 ? range / 2 : (range * b) / (clusters - 1))
  let bounds = nearestBounds(sorted, count, centroids)
  for (let iteration = 0; iteration < iterations; iteration++) {
    for (let b = 0; b < clusters; b++) {
      const size = bounds[b + 1] - bounds[b]
      if (size > 0) centroids[b] = (prefix[bounds[b + 1]] - prefix[bounds[b]]) / size
    }
    const next = nearestBounds(sorted, count, centroids)
    if (next.every((bound, b) => bound === bounds[b])) break
    bounds = next
  }
  return bounds
}

/** Bounds of equal-width bins [b/B, (b+1)/B) of sorted values in [0, 1]; the last bin has its upper edge. */
export function equalWidthBounds(sorted: Float64Array, count: number, bins: number): Int32Array {
  const bounds = new Int32Array(bins + 1)
  for (let b = 1; b < bins; b++) bounds[b] = lowerBound(sorted, b / bins, bounds[b - 1], count)
  bounds[bins] = count
  return bounds
}
