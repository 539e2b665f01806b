import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, watch } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, unlink } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import process from 'node:process'
import { build } from 'tsup'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fold, key, uniformArray } from '../random/index'

// Inside the package, so that the program finds its dependencies.
const workFolder = resolve('.vitest', 'kill')
let root: string
let program: string

beforeAll(async () => {
  await mkdir(workFolder, { recursive: true })
  root = await mkdtemp(join(workFolder, 'run-'))
  program = join(root, 'program', 'kill-run.mjs')
  await build({
    entry: { 'kill-run': 'src/node/__fixtures__/kill-run.ts' },
    outDir: join(root, 'program'),
    outExtension: () => ({ js: '.mjs' }),
    format: 'esm',
    platform: 'node',
    target: 'es2022',
    skipNodeModulesBundle: true,
    config: false,
    silent: true,
  })
})
afterAll(() => rm(root, { recursive: true, force: true }))

type Kind = 'fit' | 'stages'

/** One run in a process of its own. */
interface Started {
  child: ChildProcess
  /** Milliseconds from the start to the end, and what the process said. */
  ended: Promise<{ status: number | null; signal: NodeJS.Signals | null; stderr: string; milliseconds: number }>
}

function start(kind: Kind, name: string): Started {
  const began = performance.now()
  const child = spawn(process.execPath, [program, kind, checkpoints(name), result(name)], { stdio: ['ignore', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr?.on('data', (text: Buffer) => (stderr += text.toString()))
  const ended = new Promise<Awaited<Started['ended']>>((settle) => {
    child.on('close', (status, signal) => settle({ status, signal, stderr, milliseconds: performance.now() - began }))
  })
  return { child, ended }
}

const checkpoints = (name: string): string => join(root, name)
const result = (name: string): string => join(root, `${name}.safetensors`)

async function runToTheEnd(kind: Kind, name: string): Promise<number> {
  const { status, stderr, milliseconds } = await start(kind, name).ended
  expect(stderr).toBe('')
  expect(status).toBe(0)
  return milliseconds
}

/** Goes on after a kill: the same bytes as without it, and nothing but whole checkpoints left. */
async function expectSameAfterResume(kind: Kind, name: string, whole: Buffer): Promise<void> {
  // A kill that came late may have let the result be written.
  await unlink(result(name)).catch(() => {})
  await runToTheEnd(kind, name)
  expect((await readFile(result(name))).equals(whole)).toBe(true)
  const left = await readdir(checkpoints(name))
  expect(left.length).toBeLessThanOrEqual(3)
  for (const file of left) expect(file).toMatch(/^checkpoint-\d+-step-\d+(-best)?\.safetensors$/)
}

const sleep = (milliseconds: number): Promise<void> => new Promise((settle) => setTimeout(settle, milliseconds))

/** Resolves when the n-th file whose name `matches` appears in a folder. */
async function appearance(folder: string, matches: (name: string) => boolean, n: number): Promise<void> {
  await mkdir(folder, { recursive: true })
  const seen = new Set<string>()
  await new Promise<void>((settle) => {
    const watcher = watch(folder, (_, name) => {
      if (name === null || !matches(name)) return
      seen.add(name)
      if (seen.size < n) return
      watcher.close()
      settle()
    })
  })
}

describe.each([
  { kind: 'fit', randomKills: 20, writeKills: 4 },
  { kind: 'stages', randomKills: 3, writeKills: 2 },
] as const)('$kind killed with SIGKILL and resumed', ({ kind, randomKills, writeKills }) => {
  let whole: Buffer
  let milliseconds: number

  beforeAll(async () => {
    milliseconds = await runToTheEnd(kind, `${kind}-whole`)
    whole = await readFile(result(`${kind}-whole`))
  })

  it('gives the same bytes when run again without a kill', async () => {
    await runToTheEnd(kind, `${kind}-again`)
    expect((await readFile(result(`${kind}-again`))).equals(whole)).toBe(true)
  })

  const delays = uniformArray(fold(key(60), randomKills), randomKills)
  it.each(Array.from({ length: randomKills }, (_, i) => i))('at random moment %i', async (i) => {
    const name = `${kind}-random-${i}`
    const { child, ended } = start(kind, name)
    // The first part of a process loads code; half of the kills would hit before anything is written.
    await sleep(milliseconds * (0.25 + 0.75 * delays[i]))
    child.kill('SIGKILL')
    await ended
    await expectSameAfterResume(kind, name, whole)
  })

  it.each(Array.from({ length: writeKills }, (_, i) => i))('while a checkpoint is being written, %i', async (i) => {
    const name = `${kind}-write-${i}`
    const beingWritten = appearance(checkpoints(name), (file) => file.endsWith('.tmp'), 3 + 9 * i)
    const { child, ended } = start(kind, name)
    await Promise.race([beingWritten, ended])
    child.kill('SIGKILL')
    expect((await ended).signal).toBe('SIGKILL')
    await expectSameAfterResume(kind, name, whole)
  })

  it('again and again, until it gets through', async () => {
    const name = `${kind}-again-and-again`
    for (let i = 0; i < 3; i++) {
      const { child, ended } = start(kind, name)
      await sleep(milliseconds * 0.6)
      child.kill('SIGKILL')
      await ended
    }
    await expectSameAfterResume(kind, name, whole)
  })
})
