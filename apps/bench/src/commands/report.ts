import { copyFileSync, existsSync, mkdirSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { writeReport } from '../report/write'
import { allHold, countClaims, readResults, withReport, writeResults, type PaperReport, type Results } from '../results'
import type { Terminal } from '../terminal'
import { UsageError } from '../usage'
import { reportLine } from './run'

/** `bpf-bench report <out…>`: one report of several runs; of runs of the same paper and preset the newest counts. */
export function report(folders: readonly string[], options: { out?: string; json?: boolean }, terminal: Terminal): number {
  const sources = folders.map((folder) => resolve(terminal.cwd, folder))
  const found = sources.map((folder) => {
    const results = readResults(folder)
    if (results === undefined)
      throw new UsageError(`report: there is no results.json in ${folder}; run bpf-bench run … --out ${folder} first`)
    return { folder, results }
  })
  const out = resolve(terminal.cwd, options.out ?? folders[0])
  const merged = merge(found)
  mkdirSync(out, { recursive: true })
  for (const { report: paper, folder } of merged.sources) {
    for (const { file } of paper.figures) copyInto(join(folder, file), join(out, file))
  }
  writeResults(out, merged.results)
  writeReport(out, merged.results)
  const { held, all } = countClaims(merged.results.papers)
  if (options.json) terminal.out(JSON.stringify(merged.results, null, 2))
  else terminal.out(`${held} of ${all} claims hold\n${reportLine(out, terminal)}`)
  return allHold(merged.results.papers) ? 0 : 1
}

function copyInto(from: string, to: string): void {
  if (from === to || !existsSync(from)) return
  mkdirSync(dirname(to), { recursive: true })
  copyFileSync(from, to)
}

function merge(found: readonly { folder: string; results: Results }[]): {
  results: Results
  sources: { report: PaperReport; folder: string }[]
} {
  const { environment } = found[0].results
  let papers: PaperReport[] = []
  const folderOf = new Map<PaperReport, string>()
  for (const { folder, results } of found) {
    const isElsewhere = JSON.stringify(results.environment) !== JSON.stringify(environment)
    for (const one of results.papers) {
      const other = papers.find((known) => known.slug === one.slug && known.preset === one.preset)
      if (other !== undefined && other.finishedAt >= one.finishedAt) continue
      const placed = isElsewhere && one.environment === undefined ? { ...one, environment: results.environment } : one
      papers = withReport(papers, placed)
      folderOf.set(placed, folder)
    }
  }
  return { results: { environment, papers }, sources: papers.map((one) => ({ report: one, folder: folderOf.get(one) ?? '' })) }
}
