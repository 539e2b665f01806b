import { random } from '@bpf/core'
import { atLeast, atMost } from '../claims'
import type { Paper } from '../paper'
import type { PaperEntry } from '../papers'

interface Settings {
  samples: number
  /** Milliseconds that each of three parts takes, to have something to interrupt. */
  pause: number
}

/** How often a part was computed, to see what a resumed run does not repeat. */
export const computed: string[] = []

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** A reproduction of the law of large numbers: small enough to run in tests, complete enough to fill a report. */
export const paper = {
  number: 7,
  slug: 'noisy-mean',
  title: 'The mean of many draws is near <one half> & stays there',
  arxiv: '0000.00000',
  package: '@bpf/core',
  claims: [
    {
      id: 'mean-near-half',
      statement: 'The mean of uniform draws differs from one half by at most 0.02.',
      reported: '0.5 (theory)',
      check: (results) => atMost(Math.abs(results.mean('mean') - 0.5), 0.02, { of: 'tolerance' }),
    },
    {
      id: 'spread-falls',
      statement: 'The standard error falls below 0.01.',
      presets: ['embedded', 'full'],
      check: (results) => atMost(results.mean('error'), 0.01),
    },
    {
      id: 'impossible',
      statement: 'The mean of uniform draws is at least 2.',
      presets: ['full'],
      check: (results) => atLeast(results.mean('mean'), 2),
    },
  ],
  presets: {
    quick: { description: 'Two seeds of a thousand draws.', seeds: 2, seconds: 1, settings: { samples: 1000, pause: 0 } },
    embedded: { description: 'Five seeds of a hundred thousand draws.', seeds: 5, seconds: 2, settings: { samples: 100_000, pause: 40 } },
    full: { description: 'Two seeds of two thousand draws, slowly.', seeds: 2, seconds: 3, settings: { samples: 2000, pause: 20 } },
  },
  async run(context) {
    const { samples, pause } = context.settings
    const bar = context.progress('draws', 3)
    const means: number[] = []
    for (let part = 0; part < 3; part++) {
      context.signal.throwIfAborted()
      const mean = await context.part(`mean ${part}`, async () => {
        computed.push(`${context.seed}/${part}`)
        await sleep(pause)
        const draws = random.uniformArray(random.fold(context.key, part), samples)
        return draws.reduce((sum, draw) => sum + draw, 0) / samples
      })
      means.push(mean)
      context.log({ part, mean })
      bar.update(part + 1)
    }
    bar.stop()
    const mean = (means[0] + means[1] + means[2]) / 3
    return {
      values: { mean, error: 1 / Math.sqrt(12 * 3 * samples), nothing: Number.NaN },
      series: { path: means.map((value, part) => ({ part, value })) },
    }
  },
  tables: (results) => [
    {
      id: 'errors',
      title: 'Estimates',
      note: 'Lower error is better.',
      columns: [
        { key: 'estimator', label: 'Estimator' },
        { key: 'error', label: 'Standard error', better: 'lower' },
        { key: 'mean', label: 'Mean', digits: 4 },
      ],
      rows: [
        { estimator: 'mean of three', error: results.mean('error'), mean: results.summary('mean') },
        { estimator: 'one draw', error: 1 / Math.sqrt(12), mean: 0.5 },
        { estimator: 'always ½', error: 0.5, mean: null },
      ],
    },
  ],
  figures: (results) => [
    {
      id: 'path',
      title: 'Means of parts',
      caption: 'Each line is a seed; all stay near one half.',
      spec: {
        data: {
          values: results
            .series('path')
            .flatMap((path, seed) => (path as { part: number; value: number }[]).map((point) => ({ ...point, seed: `seed ${seed}` }))),
        },
        mark: { type: 'line', point: true, clip: true },
        encoding: {
          x: { field: 'part', type: 'ordinal', title: 'part' },
          y: { field: 'value', type: 'quantitative', title: 'mean', scale: { zero: false } },
          color: { field: 'seed', type: 'nominal', title: null },
        },
      },
    },
  ],
} satisfies Paper<Settings>

/** A registry with this one reproduction. */
export const fixturePapers: readonly PaperEntry[] = [
  {
    number: paper.number,
    slug: paper.slug,
    title: paper.title,
    arxiv: paper.arxiv,
    package: paper.package,
    featured: true,
    load: () => Promise.resolve({ paper }),
  },
]
