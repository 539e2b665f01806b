import type { RunEntry } from '../papers'
import { readResults, type PaperReport } from '../results'
import { shortName } from '../run-paper'
import { formatSeconds, textTable, type Terminal } from '../terminal'

/** What is known of a paper's runs, in a few words. */
export function statusOf(reports: readonly PaperReport[], terminal: Terminal): string {
  const { green, red, dim } = terminal.colors
  if (reports.length === 0) return dim('not run here yet')
  return reports
    .map((report) => {
      const run = dim(`(${report.preset}, ${formatSeconds(report.seconds)})`)
      if (report.error !== undefined) return `${red('failed')} ${run}`
      const held = report.claims.filter((claim) => claim.holds).length
      const text = `${held} of ${report.claims.length} claims hold`
      return `${held === report.claims.length ? green(text) : red(text)} ${run}`
    })
    .join(', ')
}

/** The table of all papers with what their last runs showed. */
export function paperTable(papers: readonly RunEntry[], reports: readonly PaperReport[], terminal: Terminal): string {
  const columns = [{ label: 'nr' }, { label: 'paper', flexible: true }, { label: 'package' }, { label: 'arXiv' }, { label: 'status' }]
  const rows = papers.map((paper) => [
    terminal.colors.bold(shortName(paper)),
    paper.title,
    paper.package,
    paper.arxiv ?? '',
    statusOf(
      reports.filter((report) => report.slug === paper.slug),
      terminal,
    ),
  ])
  return textTable(columns, rows, terminal.width, terminal.colors)
}

/** `bpf-bench list` */
export function list(papers: readonly RunEntry[], options: { json?: boolean; out: string }, terminal: Terminal): number {
  const reports = readResults(options.out)?.papers ?? []
  if (options.json) {
    const machine = papers.map(({ number, slug, title, arxiv, package: from }) => ({
      ...(number !== undefined && { number }),
      slug,
      title,
      ...(arxiv !== undefined && { arxiv }),
      package: from,
      runs: reports
        .filter((report) => report.slug === slug)
        .map(({ preset, seeds, seconds, claims, error }) => ({
          preset,
          seeds,
          seconds,
          held: claims.filter((claim) => claim.holds).length,
          claims: claims.length,
          ...(error !== undefined && { error }),
        })),
    }))
    terminal.out(JSON.stringify(machine, null, 2))
  } else {
    terminal.out(paperTable(papers, reports, terminal))
  }
  return 0
}
