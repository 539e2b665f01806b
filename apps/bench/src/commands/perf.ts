import { resolve } from 'node:path'
import { useBackend, type BackendName } from '@bpf/core'
import { compare, type PerfRow } from '../perf/compare'
import { workloads } from '../perf/workloads'
import { progressBar } from '../progress'
import { findPython, peerNames, type PeerName, type Python } from '../python'
import { writeWhole } from '../results'
import { textTable, type Terminal } from '../terminal'
import { oneOf, UsageError, wholeNumber } from '../usage'

export interface PerfOptions {
  /** A Python library to compare with; without it only TensorFlow.js's own backends are. */
  peer?: string
  only?: string
  pairs: string
  python?: string
  backend?: BackendName
  /** false: leave out TensorFlow.js's own backends. */
  tfjs?: boolean
  /** true: rows on standard output; a string: into that file. */
  json?: boolean | string
}

/** `bpf-bench perf` */
export async function perf(options: PerfOptions, terminal: Terminal): Promise<number> {
  const asked = options.peer ?? (options.python === undefined ? undefined : 'torch')
  const peerName = asked === undefined ? undefined : oneOf('--peer', asked, peerNames)
  const pairs = wholeNumber('--pairs', options.pairs, 7)
  const names = workloads.map((workload) => workload.name)
  const only = options.only?.split(',').map((name) => oneOf('--only', name.trim(), names))
  const chosen = workloads.filter(
    (workload) => (peerName === undefined || workload.peers.includes(peerName)) && (only?.includes(workload.name) ?? true),
  )
  if (chosen.length === 0) {
    throw new UsageError(`perf: no chosen workload has a ${peerName} peer; leave --only out, or choose another --peer`)
  }
  const peer = peerName === undefined ? undefined : { name: peerName, python: await lookForPython(peerName, options, terminal) }
  const backend = await useBackend(options.backend)
  const rows: PerfRow[] = []
  for (const workload of chosen) {
    const bar = progressBar(terminal, workload.name, pairs)
    rows.push(await compare(workload, { backend, peer, tfjs: options.tfjs ?? true, pairs, signal: terminal.signal, bar }))
  }
  const text = JSON.stringify(rows, null, 2)
  if (typeof options.json === 'string') writeWhole(resolve(terminal.cwd, options.json), `${text}\n`)
  if (options.json === true) terminal.out(text)
  else terminal.out(perfTable(rows, backend.name, terminal))
  return 0
}

async function lookForPython(peer: PeerName, options: PerfOptions, terminal: Terminal): Promise<Python> {
  const looking = progressBar(terminal, `looking for a Python with ${peer}`, 1)
  return findPython(peer, options.python, terminal.env).finally(() => looking.stop())
}

/** TensorFlow.js's wasm backend has to take at least so many times longer. */
const wasmBound = 10

function perfTable(rows: readonly PerfRow[], backend: string, terminal: Terminal): string {
  const { bold, dim, green, red } = terminal.colors
  const right = 'right' as const
  const ms = (value: number | null): string => (value === null ? '–' : value.toFixed(3))
  const verdict = (isKept: boolean | null, text: string): string => (isKept === null ? text : isKept ? green(text) : red(text))
  const columns = [
    { label: 'workload' },
    { label: 'ours (ms)', align: right },
    { label: 'peer (ms)', align: right },
    { label: 'ratio', align: right },
    { label: 'bound' },
    { label: 'wasm (ms)', align: right },
    { label: 'wasm/ours', align: right },
    { label: 'cpu (ms)', align: right },
    { label: 'threads', align: right },
  ]
  const body = rows.map((row) => [
    row.name,
    ms(row.ours_ms),
    ms(row.peer_ms),
    row.ratio === null ? '–' : bold(row.ratio.toFixed(2)),
    row.bound === null
      ? '–'
      : `≤ ${row.bound} ${row.held === null ? dim('not judged') : verdict(row.held, row.held ? 'held' : 'not held')}`,
    ms(row.wasm_ms),
    row.wasm_ratio === null ? '–' : verdict(row.wasm_ratio >= wasmBound, row.wasm_ratio.toFixed(1)),
    ms(row.cpu_ms),
    String(row.threads),
  ])
  return [textTable(columns, body, terminal.width, terminal.colors), ...notes(rows, backend).map(dim)].join('\n')
}

/** What a reader of the table has to know. */
function notes(rows: readonly PerfRow[], backend: string): string[] {
  const [{ peer, blas }] = rows
  const load = Math.max(...rows.map((row) => row.load))
  const unable = rows.flatMap((row) => Object.entries(row.unable).map(([name, reason]) => `${name} cannot take ${row.name}: ${reason}`))
  return [
    `One step, median of interleaved pairs; ratio below 1: we are faster. Backend ${backend}${peer === null ? '' : `, peer ${peer}`}.`,
    `Load average up to ${load.toFixed(1)}.`,
    ...(blas === 'reference'
      ? [
          `${peer} computes matrix products with the reference BLAS, which is not optimised: no bound is judged. Install OpenBLAS (apt install libopenblas0).`,
        ]
      : []),
    ...unable,
  ]
}
