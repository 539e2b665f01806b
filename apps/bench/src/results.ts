import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Environment } from './environment'
import type { PresetName, Quantity, Summary, Table } from './paper'
import { UsageError } from './usage'

/** A claim as it came out. */
export interface ClaimReport {
  id: string
  statement: string
  holds: boolean
  measured: Quantity
  expected: Quantity
  /** The paper's own number in its own setting, where the reproduction names it. */
  reported?: string
}

/** A figure as it was written. */
export interface FigureReport {
  id: string
  title: string
  caption: string
  /** Relative to the results file. */
  file: string
}

/** One paper at one preset. */
export interface PaperReport {
  /** Absent for a comparison across papers. */
  paper?: number
  slug: string
  title: string
  arxiv?: string
  package: string
  preset: PresetName
  /** What the preset runs, in a sentence. */
  description: string
  /** Seeds that the numbers are over. */
  seeds: number
  /** Seeds the preset or the user asked for; more than `seeds` when a budget cut the run short. */
  seedsAsked: number
  seconds: number
  claims: readonly ClaimReport[]
  values: Readonly<Record<string, Summary>>
  tables: readonly Table[]
  figures: readonly FigureReport[]
  /** What to type to get this again. */
  command: string
  finishedAt: string
  /** Why the run ended early, when it failed. */
  error?: string
  /** Where it ran, when that differs from the environment of the file it was merged into. */
  environment?: Environment
}

/** `results.json` */
export interface Results {
  environment: Environment
  papers: readonly PaperReport[]
}

/** Writes a file so that a reader sees the old or the new one, never a part. */
export function writeWhole(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true })
  const temporary = `${file}.${process.pid}.tmp`
  writeFileSync(temporary, text)
  renameSync(temporary, file)
}

/** The results in a folder, or undefined where there are none. @throws UsageError for a damaged file */
export function readResults(folder: string): Results | undefined {
  const file = join(folder, 'results.json')
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
  try {
    const results = JSON.parse(text) as { environment?: unknown; papers?: unknown }
    const papers = Array.isArray(results.papers) ? (results.papers as Partial<PaperReport>[]) : undefined
    const isWhole =
      typeof results.environment === 'object' &&
      papers?.every((paper) => typeof paper.slug === 'string' && Array.isArray(paper.claims)) === true
    if (isWhole) return results as Results
  } catch {
    // Falls through to the error that names the file.
  }
  throw new UsageError(`${file} is not a results file of bpf-bench: move it away, or run with another --out`)
}

/** Writes `results.json`; numbers that JSON cannot carry become null (their text says what they were). */
export function writeResults(folder: string, results: Results): void {
  writeWhole(join(folder, 'results.json'), `${JSON.stringify(results, null, 2)}\n`)
}

const sameRun = (a: PaperReport, b: PaperReport): boolean => a.slug === b.slug && a.preset === b.preset

/** Papers by number, then comparisons by name. */
const place = (report: PaperReport): number => report.paper ?? Infinity

/** `results` with `report` in the place of an earlier run of the same paper and preset; papers in order, then comparisons. */
export function withReport(papers: readonly PaperReport[], report: PaperReport): PaperReport[] {
  const order: readonly PresetName[] = ['quick', 'embedded', 'full']
  return [...papers.filter((other) => !sameRun(other, report)), report].sort(
    (a, b) =>
      (place(a) === place(b) ? a.slug.localeCompare(b.slug) : place(a) - place(b)) || order.indexOf(a.preset) - order.indexOf(b.preset),
  )
}

/** Claims held of all claims checked. */
export function countClaims(papers: readonly PaperReport[]): { held: number; all: number } {
  const claims = papers.flatMap((paper) => paper.claims)
  return { held: claims.filter((claim) => claim.holds).length, all: claims.length }
}

/** Whether everything ran to its end and every claim held. */
export function allHold(papers: readonly PaperReport[]): boolean {
  return papers.every((paper) => paper.error === undefined && paper.claims.every((claim) => claim.holds))
}
