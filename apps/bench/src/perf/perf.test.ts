import { readFileSync, rmSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { useBackend } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { recordingTerminal } from '../__fixtures__/terminal'
import { cli } from '../cli'
import { askPython, peerNames, usualPythons } from '../python'
import { checkSameLosses, median, type PerfRow } from './compare'
import { startPeer } from './peer'
import { workloads } from './workloads'

// The sizes are those of the comparison: the cpu backend would take minutes.
beforeAll(async () => void (await useBackend('onnx')))

it('takes medians', () => {
  expect(median([3, 1, 2])).toBe(2)
  expect(median([4, 1, 2, 3])).toBe(2.5)
})

it('times nothing when losses differ by more than 1e-4', () => {
  expect(() => checkSameLosses('x', [1, 0.5], [1.00009, 0.5])).not.toThrow()
  expect(() => checkSameLosses('x', [2000], [2000.1])).not.toThrow()
  expect(() => checkSameLosses('x', [1, 0.5], [1, 0.5002])).toThrow(/at step 2 our loss is 0.5, the peer's 0.5002/)
  expect(() => checkSameLosses('x', [Number.NaN], [Number.NaN])).toThrow(/nothing was timed/)
})

describe.each(workloads.map((workload) => [workload.name, workload] as const))('%s', (_name, workload) => {
  const trains = workload.settings.learningRate !== undefined

  it(`${trains ? 'takes steps that lower the loss and leak nothing' : 'takes steps that leak nothing'}`, async () => {
    const atStart = tf.memory().numTensors
    const ours = await workload.prepare(workload.inputs())
    const first = await ours.step()
    const before = tf.memory().numTensors
    let last = first
    for (let i = 0; i < 3; i++) last = await ours.step()
    expect(tf.memory().numTensors).toBe(before)
    if (trains) expect(last).toBeLessThan(first)
    ours.dispose()
    expect(tf.memory().numTensors).toBe(atStart)
  })
})

const pythons = await Promise.all(usualPythons.map((command) => askPython(command)))

describe.each(peerNames)('the %s peer', (peer) => {
  const python = pythons.find((candidate) => candidate?.libraries[peer] !== undefined && candidate.libraries.numpy !== undefined)

  const known = workloads.filter((workload) => workload.peers.includes(peer))

  it.runIf(python !== undefined).each(known.map((workload) => [workload.name, workload] as const))(
    'computes the losses of %s that we compute',
    async (_name, workload) => {
      if (python === undefined) return
      const inputs = workload.inputs()
      const ours = await workload.prepare(inputs)
      const other = startPeer(peer, python, 1, new AbortController().signal)
      try {
        const losses: number[] = []
        for (let i = 0; i < 3; i++) losses.push(await ours.step())
        const { blas } = await other.prepare(workload, inputs)
        expect(['mkl', 'openblas', 'blis', 'atlas', 'reference', 'unknown']).toContain(blas)
        checkSameLosses(workload.name, losses, await other.steps(3))
        expect((await other.time(1)).ms).toBeGreaterThan(0)
      } finally {
        ours.dispose()
        other.close()
      }
    },
    60_000,
  )
})

const withPeer = (workloads.find(({ name }) => name === 'mlp-step')?.peers ?? [])
  .map((peer) => ({ peer, python: pythons.find((candidate) => candidate?.libraries[peer] !== undefined) }))
  .find(({ python }) => python !== undefined)

it.runIf(withPeer !== undefined)('perf writes rows of the agreed shape', { timeout: 60_000 }, async () => {
  const { peer, python } = withPeer ?? { peer: 'torch', python: undefined }
  const folder = mkdtempSync(join(tmpdir(), 'bpf-perf-'))
  const terminal = recordingTerminal({ cwd: folder })
  const words = [
    'perf',
    '--peer',
    peer,
    '--only',
    'mlp-step',
    '--backend',
    'onnx',
    '--python',
    python?.command ?? '',
    '--json',
    'rows.json',
  ]
  expect(await cli(words, [], terminal)).toBe(0)
  const rows = JSON.parse(readFileSync(join(folder, 'rows.json'), 'utf8')) as PerfRow[]
  rmSync(folder, { recursive: true })
  expect(rows).toHaveLength(1)
  const [row] = rows
  expect(Object.keys(row).slice(0, 6)).toEqual(['name', 'ours_ms', 'peer', 'peer_ms', 'ratio', 'threads'])
  expect(row.peer).toBe(`${peer} ${python?.libraries[peer]}`)
  expect(row.held).toBe(row.bound === null || row.blas === 'reference' ? null : (row.ratio ?? 0) <= row.bound)
  expect(row.wasm_ms === null).toBe('wasm' in row.unable)
  expect(row.cpu_ms).toBeGreaterThan(0)
  expect(terminal.stdout.join()).toContain('mlp-step')
  expect(terminal.stderr).toEqual([])
})

it('perf compares with the backends of TensorFlow.js alone where no peer is asked for', { timeout: 60_000 }, async () => {
  const terminal = recordingTerminal()
  expect(await cli(['perf', '--only', 'matmul-256', '--backend', 'onnx', '--json'], [], terminal)).toBe(0)
  const [row] = JSON.parse(terminal.stdout.join('\n')) as PerfRow[]
  expect(row).toMatchObject({ name: 'matmul-256', peer: null, peer_ms: null, ratio: null, held: null })
  expect(row.ours_ms).toBeGreaterThan(0)
  expect(row.cpu_ms).toBeGreaterThan(row.ours_ms)
})

it('says why a peer ended', async () => {
  const python = pythons.find((candidate) => candidate !== undefined)
  if (python === undefined) return
  const peer = startPeer('nothing' as 'torch', python, 1, new AbortController().signal)
  await expect(peer.prepare(workloads[1], {})).rejects.toThrow(/the nothing peer ended with status 1: ModuleNotFoundError/)
  peer.close()
})
