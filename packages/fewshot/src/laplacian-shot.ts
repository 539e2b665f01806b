/**
 * Ziko, Dolz, Granger and Ben Ayed, "Laplacian Regularized Few-Shot Learning" (2020), arXiv 2006.15486: prototypes stay at the
 * class means, and neighbouring queries are pulled to the same label by one run of the bound optimiser.
 */
import { bestColumns, checkTask, classMeans, squaredDistances } from './shared/matrix'
import { boundOptimise, knnAffinity, shiftQueries, type Affinity, type TransductiveInput } from './transductive-cluster'

/** Options of {@link laplacianShot}. */
export interface LaplacianShotOptions {
  /** Weight of the Laplacian, in units of neighbours. Default 0.7. */
  lambda?: number
  /** Neighbours with the query itself. Default 3. */
  knn?: number
  /** A prebuilt affinity of the queries instead of the nearest neighbours'. */
  affinity?: Affinity
  /** Move the queries by mean(support) − mean(query) first. Default false. */
  shift?: boolean
  /** Updates at most. Default 600. */
  iterations?: number
  /** Relative change of the energy to stop at. Default 1e-7. */
  tolerance?: number
}

/**
 * Labels queries by min over Y of Σ y_q·a_q + Y log Y − lambda (W Y)·Y with a_qk = ‖q − c_k‖², W over the queries only.
 *
 * @param input - normalised features and support labels
 * @returns labels [Q], assignments [Q, K], energies after each update
 * @throws ShapeError, OptionError, DataError on bad input
 */
export function laplacianShot(
  input: TransductiveInput,
  { lambda = 0.7, knn = 3, affinity, shift = false, iterations, tolerance }: LaplacianShotOptions = {},
): { labels: Int32Array; assignments: Float64Array; energies: number[] } {
  const K = checkTask(input)
  const query = shift ? shiftQueries(input.support, input.query) : input.query
  const costs = squaredDistances(query, classMeans(input.support, input.supportLabels, K))
  const options = { costs, affinity: affinity ?? knnAffinity(query, { knn }), lambda, iterations, tolerance }
  const { assignments, energies } = boundOptimise(options)
  return { labels: bestColumns(assignments, K, -1), assignments, energies }
}
