import { appendFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { random, type BackendChoice } from '@bpf/core'
import type { DataAccess } from './data/access'
import { environment } from './environment'
import { figureToSvg } from './figures'
import type { Claim, Paper, PaperResults, PresetName, RunContext, SeedResult, Series, Verdict } from './paper'
import { fitReporter, progressBar } from './progress'
import { writeWhole, type ClaimReport, type FigureReport, type PaperReport } from './results'
import { seedState } from './state'
import { allSummaries, paperResults } from './summary'
import type { Terminal } from './terminal'

/** How a paper is run. */
export interface RunRequest {
  preset: PresetName
  /** Default: the preset's. */
  seeds?: number
  onlyClaims: boolean
  /** Use what an earlier run of the same settings has finished. */
  resume: boolean
  /** Folder of results, figures, metrics and state. */
  out: string
  backend: BackendChoice
  data: DataAccess
  /** No further seed is begun when it would end after this moment (milliseconds since the epoch). */
  deadline?: number
  /** What to type to get this again. */
  command: string
}

/** What stands for a paper on the command line and in tables: `60`; a comparison's name. */
export function shortName({ number, slug }: { number?: number; slug: string }): string {
  return number === undefined ? slug : String(number).padStart(2, '0')
}

/** The folder name of a paper: `60-h-calibration`. */
export function paperFolder({ number, slug }: { number?: number; slug: string }): string {
  return number === undefined ? slug : `${String(number).padStart(2, '0')}-${slug}`
}

/**
 * Runs the seeds of one paper, checks its claims, and writes metrics and figures into the `out` folder.
 * A failure of the paper becomes the report's `error`; only an abort is thrown.
 */
export async function runPaper(paper: Paper, request: RunRequest, terminal: Terminal): Promise<PaperReport> {
  const begun = Date.now()
  const preset = paper.presets[request.preset]
  const seedsAsked = request.seeds ?? preset.seeds
  const done: { seed: number; result: SeedResult; seconds: number }[] = []
  let error: string | undefined
  let claims: ClaimReport[] = []
  let tables: PaperReport['tables'] = []
  let figures: FigureReport[] = []
  let values: PaperReport['values'] = {}
  try {
    await runSeeds(paper, request, seedsAsked, terminal, done)
    const results = paperResults(request.preset, done)
    values = allSummaries(results)
    claims = paper.claims.filter((claim) => inScope(claim, request.preset)).map((claim) => checkClaim(claim, results))
    tables = paper.tables?.(results) ?? []
    figures = request.onlyClaims ? [] : await writeFigures(paper, results, request.out)
  } catch (caught) {
    terminal.signal.throwIfAborted()
    error = reasonOf(caught, terminal)
  }
  return {
    ...(paper.number !== undefined && { paper: paper.number }),
    slug: paper.slug,
    title: paper.title,
    ...(paper.arxiv !== undefined && { arxiv: paper.arxiv }),
    package: paper.package,
    preset: request.preset,
    description: preset.description,
    seeds: done.length,
    seedsAsked,
    // Seeds taken from an earlier run count with the time they took then.
    seconds: Math.max(
      (Date.now() - begun) / 1000,
      done.reduce((sum, seed) => sum + seed.seconds, 0),
    ),
    claims,
    values,
    tables,
    figures,
    command: request.command,
    finishedAt: new Date().toISOString(),
    ...(error !== undefined && { error }),
  }
}

/** What a failed run says; with `--verbose` also where it failed. */
export function reasonOf(caught: unknown, terminal: Terminal): string {
  if (terminal.verbose && caught instanceof Error && caught.stack !== undefined) terminal.err(caught.stack)
  return caught instanceof Error ? caught.message : String(caught)
}

async function runSeeds(
  paper: Paper,
  request: RunRequest,
  count: number,
  terminal: Terminal,
  done: { seed: number; result: SeedResult; seconds: number }[],
): Promise<void> {
  const preset = paper.presets[request.preset]
  const stateFolder = join(request.out, 'state', paperFolder(paper), request.preset)
  const metricsFile = join(request.out, paperFolder(paper), 'metrics.jsonl')
  mkdirSync(join(request.out, paperFolder(paper)), { recursive: true })
  if (!request.resume) {
    rmSync(stateFolder, { recursive: true, force: true })
    writeFileSync(metricsFile, '')
  }
  const { name, device } = request.backend
  const { packages } = environment([paper.package])
  const identity = {
    paper: paperFolder(paper),
    settings: preset.settings,
    onlyClaims: request.onlyClaims,
    backend: { name, device },
    packages,
  }
  const finished = seedState(join(stateFolder, 'seeds'), identity)
  for (let seed = 0; seed < count; seed++) {
    terminal.signal.throwIfAborted()
    const earlier = finished.stored<{ result: SeedResult; seconds: number }>(String(seed))
    if (earlier !== undefined) {
      done.push({ seed, ...earlier })
      continue
    }
    const slowest = Math.max(0, ...done.map((other) => other.seconds))
    if (done.length > 0 && request.deadline !== undefined && Date.now() + slowest * 1000 > request.deadline) return
    const begun = Date.now()
    const working = seedState(join(stateFolder, `seed-${seed}`), { ...identity, seed })
    const label = `${paperFolder(paper)} ${request.preset} seed ${seed + 1}/${count}`
    const log = (row: Readonly<Record<string, number | string | boolean>>): void =>
      appendFileSync(metricsFile, `${JSON.stringify({ preset: request.preset, seed, ...row })}\n`)
    const context: RunContext<unknown> = {
      preset: request.preset,
      settings: preset.settings,
      seed,
      key: random.key(seed),
      onlyClaims: request.onlyClaims,
      data: request.data,
      signal: terminal.signal,
      progress: (what, total) => progressBar(terminal, `${label} ${what}`, total),
      reporter: (what) => fitReporter(terminal, `${label} ${what}`, log),
      log,
      part: <T extends Series>(part: string, compute: () => Promise<T>) =>
        working.keep(`part ${part}`, async () => {
          const value = await compute()
          // A method that was aborted may return what it has so far; that is not a result.
          terminal.signal.throwIfAborted()
          return value
        }),
      checkpointFolder: (what) => working.folder(`checkpoints ${what}`),
    }
    const result = await paper.run(context)
    terminal.signal.throwIfAborted()
    const seconds = (Date.now() - begun) / 1000
    finished.store(String(seed), { result, seconds })
    working.clear()
    done.push({ seed, result, seconds })
  }
}

function inScope(claim: Claim, preset: PresetName): boolean {
  return claim.presets === undefined || claim.presets.includes(preset)
}

function checkClaim(claim: Claim, results: PaperResults): ClaimReport {
  const verdict = verdictOf(claim, results)
  const reported = claim.reported === undefined ? {} : { reported: claim.reported }
  return { id: claim.id, statement: claim.statement, ...verdict, ...reported }
}

function verdictOf(claim: Claim, results: PaperResults): Verdict {
  try {
    return claim.check(results)
  } catch (caught) {
    const reason = caught instanceof Error ? caught.message : String(caught)
    return { holds: false, measured: { text: `could not be checked: ${reason}` }, expected: { text: 'a measured value' } }
  }
}

async function writeFigures(paper: Paper, results: PaperResults, out: string): Promise<FigureReport[]> {
  const reports: FigureReport[] = []
  for (const figure of paper.figures?.(results) ?? []) {
    const file = `${paperFolder(paper)}/${results.preset}-${figure.id}.svg`
    writeWhole(join(out, file), await figureToSvg(figure))
    reports.push({ id: figure.id, title: figure.title, caption: figure.caption, file })
  }
  return reports
}
