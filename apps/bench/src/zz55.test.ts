import { useBackend } from '@bpf/core'
import { writeFileSync } from 'node:fs'
import { it } from 'vitest'
import { mlpSampling as w } from './perf/diffusion'
it('x', async () => {
  await useBackend('onnx')
  const a = w.inputs()
  writeFileSync('/tmp/helper55/in.json', JSON.stringify(Object.fromEntries(Object.entries(a).map(([k, v]) => [k, { shape: v.shape, data: Array.from(v.data) }]))))
  const p = await w.prepare(a)
  console.log('value', await p.step())
  const times = []
  for (let i = 0; i < 7; i++) { const t = performance.now(); await p.step(); times.push(performance.now() - t) }
  console.log('ours', times.sort((x, y) => x - y)[3])
}, 100000)
