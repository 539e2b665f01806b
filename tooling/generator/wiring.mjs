// Edits of existing files for a new algorithm, each text → text.
import { TaskError } from '../bootstrap/step.mjs'

/** Appends an export line to an index file. */
export function addExport(text, line) {
  const kept = text.replace(/^export \{\}\n?/m, '')
  return `${kept}${kept === '' || kept.endsWith('\n') ? '' : '\n'}${line}\n`
}

/**
 * Adds a row to the first table whose first column is `paper`: in the order of paper numbers where the first cell starts with one,
 * else at the end.
 *
 * @param {string} text - Markdown
 * @param {string} path - for the error
 * @param {readonly string[]} cells - cut or padded to the table's columns
 */
export function addTableRow(text, path, cells) {
  const lines = text.split('\n')
  const header = lines.findIndex((line, i) => /^\|\s*paper\s*\|/i.test(line) && /^\|[\s:|-]+$/.test(lines[i + 1] ?? ''))
  if (header === -1) throw new TaskError(`${path}: expected a table whose first column is called paper.`)
  const columns = lines[header].split('|').length - 2
  const number = Number.parseInt(cells[0], 10)
  let at = header + 2
  while (lines[at]?.startsWith('|') && !(numberOf(lines[at]) > number)) at++
  const row = Array.from({ length: columns }, (_, i) => cells[i] ?? '')
  lines.splice(at, 0, `| ${row.join(' | ')} |`)
  return lines.join('\n')
}

/** The paper's number at the start of a table row; rows without one stay where they are. */
function numberOf(row) {
  return Number(/^\|\s*\[?(\d+)/.exec(row)?.[1] ?? -1)
}

/** Adds a paper to the registry `apps/bench/src/papers/index.ts`, in the order of numbers. */
export function addPaperEntry(text, { numberValue, slug, paperSlug, titleQuoted, arxiv, packageName, featured }) {
  const entry = `  {
    number: ${numberValue},
    slug: '${paperSlug}',
    title: '${titleQuoted}',
    arxiv: '${arxiv}',
    package: '${packageName}',
    featured: ${featured},
    load: () => import('./${slug}'),
  },
`
  const entries = [...text.matchAll(/^ {2}\{\n {4}number: (\d+),/gm)]
  const after = entries.find(([, number]) => Number(number) > Number(numberValue))
  const at = after?.index ?? text.indexOf('\n]\n', text.indexOf('papers: readonly PaperEntry[] = [')) + 1
  if (at === 0) throw new TaskError('apps/bench/src/papers/index.ts: expected `papers: readonly PaperEntry[] = [ … ]`.')
  return text.slice(0, at) + entry + text.slice(at)
}

/** Adds a project reference to a tsconfig.json. */
export function addReference(text, path) {
  return text.replace(/("references": \[)([\s\S]*?)(\s*\])/, (_, open, list, close) => `${open}${list}, { "path": "${path}" }${close}`)
}

/** Adds a workspace package to the dependencies of a package.json, in alphabetical order. */
export function addDependency(text, name) {
  const json = JSON.parse(text)
  const names = [...Object.keys(json.dependencies), name].sort()
  const before = names[names.indexOf(name) + 1]
  return text.replace(`    "${before}":`, `    "${name}": "workspace:*",\n    "${before}":`)
}
