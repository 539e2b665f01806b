// The browser build carries its own Buffer; the other one needs Node's global.
import { parse } from 'csv-parse/browser/esm/sync'
import { DataError, OptionError } from '../errors'
import { malformed } from './malformed'

/** A column of numbers. */
export interface NumericColumn {
  readonly kind: 'numeric'
  /** [n]; NaN where missing. */
  readonly values: Float64Array
  /** [n]; 1 where the value is missing. */
  readonly missing: Uint8Array
}

/** A column of categories. */
export interface CategoricalColumn {
  readonly kind: 'categorical'
  /** [n] positions in `vocabulary`; −1 where the value is missing. */
  readonly codes: Int32Array
  readonly vocabulary: readonly string[]
  /** [n]; 1 where the value is missing. */
  readonly missing: Uint8Array
}

/** One column of a {@link Table}. */
export type Column = NumericColumn | CategoricalColumn

/** What {@link parseCsv} reads. */
export interface Table {
  /** Number of rows. */
  readonly size: number
  /** Columns by name, in the file's order. */
  readonly columns: ReadonlyMap<string, Column>
}

/** Options of {@link parseCsv}. */
export interface CsvOptions {
  /** Column names, where the file has no header line. */
  names?: readonly string[]
  /** Default ','. */
  delimiter?: string
  /** Texts that stand for a missing value. Default '', 'NA', 'N/A', 'NaN', 'nan', 'null', '?'. */
  missing?: readonly string[]
  /**
   * Kind of each column; a vocabulary fixes the codes (take the training file's for the test file).
   * Columns left out are numeric where every value is a number, else categorical with a sorted vocabulary.
   */
  columns?: { readonly [name: string]: 'numeric' | 'categorical' | { readonly vocabulary: readonly string[] } }
}

const defaultMissing = ['', 'NA', 'N/A', 'NaN', 'nan', 'null', '?']
const decimal = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/

function decode(input: string | Uint8Array, file: string): string {
  if (typeof input === 'string') return input
  const text = new TextDecoder().decode(input)
  const bad = text.indexOf('\ufffd')
  if (bad < 0) return text
  const line = text.slice(0, bad).split('\n').length
  throw malformed(file, `line ${line}`, 'text in UTF-8', 'a byte that is not; convert the file')
}

function parseOptions(delimiter: string) {
  return { bom: true, delimiter, skip_empty_lines: true, trim: true } as const
}

function readRows(text: string, delimiter: string, file: string): string[][] {
  try {
    return parse(text, parseOptions(delimiter))
  } catch (error) {
    const { message, lines } = error as Error & { lines?: number }
    const line = lines === undefined ? '' : `line ${lines}: `
    throw new DataError(`${file}: ${line}${message}`, { cause: error })
  }
}

/** The line on which a record ends. Asking for all lines at once would make parsing three times slower. */
function lineOf(record: number, text: string, delimiter: string): number {
  const options = { ...parseOptions(delimiter), info: true, from: record + 1, to: record + 1 }
  const [found] = parse(text, options) as unknown as { info: { lines: number } }[]
  return found.info.lines
}

interface Cells {
  readonly texts: readonly string[]
  readonly missing: Uint8Array
  /** Says where cell `row` stands. */
  where(row: number): string
}

function numericColumn({ texts, missing, where }: Cells, file: string): NumericColumn {
  const values = new Float64Array(texts.length)
  for (let row = 0; row < texts.length; row++) {
    if (missing[row]) values[row] = NaN
    else if (decimal.test(texts[row])) values[row] = Number(texts[row])
    else throw malformed(file, where(row), 'a number', `'${texts[row]}'; list it under 'missing' or read the column as categorical`)
  }
  return { kind: 'numeric', values, missing }
}

function categoricalColumn({ texts, missing, where }: Cells, given: readonly string[] | undefined, file: string): CategoricalColumn {
  const vocabulary = given ?? [...new Set(texts.filter((_, row) => !missing[row]))].sort()
  const codeOf = new Map(vocabulary.map((text, code) => [text, code]))
  const codes = new Int32Array(texts.length)
  for (let row = 0; row < texts.length; row++) {
    const code = missing[row] ? -1 : codeOf.get(texts[row])
    if (code === undefined) throw malformed(file, where(row), `one of ${vocabulary.slice(0, 8).join(', ')}`, `'${texts[row]}'`)
    codes[row] = code
  }
  return { kind: 'categorical', codes, vocabulary, missing }
}

function readColumn(
  cells: Cells,
  asked: 'numeric' | 'categorical' | { readonly vocabulary: readonly string[] } | undefined,
  file: string,
): Column {
  if (typeof asked === 'object') return categoricalColumn(cells, asked.vocabulary, file)
  const isNumeric = asked === undefined ? cells.texts.every((text, row) => cells.missing[row] || decimal.test(text)) : asked === 'numeric'
  return isNumeric ? numericColumn(cells, file) : categoricalColumn(cells, undefined, file)
}

function columnNames(rows: readonly (readonly string[])[], given: readonly string[] | undefined, file: string): readonly string[] {
  const names = given ?? rows[0]
  if (names === undefined) throw malformed(file, 'line 1', 'a header line', 'an empty file')
  if (rows[0] !== undefined && rows[0].length !== names.length) {
    throw malformed(file, 'line 1', `${names.length} columns (option 'names')`, String(rows[0].length))
  }
  const repeated = names.find((name, i) => names.indexOf(name) !== i)
  if (repeated !== undefined) throw malformed(file, 'line 1', 'column names that differ', `'${repeated}' twice; pass 'names'`)
  return names
}

/**
 * Reads comma-separated values (RFC 4180, UTF-8) as typed columns. Missing values stay explicit.
 *
 * @param input - the whole file
 * @param file - its name, for errors
 * @returns the columns by name: numbers [n], or codes [n] with their vocabulary
 * @throws DataError with file, line and column for rows of another length, open quotes, texts where numbers are expected,
 *   or categories outside a given vocabulary; OptionError when `columns` names a column that is not there
 */
export function parseCsv(input: string | Uint8Array, options: CsvOptions = {}, file = 'CSV file'): Table {
  const { names: given, delimiter = ',', missing = defaultMissing, columns: asked = {} } = options
  const text = decode(input, file)
  const all = readRows(text, delimiter, file)
  const names = columnNames(all, given, file)
  const headerRows = given === undefined ? 1 : 0
  const rows = all.slice(headerRows)
  const unknown = Object.keys(asked).find((name) => !names.includes(name))
  if (unknown !== undefined) throw new OptionError(`${file}: option 'columns' names '${unknown}'; the file has ${names.join(', ')}`)
  const isMissing = new Set(missing)
  const columns = new Map<string, Column>()
  names.forEach((name, i) => {
    const texts = rows.map((row) => row[i])
    const where = (row: number): string => `line ${lineOf(row + headerRows, text, delimiter)}, column ${i + 1} ('${name}')`
    const cells = { texts, where, missing: Uint8Array.from(texts, (text) => (isMissing.has(text) ? 1 : 0)) }
    columns.set(name, readColumn(cells, Object.hasOwn(asked, name) ? asked[name] : undefined, file))
  })
  return { size: rows.length, columns }
}
