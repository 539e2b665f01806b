import { isAbsolute, relative, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { BpfError, useBackend, type BackendName } from '@bpf/core'
import { openData } from '../data/open'
import { environment } from '../environment'
import { presetNames, type Paper, type Preset, type PresetName } from '../paper'
import type { RunEntry } from '../papers'
import { writeReport } from '../report/write'
import { allHold, countClaims, readResults, withReport, writeResults, type PaperReport } from '../results'
import { paperFolder, reasonOf, runPaper, shortName } from '../run-paper'
import { formatSeconds, textTable, type Terminal } from '../terminal'
import { closest, oneOf, UsageError, wholeNumber } from '../usage'
import { paperTable } from './list'

export interface RunOptions {
  preset?: string
  seeds?: string
  onlyClaims?: boolean
  backend?: BackendName
  dataDir?: string
  out: string
  resume?: boolean
  json?: boolean
}

/** The papers that were asked for: `60`, `h-calibration`, `60-h-calibration` or `all`. @throws UsageError */
export function choosePapers(asked: readonly string[], papers: readonly RunEntry[]): RunEntry[] {
  if (asked.includes('all')) return [...papers]
  const chosen = asked.map((word) => {
    const found = papers.find(
      (paper) => (/^\d+$/.test(word) && Number(word) === paper.number) || word === paper.slug || word === paperFolder(paper),
    )
    if (found !== undefined) return found
    const guess = closest(
      word,
      papers.flatMap((paper) => [paper.slug, paperFolder(paper)]),
    )
    const hint = guess === undefined ? '' : ` (did you mean ${guess}?)`
    const known = papers.map(shortName).join(', ')
    throw new UsageError(`there is no reproduction of paper '${word}'${hint}: known are ${known}; bpf-bench list shows them`)
  })
  return [...new Set(chosen)]
}

/** What to type to run a paper like this again. */
function commandFor(paper: RunEntry, preset: PresetName, options: RunOptions): string {
  const words = ['bpf-bench', 'run', shortName(paper), '--preset', preset]
  if (options.seeds !== undefined) words.push('--seeds', options.seeds)
  if (options.onlyClaims) words.push('--only-claims')
  if (options.backend !== undefined) words.push('--backend', options.backend)
  if (options.dataDir !== undefined) words.push('--data-dir', quoted(options.dataDir))
  return words.join(' ')
}

const quoted = (word: string): string => (/^[\w./:@%+=,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)

/** How a session of one or more papers goes. */
export interface Session {
  entries: readonly RunEntry[]
  preset: PresetName
  options: RunOptions
  /** Seconds for all of them; a paper is left out when what is left would not do. */
  budget?: number
}

/** Runs papers one after the other; results and report are written after each, so a stop loses none. */
export async function runSession(session: Session, terminal: Terminal): Promise<{ reports: PaperReport[]; leftOut: RunEntry[] }> {
  const { entries, preset, options } = session
  const seeds = options.seeds === undefined ? undefined : wholeNumber('--seeds', options.seeds)
  const data = openData({ ...(options.dataDir !== undefined && { dataDir: options.dataDir }), env: terminal.env, cwd: terminal.cwd })
  // A damaged results file should be found before an hour of work, not after it.
  let papers = readResults(options.out)?.papers ?? []
  const backend = await useBackend(options.backend)
  const begun = Date.now()
  const deadline = session.budget === undefined ? undefined : begun + session.budget * 1000
  const reports: PaperReport[] = []
  const leftOut: RunEntry[] = []
  for (const entry of entries) {
    terminal.signal.throwIfAborted()
    const command = commandFor(entry, preset, options)
    const paper = await entry.load().then(
      (module) => module.paper,
      (error: unknown) => unloadable(entry, reasonOf(error, terminal)),
    )
    if (deadline !== undefined && reports.length > 0 && Date.now() + paper.presets[preset].seconds * 1000 > deadline) {
      leftOut.push(entry)
      continue
    }
    if (!options.json) announce(entry, preset, paper.presets[preset].description, terminal)
    const report = await runPaper(
      paper,
      {
        preset,
        ...(seeds !== undefined && { seeds }),
        onlyClaims: options.onlyClaims ?? false,
        resume: options.resume ?? false,
        out: options.out,
        backend,
        data,
        ...(deadline !== undefined && { deadline }),
        command,
      },
      terminal,
    )
    reports.push(report)
    papers = withReport(papers, report)
    const results = { environment: environment([...new Set(papers.map((other) => other.package))], backend), papers }
    writeResults(options.out, results)
    writeReport(options.out, results)
    if (!options.json) terminal.out(claimTable(report, terminal))
  }
  return { reports, leftOut }
}

/** Stands for a paper whose code cannot be loaded, so that the others still run and the report says why. */
function unloadable({ number, slug, title, arxiv, package: from }: RunEntry, reason: string): Paper {
  const preset: Preset<unknown> = { description: 'Its code could not be loaded.', seeds: 1, seconds: 0, settings: null }
  return {
    ...(number !== undefined && { number }),
    slug,
    title,
    ...(arxiv !== undefined && { arxiv }),
    package: from,
    claims: [],
    presets: { quick: preset, embedded: preset, full: preset },
    run: () =>
      Promise.reject(
        new BpfError(`${number === undefined ? 'comparisons' : 'papers'}/${paperFolder({ number, slug })} cannot be loaded: ${reason}`),
      ),
  }
}

function announce(entry: RunEntry, preset: PresetName, description: string, terminal: Terminal): void {
  const { bold, dim } = terminal.colors
  terminal.out(`${bold(`${shortName(entry)}  ${entry.title}`)}\n    ${dim(`${preset}: ${description}`)}\n`)
}

/** The claims of one run, as a table in text. */
export function claimTable(report: PaperReport, terminal: Terminal): string {
  const { green, red, dim } = terminal.colors
  if (report.error !== undefined) return `${red('failed')}: ${report.error}\n`
  const columns = [{ label: '' }, { label: 'claim', flexible: true }, { label: 'expected', max: 26 }, { label: 'measured', max: 22 }]
  const rows = report.claims.map((claim) => [
    claim.holds ? green('holds') : red('FAILS'),
    claim.statement,
    claim.expected.text,
    claim.measured.text,
  ])
  const seeds = report.seeds === report.seedsAsked ? `${report.seeds}` : `${report.seeds} of ${report.seedsAsked}`
  const { held, all } = countClaims([report])
  const table = rows.length === 0 ? 'No claim is checked at this preset.' : textTable(columns, rows, terminal.width, terminal.colors)
  const cut = report.seeds < report.seedsAsked ? '; the budget ended before the others' : ''
  return `${table}\n${dim(`${held} of ${all} claims hold, ${seeds} seed${report.seedsAsked === 1 ? '' : 's'}${cut}, ${formatSeconds(report.seconds)}`)}\n`
}

/** Where the report is, for people. */
export function reportLine(out: string, terminal: Terminal): string {
  const file = resolve(out, 'report.html')
  const near = relative(terminal.cwd, file)
  const short = near.startsWith('..') || isAbsolute(near) ? file : near
  return `Report: ${short}  ${terminal.colors.dim(pathToFileURL(file).href)}`
}

/** `bpf-bench run <NN|all>` */
export async function run(asked: readonly string[], options: RunOptions, papers: readonly RunEntry[], terminal: Terminal): Promise<number> {
  const preset = oneOf('--preset', options.preset ?? 'quick', presetNames)
  const entries = choosePapers(asked, papers)
  const { reports } = await runSession({ entries, preset, options }, terminal)
  if (options.json) terminal.out(JSON.stringify(readResults(options.out), null, 2))
  else terminal.out(reportLine(options.out, terminal))
  return allHold(reports) ? 0 : 1
}

/** `bpf-bench start`: a first look. One quick reproduction per package (or all of them), then every paper and where the report is. */
export async function start(
  asked: string | undefined,
  options: RunOptions & { budget?: number },
  papers: readonly RunEntry[],
  terminal: Terminal,
): Promise<number> {
  if (asked !== undefined) oneOf('start', asked, ['all'])
  const entries = asked === 'all' ? papers : papers.filter((paper) => paper.featured)
  const session = { entries, preset: 'quick' as const, options, ...(asked !== 'all' && { budget: options.budget ?? 90 }) }
  const { reports, leftOut } = await runSession(session, terminal)
  const known = readResults(options.out)
  if (options.json) terminal.out(JSON.stringify(known, null, 2))
  else {
    if (leftOut.length > 0) {
      const numbers = leftOut.map((paper) => paper.number ?? paper.slug).join(' ')
      terminal.out(`The budget left no time for ${leftOut.length} more: bpf-bench run ${numbers}\n`)
    }
    terminal.out(`${paperTable(papers, known?.papers ?? [], terminal)}\n`)
    terminal.out(reportLine(options.out, terminal))
  }
  return allHold(reports) ? 0 : 1
}
