import { spawnSync } from 'node:child_process'
import { dirname } from 'node:path'
import process from 'node:process'

/**
 * Runs npm as in a bare environment: only Node and npm on the PATH, nothing inherited, no terminal.
 *
 * @param {readonly string[]} args
 * @param {{ cwd: string, home: string, env?: Record<string, string> }} options
 * @returns {{ status: number | null, output: string, seconds: number }}
 */
export function bareNpm(args, { cwd, home, env = {} }) {
  const started = Date.now()
  const { status, stdout, stderr } = spawnSync('npm', args, {
    cwd,
    env: { HOME: home, PATH: `${dirname(process.execPath)}:/usr/bin:/bin`, CI: 'true', ...env },
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 1e8,
  })
  return { status, output: stdout + stderr, seconds: (Date.now() - started) / 1000 }
}
