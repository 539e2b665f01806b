import { existsSync } from 'node:fs'
import { useBackend, type BackendChoice, type BackendName } from '@bpf/core'
import { locate } from '../data/open'
import { cacheFolder, type Places } from '../data/places'
import { dataSets } from '../data/sets'
import { environment } from '../environment'
import { progressBar } from '../progress'
import { askPython, peerNames, usualPythons, type Python } from '../python'
import type { Terminal } from '../terminal'

export interface DoctorOptions {
  json?: boolean
  dataDir?: string
}

/** Backends by name, as `--backend` takes them. */
export const backendNames: readonly BackendName[] = ['tensorflow', 'onnx', 'wasm', 'cpu', 'webgpu']

const firstLine = (error: unknown): string => (error instanceof Error ? error.message : String(error)).split('\n')[0]

async function tryBackends(): Promise<{ name: BackendName; works: boolean; detail: string }[]> {
  const tried: { name: BackendName; works: boolean; detail: string }[] = []
  for (const name of backendNames) {
    try {
      const { device, threads } = await useBackend(name)
      tried.push({ name, works: true, detail: `${device}, ${threads} thread${threads === 1 ? '' : 's'}` })
    } catch (error) {
      tried.push({ name, works: false, detail: firstLine(error) })
    }
  }
  return tried
}

/** `bpf-bench doctor`: what is on this machine, and what to do about what is not. 1 when no backend works. */
export async function doctor(options: DoctorOptions, terminal: Terminal): Promise<number> {
  const backends = await tryBackends()
  let choice: BackendChoice | undefined
  let problem: string | undefined
  try {
    choice = await useBackend()
  } catch (error) {
    problem = firstLine(error)
  }
  const machine = environment([], choice)
  const named = terminal.env.BPF_PEER_PYTHON
  const looking = progressBar(terminal, 'asking Pythons what they have', 1)
  const commands = [...(named ? [named] : []), ...usualPythons]
  const pythons = await Promise.all(
    commands.map(
      async (command): Promise<Omit<Python, 'version'> & { version: string | null }> =>
        (await askPython(command)) ?? { command, version: null, libraries: {} },
    ),
  )
  looking.stop()
  const places: Places = { ...(options.dataDir !== undefined && { dataDir: options.dataDir }), env: terminal.env, cwd: terminal.cwd }
  const data = dataSets.map((set) => ({ name: set.name, found: locate(set, places) ?? null }))
  const cache = cacheFolder(places)
  if (options.json) {
    const picked = choice ?? null
    terminal.out(
      JSON.stringify({ ...machine, backend: picked, ...(problem !== undefined && { problem }), backends, pythons, data, cache }, null, 2),
    )
    return choice === undefined ? 1 : 0
  }
  const { bold, green, red, yellow, dim } = terminal.colors
  const line = (label: string, text: string): void => terminal.out(`  ${label.padEnd(24)}${text}`)
  terminal.out(bold('Machine'))
  line('Node', machine.node)
  line('system', `${machine.platform} ${machine.arch}, ${machine.cores} × ${machine.cpu}, ${machine.memoryGiB} GiB`)
  for (const [name, version] of Object.entries(machine.packages)) line(name, version)
  terminal.out(bold('\nBackends'))
  for (const { name, works, detail } of backends) line(name, works ? green(detail) : dim(detail))
  line('in use', choice === undefined ? red(problem ?? 'none') : `${bold(choice.name)}: ${choice.why}`)
  terminal.out(bold('\nPython peers for perf'))
  for (const python of pythons) {
    const has = peerNames.map((peer) => python.libraries[peer] && `${peer} ${python.libraries[peer]}`).filter(Boolean)
    line(
      python.command,
      python.version === null ? dim('does not run') : `${python.version}: ${has.join(', ') || dim('neither torch nor numpy')}`,
    )
  }
  terminal.out(bold('\nData sets'))
  for (const { name, found } of data) line(name, found === null ? yellow(`not here: bpf-bench data get ${name}`) : green(found))
  line('cache', `${cache}${existsSync(cache) ? '' : dim(' (made when something is downloaded)')}`)
  return choice === undefined ? 1 : 0
}
