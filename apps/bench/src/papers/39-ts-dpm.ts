import { timeShift } from '@bpf/diffusion'
import { random } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'
import { atMost } from '../claims'
import type { Paper } from '../paper'

interface Settings {
  count: number
}

/** Alleviating Exposure Bias in Diffusion Models through Sampling with Shifted Time Steps. */
export const paper: Paper<Settings> = {
  number: 39,
  slug: 'ts-dpm',
  title: 'Alleviating Exposure Bias in Diffusion Models through Sampling with Shifted Time Steps',
  arxiv: '2305.15583',
  package: '@bpf/diffusion',
  claims: [
    {
      id: 'identity',
      statement: 'With scale 1 nothing changes.',
      check: (results) => atMost(results.mean('difference'), 0),
    },
  ],
  presets: {
    quick: { description: '100 normal values', seeds: 1, seconds: 1, settings: { count: 100 } },
    embedded: { description: '10,000 normal values', seeds: 5, seconds: 1, settings: { count: 10_000 } },
    full: { description: 'a million normal values', seeds: 5, seconds: 5, settings: { count: 1_000_000 } },
  },
  async run({ key, settings }) {
    const difference = tf.tidy(() => {
      const x = random.normal(key, [settings.count])
      return tf.max(tf.abs(tf.sub(timeShift(x), x)))
    })
    const [value] = await difference.data()
    difference.dispose()
    return { values: { difference: value } }
  },
}
