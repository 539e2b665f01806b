import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'tsup'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Results } from './results'

const root = mkdtempSync(join(tmpdir(), 'bpf-interrupt-'))
const program = join(root, 'program', 'main.mjs')

// The command as a real process, with the fixture's papers: to interrupt and kill it.
const entry = `
import { fixturePapers } from ${JSON.stringify(join(import.meta.dirname, '__fixtures__/noisy-mean'))}
import { runProcess } from ${JSON.stringify(join(import.meta.dirname, 'process'))}
await runProcess(fixturePapers)
`

beforeAll(async () => {
  writeFileSync(join(root, 'entry.ts'), entry)
  await build({
    entry: { main: join(root, 'entry.ts') },
    outDir: join(root, 'program'),
    outExtension: () => ({ js: '.mjs' }),
    format: 'esm',
    platform: 'node',
    target: 'es2022',
    // All in one place but what is not reached by what runs here.
    noExternal: [/^(?!sharp|@bpf\/calibration|@tensorflow\/tfjs-(node|backend-w))/],
    // CommonJS packages inside the bundle ask for node's modules.
    banner: { js: "import { createRequire as r } from 'node:module'; const require = r(import.meta.url);" },
    esbuildOptions: (options) => void (options.conditions = ['@bpf/source']),
    config: false,
    silent: true,
  })
}, 120_000)
afterAll(() => rmSync(root, { recursive: true, force: true }))

interface Ended {
  status: number | null
  stdout: string
  stderr: string
}

function start(words: readonly string[]): { child: ChildProcess; ended: Promise<Ended> } {
  const child = spawn(process.execPath, [program, ...words], { cwd: root })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (text: Buffer) => (stdout += text.toString()))
  child.stderr.on('data', (text: Buffer) => (stderr += text.toString()))
  const ended = new Promise<Ended>((resolve) => child.on('close', (status) => resolve({ status, stdout, stderr })))
  return { child, ended }
}

const valuesOf = (out: string): unknown => (JSON.parse(readFileSync(join(out, 'results.json'), 'utf8')) as Results).papers[0].values

async function hasStarted(out: string): Promise<void> {
  while (!existsSync(join(out, 'state', '07-noisy-mean', 'embedded'))) await new Promise((resolve) => setTimeout(resolve, 5))
}

describe.each(['SIGINT', 'SIGKILL'] as const)('%s', (signal) => {
  it.each([0, 60, 150, 230])(
    '%i ms into the work leaves what --resume goes on from to the same numbers',
    { timeout: 60_000 },
    async (delay) => {
      const [whole, cut] = [join(root, 'whole'), join(root, `${signal}-${delay}`)]
      const words = (out: string): string[] => ['run', '7', '--preset', 'embedded', '--out', out]
      if (!existsSync(whole)) expect((await start(words(whole)).ended).status).toBe(0)

      const { child, ended } = start(words(cut))
      await hasStarted(cut)
      await new Promise((resolve) => setTimeout(resolve, delay))
      child.kill(signal)
      const stopped = await ended
      if (signal === 'SIGINT') {
        expect(stopped.stderr).toBe('bpf-bench: stopped; what is finished is kept, and the same command with --resume goes on from there\n')
        expect(stopped.status).toBe(130)
      }
      expect(existsSync(join(cut, 'results.json'))).toBe(false)

      const resumed = await start([...words(cut), '--resume']).ended
      expect(resumed.stderr).toBe('')
      expect(resumed.status).toBe(0)
      expect(valuesOf(cut)).toEqual(valuesOf(whole))
    },
  )
})

it('ends quietly when its reader goes away', { timeout: 60_000 }, async () => {
  const { child, ended } = start(['list', '--json'])
  child.stdout?.destroy()
  const { status, stderr } = await ended
  expect(stderr).toBe('')
  expect(status).toBe(0)
})
