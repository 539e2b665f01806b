import { DataError } from '../errors'
import { readLabels, type LabelsInput } from '../data/array-input'
import { linearAssignment } from '../solve/assignment'

/** How often cluster i meets class j: [clusters, classes], row-major, and the sums of its rows and columns. */
interface Contingency {
  readonly counts: Float64Array
  readonly clusters: number
  readonly classes: number
  readonly total: number
}

function contingency(clusters: LabelsInput, labels: LabelsInput): Contingency {
  const found = readLabels(clusters, 'clusters')
  const truth = readLabels(labels, 'labels', { length: found.length })
  if (found.length === 0) throw new DataError('clusters: there are no rows; the agreement of none is undefined')
  const size = (values: Int32Array) => values.reduce((top, value) => Math.max(top, value), 0) + 1
  const [rows, columns] = [size(found), size(truth)]
  const counts = new Float64Array(rows * columns)
  found.forEach((cluster, i) => counts[cluster * columns + truth[i]]++)
  return { counts, clusters: rows, classes: columns, total: found.length }
}

/**
 * Share of rows that are right when each cluster stands for a class of its own, matched so that most are (Hungarian).
 *
 * @param clusters - cluster indices [n], from 0
 * @param labels - class indices [n]
 * @returns in (0, 1]; the same for every numbering of the clusters
 * @throws ShapeError when the lengths differ, DataError for labels that are not indices, or no rows
 */
export function clusteringAccuracy(clusters: LabelsInput, labels: LabelsInput): number {
  const { counts, clusters: rows, classes, total } = contingency(clusters, labels)
  const columns = Math.max(rows, classes)
  const costs = new Float64Array(rows * columns)
  for (let i = 0; i < rows; i++) for (let j = 0; j < classes; j++) costs[i * columns + j] = -counts[i * classes + j]
  return -linearAssignment({ rows, cols: columns, data: costs }).cost / total
}

/**
 * Normalised mutual information of clusters and classes: I(C; Y) over the mean of the two entropies.
 *
 * @param clusters - cluster indices [n], from 0
 * @param labels - class indices [n]
 * @returns in [0, 1]: 1 where one determines the other (also when both have a single value), 0 where they are independent
 * @throws ShapeError when the lengths differ, DataError for labels that are not indices, or no rows
 */
export function normalizedMutualInformation(clusters: LabelsInput, labels: LabelsInput): number {
  const { counts, clusters: rows, classes, total } = contingency(clusters, labels)
  const rowSums = new Float64Array(rows)
  const columnSums = new Float64Array(classes)
  counts.forEach((count, at) => {
    rowSums[Math.floor(at / classes)] += count
    columnSums[at % classes] += count
  })
  const entropy = (sums: Float64Array) => sums.reduce((sum, count) => sum - (count > 0 ? (count / total) * Math.log(count / total) : 0), 0)
  const mean = (entropy(rowSums) + entropy(columnSums)) / 2
  if (mean === 0) return 1
  let information = 0
  counts.forEach((count, at) => {
    if (count > 0)
      information += (count / total) * Math.log((count * total) / (rowSums[Math.floor(at / classes)] * columnSums[at % classes]))
  })
  return Math.min(1, Math.max(0, information / mean))
}
