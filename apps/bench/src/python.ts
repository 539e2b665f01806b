import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { UsageError } from './usage'

/** Python libraries that own-code peers are written for. */
export const peerNames = ['torch', 'numpy', 'jax'] as const
export type PeerName = (typeof peerNames)[number]

/** A Python that can be asked. */
export interface Python {
  command: string
  version: string
  /** Version of each library it can import. */
  libraries: Partial<Record<PeerName, string>>
}

const question = `
import json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = str(__import__(name).__version__)
    except Exception:
        pass
print(json.dumps({"version": ".".join(map(str, sys.version_info[:3])), "libraries": found}))
`

const execute = promisify(execFile)

/** What a Python has, or undefined when the command does not run. */
export async function askPython(command: string): Promise<Python | undefined> {
  try {
    const { stdout } = await execute(command, ['-c', question, ...peerNames], { encoding: 'utf8', timeout: 60_000 })
    return { command, ...(JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Omit<Python, 'command'>) }
  } catch {
    return undefined
  }
}

/** Where Python is looked for when the user names none. */
export const usualPythons = ['python3', '/usr/bin/python3'] as const

/**
 * The Python for a peer: the named one, else `BPF_PEER_PYTHON`, else the first usual one that can import the library.
 *
 * @throws UsageError that says what to install
 */
export async function findPython(
  peer: PeerName,
  named: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Python> {
  const chosen = named ?? (env.BPF_PEER_PYTHON || undefined)
  const candidates = chosen === undefined ? usualPythons : [chosen]
  const asked = await Promise.all(candidates.map(async (command) => ({ command, python: await askPython(command) })))
  const found = asked.find(({ python }) => python?.libraries[peer] !== undefined)?.python
  if (found !== undefined) return found
  const states = asked.map(
    ({ command, python }) => `${command} ${python === undefined ? 'does not run' : `(${python.version}) has no ${peer}`}`,
  )
  const source = chosen === undefined ? '' : named === undefined ? ' (from BPF_PEER_PYTHON)' : ' (from --python)'
  throw new UsageError(`perf: ${states.join(', ')}${source}; install ${peer} (pip install ${peer}), or name another Python with --python`)
}
