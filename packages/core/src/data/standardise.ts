import { OptionError, ShapeError } from '../errors'
import { product, type HostArray } from './host-array'

/** Mean and scale of each feature, as {@link fitStandardiser} finds them on the training data. */
export interface Standardiser {
  /** [d] */
  readonly mean: Float64Array
  /** [d] standard deviations; 1 for a constant feature. */
  readonly scale: Float64Array
  /** `(x − mean) / scale` for rows [n, d] (any shape whose further axes hold d values). */
  apply(array: HostArray): HostArray
}

function featureCount(array: HostArray): number {
  return product(array.shape.slice(1))
}

/**
 * Finds mean and (population) standard deviation of each feature, in double precision.
 *
 * @param array - training data [n, ...], n ≥ 1; every position of the further axes is a feature
 * @returns the statistics, and `apply` for training and test data alike
 * @throws OptionError when there is no row; `apply` throws ShapeError for another number of features
 */
export function fitStandardiser(array: HostArray): Standardiser {
  const { data, shape } = array
  const [n] = shape
  if (!(n > 0)) throw new OptionError('fitStandardiser: expected at least one row')
  const d = featureCount(array)
  const mean = new Float64Array(d)
  const squares = new Float64Array(d)
  // Welford's update, row by row: no cancellation where the mean is large.
  for (let row = 0, i = 0; row < n; row++) {
    for (let j = 0; j < d; j++, i++) {
      const delta = data[i] - mean[j]
      mean[j] += delta / (row + 1)
      squares[j] += delta * (data[i] - mean[j])
    }
  }
  const scale = squares.map((sum) => Math.sqrt(sum / n) || 1)
  return { mean, scale, apply: (other) => standardise(other, mean, scale) }
}

function standardise(array: HostArray, mean: Float64Array, scale: Float64Array): HostArray {
  const d = mean.length
  if (featureCount(array) !== d) {
    throw new ShapeError(`standardise: fitted on ${d} features, got shape [${array.shape.join(', ')}] with ${featureCount(array)}`)
  }
  const { data, shape } = array
  const values = new Float32Array(data.length)
  for (let i = 0, j = 0; i < data.length; i++, j = j + 1 === d ? 0 : j + 1) values[i] = (data[i] - mean[j]) / scale[j]
  return { data: values, shape, dtype: 'float32' }
}
