import { spawn, type ChildProcess } from 'node:child_process'
import { watch } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, unlink } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import process from 'node:process'
import { build } from 'tsup'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { key, uniformArray } from '../random/index'

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
  ended: Promise<{ status: number | null; signal: NodeJS.Signals | null; stderr: string }>
}

function start(kind: Kind, name: string): Started {
  const child = spawn(process.execPath, [program, kind, checkpoints(name), result(name)], { stdio: ['ignore', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr?.on('data', (text: Buffer) => (stderr += text.toString()))
  const ended = new Promise<Awaited<Started['ended']>>((settle) => {
    child.on('close', (status, signal) => settle({ status, signal, stderr }))
  })
  return { child, ended }
}

const checkpoints = (name: string): string => join(root, name)
const result = (name: string): string => join(root, `${name}.safetensors`)

async function runToTheEnd(kind: Kind, name: string): Promise<void> {
  const { status, stderr } = await start(kind, name).ended
  expect(stderr).toBe('')
  expect(status).toBe(0)
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

/** Resolves when the n-th file whose name fits `pattern` appears in a folder. */
async function appearance(folder: string, pattern: RegExp, n: number): Promise<void> {
  await mkdir(folder, { recursive: true })
  const seen = new Set<string>()
  await new Promise<void>((settle) => {
    const watcher = watch(folder, (_, name) => {
      if (name !== null && pattern.test(name)) seen.add(name)
      if (seen.size < n) return
      watcher.close()
      settle()
    })
  })
}

const finished = /^checkpoint-.*\.safetensors$/
const beingWritten = /\.tmp$/

/** Starts a run and kills it `delay` ms after its n-th file that fits `pattern` has appeared. */
async function killAt(kind: Kind, name: string, pattern: RegExp, n: number, delay = 0): Promise<NodeJS.Signals | null> {
  const reached = appearance(checkpoints(name), pattern, n)
  const { child, ended } = start(kind, name)
  await Promise.race([reached, ended])
  if (delay > 0) await sleep(delay)
  child.kill('SIGKILL')
  return (await ended).signal
}

/** How many checkpoints a finished run has written. */
async function checkpointsWritten(name: string): Promise<number> {
  const numbers = (await readdir(checkpoints(name))).map((file) => Number(/^checkpoint-(\d+)/.exec(file)?.[1]))
  return Math.max(...numbers)
}

describe.each([
  { kind: 'fit', randomKills: 20, writeKills: 3 },
  { kind: 'stages', randomKills: 4, writeKills: 2 },
] as const)('$kind killed with SIGKILL and resumed', ({ kind, randomKills, writeKills }) => {
  const whole = `${kind}-whole`
  let expected: Buffer
  let written: number

  beforeAll(async () => {
    await runToTheEnd(kind, whole)
    expected = await readFile(result(whole))
    written = await checkpointsWritten(whole)
  })

  it('gives the same bytes when run again without a kill', async () => {
    await runToTheEnd(kind, `${kind}-again`)
    expect((await readFile(result(`${kind}-again`))).equals(expected)).toBe(true)
  })

  // Counted in checkpoints, not seconds, so that they are spread over the run however busy the machine is.
  const moments = uniformArray(key(randomKills), 2 * randomKills)
  it.each(Array.from({ length: randomKills }, (_, i) => i))('at random moment %i', async (i) => {
    const name = `${kind}-random-${i}`
    await killAt(kind, name, finished, 1 + Math.floor(moments[2 * i] * (written - 1)), 30 * moments[2 * i + 1])
    await expectSameAfterResume(kind, name, expected)
  })

  it.each(Array.from({ length: writeKills }, (_, i) => 3 + 7 * i))('while its checkpoint %i is being written', async (n) => {
    const name = `${kind}-write-${n}`
    expect(await killAt(kind, name, beingWritten, n)).toBe('SIGKILL')
    await expectSameAfterResume(kind, name, expected)
  })

  it('again and again', async () => {
    const name = `${kind}-again-and-again`
    for (let i = 0; i < 3; i++) expect(await killAt(kind, name, finished, Math.ceil(written / 5), 5)).toBe('SIGKILL')
    await expectSameAfterResume(kind, name, expected)
  })
})

describe('stages killed with SIGKILL at a boundary and resumed', () => {
  const whole = 'stages-boundary-whole'
  let expected: Buffer

  beforeAll(async () => {
    await runToTheEnd('stages', whole)
    expected = await readFile(result(whole))
  })

  // Inside a stage the program writes at multiples of 3 and 10 steps, so these are the checkpoints between stages.
  it.each([
    { moment: 'before the checkpoint of its end', stage: 1, pattern: /^checkpoint-\d+-step-30(-best)?\.safetensors$/ },
    { moment: 'while the checkpoint of its end is being written', stage: 1, pattern: /-step-1\.safetensors.*\.tmp$/ },
    { moment: 'after the checkpoint of its end', stage: 1, pattern: /-step-1\.safetensors$/ },
    { moment: 'while the checkpoint of its end is being written', stage: 2, pattern: /-step-2\.safetensors.*\.tmp$/ },
    { moment: 'after the checkpoint of its end', stage: 2, pattern: /-step-2\.safetensors$/ },
  ])('of stage $stage, $moment', async ({ stage, moment, pattern }) => {
    const name = `stages-boundary-${stage}-${moment.replaceAll(' ', '-')}`
    expect(await killAt('stages', name, pattern, 1)).toBe('SIGKILL')
    await expectSameAfterResume('stages', name, expected)
  })
})
