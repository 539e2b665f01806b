import { OptionError } from '../errors'
import { permutationArray } from '../random/arrays'
import { fold, type Key } from '../random/key'
import type { Tree } from '../tree'
import { subset, type ArrayExamples } from './examples'

/** Options of {@link split} and {@link kFold}. */
export interface SplitOptions {
  /** Class of each example [n]: every part then holds each class in proportion. */
  stratify?: ArrayLike<number>
}

/** Shuffled indices, one list per class (one list in all without labels). */
function shuffledGroups(n: number, key: Key, labels: ArrayLike<number> | undefined, name: string): Int32Array[] {
  const order = permutationArray(key, n)
  if (labels === undefined) return [order]
  if (labels.length !== n) throw new OptionError(`${name}: stratify needs one label per example: expected ${n}, got ${labels.length}`)
  const groups = new Map<number, number[]>()
  for (const i of order) {
    const group = groups.get(labels[i])
    if (group === undefined) groups.set(labels[i], [i])
    else group.push(i)
  }
  return [...groups.entries()].sort(([a], [b]) => a - b).map(([, indices]) => Int32Array.from(indices))
}

/** Boundaries of parts of `n`: each part is within one of its exact share, and they add up to n. */
function boundaries(n: number, fractions: readonly number[]): number[] {
  let total = 0
  return fractions.map((fraction, i) => {
    total += fraction
    return i === fractions.length - 1 ? n : Math.round(total * n)
  })
}

/** The parts' indices mixed again, so that classes don't come in runs. */
function mixed(parts: readonly number[][], key: Key): Int32Array[] {
  return parts.map((part, i) => permutationArray(fold(key, i + 1), part.length).map((j) => part[j]))
}

/**
 * Random disjoint parts of 0 … n − 1; together they hold every index once.
 *
 * @param fractions - share of each part, above 0, adding up to 1
 * @returns one list of indices per fraction
 * @throws OptionError when the fractions don't add up to 1, or a part would be empty
 */
export function splitIndices(n: number, fractions: readonly number[], key: Key, options: SplitOptions = {}): Int32Array[] {
  const total = fractions.reduce((sum, fraction) => sum + fraction, 0)
  if (fractions.some((fraction) => !(fraction > 0)) || Math.abs(total - 1) > 1e-9) {
    throw new OptionError(`split: fractions must be above 0 and add up to 1, got [${fractions.join(', ')}]`)
  }
  const parts: number[][] = fractions.map(() => [])
  for (const group of shuffledGroups(n, fold(key, 0), options.stratify, 'split')) {
    let start = 0
    boundaries(group.length, fractions).forEach((end, part) => {
      for (; start < end; start++) parts[part].push(group[start])
    })
  }
  const empty = parts.findIndex((part) => part.length === 0)
  if (empty >= 0) throw new OptionError(`split: part ${empty} (${fractions[empty]} of ${n} examples) would be empty; use larger fractions`)
  return mixed(parts, key)
}

/**
 * Random folds for cross-validation: each index is in the test part of exactly one fold.
 *
 * @param k - number of folds, from 2 to n; sizes differ by at most 1 (with `stratify`, also within each class)
 * @throws OptionError for another `k`
 */
export function kFoldIndices(n: number, k: number, key: Key, options: SplitOptions = {}): { train: Int32Array; test: Int32Array }[] {
  if (!Number.isInteger(k) || k < 2 || k > n) throw new OptionError(`kFold: k must be an integer from 2 to ${n} (the examples), got ${k}`)
  const parts: number[][] = Array.from({ length: k }, () => [])
  // Dealing goes on from class to class, so that the folds' sizes stay within one of each other.
  let dealt = 0
  for (const group of shuffledGroups(n, fold(key, 0), options.stratify, 'kFold')) for (const index of group) parts[dealt++ % k].push(index)
  const tests = mixed(parts, key)
  return tests.map((test, i) => {
    const train = tests.flatMap((part, j) => (j === i ? [] : [...part]))
    return { test, train: permutationArray(fold(key, k + 1 + i), train.length).map((j) => train[j]) }
  })
}

/**
 * Random disjoint parts of the examples: `const [train, test] = split(examples, [0.8, 0.2], key)`.
 *
 * @param fractions - share of each part, above 0, adding up to 1
 * @param options - `stratify`: labels [n] whose proportions every part keeps
 * @throws OptionError when the fractions don't add up to 1, or a part would be empty
 */
export function split<Batch extends Tree>(
  examples: ArrayExamples<Batch>,
  fractions: readonly number[],
  key: Key,
  options: SplitOptions = {},
): ArrayExamples<Batch>[] {
  return splitIndices(examples.size, fractions, key, options).map((indices) => subset(examples, indices))
}

/**
 * Cross-validation: k pairs of training and test examples; each example is tested once.
 *
 * @param options - `stratify`: labels [n] whose proportions every fold keeps
 * @throws OptionError when `k` is not an integer from 2 to the number of examples
 */
export function kFold<Batch extends Tree>(
  examples: ArrayExamples<Batch>,
  k: number,
  key: Key,
  options: SplitOptions = {},
): { train: ArrayExamples<Batch>; test: ArrayExamples<Batch> }[] {
  return kFoldIndices(examples.size, k, key, options).map(({ train, test }) => ({
    train: subset(examples, train),
    test: subset(examples, test),
  }))
}
