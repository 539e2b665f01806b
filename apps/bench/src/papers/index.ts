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
    number: 1,
    slug: 'forwardgnn',
    title: 'Forward Learning of Graph Neural Networks',
    arxiv: '2403.11004',
    package: '@bpf/gnn',
    featured: true,
    load: () => import('./01-forwardgnn'),
  },
  {
    number: 2,
    slug: 'transductive-clustering',
    title: 'Transductive Few-Shot Learning: Clustering is All You Need?',
    arxiv: '2106.09516',
    package: '@bpf/fewshot',
    featured: true,
    load: () => import('./02-transductive-clustering'),
  },
  {
    number: 3,
    slug: 'noprop',
    title: 'NoProp: Training Neural Networks without Full Back-propagation or Full Forward-propagation',
    arxiv: '2503.24322',
    package: '@bpf/local',
    featured: false,
    load: () => import('./03-noprop'),
  },
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
    number: 15,
    slug: 'ccl',
    title: 'Counter-Current Learning: A Biologically Plausible Dual Network Approach for Deep Learning',
    arxiv: '2409.19841',
    package: '@bpf/local',
    featured: false,
    load: () => import('./15-ccl'),
  },
  {
    number: 21,
    slug: 'tpsgd',
    title: 'Learning with Local Gradients at the Edge',
    arxiv: '2208.08503',
    package: '@bpf/local',
    featured: false,
    load: () => import('./21-tpsgd'),
  },
  {
    number: 25,
    slug: 'susana-distancia',
    title:
      'SuSana Distancia is all you need: Enforcing class separability in metric learning via two novel distance-based loss functions for few-shot image classification',
    arxiv: '2305.09062',
    package: '@bpf/fewshot',
    featured: false,
    load: () => import('./25-susana-distancia'),
  },
  {
    number: 28,
    slug: 'teddy',
    title: 'TEDDY: Trimming Edges with Degree-based Discrimination Strategy',
    arxiv: '2402.01261',
    package: '@bpf/gnn',
    featured: false,
    load: () => import('./28-teddy'),
  },
  {
    number: 39,
    slug: 'ts-dpm',
    title: 'Alleviating Exposure Bias in Diffusion Models through Sampling with Shifted Time Steps',
    arxiv: '2305.15583',
    package: '@bpf/diffusion',
    featured: false,
    load: () => import('./39-ts-dpm'),
  },
  {
    number: 40,
    slug: 'convex-relu',
    title: 'Efficient Global Optimization of Two-layer ReLU Networks: Quadratic-time Algorithms and Adversarial Training',
    arxiv: '2201.01965',
    package: '@bpf/local',
    featured: false,
    load: () => import('./40-convex-relu'),
  },
  {
    number: 51,
    slug: 'auglocal',
    title: 'Scaling Supervised Local Learning with Augmented Auxiliary Networks',
    arxiv: '2402.17318',
    package: '@bpf/local',
    featured: false,
    load: () => import('./51-auglocal'),
  },
  {
    number: 54,
    slug: 'sltt',
    title: 'Towards Memory- and Time-Efficient Backpropagation for Training Spiking Neural Networks',
    arxiv: '2302.14311',
    package: '@bpf/local',
    featured: false,
    load: () => import('./54-sltt'),
  },
  {
    number: 55,
    slug: 'diffusion-core',
    title: 'The Principles of Diffusion Models',
    arxiv: '2510.21890',
    package: '@bpf/diffusion',
    featured: true,
    load: () => import('./55-diffusion-core'),
  },
  {
    number: 56,
    slug: 'forward-only',
    title: 'Beyond Backpropagation: Exploring Innovative Algorithms for Energy-Efficient Deep Neural Network Training',
    arxiv: '2511.01061',
    package: '@bpf/local',
    featured: false,
    load: () => import('./56-forward-only'),
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
