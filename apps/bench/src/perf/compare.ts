import { loadavg } from 'node:os'
import process from 'node:process'
import { setTimeout } from 'node:timers/promises'
import { BpfError, useBackend, type BackendChoice, type BackendName } from '@bpf/core'
import { startPeer, type Timing } from './peer'
import type { PeerName, Python } from '../python'
import type { ProgressBar } from '../paper'
import type { InputArray, Prepared, Workload } from './workload'

/** One line of the comparison. Times are of one step, medians over pairs; the ratio is the median of the pairs' ratios. */
export interface PerfRow {
  name: string
  ours_ms: number
  /** The library on the other side and its version; null when none was asked for. */
  peer: string | null
  peer_ms: number | null
  ratio: number | null
  threads: number
  backend: string
  /** The largest ratio that the contracts allow against eager PyTorch, and whether it is kept; null where none applies. */
  bound: number | null
  held: boolean | null
  /** Where the peer's matrix products come from. Against `reference`, which is not optimised, no bound is judged. */
  blas: string | null
  /** Processor time of all threads, medians: on a loaded machine it says more than time on the clock. */
  ours_cpu_ms: number
  peer_cpu_ms: number | null
  /** The same step on TensorFlow.js's own backends; null where they cannot take it, for the reason in `unable`. */
  wasm_ms: number | null
  cpu_ms: number | null
  /** How many times longer wasm takes than we do: the median of pairs. */
  wasm_ratio: number | null
  unable: Record<string, string>
  /** Load average over the last minute when the row was done. */
  load: number
}

/** TensorFlow.js's own backends, which everything is timed against. */
export type OwnBackend = 'wasm' | 'cpu'
const ownBackends: readonly OwnBackend[] = ['wasm', 'cpu']

/** Losses of both sides must agree to this, relative to their size where they are above 1. */
const tolerance = 1e-4

/** Steps after which losses are compared: enough to notice an update that differs. */
const checkedSteps = 3

/** Pairs that begin within this time are not counted. */
const warmUpMs = 2000

/**
 * Threads that have done their work look out for more before they sleep, for some 10 ms in PyTorch's OpenMP: on a machine of two
 * cores that halves what the other side gets. Each side waits until the other's sleep, and then gets warm again untimed.
 */
const settleMs = 50
/** For so long each side takes steps that are not timed, until caches and clocks are as in a long training. */
const againMs = 200

/** A step of a slow backend that takes longer than this is timed once. */
const slowStepMs = 1000
/** Pairs of timings with TensorFlow.js's own backends, which are far apart from us. */
const ownPairs = 3

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** @throws BpfError when the two sides don't compute the same thing */
export function checkSameLosses(name: string, ours: readonly number[], theirs: readonly number[]): void {
  ours.forEach((loss, step) => {
    const bound = tolerance * Math.max(1, Math.abs(theirs[step]))
    if (!(Math.abs(loss - theirs[step]) <= bound)) {
      throw new BpfError(
        `perf ${name}: at step ${step + 1} our loss is ${loss}, the peer's ${theirs[step]}: not the same arithmetic, so nothing was timed`,
      )
    }
  })
}

async function timeSteps(prepared: Prepared, count: number): Promise<Timing> {
  const cpu = process.cpuUsage()
  const begun = performance.now()
  for (let i = 0; i < count; i++) await prepared.step()
  const ms = performance.now() - begun
  const { user, system } = process.cpuUsage(cpu)
  return { ms: ms / count, cpuMs: (user + system) / 1000 / count }
}

/** What both comparisons need. */
export interface Comparison {
  /** The backend that is compared. */
  backend: BackendChoice
  /** The library on the other side, and the Python that has it. */
  peer?: { name: PeerName; python: Python }
  /** Whether TensorFlow.js's own backends are timed too. */
  tfjs: boolean
  pairs: number
  signal: AbortSignal
  bar: ProgressBar
}

/** Times one workload on our backend and, in turns, on all others, after checking that the losses agree. */
export async function compare(workload: Workload, comparison: Comparison): Promise<PerfRow> {
  const { backend, peer, tfjs, pairs, signal, bar } = comparison
  try {
    const inputs = workload.inputs()
    const against =
      peer === undefined ? await timeAlone(workload, inputs, pairs, signal) : await timeAgainstPeer(workload, inputs, comparison, peer)
    const bound = peer?.name === 'torch' ? (workload.bound ?? null) : null
    const { ratio, blas } = against
    const own: Partial<Record<OwnBackend, OwnTiming>> = {}
    for (const name of tfjs ? ownBackends.filter((other) => other !== backend.name) : []) {
      signal.throwIfAborted()
      bar.update(pairs, `TensorFlow.js ${name}`)
      own[name] = await timeOwnBackend(name, workload, inputs, backend.name)
    }
    const failures = Object.entries(own).flatMap(([name, timing]) => ('reason' in timing ? [[name, timing.reason] as const] : []))
    const timed = (name: OwnBackend): { ms: number; ratio: number } | undefined => {
      const timing = own[name]
      return timing === undefined || 'reason' in timing ? undefined : timing
    }
    return {
      name: workload.name,
      ours_ms: against.ours_ms,
      peer: peer === undefined ? null : `${peer.name} ${peer.python.libraries[peer.name]}`,
      peer_ms: against.peer_ms,
      ratio,
      threads: backend.threads,
      backend: backend.name,
      bound,
      held: bound === null || ratio === null || blas === 'reference' ? null : ratio <= bound,
      blas,
      ours_cpu_ms: against.ours_cpu_ms,
      peer_cpu_ms: against.peer_cpu_ms,
      wasm_ms: timed('wasm')?.ms ?? null,
      cpu_ms: timed('cpu')?.ms ?? null,
      wasm_ratio: timed('wasm')?.ratio ?? null,
      unable: Object.fromEntries(failures),
      load: loadavg()[0],
    }
  } finally {
    bar.stop()
  }
}

type Against = Pick<PerfRow, 'ours_ms' | 'peer_ms' | 'ratio' | 'ours_cpu_ms' | 'peer_cpu_ms' | 'blas'>

async function timeAlone(
  workload: Workload,
  inputs: Readonly<Record<string, InputArray>>,
  pairs: number,
  signal: AbortSignal,
): Promise<Against> {
  const ours = await workload.prepare(inputs)
  try {
    const times: Timing[] = []
    const begun = performance.now()
    while (times.length < pairs) {
      signal.throwIfAborted()
      const isWarm = performance.now() - begun > warmUpMs
      const timing = await timeSteps(ours, workload.repeat)
      if (isWarm) times.push(timing)
    }
    return { ours_ms: median(times.map(({ ms }) => ms)), ours_cpu_ms: median(times.map(({ cpuMs }) => cpuMs)), ...noPeer }
  } finally {
    ours.dispose()
  }
}

const noPeer = { peer_ms: null, ratio: null, peer_cpu_ms: null, blas: null }

async function timeAgainstPeer(
  workload: Workload,
  inputs: Readonly<Record<string, InputArray>>,
  { backend, pairs, signal, bar }: Comparison,
  { name, python }: NonNullable<Comparison['peer']>,
): Promise<Against> {
  const peer = startPeer(name, python, backend.threads, signal)
  const ours = await workload.prepare(inputs)
  try {
    const { blas } = await peer.prepare(workload, inputs)
    const losses: number[] = []
    for (let step = 0; step < checkedSteps; step++) losses.push(await ours.step())
    checkSameLosses(workload.name, losses, await peer.steps(checkedSteps))
    const times: { ours: Timing; theirs: Timing }[] = []
    let before = { ours: await timeSteps(ours, 1), theirs: await peer.time(1) }
    // What counts is a long training: first caches and just-in-time compilers get warm, on both sides.
    const begun = performance.now()
    while (times.length < pairs) {
      signal.throwIfAborted()
      const isWarm = performance.now() - begun > warmUpMs
      const warm = ({ ms }: Timing): number => Math.max(1, Math.ceil(againMs / ms))
      await setTimeout(settleMs)
      await timeSteps(ours, warm(before.ours))
      const mine = await timeSteps(ours, workload.repeat)
      await setTimeout(settleMs)
      await peer.time(warm(before.theirs))
      const theirs = await peer.time(workload.repeat)
      before = { ours: mine, theirs }
      if (isWarm) times.push({ ours: mine, theirs })
      bar.update(times.length, `${mine.ms.toFixed(2)} ms, ${name} ${theirs.ms.toFixed(2)} ms`)
    }
    return {
      ours_ms: median(times.map((time) => time.ours.ms)),
      peer_ms: median(times.map((time) => time.theirs.ms)),
      ratio: median(times.map((time) => time.ours.ms / time.theirs.ms)),
      ours_cpu_ms: median(times.map((time) => time.ours.cpuMs)),
      peer_cpu_ms: median(times.map((time) => time.theirs.cpuMs)),
      blas,
    }
  } finally {
    ours.dispose()
    peer.close()
  }
}

type OwnTiming = { ms: number; ratio: number } | { reason: string }

/** The workload on one of TensorFlow.js's own backends, in turns with ours; afterwards ours is in use again. */
async function timeOwnBackend(
  name: OwnBackend,
  workload: Workload,
  inputs: Readonly<Record<string, InputArray>>,
  ourBackend: BackendName,
): Promise<OwnTiming> {
  const ours = await workload.prepare(inputs)
  let theirs: Prepared | undefined
  try {
    await timeSteps(ours, checkedSteps)
    await useBackend(name)
    theirs = await workload.prepare(inputs)
    const first = await timeSteps(theirs, 1)
    const isSlow = first.ms > slowStepMs
    const times: { ours: Timing; theirs: Timing }[] = []
    for (let pair = 0; pair < (isSlow ? 1 : ownPairs); pair++) {
      await useBackend(ourBackend)
      const mine = await timeSteps(ours, workload.repeat)
      await useBackend(name)
      times.push({ ours: mine, theirs: isSlow ? first : await timeSteps(theirs, Math.min(workload.repeat, 10)) })
    }
    return { ms: median(times.map((time) => time.theirs.ms)), ratio: median(times.map((time) => time.theirs.ms / time.ours.ms)) }
  } catch (error) {
    return { reason: (error instanceof Error ? error.message : String(error)).split('\n')[0] }
  } finally {
    theirs?.dispose()
    await useBackend(ourBackend)
    ours.dispose()
  }
}
