import * as tf from '@tensorflow/tfjs-core'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { serialize } from '../save/index'
import { dispose } from '../tree'
import { environment, environmentDifferences, fileCheckpoints, load, loadSafetensors, save } from './index'

let folder: string
beforeAll(() => useBackend('cpu'))
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bpf-'))
})
afterEach(() => rm(folder, { recursive: true }))

async function keep(steps: readonly number[], best?: number): Promise<void> {
  const store = fileCheckpoints(folder)
  for (const step of steps) {
    const state = { x: tf.tensor1d([step, 0.5]) }
    await store.save({ trees: { state }, host: { step } }, { step, best: step === best })
    dispose(state)
  }
}

async function loadStep(warnings: string[] = []): Promise<number | undefined> {
  const checkpoint = await fileCheckpoints(folder, { onWarning: (message) => warnings.push(message) }).load()
  if (checkpoint === undefined) return undefined
  const { step } = checkpoint.host as { step: number }
  expect([...(checkpoint.trees.state as { x: tf.Tensor }).x.dataSync()]).toEqual([step, 0.5])
  dispose(checkpoint.trees)
  return step
}

async function truncate(name: string): Promise<void> {
  const path = join(folder, name)
  const bytes = await readFile(path)
  await writeFile(path, bytes.subarray(0, bytes.length - 1))
}

describe('save and load', () => {
  it('give back tree, host state and environment', async () => {
    const path = join(folder, 'model.safetensors')
    const tree = { w: tf.tensor1d([1, 2, 3]) }
    await save(path, tree, { host: { solver: Float64Array.of(Math.PI) } })
    await save(path, tree, { host: { solver: Float64Array.of(Math.E) } })
    const loaded = await load<{ w: tf.Tensor }>(path)
    expect([...loaded.tree.w.dataSync()]).toEqual([1, 2, 3])
    expect(loaded.host).toEqual({ solver: Float64Array.of(Math.E) })
    expect(loaded.environment).toEqual(await environment())
    expect(await readdir(folder)).toEqual(['model.safetensors'])
    expect(Object.keys(await loadSafetensors(path))).toEqual(['/w'])
  })

  it('names a file that is missing or cannot be written, and leaves nothing behind', async () => {
    await expect(load(join(folder, 'none'))).rejects.toThrow(/^cannot read .*none: there is no such file or folder\./)
    await expect(save(join(folder, 'no', 'x'), [])).rejects.toThrow(
      /^cannot write .*x: there is no such file or folder\. Check that the folder exists/,
    )
    await expect(save(folder, [])).rejects.toThrow(/^cannot write/)
    expect(await readdir(folder)).toEqual([])
    await writeFile(join(folder, 'x'), 'no model')
    await expect(load(join(folder, 'x'))).rejects.toThrow(`${join(folder, 'x')}: byte 0: expected a header length`)
  })
})

describe('fileCheckpoints', () => {
  it('is empty before the first checkpoint, also without the folder', async () => {
    expect(await loadStep()).toBeUndefined()
    expect(await fileCheckpoints(join(folder, 'a', 'b')).load()).toBeUndefined()
  })

  it('keeps the last two and the best, and loads the newest', async () => {
    await keep([1, 2, 3, 4, 5], 2)
    expect((await readdir(folder)).sort()).toEqual([
      'checkpoint-000002-step-2-best.safetensors',
      'checkpoint-000004-step-4.safetensors',
      'checkpoint-000005-step-5.safetensors',
    ])
    await keep([6, 7], 6)
    expect((await readdir(folder)).sort()).toEqual(['checkpoint-000006-step-6-best.safetensors', 'checkpoint-000007-step-7.safetensors'])
    const warnings: string[] = []
    expect(await loadStep(warnings)).toBe(7)
    expect(warnings).toEqual([])
  })

  it('ignores and clears away what a killed process left half written', async () => {
    await keep([1])
    const leftover = join(folder, '.checkpoint-000002-step-2.safetensors.1-0.tmp')
    await writeFile(leftover, 'half')
    expect(await loadStep()).toBe(1)
    await keep([2])
    expect(await readdir(folder)).not.toContain('.checkpoint-000002-step-2.safetensors.1-0.tmp')
  })

  it('passes over a damaged checkpoint with a warning, and goes on from there', async () => {
    await keep([1, 2, 3])
    await truncate('checkpoint-000003-step-3.safetensors')
    const warnings: string[] = []
    expect(await loadStep(warnings)).toBe(2)
    expect(warnings).toHaveLength(1)
    expect(warnings[0]).toMatch(/checkpoint-000003-step-3.safetensors: .*Resuming from checkpoint-000002-step-2.safetensors/)
    const store = fileCheckpoints(folder, { onWarning: () => {} })
    dispose((await store.load())?.trees)
    await writeFile(join(folder, 'notes.txt'), 'mine')
    await store.save({ trees: { state: { x: tf.tensor1d([3, 0.5]) } }, host: { step: 3 } }, { step: 3, best: false })
    expect((await readdir(folder)).sort()).toEqual([
      'checkpoint-000002-step-2.safetensors',
      'checkpoint-000004-step-3.safetensors',
      'notes.txt',
    ])
    expect(await loadStep()).toBe(3)
  })

  it('takes the checkpoint saved last for the newest, also when a new stage counts its steps from 1', async () => {
    await keep([100, 200, 1])
    expect(await loadStep()).toBe(1)
    await keep([100])
    expect((await readdir(folder)).sort()).toEqual(['checkpoint-000003-step-1.safetensors', 'checkpoint-000004-step-100.safetensors'])
  })

  it('fails with the file’s name when no whole checkpoint is left', async () => {
    await keep([1, 2])
    await truncate('checkpoint-000001-step-1.safetensors')
    await truncate('checkpoint-000002-step-2.safetensors')
    await expect(loadStep()).rejects.toThrow(
      /^no whole checkpoint is left in .*checkpoint-000002-step-2.safetensors: .*Delete the folder to start anew/,
    )
  })

  it('warns when a checkpoint comes from another environment', async () => {
    const now = await environment()
    const then = { ...now, backend: 'onnx', threads: 8, packages: { ...now.packages, '@tensorflow/tfjs-core': '4.0.0' } }
    expect(environmentDifferences(now, now)).toEqual([])
    const bytes = await serialize({ state: { x: tf.tensor1d([1, 0.5]) } }, { host: { step: 1 }, environment: then })
    await writeFile(join(folder, 'checkpoint-000001-step-1.safetensors'), bytes)
    const warnings: string[] = []
    expect(await loadStep(warnings)).toBe(1)
    expect(warnings).toHaveLength(1)
    expect(warnings[0]).toMatch(
      /packages @tensorflow\/tfjs-core: 4.0.0, now 4.22.0; backend: onnx, now cpu; threads: 8, now 1\): results will not be bit-equal/,
    )
  })
})

describe('environment', () => {
  it('names versions, processor and backend', async () => {
    const { packages, node, cpu, backend, threads } = await environment()
    expect(packages['@bpf/core']).toMatch(/^\d+\.\d+\.\d+/)
    expect(packages['@tensorflow/tfjs-core']).toBe('4.22.0')
    expect([node, backend, threads]).toEqual([process.versions.node, 'cpu', 1])
    expect(cpu.length).toBeGreaterThan(0)
  })
})
