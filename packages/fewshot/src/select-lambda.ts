import { OptionError } from '@bpf/core'
import type { Key } from '@bpf/core/random'
import { evaluateEpisodes, type Episode, type EpisodeAccuracy, type EpisodeOptions } from './episodes'
import { selectRows, type FeatureMatrix } from './shared/matrix'
import type { TransductiveInput } from './transductive-cluster'

/**
 * The features of an episode.
 *
 * @param features - [n, D], of all rows of the data
 * @param episode - from `sampleEpisode` or `evaluateEpisodes`
 * @returns what `transductiveCluster` and the baselines take
 */
export function episodeTask(features: FeatureMatrix, episode: Pick<Episode, 'support' | 'supportLabels' | 'query'>): TransductiveInput {
  return {
    support: selectRows(features, episode.support),
    supportLabels: episode.supportLabels,
    query: selectRows(features, episode.query),
  }
}

/** Weights that the reference code of paper 02 tries. */
const defaultLambdas = [0.05, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1]

/**
 * Chooses the weight of a Laplacian, or any other number, on episodes of validation classes; once for each mode and number of shots.
 *
 * @param key - randomness; all weights see the same episodes
 * @param features - [n, D] of the validation classes, normalised as in use
 * @param labels - [n]
 * @param options - size of the episodes, how many (default 500), and the `lambdas` to try
 * @param predict - labels of the queries of a task with a weight
 * @returns the weight of the highest mean accuracy, the first among equals, and the accuracy of each
 * @throws OptionError without weights; otherwise like `evaluateEpisodes`
 *
 * @example
 * ```ts
 * import { random } from '@bpf/core'
 * import { selectLambda, transductiveCluster } from '@bpf/fewshot'
 *
 * const labels = Int32Array.from({ length: 60 }, (_, i) => i % 3)
 * const data = random.normalArray(random.key(1), 60 * 8).map((value, at) => value + 2 * Number(at % 8 === labels[Math.floor(at / 8)]))
 * const { lambda } = selectLambda(random.key(2), { data, shape: [60, 8] }, labels, { ways: 3, shots: 1, queries: 5, episodes: 20 },
 *   (task, lambda) => transductiveCluster(task, { mode: 'slk-means', lambda }).labels)
 * console.log(lambda)
 * ```
 */
export function selectLambda(
  key: Key,
  features: FeatureMatrix,
  labels: ArrayLike<number>,
  { lambdas = defaultLambdas, episodes = 500, ...size }: EpisodeOptions & { episodes?: number; lambdas?: readonly number[] },
  predict: (task: TransductiveInput, lambda: number) => ArrayLike<number>,
): { lambda: number; accuracies: EpisodeAccuracy[] } {
  if (lambdas.length === 0) throw new OptionError('selectLambda: lambdas is empty; give at least one weight to try')
  const accuracies = lambdas.map((lambda) =>
    evaluateEpisodes(key, labels, { ...size, episodes }, (episode) => predict(episodeTask(features, episode), lambda)),
  )
  const best = accuracies.reduce((top, { mean }, i) => (mean > accuracies[top].mean ? i : top), 0)
  return { lambda: lambdas[best], accuracies }
}
