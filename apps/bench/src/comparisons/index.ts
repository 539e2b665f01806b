import type { RunEntry } from '../papers'

/** Comparisons across the papers of a package. A new one adds one entry. */
export const comparisons: readonly RunEntry[] = []
