import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { useBackend } from '@bpf/core'
import { computed, fixturePapers, paper } from './__fixtures__/noisy-mean'
import { recordingTerminal } from './__fixtures__/terminal'
import { cli } from './cli'
import type { PaperEntry, RunEntry } from './papers'
import { readResults, type Results } from './results'
import type { Terminal } from './terminal'

const root = mkdtempSync(join(tmpdir(), 'bpf-bench-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

let count = 0
const newFolder = (): string => join(root, String(count++))

async function bench(words: string, overrides: Partial<Terminal> = {}, papers: readonly RunEntry[] = fixturePapers) {
  const terminal = recordingTerminal({ cwd: root, ...overrides })
  const status = await cli(words.split(' ').filter(Boolean), papers, terminal)
  return { status, stdout: terminal.stdout.join('\n'), stderr: terminal.stderr.join('\n') }
}

const read = (out: string): Results => JSON.parse(readFileSync(join(out, 'results.json'), 'utf8')) as Results

beforeEach(() => void (computed.length = 0))

describe('run', () => {
  it('writes results, metrics, figures and the report, and ends with 0 when all claims hold', async () => {
    const out = newFolder()
    const { status, stdout, stderr } = await bench(`run 7 --preset embedded --out ${out}`)
    expect(stderr).toBe('')
    expect(status).toBe(0)
    expect(stdout).toContain('2 of 2 claims hold, 5 seeds')
    expect(stdout).toContain('report.html')
    const { environment, papers } = read(out)
    expect(environment.node).toBe(process.versions.node)
    expect(environment.backend?.name).toBe((await useBackend()).name)
    expect(environment.packages['@bpf/core']).toMatch(/^\d+\.\d+\.\d+/)
    expect(papers).toHaveLength(1)
    expect(papers[0]).toMatchObject({
      paper: 7,
      preset: 'embedded',
      seeds: 5,
      seedsAsked: 5,
      command: 'bpf-bench run 07 --preset embedded',
    })
    expect(papers[0].claims.map(({ id, holds }) => [id, holds])).toEqual([
      ['mean-near-half', true],
      ['spread-falls', true],
    ])
    expect(papers[0].claims[0].expected).toEqual({ text: '≤ 0.02 (tolerance)', value: 0.02 })
    expect(papers[0].values.mean.each).toHaveLength(5)
    const rows = readFileSync(join(out, '07-noisy-mean', 'metrics.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as object)
    expect(rows).toHaveLength(15)
    expect(rows[0]).toMatchObject({ preset: 'embedded', seed: 0, part: 0 })
    expect(readFileSync(join(out, papers[0].figures[0].file), 'utf8')).toMatch(/^<svg/)
    expect(readFileSync(join(out, 'report.html'), 'utf8')).toContain('2 of 2 claims hold')
  })

  it('gives the same numbers for the same seeds', async () => {
    const [a, b] = [newFolder(), newFolder()]
    await bench(`run 7 --out ${a}`)
    await bench(`run all --out ${b}`)
    expect(read(b).papers[0].values).toEqual(read(a).papers[0].values)
  })

  it('ends with 1 when a claim does not hold, and says which', async () => {
    const { status, stdout } = await bench(`run noisy-mean --preset full --out ${newFolder()}`)
    expect(status).toBe(1)
    expect(stdout).toContain('FAILS')
    expect(stdout).toContain('2 of 3 claims hold')
  })

  it('keeps runs of other presets in the same folder', async () => {
    const out = newFolder()
    await bench(`run 7 --out ${out}`)
    await bench(`run 7 --preset embedded --seeds 1 --out ${out}`)
    await bench(`run 7 --out ${out}`)
    expect(read(out).papers.map(({ preset }) => preset)).toEqual(['quick', 'embedded'])
  })

  it('leaves figures out with --only-claims, and prints JSON with --json', async () => {
    const { status, stdout } = await bench(`run 7 --only-claims --json --out ${newFolder()}`)
    expect(status).toBe(0)
    const results = JSON.parse(stdout) as Results
    expect(results.papers[0].figures).toEqual([])
    expect(results.papers[0].claims).toHaveLength(1)
  })

  it('reports a paper that fails and still ends the others', async () => {
    const broken: PaperEntry = {
      ...fixturePapers[0],
      number: 8,
      slug: 'broken',
      load: () =>
        Promise.resolve({ paper: { ...paper, number: 8, slug: 'broken', run: () => Promise.reject(new Error('no such matrix')) } }),
    }
    const out = newFolder()
    const { status, stdout } = await bench(`run all --out ${out}`, {}, [broken, ...fixturePapers])
    expect(status).toBe(1)
    expect(stdout).toContain('failed: no such matrix')
    expect(read(out).papers.map(({ error }) => error)).toEqual([undefined, 'no such matrix'])
  })

  it('reports a paper whose code cannot be loaded', async () => {
    const entry: PaperEntry = {
      ...fixturePapers[0],
      number: 8,
      slug: 'gone',
      load: () => Promise.reject(new Error('Cannot find module x')),
    }
    const { status, stdout, stderr } = await bench(`run all --out ${newFolder()}`, {}, [entry, ...fixturePapers])
    expect(status).toBe(1)
    expect(stdout).toContain('failed: papers/08-gone cannot be loaded: Cannot find module x')
    expect(stdout).toContain('1 of 1 claims hold')
    expect(stderr).toBe('')
  })

  it('says so when a claim cannot be checked', async () => {
    const claims = [
      {
        id: 'x',
        statement: 'X.',
        check: () => {
          throw new Error('no value')
        },
      },
    ]
    const entry: PaperEntry = { ...fixturePapers[0], load: () => Promise.resolve({ paper: { ...paper, claims } }) }
    const { status, stdout } = await bench(`run 7 --json --out ${newFolder()}`, {}, [entry])
    expect(status).toBe(1)
    expect((JSON.parse(stdout) as Results).papers[0].claims[0].measured.text).toBe('could not be checked: no value')
  })
})

describe('stopping and resuming', () => {
  it('ends with 130 on Ctrl-C and goes on from the last finished part', async () => {
    const out = newFolder()
    const interruption = new AbortController()
    const stopped = bench(`run 7 --preset full --out ${out}`, { signal: interruption.signal })
    while (computed.length < 5) await new Promise((resolve) => setTimeout(resolve, 2))
    interruption.abort()
    const { status, stderr } = await stopped
    expect(status).toBe(130)
    expect(stderr).toBe('bpf-bench: stopped; what is finished is kept, and the same command with --resume goes on from there')
    expect(existsSync(join(out, 'results.json'))).toBe(false)

    computed.length = 0
    await bench(`run 7 --preset full --resume --out ${out}`)
    expect(computed).toEqual(['1/1', '1/2'])

    const whole = newFolder()
    await bench(`run 7 --preset full --out ${whole}`)
    expect(read(out).papers[0].values).toEqual(read(whole).papers[0].values)
  })

  it('adds seeds to a finished run, and starts anew without --resume', async () => {
    const out = newFolder()
    await bench(`run 7 --seeds 1 --out ${out}`)
    computed.length = 0
    await bench(`run 7 --seeds 2 --resume --out ${out}`)
    expect(computed).toEqual(['1/0', '1/1', '1/2'])
    expect(Number.isNaN(read(out).papers[0].values.nothing.mean ?? Number.NaN)).toBe(true)
    computed.length = 0
    await bench(`run 7 --seeds 1 --out ${out}`)
    expect(computed).toHaveLength(3)
  })

  it('does not use what was computed with other settings', async () => {
    const out = newFolder()
    await bench(`run 7 --seeds 1 --out ${out}`)
    computed.length = 0
    await bench(`run 7 --seeds 1 --only-claims --resume --out ${out}`)
    expect(computed).toHaveLength(3)
  })
})

describe('start', () => {
  it('runs the featured papers, shows all papers and where the report is', async () => {
    const out = newFolder()
    const { status, stdout } = await bench(`start --out ${out}`)
    expect(status).toBe(0)
    expect(stdout).toContain('1 of 1 claims hold (quick')
    expect(stdout).toContain(`file://${out}/report.html`)
  })

  it('leaves out what the budget has no time for', async () => {
    const long: PaperEntry = {
      ...fixturePapers[0],
      number: 9,
      slug: 'long',
      load: () =>
        Promise.resolve({
          paper: { ...paper, number: 9, slug: 'long', presets: { ...paper.presets, quick: { ...paper.presets.quick, seconds: 1000 } } },
        }),
    }
    const { status, stdout } = await bench(`start --budget 5s --out ${newFolder()}`, {}, [...fixturePapers, long])
    expect(status).toBe(0)
    expect(stdout).toContain('The budget left no time for 1 more: bpf-bench run 9')
    expect(stdout).toContain('not run here yet')
  })
})

describe('a comparison across papers', () => {
  it('has a name in place of a number, in the list, the run, the results and the report', async () => {
    const { number: _, arxiv: __, ...nameless } = { ...paper, slug: 'all-means' }
    const comparison: RunEntry = {
      slug: 'all-means',
      title: paper.title,
      package: paper.package,
      featured: false,
      load: () => Promise.resolve({ paper: nameless }),
    }
    const entries = [...fixturePapers, comparison]
    expect((await bench('list', {}, entries)).stdout).toMatch(/all-means {2}The mean of many draws/)
    const out = newFolder()
    const { status, stdout } = await bench(`run all-means --out ${out}`, {}, entries)
    expect(status).toBe(0)
    expect(stdout).toContain('all-means  The mean of many draws')
    const [report] = readResults(out)?.papers ?? []
    expect(report).toMatchObject({ slug: 'all-means', command: 'bpf-bench run all-means --preset quick' })
    expect(report.paper).toBeUndefined()
    expect(readFileSync(join(out, 'report.html'), 'utf8')).not.toMatch(/(paper|>|of|abs)[- /]?undefined/)
    expect((await bench('run al-means', {}, entries)).stderr).toContain('did you mean all-means?')
  })
})

describe('list and report', () => {
  it('lists papers without loading them', async () => {
    const unloadable: PaperEntry = { ...fixturePapers[0], load: () => Promise.reject(new Error('loaded')) }
    const { status, stdout } = await bench('list', {}, [unloadable])
    expect(status).toBe(0)
    expect(stdout).toMatch(/07 {2}The mean of many draws/)
    const machine = JSON.parse((await bench('list --json', {}, [unloadable])).stdout) as unknown[]
    expect(machine).toEqual([{ number: 7, slug: 'noisy-mean', title: paper.title, arxiv: '0000.00000', package: '@bpf/core', runs: [] }])
  })

  it('merges runs of several folders; the newest run of a preset counts', async () => {
    const [a, b, merged] = [newFolder(), newFolder(), newFolder()]
    await bench(`run 7 --out ${a}`)
    await bench(`run 7 --preset embedded --seeds 1 --out ${b}`)
    await bench(`run 7 --seeds 3 --out ${b}`)
    const { status, stdout } = await bench(`report ${a} ${b} --out ${merged}`)
    expect(status).toBe(0)
    expect(stdout).toContain('3 of 3 claims hold')
    expect(read(merged).papers.map(({ preset, seeds }) => [preset, seeds])).toEqual([
      ['quick', 3],
      ['embedded', 1],
    ])
    const page = readFileSync(join(merged, 'report.html'), 'utf8')
    expect(page.match(/<svg/g)).toHaveLength(2)
    expect(page).not.toContain('is gone')
  })
})

describe('bad usage', () => {
  const file = join(root, 'damaged')
  const cases: [string, number, RegExp][] = [
    ['rnu', 2, /unknown command 'rnu' \(did you mean run\?\)/],
    ['run', 2, /missing required argument 'papers'/],
    ['run 61', 2, /no reproduction of paper '61': known are 07; bpf-bench list shows them/],
    ['run nosiy-mean', 2, /\(did you mean noisy-mean\?\)/],
    ['run 7 --preset quikc', 2, /--preset: 'quikc' is not one of quick, embedded, full \(did you mean quick\?\)/],
    ['run 7 --seeds none', 2, /--seeds: expected a whole number of at least 1, got 'none'/],
    ['run 7 --sedes 2', 2, /unknown option '--sedes' \(did you mean --seeds\?\)/],
    ['run 7 --backend cup', 2, /--backend: 'cup' is not one of .*\(did you mean cpu\?\)/],
    ['run 7 --data-dir /no/such/folder', 2, /--data-dir: there is no folder \/no\/such\/folder; make it/],
    ['start --budget soon', 2, /--budget: expected a duration like 90s or 2m, got 'soon'/],
    ['start al', 2, /'al' is not one of all/],
    ['report /no/such/folder', 2, /there is no results.json in \/no\/such\/folder/],
    ['data get digist', 2, /'digist' is not one of digits, mnist-10k, fashion-mnist, omniglot-small \(did you mean digits\?\)/],
    ['data chekc', 2, /unknown command 'chekc' \(did you mean check\?\)/],
    ['perf --pairs 3', 2, /--pairs: expected a whole number of at least 7, got '3'/],
    ['perf --peer troch', 2, /did you mean torch\?/],
    ['perf --python /no/python', 2, /\/no\/python does not run \(from --python\); install torch/],
    [`list --out ${file}`, 2, /results.json is not a results file of bpf-bench: move it away/],
  ]

  it.each(cases)('bpf-bench %s → %i', async (words, expected, message) => {
    if (words.includes(file)) {
      const { mkdirSync } = await import('node:fs')
      mkdirSync(file, { recursive: true })
      writeFileSync(join(file, 'results.json'), '{"papers": 3')
    }
    const { status, stdout, stderr } = await bench(words)
    expect(stderr).toMatch(message)
    expect(stderr.split('\n')).toHaveLength(1)
    expect(stderr).not.toMatch(/ {2}at /)
    expect(stdout).toBe('')
    expect(status).toBe(expected)
  })

  it('shows where an error arose with --verbose', async () => {
    const { status, stderr } = await bench('run 61 --verbose')
    expect(status).toBe(2)
    expect(stderr).toMatch(/\n {4}at /)
  })

  it('prints help on standard output with 0', async () => {
    const { status, stdout, stderr } = await bench('--help')
    expect(status).toBe(0)
    expect(stderr).toBe('')
    for (const command of ['list', 'run', 'start', 'report', 'perf', 'data', 'doctor']) expect(stdout).toContain(command)
  })
})

describe('doctor', () => {
  it('names the machine, the backend in use and why, Python peers and data sets', async () => {
    const { status, stdout } = await bench('doctor --json', { env: { BPF_CACHE_DIR: root } })
    expect(status).toBe(0)
    const found = JSON.parse(stdout) as Record<string, unknown> & { backends: { name: string; works: boolean }[] }
    expect(found).toMatchObject({ node: process.versions.node, backend: { name: (await useBackend()).name }, cache: root })
    expect(found.backends.find(({ name }) => name === 'cpu')?.works).toBe(true)
    expect(found.data).toContainEqual({ name: 'digits', found: expect.stringContaining('bench/data') as string })
    expect((await bench('doctor')).stdout).toContain('in use')
  })
})
