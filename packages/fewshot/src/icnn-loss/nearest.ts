import { stopGradient } from '@bpf/core'
import { takeAlongLastAxis, takeRows } from '@bpf/core/ops'
import * as tf from '@tensorflow/tfjs-core'
import { distanceOf, pairwiseDistances } from '../shared/embeddings'

/** Most differences of coordinates held at once. Up to n·m·D of them all distances are exact; beyond, tiles of products find candidates. */
const mostDifferences = 2 ** 26
/** Most values of a tile held at once. */
const tileSize = 2 ** 22
/** Candidates beyond those asked for, since products round. */
const spare = 8

/**
 * The nearest rows of `target` for each row of `origin`, ascending by √(d² + 1e-6); equal ones by index.
 *
 * @param origin - [n, D]
 * @param target - [m, D]
 * @param count - at most m
 * @returns distances [n, count], differentiable in both, and rows of `target` [n, count]
 */
export function nearestNeighbours(origin: tf.Tensor, target: tf.Tensor, count: number): { distances: tf.Tensor; indices: tf.Tensor } {
  const [n, D] = origin.shape as [number, number]
  const indices = nearestIndices(stopGradient(origin), stopGradient(target), count)
  const rows = Math.max(1, Math.floor(mostDifferences / (count * D)))
  const tiles: tf.Tensor[] = []
  for (let start = 0; start < n; start += rows) {
    const size = Math.min(rows, n - start)
    const [x, of] = [tf.slice(origin, [start, 0], [size, D]), tf.slice(indices, [start, 0], [size, count])]
    tiles.push(tf.tidy(() => distancesTo(x, target, of)))
  }
  return { distances: tiles.length === 1 ? tiles[0] : tf.concat(tiles, 0), indices }
}

/** Distances of each row of x [n, D] to the rows of y that `indices` [n, count] names. */
function distancesTo(x: tf.Tensor, y: tf.Tensor, indices: tf.Tensor): tf.Tensor {
  const rows = takeRows(y, tf.reshape(indices, [indices.size]))
  return distanceOf(tf.sum(tf.squaredDifference(tf.expandDims(x, 1), tf.reshape(rows, [...indices.shape, y.shape[1]!])), 2))
}

const smallest = (distances: tf.Tensor, count: number): tf.Tensor => tf.topk(tf.neg(distances), count, true).indices

function nearestIndices(origin: tf.Tensor, target: tf.Tensor, count: number): tf.Tensor {
  const [n, D] = origin.shape as [number, number]
  const m = target.shape[0]
  if (n * m * D <= mostDifferences) return smallest(pairwiseDistances(origin, target), count)
  const candidates = Math.min(m, count + spare)
  const rows = Math.max(1, Math.floor(tileSize / Math.max(m, candidates * D)))
  // ‖x‖² + ‖y‖² − 2 x·y rounds least around the origin.
  const mean = tf.mean(target, 0, true)
  const centred = tf.sub(target, mean)
  const norms = tf.reshape(tf.sum(tf.square(centred), 1), [1, m])
  const tiles: tf.Tensor[] = []
  for (let start = 0; start < n; start += rows) {
    const size = Math.min(rows, n - start)
    tiles.push(
      tf.tidy(() => {
        const x = tf.sub(tf.slice(origin, [start, 0], [size, D]), mean)
        const products = tf.matMul(x as tf.Tensor2D, centred as tf.Tensor2D, false, true)
        const near = smallest(tf.sub(norms, tf.mul(2, products)), candidates)
        const ordered = tf.neg(tf.topk(tf.neg(near), candidates, true).values)
        return takeAlongLastAxis(ordered, smallest(distancesTo(x, centred, ordered), count))
      }),
    )
  }
  return tf.concat(tiles, 0)
}
