import { existsSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { packageFolder } from '../package-folder'
import { UsageError } from '../usage'
import { filesOf, type DataSet, type IdxFile } from './sets'

/** Where data may be: what the user said, and the environment. */
export interface Places {
  /** `--data-dir` */
  dataDir?: string
  env: Readonly<Record<string, string | undefined>>
  cwd: string
}

const shipped = join(packageFolder, 'data')
const debian = '/usr/share/datasets'

/** The folder for downloaded data: `BPF_CACHE_DIR`, else where the system keeps caches. */
export function cacheFolder({ env }: Pick<Places, 'env'>): string {
  if (env.BPF_CACHE_DIR) return resolve(env.BPF_CACHE_DIR)
  if (env.XDG_CACHE_HOME) return join(env.XDG_CACHE_HOME, 'bpf')
  if (process.platform === 'win32' && env.LOCALAPPDATA) return join(env.LOCALAPPDATA, 'bpf', 'Cache')
  const home = env.HOME || homedir()
  return process.platform === 'darwin' ? join(home, 'Library', 'Caches', 'bpf') : join(home, '.cache', 'bpf')
}

/** Where `data get` puts a set. */
export function downloadFolder(set: DataSet, places: Places): string {
  return join(cacheFolder(places), 'data', set.name)
}

/** Checks that a folder the user named is there. @throws UsageError */
export function checkPlaces(places: Places): void {
  const named: [string, string | undefined][] = [
    ['--data-dir', places.dataDir],
    ['BPF_DATA_DIR', places.env.BPF_DATA_DIR],
  ]
  for (const [what, folder] of named) {
    if (!folder) continue
    const path = resolve(places.cwd, folder)
    if (!existsSync(path) || !statSync(path).isDirectory()) {
      throw new UsageError(`${what}: there is no folder ${path}; make it and put the data sets there, or leave ${what} out`)
    }
  }
}

/** The folders the user named, as absolute paths. */
export function namedFolders(places: Places): string[] {
  const named = [places.dataDir, places.env.BPF_DATA_DIR].filter((folder): folder is string => Boolean(folder))
  return named.map((folder) => resolve(places.cwd, folder))
}

/** Folders in which a set is looked for, in order. */
export function searchFolders(set: DataSet, places: Places): string[] {
  if (set.name === 'digits') return [shipped]
  const below = namedFolders(places).flatMap((folder) => [join(folder, set.name), folder])
  return [...below, downloadFolder(set, places), join(debian, set.name)]
}

/** A file of a set in a folder, packed or not. */
export function fileIn(folder: string, { file }: IdxFile): string | undefined {
  return [join(folder, file), join(folder, file.replace(/\.gz$/, ''))].find((path) => existsSync(path))
}

/** The first folder that holds every file of a set. */
export function findSet(set: DataSet, places: Places): string | undefined {
  return searchFolders(set, places).find((folder) => filesOf(set).every((file) => fileIn(folder, file) !== undefined))
}
