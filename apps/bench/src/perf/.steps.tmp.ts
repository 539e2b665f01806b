import { workloads } from '/work/main/apps/bench/src/perf/workloads.ts'
import { useBackend } from '@bpf/core'
const [name, n] = process.argv.slice(2)
await useBackend('onnx', process.env.ENGINE ? { load: () => import(process.env.ENGINE!) } : {})
const w = workloads.find((x) => x.name === name)!
const p = await w.prepare(w.inputs())
for (let i = 0; i < 5; i++) await p.step()
const c = process.cpuUsage(), t = performance.now()
for (let i = 0; i < Number(n); i++) await p.step()
const d = process.cpuUsage(c)
console.log(name, 'cpu ms/step', ((d.user + d.system) / 1000 / Number(n)).toFixed(3), 'wall', ((performance.now() - t) / Number(n)).toFixed(3), 'user', (d.user/1000/Number(n)).toFixed(3))

if (process.env.ORT_PROF) for (const x of (globalThis as any).__sessions) x.dispose()
