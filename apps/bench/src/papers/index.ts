import type { Paper } from '../paper'

/** What is known of a paper without loading its code, so that `list` is instant. */
export interface PaperEntry {
  number: number
  slug: string
  title: string
  arxiv: string
  package: string
  /** Shown by `npm start`: one paper for each package. */
  featured: boolean
  load(): Promise<{ paper: Paper }>
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
