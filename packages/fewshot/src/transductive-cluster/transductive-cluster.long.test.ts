import { useBackend } from '@bpf/core'
import { fold, key, normalArray } from '@bpf/core/random'
import { expect, it } from 'vitest'
import { normaliseFeatures } from '../features'
import { transductiveCluster } from './index'

it('labels 10,000 queries of 640 columns in 20 classes within 3 seconds of two cores', async () => {
  await useBackend('onnx')
  const [K, D, shots, Q] = [20, 640, 5, 10_000]
  const means = normalArray(fold(key(1), 0), K * D, { stddev: 0.15 })
  const rows = (name: number, count: number) => {
    const data = normalArray(fold(key(1), name), count * D)
    for (let at = 0; at < data.length; at++) data[at] += means[(Math.floor(at / D) % K) * D + (at % D)]
    return normaliseFeatures({ data, shape: [count, D] }, 'l2')
  }
  const input = {
    support: rows(1, K * shots),
    supportLabels: Int32Array.from({ length: K * shots }, (_, i) => i % K),
    query: rows(2, Q),
  }
  for (const mode of ['slk-means', 'slk-ms'] as const) {
    // Time of the processor, not of the clock: other work on the machine does not count.
    const before = process.cpuUsage()
    const { labels } = transductiveCluster(input, { mode, lambda: 0.3 })
    const { user, system } = process.cpuUsage(before)
    expect((user + system) / 1e6 / 2, mode).toBeLessThan(3)
    expect(labels.filter((label, i) => label === i % K).length / Q, mode).toBeGreaterThan(0.9)
  }
})
