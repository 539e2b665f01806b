import { DataError, OptionError } from '@bpf/core'
import { fold, permutationArray, type Key } from '@bpf/core/random'

/** Rows of one task; class w of the episode (0..ways−1) is `classes[w]` of the data. */
export interface Episode {
  /** Rows of the support, grouped by class: row r has label floor(r / shots). */
  support: Int32Array
  supportLabels: Int32Array
  /** Rows of the queries, grouped by class. */
  query: Int32Array
  queryLabels: Int32Array
  classes: Int32Array
}

/** Size of an episode; `queries` counts per class. */
export interface EpisodeOptions {
  ways: number
  shots: number
  queries: number
}

/**
 * Draws episodes of one size from one data set: `ways` classes, and of each `shots` + `queries` different rows.
 *
 * @param labels - class of every row of the data, read once
 * @param options - ways, shots, queries per class
 * @returns a function from a key to row indices on the host, grouped by class
 * @throws OptionError for sizes below 1; DataError when too few classes have enough rows
 */
export function episodeSampler(labels: ArrayLike<number>, { ways, shots, queries }: EpisodeOptions): (key: Key) => Episode {
  for (const [name, value] of Object.entries({ ways, shots, queries })) {
    if (!Number.isInteger(value) || value < 1)
      throw new OptionError(`sampleEpisode: ${name} should be an integer of at least 1, got ${value}`)
  }
  const rowsOf = new Map<number, number[]>()
  for (let i = 0; i < labels.length; i++) {
    const rows = rowsOf.get(labels[i])
    if (rows) rows.push(i)
    else rowsOf.set(labels[i], [i])
  }
  const usable = [...rowsOf.keys()].filter((label) => (rowsOf.get(label) as number[]).length >= shots + queries).sort((a, b) => a - b)
  if (usable.length < ways) {
    throw new DataError(`sampleEpisode: ${ways} classes with ${shots + queries} rows each were asked for, the data has ${usable.length}`)
  }
  return (key) => {
    const classes = permutationArray(fold(key, 0), usable.length)
      .slice(0, ways)
      .map((at) => usable[at])
    const support: number[] = []
    const query: number[] = []
    classes.forEach((label, way) => {
      const rows = rowsOf.get(label) as number[]
      const order = permutationArray(fold(key, way + 1), rows.length)
      for (let i = 0; i < shots + queries; i++) (i < shots ? support : query).push(rows[order[i]])
    })
    return {
      support: Int32Array.from(support),
      supportLabels: Int32Array.from(support, (_, r) => Math.floor(r / shots)),
      query: Int32Array.from(query),
      queryLabels: Int32Array.from(query, (_, r) => Math.floor(r / queries)),
      classes: Int32Array.from(classes),
    }
  }
}

/** One episode, as {@link episodeSampler} draws it. @param labels - class of every row of the data */
export function sampleEpisode(key: Key, labels: ArrayLike<number>, options: EpisodeOptions): Episode {
  return episodeSampler(labels, options)(key)
}

/**
 * Splits the classes of a data set at random into disjoint groups, such as base, validation and novel.
 *
 * @param key - randomness
 * @param labels - class of every row
 * @param sizes - number of classes of each group
 * @returns for each group its classes (ascending) and the rows that have them
 * @throws DataError when there are fewer classes than asked for
 */
export function splitClasses(key: Key, labels: ArrayLike<number>, sizes: readonly number[]): { classes: number[]; rows: Int32Array }[] {
  const all = [...new Set(Array.from(labels))].sort((a, b) => a - b)
  const wanted = sizes.reduce((sum, size) => sum + size, 0)
  if (wanted > all.length) throw new DataError(`splitClasses: ${wanted} classes were asked for, the data has ${all.length}`)
  const order = permutationArray(key, all.length)
  let start = 0
  return sizes.map((size) => {
    const classes = Array.from(order.slice(start, start + size), (at) => all[at]).sort((a, b) => a - b)
    start += size
    const chosen = new Set(classes)
    return { classes, rows: Int32Array.from(Array.from(labels, (_, i) => i).filter((i) => chosen.has(labels[i]))) }
  })
}

/** Accuracy over episodes: mean and half width of its 95 % interval, 1.96 · deviation / √episodes. */
export interface EpisodeAccuracy {
  mean: number
  interval: number
  each: Float64Array
}

/**
 * Mean accuracy of a method over many episodes.
 *
 * @param key - randomness; episode e draws from fold(key, e)
 * @param labels - class of every row
 * @param options - size of the episodes and how many (default 600)
 * @param predict - labels of the queries, in the episode's numbering
 * @returns mean, 95 % interval and the accuracy of each episode
 */
export function evaluateEpisodes(
  key: Key,
  labels: ArrayLike<number>,
  { episodes = 600, ...size }: EpisodeOptions & { episodes?: number },
  predict: (episode: Episode, key: Key) => ArrayLike<number>,
): EpisodeAccuracy {
  if (!Number.isInteger(episodes) || episodes < 1) throw new OptionError(`evaluateEpisodes: episodes should be at least 1, got ${episodes}`)
  const each = new Float64Array(episodes)
  const draw = episodeSampler(labels, size)
  for (let e = 0; e < episodes; e++) {
    const episode = draw(fold(fold(key, e), 0))
    const predicted = predict(episode, fold(fold(key, e), 1))
    each[e] = episode.queryLabels.reduce((hits, label, i) => hits + Number(label === predicted[i]), 0) / episode.queryLabels.length
  }
  return { ...meanInterval(each), each }
}

/**
 * Mean and half width of the 95 % interval, 1.96 · sample deviation / √n (0 for one value).
 *
 * @param values - one per episode
 */
export function meanInterval(values: ArrayLike<number>): { mean: number; interval: number } {
  const list = Array.from(values)
  const mean = list.reduce((sum, value) => sum + value, 0) / list.length
  if (list.length < 2) return { mean, interval: 0 }
  const variance = list.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (list.length - 1)
  return { mean, interval: 1.96 * Math.sqrt(variance / list.length) }
}
