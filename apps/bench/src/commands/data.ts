import { DataError } from '@bpf/core'
import { download, contentHash } from '../data/download'
import { dataSet, fromNpm, howToGet, locate } from '../data/open'
import { checkPlaces, downloadFolder, fileIn, type Places } from '../data/places'
import { dataSets, filesOf, type DataSet } from '../data/sets'
import { readMnistPackage } from '../data/mnist-package'
import { progressBar } from '../progress'
import { textTable, type Terminal } from '../terminal'
import { oneOf } from '../usage'

export interface DataOptions {
  json?: boolean
  dataDir?: string
  from?: string
}

const names = dataSets.map((set) => set.name)

function places(options: DataOptions, terminal: Terminal): Places {
  const all: Places = { ...(options.dataDir !== undefined && { dataDir: options.dataDir }), env: terminal.env, cwd: terminal.cwd }
  checkPlaces(all)
  return all
}

/** `bpf-bench data list` */
export function listData(options: DataOptions, terminal: Terminal): number {
  const where = places(options, terminal)
  const rows = dataSets.map((set) => ({ set, folder: locate(set, where) }))
  if (options.json) {
    const machine = rows.map(({ set, folder }) => ({
      name: set.name,
      title: set.title,
      contents: set.contents,
      licence: set.licence,
      attribution: set.attribution,
      homepage: set.homepage,
      found: folder ?? null,
      get: folder === undefined ? howToGet(set, where) : null,
    }))
    terminal.out(JSON.stringify(machine, null, 2))
    return 0
  }
  const { green, yellow, bold } = terminal.colors
  const columns = [{ label: 'data set' }, { label: 'contents' }, { label: 'licence' }, { label: 'where', flexible: true }]
  terminal.out(
    textTable(
      columns,
      rows.map(({ set, folder }) => [
        bold(set.name),
        set.contents,
        set.licence,
        folder === undefined ? yellow(`not here: bpf-bench data get ${set.name}`) : green(folder),
      ]),
      terminal.width,
      terminal.colors,
    ),
  )
  return 0
}

/** `bpf-bench data get NAME` */
export async function getData(name: string, options: DataOptions, terminal: Terminal): Promise<number> {
  const set = dataSet(oneOf('data get', name, names))
  const where = places(options, terminal)
  const found = locate(set, where)
  if (found !== undefined) {
    report(set, found, 'is here already', options, terminal)
    return 0
  }
  if (fromNpm(set) || set.name === 'digits') throw new DataError(`data set ${name} is not on this machine: ${howToGet(set, where)}`)
  const folder = downloadFolder(set, where)
  for (const file of filesOf(set)) {
    await download(file, folder, {
      ...(options.from !== undefined && { from: options.from }),
      signal: terminal.signal,
      bar: (total) => progressBar(terminal, file.file, total),
    })
  }
  report(set, folder, 'downloaded and checked', options, terminal)
  return 0
}

function report(set: DataSet, folder: string, what: string, options: DataOptions, terminal: Terminal): void {
  if (options.json) terminal.out(JSON.stringify({ name: set.name, folder, status: what }))
  else terminal.out(`${set.name} ${what}: ${folder}`)
}

/** `bpf-bench data check [NAME…]`: 1 when a file is not what it should be, or a set asked for by name is absent. */
export async function checkData(asked: readonly string[], options: DataOptions, terminal: Terminal): Promise<number> {
  const where = places(options, terminal)
  const chosen = asked.length === 0 ? dataSets : asked.map((name) => dataSet(oneOf('data check', name, names)))
  const outcomes: { name: string; status: 'good' | 'bad' | 'absent'; detail: string }[] = []
  for (const set of chosen) {
    const folder = locate(set, where)
    if (folder === undefined) {
      outcomes.push({ name: set.name, status: 'absent', detail: howToGet(set, where) })
      continue
    }
    const problem = fromNpm(set) ? await problemOfPackage(folder) : problemOfFiles(set, folder)
    outcomes.push({ name: set.name, status: problem === undefined ? 'good' : 'bad', detail: problem ?? folder })
  }
  const { green, red, yellow } = terminal.colors
  if (options.json) terminal.out(JSON.stringify(outcomes, null, 2))
  else {
    const paint = { good: green, bad: red, absent: yellow }
    for (const { name, status, detail } of outcomes) terminal.out(`${paint[status](status.padEnd(6))}  ${name}: ${detail}`)
  }
  const failed = outcomes.some(({ status }) => status === 'bad' || (status === 'absent' && asked.length > 0))
  return failed ? 1 : 0
}

function problemOfFiles(set: DataSet, folder: string): string | undefined {
  for (const file of filesOf(set)) {
    const path = fileIn(folder, file)
    if (path === undefined) return `${folder}: there is no ${file.file}`
    try {
      const found = contentHash(path)
      if (found !== file.sha256) return `${path}: sha256 of the content is ${found}, expected ${file.sha256}; delete it and get it again`
    } catch (error) {
      return error instanceof Error ? error.message : String(error)
    }
  }
  return undefined
}

async function problemOfPackage(folder: string): Promise<string | undefined> {
  try {
    const { count } = await readMnistPackage(folder)
    return count === 10_000 ? undefined : `${folder}: expected 10,000 digits, found ${count}; install the package mnist 1.1 again`
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}
