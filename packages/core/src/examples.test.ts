import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import process from 'node:process'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'

const readme = await readFile('README.md', 'utf8')
const [first, ...others] = [...readme.matchAll(/^```(js|ts)\n([\s\S]*?)^```/gm)].map((block) => ({
  language: block[1],
  code: block[2],
  section: [...readme.slice(0, block.index).matchAll(/^## (.*)$/gm)].pop()?.[1],
}))

// Inside the package, so that its own name resolves.
const folder = resolve('.vitest', 'readme')

describe('every example of the README runs and says nothing on stderr', () => {
  const printed: string[] = []
  const complaints: string[] = []
  const complain = (...words: unknown[]): void => void complaints.push(words.map(String).join(' '))

  beforeAll(() => mkdir(folder, { recursive: true }))
  beforeEach(() => {
    printed.length = 0
    complaints.length = 0
    vi.spyOn(console, 'log').mockImplementation((...words) => void printed.push(words.map(String).join(' ')))
    vi.spyOn(console, 'warn').mockImplementation(complain)
    vi.spyOn(console, 'error').mockImplementation(complain)
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => (complain(text), true))
    process.on('warning', complain)
  })
  afterEach(() => {
    process.off('warning', complain)
    vi.restoreAllMocks()
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  /** Runs a program until it has printed something. */
  async function run(name: string, code: string): Promise<void> {
    const file = resolve(folder, name)
    await writeFile(file, code)
    await import(/* @vite-ignore */ file)
    await vi.waitFor(() => expect(printed).not.toEqual([]), { timeout: 20_000 })
    expect(complaints).toEqual([])
  }

  it('at the top, which is plain JavaScript and learns what it is given', async () => {
    expect(first.language).toBe('js')
    await run('first.js', first.code)
    expect(Number(/^accuracy ([\d.]+)$/.exec(printed[0])?.[1])).toBeGreaterThan(0.95)
  })

  it.each(others)('under "$section"', async ({ section, language, code }) => run(`${section}.${language}`, code))
})

describe('the table of rooms', () => {
  const rows = [...readme.matchAll(/^\| `(@bpf\/core[\w/]*)` *\|[^|]*\|([^|]*)\|/gm)]

  it('has every room', async () => {
    const { exports } = JSON.parse(await readFile('package.json', 'utf8')) as { exports: Record<string, unknown> }
    const rooms = Object.keys(exports).filter((path) => path !== './package.json')
    expect(rows.map(([, room]) => room)).toEqual(expect.arrayContaining(rooms.map((path) => path.replace(/^\./, '@bpf/core'))))
  })

  it.each(rows.map(([, room, functions]) => ({ room, names: [...functions.matchAll(/`(\w+)`/g)].map(([, name]) => name) })))(
    'names what $room exports',
    async ({ room, names }) => {
      const module = (await import(/* @vite-ignore */ room)) as object
      expect(names.filter((name) => !(name in module))).toEqual([])
    },
  )
})
