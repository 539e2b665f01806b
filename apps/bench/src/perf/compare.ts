import { BpfError } from '@bpf/core'
import { startPeer } from './peer'
import type { PeerName, Python } from '../python'
import type { ProgressBar } from '../paper'
import type { Workload } from './workload'

/** One line of the comparison. Times are of one step, medians over pairs; the ratio is the median of the pairs' ratios. */
export interface PerfRow {
  name: string
  ours_ms: number
  peer: string
  peer_ms: number
  ratio: number
  threads: number
}

/** Losses of both sides must agree to this, relative to their size where they are above 1. */
const tolerance = 1e-4

/** Steps after which losses are compared: enough to notice an update that differs. */
const checkedSteps = 3

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

/** Times one workload on both sides, in turns, after checking that their losses agree. */
export async function compare(
  workload: Workload,
  options: { peer: PeerName; python: Python; threads: number; pairs: number; signal: AbortSignal; bar: ProgressBar },
): Promise<PerfRow> {
  const { peer: peerName, python, threads, pairs, signal, bar } = options
  const inputs = workload.inputs()
  const peer = startPeer(peerName, python, threads, signal)
  const ours = await workload.prepare(inputs)
  try {
    await peer.prepare(workload, inputs)
    const losses: number[] = []
    for (let step = 0; step < checkedSteps; step++) losses.push(await ours.step())
    checkSameLosses(workload.name, losses, await peer.steps(checkedSteps))
    const times: { ours: number; theirs: number }[] = []
    // One pair more than counted: the first warms caches and just-in-time compilers on both sides.
    for (let pair = 0; pair <= pairs; pair++) {
      signal.throwIfAborted()
      const begun = performance.now()
      for (let i = 0; i < workload.repeat; i++) await ours.step()
      const oursMs = (performance.now() - begun) / workload.repeat
      const theirsMs = (await peer.time(workload.repeat)) / workload.repeat
      if (pair > 0) times.push({ ours: oursMs, theirs: theirsMs })
      bar.update(pair, `${oursMs.toFixed(2)} ms, ${peerName} ${theirsMs.toFixed(2)} ms`)
    }
    return {
      name: workload.name,
      ours_ms: median(times.map((time) => time.ours)),
      peer: `${peerName} ${python.libraries[peerName]}`,
      peer_ms: median(times.map((time) => time.theirs)),
      ratio: median(times.map((time) => time.ours / time.theirs)),
      threads,
    }
  } finally {
    ours.dispose()
    peer.close()
    bar.stop()
  }
}
