import picocolors from 'picocolors'
import type { Terminal } from '../terminal'

/** A terminal that keeps what was said. */
export function recordingTerminal(overrides: Partial<Terminal> = {}): Terminal & { stdout: string[]; stderr: string[] } {
  const stdout: string[] = []
  const stderr: string[] = []
  return {
    out: (line) => stdout.push(line),
    err: (line) => stderr.push(line),
    bars: undefined,
    colors: picocolors.createColors(false),
    verbose: false,
    width: 100,
    env: {},
    cwd: process.cwd(),
    signal: new AbortController().signal,
    stdout,
    stderr,
    ...overrides,
  }
}
