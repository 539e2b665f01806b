import type { Paper } from '../paper'

/** What is known of a reproduction without loading its code, so that `list` is instant. Comparisons have no number. */
export interface RunEntry {
  number?: number
  slug: string
  title: string
  arxiv?: string
  package: string
  /** Shown by `npm start`: one paper for each package. */
  featured: boolean
  load(): Promise<{ paper: Paper }>
}

/** What is known of a paper. */
export interface PaperEntry extends RunEntry {
  number: number
  arxiv: string
}

/** All reproductions, in the order of their numbers. A new paper adds one entry. */
export const papers: readonly PaperEntry[] = [
  {
    number: 13,
    slug: 'gbnn',
    title: 'Sequential Training of Neural Networks with Gradient Boosting',
    arxiv: '1909.12098',
    package: '@bpf/local',
    featured: true,
    load: () => import('./13-gbnn'),
  },
  {
    number: 60,
    slug: 'h-calibration',
    title: 'h-calibration: Rethinking Classifier Recalibration with Probabilistic Error-Bounded Objective',
    arxiv: '2506.17968',
    package: '@bpf/calibration',
    featured: true,
    load: () => import('./60-h-calibration'),
  },
]
