import type { RunEntry } from '../papers'

/** Comparisons across the papers of a package. A new one adds one entry. */
export const comparisons: readonly RunEntry[] = [
  {
    slug: 'local-compare',
    title: 'Learning without global backpropagation: all methods on one network and one budget',
    package: '@bpf/local',
    featured: false,
    load: () => import('./local-compare'),
  },
]
