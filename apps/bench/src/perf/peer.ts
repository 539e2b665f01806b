import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { BpfError } from '@bpf/core'
import { packageFolder } from '../package-folder'
import type { PeerName, Python } from '../python'
import type { InputArray, Workload } from './workload'

/** Milliseconds of one step: on the clock, and of the processor in all threads. */
export interface Timing {
  ms: number
  cpuMs: number
}

/** A Python process that runs the other side of workloads. */
export interface Peer {
  /** Builds the workload there. Tells where matrix products come from: `openblas`, `mkl`, `reference` (slow) or `unknown`. */
  prepare(workload: Workload, inputs: Readonly<Record<string, InputArray>>): Promise<{ blas: string }>
  /** Takes steps and returns the loss before each. */
  steps(count: number): Promise<number[]>
  /** Times `count` steps. */
  time(count: number): Promise<Timing>
  close(): void
}

function encoded(array: InputArray): { dtype: string; shape: readonly number[]; base64: string } {
  const { buffer, byteOffset, byteLength } = array.data
  const dtype = array.data instanceof Float32Array ? '<f4' : '<i4'
  return { dtype, shape: array.shape, base64: Buffer.from(buffer, byteOffset, byteLength).toString('base64') }
}

/** Starts the peer for one library. Both sides use `threads` threads. */
export function startPeer(peer: PeerName, python: Python, threads: number, signal: AbortSignal): Peer {
  const limits = Object.fromEntries(['OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'].map((name) => [name, String(threads)]))
  const child = spawn(python.command, ['-u', join(packageFolder, 'peers', 'serve.py'), peer, String(threads)], {
    env: { ...process.env, ...limits },
    stdio: ['pipe', 'pipe', 'pipe'],
    signal,
  })
  let complaint = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint = (complaint + text).slice(-4000)))
  const waiting: { resolve(line: string): void; reject(error: Error): void }[] = []
  const fail = (reason: string): void => {
    const last = complaint.trim().split('\n').at(-1)
    for (const { reject } of waiting.splice(0)) reject(new BpfError(`perf: the ${peer} peer ${reason}${last ? `: ${last}` : ''}`))
  }
  createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()?.resolve(line))
  child.on('error', (error) => fail(`did not start (${error.message})`))
  child.on('exit', (code) => fail(`ended with status ${code}`))
  child.stdin.on('error', () => {})

  const ask = async <T>(request: object): Promise<T> => {
    const line = await new Promise<string>((resolve, reject) => {
      waiting.push({ resolve, reject })
      child.stdin.write(`${JSON.stringify(request)}\n`)
    })
    const answer = JSON.parse(line) as T & { error?: string }
    if (answer.error !== undefined) throw new BpfError(`perf: the ${peer} peer failed: ${answer.error}`)
    return answer
  }
  return {
    async prepare(workload, inputs) {
      const arrays = Object.fromEntries(Object.entries(inputs).map(([name, array]) => [name, encoded(array)]))
      return ask<{ blas: string }>({ prepare: workload.name, settings: workload.settings, arrays })
    },
    steps: async (count) => (await ask<{ losses: number[] }>({ steps: count })).losses,
    async time(count) {
      const { ms, cpuMs } = await ask<Timing>({ time: count })
      return { ms: ms / count, cpuMs: cpuMs / count }
    },
    close: () => child.kill(),
  }
}
