import picocolors from 'picocolors'

type Colors = ReturnType<typeof picocolors.createColors>

/** Everything a command may touch outside: so that tests can look at what it says. */
export interface Terminal {
  /** A line on standard output: results. */
  out(line: string): void
  /** A line on standard error: errors, notes. */
  err(line: string): void
  /** Standard error, for progress bars; undefined where it is not a terminal. */
  bars: NodeJS.WritableStream | undefined
  colors: Colors
  /** Show where in the code an error arose. */
  verbose: boolean
  /** Columns of the terminal. */
  width: number
  env: Readonly<Record<string, string | undefined>>
  cwd: string
  /** Aborted on the first Ctrl-C. */
  signal: AbortSignal
}

/** The process's own terminal. */
export function processTerminal(signal: AbortSignal): Terminal {
  const colored = process.env.NO_COLOR === undefined && (process.stdout.isTTY || process.env.FORCE_COLOR !== undefined)
  return {
    out: (line) => process.stdout.write(`${line}\n`),
    err: (line) => process.stderr.write(`${line}\n`),
    bars: process.stderr.isTTY ? process.stderr : undefined,
    colors: picocolors.createColors(colored),
    verbose: false,
    width: Math.min(process.stdout.columns || 100, 140),
    env: process.env,
    cwd: process.cwd(),
    signal,
  }
}

// The escape sequences of colours take no room on the screen.
const escapes = /\u001b\[[0-9;]*m/g

function visibleLength(text: string): number {
  return text.replace(escapes, '').length
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && visibleLength(line) + 1 + visibleLength(word) > width) {
      lines.push(line)
      line = word
    } else {
      line = line === '' ? word : `${line} ${word}`
    }
  }
  return [...lines, line]
}

/** One column of {@link textTable}. */
export interface TextColumn {
  label: string
  align?: 'left' | 'right'
  /** Wrapped to the room that is left; at most one column is. */
  flexible?: boolean
  /** Wrapped to this width. */
  max?: number
}

/** A table in plain text, at most `width` wide where the flexible column allows it. */
export function textTable(columns: readonly TextColumn[], rows: readonly (readonly string[])[], width: number, colors: Colors): string {
  const gap = 2
  const widths = columns.map((column, j) =>
    Math.min(column.max ?? Infinity, Math.max(visibleLength(column.label), ...rows.map((row) => visibleLength(row[j])))),
  )
  const flexible = columns.findIndex((column) => column.flexible)
  if (flexible >= 0) {
    const others = widths.reduce((sum, w, j) => sum + (j === flexible ? 0 : w + gap), 0)
    widths[flexible] = Math.max(20, Math.min(widths[flexible], width - others))
  }
  const layOut = (cells: readonly string[]): string[] => {
    const wrapped = cells.map((cell, j) => (visibleLength(cell) > widths[j] ? wrap(cell, widths[j]) : [cell]))
    const height = Math.max(...wrapped.map((lines) => lines.length))
    return Array.from({ length: height }, (_, i) =>
      wrapped
        .map((lines, j) => {
          const text = lines[i] ?? ''
          const space = ' '.repeat(Math.max(0, widths[j] - visibleLength(text)))
          return columns[j].align === 'right' ? space + text : text + space
        })
        .join(' '.repeat(gap))
        .trimEnd(),
    )
  }
  const head = layOut(columns.map((column) => column.label)).map((line) => colors.dim(line))
  return [...head, ...rows.flatMap(layOut)].join('\n')
}

/** `850 ms`, `12 s`, `3 min 20 s`, `2 h 5 min`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min${whole % 60 === 0 ? '' : ` ${whole % 60} s`}`
  const minutes = Math.round(seconds / 60)
  return `${Math.floor(minutes / 60)} h${minutes % 60 === 0 ? '' : ` ${minutes % 60} min`}`
}
