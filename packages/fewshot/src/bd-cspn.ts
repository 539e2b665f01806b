/**
 * Liu, Song and Qin, "Prototype Rectification for Few-Shot Learning" (2020), arXiv 1911.10713 (BD-CSPN): class means are
 * corrected by the queries that are most surely of the class, and queries go to the prototype of the largest cosine.
 */
import { OptionError } from '@bpf/core'
import { cosineScores, prototypesOf, unitRows } from './baselines'
import { bestColumns, checkTask, type FeatureMatrix } from './shared/matrix'
import { shiftQueries, type TransductiveInput } from './transductive-cluster'

/** Options of {@link bdCspn}. */
export interface BdCspnOptions {
  /** ε: how strongly an example's weight grows with its cosine to the prototype. Default 10. */
  epsilon?: number
  /** Z: queries of each class, the surest first, that correct its prototype; all with Infinity. Default 8. */
  confident?: number
  /** Move the queries by mean(support) − mean(query) first, the paper's cross-class bias. Default true. */
  shift?: boolean
}

/**
 * Prototypes P'_k = Σ w x over the supports and surest queries of class k, w ∝ exp(ε cos(x, P_k)).
 *
 * @param input - features and support labels
 * @returns labels [Q] and the corrected prototypes [K, D], of norm 1 or less
 * @throws ShapeError, OptionError, DataError on bad input, also when a row has no direction
 */
export function bdCspn(
  input: TransductiveInput,
  { epsilon = 10, confident = 8, shift = true }: BdCspnOptions = {},
): { labels: Int32Array; prototypes: Float64Array } {
  if (!(epsilon > 0 && epsilon < Infinity)) throw new OptionError(`bdCspn: epsilon should be above 0, got ${epsilon}`)
  if (!(confident >= 0)) throw new OptionError(`bdCspn: confident should be at least 0, got ${confident}`)
  const K = checkTask(input)
  const [S, D] = input.support.shape
  const support = unitRows(input.support, 'bdCspn: support row')
  const query = unitRows(shift ? shiftQueries(input.support, input.query) : input.query, 'bdCspn: query row')
  const rows = joined(support, query)
  const first = prototypesOf(support, input.supportLabels, K, 'bdCspn')
  const scores = cosineScores(rows, first)
  const guesses = bestColumns(scores, K, -1)

  const prototypes = new Float64Array(K * D)
  for (let k = 0; k < K; k++) {
    const score = (row: number): number => scores[row * K + k]
    const queries = Array.from({ length: query.shape[0] }, (_, q) => S + q).filter((row) => guesses[row] === k)
    const surest = queries.sort((a, b) => score(b) - score(a) || a - b).slice(0, confident)
    const members = [...Array.from({ length: S }, (_, s) => s).filter((s) => input.supportLabels[s] === k), ...surest]
    // cos ≤ 1: no weight overflows when ε is taken off.
    const weights = members.map((row) => Math.exp(epsilon * (score(row) - 1)))
    const total = weights.reduce((sum, weight) => sum + weight, 0)
    members.forEach((row, at) => {
      for (let d = 0; d < D; d++) prototypes[k * D + d] += (weights[at] / total) * rows.data[row * D + d]
    })
  }
  const directions = unitRows({ data: prototypes, shape: [K, D] }, 'bdCspn: prototype').data as Float64Array
  return { labels: bestColumns(cosineScores(query, directions), K, -1), prototypes }
}

function joined(a: FeatureMatrix, b: FeatureMatrix): FeatureMatrix {
  const data = new Float64Array(a.data.length + b.data.length)
  data.set(a.data)
  data.set(b.data, a.data.length)
  return { data, shape: [a.shape[0] + b.shape[0], a.shape[1]] }
}
