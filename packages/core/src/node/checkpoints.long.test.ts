import * as tf from '@tensorflow/tfjs-core'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { isBpfError } from '../errors'
import { fold, key } from '../random/key'
import { uniformIndices } from '../data/uniform-indices'
import { fileCheckpoints } from './index'

let folder: string
let path: string
let whole: Buffer

beforeAll(async () => {
  await useBackend('cpu')
  folder = await mkdtemp(join(tmpdir(), 'bpf-'))
  const state = {
    params: { kernel: tf.randomNormal([64, 32], 0, 1, 'float32', 1), bias: tf.zeros([32]) },
    mask: tf.tensor1d([true, false], 'bool'),
    step: tf.scalar(12, 'int32'),
    spectrum: tf.complex([1, 2], [3, 4]),
  }
  const host = { history: Array.from({ length: 40 }, (_, i) => ({ epoch: i, loss: 1 / (i + 1) })), solver: Float64Array.of(1, 2, 3) }
  await fileCheckpoints(folder).save({ trees: { state, best: state.params }, host }, { step: 12, best: false })
  path = join(folder, 'checkpoint-000001-step-12.safetensors')
  whole = await readFile(path)
})
afterAll(() => rm(folder, { recursive: true }))

async function expectNamedError(bytes: Uint8Array): Promise<void> {
  await writeFile(path, bytes)
  const before = tf.memory().numTensors
  const thrown: unknown = await fileCheckpoints(folder)
    .load()
    .then(
      () => undefined,
      (error: unknown) => error,
    )
  expect(isBpfError(thrown, 'DataError')).toBe(true)
  expect((thrown as Error).message).toContain(path)
  expect(tf.memory().numTensors).toBe(before)
}

describe('a damaged checkpoint never loads', () => {
  it('truncated at 200 random offsets', async () => {
    const draw = uniformIndices(fold(key(1), 0))
    for (let i = 0; i < 200; i++) await expectNamedError(whole.subarray(0, draw(whole.length)))
  })

  it('with a byte flipped at 200 random places, half of them in the header', async () => {
    const draw = uniformIndices(fold(key(1), 1))
    const headerEnd = 8 + whole.readUInt32LE(0)
    for (let i = 0; i < 200; i++) {
      const bytes = Uint8Array.from(whole)
      bytes[draw(i % 2 === 0 ? whole.length : headerEnd)] ^= 1 + draw(255)
      await expectNamedError(bytes)
    }
  })

  it('and whole again, it does', async () => {
    await writeFile(path, whole)
    expect((await fileCheckpoints(folder).load())?.trees).toHaveProperty('best')
  })
})
