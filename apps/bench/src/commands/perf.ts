import { resolve } from 'node:path'
import { useBackend, type BackendName } from '@bpf/core'
import { compare, type PerfRow } from '../perf/compare'
import { workloads } from '../perf/workloads'
import { progressBar } from '../progress'
import { findPython, peerNames } from '../python'
import { writeWhole } from '../results'
import { textTable, type Terminal } from '../terminal'
import { oneOf, UsageError, wholeNumber } from '../usage'

export interface PerfOptions {
  peer: string
  only?: string
  pairs: string
  python?: string
  backend?: BackendName
  /** true: rows on standard output; a string: into that file. */
  json?: boolean | string
}

/** `bpf-bench perf` */
export async function perf(options: PerfOptions, terminal: Terminal): Promise<number> {
  const peer = oneOf('--peer', options.peer, peerNames)
  const pairs = wholeNumber('--pairs', options.pairs, 7)
  const names = workloads.map((workload) => workload.name)
  const asked = options.only?.split(',').map((name) => oneOf('--only', name.trim(), names))
  const chosen = workloads.filter((workload) => workload.peers.includes(peer) && (asked?.includes(workload.name) ?? true))
  if (chosen.length === 0) throw new UsageError(`perf: no chosen workload has a ${peer} peer; leave --only out, or choose another --peer`)
  const looking = progressBar(terminal, `looking for a Python with ${peer}`, 1)
  const python = await findPython(peer, options.python, terminal.env).finally(() => looking.stop())
  const backend = await useBackend(options.backend)
  const rows: PerfRow[] = []
  for (const workload of chosen) {
    const bar = progressBar(terminal, workload.name, pairs)
    rows.push(await compare(workload, { peer, python, threads: backend.threads, pairs, signal: terminal.signal, bar }))
  }
  const text = JSON.stringify(rows, null, 2)
  if (typeof options.json === 'string') writeWhole(resolve(terminal.cwd, options.json), `${text}\n`)
  if (options.json === true) terminal.out(text)
  else terminal.out(perfTable(rows, backend.name, terminal))
  return 0
}

function perfTable(rows: readonly PerfRow[], backend: string, terminal: Terminal): string {
  const { bold, dim } = terminal.colors
  const columns = [
    { label: 'workload' },
    { label: 'ours (ms)', align: 'right' as const },
    { label: 'peer (ms)', align: 'right' as const },
    { label: 'ratio', align: 'right' as const },
    { label: 'peer' },
    { label: 'threads', align: 'right' as const },
  ]
  const body = rows.map((row) => [
    row.name,
    row.ours_ms.toFixed(3),
    row.peer_ms.toFixed(3),
    bold(row.ratio.toFixed(2)),
    row.peer,
    String(row.threads),
  ])
  return `${textTable(columns, body, terminal.width, terminal.colors)}\n${dim(`One step, median of interleaved pairs; ratio below 1: we are faster. Backend ${backend}.`)}`
}
