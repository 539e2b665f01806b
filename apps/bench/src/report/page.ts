import { formatNumber } from '../claims'
import type { Environment } from '../environment'
import type { Cell, Column, Summary, Table } from '../paper'
import { countClaims, type ClaimReport, type PaperReport, type Results } from '../results'
import { formatSeconds } from '../terminal'
import { script } from './script'
import { style } from './style'

/** Text for HTML content and quoted attributes. */
function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}

const anchor = (report: PaperReport): string => `paper-${report.paper ?? report.slug}-${report.preset}`
/** The number of a paper; a comparison has none. */
const badge = ({ paper }: PaperReport): string => (paper === undefined ? '⇄' : String(paper).padStart(2, '0'))
const plural = (count: number, word: string): string => `${count} ${word}${count === 1 ? '' : 's'}`

/**
 * The whole report as one HTML page that loads nothing.
 *
 * @param results - what was run
 * @param readFigure - the SVG text of a figure's file, or undefined when it is gone
 */
export function reportPage(results: Results, readFigure: (file: string) => string | undefined): string {
  const { held, all } = countClaims(results.papers)
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<meta name="description" content="${held} of ${all} claims hold">
<link rel="icon" href="data:,">
<title>Reproduction report: ${held} of ${all} claims hold</title>
<style>${style}</style>
</head>
<body>
<a class="skip" href="#summary">Skip to the summary</a>
<header class="top">
<div>
<h1>Reproduction report</h1>
<p class="soft">What the papers claim, and what the @bpf packages measured on this machine.</p>
</div>
<button class="toggle" type="button" hidden>Dark mode</button>
</header>
<main>
${numbers(results)}
${summary(results)}
${results.papers.map((report) => paperSection(report, readFigure)).join('\n')}
${environmentSection(results.environment)}
<footer>Written by bpf-bench. Values are means over seeds; ± is the sample standard deviation. Everything on this page is also in results.json.</footer>
</main>
<script>${script}</script>
</body>
</html>
`
}

function numbers(results: Results): string {
  const { held, all } = countClaims(results.papers)
  const papers = new Set(results.papers.map((report) => report.slug)).size
  const seconds = results.papers.reduce((sum, report) => sum + report.seconds, 0)
  const share = all === 0 ? 0 : (100 * held) / all
  return `<dl class="figures-of-run" aria-label="Totals">
<div class="number wide"><dt>Claims that hold</dt><dd>${held} <small>of ${all}</small></dd><dd class="meter" aria-hidden="true"><i style="width:${share.toFixed(1)}%"></i></dd></div>
<div class="number"><dt>Papers</dt><dd>${papers}</dd></div>
<div class="number"><dt>Time</dt><dd>${escape(formatSeconds(seconds))}</dd></div>
</dl>`
}

function pill(report: PaperReport): string {
  if (report.error !== undefined) return '<span class="pill bad">Run failed</span>'
  const { held, all } = countClaims([report])
  if (all === 0) return '<span class="pill none">No claim checked</span>'
  return held === all ? `<span class="pill good">✓ ${held} of ${all} hold</span>` : `<span class="pill bad">✗ ${held} of ${all} hold</span>`
}

function summary(results: Results): string {
  const rows = results.papers.map((report) => {
    const { held, all } = countClaims([report])
    const status = report.error === undefined && all > 0 ? held / all : -1
    return `<tr>
<td class="num" data-sort="${report.paper ?? 1000}">${badge(report)}</td>
<td><a href="#${anchor(report)}">${escape(report.title)}</a></td>
<td data-sort="${status}">${pill(report)}</td>
<td>${report.preset}</td>
<td class="num" data-sort="${report.seeds}">${report.seeds}</td>
<td class="num" data-sort="${report.seconds}">${escape(formatSeconds(report.seconds))}</td>
<td>${escape(report.package)}</td>
</tr>`
  })
  return `<section class="card" id="summary">
<h2>Papers</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Papers that were run">
<table class="sortable summary">
<caption class="soft"><small>Click a heading to sort.</small></caption>
<thead><tr><th scope="col" class="num">Nr</th><th scope="col">Paper</th><th scope="col">Claims</th><th scope="col">Preset</th><th scope="col" class="num">Seeds</th><th scope="col" class="num">Time</th><th scope="col">Package</th></tr></thead>
<tbody>
${rows.join('\n')}
</tbody>
</table>
</div>
</section>`
}

function paperSection(report: PaperReport, readFigure: (file: string) => string | undefined): string {
  const arxiv =
    report.arxiv === undefined
      ? ''
      : `<li><a href="${escape(encodeURI(`https://arxiv.org/abs/${report.arxiv}`))}" rel="noreferrer">arXiv ${escape(report.arxiv)}</a></li>`
  const seeds =
    report.seeds === report.seedsAsked ? plural(report.seeds, 'seed') : `${report.seeds} of ${plural(report.seedsAsked, 'seed')}`
  const notices = [
    report.error === undefined ? '' : `<p class="notice bad">The run failed: ${escape(report.error)}</p>`,
    report.error === undefined && report.seeds < report.seedsAsked
      ? `<p class="notice">The time budget ended after ${plural(report.seeds, 'seed')} of ${report.seedsAsked}.</p>`
      : '',
  ]
  return `<section class="card" id="${anchor(report)}" aria-labelledby="${anchor(report)}-title">
<div class="paper-head">
<span class="badge" aria-hidden="true">${badge(report)}</span>
<div>
<h2 id="${anchor(report)}-title">${escape(report.title)}</h2>
<ul class="meta">${arxiv}<li>${escape(report.package)}</li><li>${report.preset} preset</li><li>${seeds}</li><li>${escape(formatSeconds(report.seconds))}</li><li>${pill(report)}</li></ul>
</div>
</div>
<p class="lead">${escape(report.description)}</p>
${notices.join('')}
${claimSection(report)}
${report.tables.length === 0 ? '' : `<h3>Measurements</h3>\n${report.tables.map(tableSection).join('\n')}`}
${figureSection(report, readFigure)}
${valueSection(report)}
${report.environment === undefined ? '' : `<details><summary>Where this was run</summary>${environmentList(report.environment)}</details>`}
<div class="command"><code>${escape(report.command)}</code><button type="button" hidden aria-label="Copy the command">Copy</button></div>
</section>`
}

// Below 720 px rows are laid out as blocks, which would take the table's meaning from it: so roles are written out.
function claimSection(report: PaperReport): string {
  if (report.claims.length === 0) return ''
  const anyReported = report.claims.some((claim) => claim.reported !== undefined)
  const row = (claim: ClaimReport): string => `<tr role="row">
<td role="cell">${escape(claim.statement)}<span class="id">${escape(claim.id)}</span></td>
${anyReported ? `<td role="cell" data-label="In the paper"${claim.reported === undefined ? ' data-empty' : ''}>${escape(claim.reported ?? '–')}</td>` : ''}
<td role="cell" data-label="Expected"${sortValue(claim.expected.value)}>${escape(claim.expected.text)}</td>
<td role="cell" data-label="Measured"${sortValue(claim.measured.value)}><strong>${escape(claim.measured.text)}</strong></td>
<td role="cell" data-label="Outcome" data-sort="${claim.holds ? 1 : 0}"><span class="pill ${claim.holds ? 'good' : 'bad'}">${claim.holds ? '✓ holds' : '✗ fails'}</span></td>
</tr>`
  const head = ['Claim', ...(anyReported ? ['In the paper'] : []), 'Expected', 'Measured', 'Outcome']
  return `<h3>Claims</h3>
<table class="sortable claims" role="table" aria-label="Claims of ${report.paper === undefined ? escape(report.slug) : `paper ${report.paper}`}">
<thead role="rowgroup"><tr role="row">${head.map((label) => `<th scope="col" role="columnheader">${label}</th>`).join('')}</tr></thead>
<tbody role="rowgroup">
${report.claims.map(row).join('\n')}
</tbody>
</table>`
}

function sortValue(value: number | null | undefined): string {
  return typeof value === 'number' ? ` data-sort="${value}"` : ''
}

function numeric(cell: Cell | undefined): number | undefined {
  if (typeof cell === 'number') return cell
  return typeof cell === 'object' && cell !== null ? cell.mean : undefined
}

function best(table: Table, column: Column): number | undefined {
  if (column.better === undefined) return undefined
  const values = table.rows
    .map((row) => numeric(row[column.key]))
    .filter((value): value is number => value !== undefined && Number.isFinite(value))
  if (values.length < 2) return undefined
  return column.better === 'lower' ? Math.min(...values) : Math.max(...values)
}

function tableSection(table: Table): string {
  const isNumeric = table.columns.map((column) => table.rows.some((row) => numeric(row[column.key]) !== undefined))
  const bests = table.columns.map((column) => best(table, column))
  const cell = (row: Readonly<Record<string, Cell>>, column: Column, j: number): string => {
    const value = row[column.key]
    if (j === 0 && !isNumeric[0]) return `<th scope="row">${escape(String(value ?? ''))}</th>`
    const number = numeric(value)
    if (number === undefined)
      return `<td${isNumeric[j] ? ' class="num"' : ''}>${escape(value === null || value === undefined ? '' : String(value))}</td>`
    const mark = number === bests[j] ? ' best' : ''
    return `<td class="num${mark}" data-sort="${number}">${cellText(value, number, column.digits ?? 3)}</td>`
  }
  const note = table.note === undefined ? '' : `<small>${escape(table.note)}</small>`
  const heads = table.columns.map((column, j) => {
    const arrow =
      column.better === undefined ? '' : ` <span title="${column.better} is better">${column.better === 'lower' ? '▾' : '▴'}</span>`
    return `<th scope="col"${isNumeric[j] ? ' class="num"' : ''}>${escape(column.label)}${arrow}</th>`
  })
  return `<div class="scroll" tabindex="0" role="region" aria-label="${escape(table.title)}">
<table class="sortable">
<caption><div>${escape(table.title)}${note}</div></caption>
<thead><tr>${heads.join('')}</tr></thead>
<tbody>
${table.rows.map((row) => `<tr>${table.columns.map((column, j) => cell(row, column, j)).join('')}</tr>`).join('\n')}
</tbody>
</table>
</div>`
}

function cellText(cell: Cell | undefined, number: number, digits: number): string {
  const text = Number.isFinite(number) ? number.toFixed(digits).replace('-', '−') : formatNumber(number)
  if (typeof cell !== 'object' || cell === null || !(cell.spread > 0)) return text
  return `${text} <span class="spread">± ${cell.spread.toFixed(digits)}</span>`
}

/** Ids of one SVG must not meet those of another in the same page. */
export function inlineSvg(svg: string, prefix: string, label: string): string {
  return svg
    .replace(/^[\s\S]*?(?=<svg)/, '')
    .replace(/\bid="([^"]+)"/g, `id="${prefix}-$1"`)
    .replace(/url\(#([^)]+)\)/g, `url(#${prefix}-$1)`)
    .replace(/\bhref="#([^"]+)"/g, `href="#${prefix}-$1"`)
    .replace('<svg', `<svg role="img" aria-label="${escape(label)}"`)
}

function figureSection(report: PaperReport, readFigure: (file: string) => string | undefined): string {
  const items = report.figures.map((figure) => {
    const svg = readFigure(figure.file)
    const plot =
      svg === undefined
        ? `<p class="notice">The file ${escape(figure.file)} is gone.</p>`
        : inlineSvg(svg, `${anchor(report)}-${figure.id}`, figure.caption)
    return `<figure aria-label="${escape(figure.title)}"><h4>${escape(figure.title)}</h4><div class="plot">${plot}</div><figcaption>${escape(figure.caption)}</figcaption></figure>`
  })
  return items.length === 0 ? '' : `<h3>Figures</h3>\n<div class="gallery">${items.join('\n')}</div>`
}

function valueSection(report: PaperReport): string {
  const entries = Object.entries(report.values)
  if (entries.length === 0) return ''
  const row = ([name, value]: [string, Summary]): string => {
    const each = value.each.map((one) => formatNumber(one ?? Number.NaN)).join('  ')
    return `<tr><th scope="row"><code>${escape(name)}</code></th><td class="num" data-sort="${value.mean}">${formatNumber(value.mean ?? Number.NaN)}</td><td class="num" data-sort="${value.spread}">${formatNumber(value.spread ?? Number.NaN, 2)}</td><td>${each}</td></tr>`
  }
  return `<details><summary>Every value, seed by seed</summary>
<div class="scroll" tabindex="0" role="region" aria-label="Values by seed">
<table class="sortable"><thead><tr><th scope="col">Value</th><th scope="col" class="num">Mean</th><th scope="col" class="num">Spread</th><th scope="col">Seeds</th></tr></thead>
<tbody>${entries.map(row).join('\n')}</tbody></table>
</div></details>`
}

function environmentList(environment: Environment): string {
  const { backend } = environment
  const items: [string, string][] = [
    ['Node', environment.node],
    ['System', `${environment.platform} ${environment.arch}`],
    ['Processor', `${environment.cpu}, ${plural(environment.cores, 'core')}`],
    ['Memory', `${environment.memoryGiB} GiB`],
    ...(backend === undefined
      ? []
      : ([['Backend', `${backend.name} on ${backend.device}, ${plural(backend.threads, 'thread')}: ${backend.why}`]] as [
          string,
          string,
        ][])),
    ...Object.entries(environment.packages),
  ]
  return `<dl class="environment">${items.map(([name, value]) => `<div><dt>${escape(name)}</dt><dd>${escape(value)}</dd></div>`).join('')}</dl>`
}

function environmentSection(environment: Environment): string {
  return `<section class="card" id="environment"><h2>Environment</h2>${environmentList(environment)}</section>`
}
