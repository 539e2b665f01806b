/**
 * The command line asks for something that does not exist: exit status 2.
 * Not one of core's errors, so that commands like `list` start without loading core.
 */
export class UsageError extends Error {}

/**
 * The candidate closest to what was typed, if it is close enough to be a slip of the fingers.
 * Optimal string alignment (Damerau–Levenshtein with adjacent swaps), case-insensitive.
 */
export function closest(typed: string, candidates: readonly string[]): string | undefined {
  const ranked = candidates
    .map((candidate) => ({ candidate, distance: editDistance(typed.toLowerCase(), candidate.toLowerCase()) }))
    .filter(({ candidate, distance }) => distance <= Math.max(1, Math.floor(Math.min(3, Math.max(candidate.length, typed.length) * 0.4))))
    .sort((a, b) => a.distance - b.distance)
  return ranked[0]?.candidate
}

function editDistance(a: string, b: string): number {
  let before: number[] = []
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const current = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitution = previous[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)
      current[j] = Math.min(previous[j] + 1, current[j - 1] + 1, substitution)
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      if (swapped) current[j] = Math.min(current[j], before[j - 2] + 1)
    }
    before = previous
    previous = current
  }
  return previous[b.length]
}

/**
 * One of a fixed set of words, or an error that names them and guesses what was meant.
 *
 * @throws UsageError
 */
export function oneOf<T extends string>(what: string, typed: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === typed)
  if (found !== undefined) return found
  const guess = closest(typed, choices)
  const hint = guess === undefined ? '' : ` (did you mean ${guess}?)`
  throw new UsageError(`${what}: '${typed}' is not one of ${choices.join(', ')}${hint}`)
}

/** A whole number of at least `minimum`. @throws UsageError */
export function wholeNumber(what: string, typed: string, minimum = 1): number {
  const value = Number(typed)
  if (!/^\d+$/.test(typed) || !Number.isSafeInteger(value) || value < minimum) {
    throw new UsageError(`${what}: expected a whole number of at least ${minimum}, got '${typed}'`)
  }
  return value
}

/** Seconds from `90`, `90s`, `1.5m` or `2h`. @throws UsageError */
export function duration(what: string, typed: string): number {
  const match = /^(\d+(?:\.\d+)?)(s|m|h)?$/.exec(typed)
  if (match === null) throw new UsageError(`${what}: expected a duration like 90s or 2m, got '${typed}'`)
  return Number(match[1]) * { s: 1, m: 60, h: 3600 }[(match[2] ?? 's') as 's' | 'm' | 'h']
}
